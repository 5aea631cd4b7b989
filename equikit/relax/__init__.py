"""Soft equivariance: chains of groups, penalties on what breaks a symmetry, and constrained augmentation."""

from equikit._keywords import answer_misspelled
from equikit.relax._chain import Chain, chain
from equikit.relax._linear import Gate, Linear, penalty
from equikit.relax._projection import project
from equikit.relax._restrict import restrict, soften

__all__ = ["Chain", "Gate", "Linear", "chain", "penalty", "project", "restrict", "soften"]

answer_misspelled(__name__)
