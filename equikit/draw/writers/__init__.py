"""Readings of the model of pictures: SVG and TikZ."""

from equikit.draw.writers._svg import image as image, number as number, svg as svg, xml_text as xml_text
from equikit.draw.writers._tikz import latex as latex, tex_text as tex_text, tikz as tikz
