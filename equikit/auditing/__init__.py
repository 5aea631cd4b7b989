"""Measure how well any function keeps a symmetry: the error, the worst element, the subgroup that is kept."""

from equikit.auditing._action import Elements as Elements, act as act, act_each as act_each
from equikit.auditing._audit import audit
from equikit.auditing._bounds import Interval
from equikit.auditing._callables import Adapted as Adapted, adapted as adapted, host as host, is_torch as is_torch
from equikit.auditing._report import Report
from equikit.auditing._worst import WorstElement
from equikit.auditing.subgroups import Kept, KeptGroup

__all__ = ["Interval", "Kept", "KeptGroup", "Report", "WorstElement", "audit"]
