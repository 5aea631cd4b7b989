"""equikit: equivariant neural-network layers from diagrams.

Every tensor axis carries a group. A signature such as `"p p -> p p"` with `p=S` names the linear maps that commute with
it; equikit enumerates the diagrams that span them, compiles them to one plan, and runs the plan as a JAX layer.
"""

import importlib
from typing import TYPE_CHECKING, Any

from equikit._errors import (
    DiagramError,
    DTypeError,
    EquikitError,
    EquivarianceError,
    FrameError,
    GroupError,
    MissingPackageError,
    OptionError,
    ShapeError,
    SignatureError,
    TooLargeError,
    TraceWarning,
)
from equikit.diagrams import Diagram, HomSpace, hom
from equikit.groups import GL, SO, A, Bistochastic, D, Fixed, H, Lorentz, MatrixGroup, O, S, Sp, Trivial, U, Z

if TYPE_CHECKING:
    from equikit import (
        auditing,
        diagrams,
        discover,
        draw,
        groups,
        nn,
        plans,
        relax,
        spherical,
        symmetrization,
        testing,
        train,
        typing,
        weightspace,
    )
    from equikit.auditing import audit
    from equikit.supports import Support
    from equikit.symmetrization import Canonicalize, frames, symmetrize

__version__ = "0.1.0"

__all__ = [
    "GL",
    "SO",
    "A",
    "Bistochastic",
    "Canonicalize",
    "D",
    "DTypeError",
    "Diagram",
    "DiagramError",
    "EquikitError",
    "EquivarianceError",
    "Fixed",
    "FrameError",
    "GroupError",
    "H",
    "HomSpace",
    "Lorentz",
    "MatrixGroup",
    "MissingPackageError",
    "O",
    "OptionError",
    "S",
    "ShapeError",
    "SignatureError",
    "Sp",
    "Support",
    "TooLargeError",
    "TraceWarning",
    "Trivial",
    "U",
    "Z",
    "__version__",
    "audit",
    "auditing",
    "data",
    "diagrams",
    "discover",
    "draw",
    "frames",
    "groups",
    "hom",
    "nn",
    "plans",
    "relax",
    "spherical",
    "symmetrization",
    "symmetrize",
    "testing",
    "train",
    "typing",
    "weightspace",
]

# These import JAX, or what some users need.
_LATER = (
    "auditing",
    "data",
    "discover",
    "draw",
    "nn",
    "plans",
    "relax",
    "spherical",
    "symmetrization",
    "testing",
    "train",
    "typing",
    "weightspace",
)
_OF_SYMMETRIZATION = ("Canonicalize", "frames", "symmetrize")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"equikit.{name}")
    if name == "audit":
        return importlib.import_module("equikit.auditing").audit
    if name == "Support":
        return importlib.import_module("equikit.supports").Support
    if name in _OF_SYMMETRIZATION:
        return getattr(importlib.import_module("equikit.symmetrization"), name)
    raise AttributeError(f"module 'equikit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
