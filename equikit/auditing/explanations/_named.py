"""Attribution methods by name."""

from __future__ import annotations

from typing import Any, Literal

from jax.typing import ArrayLike

from equikit import _checks, _keywords
from equikit.auditing.explanations._explainer import Explainer, Model
from equikit.auditing.explanations._gradients import (
    gradient,
    gradient_shap,
    input_times_gradient,
    integrated_gradients,
)
from equikit.auditing.explanations._perturbations import occlusion, shapley

Attribution = Literal[
    "gradient", "input_times_gradient", "integrated_gradients", "gradient_shap", "occlusion", "shapley"
]
METHODS: dict[str, Any] = {
    "gradient": gradient,
    "input_times_gradient": input_times_gradient,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "occlusion": occlusion,
    "shapley": shapley,
}


def explainer(how: Attribution, model: Model, target: int | ArrayLike | None = None, /, **options: Any) -> Explainer:
    """Return an attribution method by its name.

    Args:
        how: the name of the function of this package.
        model, target: as for `gradient`.
        **options: options of the function.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: if the name or an option is unknown or has no meaning.

    Cost: as the method.

    Example:
        >>> explainer("integrated_gradients", lambda x: x.sum(), steps=10)
        Explainer('integrated_gradients')
    """
    method = METHODS[_checks.choice("how", how, [*METHODS])]
    _keywords.refuse_unknown(how, options, _keywords.options_of(method))
    found: Explainer = method(model, target, **options)
    return found
