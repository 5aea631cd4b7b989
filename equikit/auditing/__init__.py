"""Measure how well any function keeps a symmetry: the error, the worst element, the subgroup that is kept."""

from equikit.auditing import explanations
from equikit.auditing._action import Elements as Elements, act as act, act_each as act_each
from equikit.auditing._callables import Adapted as Adapted, adapted as adapted, host as host, is_torch as is_torch

__all__ = ["explanations"]
