"""The optimizer: passes that map a plan to a cheaper plan of the same map.

From `unshared`, the plan of one diagram at a time, the passes in order produce the plan that `plan` returns. `plan`
builds it directly with the same functions, because thousands of diagrams must not be listed one by one. Each pass
preserves the map of any plan, and changes only what it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from equikit.diagrams import HomSpace
from equikit.plans._ir import Normalize, Plan
from equikit.plans._weights import checked_plan
from equikit.plans.compilation._lattice import cheapest_expansions, cheapest_reductions
from equikit.plans.compilation._products import joined_product, parts_of, with_split_wires
from equikit.plans.compilation._unshared import unshared
from equikit.signatures import Signature


def share_reductions(plan: Plan) -> Plan:
    """Do equal reductions once: common subexpressions of the input halves.

    Cost: linear in the number of steps.

    Example:
        >>> from equikit import S, hom
        >>> before = unshared(hom("p p -> p p", p=S))
        >>> len(before.reductions), len(share_reductions(before).reductions)
        (17, 5)
    """
    return replace(checked_plan(plan), reductions=tuple(dict.fromkeys(plan.reductions)))


def reduce_from_smallest(plan: Plan) -> Plan:
    """Make each input half from the cheapest available tensor.

    This chooses both the smallest parent and the contraction order: an order is a path from the whole input down to a
    half diagram, and the cheapest path takes the cheapest parent at each node. A parent that a product also takes costs
    nothing; a parent made only for this purpose costs its own computation.

    Cost: proportional to the number of half diagrams on the paths.

    Example:
        >>> from equikit import O, hom
        >>> before = share_reductions(unshared(hom("x x x x -> x x", x=O)))
        >>> [plan.cost(n=10)[1] for plan in (before, reduce_from_smallest(before))]
        [108708, 105228]
    """
    return replace(checked_plan(plan), reductions=cheapest_reductions(plan.signature, plan.products))


def add_before_broadcasting(plan: Plan) -> Plan:
    """Add all contributions to an output half, then expand it once, into the cheapest larger tensor.

    This does for expansions what `share_reductions` and `reduce_from_smallest` do for reductions.

    Cost: proportional to the number of half diagrams on the paths.

    Example:
        >>> from equikit import S, hom
        >>> before = unshared(hom("p p -> p p", p=S))
        >>> len(before.expansions), len(add_before_broadcasting(before).expansions)
        (17, 5)
    """
    return replace(checked_plan(plan), expansions=cheapest_expansions(plan.signature, plan.products))


def batch_products(plan: Plan) -> Plan:
    """Combine the products of one core into one matrix product of all halves, terms and wirings.

    Every diagram must be in one product only. Wires are permuted after the product, as in `unshared`.

    Cost: proportional to the number of pairs of half diagrams, times the number of wirings.

    Example:
        >>> from equikit import S, hom
        >>> before = unshared(hom("p p -> p p", p=S))
        >>> len(before.products), len(batch_products(before).products)
        (15, 3)
    """
    parts = parts_of(checked_plan(plan)).items()
    return replace(plan, products=tuple(joined_product(plan.signature, *item) for item in parts))


def permute_smaller_side(plan: Plan) -> Plan:
    """Permute wires before a product, after it, or partly both, so that the least data is copied.

    Cost: linear in the number of wirings.

    Example:
        >>> from equikit import S, hom
        >>> before = batch_products(unshared(hom("p p p -> p p p", p=S)))
        >>> [len(plan.products[0].wires_out) for plan in (before, permute_smaller_side(before))]
        [6, 3]
    """
    features = checked_plan(plan).features
    return replace(plan, products=tuple(with_split_wires(product, features) for product in plan.products))


PASSES: tuple[Callable[[Plan], Plan], ...] = (
    share_reductions,
    reduce_from_smallest,
    add_before_broadcasting,
    batch_products,
    permute_smaller_side,
)
"""All passes, in order."""


def stages(
    signature: Signature | HomSpace,
    channels: tuple[int | tuple[int, ...], int | tuple[int, ...]] = (1, 1),
    *,
    normalize: Normalize = "sum",
    bias: bool = False,
) -> dict[str, Plan]:
    """Return the plan before all passes and after each, by the name of the pass; the first is called `"unshared"`.

    Args:
        signature, channels, normalize, bias: as for `plan`.

    Returns:
        One plan more than there are passes; the last is `plan`.

    Raises:
        OptionError, ShapeError: as in `plan`.

    Cost: the cost of `unshared`.

    Example:
        >>> from equikit import S, hom
        >>> for name, plan in stages(hom("p p -> p p", p=S)).items():
        ...     print(name, plan.cost(n=10))
        unshared (2868, 19764)
        share_reductions (2248, 16716)
        reduce_from_smallest (2248, 16716)
        add_before_broadcasting (1290, 8892)
        batch_products (1128, 6452)
        permute_smaller_side (1128, 6452)
    """
    found = {"unshared": unshared(signature, channels, normalize=normalize, bias=bias)}
    for improve in PASSES:
        found[improve.__name__] = improve([*found.values()][-1])
    return found
