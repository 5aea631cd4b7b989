"""Diagrams and the spaces of equivariant maps that they span: exact, symbolic, without JAX."""

from equikit.diagrams._core import Core, CoreKey as CoreKey, HeadKind as HeadKind, iter_wires as iter_wires
from equikit.diagrams._dense import (
    diagram_tensor as diagram_tensor,
    leg_order as leg_order,
    permutation_sign as permutation_sign,
    refuse_if_large as refuse_if_large,
    size_symbols as size_symbols,
)
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._half import HalfDiagram, Head as Head
from equikit.diagrams._hom import HomSpace, hom
from equikit.diagrams._sequence import Diagrams, pair_diagrams as pair_diagrams
from equikit.diagrams.algebra._category import compose, flip, tensor, terms_of as terms_of
from equikit.diagrams.algebra._combination import Combination
from equikit.diagrams.algebra._composite import Composite
from equikit.diagrams.algebra._factor import Factorization, FactorStep, factor
from equikit.diagrams.algebra._heads import parity as parity
from equikit.diagrams.bases._basis import Marked as Marked, in_basis as in_basis, restricted as restricted
from equikit.diagrams.bases._gain import mean_square_gains
from equikit.diagrams.bases._gram import inner_product as inner_product, moebius_matrix, refines, zeta_matrix
from equikit.diagrams.counting._count import count_pairings, count_partitions, stirling, why_none as why_none
from equikit.diagrams.counting._effort import count_joined as count_joined, count_reductions as count_reductions
from equikit.diagrams.counting._growth import FEWER as FEWER, canonical as canonical, growth_array
from equikit.diagrams.counting._rules import axes_of as axes_of, forms_of as forms_of, whole_labels as whole_labels
from equikit.diagrams.counting._walks import count_walks, mckay_quiver
from equikit.diagrams.multilinear._invariants import Invariants as Invariants
from equikit.diagrams.multilinear._orbits import Move as Move, OrbitSum, bare as bare, walk as walk
from equikit.diagrams.multilinear._space import MultilinearSpace, multilinear as multilinear

__all__ = [
    "Combination",
    "Composite",
    "Core",
    "Diagram",
    "Diagrams",
    "FactorStep",
    "Factorization",
    "HalfDiagram",
    "HomSpace",
    "MultilinearSpace",
    "OrbitSum",
    "compose",
    "count_pairings",
    "count_partitions",
    "count_walks",
    "factor",
    "flip",
    "growth_array",
    "hom",
    "mckay_quiver",
    "mean_square_gains",
    "moebius_matrix",
    "refines",
    "stirling",
    "tensor",
    "zeta_matrix",
]
