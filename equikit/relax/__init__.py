"""Soft equivariance: chains of groups, penalties on what breaks a symmetry, and constrained augmentation."""

from equikit._keywords import answer_misspelled
from equikit.relax._augmentation import Augmentation, Multiplier
from equikit.relax._chain import Chain, chain
from equikit.relax._linear import Gate, Linear, penalty
from equikit.relax._penalty import Penalty, tuned
from equikit.relax._projection import project
from equikit.relax._regularized import Regularized
from equikit.relax._residual import Residual
from equikit.relax._restrict import restrict, soften

__all__ = [
    "Augmentation",
    "Chain",
    "Gate",
    "Linear",
    "Multiplier",
    "Penalty",
    "Regularized",
    "Residual",
    "chain",
    "penalty",
    "project",
    "restrict",
    "soften",
    "tuned",
]

answer_misspelled(__name__)
