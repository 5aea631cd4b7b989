"""The bridge to e3nn-jax: one basis, one normalization, one tensor product."""

import functools
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply
from equikit.spherical import change_of_basis, coupling, decompose, from_irreps_array, to_irreps, to_irreps_array


@pytest.fixture
def e3nn():
    return pytest.importorskip("e3nn_jax")


def tensors(order: int, batch=(2,), channels: int = 3, seed: int = 0, dtype=np.float64) -> jax.Array:
    shape = (*batch, *(3,) * order, channels)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize(
    ("order", "symmetry"),
    [(k, s) for k in range(5) for s in (None, "sym", "alt")][:-1],
)
@pytest.mark.parametrize("pseudo", [False, True])
def test_rotations_become_its_wigner_matrices(e3nn, x64, order, symmetry, pseudo):
    space, basis = decompose(order, symmetry, pseudo=pseudo), change_of_basis(order, symmetry)
    irreps = e3nn.Irreps(str(space))
    assert irreps == irreps.regroup()
    assert irreps.dim == space.dim
    turns = np.stack([ek.O(3).random_element(np.random.default_rng(seed)) for seed in range(3)])
    for turn, wigner in zip(turns, in_numpy(jax.vmap(irreps.D_from_matrix), turns), strict=True):
        power = np.linalg.det(turn) ** pseudo * np.eye(1)
        for _ in range(order):
            power = np.kron(power, turn)
        np.testing.assert_allclose(basis @ power @ basis.T, wigner, atol=1e-12)


@pytest.mark.parametrize("degree", range(5))
def test_components_are_its_spherical_harmonics(e3nn, x64, degree):
    point = np.random.default_rng(degree).normal(size=3)
    found = functools.reduce(np.kron, [point] * degree, np.ones(1))
    found = change_of_basis(degree)[-(2 * degree + 1) :] @ found
    expected = e3nn.spherical_harmonics(
        e3nn.Irreps([(1, (degree, (-1) ** degree))]), jnp.asarray(point), False, normalization="norm"
    ).array
    scale = np.linalg.norm(found) / np.linalg.norm(expected)
    np.testing.assert_allclose(found, scale * expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [(a, b, c) for a, b in itertools.product(range(5), repeat=2) for c in range(abs(a - b), min(a + b, 4) + 1)],
)
def test_couplings_are_its_clebsch_gordan_coefficients(e3nn, a, b, c):
    expected = np.sqrt(2 * c + 1) * e3nn.clebsch_gordan(a, b, c)
    np.testing.assert_allclose(coupling(a, b, c).tensor(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "symmetry"),
    [(0, None), (1, None), (2, None), (2, "alt"), (3, None), (3, "sym")],
)
def test_there_and_back(e3nn, x64, order, symmetry):
    x = tensors(order, batch=(2, 4))
    y = irreps_of(x, order, symmetry)
    assert str(y.irreps) == "+".join(
        f"{3 * int(count)}x{irrep}"
        for count, irrep in (term.split("x") for term in str(decompose(order, symmetry)).split("+"))
    )
    assert y.shape == (2, 4, 3 * decompose(order, symmetry).dim)
    assert y.dtype == np.float64
    parts = in_numpy(lambda x: to_irreps(x, order, symmetry), x)  # as `irreps_of`, for equality to the last bit
    for (degree, parity), part in parts.items():
        chunk = y.filter(keep=[e3nn.Irrep(degree, parity)]).array
        np.testing.assert_array_equal(chunk, np.swapaxes(part, -1, -2).reshape(2, 4, -1))
    back = in_numpy(lambda y: from_irreps_array(y, order, symmetry), y)
    assert back.shape == x.shape
    if symmetry is None:
        np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(irreps_of(back, order, symmetry).array, y.array, atol=1e-13)


def test_vectors_are_vectors(e3nn):
    """Degree one is x, y, z, channel after channel."""
    x = tensors(1, dtype=np.float32)
    y = to_irreps_array(x, 1)
    assert str(y.irreps) == "3x1o"
    np.testing.assert_array_equal(y.array.reshape(2, 3, 3), jnp.swapaxes(x, -1, -2))
    assert str(to_irreps_array(x, 1, pseudo=True).irreps) == "3x1e"
    np.testing.assert_array_equal(from_irreps_array(to_irreps_array(x, 1, pseudo=True), 1, pseudo=True), x)


def test_irreps_may_come_in_any_order(e3nn, x64):
    x = tensors(2)
    y = to_irreps_array(x, 2)
    parts = [y.filter(keep=[irrep]) for irrep in ("2e", "0e", "1e")]
    np.testing.assert_allclose(from_irreps_array(e3nn.concatenate(parts), 2), x, atol=1e-13)
    halves = [
        y.filter(keep=["1e"]).slice_by_mul[:1],
        y.filter(keep=["0e", "2e"]),
        y.filter(keep=["1e"]).slice_by_mul[1:],
    ]
    np.testing.assert_allclose(from_irreps_array(e3nn.concatenate(halves), 2), x, atol=1e-13)


def test_its_transformations(e3nn):
    x = tensors(2, dtype=np.float32)
    y = to_irreps_array(x, 2)
    compiled = jax.jit(functools.partial(to_irreps_array, order=2))(x)
    np.testing.assert_allclose(compiled.array, y.array, atol=1e-6)
    mapped = jax.vmap(functools.partial(to_irreps_array, order=2))(x)
    np.testing.assert_allclose(mapped.array, y.array, atol=1e-6)
    back = jax.jit(jax.vmap(functools.partial(from_irreps_array, order=2)))(y)
    np.testing.assert_allclose(back, x, atol=1e-5)
    slope = in_numpy(jax.grad(lambda x: jnp.sum(to_irreps_array(x, 2).array ** 2)), x)
    np.testing.assert_allclose(slope, 2 * x, atol=1e-5)
    turn = ek.O(3).random_element(np.random.default_rng(1)).astype(np.float32)
    moved = irreps_of(np.einsum("ai,bj,...ijc->...abc", turn, turn, x), 2)
    expected = in_numpy(lambda y, turn: y.transform_by_matrix(turn), y, turn)
    np.testing.assert_allclose(moved.array, expected.array, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(a, b, marks=[pytest.mark.slow] if 3 in (a, b) or a > b else [])
        for a, b in itertools.product(range(4), repeat=2)
    ],
)
def test_its_tensor_product_is_a_diagram(e3nn, x64, a, b):
    """Irreps to Cartesian tensors, outer product, one diagram as a plan, back to irreps: the same numbers."""
    x, y = (irreps_of(tensors(degree, seed=seed), degree, "sym") for degree, seed in ((a, 1), (b, 2)))
    x, y = (value.filter(keep=[e3nn.Irrep(degree, (-1) ** degree)]) for value, degree in ((x, a), (y, b)))
    expected = in_numpy(e3nn.tensor_product, x, y)
    assert [irrep.l for _, irrep in expected.irreps] == list(range(abs(a - b), a + b + 1))
    left, right = (cartesian(e3nn, value, degree) for value, degree in ((x, a), (y, b)))
    outer = left.reshape(2, 3**a, 1, 3, 1) * right.reshape(2, 1, 3**b, 1, 3)
    outer = outer.reshape(2, *(3,) * (a + b), 9)
    for c in range(abs(a - b), a + b + 1):
        found = coupling(a, b, c)
        signature = f"{' '.join('x' * (a + b)) or '()'} -> {' '.join('x' * c) or '()'}"
        if 0 < a + b + c < 7:
            result = through_plan(signature, found.diagram, outer)
        else:  # thousands of diagrams to choose a basis from
            result = (found.diagram.matrix(3) @ outer.reshape(2, -1, 9)).reshape(2, *(3,) * c, 9)
        pseudo = (a + b - c) % 2 == 1  # the Levi-Civita tensor
        parts = irreps_of(float(found.scale) * result, c, "sym", pseudo=pseudo)
        ours = parts.filter(keep=[e3nn.Irrep(c, (-1) ** (a + b))])
        theirs = expected.filter(keep=[e3nn.Irrep(c, (-1) ** (a + b))])
        assert ours.irreps == theirs.irreps
        np.testing.assert_allclose(ours.array, theirs.array, atol=1e-12)


def irreps_of(x, *space, **options):
    return in_numpy(lambda x: to_irreps_array(x, *space, **options), x)


def cartesian(e3nn, value, degree: int) -> jax.Array:
    """Symmetric traceless tensors from one irrep, the traces being zero."""
    irreps = e3nn.Irreps([(3 * count, irrep) for irrep, count in decompose(degree, "sym").multiplicities.items()])
    zeros = np.zeros((2, irreps.dim - value.irreps.dim))
    whole = e3nn.IrrepsArray(irreps, np.concatenate([zeros, value.array], axis=-1))
    return in_numpy(lambda whole: from_irreps_array(whole, degree, "sym"), whole)


def through_plan(signature: str, diagram: ek.Diagram, x: jax.Array) -> jax.Array:
    """Apply one diagram; where n = 3 makes it a sum of others, apply these."""
    space = ek.hom(signature, x=ek.SO(3))
    basis = space.matrices().reshape(space.dim, -1).astype(float)
    weights = np.linalg.lstsq(basis.T, diagram.matrix(3).ravel().astype(float), rcond=None)[0].round(6)
    np.testing.assert_array_equal(weights @ basis, diagram.matrix(3).ravel())
    kernel = weights[:, None, None] * np.eye(x.shape[-1])
    return in_numpy(functools.partial(apply, space.plan((x.shape[-1], x.shape[-1]))), x, {signature: kernel})


def test_errors_of_the_bridge(e3nn):
    good = to_irreps_array(jnp.ones((2, 3, 3, 4)), 2)
    cases = [
        (
            ek.OptionError,
            lambda: from_irreps_array(good.array, 2),
            "y= must be an IrrepsArray",
            "Array",
            "an IrrepsArray",
            'write y=e3nn_jax.IrrepsArray("8x1o", array)',
        ),
        (ek.ShapeError, lambda: from_irreps_array(good, 1), "order 1", "4x0e+4x1e+4x2e", "1x1o", "y.filter"),
        (ek.ShapeError, lambda: from_irreps_array(good, 2, pseudo=True), "order 2", "4x0e", "1x0o+1x1o+1x2o", "pseudo"),
        (ek.ShapeError, lambda: from_irreps_array(good.filter(keep=["0e", "2e"]), 2), "order 2", "4x0e", "1e", "zeros"),
        (
            ek.ShapeError,
            lambda: from_irreps_array(e3nn.IrrepsArray("2x0o+4x1o+2x2o+1x3o", jnp.ones(31)), 3),
            "order 3",
            "2x0o+4x1o+2x2o+1x3o",
            "1x0o+3x1o+2x2o+1x3o",
            "multiple",
        ),
        (
            ek.ShapeError,
            lambda: to_irreps_array(jnp.ones((2, 3, 4, 1)), 2),
            "x must have shape [*batch, 3, 3, channels]",
            "4",
            "3, 3",
            "add the missing axes; channels come last",
        ),
        (ek.OptionError, lambda: to_irreps_array(jnp.ones((3, 1)), -1), "order=", "-1", "an integer ≥ 0", "order=1"),
    ]
    for case in cases[:4] + cases[5:]:
        assert_error(*case)
    error, call, problem, got, expected, _ = cases[4]
    assert_error(error, call, problem, got, expected, "y.filter")


def test_without_e3nn_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "e3nn_jax", None)
    for call in (lambda: to_irreps_array(jnp.ones((3, 1)), 1), lambda: from_irreps_array(jnp.ones((3, 1)), 1)):
        assert_error(
            ek.MissingPackageError,
            call,
            "e3nn_jax is not installed",
            "no module e3nn_jax",
            "the package e3nn_jax, which only this function needs",
            "pip install e3nn-jax",
        )
    assert issubclass(ek.MissingPackageError, ImportError)


def test_the_bridge_loads_nothing_before_it_is_asked():
    import subprocess

    code = "import sys, equikit as ek; ek.spherical.decompose(2); sys.exit('e3nn_jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
