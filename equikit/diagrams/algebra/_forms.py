r"""Signs from forms in products of diagrams.

Along a path or around a loop of joined blocks, each edge is the identity or the form, the matrix of an edge inside one
row. Metrics square to one and cancel. The symplectic form is antisymmetric and squares to minus one, so the direction
and the number of its edges give a sign.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from equikit.diagrams._diagram import Diagram

Edge = tuple[int, int, bool]
"""Two vertices, and whether the edge is the form (read from the first to the second) or the identity."""


def edges(diagram: Diagram, labels: Collection[str], numbers: Iterable[int]) -> list[Edge]:
    """Return the pairs of a diagram that have one of the labels, in another numbering of its vertices."""
    place, split = list(numbers), len(diagram.top)
    found = []
    for block in diagram.blocks:
        if diagram.labels[block[0]] in labels:
            first, second = block
            found.append((place[first], place[second], (first < split) == (second < split)))
    return found


def symplectic_sign(pairs: Iterable[Edge]) -> int:
    r"""Return the sign of a product of symplectic forms and identities along paths and loops.

    Every vertex is in at most two edges. A path, read from its smaller end, is \(\pm\Omega^q\); the sign converts it to
    the identity (q even) or Ω (q odd). A loop is \(\pm\mathrm{tr}\,\Omega^q\), and the sign converts it to n.
    """
    at: dict[int, list[Edge]] = {}
    for edge in pairs:
        for vertex in edge[:2]:
            at.setdefault(vertex, []).append(edge)
    sign = 1
    ends = sorted(vertex for vertex, here in at.items() if len(here) == 1)
    seen: set[int] = set()
    for start in (*ends, *sorted(at)):  # paths first, from their smaller ends; the rest are loops
        if start in seen:
            continue
        vertex, forms, last = start, 0, None
        while True:
            seen.add(vertex)
            onward = [edge for edge in at[vertex] if edge is not last]
            if not onward:
                break
            last = onward[0]
            first, second, formed = last
            if formed:
                forms += 1
                sign = sign if vertex == first else -sign
            vertex = second if vertex == first else first
            if vertex == start:
                break
        sign = sign if forms // 2 % 2 == 0 else -sign
    return sign
