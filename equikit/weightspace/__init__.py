"""Weight spaces: the symmetry of a model's parameters, read off its program, and what is made of it."""

from equikit.weightspace._align import align
from equikit.weightspace._functional import Functional
from equikit.weightspace._interpolation import Line, barrier, interpolate, plot_lines
from equikit.weightspace._matching import Matching
from equikit.weightspace._merge import mean, merge
from equikit.weightspace._models import NFN, UNF, DWSNet
from equikit.weightspace._scaling import Scaling
from equikit.weightspace._singular import SingularAlignment, SingularPair, singular_alignment
from equikit.weightspace._specification import Specification
from equikit.weightspace._standardize import Standardize
from equikit.weightspace._terms import Leaf, Product, Sum, Symbol
from equikit.weightspace._trace import trace
from equikit.weightspace._transfer import Transfer, transfer

__all__ = [
    "NFN",
    "UNF",
    "DWSNet",
    "Functional",
    "Leaf",
    "Line",
    "Matching",
    "Product",
    "Scaling",
    "SingularAlignment",
    "SingularPair",
    "Specification",
    "Standardize",
    "Sum",
    "Symbol",
    "Transfer",
    "align",
    "barrier",
    "interpolate",
    "mean",
    "merge",
    "plot_lines",
    "singular_alignment",
    "trace",
    "transfer",
]
