"""Lie algebras of known functions are found exactly, also in hidden coordinates, and bad input is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.linalg import expm

import equikit as ek
from equikit.auditing import upper_bound
from equikit.discover import lie_algebra
from equikit.groups.lie._algebra import distance

METRIC = np.diag([1.0, -1, -1, -1])
RANDOM = np.random.default_rng(0)
X3 = RANDOM.normal(size=(240, 3, 2))
X4 = RANDOM.normal(size=(240, 4, 2))
CHANGE = np.array([[2.0, 0.3, 0.1, 0], [0.2, 1.1, 0.7, 0.1], [0, 0.4, 1.5, 0.2], [0.3, 0, 0.1, 0.8]])


def minkowski(x, metric=METRIC):
    return np.tanh(np.einsum("sic,ij,sjd->scd", x, metric, x) / 4)


def cross(x):
    return np.cross(x[..., 0], x[..., 1])[..., None] * np.sum(x[..., :1] ** 2, axis=1, keepdims=True) ** 0.5


def outer(x):
    """Symmetric and traceless, so that O(3) is all that is left of GL(3)."""
    squares = np.einsum("sic,sjc->sij", x, x)
    return (squares - np.eye(3) * np.trace(squares, axis1=1, axis2=2)[:, None, None] / 3)[..., None]


def test_a_metric_is_found():
    found = lie_algebra(minkowski, X4)
    assert found.recognized.name == "O(1, 3)"
    assert found.dimension == 6
    assert found.group.exact
    assert found.gap > 1e6
    assert not found.exact_derivatives
    assert ek.hom("x x -> ", x=found.group).dim == 1
    assert ek.hom("x x x x -> ", x=found.group).dim == 3


def test_a_hidden_metric_is_found():
    inverse = np.linalg.inv(CHANGE)
    metric = inverse.T @ METRIC @ inverse
    found = lie_algebra(functools.partial(minkowski, metric=metric), np.einsum("ij,sjc->sic", CHANGE, X4))
    assert found.recognized.name == "O(1, 3)"
    assert found.recognized.known
    true = CHANGE @ np.array(ek.O(1, 3).lie_algebra()) @ inverse
    assert distance(found.basis, true) < 1e-6
    assert np.allclose(found.recognized.metric / found.recognized.metric[0, 0], metric / metric[0, 0], atol=1e-6)
    # By the definition: random elements of the group leave the function as it is.
    element = expm(np.tensordot(RANDOM.normal(size=6) / 4, found.basis, 1))
    x = np.einsum("ij,sjc->sic", CHANGE, X4[:10])
    moved = np.einsum("ij,sjc->sic", element, x)
    assert np.allclose(minkowski(moved, metric), minkowski(x, metric), atol=1e-6)


def test_singular_values_do_not_depend_on_coordinates():
    inverse = np.linalg.inv(CHANGE)
    metric = inverse.T @ METRIC @ inverse
    one = lie_algebra(minkowski, X4, test_reflections=False)
    other = lie_algebra(
        functools.partial(minkowski, metric=metric), np.einsum("ij,sjc->sic", CHANGE, X4), test_reflections=False
    )
    assert np.allclose(one.spectrum, other.spectrum, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "signature", "name"),
    [
        (cross, "x -> x", "SO(3)"),
        (outer, "x -> x x", "R+ x O(3)"),
        (lambda x: np.sin(x[:, 0, :1]) * np.sum(x[:, 1:] ** 2, axis=1)[:, :1], "x -> ()", "O(2) x Trivial(1)"),
        (lambda x: np.tanh(x[:, 0, 0] * x[:, 1, 0]) * x[:, 2, 0], "x -> ()", "O(1, 1) x Trivial(1)"),
    ],
)
def test_functions_of_three_vectors(function, signature, name):
    found = lie_algebra(function, X3, signature)
    assert found.recognized.name == name
    assert np.all(found.certificate < 0.25)
    assert np.all(found.defects < 1e-6)


def test_scalings_are_excluded_on_request():
    assert lie_algebra(outer, X3, "x -> x x", traceless=True).recognized.name == "O(3)"


def test_an_unknown_representation_of_the_output_is_found():
    upper = np.triu_indices(3)
    found = lie_algebra(lambda x: np.einsum("sic,sjc->sij", x, x)[:, *upper, None], X3, "x -> y")
    assert found.recognized.name == "GL+(3)"
    # M is the action of L on symmetric matrices: tested on one of them.
    matrix, (i, j) = RANDOM.normal(size=(3, 3)), upper
    symmetric = matrix + matrix.T
    for lie, out in zip(found.basis, found.outputs["y"], strict=True):
        assert np.allclose(out @ symmetric[i, j], (lie @ symmetric + symmetric @ lie.T)[i, j], atol=1e-6)


def test_several_terms_duals_and_derivatives_by_jax():
    def force(arrays):
        return jnp.einsum("sijc,sjc->sic", arrays["field"], arrays["covector"])

    data = {"field": RANDOM.normal(size=(200, 3, 3, 1)), "covector": RANDOM.normal(size=(200, 3, 1))}
    with pytest.raises(ek.OptionError, match="commutes with every matrix on 'x'"):
        lie_algebra(force, data, "field: x x + covector: x* -> x")
    found = lie_algebra(force, data, "field: x x + covector: x -> x")
    assert found.recognized.name == "O(3)"
    assert found.exact_derivatives


def test_a_network_of_equikit_has_its_group():
    network = ek.nn.Network([{"x": 2}, {"": 4, "x": 4}, {"": 1}], x=ek.O(3), rngs=nnx.Rngs(0))
    found = lie_algebra(network, {"x": X3.astype(np.float32)}, "x -> ()")
    assert found.recognized.name == "O(3)"
    assert found.exact_derivatives


def test_unknown_names_the_axis():
    def energy(x):  # [samples, points, space, channels]
        return jnp.sum(jnp.linalg.norm(x[:, :1] - x[:, 1:], axis=2), axis=(1, 2))

    x = RANDOM.normal(size=(200, 2, 3, 1))
    assert lie_algebra(energy, x).recognized.name == "O(3)"
    points = lie_algebra(energy, x, "p x -> ()", unknown="p", test_reflections=False)
    assert points.dimension == 2  # matrices that map both points to the same displacement
    assert np.allclose(points.basis[:, 0], points.basis[:, 1], atol=1e-4)


def test_noise_in_the_function_gives_a_small_gap_and_a_refusal():
    wrong = RANDOM.normal(size=(8, 3))

    def function(x, amount):
        phases = np.einsum("kj,sjc->skc", wrong, x)
        return np.sum(x[..., 0] * x[..., 1], axis=1) + amount * np.sum(np.sin(phases), axis=(1, 2))

    near = lie_algebra(functools.partial(function, amount=0.005), X3)
    assert near.recognized.name == "O(3)"
    assert 4 < near.gap < 1000
    with pytest.raises(ek.GroupError, match="no Lie algebra stands out") as caught:
        lie_algebra(functools.partial(function, amount=0.5), X3)
    assert caught.value.got.count(",") == 8  # the whole spectrum
    with pytest.raises(ek.GroupError, match="more accurately; otherwise it has no continuous symmetry"):
        lie_algebra(lambda x: np.sum(x**2, axis=(1, 2)), X3[:, :1])  # one number: no smaller gap helps


def test_random_functions_rarely_have_a_false_symmetry():
    random, count = np.random.default_rng(0), 120
    names = []
    for repeat in range(count):
        n, channels = (2, 3, 4)[repeat % 3], (1, 2)[repeat // 3 % 2]
        inner, shift = random.normal(size=(8, n * channels)), random.normal(size=8)
        outer, change = random.normal(size=8), random.normal(size=(n, n))
        x = np.einsum("ij,sjc->sic", change, random.normal(size=(400, n, channels)))

        def function(x, inner=inner, shift=shift, outer=outer):
            return np.tanh(x.reshape(len(x), -1) @ inner.T + shift) @ outer

        try:
            names.append(lie_algebra(function, x, test_reflections=False).recognized.name)
        except ek.GroupError:
            continue
    assert len(names) <= 0.05 * count


def test_directions_that_are_hardly_used_are_no_symmetry():
    def function(x, amount):
        return np.sum(np.sin(x[:, 0] + 2 * x[:, 1] ** 3), axis=1) + amount * np.sum(x[:, 2] ** 3, axis=1)

    assert lie_algebra(functools.partial(function, amount=0.0), X3).dimension == 3  # maps into the third direction
    with pytest.raises(ek.GroupError, match="no Lie algebra stands out"):
        lie_algebra(functools.partial(function, amount=0.1), X3)


def test_reflections_of_several_blocks_are_told_apart():
    x = np.random.default_rng(0).normal(size=(400, 5, 2))

    def function(x):
        area = x[:, 3, 0] * x[:, 4, 1] - x[:, 4, 0] * x[:, 3, 1]  # changes its sign under reflections
        return np.sum(x[:, :3] ** 2, axis=(1, 2)) + area * np.exp(-np.sum(x[:, 3:] ** 2, axis=(1, 2)) / 4)

    found = lie_algebra(function, x)
    assert found.recognized.name == "O(3) x SO(2)"
    assert {*found.reflections} == {"reflection of SO(3)", "reflection of SO(2)"}
    assert ek.hom("x x -> ", x=found.group).dim == 3  # two metrics, and the area


def test_the_certificate_is_an_upper_bound():
    random = np.random.default_rng(1)
    for mean in (0.01, 0.2):
        bounds = [upper_bound(random.binomial(1, mean, size=200).astype(float), 0.95) for _ in range(200)]
        assert np.mean(np.array(bounds) < mean) <= 0.05
    assert upper_bound(np.zeros(1000), 0.95) < 0.01


def squared(x):
    return jnp.sum(x**2, axis=(1, 2))


def jumping(x):
    return x * squared(x)[:, None, None] + 10.0 * (x[:, :1] > 0) * jnp.ones((3, 1))


JUMPS = {
    "step": (lambda x: squared(x) + 10.0 * (x[:, 0, 0] > 0), None),
    "stairs": (lambda x: squared(x) + jnp.floor(x[:, 0, 0]), None),
    "detached": (lambda x: squared(x) + jax.lax.stop_gradient(jnp.sin(3 * x[:, 0, 0])), None),
    "equivariant": (jumping, "x -> x"),
    "unknown representation": (lambda x: jumping(x)[:, [2, 0, 1]], "x -> y"),
}


@pytest.mark.parametrize("name", JUMPS)
def test_what_derivatives_do_not_see_is_refused(name):
    function, signature = JUMPS[name]
    with pytest.raises(ek.GroupError, match="that finite elements of the group do not have") as caught:
        lie_algebra(function, X3[..., :1], signature)
    assert caught.value.step.startswith("remove jumps")


def test_a_second_gap_is_in_the_text():
    found = lie_algebra(lambda x: np.sum(x**2, axis=(1, 2)) + 1e-4 * x[:, 2, 0], X3)
    assert found.recognized.name == "O(3)"
    ((dimension, gap),) = found.other_gaps
    assert dimension == 1
    assert 5 < gap < found.gap
    assert f"  smaller group    dimension 1 at gap {gap:.1f}" in str(found).splitlines()
    assert lie_algebra(minkowski, X4).other_gaps == ()


def test_two_gaps_of_one_size_are_refused_with_the_way_to_the_smaller_group():
    """SO(3) is broken as much as rounding is below it: the two ratios are nearly equal."""

    def tilted(weight):
        return lambda x: np.sum(x**2, axis=(1, 2)) + weight * x[:, 2, 0]

    gaps = lie_algebra(tilted(1e-4), X3)
    levels = gaps.spectrum[-3] * gaps.spectrum[-1], gaps.spectrum[-4]
    weight = 1e-4 * np.sqrt(gaps.gap / gaps.other_gaps[0][1])
    with pytest.raises(ek.GroupError, match="two gaps") as caught:
        lie_algebra(tilted(weight), X3)
    assert "O(3) of dimension 3 at gap" in caught.value.got.replace("SO(3)", "O(3)"), levels
    limit = float(caught.value.step.rpartition("most_defect=")[2])
    assert lie_algebra(tilted(weight), X3, most_defect=limit).dimension == 1


def test_finite_elements_are_in_the_evidence():
    """A small jump is seen, although no derivative shows it."""
    small = lie_algebra(lambda x: squared(x) + 0.3 * (x[:, 0, 0] > 0), X3)
    assert small.defects.max() < 1e-6
    assert 0.01 < small.elements[0] < small.elements[1]
    assert f"finite elements  at most {small.elements[1]:.2g} (mean {small.elements[0]:.2g})" in str(small)
    # Elements move outputs by the representation that was found: exactly, for symmetric matrices.
    upper = np.triu_indices(3)
    found = lie_algebra(lambda x: np.einsum("sic,sjc->sij", x, x)[:, *upper, None], X3, "x -> y")
    assert found.elements[0] < 1e-6


def test_the_text_tells_the_evidence():
    text = str(lie_algebra(minkowski, X4))
    assert text.splitlines()[0] == "O(1, 3) of dimension 6"
    assert "with 95% confidence" in text
    assert "reflection both" in text
    assert "finite elements" in text
    assert repr(lie_algebra(minkowski, X4)).startswith("LieAlgebra('O(1, 3)', gap")


def with_state(x):
    return np.random.default_rng().normal(size=len(x))


BAD = {
    "constant": (lambda: lie_algebra(lambda x: np.ones(len(x)), X3), "the function is constant"),
    "not differentiable": (
        lambda: lie_algebra(lambda x: np.round(x[:, 0, 0]), X3),
        "derivatives of the function are zero",
    ),
    "classes": (lambda: lie_algebra(lambda x: np.argmax(x[:, :, 0], 1), X3), "not real floating-point numbers"),
    "every matrix": (lambda: lie_algebra(lambda x: x, X3, "x -> x"), "commutes with every matrix"),
    "subspace": (lambda: lie_algebra(minkowski, np.concatenate([X3, X3[:, :1]], 1)), "the data lie in a subspace"),
    "no entries": (lambda: lie_algebra(minkowski, np.zeros((400, 0, 1))), "no numbers in the data"),
    "no samples": (lambda: lie_algebra(minkowski, X4[:0]), "no numbers in the data"),
    "no channels": (lambda: lie_algebra(minkowski, X4[..., :0]), "no numbers in the data"),
    "an exception": (lambda: lie_algebra(lambda x: 1 / 0, X3), "the function raises an exception"),
    "few": (lambda: lie_algebra(minkowski, X4[:40]), "too few samples for 16 unknowns"),
    "NaN in data": (lambda: lie_algebra(minkowski, np.where(X4 > 2, np.nan, X4)), "the data are not finite"),
    "NaN in outputs": (
        lambda: lie_algebra(lambda x: np.where(x[:, 0, 0] > 2, np.nan, x[:, 0, 0]), X3),
        "the outputs of the function are not finite",
    ),
    "NaN in derivatives": (
        lambda: lie_algebra(lambda x: jnp.sqrt(jnp.maximum(x[:, 0, 0], 0)), X3),
        "derivatives of the function are not finite",
    ),
    "state": (lambda: lie_algebra(with_state, X3), "other outputs for the same samples"),
    "samples together": (lambda: lie_algebra(lambda x: x - np.mean(x, 0), X3, "x -> x"), "other outputs for the same"),
    "one direction": (lambda: lie_algebra(lambda x: x[:, 0] ** 2, X3[:, :1]), "no Lie algebra stands out"),
    "without channels": (lambda: lie_algebra(minkowski, X3[..., 0]), "data must have shape"),
    "wrong output": (lambda: lie_algebra(lambda x: np.sum(x), X3), "the output of the function must have shape"),
    "wrong axes": (lambda: lie_algebra(lambda x: x[:, :2], X3, "x -> x"), "the output of the function must have shape"),
    "integers": (lambda: lie_algebra(minkowski, np.ones((200, 4, 1), int)), "data must be an array of real"),
    "names": (lambda: lie_algebra(minkowski, X3, "a: x + b: x -> ()"), "the data do not have the expected names"),
    "sizes": (
        lambda: lie_algebra(lambda d: d["a"], {"a": X3, "b": X4}, "a: x + b: x -> x"),
        "the data have sizes 3 and 4 on 'x'",
    ),
    "no axis": (lambda: lie_algebra(minkowski, X3[:, 0], "() -> ()"), "there are no axes in the input"),
    "determinant": (lambda: lie_algebra(cross, X3, "x -> x~"), "a signature with determinants"),
    "unknown label": (lambda: lie_algebra(cross, X3, "x -> x", unknown="p"), "unknown value for unknown="),
    "gap": (lambda: lie_algebra(cross, X3, "x -> x", least_gap=0.5), "least_gap= must be"),
    "not a function": (lambda: lie_algebra(3, X3), "function= must be callable"),
    "outputs": (lambda: lie_algebra(lambda x: x, X3, "x -> x + ()"), "the outputs of the function do not have"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, text = BAD[name]
    with pytest.raises(ek.EquikitError, match=text) as caught:
        call()
    assert caught.value.step
    assert caught.value.got
    assert caught.value.expected


def test_dropout_is_state():
    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    with pytest.raises(ek.OptionError, match="other outputs for the same samples") as caught:
        lie_algebra(lambda x: jnp.sum(layer(jnp.asarray(x, jnp.float32)) ** 2, axis=(1, 2)), X3.astype(np.float32))
    assert caught.value.step == "pass a model after model.eval()"


def test_a_surrogate_is_a_function_of_arrays_of_any_number_of_samples():
    data = {"a": X3, "b": X4[..., :1]}
    model = ek.discover.surrogate(data, {"y": X3[:, :2], "z": X4[:, 0]}, key=jax.random.key(0), hidden=(4,), epochs=2)
    found = model({"a": X3[:5], "b": X4[:5, :, :1]})
    assert {name: y.shape for name, y in found.items()} == {"y": (5, 2, 2), "z": (5, 2)}
    assert 0 < model.error < 10


def test_a_surrogate_refuses_bad_data():
    for call, text in (
        (lambda: ek.discover.surrogate({}, X3, key=jax.random.key(0)), "there are no arrays"),
        (lambda: ek.discover.surrogate(X3, X3[:9], key=jax.random.key(0)), "targets must have shape"),
        (lambda: ek.discover.surrogate(X3, X3 * np.nan, key=jax.random.key(0)), "the targets are not finite"),
        (lambda: ek.discover.surrogate(X3, 1 + 0 * X3, key=jax.random.key(0)), "there are no changes in the targets"),
        (lambda: ek.discover.surrogate(0 * X3, X3, key=jax.random.key(0)), "there are no changes in the data"),
        (lambda: ek.discover.surrogate(X3, X3, key=jax.random.key(0), hidden=()), "hidden= must be a list of widths"),
    ):
        with pytest.raises(ek.EquikitError, match=text):
            call()


@pytest.mark.slow
def test_a_data_set_alone_tells_its_group():
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 3, 2)).astype(np.float32)
    y = np.einsum("sic,sid->scd", x, x)
    model = ek.discover.surrogate(x, y, key=jax.random.key(0), epochs=30)
    found = lie_algebra(model, x[:2000])
    assert found.recognized.name == "O(3)"
    assert found.group.exact
    layer = ek.nn.Linear("x x -> x x", 2, 2, x=found.group, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((3, 3, 3, 2))).shape == (3, 3, 3, 2)


def test_half_precision_is_the_unit_of_zero():
    x = jnp.asarray(X4, jnp.bfloat16)
    found = lie_algebra(lambda x: jnp.einsum("sic,ij,sjc->sc", x, jnp.asarray(METRIC, x.dtype), x), x)
    assert found.recognized.name == "O(1, 3)"
