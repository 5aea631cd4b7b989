"""The specification as an argument of many functions."""

from __future__ import annotations

from typing import Any

import jax

from equikit import _checks
from equikit._errors import OptionError


def in_python(number: Any) -> Any:
    """A checked number as a float of Python, whose use compiles nothing; a traced number as it is."""
    return number if isinstance(number, jax.core.Tracer) else float(number)


def checked_specification(spec: Any) -> None:
    """Raise `OptionError` unless it is a specification."""
    from equikit.weightspace._specification import Specification  # which checks its arguments by this file

    if not isinstance(spec, Specification):
        raise OptionError(
            "spec= must be a specification",
            got=_checks.shown(spec, 60),
            expected="the symmetry of the parameters, a Specification",
            step="write spec=trace(apply, params, x)",
        )
