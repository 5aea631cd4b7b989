"""Weight spaces: the symmetry of a model's parameters, read off its program, and what is made of it."""

from equikit.weightspace._align import align
from equikit.weightspace._functional import Functional
from equikit.weightspace._interpolation import Line, barrier, interpolate, plot_lines
from equikit.weightspace._linear_action import LinearAction
from equikit.weightspace._matching import Matching
from equikit.weightspace._merge import mean, merge
from equikit.weightspace._models import NFN, UNF, DWSNet
from equikit.weightspace._scaling import Scaling
from equikit.weightspace._singular import SingularAlignment, SingularPair, singular_alignment
from equikit.weightspace._specification import Specification
from equikit.weightspace._standardize import Standardize
from equikit.weightspace._terms import Indexed, Leaf, Product, Sum, Symbol
from equikit.weightspace._transfer import Transfer, transfer
from equikit.weightspace.asymmetric import (
    AsymmetricLinear,
    AsymmetricMLP,
    Ensemble,
    FiGLU,
    FixedEntries,
    FixedWeights,
    InterpolatedExperts,
    MixtureOfExperts,
    SymmetryLeft,
    fixed_weights,
    impose,
    symmetry_left,
)
from equikit.weightspace.graphs import (
    Features,
    MessagePassing,
    ParameterGraph,
    Probes,
    RelationalTransformer,
    graph,
)
from equikit.weightspace.optimizers import LearnedOptimizer, MetaTraining, Problem, evolve, train
from equikit.weightspace.teleportation import BatchAction, TeleportState, batch_action, teleport
from equikit.weightspace.tracing._trace import trace

__all__ = [
    "NFN",
    "UNF",
    "AsymmetricLinear",
    "AsymmetricMLP",
    "BatchAction",
    "DWSNet",
    "Ensemble",
    "Features",
    "FiGLU",
    "FixedEntries",
    "FixedWeights",
    "Functional",
    "Indexed",
    "InterpolatedExperts",
    "Leaf",
    "LearnedOptimizer",
    "Line",
    "LinearAction",
    "Matching",
    "MessagePassing",
    "MetaTraining",
    "MixtureOfExperts",
    "ParameterGraph",
    "Probes",
    "Problem",
    "Product",
    "RelationalTransformer",
    "Scaling",
    "SingularAlignment",
    "SingularPair",
    "Specification",
    "Standardize",
    "Sum",
    "Symbol",
    "SymmetryLeft",
    "TeleportState",
    "Transfer",
    "align",
    "barrier",
    "batch_action",
    "evolve",
    "fixed_weights",
    "graph",
    "impose",
    "interpolate",
    "mean",
    "merge",
    "plot_lines",
    "singular_alignment",
    "symmetry_left",
    "teleport",
    "trace",
    "train",
    "transfer",
]
