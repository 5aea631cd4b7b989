"""An integer matrix as a picture: a grid with the nonzero entries filled in."""

from __future__ import annotations

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.draw._picture import Boxes, Lines, Pen, Picture, Shape
from equikit.draw.writers import svg, tikz

LARGEST_CELL = 14.0
SMALLEST_GRID = 5.0
"""The smallest cell for which a grid is drawn: it would hide the entries of smaller cells."""
MOST_ENTRIES = 2**18


def _checked(array: np.ndarray, side: float, blocks: object) -> np.ndarray:
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
    if blocks is not None and not (
        isinstance(blocks, tuple) and len(blocks) == 2 and all(type(size) is int and size > 0 for size in blocks)
    ):
        raise OptionError(
            "a block has no size", got=f"blocks={blocks!r}", expected="two positive numbers", step="leave it out"
        )
    return array


def _runs(mask: np.ndarray, cell: float) -> tuple[tuple[complex, complex], ...]:
    """Return the marked cells as rectangles, one for each run of cells in a row."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return tuple(
        (complex(1 + left * cell, 1 + row * cell), complex((right - left) * cell, cell))
        for (row, left), (_, right) in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _lines(rows: int, columns: int, cell: float, every: tuple[int, int]) -> tuple[tuple[complex, complex], ...]:
    """Return the lines inside the frame, at a spacing of so many rows and columns."""
    right, bottom = 1 + columns * cell, 1 + rows * cell
    across = [(complex(1, 1 + i * cell), complex(right, 1 + i * cell)) for i in range(every[0], rows, every[0])]
    down = [(complex(1 + j * cell, 1), complex(1 + j * cell, bottom)) for j in range(every[1], columns, every[1])]
    return (*across, *down)


def matrix_picture(array: np.ndarray, *, side: float = 96.0, blocks: tuple[int, int] | None = None) -> Picture:
    """Return the model of the picture of a matrix; see `matrix_svg`."""
    array = _checked(np.asarray(array), side, blocks)
    rows, columns = array.shape
    cell = min(LARGEST_CELL, side / max(rows, columns, 1))
    values = np.unique(array).tolist()
    largest = max(map(abs, values), default=0)
    shapes: list[Shape] = [
        Boxes(
            "entries",
            _runs(array == value, cell),
            fill=POSITIVE if value > 0 else NEGATIVE,
            opacity=1.0 if abs(value) == largest else 0.25 + 0.75 * abs(value) / largest,
        )
        for value in values
        if value
    ]
    pale, pen = Pen(QUIET, opacity=0.35, crisp=True), Pen(QUIET, crisp=True)
    if cell >= SMALLEST_GRID and (grid := _lines(rows, columns, cell, (1, 1))):
        shapes.append(Lines("grid", grid, pale))
    if blocks is not None and (borders := _lines(rows, columns, cell, blocks)):
        shapes.append(Lines("borders", borders, pen))
    # The frame is a pixel wide and lies around the cells; a matrix without rows or columns is a line.
    shapes.append(Boxes("frame", ((0.5 + 0.5j, complex(columns * cell + 1, rows * cell + 1)),), pen=pen))
    title = f"{rows} × {columns} matrix, {np.count_nonzero(array)} entries not zero"
    return Picture(columns * cell + 2, rows * cell + 2, title, tuple(shapes))


def matrix_svg(array: np.ndarray, *, side: float = 96.0, blocks: tuple[int, int] | None = None) -> str:
    """Draw an integer matrix as a standalone SVG picture.

    Positive entries are blue, negative ones vermilion, closer to the background if they are small relative to the
    largest; zeros are empty. The light grid is omitted if cells are small.

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
    return svg(matrix_picture(array, side=side, blocks=blocks))


def matrix_tikz(array: np.ndarray, *, side: float = 96.0, blocks: tuple[int, int] | None = None) -> str:
    r"""Draw an integer matrix in TikZ; the picture is the same as from `matrix_svg`.

    Args:
        array: integers, `[rows, columns]`.
        side: the largest length of the longer side in pixels of 0.75 bp; a cell is never larger than 14 pixels.
        blocks: rows and columns of a block; borders of blocks have a stronger line.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        ShapeError: unless the array has two axes.
        DTypeError: if its entries are not integers.
        TooLargeError: if it has more than 2^18 entries.
        OptionError: if `side` or `blocks` is not positive.

    Cost: one rectangle for each run of equal entries in a row.

    Example:
        >>> import numpy as np
        >>> matrix_tikz(np.eye(3, dtype=int)).count(" rectangle ")  # the bounding box, three entries and the frame
        5
    """
    return tikz(matrix_picture(array, side=side, blocks=blocks))
