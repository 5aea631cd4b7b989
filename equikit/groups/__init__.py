"""Groups and their actions on an axis: elements, generators, forms. Imports NumPy and nothing heavier."""

from equikit.groups._branching import Branching as Branching
from equikit.groups._dual import Dual
from equikit.groups._form import Form
from equikit.groups._group import Fixed, Group
from equikit.groups._random import Random, haar as haar
from equikit.groups.families._alternating import A
from equikit.groups.families._direct_sum import DirectSum
from equikit.groups.families._easy import Bistochastic, H
from equikit.groups.families._finite import D, Z, checked_polygon as checked_polygon
from equikit.groups.families._matrix import MatrixGroup
from equikit.groups.families._orthogonal import SO, Lorentz, O
from equikit.groups.families._permutations import PermutationGroup
from equikit.groups.families._symmetric import Loopless as Loopless, S
from equikit.groups.families._symplectic import Sp
from equikit.groups.families._trivial import Trivial
from equikit.groups.families._unitary import GL, U
from equikit.groups.invariants._null_space import common_null_space as common_null_space
from equikit.groups.representations._irrep import Irrep, character_table, cycle_type, irreps
from equikit.groups.subgroups._lattice import SubgroupLattice, subgroup_lattice as subgroup_lattice
from equikit.groups.subgroups._subgroup import Subgroup, subgroup as subgroup

__all__ = [
    "GL",
    "SO",
    "A",
    "Bistochastic",
    "D",
    "DirectSum",
    "Dual",
    "Fixed",
    "Form",
    "Group",
    "H",
    "Irrep",
    "Lorentz",
    "MatrixGroup",
    "O",
    "PermutationGroup",
    "Random",
    "S",
    "Sp",
    "Subgroup",
    "SubgroupLattice",
    "Trivial",
    "U",
    "Z",
    "character_table",
    "cycle_type",
    "irreps",
]
