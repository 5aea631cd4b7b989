import random

import pytest
from pictures import diagrams

from equikit._errors import OptionError
from equikit.diagrams import Diagram
from equikit.draw import diagram_text
from equikit.draw._text import JOINTS, block_name

GOLDEN = {
    "p p -> p p: 1 1' | 2 2'": """
a   b
│   │
a   b
""",
    "p p -> p p: 1 2' | 2 1'": """
a   b
╰───│─╮
  ╭─╯ │
  b   a
""",
    "p p -> p p: 1 2 | 1' 2'": """
a   a
╰───╯
╭───╮
b   b
""",
    "p p -> p p: 1 | 2 | 1' | 2'": """
a   b
c   d
""",
    "p p -> p p: 1 2 1' 2'": """
a   a
├───┤
a   a
""",
    "p p p -> p p p: 1 2' | 2 3' | 3 1'": """
a   b   c
╰───│─╮ │
  ╭─│─│─╯
  │ ╰─│───╮
  c   a   b
""",
    "p p p p -> p p p p: 1 4 | 2 3 | 1' 4' | 2' 3'": """
a   b   b   a
│   ╰───╯   │
╰───────────╯
╭───────────╮
│   ╭───╮   │
c   d   d   c
""",
    "p p p p -> p: 1 1' 2' 3' 4'": """
a
├───┬───┬───╮
a   a   a   a
""",
    "() -> p p p: 1 3 | 2": """
a   b   a
╰───────╯
()
""",
    "p -> (): 1'": """
()
a
""",
    "() -> ():": """
()
()
""",
    "tokens heads tokens -> tokens heads: 1 1' 3' | 2 2'": """
tokens  heads
a       b
├───────│───────╮
a       b       a
tokens  heads   tokens
""",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_layout(text):
    assert "\n" + diagram_text(Diagram.parse(text)) + "\n" == GOLDEN[text]


ENDS = {character: ends for ends, character in JOINTS.items()}
STEPS = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def reach(picture: list[str], start: tuple[int, int]) -> set[tuple[int, int]]:
    """The letters that lines join to a letter, read off the picture by following the lines."""
    found, todo, seen = {start}, [], set()
    bottom = len(picture) - 1
    todo.append((*start, (1, 0) if start[0] == 0 else (-1, 0)))
    while todo:
        row, column, (down, right) = todo.pop()
        if (row, column, down, right) in seen:
            continue
        seen.add((row, column, down, right))
        row, column = row + down, column + right
        character = picture[row][column]
        if row in (0, bottom):
            found.add((row, column))
        elif character == "│" and right:
            todo.append((row, column, (down, right)))  # passes below a vertical
        elif character != " ":
            assert ENDS[character][STEPS.index((-down, -right))], "a line that ends at nothing"
            todo += [(row, column, step) for step, on in zip(STEPS, ENDS[character], strict=True) if on]
    return found


def check(diagram: Diagram) -> None:
    lines = diagram_text(diagram).split("\n")
    assert all(line == line.rstrip() for line in lines)
    width = max(map(len, lines))
    picture = [line.ljust(width) for line in lines]
    places = [
        (row, column) for row in (0, len(picture) - 1) for column in range(width) if picture[row][column] not in " ()"
    ]
    assert len(places) == diagram.order
    assert [picture[row][column] for row, column in places] == [block_name(block) for block in diagram.growth]
    for block in diagram.blocks:
        if len(block) > 1:
            for vertex in block:
                assert reach(picture, places[vertex]) == {places[other] for other in block}, diagram


def test_lines_join_the_vertices_of_each_block_and_no_others():
    for diagram in diagrams("p p -> p p", "p p p -> p p p", "p p p p p -> p", "p -> p p p p", "() -> p p p p p p"):
        check(diagram)


def test_lines_of_long_rows():
    generator = random.Random(0)
    for _ in range(300):
        l, k, blocks = (generator.randrange(1, 9) for _ in range(3))
        check(Diagram(("p",) * l, ("p",) * k, [generator.randrange(blocks) for _ in range(l + k)]))


def test_rows_of_eight_fit_in_a_terminal():
    for blocks in (1, 4, 16):
        diagram = Diagram(("p",) * 8, ("p",) * 8, [i % blocks for i in range(16)])
        assert max(map(len, diagram_text(diagram).split("\n"))) < 40


def test_more_blocks_than_letters():
    lines = diagram_text(Diagram.identity(("p",) * 30)).split("\n")
    assert lines[0] == lines[-1]
    assert lines[0].split()[24:28] == ["y", "z", "a1", "b1"]


def test_wide_characters_keep_columns_aligned():
    assert diagram_text(Diagram.identity(("点点点", "p"))).split("\n") == [
        "点点点  p",
        "a       b",
        "│       │",
        "a       b",
        "点点点  p",
    ]


def test_numbers_stand_outside_the_rows():
    text = diagram_text(Diagram.parse("q p q -> p q: 1 2' | 2 3' | 1'"), numbers=True).splitlines()
    bare = diagram_text(Diagram.parse("q p q -> p q: 1 2' | 2 3' | 1'")).splitlines()
    assert text[0].split() == ["p", "q"]
    assert text[1].split() == ["1", "2"]
    assert text[-2].split() == ["1'", "2'", "3'"]
    assert text[-1].split() == ["q", "p", "q"]
    assert [line.split() for line in (*text[:1], *text[2:-2], text[-1])] == [line.split() for line in bare]
    numbers = [text[1].index(str(i)) for i in (1, 2)]
    assert [text[0][place] for place in numbers] == ["p", "q"]
    assert diagram_text(Diagram.identity(()), numbers=True) == diagram_text(Diagram.identity(()))
    with pytest.raises(OptionError, match="numbers"):
        diagram_text(Diagram.identity("p"), numbers=None)
