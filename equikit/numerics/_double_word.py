"""Double-word arithmetic: numbers as unevaluated sums of two floats, with nearly twice the precision of a float.

`jax.jit` compiles functions of many operations, so that JAX traces them once for each shape and not at each call.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from equikit.numerics._rounding import Array, rounding

BLOCK = 128
"""The largest number of products in one exact sum."""


class Double(NamedTuple):
    """A number `high + low`, where `high` is the nearest float. This arithmetic has no derivatives."""

    high: Array
    low: Array


def double(high: Array, low: Array | None = None) -> Double:
    """Make a double word from one float, or from two floats of any size."""
    high = jax.lax.stop_gradient(high)
    return Double(high, jnp.zeros_like(high)) if low is None else two_sum(high, jax.lax.stop_gradient(low))


def two_sum(one: Array, two: Array) -> Double:
    """Add two floats exactly."""
    high = one + two
    of_two = high - one
    return Double(high, (one - (high - of_two)) + (two - of_two))


def plus(one: Double, two: Double) -> Double:
    """Add two double words."""
    high, low = two_sum(one.high, two.high)
    return two_sum(high, low + (one.low + two.low))


def minus(one: Double, two: Double) -> Double:
    """Subtract two double words."""
    return plus(one, Double(-two.high, -two.low))


def scaled(number: Double, by: Array) -> Double:
    """Multiply a double word by powers of two."""
    return Double(number.high * by, number.low * by)


def times(number: Double, by: Array) -> Double:
    """Multiply a double word by a float, entrywise."""
    high, error = _two_product(number.high, by)
    return two_sum(high, error + number.low * by)


def square(number: Double) -> Double:
    """Square a double word, entrywise."""
    high, error = _two_product(number.high, number.high)
    return two_sum(high, error + 2 * number.high * number.low)


def _two_product(one: Array, two: Array) -> Double:
    """Multiply two floats, exactly unless the result underflows."""
    (a, b), (c, d) = _halves(one), _halves(two)
    high = one * two
    return Double(high, ((a * c - high) + a * d + b * c) + b * d)


def _halves(number: Array) -> tuple[Array, Array]:
    """Split a float into a sum of two floats with half of its bits each."""
    finfo: Any = jnp.finfo
    scale = power_of_two(jnp.abs(number)) * 2.0 ** (-((int(finfo(number.dtype).nmant) + 1) // 2))
    high = jnp.round(number / scale) * scale
    return high, number - high


class _Slices(NamedTuple):
    """A number `(first + second + rest) * scale`, whose first two parts have few bits for exact products."""

    first: Array
    second: Array
    rest: Array
    scale: Array


def _sliced(number: Double, bits: int) -> _Slices:
    scale = power_of_two(jnp.max(jnp.abs(number.high), initial=0))
    high, low = number.high / scale, number.low / scale
    coarse, fine = 2.0 ** (bits - 1), 2.0 ** (2 * bits - 1)
    first = jnp.round(high * coarse) / coarse
    left = high - first
    second = jnp.round(left * fine) / fine
    return _Slices(first, second, (left - second) + low, scale)


def _bits(dtype: Any, products: int, factors: int) -> int:
    """Return the number of bits per factor for which a sum of this many products is exact."""
    finfo: Any = jnp.finfo
    return (int(finfo(dtype).nmant) - max(products - 1, 1).bit_length()) // factors


@functools.partial(jax.jit, static_argnames="axis")
def total(terms: Double, axis: int) -> Double:
    """Sum along an axis."""
    parts = _sliced(terms, _bits(terms.high.dtype, terms.high.shape[axis], 1))
    first, second, rest = (jnp.sum(part, axis=axis) for part in parts[:3])
    return scaled(plus(two_sum(first, second), double(rest)), parts.scale)


@jax.jit
def matmul(one: Double, two: Double) -> Double:
    """Multiply matrices `[n, k]` and `[k, m]` in double-word precision, relative to the largest entries.

    Each factor is split into three slices with few enough bits that float sums of their products are exact. Most of the
    work is one matrix product of floats, `[3 n, k]` times `[k, 3 m]`.
    """
    k = one.high.shape[1]
    if k > BLOCK:
        blocks = -(-k // BLOCK)
        fill = blocks * BLOCK - k
        rows = jax.tree.map(lambda part: jnp.pad(part, ((0, 0), (0, fill))).reshape(len(part), blocks, BLOCK), one)
        columns = jax.tree.map(lambda part: jnp.pad(part, ((0, fill), (0, 0))).reshape(blocks, BLOCK, -1), two)
        summed: Double = total(jax.vmap(matmul, in_axes=(1, 0))(rows, columns), axis=0)
        return summed
    bits = _bits(one.high.dtype, k, 2)
    a, b = _sliced(one, bits), _sliced(two, bits)
    left, right = jnp.concatenate(a[:3]), jnp.concatenate(b[:3], axis=1)
    product = jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
    parts = product.reshape(3, len(a.first), 3, b.first.shape[1]).swapaxes(1, 2)
    rest = parts[0, 2] + parts[1, 1] + parts[2, 0] + (parts[1, 2] + parts[2, 1] + parts[2, 2])
    return scaled(plus(two_sum(parts[0, 0], parts[0, 1] + parts[1, 0]), double(rest)), a.scale * b.scale)


def matmul_error(dtype: Any, k: int) -> float:
    """Bound the error of `matmul` for sums of k products, relative to the largest entries."""
    return 4 * rounding(dtype) * 4.0 ** -_bits(dtype, min(k, BLOCK), 2)


def transposed(matrix: Double) -> Double:
    """Transpose the matrix, `[..., n, m]`."""
    return Double(*(jnp.swapaxes(array, -1, -2) for array in matrix))


@jax.custom_jvp
def with_derivative(value: Array, like: Array) -> Array:
    """Return `value` with the derivatives of `like`, a less precise computation of the same quantity."""
    return value


@with_derivative.defjvp
def _with_derivative_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return with_derivative(*primals), tangents[1]


def power_of_two(size: Array) -> Array:
    """Return the power of two at or below a size, for exact division; one if no power of two is a normal float."""
    size = jax.lax.stop_gradient(jnp.asarray(size))
    power = _power(size)
    return jnp.where((size > 0) & (power > 0) & (power < jnp.inf), power, 1)


def rounding_error(array: Array) -> Array:
    r"""Return the standard deviation of the rounding error of each entry, \(\mathrm{ulp} / \sqrt{12}\).

    It is zero for zero and non-finite entries; for complex entries, it combines the errors of both parts.
    """
    if jnp.iscomplexobj(array):
        return jnp.hypot(rounding_error(array.real), rounding_error(array.imag))
    wide = jax.lax.stop_gradient(array).astype(jnp.promote_types(array.dtype, jnp.float32))
    power = _power(wide)
    return jnp.where(power < jnp.inf, power, 0) * (rounding(array.dtype) / math.sqrt(12))


def _power(number: Array) -> Array:
    """Return the exponent of each float as a power of two: zero for subnormals, infinity for infinity and NaN.

    The bits are read directly, since `jnp.frexp` and `jnp.ldexp` compile to five times as many operations.
    """
    bits = jnp.dtype(f"uint{8 * number.dtype.itemsize}")
    exponent = jax.lax.bitcast_convert_type(jnp.full((), jnp.inf, number.dtype), bits)
    return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(number, bits) & exponent, number.dtype)
