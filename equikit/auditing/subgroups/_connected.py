r"""The part of a Lie group that a function keeps: a Lie algebra, then elements of other components.

If f commutes with exp(tL) for all t, the derivative of the defect f(exp(tL) x) - exp(tL) f(x) at t = 0 vanishes. It is
linear in L, so the kept directions are its null space. Finite differences give this space to a few digits only; each
direction is then refined with elements exp(L) at a finite distance, until random products of these elements commute
with the function up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equikit.auditing._elements import algebra, exponential
from equikit.auditing._rounding import epsilon
from equikit.auditing.subgroups._components import kept_components
from equikit.auditing.subgroups._kept_group import KeptGroup
from equikit.auditing.subgroups._single import Single

SMALL = 0.2
"""Directions whose defect is below this part of the largest are tried."""

REFINEMENTS = 4
"""The largest number of steps by which a direction is refined."""

TRIALS = 3
"""The number of random elements that have to commute with the function."""


def kept_of_lie_group(single: Single) -> KeptGroup:
    """Return the subgroup of a group with a Lie algebra that a function keeps.

    Cost: two calls for each dimension of the Lie algebra, some more for each dimension that is kept, and one for each
    element of other components that is tried.
    """
    basis = algebra(single.group)
    found = kept_directions(single, basis)
    return kept_components(single, _combined(basis, found), connected=len(found) == len(basis))


def _combined(basis: Sequence[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(np.tensordot(row, np.stack(basis), 1)) for row in weights]


def kept_directions(single: Single, basis: Sequence[np.ndarray]) -> np.ndarray:
    """Return an orthonormal basis of the directions in a Lie algebra that are kept, `[kept, dimension]`."""
    every = np.eye(len(basis))
    if _verified(single, basis, every):
        return every
    step = epsilon(single.probe.precision) ** (1 / 3)
    columns = [_defect(single, basis, step * w) - _defect(single, basis, -step * w) for w in every]
    _, sizes, rows = np.linalg.svd(np.stack(columns, 1), full_matrices=False)
    ascending, small = rows[np.argsort(sizes)], int(np.sum(sizes <= SMALL * np.max(sizes)))
    for count in range(min(small, len(basis) - 1), 0, -1):
        directions = _refined(single, basis, ascending, count)
        if _verified(single, basis, directions):
            return directions
    # The derivative of a function with jumps says nothing: try the basis itself.
    axes = np.array([w for w in every if _verified(single, basis, w[None])]).reshape(-1, len(basis))
    return axes if len(axes) and _verified(single, basis, axes) else every[:0]


def _defect(single: Single, basis: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return single.defect(exponential(basis, weights))


def _refined(single: Single, basis: Sequence[np.ndarray], rows: np.ndarray, count: int) -> np.ndarray:
    """Refine the first directions, which are nearly kept, by Gauss-Newton steps across all others.

    The steps solve for a vanishing defect of exp(L), at a distance where the defect is far above rounding.
    """
    across, refined = rows[count:], []
    for start in rows[:count]:
        direction, step = start, 0.01
        here = _defect(single, basis, direction)
        slopes = np.stack([_defect(single, basis, direction + step * w) - here for w in across], 1) / step
        for _ in range(REFINEMENTS):
            change, *_ = np.linalg.lstsq(slopes, -here)
            trial = direction + np.clip(change, -SMALL, SMALL) @ across
            there = _defect(single, basis, trial)
            if np.linalg.norm(there) >= np.linalg.norm(here):
                break
            direction, here = trial, there
        refined.append(direction / np.linalg.norm(direction))
    return np.linalg.qr(np.stack(refined, 1))[0].T


def _verified(single: Single, basis: Sequence[np.ndarray], directions: np.ndarray) -> bool:
    """Whether a function commutes with random elements that directions generate."""
    seeds = single.probe.seeds
    for _ in range(TRIALS):
        weights = seeds.normal(size=len(directions))
        weights *= seeds.uniform(0.5, 1.5) / np.linalg.norm(weights)
        if not single.keeps(exponential(basis, weights @ directions)):
            return False
    return True
