"""Tasks on parameters that are moved by permutations, scales and signs: the identity, and properties of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Tell
from benchmarks.core.fitting import Rows
from benchmarks.core.task import Sizes, Task, Test
from benchmarks.data.weight_tasks import WeightTask, make as make_zoo
from equikit.weightspace import Specification

SPREAD = 0.5
"""The standard deviation of the logarithms of random scales."""
IDENTITY = "identity, "
"""The beginning of the names of tasks whose targets are the parameters."""


@dataclass(frozen=True)
class ScaleTask:
    """A task, its group, and whether its outputs are parameters.

    Attributes:
        task: rows are trees of parameters, and targets.
        zoo: the networks.
        units: of the parameters, the root mean square of each array over the training networks; for the identity.
    """

    task: Task
    zoo: WeightTask
    units: dict[str, np.ndarray] | None

    @property
    def spec(self) -> Specification:
        """The symmetry of the parameters."""
        return self.zoo.spec


def moved(spec: Specification, params: Any, key: jax.Array) -> Any:
    """Permute, scale and flip the neurons of every network of a batch at random; the networks compute the same."""
    numbers, permutations = jax.random.split(key)

    def one(key: jax.Array, params: Any) -> Any:
        for place, scaling in enumerate(spec.scalings):
            draw, size = jax.random.fold_in(key, place), (spec.sizes[scaling.label],)
            if scaling.kind == "positive":
                given = jnp.exp(SPREAD * jax.random.normal(draw, size))
            else:
                given = jax.random.rademacher(draw, size, jnp.float32)
            params = spec.rescale(scaling, given, params)
        return params

    count = len(jax.tree.leaves(params)[0])
    return spec.augment(jax.vmap(one)(jax.random.split(numbers, count), params), key=permutations)


def flat(params: Any, units: dict[str, np.ndarray]) -> jax.Array:
    """All parameters of each network in their units, `[N, parameters]`."""
    return jnp.concatenate([(params[name] / units[name]).reshape(len(params[name]), -1) for name in units], axis=-1)


def tree(found: Any, like: dict[str, Any], units: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Return the parameters: the inverse of `flat`."""
    shapes = {name: np.shape(like[name])[1:] for name in units}
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = zip(shapes.items(), jnp.split(jnp.asarray(found), ends[:-1], axis=-1), strict=True)
    return {name: part.reshape(len(part), *shape) * units[name] for (name, shape), part in parts}


def make(name: str, sizes: Sizes, seed: int, tell: Tell) -> ScaleTask:
    """A task; the rows of its second test are moved by random elements."""
    zoo = make_zoo(name.removeprefix(IDENTITY), sizes, seed, tell)
    spec, key = zoo.spec, jax.random.key(seed + 1)
    run = jax.jit(lambda params: moved(spec, params, key))
    inputs, targets = zoo.task.tests["as drawn"].rows
    train, other = zoo.task.train[0], run(inputs)
    if not name.startswith(IDENTITY):
        tests = {"as drawn": Test((inputs, targets)), "moved": Test((other, targets), lambda y: y)}
        return ScaleTask(replace(zoo.task, name=name, tests=tests, move=_move(spec)), zoo, None)
    units = {name: np.sqrt(np.mean(array**2)) for name, array in train.items()}
    tests = {
        "as drawn": Test((inputs, np.asarray(flat(inputs, units)))),
        "moved": Test(
            (other, np.asarray(flat(other, units))),
            lambda y: np.asarray(flat(run(tree(y, inputs, units)), units)),
        ),
    }
    rows = train, np.asarray(flat(train, units))
    return ScaleTask(Task(name, rows, tests, sizes.recipe, _move(spec, units), "numbers"), zoo, units)


def _move(spec: Specification, units: dict[str, np.ndarray] | None = None) -> Callable[[jax.Array, Rows], Rows]:
    def move(key: jax.Array, rows: Rows) -> Rows:
        params = moved(spec, rows[0], key)
        return params, rows[1] if units is None else flat(params, units)

    return move
