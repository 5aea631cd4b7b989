"""Subgroups of permutations: all elements of small groups, exchanges and shifts of many points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from equikit.auditing._elements import product, transposition
from equikit.auditing.subgroups._kept_group import KeptGroup, nothing
from equikit.auditing.subgroups._single import Single
from equikit.groups import A, D, Group, Z, subgroup

MOST_TESTS = 400
"""The largest number of elements of a large group that are tried."""


def kept_of_list(single: Single, elements: Sequence[np.ndarray]) -> KeptGroup:
    """Return the subgroup of the elements with which a function commutes, of a group whose elements are all tried.

    The identity is the first element.
    """
    group = single.group
    places = [0, *(place for place in range(1, len(elements)) if single.keeps(elements[place]))]
    places = kept_places(group, elements, places)
    if len(places) == 1:
        return nothing(group)
    found = subgroup(group, places)
    generators = tuple(elements[place] for place in found.generators)
    return KeptGroup(_young_name(group, [elements[p] for p in places]) or found.name, group, generators)


def kept_places(group: Group, elements: Sequence[np.ndarray], places: list[int]) -> list[int]:
    """Return the elements that permute the chosen ones by multiplication.

    They form a subgroup. Since the identity is among the chosen elements, it contains no others; if these are a
    subgroup themselves, it contains all. It is smaller only if rounding has misjudged an element.
    """
    chosen = [elements[place] for place in places]
    keys = {_key(element) for element in chosen}
    return [p for p in places if all(_key(product(group, elements[p], other)) in keys for other in chosen)]


def _key(element: np.ndarray) -> bytes:
    """Return the same bytes for equal elements, up to rounding for matrices."""
    rounded: np.ndarray = np.round(element, 6) + 0.0  # no negative zeros
    return rounded.tobytes()


def _young_name(group: Group, elements: Sequence[np.ndarray]) -> str | None:
    """Name a subgroup that consists of all permutations inside of blocks; `None` for others."""
    if group.elements_are != "permutations":
        return None
    blocks = _blocks(group.n or 0, ((i, int(element[i])) for element in elements for i in range(len(element))))
    return blocks_name("S", blocks) if math.prod(math.factorial(len(b)) for b in blocks) == len(elements) else None


def _blocks(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the blocks of points that pairs join, each sorted, the largest first."""
    root = list(range(n))
    for i, j in pairs:
        one, other = sorted((root[i], root[j]))
        root = [one if r == other else r for r in root]
    blocks = [[i for i in range(n) if root[i] == r] for r in sorted(set(root))]
    return sorted(blocks, key=lambda block: (-len(block), block))


def blocks_name(letter: str, blocks: Sequence[Sequence[int]]) -> str:
    """Return the name of a product of groups of permutations, each inside of a block.

    Example:
        >>> blocks_name("S", [[0, 1, 2, 3], [4, 6], [5]])
        'S({0, ..., 3}) × S({4, 6})'
    """
    names = []
    for block in blocks:
        run = len(block) > 3 and block[-1] - block[0] == len(block) - 1
        names.append(f"{block[0]}, ..., {block[-1]}" if run else ", ".join(map(str, block)))
    return " × ".join(f"{letter}({{{name}}})" for name, b in zip(names, blocks, strict=True) if len(b) > 1)


def kept_of_large(single: Single) -> KeptGroup:
    """Return a subgroup of a large finite group: exchanges of points, even cycles, shifts and reflections.

    Exchangeable points form blocks, because two transpositions with a common point give a third; so it takes at most a
    test for each point and block to find all transpositions that are kept.
    """
    group = single.group
    if group.family == "symmetric":
        return _of_symmetric(single)
    if group.family == "alternating":
        return _of_cycles(single) or _of_shifts(single) or nothing(group, largest=False)
    if group.family in ("cyclic", "dihedral"):
        return _of_shifts(single) or nothing(group)
    if group.family == "hyperoctahedral":
        return _of_signed(single)
    generators = tuple(element for element in group.generators() if single.keeps(element))
    if not generators:
        return nothing(group, largest=False)
    count = f"{len(generators)} generator{'s' * (len(generators) > 1)}"
    return KeptGroup(f"a group with {count}", group, generators, largest=False)


def _of_symmetric(single: Single) -> KeptGroup:
    group, n = single.group, single.group.n or 0
    blocks = _joined(n, lambda i, j: single.keeps(transposition(n, i, j)))
    moves = [transposition(n, *pair) for block in blocks for pair in itertools.pairwise(block)]
    if not moves:
        return _of_cycles(single) or _of_shifts(single) or nothing(group, largest=False)
    # Blocks of equal size may be exchanged as a whole.
    swaps = []
    for one, other in itertools.combinations([b for b in blocks if len(b) > 1], 2):
        exchange = np.arange(n)
        if len(one) == len(other):
            exchange[[*one, *other]] = [*other, *one]
            swaps += [exchange] if single.keeps(exchange) else []
    name = blocks_name("S", blocks) + " with exchanges of blocks" * bool(swaps)
    return KeptGroup(name, group, (*moves, *swaps), largest=False)


def _of_signed(single: Single) -> KeptGroup:
    """Return the products of sign changes of single points and exchanges of points."""
    group, n = single.group, single.group.n or 0
    points = np.arange(1, n + 1)
    flips = [np.where(points == point, -point, points) for point in points]
    changed = [place for place in range(min(n, MOST_TESTS)) if single.keeps(flips[place])]
    blocks = _joined(n, lambda i, j: single.keeps(transposition(n, i, j) + 1))
    moves = [transposition(n, *pair) + 1 for block in blocks for pair in itertools.pairwise(block)]
    if not changed and not moves:
        return nothing(group, largest=False)
    names = [f"sign changes at {', '.join(map(str, changed))}"] if changed else []
    names += [blocks_name("S", blocks)] if moves else []
    return KeptGroup(" with ".join(names), group, (*(flips[i] for i in changed), *moves), largest=False)


def _joined(n: int, exchangeable: Callable[[int, int], bool]) -> list[list[int]]:
    """Return the blocks of an equivalence relation, by a test of each point against the first points of the blocks."""
    blocks: list[list[int]] = []
    tests = 0
    for point in range(n):
        home = None
        for block in blocks[: max(MOST_TESTS - tests, 0)]:
            tests += 1
            if exchangeable(block[0], point):
                home = block
                break
        if home is None:
            blocks.append([point])
        else:
            home.append(point)
    return sorted(blocks, key=lambda block: (-len(block), block))


def _cycle(n: int, *points: int) -> np.ndarray:
    element = np.arange(n)
    element[[*points]] = [*points[1:], points[0]]
    return element


def _of_cycles(single: Single) -> KeptGroup | None:
    """Return the products of alternating groups of blocks, from cycles of three points; `None` if none is kept."""
    group, n = single.group, single.group.n or 0
    triples = [(i, i + 1, i + 2) for i in range(n - 2)]
    cycles = [triple for triple in triples[:MOST_TESTS] if single.keeps(_cycle(n, *triple))]
    if not cycles:
        return None
    generators = tuple(_cycle(n, *triple) for triple in cycles)
    if len(cycles) == len(triples):
        return KeptGroup(f"A({n})", group, generators, largest=True, family=A(n))
    blocks = _blocks(n, (pair for triple in cycles for pair in itertools.pairwise(triple)))
    return KeptGroup(blocks_name("A", blocks), group, generators, largest=False)


def _of_shifts(single: Single) -> KeptGroup | None:
    """Return the cyclic or dihedral group of the shifts and reflections that are kept; `None` if there are none."""
    group, n = single.group, single.group.n or 0
    points = np.arange(n)
    steps = [step for step in range(1, n) if n % step == 0]
    if group.family == "alternating":  # a shift has `step` cycles of n / step points
        steps = [step for step in steps if step * (n // step - 1) % 2 == 0]
    step = next((step for step in steps if single.keeps((points + step) % n)), n)
    turns = n // step
    mirrors = group.family in ("dihedral", "symmetric")
    mirror = next((k for k in range(step) if mirrors and single.keeps((k - points) % n)), None)
    generators = [] if turns == 1 else [(points + step) % n]
    generators += [] if mirror is None else [(mirror - points) % n]
    if not generators:
        return None
    full: Group = Z(n) if mirror is None else D(n)
    if turns == n:
        return KeptGroup(str(full), group, tuple(generators), (), group.family == "dihedral", full)
    name = f"{'Z' if mirror is None else 'D'}({turns})" + (f" of shifts by {step}" if turns > 1 else "")
    return KeptGroup(name, group, tuple(generators), largest=group.family in ("cyclic", "dihedral"))
