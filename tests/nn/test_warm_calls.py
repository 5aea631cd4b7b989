"""What a layer costs in Python once its programs are compiled."""

import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx

import equikit as ek

pytestmark = pytest.mark.compiled

PACKAGE = str(Path(ek.__file__).parent)


def functions_called(call):
    """The functions of equikit that a call runs; comprehensions, which are frames in Python 3.11 only, do not count."""
    found = []

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and not code.co_name.startswith("<"):
            found.append(code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def test_a_warm_linear_layer_makes_at_most_47_python_calls():
    layer, x = ek.nn.Linear("p p -> p p", 16, 32, p=ek.S, rngs=nnx.Rngs(0)), jnp.ones((4, 9, 9, 16))
    layer(x)
    calls = functions_called(lambda: layer(x))
    assert "Linear.__call__" in calls
    assert len(calls) <= 47, calls
