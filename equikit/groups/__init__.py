"""Groups and what they do to an axis: elements, generators, actions. Imports NumPy and nothing heavier."""

from equikit.groups._alternating import A
from equikit.groups._easy import Bistochastic, H
from equikit.groups._form import Form
from equikit.groups._group import Fixed, Group
from equikit.groups._orthogonal import SO, Lorentz, O
from equikit.groups._symmetric import S
from equikit.groups._symplectic import Sp

__all__ = ["SO", "A", "Bistochastic", "Fixed", "Form", "Group", "H", "Lorentz", "O", "S", "Sp"]
