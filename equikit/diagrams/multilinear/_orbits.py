r"""Sums of diagrams over exchanges of vertices: the maps between symmetric and antisymmetric tensors.

A group H of exchanges within the rows acts on the maps, and has a sign character \(\chi\). The maps with \(h D =
\chi(h) D\) are spanned by the signed orbit sums of diagrams; a sum vanishes if an exchange maps a diagram to itself
with the wrong sign. If groups have no diagrams, a diagram of the other labels is multiplied by the combinations of
invariant tensors on which its stabilizer acts by its signs. If diagrams are independent, the orbit sums are a basis;
otherwise the first independent sums are, by a certified rank (`_independent`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams._dense import leg_order
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.algebra._heads import parity
from equikit.diagrams.bases._basis import MOST_OPERATIONS, PRIMES, SPARE, count_listed, in_basis
from equikit.diagrams.bases._evaluate import evaluated
from equikit.diagrams.bases._gram import inner_product
from equikit.diagrams.counting._growth import canonical
from equikit.diagrams.counting._rules import group_of
from equikit.diagrams.multilinear._invariants import APART, Invariants, Places
from equikit.signatures import base

Move = tuple[int, tuple[int, ...]]
"""A sign, and for each vertex its new position in its row."""

Growth = tuple[int, ...]
"""The block of each vertex, numbered by first appearance."""

NONE = Invariants(())

MOST_ORBITED = 100_000
"""The most diagrams for which orbits are listed: more would take minutes."""

MOST_MOVED = 1_000_000
"""The limit on diagrams times `LISTED` plus the number of moves, for which orbits are listed in five seconds."""

LISTED = 20
"""The cost of listing a diagram, in units of one move of one diagram."""

FEWER = "use fewer axes, or leave out sym and alt: without them diagrams are counted and not listed"


@dataclass(frozen=True, slots=True)
class OrbitSum:
    """A sum of distinct diagrams over an orbit of exchanges.

    Coefficients are signs. For groups without diagrams, whose invariant tensors an exchange can combine, they are
    integers, or floating-point numbers if the tensors are not exact.
    """

    terms: tuple[tuple[Diagram, Any], ...]

    @property
    def first(self) -> Diagram:
        """The diagram that represents the orbit."""
        return self.terms[0][0]

    def __str__(self) -> str:
        text = ""
        for diagram, factor in self.terms:
            negative = not isinstance(factor, complex) and factor < 0
            text += (" - " if text else "-") if negative else " + " if text else ""
            size = -factor if negative else factor
            text += f"({diagram})" if size == 1 else f"{size:.4g} ({diagram})"
        return text if len(self.terms) > 1 or self.terms[0][1] != 1 else str(self.first)


def moved(diagram: Diagram, places: Sequence[int], known: dict[Growth, Diagram]) -> tuple[int, Diagram]:
    """Return a diagram with moved vertices, and the sign from forms and Levi-Civita tensors.

    As a tensor, axis `places[v]` of the sign times the result is axis v of the diagram.

    Args:
        diagram: the diagram.
        places: for each vertex its new position.
        known: the results so far by their growth strings, which are used again if the diagram has no heads.
    """
    blocks = [0] * diagram.order
    for vertex, place in enumerate(places):
        blocks[place] = diagram.growth[vertex]
    growth = canonical(blocks)
    new = dict(zip(blocks, growth, strict=True))
    result = None if diagram.heads else known.get(growth)
    if result is None:
        result = Diagram(diagram.top, diagram.bottom, tuple(blocks), diagram.forms, diagram.heads)
        known[growth] = result
    sign, split = 1, len(diagram.top)
    turned = {label for label, form in diagram.forms if form.kind == "symplectic"}
    for block in diagram.blocks if turned else ():
        if diagram.labels[block[0]] in turned and (block[0] < split) == (block[-1] < split):
            first, second = block
            sign = sign if places[first] < places[second] else -sign
    for label, _, _ in diagram.heads:
        before = [new[block] for part in leg_order(diagram, label) for block in part]
        after = [block for part in leg_order(result, label) for block in part]
        sign *= parity([before.index(block) for block in after])
    return sign, result


def walk(
    diagram: Diagram, moves: Sequence[Move], invariants: Invariants = NONE
) -> tuple[dict[Diagram, tuple[int, Places]], set[tuple[int, Places]]]:
    """Return the orbit of a diagram without elements, starting with the diagram, and the moves that fix it.

    Returns:
        Each diagram of the orbit comes with the sign, and the move of the axes of `invariants`, that lead to it; the
        moves that fix the diagram generate its stabilizer, with their signs (Schreier's lemma).
    """
    start = 1, tuple(range(len(invariants.vertices)))
    steps = [(sign, places, invariants.within(places)) for sign, places in moves]
    members, edge, fixers = {diagram: start}, [diagram], set[tuple[int, Places]]()
    known: dict[Growth, Diagram] = {}
    while edge:
        one = edge.pop()
        sign, reached = members[one]
        for factor, places, within in steps:
            turned, other = moved(one, places, known)
            here = sign * factor * turned, tuple(within[place] for place in reached)
            if other not in members:
                members[other] = here
                edge.append(other)
                continue
            before, back = members[other]
            fixers.add((before * here[0], tuple(back.index(place) for place in here[1])))
    return members, fixers - {start}


@functools.lru_cache(maxsize=256)
def orbit_sums(diagrams: Diagrams, moves: tuple[Move, ...]) -> tuple[OrbitSum, ...]:
    """Return a basis of the maps that exchanges multiply by a sign: orbit sums, ordered by their first diagrams.

    Args:
        diagrams: the diagrams of the space without the exchanges.
        moves: exchanges that generate the group, each with its sign.

    Raises:
        TooLargeError: if there are too many diagrams to list, or to choose a basis from; raised before any is made.

    Cost: linear in the number of diagrams and of moves; if diagrams are dependent, the cube of the number of orbits.
    """
    if not diagrams.count_all:
        return ()
    dependent = diagrams.dependent
    _refuse_if_many(diagrams, len(moves))
    candidates = tuple(Diagrams(diagrams.top, diagrams.bottom, diagrams.groups, every=dependent).bare())
    basis = tuple(one for one in candidates if in_basis(one, diagrams.groups)) if dependent else ()
    invariants = Invariants.of(diagrams.top, diagrams.bottom, diagrams.groups)
    seen: set[Diagram] = set()
    sums: list[OrbitSum] = []
    for diagram in candidates:
        if diagram in seen:
            continue
        members, fixers = walk(diagram, moves, invariants)
        seen |= members.keys()
        for vector in invariants.fixed(fixers):
            terms = [
                (invariants.held(member, choice), sign * coefficient)
                for member, (sign, places) in members.items()
                for choice, coefficient in invariants.moved(vector, places).items()
            ]
            scale = math.lcm(*(factor.denominator for _, factor in terms)) if invariants.exact else 1
            sums.append(OrbitSum(tuple((d, int(f * scale) if invariants.exact else f) for d, f in terms)))
    return _independent(sums, diagrams, basis, moves, invariants) if dependent else tuple(sums)


def _refuse_if_many(diagrams: Diagrams, moves: int) -> None:
    """Raise `TooLargeError` if orbits take more than a few seconds to list, or to choose a basis from."""
    what, count = "there are too many diagrams to list their orbits", diagrams.count_all
    refuse_if_more(what, count, MOST_ORBITED, "diagrams", FEWER)
    work = count_listed(diagrams.top, diagrams.bottom, diagrams.groups) * (moves + LISTED)
    refuse_if_more(what, work, MOST_MOVED, "operations", FEWER)
    if diagrams.dependent:
        what = "there are too many diagrams to choose a basis from"
        refuse_if_more(what, count**3 * max(moves, 1), MOST_OPERATIONS, "operations", FEWER)


@functools.lru_cache(maxsize=2**16)
def _part(diagram: Diagram, label: str) -> Diagram:
    """Return the vertices of one label."""
    keep = [vertex for vertex, name in enumerate(diagram.labels) if base(name) == label]
    growth = tuple(diagram.growth[vertex] for vertex in keep)
    heads = tuple(head for head in diagram.heads if head[0] == label)
    names = [diagram.labels[vertex] for vertex in keep]
    above = sum(vertex < len(diagram.top) for vertex in keep)
    elements = tuple(element for element in diagram.elements if element[0] == label)
    return Diagram(tuple(names[:above]), tuple(names[above:]), growth, diagram.forms, heads, elements)


def bare(diagram: Diagram) -> Diagram:
    """Return a diagram without its invariant tensors, as `Diagrams.bare` yields it."""
    return replace(diagram, elements=()) if diagram.elements else diagram


def inner(first: Diagram, second: Diagram, sizes: Mapping[str, int]) -> Any:
    r"""Return the inner product \(\mathrm{tr}(D^* E)\) at given sizes: a product over labels."""
    result: Any = 1
    for label in sorted({base(name) for name in first.labels}):
        factor, powers = inner_product(_part(first, label), _part(second, label))
        for name, power in powers:
            factor *= sizes[name] ** power
        result *= factor
    return result


def square_norm(total: OrbitSum, sizes: Mapping[str, int]) -> Fraction:
    r"""Return the squared Frobenius norm of an orbit sum.

    Exchanges preserve inner products, so the part on each diagram of the orbit has the same inner product with the sum:
    computing one of them is enough.
    """
    first, parts = bare(total.first), {bare(diagram) for diagram, _ in total.terms}
    product = sum(
        one.conjugate() * other * inner(diagram, member, sizes)
        for diagram, one in total.terms
        if bare(diagram) == first
        for member, other in total.terms
    )
    return len(parts) * Fraction(product.real)


def _independent(
    sums: list[OrbitSum],
    diagrams: Diagrams,
    basis: tuple[Diagram, ...],
    moves: tuple[Move, ...],
    invariants: Invariants,
) -> tuple[OrbitSum, ...]:
    """Return the first independent orbit sums, by a certified rank.

    The matrix of the values of the sums at random vectors modulo a prime can only have too small a rank. So can the
    matrix of the differences between maps and their images under exchanges, which span a complement. If the two ranks
    add up to the dimension of the space, both are exact. If invariant tensors are not exact, inner products with a
    basis replace the values.
    """
    count = invariants.count
    size = len(basis) * count
    exchanged = [
        (diagram, sign * turned, other, invariants.within(places))
        for diagram in basis
        for sign, places in moves
        for turned, other in [moved(diagram, places, {})]
    ]
    vectors = [[(bare(member), invariants.choice(member), c) for member, c in total.terms] for total in sums]
    vectors += [
        [(diagram, choice, 1), *((other, i, -sign * c) for i, c in invariants.moved({choice: 1}, places).items())]
        for diagram, sign, other, places in exchanged
        for choice in range(count)
    ]
    members = tuple(dict.fromkeys(diagram for vector in vectors for diagram, _, _ in vector))  # sorting takes longer
    for attempt, prime in enumerate(PRIMES):
        if invariants.exact:
            value = _values(members, diagrams, size + SPARE, prime, attempt)
            formal = np.random.default_rng(attempt).integers(0, prime, (count, size + SPARE))
            rows = [
                sum(value[d] * formal[i] % prime * _residue(c, prime) % prime for d, i, c in vector) % prime
                for vector in vectors
            ]
            chosen, rest = _pivots(rows[: len(sums)], prime), _pivots(rows[len(sums) :], prime)
        else:
            sizes = {label: group.n or 2 * members[0].order for label, group in diagrams.groups}
            products = {d: np.array([float(inner(one, d, sizes)) for one in basis]) for d in members}
            found = np.zeros((len(vectors), count, len(basis)), np.complex128)
            for row, vector in zip(found, vectors, strict=True):
                for d, i, c in vector:
                    row[i] += c * products[d]
            flat = found.reshape(len(vectors), size)
            chosen, rest = _longest(flat[: len(sums)]), _longest(flat[len(sums) :])
        if len(chosen) + len(rest) == size:
            return tuple(sums[pivot] for pivot in chosen)
    raise AssertionError(f"orbit sums of {diagrams.groups} have no certified rank: a bug of equikit")


def _residue(coefficient: int | Fraction, prime: int) -> int:
    return coefficient.numerator * pow(coefficient.denominator, -1, prime) % prime


def _pivots(rows: Sequence[np.ndarray], prime: int) -> list[int]:
    """Return the first independent rows."""
    import flint

    if not rows:
        return []
    reduced, rank = flint.nmod_mat(np.array(rows).T.tolist(), prime).rref()
    return [next(c for c in range(len(rows)) if int(reduced[row, c])) for row in range(rank)]


def _longest(rows: np.ndarray) -> list[int]:
    """Return the first independent rows up to rounding, by Gram-Schmidt."""
    kept: list[np.ndarray] = []
    found = []
    for number, row in enumerate(rows):
        rest = row
        for _ in range(2):  # twice, because of rounding
            for one in kept:
                rest = rest - np.vdot(one, rest) * one
        if np.linalg.norm(rest) > APART * np.linalg.norm(row):
            kept.append(rest / np.linalg.norm(rest))
            found.append(number)
    return found


def _values(
    members: Sequence[Diagram], diagrams: Diagrams, count: int, prime: int, seed: int
) -> dict[Diagram, np.ndarray]:
    """Return the values of diagrams at random vectors: products over labels, without invariant tensors."""
    # A free label stands for every large n. Twice the number of vertices is even, and diagrams are independent there.
    many = 2 * (len(diagrams.top) + len(diagrams.bottom))
    result = {member: np.ones(count, np.int64) for member in members}
    for place, label in enumerate(sorted({base(name) for name in diagrams.top + diagrams.bottom})):
        group = group_of(diagrams.groups, label)
        if group.blocks == "whole":
            continue
        parts = tuple(dict.fromkeys(_part(member, label) for member in members))
        size = many if group.n is None else group.n
        rows = evaluated(parts, group, count, prime, seed + len(PRIMES) * place, size) if parts else ()
        table = dict(zip(parts, rows, strict=True))
        for member in members:
            result[member] = result[member] * table[_part(member, label)] % prime
    return result
