"""Scales and signs of neurons that preserve the function of a network."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.specifications._leaves import symbols
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Sum
from equikit.weightspace.tracing._forms import Array, Form, Kind, Powers, combined, plain
from equikit.weightspace.tracing._usage import first_uses
from equikit.weightspace.tracing.axes._axes import Axis, atoms
from equikit.weightspace.tracing.axes._places import Place, filled
from equikit.weightspace.tracing.axes._relation import Places
from equikit.weightspace.tracing.programs._program import Call

Scales = Literal["positive", "sign"]
"""Positive numbers, or signs ±1."""


@dataclass(frozen=True)
class Scaling:
    """A scale or sign symmetry: factors of parameters, given by one number for each index of a label.

    Attributes:
        label: the label.
        kind: see `Scales`; the powers of signs are integers modulo 2.
        powers: parameter names, axis numbers, and the power of the numbers at each symbol of this axis.
    """

    label: str
    kind: Scales
    powers: tuple[tuple[str, int, tuple[Fraction, ...]], ...]

    def __str__(self) -> str:
        parts = [f"{name}[{place}] {', '.join(map(str, powers))}" for name, place, powers in self.powers if any(powers)]
        return f"{self.label} {self.kind}: {'; '.join(parts)}"

    def factors(self, leaf: Leaf, numbers: Any) -> Iterator[Any]:
        """Yield the factor along each scaled axis of a parameter, broadcastable; NumPy or JAX, as `numbers` are."""
        for name, place, powers in self.powers:
            if name == leaf.name and any(powers):
                yield _spread(leaf, place, _along(leaf.axes[place], iter(powers), self.label, numbers))


def rescaled(
    leaves: Sequence[Leaf], scaling: Scaling, size: int, numbers: Any, arrays: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Multiply arrays, by name, by powers of numbers; leading axes are a batch.

    Raises:
        OptionError: if the numbers do not fit the kind, or a power overflows or underflows the dtype of an array.
        DTypeError: if a scaled parameter is integer or boolean.
    """
    traced = isinstance(numbers, jax.core.Tracer)
    values = numbers if traced else _checked_numbers(scaling, size, numbers)
    found = {}
    for leaf in leaves:
        array = arrays[leaf.name]
        for factor in scaling.factors(leaf, values):
            refuse_integers(f"the scaling of {scaling.label!r}", leaf.name, array)
            with np.errstate(over="ignore"):  # what overflows is refused below
                narrow = factor.astype(array.dtype)
            if not traced and not np.all(np.isfinite(narrow.real.astype(np.float64)) & (narrow != 0)):
                raise OptionError(
                    f"the numbers are too large or too small for {leaf.name!r}",
                    got=f"powers from {np.min(factor):.1e} to {np.max(factor):.1e}",
                    expected=f"numbers of {array.dtype}, none of them zero",
                    step="pass numbers nearer to one",
                )
            array = array * jnp.asarray(narrow)
        found[leaf.name] = array
    return found


def refuse_integers(action: str, name: str, array: Any) -> None:
    """Raise `DTypeError` if an action multiplies an integer or boolean parameter, which was inexact when traced."""
    step = "trace the model with these parameters: spec = trace(apply, params, x)"
    _checks.array(f"{name!r}, which {action} multiplies,", array, kind="real or complex", step=step)


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
            step=f"pass jnp.{'exp of' if positive else 'sign of nonzero'} numbers, one for each of the {size} neurons",
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
    if isinstance(axis, Indexed):
        return library.stack([_along(member, powers, label, numbers) for member in axis.members])
    power = next(powers)
    return numbers ** float(power) if axis.label == label and power else library.ones(axis.size, numbers.dtype)


def _spread(leaf: Leaf, place: int, factor: Any) -> Any:
    """Reshape the factor of one axis, which may depend on other axes, so that it broadcasts against the leaf."""
    axis = leaf.axes[place]
    over, counts = (axis.over, axis.counts) if isinstance(axis, Indexed) else ((), ())
    order = sorted((*over, place))
    full = factor.reshape(*counts, axis.size).transpose([(*over, place).index(one) for one in order])
    return full.reshape([leaf.shape[one] if one in order else 1 for one in range(len(leaf.axes))])


@dataclass(frozen=True)
class Unknowns:
    """The unknown powers of parameters, one for each symbol of each permuted axis.

    Attributes:
        owners: for each unknown, the numbers of the parameter, the axis and the symbol.
        labels: for each unknown, the label of its symbol.
        roots: the index set of each label.
        arrays: the parameters, with the unknowns as forms.
    """

    owners: tuple[tuple[int, int, int], ...]
    labels: tuple[str, ...]
    roots: dict[str, Axis]
    arrays: tuple[Array, ...]


def unknowns(leaves: Sequence[Leaf], of_params: Sequence[Places], permuted: Collection[str]) -> Unknowns:
    """Return one unknown for each power of the parameters; `of_params` are their axes."""
    owners: list[tuple[int, int, int]] = []
    labels: list[str] = []
    roots: dict[str, Axis] = {}

    def forms(leaf: int, at: int, place: Place, names: Iterator[tuple[int, str]]) -> Place:
        def one(index: tuple[int, ...]) -> tuple[Form, ...]:
            found = []
            for atom in atoms(place.members[index]):
                which, label = next(names)
                found.append({len(owners): Fraction(1)})
                owners.append((leaf, at, which))
                labels.append(label)
                roots[label] = atom.root
            return tuple(found)

        return Place(filled(place.members.shape, one), place.over)

    arrays = []
    for number, (leaf, places) in enumerate(zip(leaves, of_params, strict=True)):
        found = []
        for at, (place, axis) in enumerate(zip(places, leaf.axes, strict=True)):
            names = ((which, one.label) for which, one in enumerate(symbols(axis)) if one.label in permuted)
            found.append(forms(number, at, place, names))
        arrays.append(Array(found))
    return Unknowns(tuple(owners), tuple(labels), roots, tuple(arrays))


def scalings(
    calls: Sequence[Call], leaves: Sequence[Leaf], of_params: Sequence[Places], permuted: Collection[str]
) -> list[Scaling]:
    """Return a basis of the scalings for each label and kind, in the order in which the program uses the parameters.

    Each scaling has power one at the parameter that it scales and the program uses first, such as the weights that
    enter a neuron. No other scaling of the same label and kind scales this parameter.

    Args:
        calls: the programs that were read; their first inputs are the parameters.
        leaves: the parameters.
        of_params: the axes of each parameter.
        permuted: the permuted labels.
    """
    its = unknowns(leaves, of_params, permuted)
    uses = first_uses(calls[0], len(leaves))
    used = [(uses[parameter], symbol, place) for parameter, place, symbol in its.owners]
    found: list[Scaling] = []
    kinds: tuple[Scales, ...] = ("positive", "sign")
    for kind in kinds:
        powers = powers_of(kind, calls, its)
        some = list[tuple[tuple[int, int, int], Scaling]]()
        for label in dict.fromkeys(its.labels):
            mine = [number for number, other in enumerate(its.labels) if other == label]
            # Elimination expresses powers in terms of later ones: loop carries, and what is used late, come first.
            mine.sort(key=lambda number: used[number], reverse=True)
            carried = [number for number, atom in powers.carried.items() if atom.root is its.roots[label]]
            for vector in null_space(powers.rows, [*carried, *mine], modulo_two=kind == "sign"):
                rest = dict(zip(mine, vector[len(carried) :], strict=True))
                if any(rest.values()):
                    first = min(used[number] for number, value in rest.items() if value)
                    some.append((first, Scaling(label, kind, tuple(by_axis(leaves, its, rest)))))
        found += [scaling for _, scaling in sorted(some, key=lambda one: one[0])]
    return found


def powers_of(kind: Kind, calls: Sequence[Call], its: Unknowns) -> Powers:
    """Return the constraints of all programs on the powers of parameters."""
    powers = Powers(kind)
    for call in calls:
        others = call.jaxpr.invars[len(its.arrays) :]
        powers.run(call, [*its.arrays, *(plain(call.of(variable)) for variable in others)])
    # Integer and boolean parameters cannot be scaled.
    dtypes = [variable.aval.dtype for call in calls[:1] for variable in call.jaxpr.invars]
    for number, (parameter, *_) in enumerate(its.owners):
        if not jnp.issubdtype(dtypes[parameter], jnp.inexact):
            powers.vanish({number: Fraction(1)})
    return powers


def by_axis(
    leaves: Sequence[Leaf], its: Unknowns, found: Mapping[int, Fraction]
) -> Iterator[tuple[str, int, tuple[Fraction, ...]]]:
    """Yield the powers by parameter and axis, one for each symbol of the axis."""
    values = {its.owners[number]: value for number, value in found.items()}
    for (number, place), group in itertools.groupby(sorted(values), lambda owner: owner[:2]):
        at = {which: values[number, place, which] for *_, which in group}
        count = len(symbols(leaves[number].axes[place]))
        yield leaves[number].name, place, tuple(at.get(which, Fraction(0)) for which in range(count))


def null_space(rows: Sequence[Form], unknowns: Sequence[int], *, modulo_two: bool) -> list[list[Fraction]]:
    """Return a basis of the common null space of the forms, restricted to these unknowns, over Q or modulo 2."""
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
