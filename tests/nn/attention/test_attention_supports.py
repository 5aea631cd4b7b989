"""Attention on sparse supports: the dense form with a mask of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error, equations
from in_numpy import in_numpy

import equikit as ek
from equikit import O, S
from equikit.nn import Attention

FEATURES = {"p": 4, "x p": 2}
OPTIONS = {"plain": {}, "everything": {"pairs": {"p p": 2}, "points": 1, "products": 1}}


def make(features=FEATURES, dtype=jnp.float64, **options):
    bound = {"p": S, "x": O(3)} if "x p" in features or options.get("points") else {"p": S}
    return Attention(features, heads=2, param_dtype=dtype, rngs=nnx.Rngs(0), **bound, **options)


def graph(n=6, density=0.4, seed=0):
    """A directed graph with loops, in which node 2 sees no node."""
    seen = np.random.default_rng(seed).random((n, n)) < density
    seen[2] = False
    return seen, ek.Support("p p", *np.nonzero(seen), n=n)


def draw(n, options, batch=(), seed=1):
    rng = np.random.default_rng(seed)
    x = {"p": rng.normal(size=(*batch, n, 4)), "x p": rng.normal(size=(*batch, 3, n, 2))}
    given = {"pairs": {"p p": rng.normal(size=(*batch, n, n, 2))}} if "pairs" in options else {}
    return x, given | ({"positions": rng.normal(size=(*batch, n, 3))} if "points" in options else {})


def on_rows(x, given, entries):
    """Dense arrays as arrays on a support: nodes first, and a row for each entry."""
    x = {"p": x["p"], "x p": np.swapaxes(x["x p"], -3, -2)}
    pairs = given.get("pairs")
    return x, given | ({} if pairs is None else {"pairs": {"p p": pairs["p p"][..., entries[0], entries[1], :]}})


def back(found):
    return {"p": found["p"], "x p": np.swapaxes(found["x p"], -3, -2)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_it_is_the_dense_form_with_a_mask_of_pairs(options, batch):
    (seen, support), layer = graph(), make(**options)
    x, given = draw(6, options, batch)
    rows, on_entries = on_rows(x, given, np.nonzero(seen))
    whole = np.broadcast_to(seen, (*batch, 6, 6))
    wanted = in_numpy(layer, x, pair_mask=whole, **given)
    found = in_numpy(layer, rows, support=support, **on_entries)
    assert_close(back(found), wanted, 1e-12)
    assert not found["p"][..., 2, :].any()
    if batch:
        return

    def value(layer, x, options):
        return sum(jnp.sum(jnp.sin(y)) for y in layer(x, **options).values())

    dense = in_numpy(jax.grad(value, (0, 1)), layer, x, given | {"pair_mask": seen})
    sparse = in_numpy(jax.grad(value, (0, 1)), layer, rows, on_entries | {"support": support})
    assert_close(back(sparse[1]), dense[1], 1e-12)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-12), jax.tree.leaves(sparse[0]), jax.tree.leaves(dense[0]))


@pytest.mark.usefixtures("x64")
def test_padded_supports_ignore_what_padding_holds():
    (seen, support), options = graph(), OPTIONS["everything"]
    layer, (x, given) = make(**options), draw(6, options)
    rows, on_entries = on_rows(x, given, np.nonzero(seen))
    count = support.entries[2]
    padded = support.pad(nodes=9, entries=count + 4)

    def behind(array, more):
        return np.concatenate([array, np.full((more, *array.shape[1:]), np.nan)])

    wide = {name: behind(array, 3) for name, array in rows.items()}
    more = {
        "pairs": {"p p": behind(on_entries["pairs"]["p p"], 4)},
        "positions": behind(on_entries["positions"], 3),
    }
    wanted = in_numpy(layer, rows, support=support, **on_entries)
    found = in_numpy(layer, wide, support=padded, **more)
    assert_close({name: array[:6] for name, array in found.items()}, wanted, 1e-12)
    assert not any(array[6:].any() for array in found.values())

    def value(layer, x, more):
        return sum(jnp.sum(y**2) for y in layer(x, support=padded, **more).values())

    gradients = in_numpy(jax.grad(value, (0, 1, 2)), layer, wide, more)
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(gradients))


@pytest.mark.usefixtures("x64")
def test_pairs_in_triples_are_not_seen():
    """A joined support has rows for the pairs inside triples; only entries of pairs are seen."""
    layer, (x, _) = make(), draw(6, {})
    edges = ek.Support("p p", [0, 1, 5], [1, 2, 5], n=6)
    joined = edges | ek.Support("p p p", [0, 3], [4, 3], [5, 2], n=6)
    rows, _ = on_rows(x, {}, None)
    assert_close(in_numpy(layer, rows, support=joined), in_numpy(layer, rows, support=edges), 1e-12)
    paired = make(pairs={"p p": 2})
    values = {"p p": np.random.default_rng(0).normal(size=(3, 2))}
    found = (in_numpy(paired, rows, support=each, pairs=values) for each in (joined, edges))
    assert_close(next(found), next(found), 1e-12)


@pytest.mark.usefixtures("x64")
def test_many_graphs_are_each_alone():
    layer = make()
    parts = [graph(n, seed=n) for n in (4, 5)]
    whole = ek.Support.join([support for _, support in parts])
    rows = [on_rows(*draw(n, {}, seed=n), None)[0] for n in (4, 5)]
    joined = {name: np.concatenate([each[name] for each in rows]) for name in FEATURES}
    alone = [in_numpy(layer, x, support=support) for x, (_, support) in zip(rows, parts, strict=True)]
    wanted = {name: np.concatenate([each[name] for each in alone]) for name in FEATURES}
    assert_close(in_numpy(layer, joined, support=whole), wanted, 1e-12)


@pytest.mark.parametrize("n", [0, 3])
def test_no_entries(n):
    layer = make(dtype=jnp.float32, pairs={"p p": 1})
    x = {"p": np.ones((n, 4), np.float32), "x p": np.ones((n, 3, 2), np.float32)}
    empty = ek.Support("p p", np.zeros(0, int), np.zeros(0, int), n=n)
    found = in_numpy(layer, x, support=empty, pairs={"p p": np.zeros((0, 1), np.float32)})
    assert {name: y.shape for name, y in found.items()} == {name: array.shape for name, array in x.items()}
    assert not any(y.any() for y in found.values())


def test_no_array_has_all_pairs_and_supports_are_arguments():
    n, entries = 2000, 5000
    rng = np.random.default_rng(0)
    support = ek.Support("p p", *rng.integers(n, size=(2, entries)), n=n, coalesce=True)
    layer = make({"p": 4}, jnp.float32)
    x = {"p": jnp.ones((n, 4))}
    jaxpr = jax.make_jaxpr(lambda x, support: layer(x, support=support))(x, support)
    assert max(v.aval.size for eq in equations(jaxpr.jaxpr) for v in eq.outvars) <= 4 * entries


@pytest.mark.usefixtures("x64")
def test_dropout_differs_between_entries():
    layer = Attention({"p": 1}, heads=1, dropout_rate=0.5, p=S, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    support = ek.Support("p p", *np.nonzero(np.ones((6, 6))), n=6)
    graph, state = nnx.split(layer)
    found = in_numpy(lambda x: nnx.merge(graph, state, copy=True)(x, support=support)["p"], {"p": np.ones((6, 1))})
    assert len(np.unique(np.round(found, 6))) > 1


X = {"p": np.ones((6, 4), np.float32), "x p": np.ones((6, 3, 2), np.float32)}
LAYER, (SEEN, SUPPORT) = make(dtype=jnp.float32), graph()
PAIRED = make(dtype=jnp.float32, pairs={"p p": 1})
REFUSED = {
    "another set": (
        lambda: Attention({"p": 4}, context={"t": 4}, heads=1, p=S, t=S, rngs=nnx.Rngs(0))(
            {"p": X["p"]}, {"t": X["p"]}, support=SUPPORT
        ),
        ek.OptionError, "attention to another set has no support", "a context of 't', with queries of 'p'",
        "a support for pairs of points of one set", "leave support out, and pass pair_mask=",
    ),
    "two masks": (
        lambda: LAYER(X, support=SUPPORT, pair_mask=SEEN), ek.OptionError,
        "pair_mask= and support= cannot be given together", "pair_mask=", "at most one", "leave support out",
    ),
    "a mask of points": (
        lambda: LAYER(X, support=SUPPORT, mask=np.ones(6, bool)), ek.OptionError,
        "mask= has 'p', but the support says which nodes", "mask= and support= for 'p'", "other labels only",
        "remove 'p' from mask=",
    ),
    "triples": (
        lambda: LAYER(X, support=ek.Support("p p p", [0], [1], [2], n=6)), ek.OptionError,
        "the support has no entries for the term 'p p'", "3 axes 'p'", "entries of 2 axes", "join it with a support",
    ),
    "rows": (
        lambda: LAYER(X | {"p": X["p"][:5]}, support=SUPPORT), ek.ShapeError,
        "input 'p' has 5 rows, but the support has 6 nodes", "[5, 4]", "[*batch, p=6, 4 channels]",
        "pass one row for each node",
    ),
    "another label": (
        lambda: LAYER(X, support=ek.Support("q q", [0], [1], n=6)), ek.OptionError,
        "the support is for 'q', but the points of the layer have the label 'p'", "a support for 'q'",
        "a support for 'p'", 'make the support for the term "p p"',
    ),
    "another label, with pairs": (
        lambda: PAIRED(X, support=ek.Support("q q", [0], [1], n=6), pairs={"p p": np.ones((1, 1), np.float32)}),
        ek.OptionError, "the support is for 'q', but the points of the layer have the label 'p'", "a support for 'q'",
        "a support for 'p'", 'make the support for the term "p p"',
    ),
    "the label of space": (
        lambda: LAYER(X, support=ek.Support("x x", [0], [1], n=3)), ek.OptionError,
        "the support is for 'x', but the points of the layer have the label 'p'", "a support for 'x'",
        "a support for 'p'", 'make the support for the term "p p"',
    ),
    "a list": (
        lambda: LAYER(X, support=[(0, 1)]), ek.OptionError, "support= must be a Support", "[(0, 1)]", "a Support",
        'write support=ek.Support("p p", senders, receivers, n=n)',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_calls_with_supports_that_are_refused(name):
    call, error, *texts = REFUSED[name]
    assert_error(error, call, *texts)
