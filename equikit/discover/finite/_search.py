"""Generators of the automorphisms of a weighted graph that also pass a test, by backtracking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from equikit._errors import TooLargeError
from equikit._progress import progress
from equikit.discover.finite._moments import Graph

MOST_TESTED = 300
"""Candidates that one search may test: more mean that the moments do not tell the points apart."""


@dataclass(slots=True, eq=False)
class Search:
    """A search for permutations of the nodes.

    Attributes:
        graph: the graph.
        n: the number of points; nodes n to 2n, if any, are the points with the opposite sign.
        passes: the test of a permutation of nodes.
        more: how to make the moments more accurate, for errors.
        pairs: compatible pairs, for each pair that was assigned before.
    """

    graph: Graph
    n: int
    passes: Callable[[np.ndarray], bool]
    more: str
    pairs: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return len(self.graph.weights[0])

    def generators(self) -> tuple[list[np.ndarray], int]:
        """Return permutations of the nodes that generate the group, and its order.

        For each point, from the last one on, it finds for each image one permutation that fixes all earlier points, if
        there is one. The order is the product of the sizes of these orbits.

        Raises:
            TooLargeError: if too many candidates fail the test.
        """
        found: list[np.ndarray] = []
        order, allowed = 1, self.graph.images()
        with progress("finding permutations", self.n) as advance:
            for point in reversed(range(self.n)):
                inner, hopeless = [*found], set[int]()
                start = allowed[: self.n]
                for fixed in range(point):
                    start = self._assigned(start, fixed, fixed)
                for image in np.flatnonzero(start[point]).tolist():
                    if image in self._orbit(point, found) or image in hopeless:
                        continue
                    whole = self._completed(start, {*range(point)}, point, image)
                    if whole is None:
                        hopeless |= self._orbit(image, inner)
                    else:
                        found.append(whole)
                order *= len(self._orbit(point, found))
                advance(f"order {order:,}")
        return found, order

    def _orbit(self, node: int, generators: list[np.ndarray]) -> set[int]:
        orbit, edge = {node}, [node]
        while edge:
            edge = [int(g[a]) for a in edge for g in generators if g[a] not in orbit]
            orbit |= {*edge}
        return orbit

    def _assigned(self, allowed: np.ndarray, node: int, image: int) -> np.ndarray:
        """Return the images that all points may have after one assignment."""
        if (node, image) not in self.pairs:
            self.pairs[node, image] = self.graph.pairs(node, image)[: self.n]
        allowed = allowed & self.pairs[node, image]
        allowed[:, image % self.n :: self.n] = False  # a point and its negative have images of one point
        allowed[node, image] = True
        return allowed

    def _completed(self, allowed: np.ndarray, done: set[int], point: int, image: int) -> np.ndarray | None:
        """Return a permutation that passes the test and extends an assignment, or `None`."""
        tested = 0
        stack = [(allowed, done, point, image)]
        while stack:
            before, assigned, last, chosen = stack.pop()
            allowed, done = self._assigned(before, last, chosen), {*assigned, last}
            counts = allowed.sum(1)
            if np.any(counts == 0):
                continue
            if len(done) == self.n:
                whole = self._whole(np.argmax(allowed, axis=1))
                if self.passes(whole):
                    return whole
                tested += 1
                if tested == MOST_TESTED:
                    raise TooLargeError(
                        "there are too many candidates for a permutation",
                        got=f"{tested} that move point {point} to {image % self.n} and fail the test",
                        expected="moments that tell the points apart",
                        step=self.more,
                    )
                continue
            node = min({*range(self.n)} - done, key=lambda open_point: (counts[open_point], open_point))
            images = np.flatnonzero(allowed[node])
            # The last of the stack is tried first: the image of least mismatch, the point itself before others.
            mismatch = self._mismatch(node, images, point, image) - 0.5 * (images == node)
            stack += [(allowed, done, node, int(images[i])) for i in np.argsort(-mismatch, kind="stable")]
        return None

    def _mismatch(self, node: int, images: np.ndarray, point: int, image: int) -> np.ndarray:
        """Return for each image how many weights to one assigned point differ by half of their error or more."""
        weights, errors = self.graph.weights, self.graph.errors
        gap = np.abs(weights[:, node, point, None] - weights[:, images, image])
        return np.asarray(np.sum(gap > errors[:, node, point, None] / 2, axis=0), np.float64)

    def _whole(self, images: np.ndarray) -> np.ndarray:
        """Return the permutation of all nodes: negatives go to negatives of the images."""
        if self.nodes == self.n:
            return images
        return np.concatenate([images, (images + self.n) % self.nodes])
