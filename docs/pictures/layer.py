"""Draw layer.svg, the picture of the README: five diagrams, their matrices, and the three stages of their layer.

python docs/pictures/layer.py
"""

import re
from pathlib import Path

import equikit as ek

FILE = Path(__file__).with_suffix(".svg")
WIDTH, COLUMN = 760, 152
MAPS = ["y = diag(A)", "y = row sums", "y = column sums", "y = trace", "y = total"]
STAGES = [
    ("reduce", "diagonal, row sums, column sums, then trace and total"),
    ("mix", "one matrix product over channels for vectors, one for scalars"),
    ("expand", "add the vectors; repeat the scalars over all nodes"),
]


def placed(svg: str, x: float, y: float) -> str:
    """Put a picture at a position of another."""
    return re.sub(r"<metadata>.*?</metadata>", "", svg).replace("<svg ", f'<svg x="{x:g}" y="{y:g}" ', 1)


def text(words: str, x: float, y: float, *, anchor: str = "middle", size: int = 13, weight: str = "normal") -> str:
    """A line of text in a gray that is readable on light and dark pages."""
    style = f'font-family="sans-serif" font-size="{size}" font-weight="{weight}" fill="#808080" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{words}</text>'


def picture() -> str:
    """Return the picture as SVG."""
    space = ek.hom("p p -> p", p=ek.S(3))
    title = "All linear maps from an n × n matrix A to a vector y that commute with permutations"
    parts = [text(title, WIDTH / 2, 20, size=15, weight="bold")]
    for number, (diagram, name) in enumerate(zip(space.diagrams, MAPS, strict=True)):
        middle = (number + 0.5) * COLUMN
        parts.append(placed(ek.draw.diagram_svg(diagram, scale=1.1), middle - 36, 34))
        parts.append(placed(ek.draw.matrix_svg(diagram.matrix(3)), middle - 49, 172))
        parts.append(text(name, middle, 226))
    for row, (stage, what) in enumerate(STAGES):
        parts.append(text(stage, 150, 266 + 22 * row, anchor="end", weight="bold"))
        parts.append(text(what, 164, 266 + 22 * row, anchor="start"))
    inside = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="324" role="img">\n{inside}\n</svg>\n'


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
