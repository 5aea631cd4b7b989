"""The null space of constraints: where the gap is, and how noisy the null directions are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from equikit._errors import GroupError
from equikit.discover._motions import Array

CLOSE = 1.5
"""Of two gaps, the larger one decides if it is larger by this factor."""


@dataclass(frozen=True, slots=True, eq=False)
class NullSpace:
    """Null directions of constraints.

    Attributes:
        vectors: orthonormal `[dimension, unknowns]`.
        spectrum: all singular values, relative to the largest one, in descending order.
        gap: the smallest singular value above the gap over the largest below it.
        noise: the error of the null space, as the sine of an angle: between halves of the samples.
        worst: an upper limit of it, one over the gap.
        others: the dimension and the gap at each other gap, the largest gap first.
        close: the dimensions of other null spaces whose gap is nearly as large, or larger in half of the samples.
    """

    vectors: Array
    spectrum: Array
    gap: float
    noise: float
    worst: float
    others: tuple[tuple[int, float], ...]
    close: tuple[int, ...]


def null_spaces(rows: Array, allowed: Array, precision: float, least_gap: float, most: float) -> Iterator[NullSpace]:
    """Yield null spaces with a gap, the largest gap first.

    Args:
        rows: constraints `[samples, outputs, unknowns]`.
        allowed: orthonormal rows that span the unknowns to search.
        precision: rounding errors of the constraints, relative to the largest singular value.
        least_gap: the smallest ratio of neighboring singular values that counts as a gap.
        most: the largest relative singular value of a null direction.

    Raises:
        GroupError: if there is no gap.
    """
    rows = rows @ allowed.T
    spectrum, vectors = _decomposed(rows)
    halves = [_decomposed(half) for half in (rows[0::2], rows[1::2])]
    ratios, *partial = (
        (values[:-1] + precision) / (values[1:] + precision) for values in (spectrum, *(half[0] for half in halves))
    )
    places = [i for i in np.argsort(-ratios, kind="stable") if ratios[i] >= least_gap and spectrum[i + 1] <= most]
    if not places:
        raise no_gap(spectrum, least_gap, most)
    for place in places:
        one, other = (half[1][place + 1 :] for half in halves)
        noise = float(np.linalg.norm(one - one @ other.T @ other, 2)) / 2
        gap = float(ratios[place])
        others = tuple((int(len(spectrum) - i - 1), float(ratios[i])) for i in places if i != place)
        close = tuple(
            int(len(spectrum) - i - 1)
            for i in places
            if ratios[i] < ratios[place] and (CLOSE * ratios[i] > gap or any(half[i] > half[place] for half in partial))
        )
        error = min(1 / gap, max(noise, precision))
        yield NullSpace(vectors[place + 1 :] @ allowed, spectrum, gap, error, 1 / gap, others, close)


def no_gap(spectrum: Array, least_gap: float, most: float) -> GroupError:
    """Return the error for a function without a symmetry that stands out."""
    ratios = spectrum[:-1][spectrum[1:] <= most] / np.maximum(spectrum[1:][spectrum[1:] <= most], 1e-300)
    smaller = math.floor(10 * np.max(ratios, initial=0)) / 10
    accept = f", or accept a smaller gap with least_gap={smaller:g}" if 1 < smaller < least_gap else ""
    shown = ", ".join(f"{value:.2g}" for value in spectrum[-24:])
    return GroupError(
        "no Lie algebra stands out: the singular values have no gap",
        got=f"{'the smallest of them ' if len(spectrum) > 24 else ''}{shown}",
        expected=f"small values, at most {most:g}, and the next one at least {least_gap:g} times larger",
        step=f"fit the function more accurately{accept}; otherwise it has no continuous symmetry",
    )


def _decomposed(rows: Array) -> tuple[Array, Array]:
    """Return relative singular values and right singular vectors."""
    flat = rows.reshape(-1, rows.shape[-1])
    triangle = np.linalg.qr(flat, mode="r")
    _, singular, vectors = np.linalg.svd(triangle)
    spectrum = np.zeros(rows.shape[-1])
    spectrum[: len(singular)] = singular / max(float(singular[0]), 1e-300)
    return spectrum, vectors
