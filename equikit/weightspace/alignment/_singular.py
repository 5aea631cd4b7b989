"""Measure how well matching aligns the singular vectors of two networks' weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._align import align
from equikit.weightspace.merging._figures import singular_figure
from equikit.weightspace.specifications._leaves import checked_leaves, is_real, refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors


@dataclass(frozen=True)
class SingularPair:
    """Singular values of one weight in two networks, and the inner products of its singular vectors.

    Attributes:
        one, two: the singular values of the first and the second network, in descending order.
        before, after: the matrix \\((u_i \\cdot u'_j)(v_i \\cdot v'_j)\\) before and after matching, with the first
            network along rows. The signs of singular vectors cancel.
    """

    one: np.ndarray
    two: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def alignment(self, *, matched: bool = True, threshold: float | None = None) -> float:
        r"""Return how well singular vectors agree: 1 if they are equal, about 0 if they are unrelated.

        The value is \(\sum_{ij} \sigma_i \sigma'_j (u_i \cdot u'_j)(v_i \cdot v'_j) / \sum_i \sigma_i \sigma'_i\), the
        inner product of the two matrices, divided by the maximum for these singular values. It is 0 if only one of the
        two weights is zero.

        Args:
            matched: whether to use the second network after matching (True) or before (False).
            threshold: if given, from 0 to 1: use only the r and r' singular values that are at least `threshold` times
                the largest, with equal weight: \(\sum_{ij} (u_i \cdot u'_j)(v_i \cdot v'_j) / \min(r, r')\).

        Raises:
            OptionError: if `threshold` is not a number from 0 to 1.
        """
        matched = _checks.flag("matched", matched)
        threshold = _checks.number("threshold", threshold, least=0, most=1, optional=True, example=0.5)
        some = [bool(np.any(values)) for values in (self.one, self.two)]
        if not all(some):
            return float(some[0] == some[1])
        products = self.after if matched else self.before
        one, two = (values / values.max() for values in (self.one, self.two))
        if threshold is not None:
            one, two = (np.asarray(values >= threshold, float) for values in (one, two))
        return float(np.sum(np.outer(one, two) * products) / np.sum(one * two))


@dataclass(frozen=True)
class SingularAlignment:
    """The result of `singular_alignment`.

    Attributes:
        leaves: the singular values and alignments of each weight, by name.
        distances: the distance of the two networks divided by the norm of the first, before and after matching;
            infinite if only the first is zero.
    """

    leaves: dict[str, SingularPair]
    distances: tuple[float, float]

    def alignment(self, *, matched: bool = True, threshold: float | None = None) -> float:
        """Return the mean of the alignments of all weights; arguments are as for `SingularPair.alignment`."""
        found = [pair.alignment(matched=matched, threshold=threshold) for pair in self.leaves.values()]
        return float(np.mean(found)) if found else 1.0

    def plot(self, *, thresholds: Any = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)) -> Any:
        """Plot singular values, and alignments by threshold: a Matplotlib figure with one column per weight.

        Raises:
            OptionError: if `thresholds` are not numbers from 0 to 1.
            MissingPackageError: if Matplotlib is not installed.
        """
        return singular_figure(self, _checks.numbers("thresholds", thresholds, least=0, most=1))


def singular_alignment(spec: Specification, params_a: Any, params_b: Any, *, moved: Any = None) -> SingularAlignment:
    r"""Compare the singular values and vectors of the weights of two networks, before and after matching.

    A permutation preserves the singular values of every weight and permutes the entries of its singular vectors. The
    paper finds that matching aligns the singular vectors with large singular values, which dominate the output of a
    layer, although the distance between the networks hardly decreases. This depends on the training: for perceptrons
    64-256-256-256-10 on the 8 × 8 digits, vectors with at least half of the largest singular value have an alignment
    above 0.4 after strong weight decay, about the same as all vectors; without weight decay their alignment is below
    0.3, less than that for all vectors (tests/weightspace/test_singular.py).

    Args:
        spec: the symmetry of both networks, from `trace`.
        params_a: the first network, a tree of arrays.
        params_b: the second network before matching, a tree of the same structure.
        moved: the second network after matching; by default `align(spec, params_a, params_b)`.

    Returns:
        Singular values and alignments for each floating-point array with at least two axes. All axes but the last are
        flattened, such as in a convolution kernel `[height, width, in, out]`.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters do not match the specification, or no array has two axes.

    Cost: three singular value decompositions for each weight.

    Example:
        >>> import jax
        >>> from equikit.weightspace import singular_alignment, trace
        >>> one, two = jax.random.split(jax.random.key(0))
        >>> params = {"w0": jax.random.normal(one, (3, 8)), "w1": jax.random.normal(two, (8, 2))}
        >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["w0"]) @ p["w1"], params, jax.numpy.ones((5, 3)))
        >>> found = singular_alignment(spec, params, spec.act(spec.random_element(key=one), params))
        >>> found.alignment(matched=False) < 0.9, round(found.alignment(), 3)
        (True, 1.0)

    Source:
        Ito, Yamada and Kumagai, Analysis of linear mode connectivity via permutation-based weight matching,
        arXiv:2402.04051. The normalization to a maximum of 1 is ours.
    """
    checked_specification(spec)
    for params, name in ((params_a, "params_a"), (params_b, "params_b"), (moved, "moved")):
        if params is not None:
            checked_tensors(spec.leaves, params, name)
            refuse_not_real("singular_alignment", params, integers=True)
    moved = align(spec, params_a, params_b) if moved is None else moved
    given = [checked_leaves(spec.leaves, params) for params in (params_a, params_b, moved)]
    trees = [{name: array for name, array in tree.items() if is_real(array)} for tree in given]
    leaves = {
        name: _pair(*(_matrix(tree[name]) for tree in trees)) for name, array in trees[0].items() if array.ndim > 1
    }
    got = ", ".join(f"{leaf.name!r} {list(leaf.shape)}" for leaf in spec.leaves)
    _checks.some("matrices", leaves, got=got, step="pass a model with a linear layer or a convolution")
    return SingularAlignment(leaves, (_distance(trees[0], trees[1]), _distance(trees[0], trees[2])))


def _matrix(array: Any) -> np.ndarray:
    found = np.asarray(array)
    return found.reshape(math.prod(found.shape[:-1]), found.shape[-1]).astype(np.float64)


def _pair(one: np.ndarray, before: np.ndarray, after: np.ndarray) -> SingularPair:
    left, values, right = np.linalg.svd(one, full_matrices=False)
    products, others = [], values
    for matrix in (before, after):
        its_left, others, its_right = np.linalg.svd(matrix, full_matrices=False)
        products.append((left.T @ its_left) * (right @ its_right.T))
    return SingularPair(values, others, products[0], products[1])


def _distance(one: dict[str, Any], two: dict[str, Any]) -> float:
    arrays = [[np.asarray(tree[name], np.float64) for name in one] for tree in (one, two)]
    far = sum(float(np.sum((a - b) ** 2)) for a, b in zip(*arrays, strict=True))
    size = sum(float(np.sum(a**2)) for a in arrays[0])
    return float(np.sqrt(far / size)) if size else float(np.inf if far else 0)
