"""All diagrams of a space: a text listing, a page of HTML, and TikZ pictures."""

from equikit.draw.spaces._html import space_html as space_html
from equikit.draw.spaces._listing import (
    Section as Section,
    plural as plural,
    sections as sections,
    space_text as space_text,
)
from equikit.draw.spaces._tikz import space_tikz as space_tikz
