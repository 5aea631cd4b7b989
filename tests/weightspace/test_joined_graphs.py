"""Graphs of any architecture in one batch: counted by hand, compared with each graph alone, moved and refused."""

from __future__ import annotations

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import GraphBatches, MessagePassing, ParameterGraph, graph, join_graphs
from equikit.weightspace.graphs._traits import NODES, POSITIONS, TRAITS, VALUES
from equikit.weightspace.graphs.layers._topology import of_one, of_several

NAMES = ("perceptron", "convolution_with_batch_norm", "residual", "attention", "gru", "scanned_layers")
KINDS = ("neurons", "parameters")
QUICK = ("attention", "neurons"), ("perceptron", "parameters")


def numpy(tree):
    return jax.tree.map(np.asarray, tree)


@functools.cache
def pair(name: str, kind: str = "neurons"):
    apply, params, x = MODELS[name]()
    return graph(apply, params, x, kind), numpy(params)


def apply(params, x):
    for weight in params[:-1]:
        x = jnp.tanh(x @ weight)
    return x @ params[-1]


def perceptron(*widths: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    params = [generator.normal(size=shape).astype(np.float32) for shape in itertools.pairwise(widths)]
    return graph(apply, params, np.ones((2, widths[0])), "parameters"), params


def present(batch):
    """The numbers of nodes and edges without padding."""
    return tuple(np.sum(batch.counts, axis=0))


def described(batch) -> tuple[np.ndarray, np.ndarray]:
    """For each present node, and edge, everything that a network can know of it but numbers of rows."""
    found = []
    for rows, blocks, count in zip(
        (batch.nodes, batch.edges), (batch.node_blocks, batch.edge_blocks), present(batch), strict=True
    ):
        parts = [rows.values, blocks.traits[rows.block], blocks.channels[rows.block], blocks.shares[rows.block]]
        parts += [blocks.pools[rows.block], batch.positions[rows.position]]
        found.append(np.concatenate([part[:count].reshape(count, -1) for part in parts], axis=1))
    return found[0], found[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_moving_parameters_relabels_the_batch(name: str, kind: str) -> None:
    made, params = pair(name, kind)
    element = made.spec.random_element(key=jax.random.key(1))
    before, after = join_graphs([(made, params)]), join_graphs([(made, numpy(made.spec.act(element, params)))])
    nodes, edges = made.places(element)
    for one, two, moved in zip(described(before), described(after), (nodes, edges), strict=True):
        np.testing.assert_array_equal(two[moved], one)
    for side in ("senders", "receivers"):
        ends = [getattr(batch, side)[: made.num_edges] for batch in (before, after)]
        np.testing.assert_array_equal(ends[1][edges], nodes[ends[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_graphs_one_after_another(kind: str) -> None:
    pairs = [pair(name, kind) for name in NAMES]
    joined = join_graphs(pairs)
    nodes, edges = described(joined)
    starts = [0, 0]
    for number, one in enumerate(pairs):
        alone = join_graphs([one], nodes=joined.graph_of.size)
        count = alone.counts[0]
        np.testing.assert_array_equal(joined.counts[number], count)
        rows, lines = (slice(start, start + size) for start, size in zip(starts, count, strict=True))
        for whole, its, there in zip((nodes, edges), described(alone), (rows, lines), strict=True):
            # Values and features of values have as many channels as the widest graph.
            np.testing.assert_array_equal(np.sort(whole[there]), np.sort(widened(its, whole.shape[1])))
        np.testing.assert_array_equal(joined.graph_of[rows], number)
        for side in ("senders", "receivers"):
            own = getattr(alone, side)[: count[1]]
            np.testing.assert_array_equal(getattr(joined, side)[lines], own + starts[0])
        starts = [start + size for start, size in zip(starts, count, strict=True)]
    assert np.all(joined.graph_of[starts[0] :] == len(pairs))
    assert np.all(joined.senders[starts[1] :] == joined.graph_of.size - 1)


def widened(rows: np.ndarray, width: int) -> np.ndarray:
    return np.pad(rows, [(0, 0), (0, width - rows.shape[1])])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in QUICK else pytest.mark.slow)
        for name in NAMES
        for kind in KINDS
    ],
)
def test_means_are_those_of_one_graph(name: str, kind: str) -> None:
    """Factors of blocks, from the grids of edges, agree with factors that are counted edge by edge."""
    made, params = pair(name, kind)
    static, joined = of_one(made), of_several(join_graphs([(made, params)]))
    flip = np.array(made.traits.reversed)[made.edge_kind]
    incoming = np.where(flip, static.outgoing, static.incoming)
    if not flip.any():  # otherwise messages of one kind of edges arrive at other nodes
        np.testing.assert_allclose(joined.incoming[: made.num_edges], incoming, rtol=1e-6)
    for side, wanted, count in (
        (joined.nodes, static.nodes, made.num_nodes),
        (joined.edges, static.edges, made.num_edges),
    ):
        np.testing.assert_allclose(side.share[:count], wanted.share, rtol=1e-6)
        np.testing.assert_allclose(side.arc_share[:count], wanted.arc_share, rtol=1e-6)
        total = np.zeros(side.pools)
        np.add.at(total, np.asarray(side.pool[:count]), np.asarray(side.pool_share[:count]))
        np.testing.assert_allclose(total[total > 0], 1, rtol=1e-5)
    for ends, share in ((joined.receivers, joined.incoming), (joined.senders, joined.outgoing)):
        total = np.zeros(made.num_nodes)
        np.add.at(total, np.asarray(ends[: made.num_edges]), np.asarray(share[: made.num_edges]))
        np.testing.assert_allclose(total[total > 0], 1, rtol=1e-5)


def test_edges_point_along_the_data() -> None:
    """PyTorch and Equinox store the outputs of a layer first."""

    def transposed(params, x):
        return jnp.tanh(x @ params["a"].T) @ params["b"].T

    params = {"a": np.ones((4, 3)), "b": np.ones((2, 4))}
    made = graph(transposed, params, np.ones((5, 3)))
    batch = join_graphs([(made, params)])
    assert made.traits.reversed == (True, True)
    layers = np.array(made.node_layers)[made.node_layer]
    ends = {(str(layers[s]), str(layers[r])) for s, r in zip(batch.senders[:20], batch.receivers[:20], strict=True)}
    assert ends == {("in", "h0"), ("h0", "out")}


def test_features_do_not_depend_on_numbers_of_layers() -> None:
    """The first layer of a deep network is described as that of a shallow one, but for its depth."""
    deep, shallow = (perceptron(*widths)[0].traits for widths in ([3, 8, 8, 8, 2], [3, 8, 2]))
    for one, two in ((deep.nodes, shallow.nodes), (deep.edges, shallow.edges)):
        assert one.traits.shape[1] == two.traits.shape[1] == TRAITS
        assert one.channels.shape[2] == two.channels.shape[2] == VALUES
    assert [NODES[pool] for pool in deep.nodes.pools] == ["input", "hidden", "hidden", "hidden", "output"]
    assert deep.positions.shape == (3 + 2, POSITIONS)
    np.testing.assert_array_equal(deep.positions, shallow.positions)


def test_sizes_are_few_and_may_be_given() -> None:
    pairs = [perceptron(3, width, 2) for width in range(4, 12)]
    sizes = {(len(batch.graph_of), len(batch.senders)) for batch in (join_graphs([one]) for one in pairs)}
    assert sizes <= {(n, e) for n in (10, 12, 14, 16, 20) for e in (20, 24, 28, 32, 40, 48, 56)}
    given = join_graphs(pairs[:1], nodes=(8, 64), edges=50)
    assert (len(given.graph_of), len(given.senders)) == (64, 50)
    assert repr(given) == "JoinedGraphs(graphs=1, nodes=64, edges=50)"
    linear = join_graphs([perceptron(3, 2)])
    assert linear.counts.tolist() == [[5, 6]]
    assert not np.any(linear.node_blocks.pools[linear.nodes.block[:5]] == NODES.index("hidden"))


def test_a_batch_is_a_tree_of_arrays_without_graphs() -> None:
    joined = join_graphs([perceptron(3, 4, 2), perceptron(3, 2)])
    leaves, structure = jax.tree.flatten(joined)
    assert leaves[0].shape == (2, 2)  # `ek.train.fit` counts the rows of the first array
    again = jax.tree.unflatten(structure, leaves)
    assert again.pairs is None
    assert structure == jax.tree.structure(join_graphs([perceptron(3, 4, 2, seed=1), perceptron(3, 2)]))
    for one, two in zip(leaves, jax.tree.leaves(pickle.loads(pickle.dumps(joined))), strict=True):
        np.testing.assert_array_equal(one, two)


ONE = np.ones
EMPTY = {"a": np.ones((4, 0)), "b": np.ones((0, 2))}
CORNERS = {  # no edges, a single number, products of parameters, no entries, no entries at all
    "bias": (lambda p, x: x + p["b"], {"b": ONE(4)}),
    "scale": (lambda p, x: (x @ p["w"]) * p["t"], {"w": ONE((4, 3)), "t": np.array(2.0)}),
    "low rank": (lambda p, x: x @ (p["w"] + p["a"] @ p["b"]), {"w": ONE((4, 6)), "a": ONE((4, 2)), "b": ONE((2, 6))}),
    "nothing": (lambda p, x: x @ p["w"], {"w": ONE((4, 3)), "z": ONE(0)}),
    "beside": (lambda p, x: x @ p["w"] + jnp.tanh(x @ p["a"]) @ p["b"], {"w": ONE((4, 2)), **EMPTY}),
    "empty": (lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], EMPTY),
}


def test_steps_of_a_scan_have_depths_of_their_own() -> None:
    traits = pair("scanned_layers", "neurons")[0].traits
    depths = traits.edges.traits[:, 30]
    np.testing.assert_allclose(np.sort(depths), np.array([1, 3, 5, 7, 9, 11]) / 12, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_each_graph(kind: str) -> None:
    pairs = [pair(name, kind) for name in NAMES]
    for model, params in CORNERS.values():
        pairs.append((graph(model, params, np.ones((2, 4)), kind), params))
    joined = join_graphs(pairs)
    features = [rows.values.reshape(len(rows.values), -1) for rows in (joined.nodes, joined.edges)]
    for rows in (joined.nodes, joined.edges):
        assert np.all(np.isfinite(rows.values))
    for blocks in (joined.node_blocks, joined.edge_blocks):
        assert np.all(blocks.shares <= 1)
    for (_, params), found in zip(pairs, joined.parameters(ek.weightspace.Features(*features)), strict=True):
        for one, two in zip(jax.tree.leaves(params), jax.tree.leaves(found), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nothing", "beside", "empty"])
def test_parameters_without_entries_keep_their_channels(name: str, kind: str) -> None:
    model, params = CORNERS[name]
    made = graph(model, params, np.ones((2, 4)), kind)
    twice = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf], -1), params)
    found = made.parameters(made.features(twice, channels=2), params)
    assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, twice)
    for one, two in zip(*map(jax.tree.leaves, (twice, found)), strict=True):
        np.testing.assert_array_equal(one, two)


def zoo(count: int = 10):
    pairs = [perceptron(3, 4 + number % 4, 2, seed=number) for number in range(count)]
    return pairs, np.arange(count)


def test_batches_show_every_network_once_with_its_target() -> None:
    pairs, targets = zoo()
    batches = GraphBatches(pairs, {"y": targets}, batch=4)
    assert len(batches) == 3
    orders = []
    for _ in range(2):
        seen = []
        for batch, rows in batches:
            assert (len(batch.graph_of), len(batch.senders)) in batches.sizes
            for (made, params), target in zip(batch.pairs, rows["y"], strict=True):
                assert made is pairs[target][0]
                assert params is pairs[target][1]
            seen += rows["y"].tolist()
        assert sorted(seen) == targets.tolist()
        orders.append(seen)
    assert orders[0] != orders[1]
    batches.set_epoch(0)
    assert [row for _, rows in batches for row in rows["y"]] == orders[0]
    assert len({jax.tree.structure(batch) for batch, _ in batches}) == 1
    fixed = GraphBatches(pairs, targets, batch=4, seed=None, drop_last=True)
    assert [rows.tolist() for _, rows in fixed] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    digests = {GraphBatches(pairs, targets, batch=size).digest() for size in (4, 4, 5)}
    assert len(digests | {GraphBatches(pairs[::-1], targets, batch=4).digest()}) == 3
    assert batches.digest() == pickle.loads(pickle.dumps(batches)).digest()


def test_batches_do_not_share_memory_with_their_targets() -> None:
    pairs, targets = zoo(4)
    batches = GraphBatches(pairs, (targets, [1.0, 2, 3, 4]), batch=4, seed=None)
    before = batches.digest()
    targets[:] = 7
    ((_, rows),) = batches
    assert [column.tolist() for column in rows] == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert batches.digest() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_hidden_layer_of_width_one_has_no_neurons(kind: str) -> None:
    """Its weights are read nevertheless."""
    params = perceptron(3, 1, 2)[1]
    made = graph(apply, params, np.ones((2, 3)), kind)
    names = np.array(made.node_layers)[made.node_layer].tolist()
    assert not made.spec.groups
    assert {name for name, kind in zip(names, made.node_kind, strict=True) if kind == 0} == {"in", "out"}
    found = made.features(params)
    values = np.concatenate([np.ravel(found.nodes), np.ravel(found.edges)])
    np.testing.assert_allclose(np.sum(values**2), sum(np.sum(leaf**2) for leaf in params), rtol=1e-5)


def test_batches_agree_with_join_graphs() -> None:
    pairs, _ = zoo()
    (first, _), *_ = GraphBatches(pairs, batch=4, seed=None)
    nodes, edges = described(join_graphs(pairs[:4]))
    for one, two in zip(described(first), (nodes, edges), strict=True):
        np.testing.assert_array_equal(one, two)


MADE, PARAMS = perceptron(3, 4, 2)
REFUSED = {
    "nothing": (
        lambda: join_graphs([]),
        (ek.OptionError, "there are no graphs", "an empty list", "one or more", "join_graphs("),
    ),
    "an iterator": (
        lambda: join_graphs(iter([(MADE, PARAMS)])),
        (ek.OptionError, "the graphs must be in a list", "list_iterator", "(graph, params)", "join_graphs("),
    ),
    "a dictionary": (
        lambda: join_graphs({MADE: PARAMS}),
        (ek.OptionError, "the graphs must be in a list", "dict", "(graph, params)", "join_graphs("),
    ),
    "parameters alone": (
        lambda: join_graphs([PARAMS]),
        (ek.OptionError, "pairs[0] is not a graph with parameters", "[", "(graph, params)", "join_graphs("),
    ),
    "a graph of a specification": (
        lambda: join_graphs([(ParameterGraph(MADE.spec), PARAMS)]),
        (ek.OptionError, "pairs[0] has no graph with a program", "of a specification", "of a model", "graph(apply"),
    ),
    "a specification": (
        lambda: join_graphs([(MADE.spec, PARAMS)]),
        (ek.OptionError, "pairs[0] has no graph with a program", "Specification", "of a model", "graph(apply, params"),
    ),
    "other names": (
        lambda: join_graphs([(MADE, PARAMS), (MADE, {"a": PARAMS[0]})]),
        (ek.OptionError, "the parameters of pairs[1] do not have", "'a'", "'0', '1'", "one network"),
    ),
    "another width": (
        lambda: join_graphs([(MADE, [PARAMS[0][:, :3], PARAMS[1]])]),
        (ek.ShapeError, "'0' of pairs[0] must have shape [3, 4]", "[3, 3]", "[3, 4]", "one network"),
    ),
    "several networks": (
        lambda: join_graphs([(MADE, jax.tree.map(lambda a: a[None], PARAMS))]),
        (ek.ShapeError, "'0' of pairs[0] must have shape [3, 4]", "[1, 3, 4]", "[3, 4]", "one network"),
    ),
    "one channel of two": (
        lambda: join_graphs([(MADE, PARAMS)], channels=2),
        (ek.ShapeError, "'0' of pairs[0] must have shape [3, 4, 2]", "[3, 4]", "[3, 4, 2]", "one network"),
    ),
    "complex numbers": (
        lambda: join_graphs([(MADE, [PARAMS[0] * 1j, PARAMS[1]])]),
        (ek.DTypeError, "a function of weights needs real", "complex64", "float32", "real and imaginary"),
    ),
    "shapes alone": (
        lambda: join_graphs([(MADE, jax.eval_shape(lambda: PARAMS))]),
        (ek.DTypeError, "needs the values of the parameters: '0'", "ShapeDtypeStruct", "arrays", "pass the parameters"),
    ),
    "too few edges": (
        lambda: join_graphs([(MADE, PARAMS)], edges=4),
        (ek.OptionError, "edges= is smaller than the number of edges", "4", "at least 20", "edges=20"),
    ),
    "no room for padding": (
        lambda: join_graphs([(MADE, PARAMS)], nodes=9),
        (ek.OptionError, "nodes= is smaller than the number of nodes", "9", "at least 10", "nodes=10"),
    ),
    "other targets": (
        lambda: GraphBatches([(MADE, PARAMS)], np.ones(2), batch=1),
        (ek.OptionError, "the number of targets is a different one", "2", "1", "one target for each"),
    ),
    "texts as targets": (
        lambda: GraphBatches([(MADE, PARAMS)], np.array(["a"]), batch=1),
        (ek.DTypeError, "targets must be arrays of numbers", "<U1", "integer", "a number"),
    ),
    "objects as targets": (
        lambda: GraphBatches([(MADE, PARAMS)], {"y": np.array([None])}, batch=1),
        (ek.DTypeError, "targets must be arrays of numbers", "object", "integer", "a number"),
    ),
    "no targets in a dictionary": (
        lambda: GraphBatches([(MADE, PARAMS)], {}, batch=1),
        (ek.OptionError, "there are no targets", "{}", "one or more", "leave targets out"),
    ),
    "a batch larger than all": (
        lambda: GraphBatches([(MADE, PARAMS)] * 5, batch=99, drop_last=True),
        (ek.OptionError, "fewer examples than a batch", "5 examples, batch=99", "at most 5", "a smaller batch"),
    ),
    "no batch": (
        lambda: GraphBatches([(MADE, PARAMS)], batch=0),
        (ek.OptionError, "batch= must be", "0", "1", "batch=32"),
    ),
    "one graph": (
        lambda: MessagePassing(MADE, [1, 4, 1], rngs=nnx.Rngs(0))(join_graphs([(MADE, PARAMS)])),
        (ek.OptionError, "a network on one graph takes parameters", "JoinedGraphs", "AnyArchitecture", "AnyArchitec"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
