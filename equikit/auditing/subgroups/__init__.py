"""The largest subgroup that a function keeps, label by label."""

from equikit.auditing.subgroups._kept import kept as kept
from equikit.auditing.subgroups._kept_group import Kept, KeptGroup

__all__ = ["Kept", "KeptGroup"]
