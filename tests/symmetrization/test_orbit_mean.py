"""Means over groups of permutations, as means over orbits of tuples of indices: against all elements of the group."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equikit.symmetrization.engine._element import Element
from equikit.symmetrization.engine._frame import Frame, in_one_list
from equikit.symmetrization.engine._stabilizer import orbit_mean, orbits, with_mean_derivative

BLOCKS = np.array([3, 0, 3, 1, 0, 3])
EVERY = np.array(list(itertools.permutations(range(6))))
EXCHANGES = EVERY[np.all(BLOCKS[EVERY] == BLOCKS, axis=1)]
"""The permutations inside blocks."""
CYCLIC = np.array([np.roll(np.arange(6), shift) for shift in range(6)])


def numbers(axes):
    return np.arange(6**axes).reshape((6,) * axes)


def stabilizer(group, axes):
    """Blocks of the first group; of the other one the orbits of tuples, by the least of their numbers."""
    if group is EXCHANGES:
        return BLOCKS
    return np.asarray(np.min([numbers(axes)[np.ix_(*[g] * axes)] for g in group], axis=0))


def mean_over(group, tensor, axes):
    return np.mean([tensor[np.ix_(*[g] * axes)] for g in group], axis=0)


all_orbits = jax.jit(orbits, static_argnums=1)
mean = jax.jit(orbit_mean, static_argnums=2)
every_group = pytest.mark.parametrize("group", [EXCHANGES, CYCLIC], ids=["exchanges", "cyclic"])


@every_group
@pytest.mark.parametrize(("axes", "given"), [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)])
def test_orbits_of_tuples(group, axes, given):
    if given == 1 and group is CYCLIC:
        given = 2  # integers for single entries are blocks
    found = np.asarray(all_orbits(stabilizer(group, given), axes)).reshape(-1)
    wanted = np.min([numbers(axes)[np.ix_(*[g] * axes)] for g in group], axis=0).reshape(-1)
    assert np.array_equal(found[:, None] == found, wanted[:, None] == wanted)
    assert 0 <= found.min() <= found.max() < 6**axes


@every_group
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "complex64"])
def test_the_mean_of_tensors_with_axes_of_their_own_between(x64, group, dtype):
    rng, dtype = np.random.default_rng(0), jnp.dtype(dtype)
    tensor = rng.normal(size=(2, 6, 3, 6)) * (1 + 1j if dtype == jnp.complex64 else 1)
    tensor = (tensor if np.iscomplexobj(tensor) else tensor.real).astype(dtype)
    found = mean(tensor, stabilizer(group, 2), (3, 1))
    assert found.dtype == dtype
    wide = np.moveaxis(np.asarray(tensor, complex), (3, 1), (0, 1))
    wanted = np.moveaxis(mean_over(group, wide, 2), (0, 1), (3, 1))
    np.testing.assert_allclose(np.asarray(found, complex), wanted, atol=2 * jnp.finfo(dtype).eps)


def test_entries_alone_in_their_orbit_stay_as_they_are():
    tensor = np.array([0.1, np.inf, 3e38, 1e-45, 0.1, 0.7], np.float32)
    found = mean(tensor, np.array([0, 1, 2, 3, 4, 4]), (0,))
    np.testing.assert_array_equal(found[:4], tensor[:4])


@every_group
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_derivatives_are_the_mean_in_both_modes(x64, group, axes):
    """The value is that of one order."""
    rng, kept = np.random.default_rng(1), stabilizer(group, max(axes, 2))
    places = tuple(range(axes))
    x, v = rng.normal(size=(2, 2, *[6] * axes))

    def energy(x):
        y = with_mean_derivative(x, kept, places)
        return jnp.sum(jnp.sin(y * jnp.arange(y.size).reshape(y.shape)))

    def plain(x):
        return jnp.sum(jnp.sin(x * jnp.arange(x.size).reshape(x.shape)))

    @jax.jit
    @jax.vmap
    def run(x, v):
        return jax.jvp(energy, (x,), (v,)), jax.grad(energy)(x), jax.value_and_grad(plain)(x)

    (value, slope), gradient, (one, of_one) = run(x, v)
    np.testing.assert_array_equal(value, one)
    wanted = [mean_over(group, one, axes) for one in np.asarray(of_one)]
    np.testing.assert_allclose(gradient, wanted, atol=1e-12)
    np.testing.assert_allclose(slope, np.sum(np.asarray(gradient) * v, tuple(range(1, axes + 1))), atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_few_entries(count, axes):
    tensor = np.ones([count] * axes + [2], np.float32)
    for kept in (np.zeros(count, np.int32), np.zeros([count] * 3, np.int32)):
        np.testing.assert_array_equal(mean(tensor, kept, tuple(range(axes))), tensor)
        slope = jax.jit(jax.grad(lambda x, kept=kept: jnp.sum(with_mean_derivative(x, kept, (0,)) ** 2)))
        np.testing.assert_array_equal(slope(tensor), 2 * tensor)


@pytest.mark.parametrize("kept", [jnp.asarray(BLOCKS), jnp.asarray(stabilizer(CYCLIC, 2))], ids=["blocks", "pairs"])
@pytest.mark.parametrize("linear", [jnp.arange(6), jnp.eye(6)], ids=["permutation", "matrix"])
def test_elements_without_a_stabilizer_get_the_identity_in_one_list(kept, linear):
    one, other = Element({"p": linear[None]}, stabilizer={"p": kept[None]}), Element({"p": linear[None]})
    weights, info = jnp.ones(1) / 2, None
    listed = in_one_list(Frame(one, weights, info, fallback=Frame(other, weights, info))).elements.stabilizer["p"]
    np.testing.assert_array_equal(listed[0], kept)
    assert listed.shape == (2, *kept.shape)
    assert len(np.unique(listed[1])) == kept.size
