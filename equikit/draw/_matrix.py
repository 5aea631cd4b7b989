"""An integer matrix as an SVG picture: a grid with the nonzero entries filled in."""

from __future__ import annotations

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.draw._svg import number

LARGEST_CELL = 14.0
SMALLEST_GRID = 5.0
"""The smallest cell for which a grid is drawn: it would hide the entries of smaller cells."""
MOST_ENTRIES = 2**18


def _checked(array: np.ndarray, side: float) -> np.ndarray:
    if array.ndim != 2:
        raise ShapeError(
            "only a matrix can be drawn", got=f"shape {array.shape}", expected="two axes", step="reshape it"
        )
    if not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        raise DTypeError(
            "only integers are drawn", got=array.dtype, expected="an integer dtype", step="round, or scale it"
        )
    step = "draw it at a smaller size of the labels"
    _checks.refuse_if_more("the matrix is too large for a picture", array.size, MOST_ENTRIES, "entries", step)
    _checks.number("side", side, above=0, example=96)
    return array


def _runs(mask: np.ndarray, cell: float) -> str:
    """Return path data that fills the marked cells: one rectangle for each run of cells in a row."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    words = []
    for (row, left), (_, right) in zip(starts.tolist(), ends.tolist(), strict=True):
        length, tall = number((right - left) * cell), number(cell)
        words.append(f"M{number(1 + left * cell)} {number(1 + row * cell)}h{length}v{tall}h-{length}z")
    return "".join(words)


def _lines(rows: int, columns: int, cell: float, every: tuple[int, int]) -> str:
    """Return path data of the lines inside the frame, at a spacing of so many rows and columns."""
    across = [f"M1 {number(1 + i * cell)}h{number(columns * cell)}" for i in range(every[0], rows, every[0])]
    down = [f"M{number(1 + j * cell)} 1v{number(rows * cell)}" for j in range(every[1], columns, every[1])]
    return "".join(across + down)


def matrix_svg(array: np.ndarray, *, side: float = 96.0, blocks: tuple[int, int] | None = None) -> str:
    """Draw an integer matrix as a standalone SVG picture.

    Positive entries are blue, negative ones vermilion, paler if they are small relative to the largest; zeros are
    empty. The light grid is omitted if cells are small.

    Args:
        array: integers, `[rows, columns]`.
        side: the largest length in pixels of the longer side; a cell is never larger than 14 pixels.
        blocks: rows and columns of a block; borders of blocks have a stronger line.

    Returns:
        The text of an `<svg>` element, whose title has the shape and the number of nonzero entries.

    Raises:
        ShapeError: unless the array has two axes.
        DTypeError: if its entries are not integers.
        TooLargeError: if it has more than 2^18 entries.
        OptionError: if `side` or `blocks` is not positive.

    Cost: one rectangle for each run of equal entries in a row.

    Example:
        >>> import numpy as np
        >>> "3 × 3 matrix, 3 entries not zero" in matrix_svg(np.eye(3, dtype=int))
        True
    """
    array = _checked(np.asarray(array), side)
    rows, columns = array.shape
    if blocks is not None and not (
        isinstance(blocks, tuple) and len(blocks) == 2 and all(type(size) is int and size > 0 for size in blocks)
    ):
        raise OptionError(
            "a block has no size", got=f"blocks={blocks!r}", expected="two positive numbers", step="leave it out"
        )
    cell = min(LARGEST_CELL, side / max(rows, columns, 1))
    # The frame is a pixel wide and lies around the cells; a matrix without rows or columns is a line.
    width, height = number(columns * cell + 2), number(rows * cell + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img">',
        f"<title>{rows} × {columns} matrix, {np.count_nonzero(array)} entries not zero</title>",
    ]
    largest = max((abs(int(value)) for value in np.unique(array)), default=0)
    for value in np.unique(array).tolist():
        if value:
            color = POSITIVE if value > 0 else NEGATIVE
            opacity = "" if abs(value) == largest else f' fill-opacity="{number(0.25 + 0.75 * abs(value) / largest)}"'
            lines.append(
                f'<path class="entries" d="{_runs(array == value, cell)}" fill="{color}"{opacity} '
                'shape-rendering="crispEdges"/>'
            )
    pen = f'fill="none" stroke="{QUIET}" shape-rendering="crispEdges"'
    if cell >= SMALLEST_GRID and (grid := _lines(rows, columns, cell, (1, 1))):
        lines.append(f'<path class="grid" d="{grid}" {pen} stroke-opacity="0.35"/>')
    if blocks is not None and (borders := _lines(rows, columns, cell, blocks)):
        lines.append(f'<path class="borders" d="{borders}" {pen}/>')
    frame = f'x="0.5" y="0.5" width="{number(columns * cell + 1)}" height="{number(rows * cell + 1)}"'
    lines.append(f'<rect class="frame" {frame} {pen}/>')
    lines.append("</svg>")
    return "\n".join(lines)
