"""JAX functions that convert between Cartesian tensors and the components of their irreps."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Inexact

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit._errors import DTypeError, ShapeError
from equikit.plans import checked_precision
from equikit.spherical._characters import Symmetry
from equikit.spherical._decomposition import Decomposition, decompose

Tensor = Inexact[jax.Array, "*batch_and_axes channels"]
Components = Inexact[jax.Array, "*batch copies components channels"]
Irrep = tuple[int, int]
"""Degree and parity."""


def to_irreps(
    x: Tensor,
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    precision: lax.PrecisionLike = "highest",
) -> dict[Irrep, Components]:
    r"""Compute the components of the irreps of Cartesian tensors: \(y = Q x\), with Q the `change_of_basis`.

    Args:
        x: `[*batch, 3, ..., 3, channels]` with `order` axes of size three, x, y, z; floating point or complex.
        order: the number of axes.
        symmetry: `None`; or `"sym"` or `"alt"` for the irreps of the symmetric or alternating part of the tensors, onto
            which they are projected.
        pseudo: whether the tensors are pseudotensors, which have the opposite parity.
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        From (degree, parity) to `[*batch, copies, 2l + 1, channels]`, copies in the order of `decompose`, dtype as x.

    Raises:
        OptionError: as in `decompose`; also if no tensor has the symmetry.
        ShapeError: if there are too few axes, or one is not of size three.
        DTypeError: if x is an integer array, or would be cast.

    Cost: \(9^k\) multiplications for each batch entry and channel.

    Example:
        >>> parts = to_irreps(jnp.ones((5, 3, 3, 8)), 2)
        >>> {irrep: part.shape for irrep, part in parts.items()}
        {(0, 1): (5, 1, 1, 8), (1, 1): (5, 1, 3, 8), (2, 1): (5, 1, 5, 8)}
    """
    space = inhabited(decompose(order, symmetry, pseudo=pseudo))
    array = checked_dtype("x", x)
    check_axes(array, space.order)
    *batch, channels = array.shape[: array.ndim - 1 - space.order] + array.shape[-1:]
    flat = array.reshape(*batch, 3**space.order, channels)
    y = jnp.einsum("yx,...xc->...yc", basis(space, array), flat, precision=checked_precision(precision))
    parts, start = {}, 0
    for (degree, parity), copies in space.multiplicities.items():
        size = copies * (2 * degree + 1)
        part = lax.slice_in_dim(y, start, start + size, axis=-2)
        parts[degree, parity] = part.reshape(*batch, copies, 2 * degree + 1, channels)
        start += size
    return parts


def from_irreps(
    y: Mapping[Irrep, Components],
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    precision: lax.PrecisionLike = "highest",
) -> Tensor:
    r"""Compute the Cartesian tensors with these irreps: \(x = Q^T y\), the inverse of `to_irreps`.

    Args:
        y: from (degree, parity) to `[*batch, copies, 2l + 1, channels]`, exactly the irreps of `decompose`.
        order, symmetry, pseudo: as in `to_irreps`. With a symmetry the result has it.
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        `[*batch, 3, ..., 3, channels]`, dtype as y.

    Raises:
        OptionError: as in `decompose`; also if no tensor has the symmetry.
        ShapeError: if an irrep is missing or too many, or an array does not fit.
        DTypeError: if an array is an integer array, would be cast, or the dtypes differ.

    Cost: \(9^k\) multiplications for each batch entry and channel.

    Example:
        >>> x = jnp.arange(9.0).reshape(3, 3, 1)
        >>> bool(jnp.allclose(from_irreps(to_irreps(x, 2), 2), x, atol=1e-5))
        True
    """
    space = inhabited(decompose(order, symmetry, pseudo=pseudo))
    arrays = checked_parts(y, space)
    flat = [lax.collapse(array, array.ndim - 3, array.ndim - 1) for array in arrays]
    whole = jnp.concatenate(flat, axis=-2)
    x = jnp.einsum("yx,...yc->...xc", basis(space, whole), whole, precision=checked_precision(precision))
    return x.reshape(*x.shape[:-2], *(3,) * space.order, x.shape[-1])


def basis(space: Decomposition, like: jax.Array) -> jax.Array:
    """Return the change of basis in the real dtype of an array: for float32 and float64, rounded once."""
    wide = like.dtype in (np.float64, np.complex128)
    return jnp.asarray(space.matrix(np.float64 if wide else np.float32)).astype(like.dtype)


def inhabited(space: Decomposition) -> Decomposition:
    """Return the space, or raise `OptionError` if it is zero."""
    if not space.dim:
        _checks.count("the order of alternating tensors", space.order, most=3, step="leave them out")
    return space


def check_axes(array: jax.Array, order: int) -> None:
    """Raise `ShapeError` unless the axes before the channels are of size three."""
    step = "add the missing axes; channels come last"
    if array.ndim > order:
        step = f"give the axes of the tensor size 3, or {step}"
    _checks.shaped("x", array, ("*batch", *(3,) * order, "channels"), step=step)


def checked_parts(y: object, space: Decomposition) -> list[jax.Array]:
    """Return the arrays of all irreps of a space, in order, after checking each."""
    wanted = space.multiplicities
    step = "add zeros for an irrep that is missing; pseudo=True changes the parity"
    given = _checks.same_names("the irreps", y, wanted, step=step)
    arrays = [checked_dtype(f"irrep {irrep}", given[irrep]) for irrep in wanted]
    first = arrays[0]
    for (irrep, copies), array in zip(wanted.items(), arrays, strict=True):
        batch, channels = first.shape[:-3], first.shape[-1:] if first.ndim > 2 else ("channels",)
        shape = (*batch, copies, 2 * irrep[0] + 1, *channels)
        _checks.shaped(f"the irrep {irrep}", array, shape, step="see to_irreps, which makes such arrays")
        _checks.same(f"the dtype of irrep {irrep}", array.dtype, first.dtype, step="cast the arrays", error=DTypeError)
    return arrays


def counted_channels(counts: Mapping[Irrep, int], space: Decomposition, *, came: str, step: str) -> int:
    """Return the number of channels that multiplicities stand for, or raise `ShapeError`.

    Args:
        counts: the multiplicity of each irrep of another library's array.
        space: the irreps of one channel.
        came: the irreps of the array, as its library writes them.
        step: how to select irreps in that library.
    """
    wanted = space.multiplicities
    (irrep, copies), *_ = wanted.items()
    channels = counts.get(irrep, 0) // copies
    if counts != {irrep: copies * channels for irrep, copies in wanted.items() if channels}:
        raise ShapeError(
            f"the irreps do not fit tensors of order {space.order}",
            got=came,
            expected=f"a multiple of {space}",
            step=step,
        )
    return channels
