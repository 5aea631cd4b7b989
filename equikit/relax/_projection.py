"""The nearest equivariant map to a matrix, as a differentiable JAX function that runs plans."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Inexact

from equikit import _checks
from equikit._errors import GroupError
from equikit.diagrams import HomSpace
from equikit.plans import apply, plan, weight_name
from equikit.relax._spaces import pair_spaces
from equikit.signatures import Signature, Term

DEPENDENT = 1e-11
"""The largest relative eigenvalue of a Gram matrix of normalized maps that counts as zero."""


def project(
    space: HomSpace, matrix: Inexact[jax.Array, "rows columns *features"]
) -> Inexact[jax.Array, "rows columns *features"]:
    r"""Return the equivariant map nearest to a matrix in the Frobenius norm, as `space.project` does on the host.

    \(P W = \sum_{ij} T_i\,(G^{-1})_{ij}\,\langle T_j, W \rangle\) with the Gram matrix \(G_{ij} = \langle T_i, T_j
    \rangle\) of the maps. The plan of the space computes the sum over i, and its transpose the inner products, so
    neither a map nor the projector is formed. For a group of orthogonal matrices P is the mean of \(g W g^{-1}\).

    Args:
        space: from `ek.hom`, with bound groups.
        matrix: rows and columns as in `space.matrices()`; any further axes are projected each by itself.

    Returns:
        An array of the same shape and dtype.

    Raises:
        GroupError: if a group is free.
        ShapeError, DTypeError: if the matrix does not fit the space.

    Cost: two runs of the plan on a batch of the columns, and a product with the inverse Gram matrix.

    Example:
        >>> from equikit import S, hom
        >>> project(hom("p -> p", p=S(3)), jnp.diag(jnp.arange(3.0))).round(5).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Source:
        Kim et al., Regularizing towards soft equivariance under mixed symmetries, arXiv:2306.00356, section 4.
    """
    _checks.instance("space", space, HomSpace, 'ek.hom("x -> x", x=ek.O(3))')
    sizes = _sizes(space)
    terms = space.signature.outputs, space.signature.inputs
    rows, columns = (_places(side, sizes) for side in terms)
    kind = "complex" if space.signature.is_complex else "real or complex"
    _checks.array("matrix", matrix, [rows[-1][1], columns[-1][1], "*features"], kind=kind)
    if 0 in matrix.shape:
        return jnp.asarray(matrix)
    features, pairs = matrix.shape[2:], pair_spaces(space.signature, bias=False)
    bands = []
    for target, (start, stop) in zip(terms[0], rows, strict=True):
        blocks = []
        for source, (left, right) in zip(terms[1], columns, strict=True):
            block = matrix[start:stop, left:right].reshape(
                *(sizes[label] for label in (*target.labels, *source.labels)), math.prod(features)
            )
            order = _acted_first(space.signature, source, target)
            moved = jnp.transpose(block, order)
            pair = pairs[weight_name(source, target)]
            found = project_pair(pair, moved.reshape(*_shape(pair), -1)).reshape(moved.shape)
            blocks.append(
                jnp.transpose(found, np.argsort(order).tolist()).reshape(stop - start, right - left, *features)
            )
        bands.append(jnp.concatenate(blocks, 1))
    return jnp.concatenate(bands, 0)


def _sizes(space: HomSpace) -> dict[str, int]:
    free = [label for label, size in space.signature.sizes.items() if size is None]
    if free:
        group = dict(space.signature.bindings)[free[0].removesuffix("*")]
        raise GroupError(
            "a projection needs the size of every label",
            got=f"{free[0]}={group}",
            expected="bound groups",
            step=f"bind {free[0]}=ek.{group}(5)",
        )
    return space.sizes()


def _places(terms: tuple[Term, ...], sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return the range of rows or columns of each term."""
    ends = np.cumsum([0, *(math.prod(sizes[label] for label in term.labels) for term in terms)]).tolist()
    return list(itertools.pairwise(ends))


def _acted_first(signature: Signature, source: Term, target: Term) -> list[int]:
    """Return the order of axes with plain axes last, next to the features."""
    split, last = len(target.labels), len(target.labels) + len(source.labels)
    acted = [*signature.acted(target), *(split + axis for axis in signature.acted(source))]
    plain = [*signature.plain(target), *(split + axis for axis in signature.plain(source))]
    return [*acted, *plain, last]


def _shape(pair: HomSpace) -> tuple[int, int]:
    """Return the numbers of rows and columns of the maps between two terms without plain axes."""
    sizes, (source,), (target,) = pair.sizes(), pair.signature.inputs, pair.signature.outputs
    return math.prod(sizes[label] for label in target.labels), math.prod(sizes[label] for label in source.labels)


def project_pair(pair: HomSpace, matrix: jax.Array) -> jax.Array:
    """Project a matrix `[rows, columns, features]` onto the maps of a pair of terms without plain axes."""
    if pair.dim == 0 or matrix.shape[-1] == 0:
        return jnp.zeros_like(matrix)
    dtype = jnp.promote_types(matrix.dtype, jnp.float32)  # sums over all entries overflow in half precision
    combine = functools.partial(_combined, pair, dtype)
    shape = jax.ShapeDtypeStruct((pair.dim, matrix.shape[-1]), dtype)
    (products,) = jax.linear_transpose(combine, shape)(jnp.conj(matrix).astype(dtype))
    inverse = jnp.asarray(_inverse_gram(pair), dtype)
    return combine(jnp.matmul(inverse, jnp.conj(products), precision="highest")).astype(matrix.dtype)


def _combined(pair: HomSpace, dtype: Any, weights: jax.Array) -> jax.Array:
    """Return combinations of maps `[rows, columns, features]` for weights `[maps, features]`: a run of the plan."""
    rows, columns = _shape(pair)
    (source,), (target,), features = pair.signature.inputs, pair.signature.outputs, weights.shape[-1]
    units = jnp.eye(columns, dtype=dtype).reshape(columns, *(pair.sizes()[x] for x in source.labels), 1)
    program = plan(pair.signature, (1, features), normalize="sum")
    name = weight_name(source, target)
    found: Any = apply(program, units, {name: weights[:, None]}, method="factored", precision="highest")
    return jnp.moveaxis(found.reshape(columns, rows, features), 0, 1)


@functools.lru_cache(maxsize=256)
def _inverse_gram(pair: HomSpace) -> np.ndarray:
    """Return the inverse of the exact Gram matrix of the maps."""
    sizes = pair.sizes()
    gram = np.array(pair.gram(sizes or None).tolist()).astype(np.complex128 if pair.dtype.kind == "c" else np.float64)
    scale = np.sqrt(np.maximum(gram.diagonal().real, 1))
    inverse = np.linalg.pinv(gram / np.multiply.outer(scale, scale), rcond=DEPENDENT, hermitian=True)
    return np.asarray(inverse / np.multiply.outer(scale, scale))
