"""Find the symmetry of a function or a data set: Lie algebras by linear algebra, finite groups, adversarial search."""

from equikit._keywords import answer_misspelled
from equikit.groups import subgroup_lattice as subgroups

__all__ = ["subgroups"]

answer_misspelled(__name__)
