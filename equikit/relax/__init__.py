"""Soft equivariance: chains of groups, penalties on what breaks a symmetry, and constrained augmentation."""

from equikit._keywords import answer_misspelled
from equikit.relax._chain import Chain, chain
from equikit.relax._linear import Gate, Linear, penalty

__all__ = ["Chain", "Gate", "Linear", "chain", "penalty"]

answer_misspelled(__name__)
