"""From a space of multilinear maps to contractions: what is computed once for many diagrams. Nothing here imports JAX.

A diagram is applied in three stages. Every input is *reduced* by the part of the diagram that lies in it alone:
diagonals, traces and sums. The reduced inputs are *contracted* with each other, with Levi-Civita tensors and with the
weights. The result is *expanded* to the output by the part of the diagram that lies in the output. Diagrams with the
same reductions that join the reduced inputs in the same way share one contraction, however they place its axes in the
output.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any, Literal

from equikit.diagrams import Diagram, MultilinearSpace
from equikit.diagrams._dense import leg_order
from equikit.diagrams._growth import canonical
from equikit.diagrams._invariants import Invariants
from equikit.diagrams._orbits import Move, OrbitSum, bare, walk
from equikit.groups import Form


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One row of a diagram, or the part of it in one input: a tensor with an axis for every open block.

    Attributes:
        growth: the block of each vertex, a restricted growth string.
        open: the blocks that go on outside, or are legs of a Levi-Civita tensor; ascending, each an axis.
    """

    growth: tuple[int, ...]
    open: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether it is the tensor itself, each vertex an axis."""
        return len(self.open) == len(self.growth)


@dataclass(frozen=True, slots=True)
class Narrowing:
    """How a row is made from a larger one: the sum over an axis, a diagonal, or the trace with a form.

    Read upwards it is how the larger tensor is made from the smaller one.
    """

    larger: Row
    operation: Literal["sum", "diagonal", "trace"]
    axes: tuple[int, ...]


def narrowing(row: Row, formed: frozenset[int]) -> Narrowing:
    """The last step on the way from the whole tensor to a row: sums come after diagonals.

    Args:
        row: any row but the whole.
        formed: the vertices whose label has a form.
    """
    closed = [block for block in range(max(row.growth) + 1) if block not in row.open]
    if closed:
        block = closed[-1]
        vertices = [v for v, own in enumerate(row.growth) if own == block]
        if vertices[0] in formed:
            first, second = vertices
            larger, new = _split(row, second, {*row.open, block})
            ends = tuple(larger.open.index(larger.growth[vertex]) for vertex in (first, second))
            return Narrowing(larger, "trace", ends)
        larger = Row(row.growth, tuple(sorted((*row.open, block))))
        return Narrowing(larger, "sum", (larger.open.index(block),))
    last = max(v for v, own in enumerate(row.growth) if own in row.growth[:v])
    larger, new = _split(row, last, {*row.open})
    return Narrowing(larger, "diagonal", (larger.open.index(larger.growth[row.growth.index(row.growth[last])]), new))


def _split(row: Row, vertex: int, opened: set[int]) -> tuple[Row, int]:
    """Give a vertex a block of its own, which is open; also the axis that it has."""
    raw = [*row.growth]
    raw[vertex] = -1
    growth = canonical(raw)
    new = dict(zip(raw, growth, strict=True))
    larger = Row(growth, tuple(sorted({new[block] for block in opened} | {new[-1]})))
    return larger, larger.open.index(new[-1])


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """A Levi-Civita tensor as an operand of a contraction.

    Attributes:
        label: the label of its legs.
        letters: the letter of each leg, in order; one less than the legs where the last is summed over.
        legs: how many legs it has.
        lowered: the places of the legs in the bottom row alone, which a metric lowers.
    """

    label: str
    letters: tuple[int, ...]
    legs: int
    lowered: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """How reduced inputs are joined; a letter is a block.

    Axes of groups without diagrams are letters too, which the invariant tensors hold together.

    Attributes:
        rows: for each input what it is reduced to.
        letters: for each input the letter of each axis.
        turned: for each input the axes that are multiplied by the form of their label.
        heads: the Levi-Civita tensors.
        kept: the letters of the result, ascending; all others are summed over.
        labels: the label of each letter.
        averaged: the labels of the letters that are summed over without being legs, which are divided by in a mean.
        held: the letter of each axis of the invariant tensors.
    """

    rows: tuple[Row, ...]
    letters: tuple[tuple[int, ...], ...]
    turned: tuple[tuple[int, ...], ...]
    heads: tuple[Head, ...]
    kept: tuple[int, ...]
    labels: tuple[str, ...]
    averaged: tuple[str, ...]
    held: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """Where the result of a contraction goes.

    Attributes:
        element: the number of the basis element.
        coefficient: what it is multiplied by.
        row: the row of the output that it is.
        axes: for each axis of the row the axis of the result.
        choice: the number of the invariant tensor.
    """

    element: int
    coefficient: Any
    row: Row
    axes: tuple[int, ...]
    choice: int = 0


Contractions = tuple[tuple[Pattern, tuple[Use, ...]], ...]


def _terms(total: OrbitSum, invariants: Invariants, moves: tuple[Move, ...]) -> list[tuple[Diagram, dict[int, Any]]]:
    """The diagrams of a basis element up to exchanges of axes, each with coefficients of invariant tensors.

    Tensors are made symmetric before and after, so one diagram does for all that differ by exchanges of axes.
    """
    left: dict[Diagram, dict[int, Any]] = {}
    for member, factor in total.terms:
        left.setdefault(bare(member), {})[invariants.choice(member)] = factor
    found = []
    while left:
        diagram = next(iter(left))
        own, factors = walk(diagram, moves)[0], left[diagram]
        for member in own:
            del left[member]
        found.append((diagram, {choice: factor * len(own) for choice, factor in factors.items()}))
    return found


@functools.lru_cache(maxsize=4096)
def _pattern(space: MultilinearSpace, diagram: Diagram) -> tuple[Pattern, Row, tuple[int, ...]]:
    starts = space.starts
    split = starts[1]
    heads = [(label, count, leg_order(diagram, label)) for label, count, _ in diagram.heads]
    legs = {block for _, _, parts in heads for part in parts for block in part}
    whole = [diagram.growth[vertex] for vertex in space.invariants.vertices]
    legs.update(whole)
    above = set(diagram.growth[:split])
    letter: dict[int, int] = {}
    rows, letters, turned = [], [], []
    forms, seen = dict(diagram.forms), set[int]()
    for start, stop in itertools.pairwise(starts[1:]):
        own, rest = diagram.growth[start:stop], diagram.growth[:start] + diagram.growth[stop:]
        growth = canonical(own)
        blocks = list(dict.fromkeys(own))
        opened = [i for i, block in enumerate(blocks) if block in rest or block in legs]
        rows.append(Row(growth, tuple(opened)))
        letters.append(tuple(letter.setdefault(blocks[i], len(letter)) for i in opened))
        # The later of the two ends of a form in the bottom row is multiplied by it.
        lowered = [
            axis
            for axis, i in enumerate(opened)
            if blocks[i] in seen and blocks[i] not in above and diagram.labels[start + own.index(blocks[i])] in forms
        ]
        turned.append(tuple(lowered))
        seen.update(own)
    tensors = []
    for label, count, (shared, up, down) in heads:
        order = tuple(letter.setdefault(block, len(letter)) for block in (*shared, *up, *down))
        tensors.append(Head(label, order, count, tuple(range(len(shared) + len(up), len(order)))))
    held = tuple(letter.setdefault(block, len(letter)) for block in whole)
    names = diagram.block_labels
    kept = tuple(sorted(number for block, number in letter.items() if block in above))
    averaged = sorted(names[block] for block in letter if block not in above and block not in legs)
    top = tuple(dict.fromkeys(diagram.growth[:split]))  # blocks are numbered by first appearance, the top row first
    opened = [block for block in top if block in letter]
    row = Row(diagram.growth[:split], tuple(opened))
    pattern = Pattern(
        tuple(rows),
        tuple(letters),
        tuple(turned),
        tuple(tensors),
        kept,
        tuple(names[block] for block in letter),
        tuple(averaged),
        held,
    )
    return pattern, row, tuple(kept.index(letter[block]) for block in opened)


@functools.lru_cache(maxsize=256)
def contractions(space: MultilinearSpace, chosen: tuple[int, ...] | None = None) -> Contractions:
    """The contractions that apply the maps of a space, each with the places where its result is used.

    Args:
        space: the space.
        chosen: the numbers of the basis elements to apply, which are then numbered as they come; all where not given.

    Cost: linear in the number of diagrams.
    """
    found: dict[Pattern, list[Use]] = {}
    basis, invariants = space.basis, space.invariants
    moves = tuple(move for place in range(len(space.operands) + 1) for move in space.axis_moves(place))
    for element, total in enumerate(basis if chosen is None else [basis[i] for i in chosen]):
        for diagram, factors in _terms(total, invariants, moves):
            pattern, row, axes = _pattern(space, diagram)
            uses = found.setdefault(pattern, [])
            uses += [Use(element, factor, row, axes, choice) for choice, factor in factors.items()]
    return tuple((pattern, tuple(uses)) for pattern, uses in found.items())


def formed_vertices(labels: tuple[str, ...], forms: dict[str, Form]) -> frozenset[int]:
    """The vertices of a row whose label has a form."""
    return frozenset(vertex for vertex, label in enumerate(labels) if label in forms)


Letters = tuple[int, ...]
Order = tuple[tuple[int, int, Letters], ...]
"""Pairs of operands to contract, with the letters of what comes of them, which is put last."""


def best_order(operands: tuple[Letters, ...], result: Letters, sizes: tuple[int, ...], most: int) -> Order:
    """The order of contracting operands two by two that takes the fewest multiplications.

    Among the orders whose intermediate results have at most `most` entries; where there are none, the order whose
    largest intermediate result is smallest.

    Args:
        operands: the letters of each operand.
        result: the letters of the result.
        sizes: the size of each letter.
        most: entries.

    Cost: grows as the factorial of the number of operands.
    """

    def entries(letters: Letters) -> int:
        count = 1
        for letter in letters:
            count *= sizes[letter]
        return count

    def search(left: tuple[Letters, ...]) -> tuple[int, int, Order]:
        if len(left) == 1:
            return 0, 0, ()
        best: tuple[int, int, Order] | None = None
        for j in range(len(left)):
            for i in range(j):
                rest = (*left[:i], *left[i + 1 : j], *left[j + 1 :])
                outside = {*result}.union(*rest)
                union = tuple(dict.fromkeys((*left[i], *left[j])))
                made = result if not rest else tuple(letter for letter in union if letter in outside)
                over, work, order = search((*rest, made))
                size = 0 if not rest else entries(made)
                option = max(over, size if size > most else 0), work + entries(union), ((i, j, made), *order)
                best = option if best is None else min(best, option)
        assert best is not None
        return best

    return search(operands)[2]
