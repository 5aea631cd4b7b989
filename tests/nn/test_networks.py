"""`Invariant`, `Pool`, and the two ready networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, every, partly_slow
from in_numpy import by_numpy

import equikit as ek


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def rngs():
    return nnx.Rngs(0)


def test_invariant_is_a_linear_layer_onto_no_axes():
    head = ek.nn.Invariant("p p", 3, 4, p=ek.S, rngs=rngs())
    assert head(normal(2, 5, 5, 3)).shape == (2, 4)
    assert head.kernel["p p -> ()"].shape == (2, 3, 4)
    one = ek.nn.Invariant("p", 3, p=ek.S, rngs=rngs())
    assert one(normal(5, 3)).shape == (1,)
    several = ek.nn.Invariant({"p p": 3, "p": 2}, out_channels=4, p=ek.S, rngs=rngs())
    assert several({"p p": normal(5, 5, 3), "p": normal(5, 2)}).shape == (4,)
    named = ek.nn.Invariant("edges: p p", 3, 4, p=ek.S, rngs=rngs())
    assert named(normal(5, 5, 3)).shape == named({"edges": normal(5, 5, 3)}).shape == (4,)
    assert ek.nn.Invariant("()", 3, 4, rngs=rngs())(normal(2, 3)).shape == (2, 4)


@pytest.mark.parametrize(("how", "function"), [("sum", np.sum), ("mean", np.mean), ("max", np.max)])
def test_pool_runs_over_the_axes_on_which_groups_act(how, function):
    pool = ek.nn.Pool("p f q", how=how, p=ek.S, f=ek.Fixed(2), q=ek.S)
    x = normal(7, 5, 2, 3, 4)
    assert_close(pool(x), function(np.asarray(x), axis=(1, 3)), 1e-5)
    keep = np.array([True, False, True, True, False])
    masked = pool(x.at[:, ~keep].set(jnp.nan), mask={"p": jnp.broadcast_to(keep, (7, 5))})
    assert_close(masked, function(np.asarray(x)[:, keep], axis=(1, 3)), 1e-5)


def test_pooling_nothing():
    x, nothing = normal(5, 2), {"p": jnp.zeros(5, bool)}
    values = {how: ek.nn.Pool("p", how=how, p=ek.S)(x, mask=nothing).tolist() for how in ("sum", "mean", "max")}
    assert values == {"sum": [0.0, 0.0], "mean": [0.0, 0.0], "max": [-jnp.inf, -jnp.inf]}
    assert ek.nn.Pool("p", p=ek.S)(jnp.zeros((0, 2))).tolist() == [0.0, 0.0]
    assert not bool(jnp.any(jax.grad(lambda x: jnp.sum(ek.nn.Pool("p", p=ek.S)(x, mask=nothing)))(x)))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64])
def test_pool_keeps_the_dtype_and_a_mean_does_not_overflow(dtype):
    y = ek.nn.Pool("p p", p=ek.S)(jnp.full((300, 300, 1), 2.0, dtype))
    assert y.dtype == dtype
    assert y[0] == 2.0


@pytest.mark.parametrize("out", ["", "p"])
def test_deep_sets(out):
    net = ek.nn.DeepSets(3, [8, 8], 2, out=out, rngs=rngs())
    for n in (0, 1, 5):
        assert net(normal(4, n, 3)).shape == (4, *[n] * bool(out), 2)
    assert bool(jnp.all(jnp.isfinite(net(normal(4, 0, 3)))))
    net, x, mask = by_numpy(net), np.asarray(normal(2, 6, 3)), np.arange(6) < np.array([3, 0])[:, None]
    padded = net(np.where(mask[..., None], x, np.nan), mask=mask)
    for i, count in enumerate((3, 0)):
        alone = net(x[i, :count])
        assert_close(padded[i, :count] if out else padded[i], alone, 1e-4)


@pytest.mark.parametrize(("out", "nodes"), partly_slow(every(["", "p", "p p"], [0, 3]), (0, 3, 4)))
def test_graph_network(out, nodes):
    net = ek.nn.GraphNetwork(2, [4, 6], 5, node_channels=nodes, out=out, rngs=rngs(), normalize="sum")
    edges, points = np.asarray(normal(2, 6, 6, 2)), (np.asarray(normal(2, 6, 3)) if nodes else None)
    axes = len(out.split())
    assert jax.eval_shape(net, edges, points).shape == (2, *[6] * axes, 5)
    net, mask = by_numpy(net), np.arange(6) < np.array([3, 1])[:, None]
    padded = net(edges, points, mask=mask)
    for i, count in enumerate((3, 1)):
        alone = net(edges[i, :count, :count], None if points is None else points[i, :count])
        assert_close(padded[(i, *[slice(count)] * axes)], alone, 1e-4)
    features = {"p p": edges} if points is None else {"p p": edges, "p": points}
    np.testing.assert_array_equal(net(features, mask=mask), padded)
    with pytest.raises(ek.ShapeError, match="the features do not have the expected names"):
        net({"edges": edges}, mask=mask)


def test_a_graph_network_with_nodes_is_tested_with_a_dictionary():
    net = ek.nn.GraphNetwork(2, [4], 5, node_channels=3, out="p", rngs=rngs())
    inputs, key = {"p p": 2, "p": 3}, jax.random.key(0)
    ek.testing.assert_equivariant(net, inputs, {"p": 5}, p=ek.S(5), key=key)

    def broken(features):
        return net(features) + features["p"][..., :1, :1]

    with pytest.raises(ek.EquivarianceError):
        ek.testing.assert_equivariant(broken, inputs, {"p": 5}, p=ek.S(5), key=key)


def test_options_reach_every_layer_and_the_activation_is_used():
    net = ek.nn.GraphNetwork(1, [2, 2], 1, rngs=rngs(), use_bias=False, normalize="sum", activation=lambda x: 0 * x)
    layers = [module for _, module in nnx.iter_modules(net) if isinstance(module, ek.nn.Linear)]
    assert len(layers) >= 3
    assert all(not layer.bias and layer.normalize == "sum" for layer in layers if layer.signature.bindings)
    assert not bool(jnp.any(net(normal(4, 4, 1))))


def test_networks_in_half_precision_and_double():
    net = ek.nn.DeepSets(3, [4], 2, rngs=rngs(), dtype=jnp.bfloat16)
    assert bool(jnp.all(jnp.isfinite(net(normal(5, 3)).astype(jnp.float32))))
    with jax.enable_x64(True):
        assert ek.nn.DeepSets(3, [4], 2, rngs=rngs(), param_dtype=jnp.float64)(np.ones((5, 3))).dtype == jnp.float64


@pytest.mark.parametrize("out", ["", "p"])
def test_init_size_by_label(out):
    by_label, plain = (ek.nn.DeepSets(3, [4], 1, out=out, init_size=size, rngs=nnx.Rngs(0)) for size in ({"p": 10}, 10))
    x = normal(5, 3)
    assert_close(by_label(x), plain(x), 0)


@pytest.mark.parametrize("names", [[], ["p"], ["p p"], ["p p", "p", "q"]])
def test_the_features_of_a_graph_network_are_named(names):
    every = {"p p": normal(4, 4, 1), "p": normal(4, 2), "q": normal(4, 2)}
    given = {name: every[name] for name in names}
    both = ek.nn.GraphNetwork(1, [2], 1, node_channels=2, rngs=rngs())
    with pytest.raises(ek.ShapeError) as caught:
        both(given)
    assert caught.value.step == 'pass {"p p": edges, "p": nodes}'
    if names != ["p p"]:
        with pytest.raises(ek.ShapeError) as caught:
            ek.nn.GraphNetwork(1, [2], 1, rngs=rngs())(given)
        assert caught.value.step.startswith('pass {"p p": edges}; for node features')
