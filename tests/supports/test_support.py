"""Supports as values: what they hold, where they come from, and what JAX and pickle do with them."""

import copy
import itertools
import pickle
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse

import equikit as ek

SENDERS, RECEIVERS = [0, 1, 1, 4, 2], [1, 0, 1, 2, 2]


def edges(**options):
    return ek.Support("p p", SENDERS, RECEIVERS, **{"n": 5} | options)


def lists(support, order=None):
    return [np.asarray(index).tolist() for index in support.indices(order)]


def same(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_support_says_what_it_holds():
    support = edges()
    assert repr(support) == "Support of p p: 5 nodes, 5 entries, 2 loops, 1 graph"
    assert (support.label, support.orders, support.entries) == ("p", (2,), {2: 5})
    assert (support.n, support.graphs, support.padded, support.complete) == (5, None, False, False)
    assert (support.loops, support.symmetric) == (2, False)
    assert lists(support) == [SENDERS, RECEIVERS]
    assert support.indices()[0].dtype == jnp.int32
    assert repr(edges(graph_of=[0, 0, 2, 1, 2])) == "Support of p p: 5 nodes, 5 entries, 2 loops, 3 graphs"
    assert edges(graph_of=[0, 0, 2, 1, 2], graphs=4).graphs == 4


def test_a_support_of_two_orders_says_what_it_holds():
    both = ek.Support.from_networkx(nx.complete_graph(3), label="node")
    both = both | both.triangles()
    assert repr(both) == "Support of node node, node node node: 3 nodes, 6 entries, 6 entries, 0 loops, 1 graph"
    assert both.symmetric
    assert both.loops == 0
    assert lists(both, 2) == lists(ek.Support.from_networkx(nx.complete_graph(3)))


def test_symmetric_triples_have_all_permutations():
    every = np.array([*itertools.permutations(range(3))]).T
    assert ek.Support("p p p", *every, n=3).symmetric
    assert not ek.Support("p p p", *every[:, 1:], n=3).symmetric
    assert not ek.Support("p p p", *every[:, [0, 3, 4]], n=3).symmetric  # rotations alone
    assert not ek.Support("p p p", [0, 1], [1, 0], [2, 2], n=3).symmetric  # one exchange alone
    assert ek.Support("p p p", [0, 0, 1], [0, 1, 0], [1, 0, 0], n=2).loops == 3


def test_indices_may_be_any_integers():
    for dtype in (np.int64, np.uint8, np.int16, np.uint64):
        assert lists(ek.Support("p p", np.array(SENDERS, dtype), jnp.array(RECEIVERS), n=np.int64(5))) == lists(edges())
    edge_index = np.array([SENDERS, RECEIVERS])
    assert lists(ek.Support("p p", *edge_index, n=5)) == lists(edges())


@pytest.mark.parametrize("n", [0, 4])
@pytest.mark.parametrize("order", [2, 3])
def test_a_support_without_entries(n, order):
    support = ek.Support(" ".join("p" * order), *[[]] * order, n=n)
    assert [level.count for level in support.levels] == [1, n, *[0] * (order - 1)]
    assert support.symmetric
    assert support.loops == 0
    assert support.pad(nodes=n + 1, entries=2).present(order).tolist() == [False, False]
    assert ek.Support.join([support, support]).n == 2 * n
    empty = np.zeros((0,))
    assert ek.Support("p p", empty, empty, n=n, graph_of=np.zeros(n, int)).graphs == min(n, 1)


def test_the_first_of_repeated_entries_is_kept():
    support = ek.Support("p p", [1, 0, 1, 0], [2, 1, 2, 0], n=3, coalesce=True)
    assert lists(support) == [[1, 0, 0], [2, 1, 0]]
    assert support.find([1, 0, 2], [2, 0, 2]).tolist() == [0, 2, 3]


# What JAX and pickle do.


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_supports_are_pickled_and_copied(used):
    support = edges(graph_of=[0, 0, 2, 1, 2]).pad(nodes=8, entries=9, graphs=4)
    if used:
        assert len(support.levels) == 3
    for again in (pickle.loads(pickle.dumps(support)), copy.deepcopy(support), copy.copy(support)):
        assert repr(again) == repr(support)
        same(again, support)
    mapped = jax.tree.map(jnp.asarray, support)
    same(pickle.loads(pickle.dumps(mapped)), support)


def test_a_support_is_a_pytree():
    support = edges()
    structure = jax.tree.structure(support)
    assert hash(structure) == hash(jax.tree.structure(edges()))
    assert structure != jax.tree.structure(edges(n=6))
    mapped = jax.tree.map(lambda table: table + 0, support)
    assert (repr(mapped), mapped.symmetric, mapped.loops) == (repr(support), False, 2)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(support)]
    assert ".levels[1].drop[0]" in paths
    placed = jax.device_put(support, jax.devices()[0])
    assert isinstance(jax.tree.leaves(placed)[0], jax.Array)
    assert "Support of p p: 5 nodes" in repr(jax.tree.map(lambda table: None, support))


@pytest.mark.parametrize("order", [2, 3])
def test_a_support_is_an_argument_of_jit(order):
    texts = []

    @jax.jit
    def columns(support):
        texts.append(repr(support))
        return support.indices(order), support.present(order), support.present(), support.present(0)

    support = edges(graph_of=[0, 0, 1, 1, 1])
    both = (support | ek.Support("p p p", [0, 2], [1, 2], [1, 4], n=5, graph_of=[0, 0, 1, 1, 1])).pad(
        nodes=6, entries={2: 7, 3: 4}, graphs=3
    )
    found, present, nodes, graphs = columns(both)
    assert [index.tolist() for index in found] == lists(both, order)
    assert present.tolist() == both.present(order).tolist()
    assert nodes.tolist() == [True] * 5 + [False]
    assert graphs.tolist() == [True, True, False]
    assert texts == ["Support of p p, p p p: 6 nodes, 7 entries, 4 entries, 3 graphs"]


def test_a_support_may_be_used_first_inside_jit():
    support = edges()
    total = jax.jit(lambda x: x + support.levels[2].drop[0].sum())(1)
    assert int(total) == 1 + sum(RECEIVERS)
    assert isinstance(support.levels[2].drop[0].tolist(), list)  # no tracer is left in it


def test_data_come_back_from_the_arrays():
    rng = np.random.default_rng(0)
    graph_of = np.array([1, 0, 1, 0, 3])
    every = [t for t in itertools.product(range(5), repeat=3) if len({*graph_of[[*t]]}) == 1]
    triples = ek.Support("p p p", *np.array(every)[rng.permutation(len(every))[:6]].T, n=5, graph_of=graph_of)
    pairs = ek.Support("p p", [0, 1, 4], [2, 3, 4], n=5, graph_of=graph_of)
    for support in (triples, pairs | triples):
        for padded in (support, support.pad(nodes=8, graphs=6)):
            again = jax.tree.map(jnp.asarray, padded)
            data, wanted = again._host(), support._host()
            assert (data.n, data.graphs) == (5, 4)
            np.testing.assert_array_equal(data.graph_of, graph_of)
            assert data.tuples.keys() == wanted.tuples.keys()
            for order, tuples in data.tuples.items():
                np.testing.assert_array_equal(tuples, wanted.tuples[order])
            assert again.pad(nodes=9, graphs=6).n == 9


# Many graphs.


def test_joined_supports_are_blocks():
    one, two = ek.Support("p p", [0], [1], n=2), ek.Support("p p", [0, 2], [1, 2], n=3)
    both = ek.Support.join([one, two])
    assert lists(both) == [[0, 2, 4], [1, 3, 4]]
    assert both.levels[1].drop[0].tolist() == [0, 0, 1, 1, 1]
    nested = ek.Support.join([both, ek.Support("p p", [], [], n=0), one])
    assert (nested.n, nested.graphs) == (7, 4)
    assert nested.levels[1].drop[0].tolist() == [0, 0, 1, 1, 1, 3, 3]
    assert lists(nested) == [[0, 2, 4, 5], [1, 3, 4, 6]]
    triples = ek.Support.join([two | two.paths(), two | two.paths()])
    assert triples.orders == (2, 3)


def test_padding_keeps_rows_in_place():
    padded = edges(graph_of=[0, 0, 1, 1, 1]).pad(nodes=7, entries=8, graphs=2)
    assert repr(padded) == "Support of p p: 5 of 7 nodes, 5 of 8 entries, 2 loops, 2 of 2 graphs"
    assert (padded.n, padded.entries, padded.graphs, padded.padded) == (7, {2: 8}, 2, True)
    assert lists(padded) == [[*SENDERS, 7, 7, 7], [*RECEIVERS, 7, 7, 7]]
    assert padded.present(2).tolist() == [True] * 5 + [False] * 3
    again = padded.pad(entries=6)
    assert (again.n, again.entries) == (5, {2: 6})
    assert edges().pad(entries={2: 6}).entries == {2: 6}


def test_supports_padded_to_the_same_numbers_share_a_program():
    compiled = []

    @jax.jit
    def count(support):
        compiled.append(support.n)
        return support.present(2).sum()

    rng = np.random.default_rng(0)
    for n in (3, 5, 8):
        mask = rng.random((n, n)) < 0.4
        assert int(count(ek.Support.from_mask(mask).pad(nodes=8, entries=64))) == mask.sum()
    assert compiled == [8]


# Other libraries.


@pytest.mark.parametrize("directed", [False, True])
def test_edges_of_networkx_are_nonzero_features(directed):
    for seed, n in enumerate((0, 1, 5, 9)):
        graph = nx.gnp_random_graph(n, 0.4, seed=seed, directed=directed)
        graph.add_edges_from([(i, i) for i in range(0, n, 3)])
        graph = nx.relabel_nodes(graph, {i: f"node {i * 7 % 10}" for i in range(n)})
        support = ek.Support.from_networkx(graph)
        dense = np.zeros((n, n))
        np.add.at(dense, tuple(np.array(lists(support), int)), 1)
        np.testing.assert_array_equal(dense, ek.data.from_networkx(graph)["p p"][..., 0])
        assert support.symmetric or directed


@pytest.mark.parametrize("form", ["coo", "csr", "csc", "bsr", "dok", "lil", "dia"])
@pytest.mark.parametrize("kind", [scipy.sparse.coo_array, scipy.sparse.coo_matrix])
def test_entries_of_scipy_are_in_the_order_of_coo(form, kind):
    dense = np.random.default_rng(0).integers(0, 3, (5, 5))
    matrix = kind(dense).asformat(form)
    support = ek.Support.from_scipy(matrix)
    rebuilt = np.zeros((5, 5), int)
    rebuilt[tuple(lists(support))] = matrix.tocoo().data
    np.testing.assert_array_equal(rebuilt, dense)
    assert support.entries[2] == matrix.tocoo().nnz


def test_stored_zeros_and_more_axes_of_scipy_are_entries():
    zeros = scipy.sparse.csr_array((np.zeros(2), ([0, 1], [1, 2])), shape=(3, 3))
    assert lists(ek.Support.from_scipy(zeros)) == [[0, 1], [1, 2]]
    dense = np.random.default_rng(0).random((3, 3, 3)) < 0.3
    triples = ek.Support.from_scipy(scipy.sparse.coo_array(dense), label="q")
    assert lists(triples) == [index.tolist() for index in np.nonzero(dense)]
    twice = scipy.sparse.coo_array(([1, 2], ([0, 0], [1, 1])), shape=(2, 2))
    assert ek.Support.from_scipy(twice, coalesce=True).entries == {2: 1}


@pytest.mark.parametrize("order", [2, 3])
def test_masks_are_read_row_by_row(order):
    masks = np.random.default_rng(0).random((3,) + (4,) * order) < 0.3
    term = " ".join("p" * order)
    one, many = ek.Support.from_mask(masks[0], term=term), ek.Support.from_mask(jnp.asarray(masks), term=term)
    assert lists(one) == [index.tolist() for index in np.nonzero(masks[0])]
    joined = ek.Support.join([ek.Support.from_mask(mask, term=term) for mask in masks])
    same(many, joined)
    assert ek.Support.from_mask(np.zeros((0,) + (4,) * order, bool), term=term).graphs == 0


def tuple_of(n_node, n_edge, senders, receivers, nodes=None):
    return SimpleNamespace(
        nodes=nodes, edges=None, senders=senders, receivers=receivers, n_node=np.array(n_node), n_edge=np.array(n_edge)
    )


def test_graphs_of_jraph_are_read_with_and_without_padding():
    nodes = {"a": np.ones((4, 2)), "b": np.ones(4)}
    graphs = tuple_of([2, 0, 2], [2, 0, 1], np.array([0, 1, 3]), np.array([1, 0, 2]), nodes)
    support = ek.Support.from_jraph(graphs)
    assert repr(support) == "Support of p p: 4 nodes, 3 entries, 0 loops, 3 graphs"
    assert support.levels[1].drop[0].tolist() == [0, 0, 2, 2]
    # What jraph.pad_with_graphs(graphs, 7, 6, 6) returns: one graph of padding, then graphs without nodes.
    padded = tuple_of([2, 0, 2, 3, 0, 0], [2, 0, 1, 3, 0, 0], [0, 1, 3, 4, 4, 4], [1, 0, 2, 4, 4, 4])
    same(ek.Support.from_jraph(padded, padded=True), support.pad(nodes=7, entries=6, graphs=6))
    no_edges = tuple_of([2, 1], [0, 0], [], [])
    assert repr(ek.Support.from_jraph(no_edges, padded=True)).endswith(
        "2 of 3 nodes, 0 of 0 entries, 0 loops, 1 of 2 graphs"
    )
