"""Products of arrays of irreps by a coupling: both methods, against the sum over all entries of the tensor."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from in_numpy import assert_derivatives, in_numpy

import equikit as ek
from equikit.spherical import change_of_basis, coupling

DEGREES = [(a, b, c) for a, b in itertools.product(range(4), repeat=2) for c in range(abs(a - b), min(a + b, 4) + 1)]
METHODS = ["terms", "e3j"]


@pytest.fixture
def e3j():
    return pytest.importorskip("e3j", reason="needs pip install e3j")


@pytest.fixture(params=METHODS)
def method(request):
    if request.param == "e3j":
        request.getfixturevalue("e3j")
    return request.param


def factors(a: int, b: int, channels=(3, 3), batch=(2, 2), dtype=np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(10 * a + b)
    sizes = zip((a, b), channels, strict=True)
    return [rng.normal(size=(*batch, 2 * degree + 1, count)).astype(dtype) for degree, count in sizes]


def expected(degrees, x, y) -> np.ndarray:
    """The sum over all entries; channels are broadcast."""
    tensor = coupling(*degrees).tensor()
    return (tensor[..., None] * x[..., :, None, None, :] * y[..., None, :, None, :]).sum(axis=(-4, -3))


def some(degrees):
    return pytest.param(*degrees, marks=[] if degrees in [(1, 1, 1), (2, 2, 2), (3, 1, 2)] else pytest.mark.slow)


@pytest.mark.parametrize(("a", "b", "c"), [some(degrees) for degrees in DEGREES])
def test_both_methods_are_the_sum_over_all_entries(x64, method, a, b, c):
    x, y = factors(a, b)
    found = coupling(a, b, c)(x, y, method=method)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected((a, b, c), x, y), atol=1e-13)


@pytest.mark.parametrize(
    ("batch", "channels"), [((2,), (3, 1)), ((), (1, 3)), ((0,), (1, 1)), ((2,), (0, 1)), ((), (1, 0))]
)
def test_one_channel_goes_with_all_of_the_other(method, batch, channels):
    x, y = factors(1, 2, channels, batch, np.float32)
    found = in_numpy(lambda x, y: coupling(1, 2, 2)(x, y, method=method), x, y)
    assert found.shape == (*batch, 5, 0 if 0 in channels else max(channels))
    np.testing.assert_allclose(found, expected((1, 2, 2), x, y), atol=1e-6)


def test_a_rotation_of_both_factors_rotates_the_product(x64):
    """The matrices of the irreps come from the change of basis, by the definition."""

    def wigner(degree: int, turn: np.ndarray) -> np.ndarray:
        rows, power = change_of_basis(degree)[-(2 * degree + 1) :], np.eye(1)
        for _ in range(degree):
            power = np.kron(power, turn)
        return rows @ power @ rows.T

    x, y = factors(2, 1)
    turn = ek.SO(3).random_element(np.random.default_rng(0))
    before, after = (
        in_numpy(coupling(2, 1, 2), *pair) for pair in ((x, y), (wigner(2, turn) @ x, wigner(1, turn) @ y))
    )
    np.testing.assert_allclose(after, wigner(2, turn) @ before, atol=1e-12)


def test_half_precision_is_summed_in_single_precision(method):
    x, y = (jnp.asarray(value, jnp.bfloat16) for value in factors(2, 2))
    found = coupling(2, 2, 2)(x, y, method=method)
    assert found.dtype == jnp.bfloat16
    exact = expected((2, 2, 2), np.asarray(x, np.float64), np.asarray(y, np.float64))
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=2**-8, atol=1e-6)


def test_derivatives_and_transformations(x64):
    x, y = factors(1, 2)
    assert_derivatives(lambda x, y: (coupling(1, 2, 3)(x, y) ** 2).sum(), x, y)
    mapped = jax.jit(jax.vmap(coupling(1, 2, 3)))(x, y)
    np.testing.assert_allclose(mapped, expected((1, 2, 3), x, y), atol=1e-13)
    assert jax.jit(coupling(1, 2, 3)).lower(x, y).out_info.shape == mapped.shape


def test_derivatives_through_e3j(e3j, x64):
    x, y = factors(1, 2)

    def slopes(method):
        return jax.jit(jax.grad(lambda x, y: (coupling(1, 2, 3)(x, y, method=method) ** 2).sum(), (0, 1)))(x, y)

    for ours, theirs in zip(slopes("terms"), slopes("e3j"), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-12)


@pytest.mark.slow
def test_its_kernel_for_tpus_in_interpret_mode(e3j):
    """The kernel asks for the kind of TPU when it is traced, and is compiled for the CPU."""
    from jax.experimental.pallas import tpu
    from jax.sharding import AbstractDevice, AbstractMesh

    x, y = (jnp.asarray(value) for value in factors(2, 2, (128, 128), (8,), np.float32))
    mesh = AbstractMesh((1,), ("x",), abstract_device=AbstractDevice("TPU v5 lite", num_cores=1, platform="tpu"))
    kernel = e3j.config.use(tensor_product="FUSED_MOSAIC_TPU")
    with tpu.force_tpu_interpret_mode(), jax.sharding.use_abstract_mesh(mesh), kernel:
        traced = jax.jit(lambda x, y: coupling(2, 2, 2)(x, y, method="e3j")).trace(x, y)
        lowered = traced.lower(lowering_platforms=("cpu",))
    assert "pallas_call" in str(traced.jaxpr)
    found = lowered.compile(device_assignment=(jax.devices("cpu")[0],))(x, y)
    np.testing.assert_allclose(found, expected((2, 2, 2), x, y), atol=2e-6)


def test_only_nonzero_terms_are_computed():
    """A cross product has six: each is two multiplications, and sums are one less than the terms of a component."""
    x, y = factors(1, 1, dtype=np.float32)
    (inner,) = jax.make_jaxpr(coupling(1, 1, 1))(x, y).eqns
    names = [equation.primitive.name for equation in inner.params["jaxpr"].eqns]
    assert names.count("mul") == 12
    assert "dot_general" not in names


ONES = jnp.ones((2, 3, 4))
CASES = {
    "method": (ek.OptionError, lambda: coupling(1, 1, 1)(ONES, ONES, method="term"), "method=", "term", "e3j", "terms"),
    "degree": (ek.ShapeError, lambda: coupling(2, 1, 1)(ONES, ONES), "x must have", "[2, 3, 4]", "5", "axis before"),
    "batch": (ek.ShapeError, lambda: coupling(1, 1, 1)(ONES, ONES[:1]), "y must have", "[1, 3, 4]", "2, 3", "axis"),
    "channels": (
        ek.ShapeError,
        lambda: coupling(1, 1, 1)(ONES, ONES[..., :2]),
        "y must have",
        "[2, 3, 2]",
        "[2, 3, 4]",
        "channels come last",
    ),
    "few axes": (ek.ShapeError, lambda: coupling(1, 1, 1)(ONES[0, 0], ONES), "x must have", "[4]", "batch", "axis"),
    "no axes": (ek.ShapeError, lambda: coupling(1, 1, 1)(ONES, ONES[0, 0, 0]), "y must have", "[]", "2, 3", "axis"),
    "integers": (ek.DTypeError, lambda: coupling(1, 1, 1)(ONES, ONES.astype(int)), "'y'", "int32", "float", "astype"),
    "mixture": (
        ek.DTypeError,
        lambda: coupling(1, 1, 1)(ONES.astype(jnp.bfloat16), ONES.astype(jnp.float16)),
        "bfloat16",
        "float16",
        "",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_errors(case):
    assert_error(*case)


@pytest.mark.parametrize("kernel", ["FUSED_CUDA", "FUSED_MOSAIC_TPU"])
def test_what_e3j_refuses_has_its_reason_and_a_next_step(e3j, kernel):
    """A CPU has none of its kernels; the first one is in another package."""
    with e3j.config.use(tensor_product=kernel):
        assert_error(
            ek.OptionError,
            lambda: coupling(1, 1, 1)(ONES, ONES, method="e3j"),
            "e3j refuses arrays [2, 3, 4] and [2, 3, 4] of float32",
            "Error: ",
            f"what its kernel {kernel} accepts",
            'write method="terms"',
        )
        assert coupling(1, 1, 1)(ONES, ONES, method="terms").shape == ONES.shape


def test_without_e3j_the_method_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "e3j", None)
    assert_error(
        ek.MissingPackageError,
        lambda: coupling(1, 1, 1)(ONES, ONES, method="e3j"),
        "e3j is not installed",
        "no module e3j",
        "the package e3j",
        "pip install e3j",
    )
