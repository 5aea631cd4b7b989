"""Names, shapes and order of the weights of plans. No JAX."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from equikit import _checks
from equikit._errors import SignatureError
from equikit.diagrams import pair_diagrams
from equikit.plans._ir import Plan, TermPair, Widths, feature_widths
from equikit.signatures import Signature, Term


def checked_plan(plan: Any) -> Plan:
    """Return a plan, or raise `OptionError`."""
    return _checks.instance("plan", plan, Plan, "space.plan((channels_in, channels_out))")


def weight_name(source: Term | None, target: Term) -> str:
    """Return the name of the weights of a pair of terms: `"p p -> p"`, and `"-> p"` for a bias."""
    _checks.instance("target", target, Term, "space.signature.outputs[0]")
    if source is not None:
        _checks.instance("source", source, Term, "space.signature.inputs[0]")
    name = target.name or "()"
    return f"-> {name}" if source is None else f"{source.name or '()'} -> {name}"


def weight_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return the shape of the weights of every pair of terms.

    Returns:
        `"in -> out"` to `(diagrams, features in, features out)`, and if the plan has a bias `"-> out"` to `(diagrams,
        features out)`. The diagrams span the pair's Hom space, in its order; features are channels times the
        sizes of plain axes. Pairs without maps are omitted.

    Example:
        >>> from equikit import S, hom
        >>> weight_shapes(hom("p p -> p", p=S).plan((16, 32), bias=True))
        {'p p -> p': (5, 16, 32), '-> p': (1, 32)}
    """
    plan = checked_plan(plan)
    return {name: shape for name, (_, shape) in weight_places(plan.signature, plan.channels, plan.bias).items()}


@functools.lru_cache(maxsize=256)
def weight_places(signature: Signature, channels: Widths, bias: bool) -> Mapping[str, tuple[TermPair, tuple[int, ...]]]:
    """By name the pair of term numbers and the shape of each weight; cached, because every layer call needs it."""
    places: dict[str, tuple[TermPair, tuple[int, ...]]] = {}
    features = feature_widths(signature, channels)

    def add(t: int | None, s: int) -> None:
        source, target = None if t is None else signature.inputs[t], signature.outputs[s]
        name = weight_name(source, target)
        if name in places:
            raise SignatureError(
                f"two pairs of terms would have the weights {name!r}",
                got=f"terms named {[term.name for term in (*signature.inputs, *signature.outputs)]}",
                expected="names of terms that tell their pairs apart",
                step="choose names without arrows and parentheses",
            )
        diagrams = pair_diagrams(signature, source, target)
        if diagrams:
            widths = [] if t is None else [features[0][t]]
            places[name] = (t, s), (diagrams.count_all, *widths, features[1][s])

    for s in range(len(signature.outputs)):
        for t in range(len(signature.inputs)):
            add(t, s)
        if bias:
            add(None, s)
    return MappingProxyType(places)
