"""Explanations of models, and whether they respect the symmetry of the model: scores, guarantees, group averages."""

from equikit import _keywords
from equikit.auditing.explanations._averaged import averaged
from equikit.auditing.explanations._concepts import concept_sensitivity, concepts, similar_examples
from equikit.auditing.explanations._explainer import Explainer, windows
from equikit.auditing.explanations._gradients import (
    gradient,
    gradient_shap,
    input_times_gradient,
    integrated_gradients,
)
from equikit.auditing.explanations._guarantee import Condition, Guarantee, guarantee
from equikit.auditing.explanations._named import explainer
from equikit.auditing.explanations._perturbations import all_orders, occlusion, shapley
from equikit.auditing.explanations._scores import Score, equivariance, invariance

__all__ = [
    "Condition",
    "Explainer",
    "Guarantee",
    "Score",
    "all_orders",
    "averaged",
    "concept_sensitivity",
    "concepts",
    "equivariance",
    "explainer",
    "gradient",
    "gradient_shap",
    "guarantee",
    "input_times_gradient",
    "integrated_gradients",
    "invariance",
    "occlusion",
    "shapley",
    "similar_examples",
    "windows",
]

_keywords.answer_misspelled(__name__)
