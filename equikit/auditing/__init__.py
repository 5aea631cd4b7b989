"""Measure how well any function keeps a symmetry: the error, the worst element, the subgroup that is kept."""

from equikit import _keywords
from equikit.auditing import explanations
from equikit.auditing._action import Elements as Elements, act as act, act_each as act_each, stretch as stretch
from equikit.auditing._audit import audit
from equikit.auditing._bounds import Interval, upper_bound as upper_bound
from equikit.auditing._callables import (
    Adapted as Adapted,
    adapted as adapted,
    host as host,
    is_torch as is_torch,
    raised as raised,
)
from equikit.auditing._evaluation import Evaluation as Evaluation
from equikit.auditing._reading import (
    MOST_DRAWS as MOST_DRAWS,
    bound_sizes as bound_sizes,
    normal as normal,
    random_masks as random_masks,
    read_sides as read_sides,
    refuse_empty as refuse_empty,
    seeds_of as seeds_of,
)
from equikit.auditing._worst import WorstElement
from equikit.auditing.checks import (
    Entry,
    Estimate,
    Monitor,
    curl_error,
    derivative_errors,
    locate,
    padding_error,
    translation_error,
)
from equikit.auditing.modules import DerivativeReport, ModuleReport, ModuleRow
from equikit.auditing.reports._report import Report
from equikit.auditing.subgroups import Kept, KeptGroup

__all__ = [
    "DerivativeReport",
    "Entry",
    "Estimate",
    "Interval",
    "Kept",
    "KeptGroup",
    "ModuleReport",
    "ModuleRow",
    "Monitor",
    "Report",
    "WorstElement",
    "audit",
    "curl_error",
    "derivative_errors",
    "explanations",
    "locate",
    "padding_error",
    "translation_error",
]

_keywords.answer_misspelled(__name__)
