"""Find which features of a network depend on its input, layer by layer."""

from __future__ import annotations

import functools
from typing import NamedTuple

from equikit.nn._bilinear import Bilinear
from equikit.nn._linear import Linear
from equikit.nn._nonlinear import Gated, NormGated, gate_name
from equikit.nn.networks._hidden import PerTerm
from equikit.plans import weight_name
from equikit.signatures import Term


class Reach(NamedTuple):
    """Names of the terms that depend on the input (`moving`), and of all terms that can be nonzero (`alive`)."""

    moving: frozenset[str]
    alive: frozenset[str]

    def join(self, other: Reach) -> Reach:
        """Return the reach of the sum of two dictionaries of features."""
        return Reach(self.moving | other.moving, self.alive | other.alive)


@functools.singledispatch
def reach(layer: object, before: Reach) -> Reach:
    """Return the reach of a layer's outputs from the reach of its inputs; by default, each term depends on itself."""
    return before


@reach.register
def _(layer: Linear, before: Reach) -> Reach:
    def targets(names: frozenset[str]) -> frozenset[str]:
        sources = [term for term in layer.signature.inputs if term.name in names]
        outputs = layer.signature.outputs
        return frozenset(t.name for t in outputs if any(weight_name(s, t) in layer.kernel for s in sources))

    biased = {term.name for term in layer.signature.outputs if weight_name(None, term) in layer.bias}
    return Reach(targets(before.moving), targets(before.alive) | biased)


@reach.register
def _(layer: Bilinear, before: Reach) -> Reach:
    factors = reach(layer.left, before)  # the right factors have the same reach
    pairs = {name: {" ".join(one), " ".join(other)} for name, (one, other) in layer.products.items()}
    alive = frozenset(name for name, pair in pairs.items() if pair <= factors.alive)
    moving = frozenset(name for name in alive if pairs[name] & factors.moving)
    return reach(layer.mix, Reach(moving, alive))


@reach.register
def _(layer: Gated, before: Reach) -> Reach:
    def moves(term: Term) -> bool:
        gated = gate_name(term) in before.moving and term.name in before.alive
        return gated or term.name in before.moving

    outputs = layer.signature.outputs
    activated = {term.name for term in outputs if gate_name(term) not in layer.inputs}
    alive = frozenset(term.name for term in outputs) & (before.alive | activated)
    return Reach(frozenset(term.name for term in outputs if moves(term)), alive)


@reach.register
def _(layer: NormGated, before: Reach) -> Reach:
    activated = {term.name for term in layer.signature.inputs} - set(layer.weight)
    return Reach(before.moving, before.alive | activated)


@reach.register
def _(layer: PerTerm, before: Reach) -> Reach:
    return Reach(before.moving, before.alive | set(layer.names))
