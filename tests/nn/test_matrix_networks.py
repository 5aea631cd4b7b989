"""Networks that return a matrix of the size of a group."""

import jax.numpy as jnp
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek


@pytest.mark.parametrize("group", [ek.O, ek.Fixed(3)], ids=str)
def test_the_size_of_the_group_has_to_be_known(group):
    texts = "known size", f"x={'O' if group is ek.O else group}", "O(3)", "x=ek.O(3)"
    assert_error(ek.GroupError, lambda: ek.nn.MatrixNetwork({"x": 2}, "x", x=group, rngs=nnx.Rngs(0)), *texts)


def test_inputs_with_another_number_of_entries_are_refused():
    network = ek.nn.MatrixMLP(6, 2, hidden=(), rngs=nnx.Rngs(0))
    assert_error(ek.ShapeError, lambda: network(jnp.ones((2, 4))), "entries", "[2, 4]", "6 entries", "axes=")
    assert_error(ek.ShapeError, lambda: network(jnp.ones(6)), "entries", "[6]", "last 2", "axes=")
