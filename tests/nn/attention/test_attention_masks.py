"""Masks of points and of pairs, cross-attention, points in space, and sets with few points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_oracle import attention
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import SO, O, S
from equikit.nn import Attention

FEATURES = {"p": 6, "p x": 2}
KEEP = np.array([True, False, True, True, False])


def make(features=FEATURES, outputs=None, *, dtype=jnp.float64, **options):
    options = {"heads": 2, "p": S, "x": O(3)} | options
    return Attention(features, outputs, param_dtype=dtype, rngs=nnx.Rngs(0), **options)


def draw(points=5, batch=(), label="p", seed=0):
    rng = np.random.default_rng(seed)
    return {label: rng.normal(size=(*batch, points, 6)), f"{label} x": rng.normal(size=(*batch, points, 3, 2))}


def only(x, places):
    return {name: array[places] for name, array in x.items()}


@pytest.mark.usefixtures("x64")
def test_absent_points_are_as_if_they_were_not_there():
    layer, x = make(products=2), draw()
    found = in_numpy(layer, {name: np.where(KEEP.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for name, a in x.items()},
                     mask=KEEP)  # fmt: skip
    assert_close(only(found, KEEP), in_numpy(layer, only(x, KEEP)), 1e-12)
    assert_close(found, attention(layer, x, seen=np.outer(np.ones(5, bool), KEEP), queries=KEEP), 1e-12)
    assert all(not array[~KEEP].any() for array in found.values())


@pytest.mark.usefixtures("x64")
def test_absent_entries_of_other_axes_are_as_if_they_were_not_there():
    """Also the number of products in a score counts present entries only."""
    layer = Attention({"p q": 4}, heads=2, p=S, q=S, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    x, there = np.random.default_rng(0).normal(size=(2, 5, 4, 4)), np.array([[1, 1, 0, 1], [0, 1, 0, 0]], bool)
    found = in_numpy(layer, {"p q": x}, mask={"q": there, "p": np.stack([KEEP, ~KEEP])})["p q"]
    for sample, (own, keep) in enumerate(zip(there, (KEEP, ~KEEP), strict=True)):
        alone = in_numpy(layer, {"p q": x[sample][keep][:, own]})["p q"]
        assert_close(found[sample][keep][:, own], alone, 1e-12)
        assert not found[sample][~keep].any()
        assert not found[sample][:, ~own].any()


@pytest.mark.usefixtures("x64")
def test_a_query_sees_the_keys_of_the_pair_mask_and_is_zero_without_any():
    layer, x = make(pairs={"p p": 2}), draw()
    rng = np.random.default_rng(1)
    seen, between = rng.random((5, 5)) < 0.5, rng.normal(size=(5, 5, 2))
    seen[3] = False
    holes = np.where(seen[..., None], between, np.nan)
    wanted = attention(layer, x, seen=seen, pairs=between)
    found = in_numpy(layer, x, pair_mask=seen, pairs={"p p": between})
    assert_close(found, wanted, 1e-12)
    assert not any(array[3].any() for array in found.values())
    assert_close(in_numpy(layer, x, pair_mask=seen, pairs={"p p": holes}), wanted, 1e-12)

    def loss(layer, x, between):
        return sum(jnp.sum(y**2) for y in layer(x, pair_mask=seen, pairs={"p p": between}).values())

    gradients = in_numpy(jax.grad(loss, (0, 1, 2)), layer, x, holes)
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(gradients))


@pytest.mark.usefixtures("x64")
def test_queries_of_one_set_look_at_another():
    layer = make(context={"t": 6, "t x": 2}, t=S, pairs={"p t": 2}, products=1)
    x, context, rng = draw(4), draw(7, label="t", seed=1), np.random.default_rng(2)
    between, there, here = rng.normal(size=(4, 7, 2)), rng.random(7) < 0.7, rng.random(4) < 0.7
    named = {"p": "t", "p x": "t x"}
    found = in_numpy(layer, x, context, pairs={"p t": between}, mask={"t": there, "p": here})
    wanted = attention(layer, x, context, pairs=between, seen=np.outer(np.ones(4, bool), there), queries=here)
    assert_close(found, wanted, 1e-12)
    assert named.keys() == found.keys()


@pytest.mark.usefixtures("x64")
def test_other_features_of_the_same_points_are_keys():
    layer, x = make({"p": 6}, context={"p": 6, "p x": 2}, outputs=FEATURES), draw()
    found = in_numpy(layer, {"p": x["p"]}, x, mask=KEEP)
    seen = np.outer(np.ones(5, bool), KEEP)
    assert_close(found, attention(layer, {"p": x["p"]}, x, seen=seen, queries=KEEP), 1e-12)


@pytest.mark.usefixtures("x64")
def test_learned_queries_pool_a_set():
    seeds = np.random.default_rng(3).normal(size=(2, 4))
    layer = Attention({"s": 4}, {"s": 3, "s x": 2}, context={"p": 6, "p x": 2}, heads=2, s=S, p=S, x=O(3),
                      param_dtype=jnp.float64, rngs=nnx.Rngs(0))  # fmt: skip

    def pool(x, mask):
        batch = np.shape(x["p"])[:-2]
        return layer({"s": jnp.broadcast_to(seeds, (*batch, 2, 4))}, x, mask=mask)

    outputs = {"s": 3, "s x": 2}
    assert ek.testing.equivariance_error(
        by_numpy(lambda x, mask: {"y": pool(x, {"p": mask["p"]})["s x"]}),
        FEATURES, {"y": ("f x", 2)}, f=ek.Fixed(2), p=S(5), x=O(3), mask=True, key=jax.random.key(0),
    ) < 1e-10  # fmt: skip
    assert {name: array.shape for name, array in in_numpy(pool, draw(), {"p": KEEP}).items()} == {
        name: (2, *[3] * name.count("x"), width) for name, width in outputs.items()
    }


def empty(n, m):
    rng = np.random.default_rng(0)
    return {"p": rng.normal(size=(n, 6)), "p x": rng.normal(size=(n, 3, 2))}, {"t": rng.normal(size=(m, 6))}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_few_points(n, m, block_size):
    layer = make(context={"t": 6}, t=S, outputs={"p": 5}, block_size=block_size)
    x, context = empty(n, m)
    found = in_numpy(layer, x, context)["p"]
    assert found.shape == (n, 5)
    assert bool(found.any()) == bool(n and m)


@pytest.mark.parametrize("block_size", [None, 2])
def test_an_empty_batch(block_size):
    layer = make(dtype=jnp.float32, block_size=block_size)
    x = {"p": np.zeros((0, 5, 6), np.float32), "p x": np.zeros((0, 5, 3, 2), np.float32)}
    assert {name: array.shape for name, array in in_numpy(layer, x).items()} == {"p": (0, 5, 6), "p x": (0, 5, 3, 2)}


POINTS = {
    "vectors": (FEATURES, {"x": O(3)}),
    "no vectors": ({"p": 6}, {"x": SO(3)}),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("features", "group"), POINTS.values(), ids=POINTS)
def test_points_move_with_space(features, group):
    layer = make(features, {"p": 4, "p x": 3}, points=2, products=2, **group)
    call, rng = by_numpy(layer), np.random.default_rng(0)
    x, positions = {name: a for name, a in draw(batch=(2,)).items() if name in features}, rng.normal(size=(2, 5, 3))
    y = call(x, positions=positions)
    matrix, order = group["x"].random_element(rng), rng.permutation(5)

    def turned(features):
        return {n: np.einsum("xy,...yc->...xc", matrix, a) if "x" in n else a for n, a in features.items()}

    moved = {name: array[:, order] for name, array in turned(x).items()}
    found = call(moved, positions=(positions @ matrix.T + 5 * rng.normal(size=3))[:, order])
    assert_close(found, {name: array[:, order] for name, array in turned(y).items()}, 1e-10)
    assert all(np.abs(array).max() > 0.01 for array in y.values())


@pytest.mark.usefixtures("x64")
def test_points_of_two_sets_and_absent_points():
    layer = make({"p": 6}, {"p x": 2}, context={"t": 6, "t x": 2}, points=1, t=S)
    rng = np.random.default_rng(0)
    x, context = {"p": rng.normal(size=(4, 6))}, draw(7, label="t")
    here, there = rng.normal(size=(4, 3)), rng.normal(size=(7, 3))
    mask = {"t": np.arange(7) < 5, "p": np.arange(4) < 3}
    holes = [np.where(keep[:, None], place, np.nan) for keep, place in zip((mask["p"], mask["t"]), (here, there),
                                                                            strict=True)]  # fmt: skip
    found = in_numpy(layer, x, context, positions=holes[0], context_positions=holes[1], mask=mask)
    wanted = in_numpy(
        layer, {"p": x["p"][:3]}, only(context, slice(5)), positions=here[:3], context_positions=there[:5]
    )
    assert_close(only(found, slice(3)), wanted, 1e-12)
    assert not found["p x"][3].any()


def test_far_from_the_origin_points_are_as_exact():
    layer, x, rng = make(dtype=jnp.float32, points=2), draw(), np.random.default_rng(0)
    x = {name: np.float32(array) for name, array in x.items()}
    positions = np.float32(rng.integers(-512, 512, size=(5, 3)) / 256)  # so that the sum below is exact
    near, far = (in_numpy(layer, x, positions=positions + np.float32(shift)) for shift in (0, 4096))
    assert_close(far, near, 1e-5)


PATHS = {
    "all": {},
    "blocks": {"block_size": 3},
    "pairs": {"pairs": {"p p": 1}},
    "points": {"points": 1},
    "entries": {},
}


@pytest.mark.parametrize("path", PATHS)
def test_broken_keys_give_nan(path):
    layer = make(dtype=jnp.float32, **PATHS[path])
    x = {name: np.stack([array] * 3).astype(np.float32) for name, array in draw().items()}
    x["p"][0, 1, 0], x["p"][1, 1, 0] = np.nan, np.inf
    more = {"pairs": {"p p": np.ones((3, 5, 5, 1), np.float32)}} if path == "pairs" else {}
    more |= {"positions": np.float32(np.random.default_rng(0).normal(size=(3, 5, 3)))} if path == "points" else {}
    nodes = np.arange(5)
    more |= {"support": ek.Support("p p", nodes.repeat(5), np.tile(nodes, 5), n=5)} if path == "entries" else {}
    for array in in_numpy(layer, x, **more).values():
        assert np.isnan(array[:2]).all()
        assert np.isfinite(array[2]).all()
    keep = np.broadcast_to(nodes != 1, (3, 5))
    if path != "entries":
        assert all(np.isfinite(array).all() for array in in_numpy(layer, x, mask=keep, **more).values())
    if path == "points":
        more["positions"][2, 1, 0] = np.nan
        assert all(np.isnan(array[2]).all() for array in in_numpy(layer, x, **more).values())


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("path", ["all", "blocks", "points", "entries", "context"])
def test_broken_keys_reach_only_the_queries_that_see_them(path, broken):
    layer = make(dtype=jnp.float32, **PATHS.get(path, {"context": {"t": 6, "t x": 2}, "t": S}))
    seen = np.ones((5, 5), bool)
    seen[:3, 1] = False
    more = {"support": ek.Support.from_mask(seen)} if path == "entries" else {"pair_mask": seen}
    own, rows = (jax.tree.map(np.float32, draw()) for _ in range(2))
    rows["p"][1, 0] = broken
    if path == "points":
        more["positions"] = np.float32(np.random.default_rng(0).normal(size=(5, 3)))
        more["positions"][1, 0] = broken
    given = [own, {name.replace("p", "t"): array for name, array in rows.items()}] if path == "context" else [rows]
    found = in_numpy(layer, *given, **more)
    reached = [False, path != "context", False, True, True]
    for array in found.values():
        assert np.isnan(array.reshape(5, -1)).all(-1).tolist() == reached
        assert np.isfinite(array.reshape(5, -1)).all(-1).tolist() == np.logical_not(reached).tolist()


@pytest.mark.parametrize("path", ["all", "blocks"])
def test_gradients_of_queries_are_finite_next_to_broken_keys_that_no_query_sees(path):
    layer = make(dtype=jnp.float32, context={"t": 6, "t x": 2}, t=S, **PATHS[path])
    x, context = (jax.tree.map(np.float32, draw(label=label)) for label in ("p", "t"))
    context["t"][1] = np.nan
    seen = np.broadcast_to(np.arange(5) != 1, (5, 5))

    def loss(x):
        return sum(jnp.sum(y**2) for y in layer(x, context, pair_mask=seen).values())

    assert all(np.isfinite(array).all() and array.any() for array in in_numpy(jax.grad(loss), x).values())
