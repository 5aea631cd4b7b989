"""Weights of any tree of parameters are fixed at random numbers, and stay there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from architectures import plain
from helpers import assert_error

import equikit as ek
from equikit.weightspace import fixed_weights, impose

KEY = jax.random.key(0)


def test_entries_are_fixed_in_any_parameters() -> None:
    params = plain({"kernel": (5, 4), "bias": (4,), "convolution": (3, 3, 2, 6)})
    fixed = fixed_weights(params, 3, key=KEY, scale=2.0)
    np.testing.assert_array_equal(fixed.mask["kernel"].sum(0), 3)
    np.testing.assert_array_equal(fixed.mask["convolution"].sum((0, 1, 2)), 3)
    new = impose(params, fixed)
    np.testing.assert_array_equal(new["bias"], params["bias"])
    np.testing.assert_array_equal(
        new["kernel"], jnp.where(fixed.mask["kernel"], fixed.values["kernel"], params["kernel"])
    )
    gradient = jax.grad(lambda p: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(impose(p, fixed))))(params)
    zero = jax.tree.map(lambda g, mask: bool(jnp.all(jnp.where(mask, g, 0) == 0)), gradient, fixed.mask)
    assert all(jax.tree.leaves(zero))
    other = fixed_weights({"kernel": params["kernel"]}, 3, key=KEY, scale=2.0)  # a leaf has entries of its own
    np.testing.assert_array_equal(other.mask["kernel"], fixed.mask["kernel"])


def test_fixed_entries_keep_the_dtype_and_the_shape_of_parameters() -> None:
    params = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}
    fixed = fixed_weights(params, 2, key=KEY)
    small = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(impose(small, fixed))} == {jnp.dtype(jnp.bfloat16)}
    row = fixed._replace(values=fixed.values | {"kernel": jnp.ones((1, 4))})
    texts = "'kernel' of fixed.values must have shape [3, 4]", "shape [1, 4]", "[3, 4]"
    assert_error(ek.ShapeError, lambda: impose(params, row), *texts, "one architecture")
    texts = (
        "leaves of fixed.mask do not have the expected names",
        "'bias', 'kernel'",
        "a dictionary with the names 'kernel'",
        "one architecture",
    )
    assert_error(ek.OptionError, lambda: impose({"kernel": params["kernel"]}, fixed), *texts)
    texts = (
        "fixed= must be a FixedWeights",
        "{'kernel': Array([[1., 1., 1., 1.],        [1., 1., 1., 1...",
        "FixedWeights",
        "fixed_weights(params",
    )
    assert_error(ek.OptionError, lambda: impose(params, params), *texts)


def test_integers_are_not_fixed() -> None:
    params = {"kernel": jnp.ones((3, 4)), "places": jnp.ones((5, 2), int), "mask": jnp.ones((3, 3), bool)}
    fixed = fixed_weights(params, 1, key=KEY)
    assert fixed.mask["kernel"].sum() == 4
    imposed = impose(params, fixed)
    for name in ("places", "mask"):
        assert not np.any(fixed.mask[name])
        assert imposed[name].dtype == params[name].dtype
        np.testing.assert_array_equal(imposed[name], params[name])


def test_a_layer_without_neurons_has_no_fixed_entries() -> None:
    params = {"first": jnp.ones((3, 0)), "second": jnp.ones((0, 2))}
    for tree in fixed_weights(params, 0, key=KEY):
        assert jax.tree.map(jnp.shape, tree) == {"first": (3, 0), "second": (0, 2)}


def test_more_entries_than_a_kernel_has_are_refused() -> None:
    """The advice works at once, though the kernel of fewest inputs is not the first."""
    params = {"first": jnp.ones((5, 4)), "second": jnp.ones((3, 2))}
    for wrong in (4, [0, 3], 1.0):
        texts = "count= must be a whole number", str(wrong), "an integer from 0 to 3", "write count=3"
        assert_error(ek.OptionError, lambda wrong=wrong: fixed_weights(params, wrong, key=KEY), *texts)
    np.testing.assert_array_equal(fixed_weights(params, count=3, key=KEY).mask["second"], True)
