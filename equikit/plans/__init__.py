"""Plans: all maps of a signature compiled to one list of reductions, products and expansions, and run in JAX.

Plans are built, printed and priced without JAX; the modules that run them are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from equikit.plans._ir import (
    NORMALIZE as NORMALIZE,
    Contraction,
    Mode as Mode,
    MultilinearPlan,
    Normalize as Normalize,
    Plan,
    Product,
    Step,
    TermPair as TermPair,
    WeightBlock,
    Widths as Widths,
    feature_widths as feature_widths,
)
from equikit.plans._weights import weight_name, weight_places as weight_places, weight_shapes
from equikit.plans.compilation._contractions import multilinear_plan, planned_maps as planned_maps
from equikit.plans.compilation._lower import (
    Channels as Channels,
    channel_pair as channel_pair,
    per_term as per_term,
    plan,
    planned as planned,
)
from equikit.plans.compilation._passes import (
    PASSES,
    add_before_broadcasting,
    batch_products,
    permute_smaller_side,
    reduce_from_smallest,
    share_reductions,
    stages,
)
from equikit.plans.compilation._products import with_wires_after as with_wires_after
from equikit.plans.compilation._unshared import unshared
from equikit.plans.costs._cost import Line, plan_cost
from equikit.plans.costs._table import stages_table as stages_table
from equikit.plans.readers._activations import activation_name as activation_name
from equikit.plans.readers._numpy import to_numpy
from equikit.plans.readers._parts import (
    Chained as Chained,
    Paired as Paired,
    Planned as Planned,
    planned_part as planned_part,
)
from equikit.plans.readers._to_torch import to_torch
from equikit.plans.targets import TARGETS, Collective, CompiledCost, Device, compiled_table

if TYPE_CHECKING:
    from equikit.plans._apply import (
        Arrays as Arrays,
        Feature as Feature,
        Inputs as Inputs,
        Mask as Mask,
        Masks as Masks,
        applied as applied,
        apply,
        lay_out,
        weights_of as weights_of,
    )
    from equikit.plans._multilinear import applied_maps as applied_maps, apply_multilinear, multilinear_weight_shape
    from equikit.plans._options import (
        Method as Method,
        RunOptions as RunOptions,
        checked_precision as checked_precision,
    )
    from equikit.plans.compilation._transpose import transpose_weights
    from equikit.plans.costs._method import Choice as Choice, run_choice as run_choice
    from equikit.plans.execution._contract import run_contractions as run_contractions
    from equikit.plans.execution._layout import Layout, Weights as Weights, as_whole as as_whole, laid_out as laid_out
    from equikit.plans.execution._memory import retain_memory
    from equikit.plans.fused._count import fused_bytes
    from equikit.plans.fused._pallas import kernels
    from equikit.plans.sparse._active import Active as Active, active_maps as active_maps
    from equikit.plans.sparse._call import support_shapes as support_shapes
    from equikit.plans.sparse._pooled import (
        from_graphs as from_graphs,
        max_by_graph as max_by_graph,
        sum_by_graph as sum_by_graph,
    )
    from equikit.plans.sparse._rows import spread_rows as spread_rows, sum_rows as sum_rows, taken as taken
    from equikit.plans.sparse._walk import is_own as is_own
    from equikit.plans.targets._compiled import compiled_cost
    from equikit.plans.targets._of_plan import plan_compiled_cost as plan_compiled_cost

__all__ = [
    "PASSES",
    "TARGETS",
    "Collective",
    "CompiledCost",
    "Contraction",
    "Device",
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
    "compiled_cost",
    "compiled_table",
    "fused_bytes",
    "kernels",
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
    "to_numpy",
    "to_torch",
    "transpose_weights",
    "unshared",
    "weight_name",
    "weight_shapes",
]

_IN_JAX = {
    "Active": "sparse._active",
    "Arrays": "_apply",
    "Choice": "costs._method",
    "Feature": "_apply",
    "Inputs": "_apply",
    "Layout": "execution._layout",
    "Mask": "_apply",
    "Masks": "_apply",
    "Method": "_options",
    "RunOptions": "_options",
    "Weights": "execution._layout",
    "active_maps": "sparse._active",
    "applied": "_apply",
    "applied_maps": "_multilinear",
    "as_whole": "execution._layout",
    "checked_precision": "_options",
    "from_graphs": "sparse._pooled",
    "is_own": "sparse._walk",
    "laid_out": "execution._layout",
    "max_by_graph": "sparse._pooled",
    "plan_compiled_cost": "targets._of_plan",
    "run_choice": "costs._method",
    "run_contractions": "execution._contract",
    "spread_rows": "sparse._rows",
    "sum_by_graph": "sparse._pooled",
    "sum_rows": "sparse._rows",
    "support_shapes": "sparse._call",
    "taken": "sparse._rows",
    "weights_of": "_apply",
    "apply": "_apply",
    "apply_multilinear": "_multilinear",
    "compiled_cost": "targets._compiled",
    "fused_bytes": "fused._count",
    "kernels": "fused._pallas",
    "lay_out": "_apply",
    "multilinear_weight_shape": "_multilinear",
    "retain_memory": "execution._memory",
    "transpose_weights": "compilation._transpose",
}


def __getattr__(name: str) -> Any:
    if name in _IN_JAX:
        return getattr(importlib.import_module(f"equikit.plans.{_IN_JAX[name]}"), name)
    raise AttributeError(f"module 'equikit.plans' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
