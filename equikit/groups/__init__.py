"""Groups and what they do to an axis: elements, generators, actions. Imports NumPy and nothing heavier."""

from equikit.groups._group import Fixed, Group
from equikit.groups._symmetric import S

__all__ = ["Fixed", "Group", "S"]
