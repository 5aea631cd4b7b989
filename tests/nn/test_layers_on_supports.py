"""Layers that act on each term, and networks, on supports: against dense layers with masked entries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit.nn import (
    MLP,
    BatchNorm,
    DeepSets,
    Dropout,
    Gated,
    GraphNetwork,
    LayerNorm,
    Linear,
    Multilinear,
    Network,
    NormGated,
    Pointwise,
    Pool,
    Residual,
    RMSNorm,
    Stack,
)

N, X = 4, 3
GROUPS = {"p": ek.S, "x": ek.O(X)}
FEATURES = {"p p": 2, "x p p": 2, "p": 2, "p x": 1, "": 3}
ORDER = {"p p": 2, "x p p": 2, "p": 1, "p x": 1, "": 0}


def mask_of(seed: int = 0, full: bool = False) -> np.ndarray:
    return np.ones((N, N), bool) if full else np.random.default_rng(seed).random((N, N)) < 0.5


def support_of(mask: np.ndarray) -> ek.Support:
    return ek.Support("p p", *np.nonzero(mask), n=N)


def dense_features(features=FEATURES, seed: int = 0) -> dict[str, np.ndarray]:
    rng, sizes = np.random.default_rng(seed), {"p": N, "x": X}
    return {
        name: rng.normal(size=(*(sizes[label] for label in name.split()), width)).astype(np.float32)
        for name, width in features.items()
    }


def stored(x: np.ndarray, name: str, mask: np.ndarray) -> np.ndarray:
    """The rows of a dense array: entries for two axes of `p`, nodes for one."""
    axes = [i for i, label in enumerate(name.split()) if label == "p"]
    x = np.moveaxis(np.asarray(x), axes, range(len(axes)))
    return x[mask] if len(axes) == 2 else x


def all_stored(x, mask):
    return {name: stored(array, name, mask) for name, array in x.items()}


def assert_rows(layer, features=FEATURES, call=by_numpy, tolerance=1e-5, **options) -> None:
    """Compare a layer whose statistics are of single entries with the dense layer."""
    mask, x = mask_of(), dense_features(features)
    found = call(layer)(all_stored(x, mask), support=support_of(mask), **options)
    assert_close(found, all_stored(call(layer)(x, **options), mask), tolerance)


def test_norms_of_each_entry():
    assert_rows(RMSNorm(FEATURES, groups=GROUPS))
    layer = LayerNorm(FEATURES, groups=GROUPS)
    for parameter in jax.tree.leaves(nnx.state(layer, nnx.Param), is_leaf=lambda v: isinstance(v, nnx.Param)):
        parameter[...] = parameter[...] + 0.5
    assert_rows(layer)


def test_nonlinearities():
    assert_rows(NormGated(FEATURES, groups=GROUPS))
    gated = Gated(FEATURES, groups=GROUPS)
    mask, x = mask_of(), dense_features({name: width for name, (_, width) in gated.inputs.items() if name in FEATURES})
    x |= {f"gate of {name}": dense_features({labels: width})[labels] for name, labels, width in GATES}
    rows = all_stored({name: array for name, array in x.items() if name in FEATURES}, mask)
    rows |= {f"gate of {name}": stored(x[f"gate of {name}"], labels, mask) for name, labels, _ in GATES}
    found = by_numpy(gated)(rows, support=support_of(mask))
    assert_close(found, all_stored(by_numpy(gated)(x), mask), 1e-6)
    layer = Pointwise(jnp.tanh, "p p", p=ek.S)
    assert_close(layer(rows["p p"], support=support_of(mask)), np.tanh(rows["p p"]), 1e-6)
    with pytest.raises(ek.ShapeError, match="but the support has"):
        layer(x["p p"][0, :1], support=support_of(mask))


GATES = [("x p p", "p p", 2), ("p x", "p", 1)]


@pytest.mark.parametrize("running", [False, True])
def test_batch_norm_takes_statistics_of_present_entries(running):
    mask, x = mask_of(), dense_features({"p p": 2, "x p p": 2, "p": 2})
    layer = BatchNorm({"p p": 2, "x p p": 2, "p": 2}, use_running_average=running, groups=GROUPS)
    rows = all_stored(x, mask)
    found = by_numpy(layer)(rows, support=support_of(mask))
    if running:
        assert_close(found, all_stored(by_numpy(layer)(x), mask), 1e-6)
        return
    for name, mean, axes in (("p p", True, 0), ("x p p", False, (0, 1)), ("p", True, 0)):
        y = rows[name].astype(np.float64)
        y = y - y.mean(axis=axes) * mean
        assert_close(found[name], y / np.sqrt((y**2).mean(axis=axes) + layer.epsilon), 1e-5)


def test_padding_enters_no_statistics():
    mask, x = mask_of(), dense_features({"p p": 2, "p": 2})
    rows, support = all_stored(x, mask), support_of(mask)
    padded = support.pad(nodes=7, entries=20)
    long = {name: np.pad(rows[name], ((0, size - len(rows[name])), (0, 0)), constant_values=np.nan)
            for name, size in (("p p", 20), ("p", 7))}  # fmt: skip
    for make in (BatchNorm, LayerNorm, RMSNorm):
        layer = make({"p p": 2, "p": 2}, p=ek.S)
        wanted = by_numpy(layer)(rows, support=support)
        found = by_numpy(layer)(long, support=padded)
        for name in rows:
            assert_close(found[name][: len(rows[name])], wanted[name], 1e-6)
            assert not np.any(found[name][len(rows[name]) :])


@pytest.mark.parametrize(("features", "how"), [("p p", "sum"), ("p", "mean"), ("p f p", "mean"), ("p f p", "max")])
def test_pools_of_graphs(features, how):
    mask, x = mask_of(), None
    rng = np.random.default_rng(0)
    masks, plain = [mask, mask_of(1), np.zeros((N, N), bool)], "f" in features.split()
    groups = {"p": ek.S} | ({"f": ek.Fixed(2)} if plain else {})
    pool = by_numpy(Pool(features, how=how, groups=groups))
    both = ek.Support.join([support_of(m) for m in masks])
    count = [int(m.sum()) if features != "p" else N for m in masks]
    x = [rng.normal(size=(rows, *((2,) if plain else ()), 3)).astype(np.float32) for rows in count]
    found = pool(np.concatenate(x), support=both)
    empty = np.full(x[0].shape[1:], -np.inf if how == "max" else 0.0)
    wanted = [getattr(np, how)(rows, axis=0) if len(rows) else empty for rows in x]
    assert_close(found, np.stack(wanted), 1e-5) if how != "max" else np.testing.assert_array_equal(
        np.asarray(found), np.stack(wanted)
    )
    assert_close(pool(x[0], support=support_of(mask)), wanted[0], 1e-5)
    padded = both.pad(nodes=20, entries=60, graphs=5)
    long = np.concatenate(x)
    rows = 60 if features != "p" else 20
    long = np.concatenate([long, np.full((rows - len(long), *long.shape[1:]), np.nan, np.float32)])
    np.testing.assert_allclose(np.asarray(pool(long, support=padded))[:3], np.stack(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("drop", "kinds"), [("values", 8), ("channels", 1), ("entries", 8)])
def test_dropout(drop, kinds):
    """What is dropped together: a vector, a channel of each graph, an entry."""
    mask = mask_of(full=True)
    both = ek.Support.join([support_of(mask)] * 3)
    layer = Dropout({"x p p": 64}, 0.5, drop=drop, groups=GROUPS, rngs=nnx.Rngs(0))
    y = by_numpy(layer)(np.ones((48, X, 64), np.float32), support=both).reshape(3, 16, X, 64)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[:, :, :1]).all()
    over_rows, over_channels, over_graphs = ((y == part).all() for part in (y[:, :1], y[..., :1], y[:1]))
    assert (over_rows, over_channels, over_graphs) == (drop == "channels", drop == "entries", False)
    one = by_numpy(layer)(np.ones((16, X, 64), np.float32), support=support_of(mask))
    assert (one == one[:1]).all() == (drop == "channels")
    assert len(np.unique(y[0, :, 0, 0])) <= kinds


NETWORK = [{"p p": 2, "p x": 2}, {"p p": 3, "p": 3, "p x": 2}, {"p p": 3, "p": 3, "p x": 2}, {"p p": 2, "x": 1, "": 2}]


@functools.cache
def network(**options) -> Network:
    return Network(NETWORK, groups=GROUPS, rngs=nnx.Rngs(0), products=2, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"normalize_features": True, "residual": True},
        pytest.param({"nonlinearity": "norm"}, marks=pytest.mark.slow),
    ],
    ids=["gated", "norm"],
)
def test_a_network_on_a_full_support_is_the_dense_network(options):
    net, mask, x = network(**options), mask_of(full=True), dense_features(NETWORK[0])
    found = by_numpy(net)(all_stored(x, mask), support=support_of(mask))
    assert_close(found, all_stored(by_numpy(net)(x), mask), 1e-4)


def test_a_network_on_edges_has_masked_layers():
    """Sums of the dense layers, masked before and after each."""
    net = MLP(
        [{"p p": 2}, {"p p": 3, "p": 2}, {"p p": 2, "": 1}], products=2, normalize="sum", p=ek.S, rngs=nnx.Rngs(0)
    )
    mask, x = mask_of(3), dense_features({"p p": 2})

    def masked(y):
        return {name: jnp.where(mask[..., None], a, 0.0) if name == "p p" else a for name, a in y.items()}

    def layer(part, y):
        return masked(part(masked(y)))

    def products(part, y):
        left, right = (masked(each(masked(y))) for each in (part.left, part.right))
        return part.mix({name: left[one] * right[other] for name, (one, other) in names.items()})

    (bilinear,) = net.bilinear.values()
    names = {name: tuple(" ".join(kind) for kind in pair) for name, pair in bilinear.products.items()}

    def dense(x):
        y, more = layer(net.linear[0], x), masked(products(bilinear, x))
        both = {name: (y[name] + more[name]) * 2**-0.5 if name in more else y[name] for name in y}
        return layer(net.head, net.nonlinear[0](both))

    found = in_numpy(lambda x: net(x, support=support_of(mask)), all_stored(x, mask))
    assert_close(found, all_stored(in_numpy(dense, x), mask), 1e-4)


def test_residual_blocks_and_stacks():
    def block(rngs):
        layer = Linear({"p p": 3, "p": 2}, {"p p": 3, "p": 2}, p=ek.S, rngs=rngs)
        return Residual([RMSNorm({"p p": 3, "p": 2}, p=ek.S), layer])

    net = by_numpy(Stack(block, 2, rngs=nnx.Rngs(0)))
    mask, x = mask_of(full=True), dense_features({"p p": 3, "p": 2})
    found = net(all_stored(x, mask), support=support_of(mask))
    assert_close(found, all_stored(net(x), mask), 1e-5)
    mask = mask_of()
    rows, support = all_stored(x, mask), support_of(mask)
    padded = {"p p": np.pad(rows["p p"], ((0, 20 - mask.sum()), (0, 0)), constant_values=np.nan),
              "p": np.pad(rows["p"], ((0, 3), (0, 0)), constant_values=np.nan)}  # fmt: skip
    long = net(padded, support=support.pad(nodes=7, entries=20))
    for name, y in net(rows, support=support).items():
        assert_close(long[name][: len(y)], y, 1e-5)
        assert not np.any(long[name][len(y) :])


def test_graphs_and_sets_of_any_sizes_in_one_array():
    net = GraphNetwork(2, [4], 3, node_channels=1, rngs=nnx.Rngs(0))
    masks, rng = [mask_of(), mask_of(5)], np.random.default_rng(0)
    edges = [rng.normal(size=(m.sum(), 2)).astype(np.float32) for m in masks]
    nodes = [rng.normal(size=(N, 1)).astype(np.float32) for _ in masks]
    both = ek.Support.join([support_of(m) for m in masks])
    call = by_numpy(net)
    alone = [call(e, v, support=support_of(m)) for e, v, m in zip(edges, nodes, masks, strict=True)]
    assert_close(call(np.concatenate(edges), np.concatenate(nodes), support=both), np.stack(alone), 1e-5)
    full = mask_of(full=True)
    x = dense_features({"p p": 2, "p": 1})
    rows = all_stored(x, full)
    assert_close(call(rows["p p"], rows["p"], support=support_of(full)), call(x["p p"], x["p"]), 1e-5)
    sets = by_numpy(DeepSets(1, [4], 2, rngs=nnx.Rngs(0)))
    assert_close(sets(np.concatenate(nodes), support=both), np.stack([sets(v) for v in nodes]), 1e-5)


class MessagePassing(nnx.Module):
    """Messages along edges, from features of edges and of their ends."""

    def __init__(self, rngs):
        self.message = Multilinear("p p, p -> p", (2, 3), 3, mode="full", p=ek.S, rngs=rngs)
        self.update = Linear({"messages": ("p", 3), "p": 3}, {"p": 3}, p=ek.S, rngs=rngs)

    def __call__(self, edges, nodes, support):
        messages = self.message(edges, nodes, support=support)
        return self.update({"messages": messages, "p": nodes}, support=support)["p"]


def test_a_subgraph_network_passes_messages_for_each_root():
    layer = Multilinear("p p, p r -> p r", 2, mode="channelwise", normalize="sum", p=ek.S, r=ek.S, rngs=nnx.Rngs(0))
    mask, rng = mask_of(), np.random.default_rng(0)
    edges = (rng.normal(size=(N, N, 2)) * mask[..., None]).astype(np.float32)
    features = rng.normal(size=(N, N, 2)).astype(np.float32)  # of each node, for each root
    call = by_numpy(layer)
    assert_close(call(edges[mask], features, support=support_of(mask)), call(edges, features), 1e-5)


class TwoFolklore(nnx.Module):
    """A 2-IGN with products of matrices on the edges of a graph, of the expressive power of 2-FWL on triangles."""

    def __init__(self, rngs):
        self.square = Multilinear("p p, p p -> p p", 2, mode="channelwise", p=ek.S, rngs=rngs)
        self.linear = Linear({"square": ("p p", 2), "p p": 2}, {"": 1}, p=ek.S, rngs=rngs)

    def __call__(self, edges, support):
        square = self.square(edges, edges, support=support)
        return self.linear({"square": square, "p p": edges}, support=support)[""]


def test_a_message_passing_layer_commutes_with_permutations():
    layer, mask, rng = MessagePassing(nnx.Rngs(0)), mask_of(), np.random.default_rng(0)
    senders, receivers = np.nonzero(mask)
    edges, nodes = rng.normal(size=(len(senders), 2)), rng.normal(size=(N, 3))
    edges, nodes, g = edges.astype(np.float32), nodes.astype(np.float32), rng.permutation(N)
    moved = ek.Support("p p", g[senders], g[receivers], n=N)
    first = by_numpy(layer)(edges, nodes, support_of(mask))
    second = by_numpy(layer)(edges, nodes[np.argsort(g)], moved)
    assert_close(second, first[np.argsort(g)], 1e-5)


def test_products_of_matrices_on_edges_tell_triangles_from_hexagons():
    """Two triangles and a hexagon, which messages cannot tell apart."""
    layer = TwoFolklore(nnx.Rngs(0))
    ring = np.arange(6)
    hexagon = [*zip(ring, (ring + 1) % 6, strict=True)]
    triangles = [(i, i // 3 * 3 + (i + 1) % 3) for i in range(6)]
    parts = []
    for pairs in (hexagon, triangles):
        one, two = np.array(pairs).T
        parts.append(ek.Support("p p", np.append(one, two), np.append(two, one), n=6))
    edges = ek.Support.join(parts)
    one, two = by_numpy(layer)(np.ones((24, 2), np.float32), edges | edges.cliques())
    assert abs(one - two).max() > 1e-3


def test_the_maximum_of_padded_graphs_has_no_infinite_gradient():
    support = ek.Support.join([ek.Support("p p", [0], [1], n=2)]).pad(nodes=4, entries=4, graphs=2)
    pool, x, here = ek.nn.Pool("p p", how="max", p=ek.S), jnp.ones((4, 1)), support.present(0)[:, None]
    assert pool(x, support=support).tolist() == [[1.0], [0.0]]
    gradient = jax.grad(lambda weight: jnp.mean((pool(x, support=support) @ weight) ** 2, where=here))(jnp.ones((1, 1)))
    assert gradient.tolist() == [[2.0]]
