"""The maps of a space on a support: which of them are zero, and their matrices between entries that are present."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit.diagrams import Diagram, HomSpace
from equikit.draw.supports import checked_support
from equikit.signatures import Term

if TYPE_CHECKING:
    from equikit.draw.spaces._listing import Section
    from equikit.supports import Support

ZERO = "zero on the support"
"""The note on a map that is zero."""

MOST_ENTRIES = 2**20
"""The most entries of the matrix at the size of the support, from which rows and columns are taken."""


@dataclass(frozen=True, eq=False)
class OnSupport:
    """What is drawn of a space on a support.

    Attributes:
        support: the support.
        flags: for each section with diagrams, whether each of its maps is not zero.
    """

    support: Support
    flags: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]]

    def is_zero(self, section: Section, index: int) -> bool:
        """Whether a map of a section is zero."""
        return not self.flags[section.title][index]

    def note(self, sections: Sequence[Section]) -> str:
        """Return a sentence on the support and the number of maps that are zero."""
        flags = [self.flags[section.title] for section in sections if section.title in self.flags]
        count, zero = sum(map(len, flags)), sum(int((~own).sum()) for own in flags)
        return f"on {self.support!r}: {zero} of {count} maps are zero"

    def matrix(self, section: Section, diagram: Diagram, sizes: Mapping[str, int], most: int) -> np.ndarray | None:
        """Return the matrix between present entries; `None` if it has more than `most` rows or columns."""
        at = {**sizes, self.support.label: self.support.n}
        sides = [self._entries(term, section.space, at) for term in (section.target, section.source)]
        whole = [math.prod(at[label] for label in row) for row in (diagram.top, diagram.bottom)]
        if any(len(rows) > most for rows, _ in sides) or math.prod(whole) > MOST_ENTRIES:
            return None
        (rows, above), (columns, below) = sides
        found: np.ndarray = diagram.matrix(at)[np.ix_(rows, columns)]
        return np.where(above[:, None] == below, found, 0)

    def _entries(self, term: Term, space: HomSpace, sizes: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return for each entry of a term its place in the dense array, and its graph."""
        support, none = self.support, self.support.levels[0].count
        axes = [label for label in term.labels if label in space.signature.groups]
        own, graph_of = axes.count(support.label), np.asarray(support.levels[1].drop[0])
        nodes = [np.asarray(each) for each in support.indices(own)] if own > 1 else [np.arange(support.n)] * own
        graphs = np.append(graph_of, none)[nodes[0]] if own else np.where(support.present(0), np.arange(none), none)
        there = graphs < none  # not padding
        graphs, nodes = graphs[there], [each[there] for each in nodes]
        others = [sizes[label] for label in axes if label != support.label]
        grid = np.indices((len(graphs), *others)).reshape(1 + len(others), -1)
        places = iter(grid[1:])
        left = iter(nodes)
        index = [next(left)[grid[0]] if label == support.label else next(places) for label in axes]
        shape = [sizes[label] for label in axes]
        flat = np.ravel_multi_index(index, shape) if axes else np.zeros(grid.shape[1], int)
        return flat, graphs[grid[0]]


def on_support(space: HomSpace, sections: Sequence[Section], support: Any) -> OnSupport | None:
    """Return what is drawn of a space on a support, which is checked; `None` without a support."""
    if support is None:
        return None
    from equikit.plans import active_maps  # which needs JAX

    support = checked_support(support)
    ones = tuple((1,) * len(side) for side in (space.signature.inputs, space.signature.outputs))
    found = active_maps(space.signature, (ones[0], ones[1]), False, support)
    return OnSupport(support, dict(zip((s.title for s in sections if s.count), found.values(), strict=True)))
