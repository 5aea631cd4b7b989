"""Checks of options by name, shared by frames and learned methods."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from equikit import _checks
from equikit._errors import OptionError


def checked_axes(value: object) -> tuple[str, str]:
    """Return the labels of rows and columns, or raise `OptionError`."""
    given = tuple(value) if isinstance(value, tuple | list) else ()
    if len(given) != 2 or not all(isinstance(axis, str) for axis in given) or given[0] == given[1]:
        raise OptionError(
            "axes= must be two different labels",
            got=_checks.shown(value),
            expected="the labels of the rows and of the columns",
            step='write axes=("i", "j")',
        )
    return given[0], given[1]


_at_least_one = functools.partial(_checks.count, least=1)
_positive = functools.partial(_checks.number, above=0, traced=False)

CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("label", "term", "points", "vectors"), functools.partial(_checks.text, optional=True)),
    **dict.fromkeys(("terms", "labels"), functools.partial(_checks.names, fewest=1, optional=True)),
    "invariant_to": _checks.names,
    "axes": lambda _, value: checked_axes(value),
    "tolerance": functools.partial(_checks.number, least=0, optional=True, traced=False, example=1e-3),
    **dict.fromkeys(("beta", "learning_rate"), _positive),
    "scale": functools.partial(_checks.number, least=0, traced=False),
    "temperature": functools.partial(_positive, example=0.1),
    **dict.fromkeys(("rounds", "steps"), functools.partial(_checks.count, most=2**31 - 1)),
    "features": _checks.count,
    **dict.fromkeys(("samples", "number", "noise", "max_size", "max_steps", "parts", "chunk_size"), _at_least_one),
    **dict.fromkeys(("differentiable", "refine", "gumbel", "translation", "compare_input", "hard"), _checks.flag),
}


def option(name: str, value: Any) -> Any:
    """Return the value of an option in its normal form, or raise `OptionError`."""
    return CHECKS[name](name, value)


def check_options(method: Any, policies: tuple[str, ...]) -> None:
    """Normalize the options of a frozen dataclass in place, or raise `OptionError`."""
    for each in fields(method):
        value = getattr(method, each.name)
        if each.name == "on_degenerate":
            _checks.choice(each.name, value, policies)
        elif each.name in CHECKS and (value is not None or each.default is not None):
            object.__setattr__(method, each.name, option(each.name, value))


def refuse_wrong_key(key: object) -> None:
    """Raise `OptionError` unless a key is `None`, or a single JAX key."""
    if key is not None:
        _checks.key(
            key,
            expected="a JAX key, one for the whole batch",
            step="write key=jax.random.key(0), or jax.vmap over samples and keys",
        )
