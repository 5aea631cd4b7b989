"""Where a spread support can be used, and where rows can be sharded, by what is said otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from jax.sharding import AxisType

import equikit as ek

EDGES = ek.Support("p p", [0, 1, 2, 3], [1, 0, 1, 3], n=4)
LAYER = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
X = np.arange(4, dtype=np.float32)[:, None]


def mesh_of(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((1,), ("d",), axis_types=(kind,), devices=jax.devices()[:1])


def call(x, support):
    return LAYER(x, support=support)


def in_a_map(devices: int, rows: int):
    spread, _ = EDGES.spread(devices, axis="d")
    spec = jax.P("d")
    mapped = jax.shard_map(call, mesh=mesh_of(AxisType.Auto), in_specs=(spec, spec), out_specs=spec)
    return mapped(np.ones((rows, 1), np.float32), spread)


def explicit(spread_features: bool):
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        placed = jax.device_put(X if spread_features else EDGES, jax.NamedSharding(mesh, jax.P("d")))
        return call(placed, EDGES) if spread_features else call(X, placed)


STEP = 'write jax.shard_map(call, mesh=mesh, in_specs=(jax.P("d"), jax.P("d")), out_specs=jax.P("d"))(x, support)'
CASES = {
    "no map": (
        lambda: call(X[:2], EDGES.spread(2, axis="d")[0]),
        (
            "a support that is spread over 2 devices along 'd' is used outside jax.shard_map",
            "no such axis",
            "a call in jax.shard_map over an axis 'd' of 2 devices",
            STEP,
        ),
    ),
    "a map of another size": (
        lambda: in_a_map(2, 2),
        (
            "a support that is spread over 2 devices along 'd' is used over 1 devices",
            "d=1",
            "a call in jax.shard_map over an axis 'd' of 2 devices",
            STEP,
        ),
    ),
    "explicit features": (
        lambda: explicit(True),
        (
            "rows of the support or of its arrays are sharded along 'd'",
            "explicit sharding P('d', None)",
            "a support that is spread, and a call in jax.shard_map",
            'spread it: edges, order = edges.spread(1, axis="d")',
        ),
    ),
    "explicit tables": (
        lambda: explicit(False),
        ("rows of the support or of its arrays are sharded along 'd'", "explicit sharding", "spread", "spread it"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_layer_says_about_devices(name):
    wrong, texts = CASES[name]
    assert_error(ek.OptionError, wrong, *texts)


def test_one_device_gives_what_a_call_without_devices_gives():
    order = EDGES.spread(1, axis="d")[1]
    spread = EDGES.spread(1, axis="d")[0]
    spec = jax.P("d")
    mapped = jax.shard_map(call, mesh=mesh_of(AxisType.Auto), in_specs=(spec, spec), out_specs=spec)
    found = jax.jit(mapped)(jnp.asarray(X[order]), spread)
    np.testing.assert_allclose(found, jax.jit(call)(X, EDGES)[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x, support: ek.nn.Pool("p p", p=ek.S)(x, support=support),
        lambda x, support: ek.nn.RMSNorm({"p p": 1}, p=ek.S, rngs=nnx.Rngs(0))({"p p": x}, support=support),
        lambda x, support: ek.nn.Multilinear("p p, p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))(x, x, support=support),
        lambda x, support: ek.nn.Attention({"p": 1}, heads=1, p=ek.S, rngs=nnx.Rngs(0))({"p": x}, support=support),
    ],
    ids=["pool", "norm", "products", "attention"],
)
def test_only_linear_layers_run_on_spread_supports(layer):
    spread, _ = EDGES.spread(1, axis="d")
    spec = jax.P("d")
    mapped = jax.shard_map(layer, mesh=mesh_of(AxisType.Auto), in_specs=(spec, spec), out_specs=spec)
    assert_error(
        ek.OptionError,
        lambda: mapped(X, spread),
        "only linear layers run on a support that is spread over devices",
        "a support that is spread along 'd'",
        "a support that is not spread",
        "between linear layers apply functions of jnp to the rows, such as jax.nn.relu",
    )
