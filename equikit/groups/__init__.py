"""Groups and what they do to an axis: elements, generators, actions. Imports NumPy and nothing heavier."""

from equikit.groups._alternating import A
from equikit.groups._dual import Dual
from equikit.groups._easy import Bistochastic, H
from equikit.groups._finite import D, Z
from equikit.groups._form import Form
from equikit.groups._group import Fixed, Group
from equikit.groups._matrix import MatrixGroup
from equikit.groups._orthogonal import SO, Lorentz, O
from equikit.groups._symmetric import S
from equikit.groups._symplectic import Sp
from equikit.groups._unitary import GL, U

__all__ = [
    "GL",
    "SO",
    "A",
    "Bistochastic",
    "D",
    "Dual",
    "Fixed",
    "Form",
    "Group",
    "H",
    "Lorentz",
    "MatrixGroup",
    "O",
    "S",
    "Sp",
    "U",
    "Z",
]
