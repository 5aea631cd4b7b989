"""Rotations from the vectors of a network: exact, or reported, for every input; derivatives; learning."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
import equikit.testing
from equikit.nn import VectorNeurons
from equikit.symmetrization.canonicalization import RotationCanonicalization
from equikit.symmetrization.rotations._gram_schmidt import gram_schmidt
from equikit.symmetrization.rotations._vectors import Points

OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


@functools.cache
def radial(count, metric=None):
    """Vectors of every point from its length alone, `[*batch, points, d, 1]` to `[*batch, points, d, count]`."""

    @jax.jit
    def network(x, mask=None):
        form = jnp.ones(x.shape[-2]) if metric is None else jnp.asarray(metric, x.dtype)
        square = jnp.sum(form[:, None] * x * x, axis=-2, keepdims=True)
        return x * jnp.sin((1 + jnp.arange(count)) * square + jnp.arange(count))

    return network


def mixing(x):
    """A backbone that knows no symmetry, and is not zero at zero."""
    count = np.prod(x.shape[-2:], dtype=int)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(count, count)), x.dtype)
    return jnp.cos(x.reshape(*x.shape[:-2], count) @ weights + 0.3).reshape(x.shape)


def element(group, seed=0):
    return group.random_element(np.random.default_rng(seed))


def clouds(points=6, seed=1):
    """Clouds in space by what is special about them, turned at random."""
    rng = np.random.default_rng(seed)
    generic = rng.normal(size=(points, 3))
    turn = element(ek.SO(3), 5).T
    return {
        "generic": generic,
        "planar": generic * [1, 1, 0] @ turn,
        "collinear": generic * [1, 0, 0] @ turn,
        "octahedron": OCTAHEDRON @ turn,
        "equal": np.ones((points, 3)) * [0.1, 3, 7],
        "zero": np.zeros((points, 3)),
        "not a number": np.full((points, 3), np.nan),
    }


GROUPS = [ek.O(2), ek.SO(4), ek.Lorentz]
MORE = [pytest.param(group, marks=pytest.mark.slow) for group in (ek.O(1), ek.SO(2), ek.SO(1, 3))]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("group", [*GROUPS, *MORE], ids=str)
def test_it_is_equivariant_to_the_rounding_error_over_the_pivot(group):
    metric = None if group.form is None else tuple(group.form.signs())
    network = radial(group.n - isinstance(group, ek.SO), metric)
    sym = ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=group, channels=False, how=RotationCanonicalization(network))

    @jax.jit
    def run(x):
        y, info = sym(x, with_info=True)
        return y, info.more["matrix"], info

    x = np.random.default_rng(0).normal(size=(20, 5, group.n))
    g = element(group)
    (y, turn, info), (z, moved, _) = (jax.tree.map(np.asarray, run(array)) for array in (x, x @ g.T))
    assert not np.any(info.degenerate)
    # A metric squares the pivot, and boosts stretch what has been rounded.
    allowed = 1e-13 * np.linalg.norm(g, 2) ** 4 * np.linalg.norm(np.asarray(turn), 2, axis=(1, 2)) ** 4 / info.gap
    assert np.all(np.max(np.abs(z - y @ g.T), axis=(1, 2)) <= allowed)
    assert np.all(np.max(np.abs(moved - g @ turn), axis=(1, 2)) <= allowed)
    form = np.diag(np.ones(group.n) if metric is None else metric)
    np.testing.assert_allclose(turn.mT @ form @ turn, np.broadcast_to(form, turn.shape), atol=1e-9)
    if isinstance(group, ek.SO):
        np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-9)


OUTCOMES = {  # group, on_degenerate, outputs: the clouds that are refused
    ("O", "error", ("each", "one", "two")): ["octahedron"],
    ("SO", "error", ("each",)): ["octahedron"],
    ("SO", "error", ("two",)): ["collinear", "octahedron"],
    ("O", "weighted", ("each",)): [],
    ("SO", "weighted", ("two",)): [],
}


@pytest.mark.parametrize(
    ("family", "on_degenerate", "outputs"),
    [pytest.param(*case, marks=pytest.mark.slow if i in (1, 2, 3) else ()) for i, case in enumerate(OUTCOMES)],
)
@pytest.mark.usefixtures("x64")
def test_symmetric_inputs_are_exact_or_refused(family, on_degenerate, outputs):
    group = {"O": ek.O(3), "SO": ek.SO(3)}[family]
    how = RotationCanonicalization(radial(3 - (family == "SO")), on_degenerate=on_degenerate)
    signatures = {"each": "p x", "one": "", "two": "x x"}

    def backbone(x):
        y = mixing(x["x"])
        found = {"each": y, "one": y[..., 0, 0], "two": y[..., :3, :]}
        return {name: found[name] for name in outputs}

    sym = ek.symmetrize(
        backbone, {"x": "p x"}, {name: signatures[name] for name in outputs},
        p=ek.S, x=group, translate={"x": "x"} | ({"each": "x"} if "each" in outputs else {}), channels=False, how=how,
    )  # fmt: skip
    run = jax.jit(lambda x: sym({"x": x}, with_info=True))
    x = np.stack([*clouds().values()])
    g = element(group, 7) * (-1 if family == "O" else 1)
    shift = np.array([3.0, -1.0, 2.0])
    (y, info), (z, _) = (jax.tree.map(np.asarray, run(array)) for array in (x, x @ g.T + shift))
    move = {"each": lambda y: y @ g.T + shift, "one": lambda y: y, "two": lambda y: g @ y @ g.T}
    refused = OUTCOMES[family, on_degenerate, outputs]
    for i, name in enumerate(clouds()):
        alone = name in (*refused, "not a number")
        assert info.degenerate[i] == alone, name
        for output in outputs:
            assert np.all(np.isnan(y[output][i])) == alone
            wanted = move[output](y[output][i])
            np.testing.assert_allclose(z[output][i], wanted, atol=1e-9, err_msg=name)


def in_space(on_degenerate="error", network=None, backbone=mixing):
    """Symmetrized in float32, by one program for the frames of all inputs of one shape."""
    how = RotationCanonicalization(network or radial(3), on_degenerate=on_degenerate)
    return ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)


def test_an_eager_call_says_what_is_refused():
    x = np.float32([clouds()["generic"], OCTAHEDRON])
    with pytest.raises(ek.FrameError, match="1 of 2 inputs for RotationCanonicalization; ") as caught:
        in_space()(x)
    assert "number 1: doubt" in str(caught.value)
    assert "rank 0" in str(caught.value)


@pytest.mark.slow
def test_flagged_inputs_go_on():
    y, info = in_space("flag")(np.float32([clouds()["generic"], OCTAHEDRON]), with_info=True)
    assert info.degenerate.tolist() == [False, True]
    assert not np.any(info.refused)
    assert np.all(np.isfinite(y))


def test_open_columns_are_drawn_uniformly():
    how = RotationCanonicalization(radial(2), on_degenerate="sample")
    sym = ek.symmetrize(lambda x: x[..., :3, :], "p x -> x x", p=ek.S, x=ek.SO(3), channels=False, how=how)
    x = np.broadcast_to(clouds()["collinear"].astype(np.float32), (4000, 6, 3))
    frame = jax.jit(lambda x, key: sym.frame(x, key=key))(x, jax.random.key(0))
    turns = np.asarray(frame.elements.linear["x"][0])
    assert np.all(frame.info.degenerate)
    assert not np.any(frame.info.refused)
    np.testing.assert_allclose(turns[:, :, 0], np.broadcast_to(turns[0, :, 0], (4000, 3)), atol=1e-5)
    # The others are uniform in the plane beside: of mean zero, and of mean square half of the projection on it.
    beside = np.eye(3) - np.outer(turns[0, :, 0], turns[0, :, 0])
    for column in (1, 2):
        assert np.abs(turns[:, :, column].mean(0)).max() < 5 / np.sqrt(4000)
        second = np.einsum("ni,nj->ij", turns[:, :, column], turns[:, :, column]) / 4000
        np.testing.assert_allclose(second, beside / 2, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
    with pytest.raises(ek.OptionError, match="needs key="):
        sym(x[0])


@pytest.mark.usefixtures("x64")
def test_gram_schmidt_is_numpys_qr_and_its_derivative_is_right():
    def basis(vectors):
        rows = vectors.T
        noise = jnp.full_like(rows, 1e-17)
        return gram_schmidt(Points(rows, 0 * rows, noise, jnp.ones(()), True), np.ones(3, int), 1e-8).vectors.T

    vectors = np.random.default_rng(0).normal(size=(3, 3))
    steps = 1e-6 * np.eye(9).reshape(9, 3, 3)
    # The second vector parallel to the first, all zero, and all parallel.
    dependent = np.array([[[1, 2, 0], [0, 0, 1], [0, 0, 1]], np.zeros((3, 3)), np.ones((3, 3))])
    nearly = np.array([[1, 0, 1], [0, 1, 1], [0, 0, -1e-10]])  # decides a sign, and the column is as precise
    given = np.concatenate([[vectors, nearly], dependent, vectors + steps, vectors - steps])
    run = jax.jit(jax.vmap(lambda vectors: (basis(vectors), jax.jacfwd(basis)(vectors))))
    found, slopes = map(np.asarray, run(given))
    q, r = np.linalg.qr(vectors)
    np.testing.assert_allclose(found[0], q * np.sign(np.diag(r)), atol=1e-14)
    differences = (found[5:14] - found[14:]) / 2e-6
    np.testing.assert_allclose(slopes[0].reshape(3, 3, 9), np.moveaxis(differences, 0, -1), atol=1e-8)
    np.testing.assert_allclose(found[2:5].mT @ found[2:5], np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-14)
    assert np.all(np.isfinite(slopes[2:5]))
    np.testing.assert_allclose(found[1], np.diag([1, 1, -1]), atol=1e-14)


def test_what_errors_of_nearly_dependent_vectors_decide_is_never_taken_for_a_direction():
    """In a plane, a third vector has no part beside two others but their errors, which small pivots make large."""
    rng = np.random.default_rng(0)
    weights = jnp.array([[1.0, 1, 0.3], [0, 0.02, 0.5], [0, 0, 0.2]])

    def of_size_one(x):
        largest = jnp.max(jnp.abs(x))
        return x / (largest * jnp.sqrt(jnp.mean((x / largest) ** 2)))

    def network(x):
        return jnp.max(jnp.abs(x)) * (radial(3)(of_size_one(x)) @ weights)  # of the size of x; a factor turns nothing

    how = RotationCanonicalization(jax.vmap(network), on_degenerate="flag")
    backbone = jax.vmap(lambda x: mixing(of_size_one(x)))
    sym = ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.O(3), channels=False, how=how)
    run = jax.jit(lambda x: sym(x, with_info=True))
    heights = np.repeat([0, 0, 0, 1e-6, 1e-5, 1e-4, 1e-3, 1], 500)[:, None]
    x = rng.normal(size=(len(heights), 6, 3))
    x[..., 2] *= heights
    x, turn = x @ element(ek.SO(3), 5).T, element(ek.O(3), 6)
    for size in (1, 1e25, 1e-25):  # squares of the last two do not fit
        (y, info), (z, its_info) = (run(jnp.asarray(size * array, jnp.float32)) for array in (x, x @ turn.T))
        decided = ~np.asarray(info.degenerate | its_info.degenerate)
        assert np.abs(z - np.asarray(y) @ turn.T)[decided].max() < 0.02
        assert decided[:1500].mean() > 0.9
        assert decided[-500:].mean() > 0.98


@pytest.mark.usefixtures("x64")
def test_derivatives_go_through_the_element_to_input_and_parameters():
    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def run(weights, x):
        how = RotationCanonicalization(lambda x: radial(3)(x) @ weights)
        sym = ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)
        return jnp.sum(sym(x) ** 2)

    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 3))
    point = weights, clouds()["generic"]
    direction = jax.tree.map(lambda array: 1e-6 * rng.normal(size=array.shape), point)
    before, after = (jax.tree.map(lambda a, b, s=s: a + s * b, point, direction) for s in (-1, 1))
    product = sum(np.sum(a * b) for a, b in zip(run(*point)[1], direction, strict=True))
    np.testing.assert_allclose(product, (run(*after)[0] - run(*before)[0]) / 2, rtol=1e-5)
    for name in ("planar", "collinear", "equal", "zero"):
        assert all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(run(weights, clouds()[name])[1])), name


def test_absent_points_change_nothing():
    network = VectorNeurons({"p x": 1}, 3, channels=4, layers=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))

    def backbone(x, mask=None):
        return jnp.sin(x) + jnp.cos(jnp.sum(x, axis=-2, keepdims=True))

    sym = in_space(network=network, backbone=backbone)
    x = np.float32([clouds(seed=seed)["generic"] for seed in (1, 2)])
    garbage = np.concatenate([x, np.full((2, 2, 3), 1e6, np.float32)], axis=1)
    run, y = jax.jit(sym), sym(x)
    there = np.broadcast_to(np.arange(8) < 6, (2, 8))
    np.testing.assert_allclose(run(garbage, mask={"p": there})[:, :6], y, atol=1e-4)
    nothing = run(garbage, mask={"p": 0 * there > 0})
    assert np.all(np.isfinite(nothing))


@pytest.mark.usefixtures("x64")
def test_the_origin_is_learned_too():
    how = RotationCanonicalization(radial(4), translation=True)
    sym = ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)
    run = jax.jit(lambda x: (sym(x), (frame := sym.frame(x)).elements, frame.info.more["matrix"]))
    x, g, shift = clouds()["generic"], element(ek.O(3)), np.array([3.0, -1.0, 2.0])
    (y, one, matrix), (z, two, _) = (jax.tree.map(np.asarray, run(array)) for array in (x, x @ g.T + shift))
    np.testing.assert_allclose(z, y @ g.T + shift, atol=1e-10)
    np.testing.assert_allclose(two.shift["x"][0], g @ one.shift["x"][0] + shift, atol=1e-10)
    # What losses are made of has no axis of the one element of the centroid.
    np.testing.assert_allclose(matrix, one.linear["x"][0], atol=1e-12)
    assert np.linalg.norm(one.shift["x"][0] - x.mean(0)) > 1e-2


def test_with_sorting_after_it_everything_is_exact():
    how = [RotationCanonicalization(radial(2)), ek.frames.Sort()]
    sym = jax.jit(ek.symmetrize(mixing, "p x -> p x", p=ek.S, x=ek.SO(3), channels=False, how=how))
    equikit.testing.assert_equivariant(
        lambda x: sym(x[..., 0])[..., None],
        "p x -> p x",
        p=ek.S(5),
        x=ek.SO(3),
        channels=1,
        key=jax.random.key(1),
        tolerance=1e-3,
    )


def test_one_point_and_no_points():
    sym, point = in_space(backbone=jnp.cos), np.array([[1.0, 2.0, 3.0]], np.float32)
    np.testing.assert_allclose(sym(point), point, atol=1e-6)  # a vector of one point, which anything turns
    assert jax.eval_shape(sym, jnp.zeros((0, 3))).shape == (0, 3)


def test_half_precision():
    sym = in_space(backbone=jnp.cos)
    x = np.stack([clouds(seed=seed)["generic"] for seed in (1, 2)]).astype(jnp.bfloat16)
    y = sym(x)
    assert y.dtype == jnp.bfloat16
    assert jax.eval_shape(sym.frame, x).elements.linear["x"].dtype == jnp.float32
    np.testing.assert_allclose(np.float32(y), sym(x.astype(np.float32)), atol=0.05)


@pytest.mark.slow
def test_it_trains_and_is_a_module_like_any_other():
    network = VectorNeurons({"p x": 1}, 2, channels=4, layers=1, p=ek.S, x=ek.SO(3), rngs=nnx.Rngs(0))
    backbone = nnx.Linear(3, 3, rngs=nnx.Rngs(1))
    sym = ek.symmetrize(
        backbone, "p x -> p x", p=ek.S, x=ek.SO(3), channels=False, how=RotationCanonicalization(network)
    )
    assert isinstance(sym, nnx.Module)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(sym))
    x = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    target = np.cross(x, x.mean(-2, keepdims=True))
    graph, state = nnx.split(sym)
    optimizer = optax.adam(3e-2)

    @jax.jit
    def step(state, momenta):
        loss, slope = jax.value_and_grad(lambda state: jnp.mean((nnx.merge(graph, state)(x) - target) ** 2))(state)
        updates, momenta = optimizer.update(slope, momenta)
        return optax.apply_updates(state, updates), momenta, loss, slope

    momenta, losses = jax.jit(optimizer.init)(state), []
    for _ in range(30):
        state, momenta, loss, slope = step(state, momenta)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(slope.how.network.hidden))
    trained = nnx.merge(graph, state)
    run = nnx.jit(lambda module, x: module(x))
    for other in (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained)), jax.tree.map(lambda a: a, trained)):
        np.testing.assert_array_equal(run(other, x), run(trained, x))


def test_networks_of_every_kind_are_called_as_they_are_made_for():
    features = [{"p x": 1, "p": 1}, {"p": 4, "p x": 4}, {"p x": 3}]
    for network in (
        ek.nn.Network(features, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)),
        ek.nn.Linear({"p x": 1, "p": 1}, {"p x": 3}, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)),
        lambda x: {"x": radial(3)(x["p x"]), "other": 0},
    ):
        sym = ek.symmetrize(
            lambda x: x["p x"],
            {"p x": "p x", "p": "p"},
            {"p x": "p x"},
            p=ek.S,
            x=ek.O(3),
            how=RotationCanonicalization(network),
        )
        frame = jax.eval_shape(sym.frame, {"p x": jnp.zeros((2, 5, 3, 1)), "p": jnp.zeros((2, 5, 1))})
        assert frame.elements.linear["x"].shape == (1, 2, 3, 3)


def test_messages():
    def of(how, signature="p x -> p x", **options):
        options = {"p": ek.S, "x": ek.O(3), "channels": False, **options}
        return ek.symmetrize(jnp.sin, signature, how=how, **options)

    x = clouds()["generic"].astype(np.float32)
    assert_error(
        ek.OptionError,
        lambda: RotationCanonicalization(3),
        "the network cannot be called",
        "int",
        "a function or a module",
        "pass what takes the input of symmetrize and returns scores or vectors",
    )
    assert_error(
        ek.ShapeError,
        lambda: of(RotationCanonicalization(radial(2)))(x),
        "the network does not return the vectors of O(3)",
        "shape [6, 3, 2]",
        "[p=6, x=3, 3 vectors]",
        "correct the number of output channels of the network",
    )
    assert_error(
        ek.ShapeError,
        lambda: of(RotationCanonicalization(lambda x: radial(3)(x).mean(-3)))(x),
        "the network does not return the vectors of O(3)",
        "shape [3, 3]",
        "[p=6, x=3, 3 vectors]",
        "return the vectors of every entry; their mean is computed here, which detects vectors that cancel",
    )
    assert_error(
        ek.DTypeError,
        lambda: of(RotationCanonicalization(lambda x: [x]))(x),
        "vectors along 'x' must be an array of real floating-poin",
        "list",
        "float32, bfloat16, float16 or float64",
        "correct the network",
    )
    assert_error(
        ek.ShapeError,
        lambda: of(RotationCanonicalization(lambda x: {"a": x, "b": x}))(x),
        "the network returns no vectors along 'x'",
        "a dictionary of ['a', 'b']",
        "an array named 'x' or 'p x'",
        "name what the network returns",
    )
    assert_error(
        ek.OptionError,
        lambda: of(RotationCanonicalization(radial(4), translation=True)),
        "no input has positions along 'x'",
        "p x -> p x, translated terms {}",
        "positions along 'x'",
        'pass translate="x" to symmetrize',
    )
    assert_error(
        ek.GroupError,
        lambda: of(RotationCanonicalization(radial(4), on_degenerate="weighted"), x=ek.Lorentz),
        "RotationCanonicalization does not work with O(1, 3)",
        "x=O(1, 3)",
        'O(d) or SO(d) with on_degenerate="weighted"',
        'write on_degenerate="flag"',
    )
    with pytest.raises(ek.GroupError, match="finds no axis to act on"):
        of(RotationCanonicalization(radial(3)), x=ek.S)
    with pytest.raises(ek.OptionError, match="unknown value for on_degenerate="):
        RotationCanonicalization(radial(3), on_degenerate="ignore")
    with pytest.raises(ek.OptionError, match="unknown value for terms="):
        of(RotationCanonicalization(radial(3), terms=("q",)))(x)
