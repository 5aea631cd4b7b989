"""Weight matching of Git Re-Basin for any specification.

Written from the paper (Ainsworth, Hayase and Srinivasa, arXiv:2209.04836, algorithm 1) and its authors' program: the
second network is permuted again for every label, the cost matrix is a sum of products of all tensors with the label,
and passes continue until one improves nothing. Products are compiled.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

Arrays = dict[str, jax.Array]
Terms = tuple[tuple[str, tuple[str, ...]], ...]
SMALLEST = 1e-12


@partial(jax.jit, static_argnums=(0, 1, 2))
def costs(terms: Terms, label: str, permuted: tuple[str, ...], one: Arrays, two: Arrays, element: Arrays) -> jax.Array:
    """Costs: row i, column j is the inner product of the first network at i and the permuted second network at j."""
    total = jnp.zeros(())
    for name, axes in terms:
        for place, here in enumerate(axes):
            if here != label:
                continue
            array = two[name]
            for axis, other in enumerate(axes):
                if axis != place and other in permuted:
                    array = jnp.take(array, element[other], axis=axis)
            rows = [jnp.moveaxis(each, place, 0).reshape(each.shape[place], -1) for each in (one[name], array)]
            total = total + rows[0] @ rows[1].T
    return total


def weight_matching(
    terms: Terms, permuted: tuple[str, ...], one: Arrays, two: Arrays, seed: int, most: int = 100
) -> dict[str, np.ndarray]:
    """Return for every label the index of the second network that moves to each position."""
    sizes = {label: one[name].shape[place] for name, axes in terms for place, label in enumerate(axes)}
    element = {label: np.arange(sizes[label]) for label in permuted}
    generator = np.random.default_rng(seed)
    for _ in range(most):
        improved = False
        for label in generator.permutation(np.array(permuted, object)):
            matrix = np.asarray(costs(terms, str(label), permuted, one, two, element))
            rows, found = linear_sum_assignment(matrix, maximize=True)
            before, after = matrix[rows, element[label]].sum(), matrix[rows, found].sum()
            improved |= bool(after > before + SMALLEST)
            element[label] = found
        if not improved:
            break
    return element


def similarity(one: Any, two: Any) -> float:
    """The inner product of two networks, which weight matching maximizes, over the product of their norms."""
    inner, first, second = (
        sum(float(jnp.vdot(*leaves)) for leaves in zip(*map(jax.tree.leaves, pair), strict=True))
        for pair in ((one, two), (one, one), (two, two))
    )
    return float(inner / (first * second) ** 0.5)
