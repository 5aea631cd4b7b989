"""The formats of the command `equikit draw`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equikit import _checks
from equikit._errors import OptionError
from equikit.cli._values import page
from equikit.diagrams import Diagram, HomSpace
from equikit.draw import MOST_SCALE, diagram_svg, diagram_text, diagram_tikz, plural, space_html, space_tikz

SUFFIXES = {".svg": "svg", ".tex": "tikz", ".tikz": "tikz", ".html": "html", ".txt": "text"}
FORMATS = ("text", "svg", "tikz", "html")


def format_of(output: Path | None, wanted: str | None) -> str:
    """Return the format of a drawing: the requested one, or the one that the file name says.

    Raises:
        OptionError: if the format is unknown, or is not the one of the file, or the file is a folder.
    """
    if output is not None and output.is_dir():
        raise OptionError(
            "the output is a folder",
            got=f"--output {output}",
            expected="a file in a folder that exists",
            step="name a file in this folder",
        )
    named = None if output is None else SUFFIXES.get(output.suffix.lower())
    if wanted is None:
        if output is not None and named is None:
            raise OptionError(
                "the name of the file does not say its format",
                got=f"--output {output}",
                expected=f"a file that ends in {', '.join(SUFFIXES)}",
                step="add --format tikz, or end the name in .svg for one diagram, in .html for all",
            )
        return named or "text"
    found = _checks.choice("--format", wanted, FORMATS, code="{} {}")
    if named not in (None, found):
        raise OptionError(
            "the drawing does not fit the file",
            got=f"--format {found}, --output {output}",
            expected=f"a file that ends in {' or '.join(end for end, kind in SUFFIXES.items() if kind == found)}",
            step="leave --format out",
        )
    return found


def refuse_drawing(kind: str, wanted: Sequence[int] | None, total: int, scale: float | None) -> None:
    """Raise `OptionError` if a format cannot show so many diagrams, or has no scale."""
    count = total if wanted is None else len(wanted)
    if (kind == "svg" and (wanted is None or count > 1)) or (kind == "html" and wanted is not None):
        step = "write --index 0, or --format tikz" if wanted else "add --index 0, or write --format html"
        raise OptionError(
            "the drawing does not fit the format",
            got=f"{kind}, {plural(count, 'diagram')}",
            expected="svg for one diagram, html for a gallery of all, text or tikz for any",
            step="leave --index out, or write --format tikz" if kind == "html" else step,
        )
    if scale is not None and not 0 < scale <= MOST_SCALE:
        raise OptionError(
            "a picture has no such size",
            got=f"--scale {scale:g}",
            expected=f"a number > 0 and ≤ {MOST_SCALE:g}",
            step="write --scale 2",
        )
    if scale is not None and kind not in ("svg", "tikz"):
        raise OptionError(
            f"the format {kind} has no scale",
            got=f"--scale {scale:g}",
            expected="--scale with svg or tikz",
            step="leave --scale out",
        )


def pictures(diagram: Diagram, scale: float | None) -> dict[str, str]:
    """Return the SVG and the TikZ picture of a diagram, by default at the scales of their functions."""
    if scale is None:
        return {"svg": diagram_svg(diagram), "tikz": diagram_tikz(diagram)}
    return {"svg": diagram_svg(diagram, scale=scale), "tikz": diagram_tikz(diagram, scale=scale)}


def drawing(
    kind: str, space: HomSpace, chosen: Sequence[tuple[int, Diagram]], whole: bool, limit: int, scale: float | None
) -> str:
    """Return a drawing in a format.

    Args:
        kind: a format.
        space: the space.
        chosen: numbers and diagrams to draw.
        whole: whether the space is drawn, and not diagrams by number.
        limit: the most diagrams to draw then.
        scale: the scale of SVG and TikZ pictures; by default as their functions.
    """
    if kind in ("svg", "tikz") and not whole:
        return "\n".join(pictures(diagram, scale)[kind] for _, diagram in chosen)
    if kind == "tikz":
        return space_tikz(space, limit) if scale is None else space_tikz(space, limit, scale=scale)
    if kind == "html":
        return page(space, space_html(space, limit))
    return "\n".join(f"{i}  {diagram}\n\n{diagram_text(diagram)}\n" for i, diagram in chosen)
