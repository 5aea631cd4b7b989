"""Next steps of supports on many devices that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import numpy as np
from flax import nnx

import equikit as ek

EDGES = ek.Support("p p", [0, 1], [1, 0], n=3)
SPREAD, _ = EDGES.spread(1, axis="d")
LAYER = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
X = np.ones((2, 1), np.float32)


def mesh_of(kind: jax.sharding.AxisType) -> Any:
    return jax.make_mesh((1,), ("d",), axis_types=(kind,), devices=jax.devices()[:1])


def call(x: Any, support: ek.Support) -> Any:
    return LAYER(x, support=support)


def explicit() -> Any:
    mesh = mesh_of(jax.sharding.AxisType.Explicit)
    with jax.set_mesh(mesh):
        return call(jax.device_put(X, jax.NamedSharding(mesh, jax.P("d"))), EDGES)


CALL: dict[str, tuple[Any, str, Any]] = {
    "a-spread-support-without-a-map": (
        lambda: call(X, SPREAD),
        'jax.shard_map(call, mesh=mesh, in_specs=(jax.P("d"), jax.P("d")), out_specs=jax.P("d"))(x, support)',
        {"jax": jax, "call": call, "mesh": mesh_of(jax.sharding.AxisType.Auto), "x": X, "support": SPREAD},
    ),
    "rows-over-explicit-axes": (explicit, 'edges.spread(1, axis="d")', {"edges": EDGES}),
}
