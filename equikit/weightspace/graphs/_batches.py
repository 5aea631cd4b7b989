"""Shuffled batches of joined graphs, for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equikit import _checks
from equikit.data import Passes, digest
from equikit.weightspace.graphs._joining import (
    JoinedGraphs,
    Pair,
    assembled,
    checked_pairs,
    few,
    tables_of,
    values_of,
)

TRIES = 256
"""The number of random batches whose sizes are counted."""


class GraphBatches(Passes):
    """Iterate over pairs of joined graphs and their targets; each pass has a new random order.

    Batches mix architectures. They are padded to few sizes, since `ek.train.fit` compiles a program for each: quantiles
    of the sizes of random batches. A batch that is larger than all of them gets a size of its own.

    Args:
        pairs: graphs from `graph`, each with the parameters of one network.
        targets: one row for each network; also a tuple or dictionary of such arrays.
        batch: the number of networks in each batch.
        buckets: the number of padded sizes.
        channels: as for `join_graphs`.
        seed: seed of the order; `None` keeps the order of the networks, as for validation.
        drop_last: whether the batch that is not full is left out, other networks in each pass.

    Attributes:
        sizes: the numbers of nodes and edges after padding.

    Raises:
        OptionError: if there is no pair, a graph was not made by `graph`, targets have another number of rows, or an
            option has no meaning.
        ShapeError, DTypeError: if parameters do not match their graph, or targets do not hold numbers.

    Cost: one copy of all parameters and targets, and one copy of each batch.

    Example:
        >>> import numpy as np
        >>> from equikit.weightspace import graph
        >>> def apply(params, x):
        ...     for weight in params[:-1]:
        ...         x = np.tanh(1) * x @ weight
        ...     return x @ params[-1]
        >>> pairs = []
        >>> for widths in ([3, 8, 2], [3, 6, 5, 2], [3, 4, 2]):
        ...     params = [np.ones(shape) for shape in zip(widths, widths[1:])]
        ...     pairs.append((graph(apply, params, np.ones((5, 3))), params))
        >>> batches = GraphBatches(pairs, np.arange(3), batch=2, buckets=1, seed=None)
        >>> [(batch, targets.tolist()) for batch, targets in batches]
        [(JoinedGraphs(graphs=2, nodes=32, edges=112), [0, 1]), (JoinedGraphs(graphs=1, nodes=32, edges=112), [2])]
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        targets: Any = None,
        *,
        batch: int,
        buckets: int = 2,
        channels: int = 1,
        seed: int | None = 0,
        drop_last: bool = False,
    ) -> None:
        self._pairs = checked_pairs(pairs)
        self._values = values_of(self._pairs, _checks.count("channels", channels, least=1))
        # One table for all batches, so that its size is the same.
        self._tables = tables_of([graph for graph, _ in self._pairs])
        super().__init__(
            len(self._pairs), targets, batch=batch, seed=seed, drop_last=drop_last, group_of=[0] * len(self._pairs)
        )
        counts = np.array([(graph.num_nodes, graph.num_edges) for graph, _ in self._pairs])
        self.sizes = _sizes(counts, self._batch, _checks.count("buckets", buckets, least=1, most=TRIES, example=2))

    def digest(self) -> str:
        """Return a digest of the networks, the targets and the options, which checkpoints of `ek.train.fit` compare."""
        options = (self.sizes, self._batch, self._drop_last, self._seed)
        return digest((self._values, self._tables.nodes, self._tables.edges, self._targets, repr(options)))

    def _made(self, group: int, chosen: list[int]) -> tuple[JoinedGraphs, Any]:
        pairs, values = [self._pairs[i] for i in chosen], [self._values[i] for i in chosen]
        nodes, edges = (sum(counts) for counts in zip(*((g.num_nodes, g.num_edges) for g, _ in pairs), strict=True))
        fitting = (size for size in self.sizes if nodes < size[0] and edges <= size[1])
        batch = assembled(pairs, values, self._tables, *next(fitting, (None, None)))
        return batch, self._targets_of(chosen)


def _sizes(counts: np.ndarray, batch: int, buckets: int) -> list[tuple[int, int]]:
    """Return numbers of nodes and edges that random batches fit into, ascending."""
    generator = np.random.default_rng(0)  # the sizes do not depend on the order of training
    drawn = min(batch, len(counts))
    totals = np.array([counts[generator.permutation(len(counts))[:drawn]].sum(axis=0) for _ in range(TRIES)])
    found = []
    for edges in np.quantile(totals[:, 1], np.arange(1, buckets + 1) / buckets, method="higher"):
        nodes = totals[totals[:, 1] <= edges, 0].max() + drawn
        found.append((few(int(nodes)), few(int(edges))))
    return list(dict.fromkeys(found))
