"""A learned optimizer whose update is a functional of weights, gradients and momenta."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from equikit import _checks, _keywords
from equikit._errors import OptionError
from equikit.nn import Linear
from equikit.nn.initializers import filled, unit_normal
from equikit.weightspace.functionals._models import UNF
from equikit.weightspace.specifications._leaves import by_path, refuse_not_real, refuse_unlike
from equikit.weightspace.specifications._specification import Specification, checked_specification

TIMES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Time scales, in steps, of the features of the number of steps so far."""
CLOCKS = 2
"""Number of projections of these features that the functional reads."""
SQUARES = 0.999
"""Decay of the running mean of squared gradients."""
GAIN = 10.0
"""Factor of the parameters of the direct term: see `LearnedOptimizer`."""
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

    \(w \leftarrow w - \alpha_\ell(t)\, e^{\beta s}\, (u_\ell + \beta d)\) for a weight w of array \(\ell\) in step t. A
    functional computes a direction d and a log-size s for every weight. The rest has few parameters, so that it is
    learned in few meta-steps. The rate \(\alpha_\ell(t) = \alpha \exp(\gamma\, b_\ell \cdot \tau(t))\) follows a
    schedule for each array, where \(\tau\) are one and the features of the number of steps. The direct term
    \(u_\ell = \sum_k (e_k + \gamma\, c_{\ell k})\, m_k / \sqrt{v} + \gamma\, c'_{\ell k}\, m_k / \sqrt{\bar v}\) mixes
    momenta of several decays. They are divided by the root of the mean squared gradient v of the weight, as in Adam,
    or of its mean \(\bar v\) over the array, as in descent along a normalized gradient; v and all momenta are corrected
    for their start. e is one for the decay closest to 0.9, and zero for the others. At first b and c are zero: with
    \(\beta = 0\) the untrained optimizer is Adam. With \(\gamma = 10\), perturbations that are small enough for the
    functional are large enough for b and c.

    The inputs of the functional are weights and gradients, divided by the root mean square of their array, the
    normalized momenta, and two learned projections of \(\tau\). The root mean square is invariant under permutations.

    Args:
        spec: the symmetry of the trained parameters, from `trace`.
        channels: widths of the hidden layers of the functional.
        kind: `UNF`, `NFN`, `DWSNet`, `Functional`, or a function `kind(spec, channels, rngs=...)` that returns a map
            between trees like the parameters with channels.
        decays: decay rates of the momenta.
        rate: the learning rate \(\alpha\), whose logarithm is a parameter.
        strength: \(\beta\), which is not learned; without it the functional is not evaluated.
        rngs: random keys for the parameters.
        **options: options of the functional; `members=` is 1, and the last width of `head=` is 2.

    Attributes:
        log_rate: a parameter, the logarithm of \(\alpha\), `[]`.
        schedule: a parameter, b, `[arrays, 1 + times]`.
        mixture: a parameter, c and c', `[arrays, 2, decays]`.

    Raises:
        OptionError: if a decay, the rate, the strength or an option of the functional is invalid.

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
        al., Practical tradeoffs between memory, compute, and performance in learned optimizers, arXiv:2203.11860. The
        mixture and the schedule of each array are ours.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int] = (16,),
        *,
        kind: Callable[..., Any] = UNF,
        decays: Sequence[float] = (0.5, 0.9, 0.99, 0.999),
        rate: float = 3e-3,
        strength: float = 0.3,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        checked_specification(spec)
        call = _keywords.call_of(type(self), *([kind, Linear] if isinstance(kind, type) else []))
        _checks.function("kind", kind, arguments=2, keywords=["rngs"], example="UNF")
        if isinstance(kind, type):
            _keywords.refuse_unknown(type(self).__name__, options, call.options - {"groups"})
            _checks.count("members", options.get("members", 1), least=1, most=1)
            head = _checks.widths("head", options.get("head", ()), example="[16, 2]")
            _checks.same("the last width of head=", (head or (2,))[-1], 2, step="write head=[16, 2]")
        self.decays = _checks.numbers("decays", decays, least=0, below=1, example=(0.9,))
        self.strength: float = _checks.number("strength", strength, least=0, example=0.3, traced=False)
        widths = _checks.widths("channels", channels, example="(16,)")
        rate = _checks.number("rate", rate, above=0, example=3e-3)
        traced = isinstance(rate, jax.core.Tracer)
        self.log_rate = nnx.Param(jnp.log(rate) if traced else filled(math.log(rate), (), jnp.float32))
        self.schedule = nnx.Param(filled(0.0, (len(spec.leaves), 1 + len(TIMES)), jnp.float32))
        self.mixture = nnx.Param(filled(0.0, (len(spec.leaves), 2, len(self.decays)), jnp.float32))
        self.clock = nnx.Param(unit_normal(_checks.rngs(rngs).params(), (len(TIMES), CLOCKS)))
        self.functional = kind(spec, [2 + len(self.decays) + CLOCKS, *widths, 2], rngs=rngs, **options)

    def step(self, grads: Any, state: LearnedState, params: Any) -> tuple[Any, LearnedState]:
        """Return the update of the parameters, and the new state."""
        count = state.steps + 1
        momenta = tuple(
            jax.tree.map(lambda m, g, decay=decay: decay * m + (1 - decay) * g, momentum, grads)
            for decay, momentum in zip(self.decays, state.momenta, strict=True)
        )
        square = jax.tree.map(lambda s, g: SQUARES * s + (1 - SQUARES) * g**2, state.square, grads)
        corrected = [
            jax.tree.map(lambda m, decay=decay: m / (1 - decay**count), momentum)
            for decay, momentum in zip(self.decays, momenta, strict=True)
        ]
        root = jax.tree.map(lambda s: jnp.sqrt(s / (1 - SQUARES**count)), square)
        rates, mixtures = self.rates(count), GAIN * self.mixture[...] + self._first
        found = self._functional_of(params, grads, corrected, root, _ages(count)) if self.strength else grads

        def update(array: int, root: jax.Array, both: jax.Array, *momenta: jax.Array) -> jax.Array:
            stacked = jnp.stack(momenta, axis=-1)
            own, shared = (stacked @ mixture.astype(stacked.dtype) for mixture in mixtures[array])
            step = own / (root + 1e-8) + shared / (jnp.sqrt(jnp.mean(root**2)) + 1e-8)
            if self.strength:
                step = (step + self.strength * both[..., 0]) * jnp.exp(self.strength * both[..., 1])
            found: jax.Array = (-rates[array] * step).astype(root.dtype)
            return found

        numbers = jax.tree.unflatten(jax.tree.structure(grads), range(len(rates)))
        return jax.tree.map(update, numbers, root, found, *corrected), LearnedState(count, momenta, square)

    def rates(self, count: Any) -> jax.Array:
        """Return the learning rate of every array, `[arrays]`, in the step with this number, which counts from one."""
        ages = jnp.concatenate([jnp.ones(1, jnp.float32), _ages(count)])
        found: jax.Array = jnp.exp(self.log_rate[...] + GAIN * self.schedule[...] @ ages)
        return found

    @property
    def _first(self) -> np.ndarray:
        """The untrained mixture: only the momentum whose decay is closest to 0.9, the default of Adam."""
        found = np.zeros((2, len(self.decays)), np.float32)
        found[0, np.argmin(np.abs(np.array(self.decays) - 0.9))] = 1
        return found

    def _functional_of(self, params: Any, grads: Any, momenta: Sequence[Any], root: Any, ages: jax.Array) -> Any:
        """Return the direction and the log-size of every weight, in two channels."""
        clock = ages @ self.clock[...]
        floor = FLOOR * jnp.max(jnp.stack([jnp.max(leaf, initial=0) for leaf in jax.tree.leaves(root)])) + TINY

        def features(param: jax.Array, grad: jax.Array, root: jax.Array, *momenta: jax.Array) -> jax.Array:
            own = jnp.stack([param, grad, *(momentum / (root + floor) for momentum in momenta)], axis=-1)
            return jnp.concatenate([own, jnp.broadcast_to(clock, (*own.shape[:-1], CLOCKS)).astype(own.dtype)], axis=-1)

        found = self.functional(jax.tree.map(features, _normalized(params), _normalized(grads), root, *momenta))
        wanted, step = by_path(params), "return two channels for each weight, in a tree like the parameters"
        _checks.same_names("results of kind=", by_path(found), wanted, step=step, error=OptionError)
        for name, leaf in by_path(found).items():
            _checks.shaped(f"{name!r} of the result of kind=", leaf, (*wanted[name].shape, 2), step=step)
        return found

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


def _ages(count: Any) -> jax.Array:
    """Return the features of the number of steps, from -1 for a new training to 1."""
    return jnp.tanh(count / jnp.array(TIMES, jnp.float32)) * 2 - 1


def _normalized(tree: Any) -> Any:
    """Divide arrays by their root mean squares.

    An array far below the largest one stays small: it is rounding error, such as the gradient of an unused bias.
    """

    def size(array: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.mean(array**2) if array.size else jnp.sum(array))

    sizes = jax.tree.map(size, tree)
    floor = FLOOR * jnp.max(jnp.stack(jax.tree.leaves(sizes)))
    return jax.tree.map(lambda array, size: array / (size + floor + TINY), tree, sizes)
