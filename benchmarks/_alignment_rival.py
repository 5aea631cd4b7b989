"""Weight matching as Git Re-Basin has it, for any specification: what `alignment` compares with.

Written from the paper (Ainsworth, Hayase and Srinivasa, arXiv:2209.04836, algorithm 1) and from how the program of its
authors goes about it: the second network is permuted anew for every label, the matrix of costs is a sum of products of
all tensors that the label is on, and passes go on until one improves nothing. Products are compiled.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

Arrays = dict[str, jax.Array]
Terms = tuple[tuple[str, tuple[str, ...]], ...]
SMALLEST = 1e-12


@partial(jax.jit, static_argnums=(0, 1, 2))
def costs(terms: Terms, label: str, permuted: tuple[str, ...], one: Arrays, two: Arrays, element: Arrays) -> jax.Array:
    """Row i, column j: the inner product of what the first network has at i and the second, permuted, at j."""
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
    """For every label which index of the second network comes to each place."""
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
