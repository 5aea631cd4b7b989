"""Whether a frame's estimate of the error of its elements covers the error, and how closely."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jax
import numpy as np

import equikit as ek
from benchmarks.accuracy._hard_copies import Input, rounded
from benchmarks.accuracy._hard_errors import precise
from benchmarks.accuracy._hard_methods import METHODS

HAS_DOUBT = "doubt" in {field.name for field in fields(ek.symmetrization.Info)}
COVERED, RATIO = 0.999, 20.0
"""The least fraction of inputs whose error is below the doubt; the largest median of doubt over error."""
BATCH = 500


def doubts(rival: str, inputs: list[Input]) -> tuple[np.ndarray, np.ndarray]:
    """Return the doubts of frames in float32, and their errors, `[inputs]` each.

    The error of a frame is the largest of its elements' matrices, in the largest entry of the difference from the
    nearest matrix of the frame in float64 of the input before it was rounded, over the largest entry of the matrix.
    """
    method, size = METHODS[rival], len(inputs[0].array)
    symmetrized = method.symmetrized(size)

    def frame(x: Any, rank: Any) -> Any:
        found = symmetrized.frame({"input": x, "rank": rank} if method.ranked else x)
        return found.elements.linear["x"], found.weights, found.info.doubt

    # The frames in float64 are compiled without their estimates, which no one reads.
    estimated, exactly = jax.jit(frame), jax.jit(lambda *given: frame(*given)[0])
    said, wrong = [], []
    for start in range(0, len(inputs), BATCH):
        exact = np.stack([one.array for one in inputs[start : start + BATCH]])
        rank = np.broadcast_to(np.arange(size), exact.shape[:2])
        narrow, weights, doubt = estimated(rounded(exact, "float32").astype(np.float32), rank.astype(np.float32))
        with precise("float64"):
            wide = np.asarray(exactly(exact, rank.astype(np.float64)))
        said.append(np.asarray(doubt, np.float64))
        wrong.append(_distances(np.asarray(narrow, np.float64), np.asarray(weights), wide))
    return np.concatenate(said), np.concatenate(wrong)


def _distances(narrow: np.ndarray, weights: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Return the largest distance of a matrix with positive weight to the nearest one, of `[elements, batch, d, d]`."""
    apart = np.abs(narrow[:, None] - wide[None]).max(axis=(-1, -2)).min(axis=1)
    size = np.abs(narrow).max(axis=(-1, -2))
    found: np.ndarray = np.max(np.where(weights > 0, apart / size, 0), axis=0)
    return found


def agreement(said: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """Return the fraction of inputs whose doubt is below the error, and the median of finite doubt over error."""
    ratio = said / np.where(wrong > 0, wrong, np.nan)
    ratio = ratio[np.isfinite(ratio)]
    return {
        "inputs": float(len(said)),
        "uncovered": float(np.mean(~(said >= wrong))),
        "infinite": float(np.mean(np.isinf(said))),
        "ratio": float(np.median(ratio)) if len(ratio) else float("nan"),
    }
