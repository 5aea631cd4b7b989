"""Learned canonical forms: a network says which element of the group an input is moved by."""

from equikit.symmetrization.canonicalization._descent import EnergyDescent
from equikit.symmetrization.canonicalization._energy import EnergyCanonicalization, separation_loss
from equikit.symmetrization.canonicalization._group_convolution import GroupConvolution
from equikit.symmetrization.canonicalization._image import ImageCanonicalization
from equikit.symmetrization.canonicalization._prior import prior_loss

__all__ = [
    "EnergyCanonicalization",
    "EnergyDescent",
    "GroupConvolution",
    "ImageCanonicalization",
    "prior_loss",
    "separation_loss",
]
