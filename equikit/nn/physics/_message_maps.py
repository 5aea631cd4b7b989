"""The maps from a feature and a direction to a message."""

from __future__ import annotations

import functools

from equikit.diagrams import MultilinearSpace, multilinear
from equikit.groups import Group, S

POINT, OTHER, SPACE = "i", "j", "x"
"""The labels of the receiving point, the sending point, and the axes of space."""


@functools.lru_cache(maxsize=256)
def message_maps(
    group: Group, source: int, power: int, target: int, *, odd: bool = False
) -> tuple[MultilinearSpace, tuple[int, ...]]:
    """Return a multilinear space, and the indices of its basis elements that are maps of messages.

    They map a feature of point j and a power of the direction from i to j to a feature of point i, summed over j. Maps
    that join two axes of the direction are omitted: its length is one, so they equal maps of a lower power. The others
    are linearly independent, with few exceptions: under SO(3) the tensor ε is the sum of its three products with the
    square of the direction. If `odd`, the maps are multiplied by the determinant.
    """
    axes = [" ".join([SPACE] * count) for count in (source, power, target)]
    direction = f"sym({axes[1]})" if power > 1 else axes[1]
    text = f"{OTHER} {axes[0]}, {POINT} {OTHER} {direction} -> {POINT} {axes[2]}"
    text += f" det({SPACE})" if odd else ""
    bound: dict[str, object] = {POINT: S, OTHER: S}
    if source + power + target or odd:
        bound[SPACE] = group
    space = multilinear(text, bound)
    _, _, start, stop = space.starts
    found = []
    for number, total in enumerate(space.basis):
        diagram = total.first
        blocks = [{diagram.growth[v] for v, name in enumerate(diagram.labels) if name == x} for x in (POINT, OTHER)]
        own = [block for block in diagram.blocks if len(block) > 1 and set(block) <= {*range(start, stop)}]
        if all(len(joined) == 1 for joined in blocks) and not own:
            found.append(number)
    return space, tuple(found)
