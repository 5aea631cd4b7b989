"""Types for annotations: inputs, outputs and options of layers.

- Arrays: `Feature`, `[*batch, *axes, channels]`; `Inputs`, one feature or a dictionary of them; `Arrays`, a type
  variable for functions whose result has the type of such an input; `Mask`, booleans `[*batch, n]`; `Masks`, one mask
  or one for each label.
- Arguments of layers: `Features`, labels to channels or name to labels and channels; `Space`, the result of `hom`;
  `Channels`, one number or one for each term; `Activation`, a function of an array.
- Options: `Normalize`, `Method` and `OutSharding` of linear layers; `Mode` of multilinear ones; `Nonlinearity` of
  `Network`; `Dropped` of `Dropout`; `KeyArgument` of `symmetrize`; `How` of `align`.

Example:
    >>> from equikit.typing import Feature, Masks
    >>> def pooled(x: Feature, mask: Masks | None = None) -> Feature:
    ...     return x.mean(-2)
"""

from equikit.nn import Activation, Dropped, Features, Nonlinearity, Space
from equikit.plans import Arrays, Channels, Feature, Inputs, Mask, Masks, Method, Mode, Normalize
from equikit.plans.sharding import OutSharding
from equikit.symmetrization import KeyArgument
from equikit.weightspace import How

__all__ = [
    "Activation",
    "Arrays",
    "Channels",
    "Dropped",
    "Feature",
    "Features",
    "How",
    "Inputs",
    "KeyArgument",
    "Mask",
    "Masks",
    "Method",
    "Mode",
    "Nonlinearity",
    "Normalize",
    "OutSharding",
    "Space",
]
