"""What is wrong with index arrays, graphs and sizes is said before anything is built."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from helpers import assert_error

import equikit as ek

TWO_GRAPHS = {"nodes": None, "edges": None, "senders": [0, 2], "receivers": [1, 3], "n_node": [2, 2], "n_edge": [1, 1]}
HUGE = np.broadcast_to(np.int32(0), (2**31,))


def pairs(senders=(0, 1), receivers=(1, 0), **options):
    return ek.Support("p p", senders, receivers, **{"n": 3} | options)


def triples(count=2, **options):
    return ek.Support("p p p", *[[0, 1]] * count, **{"n": 3} | options)


def jraph(**changed):
    options = {name: changed.pop(name) for name in ("padded", "coalesce", "label") if name in changed}
    return ek.Support.from_jraph(SimpleNamespace(**TWO_GRAPHS | changed), **options)


CASES = {
    # Terms and numbers of arrays.
    "two-labels": (
        lambda: ek.Support("p q", [0], [1], n=2),
        ek.SignatureError,
        "a support has axes of one label got: 'p q' expected: one label without marks, such as \"p p\"; axes of other "
        'labels stay dense, as in "p p x" next step: write "p p"',
    ),
    "dual": (lambda: ek.Support("p p*", [0], [1], n=2), ek.SignatureError, "one label without marks"),
    "determinant": (lambda: ek.Support("p~ p", [0], [1], n=2), ek.SignatureError, "one label without marks"),
    "one-axis": (
        lambda: ek.Support("p", [0], n=2),
        ek.SignatureError,
        "with one axis, every node is present got: 'p' expected: 2 to 5 axes next step: write \"p p\"",
    ),
    "no-axis": (lambda: ek.Support("", n=2), ek.SignatureError, 'write "p p"'),
    "six-axes": (lambda: ek.Support("p p p p p p", *[[0]] * 6, n=2), ek.SignatureError, "give at most 5 axes"),
    "no-text": (lambda: ek.Support(3, [0], [1], n=2), ek.SignatureError, "3"),
    "few-arrays": (
        lambda: triples(2),
        ek.OptionError,
        "'p p p' takes 3 index arrays, one for each axis got: 2 expected: index array 0, index array 1, index array 2 "
        "next step: pass 3 index arrays",
    ),
    "edge-index": (
        lambda: ek.Support("p p", np.array([[0, 1], [1, 0]]), n=2),
        ek.OptionError,
        "one array of shape [2, 2] expected: senders, receivers next step: unpack the array: *indices",
    ),
    "lengths": (
        lambda: pairs([0, 1], [1]),
        ek.ShapeError,
        "index arrays have different lengths got: 2 senders, 1 receivers",
    ),
    "axes": (lambda: pairs([[0, 1]], [1]), ek.ShapeError, "senders must have shape [entries] got: shape [1, 2]"),
    # Values.
    "floats": (
        lambda: pairs(np.array([0.0, 1.0])),
        ek.DTypeError,
        "senders must be integers got: dtype float64 expected: the number of a node for each entry next step: pass "
        "np.asarray(senders, np.int32)",
    ),
    "texts": (lambda: triples(3, n=3, coalesce=True).find(["a"], [0], [0]), ek.DTypeError, "index array 0 must be"),
    "texts-in-a-list": (lambda: pairs(["0"], ["1"]), ek.DTypeError, "next step: pass senders as integers from 0"),
    "objects": (lambda: pairs([None], [1]), ek.DTypeError, "next step: pass senders as integers from 0"),
    "ragged": (
        lambda: pairs([[0], [0, 1]], [0, 1]),
        ek.ShapeError,
        "senders has lists of different lengths got: [[0], [0, 1]] expected: an array next step: pass senders with one "
        "axis",
    ),
    "booleans": (
        lambda: ek.Support("p p", np.eye(2, dtype=bool), [0], n=2),
        ek.DTypeError,
        "make the support from the mask: Support.from_mask(mask)",
    ),
    "negative": (
        lambda: pairs([0, -1, -1], [1, 0, 1]),
        ek.OptionError,
        "senders has negative numbers got: -1 at position 1, and 1 more expected: numbers from 0 to 2 next step: leave "
        "out the rows with negative numbers",
    ),
    "beyond-n": (
        lambda: pairs([0, 1], [1, 7]),
        ek.OptionError,
        "receivers has numbers beyond n=3 got: 7 at position 1 expected: numbers from 0 to 2 next step: write n=8",
    ),
    "beyond-int32": (
        lambda: pairs(np.array([0, 2**32]), [1, 1]),
        ek.OptionError,
        "senders has numbers beyond n=3 got: 4294967296 at position 1 expected: numbers from 0 to 2 next step: check",
    ),
    "no-nodes": (
        lambda: pairs(n=0),
        ek.OptionError,
        "expected: nothing, since there are no nodes next step: write n=2",
    ),
    "n": (lambda: pairs(n=-1), ek.OptionError, "n= must be a whole number"),
    "order-of-a-term": (
        lambda: pairs().term("2"),
        ek.OptionError,
        "order= must be a whole number ≥ 1 got: '2' expected: an integer ≥ 1 next step: write order=2",
    ),
    "negative-order-of-a-term": (lambda: pairs().term(-1), ek.OptionError, "order= must be a whole number ≥ 1 got: -1"),
    "huge-n": (
        lambda: pairs(n=2**31),
        ek.TooLargeError,
        "too many nodes got: 2,147,483,648 nodes expected: at most 2,147,483,647 next step: divide the graph",
    ),
    "huge-entries": (lambda: pairs(HUGE, HUGE), ek.TooLargeError, "too many entries got: 2,147,483,648 entries"),
    "repeated": (
        lambda: pairs([0, 1, 2, 0, 0], [1, 0, 1, 1, 1]),
        ek.OptionError,
        "an entry is there twice got: (0, 1) at positions 0 and 3, and 1 more expected: entries that are all different "
        "next step: write coalesce=True",
    ),
    "coalesce": (lambda: pairs(coalesce=1), ek.OptionError, "coalesce= must be True or False"),
    "misspelled": (lambda: pairs(coalesc=True), ek.OptionError, "Support has no option 'coalesc'"),
    # Graph numbers.
    "between-graphs": (
        lambda: pairs(graph_of=[0, 1, 1]),
        ek.OptionError,
        "an entry joins nodes of different graphs got: entry 0, nodes 0, 1 of graphs 0, 1, and 1 more",
    ),
    "graph-numbers": (
        lambda: pairs(graph_of=[0, 0]),
        ek.ShapeError,
        "graph_of must have shape [3] got: shape [2] expected: [3] next step: give the number of the "
        "graph of each node",
    ),
    "graph-beyond": (lambda: pairs(graph_of=[0, 0, 4], graphs=2), ek.OptionError, "write graphs=5"),
    "negative-graph": (lambda: pairs(graph_of=[0, 0, -1]), ek.OptionError, "graph_of has negative numbers"),
    "float-graph": (
        lambda: pairs(graph_of=[0.0, 0, 1]),
        ek.DTypeError,
        "graph_of must be integers got: dtype float64 expected: a graph number for each node next step: pass "
        "np.asarray(graph_of, np.int32)",
    ),
    "graphs-alone": (
        lambda: pairs(graphs=2),
        ek.OptionError,
        "graphs= needs graph_of= got: graphs=2 without graph_of= expected: the graph of each node next step: write "
        "graph_of=np.zeros(n, int) for one graph, or leave graphs out",
    ),
    "huge-graphs": (lambda: pairs(graph_of=[0, 0, 0], graphs=2**31), ek.TooLargeError, "too many graphs"),
    # Other libraries.
    "mask-of-numbers": (
        lambda: ek.Support.from_mask(np.eye(2)),
        ek.DTypeError,
        "mask must be boolean got: dtype float64 expected: dtype bool next step: pass np.asarray(mask) != 0",
    ),
    "mask-of-objects": (
        lambda: ek.Support.from_mask(None),
        ek.DTypeError,
        "mask must be boolean got: dtype object expected: dtype bool next step: pass an array of booleans",
    ),
    "ragged-mask": (
        lambda: ek.Support.from_mask([[True], [True, False]]),
        ek.ShapeError,
        "mask has lists of different lengths got: [[True], [True, False]] expected: an array next step: pass rows",
    ),
    "mask-of-few-axes": (lambda: ek.Support.from_mask(np.ones(3, bool)), ek.ShapeError, "pass a mask with more axes"),
    "mask-of-many-axes": (
        lambda: ek.Support.from_mask(np.ones((2,) * 4, bool)),
        ek.ShapeError,
        "a mask for 2 axes has 4 axes got: shape [2, 2, 2, 2] expected: [n, n], or with an axis of graphs in front "
        'next step: write term="p p p p"',
    ),
    "oblong-mask": (
        lambda: ek.Support.from_mask(np.ones((2, 3), bool)),
        ek.ShapeError,
        "mask must have axes of one size got: shape [2, 3] expected: [n, n]",
    ),
    "no-matrix": (
        lambda: ek.Support.from_scipy(np.eye(2)),
        ek.OptionError,
        "must be a sparse matrix or array of SciPy",
    ),
    "oblong-matrix": (
        lambda: ek.Support.from_scipy(scipy.sparse.eye_array(2, 3)),
        ek.ShapeError,
        "matrix must have axes of one size",
    ),
    "repeated-in-scipy": (
        lambda: ek.Support.from_scipy(scipy.sparse.coo_array(([1, 2], ([0, 0], [1, 1])), shape=(2, 2))),
        ek.OptionError,
        "an entry is there twice",
    ),
    "no-graph": (lambda: ek.Support.from_networkx(3), ek.OptionError, "graph= must be a graph of NetworkX"),
    "parallel": (lambda: ek.Support.from_networkx(nx.MultiGraph()), ek.OptionError, "convert it: nx.Graph(graph)"),
    "label": (lambda: ek.Support.from_networkx(nx.Graph(), label="p q"), ek.OptionError, "label= must be one word"),
    "label-of-jraph": (lambda: jraph(label="p q"), ek.OptionError, "label= must be one word"),
    "field": (lambda: ek.Support.from_jraph(3), ek.OptionError, "graphs has no field 'nodes'"),
    "sums": (lambda: jraph(n_edge=[1, 2]), ek.OptionError, "n_node and n_edge do not add up"),
    "negative-nodes": (lambda: jraph(n_node=[-1, 4]), ek.OptionError, "n_node and n_edge do not add up"),
    "fractions": (
        lambda: jraph(senders=[0.5, 1.0]),
        ek.DTypeError,
        "senders must be integers got: dtype float64 expected: numbers of nodes and edges next step: pass np.asarray(",
    ),
    "edge-between": (lambda: jraph(receivers=[1, 1]), ek.OptionError, "an entry joins nodes of different graphs"),
    "padding": (
        lambda: jraph(senders=[0, 2, 2], receivers=[1, 2, 2], n_edge=[1, 2]),
        ek.OptionError,
        "the last graph that has nodes looks like padding got: 2 loops at node 2",
    ),
    "no-padding": (
        lambda: jraph(senders=[], receivers=[], n_node=[0], n_edge=[0], padded=True),
        ek.OptionError,
        "there is no padding graph",
    ),
    "padded-and-coalesced": (lambda: jraph(padded=True, coalesce=True), ek.OptionError, "cannot be given together"),
    # Sizes and combinations.
    "small-padding": (
        lambda: pairs().pad(nodes=2),
        ek.OptionError,
        "nodes= is smaller than the support got: nodes=2 expected: 3 or more next step: write nodes=3",
    ),
    "few-entries": (lambda: pairs().pad(entries=1), ek.OptionError, "entries= is smaller than the support"),
    "few-graphs": (lambda: pairs(graph_of=[0, 0, 1]).pad(graphs=1), ek.OptionError, "write graphs=2"),
    "few-triples": (
        lambda: (pairs() | triples(3)).pad(entries={3: 1}),
        ek.OptionError,
        "entries= is smaller than the support got: entries[3]=1 expected: 2 or more next step: write entries={3: 2}",
    ),
    "few-rows": (lambda: (pairs() | triples(3)).pad(tuples={2: 1}), ek.OptionError, "write tuples={2: 4}"),
    "padding-of-no-graphs": (
        lambda: pairs().pad(graphs=2),
        ek.OptionError,
        "graphs= is for a support with graph numbers",
    ),
    "entries-of-two-orders": (
        lambda: (pairs() | triples(3)).pad(entries=9),
        ek.OptionError,
        "expected: keys among 2, 3 next step: write entries={2: 2, 3: 2}",
    ),
    "tuples-of-pairs": (lambda: pairs().pad(tuples={2: 9}), ek.OptionError, "leave tuples out"),
    "huge-padding": (lambda: pairs().pad(entries=2**31), ek.TooLargeError, "too many rows for entries="),
    "or-of-labels": (
        lambda: pairs() | ek.Support("q q q", [0], [1], [2], n=3),
        ek.OptionError,
        "the label is a different one got: 'q' expected: 'p' next step: give both supports one label",
    ),
    "or-of-nodes": (
        lambda: pairs() | triples(3, n=4),
        ek.OptionError,
        "the number of nodes is a different one got: 4 expected: 3 next step: give both supports the same nodes",
    ),
    "or-of-graphs": (
        lambda: pairs(graph_of=[0, 0, 1]) | triples(3),
        ek.OptionError,
        "nodes are in other graphs got: 2 and no graph numbers expected: entries of different orders on the same nodes "
        "and graphs next step: give both the same graph_of",
    ),
    "or-of-graph-numbers": (
        lambda: pairs(graph_of=[0, 0, 1]) | triples(3, graph_of=[1, 1, 0]),
        ek.OptionError,
        "nodes are in other graphs",
    ),
    "or-of-one-order": (
        lambda: pairs() | pairs(),
        ek.OptionError,
        "both supports have entries of p p got: entries of p p, and of p p expected: entries of different orders on "
        "the same nodes and graphs next step: build one support from",
    ),
    "or-of-padded": (lambda: pairs().pad() | triples(3), ek.OptionError, "| takes supports without padding"),
    "join-of-padded": (
        lambda: ek.Support.join([pairs().pad()]),
        ek.OptionError,
        "Support.join takes supports without padding got: a padded support",
    ),
    "join-of-nothing": (lambda: ek.Support.join([]), ek.OptionError, "there are no supports"),
    "join-of-no-list": (lambda: ek.Support.join(pairs()), ek.OptionError, "supports must be a list of supports"),
    "join-of-others": (lambda: ek.Support.join([3]), ek.OptionError, "supports must be a list of supports got: [3]"),
    "join-of-labels": (
        lambda: ek.Support.join([pairs(), ek.Support("q q", [0], [1], n=2)]),
        ek.OptionError,
        "the label is a different one got: 'q' expected: 'p' next step: give all supports one label",
    ),
    "join-of-orders": (
        lambda: ek.Support.join([pairs(), triples(3)]),
        ek.OptionError,
        "supports have entries of different orders got: a support of p p, and one of p p p expected: entries of the "
        "same orders in all supports next step: join the supports of each order separately",
    ),
    "join-of-one-order-and-two": (
        lambda: ek.Support.join([pairs() | triples(3), pairs()]),
        ek.OptionError,
        "got: a support of p p and p p p, and one of p p expected",
    ),
    "huge-join": (
        lambda: ek.Support.join([ek.Support("p p", [], [], n=2**30)] * 2),
        ek.TooLargeError,
        "a support with too many nodes got: 2,147,483,648 nodes",
    ),
    "triangles-of-triples": (
        lambda: triples(3).triangles(),
        ek.OptionError,
        "triangles() needs entries for pairs of nodes got: entries of p p p expected: a support of p p next step: call "
        "it on the edges: edges.triangles()",
    ),
    "cliques-of-padded": (lambda: pairs().pad().cliques(), ek.OptionError, "cliques() takes supports without padding"),
    "order": (
        lambda: pairs().indices(3),
        ek.OptionError,
        "there are no such entries got: order=3 expected: the number of axes: 2 next step: write order=2",
    ),
    "orders": (
        lambda: (pairs() | triples(3)).indices(),
        ek.OptionError,
        "the support has entries of 2 orders got: order=None expected: the number of axes: 2 or 3",
    ),
    "find": (lambda: pairs().find([0]), ek.OptionError, "'p p' takes 2 index arrays"),
    "find-beyond": (
        lambda: pairs().find([0, 0, 0], [1, 9, 2**40]),
        ek.OptionError,
        "receivers has numbers beyond the nodes of the support got: 9 at position 1, and 1 more expected: numbers from "
        "0 to 2 next step: pass numbers below 3",
    ),
    "find-negative": (
        lambda: pairs().find([-1], [0]),
        ek.OptionError,
        "senders has negative numbers got: -1 at position 0 expected: numbers from 0 to 2 next step: leave out",
    ),
    "find-in-nothing": (
        lambda: ek.Support("p p", [], [], n=0).find([0], [0]),
        ek.OptionError,
        "expected: nothing, since there are no nodes next step: pass empty arrays",
    ),
    "find-padding": (
        lambda: (padded := pairs().pad(nodes=8, entries=4)).find(*padded.indices()),
        ek.OptionError,
        "senders has numbers beyond the nodes of the support got: 8 at position 2, and 1 more expected: numbers from 0 "
        "to 2 next step: pass numbers below 3; leave out rows of padding, which support.present tells",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_says_what_is_wrong_and_what_to_do(name):
    call, kind, text = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    assert text in re.sub(r"\s+", " ", str(caught.value))
    assert caught.value.step


def inside(function, *arrays):
    return lambda: jax.jit(function)(*arrays)


@pytest.mark.parametrize(
    ("call", "what", "step"),
    [
        (inside(lambda i: pairs(i) and 0, jnp.arange(2)), "senders", "build the support outside jit"),
        (inside(lambda i: pairs(graph_of=i) and 0, jnp.zeros(3, int)), "graph_of", "build the support outside jit"),
        (inside(lambda m: ek.Support.from_mask(m) and 0, jnp.ones((2, 2), bool)), "mask", "build the support outside"),
        (inside(lambda i: jraph(senders=i) and 0, jnp.arange(2)), "senders", "build the support outside jit"),
        (inside(lambda s: s.loops, pairs()), "the support", "ask for it outside jit"),
        (inside(lambda s: s.symmetric, pairs()), "the support", "ask for it outside jit"),
        (inside(lambda s: s.pad(nodes=4), pairs()), "the support", "ask for it outside jit"),
        (inside(lambda s: s.triangles(), pairs()), "the support", "ask for it outside jit"),
        (inside(lambda s: ek.Support.join([s, s]), pairs()), "the support", "ask for it outside jit"),
    ],
)
def test_tracers_are_refused(call, what, step):
    with pytest.raises(ek.OptionError, match=f"{what} must not be traced") as caught:
        call()
    assert caught.value.step.startswith(step)
    assert caught.value.step.endswith("pass the support as an argument" if "ask" in step else "pass it as an argument")


def test_a_support_is_not_joined_with_other_objects():
    with pytest.raises(TypeError, match="unsupported operand"):
        pairs() | 3


@pytest.mark.parametrize("order", [np.zeros(0), np.zeros(2), "a", 3, -1])
def test_an_order_without_entries_is_refused(order):
    for call in (pairs().present, pairs().indices):
        got = f"order={order!r}"
        assert_error(ek.OptionError, lambda c=call: c(order), "no such entries", got, "number of axes: 2", "order=2")
    assert pairs().present(np.int64(2)).tolist() == [True, True]
