"""The *reduce* kernel of an input: all sums over one axis and all diagonals, in one pass.

A program loops over a part of the first axis, with a tile of the other axes. Sums over the first axis stay in
registers; every other sum is complete for the tile and written at once. If several programs have parts of a sum, each
writes its own, and XLA adds them: in a fixed order, so that results are deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit.plans.fused._orbits import doubled
from equikit.plans.fused._pallas import Mode, launch, load, program_id, store
from equikit.plans.fused._tensors import RootStep, Tensor, counted, power_of_two
from equikit.plans.fused._tiles import Marks

MOST_ENTRIES, LEAST_BYTES, ENOUGH_PROGRAMS, LEAST_ROWS = 2**13, 32, 128, 64
"""Entries of a tile; bytes of a sample's position that one program reads, at least a memory sector; programs that keep
the processors of a GPU busy; positions of the first axis of a part, if it is divided."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How programs divide an input.

    Attributes:
        features: the number of features of a program.
        tile: the size of its tile along each axis.
        loops: the number of tiles along the first axis that one program loops over.
        tiles: the number of programs along each axis; for the first axis, of loops.
        groups: the number of programs along the features.
    """

    features: int
    tile: tuple[int, ...]
    loops: int
    tiles: tuple[int, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class Reduction:
    """The computation of all sums and diagonals of one input.

    Attributes:
        tensor: the input.
        steps: the sums and diagonals.
        batch: the number of samples.
        itemsize: the bytes of a number of the input.
    """

    tensor: Tensor
    steps: tuple[RootStep, ...]
    batch: int
    itemsize: int

    @property
    def division(self) -> Pass:
        """How programs divide the input."""
        labels, sizes = self.tensor.labels, self.tensor.sizes
        features = power_of_two(self.tensor.features)

        def inner(features: int) -> tuple[int, ...]:
            # The first axis is counted apart, so its label does not matter.
            names = [f"{axis} {label}" for axis, label in enumerate(labels[1:])]
            return doubled(names, sizes[1:], max(MOST_ENTRIES // features, 1))

        def programs(features: int) -> int:
            tiles = [-(-size // step) for size, step in zip(sizes[1:], inner(features), strict=True)]
            return self.batch * math.prod(tiles) * -(-self.tensor.features // features)

        while programs(features) < ENOUGH_PROGRAMS and features * self.itemsize > LEAST_BYTES:
            features //= 2
        rest = inner(features)
        room = max(MOST_ENTRIES // (features * math.prod(rest)), 1)
        first = min(power_of_two(sizes[0]), room)
        parts = 1
        while programs(features) * parts < ENOUGH_PROGRAMS and sizes[0] >= 2 * parts * max(LEAST_ROWS, first):
            parts *= 2
        loops = -(-sizes[0] // (first * parts))
        tiles = tuple(-(-size // step) for size, step in zip(sizes[1:], rest, strict=True))
        groups = -(-self.tensor.features // features)
        return Pass(features, (first, *rest), loops, (-(-sizes[0] // (first * loops)), *tiles), groups)

    def parts(self, step: RootStep) -> int:
        """The number of parts in which a result is written."""
        return self.division.tiles[step.axes[0]] if step.operation == "sum" else 1


def run_reduction(spec: Reduction, x: jax.Array, marks: Marks, mode: Mode) -> list[jax.Array]:
    """Return the result of each step in float32, `[batch, *sizes, features]`.

    Args:
        spec: the computation.
        x: the input, `[batch, *axes, channels]`.
        marks: which entries are present.
        mode: whether the kernel is compiled or interpreted.
    """
    tensor = spec.tensor
    axes, smalls = len(tensor.sizes), [step.small(tensor) for step in spec.steps]
    if not spec.steps:
        return []
    if 0 in x.shape:
        return [jnp.zeros((spec.batch, *small.shape), jnp.float32) for small in smalls]
    how, names = spec.division, sorted(marks)
    results = [
        jax.ShapeDtypeStruct((spec.batch, spec.parts(step), *small.shape), jnp.float32)
        for step, small in zip(spec.steps, smalls, strict=True)
    ]
    first = [number for number, step in enumerate(spec.steps) if step == RootStep("sum", (0,))]

    def body(x_ref: Any, *refs: Any) -> None:
        marked = dict(zip(names, refs[: len(names)], strict=True))
        outs = refs[len(names) :]
        sample, program = program_id(0), program_id(1)
        group, place = program % how.groups, program // how.groups
        places: list[jax.Array] = []
        for count in reversed(how.tiles):
            places.insert(0, place % count)
            place = place // count

        def arranged(vector: jax.Array, axis: int, kept: Sequence[int]) -> jax.Array:
            """Lay a vector along an axis of a tensor with some axes of the input, and features."""
            shape = [1] * (len(kept) + 1)
            shape[kept.index(axis)] = vector.shape[0]
            return vector.reshape(shape)

        def features(kept: Sequence[int]) -> jax.Array:
            return group * how.features + counted(how.features, len(kept), len(kept) + 1)

        def vectors(i: jax.Array | int) -> list[jax.Array]:
            starts = [places[0] * how.loops + i, *places[1:]]
            return [start * step + counted(step, 0, 1) for start, step in zip(starts, how.tile, strict=True)]

        def inside(rows: Sequence[jax.Array], kept: Sequence[int]) -> jax.Array:
            found = features(kept) < tensor.features
            for axis in kept:
                found &= arranged(rows[axis] < tensor.sizes[axis], axis, kept)
            return found

        def present(rows: Sequence[jax.Array], kept: Sequence[int]) -> jax.Array:
            found = inside(rows, kept)
            for axis in kept:
                label = tensor.labels[axis]
                if label in marked:
                    there = load(marked[label], (sample, rows[axis]), rows[axis] < tensor.sizes[axis]) != 0
                    found &= arranged(there, axis, kept)
            return found

        def write(number: int, part: jax.Array, rows: Sequence[jax.Array], value: jax.Array, mask: jax.Array) -> None:
            kept = spec.steps[number].kept(axes)
            index = [arranged(rows[axis], axis, kept) for axis in kept]
            store(outs[number], (sample, part, *index, features(kept)), value, mask)

        def tile(i: jax.Array, total: jax.Array) -> jax.Array:
            rows, every = vectors(i), tuple(range(axes))
            index = tensor.index(sample, [arranged(rows[axis], axis, every) for axis in every], features(every))
            values = load(x_ref, index, present(rows, every)).astype(jnp.float32)
            for number, step in enumerate(spec.steps):
                kept = step.kept(axes)
                if step.operation == "diagonal":
                    same = [*rows]
                    same[step.axes[1]] = rows[step.axes[0]]
                    along = [arranged(same[axis], axis if axis in kept else step.axes[0], kept) for axis in every]
                    own = places[step.axes[1]] == 0
                    found = load(x_ref, tensor.index(sample, along, features(kept)), present(rows, kept) & own)
                    write(number, jnp.int32(0), rows, found, inside(rows, kept) & own)
                elif number not in first:
                    (axis,) = step.axes
                    write(number, places[axis], rows, values.sum(axis), inside(rows, kept))
            return total + values if first else total

        empty = jnp.zeros((*how.tile, how.features), jnp.float32) if first else jnp.int32(0)
        total = lax.fori_loop(0, how.loops, tile, empty)
        for number in first:
            rows = vectors(0)
            write(number, places[0], rows, total.sum(0), inside(rows, spec.steps[number].kept(axes)))

    grid = (spec.batch, math.prod(how.tiles) * how.groups)
    operands = [x, *(marks[name] for name in names)]
    found = launch(body, grid, operands, results, name="reduce", mode=mode, warps=8)
    return [part.sum(1) for part in found]


def reduction_bytes(spec: Reduction) -> int:
    """Count the bytes that the programs of a reduction load and store, and that the sum of their parts moves."""
    tensor = spec.tensor
    if not spec.steps or not spec.batch * tensor.entries:
        return 0
    found = spec.batch * tensor.entries * spec.itemsize
    for step in spec.steps:
        small, parts = spec.batch * step.small(tensor).entries, spec.parts(step)
        found += 4 * small * (2 * parts + 1 if parts > 1 else parts)
        if step.operation == "diagonal":
            found += small * spec.itemsize
    return found
