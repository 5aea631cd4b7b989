"""Learned optimizers whose updates are functionals of weights, gradients and momenta, and their meta-training."""

from equikit import _keywords
from equikit.weightspace.optimizers._evolution import MetaTraining, evolve
from equikit.weightspace.optimizers._learned import LearnedOptimizer, LearnedState
from equikit.weightspace.optimizers._training import Problem, train

__all__ = ["LearnedOptimizer", "LearnedState", "MetaTraining", "Problem", "evolve", "train"]

_keywords.answer_misspelled(__name__)
