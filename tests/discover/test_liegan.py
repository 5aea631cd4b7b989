"""LieGAN: actions by their definition, planted rotations found, and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from scipy.linalg import expm

import equikit as ek
from equikit.discover import FoundGenerators, LieGAN
from equikit.discover.adversarial._game import Rules, cosine, exponential, overlap

KEY = jax.random.key(0)
TURN = np.array([[0.0, -1], [1, 0]])
X = np.random.default_rng(0).normal(size=(64, 3, 1))
small = functools.partial(LieGAN, hidden=(8,))


def rules(**options):
    usual = {"coefficients": "normal", "outputs": "invariant", "similarity": 1.0, "overlap": 0.1}
    return Rules(**usual | {"killing": False, "batch": 8, "rates": (1e-3, 2e-4)} | options)


def test_the_exponential_is_that_of_scipy():
    matrices = np.random.default_rng(0).normal(size=(6, 4, 4)) * np.array([0.1, 0.5, 1, 2, 3, 4])[:, None, None]
    found = np.asarray(exponential(jnp.asarray(matrices, jnp.float32)))
    for one, matrix in zip(found, matrices, strict=True):
        assert np.abs(one - expm(matrix)).max() < 3e-5 * np.abs(expm(matrix)).max()


def test_elements_act_on_inputs_and_outputs():
    generator = np.random.default_rng(0)
    elements = expm(generator.normal(size=(5, 3, 3)) / 3)
    x, y = generator.normal(size=(5, 2, 3)), generator.normal(size=(5, 1, 3))
    pairs = generator.normal(size=(5, 1, 9))
    given = [jnp.asarray(a, jnp.float32) for a in (elements, x, y)]
    for outputs, target, act in [
        ("invariant", y, lambda g, v: v),
        ("vector", y, lambda g, v: g @ v),
        ("dual", y, lambda g, v: np.linalg.inv(g).T @ v),
        (lambda g: jnp.kron(g, g), pairs, lambda g, v: np.kron(g, g) @ v),
    ]:
        moved, other = rules(outputs=outputs).move(given[0], given[1], jnp.asarray(target, jnp.float32))
        for i in range(5):
            assert np.allclose(moved[i], x[i] @ elements[i].T, atol=1e-5)
            assert np.allclose(other[i, 0], act(elements[i], target[i, 0]), atol=1e-4)


def test_coefficients_have_their_distribution():
    normal = np.asarray(rules().draw(KEY, (4000, 3), jnp.float32(2)))
    assert normal.shape == (4000, 3)
    assert np.std(normal) == pytest.approx(2, rel=0.05)
    assert np.unique(np.asarray(rules(coefficients="integers").draw(KEY, (400, 1), jnp.float32(2)))).tolist() == [
        -2,
        -1,
        0,
        1,
        2,
    ]
    uniform = np.asarray(rules(coefficients="uniform").draw(KEY, (4000, 1), jnp.float32(3)))
    assert 2.9 < uniform.max() < 3
    assert [float(small(coefficients="integers")._range(share)) for share in (0, 0.35, 0.7, 1)] == [1, 3, 10, 10]
    assert float(small(most=2)._range(0.1)) == 2
    assert np.std(uniform) == pytest.approx(3 / np.sqrt(3), rel=0.05)


def test_penalties_are_their_formulas():
    one, other = jnp.asarray(TURN), jnp.asarray(np.array([[1.0, -1], [1, 2]]))
    cosines = np.sum(TURN * np.asarray(other)) / np.sqrt(2 * 7)
    assert overlap(jnp.stack([one, other]), killing=False) == pytest.approx(cosines, abs=1e-4)
    trace = np.trace(TURN @ np.asarray(other)) - 0.5 * np.trace(TURN) * 3
    assert overlap(jnp.stack([one, other]), killing=True) == pytest.approx(abs(trace) / np.sqrt(14), abs=1e-4)
    x = jnp.asarray(X, jnp.float32)
    assert cosine(x, 3 * x) == pytest.approx(1, abs=1e-6)
    assert cosine(x, -x) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("coefficients", ["normal", "integers"])
def test_entries_outside_the_mask_are_zero_and_runs_repeat(coefficients):
    mask = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    gan = small(mask=mask, coefficients=coefficients, outputs="vector")
    found, again = (gan.fit(X, X, epochs=2, key=KEY) for _ in range(2))
    assert found.discrete == (coefficients == "integers")
    assert np.all(found.basis[0][~mask] == 0)
    assert np.all(found.basis[0][mask] != 0)
    assert np.array_equal(found.basis, again.basis)
    assert not np.array_equal(found.basis, gan.fit(X, X, epochs=2, key=jax.random.key(1)).basis)
    assert found.losses.shape == (2, 3)


def test_classes_and_data_without_outputs():
    classes = small().fit(X, (X[:, 0, 0] > 0).astype(int), epochs=1, key=KEY)
    assert classes.basis.shape == (1, 3, 3)
    assert small(generators=2).fit(np.concatenate([X, -X], 2), epochs=1, key=KEY).basis.shape == (2, 3, 3)


def test_a_vector_of_zeros_does_not_end_training():
    x = X.copy()
    x[0] = 0
    found = LieGAN(hidden=(4,), batch=8).fit(x, x.sum((1, 2)), epochs=1, key=KEY)
    assert np.all(np.isfinite(found.basis))
    assert np.all(np.isfinite(found.losses))


def test_of_several_games_the_one_with_the_most_confused_discriminator_counts(monkeypatch):
    def game(cosine, judge):
        return FoundGenerators(np.zeros((1, 2, 2)), True, np.array([[0.7, 0.0, 0.8], [0.7, cosine, judge]]))

    played = [game(0.3, 0.68), game(0.3, 0.69), game(0.99, 0.693)]  # the last ends at the identity
    monkeypatch.setattr(LieGAN, "_play", lambda *_: played.pop(0))
    assert small().fit(X, epochs=2, starts=3, key=KEY).losses[-1, 2] == 0.69


def planted(count=2048):
    """Points of the plane and the square of their radius, in skew coordinates."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 2, 1))
    return x, np.sum(x**2, axis=(1, 2))


@pytest.mark.slow
def test_a_planted_rotation_is_found():
    found = small(hidden=(64, 64), rates=(3e-3, 1e-3)).fit(*planted(), epochs=60, key=KEY)
    (generator,) = found.basis
    assert abs(np.sum(generator * TURN)) / np.sqrt(2) / np.linalg.norm(generator) > 0.98
    metric = found.metric()
    assert np.trace(metric) / np.sqrt(2) > 0.98
    assert found.group.lie_algebra()[0] == pytest.approx(generator)


def test_the_metric_of_generators_is_the_one_that_they_preserve():
    boosts = np.stack([np.eye(4)[[0]].T @ np.eye(4)[[i]] for i in (1, 2, 3)])
    boosts = boosts + boosts.transpose(0, 2, 1)
    noise = 0.01 * np.random.default_rng(0).normal(size=(3, 4, 4))
    found = FoundGenerators(boosts + noise, False, np.zeros((1, 3)))
    metric = found.metric()
    assert np.abs(np.sum(metric * np.diag([1, -1, -1, -1]))) / 2 > 0.99
    weak = FoundGenerators(
        np.concatenate([boosts, 0.01 * np.random.default_rng(1).normal(size=(2, 4, 4))]), False, metric
    )
    assert np.abs(np.sum(weak.metric() * np.diag([1, -1, -1, -1]))) / 2 > 0.99  # short generators count little
    exact = FoundGenerators(np.array([TURN]), False, np.zeros((1, 3)))
    assert exact.recognized.name == "SO(2)"
    stretch = FoundGenerators(np.eye(2)[None], False, np.zeros((1, 3)))
    assert_error(ek.GroupError, stretch.metric, "preserve no metric", "error 0.71", "O(p, q)", "tolerance=")


def test_a_discrete_group_is_generated():
    found = FoundGenerators(2 * np.pi / 7 * TURN[None], True, np.zeros((1, 3)))
    assert len(found.group.elements()) == 7
    assert_error(
        ek.GroupError, lambda: found.recognized, "no Lie algebra", "integer", "normal", "found.group.elements()"
    )


def test_wrong_input_is_refused():
    def fit(x=X, y=None, **options):
        return small(**options).fit(x, y, epochs=1, key=KEY)

    option, shape = ek.OptionError, ek.ShapeError
    for kind, call, *texts in [
        (option, lambda: small(generators=0), "generators= must be", "0", "≥ 1", "generators=1"),
        (option, lambda: small(outputs="scalar"), "outputs=", "scalar", "invariant", "outputs="),
        (option, lambda: small(coefficients="integer"), "coefficients=", "integer", "integers", "integers"),
        (option, lambda: small(most=0), "most= must be", "0", "> 0", "most=1"),
        (option, lambda: small(coefficients="integers", most=1.5), "most= must be", "1.5", "≥ 1", "most=10"),
        (option, lambda: small(rates=(1e-3,)), "two learning rates", "0.001", "one for the discriminator", "2e-4"),
        (option, lambda: LieGAN(hidden=()).fit(X, epochs=0, key=KEY), "epochs= must be", "0", "≥ 1", "epochs=100"),
        (option, lambda: small().fit(X, epochs=1, key=0), "key= must be one JAX key", "0", "a JAX key", "key="),
        (shape, lambda: fit(X[0, 0]), "x must be vectors", "[1]", "[samples, n, channels]", "second axis"),
        (shape, lambda: fit(X[..., 0]), "x must be vectors", "[64, 3]", "[samples, n, channels]", "x[..., None]"),
        (shape, lambda: fit(X[:, :0]), "x must be vectors", "[64, 0, 1]", "n at least 1", "second axis"),
        (shape, lambda: fit(X + 1j), "x must be vectors", "complex128", "real numbers", "second axis"),
        (option, lambda: fit(X * np.nan), "inputs are not finite", "192", "finite", "drop"),
        (option, lambda: fit(np.ones((64, 2, 1))), "too few different", "spread 0", "not all equal", "more samples"),
        (option, lambda: fit(X[:9]), "too few different", "9 samples", "one batch of 64", "batch=16"),
        (shape, lambda: fit(y=X[:9]), "y must have shape", "[9, 3, 1]", "[64, 0, 1]", "one row for each x"),
        (option, lambda: fit(y=X[:, 0, 0] / 0), "outputs are not finite", "64", "finite", "drop"),
        (
            shape,
            lambda: fit(y=X[:, :2], outputs="vector"),
            "second axis of y",
            "[64, 2, 1]",
            "[samples, 3, ch",
            "invariant",
        ),
        (
            shape,
            lambda: fit(y=X[..., 0], outputs="vector"),
            "second axis of y",
            "[64, 3]",
            "[samples, 3, ch",
            "y[..., None]",
        ),
        (shape, lambda: fit(y=X, outputs=lambda g: g[0]), "map a matrix", "[3]", "a square matrix", "jnp.kron"),
        (shape, lambda: fit(mask=np.ones((2, 2))), "mask does not fit", "[2, 2]", "[3, 3]", "mask=np.ones((3, 3)"),
        (shape, lambda: fit(mask=np.zeros((3, 3))), "mask does not fit", "0 entries", "not all false", "mask="),
        (option, lambda: fit(most=1e30), "training diverged in epoch 0", "nan", "finite losses", "rates="),
    ]:
        with np.errstate(all="ignore"):
            assert_error(kind, call, *texts)
