"""The products of a linear plan with the operations of any library, and their matrices from the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from equikit.diagrams import HalfDiagram
from equikit.plans._ir import Plan, Product, TermPair, WeightBlock
from equikit.plans._weights import weight_places
from equikit.plans.compilation._tensors import is_disjoint, joint_tensors
from equikit.plans.readers._library import Array, Library
from equikit.plans.readers._walk import Key, Walk


def spread(library: Library, tensors: np.ndarray, weights: Array, rest: Sequence[int]) -> Array:
    """Combine tensors `[choices, rows, columns]` with weights `[choices, *rest]` to an array `[rows, columns, *rest]`.

    Tensors with disjoint supports are looked up; others are contracted.
    """
    if not is_disjoint(tensors):
        letters = [3 + i for i in range(len(rest))]
        operands = [(library.constant(tensors, weights), (0, 1, 2)), (weights, (0, *letters))]
        return library.contracted(operands, (1, 2, *letters))
    places, signs = abs(tensors).argmax(0), tensors.sum(0)
    found = library.taken(weights, places.ravel()).reshape((*places.shape, *rest))
    return found * library.constant(signs.reshape(*places.shape, *(1,) * len(rest)), weights)


class Products:
    """The products of a plan in one walk."""

    def __init__(self, walk: Walk, weights: Mapping[str, Array]) -> None:
        self.walk, self.plan, self.library = walk, cast(Plan, walk.plan), walk.library
        places = weight_places(self.plan.signature, self.plan.channels, self.plan.bias)
        self.weights: dict[TermPair, Array] = {pair: weights[name] for name, (pair, _) in places.items()}

    def parts(self, down: Mapping[Key, Array]) -> Iterator[tuple[Key, Array]]:
        """Yield the tensors of output half diagrams from the tensors of input half diagrams."""
        for product in self.plan.products:
            yield from self._multiplied(product, down)

    def _multiplied(self, product: Product, down: Mapping[Key, Array]) -> Iterator[tuple[Key, Array]]:
        blocks = {(block.source, block.target): block for block in product.blocks}
        entering = [t for t, halves in enumerate(product.inputs) if halves]
        bias = self._bias(product, blocks) if any(t is None for t, _ in blocks) else None
        axes = len(product.core)
        if entering:
            sides = []
            for t in entering:
                x = self.library.joined([self._folded(down[t, half], half, t) for half in product.inputs[t]], axes + 1)
                sides += [self._wired(x, wiring) for wiring in product.wires_in]
            matrix = self.library.joined([self._rows(product, blocks, t) for t in entering], 0)
            y = self._summed(product, self.library.multiplied(self.library.joined(sides, axes + 1), matrix))
            y = y if bias is None else y + bias
        else:
            assert bias is not None
            y = self.library.broadcast(bias, self.walk.shape(product.core, self._width(product)))
        yield from self._parted(product, y)

    def _summed(self, product: Product, y: Array) -> Array:
        """Add the results of all wirings after the product."""
        if not product.permutes_out:
            return y
        axis, count, width = len(product.core) + 1, len(product.wires_out), self._width(product)
        parts = [self.library.part(y, axis, i * width, (i + 1) * width) for i in range(count)]
        wired = [self._wired(part, wiring) for part, wiring in zip(parts, product.wires_out, strict=True)]
        return sum(wired[1:], wired[0])

    def _width(self, product: Product) -> int:
        """Return the features of all output halves of a product together."""
        pairs = zip(product.outputs, self.plan.features[1], strict=True)
        return self._above(product) * sum(len(halves) * g for halves, g in pairs)

    def _parted(self, product: Product, y: Array) -> Iterator[tuple[Key, Array]]:
        """Yield the tensor of every output half."""
        start, axis = 0, len(product.core) + 1
        for s, halves in enumerate(product.outputs):
            for half in halves:
                stop = start + self._above(product) * self.plan.features[1][s]
                yield (s, half), self._unfolded(self.library.part(y, axis, start, stop), half, s)
                start = stop

    def _wired(self, x: Array, wiring: Sequence[int]) -> Array:
        """Permute the wires of a core: axis j moves to position `wiring[j]`."""
        return self.walk.moved(x, [int(j) for j in np.argsort(wiring)])

    # Axes of groups without diagrams.

    def _above(self, product: Product) -> int:
        return math.prod(self._size(kind.label) ** kind.above for kind in product.tensors)

    def _size(self, label: str) -> int:
        size = self.plan.signature.sizes[label]
        assert size is not None  # these groups have one
        return size

    def _whole(self, half: HalfDiagram) -> tuple[list[int], list[int]]:
        """Return the axes of a core that belong to groups without diagrams, and the others."""
        axes, place = list[int](), len(half.wires)
        for head in half.heads:
            axes += range(place, place + head.axes) if head.stars else ()
            place += head.axes
        return axes, [axis for axis in range(len(half.core)) if axis not in axes]

    def _folded(self, x: Array, half: HalfDiagram, t: int) -> Array:
        axes, rest = self._whole(half)
        if not axes:
            return x
        width = self.plan.features[0][t] * math.prod(self._size(half.core[axis]) for axis in axes)
        return self.walk.moved(x, [*rest, *axes]).reshape(self.walk.shape([half.core[axis] for axis in rest], width))

    def _unfolded(self, y: Array, half: HalfDiagram, s: int) -> Array:
        axes, rest = self._whole(half)
        if not axes:
            return y
        y = y.reshape(self.walk.shape([half.core[axis] for axis in (*rest, *axes)], self.plan.features[1][s]))
        return self.walk.moved(y, [int(i) for i in np.argsort([*rest, *axes])])

    # Matrices: rows are (wires in, halves, features) of an input term, columns (wires out, output terms, halves,
    # features). Axes of groups without diagrams precede the features.

    def _tensors(self, product: Product) -> np.ndarray | None:
        groups = self.plan.signature.groups
        kinds = tuple((groups[kind.label], kind.stars, kind.above) for kind in product.tensors)
        return joint_tensors(kinds) if kinds else None

    def _pieces(self, block: WeightBlock, features: Sequence[int]) -> Array:
        """Return the weights of a pair of terms in the order of the matrix; zeros for pairs of halves without maps."""
        weight = self.weights[block.source, block.target]
        parts = [
            self.library.part(weight, 0, start, start + count)
            if start >= 0
            else self.library.zeros((count, *features), weight)
            for start, count in block.segments
        ]
        return self.library.joined(parts, 0)

    def _rows(self, product: Product, blocks: Mapping[TermPair, WeightBlock], t: int) -> Array:
        tensors, f = self._tensors(product), self.plan.features[0][t]
        choices, above, below = (1, 1, 1) if tensors is None else tensors.shape
        bottoms, ways_in, ways_out = len(product.inputs[t]), len(product.wires_in), len(product.wires_out)
        found = []
        for s, (halves, g) in enumerate(zip(product.outputs, self.plan.features[1], strict=True)):
            if not halves:
                continue
            shape = (bottoms, len(halves), ways_out, ways_in)
            rows, columns = ways_in * bottoms * below * f, len(halves) * above * g
            if (t, s) not in blocks:
                like = next(iter(self.weights.values()))
                found.append(self.library.zeros((rows, ways_out, columns), like))
                continue
            grid = self._pieces(blocks[t, s], (f, g)).reshape((*shape, choices, f, g))
            if tensors is not None:
                grid = spread(self.library, tensors, self.library.permuted(grid, (4, 0, 1, 2, 3, 5, 6)), (*shape, f, g))
                grid = self.library.permuted(grid, (5, 2, 1, 6, 4, 3, 0, 7))
            else:
                grid = self.library.permuted(grid.reshape((*shape, f, g)), (3, 0, 4, 2, 1, 5))
            found.append(grid.reshape((rows, ways_out, columns)))
        return self.library.joined(found, 2).reshape((ways_in * bottoms * below * f, ways_out * self._width(product)))

    def _bias(self, product: Product, blocks: Mapping[TermPair, WeightBlock]) -> Array:
        tensors = self._tensors(product)
        choices, above, _ = (1, 1, 1) if tensors is None else tensors.shape
        found = []
        for s, (halves, g) in enumerate(zip(product.outputs, self.plan.features[1], strict=True)):
            if not halves:
                continue
            if (None, s) not in blocks:
                found.append(self.library.zeros((len(halves) * above * g,), next(iter(self.weights.values()))))
                continue
            grid = self._pieces(blocks[None, s], (g,)).reshape((len(halves), choices, g))
            if tensors is not None:  # one column
                grid = spread(self.library, tensors, self.library.permuted(grid, (1, 0, 2)), (len(halves), g))
                grid = self.library.permuted(grid, (2, 0, 1, 3))
            found.append(grid.reshape((len(halves) * above * g,)))
        return self.library.joined(found, 0)
