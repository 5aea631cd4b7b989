"""A learned optimizer whose update is a functional of weights, gradients and momenta."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from equikit import _checks, _keywords
from equikit.nn import Linear
from equikit.nn.initializers import filled
from equikit.weightspace.functionals._functional import Functional
from equikit.weightspace.functionals._models import UNF
from equikit.weightspace.specifications._leaves import refuse_not_real, refuse_unlike
from equikit.weightspace.specifications._specification import Specification, checked_specification

TIMES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Time scales, in steps, of the input features that encode the number of steps so far."""


FLOOR, TINY = 1e-4, 1e-20
"""Constants added to each array's root mean square: FLOOR times the largest root mean square, and TINY."""


class LearnedState(NamedTuple):
    """The optimizer state.

    Attributes:
        steps: number of steps so far.
        momenta: for each decay, a tree like the parameters.
        square: running means of squared gradients, a tree like the parameters.
    """

    steps: jax.Array
    momenta: tuple[Any, ...]
    square: Any


class LearnedOptimizer(nnx.Module):
    r"""A learned optimizer that is equivariant under the permutation symmetry of the trained network.

    \(w \leftarrow w - \alpha\, (u + \beta\, d\, e^{\beta s})\), where u is the update of Adam with learning rate 1, and
    the functional computes a direction d and a log-size s for every weight from weights, gradients, momenta and the
    number of steps. With \(\beta = 0\) the optimizer is Adam. Every input array is divided by its root mean square,
    which is invariant under permutations.

    Args:
        spec: the symmetry of the trained parameters, from `trace`.
        channels: widths of the hidden layers of the functional.
        kind: `UNF`, `NFN`, `DWSNet` or `Functional`.
        decays: decay rates of the momenta.
        rate: the learning rate \(\alpha\), whose logarithm is a parameter.
        strength: \(\beta\), which is not learned.
        rngs: random keys for the parameters.
        **options: options of the functional.

    Raises:
        OptionError: if a decay, the rate or the strength is invalid.

    Example:
        >>> from equikit.weightspace import trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> optimizer = LearnedOptimizer(spec, [8], rngs=nnx.Rngs(0)).transformation()
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params)
        >>> optax.apply_updates(params, updates)["first"].shape
        (3, 8)

    Source:
        Zhou, Finn and Harrison, Universal neural functionals, arXiv:2402.05232, with momentum in place of Adam; Metz et
        al., Practical tradeoffs between memory, compute, and performance in learned optimizers, arXiv:2203.11860.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int] = (16,),
        *,
        kind: Callable[..., Functional] = UNF,
        decays: Sequence[float] = (0.5, 0.9, 0.99, 0.999),
        rate: float = 3e-3,
        strength: float = 0.3,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        checked_specification(spec)
        call = _keywords.call_of(type(self), *([kind, Linear] if isinstance(kind, type) else []))
        _checks.function("kind", kind, arguments=2, example="UNF")
        if isinstance(kind, type):
            _keywords.refuse_unknown(type(self).__name__, options, call.options - {"groups"})
        self.decays = _checks.numbers("decays", decays, least=0, below=1, example=0.9)
        self.strength: float = _checks.number("strength", strength, least=0, example=0.3, traced=False)
        widths = _checks.widths("channels", channels, example="(16,)")
        rate = _checks.number("rate", rate, above=0, example=3e-3)
        traced = isinstance(rate, jax.core.Tracer)
        self.log_rate = nnx.Param(jnp.log(rate) if traced else filled(math.log(rate), (), jnp.float32))
        inputs = 2 + len(self.decays) + len(TIMES)
        self.functional = kind(spec, [inputs, *widths, 2], rngs=rngs, **options)

    def step(self, grads: Any, state: LearnedState, params: Any) -> tuple[Any, LearnedState]:
        """Return the update of the parameters, and the new state."""
        count = state.steps + 1
        momenta = tuple(
            jax.tree.map(lambda m, g, decay=decay: decay * m + (1 - decay) * g, momentum, grads)
            for decay, momentum in zip(self.decays, state.momenta, strict=True)
        )
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, state.square, grads)
        new = LearnedState(count, momenta, square)
        age = jnp.tanh(count / jnp.array(TIMES)) * 2 - 1

        def features(*arrays: jax.Array) -> jax.Array:
            own = jnp.stack(arrays, axis=-1)
            return jnp.concatenate(
                [own, jnp.broadcast_to(age, (*own.shape[:-1], len(TIMES))).astype(own.dtype)], axis=-1
            )

        found = self.functional(jax.tree.map(features, *map(_normalized, (params, grads, *momenta))))
        rate, fast = jnp.exp(self.log_rate[...]), momenta[self._nominal]

        def update(momentum: jax.Array, square: jax.Array, both: jax.Array) -> jax.Array:
            corrected = momentum / (1 - self.decays[self._nominal] ** count)
            adam = corrected / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-8)
            direction, size = both[..., 0], both[..., 1]
            learned = self.strength * direction * jnp.exp(self.strength * size)
            return (-rate * (adam + learned)).astype(momentum.dtype)

        return jax.tree.map(update, fast, square, found), new

    @property
    def _nominal(self) -> int:
        """The index of the momentum decay closest to 0.9, the default of Adam."""
        return min(range(len(self.decays)), key=lambda place: abs(self.decays[place] - 0.9))

    def transformation(self) -> optax.GradientTransformation:
        """Return the optimizer as an optax transformation; `update` needs the parameters.

        The transformation uses the current weights of the functional: create a new one after the weights change.
        """

        def init(params: Any) -> LearnedState:
            refuse_not_real("a learned optimizer", params)
            zeros = jax.tree.map(jnp.zeros_like, params)
            return LearnedState(jnp.zeros((), jnp.int32), (zeros,) * len(self.decays), zeros)

        def update(grads: Any, state: LearnedState, params: Any = None) -> tuple[Any, LearnedState]:
            _checks.given("a learned optimizer", "write optimizer.update(grads, state, params)", params=params)
            refuse_unlike({"params": params, "grads": grads, "the momenta of the state": state.momenta[0]})
            return self.step(grads, state, params)

        return optax.GradientTransformation(init, update)


def _normalized(tree: Any) -> Any:
    """Divide arrays by their root mean squares.

    An array far below the largest one stays small: it is rounding error, such as the gradient of an unused bias.
    """
    sizes = jax.tree.map(lambda array: jnp.sqrt(jnp.mean(array**2)), tree)
    floor = FLOOR * jnp.max(jnp.stack(jax.tree.leaves(sizes)))
    return jax.tree.map(lambda array, size: array / (size + floor + TINY), tree, sizes)
