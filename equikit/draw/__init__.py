r"""Pictures of diagrams, matrices, spaces, supports, lattices of subgroups and parameters: SVG, HTML, TikZ and text.

Pictures are plain strings; no JAX. Every picture is computed once, as shapes with positions, and written as SVG or as
TikZ; a document that includes TikZ needs `\usepackage{tikz}` in its preamble.

The pictures are dedicated to the public domain under CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/): they
may be used, changed and published, for example on slides and in papers, without a license text and without naming
equikit. The license is in the metadata of each SVG picture and in the first line of each TikZ picture. The code of
equikit has its own license, Apache-2.0.
"""

from equikit.draw._bars import bars_svg, bars_tikz
from equikit.draw._diagram import diagram_svg, diagram_tikz
from equikit.draw._factor import factorization_html, factorization_tikz
from equikit.draw._lattice import lattice_svg, lattice_tikz
from equikit.draw._matrix import matrix_svg, matrix_tikz
from equikit.draw._parameter_graph import parameter_graph_svg, parameter_graph_tikz
from equikit.draw._picture import MOST_SCALE as MOST_SCALE
from equikit.draw._text import diagram_text
from equikit.draw.spaces import plural as plural, sections as sections, space_html, space_text, space_tikz
from equikit.draw.supports import support_svg, support_tikz
from equikit.draw.writers import image as image, latex as latex, xml_text as xml_text

__all__ = [
    "bars_svg",
    "bars_tikz",
    "diagram_svg",
    "diagram_text",
    "diagram_tikz",
    "factorization_html",
    "factorization_tikz",
    "lattice_svg",
    "lattice_tikz",
    "matrix_svg",
    "matrix_tikz",
    "parameter_graph_svg",
    "parameter_graph_tikz",
    "space_html",
    "space_text",
    "space_tikz",
    "support_svg",
    "support_tikz",
]
