"""The plan without sharing, to which the passes are applied."""

from __future__ import annotations

import functools

from equikit import _checks
from equikit.diagrams import HomSpace, iter_wires
from equikit.plans._ir import Normalize, Plan, Product, Step, WeightBlock
from equikit.plans.compilation._lattice import chain
from equikit.plans.compilation._lower import checked_request, refuse_if_long
from equikit.plans.compilation._products import core_axes, found_cores
from equikit.signatures import Signature

PER_PRODUCT = 10
"""Microseconds for the product of a diagram: measured on one core."""


def unshared(
    signature: Signature | HomSpace,
    channels: tuple[int | tuple[int, ...], int | tuple[int, ...]] = (1, 1),
    *,
    normalize: Normalize = "sum",
    bias: bool = False,
) -> Plan:
    r"""Compile a signature to the plan that applies its maps one diagram at a time, as in the papers.

    Every diagram has its own product, with one input half, one output half and one wiring. Its input half is made from
    the whole input, one axis at a time: diagonals, then sums, then heads. Its result is expanded separately, and added
    to the others at the output. `PASSES` turn this into the plan that `plan` returns.

    For a group without diagrams all its invariant tensors share a product.

    Args:
        signature, channels, normalize, bias: as for `plan`.

    Returns:
        A plan that `apply` runs, with the same weights as `plan(...)`.

    Raises:
        OptionError, ShapeError, TooLargeError: as in `plan`.

    Cost: proportional to the number of diagrams, times the number of axes.

    Example:
        >>> from equikit import S, hom
        >>> [len(make(hom("p p -> p p", p=S)).products) for make in (unshared, HomSpace.plan)]
        [15, 3]

    Source:
        Pearce-Crump and Knottenbelt, arXiv:2412.10837: diagram by diagram, factored.
    """
    signature, wide, normalize = checked_request(signature, channels, normalize)
    bias = _checks.flag("bias", bias)
    refuse_if_long(signature, bias, PER_PRODUCT)
    chains = functools.cache(chain)
    reductions: list[Step] = []
    products: list[Product] = []
    expansions: list[Step] = []
    for key, parts in found_cores(signature, bias).items():
        axes, tensors = core_axes(key)
        wires = tuple(iter_wires(key[0]))
        for part in parts:
            for (bottom, top), places in part.places.items():
                inputs = tuple((bottom,) if bottom and t == part.source else () for t in range(len(signature.inputs)))
                outputs = tuple((top,) if s == part.target else () for s in range(len(signature.outputs)))
                for wiring, begin in zip(wires, places, strict=True):
                    if begin < 0:
                        continue
                    block = WeightBlock(part.source, part.target, ((begin, part.copies),))
                    products.append(Product(axes, inputs, outputs, wires[:1], (wiring,), (block,), tensors))
                    if part.source is not None and bottom is not None:
                        reductions += chains(part.source, bottom)
                    expansions += reversed(chains(part.target, top))
    return Plan(signature, wide, normalize, bias, tuple(reductions), tuple(products), tuple(expansions))
