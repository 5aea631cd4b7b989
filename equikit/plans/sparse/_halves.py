"""Half diagrams and wirings of one label alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from equikit.diagrams import HalfDiagram, canonical


@functools.lru_cache(maxsize=4096)
def restricted(half: HalfDiagram, label: str) -> HalfDiagram:
    """Return the part of a half diagram on the vertices of one label, whose blocks have no other label.

    Example:
        >>> restricted(HalfDiagram(("p", "x", "p"), (0, 1, 0), (0,)), "p")
        HalfDiagram(labels=('p', 'p'), size=1, growth=(0, 0), propagating=(0,), heads=())
    """
    blocks = [block for own, block in zip(half.labels, half.growth, strict=True) if own == label]
    growth = canonical(blocks)
    numbers = dict(zip(blocks, growth, strict=True))
    propagating = tuple(sorted(numbers[block] for block in half.propagating if block in numbers))
    return HalfDiagram((label,) * len(blocks), growth, propagating)


def permutation_of(wiring: Sequence[int], core: Sequence[str], label: str) -> tuple[int, ...] | None:
    """Return how a wiring of a core permutes the wires of one label, `None` if it does not.

    Example:
        >>> permutation_of((1, 0, 2), ("p", "p", "x"), "p"), permutation_of((1, 0, 2), ("p", "p", "x"), "x")
        ((1, 0), None)
    """
    places = [place for place, own in enumerate(core[: len(wiring)]) if own == label]
    order = tuple(wiring[place] - places[0] for place in places)
    return None if order == tuple(range(len(order))) else order
