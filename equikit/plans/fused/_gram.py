"""The kernel of the gradient of matrices: products of an input, permuted, and an output, summed over all positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit.plans.fused._expand import Source
from equikit.plans.fused._orbits import Orbits, composed, orbits
from equikit.plans.fused._pallas import Mode, launch, product, program_id, store
from equikit.plans.fused._tensors import Tensor, Wiring, counted
from equikit.plans.fused._tiles import Marks, Piece, Tiles, each_sample, own_copy, padded, pieces

Block = tuple[int, Piece, Piece]
"""A permutation, and pieces of the features of the input and of the output."""


@dataclass(frozen=True, slots=True)
class Gram:
    """Products of all pairs of features: one matrix for each permutation of the input.

    Attributes:
        source: the input, and its permutations.
        output: a tensor with the same axes.
        batch: the number of samples.
    """

    source: Source
    output: Tensor
    batch: int

    @property
    def orbits(self) -> Orbits:
        """The tiles of the programs."""
        widest = max(padded(self.source.tensor.features), padded(self.output.features))
        return orbits(self.output.labels, self.output.sizes, self.source.wirings, 2 * widest, self.batch)


def run_gram(spec: Gram, x: jax.Array, y: jax.Array, marks: Marks, mode: Mode) -> jax.Array:
    """Return `[wirings, features of the input, features of the output]` in float32."""
    source, output, found = spec.source, spec.output, spec.orbits
    tensor, count = source.tensor, len(source.wirings)
    if not spec.batch * tensor.entries * output.entries:
        return jnp.zeros((count, tensor.features, output.features), jnp.float32)
    axes, names = len(output.sizes), sorted(marks)
    wide, narrow = pieces(tensor.features, x.dtype), pieces(output.features, x.dtype)

    def body(runs: Any, x_ref: Any, y_ref: Any, *refs: Any) -> None:
        *m_refs, w_ref = refs
        marked = dict(zip(names, m_refs, strict=True))
        group, program = program_id(0), program_id(1)
        prefix = {axis: runs[program, axis] for axis in range(axes) if axis != found.run}
        start, run = runs[program, found.run], runs[program, axes]

        def of_sample(sample: jax.Array, carried: dict[Block, jax.Array]) -> dict[Block, jax.Array]:
            def tile(i: jax.Array, sums: dict[Block, jax.Array]) -> dict[Block, jax.Array]:
                tiles = Tiles(found, output.sizes, sample, {**prefix, found.run: start + i})
                keep = tiles.both({axis: tiles.there(axis, marked, output.labels) for axis in range(axes)})
                uses, more = itertools.count(), dict(sums)

                def loaded(ref: Any, of: Tensor, piece: Piece, keep: jax.Array) -> Callable[[Wiring], jax.Array]:
                    columns = piece.first + counted(piece.width, axes, axes + 1)
                    return tiles.loader(ref, of, columns, keep & (columns < of.features))

                inputs = {piece: tiles.permuted(loaded(x_ref, tensor, piece, keep)) for piece in wide}
                for g, after in itertools.product(found.tiled, narrow):
                    moved = loaded(y_ref, output, after, tiles.first(g, keep))(g).reshape(-1, after.width)
                    for number, before in itertools.product(range(count), wide):
                        always = i < run + next(uses)
                        x = own_copy(inputs[before][composed(g, source.wirings[number])], always)
                        more[number, before, after] += product(x.reshape(-1, before.width).T, own_copy(moved, always))
                return more

            result: dict[Block, jax.Array] = lax.fori_loop(0, run, tile, carried)
            return result

        blocks = list(itertools.product(range(count), wide, narrow))
        sums = {key: jnp.zeros((key[1].width, key[2].width), jnp.float32) for key in blocks}
        sums = each_sample(found, of_sample, sums)
        for (number, before, after), matrix in sums.items():
            rows, columns = before.first + counted(before.width, 0, 2), after.first + counted(after.width, 1, 2)
            inside = (rows < tensor.features) & (columns < output.features)
            store(w_ref, (group, program, jnp.int32(number), rows, columns), matrix, inside)

    shape = (*found.grid, count, tensor.features, output.features)
    operands = [jnp.asarray(found.runs), x, y, *(marks[name] for name in names)]
    results = [jax.ShapeDtypeStruct(shape, jnp.float32)]
    (parts,) = launch(body, found.grid, operands, results, name="gram", mode=mode, warps=8)
    return parts.sum((0, 1))


def gram_bytes(spec: Gram, itemsize: int) -> int:
    """Count the bytes that the programs of a product load and store, and that the sum of their parts moves."""
    found, output, tensor = spec.orbits, spec.output, spec.source.tensor
    if not spec.batch * tensor.entries * output.entries:
        return 0
    tiles = found.tiles
    extent = [
        [min(step, size - c * step) for c, step, size in zip(row, found.tile, output.sizes, strict=True)]
        for row in tiles.tolist()
    ]
    positions = sum(map(_product, extent))
    entries = len(found.tiled) * positions * tensor.features + _product(output.sizes) * output.features
    matrices = len(spec.source.wirings) * tensor.features * output.features
    groups, programs = found.grid
    written = (2 * groups * programs + 1) * matrices * 4
    return spec.batch * entries * itemsize + groups * found.runs.size * found.runs.itemsize + written


def _product(numbers: Any) -> int:
    found = 1
    for number in numbers:
        found *= int(number)
    return found
