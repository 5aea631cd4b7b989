"""Pictures: SVG and text of diagrams, SVG of matrices and lattices, HTML and text of spaces, SVG of parameters.

Pictures are plain strings; no JAX.
"""

from equikit.draw._bars import bars_svg
from equikit.draw._factor import factorization_html
from equikit.draw._html import space_html
from equikit.draw._lattice import lattice_svg
from equikit.draw._listing import plural as plural, sections as sections, space_text as space_text
from equikit.draw._matrix import matrix_svg
from equikit.draw._parameter_graph import parameter_graph_svg
from equikit.draw._svg import diagram_svg, xml_text as xml_text
from equikit.draw._text import diagram_text

__all__ = [
    "bars_svg",
    "diagram_svg",
    "diagram_text",
    "factorization_html",
    "lattice_svg",
    "matrix_svg",
    "parameter_graph_svg",
    "space_html",
    "space_text",
]
