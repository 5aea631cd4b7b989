"""Costs of a plan on a support, and the number of entries from which dense arrays are cheaper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.plans._ir import MultilinearPlan, Stages
from equikit.plans.costs._cost import plan_cost, total
from equikit.plans.costs._rows import Rows
from equikit.plans.sparse._fitting import refuse_unfit
from equikit.plans.sparse._schedule import refuse_products

if TYPE_CHECKING:
    from equikit.supports import Support

Sizes = int | Mapping[str, int] | None


def checked_support(plan: Stages, support: Any) -> Support:
    """Return a support that fits a plan, or raise `OptionError`."""
    if not hasattr(support, "levels"):
        raise OptionError(
            "support= must be a Support",
            got=_checks.shown(support),
            expected="a Support",
            step='write support=ek.Support("p p", senders, receivers, n=n)',
        )
    refuse_unfit(plan.signature, support.label, support.orders)
    _checks.untraced("the support", support.levels[1].drop[0], step="ask for costs outside jit")
    found: Support = support
    if isinstance(plan, MultilinearPlan):
        refuse_products(plan, found)
    return found


def rows_of(support: Support) -> Rows:
    """Return the numbers of rows of a support, padding included."""
    return Rows(support.label, tuple(level.count for level in support.levels), support.graphs is not None)


def other_sizes(plan: Stages, support: Support, n: Sizes) -> dict[str, int]:
    """Return the sizes of the free labels: those given for other labels, and the largest graph for the support's."""
    free = [label for label, size in plan.signature.sizes.items() if size is None]
    given = dict(n) if isinstance(n, Mapping) else dict.fromkeys(free, n or 1)
    return {**given, support.label: graphs_of(support)[1]} if support.label in free else given


def graphs_of(support: Support) -> tuple[int, int]:
    """Return the number of graphs, and of the nodes of the largest one: the shape of dense arrays of all graphs."""
    graphs, nodes = support.levels[:2]
    graph_of = np.asarray(nodes.drop[0])
    counts = np.bincount(graph_of[graph_of < graphs.count], minlength=1)
    return graphs.count, int(counts.max())


def sparse_cost(plan: Stages, support: Support, batch: int, n: Sizes) -> tuple[int, int]:
    """Return FLOPs and bytes of all steps together."""
    support = checked_support(plan, support)
    return total(list(plan_cost(plan, batch=batch, n=other_sizes(plan, support, n), rows=rows_of(support))))


def sparse_lines(plan: Stages, support: Support, batch: int, n: Sizes) -> list[tuple[str, str, Any, Any]]:
    """Return two lines that compare a support with dense arrays: a stage, a text, FLOPs and bytes.

    The first line is the cost of dense arrays, all graphs padded to the largest one. The second is the number of
    entries with which the support would move as many bytes, if it has pairs only; the bytes of products are nearly
    linear in the entries.
    """
    graphs, nodes = graphs_of(support)
    sizes, label = other_sizes(plan, support, n), support.label
    flops, moved = total(list(plan_cost(plan, batch=batch * graphs, n=sizes)))
    shape = f"{graphs} graphs, {label}={nodes}" if support.graphs is not None else f"{label}={nodes}"
    lines: list[tuple[str, str, Any, Any]] = [("dense", shape, flops, moved)]
    if support.orders == (2,):
        rows, here = rows_of(support), max(support.entries[2], 1)
        some = [replace(rows, counts=(*rows.counts[:2], entries)) for entries in (0, here)]
        none, now = (total(list(plan_cost(plan, batch=batch, n=sizes, rows=each)))[1] for each in some)
        entries = (moved - none) * here // (now - none) if now > none else graphs * nodes**2
        most = graphs * nodes**2
        lines.append(("equal", f"at {entries:,} entries" if 0 <= entries < most else "for no support", "", moved))
    return lines
