"""What a support holds: its entries on the host, and the levels that layers read."""

from __future__ import annotations

import functools
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.supports._levels import Array, Level
from equikit.supports._reading import tuples_of_arrays
from equikit.supports._tables import Data, Sizes, levels_of, rows_of

MOST_DRAWN = 24, 60
"""The most nodes and entries of a support that a notebook shows as a picture."""


class Entries:
    """The base of `Support`: its attributes are documented there."""

    label: str
    orders: tuple[int, ...]
    entries: dict[int, int]
    n: int
    graphs: int | None
    padded: bool
    complete: bool
    axis: str | None = None
    # Either the data or the levels are known; the other ones are made when they are needed.
    _data: Data | None
    _sizes: Sizes | None
    _levels: tuple[Level, ...] | None

    def _fill(self, label: str, data: Data, sizes: Sizes | None = None, complete: bool = False) -> Self:
        self.label, self.orders = label, tuple(sorted(data.tuples))
        self.entries = {m: data.tuples[m].shape[1] if sizes is None else sizes.entries[m] for m in self.orders}
        self.n = data.n if sizes is None else sizes.nodes
        self.graphs = data.graphs if sizes is None or data.graphs is None else sizes.graphs
        self.padded, self.complete = sizes is not None, complete
        self._data, self._sizes, self._levels = data, sizes, None
        return self

    @classmethod
    def _of(cls, label: str, data: Data, sizes: Sizes | None = None, *, complete: bool = False) -> Self:
        return cls.__new__(cls)._fill(label, data, sizes, complete)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        state = {name: value for name, value in vars(self).items() if name not in ("loops", "symmetric")}
        return state if self._data is None else state | {"_levels": None}

    @property
    def levels(self) -> tuple[Level, ...]:
        """The tables that layers read, for tuples of 0, 1, 2, ... nodes, as arrays of JAX."""
        if self._levels is None:
            assert self._data is not None
            with jax.ensure_compile_time_eval():  # the first use may be under jit, where arrays would be traced
                self._levels = jax.tree.map(jnp.asarray, levels_of(self._data, self._sizes))
        return self._levels

    def _host(self) -> Data:
        """Return the entries without padding, on the host."""
        self._refuse_spread()
        if self._data is None:
            graphs, nodes = self.levels[:2]
            step = "ask for it outside jit, and pass the support as an argument"
            _checks.untraced("the support", nodes.drop[0], step=step)
            graph_of = np.asarray(nodes.drop[0])
            graph_of = graph_of[graph_of < graphs.count]
            tuples = {m: np.stack([np.asarray(each) for each in self.indices(m)]) for m in self.orders}
            self._data = Data(
                len(graph_of),
                None if self.graphs is None else int(self.present(0).sum()),
                None if self.graphs is None else graph_of,
                {m: each[:, each[0] < self.n] for m, each in tuples.items()},
            )
        return self._data

    def indices(self, order: int | None = None) -> tuple[jax.Array, ...]:
        """Return the nodes of each entry: senders and receivers for pairs.

        Args:
            order: the number of axes; by default the only one.

        Returns:
            An int32 array `[E]` for each axis. In padded rows it is n, which is out of range.

        Raises:
            OptionError: if there are no entries of this order, or several orders and none is given.

        Cost: O(E).

        Example:
            >>> import equikit as ek
            >>> senders, receivers = ek.Support("p p", [0, 1], [1, 2], n=3).indices()
            >>> senders.tolist(), receivers.tolist()
            ([0, 1], [1, 2])
        """
        self._refuse_spread()
        order = self._order(order)
        columns, rows = _columns(self.levels, order), self.levels[order].rows
        return tuple(jnp.asarray(column if rows is None else _taken(column, rows, self.n)) for column in columns)

    def find(self, *indices: Any) -> np.ndarray[Any, Any]:
        r"""Return the row of each tuple of nodes among the entries, and E where it is absent.

        After `coalesce=True` it tells which entry each of the repeated ones has become.

        Args:
            *indices: an array of integers for each axis, all of one length: numbers of nodes that are not padding.

        Returns:
            int32, one for each tuple, on the host.

        Raises:
            DTypeError, ShapeError, OptionError: as for `Support`.

        Cost: \(O((E + Q) \log E)\) for Q tuples.

        Example:
            >>> import equikit as ek
            >>> senders, receivers, weights = [0, 1, 0], [1, 2, 1], np.array([0.5, 1.0, 2.0])
            >>> edges = ek.Support("p p", senders, receivers, n=3, coalesce=True)
            >>> total = np.zeros(edges.entries[2])
            >>> np.add.at(total, edges.find(senders, receivers), weights)
            >>> total.tolist()
            [2.5, 1.0]
        """
        data, order = self._host(), len(indices) if len(indices) in self.orders else self.orders[0]
        step = f"pass numbers below {data.n}" if data.n else "pass empty arrays"
        if self.padded:
            step += "; leave out rows of padding, which support.present tells"
        rows = rows_of(data, tuples_of_arrays(self.term(order), order, indices, data.n, step=step))
        return np.where(rows < 0, self.entries[order], rows).astype(np.int32)

    def present(self, order: int = 1) -> jax.Array:
        """Return which rows are not padding: of graphs for order 0, of nodes for 1, and of entries.

        Args:
            order: the number of axes.

        Returns:
            Booleans, `[graphs]`, `[n]` or `[E]`.

        Raises:
            OptionError: if there are no entries of this order.

        Cost: O(rows).

        Example:
            >>> import equikit as ek
            >>> ek.Support("p p", [0], [1], n=2).pad(nodes=4).present().tolist()
            [True, True, False, False]
        """
        self._refuse_spread()
        graphs, nodes = self.levels[:2]
        number = _checks.integer(order)
        if number == 0:
            own = np.zeros(graphs.count) if graphs.own is None else _on_host(graphs.own)
            return jnp.asarray(own < graphs.count)
        if number == 1:
            return jnp.asarray(_on_host(nodes.drop[0]) < graphs.count)
        return jnp.asarray(_on_host(self.indices(order)[0]) < self.n)

    @functools.cached_property
    def loops(self) -> int:
        """The number of entries whose nodes are not all different."""
        each = [np.sort(tuples, axis=0) for tuples in self._host().tuples.values()]
        return sum(int((tuples[1:] == tuples[:-1]).any(axis=0).sum()) for tuples in each)

    @functools.cached_property
    def symmetric(self) -> bool:
        """Whether every entry is there with its nodes in every order."""
        data = self._host()
        return all(
            bool((rows_of(data, tuples[[*range(a), a + 1, a, *range(a + 2, m)]]) >= 0).all())
            for m, tuples in data.tuples.items()
            for a in range(m - 1)  # exchanges of neighbors generate all permutations
        )

    def term(self, order: int) -> str:
        """Return the term with so many axes, such as `"p p"` for 2.

        Raises:
            OptionError: if `order` is not a whole number of one or more.
        """
        order = _checks.count("order", order, least=1, example=2)
        return " ".join([self.label] * order)

    def _order(self, order: Any) -> int:
        if order is None and len(self.orders) == 1:
            return self.orders[0]
        number = _checks.integer(order)
        if number is None or number not in self.orders:
            raise OptionError(
                f"the support has entries of {len(self.orders)} orders"
                if order is None
                else "there are no such entries",
                got=f"order={_checks.shown(order)}",
                expected=f"the number of axes: {' or '.join(map(str, self.orders))}",
                step=f"write order={self.orders[0]}",
            )
        return number

    def _refuse_spread(self) -> None:
        """Raise `OptionError` if the tables are of many devices, and not of one graph."""
        if self.axis is not None:
            raise OptionError(
                "a support that is spread over devices has the tables of each of them",
                got=repr(self),
                expected="the support before .spread",
                step="ask the support before it is spread",
            )

    def __repr__(self) -> str:
        if self.axis is not None:
            rows = f"{self.n:,} nodes and {self.entries[2]:,} entries on each device"
            return f"Support of {self.term(2)}: {rows} along {self.axis!r}"
        known = self._data is not None or _is_known(self.levels[1].drop[0])
        data = self._host() if known else None
        counts = [
            (self.n, data and data.n, "node", "nodes"),
            *((rows, data and data.tuples[m].shape[1], "entry", "entries") for m, rows in self.entries.items()),
            (self.loops, None, "loop", "loops") if known else (0, None, "", ""),
            (1 if self.graphs is None else self.graphs, data and data.graphs, "graph", "graphs"),
        ]
        numbers = [
            f"{f'{real:,} of ' if self.padded and real is not None else ''}{rows:,} {one if rows == 1 else many}"
            for rows, real, one, many in counts
            if one
        ]
        return f"Support of {', '.join(map(self.term, self.orders))}: {', '.join(numbers)}"

    # Notebooks show a picture of few entries, which have to be known; of others the text.
    def _repr_html_(self) -> str | None:
        from equikit.draw import image, support_svg  # draw is above supports; only the pictures import it

        return image(support_svg(self._drawn), repr(self)) if self._drawn is not None else None

    def _repr_latex_(self) -> str | None:
        from equikit.draw import latex, support_tikz

        return latex(support_tikz(self._drawn), repr(self)) if self._drawn is not None else None

    @property
    def _drawn(self) -> Any:
        known = self.axis is None and (self._data is not None or _is_known(self.levels[1].drop[0]))
        few = self.n <= MOST_DRAWN[0] and sum(self.entries.values()) <= MOST_DRAWN[1]
        return self if known and few else None


def _columns(levels: tuple[Level, ...], order: int) -> list[Array]:
    """Return the nodes of each row of a level; n in padded rows."""
    drop = levels[order].drop
    if order == 2:
        return [drop[1], drop[0]]
    shorter, n = _columns(levels, order - 1), levels[1].count
    return [_taken(shorter[0], drop[-1], n), *(_taken(column, drop[0], n) for column in shorter)]


def _is_known(array: Any) -> bool:
    return isinstance(array, np.ndarray | jax.Array) and not isinstance(array, jax.core.Tracer)


def _on_host(array: Any) -> Any:
    """Return an array of NumPy, which compiles nothing; tracers stay what they are."""
    return np.asarray(array) if _is_known(array) else array


def _taken(column: Array, rows: Array, absent: int) -> Any:
    """Return `column[rows]`, and `absent` where a row is out of range."""
    if _is_known(column) and _is_known(rows):
        return np.append(np.asarray(column), np.int32(absent))[np.asarray(rows)]
    return jnp.asarray(column).at[rows].get(mode="fill", fill_value=absent)
