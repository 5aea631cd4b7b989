"""Weight spaces: the symmetry of a model's parameters, read from its program, and methods that use it."""

from equikit import _keywords
from equikit.weightspace.alignment._align import How as How, align
from equikit.weightspace.alignment._search import Matching
from equikit.weightspace.alignment._singular import SingularAlignment, SingularPair, singular_alignment
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
from equikit.weightspace.checkpoints._names import NameMap, load, name_map
from equikit.weightspace.functionals._functional import Functional
from equikit.weightspace.functionals._models import NFN, UNF, DWSNet
from equikit.weightspace.functionals._padding import pad
from equikit.weightspace.functionals._standardize import Standardize
from equikit.weightspace.graphs import Features, MessagePassing, ParameterGraph, Probes, RelationalTransformer, graph
from equikit.weightspace.graphs._values import of_one as of_one
from equikit.weightspace.merging._interpolation import Line, barrier, interpolate, plot_lines
from equikit.weightspace.merging._merge import mean, merge
from equikit.weightspace.merging._repair import repair
from equikit.weightspace.merging._transfer import Transfer, transfer
from equikit.weightspace.optimizers import LearnedOptimizer, MetaTraining, Problem, evolve, train
from equikit.weightspace.specifications._json import from_json, to_json
from equikit.weightspace.specifications._linear_action import LinearAction
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._terms import Indexed, Leaf, Product, Sum, Symbol
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
    "NameMap",
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
    "from_json",
    "graph",
    "impose",
    "interpolate",
    "load",
    "mean",
    "merge",
    "name_map",
    "pad",
    "plot_lines",
    "repair",
    "singular_alignment",
    "symmetry_left",
    "teleport",
    "to_json",
    "trace",
    "train",
    "transfer",
]

_keywords.answer_misspelled(__name__)
