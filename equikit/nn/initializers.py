"""Initialize parameters with few compiled programs.

JAX compiles a program for each shape that is sampled, scaled or filled, and a network has dozens of shapes. This module
samples only three fixed lengths, truncates the samples, and does everything else in NumPy. The values do not change:
with the default generator of JAX, entry i of a sample depends only on the key and on i. Other generators, traced keys
and samples of more than 2^20 numbers need a program for each shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import ShapeError

Sample = Callable[..., jax.Array]
"""Samples numbers from a key, a shape and a dtype."""

# Compiling a program takes 150 ms on a CPU core; sampling these lengths takes 0.1, 0.6 and 11 ms. A fourth length would
# cost more to compile than it saves, and a longer last length would cost more to sample than to compile.
LENGTHS = 1 << 12, 1 << 16, 1 << 20


MOST_BYTES = 1 << 38
"""The largest size of a parameter in bytes, unless it is only traced: no device has more memory."""


def _refuse_large(shape: Any, dtype: Any, *, traced: bool) -> None:
    """Raise `TooLargeError` for a parameter that does not fit in memory, or whose entries JAX cannot count."""
    entries = math.prod(max(size, 1) for size in shape)
    most = (1 << 63) - 1 if traced else MOST_BYTES // np.dtype(dtype).itemsize
    without = "" if traced else ", or make the layer by nnx.eval_shape, which allocates nothing"
    _checks.refuse_if_more(
        f"a parameter of shape {_checks.shown([*shape])} is too large",
        entries,
        most,
        "entries",
        f"use fewer channels{without}",
    )


def _concrete(x: Any) -> bool:
    """Whether NumPy can read the whole array: it is not traced, and is fully addressable and replicated."""
    whole = isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)
    return whole and x.is_fully_addressable and x.is_fully_replicated


def _extends(key: jax.Array) -> bool:
    """Whether a longer sample from the same key starts with the shorter one."""
    by_entry = bool(jax.config.values.get("jax_threefry_partitionable", True))
    return by_entry and jax.random.key_impl(key) == "threefry2x32"


def in_numpy(x: jax.Array) -> Any:
    """Return the array as a NumPy array, whose operations compile nothing; return a traced array unchanged."""
    return np.asarray(x) if _concrete(x) else x


def in_python(number: Any) -> Any:
    """Return a checked number as a Python `float`, whose use compiles nothing; return a traced number unchanged."""
    return number if isinstance(number, jax.core.Tracer) else float(number)


def placed(values: np.ndarray | jax.Array, like: jax.Array) -> jax.Array:
    """Put values on the devices of another array; `jnp.asarray` would compile a program for every shape."""
    if isinstance(values, jax.Array):
        return values
    found: jax.Array = jax.device_put(values, like.sharding if like.committed else None)
    return found


@functools.partial(jax.jit, static_argnames=("sample", "shape", "dtype", "out_sharding"))
def _draw(sample: Sample, key: jax.Array, scale: Any, shape: Any, dtype: Any, out_sharding: Any = None) -> jax.Array:
    """Sample in float32 or wider, multiply, and cast: in bfloat16 JAX samples only 128 values, with mean -0.012."""
    wide = jnp.promote_types(dtype, jnp.float32)
    values: jax.Array = sample(key, shape, wide, out_sharding=out_sharding) * scale
    return values.astype(dtype)


def _scaled(sample: Sample, key: jax.Array, scale: Any, shape: Any, dtype: Any, out_sharding: Any = None) -> jax.Array:
    _refuse_large(shape, dtype, traced=not _concrete(key))
    wide, size = jnp.promote_types(dtype, jnp.float32), math.prod(shape)
    scale = np.asarray(scale, np.zeros((), wide).real.dtype)
    if out_sharding is not None or size > LENGTHS[-1] or not (_concrete(key) and _extends(key)):
        drawn: jax.Array = _draw(sample, key, scale, tuple(shape), jnp.dtype(dtype), out_sharding)
        return drawn
    length = min(length for length in LENGTHS if length >= size)
    values = np.asarray(_draw(sample, key, np.ones((), scale.dtype), (length,), wide))[:size]
    return placed((values.reshape(*shape, *values.shape[1:]) * scale).astype(dtype), key)


def unit_normal(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Initializer: standard normal numbers."""
    return _scaled(jax.random.normal, key, 1.0, shape, dtype, out_sharding)


def _uniform_and_normal(key: jax.Array, shape: Any, dtype: Any, out_sharding: Any) -> jax.Array:
    places, numbers = jax.random.split(key)
    uniform = jax.random.uniform(places, shape, dtype, out_sharding=out_sharding)
    return jnp.stack([uniform, jax.random.normal(numbers, shape, dtype, out_sharding=out_sharding)], -1)


def uniform_and_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return uniform numbers from zero to one and standard normal numbers: float32 `[*shape, 2]`."""
    return _scaled(_uniform_and_normal, key, 1.0, shape, jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def split_keys(key: jax.Array, count: int) -> list[jax.Array]:
    """Split a key into a list of keys with one program; indexing each key would take another program."""
    return [*jax.random.split(key, count)]


def _truncated(key: jax.Array, shape: Any, dtype: Any, out_sharding: Any) -> jax.Array:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype, out_sharding=out_sharding)


def lecun_normal(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Initializer of a real matrix `[in, out]`: normal numbers of variance 1/in, truncated at two deviations."""
    deviation = 0.87962566103423978  # the standard deviation of a unit normal truncated at -2 and 2
    return _scaled(_truncated, key, 1 / math.sqrt(max(shape[0], 1)) / deviation, shape, dtype, out_sharding)


def _filled(
    value: float, slow: nnx.Initializer, key: jax.Array, shape: Any, dtype: Any, out_sharding: Any
) -> jax.Array:
    _refuse_large(shape, dtype, traced=not _concrete(key))
    if out_sharding is not None or not _concrete(key):
        return slow(key, shape, dtype, out_sharding)
    return placed(np.full(shape, value, dtype), key)


def zeros(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Initializer: zeros."""
    return _filled(0, nnx.initializers.zeros, key, shape, dtype, out_sharding)


def ones(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Initializer: ones."""
    return _filled(1, nnx.initializers.ones, key, shape, dtype, out_sharding)


def filled(value: float, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Return an array of equal entries, without a key; `jnp.full` would compile a program for every shape."""
    if math.prod(shape) > LENGTHS[-1]:
        _refuse_large(shape, dtype, traced=isinstance(jnp.zeros((), dtype), jax.core.Tracer))
        return jnp.full(shape, value, dtype)
    values: jax.Array = jax.device_put(np.full(shape, value, dtype))
    return values


DENSE: dict[str, Any] = {"kernel_init": lecun_normal, "bias_init": zeros}
"""Options of `nnx.Linear` that give its default initialization with few compiled programs."""


def initial(name: str, init: nnx.Initializer, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Call an initializer that was passed as an argument, and check the values that it returns."""
    usual = {"kernel_init": "normal(1.0)", "bias_init": "zeros"}
    _checks.function(name, init, example=f"jax.nn.initializers.{usual[name]}", arguments=3)
    _refuse_large(shape, dtype, traced=not _concrete(key))
    values = init(key, shape, dtype)
    if jnp.shape(values) != shape or values.dtype != dtype:
        raise ShapeError(
            f"{name}= returns values that do not fit the parameter",
            got=f"{getattr(values, 'dtype', type(values).__name__)} of shape {[*jnp.shape(values)]}",
            expected=f"{jnp.dtype(dtype)} of shape {[*shape]}",
            step="return an array of the shape and dtype that the function gets",
        )
    return values


def scaled(init: nnx.Initializer, key: jax.Array, shape: tuple[int, ...], dtype: Any, scale: np.ndarray) -> jax.Array:
    """Sample from an initializer of variance one, and multiply entry i of the first axis by `scale[i]`."""
    scale = scale.reshape(-1, *[1] * (len(shape) - 1))
    if init is unit_normal:
        return _scaled(jax.random.normal, key, scale, shape, dtype)
    return initial("kernel_init", init, key, shape, dtype) * scale.astype(dtype)
