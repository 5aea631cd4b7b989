"""The text form of a diagram: `p p -> p p: 1 1' | 2 2'`, tops unprimed, bottoms primed, numbered from one.

A block that is a leg of a Levi-Civita tensor begins with `^`.
"""

from __future__ import annotations

from collections.abc import Mapping

from equikit._errors import DiagramError, explain
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._parse import bindings, parse_labels
from equikit.diagrams._rules import forms_of, group_of
from equikit.groups import Group

EXAMPLE = "\"p p -> p: 1 1' | 2'\""


def format_diagram(diagram: Diagram) -> str:
    """Write a diagram as text that `parse_diagram` reads back."""
    split = len(diagram.top)
    names = [str(i + 1) for i in range(split)] + [f"{i + 1}'" for i in range(len(diagram.bottom))]
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    words = (" ".join(names[vertex] for vertex in block) for block in diagram.blocks)
    blocks = " | ".join(f"^{word}" if number in legs else word for number, word in enumerate(words))
    rows = f"{' '.join(diagram.bottom) or '()'} -> {' '.join(diagram.top) or '()'}"
    return f"{rows}: {blocks}".strip()


def parse_diagram(
    text: str, groups: Mapping[str, object] | None = None, keywords: Mapping[str, object] | None = None
) -> Diagram:
    """Read the text form of a diagram, with the groups of labels that have a form of their own.

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
    legs: list[int] = []
    for number, block in enumerate(blocks.split("|")):
        if block.lstrip().startswith("^"):
            legs.append(number)
            block = block.replace("^", " ", 1)
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
    bound = tuple(bindings(groups, keywords or {}).items())
    acted = tuple((label, group) for label, group in bound if isinstance(group, Group))
    labels = above + below
    heads = []
    for label in dict.fromkeys(labels[lists[number][0]] for number in legs):
        own = tuple(number for number in legs if labels[lists[number][0]] == label)
        group = group_of(acted, label)
        count = group.legs
        whole = [number for number, block in enumerate(lists) if labels[block[0]] == label]
        if group.blocks == "any":
            fitting = len(own) in (count, count - 1) and len(own) == len(whole)
        else:
            fitting = len(own) == count and all(len(lists[number]) == 1 for number in own)
        if not fitting:
            raise DiagramError(
                explain(
                    f"the legs marked with ^ do not fit the group of {label!r}",
                    got=f"{len(own)} of them in {text!r}, {group_of(acted, label)}",
                    expected="none"
                    if not count
                    else f"all blocks, {count - 1} or {count}"
                    if group.blocks == "any"
                    else f"{count} single vertices",
                    step=f"name the group, as in Diagram.parse(..., {label}=ek.SO({len(own)}))",
                )
            )
        heads.append((label, count, own))
    return Diagram.from_blocks(above, below, lists, forms_of(acted, labels), tuple(heads))


def _not_once(problem: str, text: str, step: str) -> DiagramError:
    return DiagramError(
        explain(
            "the blocks are not a partition of the vertices",
            got=f"{problem}: {text!r}",
            expected="every vertex in one block",
            step=step,
        )
    )
