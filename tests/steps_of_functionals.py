"""Next steps of functionals on weights that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from equikit import weightspace

PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
SPEC = weightspace.trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], PARAMS, jnp.ones((5, 3)))


def made(**options: Any) -> weightspace.Functional:
    return weightspace.Functional(SPEC, [1, 2], **options, rngs=nnx.Rngs(0))


CALL: dict[str, tuple[Any, str, Any]] = {
    "mean-of-linear-heads": (
        lambda head=(), members=2: made(out="", head=head, members=members),
        "head=[16, 10], members=2",
        None,
    ),
    "mean-of-linear-node-heads": (
        lambda members=2: weightspace.MessagePassing(
            weightspace.ParameterGraph(SPEC), [1, 2, 1], "h0", members=members, rngs=nnx.Rngs(0)
        ),
        "members=1",
        None,
    ),
}
