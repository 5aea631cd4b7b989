"""Turning and reflecting images on their square grid."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def turned(matrix: Any, image: Any, axes: tuple[int, int]) -> Any:
    r"""The image with every pixel p moved to \(c + R (p - c)\), c the centre: bilinear, and zero from outside.

    Where R is a quarter turn or a reflection with entries 0, 1 and -1, and the image is square, this is exact: every
    pixel is one pixel.

    Args:
        matrix: R, `[2, 2]`, orthogonal.
        image: any array; it may have more axes.
        axes: which two axes of it count pixels.

    Cost: four reads for every entry of the image.
    """
    height, width = image.shape[axes[0]], image.shape[axes[1]]
    dtype = jnp.promote_types(matrix.dtype, jnp.float32)
    moved = jnp.moveaxis(image, axes, (0, 1))
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], dtype)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height, dtype=dtype), jnp.arange(width, dtype=dtype), indexing="ij"), -1)
    # The value at p comes from R^T (p - c) + c.
    source = (grid - centre) @ matrix.astype(dtype) + centre
    low = jnp.floor(source)
    part = source - low
    low = low.astype(jnp.int32)
    total = jnp.zeros_like(moved, jnp.promote_types(moved.dtype, jnp.float32))
    for i in (0, 1):
        for j in (0, 1):
            rows, columns = low[..., 0] + i, low[..., 1] + j
            there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            weight = (part[..., 0] if i else 1 - part[..., 0]) * (part[..., 1] if j else 1 - part[..., 1])
            weight = jnp.where(there, weight, 0)
            pixels = moved[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
            total = total + jnp.expand_dims(weight, range(2, moved.ndim)).astype(total.dtype) * pixels
    return jnp.moveaxis(total.astype(image.dtype), (0, 1), axes)


def polygon_group(corners: int, reflections: bool) -> Any:
    """The matrices of C_n, or of D_n with its reflections behind, `[n or 2n, 2, 2]`; quarter turns are exact."""
    import numpy as np

    angles = 2 * np.pi * np.arange(corners) / corners
    cosines, sines = np.cos(angles), np.sin(angles)
    for numbers in (cosines, sines):
        whole = np.abs(numbers - np.round(numbers)) < 1e-12
        numbers[whole] = np.round(numbers[whole])
    turns = np.stack([np.stack([cosines, -sines], -1), np.stack([sines, cosines], -1)], -2)
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0])]) if reflections else turns
