"""A network of group convolutions, from images to one activation for each rotation and reflection."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit._errors import OptionError, ShapeError
from equikit.groups import D, MatrixGroup, Z, checked_polygon
from equikit.nn._dtypes import checked_dtypes
from equikit.nn._functions import relu
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.nn.initializers import filled, scaled, unit_normal

WIDTH = 0.5
"""The standard deviation of the rings of the filters, in pixels."""


class GroupConvolution(Layer):
    r"""A shallow network of group convolutions, from images to one activation for each element of C_n or D_n.

    The first layer correlates the image with its filters, rotated by every element:
    \(f_g(p) = \sum_u \psi(g^{-1} u)\, x(p + u)\); the other layers correlate functions on the group,
    \(f'_g(p) = \sum_{h, u} \psi_{g^{-1} h}(g^{-1} u)\, f_h(p + u)\). The mean over all pixels is a vector for each
    element, and an `equikit.nn.Linear` layer that commutes with the group mixes these vectors. Rotating the image by h
    permutes the activations: \(a_g(h x) = a_{h^{-1} g}(x)\).

    For n = 1, 2 and 4 rotations permute the entries of filters, and the equation holds up to rounding. For other n a
    filter is a sum of circular harmonics \(e^{-(|u| - r)^2 / 2 w^2} \cos m\theta\) and \(\sin m\theta\), m ≤ 2 and
    m ≤ 2r, on rings half a pixel wide, evaluated at rotated pixel positions; with interpolated filters the error is
    three times larger. Only the inscribed disc of the image is used, because rotation cuts off the corners. With n = 8,
    random weights and strokes four pixels wide, rotation by 45 degrees causes errors of 0.1 to 0.5 standard deviations,
    and the largest activation is correct for four of five images: training has to increase the differences.

    Args:
        channels: channels of the images; with `vectors`, the number of vectors at every pixel.
        group: `Z(n)` for rotations by multiples of 2π/n, `D(n)` for reflections too.
        hidden: channels of the hidden layers, for each element of the group.
        kernel_size: rows and columns of the filters, odd; by default 3 if rotation is exact, otherwise 5.
        vectors: whether images have an axis of two vector components before the channels, which rotate with the image.
        activation: function applied after each convolution.
        param_dtype: dtype of the parameters. Images and parameters are promoted to a common dtype.
        precision: precision of all products; the highest by default, because rounding breaks equivariance.
        rngs: random keys for the parameters.

    Raises:
        GroupError: if the group does not act on images by rotations.
        OptionError, ShapeError: if an argument or the shape of the images is invalid.

    Cost: for G elements, c channels and k × k filters about \(G^2 c^2 k^2\) multiplications per pixel and layer.

    Example:
        >>> import equikit as ek
        >>> network = GroupConvolution(1, ek.Z(4), rngs=nnx.Rngs(0))
        >>> x = jax.random.normal(jax.random.key(0), (2, 9, 9, 1))
        >>> turned_x = jnp.rot90(x, axes=(1, 2))                      # by one step: all activations move one place on
        >>> bool(jnp.allclose(network(turned_x), jnp.roll(network(x), 1, axis=-1), atol=1e-5))
        True

    Source:
        Cohen and Welling, Group equivariant convolutional networks, arXiv:1602.07576, sections 4 and 6; as a network
        for canonical forms, Kaba et al., arXiv:2211.06489, section 4. Circular harmonics: Weiler and Cesa, General
        E(2)-equivariant steerable CNNs, arXiv:1911.08251.
    """

    shows_parts = True

    def __init__(
        self,
        channels: int,
        group: Z,
        *,
        hidden: Sequence[int] = (8, 8),
        kernel_size: int | None = None,
        vectors: bool = False,
        activation: Callable[[Any], Any] = relu,
        param_dtype: DTypeLike = jnp.float32,
        precision: lax.PrecisionLike = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ) -> None:
        self.group = checked_polygon(group)
        turns = self.group.plane_matrices()
        order, exact = len(turns), np.issubdtype(turns.dtype, np.integer)
        self.kernel_size = (
            (3 if exact else 5) if kernel_size is None else _checks.count("kernel_size", kernel_size, example=3)
        )
        widths = _checks.widths("hidden", hidden, fewest=1, example="(8, 8)")
        if self.kernel_size % 2 == 0:
            raise OptionError(
                "filters are without a middle",
                got=f"kernel_size={self.kernel_size}",
                expected="an odd kernel_size",
                step="write kernel_size=3",
            )
        self.channels = _checks.count("channels", channels)
        self.vectors = _checks.flag("vectors", vectors)
        self.activation = _checks.function("activation", activation, example="jnp.tanh")
        self.precision = precision
        _, stored = checked_dtypes(None, param_dtype)
        _checks.rngs(rngs)
        functions = turned_filters(self.group, self.kernel_size).shape[-1]
        kernels = []
        for layer, width in enumerate(widths):
            source = widths[layer - 1] if layer else self.channels * (2 if vectors else 1)
            elements = order if layer else 1
            scale = np.full(elements, math.sqrt(2 / max(elements * functions * source, 1)))
            shape = elements, functions, source, width
            kernels.append(nnx.Param(scaled(unit_normal, rngs.params(), shape, stored, scale)))
        self.kernels = nnx.List(kernels)
        self.biases = nnx.List([nnx.Param(filled(0, (width,), stored)) for width in widths])
        self.head = Linear(
            "g -> g", widths[-1], 1, g=_regular(self.group), param_dtype=stored, precision=precision, rngs=rngs
        )

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(bias.shape[-1] for bias in self.biases)

    def _call_arguments(self) -> list[str]:
        return [str(self.channels), str(self.group)]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images `[*batch, i, j, channels]` or `[*batch, i, j, 2, channels]` to activations `[*batch, elements]`.

        Raises:
            ShapeError: if the images have another shape, or are not square and the group has smaller rotations than
                half turns.
        """
        images = checked_dtype("images", images)
        tail = ((2,) if self.vectors else ()) + (self.channels,)
        height, width = images.shape[-2 - len(tail) : -len(tail)] if images.ndim >= 2 + len(tail) else (0, 0)
        if images.shape[-len(tail) :] != tail or not height or (height != width and (self.group.n or 1) > 2):
            raise ShapeError(
                f"group convolutions for {self.group} cannot read images of this shape",
                got=f"shape {list(images.shape)}",
                expected=f"[*batch, i, j, {', '.join(map(str, tail))}], i = j where the group has quarter turns",
                step="make the network with the channels of the images, vectors=True for fields of vectors",
            )
        batch = images.shape[: -2 - len(tail)]
        dtype = jnp.promote_types(images.dtype, self.kernels[0].dtype)
        x = images.reshape(math.prod(batch), height, width, math.prod(tail)).astype(dtype)
        means = _means(
            self.group,
            self.kernel_size,
            self.vectors,
            self.activation,
            self.precision,
            x,
            [kernel[...].astype(dtype) for kernel in self.kernels],
            [bias[...].astype(dtype) for bias in self.biases],
        )
        activations: jax.Array = self.head(means.reshape(*batch, *means.shape[1:]))[..., 0]
        return activations


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _means(
    group: Z,
    size: int,
    vectors: bool,
    activation: Callable[[Any], Any],
    precision: lax.PrecisionLike,
    x: jax.Array,
    kernels: list[jax.Array],
    biases: list[jax.Array],
) -> jax.Array:
    """Return the means over all pixels of the convolved images, `[images, elements, channels]`."""
    turns = group.plane_matrices()
    order = len(turns)
    if not np.issubdtype(turns.dtype, np.integer):
        x = x * jnp.asarray(_disc(x.shape[1]), x.dtype)[..., None]
    for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        filters = _filters(group, size, kernel, first=layer == 0, vectors=vectors)
        x = lax.conv_general_dilated(
            x, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
        )
        x = activation(x + jnp.tile(bias, order))
    return jnp.mean(x, axis=(1, 2)).reshape(x.shape[0], order, x.shape[-1] // order)


def _filters(group: Z, size: int, kernel: jax.Array, *, first: bool, vectors: bool) -> jax.Array:
    """Return the filters rotated by every element, `[size, size, features, elements * width]`."""
    _, _, source, width = kernel.shape
    turned = jnp.asarray(turned_filters(group, size), kernel.dtype)
    every = jnp.einsum("guf,hfcw->guhcw", turned, kernel, precision=lax.Precision.HIGHEST)
    order, pixels = turned.shape[:2]
    if first and vectors:
        every = every.reshape(order, pixels, 2, source // 2, width)
        turn = jnp.asarray(group.plane_matrices(), kernel.dtype)
        every = jnp.einsum("guacw,gba->gubcw", every, turn, precision=lax.Precision.HIGHEST)
    if not first:  # for g and h, the filter of g^-1 h
        every = every[np.arange(order)[:, None, None], np.arange(pixels)[:, None], group.plane_quotients()[:, None, :]]
    features = source if first else order * source
    return jnp.moveaxis(every.reshape(order, size, size, features, width), 0, 3).reshape(
        size, size, features, order * width
    )


@functools.lru_cache(maxsize=32)
def turned_filters(group: Z, size: int) -> np.ndarray:
    r"""Return the rotated basis functions of filters: \(b_f(g^{-1} u)\) at every pixel u.

    Single pixels if the group permutes pixels, otherwise circular harmonics on rings: `[elements, size², functions]`.
    """
    across = np.arange(size) - (size - 1) / 2
    pixels = np.stack(np.meshgrid(across, across, indexing="ij"), -1).reshape(-1, 2)
    turn = group.plane_matrices()
    source = pixels @ turn.astype(np.float64)  # g^T u for each element g and all u
    if np.issubdtype(turn.dtype, np.integer):
        return np.asarray(np.all(source[:, :, None] == pixels, axis=-1), np.float64)
    radius, angle = np.hypot(source[..., 0], source[..., 1]), np.arctan2(source[..., 1], source[..., 0])
    found = []
    for ring in range(size // 2 + 1):
        profile = np.exp(-0.5 * ((radius - ring) / WIDTH) ** 2)
        found.append(profile)
        for frequency in range(1, min(2 * ring, 2) + 1):
            wave = np.where(radius > 0.25, profile, 0)  # a harmonic is undefined at the center
            found += [wave * np.cos(frequency * angle), wave * np.sin(frequency * angle)]
    functions = np.stack(found, -1)
    # Scale to mean-square norm one over the elements, as for a single pixel.
    norms = np.sqrt(np.sum(functions**2, axis=(0, 1)) / len(turn))
    return np.asarray(functions / norms)


def _disc(size: int) -> np.ndarray:
    """Return which pixels of a square lie in its inscribed disc, booleans `[size, size]`."""
    squares = (np.arange(size) - (size - 1) / 2) ** 2
    return np.asarray(squares[:, None] + squares[None, :] <= (size / 2) ** 2)


def _regular(group: Z) -> Z | MatrixGroup:
    """Return the regular representation: Z(n) for C_n; matrices for D_n, because D(n) permutes only n corners."""
    if not isinstance(group, D):
        return group
    places = group.plane_quotients()  # row g: where g^-1 moves every element
    steps = [1 % (group.n or 1), group.n or 1]
    one = np.eye(len(places), dtype=np.int64)
    return MatrixGroup([one[places[step]] for step in steps], name=f"{group} on its elements")
