"""Sparse supports: which entries of the axes of one label are present."""

from equikit.supports._levels import Level as Level
from equikit.supports._tables import Data as Data, Sizes as Sizes, levels_of as levels_of

__all__: list[str] = []
