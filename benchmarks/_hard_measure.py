"""Moved copies of hard inputs, what a method makes of them, and whether it is right, or reported.

Every input is rounded to the dtype, and so is every copy, after it was moved in float64: two copies differ by their
rounding. What the method returns is moved back in float64, so that all copies should agree. The *error* is the largest
difference between any two copies in any entry of any output, over the largest entry of all outputs of all copies; that
of forces is the same for the gradient of the energy times the scale of the input, over the larger of the largest entry
of the forces and of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._hard_clouds import Cloud
from benchmarks._hard_methods import Rival

KINDS = ("right", "reported", "needless", "silent")
RIGHT = {"float32": 1e-4, "float64": 1e-8}
EXACT = {"float32": 1e-6, "float64": 1e-12}
COPIES, BATCH, SIZE = 5, 128, 12


@dataclass(frozen=True)
class Copies:
    """Inputs and their moved copies, `[inputs, copies, ...]`, in float64 but rounded to a dtype.

    Attributes:
        points: `[inputs, copies, size, d]`.
        there, order: `[inputs, copies, size]`, which points there are, and which point of the input each one is.
        turns: `[inputs, copies, d, d]`.
        scale: `[inputs]`.
    """

    points: np.ndarray
    there: np.ndarray
    order: np.ndarray
    turns: np.ndarray
    scale: np.ndarray

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of points `[inputs, copies, size, d]` of copies, as those of the input."""
        turned = np.einsum("icpx,icxy->icpy", vectors, np.linalg.inv(self.turns).swapaxes(-1, -2))
        found = np.zeros_like(turned)
        np.put_along_axis(found, self.order[..., None], turned, axis=2)
        return np.where(self.there[:, :1, :, None], found, 0)


def random_turns(turns: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Random elements `[*shape, 3, 3]` of O(3) or H(3), or unit matrices."""
    if turns == "O(3)":
        q, r = np.linalg.qr(generator.normal(size=(*shape, 3, 3)))
        found: np.ndarray = q * np.sign(np.einsum("...ii->...i", r))[..., None, :]
        return found
    found = np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy()
    if turns == "H(3)":
        found = generator.permuted(found, axis=-2) if False else found[..., generator.permutation(3), :]
        found = found * generator.choice([-1.0, 1.0], size=(*shape, 1, 3))
    return found


def moved(
    clouds: Sequence[Cloud], rival: Rival, dtype: str, seed: int, size: int = SIZE, copies: int = COPIES
) -> Copies:
    """The clouds as they are, and moved at random by what the method takes."""
    generator = np.random.default_rng(seed + 1)
    shape = len(clouds), copies
    counts = np.array([len(cloud.points) for cloud in clouds])
    there = np.broadcast_to(np.arange(size) < counts[:, None, None], (*shape, size))
    points = np.stack([np.pad(cloud.points, ((0, size - len(cloud.points)), (0, 0))) for cloud in clouds])
    scale = np.array([cloud.scale for cloud in clouds])
    if not rival.translates:  # the backbone sees where the points are
        scale = np.maximum(scale, largest(points[:, None]))
    with np.errstate(all="ignore"):
        points = points.astype(dtype).astype(np.float64)
        turns = random_turns(rival.turns, shape, generator)
        shifts = generator.normal(size=(*shape, 1, 3)) * scale[:, None, None, None] * rival.translates
        order = np.broadcast_to(np.arange(size), (*shape, size)).copy()
        if rival.permutes:
            # Absent points stay last.
            order = np.argsort(generator.random(order.shape) + ~there, axis=-1)
        turns[:, 0], shifts[:, 0], order[:, 0] = np.eye(3), 0, np.arange(size)
        new = np.take_along_axis(points[:, None], order[..., None], axis=2)
        new = np.where(there[..., None], np.einsum("icpx,icyx->icpy", new, turns) + shifts, 0)
        new[:, 0] = points
        return Copies(new.astype(dtype).astype(np.float64), there, order, turns, scale)


@dataclass(frozen=True)
class Results:
    """What a method returned for inputs `[*batch]`, in float64: energy, vectors of points, forces times scale."""

    energy: np.ndarray
    vector: np.ndarray
    force: np.ndarray
    reported: np.ndarray
    refused: np.ndarray

    def reshaped(self, *batch: int) -> Results:
        return Results(*(array.reshape(*batch, *array.shape[1:]) for array in vars(self).values()))


class Program:
    """A method as one compiled program for each dtype, for batches of one size."""

    def __init__(self, rival: Rival, size: int = SIZE, batch: int = BATCH, forces: bool = True) -> None:
        self.rival, self.size, self.batch = rival, size, batch
        sym = rival.symmetrized(size)

        def run(points: Any, scale: Any, mask: Any, order: Any, key: Any) -> Any:
            def energy(points: Any) -> Any:
                x = {"points": points, "rank": order} if rival.ranked else points
                y, info = sym(x, scale, mask=mask, key=key, with_info=True)
                return jnp.sum(y["energy"]), (y, info.degenerate | info.refused, info.refused)

            if forces:
                force, (y, reported, refused) = jax.grad(energy, has_aux=True)(points)
                force = force * scale[:, None, None]
            else:
                y, reported, refused = energy(points)[1]
                force = jnp.zeros_like(points[:, :0])
            return y["energy"], y["vector"], force, reported, refused

        self.run = jax.jit(run)

    def __call__(self, points: np.ndarray, there: np.ndarray, order: np.ndarray, scale: np.ndarray, dtype: str) -> Results:
        """The results of inputs `[rows, size, d]`, with the scale that each is divided by."""
        found = [self._some(*part, dtype) for part in self._parts(points, there, order, scale)]
        return Results(*(np.concatenate(arrays)[: len(points)] for arrays in zip(*found, strict=True)))

    def _parts(self, *arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
        for start in range(0, len(arrays[0]), self.batch):
            rows = np.arange(start, start + self.batch) % len(arrays[0])
            yield [array[rows] for array in arrays]

    def _some(self, points: np.ndarray, there: np.ndarray, order: np.ndarray, scale: np.ndarray, dtype: str) -> Any:
        with np.errstate(all="ignore"):
            arrays = points.astype(dtype), scale.astype(dtype)
        mask = {"p": there} if self.rival.permutes else None
        key = jax.random.key(0) if self.rival.keyed else None
        found = self.run(*arrays, mask, order.astype(dtype), key)
        return tuple(np.asarray(array, np.float64 if array.dtype != bool else bool) for array in found)


def spread(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    """The largest difference of two copies in any entry, `[inputs]`; infinite where one is not finite.

    Args:
        values: `[inputs, copies, entries]`.
        use: `[inputs, copies]`, which copies count.
    """
    with np.errstate(all="ignore"):
        high = np.max(np.where(use[..., None], values, -np.inf), axis=1, initial=-np.inf)
        low = np.min(np.where(use[..., None], values, np.inf), axis=1, initial=np.inf)
        found = np.max(high - low, axis=-1, initial=0)
    found = np.where(use.any(axis=1), found, 0)
    bad = np.any(~np.isfinite(values) & use[..., None], axis=(1, 2))
    return np.where(bad, np.inf, np.maximum(found, 0))


def largest(values: np.ndarray) -> np.ndarray:
    """The largest finite entry of all copies, `[inputs]`."""
    found: np.ndarray = np.max(np.where(np.isfinite(values), np.abs(values), 0), axis=tuple(range(1, values.ndim)), initial=0)
    return found


@dataclass(frozen=True)
class Errors:
    """Errors of inputs, `[inputs]`: of outputs and forces, over all copies and over those that are not reported."""

    outputs: np.ndarray
    forces: np.ndarray
    unreported: np.ndarray
    forces_unreported: np.ndarray
    reported: np.ndarray

    def kinds(self, dtype: str, right: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What each input is, and its forces are: an index of `KINDS`.

        A report is needless where outputs agree to `EXACT`, and forces are right.
        """
        right = RIGHT[dtype] if right is None else right
        needless = self.reported & (self.outputs < EXACT[dtype]) & (self.forces < right)
        first = np.where(needless, 2, np.where(self.reported, 1, 0))
        return np.where(self.unreported > right, 3, first), np.where(self.forces_unreported > right, 3, first)


def errors(copies: Copies, found: Results, flagged: Results | None = None) -> Errors:
    """The errors of results `[inputs, copies]`; where a method refuses, those of `flagged` tell whether it has to."""
    size = [largest(_entries(copies, results)) for results in (found, flagged or found)]
    sizes = [np.maximum(np.where(one > 0, one, 1), 0) for one in size]
    unreported, everyone = ~found.reported, np.ones_like(found.reported)

    def both(results: Results, use: np.ndarray, one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        force = copies.back(results.force) if results.force.shape[2] else results.force
        flat = force.reshape(*force.shape[:2], -1)
        return spread(_entries(copies, results), use) / one, spread(flat, use) / np.maximum(largest(flat), one)

    return Errors(
        *both(flagged or found, everyone, sizes[1]), *both(found, unreported, sizes[0]), found.reported.any(axis=1)
    )


def _entries(copies: Copies, results: Results) -> np.ndarray:
    back = copies.back(results.vector)
    return np.concatenate([results.energy[..., None], back.reshape(*back.shape[:2], -1)], axis=-1)


def evaluated(program: Program, copies: Copies, dtype: str) -> Results:
    """The results of all copies, `[inputs, copies]`."""
    shape = copies.there.shape[:2]

    def flat(array: np.ndarray) -> np.ndarray:
        return array.reshape(shape[0] * shape[1], *array.shape[2:])

    scale = np.repeat(copies.scale, shape[1])
    arrays = flat(copies.points), flat(copies.there), flat(copies.order), scale
    return program(*arrays, dtype).reshaped(*shape)
