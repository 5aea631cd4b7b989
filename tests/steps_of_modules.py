"""Next steps of `ek.auditing` about modules and forces that are code, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek

X = np.random.default_rng(0).normal(size=(4, 3, 2, 1)).astype(np.float32)


class Part(nnx.Module):
    """A module without parameters."""

    def __call__(self, x: Any) -> Any:
        return 2 * x


class Net(nnx.Module):
    """Two blocks."""

    def __init__(self) -> None:
        self.blocks = nnx.List([Part(), Part()])

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


def located(**options: Any) -> Any:
    options = {"at": "blocks.1"} | options
    return ek.auditing.locate(Net(), "p x -> p x", data=X, p=ek.S, x=ek.O, **options)


CALL: dict[str, tuple[Any, str, Any]] = {
    "declared-actions-in-a-text": (located, 'at={"blocks.1": "p x"}', None),
    "a-force-without-derivatives": (
        lambda **options: ek.auditing.curl_error(
            lambda x: jnp.asarray(np.sin(np.asarray(x))), jnp.asarray(X), **{"how": "automatic"} | options
        ),
        'how="differences"',
        None,
    ),
}
