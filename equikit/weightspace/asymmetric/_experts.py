"""Mixtures of experts: average the outputs of experts, or interpolate their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit.weightspace.asymmetric._members import Factory, outputs, split_parameters, stacked

Gate = Callable[[jax.Array], jax.Array]
"""A function from inputs to the logits of all experts, along the last axis."""


ROWS = "let the gate return one row of logits for each input"


class _Gated(nnx.Module):
    """Experts, and a gate that computes their weights for each input."""

    def __init__(self, factory: Factory, size: int, gate: Gate, *, top: int | None = None, rngs: nnx.Rngs) -> None:
        self.experts = stacked(factory, size, rngs)
        self.gate = _checks.function("gate", gate, example=f"nnx.Linear(features, {size}, rngs=rngs)")
        self.size = int(size)
        self.top = None if top is None else _checks.count("top", top, least=1, most=self.size)

    def weights(self, x: jax.Array) -> jax.Array:
        """Return the weight of each expert for each input, `[..., size]`; weights are nonnegative and sum to one."""
        logits = self.gate(x)
        if logits.ndim == 0 or logits.shape[-1] != self.size:
            raise ShapeError(
                "the gate does not fit the experts",
                got=f"logits of shape {list(logits.shape)}",
                expected=f"[..., {self.size}], one for each expert",
                step=f"write gate=nnx.Linear(features, {self.size}, rngs=rngs)",
            )
        if self.top is None:
            return jax.nn.softmax(logits)
        _, chosen = jax.lax.top_k(logits, self.top)
        kept = jnp.any(jax.nn.one_hot(chosen, self.size, dtype=bool), axis=-2)
        return jax.nn.softmax(jnp.where(kept, logits, -jnp.inf))


class MixtureOfExperts(_Gated):
    r"""A weighted sum of experts: \(\sum_i p_i(x) f_i(x)\), with p the softmax of a gate.

    Args:
        factory: a function of an `nnx.Rngs` that creates an expert; see `Ensemble`.
        size: number of experts.
        gate: a module or function that maps the input to logits `[*batch, size]`.
        top: number of experts in the sum, chosen by the largest logits; by default all. All experts are computed, but
            experts that are not chosen have weight zero and gradient zero.
        rngs: random keys for the parameters of the experts.

    Attributes:
        experts: a module whose arrays have an additional first axis of size `size`.

    Raises:
        OptionError: if there are no experts, an expert is not a module, their architectures differ, or `top` is larger
            than `size`.
        ShapeError: when called, if the shape of the logits is wrong.

    Cost: the cost of all experts.

    Example:
        >>> def factory(rngs):
        ...     return nnx.Linear(4, 3, rngs=rngs)
        >>> rngs = nnx.Rngs(0)
        >>> mixture = MixtureOfExperts(factory, 5, nnx.Linear(4, 5, rngs=rngs), top=2, rngs=rngs)
        >>> mixture(jnp.ones((7, 4))).shape
        (7, 3)

    Source:
        Shazeer et al., Outrageously large neural networks: the sparsely-gated mixture-of-experts layer,
        arXiv:1701.06538; without noise and balancing losses.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the weighted sum; the outputs of experts must start with the batch axes of the logits."""
        weights, found = self.weights(x), outputs(self.experts, x)
        batch = weights.shape[:-1]
        _checks.shaped("outputs of the experts", found, (self.size, *batch, "*axes"), step=ROWS)
        first = jnp.moveaxis(weights, -1, 0)
        return jnp.sum(first.reshape(*first.shape, *(1,) * (found.ndim - first.ndim)) * found, axis=0)


class InterpolatedExperts(_Gated):
    r"""A network whose weights are the weighted mean of the experts' weights: \(f(x; \sum_i p_i(x)\, \theta_i)\).

    Each input is mapped by its own network, whose weights are in the convex hull of the experts' weights. This requires
    that interpolated experts have a low loss, for example asymmetric experts with the same fixed entries.

    Args:
        factory, size, gate, top, rngs: as for `MixtureOfExperts`. Variables other than `nnx.Param`, such as fixed
            entries, are taken from the first expert.

    Attributes:
        experts: a module whose arrays have an additional first axis of size `size`.

    Raises:
        OptionError: as for `MixtureOfExperts`; when called, if experts change their state.
        ShapeError: when called, if the shape of the logits is wrong.

    Cost: the cost of one network, with one copy of its parameters in memory for each input.

    Example:
        >>> from equikit.weightspace import AsymmetricMLP
        >>> def factory(rngs):
        ...     return AsymmetricMLP([4, 16, 3], fixed=2, key=jax.random.key(0), rngs=rngs)
        >>> rngs = nnx.Rngs(0)
        >>> experts = InterpolatedExperts(factory, 3, nnx.Linear(4, 3, rngs=rngs), rngs=rngs)
        >>> experts(jnp.ones((7, 4))).shape
        (7, 3)

    Source:
        Chernov and Novitskij, The empirical impact of reducing symmetries on the performance of deep ensembles and MoE,
        2025.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply its own network to each input; return `[*batch, ...]` with the batch axes of the logits."""
        weights = self.weights(x)
        batch = weights.shape[:-1]
        _checks.shaped("x", x, (*batch, "*axes"), step=ROWS)
        graph, params, rest = split_parameters(self.experts)
        shared = jax.tree.map(lambda array: array[0], rest)

        def one(weights: jax.Array, x: jax.Array, shared: Any) -> Any:
            mixed = jax.tree.map(lambda array: jnp.tensordot(weights.astype(array.dtype), array, 1), params)
            before, expert = jax.tree.leaves(shared), nnx.merge(graph, mixed, shared)
            found = expert(x)
            _refuse_changes(before, jax.tree.leaves(split_parameters(expert)[2]))
            return found

        count = math.prod(batch)
        rows = weights.reshape(count, self.size), x.reshape(count, *x.shape[len(batch) :])
        found = jax.vmap(one, in_axes=(0, 0, None))(*rows, shared)
        result: jax.Array = found.reshape(*batch, *found.shape[1:])
        return result


def _refuse_changes(before: list[Any], after: list[Any]) -> None:
    if any(one is not two for one, two in zip(before, after, strict=True)):
        raise OptionError(
            "interpolated experts change their state",
            got="a variable that is another one after the call",
            expected="networks without state: each input would need a state of its own",
            step="call model.eval() first, or leave batch normalization and dropout out",
        )
