"""The graphs of the benchmark on communities, and the optimum."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.data.communities import COMMUNITIES, SHARES, Communities, beliefs, communities


def test_graphs_have_the_shares_of_edges() -> None:
    graph = communities(3_000, 30_000, 0.2, 0)
    keys = graph.senders * 3_000 + graph.receivers
    assert len(keys) == 30_000
    assert (np.diff(keys) > 0).all()
    assert (graph.senders != graph.receivers).all()
    steps = (graph.labels[graph.receivers] - graph.labels[graph.senders]) % COMMUNITIES
    np.testing.assert_allclose(np.bincount(steps) / 30_000, SHARES, atol=0.01)
    assert abs(graph.revealed.mean() - 0.2) < 0.03
    assert (graph.given[graph.revealed].argmax(1) == graph.labels[graph.revealed]).all()
    assert not graph.given[~graph.revealed].any()


def test_beliefs_on_a_tree_are_the_posterior() -> None:
    """On a tree belief propagation is exact: compare it with the sum over all labels."""
    senders, receivers = np.array([0, 1, 3, 1]), np.array([1, 2, 1, 4])
    labels, revealed = np.array([0, 1, 2, 0, 1]), np.array([True, False, False, False, True])
    graph = Communities(senders, receivers, labels, revealed)
    wanted = np.zeros((5, COMMUNITIES))
    for every in itertools.product(range(COMMUNITIES), repeat=5):
        if any(every[node] != labels[node] for node in np.flatnonzero(revealed)):
            continue
        weight = np.prod([SHARES[(every[b] - every[a]) % COMMUNITIES] for a, b in zip(senders, receivers, strict=True)])
        for node, label in enumerate(every):
            wanted[node, label] += weight
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(beliefs(graph, rounds=6), wanted, atol=1e-9)
