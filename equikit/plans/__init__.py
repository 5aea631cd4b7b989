"""Plans: all maps of a signature compiled to one list of reductions, products and expansions, and run in JAX.

Plans are made, shown and priced without JAX; what runs them is imported when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from equikit.plans._ir import Contraction, MultilinearPlan, Plan, Product, Step, WeightBlock
from equikit.plans.compilation._contractions import multilinear_plan
from equikit.plans.compilation._lower import plan
from equikit.plans.compilation._passes import (
    PASSES,
    add_before_broadcasting,
    batch_products,
    permute_smaller_side,
    reduce_from_smallest,
    share_reductions,
    stages,
)
from equikit.plans.compilation._unshared import unshared
from equikit.plans.costs._cost import Line, plan_cost

if TYPE_CHECKING:
    from equikit.plans._apply import apply, lay_out, weight_name, weight_shapes
    from equikit.plans._multilinear import apply_multilinear, multilinear_weight_shape
    from equikit.plans.compilation._transpose import transpose_weights
    from equikit.plans.execution._layout import Layout
    from equikit.plans.execution._memory import retain_memory

__all__ = [
    "PASSES",
    "Contraction",
    "Layout",
    "Line",
    "MultilinearPlan",
    "Plan",
    "Product",
    "Step",
    "WeightBlock",
    "add_before_broadcasting",
    "apply",
    "apply_multilinear",
    "batch_products",
    "lay_out",
    "multilinear_plan",
    "multilinear_weight_shape",
    "permute_smaller_side",
    "plan",
    "plan_cost",
    "reduce_from_smallest",
    "retain_memory",
    "share_reductions",
    "stages",
    "transpose_weights",
    "unshared",
    "weight_name",
    "weight_shapes",
]

_IN_JAX = {
    "Layout": "execution._layout",
    "apply": "_apply",
    "apply_multilinear": "_multilinear",
    "lay_out": "_apply",
    "multilinear_weight_shape": "_multilinear",
    "retain_memory": "execution._memory",
    "transpose_weights": "compilation._transpose",
    "weight_name": "_apply",
    "weight_shapes": "_apply",
}


def __getattr__(name: str) -> Any:
    if name in _IN_JAX:
        return getattr(importlib.import_module(f"equikit.plans.{_IN_JAX[name]}"), name)
    raise AttributeError(f"module 'equikit.plans' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
