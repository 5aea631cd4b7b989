"""Shuffled batches of joined graphs, for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equikit import _checks
from equikit.data import Passes, digest
from equikit.weightspace.graphs._joining import (
    JoinedGraphs,
    Pair,
    Sizes,
    assembled,
    checked_pairs,
    tables_of,
    values_of,
)


class GraphBatches(Passes):
    """Iterate over pairs of joined graphs and their targets; each pass has a new random order.

    Batches mix architectures. `ek.train.fit` compiles one program for each size of padded arrays, of which there are
    few, see `join_graphs`.

    Args:
        pairs: graphs from `graph`, each with the parameters of one network.
        targets: one row for each network; also a tuple or dictionary of such arrays.
        batch: the number of networks in each batch.
        channels, nodes, edges: as for `join_graphs`.
        seed: seed of the order; `None` keeps the order of the networks, as for validation.
        drop_last: whether the batch that is not full is left out, other networks in each pass.

    Raises:
        OptionError: if there is no pair, a graph was not made by `graph`, targets have another number of rows, or an
            option has no meaning.
        ShapeError, DTypeError: if parameters do not match their graph.

    Cost: one copy of all parameters, and one of those of a batch.

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
        >>> batches = GraphBatches(pairs, np.arange(3), batch=2, seed=None)
        >>> [(batch, targets.tolist()) for batch, targets in batches]
        [(JoinedGraphs(graphs=2, nodes=32, edges=112), [0, 1]), (JoinedGraphs(graphs=1, nodes=10, edges=20), [2])]
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        targets: Any = None,
        *,
        batch: int,
        channels: int = 1,
        nodes: Sizes = None,
        edges: Sizes = None,
        seed: int | None = 0,
        drop_last: bool = False,
    ) -> None:
        self._pairs = checked_pairs(pairs)
        self._values = values_of(self._pairs, _checks.count("channels", channels, least=1))
        # One table for all batches, so that its size is the same.
        self._tables = tables_of([graph for graph, _ in self._pairs])
        self._sizes = nodes, edges
        super().__init__(
            len(self._pairs), targets, batch=batch, seed=seed, drop_last=drop_last, group_of=[0] * len(self._pairs)
        )

    def digest(self) -> str:
        """Return a digest of the networks, the targets and the options, which checkpoints of `ek.train.fit` compare."""
        options = (self._sizes, self._batch, self._drop_last, self._seed)
        return digest((self._values, self._tables.nodes, self._tables.edges, self._targets, repr(options)))

    def _made(self, group: int, chosen: list[int]) -> tuple[JoinedGraphs, Any]:
        pairs, values = ([some[i] for i in chosen] for some in (self._pairs, self._values))
        return assembled(pairs, values, self._tables, *self._sizes), self._targets_of(chosen)
