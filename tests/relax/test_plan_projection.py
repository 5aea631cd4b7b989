"""Projections by plans: as orthogonal projectors and means over groups; penalties and their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import assert_derivatives, in_numpy

import equikit as ek
from equikit import SO, Fixed, MatrixGroup, O, S, Sp, Trivial, U, hom
from equikit.relax import Penalty, Regularized, project, restrict, tuned

SPACES = {
    "vectors": hom("x x -> x x", x=O(3)),
    "blocks": hom("x x -> x x", x=O(2) + O(1)),
    "form": hom("x x -> x x", x=O(1, 2)),
    "terms": hom("x + x x + () -> x x + x", x=SO(3)),
    "plain": hom("f p p -> p f", p=S(3), f=Fixed(2)),
    "dependent": hom("p p -> p", p=S(2)),
    "complex": hom("u u* -> u u*", u=U(2)),
    "matrices": hom("x -> x", x=MatrixGroup([[[0.6, -0.8], [0.8, 0.6]]])),
    "symplectic": hom("x x -> x x", x=Sp(2)),
    "none": hom("x x -> x", x=O(3)),
    "all": hom("x -> x x", x=Trivial(2)),
}


def random_matrix(space, rng, *features):
    shape = (*space.matrices().shape[1:], *features)
    matrix = rng.normal(size=shape)
    return matrix + 1j * rng.normal(size=shape) if space.signature.is_complex else matrix


def test_empty_matrices_are_their_own_projections():
    for space, shape in ((hom("p -> p", p=S(0)), (0, 0)), (hom("p -> p f", p=S(2), f=Fixed(0)), (0, 2))):
        found = in_numpy(lambda matrix, space=space: project(space, matrix), np.zeros(shape, np.float32))
        assert found.shape == shape
        assert found.dtype == np.float32


@pytest.mark.parametrize("name", SPACES)
def test_it_is_the_orthogonal_projector(x64, name):
    space, rng = SPACES[name], np.random.default_rng(0)
    one, other = random_matrix(space, rng), random_matrix(space, rng)
    run = jax.jit(lambda matrix: project(space, matrix))
    found = in_numpy(run, one)
    np.testing.assert_allclose(found, space.project(one), atol=1e-12)
    np.testing.assert_allclose(in_numpy(run, found), found, atol=1e-12)  # idempotent
    np.testing.assert_allclose(np.vdot(other, found), np.vdot(in_numpy(run, other), one), atol=1e-11)  # self-adjoint


def test_it_is_the_mean_over_a_finite_group(x64):
    matrix = np.random.default_rng(0).normal(size=(3, 9))
    elements = [S(3).matrix(g) for g in S(3).elements()]
    wanted = np.mean([g @ matrix @ np.kron(g, g).T for g in elements], axis=0)
    np.testing.assert_allclose(in_numpy(lambda m: project(hom("p p -> p", p=S(3)), m), matrix), wanted, atol=1e-12)


def test_features_are_projected_each_by_itself(x64):
    space = SPACES["plain"]
    matrix = random_matrix(space, np.random.default_rng(0), 2, 3)
    found = in_numpy(lambda m: project(space, m), matrix)
    np.testing.assert_allclose(found[..., 1, 2], space.project(matrix[..., 1, 2]), atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_sums_do_not_overflow_in_half_precision(dtype):
    matrix = jnp.full((4, 4), 3e4, dtype)
    found = project(hom("p -> p", p=S(4)), matrix)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(jnp.float32), matrix.astype(jnp.float32), rtol=jnp.finfo(dtype).eps)


def test_bad_matrices():
    space = hom("x -> x", x=O(3))
    assert_error(ek.ShapeError, lambda: project(space, np.ones((2, 3))), "matrix must have", "[2, 3]", "[3, 3", "pass")
    assert_error(ek.DTypeError, lambda: project(space, np.ones((3, 3), int)), "real or complex", "int", "float", "pass")
    unitary, step = hom("x -> x", x=ek.U(2)), "pass jnp.asarray(matrix, complex)"
    assert_error(ek.DTypeError, lambda: project(unitary, np.ones((2, 2))), "matrix must", "float64", "complex", step)
    assert_error(
        ek.OptionError, lambda: project("x -> x", np.ones((3, 3))), "space= must be", "x -> x", "Hom", "ek.hom"
    )
    free = hom("x -> x", x=O)
    assert_error(ek.GroupError, lambda: project(free, np.ones((3, 3))), "size of every", "x=O", "bound", "x=ek.O(5)")


# Penalties.

CANDIDATES = [O(3), O(2) + O(1)]


def free_layer(**options):
    return ek.nn.Linear("x x + x -> x + ()", 2, 3, x=Trivial(3), rngs=nnx.Rngs(0), **options)


def test_penalties_are_squared_distances(x64):
    layer = free_layer(param_dtype=jnp.float64, bias_init=jax.nn.initializers.normal(1.0))
    penalty = Penalty(layer, x=CANDIDATES)
    found = in_numpy(lambda model: penalty(model), layer)
    for value, group in zip(found, CANDIDATES, strict=True):
        wanted = 0.0
        for name, weights in [*layer.kernel.items(), *layer.bias.items()]:
            source, _, target = name.rpartition("-> ")
            signature = f"{source.strip() or '()'} -> {target}"
            space = hom(signature, groups={"x": group} if "x" in signature else None)
            matrices = np.asarray(weights).reshape(*space.matrices().shape[1:], -1)
            for matrix in np.moveaxis(matrices, -1, 0):
                wanted += 0.5 * np.sum((matrix - space.project(matrix)) ** 2)
        np.testing.assert_allclose(value, wanted, rtol=1e-10)
    assert found[0] > found[1] > 0


def test_gradients_are_what_is_not_equivariant(x64):
    layer = ek.nn.Linear("x -> x", 1, 1, x=Trivial(3), use_bias=False, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    penalty = Penalty(layer, x=[O(3)])
    graph, state = nnx.split(layer)
    weights = np.asarray(layer.kernel["x -> x"])

    def value(kernel):
        return penalty(nnx.merge(graph, jax.tree.map(lambda _: kernel, state)))[0]

    matrix = weights.reshape(3, 3)
    slope = in_numpy(jax.grad(value), weights).reshape(3, 3)
    np.testing.assert_allclose(slope, matrix - np.trace(matrix) / 3 * np.eye(3), atol=1e-12)
    step = 1e-6 * np.random.default_rng(0).normal(size=weights.shape)
    difference = in_numpy(value, weights + step) - in_numpy(value, weights - step)
    np.testing.assert_allclose(difference / 2, np.vdot(step.ravel(), slope.ravel()), rtol=1e-6)


def test_equivariant_weights_have_no_penalty(x64):
    layer = ek.nn.Linear("x x -> x x", 2, 3, x=O(3), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    free = restrict(layer, x=Trivial(3))
    assert in_numpy(lambda model: Penalty(free, x=CANDIDATES)(model), free).max() < 1e-24


def test_weights_are_tuned():
    np.testing.assert_allclose(tuned([2.0, 2.0, 1.0], [4.0, 2.0, 1.0]), [0.125, 0.5, 1])
    np.testing.assert_allclose(tuned([1.0, 1.0], [[9.0, 1.0], [2.0, 5.0]], power=1.0), [0.5, 1.0])
    np.testing.assert_allclose(tuned([0.0, 1.0, 1.0], [0.1, 1.0, 2.0]), [0, 1, 0.25])  # weight zero does not count
    np.testing.assert_allclose(tuned([1.0, 1.0], [0.0, 2.0]), [1, 0])


def test_regularized_models_count_steps_and_adapt():
    layer = ek.nn.Linear("x -> x", 1, 1, x=Trivial(3), use_bias=False, rngs=nnx.Rngs(0))
    soft = Regularized(
        layer, loss=lambda model, batch: jnp.zeros(()), weights=(1.0, 0.5), adapt_after=3, window=2, x=CANDIDATES
    )
    found = np.asarray(soft.penalty(layer))
    values = []
    for scale in (0.1, 1.0, 2.0, 1.0):  # the first step is before the window
        layer.kernel["x -> x"][...] = layer.kernel["x -> x"][...] * scale
        values.append([float(x) for x in (soft.objective(None)[0], *soft.weights[...])])
        layer.kernel["x -> x"][...] = layer.kernel["x -> x"][...] / scale
    total = found[0] + 0.5 * found[1]
    np.testing.assert_allclose([v[0] for v in values[:3]], [0.01 * total, total, 4 * total], rtol=1e-5)
    np.testing.assert_allclose(soft.least[...], found, rtol=1e-5)
    wanted = [(found[1] / found[0]) ** 2, 0.5]
    np.testing.assert_allclose([v[1:] for v in values], [[1, 0.5], [1, 0.5], wanted, wanted], rtol=1e-5)
    np.testing.assert_allclose(values[3][0], np.dot(wanted, found), rtol=1e-5)
    soft.eval()
    assert soft.objective(None)[0] == 0
    assert soft.steps[...] == 4


@pytest.mark.slow
def test_the_group_of_the_data_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 3, 2)).astype(np.float32)
    y = (np.einsum("ij,bjc->bic", np.diag([1, 1, 2]), x)[..., :1] + x[..., 1:]).astype(np.float32)
    free = ek.nn.Linear("x -> x", 2, 1, x=Trivial(3), rngs=nnx.Rngs(0))
    groups = [O(3), O(1) + O(2), O(2) + O(1)]
    soft = Regularized(free, loss=lambda m, b: jnp.mean((m(b[0]) - b[1]) ** 2), weights=0.01, adapt_after=300, x=groups)
    fitted = ek.train.fit(
        soft, Regularized.objective, (x, y), epochs=100, batch=64, key=jax.random.key(0), optimizer=3e-2
    )
    weights = np.asarray(fitted.model.weights[...])
    assert np.argmax(weights) == 2
    assert weights[:2].max() < 0.01 * weights[2]


def test_bad_penalties():
    layer, exact = free_layer(), ek.nn.Linear("x -> x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    example = "x=[ek.O(3), ek.O(2) + ek.O(1)]"
    assert_error(ek.OptionError, lambda: Penalty(layer, x=[]), "no candidate groups", "x=[]", "one or more", example)
    assert_error(ek.OptionError, lambda: Penalty(layer), "number of labels", "0", "1", example)
    assert_error(
        ek.GroupError, lambda: Penalty(layer, x=[O(2)]), "different sizes", "O(2) of size 2", "one size", "ek.O(2)"
    )
    assert_error(
        ek.GroupError, lambda: Penalty(layer, x=[O]), "needs groups with a size", "O", "bound", "write ek.O(3)"
    )
    assert_error(
        ek.SignatureError,
        lambda: Penalty(exact, x=[O(3)]),
        "'x' is free",
        "Linear",
        "ek.Trivial(n)",
        "ek.relax.restrict",
    )
    both = ek.nn.Linear("x y -> x y", 1, 1, x=Trivial(3), y=O(2), rngs=nnx.Rngs(0))
    assert_error(
        ek.SignatureError,
        lambda: Penalty(both, x=[O(3)]),
        "'x' is free",
        "y=O(2)",
        "ek.Trivial(n)",
        "ek.relax.restrict",
    )
    assert_error(ek.OptionError, lambda: Penalty(3, x=[O(3)]), "model= must be", "3", "Module", "ek.nn.Network")
    make = lambda **options: Regularized(layer, **{"loss": lambda m, b: 0.0, "weights": 1.0, "x": CANDIDATES} | options)  # noqa: E731
    assert_error(ek.OptionError, lambda: make(weights=-1.0), "weights=", "-1", "≥ 0", "1")
    assert_error(ek.OptionError, lambda: make(weights=(1.0,)), "number of weights", "1", "2", "weights=(1.0, 1.0)")
    assert_error(ek.OptionError, lambda: make(weights=float("nan")), "weights=", "nan", "≥ 0", "1")
    assert_error(ek.OptionError, lambda: make(adapt_after=0), "adapt_after=", "0", "≥ 1", "adapt_after=1000")
    assert_error(
        ek.OptionError, lambda: make(loss=3), "loss= must be callable", "3", "function", "loss=lambda model, batch"
    )
    vector = make(loss=lambda model, batch: jnp.ones(2))
    assert_error(ek.ShapeError, lambda: vector.objective(None), "one number", "shape [2]", "mean", "jnp.mean(errors)")
    assert_error(ek.OptionError, lambda: tuned([1.0, -1.0], [1.0, 1.0]), "weights=", "-1", "≥ 0", "1")
    assert_error(ek.OptionError, lambda: tuned([1.0, 1.0], [1.0, np.nan]), "penalties=", "nan", "≥ 0", "1")
    assert_error(ek.ShapeError, lambda: tuned([1.0, 1.0], [1.0]), "penalties must have", "[1]", "2", "pass")
    assert_error(ek.OptionError, lambda: tuned([0.0], [1.0]), "no weights above zero", "[0.0]", "one or more", "1.0")
    assert_error(ek.OptionError, lambda: tuned([1.0], np.ones((0, 1))), "no epochs", "shape [0, 1]", "one", "record")
    assert_error(ek.OptionError, lambda: tuned([1.0], [1.0], power=0.0), "power=", "0", "> 0", "power=2")


def test_derivatives_by_finite_differences(x64):
    space = SPACES["blocks"]
    matrix = random_matrix(space, np.random.default_rng(0))
    assert_derivatives(lambda m: jnp.sum(jnp.sin(project(space, m))), matrix)
