"""Messages between points in space: equivariant, invariant under shifts, smooth, and all maps there are."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error, primitives
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import SO, Lorentz, O, S, Sp
from equikit.nn import GeometricMessage, Radial
from equikit.nn.physics._message_maps import message_maps
from equikit.nn.physics._radial import cutoff_envelope

INPUTS, OUTPUTS = {"p": 3, "p x": 2}, {"p": 4, "p x": 3, "p x x": 2}


def make(group=O(3), inputs=INPUTS, outputs=OUTPUTS, dtype=jnp.float64, seed=0, **options):  # noqa: B008
    options = {"cutoff": 3.0, "radial": 4, "hidden": (8,)} | options
    return GeometricMessage(inputs, outputs, p=S, x=group, rngs=nnx.Rngs(seed), param_dtype=dtype, **options)


def draw(n=3, points=5, batch=(2,), seed=0, inputs=INPUTS):
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(*batch, points, *[n] * name.count("x"), c)) for name, c in inputs.items()}
    return features, rng.normal(size=(*batch, points, n))


def turned(features, matrix):
    """The features with a matrix applied to every axis of space."""
    result = {}
    for name, array in features.items():
        axes = name.count("x")
        for i in range(axes):
            place = array.ndim - 1 - axes + i
            array = np.moveaxis(np.tensordot(matrix, array, ((1,), (place,))), 0, place)
        result[name] = array
    return result


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
@pytest.mark.parametrize("group", [O(3), SO(3), O(2)], ids=str)
def test_it_moves_with_its_points(group, basis):
    layer, rng = make(group, basis=basis), np.random.default_rng(1)
    features, positions = draw(group.n)
    y = in_numpy(layer, features, positions)
    for _ in range(3):
        matrix, order = group.random_element(rng), rng.permutation(5)
        moved = {name: array[:, order] for name, array in turned(features, matrix).items()}
        found = in_numpy(layer, moved, (positions @ matrix.T + rng.normal(size=group.n))[:, order])
        wanted = turned(y, matrix)
        assert_close(found, {name: array[:, order] for name, array in wanted.items()}, 1e-12)
    assert all(np.max(np.abs(array)) > 1e-2 for array in y.values())


@pytest.mark.usefixtures("x64")
def test_reflections_are_seen_where_the_group_has_none():
    features, positions = draw()
    mirror = np.diag([-1.0, 1, 1])
    for group, same in ((O(3), True), (SO(3), False)):
        layer = by_numpy(make(group, outputs={"p x": 3}))
        wanted = turned(layer(features, positions), mirror)["p x"]
        error = np.max(np.abs(layer(turned(features, mirror), positions @ mirror)["p x"] - wanted))
        assert (error < 1e-12) == same


@pytest.mark.usefixtures("x64")
def test_it_is_the_sum_over_neighbors_pair_by_pair():
    """One point after another, in NumPy: numbers and vectors to vectors."""
    layer = make(outputs={"p x": 1}, inputs={"p": 1, "p x": 1}, powers=2)
    features, positions = draw(batch=(), inputs={"p": 1, "p x": 1})
    kernel = {name: np.asarray(param[...])[..., 0] for name, param in layer.kernel.items()}
    assert {name: k.shape for name, k in kernel.items()} == {
        "p, 1 -> p x": (1, 1, 4),
        "p x, 0 -> p x": (1, 1, 4),
        "p x, 2 -> p x": (1, 1, 4),
    }
    wanted = np.zeros((5, 3))
    radial = in_numpy(layer.radial, np.linalg.norm(positions - positions[:, None], axis=-1))
    for i in range(5):
        for j in range(5):
            if i == j:
                continue
            r = positions[j] - positions[i]
            u = r / np.linalg.norm(r)
            f = radial[i, j]
            s, v = features["p"][j, 0], features["p x"][j, :, 0]
            wanted[i] += (kernel["p, 1 -> p x"] @ f)[0, 0] * s * u + (kernel["p x, 0 -> p x"] @ f)[0, 0] * v
            # The basis element is the sum over the exchange of the two directions: twice u (u·v).
            wanted[i] += (kernel["p x, 2 -> p x"] @ f)[0, 0] * 2 * u * (u @ v)
    assert_close(in_numpy(layer, features, positions)["p x"][..., 0], wanted, 1e-12)


@pytest.mark.parametrize("group", [O(3), SO(3), O(2)], ids=str)
@pytest.mark.parametrize(("source", "target"), [(0, 0), (0, 1), (1, 1), (1, 2), (0, 3)])
def test_the_maps_are_all_there_are(group, source, target):
    """By Frobenius, equivariant functions on the sphere are the maps that the stabilizer of a direction leaves.

    Their number is that of the maps between the features under the group of one dimension less.
    """
    n, rotations = group.n, isinstance(group, SO)
    found = sum(len(message_maps(group, source, power, target)[1]) for power in range(source + target + 1))
    # Characters of the stabilizer: O(2), SO(2), or O(1), on a vector 1 + (n - 1).
    angles = 2 * np.pi * np.arange(16) / 16
    if n == 3:
        traces = [1 + 2 * np.cos(angles)] + ([] if rotations else [np.full(16, 1.0)])
    else:
        traces = [np.array([2.0]), np.array([0.0])]
    wanted = np.mean([np.mean(trace ** (source + target)) for trace in traces])
    if rotations and source + target == 3:
        # On directions of length one ε_abc is the sum of ε_abd u_d u_c and its two cyclic turns: one map too many.
        assert found == round(wanted) + 1
    else:
        assert found == round(wanted)


@pytest.mark.usefixtures("x64")
def test_messages_vanish_smoothly_at_the_cutoff():
    layer = make(outputs={"p": 1}, inputs={"p": 1})
    features = {"p": np.ones((2, 1))}

    def message(r):
        positions = jnp.zeros((2, 3)).at[1, 0].set(r)
        return layer(features, positions)["p"][0, 0]

    for order, size in ((0, 1e-10), (1, 1e-6), (2, 1e-3)):
        function = message
        for _ in range(order):
            function = jax.grad(function)
        assert abs(in_numpy(function, 3.0 - 1e-5)) < size
        assert in_numpy(function, 3.1) == 0
    assert abs(in_numpy(message, 1.0)) > 1e-3


@pytest.mark.usefixtures("x64")
def test_points_in_one_place_have_finite_gradients():
    layer = make()
    features, _ = draw()
    positions = jnp.zeros((2, 5, 3))
    loss = jax.grad(lambda p: sum(jnp.sum(y**2) for y in layer(features, p).values()))
    assert np.all(np.isfinite(jax.jit(loss)(positions)))


@pytest.mark.usefixtures("x64")
def test_absent_points_are_not_there():
    layer, keep = make(), np.array([True, True, False, True, False])
    features, positions = draw(batch=())
    holed = {name: np.where(keep.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for name, a in features.items()}
    y = in_numpy(layer, holed, np.where(keep[:, None], positions, np.nan), mask={"p": keep})
    wanted = in_numpy(layer, {name: a[keep] for name, a in features.items()}, positions[keep])
    assert_close({name: a[keep] for name, a in y.items()}, wanted, 1e-12)
    assert all(np.max(np.abs(a[~keep])) == 0 for a in y.values())


@pytest.mark.slow
def test_the_sum_keeps_its_size():
    """Its mean square does not depend on the number of neighbors, where that is told."""
    squares = []
    for count in (4, 32):
        layer = make(dtype=jnp.float32, neighbors=count, cutoff=10.0, inputs={"p": 16}, outputs={"p": 16})
        features, positions = draw(points=count + 1, batch=(64,), inputs={"p": 16})
        arrays = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (features, positions))
        squares.append(float(jnp.mean(layer(*arrays)["p"] ** 2)))
    assert 0.5 < squares[0] / squares[1] < 2


@pytest.mark.slow
def test_it_is_a_module_like_the_others():
    layer, other = make(dtype=jnp.float32), make(dtype=jnp.float32, seed=1)
    features, positions = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), draw())
    y = jax.jit(lambda m, f, p: m(f, p))(layer, features, positions)
    graph, state = nnx.split(layer)
    assert graph == nnx.split(other)[0]
    run = jax.jit(lambda m, f, p: m(f, p))
    assert_close(run(nnx.merge(graph, state), features, positions), y, 1e-5)
    assert_close(run(pickle.loads(pickle.dumps(layer)), features, positions), y, 1e-5)
    loss = nnx.grad(lambda m: sum(jnp.sum(a**2) for a in m(features, positions).values()))
    gradient = jax.jit(loss)(layer)
    assert all(float(jnp.max(jnp.abs(leaf))) > 0 for leaf in jax.tree.leaves(gradient))
    found = primitives(jax.make_jaxpr(lambda f, p: layer(f, p))(features, positions))
    assert not found.keys() & {"gather", "scatter", "scatter-add", "dynamic_slice"}


def test_radial_functions():
    x = jnp.linspace(0, 1.5, 31)
    envelope = cutoff_envelope(x)
    assert envelope[0] == 1
    assert bool(jnp.all(envelope[20:] == 0))
    assert bool(jnp.all(jnp.diff(envelope) <= 1e-6))
    for basis in ("bessel", "gaussian"):
        functions = Radial(2.0, 3, basis=basis, rngs=nnx.Rngs(0))
        assert jax.eval_shape(functions, jnp.zeros((4, 2))).shape == (4, 2, 3)
        assert bool(jnp.all(jnp.isfinite(jax.jit(jax.jacobian(functions))(jnp.array(0.0)))))


def single(*arguments, **options):
    return make(*arguments, dtype=jnp.float32, **options)


ERRORS = {
    "metric": (
        ek.OptionError,
        lambda: single(Lorentz),
        "do not belong to points in space",
        "x=O(1, 3)",
        "O(n) or SO(n)",
        "x=ek.O(3)",
    ),
    "symplectic": (
        ek.OptionError,
        lambda: single(Sp(4)),
        "do not belong to points in space",
        "x=Sp(4)",
        "O(n) or SO(n)",
        "x=ek.O(3)",
    ),
    "free": (
        ek.OptionError,
        lambda: single(O),
        "do not belong to points in space",
        "x=O",
        "O(n) or SO(n)",
        "x=ek.O(3)",
    ),
    "no point": (
        ek.OptionError,
        lambda: single(inputs={"p": 1, "x": 1}),
        "do not belong to points in space",
        "p, x",
        "first in every",
        "p=ek.S",
    ),
    "two points": (
        ek.OptionError,
        lambda: single(outputs={"p p": 1}),
        "do not belong to points in space",
        "p p",
        "first in every",
        "p=ek.S",
    ),
    "no map": (
        ek.SignatureError,
        lambda: single(powers=0, outputs={"p x": 1}, inputs={"p": 1}),
        "no map leads to the message 'p x'",
        "up to 0",
        "same number of axes",
        "raise powers",
    ),
    "neighbors": (
        ek.OptionError,
        lambda: single(neighbors=0),
        "neighbors= must be a number > 0",
        "0",
        "a number > 0",
        "neighbors=1",
    ),
    "cutoff": (
        ek.OptionError,
        lambda: single(cutoff=-1.0),
        "cutoff= must be a number > 0",
        "-1.0",
        "a number > 0",
        "cutoff=5",
    ),
    "basis": (ek.OptionError, lambda: single(basis="sine"), "unknown value for basis=", "'sine'", "bessel", "bessel"),
    "positions": (
        ek.ShapeError,
        lambda: single()(
            {"p": np.ones((5, 3), np.float32), "p x": np.ones((5, 3, 2), np.float32)}, np.ones((5, 2), np.float32)
        ),
        "has size 2 on axis 'x'",
        "[5, 2]",
        "x=3",
        "give every 'x' size 3",
    ),
    "one axis": (
        ek.ShapeError,
        lambda: single()(
            {"p": np.ones((5, 3), np.float32), "p x": np.ones((5, 3, 2), np.float32)}, np.ones(3, np.float32)
        ),
        "input 'positions' has too few axes",
        "[3]",
        "[*batch, p, x=3]",
        "add the missing axes",
    ),
    "names": (
        ek.ShapeError,
        lambda: single()({"p": np.ones((5, 3), np.float32)}, np.ones((5, 3), np.float32)),
        "do not fit the features",
        "['p']",
        "['p', 'p x']",
        "exactly one",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_error(*ERRORS[name])


def small(**options):
    return GeometricMessage(
        {"p": 2}, {"p": 2, "p x": 1}, **({"cutoff": 2.0, "p": S, "x": O(3), "rngs": nnx.Rngs(0)} | options)
    )


def test_no_points():
    layer = small()
    found = jax.jit(lambda f, x: layer(f, x))({"p": jnp.ones((0, 2))}, jnp.zeros((0, 3)))
    assert found["p x"].shape == (0, 3, 1)


def test_points_far_beyond_the_cutoff_are_nothing():
    """Also where the square of their distance overflows."""
    layer, features = small(), {"p": jnp.ones((2, 2))}
    far = jnp.array([[0.0, 0.0, 0.0], [1e25, 0.0, 0.0]], jnp.float32)
    loss = jax.value_and_grad(lambda x: sum(jnp.sum(array**2) for array in layer(features, x).values()))
    y, slope = jax.jit(loss)(far)
    assert y == 0
    assert jnp.all(slope == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radial": 0}, "radial= must be a whole number ≥ 1"),
        ({"basis_size": 0}, "basis_size= must be a whole number ≥ 1"),
        ({"hidden": 4}, "hidden= must be a list of widths"),
        ({"cutoff": "2"}, "cutoff= must be a number > 0"),
        ({"cutoff": float("inf")}, "cutoff= must be a number > 0"),
        ({"neighbors": float("nan")}, "neighbors= must be a number > 0"),
        ({"powers": -1}, "powers= must be a whole number"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ek.EquikitError, match=message):
        small(**options)


def test_a_mask_comes_alone_or_by_label():
    features, positions = {"p": jnp.ones((4, 2))}, jnp.arange(12.0).reshape(4, 3)
    here = jnp.array([True, True, True, False])
    layer = small()
    alone, by_label = (layer(features, positions, mask=mask)["p"] for mask in (here, {"p": here}))
    assert jnp.array_equal(alone, by_label)
    assert not alone[3].any()
    found = jax.eval_shape(lambda f, x, here: layer(f, x, mask={" p ": here}), features, positions, here)
    assert found["p"].shape == (4, 2)
    with pytest.raises(ek.SignatureError, match="have no channels"):
        GeometricMessage("p", {"p": 2}, cutoff=2.0, p=S, x=O(3), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("powers", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_messages_from_unknown_positions_are_nan(powers, value):
    layer = make(inputs={"p": 2}, outputs={"p": 2}, dtype=jnp.float32, powers=powers)
    features, positions = draw(inputs={"p": 2}, batch=(), points=4)
    features, positions = {"p": np.float32(features["p"])}, np.float32(positions)
    positions[0, 0] = value
    assert np.isnan(in_numpy(layer, features, positions)["p"]).all()
    edges = ek.data.Neighbors.of([0, 2, 3], [1, 3, 2], n=4)
    y = in_numpy(layer, features, positions, edges=edges)["p"]
    assert np.isnan(y).any(-1).tolist() == [False, True, False, False]
    keep = np.arange(4) > 0
    assert np.isfinite(in_numpy(layer, features, positions, mask=keep)["p"]).all()
    assert not in_numpy(layer, features, positions, mask=~keep)["p"].any()  # a point alone
