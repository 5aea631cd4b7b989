"""Cartesian tensors to irreps and back, under the transformations of JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.spherical import change_of_basis, decompose, from_irreps, to_irreps

SPACES = [(0, None), (1, None), (2, None), (2, "sym"), (2, "alt"), (3, None), (3, "sym"), (3, "alt"), (4, None)]


def tensors(order: int, batch=(2, 5), channels: int = 4, dtype=np.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(order).normal(size=(*batch, *(3,) * order, channels)), dtype)


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_the_definition_and_the_way_back(order, symmetry, x64):
    x = tensors(order, dtype=np.float64)
    parts = to_irreps(x, order, symmetry)
    space, matrix = decompose(order, symmetry), change_of_basis(order, symmetry)
    assert list(parts) == list(space.multiplicities)
    flat = np.einsum("yx,...xc->...yc", matrix, np.asarray(x).reshape(2, 5, -1, 4))
    start = 0
    for (degree, _), part in parts.items():
        copies = space.multiplicities[degree, space.parity]
        assert part.shape == (2, 5, copies, 2 * degree + 1, 4)
        assert part.dtype == np.float64
        size = copies * (2 * degree + 1)
        np.testing.assert_allclose(part.reshape(2, 5, size, 4), flat[:, :, start : start + size], atol=1e-13)
        start += size
    back = in_numpy(lambda parts: from_irreps(parts, order, symmetry), parts)
    projected = np.einsum("yx,...yc->...xc", matrix, flat).reshape(x.shape)
    np.testing.assert_allclose(back, projected, atol=1e-13)
    if symmetry is None:
        np.testing.assert_allclose(back, x, atol=1e-13)
    for irrep, part in in_numpy(lambda x: to_irreps(x, order, symmetry), back).items():
        np.testing.assert_allclose(part, parts[irrep], atol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(jnp.float32, 2e-6), (jnp.bfloat16, 0.05), (jnp.float16, 5e-3), (jnp.complex64, 2e-6)],
    ids=str,
)
def test_dtypes_stay(dtype, tolerance):
    x = tensors(3, dtype=dtype)
    parts = in_numpy(lambda x: to_irreps(x, 3), x)
    assert {part.dtype for part in parts.values()} == {jnp.dtype(dtype)}
    back = in_numpy(lambda parts: from_irreps(parts, 3), parts)
    assert back.dtype == dtype
    assert np.max(np.abs(back - np.asarray(x))) < tolerance


def test_components_turn_with_the_tensors(x64):
    turn = ek.O(3).random_element(np.random.default_rng(3))
    x = tensors(2, dtype=np.float64)
    parts, moved = (to_irreps(value, 2) for value in (x, jnp.einsum("ai,bj,...ijc->...abc", turn, turn, x)))
    np.testing.assert_allclose(moved[0, 1], parts[0, 1], atol=1e-13)
    expected = np.linalg.det(turn) * jnp.einsum("ai,...ic->...ac", turn, parts[1, 1])
    np.testing.assert_allclose(moved[1, 1], expected, atol=1e-13)  # a pseudovector
    lengths = [jnp.sum(value[2, 1] ** 2, axis=-2) for value in (parts, moved)]
    np.testing.assert_allclose(*lengths, atol=1e-12)


def test_a_cross_product_is_even():
    cross = jnp.cross(tensors(1), tensors(1)[..., ::-1], axis=-2)
    assert list(to_irreps(cross, 1, pseudo=True)) == [(1, 1)]
    np.testing.assert_allclose(to_irreps(cross, 1, pseudo=True)[1, 1][..., 0, :, :], cross, atol=1e-6)
    outer = tensors(1)[..., :, None, :] * tensors(1)[..., None, :, ::-1]
    np.testing.assert_allclose(to_irreps(outer, 2)[1, 1][..., 0, :, :], cross / np.sqrt(2), atol=1e-6)


def test_jit_vmap_and_grad():
    x = tensors(3)
    plain = to_irreps(x, 3)
    compiled = jax.jit(functools.partial(to_irreps, order=3))(x)
    mapped = jax.vmap(functools.partial(to_irreps, order=3))(x)
    for irrep, part in plain.items():
        np.testing.assert_allclose(compiled[irrep], part, atol=1e-6)
        np.testing.assert_allclose(mapped[irrep], part, atol=1e-6)

    def energy(x):
        return sum(jnp.sum(part**2) for part in to_irreps(x, 3).values())

    np.testing.assert_allclose(in_numpy(jax.grad(energy), x), 2 * x, atol=1e-5)  # an orthogonal matrix keeps the energy

    def back_energy(parts):
        return jnp.sum(from_irreps(parts, 3) ** 2)

    for irrep, slope in jax.jit(jax.grad(back_energy))(plain).items():
        np.testing.assert_allclose(slope, 2 * plain[irrep], atol=1e-5)
    value, change = in_numpy(lambda x: jax.jvp(functools.partial(to_irreps, order=3), (x,), (2 * x,)), x)
    np.testing.assert_allclose(change[3, -1], 2 * value[3, -1], atol=1e-5)


def test_empty_batches_and_channels():
    assert to_irreps(jnp.ones((0, 3, 3, 2)), 2)[2, 1].shape == (0, 1, 5, 2)
    empty = to_irreps(jnp.ones((3, 3, 0)), 2)
    assert empty[2, 1].shape == (1, 5, 0)
    assert from_irreps(empty, 2).shape == (3, 3, 0)


ONES = jnp.ones((2, 3, 3, 4))
PARTS = to_irreps(ONES, 2)
ERRORS = [
    (ek.OptionError, lambda: to_irreps(ONES, -1), "order= must be a whole number", "-1", "an integer ≥ 0", "order=1"),
    (
        ek.ShapeError,
        lambda: to_irreps(ONES[0, 0], 2),
        "x must have shape [*batch, 3, 3, channels]",
        "[3, 4]",
        "[*batch, 3, 3, channels]",
        "add",
    ),
    (
        ek.ShapeError,
        lambda: to_irreps(ONES, 3),
        "x must have shape [*batch, 3, 3, 3, channels]",
        "[2, 3, 3, 4]",
        "3, 3, 3, channels]",
        "add the missing axes; channels come last",
    ),
    (
        ek.ShapeError,
        lambda: to_irreps(jnp.ones((2, 3, 3)), 2),
        "x must have shape [*batch, 3, 3, channels]",
        "[2, 3, 3]",
        "channels]",
        "last",
    ),
    (
        ek.ShapeError,
        lambda: to_irreps(jnp.ones((3, 4, 2)), 2),
        "x must have shape [*batch, 3, 3, channels]",
        "[3, 4, 2]",
        "channels]",
        "give the axes of the tensor size 3, or add",
    ),
    (ek.DTypeError, lambda: to_irreps(jnp.ones((3, 1), int), 1), "floating-point", "int32", "float32", "astype"),
    (ek.DTypeError, lambda: to_irreps([[1.0]], 0), "'x' is not a plain array", "list", "JAX", "jnp.asarray"),
    (ek.OptionError, lambda: to_irreps(ONES, 2, "odd"), "unknown value for symmetry=", "'odd'", "None", "=None"),
    (
        ek.OptionError,
        lambda: to_irreps(jnp.ones((3, 3, 3, 3, 1)), 4, "alt"),
        "the order of alternating tensors must be a whole number",
        "4",
        "an integer from 0 to 3",
        "leave",
    ),
    (
        ek.OptionError,
        lambda: from_irreps({}, 4, "alt"),
        "the order of alternating tensors must be a whole number",
        "4",
        "an integer from 0 to 3",
        "leave them out",
    ),
    (
        ek.ShapeError,
        lambda: from_irreps({}, 2),
        "the irreps do not have the expected names",
        "no names",
        "(0, 1), (1, 1)",
        "zeros",
    ),
    (
        ek.ShapeError,
        lambda: from_irreps(ONES, 2),
        "the irreps do not have the expected names",
        "one array",
        "a dictionary",
        "zeros",
    ),
    (
        ek.ShapeError,
        lambda: from_irreps(PARTS, 2, pseudo=True),
        "the irreps do not have the expected names",
        "(0, 1)",
        "(0, -1)",
        "pseudo=True",
    ),
    (
        ek.ShapeError,
        lambda: from_irreps(PARTS, 2, "sym"),
        "the irreps do not have the expected names",
        "(1, 1)",
        "a dictionary with the names (0, 1), (2, 1)",
        "zeros",
    ),
    (ek.ShapeError, lambda: from_irreps(PARTS | {(1, 1): ONES}, 2), "irrep (1, 1)", "[2, 3, 3, 4]", "1, 3", "see"),
    (ek.ShapeError, lambda: from_irreps({(1, -1): ONES[0, 0]}, 1), "(1, -1)", "[3, 4]", "1, 3, channels]", "to_irreps"),
    (
        ek.DTypeError,
        lambda: from_irreps(PARTS | {(0, 1): PARTS[0, 1].astype(jnp.bfloat16)}, 2),
        "the dtype of irrep (1, 1) is a different one",
        "dtype('float32')",
        "dtype(bfloat16)",
        "cast",
    ),
]


@pytest.mark.parametrize(("error", "call", "problem", "got", "expected", "step"), ERRORS)
def test_errors_of_transforms(error, call, problem, got, expected, step):
    assert_error(error, call, problem, got, expected, step)


def test_a_precision_that_jax_does_not_have_is_refused():
    x = tensors(2)
    for call in (lambda p: to_irreps(x, 2, precision=p), lambda p: from_irreps(to_irreps(x, 2), 2, precision=p)):
        for wrong in ("foo", []):
            assert_error(
                ek.OptionError,
                lambda c=call, p=wrong: c(p),
                "precision=",
                repr(wrong),
                '"highest"',
                'precision="highest"',
            )
        call(jax.lax.Precision.HIGH)
