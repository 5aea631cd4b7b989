"""Choose between factored and dense execution with a cost model, whose rates are fitted to times or to counts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax import lax

from equikit._array_checks import Shapes
from equikit._errors import OptionError
from equikit.plans._ir import Plan
from equikit.plans._options import Chosen, Method
from equikit.plans.costs._cost import plan_cost
from equikit.plans.costs._rates import Rates, rates_of
from equikit.plans.execution._dense import dense_entries, matrix_shape, pair_plan

Result = TypeVar("Result")
Value = TypeVar("Value")

LARGEST_MATRIX = 2**24
"""The most entries of a dense matrix that can be fastest; the cost of larger matrices is not computed."""


FUSED = 0.25
"""The passes over the result that an expansion costs, because XLA adds all expansions to a tensor in one loop."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a program, in the units for which `Rates` has a price."""

    calls: float = 0
    products: float = 0
    product_flops: float = 0
    product_bytes: float = 0
    steps: float = 0
    step_bytes: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def seconds(self, rates: Rates) -> float:
        """Return the expected time."""
        return float(sum(a * b for a, b in zip(astuple(self), astuple(rates), strict=True)))


def factored_work(plan: Plan, batch: int, sizes: Mapping[str, int], itemsize: int = 4) -> Work:
    """Return the work of the steps of a plan."""
    free = {label: sizes[label] for label, size in plan.signature.sizes.items() if size is None}
    found = Work(calls=1)
    for line in plan_cost(plan, batch=batch, n=free, itemsize=itemsize):
        if line.stage == "mix" or line.operation == "Levi-Civita":
            found += Work(products=1, product_flops=line.flops, product_bytes=line.bytes)
        elif line.stage == "expand":
            found += Work(steps=1, step_bytes=FUSED * itemsize * math.prod(line.shape))
        else:
            found += Work(steps=1, step_bytes=line.bytes)
    return found


def dense_work(plan: Plan, batch: int, sizes: Mapping[str, int], itemsize: int = 4) -> Work:
    """Return the work of assembling the matrices of a plan, and of multiplying by them."""
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


def fastest(plan: Plan, batch: int, sizes: tuple[tuple[str, int], ...], itemsize: int, platform: str) -> Chosen:
    """Return the method with the least expected time.

    Args:
        plan: the plan.
        batch: number of entries of all batch axes together.
        sizes: the size of every label.
        itemsize: bytes of a number.
        platform: the platform as JAX names it: `"cpu"`, `"gpu"`, `"tpu"`.
    """
    known, rates = dict(sizes), rates_of(platform)
    if dense_entries(plan, known) > LARGEST_MATRIX:
        return "factored"
    dense = dense_work(plan, batch, known, itemsize).seconds(rates)
    return "dense" if dense < factored_work(plan, batch, known, itemsize).seconds(rates) else "factored"


@functools.lru_cache(maxsize=4096)
def fastest_by_platform(plan: Plan, batch: int, sizes: tuple[tuple[str, int], ...], itemsize: int) -> Choice[Chosen]:
    """Return the method with the least expected time on each platform."""
    return Choice(*(fastest(plan, batch, sizes, itemsize, platform) for platform in Choice._fields))


class Choice(NamedTuple, Generic[Value]):
    """A choice for each platform, because the platform of a program is unknown while it is traced."""

    cpu: Value
    gpu: Value
    tpu: Value

    @classmethod
    def everywhere(cls, value: Value) -> Choice[Value]:
        """Return the same choice on every platform."""
        return cls(value, value, value)

    @property
    def single(self) -> Value | None:
        """The choice, if it is the same on every platform."""
        return self.cpu if len(set(self)) == 1 else None


FACTORED: Choice[Chosen] = Choice.everywhere("factored")


def choose(
    plan: Plan, method: Method, shapes: Shapes, masks: Mapping[str, jax.Array], dtype: np.dtype[Any]
) -> Choice[Chosen]:
    """Return the method to run on each platform, or raise `OptionError` if the given method does not apply."""
    symbols = [size for size in (*shapes.batch, *shapes.sizes.values()) if not isinstance(size, int)]
    masked_means = bool(masks) and plan.normalize == "mean"
    if method == "auto":
        if symbols or masked_means:
            return FACTORED
        sizes = tuple(sorted(shapes.sizes.items()))
        return fastest_by_platform(plan, math.prod(shapes.batch), sizes, dtype.itemsize)
    if method not in ("factored", "fused") and any(not isinstance(size, int) for size in shapes.sizes.values()):
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
    return Choice.everywhere(method)


def run_choice(choice: Choice[Value], run: Callable[[Value], Callable[..., Result]], *operands: Any) -> Result:
    """Call `run(value)(*operands)` with the choice for the platform for which the program is lowered."""
    if choice.single is not None:
        return run(choice.single)(*operands)
    others = {"cpu": choice.cpu, "tpu": choice.tpu}
    branches = {platform: run(value) for platform, value in others.items() if value != choice.gpu}
    found: Result = lax.platform_dependent(*operands, default=run(choice.gpu), **branches)
    return found
