"""Find the symmetry of a function or a data set: Lie algebras by linear algebra, finite groups, adversarial search."""

from equikit._keywords import answer_misspelled
from equikit.discover._lie_algebra import LieAlgebra, lie_algebra
from equikit.discover._surrogate import Surrogate, surrogate

__all__ = ["LieAlgebra", "Surrogate", "lie_algebra", "surrogate"]

answer_misspelled(__name__)
