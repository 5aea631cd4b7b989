"""Which way to run a plan: what each is expected to take, from rates that were measured."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal

import jax
import numpy as np

from equikit._errors import OptionError
from equikit.plans._check import Shapes
from equikit.plans._cost import plan_cost
from equikit.plans._dense import dense_entries, matrix_shape, pair_plan
from equikit.plans._ir import Plan
from equikit.plans._rates import Rates, rates_of

Chosen = Literal["factored", "dense", "naive"]
Method = Literal["auto"] | Chosen

LARGEST_MATRIX = 2**24
"""Entries of the dense matrix above which it is never the fastest, so that its cost is not even reckoned."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a program does, in the units that `Rates` has a price for."""

    calls: float = 0
    products: float = 0
    product_flops: float = 0
    product_bytes: float = 0
    steps: float = 0
    step_bytes: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def seconds(self, rates: Rates) -> float:
        """The time that it is expected to take."""
        return float(sum(a * b for a, b in zip(astuple(self), astuple(rates), strict=True)))


def factored_work(plan: Plan, batch: int, sizes: Mapping[str, int], itemsize: int = 4) -> Work:
    """The work of the steps of a plan."""
    free = {label: sizes[label] for label, size in plan.signature.sizes.items() if size is None}
    found = Work(calls=1)
    for line in plan_cost(plan, batch=batch, n=free, itemsize=itemsize):
        if line.stage == "mix" or line.operation == "Levi-Civita":
            found += Work(products=1, product_flops=line.flops, product_bytes=line.bytes)
        else:
            found += Work(steps=1, step_bytes=line.bytes)
    return found


def dense_work(plan: Plan, batch: int, sizes: Mapping[str, int], itemsize: int = 4) -> Work:
    """The work of assembling the matrices of a plan, and of multiplying by them."""
    signature, found = plan.signature, Work(calls=1)
    for target, narrow in zip(signature.outputs, plan.features[1], strict=True):
        for source, wide in zip(signature.inputs, plan.features[0], strict=True):
            below, above = matrix_shape(plan, source, target, sizes)
            rows, columns = below * wide, above * narrow
            part = pair_plan(plan, source, target, wide * narrow)
            found += factored_work(part, below, sizes, itemsize)
            moved = 3 * rows * columns + batch * (rows + columns)  # the matrix is transposed, then read
            found += Work(
                calls=-1, products=1, product_flops=2 * batch * rows * columns, product_bytes=itemsize * moved
            )
    return found


@functools.lru_cache(maxsize=4096)
def fastest(plan: Plan, batch: int, sizes: tuple[tuple[str, int], ...], itemsize: int, platform: str) -> Chosen:
    """The method that is expected to take the least time.

    Args:
        plan: the plan.
        batch: number of entries of all batch axes together.
        sizes: of every label.
        itemsize: bytes of a number.
        platform: what it will run on, as JAX names it: `"cpu"`, `"gpu"`, `"tpu"`.
    """
    known, rates = dict(sizes), rates_of(platform)
    if dense_entries(plan, known) > LARGEST_MATRIX:
        return "factored"
    dense = dense_work(plan, batch, known, itemsize).seconds(rates)
    return "dense" if dense < factored_work(plan, batch, known, itemsize).seconds(rates) else "factored"


def known_method(method: Method) -> Method:
    """Return the name of a method, or raise `OptionError` where there is none of this name."""
    if method not in ("auto", "factored", "dense", "naive"):
        raise OptionError(
            "no such method",
            got=repr(method),
            expected='"auto", "factored", "dense" or "naive"',
            step='write method="auto"',
        )
    return method


def checked_method(plan: Plan, method: Method, shapes: Shapes, masks: Mapping[str, jax.Array], dtype: Any) -> Chosen:
    """Return the method to run, or raise `OptionError` where there is none of this name or it cannot serve the case."""
    known_method(method)
    symbols = [size for size in (*shapes.batch, *shapes.sizes.values()) if not isinstance(size, int)]
    masked_means = bool(masks) and plan.normalize == "mean"
    if method == "auto":
        if symbols or masked_means:
            return "factored"
        sizes = tuple(sorted(shapes.sizes.items()))
        return fastest(plan, math.prod(shapes.batch), sizes, dtype.itemsize, jax.default_backend())
    if method == "factored":
        return method
    if any(not isinstance(size, int) for size in shapes.sizes.values()):
        raise OptionError(
            f"the {method} method needs to know every size",
            got=f"the symbolic size {symbols[-1]}",
            expected="whole numbers",
            step='write method="factored", or export with fixed sizes',
        )
    if method == "dense" and masked_means:
        raise OptionError(
            "the dense method has one matrix for the whole batch",
            got=f"masks for {sorted(masks)}, by which means differ from sample to sample",
            expected='no masks, or normalize="sum"',
            step='write method="factored"',
        )
    return method


def checked_chunk_size(chunk_size: int | None, batch: tuple[Any, ...] = ()) -> int | None:
    """Return a number of samples, one or more, or `None`; raise `OptionError` where it is neither, or nobody knows how
    large the batch is."""
    if chunk_size is None:
        return None
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
        raise OptionError(
            "chunk_size is not a number of samples",
            got=repr(chunk_size),
            expected="a whole number, one or more; or None, for all samples at once",
            step="write chunk_size=8",
        )
    if not all(isinstance(size, int) for size in batch):
        raise OptionError(
            "a batch of symbolic size cannot be computed in chunks",
            got=f"chunk_size={chunk_size}, batch axes {list(batch)}",
            expected="a batch whose size is known",
            step="leave chunk_size out, or export with a fixed batch",
        )
    return int(chunk_size)
