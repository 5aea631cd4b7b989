"""Restore the checkpoint of `eight_devices.py` on two devices and on one: as a script, it prints the largest errors."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import equikit as ek


def restored(folder: Path, devices: list[jax.Device]) -> float:
    """The largest error of what the restored layer gives, with its kernel spread over some devices."""
    layer = ek.nn.Linear("p p -> p p", 8, 16, p=ek.S, rngs=nnx.Rngs(7), param_dtype=jnp.float64)  # other weights
    graphdef, state = nnx.split(layer)
    mesh = jax.sharding.Mesh(np.array(devices), ("d",), axis_types=(AxisType.Auto,))

    def wanted(array: jax.Array) -> jax.ShapeDtypeStruct:
        spec = P(None, None, "d") if array.ndim == 3 else P()
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(mesh, spec))

    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(folder / "state", jax.tree.map(wanted, nnx.to_pure_dict(state)))
    assert {array.sharding.num_devices for array in jax.tree.leaves(found)} == {len(devices)}
    nnx.replace_by_pure_dict(state, found)
    expected = np.load(folder / "expected.npz")
    y = nnx.merge(graphdef, state)(jax.device_put(expected["x"], NamedSharding(mesh, P())))
    return float(np.abs(np.asarray(y) - expected["y"]).max() / np.abs(expected["y"]).max())


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    assert jax.device_count() == 2
    print(json.dumps({count: restored(Path(sys.argv[1]), jax.devices()[:count]) for count in (2, 1)}))
