"""Triples of a graph against their definitions, on all graphs with up to five nodes."""

import functools

import networkx as nx
import numpy as np
import pytest

import equikit as ek
from equikit.supports import _triples

GRAPHS = nx.graph_atlas_g()[:53]
KINDS = ("triangles", "paths", "wedges", "cliques")


def edges_of(graph, kind):
    """The edges in both directions, in one random direction, or in one or two with loops."""
    n, rng = len(graph), np.random.default_rng(len(graph.edges))
    adjacency = nx.to_numpy_array(graph).astype(bool) if n else np.zeros((0, 0), bool)
    if kind != "undirected":
        one = np.triu(rng.random((n, n)) < 0.5, 1)
        adjacency &= one | ~one.T if kind == "both" else one | (~one.T & ~np.triu(np.ones((n, n), bool)))
    if kind == "both":
        adjacency |= np.diag(rng.random(n) < 0.5)
    return adjacency


@functools.cache
def distinct(n):
    i, j, k = np.indices((n, n, n))
    return (i != j) & (j != k) & (i != k)


def oracle(adjacency):
    """The dense masks of triples, by their definitions."""
    linked = adjacency | adjacency.T
    ij, jk, ik = linked[:, :, None], linked[None], linked[:, None]
    different = distinct(len(adjacency))
    return {
        "triangles": ij & jk & ik & different,
        "paths": ij & jk & different,
        "wedges": ij & jk & ~ik & different,
        "cliques": ij & jk & ik,
    }


@pytest.mark.parametrize("kind", ["undirected", "directed", "both"])
def test_triples_are_what_their_definitions_say(kind):
    found = 0
    for graph in GRAPHS:
        adjacency = edges_of(graph, kind)
        edges = ek.Support.from_mask(adjacency)
        for name, mask in oracle(adjacency).items():
            triples = getattr(edges, name)()
            assert triples.complete == (name == "cliques")
            np.testing.assert_array_equal(np.stack(triples._host().tuples[3]), np.stack(np.nonzero(mask)))
            found += mask.sum()
    assert found > 1000


def test_counts_are_those_of_networkx(monkeypatch):
    monkeypatch.setattr(_triples, "CHUNK", 64)  # many chunks
    graph = nx.barabasi_albert_graph(60, 4, seed=0)
    edges = ek.Support.from_networkx(graph)
    degrees = np.array([d for _, d in graph.degree])
    assert edges.triangles().entries == {3: 2 * sum(nx.triangles(graph).values())}
    assert edges.paths().entries == {3: (degrees * (degrees - 1)).sum()}
    assert edges.wedges().entries[3] == edges.paths().entries[3] - edges.triangles().entries[3]
    assert edges.cliques().entries == edges.triangles().entries


def test_triples_are_of_one_graph():
    two = ek.Support.join([ek.Support.from_networkx(nx.complete_graph(3))] * 2)
    triples = (two | two.triangles()).indices(3)
    assert np.stack(triples).T.tolist()[6:] == [[3, 4, 5], [3, 5, 4], [4, 3, 5], [4, 5, 3], [5, 3, 4], [5, 4, 3]]
    assert two.triangles().graphs == 2


def test_supports_are_complete_only_with_all_cliques_of_their_edges():
    triangle, path = (ek.Support.from_networkx(graph) for graph in (nx.complete_graph(3), nx.path_graph(3)))
    loops = ek.Support("p p", [0, 0, 1, 1, 2], [0, 1, 0, 2, 1], n=3)
    assert (triangle | triangle.cliques()).complete
    assert (triangle.cliques() | triangle).complete
    assert (path | triangle.cliques()).complete  # more triples are allowed
    assert not (triangle | path.cliques()).complete
    assert not (loops | path.cliques()).complete
    assert (loops | loops.cliques()).complete
    assert not (triangle | triangle.triangles()).complete  # not marked by the user
    both = ek.Support.join([triangle | triangle.cliques(), path | path.cliques()])
    assert both.complete
    assert both.pad(nodes=9).complete
    assert not ek.Support.join([triangle | triangle.cliques(), triangle | triangle.triangles()]).complete


@pytest.mark.parametrize("name", KINDS)
def test_a_graph_without_edges_has_no_triples(name):
    for n in (0, 3):
        assert getattr(ek.Support("p p", [], [], n=n), name)().entries == {3: 0}


@pytest.mark.parametrize("name", KINDS)
def test_triples_of_a_hub_are_refused_before_they_are_made(name, monkeypatch):
    monkeypatch.setattr(ek.supports._tables, "MOST_ROWS", 20)
    star = nx.star_graph(5)
    star.add_edges_from([(1, 2), (2, 3), (3, 4), (4, 5)])
    with pytest.raises(ek.TooLargeError, match="too many"):
        getattr(ek.Support.from_networkx(star), name)()
