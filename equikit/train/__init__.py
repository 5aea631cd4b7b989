"""Train any Flax module with any optax optimizer: whole epochs in one program, and checkpoints that resume."""

from equikit._keywords import answer_misspelled
from equikit.train._fit import Fitted, fit

__all__ = ["Fitted", "fit"]

answer_misspelled(__name__)
