"""Train any Flax module with any optax optimizer, with checkpoints that resume; weights in safetensors files."""

from equikit._keywords import answer_misspelled
from equikit.train._fit import Fitted, fit
from equikit.train._safetensors import load, save

__all__ = ["Fitted", "fit", "load", "save"]

answer_misspelled(__name__)
