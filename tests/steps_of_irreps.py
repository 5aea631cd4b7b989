"""Next steps about irreps, as `CALL` in `test_steps_as_code.py`."""

import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax.numpy as jnp

import equikit as ek

ONES = jnp.ones((3, 1))


def refused(method: Any = "e3j") -> Any:
    """A product with a package in the place of e3j that has no kernel for it."""
    kernel = SimpleNamespace(tensor_product=SimpleNamespace(name="FUSED_CUDA"))
    core = SimpleNamespace(TensorProduct=mock.Mock(side_effect=NotImplementedError("no kernel")))
    package = SimpleNamespace(config=SimpleNamespace(state=lambda: kernel), core=core)
    with mock.patch.dict(sys.modules, {"e3j": package}):
        return ek.spherical.coupling(1, 1, 1)(ONES, ONES, method=method)


CALL: dict[str, tuple[Any, str, Any]] = {"a-kernel-of-e3j": (refused, 'method="terms"', None)}
