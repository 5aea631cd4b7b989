"""The bridge to e3j: one basis, one order of irreps, one parity, in each of its layouts."""

import sys

import documents
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.spherical import change_of_basis, decompose, from_o3_array, to_irreps, to_irreps_array, to_o3_array

LAYOUTS = ("TRAILING_CHANNELS", "LEADING_CHANNELS", "E3NN")
SPACES = [(0, None), (1, None), (2, None), (2, "alt"), (3, None), (3, "sym")]


@pytest.fixture
def e3j():
    return pytest.importorskip("e3j", reason="needs pip install e3j")


def tensors(order: int, batch=(2,), channels: int = 3, seed: int = 0, dtype=np.float64) -> np.ndarray:
    shape = (*batch, *(3,) * order, channels)
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def o3_array(x, *space, **options):
    """`to_o3_array` without compilation; an `O3Array` holds no shapes, so its array alone is traced."""
    made = []

    def components(x):
        made.append(to_o3_array(x, *space, **options))
        return made[-1].array

    array = in_numpy(components, x)
    return type(made[-1])(made[-1].space, array, made[-1].layout)


def cartesian(y, *space, **options):
    return in_numpy(lambda array: from_o3_array(type(y)(y.space, array, y.layout), *space, **options), y.array)


def moved(x: np.ndarray, order: int, turn: np.ndarray, pseudo: bool) -> np.ndarray:
    """Tensors after an orthogonal matrix has acted on each axis, by the definition."""
    for axis in range(1, order + 1):
        x = np.moveaxis(np.tensordot(turn, x, axes=(1, axis)), 0, axis)
    return np.linalg.det(turn) ** pseudo * x


@pytest.mark.parametrize(
    ("order", "symmetry", "pseudo"),
    [
        pytest.param(order, symmetry, pseudo, marks=[pytest.mark.slow] if order > 2 or order == pseudo else [])
        for order, symmetry in SPACES
        for pseudo in (False, True)
    ],
)
def test_its_action_is_ours(e3j, x64, order, symmetry, pseudo):
    """Rotations and reflections act before the conversion as its matrices do after it."""
    x = tensors(order)
    y = o3_array(x, order, symmetry, pseudo=pseudo)
    for sign in (1, -1):
        turn = ek.O(3).random_element(np.random.default_rng(order))
        turn = turn * np.linalg.det(turn) * sign
        assert np.linalg.det(turn) == pytest.approx(sign)
        theirs = in_numpy(y.space.action, turn) @ y.array
        ours = o3_array(moved(x, order, turn, pseudo), order, symmetry, pseudo=pseudo).array
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_components_are_those_of_the_change_of_basis(e3j, x64, order, symmetry):
    """And irreps are in the order in which e3j sorts them."""
    x = tensors(order)
    y = o3_array(x, order, symmetry)
    expected = np.einsum("yx,bxc->byc", change_of_basis(order, symmetry), x.reshape(2, 3**order, 3))
    np.testing.assert_allclose(y.array, expected, atol=1e-12)
    assert str(y.space).replace(" ", "") == str(decompose(order, symmetry))
    assert y.space == y.space.sort() == y.space.regroup()


@pytest.mark.parametrize(("order", "symmetry"), SPACES)
def test_layouts_hold_the_same_components(e3j, x64, order, symmetry):
    """Each is converted back; the flat one is an array of e3nn-jax."""
    x = tensors(order, batch=(2, 4))
    after, before, flat = (o3_array(x, order, symmetry, layout=layout) for layout in LAYOUTS)
    assert [y.layout.name for y in (after, before, flat)] == [*LAYOUTS]
    np.testing.assert_array_equal(before.array, np.swapaxes(after.array, -1, -2))
    theirs = []
    ours = in_numpy(lambda x: theirs.append(to_irreps_array(x, order, symmetry)) or theirs[-1].array, x)
    assert flat.space == e3j.O3Space(theirs[-1].irreps)
    np.testing.assert_array_equal(flat.array, ours)
    for y in (after, before, flat):
        back = cartesian(y, order, symmetry)
        assert back.dtype == y.array.dtype == np.float64
        again = x if symmetry is None else cartesian(after, order, symmetry)
        np.testing.assert_allclose(back, again, atol=1e-13)
    assert after.shape == (2, 4, decompose(order, symmetry).dim, 3)


def test_vectors_are_vectors(e3j):
    x = tensors(1, dtype=np.float32)
    y = o3_array(x, 1)
    assert str(y.space) == "1x1o"
    np.testing.assert_array_equal(y.array, x)
    assert str(o3_array(x, 1, pseudo=True).space) == "1x1e"


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_multiplicities_and_channels_are_multiplied(e3j, x64, layout):
    """An array with both has the channels of each copy one after another; irreps may come in any order."""
    x = tensors(2, channels=6)
    parts = in_numpy(lambda x: to_irreps(x, 2), x)
    blocks, flat = [], []
    for irrep, rows in (((2, 1), slice(None)), ((0, 1), slice(0, 1)), ((1, 1), slice(None)), ((0, 1), slice(1, 2))):
        part = np.moveaxis(parts[irrep][:, 0].reshape(2, -1, 2, 3), 2, 1)[:, rows]  # two copies, three channels
        blocks.append((part.shape[1], irrep))
        flat.append(part.reshape(2, -1, 3))
    array = np.concatenate(flat, axis=1)
    y = e3j.O3Array(blocks, array if layout == LAYOUTS[0] else np.swapaxes(array, 1, 2), layout)
    assert str(y.space) == "2x2e + 1x0e + 2x1e + 1x0e"
    np.testing.assert_allclose(cartesian(y, 2), x, atol=1e-13)


def test_its_transformations(e3j):
    x = jnp.asarray(tensors(2, dtype=np.float32))
    y = to_o3_array(x, 2)
    back = jax.jit(jax.vmap(lambda x: from_o3_array(to_o3_array(x, 2), 2)))(x)
    np.testing.assert_allclose(back, x, atol=1e-5)
    assert jax.jit(lambda y: y)(y).space == y.space
    slope = jax.jit(jax.grad(lambda x: jnp.sum(to_o3_array(x, 2, layout="LEADING_CHANNELS").array ** 2)))(x)
    np.testing.assert_allclose(slope, 2 * x, atol=1e-5)


def test_errors_of_the_bridge(e3j):
    good = to_o3_array(jnp.ones((2, 3, 3, 4)), 2)
    step = "pick the irreps with e3j.core.Filter, or add zeros; pseudo=True changes the parity"
    two = e3j.O3Array("1x0e + 1x2e", jnp.ones((2, 6, 4)), LAYOUTS[0])
    uneven = e3j.O3Array("2x0e + 1x1e + 1x2e", jnp.ones((2, 10, 4)), LAYOUTS[0])
    for call, got, expected in [
        (lambda: from_o3_array(good, 1), "1x0e + 1x1e + 1x2e", "1x1o"),
        (lambda: from_o3_array(good, 2, pseudo=True), "1x0e", "1x0o+1x1o+1x2o"),
        (lambda: from_o3_array(two, 2), "1x0e + 1x2e", "1x0e+1x1e+1x2e"),
        (lambda: from_o3_array(uneven, 2), "2x0e + 1x1e", "a multiple of 1x0e+1x1e+1x2e"),
    ]:
        assert_error(ek.ShapeError, call, "the irreps do not fit tensors of order", got, expected, step)
    assert from_o3_array(two, 2, "sym").shape == (2, 3, 3, 4)
    keep = e3j.core.Filter(good.space, "0e + 2e", axis=-2)
    assert from_o3_array(e3j.O3Array(keep.target, keep(good.array), LAYOUTS[0]), 2, "sym").shape == (2, 3, 3, 4)
    assert_error(
        ek.OptionError,
        lambda: from_o3_array(good.array, 2),
        "y= must be an O3Array",
        "Array",
        "an O3Array",
        'write y=e3j.O3Array("1x1o", array)',
    )
    assert_error(
        ek.OptionError,
        lambda: to_o3_array(jnp.ones((3, 1)), 1, layout="TRAILING"),
        "unknown value for layout=",
        "TRAILING",
        "LEADING_CHANNELS",
        'write layout="TRAILING_CHANNELS"',
    )
    assert_error(
        ek.ShapeError, lambda: to_o3_array(jnp.ones((2, 3, 4, 1)), 2), "x must have shape", "4", "3, 3", "channels"
    )
    integers = e3j.O3Array("1x1o", jnp.ones((3, 1), jnp.int32), LAYOUTS[0])
    assert_error(ek.DTypeError, lambda: from_o3_array(integers, 1), "'y'", "int32", "float", "astype")


def test_without_e3j_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "e3j", None)
    for call in (lambda: to_o3_array(jnp.ones((3, 1)), 1), lambda: from_o3_array(jnp.ones((3, 1)), 1)):
        assert_error(
            ek.MissingPackageError,
            call,
            "e3j is not installed",
            "no module e3j",
            "the package e3j, which only this function needs",
            "pip install e3j",
        )


def test_the_blocks_of_the_guide_run(e3j):
    """They are in the language text, because the page has to run without e3j too."""
    (page,) = (page for page in documents.GUIDES if page.stem == "from_e3nn")
    scope, found = {}, []
    for language, block in documents.fences(page):
        if language == "text":
            exec(block, scope)
            found.append(block)
    assert len(found) == 2
