"""Explanations by the values of a layer: similar examples, and concepts that are present or matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool

from equikit import _checks
from equikit._errors import ShapeError
from equikit.auditing.explanations._explainer import Explainer, Model, attribution, feature, samples_of
from equikit.plans import Inputs

Layer = Callable[[Any], Any]
"""Maps one input without batch axes to the values of a layer."""
Kernel = Literal["linear", "gaussian"]


def similar_examples(layer: Layer, examples: Inputs) -> Explainer:
    r"""Explain an input by its similarity to examples, the cosine between values of a layer.

    The explanation is invariant if the layer is.

    Args:
        layer: maps one input `[*axes, channels]` to values of any shape.
        examples: `[examples, *axes, channels]`, or a dictionary of them.

    Returns:
        An explainer, from `[samples, *axes, channels]` to `[samples, examples]`.

    Raises:
        OptionError: if the layer is not callable.

    Cost: one evaluation of the layer for each sample and example.

    Example:
        >>> x = jnp.array([[[1.0], [0.0]], [[1.0], [1.0]]])
        >>> similar_examples(lambda x: x, x)(x).round(3).tolist()
        [[1.0, 0.7070000171661377], [0.7070000171661377, 1.0]]

    Source:
        Crabbé and van der Schaar, arXiv:2304.06715, section 2, on representation-based example importance.
    """
    values, known = _values(layer), _values(layer)(examples)

    def similar(x: Any) -> Any:
        found = values(x)
        lengths = [jnp.maximum(jnp.linalg.norm(h, axis=1), np.finfo(h.dtype).tiny) for h in (found, known)]
        return found @ known.T / (lengths[0][:, None] * lengths[1])

    return Explainer("similar_examples", similar, "invariance", ("layer",), {"layer": layer})


def concepts(
    layer: Layer,
    examples: Inputs,
    present: Bool[ArrayLike, "examples concepts"],
    *,
    kernel: Kernel = "linear",
    ridge: float = 0.01,
) -> Explainer:
    r"""Explain an input by the concepts that classifiers find in the values of a layer.

    The classifier of a concept is kernel ridge regression on standardized values, with targets ±1. With a linear kernel
    its normal is a concept activation vector (CAV); with a Gaussian kernel its positive side is a concept activation
    region (CAR). The explanation is invariant if the layer is.

    Args:
        layer: maps one input `[*axes, channels]` to values of any shape.
        examples: `[examples, *axes, channels]`, or a dictionary of them.
        present: which concepts each example has.
        kernel: of the classifiers; the Gaussian kernel has the width \(\sqrt{d/2}\) for d values.
        ridge: the regularization, relative to the number of examples.

    Returns:
        An explainer, from `[samples, *axes, channels]` to booleans `[samples, concepts]`.

    Raises:
        ShapeError: if `present` does not have one row for each example.
        OptionError: if an option has no meaning.

    Cost: one solution of a linear system with as many unknowns as examples.

    Example:
        >>> x = jnp.array([[[1.0], [2.0]], [[2.0], [3.0]], [[-1.0], [0.0]], [[-2.0], [-1.0]]])
        >>> e = concepts(lambda x: jnp.sum(x, axis=-2), x, [[True], [True], [False], [False]])
        >>> e(x).tolist()
        [[True], [True], [False], [False]]

    Source:
        Kim et al., Interpretability beyond feature attribution, arXiv:1711.11279, and Crabbé and van der Schaar,
        Concept activation regions, arXiv:2209.11222; both with other classifiers.
    """
    _checks.choice("kernel", kernel, ["linear", "gaussian"])
    values = _values(layer)
    known, weights, mean, scale = _fitted(values(examples), present, kernel, ridge)

    def found(x: Any) -> Any:
        return _kernel(kernel, (values(x) - mean) / scale, known) @ weights > 0

    return Explainer(f"concepts, {kernel}", found, "invariance", ("layer",), {"layer": layer})


def concept_sensitivity(
    layer: Layer,
    head: Model,
    examples: Inputs,
    present: Bool[ArrayLike, "examples concepts"],
    target: int | ArrayLike | None = None,
    *,
    ridge: float = 0.01,
) -> Explainer:
    r"""Explain a score by the concepts in whose direction it increases: \(\nabla h_c(\ell(x)) \cdot v > 0\).

    The direction v is the concept activation vector of `concepts`. Its mean over the samples of a class is the score
    that is called TCAV. The explanation is invariant if the layer is.

    Args:
        layer: maps one input `[*axes, channels]` to values of any shape.
        head: maps these values to scores `[classes]` or a number; the model is the head of the layer.
        examples, present, ridge: as for `concepts`.
        target: the class of each sample `[samples]`, or one for all; `None` if the head returns a number.

    Returns:
        An explainer, from `[samples, *axes, channels]` to booleans `[samples, concepts]`.

    Raises:
        OptionError, ShapeError: as for `concepts` and `gradient`.

    Cost: as `concepts`, and one gradient of the head for each sample.

    Example:
        >>> x = jnp.array([[[1.0], [2.0]], [[2.0], [3.0]], [[-1.0], [0.0]], [[-2.0], [-1.0]]])
        >>> has = [[True, False], [True, False], [False, True], [False, True]]
        >>> e = concept_sensitivity(lambda x: jnp.sum(x, axis=-2), lambda h: h[0], x, has)
        >>> e(x[:2]).tolist()
        [[True, False], [True, False]]

    Source:
        Kim et al., Interpretability beyond feature attribution, arXiv:1711.11279, section 3.3.
    """
    known, weights, _, scale = _fitted(_values(layer)(examples), present, "linear", ridge)
    directions = known.T @ weights / scale[:, None]
    slope = attribution("gradient", head, target, lambda f, h: jax.grad(f)(h), ())

    def found(x: Any) -> Any:
        slopes = jax.vmap(feature)(slope(jax.vmap(layer)(x)))
        return slopes @ directions > 0

    return Explainer("concept_sensitivity", found, "invariance", ("layer",), {"layer": layer, "head": head})


def _values(layer: Layer) -> Callable[[Any], Any]:
    """Return the values of a layer for a batch, one vector for each sample."""
    _checks.function("layer", layer, example="lambda x: jnp.sum(x, axis=-2)")
    return jax.jit(jax.vmap(lambda x: feature(layer(x))))


def _kernel(kernel: Kernel, one: Any, other: Any) -> Any:
    products = one @ other.T
    if kernel == "linear":
        return products + 1
    squares = jnp.sum(one**2, axis=1)[:, None] + jnp.sum(other**2, axis=1)[None, :] - 2 * products
    return jnp.exp(-squares / one.shape[1])


def _fitted(values: Any, present: Any, kernel: Kernel, ridge: float) -> tuple[Any, Any, Any, Any]:
    """Return standardized values of the examples, their weights for each concept, and the mean and scale."""
    ridge = _checks.number("ridge", ridge, above=0, example=0.01, traced=False)
    targets = np.asarray(present)
    samples = samples_of(values)
    if targets.dtype != bool or targets.ndim != 2 or len(targets) != samples or not targets.size:
        raise ShapeError(
            "the concepts do not fit the examples",
            got=f"{targets.dtype} of shape {[*targets.shape]} for {samples} examples",
            expected=f"bool [{samples}, concepts]",
            step="give one row of booleans for each example",
        )
    mean, scale = jnp.mean(values, axis=0), jnp.std(values, axis=0)
    scale = jnp.where(scale > 0, scale, 1)
    known = (values - mean) / scale
    regularized = _kernel(kernel, known, known) + ridge * samples * jnp.eye(samples, dtype=known.dtype)
    return known, jnp.linalg.solve(regularized, jnp.where(targets, 1, -1).astype(known.dtype)), mean, scale
