"""Data-parallel training: batches are sharded over devices, and everything else is replicated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from equikit._errors import OptionError

_spec: Callable[..., PartitionSpec] = PartitionSpec  # JAX gives it no type


def sharding_of(devices: Sequence[jax.Device], batch: int) -> tuple[NamedSharding, NamedSharding]:
    """Return the shardings of replicated arrays and of batches, over a mesh with one axis `"data"`.

    Raises:
        OptionError: if the devices cannot share a batch equally.
    """
    listed = isinstance(devices, Sequence) and all(isinstance(device, jax.Device) for device in devices)
    if not listed or not devices:
        raise OptionError(
            "devices= must be a list of devices",
            got=repr(devices)[:80],
            expected="one jax.Device or more",
            step="write devices=jax.devices()",
        )
    if batch % len(devices):
        raise OptionError(
            f"{len(devices)} devices cannot share a batch of {batch} equally",
            got=f"batch={batch}, {len(devices)} devices",
            expected="a batch that is a multiple of the number of devices",
            step=f"pass batch={-(-batch // len(devices)) * len(devices)}, or other devices",
        )
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, _spec()), NamedSharding(mesh, _spec("data"))


def replicated(tree: Any, sharding: NamedSharding) -> Any:
    """Replicate arrays of this process on every device of all processes."""

    def put(array: Any) -> Any:
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(array)), impl=jax.random.key_impl(array))
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def local(tree: Any) -> Any:
    """Return the copies of replicated arrays on the first device of this process."""
    return jax.tree.map(lambda array: jnp.asarray(array.addressable_data(0)), tree)
