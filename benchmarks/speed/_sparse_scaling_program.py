"""`python -m benchmarks.speed._sparse_scaling_program DEVICES EDGES NODES CHANNELS`: a layer on a support of a mesh.

Each number of devices needs a separate process, because JAX sets it once.
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.speed._virtual_devices import in_its_process, print_layouts
from equikit.plans.targets import collectives

LAYOUTS = ("spread", "automatic")


def random_pairs(nodes: int, edges: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return the edges of a random graph in both directions, `[2, edges]`, without loops."""
    rng = np.random.default_rng(seed)
    found = np.empty(0, np.int64)
    while len(found) < edges // 2:
        low, high = np.sort(rng.integers(0, nodes, (2, edges)), axis=0)
        found = np.unique(np.concatenate([found, (low * nodes + high)[low != high]]))
    i, j = np.divmod(rng.permutation(found)[: edges // 2], nodes)
    return np.stack([np.concatenate([i, j]), np.concatenate([j, i])])


def measured(layout: str, devices: int, edges: int, nodes: int, channels: int) -> dict[str, Any]:
    """FLOPs, bytes of memory and collectives of one device, in the value and gradient of mean(relu(y)^2).

    Args:
        layout: one of `LAYOUTS`.
        devices: how many; at most those that JAX has.
        edges, nodes: of each device.
        channels: of input and output.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

    import equikit as ek
    from equikit.plans import apply, weight_shapes

    mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    support = ek.Support("p p", *random_pairs(nodes * devices, edges * devices), n=nodes * devices)
    plan = ek.hom("p p -> p p", p=ek.S).plan((channels, channels), bias=True)

    def run(weights: Any, x: jax.Array, support: ek.Support) -> Any:
        return apply(plan, x, weights, support=support)

    rows = {"entries": edges, "copies": 0, "slots": 0}
    if layout == "spread" and devices > 1:
        support, _ = support.spread(devices, axis="d")
        exchange = support.levels[2].exchange
        assert exchange is not None
        copies = np.asarray(exchange.borrowed).reshape(devices, -1) < exchange.reach
        slots = copies.shape[1] // devices
        rows = {"entries": support.entries[2], "copies": int(copies.sum(axis=1).max()), "slots": slots}
        run = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("d"), P("d")), out_specs=P("d"))

    def of(spec: P, shape: Any, dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    weights = {name: of(P(), shape, jnp.float32) for name, shape in weight_shapes(plan).items()}
    x = of(P("d"), (rows["entries"] * devices, channels), jnp.float32)
    tables = jax.tree.map(lambda table: of(P("d"), table.shape, table.dtype), support)

    def loss(weights: Any, x: jax.Array, support: ek.Support) -> jax.Array:
        return jnp.mean(jax.nn.relu(run(weights, x, support)) ** 2)

    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(weights, x, tables).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return {
        "flops": float(cost["flops"]),
        "bytes": float(cost["bytes accessed"]),
        "held": float(held),
        "rows": rows,
        "collectives": [asdict(each) for each in collectives(compiled.as_text(), devices)],
    }


in_a_process = functools.partial(in_its_process, "benchmarks.speed._sparse_scaling_program")
"""Returns the numbers of every layout, by the number of devices and the sizes."""


if __name__ == "__main__":
    print_layouts(measured, LAYOUTS)
