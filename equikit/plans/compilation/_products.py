"""The products of a plan: the diagrams of each core, and the arrangement of their weights and wirings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from equikit.diagrams import Core, CoreKey, HalfDiagram, HeadKind, iter_wires, pair_diagrams
from equikit.plans._ir import Plan, Product, TermPair, WeightBlock, Widths
from equikit.signatures import Signature

Pair = tuple[HalfDiagram | None, HalfDiagram]
"""An input half, `None` for the bias, and an output half."""


@dataclass(frozen=True, slots=True)
class Part:
    """The diagrams of one core between one pair of terms.

    Attributes:
        source, target: the terms, as in `WeightBlock`.
        places: for each pair of halves the number of the diagram of each wiring; -1 if there is none.
        copies: the number of consecutive diagrams that a wiring stands for; see `Core`.
    """

    source: int | None
    target: int
    places: dict[Pair, list[int]]
    copies: int


def _places(core: Core, start: int, bias: bool) -> dict[Pair, list[int]]:
    """Number the diagrams of a core from `start`."""
    places: dict[Pair, list[int]] = {}
    at = start
    for b, (bottom, allowed) in enumerate(zip(core.bottoms, core.allowed, strict=True)):
        for t in allowed:
            here = places[None if bias else bottom, core.tops[t]] = []
            for w in range(len(core.wires)):
                there = (b, t, w) not in core.holes
                here.append(at if there else -1)
                at += there * core.copies
    return places


def found_cores(signature: Signature, bias: bool) -> dict[CoreKey, list[Part]]:
    """Return all diagrams of all pairs of terms, by core."""
    found: dict[CoreKey, list[Part]] = {}
    sources: list[int | None] = [*range(len(signature.inputs)), *([None] if bias else [])]
    for s, target in enumerate(signature.outputs):
        for t in sources:
            start = 0
            # Layers with other channels or terms share many pairs, whose diagrams are cached.
            for core in pair_diagrams(signature, None if t is None else signature.inputs[t], target).cores:
                part = Part(t, s, _places(core, start, t is None), core.copies)
                found.setdefault((core.labels, core.heads), []).append(part)
                start += core.count
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(key: CoreKey) -> tuple[int, int, CoreKey]:
    """Sort key: cores without heads first, longest first."""
    return len(key[1]), -len(key[0]), key


def _segments(
    part: Part, bottoms: Sequence[HalfDiagram | None], tops: Sequence[HalfDiagram], wirings: int
) -> tuple[tuple[int, int], ...]:
    """Arrange the diagrams of a part on the grid of all bottoms × tops × wirings."""
    segments: list[tuple[int, int]] = []
    for pair in itertools.product(bottoms, tops):
        for begin in part.places.get(pair, [-1] * wirings):
            last, length = segments[-1] if segments else (-2, 0)
            if (begin < 0 and last == -1) or (begin >= 0 and last >= 0 and begin == last + length):
                segments[-1] = last, length + part.copies
            else:
                segments.append((begin, part.copies))
    return tuple(segments)


def core_axes(key: CoreKey) -> tuple[tuple[str, ...], tuple[HeadKind, ...]]:
    """Return the axes of the tensors between reductions and expansions, and the tensors that enter the product."""
    labels, kinds = key
    left = tuple(kind.label for kind in kinds if not kind.stars for _ in range(min(kind.above, kind.below)))
    return labels + left, tuple(kind for kind in kinds if kind.stars)


def joined_product(signature: Signature, key: CoreKey, parts: Iterable[Part]) -> Product:
    """Return one product for all diagrams of a core, with all wires permuted after it."""
    parts = sorted(parts, key=lambda part: (part.target, part.source is None, part.source or 0))
    inputs: list[set[HalfDiagram]] = [set() for _ in signature.inputs]
    outputs: list[set[HalfDiagram]] = [set() for _ in signature.outputs]
    for part in parts:
        for bottom, top in part.places:
            outputs[part.target].add(top)
            if part.source is not None and bottom is not None:
                inputs[part.source].add(bottom)
    bottoms, tops = (tuple(tuple(sorted(halves)) for halves in side) for side in (inputs, outputs))
    wires = tuple(iter_wires(key[0]))
    blocks = []
    for part in parts:
        below = (None,) if part.source is None else bottoms[part.source]
        segments = _segments(part, below, tops[part.target], len(wires))
        blocks.append(WeightBlock(part.source, part.target, segments))
    axes, tensors = core_axes(key)
    return Product(axes, bottoms, tops, wires[:1], wires, tuple(blocks), tensors)


def split_wires(
    core: tuple[str, ...], wires: tuple[tuple[int, ...], ...], width_in: int, width_out: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Distribute the permutations of the wires over both sides of a product so that the least data is copied.

    In lexicographic order, wirings that agree on the first `s` wires are adjacent and differ by a permutation of the
    other wires. That permutation is applied to the input, the rest to the output. With three wires of equal width, two
    copies of the input and three of the output replace six of either.
    """
    options = []
    for s in range(len(core) + 1):
        inner = tuple((*range(s), *(s + i for i in rest)) for rest in iter_wires(core[s:]))
        options.append((len(inner) * width_in + len(wires) // len(inner) * width_out, -s, inner))
    _, _, inner = min(options)
    return inner, wires[:: len(inner)]


def _wirings(product: Product) -> Iterator[tuple[int, ...]]:
    """Yield the wirings of a product, in the order of its weights."""
    for after in product.wires_out:
        for before in product.wires_in:
            yield tuple(after[j] for j in before)


def with_wires_after(product: Product) -> Product:
    """Return the product with all its wires permuted after it: the inverse of `with_split_wires`."""
    wires = tuple(_wirings(product))
    return replace(product, wires_in=wires[:1], wires_out=wires)


def with_split_wires(product: Product, features: Widths) -> Product:
    """Return the product with its wires permuted on the side, or sides, that copy the least data.

    A product without all wirings of its core is unchanged.
    """
    labels = product.core[: len(product.wires_in[0])]
    wires = tuple(iter_wires(labels))
    if tuple(_wirings(product)) != wires:
        return product
    width_in, width_out = (
        sum(len(halves) * f for halves, f in zip(side, widths, strict=True))
        for side, widths in zip((product.inputs, product.outputs), features, strict=True)
    )
    wires_in, wires_out = split_wires(labels, wires, width_in, width_out)
    return replace(product, wires_in=wires_in, wires_out=wires_out)


def _core_key(product: Product) -> CoreKey:
    """Return the core of a product: the labels of its wires, and how its halves share the legs of heads."""
    tops = next(halves[0].heads for halves in product.outputs if halves)
    bottoms = next((halves[0].heads for halves in product.inputs if halves), None)
    below = [len(head.blocks) for head in bottoms] if bottoms else [0] * len(tops)
    kinds = tuple(
        HeadKind(head.label, len(head.blocks), legs, head.wired, head.loose, head.stars)
        for head, legs in zip(tops, below, strict=True)
    )
    return product.core[: len(product.wires_in[0])], kinds


def parts_of(plan: Plan) -> dict[CoreKey, list[Part]]:
    """Return the diagrams of all products of a plan, by core, as input of `joined_product`."""
    found: dict[CoreKey, dict[TermPair, Part]] = {}
    for product in plan.products:
        key = _core_key(product)
        number = {wiring: i for i, wiring in enumerate(iter_wires(key[0]))}
        wirings = [number[wiring] for wiring in _wirings(product)]
        for block in product.blocks:
            bottoms = (None,) if block.source is None else product.inputs[block.source]
            cells = list(itertools.product(itertools.product(bottoms, product.outputs[block.target]), wirings))
            copies = sum(count for _, count in block.segments) // len(cells)
            runs = (
                start if start < 0 else start + i for start, count in block.segments for i in range(0, count, copies)
            )
            parts = found.setdefault(key, {})
            part = parts.setdefault((block.source, block.target), Part(block.source, block.target, {}, copies))
            for (pair, wiring), begin in zip(cells, runs, strict=True):
                if begin >= 0:
                    part.places.setdefault(pair, [-1] * len(number))[wiring] = begin
    return {key: list(found[key].values()) for key in sorted(found, key=_order)}
