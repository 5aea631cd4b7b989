"""Numbers of rows with padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.supports._tables import Data, Sizes, refuse_too_many, tuples_of


def padded_sizes(
    data: Data,
    *,
    nodes: int | None,
    entries: int | Mapping[int, int] | None,
    graphs: int | None,
    tuples: Mapping[int, int] | None,
) -> Sizes:
    """Return the numbers of rows of a padded support, or raise `OptionError` if one is too small.

    Levels that are not the data themselves get the next power of two, unless `tuples` says otherwise.
    """
    if graphs is not None and data.graphs is None:
        raise OptionError(
            "graphs= is for a support with graph numbers",
            got=f"graphs={_checks.shown(graphs)} for nodes without graph numbers",
            expected="a support with graph_of=, or the result of Support.join",
            step="write Support.join([support]) before .pad",
        )
    there = {order: each.shape[1] for order, each in data.tuples.items()}
    given = _by_length("entries", entries, there, of_one=True)
    levels = {m: each.shape[1] for m, each in enumerate(tuples_of(data)[1:], start=2)}
    more = {m for m, count in levels.items() if count > there.get(m, 0)}
    chosen = _by_length("tuples", tuples, {m: levels[m] + given.get(m, 0) - there.get(m, 0) for m in more})
    return Sizes(
        _at_least("graphs", graphs, 1 if data.graphs is None else data.graphs),
        _at_least("nodes", nodes, data.n),
        given,
        {
            m: given[m] if m not in more else chosen[m] if m in (tuples or {}) else 1 << (chosen[m] - 1).bit_length()
            for m in levels
        },
    )


def _by_length(name: str, given: Any, there: Mapping[int, int], *, of_one: bool = False) -> dict[int, int]:
    if given is None:
        return dict(there)
    if of_one and len(there) == 1 and not isinstance(given, Mapping):
        given = dict.fromkeys(there, given)
    wanted = " and ".join(map(str, there)) or "no length"
    if not isinstance(given, Mapping) or not given.keys() <= there.keys():
        raise OptionError(
            f"{name}= must be a dictionary from numbers of axes to numbers of rows",
            got=_checks.shown(given),
            expected=f"keys among {wanted}",
            step=f"write {name}={ {**there} }",
        )
    return {m: _at_least(f"{name}[{m}]" if len(there) > 1 else name, given.get(m), least) for m, least in there.items()}


def _at_least(name: str, value: Any, least: int) -> int:
    if value is None:
        return least
    number = _checks.count(name, value)
    if number < least:
        raise OptionError(
            f"{name}= is smaller than the support",
            got=f"{name}={number}",
            expected=f"{least} or more",
            step=f"write {name}={least}" if name.isidentifier() else f"give {least} or more",
        )
    refuse_too_many(name, number)
    return number
