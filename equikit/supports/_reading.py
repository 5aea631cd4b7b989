"""Index arrays of users: checked, and brought to the host as int32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError, SignatureError
from equikit.signatures import parse_term, without_mark
from equikit.supports._tables import MOST_ROWS, Data, Table, first_rows, refuse_too_many

NAMES = {2: ("senders", "receivers")}
"""How index arrays are called, by their number."""

MOST_AXES = 5
"""The largest order: a level of tuples of length m has m! - 1 tables of permutations."""


def order_of(term: Any) -> tuple[str, int]:
    """Return the label and the number of axes of a term such as `"p p"`, or raise `SignatureError`."""
    read = parse_term(term)
    labels = {without_mark(label) for label in read.labels}
    if len(labels) > 1 or read.written or any(label not in labels for label in read.labels):
        raise SignatureError(
            "a support has axes of one label",
            got=repr(read.text),
            expected='one label without marks, such as "p p"; axes of other labels stay dense, as in "p p x"',
            step=f'write "{read.labels[0]} {read.labels[0]}"' if len(labels) > 1 else 'write "p p"',
        )
    if not 2 <= len(read.labels) <= MOST_AXES:
        few = len(read.labels) < 2
        raise SignatureError(
            "a support needs two axes or more: with one axis, every node is present" if few else "too many axes",
            got=repr(read.text),
            expected=f"2 to {MOST_AXES} axes",
            step=f'write "{" ".join([*labels] * 2) or "p p"}"' if few else f"give at most {MOST_AXES} axes",
        )
    return read.labels[0], len(read.labels)


def names_of(order: int) -> tuple[str, ...]:
    """Return the names of the index arrays in error texts."""
    return NAMES.get(order, tuple(f"index array {position}" for position in range(order)))


def tuples_of_arrays(term: str, order: int, indices: Sequence[Any], n: Any, *, step: str | None = None) -> Table:
    """Return index arrays on the host, `[order, E]`, or raise an error that says what is wrong with them.

    Args:
        term, order: the term, and its number of axes.
        indices: the arrays.
        n: the number of nodes, as the user gives it.
        step: the next step for numbers beyond the nodes; by default, a larger n.
    """
    if len(indices) != order:
        shapes = [np.shape(array) for array in indices]
        stacked = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] == order
        raise OptionError(
            f"{term!r} takes {order} index arrays, one for each axis",
            got=f"one array of shape {[*shapes[0]]}" if stacked else f"{len(indices)}",
            expected=", ".join(names_of(order)),
            step="unpack the array: *indices" if stacked else f"pass {order} index arrays",
        )
    columns = [integers(name, array) for name, array in zip(names_of(order), indices, strict=True)]
    lengths = [len(column) for column in columns]
    if len({*lengths}) > 1:
        raise ShapeError(
            "index arrays have different lengths",
            got=", ".join(f"{length} {name}" for name, length in zip(names_of(order), lengths, strict=True)),
            expected="one number for each entry in every array",
            step="pass arrays of one length",
        )
    n = number_of("n", n, "nodes", max([0, *(int(column.max()) + 1 for column in columns if len(column))]))
    for name, column in zip(names_of(order), columns, strict=True):
        _refuse_out_of_range(name, column, n, "n", "nodes", step=step)
    return np.stack([column.astype(np.int32) for column in columns])


def data_of(
    term: str, order: int, indices: Sequence[Any], *, n: Any, graph_of: Any, graphs: Any, coalesce: bool
) -> Data:
    """Return the entries of one order on the host, checked."""
    tuples, n = tuples_of_arrays(term, order, indices, n), int(n)
    graph_of, graphs = graphs_of(graph_of, graphs, n)
    if graph_of is not None:
        refuse_between_graphs(tuples, graph_of)
    return Data(n, graphs, graph_of, {order: _different(tuples, n, coalesce)})


def number_of(name: str, value: Any, what: str, example: int) -> int:
    """Return a whole number of rows, or raise `OptionError`, with an example, or `TooLargeError`."""
    number = _checks.count(name, value, example=example)
    refuse_too_many(what, number)
    return number


def integers(name: str, value: Any, expected: str = "the number of a node for each entry") -> Table:
    """Return an array of integers with one axis, on the host."""
    _checks.untraced(name, value, step="build the support outside jit and pass it as an argument")
    array: Table = _checks.numpy_array(name, value, step=f"pass {name} with one axis")
    if array.ndim == 1:
        refuse_too_many("entries", len(array))
    if array.size == 0:  # NumPy makes an empty list an array of floats
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        is_mask = array.dtype == bool and array.ndim > 1
        raise DTypeError(
            f"{name} must be integers",
            got=f"dtype {array.dtype}",
            expected=expected,
            step="make the support from the mask: Support.from_mask(mask)"
            if is_mask
            else f"pass np.asarray({name}, np.int32)"
            if name.isidentifier() and array.dtype.kind in "bf"
            else f"pass {name} as integers from 0",
        )
    return _checks.shaped(name, array, ["entries"], step=f"pass {name} with one axis")  # type: ignore[no-any-return]


def _refuse_out_of_range(
    name: str, values: Table, size: int, argument: str, what: str, *, step: str | None = None
) -> None:
    if not len(values):
        return
    lowest, highest = int(values.min()), int(values.max())
    if lowest >= 0 and highest < size:
        return
    wrong = np.flatnonzero((values < 0) | (values >= size))
    beyond = f"{argument}={size}" if step is None else f"the {what} of the support"
    raise OptionError(
        f"{name} has {'negative numbers' if lowest < 0 else f'numbers beyond {beyond}'}",
        got=f"{values[wrong[0]]} at position {wrong[0]}" + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""),
        expected=f"numbers from 0 to {size - 1}" if size else f"nothing, since there are no {what}",
        step="leave out the rows with negative numbers"
        if lowest < 0
        else step
        if step is not None
        else "check the numbers"
        if highest >= MOST_ROWS
        else f"write {argument}={highest + 1}",
    )


def graphs_of(graph_of: Any, graphs: Any, n: int) -> tuple[Table | None, int | None]:
    """Return the graph of each node and the number of graphs, both `None` without graph numbers."""
    if graph_of is None:
        if graphs is not None:
            raise OptionError(
                "graphs= needs graph_of=",
                got=f"graphs={_checks.shown(graphs)} without graph_of=",
                expected="the graph of each node",
                step="write graph_of=np.zeros(n, int) for one graph, or leave graphs out",
            )
        return None, None
    numbers = integers("graph_of", graph_of, "a graph number for each node")
    _checks.shaped("graph_of", numbers, [n], step="give the number of the graph of each node")
    found = int(numbers.max()) + 1 if len(numbers) else 0
    count = found if graphs is None else number_of("graphs", graphs, "graphs", found)
    refuse_too_many("graphs", count)
    _refuse_out_of_range("graph_of", numbers, count, "graphs", "graphs")
    return numbers.astype(np.int32), count


def refuse_between_graphs(tuples: Table, graph_of: Table) -> None:
    """Raise `OptionError` if an entry joins nodes of two graphs."""
    of = graph_of[tuples]
    wrong = np.flatnonzero((of != of[0]).any(axis=0))
    if len(wrong):
        raise OptionError(
            "an entry joins nodes of different graphs",
            got=f"entry {wrong[0]}, nodes {_listed(tuples[:, wrong[0]])} of graphs {_listed(of[:, wrong[0]])}"
            + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""),
            expected="the nodes of each entry in one graph",
            step="check graph_of, or leave the entry out",
        )


def _different(tuples: Table, n: int, coalesce: bool) -> Table:
    """Return the entries, each once, in the order of the first ones."""
    first = np.sort(first_rows(tuples, n))
    if len(first) < tuples.shape[1] and not coalesce:
        again = int(np.setdiff1d(np.arange(tuples.shape[1]), first)[0])
        before = int(np.flatnonzero((tuples == tuples[:, again : again + 1]).all(axis=0))[0])
        raise OptionError(
            "an entry is there twice",
            got=f"({_listed(tuples[:, again])}) at positions {before} and {again}"
            + (f", and {more:,} more" if (more := tuples.shape[1] - len(first) - 1) else ""),
            expected="entries that are all different",
            step="write coalesce=True to keep the first of each; support.find gives the row of every entry",
        )
    return tuples[:, first]


def _listed(numbers: Table) -> str:
    return ", ".join(map(str, numbers.tolist()))
