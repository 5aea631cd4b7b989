"""Attributions by gradients: saliency, input times gradient, integrated gradients, gradient SHAP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from equikit import _checks
from equikit.auditing._reading import MOST_DRAWS
from equikit.auditing.explanations._explainer import Explainer, Model, Need, Scalar, attribution, filled
from equikit.plans import Inputs

PERMUTED: tuple[Need, ...] = ("model", "differentiable", "permutations", "baseline")


def gradient(model: Model, target: int | ArrayLike | None = None) -> Explainer:
    r"""Attribute a score by its gradient, \(\nabla f_c(x)\).

    If \(f(gx) = f(x)\), then \(\nabla f(gx) = g^{-T} \nabla f(x)\): attributions are equivariant if the group acts by
    orthogonal matrices, such as permutations. Where the model is not differentiable, such as at ties of a maximum,
    rounding decides, and attributions are not equivariant; symmetric inputs, such as graphs, have ties.

    Args:
        model: maps one input `[*axes, channels]`, or a dictionary of them, to scores `[classes]` or a number. It must
            be differentiable by JAX.
        target: the class of each sample `[samples]`, or one for all; `None` if the model returns a number.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: if a target is not a class. The explainer also raises `ShapeError`, if the model does not return
            scores.

    Cost: one gradient for each sample.

    Example:
        >>> gradient(lambda x: jnp.sum(x**2))(jnp.array([[[1.0], [2.0]]])).tolist()
        [[[2.0], [4.0]]]

    Source:
        Simonyan et al., Deep inside convolutional networks, arXiv:1312.6034, section 3, without the absolute value.
    """
    return attribution("gradient", model, target, lambda f, x: jax.grad(f)(x), ("model", "differentiable", "norm"))


def input_times_gradient(model: Model, target: int | ArrayLike | None = None) -> Explainer:
    r"""Attribute a score by the input times the gradient, \(x \odot \nabla f_c(x)\).

    Attributions are equivariant if the model is invariant and the group permutes entries.

    Args:
        model, target: as for `gradient`.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: as for `gradient`.

    Cost: one gradient for each sample.

    Example:
        >>> input_times_gradient(lambda x: jnp.sum(x**2))(jnp.array([[[1.0], [2.0]]])).tolist()
        [[[2.0], [8.0]]]

    Source:
        Shrikumar et al., Not just a black box, arXiv:1605.01713, section 3.
    """

    def one(f: Scalar, x: Any) -> Any:
        return jax.tree.map(jnp.multiply, x, jax.grad(f)(x))

    return attribution("input_times_gradient", model, target, one, ("model", "differentiable", "permutations"))


def integrated_gradients(
    model: Model, target: int | ArrayLike | None = None, *, baseline: float | Inputs = 0.0, steps: int = 50
) -> Explainer:
    r"""Attribute a score by the mean gradient along the line from a baseline \(b\) to the input.

    \((x - b) \odot \int_0^1 \nabla f_c(b + t (x - b))\, dt\), by the midpoint rule; the attributions of a sample add up
    to \(f_c(x) - f_c(b)\). They are equivariant if the model and the baseline are invariant, and the group permutes
    entries.

    Args:
        model, target: as for `gradient`.
        baseline: a number, or the baseline of one sample, `[*axes, channels]`.
        steps: the number of points on the line.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: as for `gradient`. The explainer also raises `ShapeError` if the baseline does not fit.

    Cost: `steps` gradients for each sample, at once.

    Example:
        >>> integrated_gradients(lambda x: jnp.sum(x**2), steps=4)(jnp.array([[[1.0], [2.0]]])).tolist()
        [[[1.0], [4.0]]]

    Source:
        Sundararajan et al., Axiomatic attribution for deep networks, arXiv:1703.01365, section 3.
    """
    steps = _checks.count("steps", steps, least=1, most=MOST_DRAWS, example=50)
    one = _along(baseline, lambda x: ((jnp.arange(steps) + 0.5) / steps, None))
    return attribution("integrated_gradients", model, target, one, PERMUTED, baseline=baseline)


def gradient_shap(
    model: Model,
    target: int | ArrayLike | None = None,
    *,
    key: jax.Array,
    baseline: float | Inputs = 0.0,
    samples: int = 20,
    noise: float = 0.0,
) -> Explainer:
    r"""Attribute a score by its mean gradient at random points between a baseline and the noisy input.

    \((x - b) \odot \frac1S \sum_s \nabla f_c(b + t_s (x + \sigma \varepsilon_s - b))\), with \(t_s\) uniform and
    \(\varepsilon_s\) normal. Both are drawn once, from the key, so that the explainer is a function. Without noise,
    attributions are equivariant as for `integrated_gradients`; with noise they are not.

    Args:
        model, target: as for `gradient`.
        key: a JAX key.
        baseline: as for `integrated_gradients`.
        samples: the number of points.
        noise: the standard deviation \(\sigma\) of the noise.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: as for `integrated_gradients`, or if the key is not a JAX key.

    Cost: `samples` gradients for each sample, at once.

    Example:
        >>> e = gradient_shap(lambda x: jnp.sum(3 * x), key=jax.random.key(0))
        >>> e(jnp.array([[[1.0], [2.0]]])).round(4).tolist()
        [[[3.0], [6.0]]]

    Source:
        Lundberg and Lee, A unified approach to interpreting model predictions, arXiv:1705.07874, in the form that
        the package captum calls GradientShap.
    """
    _checks.key(key)
    samples = _checks.count("samples", samples, least=1, most=MOST_DRAWS, example=20)
    noise = _checks.number("noise", noise, least=0, example=0.1, traced=False)
    one = _along(baseline, lambda x: _random_points(key, samples, noise, x))
    needs = (*PERMUTED, "noise")
    return attribution("gradient_shap", model, target, one, needs, baseline=baseline, noise=noise)


def _random_points(key: jax.Array, samples: int, noise: float, x: Any) -> tuple[jax.Array, Any]:
    times, *keys = jax.random.split(key, 1 + len(jax.tree.leaves(x)))
    keys = jax.tree.unflatten(jax.tree.structure(x), keys)
    drawn = jax.tree.map(lambda k, leaf: noise * jax.random.normal(k, (samples, *leaf.shape), leaf.dtype), keys, x)
    return jax.random.uniform(times, (samples,)), drawn if noise else None


def _along(baseline: Any, points: Callable[[Any], tuple[jax.Array, Any]]) -> Callable[[Scalar, Any], Any]:
    """Return the attribution by the mean gradient at given times on the line, and with given noise."""

    def one(f: Scalar, x: Any) -> Any:
        start = filled(baseline, x)
        times, noise = points(x)

        def at(time: Any, noise: Any) -> Any:
            end = x if noise is None else jax.tree.map(jnp.add, x, noise)
            return jax.tree.map(lambda a, b: a + time.astype(a.dtype) * (b - a), start, end)

        # Otherwise XLA may compute a point twice, with different rounding. No entry of one result is then equal to the
        # maximum of the other, and the gradient of a maximum is infinite.
        between = jax.lax.optimization_barrier(jax.vmap(at)(times, noise))
        gradients = jax.vmap(jax.grad(f))(between)
        return jax.tree.map(lambda a, b, each: (b - a) * jnp.mean(each, axis=0), start, x, gradients)

    return one
