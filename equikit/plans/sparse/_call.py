"""Check the arguments of a call with a support, before any computation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._array_checks import Shapes, checked_shapes
from equikit._errors import OptionError, ShapeError
from equikit.groups import Fixed, Group
from equikit.plans._options import RunOptions
from equikit.plans.sparse._fitting import refuse_unfit
from equikit.signatures import Signature, Term, base
from equikit.supports import Support, refuse_placement

GRAPHS = "all graphs"
"""The label of the axis of graphs; labels of users have no spaces."""


def support_shapes(
    signature: Signature,
    channels: Sequence[int | None],
    arrays: Sequence[jax.Array],
    masks: Mapping[str, Any],
    sizes: Mapping[str, int],
    support: Support,
    *,
    linear: bool = False,
) -> Shapes:
    """Return the batch axes and the size of every label, after all checks of a support and of the arrays on it.

    Args:
        signature, channels, arrays, masks: as for `checked_shapes`.
        sizes: sizes of labels that no input has.
        support: the support.
        linear: whether the call is a linear plan, which also runs on supports that are spread over devices.

    Raises:
        OptionError: if the label of the support is not in the signature, is not permuted by S, or has a mask or a
            size; if the support has no entries for a term; or if it is spread and the call is not linear.
        ShapeError: if an array has not one row for each entry, node or graph, or does not fit in other axes.
    """
    refuse_support(signature, support)
    label = support.label
    _refuse_given(label, "mask", masks, "which nodes and entries are there: pad the support to have absent ones")
    _refuse_given(label, "sizes", {base(str(other)): size for other, size in sizes.items()}, "how many nodes there are")
    axes = []
    for term, width, array in zip(signature.inputs, channels, arrays, strict=True):
        axes.append(_check_rows(signature, term, width, array, support))
    if not linear:
        _refuse_spread(support)
    refuse_placement(support, arrays, axes)
    _check_bound_size(signature.groups[label], support)
    found = checked_shapes(_on_rows(signature, label, _rows(support)), channels, arrays, masks, sizes)
    return Shapes(found.batch, {other: size for other, size in found.sizes.items() if other in signature.sizes})


def refuse_support(signature: Signature, support: object) -> None:
    """Raise `OptionError` if a support cannot be used for a signature."""
    _checks.instance("support", support, Support, 'ek.Support("p p", senders, receivers, n=n)')
    assert isinstance(support, Support)
    graphs = support.levels[1].drop[0]
    if graphs.ndim != 1:
        raise ShapeError(
            "the tables of the support have an axis of a batch",
            got=f"the graphs of the nodes have shape {list(graphs.shape)}",
            expected=f"[{support.n}]: the support of one sample",
            step="write jax.vmap(lambda x, support: layer(x, support=support))(x, supports)",
        )
    refuse_unfit(signature, support.label, support.orders)


def _refuse_spread(support: Support) -> None:
    """Raise `OptionError` for a spread support: sums over graphs would have the rows of one device only."""
    if support.axis is not None:
        raise OptionError(
            "only linear layers run on a support that is spread over devices",
            got=f"a support that is spread along {support.axis!r}",
            expected="a support that is not spread",
            step="between linear layers apply functions of jnp to the rows, such as jax.nn.relu",
        )


def refuse_options(options: RunOptions, out_sharding: object) -> None:
    """Raise `OptionError` for options of a call that a support does not have."""
    _checks.choice("method", options.method, ("auto", "factored"), step='write method="auto" with a support')
    for name, value in (("chunk_size", options.chunk_size), ("out_sharding", out_sharding)):
        if value is not None:
            raise OptionError(
                f"{name}= and support= cannot be given together",
                got=f"{name}={value}",
                expected="at most one of them",
                step=f"leave {name} out",
            )


def _refuse_given(label: str, argument: str, given: Mapping[str, object], what: str) -> None:
    if label in given:
        raise OptionError(
            f"{argument}= has {label!r}, but the support says {what}",
            got=f"{argument}= and support= for {label!r}",
            expected=f"{argument}= for other labels only",
            step=f"remove {label!r} from {argument}=",
        )


def _rows(support: Support) -> tuple[tuple[int, int], ...]:
    """Return the number of rows for each number of axes; none for terms without the label, if there is one graph."""
    graphs = () if support.graphs is None else ((0, support.graphs),)
    return *graphs, (1, support.n), *support.entries.items()


def _row_label(label: str, order: int) -> str:
    return " ".join([label] * order) or GRAPHS


@functools.lru_cache(maxsize=256)
def _on_rows(signature: Signature, label: str, rows: tuple[tuple[int, int], ...]) -> Signature:
    """Return the signature of the arrays: in place of the axes of the label, a plain axis of rows comes first."""

    def stored(term: Term) -> Term:
        order, others = term.labels.count(label), [other for other in term.labels if other != label]
        lead = [_row_label(label, order)] if order in dict(rows) else []
        return Term(term.name, (*lead, *others), term.written and (*lead, *others, *_determinants(term)))

    bindings = {other: what for other, what in signature.bindings if other != label}
    bindings |= {_row_label(label, order): Fixed(count) for order, count in rows}
    sides = [tuple(map(stored, terms)) for terms in (signature.inputs, signature.outputs)]
    return Signature(sides[0], sides[1], tuple(sorted(bindings.items())))


def _determinants(term: Term) -> list[str]:
    return [f"det({label})" for label in term.determinants]


def _check_rows(signature: Signature, term: Term, channels: int | None, array: Any, support: Support) -> int:
    """Return the number of axes from the rows on, zero if there are no rows.

    Raises:
        ShapeError: unless an array has one row for each entry, node or graph.
    """
    label, order, rows = support.label, term.labels.count(support.label), dict(_rows(support))
    if order not in rows:
        return 0
    axes = 1 + len(term.labels) - order + (channels is not None)
    count = array.shape[array.ndim - axes] if array.ndim >= axes else None
    if count == rows[order]:
        return axes
    (stored,) = _on_rows(signature.pair(term, term), label, _rows(support)).inputs
    sizes = {**signature.sizes, **{_row_label(label, order): count for order, count in rows.items()}}
    shown = [f"{other}={sizes[other]}" if sizes[other] is not None else other for other in stored.labels]
    what = {0: "graph", 1: "node"}.get(order, "entry")
    many = {0: "graphs", 1: "nodes"}.get(order, "entries")
    dense = "; for a dense array x write x[support.indices()]" if order == 2 and order == len(term.labels) else ""
    raise ShapeError(
        f"input {term.name!r} has {'too few axes' if count is None else f'{count} rows'}, "
        f"but the support has {rows[order]} {many}",
        got=f"shape {list(array.shape)}",
        expected=f"[{', '.join(['*batch', *shown, *([] if channels is None else [f'{channels} channels'])])}]",
        step=f"pass one row for each {what}{dense}",
    )


def _check_bound_size(group: Group, support: Support) -> None:
    """Raise `ShapeError` unless every graph has the size of a bound group; traced supports cannot be checked."""
    nodes, graphs = support.levels[1], support.levels[0]
    if group.n is None or isinstance(nodes.drop[0], jax.core.Tracer):
        return
    graph_of = np.asarray(nodes.drop[0])
    counts = np.bincount(graph_of[graph_of < graphs.count], minlength=graphs.count)
    there = np.ones(graphs.count, bool) if graphs.own is None else np.asarray(graphs.own) < graphs.count
    wrong = np.flatnonzero(there & (counts != group.n))
    if len(wrong):
        which = "the support" if support.graphs is None else f"graph {wrong[0]} of the support"
        number = f"{counts[wrong[0]]} node{'s' * int(counts[wrong[0]] != 1)}"
        raise ShapeError(
            f"{which} has {number}, but {support.label} is bound to {group}",
            got=number,
            expected=f"{group.n} nodes in every graph",
            step=f"bind {support.label}=ek.S for graphs of any size",
        )
