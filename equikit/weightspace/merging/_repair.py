"""Correct the means and variances inside a merged network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.alignment._losses import checked_inputs
from equikit.weightspace.merging._combine import checked_coefficients
from equikit.weightspace.merging._statistics import Moments, Place, moments_at, places_of
from equikit.weightspace.specifications._leaves import checked_leaves, named_leaves, refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification


def repair(
    spec: Specification,
    apply: Callable[..., Any],
    params: Any,
    batches: Iterable[Any],
    *,
    networks: Sequence[Any] | None = None,
    coefficients: Sequence[float] | None = None,
) -> Any:
    r"""Correct the statistics of a merged network over data.

    The activations of a mean of networks have a smaller variance than theirs, and running averages of batch
    normalization do not fit it. Running means and variances become those of the data, layer after layer. With
    `networks`, layers with a bias whose outputs are permuted are corrected too: the output \(z\) becomes
    \((z - \mu) \sigma^* / \sigma + \mu^*\), where \(\mu^*, \sigma^*\) are the means of \(\mu, \sigma\) over the
    networks, by changing the kernel and the bias. Such a layer is one product or convolution of the data with a kernel,
    plus a bias, \(z = x W + b\), and nothing else. All other layers stay: a sum of two products \(x W + y V + b\), a
    product that is multiplied by a gain or reshaped before the bias is added, a layer inside a loop, and a layer whose
    kernel or bias is used twice.

    Args:
        spec: the symmetry of the networks, from `trace`.
        apply: the model, `apply(params, x)`, which uses running averages and does not change them.
        params: the merged network, such as `merge(spec, networks)`.
        batches: inputs, a list of arrays with the batch first; a batch is a tuple if the model has several inputs.
        networks: the networks it was made from, after alignment.
        coefficients: as for `merge`.

    Returns:
        A tree like `params`.

    Raises:
        OptionError: if there is nothing to correct, there are no batches or one is empty, or a statistic is not finite.
        ShapeError: if parameters do not match the specification.
        DTypeError: if a parameter or a statistic is complex, or a parameter that changes is integer.

    Cost: a pass over the data for each layer that is corrected, and one for each network.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import mean, trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"] + params["bias"]) @ params["second"]
        >>> shapes = {"first": (3, 8), "bias": (8,), "second": (8, 2)}
        >>> one, two = ({name: np.random.default_rng(seed).normal(size=shape) for name, shape in shapes.items()}
        ...             for seed in (0, 1))
        >>> x = np.random.default_rng(2).normal(size=(256, 3))
        >>> fixed = repair(trace(apply, one, x), apply, mean([one, two]), [x], networks=[one, two])
        >>> spread = [np.std(x @ each["first"]).item() for each in (one, two, mean([one, two]), fixed)]
        >>> spread[2] < 0.9 * min(spread[:2]), spread[3] > 0.95 * min(spread[:2])
        (True, True)

    Source:
        Jordan, Sedghi, Saukh, Entezari and Neyshabur, REPAIR, arXiv:2211.08403.
    """
    checked_specification(spec)
    data = checked_inputs(batches)
    _checks.function("apply", apply, arguments=1 + len(data[0]), example="apply, the model that was traced")
    others = [] if networks is None else [*networks]
    for number, tree in enumerate([params, *others]):
        checked_leaves(spec.leaves, tree, f"networks[{number - 1}]" if number else "params")
        refuse_not_real("repair", tree, integers=True)
    shares = checked_coefficients(coefficients, len(others)) if others else ()
    labels = [leaf.axes for leaf in spec.leaves]
    places = [
        place
        for place in places_of(apply, params, data[0])
        if place.kind == "norm"
        or (
            place.kind == "layer"
            and others
            and all({*labels[place.first][axis].labels} <= {*spec.groups} for axis in place.axes)
        )
    ]
    if not places:
        raise OptionError(
            "there is nothing to correct",
            got="no running averages, and no " + ("layer that is corrected" if others else "networks="),
            expected="a model with batch normalization, or networks= and a layer x @ W + b with permuted outputs, "
            "whose bias is added to one product alone, with W and b used once",
            step="write repair(spec, apply, params, batches, networks=[one, two]), after align"
            if not others
            else "merge the networks without it",
        )
    named = named_leaves(params)
    names = [*named]
    refuse_not_real("repair", {names[i]: named[names[i]] for place in places for i in (place.first, place.second)})
    moments = moments_at(apply, places)
    goals = [moments(tree, data) for tree in others]
    leaves, structure = jax.tree.flatten(params)
    for number, place in enumerate(places):
        now = moments(jax.tree.unflatten(structure, leaves), data)[number]
        _checks.finite(f"statistics of {names[place.first]!r}", *now, step="look at the data")
        wanted = [goal[number] for goal in goals]
        leaves[place.first], leaves[place.second] = corrected(place, leaves, now, wanted, shares)
    return jax.tree.unflatten(structure, leaves)


def corrected(
    place: Place, leaves: Sequence[Any], now: Moments, wanted: Sequence[Moments], shares: Sequence[float]
) -> tuple[jax.Array, jax.Array]:
    """Return both parameters of a place so that the network has the statistics that are wanted there."""
    first, second = leaves[place.first], leaves[place.second]
    mean, variance = now
    if place.kind == "norm":
        return _like(first, _along(mean, place.axes, first.shape)), _like(
            second, _along(variance, place.seconds, second.shape)
        )
    means, deviations = (
        sum(share * one for share, one in zip(shares, some, strict=True))
        for some in ([goal[0] for goal in wanted], [np.sqrt(np.maximum(goal[1], 0)) for goal in wanted])
    )
    deviation = np.sqrt(np.maximum(variance, 0))
    ratio = np.where(deviation > 0, deviations / np.where(deviation > 0, deviation, 1), 1.0)
    bias = np.asarray(second, np.float64)
    shifted = (bias - _along(mean, place.seconds, bias.shape)) * _along(ratio, place.seconds, bias.shape)
    return _like(first, np.asarray(first, np.float64) * _along(ratio, place.axes, first.shape)), _like(
        second, shifted + _along(means, place.seconds, bias.shape)
    )


def _along(values: Any, axes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return values along some axes of an array, broadcastable; other axes of a statistic have one entry."""
    order = np.argsort(axes)
    return np.asarray(np.transpose(values, order).reshape([size if i in axes else 1 for i, size in enumerate(shape)]))


def _like(leaf: Any, values: np.ndarray) -> jax.Array:
    return jax.numpy.asarray(np.broadcast_to(values, leaf.shape).astype(leaf.dtype))
