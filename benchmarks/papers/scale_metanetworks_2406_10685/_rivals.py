"""Functionals, graph networks, and the same on canonical parameters, against layers that commute with scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from benchmarks.core.trained import Rival
from benchmarks.models.weight_networks import HIDDEN, WIDTH
from benchmarks.papers.scale_metanetworks_2406_10685._tasks import ScaleTask, flat
from equikit.weightspace import (
    NFN,
    CanonicalScaling,
    MessagePassing,
    ParameterGraph,
    ScaleEquivariant,
    Standardize,
    canonical_form,
)

SLOW = 0.5
"""The share of the epochs for networks whose steps take several times as long."""


class OnGraph(nnx.Module):
    """Message passing on standardized parameters."""

    def __init__(self, task: ScaleTask, statistics: Any, out: str | None, rngs: nnx.Rngs) -> None:
        self.out, outputs = out, 1 if out is None else task.zoo.outputs
        self.standardize = Standardize(task.spec, statistics)
        self.network = MessagePassing(ParameterGraph(task.spec), [1, WIDTH, WIDTH, outputs], out=out, rngs=rngs)

    def __call__(self, params: Any) -> Any:
        """Apply the network."""
        return self.network(self.standardize(params))


def functional(task: ScaleTask, statistics: Any, out: str | None, rngs: nnx.Rngs) -> nnx.Module:
    """All maps that commute with permutations, and a perceptron on their invariants."""
    if out is None:
        return NFN(task.spec, [1, WIDTH, WIDTH, 1], statistics=statistics, rngs=rngs)
    head = [HIDDEN, task.zoo.outputs]
    return NFN(task.spec, [1, WIDTH, WIDTH, HIDDEN], out=out, head=head, statistics=statistics, rngs=rngs)


def layers(task: ScaleTask, statistics: Any, out: str | None, rngs: nnx.Rngs) -> nnx.Module:
    """Layers that commute with scales and signs."""
    channels = [1, WIDTH, WIDTH, WIDTH, 1 if out is None else task.zoo.outputs]
    return ScaleEquivariant(task.spec, channels, out=out, statistics=statistics, rngs=rngs)


Make = Callable[[ScaleTask, Any, str | None, nnx.Rngs], nnx.Module]


def rival(make: Make, *, canonical: bool = False, augmented: bool = False, share: float = 1.0) -> Any:
    """Return what makes a rival for a task and a seed."""

    def build(task: ScaleTask, seed: int) -> Rival:
        rows, out = task.task.train[0], "" if task.units is None else None
        statistics = canonical_form(task.spec, rows).params if canonical else rows
        module: Any = make(task, statistics, out, nnx.Rngs(seed))
        if canonical:
            module = CanonicalScaling(task.spec, module)

        def apply(module: Any, inputs: Any, key: jax.Array) -> jax.Array:
            found: jax.Array = module(inputs)
            if task.units is not None:
                return flat(jax.tree.map(lambda leaf, unit: leaf * unit, found, task.units), task.units)
            return found if task.zoo.outputs > 1 else found[..., 0]

        return Rival(module, apply, augmented=augmented, share=share)

    return build


MAKE: dict[str, Callable[[ScaleTask, int], Rival]] = {
    "NFN": rival(functional),
    "NFN, augmented": rival(functional, augmented=True),
    "NFN, canonical": rival(functional, canonical=True),
    "message passing": rival(OnGraph, share=SLOW),
    "message passing, canonical": rival(OnGraph, canonical=True, share=SLOW),
    "scale-equivariant layers": rival(layers, share=SLOW),
}
DESCRIBED: dict[str, str] = {
    "NFN": "all maps that commute with permutations; ends permuted too, with codes of their positions",
    "NFN, augmented": "the same, every network of every batch moved by random permutations, scales and signs",
    "NFN, canonical": "the same as NFN, on canonical parameters",
    "message passing": "a graph network on the graph of the parameters, half of the steps",
    "message passing, canonical": "the same, on canonical parameters",
    "scale-equivariant layers": "features that scale like the weights, half of the steps",
}
EXACT = tuple(name for name in MAKE if "canonical" in name or "layers" in name)
"""The rivals whose outputs do not change, or change like the parameters."""
