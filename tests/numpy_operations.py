"""What NumPy computes in place of operations of JAX; `NotImplemented` leaves a case to JAX."""

import functools
import math
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
from jax.lax import GatherScatterMode

ENTRYWISE = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "abs": np.abs,
    "max": np.maximum, "lt": np.less, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.bitwise_and,
    "min": np.minimum, "gt": np.greater, "le": np.less_equal, "or": np.bitwise_or, "not": np.invert, "sign": np.sign,
    "sin": np.sin, "cos": np.cos, "real": np.real, "imag": np.imag, "exp": np.exp, "log": np.log, "tanh": np.tanh,
    "sqrt": np.sqrt, "square": np.square, "expm1": np.expm1, "log1p": np.log1p, "pow": np.power,
    "tan": np.tan, "floor": np.floor, "ceil": np.ceil, "xor": np.bitwise_xor, "rem": np.fmod, "atan2": np.arctan2,
    "nextafter": np.nextafter, "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high), "conj": np.conj,
    "sinh": np.sinh, "cosh": np.cosh, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "cbrt": np.cbrt,
    "one_minus_square": lambda x: 1 - x * x, "complex": lambda x, y: x + y * np.array(1j, f"c{2 * x.itemsize}"),
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "shift_left": np.left_shift, "erf": scipy.special.erf, "erf_inv": scipy.special.erfinv,
    "rsqrt": lambda x: 1 / np.sqrt(x), "logistic": lambda x: 1 / (1 + np.exp(-x)), "stop_gradient": np.asarray,
}  # fmt: skip


def _broadcast(x: Any, shape: Any, broadcast_dimensions: Any, **_: Any) -> Any:
    sizes = dict(zip(broadcast_dimensions, x.shape, strict=True))
    return np.broadcast_to(x.reshape([sizes.get(axis, 1) for axis in range(len(shape))]), shape)


def _product(x: Any, y: Any, dimension_numbers: Any, preferred_element_type: Any, **_: Any) -> Any:
    x, y = (array if preferred_element_type is None else array.astype(preferred_element_type) for array in (x, y))
    (rows, columns), (batch, same) = dimension_numbers
    first, second = [*range(x.ndim)], [*range(x.ndim, x.ndim + y.ndim)]
    for i, j in zip((*rows, *batch), (*columns, *same), strict=True):
        second[j] = i
    free = [i for i in first if i not in (*rows, *batch)] + [i for i in second if i >= x.ndim]
    return NotImplemented if _is_half(x, y) else np.einsum(x, first, y, second, [*batch, *free], optimize=True)


def _is_half(*arrays: Any) -> bool:
    """Whether an array has half precision; NumPy and JAX round sums of such numbers differently."""
    return any(array.dtype.itemsize == 2 and array.dtype.kind not in "iu" for array in arrays)


def _ends(dtype: Any) -> tuple[Any, Any]:
    """The smallest and the largest number of a dtype: the maximum and the minimum of nothing."""
    if dtype.kind == "b":
        return False, True
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return dtype.type(-np.inf), dtype.type(np.inf)


def _pad(x: Any, value: Any, padding_config: Any) -> Any:
    """Negative padding removes entries."""
    steps = [between + 1 for _, _, between in padding_config]
    inner = [max((n - 1) * step + 1, 0) for n, step in zip(x.shape, steps, strict=True)]
    ends = [(max(low, 0), max(high, 0)) for low, high, _ in padding_config]
    found = np.full([low + n + high for n, (low, high) in zip(inner, ends, strict=True)], value, x.dtype)
    found[tuple(slice(low, low + n, step) for (low, _), n, step in zip(ends, inner, steps, strict=True))] = x
    return found[tuple(slice(max(-low, 0), min(high, 0) or None) for low, high, _ in padding_config)]


def _entries(shape: Any, places: Any, sizes: Any, window: Any, *numbers: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """Indices of the entries of all slices, and for each axis that `places` index: the starts, and the largest one.

    Args:
        shape: of the array.
        places: where the slices start, `[..., indexed axes]`.
        sizes: of a slice, along each axis of the array.
        window: the axes of the result along which slices extend.
        numbers: axes of the array that the result lacks; that `places` index; that array and `places` share; and the
            axes of `places` for the latter.
    """
    dropped, mapped, shared, shared_places = numbers
    rank = len(window) + places.ndim - 1
    outer = [axis for axis in range(rank) if axis not in window]
    inner = [axis for axis in range(len(shape)) if axis not in (*dropped, *shared)]

    def along(values: Any, axes: Any) -> Any:
        return values.reshape([values.shape[axes.index(axis)] if axis in axes else 1 for axis in range(rank)])

    index, starts = [np.zeros([1] * rank, int) for _ in shape], []
    for axis, place in zip(shared, shared_places, strict=True):
        index[axis] = along(np.arange(shape[axis]), [outer[place]])
    for i, axis in enumerate(mapped):
        index[axis] = along(places[..., i].astype(int), outer)
        starts.append((axis, index[axis], shape[axis] - sizes[axis]))
    for axis, place in zip(inner, window, strict=True):
        index[axis] = index[axis] + along(np.arange(sizes[axis]), [place])
    return tuple(index), starts


def _gather(x: Any, places: Any, dimension_numbers: Any, slice_sizes: Any, mode: Any, fill_value: Any, **_: Any) -> Any:
    d = dimension_numbers
    numbers = d.collapsed_slice_dims, d.start_index_map, d.operand_batching_dims, d.start_indices_batching_dims
    index, starts = _entries(x.shape, places, slice_sizes, d.offset_dims, *numbers)
    there = functools.reduce(np.logical_and, [(start >= 0) & (start <= last) for _, start, last in starts], True)
    if np.all(there):
        return x[index]
    if mode == GatherScatterMode.FILL_OR_DROP and (fill_value is None or min(last for *_, last in starts) < 0):
        return NotImplemented
    moved = list(index)
    for axis, start, last in starts:
        moved[axis] = moved[axis] - start + np.clip(start, 0, last)
    return np.where(there, x[tuple(moved)], fill_value) if mode == GatherScatterMode.FILL_OR_DROP else x[tuple(moved)]


def _scatter(put: Any, x: Any, places: Any, updates: Any, dimension_numbers: Any, mode: Any, **_: Any) -> Any:
    """Change slices, and drop those that are not inside."""
    if not x.ndim:
        return NotImplemented
    d = dimension_numbers
    numbers = d.inserted_window_dims, d.scatter_dims_to_operand_dims, d.operand_batching_dims
    inner = [axis for axis in range(x.ndim) if axis not in (*d.inserted_window_dims, *d.operand_batching_dims)]
    sizes = {axis: updates.shape[place] for axis, place in zip(inner, d.update_window_dims, strict=True)}
    sizes = [sizes.get(axis, 1) for axis in range(x.ndim)]
    index, starts = _entries(x.shape, places, sizes, d.update_window_dims, *numbers, d.scatter_indices_batching_dims)
    there = functools.reduce(np.logical_and, [(start >= 0) & (start <= last) for _, start, last in starts], True)
    if mode == GatherScatterMode.CLIP and not np.all(there):
        return NotImplemented
    chosen = np.broadcast_to(there, updates.shape)
    found = x.copy()
    put(found, tuple(np.broadcast_to(i, updates.shape)[chosen] for i in index), updates[chosen])
    return found


def _sort(*arrays: Any, dimension: int, num_keys: int, **_: Any) -> Any:
    order = np.lexsort(arrays[:num_keys][::-1], axis=dimension)
    return [np.take_along_axis(x, order, dimension) for x in arrays]


def _round(x: Any, rounding_method: Any) -> Any:
    """To even, or away from zero."""
    return np.rint(x) if int(rounding_method) == 1 else np.copysign(np.floor(abs(x) + x.dtype.type(0.5)), x)


def _bits(x: Any, new_dtype: Any) -> Any:
    return x.view(new_dtype) if x.dtype.itemsize == np.dtype(new_dtype).itemsize else NotImplemented


def _shifted(x: Any, by: Any) -> Any:
    """To the right, with zeros from the left."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    return np.right_shift(x.view(unsigned), by.view(unsigned)).view(x.dtype)


def _threefry(*words: Any) -> list[Any]:
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), figure 3: twenty rounds on two words."""
    one, two, x, y = np.broadcast_arrays(*words)
    keys = one, two, one ^ two ^ np.uint32(0x1BD11BDA)
    x, y = x + one, y + two
    for i in range(5):
        for by in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x = x + y
            y = ((y << by) | (y >> (32 - by))) ^ x
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return [x, y]


def _counts(shape: Any) -> list[Any]:
    counts = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
    return [(counts >> np.uint64(32)).astype(np.uint32), counts.astype(np.uint32)]


def _running(function: Any) -> Any:
    def along(x: Any, axis: int, reverse: bool) -> Any:
        return np.flip(function(np.flip(x, axis), axis=axis), axis) if reverse else function(x, axis=axis)

    return along


def _slice(x: Any, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _dynamic_slice(x: Any, *starts: Any, slice_sizes: Any) -> Any:
    """Starts are moved until the slice is inside."""
    first = [int(np.clip(start, 0, n - size)) for start, n, size in zip(starts, x.shape, slice_sizes, strict=True)]
    return x[tuple(slice(start, start + size) for start, size in zip(first, slice_sizes, strict=True))]


def _lu(x: Any, **_: Any) -> Any:
    """Factors, the row with which each row is exchanged, and the order of the rows."""
    if not x.size:
        return NotImplemented
    (factor,) = scipy.linalg.get_lapack_funcs(("getrf",), (x,))
    parts = [factor(matrix)[:2] for matrix in x.reshape(-1, *x.shape[-2:])]
    orders = np.tile(np.arange(x.shape[-2]), (len(parts), 1))
    for order, (_, pivots) in zip(orders, parts, strict=True):
        for i, j in enumerate(pivots):
            order[[i, j]] = order[[j, i]]
    found = np.stack([lu for lu, _ in parts]), np.stack([pivots for _, pivots in parts]), orders
    return [a.reshape(x.shape[:-2] + a.shape[1:]).astype(t) for a, t in zip(found, (x.dtype, "i4", "i4"), strict=True)]


def _triangular(
    a: Any, b: Any, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> Any:
    a, one = np.tril(a) if lower else np.triu(a), np.eye(a.shape[-1], dtype=a.dtype)
    a = a * (1 - one) + one if unit_diagonal else a
    a = a.conj() if conjugate_a else a
    a = a if transpose_a != left_side else a.mT
    return _or_left(lambda: np.linalg.solve(a, b) if left_side else np.linalg.solve(a, b.mT).mT)


def _or_left(compute: Any) -> Any:
    """The result, unless NumPy refuses a singular matrix, for which JAX returns infinity or NaN."""
    try:
        return compute()
    except np.linalg.LinAlgError:
        return NotImplemented


def _quotient(x: Any, y: Any) -> Any:
    """Integers are divided toward zero."""
    if x.dtype.kind not in "iu":
        return x / y
    return ((x - np.fmod(x, y)) // y).astype(x.dtype) if np.all(y) else NotImplemented


SHAPING = {
    "iota": lambda dtype, shape, dimension, **_: np.broadcast_to(
        np.arange(shape[dimension], dtype=dtype).reshape([-1, *[1] * (len(shape) - dimension - 1)]), shape
    ),
    "integer_pow": lambda x, y: x**y,
    "reshape": lambda x, new_sizes, **_: x.reshape(new_sizes),
    "broadcast_in_dim": _broadcast,
    "split": lambda x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "dot_general": _product,
    "transpose": lambda x, permutation: x.transpose(permutation),
    "pad": _pad,
    "reduce_sum": lambda x, axes, **_: NotImplemented if _is_half(x) else x.sum(axes),
    "reduce_max": lambda x, axes, **_: x.max(axes, initial=_ends(x.dtype)[0]),
    "reduce_min": lambda x, axes, **_: x.min(axes, initial=_ends(x.dtype)[1]),
    "reduce_and": lambda x, axes, **_: np.bitwise_and.reduce(x, axes),
    "reduce_or": lambda x, axes, **_: np.bitwise_or.reduce(x, axes),
    "is_finite": lambda x: np.isfinite(x),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "copy": lambda x: x,
    "rev": lambda x, dimensions: np.flip(x, dimensions),
    "gather": _gather,
    "scatter-add": functools.partial(_scatter, np.add.at),
    "scatter_add": functools.partial(_scatter, np.add.at),
    "scatter": functools.partial(_scatter, np.ndarray.__setitem__),
    "scatter-max": functools.partial(_scatter, np.maximum.at),
    "scatter-min": functools.partial(_scatter, np.minimum.at),
    "shift_right_logical": _shifted,
    "threefry2x32": _threefry,
    "iota_2x32_shape": lambda shape: _counts(shape),
    "sort": _sort,
    "round": _round,
    "bitcast_convert_type": _bits,
    "argmax": lambda x, axes, index_dtype: np.argmax(x, axes[0]).astype(index_dtype),
    "argmin": lambda x, axes, index_dtype: np.argmin(x, axes[0]).astype(index_dtype),
    "cumsum": _running(np.cumsum),
    "cumprod": _running(np.cumprod),
    "cummax": _running(np.maximum.accumulate),
    "cummin": _running(np.minimum.accumulate),
    "reduce_prod": lambda x, axes, **_: x.prod(axes),
    "stack": lambda *arrays, axis: np.stack(arrays, axis),
    "unstack": lambda x, axis: [*np.moveaxis(x, axis, 0)],
    "convert_element_type": lambda x, new_dtype, **_: (x if new_dtype.kind == "c" else x.real).astype(new_dtype),
    "concatenate": lambda *arrays, dimension: np.concatenate(arrays, dimension),
    "select_n": lambda which, *cases: np.where(which, *cases[::-1]) if len(cases) == 2 else NotImplemented,
    "squeeze": lambda x, dimensions: np.squeeze(x, dimensions),
    "div": _quotient,
    "tile": lambda x, reps: np.tile(x, reps),
    "qr": lambda x, pivoting, full_matrices, **_: (
        NotImplemented if pivoting else [*np.linalg.qr(x, "complete" if full_matrices else "reduced")]
    ),
    "eigh": lambda x, lower, subset_by_index, **_: (
        _or_left(lambda: [*np.linalg.eigh(x, "L" if lower else "U")][::-1])
        if subset_by_index is None and np.isfinite(x).all()
        else NotImplemented
    ),
    "cholesky": lambda x, **_: _or_left(lambda: np.linalg.cholesky(x)),
    "lu": _lu,
    "triangular_solve": _triangular,
}
