"""Diagrams as multilinear functions modulo a prime: against their dense tensors, contracted with the same vectors."""

import numpy as np
import pytest

from equikit import SO, A, Bistochastic, H, O, S, Sp, U, hom
from equikit.diagrams.bases._evaluate import determinants, evaluated

PRIME = 2**31 - 1


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("x x -> x x", O(2)),
        ("x x x -> x", O(1, 2)),
        ("x x -> x x", Sp(2)),
        ("x x x -> x", SO(1, 2)),
        ("x x -> x x x", SO(3)),
        ("x x -> x", Bistochastic(3)),
        ("x x* -> x x*", U(2)),
        ("x x -> x x", S(3)),
        ("x x x -> x", H(2)),
        ("x x -> x x", A(3)),
    ],
)
def test_values_are_those_of_the_dense_tensors(text, group):
    diagrams = list(hom(text, x=group).diagrams)
    order, n = diagrams[0].order, group.n
    values = evaluated(diagrams, group, 5, PRIME, 3, n)
    vectors = np.random.default_rng(3).integers(0, PRIME, (order, n, 5)).astype(object)
    for diagram, row in zip(diagrams, values, strict=True):
        for sample in range(5):
            whole = diagram.matrix(n).reshape((n,) * order).astype(object)
            for vertex in range(order):
                whole = np.tensordot(vectors[vertex, :, sample], whole, (0, 0))
            assert int(whole) % PRIME == row[sample]


def test_determinants():
    """Also of singular matrices, and of those that need rows exchanged."""
    matrices = np.random.default_rng(0).integers(-1, 2, (4, 4, 200))
    expected = [round(np.linalg.det(matrices[:, :, i])) % PRIME for i in range(200)]
    assert determinants(matrices, PRIME).tolist() == expected
    assert len({*expected}) > 5
