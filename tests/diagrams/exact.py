"""Exact helpers for the tests of the symbolic engine, none of which uses the code that it is to check."""

from collections.abc import Iterable, Sequence

import flint
import numpy as np

from equikit import HomSpace, hom

PRIME = 2**31 - 1


def row(count: int, label: str = "p") -> str:
    return " ".join([label] * count)


def arrow(k: int, l: int, label: str = "p") -> str:
    return f"{row(k, label)} -> {row(l, label)}"


def power(k: int, l: int, group: object) -> HomSpace:
    """The space from k axes to l axes of one group."""
    return hom(arrow(k, l), groups={"p": group} if k + l else {})


def splits(most: int, least: int = 0) -> list[tuple[int, int]]:
    """All (k, l) with least <= k + l <= most."""
    return [(k, m - k) for m in range(least, most + 1) for k in range(m + 1)]


def rank_modulo(matrix: np.ndarray) -> int:
    """The rank modulo a prime: never more than the rank over the rationals."""
    if 0 in matrix.shape:
        return 0
    return flint.nmod_mat(*matrix.shape, [int(x) for x in matrix.ravel()], PRIME).rank()


def rank(matrix: np.ndarray) -> int:
    """The rank over the rationals."""
    if 0 in matrix.shape:
        return 0
    return flint.fmpz_mat(*matrix.shape, [int(x) for x in matrix.ravel()]).rank()


def distinct_columns(matrix: np.ndarray) -> np.ndarray:
    """Some columns, among them every different one with overwhelming probability: the rank can only fall."""
    weights = np.random.default_rng(0).integers(1, 2**20, len(matrix))
    return matrix[:, np.unique(weights @ matrix, return_index=True)[1]]


def set_partitions(order: int, colors: Sequence[str] | None = None) -> list[tuple[int, ...]]:
    """Restricted growth strings of all (colored) set partitions, sorted, chosen from those of one color."""
    strings: list[tuple[int, ...]] = [()]
    for _ in range(order):
        strings = [(*string, block) for string in strings for block in range(max(string, default=-1) + 2)]
    colors = ["p"] * order if colors is None else colors
    return [s for s in strings if len(set(zip(s, colors, strict=True))) == len(set(s))]


def kronecker(matrices: Iterable[np.ndarray]) -> np.ndarray:
    result = np.ones((1, 1), np.int64)
    for matrix in matrices:
        result = np.kron(result, matrix)
    return result


def permutation_matrix(element: Sequence[int]) -> np.ndarray:
    result = np.zeros((len(element), len(element)), np.int64)
    for i, image in enumerate(element):
        result[image, i] = 1
    return result
