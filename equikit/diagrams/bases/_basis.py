"""Choose a basis among dependent diagrams: the first independent ones in canonical order, by exact rank.

At small n the pairings of the orthogonal and symplectic groups are dependent. Diagrams of several labels are products,
and so is the chosen basis: canonical order compares label by label, so the first diagrams of the product are the first
in each factor.
"""

from __future__ import annotations

import functools
import math
from collections import Counter

from equikit._checks import refuse_if_more
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.counting._count import count_invariants, count_involutions, count_pairings
from equikit.diagrams.counting._growth import FEWER, canonical
from equikit.diagrams.counting._rules import (
    Groups,
    axes_of,
    block_limits,
    forms_of,
    group_of,
    headed_labels,
    whole_block,
    whole_labels,
)
from equikit.groups import Dual, Group
from equikit.signatures import base

Marked = tuple[tuple[int, ...], tuple[int, ...]]

PRIMES = (2**31 - 1, 2**31 - 19, 2**31 - 61)
"""Primes below 2^31, so that products of two residues fit in 64 bits."""

SPARE = 16
"""The number of random points, beyond the dimension, at which diagrams are evaluated."""

MOST_OPERATIONS = 4_000_000_000
"""The largest product of diagrams and squared dimension for which a basis is chosen in a few seconds."""

MOST_CANDIDATES = 50_000
"""The most diagrams from which a basis is chosen."""


@functools.lru_cache(maxsize=256)
def chosen(group: Group, tops: tuple[bool, ...], bottoms: tuple[bool, ...]) -> frozenset[Marked] | None:
    """Return the growth strings of the diagrams in the basis, with their legs; `None` if all diagrams are independent.

    Diagrams are multilinear functions of one vector for each vertex. The matrix of their values at random vectors
    modulo a prime can only have too small a rank. The dimension, counted without diagrams, certifies the rank; if it
    falls short, other vectors and another prime are tried.

    Args:
        group: the group.
        tops, bottoms: for each axis of a row whether its label has a star.

    Raises:
        TooLargeError: if there are too many diagrams to choose from.

    Cost: the number of diagrams times the square of the dimension.
    """
    from equikit.diagrams._sequence import Diagrams
    from equikit.diagrams.bases._evaluate import evaluated

    order = len(tops) + len(bottoms)
    if group.independent(order):
        return None
    top, bottom = (tuple("x*" if star else "x" for star in row) for row in (tops, bottoms))
    wanted = count_invariants(group, order, sum(axes_of("x", top, bottom)))
    if wanted == 0:
        return frozenset()
    count = count_candidates(group, order)
    what = f"the diagrams of {group} with {order} vertices are dependent, and too many to choose a basis from"
    step = f"use a larger n, for which they are independent; or {FEWER}"
    refuse_if_more(what, count, MOST_CANDIDATES, "diagrams", step)
    refuse_if_more(what, count * wanted**2, MOST_OPERATIONS, "operations", step)
    import flint

    candidates = tuple(Diagrams(top, bottom, (("x", group),), every=True))
    rank = 0
    for attempt, prime in enumerate(PRIMES):
        assert group.n is not None
        values = evaluated(candidates, group, wanted + SPARE, prime, attempt, group.n)
        reduced, rank = flint.nmod_mat(values.T.tolist(), prime).rref()
        if rank == wanted:
            break
    else:  # not an assertion: the certificate also has to hold under python -O
        raise AssertionError(
            f"{count} diagrams of {group} have rank {rank}, not the dimension {wanted}: a bug of equikit"
        )
    pivots, column = [], 0
    for row in range(rank):
        while int(reduced[row, column]) == 0:
            column += 1
        pivots.append(column)
    return frozenset(restricted(candidates[pivot], "x") for pivot in pivots)


def count_candidates(group: Group, order: int) -> int:
    """Count all diagrams of a family of pairs or small blocks, including dependent ones."""
    if group.has_dual:
        return math.factorial(order // 2)
    if group.blocks == "small":
        return count_involutions(order)
    heads = math.comb(order, group.legs) * count_pairings(order - group.legs) if 0 < group.legs <= order else 0
    return heads + (0 if group.needs_head else count_pairings(order))


def count_listed(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups) -> int:
    """Count the diagrams that are listed, including dependent ones, without the invariant tensors of other groups."""
    result = 1
    for label in {base(label) for label in (*top, *bottom)}:
        group, axes = group_of(groups, label), axes_of(label, top, bottom)
        if not group.independent(len(axes)):
            result *= count_candidates(group, len(axes))
        elif group.blocks != "whole":
            result *= count_invariants(group, len(axes), sum(axes))
    return result


def in_basis(diagram: Diagram, groups: Groups) -> bool:
    """Whether a diagram is in the basis of its space, checked label by label."""
    for label, group in groups:
        if group.n is None or group.blocks in ("any", "even", "single", "whole") or isinstance(group, Dual):
            continue
        tops, bottoms = (
            tuple(other != label for other in row if base(other) == label) for row in (diagram.top, diagram.bottom)
        )
        kept = chosen(group, tops, bottoms)
        if kept is not None and restricted(diagram, label) not in kept:
            return False
    return True


def restricted(diagram: Diagram, label: str) -> Marked:
    """Return the growth string of the vertices of one label, and the blocks in it that are legs."""
    own = [block for block, name in zip(diagram.growth, diagram.labels, strict=True) if base(name) == label]
    legs = {block for head, _, blocks in diagram.heads if head == label for block in blocks}
    growth = canonical(own)
    return growth, tuple(sorted({new for new, old in zip(growth, own, strict=True) if old in legs}))


def keeps_rules(diagram: Diagram, groups: Groups) -> bool:
    """Whether a diagram has only blocks that its families allow, and not too many of them."""
    limit = dict(block_limits(groups))
    names = diagram.block_labels
    whole = whole_labels(groups, diagram.labels)
    if [element[:2] for element in diagram.elements] != list(whole):
        return False
    for label, group, number in diagram.elements:
        axes = axes_of(label, diagram.top, diagram.bottom)
        if not 0 <= number < group.count_invariants(len(axes), sum(axes)):
            return False
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    if not headed_labels(groups) <= {label for label, _, _ in diagram.heads}:
        return False
    for label, count, blocks in diagram.heads:
        group = group_of(groups, label)
        if group.legs != count or (group.blocks == "any" and len(blocks) != names.count(label)):
            return False
        if group.blocks != "any" and len(blocks) != count:
            return False
    return (
        diagram.forms == forms_of(groups, diagram.labels)
        and all((most := limit.get(label)) is None or count <= most for label, count in Counter(names).items())
        and all(
            len(block) == 1
            if number in legs and of.blocks != "any"
            else whole_block(of, [diagram.labels[v] for v in block], sum(v >= len(diagram.top) for v in block))
            for number, block in enumerate(diagram.blocks)
            for of in [group_of(groups, names[number])]
            if of.blocks != "whole"
        )
    )
