"""Tiles of a tensor, and the orbits of tiles that permutations of its axes exchange; NumPy only.

A program computes the tiles of a whole orbit, such as (i, j) and (j, i), because a map that permutes axes needs all of
them for each of them: so each is read once. Programs take runs of consecutive orbits, for which they load weights once.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from equikit.plans.fused._tensors import Wiring, power_of_two
from equikit.signatures import base

MOST_ENTRIES, MOST_ROWS, LEAST_ROWS = 2**14, 256, 16
"""Bounds on a program's tiles: entries of all tiles of an orbit, which are in registers at once, and positions of one
tile, which are the rows of a matrix product."""

LONGEST_RUN, ENOUGH_PROGRAMS = 16, 512
"""The most orbits of a run; runs are shorter if there are fewer programs than keep the processors of a GPU busy."""


def composed(first: Wiring, then: Wiring) -> Wiring:
    """Return the permutation `first[then[j]]`."""
    return tuple(first[j] for j in then)


def inverse(wiring: Wiring) -> Wiring:
    """Return the inverse permutation."""
    return tuple(int(j) for j in np.argsort(wiring))


@functools.lru_cache(maxsize=256)
def closure(wirings: tuple[Wiring, ...], axes: int) -> tuple[Wiring, ...]:
    """Return the group that permutations generate, in order, so that the identity is first."""
    found = {tuple(range(axes))}
    waiting = [*found]
    while waiting:
        one = waiting.pop()
        for wiring in wirings:
            new = composed(one, wiring)
            if new not in found:
                found.add(new)
                waiting.append(new)
    return tuple(sorted(found))


def doubled(labels: Sequence[str], sizes: Sequence[int], most: int, least: int = 1) -> tuple[int, ...]:
    """Return a tile: powers of two, equal for axes of one label, with at most `most` positions where that is possible.

    The smallest is doubled until the tile is large enough. If it has fewer than `least` positions when it covers the
    tensor, it becomes larger than the tensor.
    """
    tile, count = dict.fromkeys(labels, 1), Counter(labels)
    whole = {label: power_of_two(size) for label, size in zip(labels, sizes, strict=True)}

    def positions() -> int:
        return math.prod(tile[label] for label in labels)

    while True:
        few = positions() < least
        some = [
            label
            for label in tile
            if (few or positions() * 2 ** count[label] <= most) and (tile[label] < whole[label] or few)
        ]
        short = [label for label in some if tile[label] < whole[label]] or some
        if not short:
            return tuple(tile[label] for label in labels)
        tile[min(short, key=lambda label: tile[label])] *= 2


@dataclass(frozen=True, eq=False)
class Orbits:
    """The orbits of the tiles of a tensor.

    Attributes:
        tile: the size of a tile along each axis.
        counts: the number of tiles along each axis.
        group: the permutations of the axes, the identity first. One that takes axis j to axis `g[j]` takes the tile at
            `c` to the tile at `c[g[0]], c[g[1]], ...`.
        run: the axis along which programs take several orbits.
        runs: `[programs, axes + 1]`: for each program the position of its first tile, and its number of orbits.
        batch: the number of samples.
    """

    tile: tuple[int, ...]
    counts: tuple[int, ...]
    group: tuple[Wiring, ...]
    run: int
    runs: np.ndarray
    batch: int

    @property
    def samples(self) -> int:
        """The number of samples that a program takes, one after the other: several, where there are many."""
        return max(self.batch * len(self.runs) // (2 * ENOUGH_PROGRAMS), 1)

    @property
    def grid(self) -> tuple[int, int]:
        """The numbers of groups of samples, and of runs."""
        return -(-self.batch // self.samples), len(self.runs)

    @property
    def tiles(self) -> np.ndarray:
        """The position of the first tile of every orbit, `[orbits, axes]`."""
        counts = self.runs[:, -1]
        found = np.repeat(self.runs[:, :-1], counts, axis=0)
        found[:, self.run] += np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
        return found

    @property
    def distinct(self) -> dict[Wiring, Wiring]:
        """For each permutation the first one that always gives the same tile: axes with one tile are permuted in it."""

        def key(g: Wiring) -> tuple[int, ...]:
            return tuple(axis if self.counts[axis] > 1 else -1 for axis in g)

        first: dict[tuple[int, ...], Wiring] = {}
        return {g: first.setdefault(key(g), g) for g in self.group}

    @property
    def tiled(self) -> tuple[Wiring, ...]:
        """The permutations that give different tiles."""
        return tuple(dict.fromkeys(self.distinct.values()))


def orbits(
    labels: tuple[str, ...], sizes: tuple[int, ...], wirings: Iterable[Wiring], features: int, batch: int
) -> Orbits:
    """Return the orbits under the group of some permutations.

    Args:
        labels, sizes: of each axis.
        wirings: permutations that map the axes of a label to each other.
        features: the largest number of features of a tensor, padded to a power of two.
        batch: the number of samples.
    """
    # A vector and a dual vector have a common diagonal, so their tiles are equal.
    return _orbits(tuple(map(base, labels)), sizes, closure(tuple(sorted(set(wirings))), len(sizes)), features, batch)


@functools.lru_cache(maxsize=256)
def _orbits(
    labels: tuple[str, ...], sizes: tuple[int, ...], group: tuple[Wiring, ...], features: int, batch: int
) -> Orbits:
    most = min(MOST_ENTRIES // (len(group) * features), MOST_ROWS)
    tile = doubled(labels, sizes, max(most, LEAST_ROWS), LEAST_ROWS)
    counts = tuple(-(-size // step) for size, step in zip(sizes, tile, strict=True))
    run = max(range(len(counts)), key=lambda axis: (counts[axis], axis))
    place = np.indices(counts).reshape(len(counts), -1)
    number = np.arange(place.shape[1])
    first = np.full(place.shape[1], True)
    for wiring in group:
        first &= number <= np.ravel_multi_index(tuple(place[list(wiring)]), counts)
    place = place[:, first].T
    others = np.delete(place, run, 1)
    place = place[np.lexsort((place[:, run], *others.T[::-1]))]
    step = np.diff(place, axis=0, prepend=place[:1] - 2)
    begins = np.flatnonzero((np.delete(step, run, 1) != 0).any(1) | (step[:, run] != 1))
    offset = np.arange(len(place)) - np.repeat(begins, np.diff(begins, append=len(place)))
    longest = LONGEST_RUN
    while True:
        starts = np.flatnonzero(offset % longest == 0)
        if longest == 1 or len(starts) * batch >= ENOUGH_PROGRAMS:
            lengths = np.diff(starts, append=len(place))
            return Orbits(tile, counts, group, run, np.column_stack([place[starts], lengths]).astype(np.int32), batch)
        longest //= 2
