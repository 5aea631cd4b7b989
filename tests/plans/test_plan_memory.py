"""Memory of a layer by XLA's own account: at most 3 times input plus output forward, and 6 times in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import every, partly_slow

from benchmarks._layers import DIRECTIONS, LayerCase, footprint
from equikit.plans._arrays import cut_diagonal, diagonal

BOUNDS = dict(zip(DIRECTIONS, (3.0, 6.0), strict=True))
# Small, but large enough that weights and the smaller tensors of a plan hardly count.
CASES = {
    "S 2->2": LayerCase("S", 2, 2, 32, 32),
    "S 3->3, n 8": LayerCase("S", 3, 3, 8, 32),
    "S 3->3, n 16": LayerCase("S", 3, 3, 16, 8),
    "O(n) 2->2": LayerCase("O", 2, 2, 32, 32),
    "O(3) 3->3": LayerCase("O", 3, 3, 3, 512),
    "mixed": LayerCase("S x O(3)", 2, 2, 64, 32),
}

# Two copies of the input, for two orders of its axes, and three of the output are joined in one product: five tensors
# in addition to the two that have to be there, unless the batch is computed in chunks.
WHOLE = {("S 3->3, n 8", "forward"): 4.5, ("S 3->3, n 8", "training"): 6.6, ("S 3->3, n 16", "forward"): 4.2,
         ("S 3->3, n 16", "training"): BOUNDS["training"], ("O(3) 3->3", "forward"): 3.7,
         ("O(3) 3->3", "training"): BOUNDS["training"]}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "direction"),
    partly_slow(every(CASES, DIRECTIONS), lambda place: place // 2 != 2),  # n 8 is enough
)
def test_memory_is_a_few_times_input_and_output(name, direction):
    case = CASES[name]
    found = footprint(case, direction, chunk_size=case.batch // 4 if "3->3" in name else None)
    assert found.arguments >= found.tensors / 2  # the account is there, and counts the input
    assert found.ratio <= BOUNDS[direction], found


@pytest.mark.parametrize(("direction", "most"), [("forward", 3.6), ("training", 4.4)])
def test_memory_of_the_diagonals_of_five_axes(direction, most):
    """With a padded copy of the input for each diagonal it would be 8.1 and 8.9 times."""
    assert footprint(LayerCase("S", 5, 0, 6, 8), direction).ratio <= most


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("first", "second"), [(1, 2), (1, 3), (0, 3)])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_cut_diagonal_and_its_derivatives_are_those_of_the_padded_one(n, first, second):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(n, n, n, n, 2)))

    def results(take):
        def f(x):
            return take(x, first, second)

        y, pull = jax.vjp(f, x)
        return (
            y,
            pull(y),
            jax.jvp(f, (x,), (x,))[1],
            jax.vmap(f)(x[None])[0],
            jax.hessian(lambda x: jnp.sum(f(x) ** 2))(x),
        )

    expected = jnp.diagonal(x, axis1=first, axis2=second)
    np.testing.assert_array_equal(diagonal(x, first, second), jnp.moveaxis(expected, -1, first))
    jax.tree.map(np.testing.assert_array_equal, results(cut_diagonal), results(diagonal))


@pytest.mark.parametrize(("name", "direction"), WHOLE)
def test_memory_of_six_wirings_without_chunks(name, direction):
    assert footprint(CASES[name], direction).ratio <= WHOLE[name, direction]


def test_memory_of_four_chunks_is_what_the_readme_says():
    chunks = {"chunk_size": 8, "remat": True}
    found = [footprint(CASES["S 3->3, n 8"], direction, **chunks).ratio for direction in DIRECTIONS]
    assert found[0] <= 2.2
    assert found[1] <= 3.4


def test_what_is_kept_for_nothing_is_seen():
    """The account is no constant: one map after another, as the reference runs them, needs far more."""
    case = LayerCase("S", 2, 2, 8, 8)
    assert footprint(case, "forward", method="naive").ratio > 3 * footprint(case, "forward").ratio


def test_the_total_is_that_of_a_program_known_in_full():
    case = LayerCase("S", 1, 1, 64, 8)
    double = jax.jit(lambda x: 2 * x).lower(jnp.ones((8, 64, 16))).compile().memory_analysis()
    assert double.argument_size_in_bytes + double.output_size_in_bytes == case.tensor_bytes()
    assert double.temp_size_in_bytes == 0
