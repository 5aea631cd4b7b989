"""Plans on supports under the transformations of JAX, in every dtype and for every option."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_entries import by_entries, dense_inputs, rows_of
from flax import nnx
from helpers import assert_close, compilations, compiled, random_weights
from in_numpy import assert_derivatives, in_numpy

import equikit as ek
from equikit.plans import apply, lay_out, plan, to_numpy

SIGNATURE = "p p + p x -> x p p + p + ()"
N = 5


def edges(seed: int = 0, n: int = N, entries: int = 12) -> ek.Support:
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(n * n)[:entries]
    return ek.Support("p p", chosen // n, chosen % n, n=n)


@functools.cache
def program_of(normalize: str = "sum", signature: str = SIGNATURE):
    groups = {"p": ek.S, **({"x": ek.O(2)} if "x" in signature else {})}
    return plan(ek.hom(signature, groups=groups), (2, 1), normalize=normalize, bias=True)


def features(entries: int = 12, batch: tuple[int, ...] = ()):
    rng = np.random.default_rng(1)
    return {"p p": rng.normal(size=(*batch, entries, 2)), "p x": rng.normal(size=(*batch, N, 2, 2))}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_derivatives_in_both_modes(normalize):
    program, support = program_of(normalize), edges()

    def loss(x, weights):
        y = apply(program, x, weights, support=support)
        return sum(jnp.sum(jnp.sin(y)) for y in y.values())

    assert_derivatives(loss, features(), random_weights(program))


@pytest.mark.usefixtures("x64")
def test_the_gradient_of_a_gradient():
    program, support, x = program_of(), edges(), features()

    def loss(weights):
        y = apply(program, x, weights, support=support)
        return sum(jnp.sum(y**3) for y in y.values())

    def of_gradient(weights):
        return sum(jnp.sum(g**2) for g in jax.grad(loss)(weights).values())

    assert_derivatives(of_gradient, random_weights(program), tolerance=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_the_derivatives_on_other_platforms(normalize, monkeypatch):
    """The branch for other platforms, where rows are put in ascending order before they are added."""
    program, support, x, weights = program_of(normalize), edges(), features(), random_weights(program_of(normalize))

    def both(x, weights):
        def loss(x, weights):
            y = apply(program, x, weights, support=support)
            return sum(jnp.sum(y**2) for y in y.values()), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, weights)

    on_cpu = in_numpy(both, x, weights)
    monkeypatch.setattr("in_numpy.PLATFORM", "cuda")
    for one, other in zip(jax.tree.leaves(in_numpy(both, x, weights)), jax.tree.leaves(on_cpu), strict=True):
        assert_close(one, other, 1e-12)


@pytest.mark.usefixtures("x64")
def test_batch_axes_share_the_support():
    program, support, x = program_of("mean"), edges(), features(batch=(2, 3))
    weights = random_weights(program)
    found = in_numpy(lambda x, w: apply(program, x, w, support=support), x, weights)
    for index in np.ndindex(2, 3):
        one = {name: a[index] for name, a in x.items()}
        alone = in_numpy(lambda x, w: apply(program, x, w, support=support), one, weights)
        assert_close({name: y[index] for name, y in found.items()}, alone, 1e-12)


@pytest.mark.usefixtures("x64")
def test_options_and_layouts_change_nothing():
    program, support, x = program_of("mean"), edges(), features()
    weights = random_weights(program)
    wanted = in_numpy(lambda x, w: apply(program, x, w, support=support), x, weights)
    for options in ({"method": "factored"}, {"remat": True}, {"precision": "highest"}):
        found = in_numpy(lambda x, w, o=options: apply(program, x, w, support=support, **o), x, weights)
        assert_close(found, wanted, 1e-12)
    found = in_numpy(lambda x, w: apply(program, x, lay_out(program, w), support=support), x, weights)
    assert_close(found, wanted, 1e-12)
    moved = in_numpy(lambda x, w: jax.checkpoint(lambda x, w: apply(program, x, w, support=support))(x, w), x, weights)
    assert_close(moved, wanted, 1e-12)


def test_supports_of_equal_sizes_share_a_program():
    layer = ek.nn.Linear("p p -> p p", 2, 2, p=ek.S, rngs=nnx.Rngs(0))
    supports = [edges(seed, n, entries).pad(nodes=8, entries=16) for seed, n, entries in ((0, 5, 12), (1, 7, 9))]

    @nnx.jit
    def run(layer, x, support):
        return layer(x, support=support)

    with compilations() as found:
        run(layer, jnp.ones((16, 2)), supports[0])
        first = len(found)
        run(layer, jnp.ones((16, 2)), supports[1])
        assert len(found) == first


def test_a_support_made_under_jit_of_constants_is_a_constant():
    layer, support = ek.nn.Linear("p p -> p p", 2, 2, p=ek.S, rngs=nnx.Rngs(0)), edges()
    x = np.asarray(features()["p p"], np.float32)
    found = in_numpy(lambda x: layer(x, support=support), x)
    program, weights = layer.plan, {name: np.asarray(w) for name, w in layer.weights().items()}
    assert found.shape == (12, 2)
    mask = np.zeros((N, N), bool)
    mask[tuple(np.asarray(i) for i in support.indices())] = True
    dense = np.zeros((N, N, 2))
    dense[tuple(np.asarray(i) for i in support.indices())] = x
    wanted = by_entries(program, {"p p": dense}, weights, {"p": N}, {2: mask})["p p"]
    assert_close(found, wanted[tuple(np.asarray(i) for i in support.indices())], 1e-6)


@pytest.mark.parametrize("run", [in_numpy, pytest.param(compiled, marks=pytest.mark.slow)])
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_errors_in_lower_precision_are_at_most_those_of_dense_arrays(dtype, normalize, run):
    """On a full support, where both compute the same sums."""
    n, program = 12, program_of(normalize, "p p + p -> p p + p")
    x, weights = dense_inputs(program, {"p": n}), random_weights(program)
    exact = to_numpy(program, weights)(x)
    support, masks = ek.Support.from_mask(np.ones((n, n), bool)), {2: np.ones((n, n), bool)}
    terms = program.signature
    rows = {term.name: rows_of(x[term.name], term.labels, masks) for term in terms.inputs}

    def error(inputs, wanted, **options):
        cast = [jax.tree.map(lambda a: a.astype(dtype), tree) for tree in (inputs, weights)]
        found = run(lambda inputs, weights: apply(program, inputs, weights, **options), *cast)
        assert all(y.dtype == dtype for y in found.values())
        return {name: np.abs(np.asarray(y, np.float64) - wanted[name]).max() for name, y in found.items()}

    sparse = error(rows, {t.name: rows_of(exact[t.name], t.labels, masks) for t in terms.outputs}, support=support)
    dense = error(x, exact, method="factored")
    for name in sparse:
        assert sparse[name] <= 2 * dense[name]


def test_complex_features():
    program = program_of("mean", "p p -> p p + p")
    rng, support = np.random.default_rng(0), edges()
    x = (rng.normal(size=(12, 2)) + 1j * rng.normal(size=(12, 2))).astype(np.complex64)
    weights = {name: w.astype(np.complex64) for name, w in random_weights(program).items()}
    parts = [
        in_numpy(lambda x, w: apply(program, x, w, support=support), np.asarray(part, np.float32), real_of(weights))
        for part in (x.real, x.imag)
    ]
    found = in_numpy(lambda x, w: apply(program, x, w, support=support), x, weights)
    zero = in_numpy(lambda x, w: apply(program, x, w, support=support), 0 * x.real, real_of(weights))
    wanted = {name: parts[0][name] + 1j * (parts[1][name] - zero[name]) for name in found}  # the bias is real
    assert_close(found, wanted, 1e-5)


def real_of(weights):
    return {name: w.real.astype(np.float32) for name, w in weights.items()}
