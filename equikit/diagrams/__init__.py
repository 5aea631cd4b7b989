"""Signatures, diagrams, and the spaces of equivariant maps they span: exact, symbolic, without JAX."""

from equikit.diagrams._core import Core
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._half import HalfDiagram
from equikit.diagrams._hom import HomSpace, hom
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.algebra._category import compose, flip, tensor
from equikit.diagrams.algebra._combination import Combination
from equikit.diagrams.algebra._composite import Composite
from equikit.diagrams.algebra._factor import Factorization, FactorStep, factor
from equikit.diagrams.bases._gain import mean_square_gains
from equikit.diagrams.bases._gram import moebius_matrix, refines, zeta_matrix
from equikit.diagrams.counting._count import count_pairings, count_partitions, stirling
from equikit.diagrams.counting._growth import growth_array
from equikit.diagrams.counting._walks import count_walks, mckay_quiver
from equikit.diagrams.multilinear._orbits import OrbitSum
from equikit.diagrams.multilinear._space import MultilinearSpace
from equikit.signatures._parse import parse_signature
from equikit.signatures._signature import Signature, Term

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
    "Signature",
    "Term",
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
    "parse_signature",
    "refines",
    "stirling",
    "tensor",
    "zeta_matrix",
]
