"""Checks on options: tolerances, names of terms, and keys."""

from __future__ import annotations

import math

import numpy as np

from equikit import _checks
from equikit._errors import OptionError


def checked_tolerance(value: object) -> None:
    """Raise `OptionError` unless a tolerance is `None`, or a number of Python or NumPy, zero or more."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if value is not None and not (number and 0 <= float(value) < math.inf):  # type: ignore[arg-type]
        raise OptionError(
            "tolerance= is no tolerance",
            got=repr(value),
            expected="a number, zero or more, or None for the root of the rounding error",
            step="leave it out, or write tolerance=1e-3",
        )


def checked_terms(method: object) -> None:
    """Let a method have its `terms` as a tuple, or raise `OptionError` where they are no sequence of names."""
    given = getattr(method, "terms", None)
    if given is None:
        return
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise OptionError(
            "terms= does not name input terms",
            got=repr(given),
            expected="a tuple of names, or None for all terms",
            step=f"write terms=({given!r},)" if isinstance(given, str) else 'write terms=("x",)',
        )
    object.__setattr__(method, "terms", names)


def refuse_wrong_key(key: object) -> None:
    """Raise `OptionError` unless a key is `None`, or one key of JAX."""
    if key is not None:
        _checks.key(
            key,
            expected="a JAX key, one for the whole batch",
            step="write key=jax.random.key(0), or jax.vmap over samples and keys",
        )
