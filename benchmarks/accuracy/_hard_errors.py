"""Errors of a method on moved copies, and whether they are right, reported, needlessly reported, or silent.

The results for copies are transformed to one frame in float64, where all should agree. The error of *outputs* is the
largest difference of any two copies in any entry of the energy or the vectors, over the largest entry of these of all
copies. The error of *forces* is the same for the gradient of the energy times the scale of the input, over the largest
entry of the forces or the outputs, whichever is larger; or the difference from finite differences of the energy in
float64 along two directions, normalized in the same way, if that is larger.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.accuracy._hard_copies import Copies, largest
from benchmarks.accuracy._hard_programs import Program, Results

KINDS = ("right", "reported", "needless", "silent")
RIGHT = {"float32": 1e-4, "float64": 1e-8}
"""Larger errors are wrong."""
EXACT = {"float32": 1e-6, "float64": 1e-12}
"""If outputs agree to this, and forces are right, no report is needed."""
SLOPES = {"float32": 1e-4, "float64": 1e-5}
"""Forces that differ by more from finite differences are wrong."""
STEP, JUMP = 1e-4, 20.0
"""The step of finite differences over the scale; an energy that changes by more than JUMP steps is not continuous."""


def precise(dtype: str) -> Any:
    """Return a context in which arrays can have a dtype."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def spread(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Return the largest difference of any two copies in any entry, `[inputs]`; infinite if one is not finite.

    Args:
        values: `[inputs, copies, ...]`.
        use: which copies count, `[inputs, copies]`.
    """
    values = values.reshape(*use.shape, -1)
    use = use[..., None]
    with np.errstate(invalid="ignore"):
        high = np.max(np.where(use, values, -np.inf), axis=1)
        low = np.min(np.where(use, values, np.inf), axis=1)
        found = np.max(np.where(use.any(axis=1), high - low, 0), axis=-1, initial=0)
    bad = np.any(~np.isfinite(values) & use, axis=(1, 2))
    return np.where(bad, np.inf, found)


@dataclass(frozen=True)
class Errors:
    """Errors of inputs, `[inputs]`.

    Attributes:
        outputs, forces: over all copies.
        silent_outputs, silent_forces: over copies that are not reported.
        slopes: of forces against finite differences, at the input itself; zero where it is reported, or where the
            energy has no derivative.
        reported: whether any copy is.
    """

    outputs: np.ndarray
    forces: np.ndarray
    silent_outputs: np.ndarray
    silent_forces: np.ndarray
    slopes: np.ndarray
    reported: np.ndarray

    def kinds(self, dtype: str, right: float | None = None) -> dict[str, np.ndarray]:
        """Return the kinds of outputs and forces of each input, as indices of `KINDS`."""
        right = RIGHT[dtype] if right is None else right
        needless = self.reported & (self.outputs < EXACT[dtype]) & (self.forces < right)
        said = np.where(needless, 2, np.where(self.reported, 1, 0))
        wrong = (self.silent_forces > right) | (self.slopes > SLOPES[dtype])
        return {"outputs": np.where(self.silent_outputs > right, 3, said), "forces": np.where(wrong, 3, said)}


def errors(copies: Copies, found: Results, flagged: Results | None = None, slopes: np.ndarray | None = None) -> Errors:
    """The errors of results `[inputs, copies]`.

    Args:
        flagged: of the same method without refusals, by which reports are judged.
        slopes: F · v and its finite difference along some directions, `[inputs, directions, 2]`; not finite where there
            is none.
    """
    kept, size, force_size = _compared(copies, found)
    free, free_size, free_force_size = _compared(copies, flagged or found)
    use, everyone = ~found.reported, np.ones_like(found.reported)
    wrong = np.zeros(len(size))
    if slopes is not None:
        with np.errstate(invalid="ignore"):
            wrong = np.abs(slopes[..., 0] - slopes[..., 1]) / force_size[:, None]
        wrong = np.max(np.where(np.isfinite(wrong) & use[:, :1], wrong, 0), axis=1)
    return Errors(
        spread(free[0], everyone) / free_size,
        spread(free[1], everyone) / free_force_size,
        spread(kept[0], use) / size,
        spread(kept[1], use) / force_size,
        wrong,
        found.reported.any(axis=1),
    )


def _compared(copies: Copies, results: Results) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Return outputs and forces in one frame, and the scales of their errors."""
    vector = copies.together(results.vector)
    flat = np.concatenate([results.energy[..., None], vector.reshape(*results.energy.shape, -1)], axis=-1)
    force = copies.together(results.force, covariant=True)
    size = np.where(largest(flat) > 0, largest(flat), 1)
    return (flat, force), size, np.maximum(largest(force), size)


def slopes(program: Program, copies: Copies, found: Results, seed: int = 0) -> np.ndarray:
    """Return F · v for two random directions v and the finite differences of the energy, `[inputs, 2, 2]`, in float64.

    Differences are central, so that at a kink they are the mean of both sides. They count only where the energy is
    continuous and the same in both dtypes, half a step tells the same, and the difference along the sum of the
    directions is the sum of the differences. Inputs are not moved; those that are reported are left out.
    """
    told = np.full((copies.shape[0], 2, 2), np.nan)
    chosen = np.flatnonzero(~found.reported[:, 0])
    if not len(chosen):
        return told
    first, there, order = (array[chosen, 0] for array in (copies.arrays, copies.there, copies.order))
    scale, force = copies.scale[chosen], found.force[chosen, 0]
    v, w = directions = _directions(first, there, copies.turns is None, np.random.default_rng(seed + 2))
    both = v + w
    steps = np.stack([v, -v, w, -w, both, -both, both / 2, -both / 2, 0 * both])
    arrays = (first + STEP * steps * scale[:, None, None]).reshape(-1, *first.shape[1:])
    present, rank, sizes = (np.concatenate([array] * len(steps)) for array in (there, order, scale))
    with precise("float64"):
        energy = program.rows(arrays, present, rank, sizes, "float64")[0].reshape(len(steps), len(chosen))
    size = 1 + largest(force)
    with np.errstate(invalid="ignore"):
        along_v, along_w, along_both, half = (energy[0:8:2] - energy[1:8:2]) / (2 * STEP)
        jumps = np.abs(energy[0:8:2] + energy[1:8:2] - 2 * energy[8])
        good = np.all(jumps < JUMP * STEP * size, axis=0)
        for other in (2 * half, along_v + along_w):
            good &= np.abs(along_both - other) < SLOPES["float32"] * size / 4
        # Two numbers that are equal to a few roundings are tied in one dtype and not in the other: another function.
        good &= np.abs(found.energy[chosen, 0] - energy[8]) < SLOPES["float32"] * size
        slope = np.where(good, np.stack([along_v, along_w]), np.nan)
    told[chosen] = np.stack([np.einsum("kipx,ipx->ik", directions, force), slope.T], axis=-1)
    return told


def _directions(first: np.ndarray, there: np.ndarray, symmetric: bool, generator: np.random.Generator) -> np.ndarray:
    """Return two random directions `[2, inputs, size, d]` of length one along which points, or weights, can move."""
    v = generator.normal(size=(2, *first.shape)) * there[..., None]
    if symmetric:
        v = (v + v.swapaxes(-1, -2)) * there[:, None, :]
    length = np.sqrt(np.sum(v**2, axis=(-1, -2), keepdims=True))
    found: np.ndarray = v / np.where(length > 0, length, 1)
    return found
