"""From a signature to a plan."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence

from equikit._errors import OptionError, ShapeError, explain
from equikit.diagrams import Core, Diagrams, HalfDiagram, HomSpace, Signature, Term
from equikit.diagrams._core import CoreKey, iter_wires
from equikit.diagrams._growth import canonical
from equikit.groups._group import checked_size
from equikit.plans._ir import Normalize, Plan, Product, Step, WeightBlock

Channels = int | Sequence[int]
"""Of each term of a side, or one number for all."""


def root(labels: tuple[str, ...]) -> HalfDiagram:
    """The half diagram of the tensor itself: every axis alone and propagating."""
    everything = tuple(range(len(labels)))
    return HalfDiagram(labels, everything, everything)


def _larger(half: HalfDiagram) -> Iterable[Step]:
    """The steps by which a half diagram can be made from one with an axis more, or a head less."""
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
        # Split the last vertex off: its block then comes later in the core, and the diagonal stays at the first place.
        split = list(half.growth)
        split[vertices[-1]] = half.size
        growth = canonical(split)
        renumbered = {split[v]: growth[v] for v in range(len(growth))}
        kept_blocks = sorted(renumbered[b] for b in (*half.propagating, half.size))
        larger = HalfDiagram(half.labels, growth, tuple(kept_blocks))
        # A vector stands before a dual vector in the core, whichever comes first in the row.
        first, second = sorted(larger.wires.index(growth[vertex]) for vertex in (vertices[0], vertices[-1]))
        yield Step(0, larger, half, "diagonal", (first, second))


def lattice(term: int, labels: tuple[str, ...], needed: set[HalfDiagram], sizes: dict[str, int | None]) -> list[Step]:
    """Choose how each needed half diagram is made: from its cheapest parent, sharing what is needed anyway.

    The cost of a step is what it reads: the larger tensor for a sum, the smaller one for a diagonal. A parent that
    nothing else needs costs its own making as well.

    Returns:
        Steps in an order in which every larger tensor is there before it is read.
    """
    free = max([size for size in sizes.values() if size is not None], default=1) * 64 + 64

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
        steps[half] = Step(term, step.large, step.small, step.operation, step.axes)
        waiting.append(step.large)
    # A head can leave more axes than it takes, but is always made after what has none.
    return sorted(steps.values(), key=lambda step: (len(step.small.heads), -len(step.small.core), step.small))


def _segments(
    core: Core, start: int, tops: list[HalfDiagram], bottoms: list[HalfDiagram]
) -> tuple[tuple[int, int], ...]:
    """Lay the diagrams of a core, which begin at `start`, out on the grid of all bottoms × tops × wires."""
    place: dict[tuple[HalfDiagram, HalfDiagram], list[int]] = {}
    at = start
    for b, (bottom, allowed) in enumerate(zip(core.bottoms, core.allowed, strict=True)):
        for t in allowed:
            here = place[bottom, core.tops[t]] = []
            for w in range(len(core.wires)):
                there = (b, t, w) not in core.holes
                here.append(at if there else -1)
                at += there * core.copies
    segments: list[tuple[int, int]] = []
    for pair in itertools.product(bottoms, tops):
        for begin in place.get(pair, [-1] * len(core.wires)):
            last, length = segments[-1] if segments else (-2, 0)
            if (begin < 0 and last == -1) or (begin >= 0 and last >= 0 and begin == last + length):
                segments[-1] = last, length + core.copies
            else:
                segments.append((begin, core.copies))
    return tuple(segments)


def split_wires(
    core: tuple[str, ...], wires: tuple[tuple[int, ...], ...], width_in: int, width_out: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Share the permutations of the wires between the two sides of a product so that least is copied.

    In lexicographic order, wirings that agree on the first `s` wires are neighbours, and differ by a permutation of the
    others: that one is done on the input, the rest on the output. With three wires of equal width, two copies of the
    input and three of the output take the place of six of either.
    """
    options = []
    for s in range(len(core) + 1):
        inner = tuple((*range(s), *(s + i for i in rest)) for rest in iter_wires(core[s:]))
        options.append((len(inner) * width_in + len(wires) // len(inner) * width_out, -s, inner))
    _, _, inner = min(options)
    return inner, wires[:: len(inner)]


def acted_labels(signature: Signature, term: Term) -> tuple[str, ...]:
    return tuple(term.labels[i] for i in signature.acted(term))


def _products(signature: Signature, features: tuple[tuple[int, ...], tuple[int, ...]], bias: bool) -> list[Product]:
    """Collect the cores of all pairs of terms, and lay their weights out."""
    groups = tuple(signature.groups.items())
    found: dict[CoreKey, list[tuple[int | None, int, Core, int]]] = {}
    sources: list[int | None] = [*range(len(signature.inputs)), *([None] if bias else [])]
    for s, target in enumerate(signature.outputs):
        for t in sources:
            bottom = () if t is None else acted_labels(signature, signature.inputs[t])
            start = 0
            for core in Diagrams(acted_labels(signature, target), bottom, groups).cores:
                found.setdefault((core.labels, core.heads), []).append((t, s, core, start))
                start += core.count
    products = []
    for key in sorted(found, key=lambda key: (len(key[1]), -len(key[0]), key)):
        (labels, kinds), pairs = key, found[key]
        tensors = tuple(kind for kind in kinds if kind.stars)
        left = [(kind.label, min(kind.above, kind.below)) for kind in kinds if not kind.stars]
        axes = labels + tuple(label for label, count in left for _ in range(count))
        inputs: list[set[HalfDiagram]] = [set() for _ in signature.inputs]
        outputs: list[set[HalfDiagram]] = [set() for _ in signature.outputs]
        for t, s, core, _ in pairs:
            outputs[s].update(core.tops[i] for allowed in core.allowed for i in allowed)
            if t is not None:
                inputs[t].update(b for b, allowed in zip(core.bottoms, core.allowed, strict=True) if allowed)
        bottoms, tops = [sorted(halves) for halves in inputs], [sorted(halves) for halves in outputs]
        blocks = tuple(
            WeightBlock(t, s, _segments(core, start, tops[s], list(core.bottoms) if t is None else bottoms[t]))
            for t, s, core, start in pairs
        )
        width_in = sum(len(halves) * f for halves, f in zip(bottoms, features[0], strict=True))
        width_out = sum(len(halves) * f for halves, f in zip(tops, features[1], strict=True))
        wires_in, wires_out = split_wires(labels, pairs[0][2].wires, width_in, width_out)
        halves = tuple(map(tuple, bottoms)), tuple(map(tuple, tops))
        products.append(Product(axes, *halves, wires_in, wires_out, blocks, tensors))
    return products


def _lattices(signature: Signature, terms: tuple[Term, ...], needed: list[set[HalfDiagram]]) -> tuple[Step, ...]:
    steps = []
    for i, term in enumerate(terms):
        steps += lattice(i, acted_labels(signature, term), needed[i], signature.sizes)
    return tuple(steps)


@functools.lru_cache(maxsize=256)
def _plan(
    signature: Signature, channels: tuple[tuple[int, ...], tuple[int, ...]], normalize: Normalize, bias: bool
) -> Plan:
    empty = Plan(signature, channels, normalize, bias, (), (), ())
    products = _products(signature, empty.features, bias)
    needed_in = [{half for p in products for half in p.inputs[t]} for t in range(len(signature.inputs))]
    needed_out = [{half for p in products for half in p.outputs[s]} for s in range(len(signature.outputs))]
    down = _lattices(signature, signature.inputs, needed_in)
    up = _lattices(signature, signature.outputs, needed_out)
    return Plan(signature, channels, normalize, bias, down, tuple(products), up[::-1])


def per_term(channels: Channels | None, terms: tuple[Term, ...], what: str) -> tuple[int, ...]:
    """Channels for every term, from one number for all or one for each."""
    given = tuple(channels) if isinstance(channels, Sequence) else (channels,) * len(terms)
    if len(given) != len(terms):
        raise ShapeError(
            explain(
                f"the {what} channels do not fit the {what} terms",
                got=channels,
                expected=f"{len(terms)} numbers, for {' + '.join(map(str, terms))}",
                step="give one number for each term, or one for all",
            )
        )
    return tuple(checked_size(f"the number of {what} channels", count) for count in given)


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
        channels: channels of the inputs and of the outputs; a tuple of numbers where there are several terms.
        normalize: `"sum"`, or `"mean"` to divide each sum over an input axis by its size.
        bias: add the invariant vectors of the outputs.

    Returns:
        The plan; the same object for the same arguments.

    Raises:
        OptionError: if `normalize` is neither.
        ShapeError, GroupError: if channels are not whole numbers, one for each term.

    Cost: proportional to the number of half diagrams, and of pairs of them.

    Example:
        >>> from equikit import S, hom
        >>> [product.core for product in plan(hom("p p -> p p", p=S)).products]
        [('p', 'p'), ('p',), ()]
    """
    if isinstance(signature, HomSpace):
        signature = signature.signature
    if not isinstance(signature, Signature):
        raise OptionError(
            explain(
                "only a signature or its Hom space can be planned",
                got=repr(signature),
                expected='what hom("p p -> p", p=S) returns',
                step="call hom first",
            )
        )
    if not isinstance(channels, Sequence) or len(channels) != 2:
        raise ShapeError(
            explain(
                "the channels are not a pair",
                got=repr(channels),
                expected="those of the inputs and those of the outputs",
                step="write (16, 32), or ((16, 8), 32) where there are several terms",
            )
        )
    if normalize not in ("mean", "sum"):
        raise OptionError(
            explain(
                "no such normalisation", got=repr(normalize), expected='"mean" or "sum"', step='write normalize="mean"'
            )
        )
    wide = per_term(channels[0], signature.inputs, "input")
    narrow = per_term(channels[1], signature.outputs, "output")
    return _plan(signature, (wide, narrow), normalize, bias)
