"""Forces of graphs with symmetries: derivatives are the mean over all orders that lead to one canonical form."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import DiGraphMatcher, categorical_edge_match, categorical_node_match

import equikit as ek
from equikit.symmetrization.frames import Canonical, Laplacian

METHODS = {"canonical": Canonical(), "laplacian": Laplacian(max_size=120)}
every_method = pytest.mark.parametrize("method", METHODS)

CYCLE = nx.to_numpy_array(nx.cycle_graph(6))
SMALL = {
    "complete": (nx.to_numpy_array(nx.complete_graph(6)), np.zeros(6)),
    "empty": (np.zeros((6, 6)), np.zeros(6)),
    "star": (nx.to_numpy_array(nx.star_graph(5)), np.zeros(6)),
    "path": (nx.to_numpy_array(nx.path_graph(6)), np.zeros(6)),
    "cycle": (CYCLE, np.zeros(6)),
    "cycle in one direction": (np.roll(np.eye(6), 1, axis=1), np.zeros(6)),
    "cycle of two weights": (CYCLE * np.where(np.add.outer(range(6), range(6)) % 4 == 1, 0.3, 1.7), np.zeros(6)),
    "cycle of three kinds of nodes": (CYCLE, np.array([0.2, 1, 2.5, 0.2, 1, 2.5])),
    "loops": (np.diag([1.0, 1, 1, 2, 2, 3]), np.zeros(6)),
    "two triangles": (np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)), np.zeros(6)),
    "star of two kinds of leaves": (nx.to_numpy_array(nx.star_graph(5)), np.array([0, 1, 1, -1, -1, -1.0])),
    "no symmetry": (np.random.default_rng(3).normal(size=(6, 6)), np.arange(6.0)),
}
LARGE = {
    "petersen": (nx.to_numpy_array(nx.petersen_graph()), np.zeros(10)),
    "cube and two nodes": (np.pad(nx.to_numpy_array(nx.hypercube_graph(3)), (0, 2)), np.zeros(10)),
}
GRAPHS = [pytest.param(SMALL, id="six nodes"), pytest.param(LARGE, id="ten nodes", marks=pytest.mark.slow)]
every_graph = pytest.mark.parametrize("graphs", GRAPHS)


def batch(graphs):
    edges, nodes = zip(*graphs.values(), strict=True)
    return {"edges": np.stack(edges), "nodes": np.stack(nodes)}


def relabeled(x, orders):
    edges, nodes = (np.asarray(x[name]) for name in ("edges", "nodes"))
    edges = np.stack([a[np.ix_(p, p)] for a, p in zip(edges, orders, strict=True)])
    return {"edges": edges, "nodes": np.stack([a[p] for a, p in zip(nodes, orders, strict=True)])}


def moved_along(x, direction, step):
    return {name: x[name] + step * direction[name] for name in x}


def shuffles(count, nodes):
    return np.random.default_rng(0).permuted([np.arange(nodes)] * count, axis=1)


def automorphisms(edges, nodes):
    """All permutations that leave a graph as it is, `[automorphisms, n]`."""
    graph = nx.DiGraph([(i, j, {"w": w}) for (i, j), w in np.ndenumerate(edges)])
    nx.set_node_attributes(graph, dict(enumerate(nodes.tolist())), "k")
    same = categorical_node_match("k", 0), categorical_edge_match("w", 0)
    matches = DiGraphMatcher(graph, graph, *same).isomorphisms_iter()
    return np.array([[match[i] for i in range(len(nodes))] for match in matches])


def backbone(x):
    """Numbers that depend on the order of the nodes: an energy, and a number for each pair."""
    n = x["nodes"].shape[-1]
    flat = jnp.concatenate([x["edges"].reshape(*x["edges"].shape[:-2], n * n), x["nodes"]], axis=-1)
    weights = np.random.default_rng(0).normal(size=(2, flat.shape[-1], n * n)) / n
    each = jnp.tanh(jnp.sin(flat @ weights[0].astype(flat.dtype) + 0.3) @ weights[1, : n * n].astype(flat.dtype))
    return {"energy": each.sum(-1), "pairs": each.reshape(*x["edges"].shape)}


of_one = jax.jit(backbone)
slope = jax.jit(jax.grad(lambda x: backbone(x)["energy"]))


@functools.cache
def made(method):
    signature = {"edges": "p p", "nodes": "p"}, {"energy": "", "pairs": "p p"}
    return ek.symmetrize(backbone, *signature, p=ek.S, channels=False, how=METHODS[method])


@functools.cache
def program(method):
    """The outputs, the forces, and the gradient of the sum of squares of all pairs."""
    sym = made(method)

    @jax.jit
    def run(x):
        y, back = jax.vjp(sym, x)
        zero = jax.tree.map(jnp.zeros_like, y)
        (forces,) = back({**zero, "energy": jnp.ones_like(y["energy"])})
        return y, forces, back({**zero, "pairs": 2 * y["pairs"]})[0]

    return run


@functools.cache
def orders_of(method, names):
    """For each graph all orders that lead to the form of its frame, `[orders, n]`, and the number of elements."""
    graphs = {name: {**SMALL, **LARGE}[name] for name in names}
    frame = made(method).frame(batch(graphs))
    found = []
    for at, (edges, nodes) in enumerate(graphs.values()):
        listed = np.asarray(frame.elements.linear["p"])[np.asarray(frame.weights[:, at]) > 0, at]
        orders = automorphisms(edges, nodes)[:, listed[0]]
        assert {*map(tuple, listed)} <= {*map(tuple, orders)}
        found.append((orders, len(listed)))
    return found


@every_method
@every_graph
def test_forces_are_the_mean_over_all_orders_with_the_same_form(x64, method, graphs):
    _, found, _ = program(method)(batch(graphs))
    for at, (orders, _) in enumerate(orders_of(method, tuple(graphs))):
        edges, nodes = (np.asarray(array) for array in [*graphs.values()][at])
        first = orders[0]
        of_form = slope({"edges": edges[np.ix_(first, first)], "nodes": nodes[first]})
        back = np.argsort(orders, axis=1)
        for_edges = np.mean([np.asarray(of_form["edges"])[np.ix_(p, p)] for p in back], axis=0)
        for_nodes = np.mean([np.asarray(of_form["nodes"])[p] for p in back], axis=0)
        np.testing.assert_allclose(found["edges"][at], for_edges, atol=1e-13)
        np.testing.assert_allclose(found["nodes"][at], for_nodes, atol=1e-13)


@every_method
@every_graph
def test_pairs_are_the_mean_over_all_automorphisms(x64, method, graphs):
    found = program(method)(batch(graphs))[0]["pairs"]
    for at, (orders, listed) in enumerate(orders_of(method, tuple(graphs))):
        edges, nodes = (np.asarray(array) for array in [*graphs.values()][at])
        of_form = of_one({"edges": edges[np.ix_(orders[0], orders[0])], "nodes": nodes[orders[0]]})["pairs"]
        wanted = np.mean([np.asarray(of_form)[np.ix_(p, p)] for p in np.argsort(orders, axis=1)], axis=0)
        np.testing.assert_allclose(found[at], wanted, atol=1e-13)
        assert listed == 1 or method == "laplacian"


@every_method
@every_graph
def test_gradients_are_relabeled_as_the_graph_is(x64, method, graphs):
    x = batch(graphs)
    orders = shuffles(len(graphs), x["nodes"].shape[-1])
    _, *gradients = program(method)(x)
    _, *others = program(method)(relabeled(x, orders))
    for gradient, after in zip(gradients, others, strict=True):
        before = relabeled(gradient, orders)
        for name in x:
            assert np.all(np.isfinite(before[name]))
            np.testing.assert_allclose(after[name], before[name], atol=1e-10)


def rate(forces, direction):
    return sum(np.sum(forces[name] * v, tuple(range(1, v.ndim))) for name, v in direction.items())


@every_method
def test_forces_are_finite_differences_along_directions_that_keep_the_symmetry(x64, method):
    """A function of the weights moves all pairs of one weight alike."""
    x, step = batch(SMALL), 1e-5
    direction = {"edges": np.cos(3 * x["edges"]), "nodes": np.sin(x["nodes"] + 1)}
    energies = [np.asarray(program(method)(moved_along(x, direction, by))[0]["energy"]) for by in (step, -step)]
    along = rate(program(method)(x)[1], direction)
    assert np.all(np.isfinite(along))
    np.testing.assert_allclose(along, (energies[0] - energies[1]) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("method", ["canonical", pytest.param("laplacian", marks=pytest.mark.slow)])
def test_forward_and_reverse_mode_agree(x64, method):
    x = batch(SMALL)
    direction = jax.tree.map(lambda a: np.random.default_rng(1).normal(size=a.shape), x)

    def forward(x, direction):
        return jax.jvp(lambda x: made(method)(x)["energy"], (x,), (direction,))[1]

    along = rate(program(method)(x)[1], direction)
    np.testing.assert_allclose(jax.jit(jax.vmap(forward))(x, direction), along, atol=1e-12)


@every_method
def test_absent_nodes_have_no_forces_and_are_not_exchanged_with_others(x64, method):
    graph, there = np.arange(64.0).reshape(8, 8), np.arange(8) < 6
    graph[:6, :6] = CYCLE

    def weighted(x, mask):
        both = mask["p"][..., :, None] & mask["p"][..., None, :]
        return jnp.sum(jnp.where(both, jnp.sin(x + jnp.arange(64.0).reshape(8, 8)), 0), axis=(-1, -2))

    sym = ek.symmetrize(weighted, "p p -> ", p=ek.S, channels=False, how=METHODS[method])
    force = np.asarray(jax.jit(jax.grad(lambda x: sym(x, mask={"p": there})))(graph))
    assert not np.any(force[6:])
    assert not np.any(force[:, 6:])
    assert len(np.unique(np.round(force[:6, :6], 12))) == 4  # orbits of pairs: a node, and three distances


@every_method
@pytest.mark.parametrize(
    ("dtype", "nodes"),
    [("bfloat16", 4), ("complex64", 4), ("float32", 0), pytest.param("float32", 1, marks=pytest.mark.slow)],
)
def test_forces_have_the_dtype_of_the_graph_at_every_size(method, dtype, nodes):
    """A complete graph has two orbits of pairs, for each channel; an empty batch has no graph."""

    def weighted(x):
        return jnp.sum(jnp.abs(jnp.arange(1, x.size + 1, dtype=x.real.dtype).reshape(x.shape) / x.size * x) ** 2)

    sym = ek.symmetrize(weighted, "p p -> ", p=ek.S, batched=False, how=METHODS[method])
    graphs = np.broadcast_to((1 + np.eye(nodes))[..., None], (2, nodes, nodes, 2)).astype(jnp.dtype(dtype))
    force = jax.jit(jax.grad(lambda x: jnp.sum(sym(x))))
    assert (no := jax.eval_shape(force, graphs[:0])).dtype == dtype
    assert no.shape == graphs[:0].shape
    found = np.asarray(force(graphs))
    assert found.dtype == dtype
    assert np.all(np.isfinite(found))
    for orbit in (np.eye(nodes, dtype=bool), ~np.eye(nodes, dtype=bool)):
        np.testing.assert_array_equal(found[:, orbit], np.broadcast_to(found[:, orbit][:1, :1], found[:, orbit].shape))
