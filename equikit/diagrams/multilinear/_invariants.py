"""Exchanges of axes acting on the invariant tensors of groups without diagrams.

An exchange of axes with one label maps an invariant tensor to a combination of invariant tensors. If it permutes a
basis up to signs, as for signed permutation matrices, the tensors that exchanges fix are sums over orbits; otherwise
they are a null space, exact if the tensors are exact.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from equikit.diagrams._diagram import Diagram
from equikit.diagrams.counting._rules import Groups, axes_of, whole_labels
from equikit.groups import Group, common_null_space
from equikit.signatures import base

Places = tuple[int, ...]
"""For each axis its new position."""

Vector = dict[int, Any]
"""Coefficients of basis tensors by number: integers, fractions, or floating-point numbers."""

ROUNDING = 1e-12
"""Coefficients of orthonormal tensors below this are rounding errors."""

APART = 1e-6
"""Tolerance for exchanged orthonormal tensors: differences are zero, or as large as between roots of unity."""


@functools.lru_cache(maxsize=1024)
def _images(group: Group, stars: tuple[bool, ...], places: Places) -> tuple[Vector, ...]:
    """Expand each invariant tensor with moved axes in the invariant tensors."""
    tensors = group.invariants(stars)
    count = len(tensors)
    rows = tensors.reshape(count, math.prod(tensors.shape[1:]))
    moved = tensors.transpose(0, *(1 + np.argsort(places))).reshape(rows.shape)
    if tensors.dtype.kind != "i":
        found = moved @ rows.conj().T
        return tuple({j: row[j].item() for j in np.flatnonzero(abs(row) > ROUNDING).tolist()} for row in found)
    # An echelon form: each tensor has an entry at which all others are zero.
    alone = (rows != 0) & ((rows != 0).sum(0) == 1)
    assert alone.any(1).all(), "exact invariant tensors are in echelon form"
    pivots = alone.argmax(1)
    leads = rows[np.arange(count), pivots]
    return tuple(
        {j: _ratio(int(image[pivots[j]]), int(leads[j])) for j in np.flatnonzero(image[pivots]).tolist()}
        for image in moved
    )


def _ratio(one: int, other: int) -> int | Fraction:
    ratio = Fraction(one, other)
    return ratio.numerator if ratio.denominator == 1 else ratio


@dataclass(frozen=True, slots=True)
class Invariants:
    """The invariant tensors on the axes of all labels whose groups have no diagrams; a choice is one tensor per label.

    Attributes:
        labels: each such label with its group, the axes that carry the dual, and the vertices of its axes.
    """

    labels: tuple[tuple[str, Group, tuple[bool, ...], tuple[int, ...]], ...]

    @classmethod
    def of(cls, top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> Invariants:
        """Return the invariant tensors of the maps between two rows."""
        names = top + bottom
        return cls(
            tuple(
                (label, group, axes_of(label, top, bottom), tuple(v for v, x in enumerate(names) if base(x) == label))
                for label, group in whole_labels(groups, names)
            )
        )

    @property
    def vertices(self) -> tuple[int, ...]:
        """The vertices of all axes, label after label."""
        return tuple(vertex for _, _, _, own in self.labels for vertex in own)

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of tensors of each label."""
        return tuple(group.count_invariants(len(stars), sum(stars)) for _, group, stars, _ in self.labels)

    @property
    def count(self) -> int:
        """The number of choices; one without such labels."""
        return math.prod(self.counts)

    @property
    def exact(self) -> bool:
        """Whether all tensors have integer entries."""
        return all(group.invariants(stars).dtype.kind == "i" for _, group, stars, _ in self.labels)

    def within(self, places: Places) -> Places:
        """Return how a move of all vertices moves the axes of these labels."""
        number = {vertex: i for i, vertex in enumerate(self.vertices)}
        return tuple(number[places[vertex]] for vertex in self.vertices)

    def held(self, diagram: Diagram, choice: int) -> Diagram:
        """Return a diagram of the other labels together with a choice of tensors."""
        if not self.labels:
            return diagram
        numbers = np.unravel_index(choice, self.counts)
        names = ((label, group) for label, group, _, _ in self.labels)
        return replace(diagram, elements=tuple((*name, int(i)) for name, i in zip(names, numbers, strict=True)))

    def choice(self, diagram: Diagram) -> int:
        """Return the choice of tensors in a diagram."""
        result = 0
        for (_, _, number), count in zip(diagram.elements, self.counts, strict=True):
            result = result * count + number
        return result

    def moved(self, vector: Vector, places: Places) -> Vector:
        """Return a combination of choices with its axes moved, in the order of choices."""
        if places == tuple(range(len(places))):
            return vector
        images, total = _joint_images(self, places), dict[int, Any]()
        for choice, coefficient in vector.items():
            for other, factor in images[choice].items():
                total[other] = total.get(other, 0) + coefficient * factor
        return {choice: total[choice] for choice in sorted(total) if abs(total[choice]) > (not self.exact) * ROUNDING}

    def fixed(self, conditions: Iterable[tuple[int, Places]]) -> Iterator[Vector]:
        """Yield a basis of the combinations that each move multiplies by its sign."""
        signed = [(sign, _joint_images(self, places)) for sign, places in conditions]
        if all([abs(factor) for factor in image.values()] == [1] for _, images in signed for image in images):
            yield from _orbits(self.count, signed)
            return
        rows = []
        for sign, images in signed:
            row = np.zeros((self.count, self.count), object if self.exact else np.complex128)
            for choice, image in enumerate(images):
                for other, factor in image.items():
                    row[other, choice] += sign * factor
            row -= np.eye(self.count, dtype=np.int64)
            rows.append(row if self.exact or row.imag.any() else row.real)
        what = ", ".join(str(group) for _, group, _, _ in self.labels)
        for vector in common_null_space(what, rows, self.count, self.exact, APART):
            yield {i: vector[i].item() for i in np.flatnonzero(abs(vector) > (not self.exact) * ROUNDING).tolist()}


@functools.lru_cache(maxsize=256)
def _joint_images(invariants: Invariants, places: Places) -> tuple[Vector, ...]:
    """Expand each choice of tensors with moved axes in choices."""
    result: tuple[Vector, ...] = ({0: 1},)
    start = 0
    for (_, group, stars, own), count in zip(invariants.labels, invariants.counts, strict=True):
        part = tuple(place - start for place in places[start : start + len(own)])
        start += len(own)
        result = tuple(
            {i * count + j: a * b for i, a in one.items() for j, b in other.items()}
            for one, other in itertools.product(result, _images(group, stars, part))
        )
    return result


def _orbits(count: int, signed: list[tuple[int, tuple[Vector, ...]]]) -> Iterator[Vector]:
    """Yield signed sums over the orbits of signed permutations, without orbits that contain both signs of a member."""
    seen: set[int] = set()
    for start in range(count):
        if start in seen:
            continue
        signs, edge, vanishes = {start: 1}, [start], False
        while edge:
            one = edge.pop()
            for sign, images in signed:
                ((other, factor),) = images[one].items()
                here = sign * factor * signs[one]
                if other not in signs:
                    signs[other] = here
                    edge.append(other)
                vanishes |= signs[other] != here
        seen |= signs.keys()
        if not vanishes:
            yield dict(sorted(signs.items()))
