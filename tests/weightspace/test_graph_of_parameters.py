"""Graphs of parameters: what is in them, counted by hand, and that moving parameters relabels them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, plain
from helpers import assert_error

import equikit as ek
from equikit.groups import Fixed
from equikit.weightspace import Features, ParameterGraph, Specification, Symbol, graph, trace
from equikit.weightspace.specifications._terms import Leaf


def architectures(*quick: str):
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in MODELS]
    )


@architectures("tied_layers", "mixture_of_experts")
def test_moving_parameters_relabels_the_graph(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    element = spec.random_element(key=jax.random.key(1))
    moved = spec.act(element, params)
    for kind in ("neurons", "parameters"):
        made = ParameterGraph(spec, kind)
        before, after = made.features(params), made.features(moved)
        nodes, edges = made.places(element)
        np.testing.assert_array_equal(after.nodes[nodes], before.nodes)
        np.testing.assert_array_equal(after.edges[edges], before.edges)
        np.testing.assert_array_equal(made.edge_index[:, edges], nodes[made.edge_index])
        for array in (made.node_layer, made.node_kind, made.node_position):
            np.testing.assert_array_equal(array[nodes], array)
        for array in (made.edge_kind, made.edge_position):
            np.testing.assert_array_equal(array[edges], array)


@architectures("fused_attention", "gated_halves")
def test_every_parameter_is_there_once(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    numbered, count = [], 1
    leaves, tree = jax.tree.flatten(params)
    for leaf in leaves:
        numbered.append(jnp.arange(count, count + leaf.size, dtype=jnp.float32).reshape(leaf.shape))
        count += leaf.size
    numbers = jax.tree.unflatten(tree, numbered)
    for kind in ("neurons", "parameters"):
        made = ParameterGraph(spec, kind)
        features = made.features(numbers)
        there = np.concatenate([np.ravel(array) for array in features])
        np.testing.assert_array_equal(np.sort(there[there > 0]), np.arange(1, count))
        back = made.parameters(features, numbers)
        assert jax.tree.structure(back) == tree
        for one, two in zip(jax.tree.leaves(back), numbered, strict=True):
            np.testing.assert_array_equal(one, two)
        if kind == "parameters":
            assert made.edge_width == 1
            assert made.node_width <= 1


COUNTS = {  # nodes and edges, kinds of edges, values of a node and of an edge, by hand
    "perceptron": ("neurons", 3 + 8 + 5 + 2, 3 * 8 + 8 * 5 + 5 * 2, 3, 1, 1),
    "convolution_flattened": ("neurons", 3 + 5 + 7 + 2, 3 * 5 + 5 * 7 + 7 * 2, 3, 1, 9),
    "gru": ("neurons", 3 + 5 + 2, 3 * 3 * 5 + 3 * 5 * 5 + 5 * 2, 7, 4, 1),
    "residual": ("parameters", 3 + 6 + 5 + 5 + 2 + 10, 204, 16, 0, 1),
    # Heads and what is in them: queries and keys, values; 16 edges from these to their heads.
    "attention": ("neurons", 8 + 8 + 2 + 2 * (2 * 4), 4 * 8 * 2 * 4 + 2 * 2 * 4, 4 + 2, 2, 1),
    "mixture_of_experts": ("neurons", 3 + 4 + 4 * 6 + 2, 3 * 4 + 3 * 24 + 24 * 2 + 24, 4, 0, 1),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ("residual", "gru") else ()) for n in COUNTS]
)
def test_nodes_and_edges_are_those_counted_by_hand(name: str) -> None:
    kind, *expected = COUNTS[name]
    made = graph(*MODELS[name](), kind)
    found = [made.num_nodes, made.num_edges, len(made.edge_kinds), made.node_width, made.edge_width]
    assert found == expected
    assert made.edge_index.shape == (2, made.num_edges)


def test_edges_are_the_weights_between_their_neurons() -> None:
    apply, params, x = MODELS["tied_layers"]()
    made = graph(apply, params, x)
    features = made.features(params)
    index = np.concatenate([np.arange(np.sum(made.node_layer == layer)) for layer in range(len(made.node_layers))])
    for (a, b), kind, value in zip(made.edge_index.T, made.edge_kind, features.edges[:, 0], strict=True):
        assert value == params[made.edge_kinds[kind]][index[a], index[b]]
    hidden = made.node_layers.index("h0")
    np.testing.assert_array_equal(features.nodes[made.node_layer == hidden, 0], params["bias"])
    within = made.edge_index[:, made.edge_kind == made.edge_kinds.index("hidden")]
    assert set(made.node_layer[within].ravel()) == {hidden}


def convolutions():
    """A convolution, as a plain function: windows of 3, 3 channels to 4, then a dense layer."""

    def apply(p, x):
        h = jax.lax.conv_general_dilated(x, p["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return jnp.tanh(h + p["bias"]).mean(1) @ p["dense"]

    return apply, plain({"kernel": (3, 3, 4), "bias": (4,), "dense": (4, 2)}), jnp.ones((2, 5, 3))


def test_windows_are_channels_or_edges_with_positions() -> None:
    apply, params, x = convolutions()
    made = graph(apply, params, x)
    features = made.features(params)
    edges = features.edges[made.edge_kind == made.edge_kinds.index("kernel")].reshape(3, 4, 3)
    np.testing.assert_array_equal(edges, params["kernel"].transpose(1, 2, 0))
    dense = features.edges[made.edge_kind == made.edge_kinds.index("dense")]
    np.testing.assert_array_equal(dense[:, 1:], 0)  # filled up
    single = graph(apply, params, x, "parameters")
    of_kernel = single.edge_kind == single.edge_kinds.index("kernel")
    np.testing.assert_array_equal(single.edge_position[of_kernel].reshape(3, 12), np.arange(3)[:, None].repeat(12, 1))
    assert set(single.edge_position[~of_kernel]) == {-1}
    assert single.num_edges == sum(leaf.size for leaf in params.values())


def test_positions_are_those_of_inputs_and_outputs() -> None:
    made = graph(*MODELS["perceptron"]())
    fixed = [made.node_layers.index(label) for label in ("in", "out")]
    outer = np.isin(made.node_layer, fixed)
    np.testing.assert_array_equal(np.sort(made.node_position[outer]), np.arange(5))
    assert set(made.node_position[~outer]) == {-1}


def test_tuples_of_neurons_are_joined_to_each_of_them() -> None:
    apply, params, x = MODELS["mixture_of_experts"]()
    made = ParameterGraph(replace(trace(apply, params, x), nested=()))
    assert (made.num_nodes, made.num_edges) == (3 + 4 + 6 + 2 + 72 + 48, 3 * 4 + 3 * 72 + 3 * 48)
    own = made.node_layers.index("up")  # h0 in h1
    first = int(np.argmax(made.node_layer == own))
    grid = np.arange(4 * 3 * 6).reshape(4, 3, 6)
    np.testing.assert_array_equal(made.features(params).nodes[first:, 0][: grid.size].reshape(4, 3, 6), params["up"])
    joined: dict[str, set[tuple[int, int]]] = {}
    for (a, b), kind in zip(made.edge_index.T.tolist(), made.edge_kind.tolist(), strict=True):
        if made.edge_kinds[kind].startswith("up"):
            start = int(np.argmax(made.node_layer == made.node_layer[b]))
            joined.setdefault(made.node_layers[made.node_layer[b]], set()).add((a - first, b - start))
    for place, label in enumerate(("h0", "in", "h1")):
        assert joined[label] == {(int(n), index[place]) for index, n in np.ndenumerate(grid)}


def test_what_is_within_a_head_is_joined_to_it() -> None:
    apply, params, x = MODELS["attention"]()
    made = graph(apply, params, x)
    assert dict(made.spec.nested) == {"h1": "h0", "h2": "h0"}
    inner, outer = (int(np.argmax(made.node_layer == made.node_layers.index(label))) for label in ("h2", "h0"))
    pairs = made.edge_index[:, made.edge_kind == made.edge_kinds.index("h2 within h0")]
    np.testing.assert_array_equal(pairs, [inner + np.arange(8), outer + np.arange(8) // 4])
    kernel = made.edge_kind == made.edge_kinds.index("value/kernel")
    values = made.features(params).edges[kernel, 0]
    np.testing.assert_array_equal(values, jax.tree.leaves(params["value"]["kernel"])[0].ravel())


def test_parameters_without_neurons_are_nodes_of_their_own() -> None:
    def apply(p, x):
        return jnp.tanh(x @ p["a"]) @ p["b"] * p["scale"]

    params = plain({"a": (3, 4), "b": (4, 2), "scale": ()})
    for kind in ("neurons", "parameters"):
        made = graph(apply, params, jnp.ones((5, 3)), kind)
        alone = made.node_layers.index("scale")
        (node,) = np.flatnonzero(made.node_layer == alone)
        assert made.features(params).nodes[node, 0] == params["scale"]
        assert node not in made.edge_index
        assert made.node_kind[node] == 1


def test_three_equal_labels_and_no_indices() -> None:
    label, nothing = Symbol("h", 3), Symbol("z", 0)
    leaves = (Leaf("cube", (label,) * 3), Leaf("void", (label, nothing)))
    spec = Specification(leaves, (("h", ek.S(3)), ("z", Fixed(0))))
    made = ParameterGraph(spec, neurons=["z"])
    assert (made.num_nodes, made.num_edges) == (3 + 27, 81)
    params = {"cube": jnp.arange(27.0).reshape(3, 3, 3), "void": jnp.zeros((3, 0))}
    element = {"h": np.array([2, 0, 1])}
    nodes, _ = made.places(element)
    before, after = made.features(params), made.features(spec.act(element, params))
    np.testing.assert_array_equal(after.nodes[nodes], before.nodes)
    assert made.parameters(before, params)["void"].shape == (3, 0)


def test_one_graph_serves_many_networks_and_channels() -> None:
    apply, params, x = MODELS["perceptron"]()
    made = graph(apply, params, x)
    zoo = jax.tree.map(lambda leaf: jnp.stack([jnp.stack([leaf, 2 * leaf, 3 * leaf])] * 2), params)
    features = jax.jit(made.features)(zoo)
    assert features.nodes.shape == (2, 3, made.num_nodes, 1)
    one = made.features(params)
    np.testing.assert_array_equal(features.edges[1, 2], 3 * one.edges)
    mapped = jax.vmap(jax.vmap(made.features))(zoo)
    for a, b in zip(mapped, features, strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf], -1), params)
    both = made.features(pairs, channels=2)
    assert both.edges.shape == (made.num_edges, 2)
    np.testing.assert_array_equal(both.edges[:, 1], -one.edges[:, 0])
    for a, b in zip(*map(jax.tree.leaves, (made.parameters(both, pairs), pairs)), strict=True):
        np.testing.assert_array_equal(a, b)
    none = made.features(jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape)), params))
    assert none.edges.shape == (0, made.num_edges, 1)
    slopes = jax.grad(lambda p: sum(jnp.sum(array**2) for array in made.features(p)))(params)
    jax.tree.map(lambda slope, leaf: np.testing.assert_allclose(slope, 2 * leaf, rtol=1e-6), slopes, params)


def test_the_structure_is_static() -> None:
    made = graph(*MODELS["perceptron"]())
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert hash(again) == hash(made) == hash(graph(*MODELS["perceptron"]()))
    assert made != graph(*MODELS["perceptron"](), "parameters")
    with pytest.raises(ValueError, match="read-only"):
        made.edge_index[0] = 0


def test_labels_on_which_nothing_acts_are_nodes_where_they_are_asked_for() -> None:
    apply, params, x = convolutions()
    window = next(label for label, why in trace(apply, params, x).reasons if "conv" in why)
    made = graph(apply, params, x, neurons=["in", "out", window])
    assert window in made.node_layers
    assert made.num_nodes == 3 + 3 + 4 + 2 + 3 * 3 * 4
    words = graph(*MODELS["language_model_with_tied_embedding"]())  # what is looked up is a row of neurons
    assert np.sum(words.node_layer == words.node_layers.index("fixed")) == 11
    none = graph(apply, params, x, neurons=[])
    assert none.node_layers == ("h0",)


def test_networkx_has_the_same_graph() -> None:
    import networkx

    apply, params, x = MODELS["perceptron"]()
    made = graph(apply, params, x)
    found = made.to_networkx(params)
    assert isinstance(found, networkx.MultiDiGraph)
    assert (found.number_of_nodes(), found.number_of_edges()) == (made.num_nodes, made.num_edges)
    edge = made.edge_kind.tolist().index(made.edge_kinds.index("w1"))
    a, b = made.edge_index[:, edge].tolist()
    (attributes,) = found.get_edge_data(a, b).values()
    assert attributes["kind"] == "w1"
    np.testing.assert_allclose(attributes["value"], params["w1"][0, 0])
    assert found.nodes[a]["layer"] == "h0"
    assert "value" not in made.to_networkx().nodes[0]
    gates = graph(*MODELS["gru"]()).to_networkx()
    assert max(number for _, _, number in gates.edges(keys=True)) == 2  # three matrices between the same neurons


MADE = graph(*MODELS["perceptron"]())
PARAMS = MODELS["perceptron"]()[1]
REFUSED = {
    "kind": (
        lambda: ParameterGraph(MADE.spec, "weights"),
        (ek.OptionError, "unknown value for kind=", "'weights'", '"neurons" or "parameters"', 'kind="neurons"'),
    ),
    "neurons": (
        lambda: ParameterGraph(MADE.spec, neurons=["h0"]),
        (ek.OptionError, "unknown value for neurons=", "'h0'", '"in" or "out"', "leave neurons out"),
    ),
    "another tree": (
        lambda: MADE.features({"w0": PARAMS["w0"]}),
        (
            ek.OptionError,
            "the parameters do not have the expected names",
            "'w0'",
            "a dictionary with the names 'b0', 'b1', 'w0', 'w1', 'w2'",
            "same structure",
        ),
    ),
    "two batches": (
        lambda: MADE.features(PARAMS | {"w1": PARAMS["w1"][None]}),
        (ek.ShapeError, "the parameter 'w1' must have shape [8, 5]", "shape [1, 8, 5]", "[8, 5]", "stack"),
    ),
    "no channels": (
        lambda: MADE.features(PARAMS, channels=3),
        (ek.ShapeError, "the parameter 'b0' must have shape [*axes, 3]", "shape [8]", "[*axes, 3]", "stack them"),
    ),
    "other features": (
        lambda: MADE.parameters(Features(jnp.ones((7, 1)), jnp.ones((74, 1))), PARAMS),
        (ek.ShapeError, "nodes are not features of this graph", "[7, 1]", "[*batch, 18", "graph.features"),
    ),
    "no features": (
        lambda: MADE.parameters(None, PARAMS),
        (ek.OptionError, "features= must be a Features", "None", "a Features", "features=graph.features(params)"),
    ),
    "features that are no arrays": (
        lambda: MADE.parameters(Features(jnp.ones((18, 1)), None), PARAMS),
        (ek.DTypeError, "the edges must be an array", "NoneType", "float32", "graph.features"),
    ),
    "channels that differ": (
        lambda: MADE.parameters(Features(jnp.ones((18, 1)), jnp.ones((74, 2))), PARAMS),
        (ek.ShapeError, "are not features of this graph", "[74, 2]", "as many channels", "graph.features"),
    ),
    "many networks": (
        lambda: MADE.to_networkx(jax.tree.map(lambda leaf: leaf[None], PARAMS)),
        (
            ek.ShapeError,
            "edges of one network must have shape [edges, width]",
            "shape [1, 74, 1]",
            "[edges, width]",
            "choose one",
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
