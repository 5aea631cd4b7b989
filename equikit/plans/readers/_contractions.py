"""The contractions of a multilinear plan with the operations of any library."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from equikit.diagrams import parity
from equikit.plans._ir import Contraction, MultilinearPlan
from equikit.plans.compilation._contractions import Equation, equation, invariant_sums
from equikit.plans.compilation._tensors import is_disjoint, levi_civita_tensor
from equikit.plans.readers._library import Array, Library
from equikit.plans.readers._products import spread
from equikit.plans.readers._walk import Key, Walk
from equikit.signatures import Exchange

USUAL = 16
"""The size of a batch or axis where the order of a contraction is chosen before the size is known."""


@functools.lru_cache(maxsize=1024)
def _ordered(plan: MultilinearPlan, number: int, sizes: tuple[tuple[str, int], ...], batch: int) -> Equation:
    return equation(plan, plan.products[number], dict(sizes), batch)


def symmetrized(library: Library, x: Array, exchanges: Sequence[Exchange], axes: int) -> Array:
    """Return the symmetric or antisymmetric part of a tensor `[batch, *axes, channels]` with a number of axes."""
    for exchange in exchanges:
        own = [1 + i for i in exchange.members]
        total: Array = 0
        for order in itertools.permutations(range(len(own))):
            moved = [*range(axes + 2)]
            for axis, i in zip(own, order, strict=True):
                moved[axis] = own[i]
            turned = library.permuted(x, moved)
            turned = -turned if exchange.sign < 0 and parity(order) < 0 else turned
            total = total + turned
        x = total / math.factorial(len(own))
    return x


class Contractions:
    """The contractions of a plan in one walk."""

    def __init__(self, walk: Walk, weights: Array) -> None:
        self.walk, self.plan, self.library = walk, cast(MultilinearPlan, walk.plan), walk.library
        self.weights = weights

    def parts(self, down: Mapping[Key, Array]) -> Iterator[tuple[Key, Array]]:
        """Yield the tensors of output half diagrams from the tensors of input half diagrams."""
        for number, contraction in enumerate(self.plan.products):
            yield from self._contracted(number, contraction, down)

    def _contracted(
        self, number: int, contraction: Contraction, down: Mapping[Key, Array]
    ) -> Iterator[tuple[Key, Array]]:
        arrays = []
        for t, (half, lowered) in enumerate(zip(contraction.halves, contraction.lowered, strict=True)):
            x = down[t, half]
            for axis in lowered:
                x = self._lowered(x, 1 + axis, half.core[axis], len(half.core) + 2)
            arrays.append(x)
        arrays += self._constants(contraction, arrays[0])
        known = ((label, n if isinstance(n, int) else USUAL) for label, n in self.walk.sizes.items())
        batch = self.walk.batch if isinstance(self.walk.batch, int) else USUAL
        plain = _ordered(self.plan, number, tuple(sorted(known)), batch)
        y = self._einsum(arrays, plain)
        axes = len(contraction.kept) + 2
        apart = not contraction.held and self.plan.mode == "full"
        for label in contraction.averaged:
            y = self.walk.averaged(y, label, axes + apart)
        for i, use in enumerate(contraction.uses[: 1 if contraction.held else None]):
            part = y
            if apart:
                part = y[(slice(None),) * (axes - 1) + (i,)]
            elif not contraction.held:
                part = y * (self.weights[use.element] * float(use.coefficient))
            yield (0, use.half), self.walk.moved(part, use.axes)

    def _einsum(self, arrays: Sequence[Array], plain: Equation) -> Array:
        left = [*zip(arrays, plain.operands, strict=True)]
        if len(left) == 1:
            return self.library.contracted(left, plain.result)
        for i, j, made in plain.order:
            z = self.library.contracted((left[i], left[j]), made)
            left = [*left[:i], *left[i + 1 : j], *left[j + 1 :], (z, made)]
        return left[0][0]

    def _lowered(self, x: Array, axis: int, label: str, axes: int) -> Array:
        """Multiply an axis by the form of its label."""
        metric = self.walk.form(label, "metric")
        if metric is not None:
            return self.walk.signed(x, axis, metric, axes)
        upper, lower = self.walk.halves(x, axis, label)
        return self.library.joined([lower, -upper], axis)

    def _constants(self, contraction: Contraction, like: Array) -> list[Array]:
        """Return the operands of a contraction that are not inputs, in the order of its equation."""
        signature, found = self.plan.signature, []
        for head in contraction.heads:
            n, form = signature.sizes[head.label], signature.groups[head.label].form
            assert n is not None
            tensor = levi_civita_tensor(n, len(head.letters), head.legs, head.lowered, form)
            found.append(self.library.constant(tensor, like))
        shape = self._rest
        if contraction.held:
            elements, sums = invariant_sums(self.plan, contraction)
            axes = [signature.sizes[contraction.labels[letter]] or 0 for letter in contraction.held]
            kernel = self._rows(elements)
            if is_disjoint(sums[:, :, None]):
                return [*found, spread(self.library, sums[:, :, None], kernel, shape).reshape((*axes, *shape))]
            return [*found, self.library.constant(sums.reshape(len(sums), *axes), like), kernel]
        if self.plan.mode == "channelwise":
            return found
        factors = [use.coefficient for use in contraction.uses]
        rows = self._rows([use.element for use in contraction.uses])
        if any(factor != 1 for factor in factors):
            numbers = np.array([float(factor) for factor in factors]).reshape(-1, *(1,) * len(shape))
            rows = rows * self.library.constant(numbers, like)
        return [*found, rows]

    @property
    def _rest(self) -> tuple[int, ...]:
        """The shape of the weights of one basis element."""
        wide, (narrow,) = self.plan.features
        return (narrow,) if self.plan.mode == "channelwise" else (*wide, narrow)

    def _rows(self, elements: Sequence[int]) -> Array:
        """Select the weights of some basis elements."""
        if [*elements] == [*range(elements[0], elements[0] + len(elements))]:
            return self.library.part(self.weights, 0, elements[0], elements[0] + len(elements))
        return self.library.taken(self.weights, np.array(elements))
