"""Entries of several orders on the same nodes, and triples found from pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.supports._entries import Entries
from equikit.supports._tables import Data, Table, rows_of
from equikit.supports._triples import Linked, cliques, paths, triangles


class Orders(Entries):
    """The base of `Support` with what joins entries of different orders, or finds them.

    Two nodes are *linked* if the support has the pair in one direction or the other.
    """

    def __or__(self, other: Self) -> Self:
        """Return both supports as one on the same nodes, with the entries of both orders.

        Args:
            other: a support with entries of other orders, not padded.

        Raises:
            OptionError: if labels, nodes or graphs differ, or an order is in both.

        Example:
            >>> import equikit as ek
            >>> edges = ek.Support("p p", [0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2], n=3)
            >>> edges | edges.triangles()
            Support of p p, p p p: 3 nodes, 6 entries, 6 entries, 0 loops, 1 graph
        """
        if not isinstance(other, Orders):
            return NotImplemented
        one, two = self._host(), other._host()
        for support in (self, other):
            refuse_padded(support, "|")
        _checks.same("the label", other.label, self.label, step="give both supports one label")
        _checks.same("the number of nodes", other.n, self.n, step="give both supports the same nodes")
        same = one.graphs == two.graphs and np.array_equal(one.graph_of, two.graph_of)  # type: ignore[arg-type]
        twice = sorted({*self.orders} & {*other.orders})
        if not same or twice:
            raise OptionError(
                f"both supports have entries of {self.term(twice[0])}" if twice else "nodes are in other graphs",
                got=f"entries of {terms_of(self)}, and of {terms_of(other)}"
                if twice
                else f"{self.graphs or 'no'} and {other.graphs or 'no'} graph numbers",
                expected="entries of different orders on the same nodes and graphs",
                step="build one support from the entries of both" if twice else "give both the same graph_of",
            )
        data = Data(one.n, one.graphs, one.graph_of, {**one.tuples, **two.tuples})
        complete = (self.complete or other.complete) and _is_complete(data)
        return self._of(self.label, data, complete=complete)

    def triangles(self) -> Self:
        r"""Return the triples of different nodes i, j, k that are linked with each other.

        Two nodes are linked if the support has the pair in one direction or the other. A triangle is six triples.

        Returns:
            A support of triples on the same nodes, in lexicographic order.

        Raises:
            OptionError: if the support has no pairs, or is padded.
            TooLargeError: for \(2^{31}\) or more triples.

        Cost: \(O(E^{3/2} \log E)\) on the host, in chunks.

        Example:
            >>> import equikit as ek, networkx as nx
            >>> ek.Support.from_networkx(nx.complete_graph(4)).triangles().entries
            {3: 24}
        """
        return self._with("triangles", triangles)

    def paths(self) -> Self:
        r"""Return the triples of different nodes i, j, k where i and j are linked, and j and k.

        Two nodes are linked if the support has the pair in one direction or the other. A node with d others makes
        \(d (d - 1)\) paths through it. The ends may be linked too: paths are the triangles and the wedges.

        Returns:
            A support of triples on the same nodes, in lexicographic order.

        Raises:
            OptionError: if the support has no pairs, or is padded.
            TooLargeError: for \(2^{31}\) or more triples.

        Cost: \(O(\sum_j d_j^2)\) on the host, also in memory, where \(d_j\) counts the nodes linked with j.

        Example:
            >>> import equikit as ek, networkx as nx
            >>> ek.Support.from_networkx(nx.star_graph(3)).paths().entries
            {3: 6}
        """
        return self._with("paths", lambda linked: paths(linked, closed=True))

    def wedges(self) -> Self:
        r"""Return the paths i, j, k whose ends i and k are not linked: open wedges, or induced paths.

        Returns:
            A support of triples on the same nodes, in lexicographic order.

        Raises:
            OptionError: if the support has no pairs, or is padded.
            TooLargeError: for \(2^{31}\) or more triples.

        Cost: \(O(\sum_j d_j^2 \log E)\) on the host, where \(d_j\) counts the nodes linked with j.

        Example:
            >>> import equikit as ek, networkx as nx
            >>> graph = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
            >>> np.stack(ek.Support.from_networkx(graph).wedges().indices(), axis=1).tolist()
            [[0, 2, 3], [1, 2, 3], [3, 2, 0], [3, 2, 1]]
        """
        return self._with("wedges", lambda linked: paths(linked, closed=False))

    def cliques(self) -> Self:
        r"""Return all triples of nodes that are linked with each other, a node with itself by a loop.

        They are the triangles and, where i has a loop and k is linked with it, (i, i, i), (i, i, k), (i, k, i) and
        (k, i, i). Products of three letters, such as matrix products, run on `edges | edges.cliques()`.

        Returns:
            A support of triples on the same nodes, in lexicographic order; `complete` is true.

        Raises:
            OptionError: if the support has no pairs, or is padded.
            TooLargeError: for \(2^{31}\) or more triples.

        Cost: \(O(E^{3/2} \log E)\) on the host, in chunks.

        Example:
            >>> import equikit as ek
            >>> edges = ek.Support("p p", [0, 0], [0, 1], n=2)
            >>> np.stack(edges.cliques().indices(), axis=1).tolist()
            [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
            >>> (edges | edges.cliques()).complete
            True
        """
        return self._with("cliques", cliques, complete=True)

    def _with(self, name: str, found: Callable[[Linked], Table], *, complete: bool = False) -> Self:
        """Return a support of triples that are found from the pairs."""
        if 2 not in self.orders:
            raise OptionError(
                f"{name}() needs entries for pairs of nodes",
                got=f"entries of {terms_of(self)}",
                expected=f"a support of {self.term(2)}",
                step=f"call it on the edges: edges.{name}()",
            )
        refuse_padded(self, f"{name}()")
        data = self._host()
        triples = found(Linked(data.tuples[2], data.n))
        return self._of(self.label, Data(data.n, data.graphs, data.graph_of, {3: triples}), complete=complete)


def refuse_padded(support: Entries, what: str) -> None:
    """Raise `OptionError` for a padded support, or one that is spread over devices."""
    support._refuse_spread()
    if support.padded:
        raise OptionError(
            f"{what} takes supports without padding",
            got="a padded support",
            expected="the support before padding",
            step="call .pad(...) after it",
        )


def _is_complete(data: Data) -> bool:
    every = cliques(Linked(data.tuples[2], data.n)) if {2, 3} <= data.tuples.keys() else None
    return every is not None and bool((rows_of(data, every) >= 0).all())


def terms_of(support: Entries) -> str:
    """Return the terms of the orders of a support, for error texts."""
    return " and ".join(map(support.term, support.orders))
