"""Find the symmetry of a function or a data set: Lie algebras by linear algebra, finite groups, adversarial search."""

from equikit._keywords import answer_misspelled

__all__: list[str] = []

answer_misspelled(__name__)
