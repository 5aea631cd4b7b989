"""The text form of a diagram: `p p -> p p: 1 1' | 2 2'`, tops unprimed, bottoms primed, numbered from one."""

from __future__ import annotations

from equikit._errors import DiagramError, explain
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._parse import parse_labels

EXAMPLE = "\"p p -> p: 1 1' | 2'\""


def format_diagram(diagram: Diagram) -> str:
    """Write a diagram as text that `parse_diagram` reads back."""
    split = len(diagram.top)
    names = [str(i + 1) for i in range(split)] + [f"{i + 1}'" for i in range(len(diagram.bottom))]
    blocks = " | ".join(" ".join(names[vertex] for vertex in block) for block in diagram.blocks)
    rows = f"{' '.join(diagram.bottom) or '()'} -> {' '.join(diagram.top) or '()'}"
    return f"{rows}: {blocks}".strip()


def parse_diagram(text: str) -> Diagram:
    """Read the text form of a diagram.

    Raises:
        DiagramError: if the text is not labels, a colon and blocks of numbered vertices that form a partition.
        SignatureError: if the labels cannot be read.
    """
    rows, colon, blocks = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    bottom, arrow, top = rows.partition("->")
    if not colon or not arrow:
        raise DiagramError(
            explain(
                "the text is not a diagram",
                got=repr(text),
                expected=EXAMPLE,
                step="write labels, a colon, then the blocks separated by |",
            )
        )
    above, below = parse_labels(top), parse_labels(bottom)
    lists: list[list[int]] = []
    for block in blocks.split("|"):
        vertices = []
        for word in block.split():
            digits, row, before = (word[:-1], below, len(above)) if word.endswith("'") else (word, above, 0)
            if not digits.isdecimal() or not 1 <= int(digits) <= len(row):
                raise DiagramError(
                    explain(
                        f"the diagram has no vertex {word!r}",
                        got=repr(text),
                        expected=f"1 to {len(above)} for the top row, 1' to {len(below)}' for the bottom row",
                        step=f"write for example {EXAMPLE}",
                    )
                )
            vertex = int(digits) - 1 + before
            if vertex in vertices or any(vertex in earlier for earlier in lists):
                raise _not_once(f"vertex {word} twice", text, "remove it from one of its blocks")
            vertices.append(vertex)
        if not vertices and blocks.strip():
            raise DiagramError(
                explain(
                    "the diagram has an empty block",
                    got=repr(text),
                    expected="at least one vertex in each block",
                    step="remove a bar",
                )
            )
        lists.append(vertices)
    names = [str(i + 1) for i in range(len(above))] + [f"{i + 1}'" for i in range(len(below))]
    missing = [name for vertex, name in enumerate(names) if not any(vertex in block for block in lists)]
    if missing:
        raise _not_once(
            f"vertex {missing[0]} in no block", text, f"add it, alone if it is joined to nothing: | {missing[0]}"
        )
    return Diagram.from_blocks(above, below, lists)


def _not_once(problem: str, text: str, step: str) -> DiagramError:
    return DiagramError(
        explain(
            "the blocks are not a partition of the vertices",
            got=f"{problem}: {text!r}",
            expected="every vertex in one block",
            step=step,
        )
    )
