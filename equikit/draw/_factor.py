"""A factored diagram: its three stages in one picture, and the steps of the product as HTML."""

from __future__ import annotations

from equikit import _checks
from equikit.diagrams import Factorization
from equikit.draw._diagram import SCALE, stacked
from equikit.draw._picture import Picture, checked_scale
from equikit.draw.writers import svg, tikz, xml_text

CELL = "text-align:left;padding:2px 12px 2px 0"
STAGES = ("output permutation", "planar", "input permutation")


def factorization_picture(factored: Factorization) -> Picture:
    """Return the model of the picture of a factored diagram: its stages, with common rows."""
    _checks.instance("factored", factored, Factorization, 'ek.Diagram.identity("p").factor()')
    return stacked((factored.output, factored.planar, factored.input), str(factored), notes=STAGES)


def factorization_html(factored: Factorization, *, scale: float = SCALE) -> str:
    """Draw a factored diagram as a picture, starting with the output permutation, and list the steps of the product.

    The stages stand below each other and share the rows between them, so that wires can be followed from the output
    axes 1, 2 at the top to the input axes 1', 2' at the bottom.

    Args:
        factored: from `diagram.factor()`.
        scale: the size of the picture; at 1 neighboring vertices are 36 pixels apart.

    Returns:
        The text of a `<div>` element, without scripts or references to anything outside it; its attribute
        `data-license` has the license of the picture.

    Raises:
        OptionError: if `scale` is not from 0 to 100.

    Example:
        >>> from equikit import Diagram
        >>> text = factorization_html(Diagram.parse("p p -> p p: 1 2' | 2 1'").factor())
        >>> text.count("<svg"), text.count("<circle")
        (1, 8)
    """
    scale = checked_scale(scale)
    picture = factorization_picture(factored)
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
        '<div class="equikit-factors" data-license="CC0-1.0" style="font-family:system-ui,sans-serif;font-size:14px">'
        f"{svg(picture, scale, licensed=False)}<table><tr>{head}</tr>{rows}</table>"
        f"<div>{xml_text(str(fewer))} additions; the dense matrix takes {xml_text(str(multiplications))} "
        f"multiplications and {xml_text(str(additions))} additions</div></div>"
    )


def factorization_tikz(factored: Factorization, *, scale: float = 1.0) -> str:
    r"""Draw the three stages of a factored diagram in TikZ; the picture is the same as in `factorization_html`.

    Args:
        factored: from `diagram.factor()`.
        scale: the size of the picture with its text; at 1 neighboring vertices are 27 bp apart.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        OptionError: if `scale` is not from 0 to 100.
        TooLargeError: if `scale` makes a side longer than 16,000 bp, which TeX cannot draw.

    Example:
        >>> from equikit import Diagram
        >>> factorization_tikz(Diagram.parse("p p -> p p: 1 2' | 2 1'").factor()).count("circle[")
        8
    """
    scale = checked_scale(scale)
    return tikz(factorization_picture(factored), scale)
