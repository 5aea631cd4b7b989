"""Plans: all maps of a signature compiled to one list of reductions, products and expansions, and run in JAX."""

from equikit.plans._apply import apply, lay_out, weight_name, weight_shapes
from equikit.plans._cost import Line, plan_cost
from equikit.plans._ir import Plan, Product, Step, WeightBlock
from equikit.plans._layout import Layout
from equikit.plans._lower import plan
from equikit.plans._memory import retain_memory
from equikit.plans._multilinear import apply_multilinear, multilinear_weight_shape

__all__ = [
    "Layout",
    "Line",
    "Plan",
    "Product",
    "Step",
    "WeightBlock",
    "apply",
    "apply_multilinear",
    "lay_out",
    "multilinear_weight_shape",
    "plan",
    "plan_cost",
    "retain_memory",
    "weight_name",
    "weight_shapes",
]
