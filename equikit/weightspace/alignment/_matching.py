"""Weight matching: permutations of one network that bring its weights closest to those of another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace.alignment._gains import Arrays, Labels, inner
from equikit.weightspace.alignment._search import Matching, matched
from equikit.weightspace.specifications._leaves import is_inexact, is_real
from equikit.weightspace.specifications._terms import Element

PARTS = "real and imaginary parts"
"""The label of the last axis of complex tensors, which is not permuted."""
LARGE = 20
"""Tensors whose largest entry is above two to this power, or below its inverse, are scaled for products."""


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
    """Search for the permutations with the largest real inner product, from one start or several.

    Integers and booleans are not compared, and labels that no other tensor has get no permutation.

    From a start, one label after another gets the permutation that is best while all others stay, until a pass gains
    nothing. This ends where no single label can be improved. The first start is the one that `sequential` makes, or the
    networks as they are, whichever has the larger inner product: what is found is never worse than either. The next is
    the other of the two, and those after it are random.

    Args:
        labels: for every tensor those of its axes.
        permuted: those that are permuted.
        one, two: the tensors of both networks.
        generator: of the order of labels and of random starts.
        restarts: how many further starts there are.
        start: where to start from in place of all of these.
        nested: pairs of labels, the first of which has a permutation for each index of the second.

    Cost: for every label that is visited a product of matrices, \\(O(n \\cdot \\text{weights})\\), and an assignment,
    \\(O(n^3)\\). A label is not visited again before one that it shares a tensor with has moved.
    """
    labels, one, two = _as_real(labels, one, two)
    permuted = [label for label in permuted if any(label in axes for axes in labels.values())]
    if not permuted:
        return Matching({}, similarity(one, two))
    return matched(labels, permuted, scaled(one), scaled(two), generator, restarts, start, nested)


def _as_real(labels: Labels, one: Arrays, two: Arrays) -> tuple[Labels, Arrays, Arrays]:
    """Return tensors without integers and booleans; complex ones get a last axis with their real and imaginary parts.

    The inner product of these real tensors is the real part of the Hermitian one.
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
    """Return the inner product over the product of the norms; one if there is nothing to compare."""
    one, two = scaled(one), scaled(two)
    norm = float(np.sqrt(inner(one, one) * inner(two, two)))
    return inner(one, two) / norm if norm else 1.0


def scaled(arrays: Arrays) -> Arrays:
    """Scale all tensors by one power of two that brings the largest entry near one, if it is far from it.

    No permutation is better or worse for it, and no similarity is another; but products of weights of 1e25, or of
    1e-25, are no numbers of float32.
    """
    largest = float(_largest(list(arrays.values()))) if arrays else 0.0
    exponent = math.frexp(largest)[1]
    if not largest or abs(exponent) <= LARGE:
        return arrays
    # In two steps, as one over the largest numbers is none of the same precision.
    half = -exponent // 2
    factors = 2.0**half, 2.0 ** (-exponent - half)
    return {name: jnp.asarray(array) * factors[0] * factors[1] for name, array in arrays.items()}


@jax.jit
def _largest(arrays: list[jax.Array]) -> jax.Array:
    sizes = [jnp.max(jnp.abs(array), initial=0) for array in arrays]
    wide = jnp.result_type(*sizes, jnp.float32)
    return jnp.max(jnp.stack([size.astype(wide) for size in sizes]))
