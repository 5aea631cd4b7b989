"""Compile a signature to a plan."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from equikit import _checks
from equikit._errors import ShapeError
from equikit.diagrams import HomSpace, count_joined, count_reductions
from equikit.plans._ir import NORMALIZE, Normalize, Plan, Widths
from equikit.plans.compilation._lattice import acted_labels, cheapest_expansions, cheapest_reductions
from equikit.plans.compilation._products import found_cores, joined_product, with_split_wires
from equikit.signatures import Signature, Term

FEWER = "use fewer axes; space.dim and the shapes of the weights need no plan"

Channels = int | Sequence[int]
"""One number for each term of a side, or one number for all."""


MOST_WORK = 5_000_000
"""The most estimated microseconds for which a plan is made."""

PER_TENSOR, PER_DIAGRAM = 50, 1.5
"""Microseconds for a tensor of the lattice, and for a diagram: measured on one core."""


def refuse_if_long(signature: Signature, bias: bool, per_diagram: float = PER_DIAGRAM) -> None:
    """Raise `TooLargeError`, before any enumeration, if making the plan would take more than a few seconds."""
    outputs, inputs = signature.outputs, (*signature.inputs, *([Term("", ())] if bias else []))

    def reductions(term: Term, others: Iterable[Term]) -> int:
        row = acted_labels(signature, term)
        return max(
            (count_reductions(row, groups) for groups in {signature.between(term, x) for x in others}), default=0
        )

    tensors = sum(reductions(term, inputs) for term in outputs) + sum(
        reductions(term, outputs) for term in signature.inputs
    )
    _checks.refuse_if_more("the plan has too many tensors", tensors, int(MOST_WORK / PER_TENSOR), "tensors", FEWER)
    diagrams = sum(
        count_joined(
            acted_labels(signature, target), acted_labels(signature, source), signature.between(source, target)
        )
        for target, source in itertools.product(outputs, inputs)
    )
    most = int((MOST_WORK - PER_TENSOR * tensors) / per_diagram)
    _checks.refuse_if_more("the plan has too many diagrams", diagrams, most, "diagrams", FEWER)


@functools.lru_cache(maxsize=256)
def planned(signature: Signature, channels: Widths, normalize: Normalize, bias: bool) -> Plan:
    refuse_if_long(signature, bias)
    empty = Plan(signature, channels, normalize, bias, (), (), ())
    products = tuple(
        with_split_wires(joined_product(signature, key, parts), empty.features)
        for key, parts in found_cores(signature, bias).items()
    )
    down, up = cheapest_reductions(signature, products), cheapest_expansions(signature, products)
    return replace(empty, reductions=down, products=products, expansions=up)


def per_term(channels: Channels | None, terms: tuple[Term, ...], what: str) -> tuple[int, ...]:
    """Return channels for every term, from one number for all or one for each."""
    given = (
        tuple(channels)
        if isinstance(channels, Sequence) and not isinstance(channels, bytes)
        else (channels,) * len(terms)
    )
    step, each = (
        "give one number for each term, or one for all",
        f"the number of {what} channels for {[*map(str, terms)]}",
    )
    _checks.count(each, len(given), least=len(terms), most=len(terms), step=step, error=ShapeError)
    return tuple(_checks.count(f"the number of {what} channels", count) for count in given)


def channel_pair(
    channels: object, inputs: tuple[Term, ...], outputs: tuple[Term, ...], argument: str = "channels"
) -> Widths:
    """Return channels for every input term and every output term, from a pair of numbers or sequences."""
    if not isinstance(channels, Sequence) or len(channels) != 2:
        raise ShapeError(
            "the channels are not a pair",
            got=repr(channels),
            expected="channels of the inputs, and channels of the outputs",
            step=f"write {argument}=(16, 32), or ((16, 8), 32) where there are several terms",
        )
    return per_term(channels[0], inputs, "input"), per_term(channels[1], outputs, "output")


def plan(
    signature: Signature | HomSpace,
    channels: tuple[int | tuple[int, ...], int | tuple[int, ...]] = (1, 1),
    *,
    normalize: Normalize = "sum",
    bias: bool = False,
) -> Plan:
    """Compile a signature to a plan that applies all its maps at once.

    Args:
        signature: the signature, or its Hom space.
        channels: channels of the inputs and of the outputs; a tuple of numbers for several terms.
        normalize: `"sum"`, or `"mean"` to divide each sum over an input axis by its size.
        bias: add the invariant vectors of the outputs.

    Returns:
        The plan; the same object for the same arguments.

    Raises:
        OptionError: if `normalize` is unknown, `bias` is not a boolean, or channels are not integers.
        ShapeError: unless there is one number of channels for each term.
        TooLargeError: if there are too many diagrams, or tensors between a term and its half diagrams.

    Cost: proportional to the number of half diagrams, and of pairs of them.

    Example:
        >>> from equikit import S, hom
        >>> [product.core for product in plan(hom("p p -> p p", p=S)).products]
        [('p', 'p'), ('p',), ()]
    """
    return planned(*checked_request(signature, channels, normalize), _checks.flag("bias", bias))


def checked_request(
    signature: Signature | HomSpace,
    channels: tuple[int | tuple[int, ...], int | tuple[int, ...]],
    normalize: Normalize,
) -> tuple[Signature, Widths, Normalize]:
    """Return the request with the channels of every term, or raise the errors of `plan`."""
    if isinstance(signature, HomSpace):
        signature = signature.signature
    _checks.instance("signature", signature, Signature, 'ek.hom("p p -> p", p=ek.S)')
    widths = channel_pair(channels, signature.inputs, signature.outputs)
    return signature, widths, _checks.choice("normalize", normalize, NORMALIZE)
