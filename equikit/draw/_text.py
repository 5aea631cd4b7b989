"""A diagram as a picture for terminals: a letter for each block, and lines that join its vertices.

Each block that needs one gets a horizontal *track* between the rows, with a vertical line to each of its vertices.
Where two blocks cross, the vertical passes over the horizontal, so a tee or a cross (`┬`, `┼`) always joins one block.
"""

from __future__ import annotations

from collections.abc import Iterator

from equikit import _checks
from equikit.diagrams import Diagram
from equikit.draw._picture import columns
from equikit.signatures import base

Columns = dict[int, int]
"""The block at each column of a row."""
Ends = dict[int, tuple[int, int]]
"""The leftmost and the rightmost column of each block that needs a track."""

# The character that joins the four directions: up, down, left, right.
JOINTS = {
    (True, True, False, False): "│",
    (False, False, True, True): "─",
    (False, True, False, True): "╭",
    (False, True, True, False): "╮",
    (True, False, False, True): "╰",
    (True, False, True, False): "╯",
    (True, True, False, True): "├",
    (True, True, True, False): "┤",
    (False, True, True, True): "┬",
    (True, False, True, True): "┴",
    (True, True, True, True): "┼",
}


def block_name(block: int) -> str:
    """Name a block: the letters `a` to `z`, then `a1` to `z1` and so on."""
    letter = chr(ord("a") + block % 26)
    return letter if block < 26 else f"{letter}{block // 26}"


def block_word(growth: tuple[int, ...]) -> str:
    """Return the names of the blocks of some vertices as a word: `aab`."""
    return "".join(map(block_name, growth)) or "()"


def _higher(ends: Ends, above: Columns, below: Columns) -> dict[int, set[int]]:
    """Return, for each block with a track, the blocks whose tracks must be above it."""
    higher: dict[int, set[int]] = {block: set() for block in ends}
    # A column with A above and B below: the verticals would overlap unless A has the track above B.
    for column, block in below.items():
        upper = above.get(column, block)
        if upper != block and upper in ends and block in ends:
            higher[block].add(upper)
    # Of nested blocks the inner one is nearer to its row, which avoids crossings. This creates no cycle: above a block
    # of the top row are only other blocks of that row inside it, and likewise below.
    for inner, (left, right) in ends.items():
        for outer, (first, last) in ends.items():
            if first < left and right < last:
                if inner not in below.values():
                    higher[outer].add(inner)
                elif inner not in above.values():
                    higher[inner].add(outer)
    return higher


def _tracks(ends: Ends, above: Columns, below: Columns) -> list[list[int]] | None:
    """Assign tracks from the top, as in channel routing; `None` if that is impossible.

    Args:
        ends: the leftmost and the rightmost column of each block that needs a track.
        above: the block at each column of the top row.
        below: the block at each column of the bottom row.
    """
    higher = _higher(ends, above, below)
    waiting = sorted(ends, key=lambda block: (ends[block], block))
    tracks: list[list[int]] = []
    while waiting:
        track: list[int] = []
        for block in waiting:
            free = not track or ends[track[-1]][1] < ends[block][0]
            if free and not higher[block] & set(waiting):
                track.append(block)
        if not track:
            return None  # a cycle, as for the swap of two axes
        tracks.append(track)
        waiting = [block for block in waiting if block not in track]
    return tracks


def _layout(diagram: Diagram, pitch: int, offset: int) -> tuple[Columns, Columns, list[list[int]]] | None:
    """Return the columns of both rows and the tracks, with the bottom row moved to the right by `offset` columns."""
    split = len(diagram.top)
    above = {i * pitch: block for i, block in enumerate(diagram.growth[:split])}
    below = {i * pitch + offset: block for i, block in enumerate(diagram.growth[split:])}
    places: dict[int, list[int]] = {}
    for row in (above, below):
        for column, block in row.items():
            places.setdefault(block, []).append(column)
    ends = {block: (min(at), max(at)) for block, at in places.items() if min(at) < max(at)}
    tracks = _tracks(ends, above, below)
    return None if tracks is None else (above, below, tracks)


def _line(track: list[int], remaining: set[int], above: Columns, below: Columns, width: int) -> str:
    """Draw one track. The verticals of blocks in `remaining`, whose tracks are further down, come from the top row."""
    cells = [" "] * width
    for block in track:
        at = [column for row in (above, below) for column, other in row.items() if other == block]
        for column in range(min(at), max(at) + 1):
            up, down = above.get(column) == block, below.get(column) == block
            cells[column] = JOINTS[up, down, column > min(at), column < max(at)]
    for column in {*above, *below}:
        upper, lower = above.get(column), below.get(column)
        straight = upper is not None and upper == lower and upper not in track
        waits = upper is not None and upper in remaining
        done = lower is not None and lower not in remaining and lower not in track and lower != upper
        alone = lower is not None and [*above.values(), *below.values()].count(lower) == 1
        if straight or waits or (done and not alone):
            cells[column] = "│"  # passes over horizontal lines
    return "".join(cells)


def _spread(words: dict[int, str]) -> str:
    """Write words at given columns."""
    line = ""
    for column, word in sorted(words.items()):
        line += " " * (column - columns(line)) + word
    return line


def _rows(diagram: Diagram, numbers: bool) -> Iterator[str]:
    named = len(set(diagram.labels)) > 1
    counted = [str(i + 1) for i in range(len(diagram.top))], [f"{i + 1}'" for i in range(len(diagram.bottom))]
    words = [block_name(block) for block in diagram.growth] + (list(diagram.labels) if named else [])
    words += [*counted[0], *counted[1]] if numbers else []
    half = max(2, (max(map(columns, words), default=1) + 2) // 2)
    found = _layout(diagram, 2 * half, 0) or _layout(diagram, 2 * half, half)
    assert found is not None, "rows without a common column have no cycles"
    above, below, tracks = found
    width = max((*above, *below), default=-1) + 1
    if named and above:
        yield _spread(dict(zip(sorted(above), diagram.top, strict=True)))
    if numbers and above:
        yield _spread(dict(zip(sorted(above), counted[0], strict=True)))
    yield _spread({column: block_name(block) for column, block in above.items()}) or "()"
    remaining = {block for track in tracks for block in track}
    straight = any(below.get(column) == block for column, block in above.items())
    for track in tracks or ([[]] if straight else []):
        remaining -= set(track)
        yield _line(track, remaining, above, below, width)
    yield _spread({column: block_name(block) for column, block in below.items()}) or "()"
    if numbers and below:
        yield _spread(dict(zip(sorted(below), counted[1], strict=True)))
    if named and below:
        yield _spread(dict(zip(sorted(below), diagram.bottom, strict=True)))
    for _, count, legs in diagram.heads:
        yield f"sign of {' '.join([*map(block_name, legs), *['*'] * (count - len(legs))])}"
    for label, _, number in diagram.elements:
        held = [block for block, name in enumerate(diagram.block_labels) if base(name) == label]
        yield f"tensor {number + 1} of {' '.join(map(block_name, held))}"


def diagram_text(diagram: Diagram, *, numbers: bool = False) -> str:
    """Draw a diagram in box-drawing characters.

    The output axes are the upper row of letters, the input axes the lower one; equal letters are one block, and lines
    join them. Where two blocks cross, the unbroken line is the vertical one. A row without axes is `()`. The lower row
    is moved to the right by half a position if lines would otherwise overlap. If there are several labels, they are
    written outside the rows. The legs of a Levi-Civita tensor are listed below, with `*` for a leg that is summed over,
    and so are the axes of each invariant tensor of a group without diagrams.

    Args:
        diagram: the diagram.
        numbers: whether the vertices are numbered outside the rows, as in the text of the diagram: 1, 2 above and
            1', 2' below.

    Returns:
        Lines without trailing spaces, joined by newlines.

    Raises:
        OptionError: if `numbers` is not a boolean.

    Cost: the square of the number of vertices.

    Example:
        >>> from equikit import Diagram
        >>> print(diagram_text(Diagram.parse("p p p -> p p p: 1 2 1' | 3 | 2' 3'")))
        a   a   b
        ├───╯
        │   ╭───╮
        a   c   c
        >>> print(diagram_text(Diagram.parse("p p -> p: 1 2' | 1'"), numbers=True))
        1
        a
        ╰───╮
        b   a
        1'  2'
    """
    _checks.instance("diagram", diagram, Diagram, 'ek.Diagram.identity("p")')
    return "\n".join(line.rstrip() for line in _rows(diagram, _checks.flag("numbers", numbers)))
