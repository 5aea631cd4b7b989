"""Test finite elements of a discovered group on held-out samples: of the connected group, and reflections."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import expm

from equikit.auditing import upper_bound
from equikit.discover._motions import Array, Model, acted
from equikit.groups.lie import Recognized

ELEMENTS = 8
"""Random elements of the connected group that are tested."""

FAR, NEAR = 2.0, 0.3
"""The scale of their angles of rotations, and of boosts, which leave the region of the data."""

WORSE = 2.0
"""A reflection may be less accurate than elements of the connected group by this factor."""


def connected_errors(model: Model, known: Recognized, basis: Array, outputs: dict[str, Array], rows: Any) -> Array:
    """Return the mean error of random finite elements exp(L) of the connected group, for each sample, in [0, 1].

    Args:
        model: the function with its data.
        known: the name of the algebra and its standard matrices.
        basis: matrices of the algebra `[d, n, n]` in coordinates of the data.
        outputs: the matrices of the same elements on each label that only outputs have.
        rows: the numbers of the samples.
    """
    random = np.random.default_rng(0)
    turning = np.linalg.norm(known.standard + known.standard.swapaxes(1, 2), axis=(1, 2)) < 1e-9
    sizes = np.where(turning, FAR, NEAR)
    back = np.linalg.inv(known.change_of_basis)
    if known.known:
        matrices = known.change_of_basis @ known.standard @ back
    else:
        matrices = basis / np.linalg.norm(basis, 2, axis=(1, 2), keepdims=True)
    total = np.zeros(len(rows))
    for _ in range(ELEMENTS):
        drawn = np.tensordot(sizes * random.normal(size=len(sizes)), matrices, 1)
        parts = np.linalg.lstsq(basis.reshape(len(basis), -1).T, drawn.ravel(), rcond=None)[0]
        others = {label: expm(np.tensordot(parts, each, 1)) for label, each in outputs.items()}
        total += _errors(model, {model.roles.label: expm(drawn)} | others, rows)
    mean: Array = total / ELEMENTS
    return mean


def reflections(
    model: Model, known: Recognized, rows: Any, usual: float, confidence: float
) -> tuple[Recognized, dict[str, tuple[float, float]]]:
    """Test the reflections of every block with a metric, against elements of the connected group.

    Args:
        model: the function with its data.
        known: the connected group.
        rows: the numbers of the samples.
        usual: the mean error of elements of the connected group.
        confidence: of the bounds.

    Returns:
        The group with the reflections that the function has, and the mean error of each with its bound.
    """
    several = sum(block.signature is not None for block in known.blocks) > 1
    tested: dict[str, tuple[float, float]] = {}
    kept: list[list[str]] = []
    for place, block in enumerate(known.blocks):
        kept.append([])
        names = ["positive", "negative", "both"] if block.signature and all(block.signature) else ["positive"]
        for which in names if block.signature else ():
            errors = _errors(model, {model.roles.label: known.reflection(place, which)}, rows)
            mean = float(np.mean(errors))
            words = ["reflection", *([which] if len(names) > 1 else []), *([f"of {block}"] if several else [])]
            tested[" ".join(words)] = (mean, upper_bound(errors, confidence))
            if mean <= WORSE * usual + 10 * model.precision:
                kept[-1].append(which)
    return (known.with_reflections(kept) if any(kept) else known), tested


def _errors(model: Model, elements: dict[str, Array], rows: Any) -> Array:
    """Return how far a function is from commuting with an element, for each sample, in [0, 1].

    The unit is the root mean square distance of the outputs of two samples.
    """
    moved = model.moved(elements[model.roles.label], rows)
    total, unit = np.zeros(len(rows)), 0.0
    for term in model.outputs:
        values = model.values[term.name].astype(np.float64)
        expected = acted(term, values[rows], elements, finite=True).reshape(len(rows), -1)
        flat = values.reshape(len(values), -1)
        spread = 2 * float(np.sum(np.var(flat, axis=0)))
        total += np.sum((moved[term.name].reshape(len(rows), -1) - expected) ** 2, axis=1) / max(spread, 1e-300)
        unit += 1
    return np.minimum(np.sqrt(total / unit), 1.0)
