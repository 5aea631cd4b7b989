"""Conversion between Cartesian tensors and e3nn-jax's `IrrepsArray`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit.spherical._characters import Symmetry
from equikit.spherical._decomposition import decompose
from equikit.spherical._transform import Tensor, counted_channels, from_irreps, inhabited, to_irreps

if TYPE_CHECKING:
    from e3nn_jax import IrrepsArray


def e3nn_jax() -> Any:
    """Import e3nn-jax, or raise `MissingPackageError`."""
    return _checks.package("e3nn_jax", "e3nn-jax")


def to_irreps_array(
    x: Tensor,
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    precision: lax.PrecisionLike = "highest",
) -> IrrepsArray:
    r"""Convert Cartesian tensors to an e3nn-jax `IrrepsArray`, in its basis, with channels as multiplicities.

    Args:
        x: `[*batch, 3, ..., 3, channels]` with `order` axes of size three, x, y, z.
        order, symmetry, pseudo, precision: as in `to_irreps`.

    Returns:
        An array `[*batch, irreps.dim]` in which the multiplicity of each irrep of `decompose(order, symmetry)` is its
        number of copies times channels: copy after copy, all channels of a copy together. Irreps are sorted as in e3nn.

    Raises:
        MissingPackageError: if e3nn-jax is not installed.
        OptionError, ShapeError, DTypeError: as in `to_irreps`.

    Cost: \(9^k\) multiplications for each batch entry and channel, and a copy.

    Example:
        >>> to_irreps_array(jnp.ones((5, 3, 3, 8)), 2).irreps
        8x0e+8x1e+8x2e

    Source:
        Geiger and Smidt, e3nn: Euclidean neural networks, arXiv:2207.09453.
    """
    e3nn = e3nn_jax()
    parts = to_irreps(x, order, symmetry, pseudo=pseudo, precision=precision)
    irreps, flat = [], []
    for irrep, part in parts.items():
        *batch, copies, size, channels = part.shape
        irreps.append((copies * channels, irrep))
        flat.append(jnp.swapaxes(part, -1, -2).reshape(*batch, copies * channels * size))
    return e3nn.IrrepsArray(e3nn.Irreps(irreps), jnp.concatenate(flat, axis=-1))


def from_irreps_array(
    y: IrrepsArray,
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    precision: lax.PrecisionLike = "highest",
) -> Tensor:
    r"""Convert an e3nn-jax `IrrepsArray` to Cartesian tensors: the inverse of `to_irreps_array`.

    Args:
        y: an array with the irreps of `decompose(order, symmetry, pseudo=pseudo)`, each with its number of copies times
            channels as multiplicity. They may have any order; equal irreps keep theirs.
        order, symmetry, pseudo, precision: as in `from_irreps`.

    Returns:
        `[*batch, 3, ..., 3, channels]`.

    Raises:
        MissingPackageError: if e3nn-jax is not installed.
        ShapeError: if an irrep is missing or too many, or they are not multiples of one number of channels.
        OptionError, DTypeError: as in `from_irreps`; also if y is not an `IrrepsArray`.

    Cost: \(9^k\) multiplications for each batch entry and channel, and a copy.

    Example:
        >>> from_irreps_array(to_irreps_array(jnp.ones((5, 3, 3, 8)), 2), 2).shape
        (5, 3, 3, 8)

    Source:
        Geiger and Smidt, e3nn: Euclidean neural networks, arXiv:2207.09453.
    """
    e3nn = e3nn_jax()
    space = inhabited(decompose(order, symmetry, pseudo=pseudo))
    _checks.instance("y", y, e3nn.IrrepsArray, 'e3nn_jax.IrrepsArray("8x1o", array)')
    grouped = y.regroup()
    array = checked_dtype("y", grouped.array)
    counts = {(ir.l, ir.p): count for count, ir in grouped.irreps}
    step = "pick the irreps with y.filter(...), or add zeros; pseudo=True changes the parity"
    channels = counted_channels(counts, space, came=f"{y.irreps}", step=step)
    parts, start = {}, 0
    for (degree, parity), copies in space.multiplicities.items():
        size = copies * channels * (2 * degree + 1)
        part = array[..., start : start + size]
        part = part.reshape(*array.shape[:-1], copies, channels, 2 * degree + 1)
        parts[degree, parity] = jnp.swapaxes(part, -1, -2)
        start += size
    return from_irreps(parts, order, symmetry, pseudo=pseudo, precision=precision)
