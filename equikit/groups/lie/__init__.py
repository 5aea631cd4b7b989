"""Recognize Lie algebras of matrices: names, standard bases, invariant forms."""

from equikit.groups.lie._algebra import generate, killing_form, structure_constants
from equikit.groups.lie._forms import invariant_forms
from equikit.groups.lie._recognize import moved as moved, recognize
from equikit.groups.lie._recognized import Block, Recognized

__all__ = [
    "Block",
    "Recognized",
    "generate",
    "invariant_forms",
    "killing_form",
    "recognize",
    "structure_constants",
]
