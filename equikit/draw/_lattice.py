"""The lattice of subgroups as a picture: a Hasse diagram, a row for each order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.draw._curves import Curve
from equikit.draw._diagram import RADIUS
from equikit.draw._palette import HUES, QUIET
from equikit.draw._picture import FONT, LETTER, MARGIN, Curves, Dot, Pen, Picture, Shape, Words, checked_scale, columns
from equikit.draw.writers import svg, tikz
from equikit.groups import Subgroup, SubgroupLattice

DOWN, GAP, BETWEEN = 62.0, 8.0, 22.0
"""Distances between rows, between the names of conjugate subgroups, and between classes."""
MOST_SUBGROUPS, MOST_STRETCH = 400, 60.0
NAME = RADIUS + FONT + 3
"""How far the baseline of a name is below the subgroup: a ring fits between them."""
BENDS = (0.0, 14.0, -14.0, 28.0, -28.0, 42.0, -42.0)
"""How far the line of a cover may bend to one side, by preference."""


def lattice_picture(lattice: SubgroupLattice, marked: Iterable[Subgroup] | None) -> Picture:
    """Return the model of the picture of a lattice; see `lattice_svg`."""
    _checks.instance("lattice", lattice, SubgroupLattice, "ek.discover.subgroups(ek.D(6))")
    step = "draw the lattice of a smaller group"
    _checks.refuse_if_more("the lattice is too large for a picture", len(lattice), MOST_SUBGROUPS, "subgroups", step)
    rings = _checked_marks(lattice, marked)
    points, orders, (width, height) = _arranged(lattice)
    shapes: list[Shape] = []
    shapes += [Curves("cover", (curve,), Pen(QUIET, opacity=0.6)) for curve in _covers(lattice, points)]
    colors = [HUES[i % len(HUES)][i // len(HUES) % 3] for i, each in enumerate(lattice.classes) for _ in each]
    for one, point, color in zip(lattice, points, colors, strict=True):
        fill = color if one.is_normal else None
        shapes.append(Dot("subgroup", point, RADIUS - 1, fill=fill, pen=Pen(color, 2)))
        if one in rings:
            shapes.append(Dot("mark", point, RADIUS + 3, pen=Pen(color, 2)))
        shapes.append(Words("name", one.name, point + NAME * 1j, color))
    for order, y in orders.items():
        shapes.append(Words("order", str(order), complex(MARGIN, y + 4), QUIET, "start"))
    title = f"{lattice.group}: {len(lattice)} subgroups"
    return Picture(width, height, f"{title}, {len(rings)} marked" if rings else title, tuple(shapes))


def _checked_marks(lattice: SubgroupLattice, marked: Iterable[Subgroup] | None) -> frozenset[Subgroup]:
    every = frozenset(lattice)
    several = isinstance(marked, Iterable) and not isinstance(marked, Subgroup) and getattr(marked, "ndim", 1) != 0
    given: tuple[Any, ...] = () if marked is None else tuple(marked) if several else (marked,)
    for one in given:
        if not isinstance(one, Subgroup) or one not in every:
            raise OptionError(
                "a marked subgroup is not in the lattice",
                got=_checks.shown(one),
                expected=f"subgroups of {lattice.group}",
                step="pick some of lattice.subgroups, or leave marked out",
            )
    return frozenset(given)


def lattice_svg(lattice: SubgroupLattice, *, scale: float = 1.0, marked: Iterable[Subgroup] | None = None) -> str:
    """Draw all subgroups of a group as a standalone SVG picture.

    The trivial subgroup is at the bottom and the group at the top; subgroups of equal order share a row, with the order
    to its left. A line joins a subgroup to the maximal ones below it. Conjugate subgroups are neighbors and have one
    color; a filled circle is a normal subgroup. Marked subgroups, such as those that a model keeps, have a ring.

    Args:
        lattice: from `equikit.discover.subgroups`.
        scale: the size of the picture; at 1 rows are 62 pixels apart.
        marked: subgroups in the lattice.

    Returns:
        The text of an `<svg>` element, whose title names the group and the number of subgroups.

    Raises:
        TooLargeError: if there are more than 400 subgroups.
        OptionError: if `scale` is not from 0 to 100, or a marked subgroup is not in the lattice.

    Cost: a line for each cover.

    Example:
        >>> from equikit import D
        >>> from equikit.discover import subgroups
        >>> lattice = subgroups(D(4))
        >>> lattice_svg(lattice).count('class="cover"')
        15
        >>> turns = next(one for one in lattice if one.name == "Z(4)")
        >>> turns.name, lattice_svg(lattice, marked=[turns]).count('class="mark"')
        ('Z(4)', 1)
    """
    scale = checked_scale(scale)
    return svg(lattice_picture(lattice, marked), scale)


def lattice_tikz(lattice: SubgroupLattice, *, scale: float = 1.0, marked: Iterable[Subgroup] | None = None) -> str:
    r"""Draw all subgroups of a group in TikZ; the picture is the same as from `lattice_svg`.

    Args:
        lattice: from `equikit.discover.subgroups`.
        scale: the size of the picture with its text; at 1 rows are 46.5 bp apart.
        marked: subgroups in the lattice, which have a ring.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        TooLargeError: if there are more than 400 subgroups, or a side would be longer than 16,000 bp, for TeX.
        OptionError: if `scale` is not from 0 to 100, or a marked subgroup is not in the lattice.

    Cost: a line for each cover.

    Example:
        >>> from equikit import D
        >>> from equikit.discover import subgroups
        >>> lattice_tikz(subgroups(D(4))).count("node[")
        14
    """
    scale = checked_scale(scale)
    return tikz(lattice_picture(lattice, marked), scale)


def _covers(lattice: SubgroupLattice, points: Sequence[complex]) -> Iterator[Curve]:
    """Yield a curve for each cover, bent where a straight line would pass through a subgroup or its name."""
    place = np.array(points)
    half = np.array([LETTER * columns(one.name) / 2 for one in lattice]) + 2
    times = np.linspace(0, 1, 33)
    for low, high in lattice.covers:
        start, end = points[low] - (RADIUS + 1) * 1j, points[high] + (NAME + 4) * 1j
        third, fewest, best = (end - start) / 3, len(points), None
        for bend in BENDS:
            curve = Curve(start, start + third + bend, end - third + bend, end)
            apart = curve.at(times)[:, None] - place
            inside = (abs(apart.real) < half) & (apart.imag > -RADIUS - 2) & (apart.imag < NAME + 2)
            met = inside.any(axis=0)
            met[[low, high]] = False
            if best is None or np.count_nonzero(met) < fewest:
                fewest, best = int(np.count_nonzero(met)), curve
            if not fewest:
                break
        assert best is not None
        yield best


def _arranged(lattice: SubgroupLattice) -> tuple[list[complex], dict[int, float], tuple[float, float]]:
    """Return the position of each subgroup, the height of each order, and the size of the picture."""
    rows: dict[int, list[list[float]]] = {}  # for each order, the widths of its subgroups, class by class
    for each in lattice.classes:
        wide = [max(LETTER * columns(one.name), 2 * RADIUS) + GAP for one in each]
        rows.setdefault(each[0].order, []).append(wide)
    widths = {order: sum(map(sum, kinds)) + BETWEEN * (len(kinds) - 1) for order, kinds in rows.items()}
    for order, kinds in rows.items():  # short rows are stretched, so that fewer lines cross names
        count = sum(map(len, kinds))
        more = min(MOST_STRETCH, max(0.0, 0.8 * max(widths.values()) - widths[order]) / count)
        rows[order] = [[width + more for width in wide] for wide in kinds]
        widths[order] += more * count
    left = 2 * MARGIN + LETTER * max(columns(str(order)) for order in rows)
    widest, top = max(widths.values()), MARGIN + RADIUS
    heights = {order: top + DOWN * place for place, order in enumerate(sorted(rows, reverse=True))}
    points = []
    for order, kinds in rows.items():
        x = left + (widest - widths[order]) / 2
        for wide in kinds:
            for width in wide:
                points.append(complex(x + width / 2, heights[order]))
                x += width
            x += BETWEEN
    return points, heights, (left + widest + MARGIN, max(heights.values()) + NAME + MARGIN)
