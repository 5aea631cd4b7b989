"""Symmetrized functions with axial vectors and pseudoscalars among their inputs and outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error

import equikit as ek
from equikit import SO, Lorentz, O, S
from equikit.symmetrization import OrbitDistance
from equikit.symmetrization.canonicalization import RotationCanonicalization, VectorNeurons
from equikit.symmetrization.engine._stabilizer import has_mean, odd_stabilizer_mean
from equikit.symmetrization.frames import PCA, QR, Alignment, GroupAverage, Sort

OUTPUTS = {"vector": "x", "axial": "x~", "scalar": "det(x)", "tensor": "x x~"}
POINTS = {
    "planar": np.array([[1.0, 2, 0], [0, 1, 0], [3, -1, 0]]),
    "collinear": np.outer([1.0, -2, 4], [1, 2, 3]),
}


def backbone(outputs, n):
    """A function without any symmetry of the inputs of one sample, without channels."""

    def function(x):
        flat = jnp.concatenate([array.ravel() for array in (x.values() if isinstance(x, dict) else [x])])
        found = {}
        for i, (name, words) in enumerate(outputs.items()):
            shape = (n,) * words.replace("det(x)", "").count("x")
            matrix = np.random.default_rng(i).normal(size=(flat.size, int(np.prod(shape))))
            found[name] = jnp.sin(flat @ jnp.asarray(matrix, flat.dtype) + 0.3 + i).reshape(shape)
        return found

    return function


def symmetrized(how, group, inputs, outputs=OUTPUTS):
    bound = {"x": group} | ({"p": ek.Fixed(4)} if any("p" in words.split() for words in inputs.values()) else {})
    function = backbone(outputs, group.n)
    return ek.symmetrize(function, inputs, outputs, how=how, groups=bound, channels=False, batched=False)


def acted(words, matrix, array):
    """What an element does to an array, by the definition."""
    axes = words.replace("det(x)", "").replace("~", "").split()
    for place, label in enumerate(axes):
        if label == "x":
            array = np.moveaxis(np.tensordot(matrix, array, ((1,), (place,))), 0, place)
    return array * np.linalg.det(matrix) ** (words.count("~") + words.count("det"))


def assert_commutes(function, inputs, outputs, group, x, tolerance):
    before = function(x)
    rng = np.random.default_rng(1)
    for element in [*(group.random_element(rng) for _ in range(3)), *map(np.asarray, group.generators())]:
        after = function({name: acted(inputs[name], element, array) for name, array in x.items()})
        wanted = {name: acted(outputs[name], element, np.asarray(before[name])) for name in outputs}
        assert_close(after, wanted, tolerance)


def drawn(inputs, n, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"p": 4, "x": n}
    axes = {name: words.replace("det(x)", "").replace("~", "").split() for name, words in inputs.items()}
    return {name: rng.normal(size=[sizes[label] for label in labels]) for name, labels in axes.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("how", "group"),
    [
        (PCA(), O(3)),
        (QR(), O(1, 2)),
        *(pytest.param(QR(), group, marks=pytest.mark.slow) for group in (O(2), Lorentz)),
    ],
    ids=str,
)
def test_outputs_and_inputs_turn_with_their_determinants(how, group):
    inputs = {"points": "p x", "spins": "p x~", "handedness": "det(x)"}
    function = symmetrized(how, group, inputs)
    assert_commutes(jax.jit(function), inputs, OUTPUTS, group, drawn(inputs, group.n), 1e-6)


PLANAR_OUTPUTS = {name: OUTPUTS[name] for name in ("vector", "axial", "scalar")}


@functools.cache
def of_three_points(how):
    bound = {"x": O(3), "p": ek.Fixed(3)}
    sym = ek.symmetrize(
        backbone(PLANAR_OUTPUTS, 3),
        {"points": "p x"},
        PLANAR_OUTPUTS,
        how=how,
        groups=bound,
        channels=False,
        batched=False,
    )
    return jax.jit(sym)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("how", [PCA(), QR()], ids=["PCA", "QR"])
def test_inputs_that_span_too_little_have_exact_means(how, points):
    function, x = of_three_points(how), POINTS[points]
    assert_commutes(function, {"points": "p x"}, PLANAR_OUTPUTS, O(3), {"points": x}, 1e-9)
    found = function({"points": x})
    assert np.abs(found["scalar"]) < 1e-12
    assert (np.max(np.abs(found["axial"])) > 1e-3) == (points == "planar")
    if points == "planar":
        np.testing.assert_allclose(found["axial"][:2], 0, atol=1e-12)
        np.testing.assert_allclose(found["vector"][2], 0, atol=1e-12)


@functools.cache
def elements(n, free, count=4000):
    """Elements that turn the last directions only."""
    found, rng = np.tile(np.eye(n), (count, 1, 1)), np.random.default_rng(0)
    if free:
        found[:, n - free :, n - free :] = [O(free).random_element(rng) for _ in range(count)]
    return found


mean = jax.jit(odd_stabilizer_mean, static_argnums=2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("axes", range(4))
@pytest.mark.parametrize("free", range(4))
def test_the_mean_over_what_leaves_an_input_has_the_determinant(axes, free):
    """Against the mean over many elements that turn the last directions only."""
    n, rng = 3, np.random.default_rng(0)
    array = rng.normal(size=(n,) * axes)
    projection = np.diag([1.0] * (n - free) + [0.0] * free)
    if not bool(has_mean(O(n), axes, jnp.asarray(free), odd=True)):
        assert axes >= free >= 2
        return
    moved = np.linalg.det(elements(n, free)).reshape(-1, *[1] * axes) * array
    for place in range(1, axes + 1):
        moved = np.moveaxis(np.einsum("gij,g...j->g...i", elements(n, free), np.moveaxis(moved, place, -1)), -1, place)
    found = mean(projection, array, tuple(range(axes)))
    np.testing.assert_allclose(found, moved.mean(0), atol=0.1)
    assert free < 2 or not np.any(found)


def test_under_rotations_the_marks_change_nothing():
    inputs, plain = {"points": "p x"}, {"vector": "x", "axial": "x", "scalar": "()", "tensor": "x x"}
    x = jax.tree.map(jnp.float32, drawn(inputs, 3))
    marked, bare = (symmetrized(QR(), SO(3), inputs, outputs)(x) for outputs in (OUTPUTS, plain))
    assert_close(marked, bare, 0)


def test_axial_vectors_alone_have_no_frame():
    for how in (QR(), PCA()):
        assert_error(
            ek.OptionError,
            lambda how=how: symmetrized(how, O(3), {"spins": "p x~"}),
            "a frame cannot be read from inputs that carry a determinant of 'x'",
            "p x~",
            "vectors or tensors without determinants",
            "name other terms=",
        )
    with pytest.raises(ek.OptionError, match="a frame cannot be read"):
        symmetrized(QR(terms=("spins",)), O(3), {"points": "p x", "spins": "p x~"})


@pytest.mark.parametrize("how", [Alignment(), PCA(on_degenerate="weighted")], ids=["alignment", "weighted"])
def test_weighted_alignments_are_refused_for_what_has_a_determinant(how):
    assert_error(
        ek.OptionError,
        lambda: symmetrized(how, O(3), {"points": "p x"}),
        "cannot average 'axial', which carries a determinant of 'x'",
        "points: p x",
        "terms without determinants",
        "use ek.frames.PCA('x') or ek.frames.QR('x')",
    )
    symmetrized(how, SO(3), {"points": "p x"})
    symmetrized(how, O(3), {"points": "p x"}, {"vector": "x"})


def test_positions_are_no_axial_vectors():
    inputs, outputs = {"points": "p x", "spins": "p x~"}, {"moved": "x", "axial": "x~"}
    function = ek.symmetrize(
        backbone(outputs, 3),
        inputs,
        outputs,
        how=QR(),
        translate="x",
        x=O(3),
        p=ek.Fixed(4),
        channels=False,
        batched=False,
    )
    assert dict(function.action.translated) == {"points": "x", "moved": "x"}
    with pytest.raises(ek.SignatureError, match="names an axis that holds no positions"):
        ek.symmetrize(lambda x: x, inputs, outputs, how=QR(), translate={"spins": "x"}, x=O(3), p=S)
    x = jax.tree.map(jnp.float32, drawn(inputs, 3))
    one, other = function(x), function({**x, "points": x["points"] + 2})
    assert_close(other, {"moved": one["moved"] + 2, "axial": one["axial"]}, 1e-4)


@pytest.mark.usefixtures("x64")
def test_points_are_sorted_by_pseudoscalars_after_they_are_turned():
    inputs, outputs = {"points": "p x", "charges": "p det(x)"}, {"axial": "p x~"}

    def function(x):
        return {"axial": jnp.cumsum(jnp.sin(x["points"]) * x["charges"][:, None], axis=0)}

    how = [PCA(), Sort(terms=("charges",))]
    sym = jax.jit(ek.symmetrize(function, inputs, outputs, how=how, x=O(3), p=S, channels=False, batched=False))
    x = drawn(inputs, 3)
    assert_commutes(sym, inputs, outputs, O(3), x, 1e-9)
    order = np.array([2, 0, 3, 1])
    assert_close(sym(jax.tree.map(lambda a: a[order], x))["axial"], sym(x)["axial"][order], 1e-9)
    with pytest.raises(ek.OptionError):
        ek.symmetrize(function, inputs, outputs, how=how[::-1], x=O(3), p=S, channels=False, batched=False)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_a_learned_frame_has_axial_outputs():
    network = VectorNeurons({"p x": 1}, 3, channels=4, layers=1, p=S, x=O(3), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    sym = ek.symmetrize(
        lambda x: {"axial": jnp.sin(x.sum(0) + 1), "scalar": jnp.cos(x[0, 0] + 1)},
        {"p x": "p x"},
        {"axial": "x~", "scalar": "det(x)"},
        how=RotationCanonicalization(network),
        p=S,
        x=O(3),
        batched=False,
    )
    x = np.random.default_rng(0).normal(size=(5, 3, 1))
    run, element = jax.jit(sym), O(3).generators()[0]
    before, after = run(x), run(np.einsum("ij,pjc->pic", element, x))
    assert_close(after["axial"], -np.einsum("ij,jc->ic", element, before["axial"]), 1e-7)
    assert_close(after["scalar"], -np.asarray(before["scalar"]), 1e-7)


def test_pairings_with_axial_vectors_are_not_compared():
    def reflection(x):
        return jnp.broadcast_to(jnp.diag(jnp.array([1.0, 1, -1])), (2, 3, 3))

    inputs = {"points": "p x", "spins": "p x~"}
    x = {name: jnp.ones((2, 4, 3, 1)) * jnp.arange(1.0, 4)[:, None] for name in inputs}
    options = {"x": O(3), "p": ek.Fixed(4)}
    how = OrbitDistance(reflection, compare_input=True)
    sym = ek.symmetrize(lambda x: {"axial": x["spins"][:, 0]}, inputs, {"axial": "x~"}, how=how, **options)
    y, info = sym(x, with_info=True)
    assert_close(y["axial"], x["spins"][:, 0], 1e-6)
    np.testing.assert_allclose(info.more["orbit_input"], 0, atol=1e-6)
    with pytest.raises(ek.OptionError, match="leave compare_input= out"):
        ek.symmetrize(lambda x: x[:, 0], {"spins": "p x~"}, {"axial": "x~"}, how=how, **options)


def test_an_average_over_all_elements_has_the_determinant():
    """Over 1 and -1, the elements of O(1), the average of an exponential is a hyperbolic sine."""
    how = GroupAverage(samples=2000)
    sym = ek.symmetrize(lambda x: jnp.exp(x[0]), "x -> det(x)", x=O(1), how=how, channels=False, batched=False)
    np.testing.assert_allclose(sym(jnp.array([1.0]), key=jax.random.key(0)), np.sinh(1), atol=0.15)
