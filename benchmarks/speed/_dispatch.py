"""Timing for `dispatch` in a separate process: `python -m benchmarks.speed._dispatch` reads a case and writes times.

JAX on a CPU randomly runs a small program in the calling thread or hands it to another thread, and the same program
takes 13 or 35 microseconds. That is switched off here, which has to be done before JAX starts.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from benchmarks.core.harness import Harness, Limits, relative_error
from benchmarks.core.measurement import Measurement
from benchmarks.speed._layers import LayerCase

Calls = dict[str, dict[str, Callable[[], Any]]]


def by_hand(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Compute the same layer in three lines of jnp."""
    own, all_of_them = weights["p -> p"]
    mean = x.mean(axis=1, keepdims=True)
    return x @ own + mean @ all_of_them + weights["-> p"][0]


class ByHand(nnx.Module):
    """The same as a module."""

    def __init__(self, weights: dict[str, jax.Array]) -> None:
        self.kernel, self.bias = nnx.Param(weights["p -> p"]), nnx.Param(weights["-> p"])

    def __call__(self, x: jax.Array) -> jax.Array:
        return by_hand({"p -> p": self.kernel[...], "-> p": self.bias[...]}, x)


def loss(layer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return the mean square of the positive part."""
    return lambda parameters, x: jnp.mean(jax.nn.relu(layer(parameters, x)) ** 2)


def calls(case: LayerCase, seed: int) -> Calls:
    """Return calls by direction and rival; all calls of a direction compute the same."""
    text = " ".join("p" * case.k) + " -> " + " ".join("p" * case.l)
    module = ek.nn.Linear(text, case.channels, case.channels, p=ek.S, rngs=nnx.Rngs(seed))
    static, parameters = nnx.split(module)
    weights = {name: value[...] for part in (module.kernel, module.bias) for name, value in part.items()}
    x = jax.random.normal(jax.random.key(seed), case.shape(case.k))
    plan = module.plan

    def merged(parameters: Any, x: jax.Array) -> Any:
        return nnx.merge(static, parameters)(x)

    def planned(weights: Any, x: jax.Array) -> Any:
        return ek.plans.apply(plan, x, weights)

    ways = {"equikit": (merged, parameters), "plan": (planned, weights)}
    if (case.k, case.l) == (1, 1):
        ways["by hand"] = (by_hand, weights)
        other, state = nnx.split(ByHand(weights))
        ways["by hand, nnx"] = (lambda parameters, x: nnx.merge(other, parameters)(x), state)
    found: Calls = {direction: {} for direction in ("forward", "training", "eager", "trace")}
    for name, (function, own) in ways.items():
        forward, training = jax.jit(function), jax.jit(jax.grad(loss(function)))
        found["forward"][name] = lambda forward=forward, own=own: forward(own, x)
        found["training"][name] = lambda training=training, own=own: training(own, x)
        found["trace"][name] = lambda function=function, own=own: jax.make_jaxpr(lambda *a: function(*a))(own, x)
        found["eager"][name] = lambda function=function, own=own: function(own, x)
    whole = nnx.jit(lambda module, x: module(x))
    found["forward"]["nnx.jit"] = lambda: whole(module, x)
    found["eager"]["equikit"] = lambda: module(x)
    return found


def finished(call: Callable[[], Any]) -> Any:
    """Wait for the result of a call; a traced result is not an array and needs no waiting."""
    return jax.block_until_ready(call())


def measure(case: LayerCase, seed: int, limits: Limits) -> list[Measurement]:
    """Time every call of a case, in turns."""
    measurements = []
    for direction, by_rival in calls(case, seed).items():
        ready: list[tuple[Measurement, Callable[[], Any]]] = []
        expected: Any = None
        for rival, call in by_rival.items():
            result = call()
            if direction in ("forward", "eager"):
                expected = {"y": result} if expected is None else expected
                error = relative_error({"y": result}, expected)
                if not error < 1e-5:
                    raise AssertionError(f"{rival} differs by {error:.1e} of the largest entry")
            m = Measurement({"k": case.k, "l": case.l, "n": case.n, "batch": case.batch}, direction, rival)
            ready.append((m, functools.partial(finished, call)))
        Harness(limits, seed).rounds(ready)
        measurements += [m for m, _ in ready]
    return measurements


def main() -> None:
    """Read a case, the seed and the limits from the command line, and write times of calls by rival."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    given = json.loads(sys.argv[1])
    found = measure(LayerCase(**given["case"]), given["seed"], Limits(**given["limits"]))
    print(json.dumps([(m.case, m.direction, m.rival, m.times) for m in found]))


if __name__ == "__main__":
    main()
