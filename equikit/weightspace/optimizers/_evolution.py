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
from equikit._progress import progress
from equikit.weightspace.optimizers._learned import LearnedOptimizer
from equikit.weightspace.optimizers._training import Problem, train


@dataclass(frozen=True)
class MetaTraining:
    """The result of meta-training.

    Attributes:
        optimizer: the optimizer with the lowest loss among the checks.
        losses: the training loss in every meta-step, averaged over training steps and perturbed weights.
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
    deviation: float = 0.03,
    rate: float = 0.01,
    checks: int = 10,
    key: jax.Array,
) -> MetaTraining:
    r"""Learn the weights of an optimizer by antithetic evolution strategies.

    Let L be the training loss averaged over all steps, smoothed by a normal distribution of the weights \(\theta\). Its
    gradient is estimated by \(\frac{1}{2 \sigma^2 m} \sum_i (L(\theta + \epsilon_i) - L(\theta - \epsilon_i))\,
    \epsilon_i\), where both losses of a pair use the same initial parameters and batches. Adam updates the weights with
    this estimate. A loss that is NaN, or above the loss of the first step, is replaced by the loss of the first step.

    Args:
        optimizer: the initial optimizer; it is not changed.
        problem: the training problem.
        steps: number of training steps.
        meta_steps: number of meta-training steps.
        pairs: m, the number of antithetic pairs.
        deviation: \(\sigma\), the standard deviation of the perturbations.
        rate: initial learning rate of Adam, with cosine decay to zero.
        checks: number of evaluations on eight fixed problems; the best weights are returned.
        key: JAX key for all random numbers.

    Returns:
        The learned optimizer and the losses.

    Raises:
        OptionError: if an argument is invalid, or the loss before meta-training is not finite.
        GroupError: if a number of steps, pairs or checks is not an integer.

    Cost: `2 * pairs * steps` training steps for each meta-step, all in one compiled program.

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

    Source:
        Salimans et al., Evolution strategies as a scalable alternative to reinforcement learning, arXiv:1703.03864;
        Metz et al., arXiv:2203.11860. For longer training, Zhou, Finn and Harrison, arXiv:2402.05232, use persistent
        evolution strategies.
    """
    _checks.instance("optimizer", optimizer, LearnedOptimizer, "LearnedOptimizer(spec, rngs=nnx.Rngs(0))")
    _checks.instance("problem", problem, Problem, "Problem(init, loss)")
    _checks.key(key)
    numbers = {"steps": steps, "meta_steps": meta_steps, "pairs": pairs, "checks": checks}
    for name, number in numbers.items():
        _checks.count(name, number, least=1, most=1_000_000, example=10)
    deviation, rate = (
        _checks.number(name, size, above=0, example=0.01) for name, size in (("deviation", deviation), ("rate", rate))
    )
    parts: Any = nnx.split(optimizer, nnx.Param, ...)
    static, theta, rest = parts
    flat, unflatten = ravel_pytree(theta)
    schedule = optax.cosine_decay_schedule(rate, meta_steps)
    adam = optax.adam(schedule)

    def mean_loss(flat: jax.Array, key: jax.Array) -> jax.Array:
        learned = nnx.merge(static, unflatten(flat), rest)
        _, losses = train(learned.transformation(), problem, steps, key=key)
        return jnp.mean(jnp.where(losses < losses[0], losses, losses[0]))

    @jax.jit
    def meta_step(flat: jax.Array, state: Any, key: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
        draw, one = jax.random.split(key)
        noise = deviation * jax.random.normal(draw, (pairs, flat.size), flat.dtype)
        keys = jax.random.split(one, pairs)
        both = jax.vmap(jax.vmap(mean_loss, in_axes=(0, None)), in_axes=(0, 0))(
            jnp.stack([flat + noise, flat - noise], axis=1), keys
        )
        slope = jnp.mean((both[:, 0] - both[:, 1])[:, None] * noise, axis=0) / (2 * deviation**2)
        updates, state = adam.update(slope, state, flat)
        return flat + updates, state, jnp.mean(both)

    same = jax.random.split(jax.random.fold_in(key, meta_steps), 8)
    check = jax.jit(lambda flat: jnp.mean(jax.vmap(mean_loss, in_axes=(None, 0))(flat, same)))
    state, losses, found = adam.init(flat), [], [(0, float(check(flat)))]
    step = "evaluate problem.loss(problem.init(key), key), and see where it is not finite"
    _checks.finite("losses before training", np.array(found[0][1]), step=step)
    best = flat
    marks = set(np.linspace(0, meta_steps, checks + 1).round().astype(int).tolist())
    with progress("learning an optimizer", meta_steps) as advance:
        for number in range(1, meta_steps + 1):
            flat, state, loss = meta_step(flat, state, jax.random.fold_in(key, number - 1))
            losses.append(float(loss))
            if number in marks:
                found.append((number, float(check(flat))))
                if found[-1][1] < min(value for _, value in found[:-1]):
                    best = flat
            advance(f"loss {losses[-1]:.3g}, {found[0][1]:.3g} at first")
    learned = nnx.merge(static, unflatten(best), rest)
    return MetaTraining(learned, np.array(losses), tuple(found))
