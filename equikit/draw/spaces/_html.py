"""A space as a page of HTML: diagrams next to their matrices, with one section for each pair of terms.

Styles are attributes of the elements, because a notebook would apply a style sheet to the whole page; colors are
derived from the surrounding page. The text is also well-formed XML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from equikit import _checks
from equikit._checks import count_text
from equikit.diagrams import Diagram, HomSpace
from equikit.draw._diagram import diagram_picture
from equikit.draw._matrix import matrix_picture
from equikit.draw._picture import Picture
from equikit.draw.spaces._listing import (
    Section,
    blocks_text,
    checked_space,
    dimension_text,
    plural,
    sections,
    wires_text,
)
from equikit.draw.spaces._on_support import ZERO, OnSupport, on_support
from equikit.draw.writers import svg, xml_text
from equikit.groups import Group

if TYPE_CHECKING:
    from equikit.supports import Support

MOST_CELLS = 32
"""The most rows or columns of a matrix in a gallery; smaller cells could not be distinguished."""

SIDE = 80.0
"""The longer side of a matrix next to its diagram, in pixels."""

MONO = "font-family:ui-monospace,Menlo,Consolas,monospace"
CARD = "border:1px solid rgba(136,136,136,.35);border-radius:8px;padding:8px 10px 6px;min-width:165px;text-align:center"
ROW = "display:flex;align-items:center;justify-content:center;gap:12px"


def drawing_sizes(space: HomSpace) -> dict[str, int] | None:
    """Return the size of each label for drawing the matrices of a single pair, `None` if all would be too large.

    These are the bound sizes of all labels, if they are small enough. Otherwise the number of vertices, but at least
    three and at most four, or two; a label that is bound to fewer points, or whose diagrams fit only one size, keeps
    its size.
    """
    source, target = space.signature.inputs[0], space.signature.outputs[0]
    groups = dict(space.signature.between(source, target))
    if space.dtype != np.int64:  # only integers are drawn
        return None
    rows = [[label for label in term.labels if label in groups] for term in (target, source)]
    bound = [{label: group.n for label, group in groups.items() if group.n is not None}]
    if len(bound[0]) < len(groups):
        bound = []
    common = range(max(3, min(4, sum(map(len, rows)))), 1, -1)
    tries = ({label: drawn(group, n) for label, group in groups.items()} for n in common)
    for sizes in (*bound, *tries):
        if max(math.prod(sizes[label] for label in row) for row in rows) <= MOST_CELLS:
            return sizes
    return None


def drawn(group: Group, n: int) -> int:
    """Return the size at which a label is drawn, `n` by preference: its own if its diagrams fit no other size."""
    if group.n is not None and (group.legs or group.form is not None or group.blocks == "whole"):
        return group.n
    n = n if group.n is None else min(n, group.n)
    return n if group.form is None or group.form.fits(n) else n - 1


def blocks_of(diagram: Diagram, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Count the rows and the columns of a matrix for one value of the first index of the output and of the input."""
    rows, columns = (math.prod(sizes[label] for label in row[1:]) for row in (diagram.top, diagram.bottom))
    return max(1, rows), max(1, columns)


def matrices_beside(section: Section, sizes: dict[str, int] | None, there: OnSupport | None) -> list[Picture | None]:
    """Return for each shown diagram of a section the picture of its matrix, which may be left out.

    On a support they are the matrices between its entries.
    """
    pictures = list[Picture | None]()
    for diagram in section.shown:
        if sizes is None:
            found = None
        elif there is None:
            found = matrix_picture(diagram.matrix(sizes), side=SIDE, blocks=blocks_of(diagram, sizes))
        else:
            matrix = there.matrix(section, diagram, sizes, MOST_CELLS)
            found = None if matrix is None else matrix_picture(matrix, side=SIDE)
        pictures.append(found)
    return pictures


def _card(index: int, diagram: Diagram, matrix: Picture | None, labels: Sequence[str], zero: bool) -> str:
    pictures = svg(diagram_picture(diagram, labels=labels), licensed=False)
    if matrix is not None:
        pictures += "\n" + svg(matrix, licensed=False)
    notes = f"no. {index}", wires_text(diagram), ZERO * zero
    return (
        f'<figure class="equikit-diagram{" equikit-zero" * zero}" style="margin:0;{CARD}{";opacity:.45" * zero}">'
        f'<div style="{ROW}">{pictures}</div>'
        '<figcaption style="font-size:12px;line-height:1.5;margin-top:4px">'
        f'<code style="{MONO};background:none;color:inherit">{xml_text(blocks_text(diagram))}</code><br/>'
        f'<span style="opacity:.7">{", ".join(filter(None, notes))}</span>'
        "</figcaption></figure>"
    )


def _size_note(section: Section, sizes: dict[str, int] | None, there: OnSupport | None, *, left_out: bool) -> str:
    """Return a note on the sizes at which the matrices are drawn, or on why they are left out."""
    if there is not None and not left_out:
        return "matrices between the entries of the support"
    if left_out:
        exact = section.space.dtype == np.int64
        return f"matrices left out: they are {'too large' if exact else 'not integers'}"
    bound = section.space.signature.groups
    parts = []
    for label, n in (sizes or {}).items():
        if label.endswith("*"):  # of the size of its vectors
            continue
        own = bound[label].n
        parts.append(f"{label} = {n}" if own in (None, n) else f"{label} = {n}, not at {own}")
    return f"matrices drawn at {'; '.join(parts)}" if parts else ""


def _legend(parts: Sequence[Section]) -> str:
    """Return a sentence on the rows, and on the words and marks in the captions."""
    shown = [diagram for section in parts for diagram in section.shown]
    notes = ["top row: output axes, rows of the matrix", "bottom row: input axes, columns"]
    if any(map(wires_text, shown)):
        notes.append("wires: blocks that join the rows")
    if any(diagram.heads for diagram in shown):
        notes.append("^ marks the legs of a Levi-Civita tensor")
    if any(diagram.elements for diagram in shown):
        notes.append("# numbers the invariant tensors")
    return "; ".join(notes)


def _section(section: Section, labels: Sequence[str], titled: bool, there: OnSupport | None) -> str:
    sizes = drawing_sizes(section.space)
    copies = section.space.multiplicity
    notes = [section.counted]
    if copies != 1:
        notes.append(f"each stands for {plural(copies, 'map')}, one for each pair of entries of the plain axes")
    matrices = matrices_beside(section, sizes, there)
    notes.append(_size_note(section, sizes, there, left_out=sizes is None or None in matrices))
    if section.left_out:
        notes.append(f"{count_text(section.left_out)} left out")
    heading = f'<b style="{MONO}">{xml_text(section.title)}</b>: ' if titled else ""
    cards = "\n".join(
        _card(i, diagram, matrix, labels, there is not None and there.is_zero(section, i))
        for i, (diagram, matrix) in enumerate(zip(section.shown, matrices, strict=True))
    )
    more = (
        f'<div class="equikit-more" style="align-self:center;opacity:.7">and {count_text(section.left_out)} more</div>'
        if section.left_out
        else ""
    )
    return (
        '<section class="equikit-pair" style="margin-top:10px">'
        f'<div style="margin-bottom:6px">{heading}<span style="opacity:.7">'
        f"{xml_text('; '.join(note for note in notes if note))}</span></div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:10px">{cards}{more}</div></section>'
    )


def space_html(space: HomSpace, most: int = 60, *, support: Support | None = None) -> str:
    """Draw the diagrams of a space as a page of HTML, next to their matrices.

    The header has the signature, the group of each label, and the dimension, and explains the captions. Each pair of an
    input term and an output term has its own section. Output axes are the top rows of the diagrams and the rows of the
    matrices. Matrices are drawn at a small size of the labels, which is stated. Axes bound to `Fixed` are not drawn;
    their multiplicity is stated.

    Args:
        space: the space.
        most: the most diagrams to draw, shared among the pairs of terms; the number of omitted diagrams is stated.
        support: draw matrices between the entries of a support, in the order of its rows, and mark the maps that are
            zero on it, as `equikit.nn.Linear.active` says; larger matrices are left out.

    Returns:
        The text of a `<div>` element, without scripts or references to anything outside it; its attribute
        `data-license` has the license of the pictures.

    Raises:
        OptionError: if the maps are not linear, `most` is not a nonnegative integer, or the support does not fit.

    Cost: about a millisecond for a diagram of four vertices.

    Example:
        >>> from equikit import S, hom
        >>> space_html(hom("p p -> p p", p=S)).count("<figure")
        15
    """
    _checks.count("most", most)
    space = checked_space(space)
    parts = sections(space, most)
    labels = tuple(space.signature.groups)
    there = on_support(space, parts, support)
    actions = ", ".join(f"{label} = {what}" for label, what in space.signature.bindings) or "no axes"
    body = "\n".join(_section(section, labels, len(parts) > 1, there) for section in parts)
    return (
        '<div class="equikit-space" data-license="CC0-1.0" '
        'style="font-family:system-ui,sans-serif;font-size:14px;line-height:1.4">'
        f'<div><b style="{MONO};font-size:15px">{xml_text(str(space.signature))}</b></div>'
        f"<div>{xml_text(actions)}; <b>{xml_text(dimension_text(space))}</b></div>"
        f"{'' if there is None else f'<div>{xml_text(there.note(parts))}</div>'}"
        f'<div style="opacity:.7;font-size:12px">{_legend(parts)}</div>'
        f"{body}</div>"
    )
