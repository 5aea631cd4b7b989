"""Find the symmetry of a function or a data set: Lie algebras by linear algebra, finite groups, adversarial search."""

from equikit._keywords import answer_misspelled
from equikit.discover._lie_algebra import (
    LieAlgebra,
    found_in as found_in,
    lie_algebra,
    prepared as prepared,
)
from equikit.discover._surrogate import Surrogate, surrogate
from equikit.discover.adversarial._liegan import FoundGenerators, LieGAN
from equikit.discover.finite._permutations import FoundPermutations, permutations
from equikit.groups import subgroup_lattice as subgroups

__all__ = [
    "FoundGenerators",
    "FoundPermutations",
    "LieAlgebra",
    "LieGAN",
    "Surrogate",
    "lie_algebra",
    "permutations",
    "subgroups",
    "surrogate",
]

answer_misspelled(__name__)
