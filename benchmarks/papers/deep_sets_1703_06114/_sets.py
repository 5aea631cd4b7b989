"""The sets: bags of Gaussian points, digits to add up, sets with an outlier, and sets to expand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.data.digits import Digits, digits

IMAGES = 1300
"""Images for training; the other 497 are for tests."""


@dataclass(frozen=True)
class Bags:
    """Bags of points `[bags, points, 2]`, their parameters, and the statistics to estimate."""

    points: np.ndarray
    parameters: np.ndarray
    targets: np.ndarray


def bags(task: str, count: int, points: int, seed: int) -> Bags:
    r"""Sample bags of normal points in the plane, whose parameter is spaced evenly.

    *entropy*: one covariance, the same for all seeds, is rotated by angles from 0 to π; the target is the entropy of
    the first coordinate, \(\tfrac12 \log(2 \pi e \Sigma_{11})\). *mutual information*: both coordinates have variance
    one and correlation r; the target is \(-\tfrac12 \log(1 - r^2)\).
    """
    random = np.random.default_rng(seed)
    normal = random.normal(size=(count, points, 2))
    if task == "entropy":
        factor = np.random.default_rng(3).random((2, 2))
        parameters = np.linspace(0, np.pi, count)
        turn = np.array([[np.cos(parameters), -np.sin(parameters)], [np.sin(parameters), np.cos(parameters)]])
        roots = np.einsum("ijk,jl->kil", turn, factor)
        targets = 0.5 * np.log(2 * np.pi * np.e * np.sum(roots[:, 0] ** 2, axis=-1))
    else:
        parameters = np.linspace(-0.99, 0.99, count)
        zero = np.zeros(count)
        roots = np.array([[zero + 1, zero], [parameters, np.sqrt(1 - parameters**2)]]).transpose(2, 0, 1)
        targets = -0.5 * np.log(1 - parameters**2)
    found = np.einsum("kij,knj->kni", roots, normal)
    return Bags(found.astype(np.float32), parameters, targets.astype(np.float32))


def symbols() -> Digits:
    """The ten digits as one-hot vectors."""
    return Digits(np.eye(10, dtype=np.float32), np.arange(10, dtype=np.int32))


def images(seed: int) -> tuple[Digits, Digits]:
    """Images of 64 pixels for training and for tests.

    Raises:
        Skip: where scikit-learn is not installed.
    """
    found = digits(seed)
    flat = Digits(found.inputs.reshape(len(found), -1), found.labels)
    return flat.take(slice(0, IMAGES)), flat.take(slice(IMAGES, len(found)))


def sums(of: Digits, count: int, longest: int, seed: int, shortest: int | None = None) -> tuple[np.ndarray, ...]:
    """Return which images are added up `[count, longest]`, how many `[count]`, and the sums of their digits, float32.

    Zeros are left out, as by the authors. Places after the last image repeat image 0 and do not count.
    """
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest or 1, longest + 1, count)
    which = random.choice(np.flatnonzero(of.labels), (count, longest))
    there = np.arange(longest) < lengths[:, None]
    total = np.sum(of.labels[which] * there, axis=1)
    return np.where(there, which, 0).astype(np.int32), lengths.astype(np.int32), total.astype(np.float32)


def outliers(of: Digits, count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sets of images of one digit, except for one `[count, size]`, and the place of that one `[count]`."""
    random = np.random.default_rng(seed)
    by_digit = [np.flatnonzero(of.labels == digit) for digit in range(10)]
    usual = random.integers(0, 10, count)
    other = (usual + random.integers(1, 10, count)) % 10
    which = np.stack([random.choice(by_digit[digit], size) for digit in usual])
    place = random.integers(0, size, count)
    which[np.arange(count), place] = [random.choice(by_digit[digit]) for digit in other]
    return which.astype(np.int32), place.astype(np.int32)


def queries(of: Digits, count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sets of different images of one digit `[count, size]`, another one of it, and one of another digit."""
    random = np.random.default_rng(seed)
    by_digit = [np.flatnonzero(of.labels == digit) for digit in range(10)]
    usual = random.integers(0, 10, count)
    drawn = np.stack([random.choice(by_digit[digit], size + 1, replace=False) for digit in usual])
    wrong = (usual + random.integers(1, 10, count)) % 10
    others = np.array([random.choice(by_digit[digit]) for digit in wrong])
    return drawn[:, :size].astype(np.int32), drawn[:, size].astype(np.int32), others.astype(np.int32)
