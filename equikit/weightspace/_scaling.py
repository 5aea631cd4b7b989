"""Scales and signs of neurons that leave what a network computes as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.weightspace._axes import Axis
from equikit.weightspace._exponents import run
from equikit.weightspace._leaves import symbols
from equikit.weightspace._powers import Form, Powers, Scaled, atoms, combined, plain
from equikit.weightspace._program import Call
from equikit.weightspace._terms import Expression, Leaf, Product, Sum

Scales = Literal["positive", "sign"]
"""Numbers above zero, or plus and minus one."""


@dataclass(frozen=True)
class Scaling:
    """A way to multiply parameters by a number for each index of a label.

    Attributes:
        label: the label.
        kind: see `Scales`; of signs, powers count modulo two.
        powers: for parameters and their axes the powers of the numbers, one for each symbol of the axis.
    """

    label: str
    kind: Scales
    powers: tuple[tuple[str, int, tuple[Fraction, ...]], ...]

    def __str__(self) -> str:
        parts = [f"{name}[{place}] {', '.join(map(str, powers))}" for name, place, powers in self.powers if any(powers)]
        return f"{self.label} {self.kind}: {'; '.join(parts)}"

    def factors(self, leaf: Leaf, numbers: Any) -> Iterator[tuple[int, Any]]:
        """For each axis of a parameter that is multiplied, by what, `[size]`; in NumPy, or in JAX where numbers are."""
        for name, place, powers in self.powers:
            if name == leaf.name and any(powers):
                yield place, _along(leaf.axes[place], iter(powers), self.label, numbers)


def rescaled(
    leaves: Sequence[Leaf], scaling: Scaling, size: int, numbers: Any, arrays: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Arrays by name, multiplied by powers of numbers; leading axes are a batch.

    Raises:
        OptionError: if the numbers are not of the kind, or a power of them is beyond the numbers of an array.
    """
    traced = isinstance(numbers, jax.core.Tracer)
    values = numbers if traced else _checked_numbers(scaling, size, numbers)
    found = {}
    for leaf in leaves:
        array = arrays[leaf.name]
        for place, factor in scaling.factors(leaf, values):
            shape = [-1 if other == place else 1 for other in range(len(leaf.axes))]
            narrow = jnp.asarray(factor.reshape(shape), array.dtype)
            if not traced and not np.all(np.isfinite(np.asarray(narrow, np.float64)) & (np.asarray(narrow) != 0)):
                raise OptionError(
                    f"the numbers are too large or too small for {leaf.name!r}",
                    got=f"powers from {np.min(factor):.1e} to {np.max(factor):.1e}",
                    expected=f"numbers of {array.dtype}, none of them zero",
                    step="pass numbers nearer to one",
                )
            array = array * narrow
        found[leaf.name] = array
    return found


def _checked_numbers(scaling: Scaling, size: int, numbers: Any) -> np.ndarray:
    given = np.asarray(numbers)
    real = given.dtype.kind in "fiub" or given.dtype == jnp.bfloat16
    values = given.astype(np.float64) if real else np.zeros(given.shape)
    fit = real and values.shape == (size,) and np.all(np.isfinite(values))
    positive = scaling.kind == "positive"
    if not fit or np.any(values <= 0 if positive else np.abs(values) != 1):
        raise OptionError(
            f"the numbers do not scale {scaling.label!r}",
            got=f"shape {list(given.shape)}, "
            + (f"the least {np.min(values, initial=np.inf):.3g}" if real else f"dtype {given.dtype}"),
            expected=f"{size} real numbers, " + ("all above zero" if positive else "plus or minus one"),
            step=f"pass jnp.{'exp' if positive else 'sign'} of any numbers",
        )
    return values


def _along(axis: Expression, powers: Iterator[Fraction], label: str, numbers: Any) -> Any:
    library: Any = np if isinstance(numbers, np.ndarray) else jnp
    if isinstance(axis, Product):
        found = library.ones(1, numbers.dtype)
        for factor in axis.factors:
            found = library.outer(found, _along(factor, powers, label, numbers)).ravel()
        return found
    if isinstance(axis, Sum):
        return library.concatenate([_along(part, powers, label, numbers) for part in axis.parts])
    power = next(powers)
    return numbers ** float(power) if axis.label == label and power else library.ones(axis.size, numbers.dtype)


@dataclass(frozen=True)
class Unknowns:
    """The powers of parameters, one for each free atom of each of their axes.

    Attributes:
        owners: for each the numbers of the parameter, of its axis and of the atom.
        labels: for each the label of the atom.
        roots: the index sets of the labels.
        arrays: the parameters with these powers.
    """

    owners: tuple[tuple[int, int, int], ...]
    labels: tuple[str, ...]
    roots: dict[str, Axis]
    arrays: tuple[Scaled, ...]


def unknowns(leaves: Sequence[Leaf], of_params: Sequence[Sequence[Axis]]) -> Unknowns:
    """A number for each power of the parameters, whose axes are given."""
    owners: list[tuple[int, int, int]] = []
    labels: list[str] = []
    roots: dict[str, Axis] = {}
    arrays: list[Scaled] = []
    for number, (leaf, axes) in enumerate(zip(leaves, of_params, strict=True)):
        forms = []
        for place, (axis, expression) in enumerate(zip(axes, leaf.axes, strict=True)):
            names = [symbol.label for symbol in symbols(expression) if symbol.size > 1]
            its: list[Form] = []
            for which, (atom, label) in enumerate(zip(atoms(axis), names, strict=True)):
                if atom.kind != "free":
                    its.append({})
                    continue
                its.append({len(owners): Fraction(1)})
                owners.append((number, place, which))
                labels.append(label)
                roots[label] = atom.root
            forms.append(tuple(its))
        arrays.append(Scaled(tuple(axes), tuple(forms)))
    return Unknowns(tuple(owners), tuple(labels), roots, tuple(arrays))


def scalings(call: Call, leaves: Sequence[Leaf], of_params: Sequence[Sequence[Axis]], others: int) -> list[Scaling]:
    """All ways to scale, a basis of them for each label and kind.

    Args:
        call: the program as it was read; its first inputs are the parameters, and `others` more follow.
        leaves: the parameters.
        of_params: the axes of each.
        others: the number of inputs that are no parameters.
    """
    its = unknowns(leaves, of_params)
    found: list[Scaling] = []
    kinds: tuple[Scales, ...] = ("positive", "sign")
    for kind in kinds:
        powers = Powers(signs=kind == "sign")
        run(powers, call, [*its.arrays, *inputs_of(call, len(leaves), others)])
        for label in dict.fromkeys(its.labels):
            mine = [number for number, other in enumerate(its.labels) if other == label]
            # What loops carry comes first, so that it is expressed by the parameters.
            carried = [number for number, atom in powers.carried.items() if atom.root is its.roots[label]]
            for vector in null_space(powers.rows, [*carried, *mine], modulo_two=kind == "sign"):
                rest = dict(zip(mine, vector[len(carried) :], strict=True))
                if any(rest.values()):
                    found.append(Scaling(label, kind, tuple(by_axis(leaves, its, rest))))
    return found


def inputs_of(call: Call, params: int, others: int) -> list[Scaled]:
    """The inputs of a program that come after its parameters; nothing multiplies them."""
    return [plain(call.of(variable)) for variable in call.jaxpr.invars[params : params + others]]


def by_axis(
    leaves: Sequence[Leaf], its: Unknowns, found: Mapping[int, Fraction]
) -> Iterator[tuple[str, int, tuple[Fraction, ...]]]:
    """For parameters and their axes the powers, one for each symbol of the axis."""
    values = {its.owners[number]: value for number, value in found.items()}
    for (number, place), group in itertools.groupby(sorted(values), lambda owner: owner[:2]):
        at = {which: values[number, place, which] for *_, which in group}
        counted = itertools.count()
        listed = symbols(leaves[number].axes[place])
        powers = [at.get(next(counted), Fraction(0)) if symbol.size > 1 else Fraction(0) for symbol in listed]
        yield leaves[number].name, place, tuple(powers)


def null_space(rows: Sequence[Form], unknowns: Sequence[int], *, modulo_two: bool) -> list[list[Fraction]]:
    """A basis of the vectors of these unknowns, all others zero, on which all forms vanish: over Q, or modulo two."""
    places = {number: place for place, number in enumerate(unknowns)}
    pivots: dict[int, dict[int, Fraction]] = {}

    def reduced(row: dict[int, Fraction]) -> dict[int, Fraction]:
        values = ((place, value % 2 if modulo_two else value) for place, value in row.items())
        return {place: value for place, value in values if value}

    for form in rows:
        row = reduced({places[number]: value for number, value in form.items() if number in places})
        while row:
            lead = min(row)
            if lead not in pivots:
                first = row[lead]
                pivots[lead] = {place: value / first for place, value in row.items()}
                break
            row = reduced(combined(row, pivots[lead], -row[lead]))
    free = [place for place in range(len(unknowns)) if place not in pivots]
    basis = []
    for chosen in free:
        vector = [Fraction(0)] * len(unknowns)
        vector[chosen] = Fraction(1)
        for lead in sorted(pivots, reverse=True):
            value = -sum((pivots[lead][place] * vector[place] for place in pivots[lead] if place != lead), Fraction(0))
            vector[lead] = value % 2 if modulo_two else value
        basis.append(vector)
    return basis
