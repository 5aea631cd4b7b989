"""Named extras (scores, matrices) that a method reports and losses use."""

from __future__ import annotations

from typing import Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import Info


def entries(info: object, name: str) -> list[Array]:
    """Return all quantities with this name, one for each method or label that has it.

    Raises:
        OptionError: if `info` is not an `Info`.
    """
    more = _checks.instance("info", info, Info, "sym.info(x)").more
    return [value for place, value in more.items() if place.partition(" ")[0] == name]


def required_entries(info: Any, *names: str, how: str) -> list[Array]:
    """Return all quantities with these names, which methods such as `how` provide.

    Raises:
        OptionError: if there are none.
    """
    found = [value for name in names for value in entries(info, name)]
    if not found:
        raise OptionError(
            f"the info has no {' or '.join(map(repr, names))}",
            got=f"info with {sorted(info.more)}",
            expected=f"the info of {how}",
            step=f"write how={how}",
        )
    return found
