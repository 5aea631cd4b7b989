"""Directed graphs of three communities in a cycle, and what can be known of them at best.

Edges lead most often from a community to the next one, so that the directions of edges tell the communities, and their
presence alone tells little. Belief propagation with the true probabilities is nearly optimal on sparse random graphs:
Decelle et al., Asymptotic analysis of the stochastic block model (arXiv:1109.3041).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMMUNITIES = 3
# Of all edges, the shares that stay, lead to the next community, and lead to the one before.
SHARES = (0.25, 0.6, 0.15)


@dataclass(frozen=True)
class Communities:
    """A graph.

    Attributes:
        senders, receivers: `[E]`, different edges without loops, sorted by sender.
        labels: the community of each node, `[n]`.
        revealed: which labels are given, `[n]`.
    """

    senders: np.ndarray
    receivers: np.ndarray
    labels: np.ndarray
    revealed: np.ndarray

    @property
    def given(self) -> np.ndarray:
        """The revealed labels as features `[n, 3]`, zero for the others."""
        return np.eye(COMMUNITIES, dtype=np.float32)[self.labels] * self.revealed[:, None]


def communities(n: int, edges: int, revealed: float, seed: int) -> Communities:
    """Draw a graph with exactly this number of edges; every community has n / 3 nodes, up to rounding."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(n) % COMMUNITIES)
    inside = [np.flatnonzero(labels == label) for label in range(COMMUNITIES)]
    keys = np.empty(0, np.int64)
    while len(keys) < edges:
        senders = draw.integers(0, n, edges)
        targets = (labels[senders] + draw.choice(COMMUNITIES, edges, p=SHARES)) % COMMUNITIES
        places = draw.random(edges)
        receivers = np.empty(edges, np.int64)
        for label, nodes in enumerate(inside):
            own = targets == label
            receivers[own] = nodes[(places[own] * len(nodes)).astype(np.int64)]
        keys = np.unique(np.concatenate([keys, (senders * n + receivers)[senders != receivers]]))
    keys = np.sort(draw.permutation(keys)[:edges])
    return Communities(keys // n, keys % n, labels, draw.random(n) < revealed)


def beliefs(graph: Communities, rounds: int = 30) -> np.ndarray:
    """Return the probabilities of all labels by belief propagation with the true shares, `[n, 3]`.

    A message from i to j is what i believes of itself without j. Communities are equally large and have equal degrees,
    so that absent edges tell nothing to first order.
    """
    shares = np.array([[SHARES[(b - a) % COMMUNITIES] for b in range(COMMUNITIES)] for a in range(COMMUNITIES)])
    n, count = len(graph.labels), len(graph.senders)
    # Messages along edges, then against them; `reverse` is the message between the same nodes that runs the other way.
    source = np.concatenate([graph.senders, graph.receivers])
    target = np.concatenate([graph.receivers, graph.senders])
    reverse = np.concatenate([np.arange(count) + count, np.arange(count)])
    prior = np.where(graph.revealed[:, None], np.log(np.maximum(graph.given.astype(float), 1e-12)), 0.0)
    messages = np.full((2 * count, COMMUNITIES), 1 / COMMUNITIES)
    for _ in range(rounds):
        received = np.log(np.concatenate([messages[:count] @ shares, messages[count:] @ shares.T]))
        total = prior.copy()
        for label in range(COMMUNITIES):
            total[:, label] += np.bincount(target, received[:, label], n)
        messages = softmax(total[source] - received[reverse])
    assert total.shape == (n, COMMUNITIES)
    return softmax(total)


def softmax(x: np.ndarray) -> np.ndarray:
    """The softmax over the last axis."""
    found = np.exp(x - x.max(axis=-1, keepdims=True))
    return found / found.sum(axis=-1, keepdims=True)
