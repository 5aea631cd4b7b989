"""Plans: all maps of a signature compiled to one list of reductions, products and expansions, and run in JAX."""

from equikit.plans._apply import apply, lay_out, weight_name, weight_shapes
from equikit.plans._cost import Line, plan_cost
from equikit.plans._ir import Plan, Product, Step, WeightBlock
from equikit.plans._layout import Layout
from equikit.plans._lower import plan
from equikit.plans._memory import retain_memory
from equikit.plans._multilinear import apply_multilinear, multilinear_weight_shape
from equikit.plans._passes import (
    PASSES,
    add_before_broadcasting,
    batch_products,
    permute_smaller_side,
    reduce_from_smallest,
    share_reductions,
    stages,
)
from equikit.plans._transpose import transpose_weights
from equikit.plans._unshared import unshared

__all__ = [
    "PASSES",
    "Layout",
    "Line",
    "Plan",
    "Product",
    "Step",
    "WeightBlock",
    "add_before_broadcasting",
    "apply",
    "apply_multilinear",
    "batch_products",
    "lay_out",
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
