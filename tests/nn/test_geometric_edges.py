"""Messages along the edges of a neighbor list equal messages between all pairs, and have periodic images."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_floats, assert_close, assert_compiles, assert_error, largest

import equikit as ek
from equikit import SO, O, S
from equikit.data import Neighbors, neighbors
from equikit.nn import GeometricMessage
from equikit.nn.physics._pairs import _rows, _rows_in_order

CUTOFF = 1.5
INPUTS, OUTPUTS = {"p": 3, "p x": 2}, {"p": 2, "p x": 2}


def make(group=O(3), inputs=INPUTS, outputs=OUTPUTS, dtype=jnp.float64, **options):  # noqa: B008
    options = {"cutoff": CUTOFF, "radial": 3, "hidden": (4,), "powers": 2} | options
    return GeometricMessage(inputs, outputs, p=S, x=group, rngs=nnx.Rngs(0), param_dtype=dtype, **options)


def draw(n=3, points=12, batch=(), seed=0, inputs=INPUTS):
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(*batch, points, *[n] * name.count("x"), c)) for name, c in inputs.items()}
    return features, rng.normal(size=(*batch, points, n))


def energy(layer, features, positions, **options):
    return sum(jnp.sum(jnp.sin(y)) for y in layer(features, positions, **options).values())


def with_gradients(layer, features, positions, **options):
    """The messages, and the gradients of their energy with respect to weights, features and positions."""

    def both(layer, features, positions, options):
        total = nnx.grad(lambda *given: energy(*given, **options), argnums=(0, 1, 2))
        slopes = total(layer, features, positions)
        return layer(features, positions, **options), slopes

    found, (weights, *slopes) = jax.jit(both)(layer, features, positions, options)
    leaves = {f"weights {i}": leaf for i, leaf in enumerate(jax.tree.leaves(weights))}
    return {"values": found, "features": slopes[0], "rest": leaves | {"positions": slopes[1]}}


def assert_same(one, other, tolerance):
    for part in one:
        assert_close(one[part], other[part], tolerance)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("group", "options"),
    [
        (O(3), {}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (SO(3), {"basis": "gaussian"}),
                (O(2), {"powers": 3}),
                (O(3), {"powers": 1, "outputs": {"p x x": 2, "p": 1}}),
                (O(3), {"powers": 0, "radial": 1, "hidden": ()}),
                (O(3), {"inputs": {"p": 1, "p x x": 1}, "outputs": {"p x": 1}, "powers": 3}),
                (SO(3), {"inputs": {"a": ("p", 1), "b": ("p x", 1)}, "outputs": {"c": ("p det(x)", 2), "p": 1}}),
            ]
        ),
    ],
    ids=str,
)
def test_edges_equal_all_pairs(group, options):
    """Values and gradients, for absent points and a padded list."""
    layer, inputs = make(group, **options), options.get("inputs", INPUTS)
    features, positions = draw(group.n, inputs={k: v[1] if isinstance(v, tuple) else v for k, v in inputs.items()})
    if "b" in features:
        features["b"] = np.random.default_rng(1).normal(size=(12, 3, 1))
    mask = np.arange(12) % 5 > 0
    edges = neighbors(positions, CUTOFF, mask=mask, edges=200)
    wanted = with_gradients(layer, features, positions, mask=mask)
    assert_same(with_gradients(layer, features, positions, edges=edges, mask=mask), wanted, 1e-12)
    assert all(np.max(np.abs(array)) > 1e-3 for array in wanted["values"].values())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_every_width(seed):
    """Few edges for each point, one point with many, and more points than edges."""
    rng = np.random.default_rng(seed)
    layer, (features, positions) = make(powers=1), draw(points=40, seed=seed)
    positions *= [0.4, 1.5, 6.0][seed]
    if seed == 2:
        positions[rng.permutation(40)[:20]] *= 0.02
    edges = neighbors(positions, CUTOFF)
    wanted = with_gradients(layer, features, positions)
    assert_same(with_gradients(layer, features, positions, edges=edges), wanted, 1e-12)


@pytest.mark.slow
def test_edges_equal_all_pairs_in_single_precision():
    layer = make(dtype=jnp.float32)
    features, positions = jax.tree.map(np.float32, draw())
    edges = neighbors(positions, CUTOFF)
    assert edges.shifts is None
    wanted = with_gradients(layer, features, positions)
    assert_same(with_gradients(layer, features, positions, edges=edges), wanted, 1e-5)


@pytest.mark.usefixtures("x64")
def test_images_are_points_of_a_large_cluster():
    """Values and forces of a cell smaller than the cutoff equal those of the atoms and all images within reach."""
    layer, (features, positions) = make(powers=1), draw(points=3, seed=3)
    cell = np.array([[1.0, 0.0, 0.0], [0.4, 1.3, 0.0], [-0.3, 0.5, 2.0]])
    edges = neighbors(positions, CUTOFF, cell=cell)
    assert np.sum(edges.senders == edges.receivers) > 5
    images = np.array([*itertools.product(range(-7, 8), range(-5, 6), range(-4, 5))])
    images = images[np.argsort(np.any(images != 0, 1), kind="stable")]  # the cell itself first
    near = np.linalg.norm(positions[:, None, None] - positions[None, :, None] - images @ cell, axis=-1) < CUTOFF
    keep = np.any(near, (0, 1)) | ~np.any(images != 0, 1)
    assert np.max(np.abs(images[keep]), 0).tolist() < [7, 5, 4]
    copies = np.repeat(images[keep], 3, 0)

    def cluster(features, positions):
        repeated = {name: jnp.tile(x, (keep.sum(), *[1] * (x.ndim - 1))) for name, x in features.items()}
        return {k: y[:3] for k, y in layer(repeated, jnp.tile(positions, (keep.sum(), 1)) + copies @ cell).items()}

    def both(function):
        def total(features, positions):
            return sum(jnp.sum(jnp.sin(y)) for y in function(features, positions).values())

        return jax.jit(lambda *x: (function(*x), jax.grad(total, 1)(*x)))(features, positions)

    found, forces = both(lambda features, positions: layer(features, positions, edges=edges))
    wanted, slopes = both(cluster)
    assert_close(found, wanted, 1e-12)
    assert_close(forces, slopes, 1e-12)


def turned(features, matrix):
    return {"p": features["p"], "p x": np.einsum("xy,pyc->pxc", matrix, features["p x"])}


@pytest.mark.usefixtures("x64")
def test_messages_move_with_points_and_cell():
    """Rotations of positions and cell, translations, permutations with renumbered edges, and points moved by a cell."""
    rng, (features, positions) = np.random.default_rng(0), draw(points=6, seed=1)
    layer, cell = make(), rng.normal(size=(3, 3)) + 2 * np.eye(3)
    run = jax.jit(lambda features, positions, edges: layer(features, positions, edges=edges))
    edges = neighbors(positions, CUTOFF, cell=cell, edges=256)
    wanted = run(features, positions, edges)
    matrix, order = O(3).random_element(rng), rng.permutation(6)
    place = np.append(np.argsort(order), 6).astype(np.int32)

    rotated = dataclasses.replace(edges, shifts=edges.shifts @ matrix.T)
    assert_close(run(turned(features, matrix), positions @ matrix.T, rotated), turned(wanted, matrix), 1e-12)
    again = neighbors(positions @ matrix.T, CUTOFF, cell=cell @ matrix.T, edges=256)
    assert_close(run(turned(features, matrix), positions @ matrix.T, again), turned(wanted, matrix), 1e-12)

    assert_close(run(features, positions + rng.normal(size=3), edges), wanted, 1e-12)

    here = edges.senders < 6
    renumbered = Neighbors.of(
        place[edges.senders[here]], place[edges.receivers[here]], shifts=edges.shifts[here], n=6, edges=256
    )
    moved = {name: x[order] for name, x in features.items()}
    found = run(moved, positions[order], dataclasses.replace(renumbered, images=edges.images))
    assert_close(found, {name: y[order] for name, y in wanted.items()}, 1e-12)

    wrapped = positions + rng.integers(-3, 4, size=(6, 3)) @ cell
    assert_close(run(features, wrapped, neighbors(wrapped, CUTOFF, cell=cell, edges=256)), wanted, 1e-11)


@pytest.mark.usefixtures("x64")
def test_padding_and_distant_points_are_nothing():
    """NaN in padded shifts and in absent points reaches neither values nor gradients; lists may be longer."""
    layer, (features, positions) = make(powers=1), draw(points=6)
    cell, mask = np.eye(3) * 2.5, np.arange(6) < 5
    edges = neighbors(positions[:5], CUTOFF, cell=cell)
    wanted = with_gradients(layer, {name: x[:5] for name, x in features.items()}, positions[:5], edges=edges)
    features = {name: np.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, np.nan) for name, x in features.items()}
    positions = np.where(mask[:, None], positions, np.nan)
    longer = neighbors(positions, 2.2, cell=cell, mask=mask, edges=500)
    longer.shifts[longer.senders == 6] = np.nan
    assert len(edges.senders) < np.sum(longer.senders < 6) < 500
    found = with_gradients(layer, features, positions, edges=longer, mask=mask)
    rest = found["rest"] | {"positions": found["rest"]["positions"][:5]}
    cut = {"rest": rest} | {part: {k: y[:5] for k, y in found[part].items()} for part in ("values", "features")}
    assert_same(cut, wanted, 1e-12)
    assert not any(np.any(y[5]) for part in ("values", "features") for y in found[part].values())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_many_graphs_in_one_array():
    """Molecules of different sizes, one after another, each with its own cell."""
    layer = make(powers=1)
    molecules = [draw(points=n, seed=n) for n in (4, 1, 6)]
    cells = np.stack([np.eye(3) * size for size in (1.2, 2.0, 3.0)])
    features = {name: np.concatenate([own[name] for own, _ in molecules]) for name in INPUTS}
    positions, graphs = np.concatenate([x for _, x in molecules]), np.repeat(np.arange(3), (4, 1, 6))
    found = layer(features, positions, edges=neighbors(positions, CUTOFF, graph_of=graphs, cell=cells))
    alone = [
        layer(own, x, edges=neighbors(x, CUTOFF, cell=cell)) for (own, x), cell in zip(molecules, cells, strict=True)
    ]
    assert_close(found, {name: np.concatenate([y[name] for y in alone]) for name in OUTPUTS}, 1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_batches_share_a_list_and_lists_are_mapped():
    layer, (features, positions) = make(powers=1), draw(batch=(2,))
    lists = [neighbors(x, CUTOFF, edges=150) for x in positions]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lists)
    mapped = jax.vmap(lambda features, positions, edges: layer(features, positions, edges=edges))
    assert_close(mapped(features, positions, stacked), layer(features, positions), 1e-12)
    complete = neighbors(positions[0], 100.0)
    assert_close(layer(features, positions, edges=complete), layer(features, positions), 1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_stress_by_the_images():
    """The derivative with respect to a strain of positions and cell, against finite differences."""
    layer, (features, positions) = make(powers=1), draw(points=4)
    cell = np.eye(3) * 2 + 0.1
    edges = neighbors(positions, CUTOFF, cell=cell)

    @jax.jit
    def strained(strain):
        grid = jnp.eye(3) + strain
        moved = dataclasses.replace(edges, shifts=edges.images @ (cell @ grid))
        return energy(layer, features, positions @ grid, edges=moved)

    stress, h = jax.jit(jax.grad(strained))(jnp.zeros((3, 3))), 1e-6
    for i, j in itertools.product(range(3), repeat=2):
        step = np.zeros((3, 3))
        step[i, j] = h
        assert abs((strained(step) - strained(-step)) / (2 * h) - stress[i, j]) < 1e-7


def test_repeated_edges_are_counted():
    layer, (features, positions) = make(dtype=jnp.float32, powers=1), draw(points=2)
    features, positions = jax.tree.map(np.float32, (features, 0.3 * positions))
    once, twice = (Neighbors.of([1] * k, [0] * k, n=2, edges=4) for k in (1, 2))
    run = jax.jit(lambda edges: layer(features, positions, edges=edges)["p"])
    assert_close(run(twice), 2 * run(once), 1e-6)
    assert np.any(run(once))


def test_xla_computes_what_numpy_evaluates_along_edges():
    layer, (features, positions) = make(dtype=jnp.float32, powers=1), draw(points=4)
    features, positions = jax.tree.map(np.float32, (features, positions))
    assert_compiles(layer, features, positions, edges=neighbors(positions, CUTOFF, edges=16))


@pytest.mark.usefixtures("x64")
def test_rows_of_senders_are_added_in_order_elsewhere():
    """The form for other platforms than CPUs: the same rows and derivatives in both modes; its sums are sorted."""
    rng = np.random.default_rng(0)
    x, rows = map(jnp.asarray, (rng.normal(size=(2, 5, 3)), rng.integers(7, size=(4, 6))))  # rows 5 and 6 are absent
    weights, moved = rng.normal(size=(2, 4, 6, 3)), jnp.asarray(rng.normal(size=x.shape))

    def values(function):
        def total(x):
            return jnp.sum(jnp.sin(function(x, rows)) * weights)

        return function(x, rows), jax.grad(total)(x), jax.jvp(jax.grad(total), (x,), (moved,))[1]

    found, wanted = jax.jit(lambda: (values(_rows_in_order), values(_rows)))()
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, 1e-13)
    jaxpr = jax.make_jaxpr(jax.grad(lambda x: jnp.sum(_rows_in_order(x, rows) * weights)))(x)
    sums = [equation.params for equation in jaxpr.jaxpr.eqns if equation.primitive.name == "scatter-add"]
    assert [params["indices_are_sorted"] for params in sums] == [True]


@pytest.mark.slow
def test_sums_of_half_precision_are_in_single_precision():
    """A point with many neighbors, each of which adds less than the rounding error of the sum."""
    layer = make(dtype=jnp.bfloat16, inputs={"p": 1}, outputs={"p": 1}, powers=0, cutoff=1.0)
    n = 3000
    positions = np.zeros((n, 3), np.float32)
    positions[1:, 0] = np.linspace(0.2, 0.3, n - 1)
    edges = Neighbors.of(np.arange(1, n), np.zeros(n - 1, int), n=n)
    features = {"p": jnp.ones((n, 1), jnp.bfloat16)}
    run = jax.jit(lambda layer, features, positions: layer(features, positions, edges=edges)["p"][0, 0])
    half = run(layer, features, positions.astype(jnp.bfloat16))
    graph, state = nnx.split(layer)
    exact = run(
        nnx.merge(graph, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state)), as_floats(features), positions
    )
    assert abs(float(half) - float(exact)) < 0.02 * abs(float(exact))


def test_memory_is_linear_in_edges():
    """No array has more than a few hundred numbers for each edge and point, also in the backward pass."""
    layer = make(dtype=jnp.float32, radial=8, inputs={"p": 8, "p x": 4}, outputs={"p": 8, "p x": 4})
    for n in (1000, 100_000):
        count = 30 * n
        edge = jax.ShapeDtypeStruct((count,), np.int32)
        edges = Neighbors(edge, edge, jax.ShapeDtypeStruct((count, 3), np.float32), None, n)
        features = {"p": jnp.zeros((n, 8)), "p x": jnp.zeros((n, 3, 4))}
        slope = jax.grad(lambda x, f, e: energy(layer, f, x, edges=e))
        found = largest(jax.make_jaxpr(slope)(jnp.zeros((n, 3)), features, edges))
        assert found < 400 * count


@pytest.mark.parametrize(("n", "count"), [(0, 0), (0, 8), (3, 0), (3, 8)])
def test_no_points_and_no_edges(n, count):
    layer, (features, positions) = make(dtype=jnp.float32, powers=1), draw(points=n)
    features, positions = jax.tree.map(np.float32, (features, positions))
    edges = neighbors(positions, 1e-3, edges=count)
    found = jax.eval_shape(lambda f, x, e: layer(f, x, edges=e), features, positions, edges)
    assert found["p x"].shape == (n, 3, 2)
    value, slope = jax.jit(jax.value_and_grad(lambda x, e: energy(layer, features, x, edges=e)))(positions, edges)
    assert value == 0
    assert not np.any(slope)


def test_a_padded_list_compiles_one_program():
    layer, (features, positions) = make(dtype=jnp.float32, powers=0, hidden=()), draw(points=6)
    features, positions = jax.tree.map(np.float32, (features, positions))
    run = jax.jit(lambda positions, edges: layer(features, positions, edges=edges)["p"])
    for scale in (0.5, 1.0, 2.0):
        edges = neighbors(scale * positions, CUTOFF, edges=30)
        run(scale * positions, edges)
    assert run._cache_size() == 1


ARRAYS = {"p": np.ones((4, 3), np.float32), "p x": np.ones((4, 3, 2), np.float32)}
POINTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def call(edges, points=POINTS):
    return lambda: make(dtype=jnp.float32, powers=1)(ARRAYS, points, edges=edges)


ERRORS = {
    "pair of arrays": (
        ek.OptionError,
        call((np.array([0]), np.array([1]))),
        "edges= must be a Neighbors",
        "array",
        "a Neighbors",
        "edges=ek.data.neighbors(positions, cutoff)",
    ),
    "support": (
        ek.OptionError,
        call(ek.Support("p p", [0], [1], n=3)),
        "edges= must be a Neighbors",
        "Support of p p: 3 nodes, 1 entry",
        "an edge is listed once for each periodic image",
        "edges=ek.data.Neighbors.of(*support.indices(), n=support.n)",
    ),
    "other points": (
        ek.ShapeError,
        call(Neighbors.of([0], [1], n=5)),
        "edges= is a list of other points",
        "edges of 5 points, and 4 positions",
        "edges of 4 points",
        "edges=ek.data.neighbors(positions, cutoff)",
    ),
    "stacked": (
        ek.ShapeError,
        call(jax.tree.map(lambda leaf: leaf[None], Neighbors.of([0], [1], n=4))),
        "senders of edges= must have shape [1]",
        "shape [1, 1]",
        "[1]",
        "jax.vmap",
    ),
    "plane": (
        ek.ShapeError,
        call(Neighbors.of([0], [1], n=4, shifts=np.zeros((1, 2), np.float32))),
        "shifts of edges= must have shape [1, 3]",
        "shape [1, 2]",
        "[1, 3]",
        "jax.vmap",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_edges_that_do_not_fit(name):
    assert_error(*ERRORS[name])
