"""Checks on what is no array: plans and precisions."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.plans._ir import Plan


@functools.lru_cache(maxsize=64)
def _is_precision(precision: Any) -> bool:
    try:
        jax.eval_shape(lambda one: jnp.matmul(one, one, precision=precision), np.ones((1, 1), np.float32))
    except (TypeError, ValueError):
        return False
    return True


def checked_precision(precision: Any) -> Any:
    """Return a precision that JAX knows, or raise `OptionError`."""
    if not isinstance(precision, Hashable) or not _is_precision(precision):
        raise OptionError(
            "no such precision",
            got=repr(precision),
            expected='None, "default", "high", "highest" or a jax.lax.Precision',
            step='write precision="highest"',
        )
    return precision


def checked_plan(plan: Any) -> Plan:
    """Return a plan, or raise `OptionError`."""
    if not isinstance(plan, Plan):
        raise OptionError(
            "what came for the plan is not one",
            got=repr(plan),
            expected="a plan",
            step="pass space.plan((channels in, channels out)), or equikit.plans.plan(space, ...)",
        )
    return plan
