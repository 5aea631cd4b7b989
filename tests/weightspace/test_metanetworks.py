"""Networks on parameter graphs commute with what permutes the parameters, and are modules like all others."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import MessagePassing, ParameterGraph, Probes, RelationalTransformer, graph, trace

CLASSES = {"messages": MessagePassing, "transformer": RelationalTransformer}
OPTIONS = {"messages": {}, "transformer": {"heads": 2}}
KINDS = ("neurons", "parameters")
QUICK = ("tied_layers", "transformer")
CASES = [  # one network for each architecture, on one kind of graph
    (name, [*CLASSES][(place + 1) % 2], KINDS[place // 2 % 2]) for place, name in enumerate(MODELS)
]
classes = pytest.mark.parametrize("how", CLASSES)


def made(how: str, graph: ParameterGraph, *arguments, **options):
    return CLASSES[how](graph, *arguments, **(OPTIONS[how] | {"rngs": nnx.Rngs(0)} | options))


def channel_of(tree, channel: int):
    return jax.tree.map(lambda leaf: leaf[..., channel], tree)


run = nnx.jit(lambda network, params: network(params))


def doubled(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


@pytest.mark.parametrize(
    ("name", "how", "kind"),
    [pytest.param(*case, marks=() if case[:2] == QUICK else pytest.mark.slow) for case in CASES],
)
def test_they_commute_with_the_group_to_rounding(name: str, how: str, kind: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    built = ParameterGraph(spec, kind)
    element = spec.random_element(key=jax.random.key(1))
    with jax.enable_x64(True):
        params = doubled(params)
        moved = spec.act(element, params)
        networks = (
            made(how, built, [1, 4, 3], "", param_dtype=jnp.float64),
            made(how, built, [1, 4, 2], param_dtype=jnp.float64),
        )
        static, state = nnx.split(networks)

        @jax.jit
        def run(state, params):
            invariant, equivariant = nnx.merge(static, state)
            return invariant(params), equivariant(params)

        (numbers, tree), (again, other) = run(state, params), run(state, moved)
        assert numbers.shape == (3,)
        assert numbers.dtype == jnp.float64
        np.testing.assert_allclose(numbers, again, rtol=1e-11, atol=1e-12)
        for channel in range(2):
            wanted = spec.act(element, channel_of(tree, channel))
            for one, two in zip(*map(jax.tree.leaves, (wanted, other)), strict=True):
                np.testing.assert_allclose(one, two[..., channel], rtol=1e-11, atol=1e-11)
        shapes = [leaf.shape for leaf in jax.tree.leaves(tree)]
        assert shapes == [(*leaf.shape, 2) for leaf in jax.tree.leaves(params)]
        # They are no constants, and the group is not trivial.
        assert any(np.max(np.abs(a - b)) > 1e-3 for a, b in zip(*map(jax.tree.leaves, (tree, other)), strict=True))


def small():
    def apply(p, x):
        return jnp.tanh(x @ p["a"] + p["b"]) @ p["c"]

    params = plain({"a": (2, 4), "b": (4,), "c": (4, 2)})
    return apply, params, jnp.ones((1, 2))


APPLY, PARAMS, X = small()
GRAPH = graph(APPLY, PARAMS, X)


@pytest.mark.slow
@classes
def test_gradients_are_those_of_finite_differences(how: str, x64: None) -> None:
    params = doubled(PARAMS)
    network = made(how, GRAPH, [1, 4, 1], "", param_dtype=jnp.float64)
    static, state = nnx.split(network)

    @jax.jit
    def loss(state, params):
        return jnp.sin(nnx.merge(static, state)(params)[0])

    slopes = jax.jit(jax.grad(loss, (0, 1)))(state, params)
    flat, unravel = jax.flatten_util.ravel_pytree((state, params))
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))
    small = 1e-5
    numeric = (loss(*unravel(flat + small * direction)) - loss(*unravel(flat - small * direction))) / (2 * small)
    exact = jax.flatten_util.ravel_pytree(slopes)[0] @ direction
    np.testing.assert_allclose(exact, numeric, rtol=1e-6)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(slopes[1]))


@classes
def test_batches_channels_and_features_of_neurons(how: str) -> None:
    network = made(how, GRAPH, [2, 4, 8, 3], "h0")
    zoo = jax.tree.map(lambda leaf: jnp.stack([jnp.stack([leaf, k * leaf], -1) for k in range(3)]), PARAMS)
    result = run(network, zoo)
    assert result.shape == (3, 4, 3)
    if how == "messages":
        one = jax.jit(jax.vmap(lambda params: network(params)))(zoo)
        np.testing.assert_allclose(one, result, rtol=1e-4, atol=1e-5)
    element = GRAPH.spec.random_element(key=jax.random.key(0))
    moved = jax.tree.map(
        lambda *channels: jnp.stack(channels, -1),
        *(GRAPH.spec.act(element, channel_of(zoo, channel)) for channel in range(2)),
    )
    np.testing.assert_allclose(run(network, moved), result[:, np.argsort(element["h0"])], rtol=1e-4, atol=1e-5)
    empty = jax.tree.map(lambda leaf: leaf[:0], zoo)
    assert run(network, empty).shape == (0, 4, 3)


@classes
def test_they_are_modules_in_graph_and_tree_mode(how: str) -> None:
    network = made(how, GRAPH, [1, 4, 1], "")
    other = made(how, GRAPH, [1, 4, 1], "", rngs=nnx.Rngs(1))
    expected = run(network, PARAMS)
    static, state = nnx.split(network)
    assert hash(static) == hash(nnx.split(other)[0])
    assert static == nnx.split(other)[0]
    np.testing.assert_array_equal(run(nnx.merge(static, state), PARAMS), expected)
    static, state = nnx.split(network, graph=False)
    np.testing.assert_array_equal(run(nnx.merge(static, state), PARAMS), expected)
    leaves, structure = jax.tree.flatten(network)
    assert structure == jax.tree.structure(other)
    np.testing.assert_array_equal(run(jax.tree.unflatten(structure, leaves), PARAMS), expected)
    assert len(leaves) == len(jax.tree.leaves(nnx.state(network, nnx.Param)))
    np.testing.assert_array_equal(run(pickle.loads(pickle.dumps(network)), PARAMS), expected)
    for _, part in nnx.iter_modules(network):
        for name, value in vars(part).items():
            assert not isinstance(value, jax.Array | np.ndarray | nnx.Rngs | nnx.RngStream), name


def test_every_parameter_of_the_network_has_a_gradient() -> None:
    network = MessagePassing(ParameterGraph(GRAPH.spec, "parameters"), [1, 4, 1], "", rngs=nnx.Rngs(0))
    slopes = nnx.jit(nnx.grad(lambda network, p: jnp.sum(network(p) ** 2)))(network, PARAMS)
    dead = [
        path for path, leaf in jax.tree_util.tree_leaves_with_path(slopes) if not np.any(np.asarray(leaf, float) != 0)
    ]
    assert not dead


def test_half_precision_and_networks_without_the_whole() -> None:
    how = "transformer"
    network = made(how, GRAPH, [1, 4, 1], use_global=False, dtype=jnp.bfloat16)
    tree = run(network, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS))
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.bfloat16)}
    exact = run(made(how, GRAPH, [1, 4, 1], use_global=False), PARAMS)
    for one, two in zip(*map(jax.tree.leaves, (tree, exact)), strict=True):
        np.testing.assert_allclose(np.asarray(one, np.float32), two, atol=0.1)


def test_a_thousand_equal_weights_are_as_many_as_two() -> None:
    """Messages are means: the width of a network whose neurons are all alike does not change the invariants."""
    results = []
    for width in (2, 1000):
        params = {"a": jnp.full((2, width), 0.3), "b": jnp.full((width,), -0.2), "c": jnp.full((width, 2), 0.7)}
        network = MessagePassing(graph(APPLY, params, X), [1, 4, 4, 1], "", rngs=nnx.Rngs(0))
        results.append(run(network, params))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def test_large_weights_do_not_overflow() -> None:
    network = RelationalTransformer(GRAPH, [1, 4, 1], "", heads=2, rngs=nnx.Rngs(0))
    result = run(network, jax.tree.map(lambda leaf: 1e6 * leaf, PARAMS))
    assert np.all(np.isfinite(result))


def test_probes_are_what_the_neurons_compute() -> None:
    x = jax.random.normal(jax.random.key(3), (5, 1, 2))
    probes = Probes(GRAPH, APPLY, x)
    seen = run(probes, PARAMS)
    hidden = jnp.tanh(x[:, 0] @ PARAMS["a"] + PARAMS["b"])
    for label, expected in (("in", x[:, 0]), ("h0", hidden), ("out", hidden @ PARAMS["c"])):
        rows = GRAPH.node_layer == GRAPH.node_layers.index(label)
        np.testing.assert_allclose(seen[rows], expected.T, rtol=1e-5, atol=1e-6)
    zoo = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), PARAMS)
    np.testing.assert_allclose(run(probes, zoo)[0], seen, rtol=1e-5)
    assert run(probes, jax.tree.map(lambda leaf: leaf[:0], zoo)).shape == (0, GRAPH.num_nodes, 5)
    network = MessagePassing(GRAPH, [1, 4, 1], "", probes=probes, rngs=nnx.Rngs(0))
    element = GRAPH.spec.random_element(key=jax.random.key(0))
    moved = GRAPH.spec.act(element, PARAMS)
    np.testing.assert_allclose(run(network, moved), run(network, PARAMS), rtol=1e-4, atol=1e-5)
    slope = nnx.jit(nnx.grad(lambda network: jnp.sum(network(PARAMS) ** 2)))(network)
    assert np.any(np.asarray(jax.tree.leaves(slope["encoder"]["probes"])[0]) != 0)


def test_probes_of_words_and_single_neurons_are_not_learned() -> None:
    apply, params, tokens = MODELS["language_model_with_tied_embedding"]()
    probes = Probes(graph(apply, params, tokens), apply, jnp.stack([tokens, (tokens + 1) % 11]))
    assert jax.tree.leaves(nnx.state(probes, nnx.Param)) == []
    assert run(probes, params).shape[-1] == 2
    apply, params, x = MODELS["siren"]()
    built = graph(apply, params, x)
    seen = run(Probes(built, apply, x[None], learned=False), params)
    out = built.node_layer == built.node_layers.index("out")
    np.testing.assert_allclose(seen[out, 0], [jnp.mean(apply(params, x))], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(
    ("how", "kind", "steps"),
    [("messages", "neurons", 800), ("transformer", "neurons", 800), ("transformer", "parameters", 600)],
)
def test_they_learn_a_function_of_weights(how: str, kind: str, steps: int) -> None:
    """A sum over hidden neurons of a weight in, a function of a bias and a weight out, for networks not seen before."""
    generator = np.random.default_rng(0)
    shapes = {"a": (2, 4), "b": (4,), "c": (4, 2)}
    built = graph(APPLY, {name: jnp.zeros(shape) for name, shape in shapes.items()}, X, kind)
    zoo = {name: jnp.asarray(generator.normal(size=(2304, *shape)), jnp.float32) for name, shape in shapes.items()}
    target = jnp.sum(zoo["a"][:, 0] * (1 + jnp.tanh(zoo["b"])) * zoo["c"][:, :, 0], axis=1)
    network = made(how, built, [1, 16, 8, 1], "")
    static, state = nnx.split(network)
    # At 5e-3 the transformer on parameters learns with some orders of the rows only.
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def loss(state, rows):
        found = nnx.merge(static, state)(jax.tree.map(lambda leaf: leaf[rows], zoo))[:, 0]
        return jnp.mean((found - target[rows]) ** 2)

    @jax.jit
    def fit(state):
        def step(carry, key):
            state, memory = carry
            slope = jax.grad(loss)(state, jax.random.randint(key, (32,), 0, 2048))
            updates, memory = optimizer.update(slope, memory, state)
            return (optax.apply_updates(state, updates), memory), None

        keys = jax.random.split(jax.random.key(0), steps)
        (state, _), _ = jax.lax.scan(step, (state, optimizer.init(state)), keys)
        return loss(state, jnp.arange(2048, 2304))

    # Without the bias a reader cannot get below 0.28 of the variance.
    assert fit(state) < 0.2 * jnp.var(target)


REFUSED = {
    "no graph": (
        lambda: MessagePassing(GRAPH.spec, [1, 4, 1], rngs=nnx.Rngs(0)),
        (
            ek.OptionError,
            "graph= must be a ParameterGraph",
            "Specification",
            "ParameterGraph",
            "write graph=ParameterGraph(spec)",
        ),
    ),
    "two widths": (
        lambda: MessagePassing(GRAPH, [1, 4], rngs=nnx.Rngs(0)),
        (ek.OptionError, "channels= must be a list of widths", "[1, 4]", "3 widths or more", "[1, 16, 16, 1]"),
    ),
    "no such output": (
        lambda: MessagePassing(GRAPH, [1, 4, 1], "h7", rngs=nnx.Rngs(0)),
        (ek.OptionError, "unknown value for out=", "'h7'", '"", "', 'out=""'),
    ),
    "heads": (
        lambda: RelationalTransformer(GRAPH, [1, 6, 1], rngs=nnx.Rngs(0)),
        (ek.OptionError, "heads do not divide", "heads=4", "multiples", "heads=4"),
    ),
    "no keys": (
        lambda: MessagePassing(GRAPH, [1, 4, 1], rngs=0),
        (ek.OptionError, "rngs= must be nnx.Rngs", "0", "nnx.Rngs", "nnx.Rngs(0)"),
    ),
    "other probes": (
        lambda: MessagePassing(
            GRAPH, [1, 4, 1], probes=Probes(ParameterGraph(GRAPH.spec, "parameters"), APPLY, X[None]), rngs=nnx.Rngs(0)
        ),
        (
            ek.OptionError,
            "graph of probes= is a different one",
            "ParameterGraph(spec=Specification(leaves=(Leaf(name='a',",
            "ParameterGraph(spec=Specification(leaves=(Leaf(name='a',",
            "Probes(graph, apply",
        ),
    ),
    "probes that are not stacked": (
        lambda: Probes(GRAPH, APPLY, (jnp.ones((2, 1)), jnp.ones(3))),
        (
            ek.ShapeError,
            "each input of the probes must have shape [2, *axes]",
            "shape [3]",
            "[2, *axes]",
            "stack inputs",
        ),
    ),
    "other parameters": (
        lambda: MessagePassing(GRAPH, [1, 4, 1], rngs=nnx.Rngs(0))(PARAMS | {"a": jnp.ones((2, 5))}),
        (
            ek.ShapeError,
            "'a' of the parameters (in h0) must have shape [*batch, 2, 4]",
            "[2, 5]",
            "[*batch, 2, 4]",
            "trace the model",
        ),
    ),
    "whole numbers": (
        lambda: RelationalTransformer(GRAPH, [1, 4, 1], rngs=nnx.Rngs(0))(PARAMS | {"b": jnp.arange(4)}),
        (
            ek.DTypeError,
            "a function of weights needs real floating-point parameters: 'b'",
            "int32",
            "float32",
            "leave it out",
        ),
    ),
    "no dtype": (
        lambda: MessagePassing(GRAPH, [1, 4, 1], dtype=jnp.int32, rngs=nnx.Rngs(0)),
        (ek.DTypeError, "dtype= must be a floating-point dtype", "int32", "float32", "dtype=jnp.float32"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
