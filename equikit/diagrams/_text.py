"""The text form of a diagram: `p p -> p p: 1 1' | 2 2'`, with tops unprimed, bottoms primed, numbered from one.

A block that is a leg of a Levi-Civita tensor starts with `^`. The axes of a group without diagrams follow `#` and the
number of their invariant tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

from equikit._errors import DiagramError
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.counting._rules import Groups, axes_of, forms_of, group_of
from equikit.groups import Group
from equikit.signatures import base, bindings, parse_labels, refuse_unused

EXAMPLE = "\"p p -> p: 1 1' | 2'\""


def format_diagram(diagram: Diagram) -> str:
    """Write a diagram as text that `parse_diagram` can read."""
    split = len(diagram.top)
    names = [str(i + 1) for i in range(split)] + [f"{i + 1}'" for i in range(len(diagram.bottom))]
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    whole = {label for label, _, _ in diagram.elements}
    words = [
        ("^" if number in legs else "") + " ".join(names[vertex] for vertex in block)
        for number, block in enumerate(diagram.blocks)
        if base(diagram.labels[block[0]]) not in whole
    ]
    for label, _, number in diagram.elements:
        held = [name for name, other in zip(names, diagram.labels, strict=True) if base(other) == label]
        words.append(" ".join([f"#{number + 1}", *held]))
    blocks = " | ".join(words)
    rows = f"{' '.join(diagram.bottom) or '()'} -> {' '.join(diagram.top) or '()'}"
    return f"{rows}: {blocks}".strip()


def parse_diagram(
    text: str, groups: Mapping[str, object] | None = None, keywords: Mapping[str, object] | None = None
) -> Diagram:
    """Read the text form of a diagram; `groups` are the groups of labels with a form.

    Raises:
        DiagramError: if the text is not labels, a colon and blocks of numbered vertices that form a partition.
        SignatureError: if the labels cannot be read, or a group is bound to a label that no axis has.
    """
    rows, colon, blocks = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    bottom, arrow, top = rows.partition("->")
    if not colon or not arrow:
        raise DiagramError(
            "the text is not a diagram",
            got=repr(text),
            expected=EXAMPLE,
            step="write labels, a colon, then the blocks separated by |",
        )
    above, below = parse_labels(top), parse_labels(bottom)
    lists: list[list[int]] = []
    legs: list[int] = []
    tensors: list[tuple[int, list[int]]] = []
    for number, block in enumerate(blocks.split("|")):
        if block.lstrip().startswith("^"):
            legs.append(number)
            block = block.replace("^", " ", 1)
        tensor, block = _tensor_number(block, text)
        vertices = []
        for word in block.split():
            digits, row, before = (word[:-1], below, len(above)) if word.endswith("'") else (word, above, 0)
            if not digits.isdecimal() or not 1 <= int(digits) <= len(row):
                raise DiagramError(
                    f"the diagram has no vertex {word!r}",
                    got=repr(text),
                    expected=f"1 to {len(above)} for the top row, 1' to {len(below)}' for the bottom row",
                    step=f"write for example {EXAMPLE}",
                )
            vertex = int(digits) - 1 + before
            if vertex in vertices or any(vertex in earlier for earlier in lists):
                raise _not_once(f"vertex {word} twice", text, "remove it from one of its blocks")
            vertices.append(vertex)
        if not vertices and blocks.strip():
            raise DiagramError(
                "the diagram has an empty block",
                got=repr(text),
                expected="at least one vertex in each block",
                step="remove a bar",
            )
        if tensor is not None:
            tensors.append((tensor, vertices))
            lists += [[vertex] for vertex in vertices]
        else:
            lists.append(vertices)
    names = [str(i + 1) for i in range(len(above))] + [f"{i + 1}'" for i in range(len(below))]
    missing = [name for vertex, name in enumerate(names) if not any(vertex in block for block in lists)]
    if missing:
        raise _not_once(
            f"vertex {missing[0]} in no block", text, f"add it, alone if it is joined to nothing: | {missing[0]}"
        )
    labels, found = above + below, bindings(groups, keywords or {})
    refuse_unused(found, {*map(base, labels)}, text)
    acted = tuple((label, group) for label, group in found.items() if isinstance(group, Group))
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
                f"the legs marked with ^ do not fit the group of {label!r}",
                got=f"{len(own)} of them in {text!r}, {group_of(acted, label)}",
                expected="none"
                if not count
                else f"all blocks, {count - 1} or {count}"
                if group.blocks == "any"
                else f"{count} single vertices",
                step=f"name the group, as in Diagram.parse(..., {label}=ek.SO({len(own)}))",
            )
        heads.append((label, count, own))
    elements = _elements(tensors, above, below, acted, text)
    return Diagram.from_blocks(above, below, lists, forms_of(acted, labels), tuple(heads), elements)


def _tensor_number(block: str, text: str) -> tuple[int | None, str]:
    """Split `"#3 1 2'"` into the number, counted from zero, and the vertices."""
    stripped = block.lstrip()
    if not stripped.startswith("#"):
        return None, block
    digits, _, rest = stripped[1:].partition(" ")
    if not digits.isdecimal() or int(digits) < 1:
        raise DiagramError(
            "the number of an invariant tensor cannot be read",
            got=f"{stripped.strip()!r} in {text!r}",
            expected="#, a number from one on, and the vertices that it holds together",
            step='write for example "z -> z: #1 1 1\'"',
        )
    return int(digits) - 1, rest


def _elements(
    tensors: list[tuple[int, list[int]]], top: tuple[str, ...], bottom: tuple[str, ...], acted: Groups, text: str
) -> tuple[tuple[str, Group, int], ...]:
    """Return the elements of a diagram, each with all axes of one label, or raise `DiagramError`."""
    found, labels = [], top + bottom
    for number, vertices in tensors:
        own = {base(labels[vertex]) for vertex in vertices}
        label = min(own, default="")
        group = group_of(acted, label)
        every = [vertex for vertex, name in enumerate(labels) if base(name) == label]
        known = group.blocks == "whole" and len(own) == 1 and sorted(vertices) == every
        axes = axes_of(label, top, bottom)
        count = group.count_invariants(len(axes), sum(axes)) if known else 0
        if not known or number >= count:
            raise DiagramError(
                f"the axes held together by invariant tensor {number + 1} do not fit the group of {label!r}",
                got=f"{text!r} with {label}={group}",
                expected=f"all axes of a label whose group has no diagrams, and a number up to {count}"
                if known
                else "all axes of one label whose group has no diagrams, as Z, D or MatrixGroup",
                step=f"name the group, as in Diagram.parse(..., {label or 'z'}=ek.Z(4))",
            )
        found.append((label, group, number))
    return tuple(found)


def _not_once(problem: str, text: str, step: str) -> DiagramError:
    return DiagramError(
        "the blocks are not a partition of the vertices",
        got=f"{problem}: {text!r}",
        expected="every vertex in one block",
        step=step,
    )
