"""Names of permutation groups by their action: S, A, Z, D, H, direct products and wreath products."""

from __future__ import annotations

import math
from itertools import chain, combinations
from typing import Any

import numpy as np

from equikit.groups import MatrixGroup, subgroup

MOST_LISTED = 1000
"""Groups of this order or less are named as abstract groups if their action has no name."""
MOST_PAIRED = 24
"""Blocks that two points generate together with the first one are looked for among this number of points."""


def full_order(generators: list[np.ndarray]) -> tuple[int, list[int]]:
    """Return the order of the group of all permutations inside of the orbits, and the sizes of the orbits."""
    import networkx as nx

    graph = nx.Graph((point, int(g[point])) for g in generators for point in range(len(g)))
    sizes = sorted((len(part) for part in nx.connected_components(graph)), reverse=True)
    return math.prod(map(math.factorial, sizes)), sizes


def action_name(generators: list[np.ndarray], n: int, order: int | None = None) -> str:
    """Name a group of permutations of n points, or of n points and their negatives.

    Args:
        generators: permutations `[n]`, or `[2 n]` with the negative of point i at n + i.
        n: the number of points.
        order: the order of the group, if it is known.
    """
    if not generators:
        return "trivial"
    most, sizes = full_order(generators)
    if order == most and len(generators[0]) == n:
        return " x ".join(f"S({size})" for size in sizes if size > 1)
    whole, orbits = _group(generators), list[tuple[int, ...]]()
    for orbit in sorted(map(sorted, whole.orbits()), key=lambda orbit: (-len(orbit), orbit)):
        negative = sorted((a + n) % (2 * n) for a in orbit)
        if len(orbit) > 1 and (negative == orbit or tuple(negative) not in orbits):
            orbits.append(tuple(orbit))
    parts = _linked(generators, orbits)
    orders = [generated_order(_restricted(generators, sum(part, ()))) for part in parts]
    if math.prod(orders) != generated_order(generators):
        parts = [orbits]
    return " x ".join(_part_name(generators, part, n) for part in parts)


def generated_order(generators: list[np.ndarray]) -> int:
    """Return the order of the group that permutations generate."""
    if not generators:
        return 1
    # Transpositions that connect points generate all their permutations; SymPy takes a minute for 64 points.
    points, swaps = np.arange(len(generators[0])), _swapped(generators)
    label = np.array([swaps.get(int(point), -1) for point in points])
    inside = all(np.array_equal(label[g], label) and np.all(g[label < 0] == points[label < 0]) for g in generators)
    if swaps and inside:
        return math.prod(math.factorial(int(np.sum(label == part))) for part in set(swaps.values()))
    return int(_group(generators).order())


def _swapped(generators: list[np.ndarray]) -> dict[int, int]:
    """Return the number of the component of each point that transpositions among the generators connect."""
    import networkx as nx

    graph, points = nx.Graph(), np.arange(len(generators[0]))
    graph.add_edges_from(moved for g in generators if len(moved := np.flatnonzero(g != points).tolist()) == 2)
    return {point: number for number, part in enumerate(nx.connected_components(graph)) for point in part}


def listed_elements(generators: list[np.ndarray]) -> list[np.ndarray]:
    """Return all elements of a small group."""
    return [np.array(each, np.int64) for each in _group(generators).generate_schreier_sims(af=True)]


def _group(generators: list[np.ndarray]) -> Any:
    from sympy.combinatorics import Permutation, PermutationGroup  # takes a while to load

    return PermutationGroup([Permutation(g.tolist()) for g in generators])


def _restricted(generators: list[np.ndarray], points: tuple[int, ...]) -> list[np.ndarray]:
    """Return permutations of some points, which are renumbered."""
    place = {point: i for i, point in enumerate(points)}
    return [np.array([place[int(g[point])] for point in points]) for g in generators]


def _linked(generators: list[np.ndarray], orbits: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Return orbits in parts: those on which the group does not act independently are in one part."""
    import networkx as nx

    order = {orbit: generated_order(_restricted(generators, orbit)) for orbit in orbits}
    graph = nx.empty_graph(orbits)
    for one, other in combinations(orbits, 2):
        if generated_order(_restricted(generators, one + other)) < order[one] * order[other]:
            graph.add_edge(one, other)
    return [sorted(part, key=orbits.index) for part in nx.connected_components(graph)]


def _part_name(generators: list[np.ndarray], orbits: list[tuple[int, ...]], n: int) -> str:
    """Name the action on linked orbits: by an orbit on which it is faithful, otherwise as an abstract group."""
    inner = _restricted(generators, sum(orbits, ()))
    order = generated_order(inner)
    for orbit in orbits:
        alone = _restricted(generators, orbit)
        if generated_order(alone) == order:
            points = {a % n for a in orbit}
            if len(orbit) == 2 * len(points) and order == math.factorial(len(points)) << len(points):
                return f"H({len(points)})"
            return _transitive_name(alone)
    return _abstract_name(inner, order)


def _transitive_name(generators: list[np.ndarray]) -> str:
    """Name a transitive group of permutations."""
    degree, order = len(generators[0]), generated_order(generators)
    if order == math.factorial(degree):
        return f"S({degree})"
    group = _group(generators)
    if degree > 3 and 2 * order == math.factorial(degree):
        return f"A({degree})"
    if order <= 2 * degree and (name := _abstract_name(generators, order)) in (f"Z({degree})", f"D({degree})"):
        return name
    others = chain(combinations(range(1, degree), 1), combinations(range(1, min(degree, MOST_PAIRED)), 2))
    for labels in map(np.array, dict.fromkeys(tuple(group.minimal_block([0, *each])) for each in others)):
        blocks = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(blocks) > 1:
            inner, top = _on_block(group, blocks, labels), _on_blocks(generators, blocks)
            if generated_order(inner) ** len(blocks) * generated_order(top) == order:
                names = [name if " " not in name else f"({name})" for name in map(_transitive_name, (inner, top))]
                return " wr ".join(names)
    return _abstract_name(generators, order)


def _on_block(group: Any, blocks: list[np.ndarray], labels: np.ndarray) -> list[np.ndarray]:
    """Return generators of the action of the stabilizer of a block on this block."""
    (block,) = [each.tolist() for each in blocks if 0 in each]
    moves = [*group.stabilizer(0).generators, *(group.orbit_rep(0, point) for point in block)]
    return _restricted([np.array(move.array_form) for move in moves], tuple(block))


def _on_blocks(generators: list[np.ndarray], blocks: list[np.ndarray]) -> list[np.ndarray]:
    """Return permutations of blocks."""
    place = {int(point): i for i, block in enumerate(blocks) for point in block}
    return [np.array([place[int(g[block[0]])] for block in blocks]) for g in generators]


def _abstract_name(generators: list[np.ndarray], order: int) -> str:
    if order > MOST_LISTED:
        return f"order {order}"
    matrices = [np.eye(len(g), dtype=np.int64)[:, np.argsort(g)] for g in generators]
    return subgroup(MatrixGroup(matrices), np.ones(order, bool)).name
