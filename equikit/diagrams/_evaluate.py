"""Diagrams as multilinear functions of vectors, modulo a prime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equikit.diagrams._dense import leg_order
from equikit.diagrams._diagram import Diagram
from equikit.groups import Group


def evaluated(diagrams: Sequence[Diagram], group: Group, count: int, prime: int, seed: int) -> np.ndarray:
    """The values of diagrams of one label on random vectors, one for each vertex.

    Args:
        diagrams: diagrams with the same rows.
        group: the group of their label, bound.
        count: how many choices of vectors.
        prime: below 2^31.
        seed: tells choices of vectors apart.

    Returns:
        int64 `[diagrams, count]`, residues.

    Cost: the number of diagrams times `count`, for each vertex.
    """
    size, order, split = group.n, diagrams[0].order, len(diagrams[0].top)
    assert size is not None
    vectors = np.random.default_rng(seed).integers(0, prime, (order, size, count))
    form = np.eye(size, dtype=np.int64) if group.form is None else group.form.matrix(size)
    lowered = np.stack([_times(form, vector, prime) for vector in vectors])
    known: dict[tuple[object, ...], np.ndarray] = {}

    def block_value(block: tuple[int, ...]) -> np.ndarray:
        if block not in known:
            if len(block) == 1:
                known[block] = vectors[block[0]].sum(0) % prime
            else:
                first, second = block
                within = (first < split) == (second < split)
                known[block] = _dot(vectors[first], (lowered if within else vectors)[second], prime)
        return known[block]

    def head_value(legs: tuple[int, ...]) -> np.ndarray:
        if ("head", legs) not in known:
            rows = [lowered[leg] if leg >= split and group.form is not None else vectors[leg] for leg in legs]
            known["head", legs] = determinants(np.stack(rows), prime)
        return known["head", legs]

    values = np.ones((len(diagrams), count), np.int64)
    for row, diagram in zip(values, diagrams, strict=True):
        taken: set[int] = set()
        blocks = diagram.blocks
        for label, _, _ in diagram.heads:
            legs = [block for part in leg_order(diagram, label) for block in part]
            taken.update(legs)
            row[:] = row * head_value(tuple(blocks[leg][0] for leg in legs)) % prime
        for number, block in enumerate(blocks):
            if number not in taken:
                row[:] = row * block_value(block) % prime
    return values


def _dot(first: np.ndarray, second: np.ndarray, prime: int) -> np.ndarray:
    result: np.ndarray = (first * second % prime).sum(0) % prime
    return result


def _times(matrix: np.ndarray, vector: np.ndarray, prime: int) -> np.ndarray:
    """A matrix of small entries times vectors `[n, count]`."""
    result: np.ndarray = matrix @ vector % prime
    return result


def _inverse(x: np.ndarray, prime: int) -> np.ndarray:
    """The inverses of residues, by Fermat's theorem; zero for zero."""
    result, power, exponent = np.ones_like(x), x, prime - 2
    while exponent:
        if exponent % 2:
            result = result * power % prime
        power, exponent = power * power % prime, exponent // 2
    return result


def determinants(matrices: np.ndarray, prime: int) -> np.ndarray:
    """The determinants of matrices `[n, n, count]` modulo a prime, by elimination."""
    m = matrices.copy() % prime
    size, count = len(m), m.shape[2]
    result = np.ones(count, np.int64)
    columns = np.arange(count)
    for place in range(size):
        pivot = place + (m[place:, place] != 0).argmax(0)
        swapped = pivot != place
        upper, lower = m[place].copy(), m[pivot, :, columns].T
        m[pivot, :, columns] = upper.T
        m[place] = lower
        result = np.where(swapped, -result, result) * m[place, place] % prime
        factors = m[place + 1 :, place] * _inverse(m[place, place], prime) % prime
        m[place + 1 :] = (m[place + 1 :] - factors[:, None] * m[place][None] % prime) % prime
    return result % prime
