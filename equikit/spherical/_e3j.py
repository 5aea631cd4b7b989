"""Conversion between Cartesian tensors and e3j's `O3Array`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import jax.numpy as jnp
from jax import lax

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit.spherical._characters import Symmetry
from equikit.spherical._decomposition import decompose
from equikit.spherical._transform import Tensor, counted_channels, from_irreps, inhabited, to_irreps

if TYPE_CHECKING:
    from e3j import O3Array

Layout = Literal["TRAILING_CHANNELS", "LEADING_CHANNELS", "E3NN"]
LAYOUTS: tuple[Layout, ...] = ("TRAILING_CHANNELS", "LEADING_CHANNELS", "E3NN")


def e3j() -> Any:
    """Import e3j, or raise `MissingPackageError`."""
    return _checks.package("e3j", "e3j")


def to_o3_array(
    x: Tensor,
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    layout: Layout = "TRAILING_CHANNELS",
    precision: lax.PrecisionLike = "highest",
) -> O3Array:
    r"""Convert Cartesian tensors to an e3j `O3Array`, in its basis.

    The basis, the order of irreps and the parities of e3j are those of e3nn-jax.

    Args:
        x: `[*batch, 3, ..., 3, channels]` with `order` axes of size three, x, y, z.
        order, symmetry, pseudo, precision: as in `to_irreps`.
        layout: where the channels are, in the words of e3j. With `"TRAILING_CHANNELS"` and `"LEADING_CHANNELS"` they
            have an axis of their own, after or before the components, and the multiplicity of an irrep is its number of
            copies in `decompose(order, symmetry)`. With `"E3NN"` it is the number of copies times channels, as in
            `to_irreps_array`.

    Returns:
        An array `[*batch, dim, channels]`, `[*batch, channels, dim]` or `[*batch, dim * channels]`, with dim the
        dimension of `decompose(order, symmetry)`. Irreps are sorted as in e3j. Such an array holds no shapes: for
        `jax.eval_shape`, return its `.array`.

    Raises:
        MissingPackageError: if e3j is not installed.
        OptionError, ShapeError, DTypeError: as in `to_irreps`; also if the layout is unknown.

    Cost: \(9^k\) multiplications for each batch entry and channel; in the other two layouts, a transposition.

    Example:
        >>> import importlib.util
        >>> if importlib.util.find_spec("e3j"):
        ...     y = to_o3_array(jnp.ones((5, 3, 3, 8)), 2)
        ...     assert (str(y.space), y.shape) == ("1x0e + 1x1e + 1x2e", (5, 9, 8))

    Source:
        Peltre et al., E3J: an efficient and open-source Euclidean equivariance backend, preprint, 2026.
    """
    library = e3j()
    layout = _checks.choice("layout", layout, LAYOUTS)
    blocks, flat = [], []
    for irrep, part in to_irreps(x, order, symmetry, pseudo=pseudo, precision=precision).items():
        *batch, copies, size, channels = part.shape
        if layout == "E3NN":
            blocks.append((copies * channels, irrep))
            flat.append(jnp.swapaxes(part, -1, -2).reshape(*batch, copies * channels * size, 1))
        else:
            blocks.append((copies, irrep))
            flat.append(part.reshape(*batch, copies * size, channels))
    array = jnp.concatenate(flat, axis=-2)
    if layout == "LEADING_CHANNELS":
        array = jnp.swapaxes(array, -1, -2)
    elif layout == "E3NN":
        array = lax.squeeze(array, [array.ndim - 1])
    return library.O3Array(library.O3Space(blocks), array, layout)


def from_o3_array(
    y: O3Array,
    order: int,
    symmetry: Symmetry | None = None,
    *,
    pseudo: bool = False,
    precision: lax.PrecisionLike = "highest",
) -> Tensor:
    r"""Convert an e3j `O3Array` of any layout to Cartesian tensors: the inverse of `to_o3_array`.

    Args:
        y: an array with the irreps of `decompose(order, symmetry, pseudo=pseudo)`, each with a multiple m of its number
            of copies as multiplicity, the same m for all. They may have any order; equal irreps keep theirs.
        order, symmetry, pseudo, precision: as in `from_irreps`.

    Returns:
        `[*batch, 3, ..., 3, channels]`, with m times as many channels as y has on an axis of their own.

    Raises:
        MissingPackageError: if e3j is not installed.
        ShapeError: if an irrep is missing or too many, or they are not multiples of one number of channels.
        OptionError, DTypeError: as in `from_irreps`; also if y is not an `O3Array`.

    Cost: \(9^k\) multiplications for each batch entry and channel, and a copy.

    Example:
        >>> import importlib.util
        >>> if importlib.util.find_spec("e3j"):
        ...     x = jnp.arange(18.0).reshape(3, 3, 2)
        ...     assert jnp.allclose(from_o3_array(to_o3_array(x, 2), 2), x, atol=1e-5)

    Source:
        Peltre et al., E3J: an efficient and open-source Euclidean equivariance backend, preprint, 2026.
    """
    library = e3j()
    space = inhabited(decompose(order, symmetry, pseudo=pseudo))
    _checks.instance("y", y, library.O3Array, 'e3j.O3Array("1x1o", array)')
    array = checked_dtype("y", y.array)
    if y.layout.name == "LEADING_CHANNELS":
        array = jnp.swapaxes(array, -1, -2)
    elif y.layout.name == "E3NN":
        array = array[..., None]
    *batch, _, channels = array.shape
    found: dict[tuple[int, int], list[Any]] = {}
    for (count, irrep), entries in zip(y.space, y.space.slices(), strict=True):
        block = lax.slice_in_dim(array, entries.start, entries.stop, axis=-2)
        found.setdefault((irrep.l, irrep.p), []).append(block.reshape(*batch, count, 2 * irrep.l + 1, channels))
    counts = {irrep: sum(block.shape[-3] for block in blocks) for irrep, blocks in found.items()}
    step = "pick the irreps with e3j.core.Filter, or add zeros; pseudo=True changes the parity"
    more = counted_channels(counts, space, came=f"{y.space}", step=step)
    parts = {}
    for irrep, copies in space.multiplicities.items():
        part = jnp.concatenate(found[irrep], axis=-3)
        part = part.reshape(*batch, copies, more, 2 * irrep[0] + 1, channels)
        parts[irrep] = jnp.swapaxes(part, -2, -3).reshape(*batch, copies, 2 * irrep[0] + 1, more * channels)
    return from_irreps(parts, order, symmetry, pseudo=pseudo, precision=precision)
