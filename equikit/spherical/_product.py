"""The product of two arrays of irreps by a coupling: the sum of its nonzero terms, or a tensor product of e3j."""

from __future__ import annotations

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Inexact

from equikit import _checks
from equikit._array_checks import checked_dtype, refuse_mixture
from equikit._errors import OptionError
from equikit.spherical._e3j import e3j

Components = Inexact[jax.Array, "*batch components channels"]
Degrees = tuple[int, int, int]
Method = Literal["terms", "e3j"]
METHODS: tuple[Method, ...] = ("terms", "e3j")
Terms = tuple[tuple[tuple[int, int, float], ...], ...]
"""For each component of the result, the components of both factors and the coefficient of each nonzero term."""


def operands(degrees: Degrees, x: object, y: object) -> tuple[jax.Array, jax.Array]:
    """Return two arrays of irreps after checking their shapes and dtypes."""
    left, right = checked_dtype("x", x), checked_dtype("y", y)
    refuse_mixture({"x": left, "y": right})
    a, b, _ = degrees
    step = "bring the components to the axis before the channels; channels come last"
    _checks.shaped("x", left, ("*batch", 2 * a + 1, "channels"), step=step)
    several = left.shape[-1] != 1 and right.shape[-1:] != (1,)
    wanted = (*left.shape[:-2], 2 * b + 1, left.shape[-1] if several else "channels")
    _checks.shaped("y", right, wanted, step=step)
    return left, right


@functools.partial(jax.jit, static_argnames="terms")
def by_terms(terms: Terms, x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum the nonzero terms of each component. On CPUs and GPUs XLA fuses all of them, and reads each factor once."""
    dtype = jnp.result_type(x, y)
    wide = jnp.promote_types(dtype, jnp.float32)
    x, y = x.astype(wide), y.astype(wide)
    rows = [sum(value * x[..., i, :] * y[..., j, :] for i, j, value in term) for term in terms]
    return jnp.stack(rows, axis=-2).astype(dtype)


def by_e3j(degrees: Degrees, x: jax.Array, y: jax.Array) -> jax.Array:
    """Call e3j's tensor product, with the kernel that its configuration names."""
    library = e3j()
    config = library.config.state()
    a, b, c = degrees
    dtype = jnp.result_type(x, y)
    wide = jnp.promote_types(dtype, jnp.float32)
    channels = y.shape[-1] if x.shape[-1] == 1 else x.shape[-1]
    mapped = y.shape[-1] == channels
    # Its kernels have one axis for a batch, and broadcast the channels of the second factor only.
    *batch, _, _ = x.shape
    size = math.prod(batch)
    left = jnp.broadcast_to(x, (*x.shape[:-1], channels)).reshape(size, 2 * a + 1, channels).astype(wide)
    right = y.reshape(size, 2 * b + 1, *[channels] * mapped).astype(wide)
    try:
        product = library.core.TensorProduct(
            (f"{a}e", f"{b}e"),
            f"{c}e",
            config=config,
            layout="TRAILING_CHANNELS",
            mode="MAP" if mapped else "OUTER",
            normalization="SQRT_DIM_OUT",
        )
        found = product(left, right)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise OptionError(
            f"e3j refuses arrays {[*left.shape]} and {[*right.shape]} of {wide}",
            got=f"{type(error).__name__}: {error}".partition("\n")[0],
            expected=f"what its kernel {config.tensor_product.name} accepts",
            step='write method="terms"',
        ) from error
    result: jax.Array = found.reshape(*batch, 2 * c + 1, channels).astype(dtype)
    return result
