"""What `out_sharding` must not be, and what is said of it; nothing is computed, so an abstract mesh will do."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec as P

import equikit as ek
from equikit._errors import EquikitError, OptionError, ShapeError
from equikit.demo import CONTESTANTS, Split, atlas, train
from equikit.nn import Linear
from equikit.plans import apply_multilinear

AUTO = AbstractMesh((8, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
EXPLICIT = AUTO.update(axis_types=(AxisType.Explicit,) * 2)
OTHER = AbstractMesh((4,), ("data",), axis_types=(AxisType.Auto,))


@pytest.fixture(scope="module")
def layer() -> Linear:
    return Linear("p p -> p p", 3, 5, p=ek.S, rngs=nnx.Rngs(0))


def refused(layer: Any, out_sharding: Any, mesh: AbstractMesh | None, kind: type[EquikitError]) -> str:
    x = jax.ShapeDtypeStruct((16, 7, 7, 3), jnp.float32)
    context = jax.sharding.use_abstract_mesh(mesh or AbstractMesh((), ()))
    with context, pytest.raises(kind) as caught:
        jax.eval_shape(lambda x: layer(x, out_sharding=out_sharding), x)
    return str(caught.value)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize(
    ("out_sharding", "kind", "texts"),
    [
        (
            P(None, "model"),
            ShapeError,
            ["spreads 7 entries over 2 devices", "a multiple of 2", "[16, 7, 7, 5]: [*batch, p, p, channels]", "to 8,"],
        ),
        (P(("data", "model"), "model"), OptionError, ["names the axis 'model' twice"]),
        (P(None, ("data", "model")), ShapeError, ["spreads 7 entries over 16 devices", "pad this axis to 16"]),
        (P("data", None, None, None, "model"), ShapeError, ["has 5 entries for 4 axes", "at most 4 entries"]),
        (P("rows"), OptionError, ["names the axis 'rows', which the mesh does not have", "['data', 'model']"]),
        ("data", OptionError, ["is not a sharding", "'data'", 'write jax.P("data")']),
        ({"p q": P("data")}, OptionError, ["out_sharding= has 'p q', which is not an output", "some of ['p p']"]),
        (NamedSharding(OTHER, P("data")), OptionError, ["is for another mesh", "{'data': 8, 'model': 2}"]),
        (P(unreduced={"data"}), OptionError, ["leaves sums open", "remove them"]),
    ],
    ids=["divides", "twice", "divides two", "rank", "unknown", "text", "output", "other mesh", "unreduced"],
)
def test_refused(
    layer: Linear, mesh: AbstractMesh, out_sharding: Any, kind: type[EquikitError], texts: list[str]
) -> None:
    message = refused(layer, out_sharding, mesh, kind)
    for text in [*texts, "got:", "expected:", "next step:"]:
        assert text in message
    if not isinstance(out_sharding, dict):
        assert message.startswith("out_sharding of 'p p'")


def test_no_mesh(layer: Linear) -> None:
    message = refused(layer, P("data"), None, OptionError)
    assert "names axes of a mesh, but no mesh is set" in message
    assert "call jax.set_mesh(" in message


def test_axes_left_open_on_explicit_meshes_only(layer: Linear) -> None:
    assert "leaves an axis open" in refused(layer, P(P.UNCONSTRAINED), EXPLICIT, OptionError)


def test_an_axis_that_shard_map_has_taken(layer: Linear) -> None:
    mesh = AUTO.update(axis_types=(AxisType.Manual, AxisType.Auto))
    message = refused(layer, P("data"), mesh, OptionError)
    assert "names the axis 'data', which shard_map has taken" in message
    assert "some of ['model']" in message


def test_one_sharding_for_several_outputs() -> None:
    layer = Linear({"p": 1}, {"p p": 2, "p": 3}, p=ek.S, rngs=nnx.Rngs(0))
    with pytest.raises(OptionError, match=re.escape("one out_sharding came for several outputs")) as caught:
        layer({"p": jnp.ones((4, 3, 1))}, out_sharding=P())
    assert "write out_sharding={'p p': ...}" in str(caught.value)


def test_multilinear_maps_check_too() -> None:
    cross = ek.hom("x, x -> x", x=ek.SO(3))
    x = jnp.ones((3, 1))
    with (
        jax.sharding.use_abstract_mesh(AUTO),
        pytest.raises(ShapeError, match="spreads 3 entries over 8 devices"),
    ):
        apply_multilinear(cross, (x, x), jnp.ones((1, 1, 1, 1)), out_sharding=P("data"))


def test_devices_that_cannot_share_a_batch() -> None:
    graphs = atlas().take(np.arange(16))
    model = CONTESTANTS[0].make(nnx.Rngs(0))
    devices = jax.devices() * 3
    with pytest.raises(OptionError, match="3 devices cannot share a batch of 8 equally") as caught:
        train(model, Split(graphs, graphs, graphs), epochs=1, rate=1e-3, seed=0, batch=8, devices=devices)
    assert "pass batch=9" in str(caught.value)
    with pytest.raises(OptionError, match=r"must be a list of devices\n +got: +\[\]"):
        train(model, Split(graphs, graphs, graphs), epochs=1, rate=1e-3, seed=0, batch=8, devices=[])
