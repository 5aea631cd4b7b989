"""A factored diagram as HTML: three diagrams one above the other, and the steps of the product."""

from __future__ import annotations

from equikit.diagrams import Factorization
from equikit.draw._svg import diagram_svg, xml_text

CELL = "text-align:left;padding:2px 12px 2px 0"


def factorization_html(factored: Factorization) -> str:
    """Draw a factored diagram, starting with the output permutation, and list the steps with their operations.

    Args:
        factored: from `diagram.factor()`.

    Returns:
        The text of a `<div>` element, without scripts or references to anything outside it.

    Example:
        >>> from equikit import Diagram
        >>> factorization_html(Diagram.parse("p p -> p p: 1 2' | 2 1'").factor()).count("<svg")
        3
    """
    labels = tuple(sorted({*factored.planar.labels}))
    names = ("output permutation", factored.output), ("planar", factored.planar), ("input permutation", factored.input)
    pictures = "\n".join(
        f'<div style="display:flex;align-items:center;gap:12px">{diagram_svg(diagram, labels=labels)}'
        f'<span style="opacity:.7">{name}</span></div>'
        for name, diagram in names
    )
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td style="{CELL}">{xml_text(str(cell))}</td>'
            for cell in (step.kind, step.diagram, " ".join(step.axes) or "()", step.additions)
        )
        + "</tr>"
        for step in factored.steps()
    )
    head = "".join(f'<th style="{CELL}">{name}</th>' for name in ("step", "diagram", "axes after it", "additions"))
    multiplications, additions = factored.naive_operations()
    _, fewer = factored.operations()
    return (
        '<div class="equikit-factors" style="font-family:system-ui,sans-serif;font-size:14px">'
        f"{pictures}<table><tr>{head}</tr>{rows}</table>"
        f"<div>{xml_text(str(fewer))} additions; the dense matrix takes {xml_text(str(multiplications))} "
        f"multiplications and {xml_text(str(additions))} additions</div></div>"
    )
