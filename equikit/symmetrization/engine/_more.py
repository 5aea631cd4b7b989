"""Named extras (scores, matrices) that a method reports and losses use."""

from __future__ import annotations

from equikit._errors import OptionError
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import Info


def entries(info: object, name: str) -> list[Array]:
    """Return all quantities with this name, one for each method or label that has it.

    Raises:
        OptionError: if that is no info.
    """
    if not isinstance(info, Info):
        raise OptionError(
            "that is not what is known of a frame",
            got=type(info).__name__,
            expected="an Info",
            step="take the second of y, info = sym(x, with_info=True)",
        )
    return [value for place, value in info.more.items() if place.partition(" ")[0] == name]
