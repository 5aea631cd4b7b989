"""Meta-train learned optimizers by evolution strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from equikit import _checks
from equikit._errors import OptionError
from equikit._progress import progress
from equikit.weightspace.optimizers._learned import LearnedOptimizer
from equikit.weightspace.optimizers._persistent import Pair, Unroll, estimate, staggered
from equikit.weightspace.optimizers._training import Problem, proceed, start_of


@dataclass(frozen=True)
class MetaTraining:
    """The result of meta-training.

    Attributes:
        optimizer: the optimizer with the lowest loss among the checks.
        losses: the training loss in every meta-step, averaged over its training steps and perturbed weights.
        checks: pairs of a meta-step and the mean loss on the check problems, which are the same at every check.
    """

    optimizer: LearnedOptimizer
    losses: np.ndarray
    checks: tuple[tuple[int, float], ...]


def evolve(
    optimizer: LearnedOptimizer,
    problem: Problem,
    *,
    steps: int = 100,
    meta_steps: int = 200,
    pairs: int = 8,
    truncation: int | None = None,
    deviation: float = 0.01,
    rate: float = 0.003,
    checks: int = 10,
    key: jax.Array,
) -> MetaTraining:
    r"""Learn the weights of an optimizer by antithetic evolution strategies, persistent ones if unrolls are truncated.

    Let L be the training loss averaged over all steps, smoothed by a normal distribution of the weights \(\theta\). Its
    gradient is estimated by \(\frac{1}{2 \sigma^2 m} \sum_i (L(\theta + \epsilon_i) - L(\theta - \epsilon_i))\,
    \epsilon_i\), where both losses of a pair use the same initial parameters and batches. Adam updates the weights with
    this estimate. A loss that is NaN, or above the loss of the first step, is replaced by the loss of the first step.

    With `truncation=K` a meta-step continues the training of every pair by K steps only, with new perturbations. L is
    the loss averaged over these K steps, and \(\epsilon_i\) outside of the losses is replaced by \(\xi_i\), the sum of
    the perturbations since the training began. This keeps the estimate of the gradient unbiased: the weights of all
    earlier truncated unrolls contributed to the loss. After all steps a pair begins with new parameters and
    \(\xi_i = 0\); the pairs are spread evenly over the steps. The weights change `steps / K` times as often, at the
    same cost, but the variance of \(\xi_i\) grows during training.

    Args:
        optimizer: the initial optimizer; it is not changed.
        problem: the training problem.
        steps: number of training steps.
        meta_steps: number of meta-training steps.
        pairs: m, the number of antithetic pairs.
        truncation: number of training steps in each meta-step, which divides `steps`; by default all.
        deviation: \(\sigma\), the standard deviation of the perturbations.
        rate: initial learning rate of Adam, with cosine decay to zero.
        checks: number of evaluations on eight fixed problems; the best weights are returned.
        key: JAX key for all random numbers.

    Returns:
        The learned optimizer and the losses.

    Raises:
        OptionError: if an argument is invalid, or the loss before meta-training is not finite.

    Cost: `2 * pairs * truncation` training steps for each meta-step, all in one compiled program, and `8 * steps` for
        each check.

    Example:
        >>> from equikit.weightspace import trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> def init(key):
        ...     one, two = jax.random.split(key)
        ...     return {"first": jax.random.normal(one, (1, 8)), "second": jax.random.normal(two, (8, 1))}
        >>> def loss(params, key):
        ...     x = jax.random.uniform(key, (16, 1))
        ...     return jnp.mean((apply(params, x) - jnp.sin(3 * x)) ** 2)
        >>> spec = trace(apply, init(jax.random.key(0)), jnp.ones((5, 1)))
        >>> learned = LearnedOptimizer(spec, [4], rngs=nnx.Rngs(0))
        >>> found = evolve(learned, Problem(init, loss), steps=5, meta_steps=2, pairs=2, key=jax.random.key(0))
        >>> found.losses.shape
        (2,)
        >>> found = evolve(learned, Problem(init, loss), steps=6, truncation=2, meta_steps=3, pairs=3,
        ...                key=jax.random.key(0))
        >>> found.losses.shape
        (3,)

    Source:
        Salimans et al., Evolution strategies as a scalable alternative to reinforcement learning, arXiv:1703.03864;
        Vicol, Metz and Sohl-Dickstein, Unbiased gradient estimation in unrolled computation graphs with persistent
        evolution strategies, arXiv:2112.13835, which Zhou, Finn and Harrison, arXiv:2402.05232, use.
    """
    _checks.instance("optimizer", optimizer, LearnedOptimizer, "LearnedOptimizer(spec, rngs=nnx.Rngs(0))")
    _checks.instance("problem", problem, Problem, "Problem(init, loss)")
    _checks.key(key)
    numbers = {"steps": steps, "meta_steps": meta_steps, "pairs": pairs, "checks": checks}
    for name, number in numbers.items():
        _checks.count(name, number, least=1, most=1_000_000, example=10)
    window = steps if truncation is None else _checked_truncation(truncation, steps)
    deviation, rate = (
        _checks.number(name, size, above=0, example=0.01) for name, size in (("deviation", deviation), ("rate", rate))
    )
    parts: Any = nnx.split(optimizer, nnx.Param, ...)
    static, theta, rest = parts
    flat, unflatten = ravel_pytree(theta)
    schedule = optax.cosine_decay_schedule(rate, meta_steps)
    adam = optax.adam(schedule)

    def begin(key: jax.Array) -> tuple[Any, jax.Array]:
        params, keys = start_of(problem, steps, key)
        return (params, optimizer.transformation().init(params)), keys

    def go_on(flat: jax.Array, state: Any, keys: jax.Array) -> tuple[Any, jax.Array]:
        return proceed(nnx.merge(static, unflatten(flat), rest).transformation(), problem, state, keys)

    unroll = Unroll(begin, go_on, steps, window)

    def mean_loss(flat: jax.Array, key: jax.Array) -> jax.Array:
        _, losses = go_on(flat, *begin(key))
        return jnp.mean(jnp.where(losses < losses[0], losses, losses[0]))

    @jax.jit
    def meta_step(flat: jax.Array, state: Any, both: Pair, key: jax.Array) -> tuple[jax.Array, Any, Pair, jax.Array]:
        draw, one = jax.random.split(key)
        noise = deviation * jax.random.normal(draw, (pairs, flat.size), flat.dtype)
        found = estimate(unroll, flat, noise, both, jax.random.split(one, pairs))
        updates, state = adam.update(found.slope / deviation**2, state, flat)
        return flat + updates, state, found.pairs, found.loss

    same = jax.random.split(jax.random.fold_in(key, meta_steps), 8)
    check = jax.jit(lambda flat: jnp.mean(jax.vmap(mean_loss, in_axes=(None, 0))(flat, same)))
    state, losses, found = adam.init(flat), [], [(0, float(check(flat)))]
    others = jax.random.split(jax.random.fold_in(key, meta_steps + 1), pairs)
    both = jax.jit(lambda keys: staggered(unroll, flat, keys))(others)
    step = "evaluate problem.loss(problem.init(key), key), and see where it is not finite"
    _checks.finite("losses before training", np.array(found[0][1]), step=step)
    best = flat
    marks = set(np.linspace(0, meta_steps, checks + 1).round().astype(int).tolist())
    with progress("learning an optimizer", meta_steps) as advance:
        for number in range(1, meta_steps + 1):
            flat, state, both, loss = meta_step(flat, state, both, jax.random.fold_in(key, number - 1))
            losses.append(float(loss))
            if number in marks:
                found.append((number, float(check(flat))))
                if found[-1][1] < min(value for _, value in found[:-1]):
                    best = flat
            advance(f"loss {losses[-1]:.3g}, {found[0][1]:.3g} at first")
    learned = nnx.merge(static, unflatten(best), rest)
    return MetaTraining(learned, np.array(losses), tuple(found))


def _checked_truncation(truncation: object, steps: int) -> int:
    found = _checks.count("truncation", truncation, least=1, most=steps, example=steps)
    if steps % found:
        divisor = max(number for number in range(1, found) if steps % number == 0)
        raise OptionError(
            "truncation= does not divide steps=",
            got=f"truncation={found}, steps={steps}",
            expected=f"a divisor of {steps}",
            step=f"write truncation={divisor}",
        )
    return found
