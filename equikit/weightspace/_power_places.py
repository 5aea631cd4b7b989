"""Powers of arrays whose axes are moved, joined and cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
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


def _fitted(some: Iterable[tuple[Axis, Form]], wanted: Sequence[Axis], more: bool = False) -> list[Form] | None:
    """Forms for atoms of a result, of those of an operand, which have to follow each other in the same order.

    Only free atoms have forms, since nothing acts on others, and reshape cuts and joins these; the counts of all agree
    where one is cut and another is not.

    Args:
        some: atoms of the operand with their forms.
        wanted: atoms of the result.
        more: whether the result may have free atoms that the operand has not.

    Returns:
        A form for each atom of the result; None if they do not fit.
    """
    rest = [(atom.root, form) for atom, form in some if atom.root.kind == "free" or form]
    found: list[Form] = []
    for atom in wanted:
        if atom.root.kind == "free" and rest and rest[0][0] is atom.root:
            found.append(rest.pop(0)[1])
        elif atom.root.kind == "free" and not more:
            return None
        else:
            found.append({})
    return None if rest else found


def _with_forms(axis: Axis, forms: Sequence[Form]) -> list[tuple[Axis, Form]]:
    return list(zip(atoms(axis), forms, strict=True))


def _divided(axes: Sequence[Axis], forms: Sequence[Form]) -> tuple[tuple[Form, ...], ...]:
    """Forms of all atoms, for each axis its own."""
    rest = iter(forms)
    return tuple(tuple(itertools.islice(rest, len(atoms(axis)))) for axis in axes)


def reshaping(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Atoms stay in their order, and are divided among the axes anew."""
    (result,), array = axes, given[0]
    some = itertools.chain(*map(_with_forms, array.axes, array.forms))
    forms = _fitted(some, [atom for axis in result for atom in atoms(axis)])
    if forms is None or equation.params.get("dimensions") is not None:
        return nothing(powers, given, axes)
    return [Scaled(tuple(result), _divided(result, forms), array.zero)]


def joining(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """One after another along an axis, with one power along all others."""
    (result,), at = axes, equation.params["dimension"]
    forms: list[tuple[Form, ...]] = []
    for place, axis in enumerate(result):
        if place == at:
            some = itertools.chain(*(_with_forms(array.axes[place], array.forms[place]) for array in given))
            along = _fitted(some, atoms(axis))
            if along is None:
                return nothing(powers, given, axes)
            forms.append(tuple(along))
            continue
        terms = [array.forms[place] for array in given if not array.zero] or [tuple({} for _ in atoms(axis))]
        for other in terms[1:]:
            for mine, theirs in zip(terms[0], other, strict=True):
                powers.equal(mine, theirs)
        forms.append(terms[0])
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
            its = _fitted(_with_forms(mine, some)[first : first + count], atoms(axis))
            if its is None:
                return nothing(powers, given, axes)
            forms.append(tuple(its))
        found.append(Scaled(tuple(result), tuple(forms), array.zero))
    return found


def padding(powers: Powers, equation: Any, given: list[Scaled], axes: list[list[Axis]]) -> list[Scaled]:
    """Zeros may be put beside anything."""
    (result,), array = axes, given[0]
    forms: list[tuple[Form, ...]] = []
    for mine, axis, some in zip(array.axes, result, array.forms, strict=True):
        its = _fitted(_with_forms(mine, some), atoms(axis), more=True)
        if its is None:
            return nothing(powers, given, axes)
        forms.append(tuple(its))
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
