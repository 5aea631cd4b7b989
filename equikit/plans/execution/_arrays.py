"""Array operations of plans: diagonals and their embedding, forms, the Levi-Civita tensor.

There is no gather and no scatter. A diagonal is a strided slice, and its embedding is a strided pad that XLA fuses into
the sum; or both are masks, which fold no axis (`_steps.py` chooses).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.diagrams import Head, permutation_sign, refuse_if_large
from equikit.groups import Form
from equikit.plans.compilation._tensors import CONSTANT_BYTES


def diagonal(x: jax.Array, first: int, second: int) -> jax.Array:
    """Take the diagonal of two axes of equal size; it stays at the first axis.

    Its entries are at `i*(m*n) + j*n + i` in row-major order: padded by n, the array has rows of `m*n + 1` entries, in
    which they form a strided slice.
    """
    n, before, between, after = x.shape[first], x.shape[:first], x.shape[first + 1 : second], x.shape[second + 1 :]
    rows, m, width = math.prod(before), math.prod(between), math.prod(after)
    if n and m:
        flat = x.reshape(rows, n * m * n, width)
        if between:  # under jax.export the sizes need not be numbers
            flat = lax.pad(flat, jnp.zeros((), x.dtype), ((0, 0, 0), (0, n, 0), (0, 0, 0)))
            flat = flat.reshape(rows, n, m * n + 1, width)
            # All but the last of each row; with symbolic sizes, jax.export can infer the shape only in this form.
            stop = (m - 1) * n + 1 if isinstance(m * n, int) else m * n + 1
            flat = lax.slice(flat, (0, 0, 0, 0), (rows, n, stop, width), (1, 1, n, 1))
            flat = lax.slice_in_dim(flat, 0, m, axis=2)
        else:
            flat = lax.slice(flat, (0, 0, 0), flat.shape, (1, n + 1, 1))
        return flat.reshape(*before, n, *between, *after)
    return jnp.zeros((*before, n, *between, *after), x.dtype)


def cut_diagonal(x: jax.Array, first: int, second: int) -> jax.Array:
    """`diagonal` without a padded copy of the array, in two slices.

    XLA on the CPU keeps the padded copies for all diagonals of one tensor at once: six copies for five axes.
    Derivatives use the padded form, whose gradient is one pad; the gradient of two slices is a sum of two pads.
    """
    n, m = x.shape[first], math.prod(x.shape[first + 1 : second])
    if second == first + 1 or not isinstance(m * n, int) or m * n == 0:
        return diagonal(x, first, second)
    found: jax.Array = _cut_diagonal(first, second, x)
    return found


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _cut_diagonal(first: int, second: int, x: jax.Array) -> jax.Array:
    n, before, between, after = x.shape[first], x.shape[:first], x.shape[first + 1 : second], x.shape[second + 1 :]
    rows, m, width = math.prod(before), math.prod(between), math.prod(after)
    flat, stop = x.reshape(rows, n * m * n, width), (n - 1) * (m * n + 1)
    whole = lax.slice_in_dim(flat, 0, stop, axis=1).reshape(rows, n - 1, m * n + 1, width)
    whole = lax.slice(whole, (0, 0, 0, 0), (rows, n - 1, (m - 1) * n + 1, width), (1, 1, n, 1))
    last = lax.slice(flat, (0, stop, 0), flat.shape, (1, n, 1)).reshape(rows, 1, m, width)
    return jnp.concatenate([whole, last], 1).reshape(*before, n, *between, *after)


@_cut_diagonal.defjvp
def _cut_diagonal_jvp(
    first: int, second: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return _cut_diagonal(first, second, *primals), diagonal(*tangents, first, second)


def embed(x: jax.Array, first: int, second: int, shift: int = 0) -> jax.Array:
    """Insert an axis at `second`, zero unless its index equals the index of axis `first` (plus a shift, modulo n).

    The transpose of `diagonal`: a pad between the entries. A select would also work forwards, but its gradient is a sum
    over the whole array, whereas the gradient of a pad is a strided slice.
    """
    n, before, between, after = x.shape[first], x.shape[:first], x.shape[first + 1 : second], x.shape[second:]
    shape = (*before, n, *between, n, *after)
    rows, m, width = math.prod(before), math.prod(between), math.prod(after)
    if not (n and m):
        return jnp.zeros(shape, x.dtype)
    zero = jnp.zeros((), x.dtype)
    if between:
        grown, end = x.reshape(rows, n, m, width), n if isinstance(m * n, int) else 0
        if not end:
            # A symbol: with one entry too many, instead of one too few, jax.export can infer the shape of the gradient.
            grown = lax.pad(grown, zero, ((0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 0)))
        grown = lax.pad(grown, zero, ((0, 0, 0), (0, 0, 0), (0, end, n - 1), (0, 0, 0)))
        grown = lax.slice_in_dim(grown.reshape(rows, n * (m * n + 1), width), 0, n * m * n, axis=1)
    else:
        grown = lax.pad(x.reshape(rows, n, width), zero, ((0, 0, 0), (0, 0, n), (0, 0, 0)))
    grown = grown.reshape(shape)
    if not shift:
        return grown
    cut = n - shift
    parts = lax.slice_in_dim(grown, cut, n, axis=second), lax.slice_in_dim(grown, 0, cut, axis=second)
    return jnp.concatenate(parts, second)


def _indices(ndim: int, n: int, first: int, second: int) -> list[jax.Array]:
    """Return the indices of two axes, with all other axes of size one, so that a mask is made once for all samples."""
    return [
        lax.broadcasted_iota(jnp.int32, [n if i == axis else 1 for i in range(ndim)], axis) for axis in (first, second)
    ]


def _where(place: jax.Array, x: jax.Array) -> jax.Array:
    """Set entries to zero except at a place, whose axes have the size of x or one."""
    return lax.select(lax.broadcast_in_dim(place, x.shape, range(x.ndim)), x, lax.full_like(x, 0))


def masked_diagonal(x: jax.Array, first: int, second: int, signs: np.ndarray | None = None) -> jax.Array:
    """Take the diagonal of two axes as a sum with a mask; it stays at the first axis.

    With signs, as in a symplectic form, take the entries at which the form is nonzero, times the form.
    """
    n = x.shape[first]
    row, column = _indices(x.ndim, n, first, second)
    place = row == column if signs is None else jnp.abs(row - column) == n // 2
    y = jnp.sum(_where(place, x), second)
    return y if signs is None else signed(y, first, signs)


def masked_embed(x: jax.Array, first: int, second: int, shift: int = 0) -> jax.Array:
    """Insert an axis at `second`, zero unless its index is the index of axis `first` plus a shift, modulo n."""
    n = x.shape[first]
    row, column = _indices(x.ndim + 1, n, first, second)
    place = row == ((column + (n - shift)) % n if shift else column)
    axes = [axis for axis in range(x.ndim + 1) if axis != second]
    return _where(place, lax.broadcast_in_dim(x, (*x.shape[:second], n, *x.shape[second:]), axes))


def wide(dtype: Any) -> Any:
    """Return the dtype of sums: float32 for half precision, where a sum can overflow although the result does not."""
    return jnp.promote_types(dtype, jnp.float32)


def widened(x: jax.Array) -> dict[str, Any]:
    """Return the option that makes products in half precision return float32; `{}` for other arrays."""
    return {} if wide(x.dtype) == x.dtype else {"preferred_element_type": wide(x.dtype)}


def broadcast(x: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Broadcast to a shape; half precision goes through float32, so that sums of the backward pass run in it."""
    return jnp.broadcast_to(x.astype(wide(x.dtype)), shape).astype(x.dtype)


def alike(*arrays: jax.Array) -> list[jax.Array]:
    """Cast arrays to their widest dtype: some are in half precision, and sums of them in float32."""
    dtype = max((array.dtype for array in arrays), key=lambda dtype: int(dtype.itemsize))
    return [array.astype(dtype) for array in arrays]


def joined(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """Concatenate arrays in their widest dtype; a single one is returned unchanged, and NumPy arrays stay in NumPy."""
    if len(parts) == 1:
        return parts[0]
    library: Any = np if all(isinstance(part, np.ndarray) for part in parts) else jnp
    whole: jax.Array = library.concatenate(alike(*parts), axis)
    return whole


def joined_channels(parts: Sequence[jax.Array]) -> jax.Array:
    """Join arrays of equal shape along the channels.

    They are joined along an axis before the channels, which is the same array in memory: XLA on the CPU then writes
    permuted copies directly into it. Along the last axis, it would make every copy first.
    """
    if len(parts) == 1:
        return parts[0]
    *lead, width = parts[0].shape
    return jnp.concatenate([part[..., None, :] for part in parts], -2).reshape(*lead, len(parts) * width)


def split_channels(x: jax.Array, count: int) -> list[jax.Array]:
    """Invert `joined_channels` by one operation, whose gradient is also a single operation."""
    if count == 1:
        return [x]
    return unstacked(x.reshape(*x.shape[:-1], count, x.shape[-1] // count), x.ndim - 1)


def unstacked(x: jax.Array, axis: int) -> list[jax.Array]:
    """Return the arrays along an axis, by one operation whose gradient is one operation, not a sum of padded slices."""
    return [lax.squeeze(part, (axis,)) for part in lax.split(x, (1,) * x.shape[axis], axis)]


def rewired(x: jax.Array, wiring: tuple[int, ...], batch: int) -> jax.Array:
    """Permute the wires of a core: axis j moves to position `wiring[j]`; axes after them stay."""
    last = range(batch + len(wiring), x.ndim)
    return x.transpose(*range(batch), *(batch + int(j) for j in np.argsort(wiring)), *last)


def symplectic_diagonal(x: jax.Array, first: int, second: int) -> jax.Array:
    """The entries of x at nonzero entries of the symplectic form, times the form; the result stays at `first`."""
    half = x.shape[first] // 2

    def quarter(rows: slice, columns: slice) -> jax.Array:
        index = [slice(None)] * x.ndim
        index[first], index[second] = rows, columns
        return diagonal(x[tuple(index)], first, second)

    upper, lower = slice(None, half), slice(half, 2 * half)
    return jnp.concatenate([quarter(upper, lower), -quarter(lower, upper)], first)


def symplectic_signs(x: jax.Array, axis: int) -> jax.Array:
    """Multiply by the row sums of the symplectic form: one in the upper half of an axis, else minus one."""
    shape = (x.shape[axis], *(1,) * (x.ndim - 1 - axis))
    return jnp.where(lax.broadcasted_iota(jnp.int32, shape, 0) < x.shape[axis] // 2, x, -x)


def signed(x: jax.Array, axis: int, signs: np.ndarray) -> jax.Array:
    """Multiply the entries of an axis by signs."""
    return x * signs.reshape(-1, *(1,) * (x.ndim - 1 - axis)).astype(x.dtype)


def levi_civita(
    x: jax.Array,
    wired: int,
    head: Head,
    form: Form | None,
    n: int,
    *,
    upwards: bool,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Contract the last axes but channels with the Levi-Civita tensor, elementwise on `wired` axes before them.

    The metric lowers its legs in the bottom row: downwards the contracted legs, and upwards too.
    """
    own, other = (head.axes, len(head.blocks)) if upwards else (len(head.blocks), head.axes)
    above, below = other, own  # contracted legs are in the bottom row in either direction
    refuse_if_large("the Levi-Civita tensor", n ** (wired + above + below), CONSTANT_BYTES)
    grid = np.indices((n,) * (wired + above + below), sparse=True)
    tensor = np.array(permutation_sign(list(grid), wired + above + below + head.loose))
    if form is not None:
        for axis in range(wired + above, wired + above + below):
            tensor = tensor * form.signs()[grid[axis]]
    tensor = np.broadcast_to(tensor, (n,) * (wired + above + below))
    matrix = tensor.reshape(n**wired, n**above, n**below).astype(np.float32)
    lead = x.shape[: x.ndim - 1 - wired - own]
    flat = x.reshape(*lead, n**wired, n**own, x.shape[-1])
    constant = jnp.asarray(matrix, x.dtype)
    result = jnp.einsum("...wbc,wab->...wac", flat, constant, precision=precision, **widened(x))
    return result.reshape(*lead, *(n,) * (wired + other), x.shape[-1])
