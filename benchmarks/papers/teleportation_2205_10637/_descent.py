"""Descent with and without teleportation, the choice of its rates, and the curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.papers._curves import points
from benchmarks.papers.teleportation_2205_10637._tasks import Params, Task
from equikit.weightspace import teleport
from equikit.weightspace.teleportation._objective import minus_sharpness, squared_gradient_norm

MAKE: dict[str, Callable[[Any], Any]] = {"gradient descent": optax.sgd, "AdaGrad": optax.adagrad}
OF_AN_ASCENT = {"gradient_norm": 3, "sharpness": 40}
"""Gradients of the loss that one gradient of the objective costs, from the page of `teleport`."""
Scores = dict[str, float]
ASCENT = 10
"""Steps of an ascent, as in the authors' code for classifiers."""


@dataclass(frozen=True)
class Moves:
    """When and how far parameters are teleported: before the steps `at`, with ascent steps of this length."""

    objective: str
    at: tuple[int, ...]
    length: float

    def gradients(self, steps: int) -> np.ndarray:
        """Return the number of gradients of the loss that are computed until each step, `[steps + 1]`."""
        each = np.ones(steps)
        each[[place for place in self.at if place < steps]] += (ASCENT + 1) * OF_AN_ASCENT[self.objective] + 1
        return np.concatenate([[0], np.cumsum(each)])


@dataclass(frozen=True)
class Way:
    """An optimizer with its rate, and teleportation or none."""

    optimizer: str
    rate: float
    moves: Moves | None = None

    def transformation(self, task: Task, rate: Any) -> Any:
        """Return the optimizer for a rate, which may be traced."""
        plain = MAKE[self.optimizer](rate)
        if self.moves is None:
            return optax.with_extra_args_support(plain)
        at, length = self.moves.at, self.moves.length
        return teleport(task.spec, plain, at=at, objective=self.moves.objective, steps=ASCENT, step_size=length)

    def gradients(self, steps: int) -> np.ndarray:
        """Return the number of gradients of the loss until each step."""
        return np.arange(steps + 1.0) if self.moves is None else self.moves.gradients(steps)


def descend(task: Task, tx: Any, key: jax.Array, steps: int) -> Params:
    """Return the parameters before the first and after every step, stacked."""
    start, draws = jax.random.split(key)
    params, data = task.make(start)

    def step(carry: Any, key: jax.Array) -> tuple[Any, Params]:
        params, state = carry

        def loss(params: Params) -> jax.Array:
            return task.loss(params, data, key)

        updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    _, after = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(draws, steps))
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), params, after)


def losses(task: Task, path: Params, key: jax.Array) -> jax.Array:
    """Return the losses on all data along a path."""
    _, data = task.make(jax.random.split(key)[0])
    found: jax.Array = jax.lax.map(lambda params: task.loss(params, data, None), path)
    return found


def chosen(task: Task, optimizer: str, moves: Sequence[Moves | None], rates: Sequence[float], steps: int) -> Way:
    """Return the way with the lowest mean of the logarithms of the final losses, for starts that are not in the test.

    The rate and the moves are chosen together, so that teleportation has more to choose from than descent alone.
    """
    keys, best = jax.random.split(jax.random.key(10_000), 4), (np.inf, Way(optimizer, rates[0]))
    for each in moves:
        way = Way(optimizer, 0.0, each)

        def final(rate: jax.Array, way: Way = way) -> jax.Array:
            def of(key: jax.Array) -> jax.Array:
                path = descend(task, way.transformation(task, rate), key, steps)
                return losses(task, jax.tree.map(lambda leaf: leaf[-1:], path), key)[0]

            ends = jax.lax.map(of, keys)
            return jnp.mean(jnp.log(jnp.where(jnp.isfinite(ends), ends, jnp.inf)))

        ends = np.asarray(jax.jit(lambda rates, final=final: jax.lax.map(final, rates))(jnp.array(rates)))
        place = int(np.argmin(ends))
        if ends[place] < best[0]:
            best = ends[place], Way(optimizer, rates[place], each)
    return best[1]


def measurements(task: Task, ways: Mapping[str, Way], steps: int, every: int) -> dict[str, Callable[[int], Scores]]:
    """Return the function from a seed to the scores of each way; programs are compiled once for all seeds."""

    @jax.jit
    def along(path: Params, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        _, data = task.make(jax.random.split(key)[0])

        def of(params: Params) -> tuple[jax.Array, jax.Array]:
            def loss(params: Params) -> jax.Array:
                return task.loss(params, data, None)

            return squared_gradient_norm(loss, params) ** 0.5, -minus_sharpness(loss, params)

        norms, sharpness = jax.lax.map(of, jax.tree.map(lambda leaf: leaf[::every], path))
        test = None if task.test is None else task.test(jax.tree.map(lambda leaf: leaf[-1], path))
        return losses(task, path, key), norms, sharpness, test

    def of_way(way: Way) -> Callable[[int], Scores]:
        run = jax.jit(lambda key: descend(task, way.transformation(task, way.rate), key, steps))

        def measure(seed: int) -> Scores:
            key = jax.random.key(seed)
            loss, norms, sharpness, test = along(run(key), key)
            return scores(way, np.asarray(loss), np.asarray(norms), np.asarray(sharpness), test, every)

        return measure

    return {rival: of_way(way) for rival, way in ways.items()}


def scores(way: Way, loss: np.ndarray, norms: np.ndarray, sharpness: np.ndarray, test: Any, every: int) -> Scores:
    """Return final losses after as many steps and after as many gradients, and the curves.

    Args:
        way: whose rate is a score, and which determines the number of gradients.
        loss: before the first and after every step.
        norms, sharpness: of the gradient and of the loss, before the first and after `every` steps.
        test: the final loss on other data, or nothing.
        every: see above.
    """
    steps = len(loss) - 1
    gradients, places = way.gradients(steps), np.arange(0, steps + 1, every)
    found = {
        "loss": loss[-1],
        "loss after as many gradients": loss[int(np.sum(gradients <= steps)) - 1],
        "loss, 10 % of the steps": loss[steps // 10],
        "sharpness": sharpness[-1],
        **({} if test is None else {"test loss": test}),
        "rate": way.rate,
        **({} if way.moves is None else {"moves": len(way.moves.at), "length": way.moves.length}),
        **points("loss", places, loss[::every]),
        **points("loss over gradients", gradients[::every], loss[::every]),
        **points("gradient norm", places, norms),
        **points("sharpness", places, sharpness),
    }
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}
