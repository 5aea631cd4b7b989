"""The lattice of half diagrams: how each tensor is computed from another, one axis at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from equikit.diagrams import HalfDiagram, canonical
from equikit.plans._ir import Contraction, Product, Step
from equikit.signatures import Signature, Term


def root(labels: tuple[str, ...]) -> HalfDiagram:
    """Return the half diagram of the tensor itself: every axis alone and propagating."""
    everything = tuple(range(len(labels)))
    return HalfDiagram(labels, everything, everything)


def acted_labels(signature: Signature, term: Term) -> tuple[str, ...]:
    return tuple(term.labels[i] for i in signature.acted(term))


def _larger(half: HalfDiagram) -> Iterable[Step]:
    """Yield the steps that make a half diagram from one with an additional axis, or with one head less."""
    if half.heads:
        last = half.heads[-1]
        marks = tuple(sorted((*half.propagating, *last.blocks)))
        without = HalfDiagram(half.labels, half.growth, marks, half.heads[:-1])
        yield Step(0, without, half, "head", tuple(without.wires.index(block) for block in last.blocks))
        return
    for closed in half.closed:
        kept = HalfDiagram(half.labels, half.growth, tuple(sorted((*half.propagating, closed))))
        yield Step(0, kept, half, "sum", (kept.wires.index(closed),))
    for block in half.propagating:
        vertices = half.blocks[block]
        if len(vertices) < 2:
            continue
        # Split off the last vertex: its block then comes later in the core, and the diagonal stays at the first
        # position.
        split = list(half.growth)
        split[vertices[-1]] = half.size
        growth = canonical(split)
        renumbered = {split[v]: growth[v] for v in range(len(growth))}
        kept_blocks = sorted(renumbered[b] for b in (*half.propagating, half.size))
        larger = HalfDiagram(half.labels, growth, tuple(kept_blocks))
        # A vector precedes a dual vector in the core, whichever comes first in the row.
        first, second = sorted(larger.wires.index(growth[vertex]) for vertex in (vertices[0], vertices[-1]))
        yield Step(0, larger, half, "diagonal", (first, second))


def chain(term: int, half: HalfDiagram) -> tuple[Step, ...]:
    """The steps from the whole tensor to a half diagram, whatever they cost: diagonals, then sums, then heads."""
    top, steps = root(half.labels), []
    while half != top:
        step = next(iter(_larger(half)))
        steps.append(replace(step, term=term))
        half = step.large
    return tuple(reversed(steps))


def lattice(
    term: int, labels: tuple[str, ...], needed: set[HalfDiagram], sizes: Mapping[str, int | None]
) -> list[Step]:
    """Choose the cheapest parent of each needed half diagram, sharing tensors that are needed anyway.

    The cost of a step is what it reads: the larger tensor for a sum, the smaller tensor for a diagonal. A parent that
    is needed for nothing else also costs its own computation.

    Returns:
        Steps in an order that computes every larger tensor before it is read.
    """
    free = max([size for size in sizes.values() if size is not None], default=1) * 64 + 64

    @functools.cache
    def entries(half: HalfDiagram) -> int:
        total = 1
        for label in half.core:
            size = sizes[label]
            total *= free if size is None else size
        return total

    @functools.cache
    def best(half: HalfDiagram) -> tuple[int, Step]:
        def cost(step: Step) -> int:
            own = entries(step.small) if step.operation == "diagonal" else entries(step.large)
            there = step.large in needed or step.large == top
            return own if there else own + best(step.large)[0]

        step = min(_larger(half), key=cost)
        return cost(step), step

    top = root(labels)
    steps: dict[HalfDiagram, Step] = {}
    waiting = sorted(needed - {top})
    while waiting:
        half = waiting.pop()
        if half in steps or half == top:
            continue
        _, step = best(half)
        steps[half] = replace(step, term=term)
        waiting.append(step.large)
    # A head can have more axes than legs, but is always applied after tensors without heads.
    return sorted(steps.values(), key=lambda step: (len(step.small.heads), -len(step.small.core), step.small))


def cheapest_reductions(signature: Signature, products: Iterable[Product | Contraction]) -> tuple[Step, ...]:
    """Return the steps from the inputs down to all tensors that products take."""
    return _lattices(signature, signature.inputs, [product.inputs for product in products])


def cheapest_expansions(signature: Signature, products: Iterable[Product | Contraction]) -> tuple[Step, ...]:
    """Return the steps from all results of products up to the outputs."""
    return _lattices(signature, signature.outputs, [product.outputs for product in products])[::-1]


def _lattices(
    signature: Signature, terms: tuple[Term, ...], needed: list[tuple[tuple[HalfDiagram, ...], ...]]
) -> tuple[Step, ...]:
    steps: list[Step] = []
    for i, term in enumerate(terms):
        halves = {half for side in needed for half in side[i]}
        steps += lattice(i, acted_labels(signature, term), halves, signature.sizes)
    return tuple(steps)
