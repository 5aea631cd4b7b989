"""Numbers of rows with padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.supports._reading import number_of
from equikit.supports._tables import Data, Sizes, tuples_of


def padded_sizes(
    data: Data,
    *,
    nodes: int | None,
    entries: int | Mapping[int, int] | None,
    graphs: int | None,
    tuples: int | Mapping[int, int] | None,
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
    there = {m: each.shape[1] for m, each in data.tuples.items()}
    rows = _by_length("entries", entries, there)
    levels = {m: each.shape[1] for m, each in enumerate(tuples_of(data), start=2)}
    chosen = _by_length("tuples", tuples, {m: levels[m] for m in levels if m < max(there)})
    for m, count in levels.items():
        if m == max(there) or (tuples is None and count == there.get(m)):
            chosen[m] = rows[m]  # the level has the rows of the data
        elif tuples is None:
            chosen[m] = 1 << max(count - 1, 0).bit_length()
    return Sizes(
        _at_least("graphs", graphs, 1 if data.graphs is None else data.graphs),
        _at_least("nodes", nodes, data.n),
        rows,
        chosen,
    )


def _by_length(name: str, given: Any, there: Mapping[int, int]) -> dict[int, int]:
    """Return a number of rows for each length, which may be one number if there is one length."""
    if given is None:
        return dict(there)
    if len(there) == 1 and not isinstance(given, Mapping):
        return {m: _at_least(name, given, least) for m, least in there.items()}
    if not isinstance(given, Mapping) or not given.keys() <= there.keys():
        raise OptionError(
            f"{name}= must be a dictionary from numbers of axes to numbers of rows"
            if there
            else f"{name}= is for supports of triples",
            got=_checks.shown(given),
            expected=f"keys among {', '.join(map(str, there))}" if there else f"nothing for {name}=",
            step=f"write {name}={dict(there)}" if there else f"leave {name} out",
        )
    return {m: _at_least(f"{name}[{m}]", given.get(m), least) for m, least in there.items()}


def _at_least(name: str, value: Any, least: int) -> int:
    if value is None:
        return least
    number = number_of(name, value, f"rows for {name}=", least)
    if number < least:
        argument, _, length = name.rstrip("]").partition("[")
        raise OptionError(
            f"{argument}= is smaller than the support",
            got=f"{name}={number}",
            expected=f"{least} or more",
            step=f"write {argument}={f'{{{length}: {least}}}' if length else least}",
        )
    return number
