"""Colors of edges and exchangeable nodes of graphs: by definition, and without arrays larger than a few graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations, largest

import equikit as ek
from equikit.symmetrization.frames import Laplacian
from equikit.symmetrization.graphs._refinement import edge_colors, twins


def first_twins(features, matrices):
    """For every node the first node whose exchange with it changes nothing, by trying all exchanges."""
    count = features.shape[-1]
    found = np.arange(count)
    for i in range(count):
        for j in reversed(range(i)):
            order = np.arange(count)
            order[[i, j]] = j, i
            same = np.array_equal(matrices, matrices[:, order][:, :, order])
            found[i] = j if same and np.array_equal(features, features[:, order]) else found[i]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twins_are_the_nodes_whose_exchange_changes_nothing(x64, dtype):
    rng, run = np.random.default_rng(0), jax.jit(jax.vmap(twins))
    kinds = rng.integers(0, 4, (400, 6))
    between = rng.choice([0.0, -0.0, 1.0, 2.5], size=(400, 2, 4, 4)).astype(dtype)
    matrices = np.stack([one[:, kind][:, :, kind] for one, kind in zip(between, kinds, strict=True)])
    matrices[::3, 0, 1, 2] += 1
    matrices[::4, 1, 0, 0] *= 1 + np.finfo(dtype).eps
    features = rng.choice([0.0, -0.0, 1.0], p=[0.6, 0.3, 0.1], size=(400, 1, 6)).astype(dtype)
    expected = np.stack([first_twins(*both) for both in zip(features, matrices, strict=True)])
    np.testing.assert_array_equal(run(features, matrices), expected)
    assert 300 < np.sum(expected != np.arange(6)) < 1500


def test_numbers_of_double_precision_that_differ_in_the_last_bit_are_different(x64):
    matrices = np.zeros((1, 3, 3))
    matrices[0, 0] = matrices[0, :, 0] = [0.0, 1.0, 1.0]
    features = np.ones((1, 3))
    run = jax.jit(twins)
    assert run(features, matrices).tolist() == [0, 1, 1]
    matrices[0, 0, 2] = matrices[0, 2, 0] = 1 + 2.0**-52
    assert run(features, matrices).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_colors_are_equal_where_weights_are_within_the_tolerance_in_both_directions(x64, dtype):
    rng = np.random.default_rng(0)
    ranks = rng.integers(-3, 3, (1, 7, 7))
    weights = (ranks + 1e-6 * rng.uniform(-1, 1, ranks.shape)).astype(dtype)
    weights[ranks == 0] *= -0.0
    colors = np.asarray(jax.jit(edge_colors)(weights, 1e-3)).reshape(-1)
    pairs = np.stack([ranks[0], ranks[0].T, np.eye(7, dtype=int)]).reshape(3, -1)
    same = np.all(pairs[:, :, None] == pairs[:, None, :], axis=0)
    assert np.array_equal(colors[:, None] == colors, same)


def test_weights_with_a_step_close_to_the_tolerance_have_one_color():
    weights = np.array([[[0.0, 1.0, 1.001], [1.0, 0.0, 2.0], [1.001, 2.0, 0.0]]], np.float32)
    for tolerance, count in ((1e-4, 4), (1.1e-3, 2), (1e-2, 3)):
        assert len(np.unique(jax.jit(edge_colors)(weights, tolerance))) == count


def test_work_and_memory_of_a_frame_are_linear_in_the_entries_but_for_the_spectrum():
    """No array has an entry for three nodes, and all weights are sorted at once only as single integers."""
    sym = ek.symmetrize(lambda a: a[..., 0, 0], "p p -> ", p=ek.S, channels=False, how=Laplacian(max_size=4))
    jaxpr = jax.make_jaxpr(sym.frame)(jnp.zeros((64, 64), jnp.float32))
    assert largest(jaxpr) <= 5 * 64**2
    sorts = [e for e in equations(jaxpr) if e.primitive.name == "sort" and e.invars[0].aval.size == 64**2]
    assert sorts
    assert all([v.aval.dtype for v in e.invars] == [jnp.int32] for e in sorts)
