"""`python -m benchmarks.speed._scaling_program DEVICES N CHANNELS BATCH`: compile a layer for virtual devices.

Each number of devices needs a separate process, because JAX sets it once.
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from benchmarks.speed._virtual_devices import in_its_process, print_layouts
from equikit.plans.targets import collectives

MODEL = 8
"""Devices over which a tensor axis or channels are sharded: the devices of a node."""

LAYOUTS = ("batch", "tensor axis", "channels")


def specs(layout: str) -> tuple[Any, Any, Any]:
    """Return the sharding of input, kernel and bias over the mesh axes `data` and `model`."""
    from jax.sharding import PartitionSpec as P

    return {
        "batch": (P(("data", "model")), P(), P()),
        "tensor axis": (P("data", "model"), P(), P()),
        "channels": (P("data", None, None, "model"), P(None, None, "model"), P(None, "model")),
    }[layout]


def program(layout: str, devices: int, n: int, channels: int, batch: int) -> Any:
    """The compiled training step: value and gradient of mean(relu(y)^2), by weights and input.

    Args:
        layout: one of `LAYOUTS`.
        devices: how many; at most those that JAX has.
        n: size of the tensor axes.
        channels: of input and output.
        batch: samples a device.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding

    import equikit as ek
    from equikit.plans import apply, weight_shapes

    sizes = (devices // MODEL, MODEL) if devices >= MODEL else (devices, 1)
    mesh = jax.make_mesh(sizes, ("data", "model"), axis_types=(AxisType.Explicit,) * 2, devices=jax.devices()[:devices])
    of_input, of_kernel, of_bias = specs(layout)
    plan = ek.hom("p p -> p p", p=ek.S).plan((channels, channels), bias=True)
    weights = {
        name: jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(mesh, of_kernel if len(shape) == 3 else of_bias)
        )
        for name, shape in weight_shapes(plan).items()
    }
    x = jax.ShapeDtypeStruct((batch * devices, n, n, channels), jnp.float32, sharding=NamedSharding(mesh, of_input))

    def loss(weights: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.relu(apply(plan, x, weights)) ** 2)

    with jax.set_mesh(mesh):
        return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(weights, x).compile()


def measured(layout: str, devices: int, n: int, channels: int, batch: int) -> dict[str, Any]:
    """FLOPs, bytes of memory and collectives of one device."""
    compiled = program(layout, devices, n, channels, batch)
    cost = compiled.cost_analysis()
    return {
        "flops": float(cost["flops"]),
        "bytes": float(cost["bytes accessed"]),
        "collectives": [asdict(each) for each in collectives(compiled.as_text(), devices)],
    }


in_a_process = functools.partial(in_its_process, "benchmarks.speed._scaling_program")
"""Returns the numbers of every layout, by the number of devices and the sizes."""


if __name__ == "__main__":
    print_layouts(measured, LAYOUTS)
