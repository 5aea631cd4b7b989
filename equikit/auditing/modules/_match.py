"""Fit an unknown action to pairs of arrays: a permutation or a matrix on some axes, checked on held-out samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

MOST_ROWS = 4096
"""The largest axis on which a permutation is sought."""
MOST_ENTRIES = 384
"""The largest number of features on which a matrix is fitted."""
SPARE = 1.25
"""Equations for each unknown of a row of the matrix, at least. The samples of the check are others."""


def rms(array: np.ndarray) -> float:
    """Return the root mean square of the entries; zero if there are none.

    Largest entries would not do: a sum in half precision rarely changes with its input, but then by much.
    """
    return float(np.sqrt(np.mean(np.abs(array) ** 2))) if array.size else 0.0


def divided(samples: int) -> tuple[slice, slice]:
    """Return two thirds of the samples for a fit, and the others for its check; one sample is used for both."""
    middle = samples - samples // 3 if samples > 2 else 1
    return slice(0, middle), slice(middle if samples > 1 else 0, samples)


def permutation_error(first: np.ndarray, second: np.ndarray, axis: int) -> float:
    """Return the difference after the best permutation of one axis that two thirds of the samples show.

    Args:
        first, second: an activation at x and at g x, `[samples, ...]`.
        axis: the axis, not the first one.
    """
    size = first.shape[axis]
    fit, check = divided(len(first))
    rows = [np.moveaxis(a, axis, 0).reshape(size, -1) for a in (first[fit], second[fit])]
    weights = np.random.default_rng(0).normal(size=(rows[0].shape[1], 1))
    order = [np.argsort((a @ weights).ravel().real, kind="stable") for a in rows]
    held = [np.moveaxis(a[check], axis, 0)[places] for a, places in zip((first, second), order, strict=True)]
    return rms(held[0] - held[1])


def subsets(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield sets of axes after the first one on which a matrix could act, the smallest matrices first."""
    axes = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    some = [chosen for count in range(1, len(axes) + 1) for chosen in itertools.combinations(axes, count)]
    yield from sorted(some, key=lambda chosen: (math.prod(shape[axis] for axis in chosen), chosen))


def is_determined(shape: Sequence[int], axes: Sequence[int]) -> bool:
    """Whether there are enough samples to fit a matrix on these axes, and to check it."""
    size = math.prod(shape[axis] for axis in axes)
    fit = len(range(shape[0])[divided(shape[0])[0]])
    rest = math.prod(shape[1:]) // size
    return shape[0] > 1 and size <= MOST_ENTRIES and fit * rest >= SPARE * size


def matrix_error(first: np.ndarray, second: np.ndarray, axes: Sequence[int], noise: float) -> tuple[float, float]:
    r"""Fit \\(h(g x) = M h(x)\\) by least squares on two thirds of the samples, and check it on the others.

    Args:
        first, second: an activation at x and at g x, `[samples, ...]`.
        axes: the axes on which the matrix acts, jointly.
        noise: the rounding error of entries; directions of the activation that are smaller are left out.

    Returns:
        The error on the held-out samples, and the norm of the matrix. If the activation has a constant part in a
        direction in which it does not vary, a matrix could send this part to any constant, so that every shift would be
        linear. The matrix therefore has to fix this direction; the error is also the error of that, if it is larger
        than rounding explains.
    """
    size = math.prod(first.shape[axis] for axis in axes)
    fit, check = divided(len(first))

    def columns(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, axes, range(-len(axes), 0)).reshape(-1, size)

    given, wanted = columns(first[fit]), columns(second[fit])
    u, s, v = np.linalg.svd(given, full_matrices=False)
    kept = s > max(4 * noise * math.sqrt(len(given)), 1e-12 * (s[0] if len(s) else 0.0))
    matrix = (v[kept].conj().T / s[kept]) @ (u[:, kept].conj().T @ wanted)
    error = rms(columns(second[check]) - columns(first[check]) @ matrix)
    still = _constant(given, noise)
    # The error of a row of the matrix is the noise over the singular values of the direction.
    doubt = float(np.linalg.norm((still @ v[kept].conj().T) / s[kept]))
    error = max(error, rms(still @ matrix - still) / max(1.0, doubt))
    return error, float(np.linalg.norm(matrix, 2)) if kept.any() else 0.0


def _constant(rows: np.ndarray, noise: float) -> np.ndarray:
    """Return the part of the mean of rows that is orthogonal to their variation; zero if rounding explains it."""
    mean = rows.mean(0)
    _, s, v = np.linalg.svd(rows - mean, full_matrices=False)
    varied = v[s > 4 * noise * math.sqrt(len(rows))]
    rest = mean - mean @ varied.conj().T @ varied
    return rest if rms(rest) > 4 * noise else np.zeros_like(rest)
