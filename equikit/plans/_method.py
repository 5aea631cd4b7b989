"""Which way to run a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax

from equikit._errors import OptionError, explain
from equikit.plans._check import Shapes
from equikit.plans._ir import Plan

Chosen = Literal["factored", "dense", "naive"]
Method = Literal["auto"] | Chosen


def checked_method(plan: Plan, method: Method, shapes: Shapes, masks: Mapping[str, jax.Array], dtype: Any) -> Chosen:
    """Return the method to run, or raise `OptionError` where there is none of this name or it cannot serve the case."""
    if method not in ("auto", "factored", "dense", "naive"):
        raise OptionError(
            explain(
                "no such method",
                got=repr(method),
                expected='"auto", "factored", "dense" or "naive"',
                step='write method="auto"',
            )
        )
    if method == "auto":
        return "factored"
    symbols = [label for label, size in shapes.sizes.items() if not isinstance(size, int)]
    if symbols and method != "factored":
        raise OptionError(
            explain(
                f"the {method} method needs to know the size of {symbols[0]!r}",
                got=f"the symbolic size {shapes.sizes[symbols[0]]}",
                expected="whole numbers",
                step='write method="factored", or export with fixed sizes',
            )
        )
    if method == "dense" and masks and plan.normalize == "mean":
        raise OptionError(
            explain(
                "the dense method has one matrix for the whole batch",
                got=f"masks for {sorted(masks)}, by which means differ from sample to sample",
                expected='no masks, or normalize="sum"',
                step='write method="factored"',
            )
        )
    return method
