"""NumPy and XLA compute the same values for the programs of tests."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_programs
import pytest
from helpers import assert_close, compilations
from jax import lax

pytestmark = pytest.mark.compiled

STRANGE = np.array([0.0, -0.0, 1.5, -2.25, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3e38, 1e-20, 7], np.float32)
OTHER = np.array([1e-20, 2.0, 3.0, -1, 0, np.inf, 1, 0.5, 2, 3e38, 1e-25, 3], np.float32)

EXACT = {
    "sum": lambda x, y: x + y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / y,
    "root": lambda x, y: jnp.sqrt(x),
    "larger": jnp.maximum,
    "largest": lambda x, y: jnp.max(x),
    "chosen": lambda x, y: jnp.where(x > y, x, 0),
    "taken": lambda x, y: jnp.take(x, jnp.array([3, -1, 40])),
    "cut": lambda x, y: lax.dynamic_slice(x, (jnp.int32(9),), (5,)),
    "turned": lambda x, y: jnp.flip(x.reshape(3, 4).T, 0)[1:, None],
    "to double": lambda x, y: x.astype(jnp.float64),
    "from integers": lambda x, y: jnp.arange(12) * 123_456_789 + 1,
    "to half": lambda x, y: x.astype(jnp.bfloat16),
    "all": lambda x, y: jnp.all(x == y),
}


def bits(tree):
    return [(np.asarray(a).dtype, a.weak_type, np.asarray(a).tobytes()) for a in jax.tree.leaves(tree)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_exact_programs_have_the_bits_of_xla(name, dtype, x64):
    given = jnp.asarray(STRANGE, dtype), jnp.asarray(OTHER, dtype)
    function = jax.jit(EXACT[name])
    assert bits(function(*given)) == bits(function.lower(*given).compile()(*given))


replaced = pytest.mark.skipif(not numpy_programs.Programs.installed, reason="XLA compiles all programs")


@replaced
def test_operations_of_eager_code_are_not_compiled():
    with compilations() as found:
        x = jnp.asarray(np.ones((3, 5), np.float32)) * 2.5
        _ = jnp.where(x > 1, x, 0)[1, 2:] + 0.75
    assert not found


@replaced
def test_an_exact_program_that_runs_often_is_compiled_once():
    function, x = jax.jit(lambda x: x + 1.5), jnp.asarray(STRANGE)
    first = bits(function(x))
    with compilations() as found:
        assert {bits(function(x))[0] for _ in range(numpy_programs.OFTEN + 5)} == set(first)
    assert len(found) == 1


@replaced
def test_programs_that_most_tests_share_are_compiled_at_the_first_call():
    with numpy_programs.everything_in_numpy(), compilations() as found:
        jax.jit(lambda words: words ^ np.uint32(7))(jax.random.key_data(jax.random.key(0)))
    assert len(found) == 1


def test_numbers_keep_their_weak_types():
    assert (jnp.asarray(2.5) + jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


POINTS = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
PLACES = np.random.default_rng(1).integers(0, 5, (4, 2))

CLOSE = {
    "entries along an axis": lambda x, i: jnp.take_along_axis(x, i[..., None], 1),
    "entries of two axes": lambda x, i: x[jnp.arange(4)[:, None], i],
    "clipped entries": lambda x, i: x.at[i + 2].get(mode="clip"),
    "entries outside": lambda x, i: x.at[i + 2].get(mode="fill", fill_value=3),
    "slices of each": lambda x, i: jax.vmap(lambda a, j: lax.dynamic_slice(a, (j[0], 0), (2, 2)))(x, i),
    "changed entries": lambda x, i: x.at[jnp.arange(4)[:, None], i].set(7.0),
    "added rows": lambda x, i: x.at[i].add(1.0),
    "added rows of each": lambda x, i: jax.vmap(lambda a, j: a.at[j].add(2.0))(x, i),
    "order": lambda x, i: jnp.argsort(jnp.round(x), 1),
    "order by two keys": lambda x, i: jnp.lexsort((x[0], jnp.round(x[1])), axis=0),
    "scan": lambda x, i: lax.scan(lambda c, a: (c * 0.5 + a.sum(), c), 0.0, x, reverse=True),
    "scan of nothing": lambda x, i: lax.scan(lambda c, a: (c, a), 0.0, x[:0]),
    "loop": lambda x, i: lax.fori_loop(0, 3, lambda k, c: c * x[0, 0, 0] + k, 1.0),
    "loops of different lengths": lambda x, i: jax.vmap(
        lambda a: lax.while_loop(lambda c: c < a, lambda c: c * 2, 0.1)
    )(x[:, 0, 0]),
    "running sums": lambda x, i: lax.cumsum(x, 1, reverse=True),
    "largest places": lambda x, i: jnp.argmax(x, 1),
    "quotients of integers": lambda x, i: lax.div(jnp.round(100 * x).astype(int), jnp.full(x.shape, 7).at[1].set(-7)),
    "largest of nothing": lambda x, i: (x[:0].max(0, initial=-jnp.inf), i[:0].min(0, initial=2**31 - 1)),
    "hyperbolic functions": lambda x, i: (jnp.arcsinh(x), jnp.arccosh(1 + x**2), jnp.arctanh(jnp.tanh(x))),
    "solutions": lambda x, i: jnp.linalg.solve(x[:, :3], x[:, 3:].mT) * jnp.linalg.det(x[:, 1:4])[:, None, None],
    "solutions in complex numbers": lambda x, i: jnp.linalg.solve(lax.complex(x[:, :3], x[:, 1:4]), x[:, 3:].mT),
    "inverses of transposed matrices": lambda x, i: jax.grad(lambda y: jnp.linalg.inv(y).sum())(x[:, :3]),
    "orthogonal factors": lambda x, i: jnp.linalg.qr(x),
    "roots of matrices": lambda x, i: jnp.linalg.cholesky(x.mT @ x),
    "copies": lambda x, i: jnp.tile(x, (2, 1, 3)),
    "derivative of tanh": lambda x, i: jax.grad(lambda x: jnp.tanh(x).sum())(x),
    "bits": lambda x, i: lax.bitcast_convert_type(x, jnp.uint32),
    "numbers from a key": lambda x, i: jax.random.normal(jax.random.key(0), (3,)) + x[0, 0],
    "branches": lambda x, i: lax.cond(i[0, 0] > 1, jnp.sin, jnp.cos, x),
    "derivative": lambda x, i: jax.grad(lambda x: jnp.sin(jnp.take_along_axis(x, i[..., None], 1)).sum())(x),
    "eigenvalues": lambda x, i: jnp.linalg.eigh(x[:, :3] + x[:, :3].swapaxes(1, 2))[0],
}


@pytest.mark.parametrize("name", CLOSE)
def test_everything_in_numpy_is_close_to_xla(name):
    function = jax.jit(CLOSE[name])
    compiled = function.lower(POINTS, PLACES).compile()(POINTS, PLACES)
    with numpy_programs.everything_in_numpy():
        found = function(POINTS, PLACES)
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-5), found, compiled)
