"""Every layer refuses arrays that do not fit: nothing is broadcast, cut or cast silently."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import equikit as ek
from equikit import O, S, nn

FEATURES = {"p": 2, "p x": 3}
SHAPES = {"p": (4, 5, 2), "p x": (4, 5, 3, 3)}
GATED = {"": 4, "x": 8, "p x": 3}
BOUND = {"p": S(5), "x": O(3)}


def rngs():
    return nnx.Rngs(0)


def geometric():
    layer = nn.GeometricMessage(FEATURES, {"p x": 2}, cutoff=2.0, radial=2, hidden=(4,), **BOUND, rngs=rngs())
    return lambda x: layer({name: x[name] for name in FEATURES}, x["positions"])


def attention():
    layer = nn.Attention(FEATURES, heads=1, points=1, **BOUND, rngs=rngs())
    return lambda x: layer({name: x[name] for name in FEATURES}, positions=x["positions"])


def multilinear():
    layer = nn.Multilinear("p, p x -> p x", (2, 3), 4, **BOUND, rngs=rngs())
    return lambda x: layer(x["p"], x["p x"])


def graph_network():
    layer = nn.GraphNetwork(2, [4], 1, node_channels=3, rngs=rngs())
    return lambda x: layer(x["edges"], x["nodes"])


def alone(make):
    """A layer of one array, as a function of a dictionary."""

    def made():
        layer = make()
        return lambda x: layer(*x.values())

    return made


LAYERS = {
    "Linear": (lambda: nn.Linear(FEATURES, {"p x": 4}, **BOUND, rngs=rngs()), SHAPES),
    "Invariant": (
        lambda: nn.Invariant({"p": 2, "x x": 3}, **BOUND, rngs=rngs()),
        {"p": (4, 5, 2), "x x": (4, 3, 3, 3)},
    ),
    "Bilinear": (lambda: nn.Bilinear(FEATURES, 2, {"p": 1}, **BOUND, rngs=rngs()), SHAPES),
    "Multilinear": (multilinear, SHAPES),
    "Pointwise": (alone(lambda: nn.Pointwise(jnp.abs, "p", p=S(5))), {"p": (4, 5, 2)}),
    "Gated": (
        lambda: nn.Gated(GATED, **BOUND),
        {"": (4, 4), "x": (4, 3, 8), "gate of x": (4, 8), "p x": (4, 5, 3, 3), "gate of p x": (4, 5, 3)},
    ),
    "NormGated": (lambda: nn.NormGated(GATED, **BOUND), {"": (4, 4), "x": (4, 3, 8), "p x": (4, 5, 3, 3)}),
    "RMSNorm": (lambda: nn.RMSNorm(FEATURES, **BOUND), SHAPES),
    "Pool": (alone(lambda: nn.Pool("p", p=S(5))), {"p": (4, 5, 2)}),
    "Network": (lambda: nn.Network([FEATURES, {"": 3, "x": 2}, {"": 1}], **BOUND, rngs=rngs()), SHAPES),
    "DeepSets": (alone(lambda: nn.DeepSets(2, [4], 1, rngs=rngs())), {"p": (4, 5, 2)}),
    "GraphNetwork": (graph_network, {"edges": (4, 5, 5, 2), "nodes": (4, 5, 3)}),
    "GeometricMessage": (geometric, SHAPES | {"positions": (4, 5, 3)}),
    "Attention": (attention, SHAPES | {"positions": (4, 5, 3)}),
    "ConstitutiveLaw": (alone(lambda: nn.ConstitutiveLaw(hidden=(4,), rngs=rngs())), {"strain": (4, 3, 3)}),
    "Radial": (alone(lambda: nn.Radial(2.0, 3, rngs=rngs())), {"distance": (4, 5)}),
}
ANY_CHANNELS = {"Pointwise", "Pool"}
NO_CHANNELS = {"positions", "strain", "distance"}
FREE = {"DeepSets"}
ARRAYS = [(layer, name) for layer, (_, shapes) in LAYERS.items() for name in shapes]
TOGETHER = [(layer, name) for layer, name in ARRAYS if len(LAYERS[layer][1]) > 1]
WITH_CHANNELS = [(layer, name) for layer, name in ARRAYS if layer not in ANY_CHANNELS and name not in NO_CHANNELS]


def axes_of(layer, name):
    """The axes of an array between the batch and the channels."""
    rank = len(LAYERS[layer][1][name])
    return range(1, rank if name in NO_CHANNELS else rank - 1)


AXES = [
    (layer, name, axis)
    for layer, name in ARRAYS
    for axis in axes_of(layer, name)
    if layer not in FREE and name != "distance"
]


@pytest.fixture(scope="module")
def made():
    return {layer: make() for layer, (make, _) in LAYERS.items()}


def arrays_of(layer, dtype=jnp.float32):
    return {name: jnp.ones(shape, dtype) for name, shape in LAYERS[layer][1].items()}


def resized(array, axis, size):
    shape = list(array.shape)
    shape[axis] = size
    return jnp.ones(shape, array.dtype)


@pytest.mark.parametrize("layer", LAYERS)
def test_arrays_that_fit_are_taken(layer, made):
    assert jax.tree.leaves(jax.eval_shape(made[layer], arrays_of(layer)))


@pytest.mark.parametrize(("layer", "name"), ARRAYS)
def test_integers_are_refused(layer, name, made):
    arrays = arrays_of(layer)
    with pytest.raises(ek.DTypeError, match="does not hold floating-point numbers"):
        made[layer](arrays | {name: arrays[name].astype(jnp.int32)})


@pytest.mark.parametrize(("layer", "name"), [pair for pair in ARRAYS if pair[1] in NO_CHANNELS])
def test_positions_distances_and_strains_are_real(layer, name, made):
    arrays = {name: array.astype(jnp.complex64) for name, array in arrays_of(layer).items()}
    with pytest.raises(ek.DTypeError, match="must be real"):
        made[layer](arrays)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize(("layer", "name"), WITH_CHANNELS)
def test_another_number_of_channels_is_refused(layer, name, count, made):
    arrays = arrays_of(layer)
    with pytest.raises(ek.ShapeError, match=f"has {count} channels, not"):
        made[layer](arrays | {name: resized(arrays[name], -1, count)})


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(("layer", "name", "axis"), AXES)
def test_an_axis_of_another_size_is_refused(layer, name, axis, size, made):
    arrays = arrays_of(layer)
    with pytest.raises(ek.ShapeError, match=r"has size|not a tensor of second order"):
        made[layer](arrays | {name: resized(arrays[name], axis, size)})


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(("layer", "name"), TOGETHER)
def test_batches_are_not_broadcast(layer, name, batch, made):
    arrays = arrays_of(layer)
    with pytest.raises(ek.ShapeError, match=r"has batch axes|make them equal"):
        made[layer](arrays | {name: resized(arrays[name], 0, batch)})


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("half", "other"), [(jnp.float16, jnp.float64), (jnp.bfloat16, jnp.float16)])
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if len(LAYERS[layer][1]) > 1])
def test_half_and_double_precision_do_not_meet(layer, half, other, made):
    arrays = arrays_of(layer, other)
    first = next(iter(arrays))
    with pytest.raises(ek.DTypeError, match="cannot go with"):
        made[layer](arrays | {first: arrays[first].astype(half)})
