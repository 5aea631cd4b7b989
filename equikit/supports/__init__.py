"""Sparse supports: which entries of the axes of one label are present."""

from equikit._keywords import answer_misspelled
from equikit.supports._formats import (
    graph_of_networkx as graph_of_networkx,
    label_of as label_of,
    links_of_jraph as links_of_jraph,
)
from equikit.supports._levels import Exchange as Exchange, Level as Level
from equikit.supports._placement import refuse_placement as refuse_placement
from equikit.supports._support import Support

__all__ = ["Support"]

answer_misspelled(__name__)
