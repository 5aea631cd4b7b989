"""Padded batches hold every example once, and layers cannot tell them from the examples alone."""

import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
import pytest
from flax import nnx

import equikit as ek
from equikit.data import Batches, from_jraph, from_networkx, join, pad, split
from equikit.data._batches import _buckets


def examples(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [{"p p": rng.normal(size=(n, n, 2)), "p": rng.normal(size=(n, 3))} for n in sizes]


def test_padded_examples_are_zeros_around_the_examples():
    given = examples([2, 0, 4])
    features, masks = pad(given)
    assert {name: array.shape for name, array in features.items()} == {"p p": (3, 4, 4, 2), "p": (3, 4, 3)}
    assert masks["p"].sum(1).tolist() == [2, 0, 4]
    for row, example in enumerate(given):
        n = len(example["p"])
        np.testing.assert_array_equal(features["p p"][row, :n, :n], example["p p"])
        assert np.abs(features["p p"][row]).sum() == pytest.approx(np.abs(example["p p"]).sum())
        np.testing.assert_array_equal(features["p"][row, :n], example["p"])


def test_layers_take_padded_examples_as_they_are():
    layer = ek.nn.Linear({"p p": 2, "p": 3}, {"p": 2}, p=ek.S, rngs=nnx.Rngs(0))
    given = [{name: array.astype(np.float32) for name, array in example.items()} for example in examples([3, 5])]
    features, masks = pad(given, sizes={"p": 6})
    together = layer(features, mask=masks)["p"]
    for row, example in enumerate(given):
        alone = layer({name: array[None] for name, array in example.items()})["p"][0]
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-5)


def test_labels_that_are_always_there_need_no_mask():
    clouds = [{"p x": np.ones((n, 3, 1), np.float32)} for n in (2, 4)]
    (batch,) = Batches(clouds, batch=2, buckets=1, masked=["p"])
    assert batch.masks.keys() == {"p"}
    layer = ek.nn.Linear("p x -> p x", 1, 2, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
    assert layer(batch.features["p x"], mask=batch.masks).shape == (2, 4, 3, 2)


def test_named_features_and_two_labels():
    given = [
        {"visits": np.ones((2, 5, 1)), "age": np.ones((2, 1))},
        {"visits": np.ones((3, 1, 1)), "age": np.ones((3, 1))},
    ]
    features, masks = pad(given, terms={"visits": "user item", "age": "user"})
    assert features["visits"].shape == (2, 3, 5, 1)
    assert masks["user"].sum(1).tolist() == [2, 3]
    assert masks["item"].sum(1).tolist() == [5, 1]


@pytest.mark.parametrize("drop_last", [False, True])
def test_each_pass_holds_every_example_once_in_a_new_order(drop_last):
    sizes = np.random.default_rng(0).integers(0, 9, 30).tolist()
    given = examples(sizes)
    batches = Batches(given, np.arange(30), batch=4, buckets=3, drop_last=drop_last)
    passes = [list(batches) for _ in range(2)]
    orders = [[*itertools.chain(*(batch.targets.tolist() for batch in each))] for each in passes]
    assert orders[0] != orders[1]
    assert all(len(each) == len(batches) for each in passes)
    for order in orders:
        assert len({*order}) == len(order) == (sum(len(batch.targets) for batch in passes[0]) if drop_last else 30)
    for batch in passes[0]:
        assert len(batch.targets) == 4 or not drop_last
        for row, target in enumerate(batch.targets):
            assert batch.masks["p"][row].sum() == sizes[target]
            np.testing.assert_array_equal(batch.features["p"][row, : sizes[target]], given[target]["p"])
    assert {batch.features["p"].shape[1] for batch in passes[0]} <= {size["p"] for size in batches.sizes}
    batches.set_epoch(0)
    assert [batch.targets.tolist() for batch in batches] == [batch.targets.tolist() for batch in passes[0]]


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_buckets_have_the_fewest_padded_entries(most):
    each = [(int(n),) for n in np.random.default_rng(1).integers(1, 9, 25)]
    sizes = sorted(set(each))

    def padded(parts):
        return sum(sum(each.count(size) for size in part) * max(n**2 + n for (n,) in part) for part in parts)

    found = _buckets(each, [(0, 0), (0,)], most)
    assert sorted(itertools.chain(*found)) == sizes
    cuts = range(1, len(sizes))
    options = itertools.chain(*(itertools.combinations(cuts, k) for k in range(min(most, len(sizes)))))
    all_parts = ([sizes[i:j] for i, j in itertools.pairwise([0, *ends, len(sizes)])] for ends in options)
    assert padded(found) == min(map(padded, all_parts))


def test_a_network_trains_on_batches_of_graphs_of_any_size():
    graphs = [nx.gnp_random_graph(n, 0.5, seed=n) for n in range(3, 11)]
    targets = np.array([[graph.number_of_edges() / 10] for graph in graphs], np.float32)
    batches = Batches([from_networkx(graph) for graph in graphs], targets, batch=4, buckets=2)
    network = ek.nn.GraphNetwork(1, [8], 1, rngs=nnx.Rngs(0), normalize="sum", init_size=8)

    def loss(model, batch):
        return jnp.mean((model(batch.features["p p"], mask=batch.masks) - batch.targets) ** 2)

    held = Batches([from_networkx(graph) for graph in graphs], targets, batch=8, buckets=1, seed=None)
    fitted = ek.train.fit(network, loss, batches, held, epochs=30, key=jax.random.key(0), optimizer=optax.adam(1e-2))
    assert fitted.losses[fitted.best, 1] < 0.2 * np.var(targets)


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph])
def test_features_of_networkx_are_its_matrices(kind):
    graph = kind([("a", "b"), ("c", "b"), ("c", "c")])
    graph.add_node("alone")
    for number, edge in enumerate(graph.edges, 1):
        graph.edges[edge]["weight"], graph.edges[edge]["shift"] = number, [number, -number]
    for number, node in enumerate(graph):
        graph.nodes[node]["place"] = [number, 2.5]
    features = from_networkx(graph, nodes=["place"], edges=["weight", "shift"], dtype=np.float64)
    assert features["p p"].shape == (4, 4, 4)
    np.testing.assert_array_equal(features["p p"][..., 0], nx.to_numpy_array(graph, weight=None))
    np.testing.assert_array_equal(features["p p"][..., 1], nx.to_numpy_array(graph, weight="weight"))
    np.testing.assert_array_equal(features["p p"][..., 3], -features["p p"][..., 2])
    assert features["p"].tolist() == [[0, 2.5], [1, 2.5], [2, 2.5], [3, 2.5]]


def test_a_graph_without_nodes_has_empty_features():
    assert from_networkx(nx.Graph())["p p"].shape == (0, 0, 1)


def tuple_of(graphs):
    """The fields of a `jraph.GraphsTuple` for graphs of NetworkX with nodes 0, 1, ..."""
    starts = np.cumsum([0, *map(len, graphs)])
    edges = [np.array(graph.edges, int).reshape(-1, 2) + start for graph, start in zip(graphs, starts, strict=False)]
    senders, receivers = np.concatenate(edges).T
    return SimpleNamespace(
        nodes=np.arange(starts[-1])[:, None],
        edges=None,
        senders=senders,
        receivers=receivers,
        n_node=[*map(len, graphs)],
        n_edge=[graph.number_of_edges() for graph in graphs],
    )


def test_features_of_jraph_are_those_of_networkx():
    graphs = [nx.gnp_random_graph(n, 0.4, seed=n, directed=True) for n in (4, 1, 6, 0)]
    for graph, features in zip(graphs, from_jraph(tuple_of(graphs)), strict=True):
        np.testing.assert_array_equal(features["p p"], from_networkx(graph)["p p"])
    assert from_jraph(tuple_of(graphs))[2]["p"].ravel().tolist() == [5, 6, 7, 8, 9, 10]


def test_parts_are_disjoint_and_keep_rows_together():
    rows = {"x": np.arange(101), "y": np.arange(101) * 2}
    parts = split(rows, (0.7, 0.2, 0.1), seed=3)
    assert [len(part["x"]) for part in parts] == [71, 20, 10]
    assert sorted(itertools.chain(*(part["x"] for part in parts))) == [*range(101)]
    assert all((part["y"] == 2 * part["x"]).all() for part in parts)
    listed = split([{"p": np.ones((n, 1))} for n in range(5)], (0.6, 0.4))
    assert math.isclose(sum(len(example["p"]) for part in listed for example in part), 10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pad([]), ek.OptionError, "examples"),
        (lambda: pad([3]), ek.OptionError, "examples[0] is not a dictionary"),
        (lambda: pad([None]), ek.OptionError, "there are no features in examples[0]"),
        (lambda: pad([{}]), ek.OptionError, "there are no features in examples[0]"),
        (lambda: Batches([None] * 3, batch=2), ek.OptionError, "there are no features in examples[0]"),
        (lambda: pad([*examples([3]), None]), ek.OptionError, "examples[1] has other features"),
        (lambda: pad([{"positions": np.ones((2, 1))}], terms={"position": "p"}), ek.OptionError, "the key 'positions'"),
        (lambda: pad(examples([3]), terms={"size": "p"}), ek.OptionError, "next step: remove the key 'size'"),
        (lambda: pad(examples([3]), terms="p"), ek.OptionError, "terms is not a dictionary"),
        (lambda: pad([{"p q": np.ones((2, 3, 1))}], masked="pq"), ek.OptionError, "unknown value for masked="),
        (lambda: pad(examples([3]), masked=3), ek.OptionError, "unknown value for masked="),
        (
            lambda: pad([{"p": np.ones((2, 1))}, {"q": np.ones((2, 1))}]),
            ek.OptionError,
            "examples[1] has other features",
        ),
        (lambda: pad([{"p": np.ones(2)}]), ek.ShapeError, "feature 'p' does not have one axis"),
        (lambda: pad([{"p p": np.ones((2, 3, 1))}]), ek.ShapeError, "label 'p' has sizes 2 and 3 in one example"),
        (
            lambda: pad([{"a": np.ones((4, 2)), "b": np.ones((3, 3, 1))}], terms={"a": "p", "b": "p x"}),
            ek.ShapeError,
            "label 'p' has sizes 4 and 3 in one example",
        ),
        (lambda: pad(examples([3]), sizes={"p": 2}), ek.OptionError, "sizes['p'] is smaller than an example"),
        (lambda: pad(examples([3]), sizes={"q": 2}), ek.ShapeError, "sizes="),
        (lambda: pad(examples([3]), masked=["q"]), ek.OptionError, "unknown value for masked="),
        (lambda: pad(examples([3, 4]), masked=[]), ek.ShapeError, "label 'p' has no mask, but would be padded"),
        (lambda: pad(examples([3]), sizes={"p": 4}, masked=[]), ek.ShapeError, "sizes [3], padded to 4"),
        (lambda: Batches(examples([3]), batch=0), ek.OptionError, "batch="),
        (lambda: Batches(examples([3]), batch=1, masked=["q"]), ek.OptionError, "unknown value for masked="),
        (lambda: Batches(examples([3, 4]), batch=2, buckets=1, masked=[]), ek.ShapeError, "sizes [3, 4], padded to 4"),
        (lambda: Batches(examples([3]), batch=1, buckets=0), ek.OptionError, "buckets="),
        (lambda: Batches(examples([3]), [1, 2], batch=1), ek.OptionError, "the number of targets"),
        (lambda: from_networkx(nx.MultiGraph()), ek.OptionError, "graph= must be a graph of NetworkX"),
        (lambda: from_networkx(3), ek.OptionError, "graph= must be a graph of NetworkX"),
        (lambda: from_networkx(nx.Graph), ek.OptionError, "graph= must be a graph of NetworkX"),
        (lambda: from_networkx(nx.path_graph(2), nodes=["a"]), ek.OptionError, "node 0 has no attribute 'a'"),
        (lambda: from_networkx(nx.path_graph(2), edges=["a"]), ek.OptionError, "edge (0, 1) has no attribute 'a'"),
        (lambda: from_jraph(3), ek.OptionError, "graphs has no field 'nodes'"),
        (lambda: split(np.arange(3), (0.5, 0.2)), ek.OptionError, "parts= must sum to one"),
        (lambda: split(np.arange(3), (1.5, -0.5)), ek.OptionError, "parts"),
    ],
)
def test_wrong_arguments_raise_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert caught.value.step


def test_an_edge_between_graphs_is_refused():
    broken = tuple_of([nx.path_graph(2), nx.path_graph(2)])
    broken.receivers = np.array([1, 1])
    with pytest.raises(ek.OptionError, match="an edge of graph 1 ends in another graph"):
        from_jraph(broken)


def test_examples_and_targets_are_split_together():
    given = examples([0, 2, 5, 3, 1])
    parts = split((given, np.arange(5)), (0.6, 0.4))
    assert [(len(part), len(targets)) for part, targets in parts] == [(3, 3), (2, 2)]
    sizes = {int(t): len(example["p"]) for part, targets in parts for example, t in zip(part, targets, strict=True)}
    assert [sizes[i] for i in range(5)] == [0, 2, 5, 3, 1]


def test_targets_may_be_a_tree():
    targets = {"energy": np.arange(4), "forces": (np.arange(8).reshape(4, 2),)}
    for batch in Batches(examples([2, 3, 2, 3]), targets, batch=2, buckets=1):
        np.testing.assert_array_equal(batch.targets["forces"][0][:, 0], 2 * batch.targets["energy"])


def test_many_sizes_are_joined_before_buckets_are_chosen():
    given = [{"p": np.ones((n, 1))} for n in range(500)]
    batches = Batches(given, batch=8, buckets=5)
    assert len(batches.sizes) == 5
    assert batches.sizes[-1] == {"p": 499}
    assert sum(len(batch.masks["p"]) for batch in batches) == 500


def test_a_multigraph_with_directions_keeps_them():
    with pytest.raises(ek.OptionError, match=r"nx\.DiGraph\(graph\)"):
        from_networkx(nx.MultiDiGraph([(0, 1)]))


def test_a_name_alone_is_one_attribute():
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, 3.0, "charge")
    assert from_networkx(graph, nodes="charge")["p"].tolist() == [[3.0], [3.0]]


def vectors_of_two_lengths():
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {0: [1], 1: [1, 2]}, "a")
    nx.set_node_attributes(graph, {0: [1, 2], 1: [1]}, "b")
    return graph


def with_names():
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, "C", "element")
    return graph


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pad([{"p": np.ones((2, 3))}, {"p": np.ones((2, 1))}]), ek.ShapeError, "number of channels of 'p'"),
        (lambda: pad([{"p": np.ones((2, 1))}, {"p": np.ones((2, 3))}]), ek.ShapeError, "number of channels of 'p'"),
        (lambda: split((np.ones(3), np.ones(4)), (0.5, 0.5)), ek.ShapeError, "different numbers of examples"),
        (lambda: split(np.ones(0), (0.5, 0.5)), ek.OptionError, "number of examples"),
        *(
            (lambda rows=rows: split(rows, (0.5, 0.5)), ek.ShapeError, "the data are not arrays or lists")
            for rows in (5, "abcd", np.array(3), range(4), (np.ones(4), 4))
        ),
        (lambda: Batches(examples([3, 4]), batch=2, buckets=2, drop_last=True), ek.OptionError, "would never show"),
        (lambda: Batches(examples([3, 4]), 7, batch=2), ek.OptionError, "number of targets"),
        (lambda: Batches(examples([3, 4]), ["a", "b"], batch=2), ek.DTypeError, "targets must be arrays of numbers"),
        (lambda: Batches(examples([3, 4]), [[1, 2], [3]], batch=2), ek.DTypeError, "targets must be arrays of numbers"),
        (lambda: from_networkx(vectors_of_two_lengths(), nodes=["a", "b"]), ek.OptionError, "vectors 'a' of nodes"),
        (lambda: from_networkx(with_names(), nodes=["element"]), ek.OptionError, "attribute 'element' of node 0"),
    ],
)
def test_what_would_be_silently_wrong_raises_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert caught.value.step


@pytest.mark.parametrize("changed", [{"n_node": [2, 1]}, {"n_edge": [1, 0]}, {"n_edge": [1, 1, 0]}, {"senders": None}])
def test_numbers_of_a_tuple_that_do_not_add_up_are_refused(changed):
    broken = tuple_of([nx.path_graph(2), nx.path_graph(2)])
    for name, value in changed.items():
        setattr(broken, name, value)
    with pytest.raises(ek.OptionError, match="n_node and n_edge do not add up"):
        from_jraph(broken)


def test_categories_become_one_hot_vectors():
    graph = nx.Graph([(0, 1, {"bond": "double"}), (1, 2, {"bond": "single"})])
    nx.set_node_attributes(graph, {0: "O", 1: "C", 2: "C"}, "element")
    nx.set_node_attributes(graph, {0: -1.0, 1: 0.5, 2: 0.0}, "charge")
    found = from_networkx(
        graph, nodes={"element": ["C", "N", "O"], "charge": None}, edges={"bond": ("single", "double")}
    )
    assert found["p"].tolist() == [[0, 0, 1, -1], [1, 0, 0, 0.5], [1, 0, 0, 0]]
    assert found["p p"][0, 1].tolist() == found["p p"][1, 0].tolist() == [1, 0, 1]
    assert found["p p"][1, 2].tolist() == [1, 1, 0]
    assert from_networkx(nx.empty_graph(2), edges={"bond": ("single", "double"), "length": None})["p p"].shape == (
        2,
        2,
        4,
    )
    with pytest.raises(ek.OptionError, match="attribute 'element' of node 0 is in no category") as error:
        from_networkx(graph, nodes={"element": ["C", "N"]})
    assert (error.value.got, error.value.expected) == ("'O'", "one of ['C', 'N']")
    nx.set_node_attributes(graph, {node: np.ones(2) for node in graph}, "element")
    with pytest.raises(ek.OptionError, match="is in no category"):
        from_networkx(graph, nodes={"element": ["C", "N"]})


def with_sizes(first, second):
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {0: first, 1: second}, "size")
    return graph


@pytest.mark.parametrize("categories", [{"C", "O"}, frozenset("CO"), "CO", b"CO", 3, {"C": 0, "O": 1}, [np.ones(2)]])
def test_categories_have_an_order(categories):
    with pytest.raises(ek.OptionError, match="the categories of 'element' must be a list") as error:
        from_networkx(with_names(), nodes={"element": categories})
    assert error.value.step == 'write for example {"element": ["C", "O"]}'


@pytest.mark.parametrize(("categories", "got"), [("COC", "'C' in ['C', 'O', 'C']"), ([1, True], "True in [1, True]")])
def test_categories_that_repeat_are_refused(categories, got):
    with pytest.raises(ek.OptionError, match="a category of 'element' is there twice") as error:
        from_networkx(with_names(), nodes={"element": [*categories]})
    assert error.value.got == got


@pytest.mark.parametrize("listed", [iter, tuple, np.array, lambda names: dict.fromkeys(names).keys()])
def test_categories_are_listed_once(listed):
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, dict(enumerate("COC")), "element")
    found = from_networkx(graph, nodes={"element": listed(["O", "C"])})
    assert found["p"].tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("names", [5, [("e", ["C"])], {"a", "b"}, [3], {3: None}])
def test_names_of_attributes_are_a_list_of_texts(names):
    for argument in ("nodes", "edges"):
        with pytest.raises(ek.OptionError, match=f"{argument}= must be a list of names"):
            from_networkx(nx.path_graph(2), **{argument: names})


@pytest.mark.parametrize("value", [[1, [2, 3]], None, 1j, "C"])
def test_values_that_are_no_vectors_are_refused(value):
    with pytest.raises(ek.OptionError, match="attribute 'size' of node 1 is not a number or a vector") as error:
        from_networkx(with_sizes(1, value), nodes=["size"])
    assert ("categories" in error.value.step) == (value == "C")


def test_texts_are_proposed_as_categories():
    graph = nx.Graph([(0, 1, {"bond": "double"}), (1, 2, {"bond": "σ"}), (2, 3, {"bond": "double"})])
    with pytest.raises(ek.OptionError, match="attribute 'bond' of edge") as error:
        from_networkx(graph, edges=["bond"])
    assert error.value.step == 'give the categories of an attribute: edges={"bond": ["double", "σ"]}'
    names = nx.path_graph(30)
    nx.set_node_attributes(names, {node: f"name {node}" for node in names}, "name")
    with pytest.raises(ek.OptionError, match="next step: set it to a number"):
        from_networkx(names, nodes=["name"])


@pytest.mark.parametrize(
    ("value", "dtype", "step"),
    [
        (300, np.uint8, "float32"),
        (-1, np.uint8, "float32"),
        (0.5, int, "float32"),
        (2, bool, "float32"),
        (7e4, np.float16, "float32"),
        (1e300, "f4", "float64"),
        (257, jnp.bfloat16, "float32"),
        (2**24 + 1, np.float32, "float64"),
        (2**53 + 1, np.float64, "int64"),
        (2**64 - 1, complex, "uint64"),
    ],
)
def test_values_that_the_dtype_does_not_have_are_refused(value, dtype, step):
    with pytest.raises(ek.DTypeError, match="attribute 'size' of nodes does not fit") as error:
        from_networkx(with_sizes(1, value), nodes=["size"], dtype=dtype)
    assert error.value.step == f"write dtype=np.{step}"
    assert f"{value:g}" in f"{float(error.value.got.split()[2]):g} {float(error.value.got.split()[4]):g}"
    kept = from_networkx(with_sizes(1, value), nodes=["size"], dtype=getattr(np, step))["p"]
    assert kept[1, 0] == value
    with pytest.raises(ek.DTypeError, match="attribute 'size' of edges does not fit"):
        from_networkx(nx.Graph([(0, 1, {"size": value})]), edges=["size"], dtype=dtype)


@pytest.mark.parametrize("dtype", ["nope", str, object, "datetime64[s]", 3])
def test_dtypes_have_numbers(dtype):
    with pytest.raises(ek.DTypeError, match="dtype= must be a dtype of numbers"):
        from_networkx(nx.path_graph(2), dtype=dtype)


def test_values_keep_what_the_dtype_has():
    graph = with_sizes(np.inf, 0.1)
    for dtype in (np.float16, jnp.bfloat16, complex):
        np.testing.assert_array_equal(
            from_networkx(graph, nodes=["size"], dtype=dtype)["p"][:, 0], np.array([np.inf, 0.1], dtype)
        )
    for wide in (2**53 + 1, 2**64 - 1):
        edge = nx.Graph([(0, 1, {"size": wide}), (1, 2, {"size": 0})])
        assert from_networkx(edge, edges=["size"], dtype=np.uint64)["p p"][0, 1].tolist() == [1, wide]
    with pytest.raises(ek.DTypeError, match="attribute 'size' of nodes does not fit") as error:
        from_networkx(with_sizes(2**53 + 1, 0.5), nodes=["size"])
    assert error.value.step == "round the values"
    assert from_networkx(with_sizes(2**24 + 2, 0.1), nodes=["size"])["p"].tolist() == [[2**24 + 2], [np.float32(0.1)]]
    assert from_networkx(with_sizes(255, 0), nodes=["size"], dtype=np.uint8)["p"].tolist() == [[255], [0]]


@pytest.mark.parametrize("label", ["p q", "", 3, None])
def test_a_label_is_one_word(label):
    for call in (lambda: from_networkx(nx.path_graph(2), label=label), lambda: from_jraph(None, label=label)):
        with pytest.raises(ek.OptionError, match="label= must be one word"):
            call()


def test_pad_is_the_batch_function_of_grain():
    grain = pytest.importorskip("grain")
    examples = [{"p": np.full((n, 2), n, np.float32)} for n in range(1, 8)]
    data = grain.MapDataset.source(examples).shuffle(seed=0)[:6].batch(3, batch_fn=pad)
    batches = list(data)
    assert len(batches) == 2
    for features, masks in batches:
        sizes = masks["p"].sum(axis=1)
        assert features["p"].shape == (3, max(sizes), 2)
        assert features["p"].max(axis=(1, 2)).tolist() == sizes.tolist()

    def loss(model, batch):
        features, masks = batch
        return (model(features["p"], mask=masks["p"]) ** 2).mean()

    model = ek.nn.DeepSets(2, [4], 1, rngs=nnx.Rngs(0))
    fitted = ek.train.fit(model, loss, data, epochs=2, key=jax.random.key(0), optimizer=optax.adam(1e-2))
    assert fitted.losses[1, 0] < fitted.losses[0, 0]


def test_lists_of_numbers_are_arrays_and_other_things_are_refused():
    features, masks = pad([{"p": [[1.0, 2]]}, {"p": [[3, 4], [5, 6]]}])
    assert features["p"].tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]
    assert masks["p"].tolist() == [[True, False], [True, True]]
    (batch,) = Batches([{"p": [[1.0, 2]]}], batch=1)
    assert batch.features["p"].tolist() == [[[1, 2]]]
    for wrong in (np.array([["a"]]), [["a"]], [[1.0], [2.0, 3.0]], None, np.array([[None]])):
        for call in (pad, lambda given: Batches(given, batch=1)):
            with pytest.raises(ek.DTypeError, match="feature 'p' does not hold numbers"):
                call([{"p": wrong}])


def test_examples_are_a_list():
    (example,) = examples([3])
    for wrong in (example, iter([example]), np.ones((3, 4, 2)), {"p"}, None):
        for call in (pad, join, lambda given: Batches(given, batch=1)):
            with pytest.raises(ek.OptionError, match=r"examples must be a list(.|\n)*pass a list of examples"):
                call(wrong)
    assert pad((example,))[1].keys() == {"p"}


def test_examples_of_two_dtypes_become_the_wider_one():
    halves = [jnp.bfloat16, np.float16]  # some versions of NumPy refuse to mix them
    for mixed, wanted in ((halves, np.float32), ([jnp.bfloat16, np.complex64], np.complex64), ([int, bool], int)):
        given = [{"p": np.full((2, 1), 3, dtype)} for dtype in mixed]
        for found in (pad(given)[0], join(given).features, next(iter(Batches(given, batch=1))).features):
            assert found["p"].dtype == wanted
        np.testing.assert_array_equal(join(given).features["p"][:2], given[0]["p"].astype(wanted))


def test_features_are_not_traced():
    for call in (pad, join, lambda given: Batches(given, batch=1)):
        with pytest.raises(ek.OptionError, match="feature 'p' must not be traced"):
            jax.jit(lambda x, call=call: call([{"p": x}]))(np.ones((2, 1)))
        with pytest.raises(ek.DTypeError, match="feature 'p' does not hold numbers"):
            jax.jit(lambda x, call=call: call([{"p": [x]}]))(np.ones(1))
        with pytest.raises(ek.DTypeError, match="feature 'p' does not hold numbers"):
            call([{"p": jax.random.key(0)}])


def test_masks_of_arrays_are_not_dropped():
    given = np.ma.masked_array([[1.0], [1e30]], mask=[[False], [True]])
    for call in (pad, join, lambda one: Batches(one, batch=1)):
        with pytest.raises(ek.DTypeError, match=r"feature 'p' must not be a masked array(.|\n)*x\.filled\(0\)"):
            call([{"p": given}])
    with pytest.raises(ek.DTypeError, match="targets must not be a masked array"):
        Batches(examples([1, 2]), {"energy": given}, batch=1)


def test_a_dual_has_the_size_and_the_mask_of_its_vectors():
    features, masks = pad([{"u u*": np.ones((n, n, 1)), "u": np.ones((n, 2))} for n in (2, 3)])
    assert features["u u*"].shape == (2, 3, 3, 1)
    assert list(masks) == ["u"]
    with pytest.raises(ek.ShapeError, match="label 'u' has sizes 2 and 3"):
        pad([{"u u*": np.ones((2, 3, 1))}])


def test_masked_labels_are_read_once():
    given = [{"p x": np.ones((n, 3, 1))} for n in (2, 4, 3)]
    batches = Batches(given, batch=1, masked=(label for label in ["p"]))
    assert [list(batch.masks) for batch in batches] == [["p"]] * 3
