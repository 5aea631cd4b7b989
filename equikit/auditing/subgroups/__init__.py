"""The largest subgroup that a function keeps, label by label."""

from equikit.auditing.subgroups._kept import kept as kept
from equikit.auditing.subgroups._subgroup import Kept, Subgroup

__all__ = ["Kept", "Subgroup"]
