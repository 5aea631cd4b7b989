r"""Diagrams summed over exchanges of vertices: the maps between symmetric and antisymmetric tensors.

A group H of exchanges within the rows acts on the maps, up to the sign \(\chi\) that it comes with. The maps with
\(h D = \chi(h) D\) are spanned by the signed orbit sums of diagrams; those vanish in which an exchange takes a diagram
to itself with the wrong sign. Where diagrams are independent the orbit sums are a basis; where they are not, the first
independent ones are, by exact rank, certified by the trace of the projection
\(\tfrac{1}{|H|} \sum_h \chi(h) h\) on a basis of diagrams.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equikit._errors import TooLargeError
from equikit.diagrams._basis import MOST_OPERATIONS, PRIMES, SPARE
from equikit.diagrams._count import independent
from equikit.diagrams._dense import leg_order
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._evaluate import evaluated
from equikit.diagrams._gram import inner_product
from equikit.diagrams._growth import canonical
from equikit.diagrams._heads import parity
from equikit.diagrams._rules import group_of
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams._signature import base

Move = tuple[int, tuple[int, ...]]
"""A sign, and for each vertex the place it goes to, in its row."""

MOST_ORBITED = 100_000
"""Diagrams above which no orbits are listed: it would take minutes."""


@dataclass(frozen=True, slots=True)
class OrbitSum:
    """A sum of different diagrams with signs, over an orbit of exchanges; the first in canonical order comes first."""

    terms: tuple[tuple[Diagram, int], ...]

    @property
    def first(self) -> Diagram:
        """The diagram that stands for the orbit, whose sign is one."""
        return self.terms[0][0]

    def __str__(self) -> str:
        text = ""
        for diagram, sign in self.terms:
            text += (" - " if sign < 0 else " + ") if text else ""
            text += f"({diagram})"
        return text if len(self.terms) > 1 else str(self.first)


def moved(diagram: Diagram, places: Sequence[int]) -> tuple[int, Diagram]:
    """A diagram with its vertices moved within the rows, and the sign that forms and Levi-Civita tensors bring.

    As a tensor, axis `places[v]` of the sign times the result is axis v of the diagram.
    """
    growth = [0] * diagram.order
    for vertex, place in enumerate(places):
        growth[place] = diagram.growth[vertex]
    new = dict(zip(growth, canonical(growth), strict=True))
    result = Diagram(diagram.top, diagram.bottom, tuple(growth), diagram.forms, diagram.heads)
    sign, split = 1, len(diagram.top)
    turned = {label for label, form in diagram.forms if form.kind == "symplectic"}
    for block in diagram.blocks:
        if diagram.labels[block[0]] in turned and (block[0] < split) == (block[-1] < split):
            first, second = block
            sign = sign if places[first] < places[second] else -sign
    for label, _, _ in diagram.heads:
        before = [new[block] for part in leg_order(diagram, label) for block in part]
        after = [block for part in leg_order(result, label) for block in part]
        sign *= parity([before.index(block) for block in after])
    return sign, result


def _walk(diagram: Diagram, moves: Sequence[Move]) -> tuple[dict[Diagram, int], bool]:
    """The orbit of a diagram with its signs, itself first, and whether the signs contradict each other."""
    signs, edge = {diagram: 1}, [diagram]
    vanishes = False
    while edge:
        one = edge.pop()
        for sign, places in moves:
            turned, other = moved(one, places)
            here = sign * turned * signs[one]
            if other not in signs:
                signs[other] = here
                edge.append(other)
            vanishes |= signs[other] != here
    return signs, vanishes


def orbit(diagram: Diagram, moves: Sequence[Move]) -> OrbitSum | None:
    """The signed sum over the orbit of a diagram under the group that some moves generate; `None` where it is zero."""
    signs, vanishes = _walk(diagram, moves)
    return None if vanishes else OrbitSum(tuple(signs.items()))


def _refuse_if_many(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooLargeError(
            f"there are too many diagrams to {what}",
            got=f"{count:,} diagrams",
            expected=f"at most {most:,}",
            step="use fewer axes, or leave sym and alt out, where diagrams are counted and not listed",
        )


@functools.lru_cache(maxsize=256)
def orbit_sums(diagrams: Diagrams, moves: tuple[Move, ...]) -> tuple[OrbitSum, ...]:
    """A basis of the maps that change by a sign under exchanges: orbit sums, in the order of their first diagrams.

    Args:
        diagrams: those of the space without the exchanges.
        moves: exchanges that generate the group, each with its sign.

    Raises:
        TooLargeError: if there are too many diagrams to list.

    Cost: linear in the number of diagrams and of moves; where diagrams are dependent, the cube of the number of orbits.
    """
    labels = diagrams.top + diagrams.bottom
    dependent = not all(independent(group_of(diagrams.groups, label), labels.count(label)) for label in set(labels))
    _refuse_if_many(diagrams.count_all, MOST_ORBITED, "list their orbits")
    seen: set[Diagram] = set()
    sums: list[OrbitSum] = []
    for diagram in Diagrams(diagrams.top, diagrams.bottom, diagrams.groups, every=dependent):
        if diagram in seen:
            continue
        signs, vanishes = _walk(diagram, moves)
        seen |= signs.keys()
        if not vanishes:
            sums.append(OrbitSum(tuple(signs.items())))
    return _independent(sums, diagrams, moves) if dependent else tuple(sums)


@functools.lru_cache(maxsize=2**16)
def _part(diagram: Diagram, label: str) -> Diagram:
    """The vertices of one label."""
    keep = [vertex for vertex, name in enumerate(diagram.labels) if base(name) == label]
    growth = tuple(diagram.growth[vertex] for vertex in keep)
    heads = tuple(head for head in diagram.heads if head[0] == label)
    names = [diagram.labels[vertex] for vertex in keep]
    above = sum(vertex < len(diagram.top) for vertex in keep)
    return Diagram(tuple(names[:above]), tuple(names[above:]), growth, diagram.forms, heads)


def inner(first: Diagram, second: Diagram, sizes: Mapping[str, int]) -> int:
    r"""The inner product \(\mathrm{tr}(D^T E)\) at given sizes: the product over labels."""
    result = 1
    for label in sorted(set(first.labels)):
        factor, powers = inner_product(_part(first, label), _part(second, label))
        for name, power in powers:
            factor *= sizes[name] ** power
        result *= factor
    return result


def square_norm(total: OrbitSum, sizes: Mapping[str, int]) -> int:
    r"""The squared Frobenius norm of an orbit sum; exchanges keep inner products, so one row of them is enough."""
    return len(total.terms) * sum(sign * inner(total.first, member, sizes) for member, sign in total.terms)


def _independent(sums: list[OrbitSum], diagrams: Diagrams, moves: tuple[Move, ...]) -> tuple[OrbitSum, ...]:
    """The first independent orbit sums, by the rank of their values at random vectors modulo a prime.

    That rank can only be too small. So can that of the differences between diagrams and what an exchange makes of them,
    which span what is left of the space; both are exact where together they have its dimension.
    """

    basis = tuple(diagrams)
    _refuse_if_many(len(basis) ** 3 * max(len(moves), 1), MOST_OPERATIONS, "choose a basis from")
    exchanged = [
        (diagram, sign * turned, other)
        for diagram in basis
        for sign, places in moves
        for turned, other in [moved(diagram, places)]
    ]
    members = {member for total in sums for member, _ in total.terms}
    members.update(basis, (other for _, _, other in exchanged))
    for attempt, prime in enumerate(PRIMES):
        value = _values(sorted(members), diagrams, len(basis) + SPARE, prime, attempt)
        rows = [np.sum([sign * value[member] for member, sign in total.terms], axis=0) % prime for total in sums]
        rest = [(value[diagram] - sign * value[other]) % prime for diagram, sign, other in exchanged]
        pivots = _pivots(rows, prime)
        if len(pivots) + len(_pivots(rest, prime)) == len(basis):
            return tuple(sums[pivot] for pivot in pivots)
    raise AssertionError(f"orbit sums of {diagrams.groups} have no certified rank: a bug of equikit")


def _pivots(rows: Sequence[np.ndarray], prime: int) -> list[int]:
    """The first independent rows."""
    import flint

    if not rows:
        return []
    reduced, rank = flint.nmod_mat(np.array(rows).T.tolist(), prime).rref()
    return [next(c for c in range(len(rows)) if int(reduced[row, c])) for row in range(rank)]


def _values(
    members: Sequence[Diagram], diagrams: Diagrams, count: int, prime: int, seed: int
) -> dict[Diagram, np.ndarray]:
    """Diagrams as multilinear functions at random vectors: the product over labels."""
    # A free label stands for every large n, where its diagrams are independent: an even one of twice the vertices.
    many = 2 * (len(diagrams.top) + len(diagrams.bottom))
    result = {member: np.ones(count, np.int64) for member in members}
    for place, label in enumerate(sorted({base(name) for name in diagrams.top + diagrams.bottom})):
        group = group_of(diagrams.groups, label)
        parts = sorted({_part(member, label) for member in members})
        size = many if group.n is None else group.n
        rows = evaluated(parts, group, count, prime, seed + len(PRIMES) * place, size) if parts else ()
        table = dict(zip(parts, rows, strict=True))
        for member in members:
            result[member] = result[member] * table[_part(member, label)] % prime
    return result
