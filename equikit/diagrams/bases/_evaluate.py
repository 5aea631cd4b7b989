"""Diagrams as multilinear functions of vectors, modulo a prime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equikit.diagrams._dense import leg_order
from equikit.diagrams._diagram import Diagram
from equikit.groups import Group


def evaluated(diagrams: Sequence[Diagram], group: Group, count: int, prime: int, seed: int, size: int) -> np.ndarray:
    """Evaluate diagrams of one label at random vectors, one for each vertex.

    Args:
        diagrams: diagrams with the same rows, without invariant tensors of groups without diagrams.
        group: the group of their label.
        count: the number of choices of vectors.
        prime: below 2^31.
        seed: distinguishes choices of vectors.
        size: the size of the label.

    Returns:
        int64 `[diagrams, count]`, residues.

    Cost: the number of diagrams times `count`, for each vertex.
    """
    order, split = diagrams[0].order, len(diagrams[0].top)
    vectors = np.random.default_rng(seed).integers(0, prime, (order, size, count))
    form = None if group.form is None else group.form.matrix(size)
    lowered = vectors if form is None else np.stack([form @ vector % prime for vector in vectors])
    known: dict[tuple[object, ...], np.ndarray] = {}

    def product(block: tuple[int, ...]) -> np.ndarray:
        """The entrywise product of the vectors of a block, `[size, count]`; the form joins pairs within a row."""
        within = len(block) == 2 and (block[0] < split) == (block[1] < split)
        result: np.ndarray = vectors[block[0]]
        for vertex in block[1:]:
            result = result * (lowered if within else vectors)[vertex] % prime
        return result

    def block_value(block: tuple[int, ...]) -> np.ndarray:
        if block not in known:
            known[block] = product(block).sum(0) % prime
        return known[block]

    def head_value(legs: tuple[tuple[int, ...], ...]) -> np.ndarray:
        if ("head", legs) not in known:
            rows = [lowered[leg[0]] if form is not None and leg[0] >= split else product(leg) for leg in legs]
            rows += [np.ones((size, count), np.int64)] * (size - len(legs))  # a leg that is summed over
            known["head", legs] = determinants(np.stack(rows), prime)
        return known["head", legs]

    values = np.ones((len(diagrams), count), np.int64)
    for row, diagram in zip(values, diagrams, strict=True):
        taken: set[int] = set()
        blocks = diagram.blocks
        for label, _, _ in diagram.heads:
            legs = [block for part in leg_order(diagram, label) for block in part]
            taken.update(legs)
            row[:] = row * head_value(tuple(blocks[leg] for leg in legs)) % prime
        for number, block in enumerate(blocks):
            if number not in taken:
                row[:] = row * block_value(block) % prime
    return values


def _inverse(x: np.ndarray, prime: int) -> np.ndarray:
    """Invert residues by Fermat's theorem; zero for zero."""
    result, power, exponent = np.ones_like(x), x, prime - 2
    while exponent:
        if exponent % 2:
            result = result * power % prime
        power, exponent = power * power % prime, exponent // 2
    return result


def determinants(matrices: np.ndarray, prime: int) -> np.ndarray:
    """Return the determinants of matrices `[n, n, count]` modulo a prime, by elimination."""
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
