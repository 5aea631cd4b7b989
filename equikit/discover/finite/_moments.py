"""Pairwise moments of samples: a weighted graph on the points, whose automorphisms are candidates for symmetries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FREQUENCIES = (0.8, 1.7)
"""Frequencies of the bounded functions of an entry, in units of one over its root mean square."""

SURE = 4.0
"""Standard errors within which two moments may be equal: wrong candidates are tested later, missed ones are lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Weights between nodes, with the error of each.

    Nodes are the points; with signs, n more nodes are the points with the opposite sign.

    Attributes:
        weights: `[kinds, nodes, nodes]`, on the diagonal the weight of a node.
        errors: the difference up to which weights may be equal, of the same shape.
    """

    weights: np.ndarray
    errors: np.ndarray

    def pairs(self, node: int, image: int) -> np.ndarray:
        """Return which other pairs (node, image) are compatible with this one, `[nodes, nodes]`."""
        weights, errors = self.weights, self.errors
        outgoing = _alike(weights[:, node], errors[:, node], weights[:, image], errors[:, image])
        incoming = _alike(weights[..., node], errors[..., node], weights[..., image], errors[..., image])
        return np.asarray(outgoing & incoming)

    def images(self) -> np.ndarray:
        """Return which images each node may have: equal weights, and equal weights to the others up to order."""
        own, errors = (np.diagonal(array, axis1=1, axis2=2) for array in (self.weights, self.errors))
        fits = _alike(own, errors, own, errors)
        rows, worst = np.sort(self.weights, axis=2), np.max(self.errors, axis=(1, 2))
        for node in range(len(fits)):
            gap = np.abs(rows[:, node, None] - rows).max(2)
            fits[node] &= np.all(gap <= 2 * worst[:, None], axis=0)
        return fits


def _alike(one: np.ndarray, error: np.ndarray, other: np.ndarray, other_error: np.ndarray) -> np.ndarray:
    gap = np.abs(one[:, :, None] - other[:, None])
    fits: np.ndarray = np.all(gap <= error[:, :, None] + other_error[:, None], axis=0)
    return fits


def entry_features(values: np.ndarray, *, signs: bool) -> list[np.ndarray]:
    """Return bounded functions of the entries of vectors `[samples, n, channels]`: sines, then cosines.

    With signs, columns n to 2n are the features of the entries with the opposite sign.
    """
    size = np.sqrt(np.mean(values**2)) or 1.0
    channels = values.shape[2]
    directions = np.random.default_rng(0).normal(size=(len(FREQUENCIES), channels))
    directions *= np.array(FREQUENCIES)[:, None] / np.linalg.norm(directions, axis=1, keepdims=True)
    angles = [values @ direction / size for direction in directions]
    odd = [np.sin(angle) for angle in angles]
    even = [np.cos(angle) - np.mean(np.cos(angle)) for angle in angles]
    if not signs:
        return odd + even
    return [np.concatenate([f, -f], 1) for f in odd] + [np.concatenate([f, f], 1) for f in even]


def graph_of(first: list[np.ndarray], second: list[np.ndarray], weights: np.ndarray, slack: float) -> Graph:
    """Return the moments of products of features of two entries.

    Args:
        first, second: features `[samples, nodes]` of each.
        weights: factors `[kinds, samples]`, such as outputs of the function.
        slack: added to the error of a moment, relative to the size of the products.
    """
    moments, errors = [], []
    same = first is second  # the transposed moment is compared too
    for factor in weights:
        for place, one in enumerate(first):
            for other in second[place if same else 0 :]:
                moment = (one * factor[:, None]).T @ other / len(one)
                square = (one * factor[:, None]).T ** 2 @ other**2 / len(one)
                moments.append(moment)
                spread = np.sqrt(np.maximum(square - moment**2, 0) / len(one))
                rounding = len(one) * np.finfo(float).eps * np.sqrt(square)  # matters only if no sample differs
                errors.append(SURE * spread + slack * np.sqrt(np.mean(square)) + rounding)
    return Graph(np.array(moments), np.array(errors))
