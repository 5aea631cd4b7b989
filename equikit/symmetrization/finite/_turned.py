"""Rotate and reflect images on their square grid."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp


def turned(matrix: Any, image: Any, axes: tuple[int, int]) -> Any:
    r"""Move every pixel p of an image to \(c + R (p - c)\), with c the center: bilinear, and zero outside.

    If R is a quarter turn or a reflection with entries 0, 1 and -1, and the image is square, this is exact: every pixel
    moves to a pixel. If R has integer entries, pixels are exchanged without interpolation. The derivative with respect
    to R is the derivative of the interpolation; if a pixel moves exactly to a pixel and the slopes on its two sides
    differ, it is their mean, so that derivatives rotate with the image.

    Args:
        matrix: R, `[2, 2]`, orthogonal, in floating point or integers.
        image: any array; it may have more axes.
        axes: the two pixel axes of the image.

    Returns:
        An image of the same shape and dtype; NaN if R is a quarter turn in integers and the image is not square.

    Cost: three selections for every entry of the image if R has integer entries, otherwise four reads.
    """
    if jnp.issubdtype(matrix.dtype, jnp.integer):
        return _exchanged(matrix, image, axes)
    return _interpolated(matrix, image, axes)


def _exchanged(matrix: Any, image: Any, axes: tuple[int, int]) -> Any:
    """Transpose and flip: the action of a signed permutation of two axes."""
    across = matrix[0, 1] != 0
    if image.shape[axes[0]] == image.shape[axes[1]]:
        image = jnp.where(across, jnp.swapaxes(image, *axes), image)
    elif jnp.issubdtype(image.dtype, jnp.inexact):
        image = jnp.where(across, jnp.nan, image)
    for row, axis in enumerate(axes):
        image = jnp.where(jnp.sum(matrix[row]) < 0, jnp.flip(image, axis), image)
    return image


def _sources(matrix: Any, image: Any, *, offset: bool) -> Any:
    r"""Return the source of each pixel, \(R^T (p - c) + c\), `[height, width, 2]`; c only with `offset`."""
    (height, width), dtype = image.shape[:2], jnp.promote_types(matrix.dtype, jnp.float32)
    center = jnp.array([(height - 1) / 2, (width - 1) / 2], dtype)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height, dtype=dtype), jnp.arange(width, dtype=dtype), indexing="ij"), -1)
    found = jnp.matmul(grid - center, matrix.astype(dtype), precision=jax.lax.Precision.HIGHEST)
    return found + center if offset else found


def _read(image: Any, rows: Any, columns: Any) -> Any:
    """Return the pixels `[height, width, ...]` at integer positions, zero outside."""
    height, width = image.shape[:2]
    there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = image[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
    return jnp.where(jnp.expand_dims(there, range(2, image.ndim)), pixels, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _interpolated(matrix: Any, image: Any, axes: tuple[int, int]) -> Any:
    moved = jnp.moveaxis(image, axes, (0, 1))
    source = _sources(matrix, moved, offset=True)
    low = jnp.floor(source)
    part = source - low
    low = low.astype(jnp.int32)
    total = jnp.zeros_like(moved, jnp.promote_types(moved.dtype, jnp.float32))
    for i in (0, 1):
        for j in (0, 1):
            weight = (part[..., 0] if i else 1 - part[..., 0]) * (part[..., 1] if j else 1 - part[..., 1])
            weight = jnp.expand_dims(weight, range(2, moved.ndim)).astype(total.dtype)
            pixels = _read(moved, low[..., 0] + i, low[..., 1] + j)
            # Pixels of weight zero may have any value, including NaN.
            total = total + jnp.where(weight == 0, 0, weight * pixels)
    return jnp.moveaxis(total.astype(image.dtype), (0, 1), axes)


@_interpolated.defjvp
def _interpolated_jvp(axes: tuple[int, int], primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (matrix, image), (matrix_rate, image_rate) = primals, tangents
    moved = jnp.moveaxis(image, axes, (0, 1))
    source = _sources(matrix, moved, offset=True)
    speed = _sources(matrix_rate, moved, offset=False)
    near = jnp.round(source)
    part, near = source - near, near.astype(jnp.int32)
    # The weights of the pixels before, at and after the nearest one, and their slopes, which jump if part is zero.
    weights = jnp.stack([jnp.maximum(-part, 0), 1 - jnp.abs(part), jnp.maximum(part, 0)])
    side = jnp.sign(part)
    slopes = jnp.stack([(side - 1) / 2, -side, (side + 1) / 2])
    total = jnp.zeros_like(moved, jnp.promote_types(moved.dtype, jnp.float32))
    for i in range(3):
        for j in range(3):
            rate = slopes[i, ..., 0] * weights[j, ..., 1] * speed[..., 0]
            rate = rate + weights[i, ..., 0] * slopes[j, ..., 1] * speed[..., 1]
            pixels = _read(moved, near[..., 0] + i - 1, near[..., 1] + j - 1)
            total = total + jnp.expand_dims(rate, range(2, moved.ndim)).astype(total.dtype) * pixels
    rate = jnp.moveaxis(total.astype(image.dtype), (0, 1), axes)
    return _interpolated(matrix, image, axes), rate + _interpolated(matrix, image_rate, axes)
