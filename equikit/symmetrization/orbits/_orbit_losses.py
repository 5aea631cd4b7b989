"""Losses that train the matrices of `OrbitDistance`, computed from the diagnostics of a symmetrized backbone."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._more import entries, required_entries


def orbit_loss(info: Info, *, input_weight: float = 0.0, bound_weight: float = 0.0, bound: float = 10.0) -> jax.Array:
    r"""Return the mean orbit distance of the matrices of `OrbitDistance`, to be added to the loss of the task.

    Args:
        info: from `sym(x, with_info=True)`.
        input_weight: the weight of the squared difference between the pairings of \(M^\dagger x\) and of x.
        bound_weight: the weight of \(\sum_{ij} \max(0, |M_{ij}| - b)\), which keeps boosts small.
        bound: the bound b.

    Returns:
        A number; the losses of several methods are added.

    Raises:
        OptionError: if the info is not from `OrbitDistance`, `input_weight` is given without `compare_input=True`, or
            a number is negative.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import OrbitDistance, orbit_loss
        >>> method = OrbitDistance(lambda x: jnp.broadcast_to(2 * jnp.eye(2), (*x.shape[:-2], 2, 2)))
        >>> sym = ek.symmetrize(jnp.sin, "x -> x", x=ek.O(2), how=method)
        >>> float(orbit_loss(sym.info(jnp.ones((2, 1)))))      # of 4 I to I, relative to I
        9.0

    Source:
        Nguyen et al., arXiv:2311.07143, section 3.
    """
    input_weight, bound_weight, bound = (
        _checks.number(name, value, least=0)
        for name, value in (("input_weight", input_weight), ("bound_weight", bound_weight), ("bound", bound))
    )
    distances = required_entries(info, "orbit_distance", how="OrbitDistance(network)")
    loss: jax.Array = sum(map(jnp.mean, distances[1:]), start=jnp.mean(distances[0]))
    if input_weight:
        for apart in required_entries(info, "orbit_input", how="OrbitDistance(network, compare_input=True)"):
            loss = loss + input_weight * jnp.mean(apart)
    if bound_weight:
        for matrix in entries(info, "orbit_matrix"):
            over = jnp.maximum(jnp.abs(matrix) - bound, 0)
            loss = loss + bound_weight * jnp.mean(jnp.sum(over, axis=(-2, -1)))
    return loss


def matrix_equivariance_loss(info: Info, moved: Info, element: jax.Array) -> jax.Array:
    r"""Return the equivariance error of the matrices: the mean of \(\lVert M(gx) - g M(x) \rVert^2 / n\).

    It is zero up to rounding for a `MatrixNetwork`; any other network has to learn equivariance.

    Args:
        info: the info of x, from `sym(x, with_info=True)`.
        moved: the info of gx.
        element: g, `[n, n]`, or `[*batch, n, n]` with one for each sample.

    Returns:
        A number.

    Raises:
        OptionError: if an info is not from `OrbitDistance`.
        ShapeError: if the matrices and the element do not fit together.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import OrbitDistance, matrix_equivariance_loss
        >>> method = OrbitDistance(lambda x: jnp.broadcast_to(jnp.eye(2), (*x.shape[:-2], 2, 2)))
        >>> sym = ek.symmetrize(jnp.sin, "x -> x", x=ek.O(2), how=method)
        >>> x, g = jnp.ones((2, 1)), jnp.diag(jnp.array([1.0, -1.0]))
        >>> float(matrix_equivariance_loss(sym.info(x), sym.info(g @ x), g))      # the identity is in the group
        2.0
    """
    (one, *others), (two, *_) = (
        required_entries(each, "orbit_matrix", how="OrbitDistance(network)") for each in (info, moved)
    )
    _checks.count("the number of further matrices", len(others), most=0, step="symmetrize with each method alone")
    n = one.shape[-1]
    _checks.shaped("the matrices of both inputs", two, one.shape, step="pass two info of one shape")
    element = checked_dtype("element", element)
    step = "apply the element to the input of the second info"
    _checks.shaped("element", element, one.shape if element.ndim > 2 else (n, n), step=step)
    turned = jnp.matmul(element.astype(one.dtype), one, precision=jax.lax.Precision.HIGHEST)
    mean: jax.Array = jnp.mean(jnp.sum(jnp.abs(two - turned) ** 2, axis=(-2, -1))) / n
    return mean
