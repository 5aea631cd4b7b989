"""A space as TikZ: a picture for each diagram with its matrix, which LaTeX arranges in lines and pages like words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equikit.diagrams import Diagram, HomSpace
from equikit.draw._diagram import diagram_picture
from equikit.draw._palette import QUIET
from equikit.draw._picture import FONT, LETTER, MARGIN, Picture, Words, beside, checked_scale, columns, moved
from equikit.draw.spaces._html import drawing_sizes, matrices_beside
from equikit.draw.spaces._listing import blocks_text, checked_space, sections
from equikit.draw.spaces._on_support import ZERO, on_support
from equikit.draw.writers import tikz

if TYPE_CHECKING:
    from equikit.supports import Support


def _card(index: int, diagram: Diagram, matrix: Picture | None, labels: Sequence[str], zero: bool) -> Picture:
    """Return a diagram next to its matrix, with a caption below."""
    picture = diagram_picture(diagram, labels=labels)
    if matrix is not None:
        picture = beside(picture, matrix)
    caption = f"no. {index}: {blocks_text(diagram)}{f', {ZERO}' * zero}"
    width = max(picture.width, LETTER * columns(caption)) + MARGIN
    left, bottom = (width - picture.width) / 2, picture.height + FONT + 4
    words = Words("caption", caption, complex(width / 2, bottom - 4), QUIET)
    shapes = (*(moved(shape, complex(left)) for shape in picture.shapes), words)
    return Picture(width, bottom + MARGIN, str(diagram), shapes)


def space_tikz(space: HomSpace, most: int = 60, *, scale: float = 1.0, support: Support | None = None) -> str:
    r"""Draw the diagrams of a space in TikZ, next to their matrices.

    Each diagram is a `tikzpicture` environment with its number in `space.diagrams` (in `space.pairs[i].diagrams` if
    there are several terms) and its blocks below. Matrices are drawn as in `space_html`.

    Args:
        space: the space.
        most: the most diagrams to draw, shared among the pairs of terms; a comment has the number of omitted diagrams.
        scale: the size of the pictures with their text; at 1 neighboring vertices are 27 bp apart.
        support: as for `space_html`; captions say which maps are zero.

    Returns:
        The text of a `flushleft` environment with the pictures; LaTeX fills lines and pages with them. A document needs
        `\usepackage{tikz}` in its preamble.

    Raises:
        OptionError: if the maps are not linear, `most` is not a nonnegative integer, `scale` is not from 0 to 100, or
            the support does not fit.
        TooLargeError: if `scale` makes a side longer than 16,000 bp, which TeX cannot draw.

    Cost: about a millisecond for a diagram of four vertices.

    Example:
        >>> from equikit import S, hom
        >>> space_tikz(hom("p p -> p p", p=S)).count(r"\begin{tikzpicture}")
        15
    """
    scale = checked_scale(scale)
    labels = tuple(checked_space(space).signature.groups)
    parts = sections(space, most)
    there = on_support(space, parts, support)
    lines = [f"% {space.signature}", r"\begin{flushleft}"]
    for section in parts:
        matrices = matrices_beside(section, drawing_sizes(section.space), there)
        for i, (diagram, matrix) in enumerate(zip(section.shown, matrices, strict=True)):
            zero = there is not None and there.is_zero(section, i)
            lines.append(tikz(_card(i, diagram, matrix, labels, zero), scale))
        if section.left_out:
            lines.append(f"% {section.title}: {section.left_out:,} more")
    return "\n".join([*lines, r"\end{flushleft}"])
