"""Name a single matrix as the generator of a one-parameter group: rotation, boost, scaling, shear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equikit.groups.lie._part import Part, verified

MOST_SPEED = 12
"""The largest integer among commensurate speeds of rotations, or weights of scalings."""

MOST_BOUND = 0.1
"""The largest number that counts as zero for a matrix of norm one, with any tolerance."""


def one_parameter(matrix: NDArray[np.float64], tolerance: float) -> Part | None:
    """Return the name of the group of exponentials of a matrix, with its standard basis, or `None`.

    Up to a factor, the matrix is a multiple of the identity (scaling), diagonal with integers (scaling with weights; a
    boost for weights 1 and -1), a sum of rotations with integer speeds, or nilpotent (a shear if its square is zero).
    """
    n = len(matrix)
    matrix = matrix / np.linalg.norm(matrix)
    bound = min(10 * max(tolerance, 1e-12), MOST_BOUND)
    values, vectors = np.linalg.eig(matrix)
    if np.linalg.norm(matrix @ matrix) < bound:
        return _shear(matrix, bound)
    if abs(values).max() < bound ** (1 / n):
        return None
    if np.all(abs(values.imag) < bound):
        order = np.argsort(-values.real, kind="stable")
        weights = _commensurate(values.real[order], bound)
        return None if weights is None else _scaling(matrix, weights, vectors.real[:, order], bound)
    if np.all(abs(values.real) < bound):
        return _rotation(matrix, values, vectors, bound)
    return None


def _commensurate(values: NDArray[np.float64], bound: float) -> list[int] | None:
    """Return integers without common factor that are proportional to numbers, or `None`."""
    unit = values[np.argmax(abs(values))]
    for denominator in range(1, MOST_SPEED + 1):
        scaled = values / unit * denominator
        if np.max(abs(scaled - np.round(scaled))) < denominator * bound / abs(unit):
            return [round(x) for x in scaled]
    return None


def _scaling(
    matrix: NDArray[np.float64], weights: list[int], vectors: NDArray[np.float64], bound: float
) -> Part | None:
    if sum(weights) < 0 or (sum(weights) == 0 and weights[0] < 0):
        weights = [-w for w in weights]
    order = np.argsort([-w for w in weights], kind="stable")
    weights, vectors = [weights[i] for i in order], vectors[:, order]
    n = len(weights)
    if set(weights) == {1}:
        return verified("R+ (scaling)", np.eye(n), np.eye(n)[None], matrix[None], bound)
    if set(weights) == {1, -1} and n == 2:
        return verified(
            "SO+(1, 1)",
            vectors @ np.array([[1, 1], [1, -1]]) / 2,
            np.array([[[0.0, 1], [1, 0]]]),
            matrix[None],
            bound,
            (1, 1),
        )
    text = ", ".join(map(str, weights))
    return verified(
        f"R+ (scaling with weights {text})", vectors, np.diag(weights).astype(float)[None], matrix[None], bound
    )


def _rotation(
    matrix: NDArray[np.float64], values: NDArray[np.complex128], vectors: NDArray[np.complex128], bound: float
) -> Part | None:
    turning = np.flatnonzero(values.imag > bound)
    turning = turning[np.argsort(-values.imag[turning], kind="stable")]
    speeds = _commensurate(values.imag[turning], bound)
    still = np.flatnonzero(abs(values.imag) <= bound)
    if speeds is None:
        speeds_text = ", ".join(f"{value:.3g}" for value in values.imag[turning] / values.imag[turning].max())
        standard = values.imag[turning]
        name = f"R (rotations with incommensurate speeds {speeds_text})"
    else:
        standard = np.array(speeds, float)
        text = ", ".join(map(str, speeds))
        name = "SO(2)" if set(speeds) == {1} else f"SO(2) (rotations with speeds {text})"
    columns, blocks = [], []
    for place, speed in zip(turning, standard, strict=True):
        columns += [vectors[:, place].real, -vectors[:, place].imag]
        blocks.append(speed * np.array([[0.0, -1], [1, 0]]))
    n, size = len(matrix), 2 * len(turning)
    form = np.zeros((n, n))
    for i, block in enumerate(blocks):
        form[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
    basis = np.stack(columns + [vectors[:, place].real for place in still], axis=1)
    metric = (2, 0) if n == size == 2 else None
    return verified(name, basis, form[None], matrix[None], bound, metric)


def _shear(matrix: NDArray[np.float64], bound: float) -> Part | None:
    """A matrix of square zero: e_k to its image for each k up to its rank."""
    left, singular, right = np.linalg.svd(matrix)
    rank, n = int(np.sum(singular > bound**0.5)), len(matrix)
    images = left[:, :rank] * singular[:rank]
    kernel = right[rank:]
    rest = kernel - kernel @ images @ np.linalg.pinv(images) if rank else kernel
    _, _, rows = np.linalg.svd(rest)
    others = rows[: n - 2 * rank]
    basis = np.concatenate([images, right[:rank].T, others.T], axis=1)
    standard = np.zeros((n, n))
    standard[:rank, rank : 2 * rank] = np.eye(rank)
    return verified(
        "R (shear)" if rank == 1 else f"R (shear of rank {rank})", basis, standard[None], matrix[None], bound
    )
