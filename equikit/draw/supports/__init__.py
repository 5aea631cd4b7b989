"""Supports as pictures: their graph, their entries in a matrix, and the rows of their features."""

from equikit.draw.supports._support import (
    checked_support as checked_support,
    support_svg as support_svg,
    support_tikz as support_tikz,
)
