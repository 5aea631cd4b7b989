"""Next steps of networks that respect scales and signs, in the form of `CALL` in `test_steps_as_code.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import weightspace

PARAMS = {"a": jnp.asarray([[1.0, 2.0], [-1.0, 0.5]]), "b": jnp.asarray([[1.0, -1.0], [0.5, 1.0]])}
X = jnp.ones((3, 2))
SIGNS = weightspace.trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], PARAMS, X)
DEEP = weightspace.trace(
    lambda p, x: jax.nn.relu(jax.nn.relu(x @ p["a"]) @ p["b"]) @ p["c"],
    PARAMS | {"c": jnp.ones((2, 2))},
    X,
)
CIRCULAR = replace(
    DEEP,
    scalings=tuple(
        replace(one, powers=tuple(entry for entry in one.powers if entry[0] == "b")) for one in DEEP.scalings
    ),
)


def functional(channels: tuple[int, ...] = (1, 2)) -> weightspace.Functional:
    return weightspace.Functional(SIGNS, channels, "", rngs=nnx.Rngs(0))


def canonical(**options: Any) -> Any:
    return weightspace.CanonicalScaling(SIGNS, functional(), **options)(PARAMS)


def layers(channels: tuple[int, ...]) -> weightspace.ScaleEquivariant:
    return weightspace.ScaleEquivariant(SIGNS, channels, "", rngs=nnx.Rngs(0))


CALL = {
    "a-tie-of-signs": (canonical, 'on_tie="keep"', lambda code: canonical(**eval(f"dict({code})"))),
    "several-channels-with-one-scale": (
        lambda: weightspace.CanonicalScaling(SIGNS, functional((2, 2))),
        "channels=[1, 16, 1]",
        lambda code: weightspace.CanonicalScaling(SIGNS, functional(**eval(f"dict({code})"))),
    ),
    "hidden-widths-that-differ": (
        lambda: layers((1, 4, 8, 1)),
        "channels=[1, 16, 16, 1]",
        lambda code: layers(**eval(f"dict({code})")),
    ),
    "no-scalings": (
        lambda: weightspace.canonical_form(SIGNS, PARAMS, []),
        "scalings=spec.scalings[:1]",
        lambda code: weightspace.canonical_form(SIGNS, PARAMS, **eval(f"dict({code})", {"spec": SIGNS})),
    ),
    "scalings-in-a-circle": (
        lambda: weightspace.canonical_form(CIRCULAR, PARAMS | {"c": jnp.ones((2, 2))}),
        "spec = spec.fix(",
        lambda code: exec(f'{code}"h0")', {"spec": CIRCULAR}),
    ),
}
