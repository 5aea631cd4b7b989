"""`Support`: which entries of the axes of one label are present."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit._exported import exported
from equikit.supports._formats import (
    edges_of_networkx,
    entries_of_mask,
    entries_of_scipy,
    label_of,
    links_of_jraph,
    refuse_padding,
    without_padding,
)
from equikit.supports._orders import Orders, refuse_padded, terms_of
from equikit.supports._padding import padded_sizes
from equikit.supports._reading import data_of, order_of
from equikit.supports._spreading import spread_parts
from equikit.supports._tables import Data, refuse_too_many


class Support(Orders):
    r"""The entries that are present in tensors with several axes of one label, such as the edges of a graph.

    A tensor of `"p p"` on a support is stored as `[E, channels]`, a row for each entry, in place of `[n, n, channels]`.
    A layer takes the support in the call, `layer(features, support=edges)`. A support is data: a pytree of int32 arrays
    that `jax.jit` takes as an argument. When nodes are permuted, it is permuted with the features.

    Many graphs are one support whose nodes have graph numbers, as in a block-diagonal matrix. `edges | triangles` has
    the entries of both supports, for layers with features of both orders.

    Args:
        term: a label for each axis: `"p p"` for pairs of nodes, `"p p p"` for triples.
        *indices: an array of integers for each axis, all `[E]`. For pairs they are the senders and receivers: entry e
            is in row `senders[e]` and column `receivers[e]`. An `edge_index` of PyTorch Geometric is unpacked,
            `Support("p p", *edge_index, n=n)`. An undirected edge is two entries.
        n: the number of nodes.
        graph_of: the number of the graph of each node, `[n]`, called `batch` in PyTorch Geometric.
        graphs: the number of graphs; needed only if the last ones have no nodes.
        coalesce: whether the first of repeated entries is kept; otherwise they raise an error.

    Attributes:
        label: the label.
        orders: the numbers of axes for which there are entries; `(2,)` for pairs.
        entries: for each order the number of entries, padding included.
        n: the number of nodes, padding included.
        graphs: the number of graphs, padding included; `None` without graph numbers.
        padded: whether the support is padded.
        axis: the axis of a mesh over which the support is spread, or `None`; see `spread`.
        complete: whether the triples are known to include all triples of nodes that the pairs link with each other,
            as products of three letters need. Only triples made by `cliques` are, as in `edges | edges.cliques()`, also
            after `|`, `join` and `pad`. For others it is false and not computed, even if none is missing.

    Raises:
        SignatureError: if the term has axes of two labels, or fewer than two axes.
        DTypeError: if the indices are not integers.
        ShapeError: if arrays differ in length.
        OptionError: if an index is out of range, an entry is repeated or joins two graphs, the number of arrays does
            not fit the term, or arrays are traced.
        TooLargeError: for \(2^{31}\) nodes or entries, before anything is allocated.

    Cost: sorting on the host, \(O(E \log E)\), when a layer first needs it: about a second for 10⁶ edges.

    Example:
        >>> edges = Support("p p", [0, 1, 1, 2], [1, 0, 1, 1], n=3)
        >>> edges
        Support of p p: 3 nodes, 4 entries, 1 loop, 1 graph
        >>> edges.symmetric
        False
    """

    def __init__(
        self, term: str, *indices: Any, n: int, graph_of: Any = None, graphs: int | None = None, coalesce: bool = False
    ) -> None:
        label, order = order_of(term)
        coalesce = _checks.flag("coalesce", coalesce)
        data = data_of(term, order, indices, n=n, graph_of=graph_of, graphs=graphs, coalesce=coalesce)
        self._fill(label, data)

    @classmethod
    def from_networkx(cls, graph: Any, *, label: str = "p") -> Support:
        """Return the edges of a graph of NetworkX, undirected ones in both directions.

        Args:
            graph: a `Graph` or `DiGraph`, without parallel edges. The order of the nodes is `list(graph)`; entries are
                in the order of `graph.edges`, the second directions of undirected edges after all first ones.
            label: the label of the nodes in signatures.

        Returns:
            A support of pairs.

        Raises:
            OptionError: if it is no graph, or may have parallel edges, or the label is not one word.

        Cost: O(n + E).

        Example:
            >>> import networkx as nx
            >>> Support.from_networkx(nx.cycle_graph(4))
            Support of p p: 4 nodes, 8 entries, 0 loops, 1 graph
        """
        label, edges = label_of(label), edges_of_networkx(graph)
        return cls(f"{label} {label}", *edges, n=len(graph))

    @classmethod
    def from_scipy(cls, matrix: Any, *, label: str = "p", coalesce: bool = False) -> Support:
        """Return the stored entries of a sparse matrix, whatever their values.

        Args:
            matrix: a square sparse matrix or array of SciPy in any format; arrays may have more axes. Entries are in
                the order of `matrix.tocoo()`, so the features are `matrix.tocoo().data[:, None]`.
            label: the label of the nodes in signatures.
            coalesce: whether the first of repeated entries is kept; `matrix.sum_duplicates()` adds them before.

        Returns:
            A support with an axis for each axis of the matrix.

        Raises:
            OptionError: if it is not a sparse matrix, or has repeated entries.
            ShapeError: if it is not square.

        Cost: O(E).

        Example:
            >>> import scipy.sparse
            >>> Support.from_scipy(scipy.sparse.eye_array(3, format="csr"))
            Support of p p: 3 nodes, 3 entries, 3 loops, 1 graph
        """
        entries, n = entries_of_scipy(matrix)
        return cls(" ".join([label_of(label)] * len(entries)), *entries, n=n, coalesce=coalesce)

    @classmethod
    def from_mask(cls, mask: Any, *, term: str = "p p") -> Support:
        """Return the true entries of a dense mask, in row-major order.

        Args:
            mask: booleans `[n, n]`, with as many axes as the term; or `[graphs, n, n]` for many graphs of n nodes,
                where node i of graph g becomes node g n + i.
            term: a label for each axis of one graph.

        Returns:
            A support with graph numbers if the mask has an axis of graphs.

        Raises:
            DTypeError: if the mask is not boolean.
            ShapeError: if the axes do not fit.
            OptionError: if the mask is traced.

        Cost: O(size of the mask).

        Example:
            >>> Support.from_mask(np.ones((2, 3, 3), bool))
            Support of p p: 6 nodes, 18 entries, 6 loops, 2 graphs
        """
        _, order = order_of(term)
        entries, n, graphs = entries_of_mask(mask, order)
        graph_of = None if graphs is None else np.repeat(np.arange(graphs), n // max(graphs, 1))
        return cls(term, *entries, n=n, graph_of=graph_of, graphs=graphs)

    @classmethod
    def from_jraph(cls, graphs: Any, *, label: str = "p", padded: bool = False, coalesce: bool = False) -> Support:
        """Return the edges of a `jraph.GraphsTuple`, with graph numbers.

        Args:
            graphs: an object with the fields `nodes`, `edges`, `senders`, `receivers`, `n_node` and `n_edge` of
                `jraph.GraphsTuple`.
            label: the label of the nodes in signatures.
            padded: whether it comes from `jraph.pad_with_graphs`: the last graph that has nodes, and all after it, are
                padding. Rows of features stay where they are.
            coalesce: whether the first of repeated edges is kept; not for padded graphs, whose rows would move.

        Returns:
            A support of pairs; padded to the same numbers of nodes, edges and graphs if `padded`.

        Raises:
            OptionError: if a field is missing or traced, numbers of nodes or edges do not add up, an edge joins two
                graphs, edges are repeated, or the last graph has repeated loops, as padding does.
            DTypeError, ShapeError: if nodes, or numbers of nodes or edges, are not integers with one axis.

        Cost: O(n + E).

        Example:
            >>> from types import SimpleNamespace
            >>> two = SimpleNamespace(
            ...     nodes=None, edges=None, senders=[0, 1, 3, 3], receivers=[1, 0, 3, 3], n_node=[3, 2], n_edge=[2, 2]
            ... )
            >>> Support.from_jraph(two, padded=True)
            Support of p p: 3 of 5 nodes, 2 of 4 entries, 0 loops, 1 of 2 graphs
        """
        label, every = label_of(label), links_of_jraph(graphs)
        padded = _checks.flag("padded", padded)
        if not padded and not _checks.flag("coalesce", coalesce):
            refuse_padding(every)
        _checks.at_most_one(padded=padded or None, coalesce=coalesce or None)
        links = without_padding(every) if padded else every
        graph_of = np.repeat(np.arange(len(links.n_node)), links.n_node)
        given: dict[str, Any] = {"n": len(graph_of), "graph_of": graph_of, "graphs": len(links.n_node)}
        made = cls(f"{label} {label}", links.senders, links.receivers, **given, coalesce=coalesce)
        if not padded:
            return made
        return made.pad(nodes=sum(every.n_node), entries=len(every.senders), graphs=len(every.n_node))

    @classmethod
    def join(cls, supports: Sequence[Support]) -> Support:
        """Return many supports as one, with graph numbers: the nodes of each come after all nodes before.

        Args:
            supports: supports of one label and the same orders, not padded. One without graph numbers is one graph.

        Returns:
            A support on all nodes, whose features are concatenated along rows.

        Raises:
            OptionError: if there are no supports, or labels or orders differ, or one is padded.
            TooLargeError: for too many nodes or entries.

        Cost: O(n + E).

        Example:
            >>> pair, triangle = Support("p p", [0], [1], n=2), Support("p p", [0, 1, 2], [1, 2, 0], n=3)
            >>> both = Support.join([pair, triangle])
            >>> both, both.indices()[0].tolist()
            (Support of p p: 5 nodes, 4 entries, 0 loops, 2 graphs, [0, 2, 3, 4])
        """
        supports = _listed(supports)
        _checks.some("supports", supports, got="an empty list", step="give one support or more")
        first = supports[0]
        for support in supports:
            refuse_padded(support, "Support.join")
            _checks.same("the label", support.label, first.label, step="give all supports one label")
            if support.orders != first.orders:
                raise OptionError(
                    "supports have entries of different orders",
                    got=f"a support of {terms_of(first)}, and one of {terms_of(support)}",
                    expected="entries of the same orders in all supports",
                    step="join the supports of each order separately",
                )
        complete = all(support.complete for support in supports)
        return cls._of(first.label, _in_blocks([support._host() for support in supports]), complete=complete)

    def pad(
        self,
        *,
        nodes: int | None = None,
        entries: int | Mapping[int, int] | None = None,
        graphs: int | None = None,
        tuples: int | Mapping[int, int] | None = None,
    ) -> Support:
        """Return the support with rows added behind nodes, entries and graphs, which layers ignore.

        Supports padded to the same numbers share one compiled program.

        Args:
            nodes, graphs: the number of nodes and of graphs; as many as there are by default.
            entries: the number of entries, for several orders a dictionary from order to number.
            tuples: for supports of triples, the number of rows of the table of pairs, which holds the pairs in the
                triples too; by default the number of entries that are pairs if it holds no others, else the next power
                of two.

        Returns:
            A padded support. Rows of features behind the present ones may hold anything.

        Raises:
            OptionError: if a number is smaller than the support, or `graphs` is given without graph numbers.
            TooLargeError: for too many rows.

        Cost: O(n + E).

        Example:
            >>> Support("p p", [0], [1], n=2).pad(nodes=8, entries=16)
            Support of p p: 2 of 8 nodes, 1 of 16 entries, 0 loops, 1 graph
        """
        data = self._host()
        sizes = padded_sizes(data, nodes=nodes, entries=entries, graphs=graphs, tuples=tuples)
        return self._of(self.label, data, sizes, complete=self.complete)

    def spread(self, devices: int, *, axis: str) -> tuple[Support, np.ndarray[Any, Any]]:
        """Divide a support of pairs between devices, for layers that are called in `jax.shard_map`.

        Each device has a range of the nodes and a part of the entries, with their reverse entries. It exchanges rows of
        the nodes of its entries that other devices own, after sums over entries and before values of nodes are read.

        Args:
            devices: how many there are along the axis.
            axis: the axis of the mesh.

        Returns:
            The support, whose tables of all devices are concatenated: pass it to `jax.shard_map` with the specification
            `jax.P(axis)`. In the call, features of nodes and entries have the rows of one device; those of graphs are
            the same on all devices. And the order of the entries, int32 `[devices * entries of a device]`: entry
            `order[row]` belongs into this row; it is E, which is out of range, where rows are padding. Nodes stay in
            order: `.n` rows on each device, with padding behind the last ones.

        Raises:
            OptionError: if the support has entries of other orders, or is padded or spread, or the axis is no text.
            TooLargeError: for too many rows.

        Cost: sorting on the host, O(E log E).

        Example:
            >>> edges = Support("p p", [0, 1, 1, 2], [1, 0, 2, 1], n=3)
            >>> spread, order = edges.spread(2, axis="d")
            >>> spread, order.tolist()
            (Support of p p: 2 nodes and 2 entries on each device along 'd', [0, 1, 2, 3])
        """
        devices = _checks.count("devices", devices, least=1)
        axis = _checks.text("axis", axis, example="d")
        refuse_padded(self, ".spread")
        if self.orders != (2,):
            raise OptionError(
                ".spread is for supports of pairs",
                got=f"entries of {terms_of(self)}",
                expected=f"a support of {self.term(2)}",
                step="shard a batch of such graphs instead: the support is then the same on all devices",
            )
        parts = spread_parts(self._host(), devices, axis)
        found = self._of(self.label, self._host())
        found.entries, found.n, found.padded, found.axis = {2: parts.entries}, parts.nodes, True, axis
        found._data, found._levels = None, jax.tree.map(jnp.asarray, parts.levels)
        return found, parts.order


def _listed(supports: Any) -> list[Support]:
    found = [*supports] if isinstance(supports, Iterable) else None
    if found is None or not all(isinstance(support, Support) for support in found):
        raise OptionError(
            "supports must be a list of supports",
            got=_checks.shown(supports),
            expected="supports of many graphs",
            step="write Support.join([one, two])",
        )
    return found


def _in_blocks(each: Sequence[Data]) -> Data:
    """Return many data as one, nodes and graphs of each after those of all before."""
    nodes = np.cumsum([0, *(data.n for data in each)])
    graphs = np.cumsum([0, *(1 if data.graphs is None else data.graphs for data in each)])
    for what, count in (("nodes", nodes[-1]), ("graphs", graphs[-1])):
        refuse_too_many(what, int(count))
    for m in each[0].tuples:
        refuse_too_many("entries", sum(data.tuples[m].shape[1] for data in each))
    graph_of = [np.zeros(data.n, np.int32) if data.graph_of is None else data.graph_of for data in each]
    return Data(
        int(nodes[-1]),
        int(graphs[-1]),
        np.concatenate([part + before for part, before in zip(graph_of, graphs, strict=False)]).astype(np.int32),
        {
            m: np.concatenate(
                [data.tuples[m] + before for data, before in zip(each, nodes, strict=False)], axis=1
            ).astype(np.int32)
            for m in each[0].tuples
        },
    )


def _flatten(support: Support) -> tuple[Any, Any]:
    static = (
        support.label,
        tuple(support.entries.items()),
        support.n,
        support.graphs,
        support.padded,
        support.complete,
        support.axis,
    )
    return ((jax.tree_util.GetAttrKey("levels"), support.levels),), static


def _unflatten(static: Any, children: Any) -> Support:
    self = Support.__new__(Support)
    self.label, entries, self.n, self.graphs, self.padded, self.complete, self.axis = static
    self.entries = dict(entries)
    self.orders = tuple(self.entries)
    self._data = self._sizes = None
    (self._levels,) = children
    return self


jax.tree_util.register_pytree_with_keys(Support, _flatten, _unflatten)
exported(Support, "Support")
