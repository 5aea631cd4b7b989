"""One network for many architectures: symmetries, padding, architectures not seen before, gradients, modules."""

from __future__ import annotations

import functools
import itertools
import pickle
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import (
    AnyArchitecture,
    GraphBatches,
    JoinedGraphs,
    MessagePassing,
    Probes,
    RelationalTransformer,
    graph,
    join_graphs,
)

CLASSES = {"messages": MessagePassing, "transformer": RelationalTransformer}
OPTIONS = {"messages": {}, "transformer": {"heads": 2}}
NAMES = (
    *("perceptron", "perceptron_equinox", "siren", "convolution_with_batch_norm", "convolution_flattened", "residual"),
    *("attention", "gru", "scanned_layers"),
)
CASES = [("messages", "parameters"), ("messages", "neurons"), ("transformer", "parameters"), ("transformer", "neurons")]
cases = pytest.mark.parametrize(
    ("how", "kind"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])]
)
classes = pytest.mark.parametrize("how", CLASSES)


def made(how: str, channels=(1, 4, 2), out: str | None = "", **options):
    return CLASSES[how](AnyArchitecture(), [*channels], out, **(OPTIONS[how] | {"rngs": nnx.Rngs(0)} | options))


def numpy(tree, dtype=np.float32):
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def apply(params, x):
    for weight, bias in params[:-1]:
        x = jnp.tanh(x @ weight + bias)
    return x @ params[-1][0] + params[-1][1]


def perceptron(*widths: int, seed: int = 0, kind="parameters"):
    draw = np.random.default_rng(seed).normal
    params = numpy([(draw(size=pair), draw(size=pair[1])) for pair in itertools.pairwise(widths)])
    return graph(apply, params, np.ones((2, widths[0])), kind), params


@functools.cache
def pairs_of(kind: str):
    """Networks of all kinds, with 0 to 4 hidden layers."""
    with jax.enable_x64(False):
        found = [perceptron(*widths, kind=kind) for widths in ([3, 2], [3, 4, 2], [3, 4, 4, 5, 4, 2])]
        for name in NAMES:
            model, params, x = MODELS[name]()
            found.append((graph(model, params, x, kind), numpy(params)))
        return found


def doubled(pairs):
    return [(made, numpy(params, np.float64)) for made, params in pairs]


def moved_with(pairs, seed: int = 0):
    """Each network, moved by an element of its own, and the elements."""
    elements = [made.spec.random_element(key=jax.random.key(seed + place)) for place, (made, _) in enumerate(pairs)]
    each = zip(pairs, elements, strict=True)
    return [(made, numpy(made.spec.act(element, params), np.float64)) for (made, params), element in each], elements


run = nnx.jit(lambda network, batch: network(batch))


@cases
def test_invariants_of_mixed_batches(how: str, kind: str) -> None:
    """They do not change if each network is moved, graphs are reordered, or padding holds anything."""
    with jax.enable_x64(True):
        pairs = doubled(pairs_of(kind))
        moved, _ = moved_with(pairs)
        network = made(how, param_dtype=jnp.float64)
        batch = join_graphs(pairs)
        sizes = {"nodes": len(batch.graph_of), "edges": len(batch.senders)}
        found = run(network, batch)
        assert found.shape == (len(pairs), 2)
        assert found.dtype == jnp.float64
        assert np.min(np.std(found, axis=0)) > 1e-2  # they tell the networks apart
        same = {"rtol": 1e-11, "atol": 1e-12}
        np.testing.assert_allclose(run(network, join_graphs(moved)), found, **same)
        order = np.random.default_rng(0).permutation(len(pairs))
        reordered = join_graphs([pairs[place] for place in order], **sizes)
        np.testing.assert_allclose(run(network, reordered), found[order], **same)
        np.testing.assert_allclose(run(network, with_nan(batch)), found, **same)


def with_nan(batch: JoinedGraphs) -> JoinedGraphs:
    """The batch with NaN in place of all padding of nodes and edges."""
    nodes, edges = batch.counts.sum(axis=0)
    parts = []
    for rows, count in ((batch.nodes, nodes), (batch.edges, edges)):
        values = rows.values.copy()
        assert len(values) > count
        values[count:] = np.nan
        parts.append(rows._replace(values=values))
    return replace(batch, nodes=parts[0], edges=parts[1])


@cases
def test_a_network_alone_gives_the_same(how: str, kind: str) -> None:
    with jax.enable_x64(True):
        pairs = doubled(pairs_of(kind))
        network = made(how, param_dtype=jnp.float64)
        whole = join_graphs(pairs)
        found = run(network, whole)
        sizes = {"nodes": len(whole.graph_of), "edges": len(whole.senders)}
        tables = GraphBatches(pairs, batch=1, seed=None)  # its features of blocks have one size
        tables.sizes = [tuple(sizes.values())]
        for number, (one, _) in enumerate(tables):
            np.testing.assert_allclose(run(network, one)[0], found[number], rtol=1e-11, atol=1e-12)


def relabeled(batch: JoinedGraphs) -> JoinedGraphs:
    """The batch with nodes and edges in another order, padding included."""
    draw = np.random.default_rng(1)
    nodes, edges = draw.permutation(len(batch.graph_of)), draw.permutation(len(batch.senders))
    inverse = np.argsort(nodes).astype(np.int32)
    return replace(
        batch,
        nodes=type(batch.nodes)(*(array[nodes] for array in batch.nodes)),
        edges=type(batch.edges)(*(array[edges] for array in batch.edges)),
        senders=inverse[batch.senders[edges]],
        receivers=inverse[batch.receivers[edges]],
        graph_of=batch.graph_of[nodes],
    )


@cases
def test_numbers_of_nodes_and_edges_do_not_matter(how: str, kind: str) -> None:
    with jax.enable_x64(True):
        network, batch = made(how, param_dtype=jnp.float64), join_graphs(doubled(pairs_of(kind)))
        other = run(network, relabeled(batch))
        np.testing.assert_allclose(other, run(network, batch), rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "kind"), CASES)
def test_features_of_parameters_are_equivariant(how: str, kind: str) -> None:
    with jax.enable_x64(True):
        pairs = doubled(pairs_of(kind))
        moved, elements = moved_with(pairs)
        network = made(how, [1, 4, 2], None, param_dtype=jnp.float64)
        static, state = nnx.split(network)

        @jax.jit
        def trees(state, trees):
            batch = join_graphs([(made, tree) for (made, _), tree in zip(pairs, trees, strict=True)])
            return nnx.merge(static, state)(batch)

        found, other = (trees(state, [params for _, params in some]) for some in (pairs, moved))
        for (made_graph, params), element, one, two in zip(pairs, elements, found, other, strict=True):
            for channel in range(2):
                wanted = made_graph.spec.act(element, jax.tree.map(lambda leaf: leaf[..., channel], one))  # noqa: B023
                for a, b in zip(*map(jax.tree.leaves, (wanted, two)), strict=True):
                    np.testing.assert_allclose(a, b[..., channel], rtol=1e-10, atol=1e-11)
            shapes = [leaf.shape for leaf in jax.tree.leaves(one)]
            assert shapes == [(*leaf.shape, 2) for leaf in jax.tree.leaves(params)]
            assert all(np.std(leaf) > 1e-4 for leaf in jax.tree.leaves(one) if leaf.size > 2)
        eager = network(join_graphs(pairs[:2]))
        for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(found[:2]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@classes
def test_gradients_are_those_of_finite_differences(how: str, x64: None) -> None:
    graphs, trees = zip(*doubled([perceptron(3, 4, 2), perceptron(2, 3, 3, 2)]), strict=True)
    static, state = nnx.split(made(how, param_dtype=jnp.float64))

    @jax.jit
    def loss(state, trees):
        return jnp.sum(jnp.sin(nnx.merge(static, state)(join_graphs([*zip(graphs, trees, strict=True)]))))

    trees = jax.tree.map(jnp.asarray, [*trees])
    slopes = jax.jit(jax.grad(loss, (0, 1)))(state, trees)
    flat, unravel = jax.flatten_util.ravel_pytree((state, trees))
    direction = np.random.default_rng(0).normal(size=flat.shape)
    direction = jnp.asarray(direction / np.linalg.norm(direction))
    small = 1e-5
    numeric = (loss(*unravel(flat + small * direction)) - loss(*unravel(flat - small * direction))) / (2 * small)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(slopes)[0] @ direction, numeric, rtol=1e-6)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(slopes[1]))


@pytest.mark.slow
@classes
def test_gradients_ignore_padding_and_remat_does_not_change_them(how: str) -> None:
    batch = join_graphs([perceptron(3, 4, 2), perceptron(2, 3, 3, 2)])

    def slopes(batch, **options):
        static, state = nnx.split(made(how, **options))
        return jax.jit(jax.grad(lambda state: jnp.sum(nnx.merge(static, state)(batch) ** 2)))(state)

    wanted = jax.tree.leaves(slopes(batch))
    for other in (slopes(with_nan(batch)), slopes(batch, remat=True)):
        for one, two in zip(wanted, jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_one_program_for_each_padded_size_and_architectures_not_seen() -> None:
    """Weights made before any graph, and one trace for batches of other architectures, widths and depths."""
    static, state = nnx.split(made("messages"))
    traces = []

    @jax.jit
    def run(state, batch):
        traces.append(batch)
        return nnx.merge(static, state)(batch)

    sizes = {"nodes": 64, "edges": 256}
    found = []
    for widths in ([3, 5, 2], [3, 7, 2], [2, 4, 2]):
        found.append(run(state, join_graphs([perceptron(*widths)], **sizes)))
    assert len(traces) == 1
    assert np.ptp(found, axis=0).min() > 1e-4
    made_graph, params = perceptron(3, 5, 2)
    large = [(made_graph, jax.tree.map(lambda leaf: leaf * np.float32(1e18), params))]
    assert np.all(np.isfinite(run(state, join_graphs(large, **sizes))))  # norms square features
    assert len(traces) == 1
    run(state, join_graphs([(made_graph, params)], nodes=128, edges=256))
    assert len(traces) == 2


@pytest.mark.slow
@classes
def test_they_are_modules_in_graph_and_tree_mode(how: str) -> None:
    batch = join_graphs([perceptron(3, 4, 2)])
    network, other = made(how), made(how, rngs=nnx.Rngs(1))
    expected = run(network, batch)
    static, state = nnx.split(network)
    assert hash(static) == hash(nnx.split(other)[0])
    assert static == nnx.split(other)[0]
    np.testing.assert_array_equal(run(nnx.merge(static, state), batch), expected)
    static, state = nnx.split(network, graph=False)
    np.testing.assert_array_equal(run(nnx.merge(static, state), batch), expected)
    leaves, structure = jax.tree.flatten(network)
    assert structure == jax.tree.structure(other)
    np.testing.assert_array_equal(run(jax.tree.unflatten(structure, leaves), batch), expected)
    np.testing.assert_array_equal(run(*pickle.loads(pickle.dumps((network, batch)))), expected)
    remat = made(how, remat=True)
    np.testing.assert_allclose(run(remat, batch), expected, rtol=1e-6)
    for part in (network, remat):
        slopes = nnx.jit(nnx.grad(lambda network, batch: jnp.sum(network(batch) ** 2)))(part, batch)
        assert sum(np.any(np.asarray(leaf, float) != 0) for leaf in jax.tree.leaves(slopes)) > 10


@pytest.mark.slow
@classes
def test_channels_widths_and_half_precision(how: str) -> None:
    """Weights with gradients as two channels, hidden layers of two widths, bfloat16."""
    pairs = [perceptron(3, 4, 2), perceptron(2, 3, 3, 2)]
    both = [(one, jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf], -1), params)) for one, params in pairs]
    batch = join_graphs(both, channels=2)
    exact = run(made(how, [2, 4, 8, 3]), batch)
    assert exact.shape == (2, 3)
    half = [(one, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)) for one, params in both]
    found = run(made(how, [2, 4, 8, 3], dtype=jnp.bfloat16), join_graphs(half, channels=2))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float32), exact, atol=0.1)
    without = run(made(how, [2, 4, 3], use_global=False), batch)
    assert np.all(np.isfinite(without))


@pytest.mark.slow
@pytest.mark.compiled
@classes
def test_they_learn_a_function_of_weights_of_other_depths(how: str) -> None:
    """The mean output at one input, from networks of two depths, for networks of a third width."""
    generator = np.random.default_rng(0)
    graphs, pairs, targets = {}, [], []
    for number in range(768):
        widths = ((3, 6, 2), (3, 4, 4, 2), (3, 5, 2))[number % 2 if number < 640 else 2]
        params = numpy(
            [
                (generator.normal(size=p) / p[0] ** 0.5, generator.normal(size=p[1]) / 2)
                for p in itertools.pairwise(widths)
            ]
        )
        if widths not in graphs:
            graphs[widths] = graph(apply, params, np.ones((1, 3)), "parameters")
        pairs.append((graphs[widths], params))
        hidden = np.ones((1, 3))
        for weight, bias in params[:-1]:
            hidden = np.tanh(hidden @ weight + bias)
        targets.append(np.mean(hidden @ params[-1][0] + params[-1][1]))
    y = np.asarray(targets, np.float32)[:, None] / np.std(targets)
    train, test = GraphBatches(pairs[:640], y[:640], batch=32), GraphBatches(pairs[640:], y[640:], batch=32, seed=None)
    fitted = ek.train.fit(
        made(how, [1, 16, 16, 1]),
        lambda model, batch: jnp.mean((model(batch[0]) - batch[1]) ** 2),
        *(train, test),
        epochs=60,
        optimizer=5e-3,
        key=jax.random.key(0),
    )
    assert fitted.losses[fitted.best, 1] < 0.5 * np.var(y[640:])


ONE, TWO = perceptron(3, 4, 2), {"channels": 2}
REFUSED = {
    "parameters": (
        lambda: made("messages")(ONE[1]),
        (ek.OptionError, "params= must be a JoinedGraphs", "[", "a JoinedGraphs", "join_graphs([(graph, params)])"),
    ),
    "fewer channels": (
        lambda: made("messages", [2, 4, 2])(join_graphs([ONE])),
        (ek.ShapeError, "do not have the input channels", "channels=1", "channels=2", "join_graphs(pairs, channels=2)"),
    ),
    "more channels": (
        lambda: made("messages")(join_graphs([(ONE[0], jax.tree.map(lambda a: np.stack([a, a], -1), ONE[1]))], **TWO)),
        (ek.ShapeError, "do not have the input channels", "channels=2", "channels=1", "join_graphs(pairs, channels=1)"),
    ),
    "the class": (
        lambda: MessagePassing(AnyArchitecture, [1, 4, 2], "", rngs=nnx.Rngs(0)),
        (ek.OptionError, "graph= must be a ParameterGraph", "class", "ParameterGraph", "graph=AnyArchitecture()"),
    ),
    "a layer of nodes": (
        lambda: made("messages", out="h0"),
        (ek.OptionError, "unknown value for out=", "'h0'", '"" or None', 'out=""'),
    ),
    "probes": (
        lambda: made("messages", probes=Probes(ONE[0], apply, jnp.ones((1, 2, 3)))),
        (ek.OptionError, "probes= does not apply to AnyArchitecture()", "Probes", "no probes", "leave probes out"),
    ),
    "trees in a compiled function": (
        lambda: jax.eval_shape(made("messages", out=None), join_graphs([ONE])),
        (ek.OptionError, "the batch does not know its graphs", "an argument", "inside of this", "join_graphs inside"),
    ),
    "no flag": (
        lambda: made("messages", remat=2),
        (ek.OptionError, "remat= must be", "2", "a bool", "remat=True"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
