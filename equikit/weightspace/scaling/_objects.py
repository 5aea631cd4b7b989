"""The objects of a scale-equivariant network: tensors of parameters and neurons, and the characters they scale by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import jax
import numpy as np

from equikit.weightspace.scaling._slots import Piece, Schedule
from equikit.weightspace.specifications._specification import Specification


@dataclass(frozen=True)
class Kind:
    """Features of a label's neurons that scale by a character.

    Attributes:
        name: the label, and the character unless it is trivial.
        inverse: the name of the features that scale inversely.
        odd: whether signs act on them.
        scaled: whether positive numbers act on them.
    """

    name: str
    inverse: str
    odd: bool
    scaled: bool


@dataclass(frozen=True)
class End:
    """One of the axes of neurons of a tensor.

    Attributes:
        label: its label.
        axes: which axes of the object the neurons are along: the axis, after the axis of an outer label if it is
            nested.
        along, against: the features of neurons that scale like the tensor along this axis, and inversely.
    """

    label: str
    axes: tuple[int, ...]
    along: Kind
    against: Kind

    @property
    def moves(self) -> bool:
        """Whether the tensor scales along this axis."""
        return self.along.odd or self.along.scaled


@dataclass(frozen=True)
class Object:
    """A tensor of parameters; axes that are not permuted are channels.

    Attributes:
        name: of the tensor.
        sizes: of its axes of neurons.
        ends: its axes of neurons.
        neurons, windows: the positions of the axes of neurons, and of all others, in the tensor.
        counts: the sizes of the others.
        odd: whether signs act on it.
        scaled: whether positive numbers act on it.
    """

    name: str
    sizes: tuple[int, ...]
    ends: tuple[End, ...]
    neurons: tuple[int, ...]
    windows: tuple[int, ...]
    counts: tuple[int, ...]
    odd: bool
    scaled: bool

    @property
    def moves(self) -> bool:
        """Whether signs or positive numbers act on it."""
        return self.odd or self.scaled

    @property
    def width(self) -> int:
        """How many entries of the tensor are channels."""
        return math.prod(self.counts)

    def flat(self, array: jax.Array) -> jax.Array:
        """Return `[*batch, *neurons, windows * c]` for a tensor `[*batch, *axes, c]`."""
        start = array.ndim - 1 - len(self.neurons) - len(self.windows)
        order = [*range(start), *(start + axis for axis in (*self.neurons, *self.windows)), array.ndim - 1]
        return array.transpose(order).reshape(*array.shape[:start], *self.sizes, self.width * array.shape[-1])

    def back(self, array: jax.Array) -> jax.Array:
        """Return a tensor: the inverse of `flat`."""
        start = array.ndim - 1 - len(self.sizes)
        channels = array.shape[-1] // self.width if self.width else 1
        wide = array.reshape(*array.shape[:-1], *self.counts, channels)
        places = np.argsort((*self.neurons, *self.windows))
        return wide.transpose([*range(start), *(start + place for place in places), wide.ndim - 1])


def objects_of(spec: Specification, plan: Schedule) -> tuple[Object, ...]:
    """Return the tensors of all parameters as objects."""
    return tuple(_object(spec, plan, piece) for piece in plan.pieces)


def neurons_of(objects: Sequence[Object]) -> dict[str, tuple[Kind, ...]]:
    """Return the labels of neurons, each with all features that scale."""
    found: dict[str, dict[str, Kind]] = {}
    for one in objects:
        for end in one.ends:
            kinds = {kind.name: kind for kind in (end.along, end.against) if end.moves}
            found.setdefault(end.label, {}).update(kinds)
    return {label: tuple(kinds.values()) for label, kinds in found.items()}


def _object(spec: Specification, plan: Schedule, piece: Piece) -> Object:
    labels = piece.tensor.labels
    permuted = [axis for axis, label in enumerate(labels) if label in spec.groups]
    windows = [axis for axis in range(len(labels)) if axis not in permuted]
    within = dict(spec.nested)

    def held(axis: int) -> tuple[int, ...]:
        outer = within.get(labels[axis])
        return (permuted.index(axis),) if outer is None else (*held(labels.index(outer)), permuted.index(axis))

    ends = []
    for axis in permuted:
        powers = {slot.number: slot.power for slot in piece.slots if slot.axes[-1] == axis}
        signs = {number for number in powers if plan.scalings[number].kind == "sign"}
        inverse = {number: power if number in signs else -power for number, power in powers.items()}
        names = _named(labels[axis], powers), _named(labels[axis], inverse)
        along, against = (Kind(*pair, bool(signs), signs < powers.keys()) for pair in (names, names[::-1]))
        ends.append(End(labels[axis], held(axis), along, against))
    sizes = [axis.size for axis in piece.tensor.axes]
    return Object(
        piece.tensor.name,
        tuple(sizes[axis] for axis in permuted),
        tuple(ends),
        tuple(permuted),
        tuple(windows),
        tuple(sizes[axis] for axis in windows),
        any(end.along.odd for end in ends),
        any(end.along.scaled for end in ends),
    )


def _named(label: str, powers: Mapping[int, Fraction]) -> str:
    return " ".join([label, *(f"{number}^{power}" for number, power in sorted(powers.items()))])


def spread(array: jax.Array, end: End, rank: int) -> jax.Array:
    """Broadcast features of neurons, `[*batch, *held, c]`, against an object with `rank` axes of neurons."""
    start = array.ndim - 1 - len(end.axes)
    order = np.argsort(end.axes)
    sizes = {axis: array.shape[start + place] for place, axis in enumerate(end.axes)}
    shape = [sizes.get(axis, 1) for axis in range(rank)]
    turned: jax.Array = array.transpose([*range(start), *(start + order), array.ndim - 1])
    return turned.reshape(*array.shape[:start], *shape, array.shape[-1])


def pooled(array: jax.Array, end: End, rank: int, power: float) -> jax.Array:
    """Sum features of an object over all axes but the ones of an end, and divide by a power of their number."""
    start = array.ndim - 1 - rank
    others = tuple(start + axis for axis in range(rank) if axis not in end.axes)
    count = math.prod(array.shape[axis] for axis in others)
    total: jax.Array = array.sum(others) / max(count, 1) ** power
    order = np.argsort(np.argsort(end.axes))
    return total.transpose([*range(start), *(start + order), total.ndim - 1])
