"""The *expand* kernel of an output: products with permuted inputs, broadcasts and embeddings, written once.

A program computes the outputs `y_g` of an orbit of tiles: `y_g = sum over w of x_(g w) W_w`, and what each step adds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.plans.fused._orbits import Orbits, composed, orbits
from equikit.plans.fused._pallas import Mode, launch, load, product, program_id, store
from equikit.plans.fused._tensors import RootStep, Tensor, Wiring, counted
from equikit.plans.fused._tiles import Marks, Piece, Tiles, each_sample, own_copy, padded, pieces


@dataclass(frozen=True, slots=True)
class Source:
    """An input of the product of an expansion, with the permutations in which it enters."""

    tensor: Tensor
    wirings: tuple[Wiring, ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """The computation of one output.

    Attributes:
        output: the output.
        sources: the inputs of the product, with the axes of the output.
        steps: from which smaller tensors the output is expanded.
        batch: the number of samples.
    """

    output: Tensor
    sources: tuple[Source, ...]
    steps: tuple[RootStep, ...]
    batch: int

    @property
    def widest(self) -> int:
        """The largest number of features, padded."""
        return max(padded(tensor.features) for tensor in (self.output, *(each.tensor for each in self.sources)))

    @property
    def orbits(self) -> Orbits:
        """The tiles of the programs."""
        wirings = [wiring for source in self.sources for wiring in source.wirings]
        return orbits(self.output.labels, self.output.sizes, wirings, self.widest, self.batch)


def matrix_pieces(ref: Any, source: Source, output: Piece, features: int) -> list[list[jax.Array]]:
    """Load some columns of the matrices of a source: for each piece of its features, for each permutation."""
    columns, found = output.first + counted(output.width, 1, 2), []
    for piece in pieces(source.tensor.features, ref.dtype):
        rows = piece.first + counted(piece.width, 0, 2)
        mask = (rows < source.tensor.features) & (columns < features)
        found.append([load(ref, (jnp.int32(w), rows, columns), mask) for w in range(len(source.wirings))])
    return found


def run_expansion(
    spec: Expansion,
    arrays: Sequence[jax.Array],
    matrices: Sequence[jax.Array],
    smaller: Sequence[jax.Array],
    marks: Marks,
    dtype: Any,
    mode: Mode,
) -> jax.Array:
    """Compute an output.

    Args:
        spec: the computation.
        arrays: the array of each source, `[batch, *axes, channels]`.
        matrices: for each source `[wirings, features in, features out]`.
        smaller: for each step `[batch, *sizes, features out]`.
        marks: which entries are present.
        dtype: of the result.
        mode: whether the kernel is compiled or interpreted.
    """
    output, found = spec.output, spec.orbits
    result = jax.ShapeDtypeStruct((spec.batch, *output.shape), dtype)
    if 0 in result.shape:
        return jnp.zeros(result.shape, dtype)
    axes, names = len(output.sizes), sorted(marks)
    operands = [jnp.asarray(found.runs), *arrays, *matrices, *smaller, *(marks[name] for name in names)]
    smalls = [step.small(output) for step in spec.steps]

    def body(*refs: Any) -> None:
        runs, *rest, y_ref = refs
        parts = iter(rest)
        x_refs, w_refs, s_refs, m_refs = (
            list(itertools.islice(parts, count)) for count in (len(arrays), len(matrices), len(smaller), len(names))
        )
        marked = dict(zip(names, m_refs, strict=True))
        program = program_id(1)
        prefix = {axis: runs[program, axis] for axis in range(axes) if axis != found.run}
        start, count = runs[program, found.run], runs[program, axes]
        mixing = {
            piece: [
                matrix_pieces(w, each, piece, output.features) for w, each in zip(w_refs, spec.sources, strict=True)
            ]
            for piece in pieces(output.features, dtype)
        }

        def small(
            tiles: Tiles, number: int, g: Wiring, there: Mapping[int, jax.Array], feature: jax.Array
        ) -> jax.Array:
            """Load what a step adds to the output of a permutation."""
            step, kept = spec.steps[number], spec.steps[number].kept(axes)
            mask = tiles.both({g[axis]: there[g[axis]] for axis in kept}) & (feature < output.features)
            if step.operation == "diagonal":
                first, second = (tiles.place[g[axis]] for axis in step.axes)
                mask &= first == second
            index = smalls[number].index(tiles.sample, tiles.rows(g, kept), feature)
            return load(s_refs[number], index, mask).astype(jnp.float32)

        def features(piece: Piece) -> jax.Array:
            return piece.first + counted(piece.width, axes, axes + 1)

        def fixed(number: int, g: Wiring) -> bool:
            """Whether the smaller tensor of a step is the same for a whole run."""
            step = spec.steps[number]
            return step.operation == "sum" and g[step.axes[0]] == found.run

        def of_sample(sample: jax.Array, finished: jax.Array) -> jax.Array:
            outside = Tiles(found, output.sizes, sample, prefix)
            known = {axis: outside.there(axis, marked, output.labels) for axis in prefix}
            before = {
                (piece, number, g): small(outside, number, g, known, features(piece))
                for piece in mixing
                for number in range(len(spec.steps))
                for g in found.tiled
                if fixed(number, g)
            }

            def tile(i: jax.Array, done: jax.Array) -> jax.Array:
                tiles = Tiles(found, output.sizes, sample, {**prefix, found.run: start + i})
                there = {**known, found.run: tiles.there(found.run, marked, output.labels)}
                keep = tiles.both(there)
                inside = tiles.both({axis: tiles.vector(axis) < output.sizes[axis] for axis in range(axes)})
                inputs: list[list[dict[Wiring, jax.Array]]] = []
                for ref, source in zip(x_refs, spec.sources, strict=True):
                    loaded = []
                    for piece in pieces(source.tensor.features, ref.dtype):
                        columns = features(piece)
                        mask = keep & (columns < source.tensor.features)
                        loaded.append(tiles.permuted(tiles.loader(ref, source.tensor, columns, mask)))
                    inputs.append(loaded)
                uses = itertools.count()
                for piece, g in itertools.product(mixing, found.tiled):
                    feature = features(piece)
                    y = jnp.zeros((*found.tile, piece.width), jnp.float32)
                    for parts, weights, source in zip(inputs, mixing[piece], spec.sources, strict=True):
                        for part, matrices in zip(parts, weights, strict=True):
                            for matrix, wiring in zip(matrices, source.wirings, strict=True):
                                x = part[composed(g, wiring)]
                                always = i < count + next(uses)
                                x, matrix = own_copy(x, always), own_copy(matrix, always)
                                y += product(x.reshape(-1, x.shape[-1]), matrix).reshape(y.shape)
                    for number, step in enumerate(spec.steps):
                        known_already = fixed(number, g)
                        more = before[piece, number, g] if known_already else small(tiles, number, g, there, feature)
                        if step.operation == "diagonal":
                            first, second = tiles.rows(g, step.axes)
                            more = jnp.where(first == second, more, 0.0)
                        y += more
                    index = output.index(sample, tiles.rows(g, range(axes)), feature)
                    mask = tiles.first(g, inside & (feature < output.features))
                    store(y_ref, index, jnp.where(keep, y, 0.0), mask)
                return done

            result: jax.Array = lax.fori_loop(0, count, tile, finished)
            return result

        each_sample(found, of_sample, jnp.int32(0))

    warps = 8 if np.prod(found.tile) * spec.widest * len(found.group) > 2**13 else 4
    (y,) = launch(body, found.grid, operands, [result], name="expand", mode=mode, warps=warps)
    return y


def expansion_bytes(spec: Expansion, itemsize: int, small_itemsize: int = 4) -> int:
    """Count the bytes that the programs of an expansion load and store: entries in memory, without padding."""
    found, output = spec.orbits, spec.output
    if not spec.batch * output.entries:
        return 0
    axes = len(output.sizes)
    tiles = found.tiles
    extent = np.minimum(np.array(found.tile), np.array(output.sizes) - tiles * np.array(found.tile))
    positions = extent.prod(1)
    entries = sum(len(found.tiled) * int(positions.sum()) * source.tensor.features for source in spec.sources)
    entries += int(np.prod(output.sizes)) * output.features
    matrices = sum(
        len(source.wirings) * source.tensor.features * output.features * len(found.runs) for source in spec.sources
    )
    smaller = 0
    for step, g in itertools.product(spec.steps, found.tiled):
        kept = [g[axis] for axis in step.kept(axes)]
        sizes = extent[:, kept].prod(1)
        if step.operation == "diagonal":
            first, second = (tiles[:, g[axis]] for axis in step.axes)
            sizes = sizes[first == second]
        elif step.operation == "sum" and found.run not in kept:
            sizes = sizes[np.cumsum(found.runs[:, -1]) - 1]
        smaller += int(sizes.sum()) * output.features
    once = matrices * itemsize + found.runs.size * found.runs.itemsize
    return spec.batch * (entries * itemsize + smaller * small_itemsize) + found.grid[0] * once
