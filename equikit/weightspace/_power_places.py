"""Powers of arrays whose axes are moved, joined and cut."""

from __future__ import annotations

import itertools
from typing import Any

from equikit.weightspace._axes import Axis
from equikit.weightspace._powers import Form, Powers, Rule, Scaled, atoms, nothing


def placing(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Axes in other places: every axis of the result takes the forms of that of the operand that it is."""
    (result,), array = axes, given[0]
    name, params = equation.primitive.name, equation.params
    if name == "transpose":
        places: list[int | None] = [int(place) for place in params["permutation"]]
    elif name == "squeeze":
        gone = {int(place) % len(array.axes) for place in params["dimensions"]}
        places = [place for place in range(len(array.axes)) if place not in gone]
    else:
        into = {int(place): source for source, place in enumerate(params["broadcast_dimensions"])}
        places = [into.get(place) for place in range(len(result))]
    forms = []
    for axis, place in zip(result, places, strict=True):
        whole = place is not None and array.axes[place].size == axis.size
        forms.append(array.forms[place] if whole and place is not None else tuple({} for _ in atoms(axis)))
    return [Scaled(tuple(result), tuple(forms), array.zero)]


def reshaping(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Atoms stay in their order, and are divided among the axes anew."""
    (result,), array = axes, given[0]
    forms = list(itertools.chain(*array.forms))
    counts = [len(atoms(axis)) for axis in result]
    if sum(counts) != len(forms) or equation.params.get("dimensions") is not None:
        return nothing(powers, given, axes)
    rest = iter(forms)
    return [Scaled(tuple(result), tuple(tuple(itertools.islice(rest, count)) for count in counts), array.zero)]


def joining(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """One after another along an axis, with one power along all others."""
    (result,), at = axes, equation.params["dimension"]
    forms: list[tuple[Form, ...]] = []
    for place, axis in enumerate(result):
        if place == at:
            forms.append(tuple(form for array in given for form in array.forms[place]))
            continue
        terms = [array.forms[place] for array in given if not array.zero] or [tuple({} for _ in atoms(axis))]
        for other in terms[1:]:
            for mine, theirs in zip(terms[0], other, strict=True):
                powers.equal(mine, theirs)
        forms.append(terms[0])
    if len(forms[at]) != len(atoms(result[at])):
        return nothing(powers, given, axes)
    return [Scaled(tuple(result), tuple(forms), all(array.zero for array in given))]


def cutting(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Pieces of an axis take the forms of their atoms, which follow each other."""
    array = given[0]
    starts: list[list[int]] = [[0] * len(array.axes) for _ in axes]
    if equation.primitive.name == "split":
        sizes = [int(size) for size in equation.params["sizes"]]
        for one, start in zip(starts, itertools.accumulate([0, *sizes[:-1]]), strict=True):
            one[equation.params["axis"]] = start
    else:
        starts = [[int(start) for start in equation.params["start_indices"]]]
    found = []
    for result, its_starts in zip(axes, starts, strict=True):
        forms: list[tuple[Form, ...]] = []
        for mine, axis, some, start in zip(array.axes, result, array.forms, its_starts, strict=True):
            first = len(_before(mine, start)) if axis.size != mine.size else 0
            count = len(atoms(axis))
            forms.append(some[first : first + count])
            if len(forms[-1]) != count:
                return nothing(powers, given, axes)
        found.append(Scaled(tuple(result), tuple(forms), array.zero))
    return found


def padding(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Zeros may be put beside anything."""
    (result,), array = axes, given[0]
    forms = []
    for axis, some, (low, _, _) in zip(result, array.forms, equation.params["padding_config"], strict=True):
        count, first = len(atoms(axis)), len(_before(axis, low)) if low > 0 else 0
        rest = count - first - len(some)
        if rest < 0:
            return nothing(powers, given, axes)
        forms.append((*({} for _ in range(first)), *some, *({} for _ in range(rest))))
    if not given[1].zero:
        return nothing(powers, given, axes)
    return [Scaled(tuple(result), tuple(forms), array.zero)]


def _before(axis: Axis, start: int) -> list[Axis]:
    """The atoms of the parts of an axis that come before an index."""
    found: list[Axis] = []
    axis = axis.root
    if axis.kind == "sum":
        for part in axis.inner:
            if start <= 0:
                break
            found += atoms(part) if part.size <= start else _before(part, start)
            start -= part.size
    elif axis.size <= start:
        found = atoms(axis)
    return found


PLACING: dict[str, Rule] = {
    "transpose": placing,
    "squeeze": placing,
    "broadcast_in_dim": placing,
    "reshape": reshaping,
    "concatenate": joining,
    "split": cutting,
    "slice": cutting,
    "pad": padding,
}
