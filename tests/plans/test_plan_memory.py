"""Memory of a layer by XLA's own account: at most 3 times input plus output forward, and 6 times in training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import every, partly_slow
from in_numpy import in_numpy

from benchmarks.speed._layers import DIRECTIONS, LayerCase, footprint, function
from equikit.plans import apply
from equikit.plans.execution._arrays import cut_diagonal, diagonal

BOUNDS = dict(zip(DIRECTIONS, (3.0, 6.0), strict=True))
# Small, but large enough that weights hardly count.
CASES = {
    "S 2->2": LayerCase("S", 2, 2, 32, 32),
    "S 3->3, n 8": LayerCase("S", 3, 3, 8, 32),
    "S 3->3, n 16": LayerCase("S", 3, 3, 16, 8),
    "O(n) 2->2": LayerCase("O", 2, 2, 32, 32),
    "O(3) 3->3": LayerCase("O(3)", 3, 3, 3, 512),
    "O(3) 4->4": LayerCase("O(3)", 4, 4, 3, 64),
    "S 5->0": LayerCase("S", 5, 0, 4, 8),
    "mixed": LayerCase("S x O(3)", 2, 2, 64, 32),
}
LARGE = {
    "S 3->3, n 8": LayerCase("S", 3, 3, 8, 256),
    "O(3) 3->3": LayerCase("O(3)", 3, 3, 3, 8192),
    "O(3) 4->4": LayerCase("O(3)", 4, 4, 3, 1024),
    "S 5->0": LayerCase("S", 5, 0, 4, 256),
}
# The product of the longest core of 3->3 takes two copies of the input and gives three of the output, that of 4->4 six
# and four. With input and output, these are 7 tensors, or 3.5 times input and output, and 12 tensors, or 6 times.
# The gradient of the weights needs all copies of the input and of the gradient of the output.
MORE = {
    ("S 3->3, n 8", "forward"): 4.4,
    ("S 3->3, n 16", "forward"): 3.8,
    ("O(3) 3->3", "forward"): 3.7,
    ("O(3) 4->4", "forward"): 6.9,
    ("O(3) 4->4", "training"): 8.4,
    ("S 5->0", "forward"): 4.8,
}


@pytest.mark.parametrize(
    ("name", "direction"),
    partly_slow(every(CASES, DIRECTIONS), lambda place: place // 2 not in (2, 6)),  # n 8 and four axes are enough
)
def test_memory_is_a_few_times_input_and_output(name, direction):
    found = footprint(CASES[name], direction, method="factored")
    assert found.arguments >= found.tensors / 2  # the account is there, and counts the input
    assert found.ratio <= MORE.get((name, direction), BOUNDS[direction]), found


@pytest.mark.parametrize("name", partly_slow([(name,) for name in LARGE], (0, 1)))
def test_inference_with_many_samples_takes_three_times_input_and_output(name):
    assert footprint(LARGE[name], "forward").ratio <= BOUNDS["forward"]


@pytest.mark.parametrize(("direction", "most"), [("forward", 2.1), ("training", 3.1)])
def test_two_axes_take_little_more_than_input_and_output(direction, most):
    assert footprint(CASES["S 2->2"], direction).ratio <= most


def lowered(case, direction="forward", dtype=jnp.float32, platform="cpu", **options):
    """The program of a layer as text."""
    traced = jax.jit(function(case, direction, method="factored", **options)).trace(*case.abstract(dtype))
    return traced.lower(lowering_platforms=(platform,)).as_text()


def test_only_inference_on_a_cpu_is_computed_in_parts():
    """The loop over the parts would make a backward pass slower, and other platforms too."""
    case = LARGE["O(3) 3->3"]
    assert "while" in lowered(case)
    assert "while" not in lowered(case, "training")
    assert "while" not in lowered(case, platform="cuda")
    assert "while" not in lowered(case, chunk_size=case.batch)
    assert "while" not in lowered(CASES["O(3) 3->3"])


@pytest.mark.parametrize("devices", [1, 8])
def test_a_program_for_several_devices_has_no_loop_over_parts(devices):
    """The loop would move each part from the device that holds it to all others."""
    case = LARGE["O(3) 3->3"]
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((devices,), ("data",))):
        jaxpr = jax.make_jaxpr(function(case, "forward", method="factored"))(*case.abstract(jnp.float32))
    assert ("scan[" in str(jaxpr)) == (devices == 1)


def test_a_batch_that_cannot_be_divided_is_computed_at_once():
    assert "while" not in lowered(LayerCase("O(3)", 3, 3, 3, 8191))


def same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("moving", [(0,), (1,), (0, 1)], ids=["weights", "input", "both"])
def test_parts_have_the_values_and_derivatives_of_the_whole(moving):
    case = LayerCase("O(3)", 3, 3, 3, 1408)
    operands = case.arrays(jnp.float64)
    primals = [operands[i] for i in moving]

    def results(**options):
        def f(*values):
            weights, x = (values[moving.index(i)] if i in moving else a for i, a in enumerate(operands))
            return apply(case.plan, x, weights, method="factored", **options)

        def loss(*values):
            return jnp.sum(jnp.sin(f(*values)))

        along = functools.partial(jax.jvp, f)
        twice = [jax.tree.map(lambda a: np.stack([a, 2 * a]), primal) for primal in primals]
        given = (f, primals), (jax.grad(loss), primals), (jax.vmap(f), twice), (along, (primals, primals))
        return [in_numpy(g, *values) for g, values in given]

    assert "while" in lowered(case, dtype=jnp.float64)
    same(results(), results(chunk_size=case.batch))


@pytest.mark.usefixtures("x64")
def test_parts_of_masked_batches_have_the_values_and_gradients_of_the_whole():
    case = LayerCase("S", 3, 3, 6, 144)
    mask = np.random.default_rng(2).random((case.batch, case.n)) < 0.8

    def results(**options):
        f = function(case, "forward", mask=mask, **options)
        return in_numpy(lambda *o: (f(*o), jax.grad(lambda *o: jnp.sum(jnp.sin(f(*o))), (0, 1))(*o)), *operands)

    operands = case.arrays(jnp.float64)
    assert "while" in lowered(case, dtype=jnp.float64, mask=mask)
    same(results(), results(chunk_size=case.batch))


@pytest.mark.parametrize(("direction", "most"), [("forward", 3.6), ("training", 4.4)])
def test_memory_of_the_diagonals_of_five_axes(direction, most):
    """With a padded copy of the input for each diagonal it would be 8.1 and 8.9 times."""
    assert footprint(LayerCase("S", 5, 0, 6, 8), direction).ratio <= most


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("first", "second"), [(1, 2), (1, 3), (0, 3)])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_cut_diagonal_and_its_derivatives_are_those_of_the_padded_one(n, first, second):
    x = np.random.default_rng(0).normal(size=(n, n, n, n, 2))

    def results(take):
        def f(x):
            return take(x, first, second)

        def all_of(x):
            y, pull = jax.vjp(f, x)
            second = jax.hessian(lambda x: jnp.sum(f(x) ** 2))(x)
            return y, pull(y), jax.jvp(f, (x,), (x,))[1], jax.vmap(f)(x[None])[0], second

        return in_numpy(all_of, x)

    expected = results(diagonal)
    np.testing.assert_array_equal(expected[0], np.moveaxis(x.diagonal(0, first, second), -1, first))
    jax.tree.map(np.testing.assert_array_equal, results(cut_diagonal), expected)


def test_memory_of_four_chunks_is_what_the_readme_says():
    chunks = {"chunk_size": 8, "remat": True}
    found = [footprint(CASES["S 3->3, n 8"], direction, **chunks).ratio for direction in DIRECTIONS]
    assert found[0] <= 2.2
    assert found[1] <= 3.1


def test_what_is_kept_for_nothing_is_seen():
    """The account is no constant: one map after another, as the reference runs them, needs far more."""
    case = LayerCase("S", 2, 2, 8, 8)
    assert footprint(case, "forward", method="naive").ratio > 3 * footprint(case, "forward").ratio


def test_the_total_is_that_of_a_program_known_in_full():
    case = LayerCase("S", 1, 1, 64, 8)
    double = jax.jit(lambda x: 2 * x).lower(jnp.ones((8, 64, 16))).compile().memory_analysis()
    assert double.argument_size_in_bytes + double.output_size_in_bytes == case.tensor_bytes()
    assert double.temp_size_in_bytes == 0
