r"""Products of diagrams with Levi-Civita tensors, which are combinations of diagrams.

A product with one head keeps it, with the sign of the new order of its legs; the product is zero if two of its legs are
joined, or two are summed over. Two heads on one label become pairs,
\(\varepsilon_{a_1 \dots a_n} \varepsilon_{b_1 \dots b_n} = \det(\eta) \sum_\sigma \mathrm{sgn}(\sigma)
\prod_i \eta_{a_i b_{\sigma(i)}}\).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams._dense import label_sizes, leg_order
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.algebra._algebra import Multipliable
from equikit.diagrams.algebra._composite import Composite
from equikit.diagrams.algebra._heads import parity
from equikit.groups import Form
from equikit.signatures import base

MOST_TERMS = 5_040
"""The most terms of the product of two Levi-Civita tensors that are written out."""

Leg = int | None
"""The joined block of a leg, `None` if the leg is summed over."""


@dataclass(frozen=True, slots=True)
class Combination(Multipliable):
    """A sum of diagrams with integer coefficients and loops; zero without terms.

    Attributes:
        top, bottom: the labels of the rows.
        terms: distinct diagrams, or distinct loops, in order.
    """

    top: tuple[str, ...]
    bottom: tuple[str, ...]
    terms: tuple[Composite, ...]

    def matrix(self, n: int | Mapping[str, int]) -> np.ndarray:
        """Return the map as a dense integer matrix; arguments as in `Diagram.matrix`."""
        size = label_sizes(self.top + self.bottom, n)
        rows, columns = (math.prod(size[label] for label in row) for row in (self.top, self.bottom))
        total = np.zeros((rows, columns), np.int64)
        for term in self.terms:
            sizes = size | {label: label_sizes((label,), n)[label] for label, _ in term.loops}
            total += term.factor(sizes) * term.diagram.matrix(size)
        return total

    def __str__(self) -> str:
        text = ""
        for term in self.terms:
            negative = term.coefficient < 0
            scalar = replace(term, coefficient=abs(term.coefficient)).symbol
            text += (" - " if text else "-") if negative else (" + " if text else "")
            text += f"({term.diagram})" if scalar == 1 else f"{scalar} * ({term.diagram})"
        return text or "0"

    @classmethod
    def of(cls, top: tuple[str, ...], bottom: tuple[str, ...], terms: Iterable[Composite]) -> Combination:
        """Add terms: equal diagrams with equal loops become one term, and zero terms are dropped."""
        total: Counter[tuple[Diagram, tuple[tuple[str, int], ...]]] = Counter()
        for term in terms:
            total[term.diagram, term.loops] += term.coefficient
        kept = sorted(key for key, coefficient in total.items() if coefficient)
        return cls(top, bottom, tuple(Composite(*key, total[key]) for key in kept))


@dataclass(frozen=True, slots=True)
class Stack:
    """Two diagrams joined along shared vertices.

    Attributes:
        blocks: the joined block of each vertex.
        labels: the label of each vertex.
        top, bottom: the vertices that are the rows of the product.
        legs: for each label, the legs of its heads in order, one list for each head.
        negative: for each label, the number of negative directions of its metric.
    """

    blocks: tuple[int, ...]
    labels: tuple[str, ...]
    top: tuple[int, ...]
    bottom: tuple[int, ...]
    legs: dict[str, list[list[Leg]]]
    negative: dict[str, int]

    @classmethod
    def of(
        cls,
        operands: Sequence[tuple[Diagram, Sequence[int]]],
        blocks: Sequence[int],
        labels: Sequence[str],
        top: Sequence[int],
        bottom: Sequence[int],
    ) -> Stack:
        """Collect the heads of diagrams, each given with its vertices in the stack."""
        legs: dict[str, list[list[Leg]]] = {}
        negative: dict[str, int] = {}
        for diagram, vertices in operands:
            joined = dict(zip(diagram.growth, (blocks[vertex] for vertex in vertices), strict=True))
            for label, count, own in diagram.heads:
                order: list[Leg] = [joined[block] for part in leg_order(diagram, label) for block in part]
                legs.setdefault(label, []).append([*order, *[None] * (count - len(own))])
            negative |= {label: form.negative for label, form in diagram.forms}
        return cls(tuple(blocks), tuple(labels), tuple(top), tuple(bottom), legs, negative)


def _one_head(legs: list[Leg], outer: set[int]) -> tuple[int, list[Leg]]:
    """Move the leg that no outer vertex has to the end, to be summed over; the sign is zero if two legs are joined."""
    blocks = [leg for leg in legs if leg is not None]
    kept: list[Leg] = [leg if leg in outer else None for leg in legs]
    if len(set(blocks)) < len(blocks) or kept.count(None) > 1:
        return 0, []
    if None not in kept:
        return 1, kept
    place = kept.index(None)
    return (-1) ** (len(kept) - 1 - place), [*kept[:place], *kept[place + 1 :], None]


def _two_heads(first: list[Leg], second: list[Leg], negative: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield coefficients, and the blocks that each joins."""
    n = len(first)
    for permutation in itertools.permutations(range(n)):
        coefficient, pairs = parity(permutation) * (-1) ** negative, []
        for leg, other in zip(first, (second[i] for i in permutation), strict=True):
            if leg is None and other is None:
                coefficient *= n
            elif leg is not None and other is not None:
                pairs.append((leg, other))
        yield coefficient, pairs


def combine(stack: Stack, forms: Mapping[str, Form], sign: int = 1) -> Combination:
    """Write a stack of diagrams with heads as a combination of diagrams.

    Raises:
        TooLargeError: if two heads have more than seven legs.

    Cost: n! terms for each label with two heads.
    """
    outer = {stack.blocks[vertex] for vertex in (*stack.top, *stack.bottom)}
    label_of = dict(zip(stack.blocks, map(base, stack.labels), strict=True))
    single: dict[str, list[Leg]] = {}
    expansions: list[list[tuple[int, list[tuple[int, int]]]]] = []
    summed: set[int] = set()
    for label, heads in stack.legs.items():
        if len(heads) == 2:
            refuse_if_more(
                f"the product of two Levi-Civita tensors on {label!r} has too many terms",
                math.factorial(len(heads[0])),
                MOST_TERMS,
                "terms",
                f"multiply the matrices, or use at most 7 for the size of {label!r}",
            )
            expansions.append(list(_two_heads(heads[0], heads[1], stack.negative.get(label, 0))))
            continue
        turned, single[label] = _one_head(heads[0], outer)
        sign *= turned
        summed |= {leg for leg in heads[0] if leg is not None and leg not in outer}
    top, bottom = (tuple(stack.labels[vertex] for vertex in row) for row in (stack.top, stack.bottom))
    size = {label: len(heads[0]) for label, heads in stack.legs.items()}
    terms: list[Composite] = []
    for choice in itertools.product(*expansions) if sign else ():
        coefficient = sign * math.prod(factor for factor, _ in choice)
        blocks = _joined(stack.blocks, [pair for _, pairs in choice for pair in pairs])
        growth = tuple(blocks[stack.blocks[vertex]] for vertex in (*stack.top, *stack.bottom))
        kept = tuple(
            (label, size[label], tuple(blocks[leg] for leg in legs if leg is not None))
            for label, legs in single.items()
        )
        diagram = Diagram(top, bottom, growth, tuple(forms.items()), kept)
        new = dict(zip(growth, diagram.growth, strict=True))
        for label, legs in single.items():
            order = [block for part in leg_order(diagram, label) for block in part]
            coefficient *= parity([order.index(new[blocks[leg]]) for leg in legs if leg is not None])
        loops = Counter(label_of[b] for b in {*blocks.values()} - {*growth} - {blocks[b] for b in summed})
        for label in loops.keys() & size.keys():  # the size of a label with a head is known
            coefficient *= size[label] ** loops.pop(label)
        terms.append(Composite(diagram, tuple(sorted(loops.items())), coefficient))
    return Combination.of(top, bottom, terms)


def _joined(blocks: Sequence[int], pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return for each block its representative after pairs of blocks are joined."""
    parent = {block: block for block in blocks}

    def root(block: int) -> int:
        while parent[block] != block:
            block = parent[block]
        return block

    for one, other in pairs:
        parent[root(one)] = root(other)
    return {block: root(block) for block in parent}
