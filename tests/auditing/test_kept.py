"""The subgroup that is kept has the right name, generators and Lie algebra."""

import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing.subgroups._permutations import blocks_name

X = np.random.default_rng(0).normal(size=(8, 8, 3, 2))


def kept(function, group, **options):
    dtype = np.complex128 if group.is_complex else np.float64
    given = {"batch": (8,), "draws": 64, "dtype": dtype, "channels": 2} | options
    return ek.audit(function, "x -> x", x=group, **given).kept["x"]


def scaled(*factors):
    return lambda x: x * np.array(factors, float)[:, None]


def ring(x):
    """A convolution on a ring, which commutes with shifts but not with reflections."""
    return x + 0.5 * np.roll(x, 1, 1)


def ring_both(x):
    return x + 0.5 * (np.roll(x, 1, 1) + np.roll(x, -1, 1))


def coarse(x):
    return ring(x) * (1 + np.arange(x.shape[1])[:, None] % 2)


def signed_sorting(x):
    """The sign of the permutation that sorts the entries, times their sum: kept by even permutations."""
    order = np.argsort(x[..., 0], 1)
    sign = np.array([np.linalg.det(np.eye(x.shape[1])[row]) for row in order])
    return np.broadcast_to((x.sum(1) * sign[:, None])[:, None], x.shape)


@pytest.mark.parametrize(
    ("function", "group", "name"),
    [
        (np.sin, ek.S(4), "S(4)"),
        (np.sin, ek.S(9), "S(9)"),
        (scaled(1, 2, 3), ek.S(3), "the trivial group"),
        (scaled(*range(7)), ek.S(7), "the trivial group, as far as was tried"),
        (scaled(1, 1, 2, 2), ek.S(4), "S({0, 1}) × S({2, 3})"),
        (scaled(1, 1, 1, 1, 2, 3, 3), ek.S(7), "at least S({0, ..., 3}) × S({5, 6})"),
        (ring, ek.S(4), "Z(4)"),
        (ring, ek.S(8), "at least Z(8)"),
        (ring_both, ek.S(4), "D(4)"),
        (ring_both, ek.S(8), "at least D(8)"),
        (ring, ek.D(6), "Z(6)"),
        (ring, ek.D(120), "Z(120)"),
        (ring_both, ek.D(120), "D(120)"),
        (coarse, ek.Z(6), "Z(3)"),
        (coarse, ek.Z(240), "Z(120) of shifts by 2"),
        (coarse, ek.A(6), "at least Z(3) of shifts by 2"),
        (signed_sorting, ek.S(4), "A(4)"),
        (signed_sorting, ek.S(6), "A(6)"),
        (signed_sorting, ek.A(6), "A(6)"),
        (np.abs, ek.H(2), "Z(2)"),
        (np.abs, ek.H(5), "at least S({0, ..., 4})"),
        (scaled(1, 2, 1, 3, 1), ek.H(5), "at least sign changes at 0, 1, 2, 3, 4 with S({0, 2, 4})"),
        (np.sign, ek.H(4), "H(4)"),
    ],
)  # fmt: skip
def test_permutations(function, group, name):
    assert str(kept(function, group)) == name


AXIS = np.array([1.0, 2.0, 2.0]) / 3


TIMED = "at least SO(3) that fixes (1, 0, 0, 0) with a time reversal and a reflection of space of x"


def gravity(x):
    return x + AXIS[:, None]


def magnetic(x):
    return x + np.cross(x, AXIS, axisa=1, axisb=0, axisc=1)


def crossed(x):
    return np.cross(x[..., 0], x[..., 1])[..., None] + 0 * x


def cubic(x):
    return x**3


@pytest.mark.parametrize(
    ("function", "group", "name", "dimension"),
    [
        (lambda x: 2 * x, ek.O(3), "O(3)", 3),
        (crossed, ek.O(3), "SO(3)", 3),
        (crossed, ek.SO(3), "SO(3)", 3),
        (gravity, ek.O(3), "O(2) about (0.33, 0.67, 0.67)", 1),
        (gravity, ek.SO(3), "SO(2) about (0.33, 0.67, 0.67)", 1),
        (magnetic, ek.O(3), "SO(2) about (0.33, 0.67, 0.67) with the reflection of x along (0.33, 0.67, 0.67)", 1),
        (lambda x: np.maximum(x, 0) * [[1.0], [2.0]], ek.O(2), "the trivial group, as far as was tried", 0),
        (lambda x: x + np.eye(4)[:, :1], ek.O(4), "O(3) that fixes (1, 0, 0, 0)", 3),
        (lambda x: x * [[1], [1], [2], [2]], ek.SO(4), "at least SO(2) × SO(2)", 2),
        (lambda x: 2 * x, ek.Lorentz, "O(1, 3)", 6),
        (lambda x: x * np.array([2, 1, 1, 1])[:, None], ek.SO(1, 3), TIMED, 3),
        (lambda x: x * np.array([1, 2])[:, None], ek.Sp(2), "at least SO+(1, 1)", 1),
        (lambda x: 1j * x, ek.U(2), "U(2)", 4),
        (np.conj, ek.U(2), "at least SO(2)", 1),
    ],
)  # fmt: skip
def test_lie_groups(function, group, name, dimension):
    found = kept(function, group)
    assert (found.dimension, str(found)) == (dimension, name)


def test_what_is_kept_is_a_group_for_layers():
    found = kept(gravity, ek.O(3))
    (turn,) = found.lie_algebra
    np.testing.assert_allclose(turn @ AXIS, 0, atol=1e-9)
    np.testing.assert_allclose(turn, -turn.T, atol=1e-12)
    for reflection in found.generators:
        np.testing.assert_allclose(reflection @ AXIS, AXIS, atol=1e-9)
    assert not found.is_whole
    # The maps of O(2) about an axis: the projections on the axis and across it.
    assert ek.hom("x -> x", x=found.group).dim == 2
    rotations = kept(crossed, ek.O(3))
    assert (rotations.group, rotations.is_whole, rotations.largest) == (ek.SO(3), False, True)
    blocks = kept(scaled(1, 1, 1, 1, 2, 3, 3), ek.S(7))
    assert ek.hom("x -> ()", x=blocks.group).dim == 3


def test_elements_outside_of_the_group_are_not_kept():
    """Rotations about one axis, a group of matrices: a half turn about another axis is no element of it."""
    turns = ek.MatrixGroup(lie_algebra=[[[0, -1, 0], [1, 0, 0], [0, 0, 0]]], name="turns")
    found = kept(lambda x: x * [[1.0], [2.0], [3.0]], turns)
    assert (str(found), found.generators) == ("the trivial group, as far as was tried", ())
    assert kept(lambda x: x * [[2.0], [2.0], [3.0]], turns).is_whole


def test_functions_with_jumps_have_no_derivative():
    """Rotations about an axis are found although the derivative of the function is zero or infinite."""
    steps = lambda x: x * (1 + (x[:, :1] > 0))  # noqa: E731
    assert str(kept(steps, ek.O(3))) == "O(2) about (1, 0, 0)"


def test_labels_are_kept_one_by_one():
    report = ek.audit(
        lambda x: x * np.array([1, 1, 2])[:, None, None] + AXIS[:, None],
        "p x -> p x",
        p=ek.S(3),
        x=ek.SO(3),
        data=X[:, :3],
    )
    assert list(report.kept) == ["p", "x"]
    assert str(report.kept) == "S({0, 1}) × SO(2) about (0.33, 0.67, 0.67)"
    assert repr(report.kept) == f"<{report.kept}>"
    assert len(report.kept) == 2


def test_blocks_are_written_shortly():
    assert blocks_name("S", [[0, 2, 4, 6], [1, 3], [5]]) == "S({0, 2, 4, 6}) × S({1, 3})"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_subgroups_in_hidden_coordinates_in_single_precision(seed):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    plane, axis = (frame[:, :2] @ frame[:, :2].T).astype(np.float32), frame[:, :1].astype(np.float32)
    data = rng.normal(size=(8, 5, 2)).astype(np.float32)
    options = {"data": data, "dtype": None}
    split = kept(lambda x: np.asarray(x) + np.einsum("ij,bjc->bic", plane, x), ek.SO(5), **options)
    assert (str(split), split.dimension) == ("at least SO(3) × SO(2)", 4)
    assert all(np.allclose(matrix @ plane, plane @ matrix, atol=1e-3) for matrix in split.lie_algebra)
    fixed = kept(lambda x: np.asarray(x) + axis, ek.SO(5), **options)
    assert str(fixed).startswith("SO(4) that fixes (")
    assert all(np.allclose(matrix @ axis, 0, atol=1e-3) for matrix in fixed.lie_algebra)
    # As groups of layers: identities of both parts and the turn of the plane; projections on the axis and across it.
    assert [ek.hom("x -> x", x=found.group).dim for found in (split, fixed)] == [3, 2]


def test_what_is_kept_is_exact_and_goes_into_layers():
    report = ek.audit(lambda x: np.sum(x**2, axis=(1, 2))[:, None] + x[:, 2], "x -> ()", x=ek.O(3), channels=1)
    group = report.kept["x"].group
    assert (str(group), group.exact) == ("O(2) about (0, 0, 1)", True)
    for bound in ({"x": report.kept}, {"x": report.kept["x"]}, {"groups": report.kept}, {"x": group}):
        assert ek.hom("x -> x", **bound).dim == 2
    layer = ek.nn.Linear("x -> x", 1, 1, x=report.kept, rngs=nnx.Rngs(0))
    assert ek.audit(layer, "x -> x", x=report.kept, channels=1).passed
    diagonal = ek.audit(lambda x: np.sum(x, 1) + np.sum(x**2, (1, 2))[:, None], "x -> ()", x=ek.O(3), channels=1)
    assert diagonal.kept["x"].group.exact
    np.testing.assert_allclose(diagonal.kept["x"].lie_algebra[0] @ np.ones(3), 0, atol=1e-12)


def test_what_is_kept_is_a_subgroup_in_the_lattice():
    report = ek.audit(lambda x: x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3], "p -> ()", p=ek.S(4), channels=1)
    found = report.kept["p"].subgroup
    assert (found.name, found.order) == ("D(4)", 8)
    assert found in ek.discover.subgroups(ek.S(4)).subgroups
    assert ek.hom("p -> p", p=found).dim == ek.hom("p -> p", p=report.kept).dim == 3
    assert found.contains(ek.audit(lambda x: x[:, 0] * x[:, 1], "p -> ()", p=ek.S(4), channels=1).kept["p"].subgroup)
    with pytest.raises(ek.GroupError, match="cannot be listed"):
        _ = ek.audit(lambda x: x, "x -> x", x=ek.SO(2), channels=1).kept["x"].subgroup


def test_a_label_that_was_not_audited_is_refused():
    found = ek.audit(lambda x: x, "x -> x", x=ek.Z(2), channels=1).kept
    with pytest.raises(ek.OptionError, match="no such label") as caught:
        found["q"]
    assert caught.value.expected == "'x'"
    assert str(caught.value).startswith("the audit has no such label\n")
    assert isinstance(caught.value, KeyError)
    assert "q" not in found
    assert found.get("q") is None
    assert ("q", found["x"]) not in found.items()


@pytest.mark.parametrize(
    ("function", "group", "name", "family"),
    [
        (lambda x: x * np.abs(x), ek.O(3), "at least H(3), the signed permutations of x", ek.H(3)),
        (lambda x: np.maximum(x, 0), ek.O(3), "at least S(3), the permutations of x", ek.S(3)),
        (lambda x: x * np.abs(x), ek.SO(3), "at least the rotations among the signed permutations of x", None),
        (
            lambda x: x * np.abs(x) * np.array([1, 2, 3])[:, None],
            ek.O(3),
            "at least the sign changes of x",
            None,
        ),
    ],
)
def test_groups_of_signed_permutations_of_the_axes_have_names(function, group, name, family):
    found = ek.audit(function, "x -> x", x=group, channels=1, draws=40).kept["x"]
    assert (str(found), found.family) == (name, family)
    assert not found.is_whole
    if family is not None:
        assert found.group == family
        assert ek.audit(function, "x -> x", x=found.group, channels=1).passed
