"""The lattice of subgroups as an SVG picture: a Hasse diagram, a row for each order."""

from __future__ import annotations

from equikit import _checks
from equikit.draw._palette import HUES, QUIET
from equikit.draw._svg import FONT, MARGIN, RADIUS, columns, number, xml_text
from equikit.groups import SubgroupLattice

DOWN, GAP, BETWEEN = 62.0, 8.0, 22.0
"""Distances between rows, between the names of conjugate subgroups, and between classes."""
MOST_SUBGROUPS, MOST_STRETCH = 400, 60.0


def lattice_svg(lattice: SubgroupLattice, *, scale: float = 1.0) -> str:
    """Draw all subgroups of a group as a standalone SVG picture.

    The trivial subgroup is at the bottom and the group at the top; subgroups of equal order share a row, with the order
    to its left. A line joins a subgroup to the maximal ones below it. Conjugate subgroups are neighbors and have one
    color; a filled circle is a normal subgroup.

    Args:
        lattice: from `equikit.discover.subgroups`.
        scale: the size of the picture; at 1 rows are 62 pixels apart.

    Returns:
        The text of an `<svg>` element, whose title names the group and the number of subgroups.

    Raises:
        TooLargeError: if there are more than 400 subgroups.
        OptionError: if `scale` is not positive.

    Cost: a line for each cover.

    Example:
        >>> from equikit import D
        >>> from equikit.discover import subgroups
        >>> lattice_svg(subgroups(D(4))).count("<line")
        15
    """
    _checks.instance("lattice", lattice, SubgroupLattice, "ek.discover.subgroups(ek.D(6))")
    scale = _checks.number("scale", scale, above=0, example=2, traced=False)
    step = "draw the lattice of a smaller group"
    _checks.refuse_if_more("the lattice is too large for a picture", len(lattice), MOST_SUBGROUPS, "subgroups", step)
    points, orders, (width, height) = _arranged(lattice)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width * scale)}" height="{number(height * scale)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" role="img">',
        f"<title>{xml_text(str(lattice.group))}: {len(lattice)} subgroups</title>",
    ]
    for low, high in lattice.covers:
        start, end = points[low], points[high]
        lines.append(
            f'<line class="cover" x1="{number(start.real)}" y1="{number(start.imag - RADIUS - 1)}" '
            f'x2="{number(end.real)}" y2="{number(end.imag + RADIUS + FONT + 5)}" stroke="{QUIET}" '
            'stroke-opacity="0.6"/>'
        )
    colors = [HUES[i % len(HUES)][i // len(HUES) % 3] for i, each in enumerate(lattice.classes) for _ in each]
    for one, point, color in zip(lattice, points, colors, strict=True):
        fill = color if one.is_normal else "none"
        x, y = number(point.real), point.imag
        lines.append(
            f'<circle class="subgroup" cx="{x}" cy="{number(y)}" r="{number(RADIUS - 1)}" fill="{fill}" '
            f'stroke="{color}" stroke-width="2"/>'
            f'<text x="{x}" y="{number(y + RADIUS + FONT)}" text-anchor="middle" font-family="sans-serif" '
            f'font-size="{number(FONT)}" fill="{color}">{xml_text(one.name)}</text>'
        )
    for order, y in orders.items():
        lines.append(
            f'<text x="{number(MARGIN)}" y="{number(y + 4)}" font-family="sans-serif" font-size="{number(FONT)}" '
            f'fill="{QUIET}">{order}</text>'
        )
    lines.append("</svg>")
    return "\n".join(lines)


def _arranged(lattice: SubgroupLattice) -> tuple[list[complex], dict[int, float], tuple[float, float]]:
    """Return the position of each subgroup, the height of each order, and the size of the picture."""
    rows: dict[int, list[list[float]]] = {}  # for each order, the widths of its subgroups, class by class
    for each in lattice.classes:
        wide = [max(0.62 * FONT * columns(one.name), 2 * RADIUS) + GAP for one in each]
        rows.setdefault(each[0].order, []).append(wide)
    widths = {order: sum(map(sum, kinds)) + BETWEEN * (len(kinds) - 1) for order, kinds in rows.items()}
    for order, kinds in rows.items():  # short rows are stretched, so that fewer lines cross names
        count = sum(map(len, kinds))
        more = min(MOST_STRETCH, max(0.0, 0.8 * max(widths.values()) - widths[order]) / count)
        rows[order] = [[width + more for width in wide] for wide in kinds]
        widths[order] += more * count
    left = 2 * MARGIN + 0.62 * FONT * max(columns(str(order)) for order in rows)
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
    return points, heights, (left + widest + MARGIN, max(heights.values()) + RADIUS + FONT + MARGIN)
