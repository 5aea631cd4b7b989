"""Weight matching: permute one network to maximize the inner product of its weights with another network's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace.alignment._gains import Arrays, Labels, inner
from equikit.weightspace.alignment._search import Matching, cosine, matched
from equikit.weightspace.specifications._leaves import is_inexact, is_real
from equikit.weightspace.specifications._terms import Element

PARTS = "real and imaginary parts"
"""The label of the axis that holds the real and imaginary parts of complex tensors; it is not permuted."""
LARGE = 20
"""Tensors are scaled before products if their largest entry is above 2 to this power, or below its inverse."""


def match(
    labels: Labels,
    permuted: Sequence[str],
    one: Arrays,
    two: Arrays,
    generator: np.random.Generator,
    restarts: int,
    start: Element | None = None,
    nested: Sequence[tuple[str, str]] = (),
) -> Matching:
    """Search for the permutations with the largest real inner product, from one or several starts.

    Integer and boolean tensors are ignored; labels that occur only in them are not permuted.

    Each run is a coordinate ascent: it visits the labels in turn, and replaces the permutation of each by the optimal
    one while all others are fixed, until a pass gains nothing. The first start is the result of `sequential` or the
    identity, whichever has the larger inner product, so the result is never worse than either. The second start is the
    other of these two, and all further starts are random.

    Args:
        labels: the labels of the axes of every tensor.
        permuted: the permuted labels.
        one, two: the tensors of both networks.
        generator: random generator for the order of labels and for random starts.
        restarts: the number of starts after the first.
        start: a single start that replaces all of these.
        nested: pairs of labels; the first has one permutation for each index of the second.

    Cost: each visit of a label takes a matrix product, \\(O(n \\cdot \\text{weights})\\), and an assignment,
    \\(O(n^3)\\). A label is visited again only after the permutation of a neighbor has changed.
    """
    labels, one, two = _as_real(labels, one, two)
    permuted = [label for label in permuted if any(label in axes for axes in labels.values())]
    if not permuted:
        return Matching({}, similarity(one, two))
    return matched(labels, permuted, scaled(one), scaled(two), generator, restarts, start, nested)


def _as_real(labels: Labels, one: Arrays, two: Arrays) -> tuple[Labels, Arrays, Arrays]:
    """Drop integer and boolean tensors, and split complex tensors along a new last axis into real and imaginary parts.

    The inner product of these real tensors is the real part of the Hermitian inner product.
    """
    kept = [name for name in labels if is_inexact(one[name]) and is_inexact(two[name])]
    paired = {name for name in kept if not (is_real(one[name]) and is_real(two[name]))}

    def real(arrays: Arrays) -> Arrays:
        return {
            name: jnp.stack([arrays[name].real, arrays[name].imag], axis=-1) if name in paired else arrays[name]
            for name in kept
        }

    return {name: (*labels[name], PARTS) if name in paired else labels[name] for name in kept}, real(one), real(two)


def similarity(one: Arrays, two: Arrays) -> float:
    """Return the cosine similarity of all tensors together; one if both networks are zero."""
    one, two = scaled(one), scaled(two)
    return cosine(inner(one, two), inner(one, one), inner(two, two))


def scaled(arrays: Arrays) -> Arrays:
    """Scale all tensors by a common power of two so that the largest entry is near one, unless it is close already.

    Scaling changes neither the optimal permutation nor the similarity, but products of weights of 1e25 overflow in
    float32, and products of weights of 1e-25 underflow.
    """
    largest = float(_largest(list(arrays.values()))) if arrays else 0.0
    exponent = math.frexp(largest)[1]
    if not largest or abs(exponent) <= LARGE:
        return arrays
    # Scale in two steps: the inverse of a very large or small number is not representable in the same precision.
    half = -exponent // 2
    factors = 2.0**half, 2.0 ** (-exponent - half)
    return {name: jnp.asarray(array) * factors[0] * factors[1] for name, array in arrays.items()}


@jax.jit
def _largest(arrays: list[jax.Array]) -> jax.Array:
    sizes = [jnp.max(jnp.abs(array), initial=0) for array in arrays]
    wide = jnp.result_type(*sizes, jnp.float32)
    return jnp.max(jnp.stack([size.astype(wide) for size in sizes]))
