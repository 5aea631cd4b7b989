"""Graphs in the order of their spectrum: every small graph told from every other, and no relabeling seen."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.frames import Canonical, Laplacian, Stochastic
from equikit.testing import assert_equivariant

SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)
"""The circular skip links of Murphy et al., Relational pooling (2019), on 41 nodes."""


def atlas(nodes=7):
    """All graphs of so many nodes up to relabeling: 1044 with seven, 853 of which are connected."""
    graphs = [g for g in nx.graph_atlas_g() if g.number_of_nodes() == nodes]
    return np.stack([nx.to_numpy_array(g) for g in graphs]), np.array([nx.is_connected(g) for g in graphs])


def matrices(*graphs):
    """Adjacency matrices, with points added to graphs that have fewer nodes than others."""
    nodes = range(max(map(len, graphs)))
    return np.stack([nx.to_numpy_array(nx.compose(nx.empty_graph(nodes), g), nodelist=nodes) for g in graphs])


def relabeled(graphs, seed=0):
    """Each graph with its nodes in a random order, and the orders."""
    orders = np.random.default_rng(seed).permuted([np.arange(graphs.shape[1])] * len(graphs), axis=1)
    return np.stack([g[np.ix_(p, p)] for g, p in zip(graphs, orders, strict=True)]), orders


def perceptron(nodes, outputs, width=64):
    """A random network that sees a matrix as one long vector."""
    generator = np.random.default_rng(0)
    first, bias = generator.normal(size=(nodes * nodes, width)), generator.normal(size=width)
    last = generator.normal(size=(width, outputs)) / np.sqrt(width)

    def network(a):
        hidden = jnp.tanh(a.reshape(*a.shape[:-2], nodes * nodes) @ first.astype(a.dtype) + bias.astype(a.dtype))
        return hidden @ last.astype(a.dtype)

    return network


def of_graph(nodes, how):
    """Ten invariants of a graph, and a number for each of its nodes."""
    network = perceptron(nodes, 10 + nodes)

    def backbone(x):
        y = network(x["graph"])
        return {"all": y[..., :10], "each": y[..., 10:]}

    signature = {"graph": "p p"}, {"all": "f", "each": "p"}
    return ek.symmetrize(backbone, *signature, p=ek.S, f=ek.Fixed(10), channels=False, how=how)


def of_pairs(nodes, how):
    """A number for each pair of nodes."""
    network = perceptron(nodes, nodes * nodes)

    def backbone(a):
        return network(a).reshape(*a.shape[:-2], nodes, nodes)

    return ek.symmetrize(backbone, "p p -> p p", p=ek.S, channels=False, how=how)


def least_distance(y):
    """The distance of the two closest rows, in the largest of their numbers."""
    return min(np.abs(y[i + 1 :] - y[i]).max(axis=1).min() for i in range(len(y) - 1))


def assert_blind_to_labels(sym, graphs, atol):
    """Relabeling leaves invariants as they are, and permutes the others; return the invariants and the info."""
    other, orders = relabeled(graphs)
    (y, info), z = sym({"graph": graphs}, with_info=True), sym({"graph": other})
    np.testing.assert_allclose(z["all"], y["all"], atol=atol)
    np.testing.assert_allclose(z["each"], np.take_along_axis(np.asarray(y["each"]), orders, axis=1), atol=atol)
    return np.asarray(y["all"]), info


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_all_graphs_with_seven_nodes(x64, dtype):
    """In one part or several, without edges and with all: each is told from all others, and none from its copy."""
    graphs, connected = atlas()
    graphs = graphs.astype(dtype)
    assert (len(graphs), connected.sum()) == (1044, 853)
    sym = of_graph(7, Laplacian())
    y, _ = assert_blind_to_labels(sym, graphs, 1e-12 if dtype == "float64" else 1e-5)
    assert least_distance(y) > 0.01
    frame = sym.frame({"graph": jnp.asarray(graphs)})
    listed = np.asarray((frame.weights > 0).sum(axis=0))
    assert (listed.max(), np.median(listed)) == (14, 1)
    np.testing.assert_allclose(frame.weights.sum(axis=0), 1, rtol=1e-6)
    if dtype == "float64":
        size = np.asarray(frame.info.size)
        automorphisms = of_graph(7, Canonical()).info({"graph": jnp.asarray(graphs)}).size
        np.testing.assert_allclose(size, automorphisms, rtol=1e-5)
        assert (np.median(size[connected]), round(float(size.max()))) == (2, 5040)


@pytest.mark.slow
@pytest.mark.compiled
def test_all_graphs_with_the_frame_of_the_paper(x64):
    graphs, connected = atlas()
    graphs = graphs[connected]
    sym = of_graph(7, Laplacian(max_size=5040, refine=False))
    y, info = assert_blind_to_labels(sym, graphs, 1e-12)
    assert least_distance(y) > 0.01
    size = np.rint(np.asarray(info.size))
    automorphisms = np.rint(np.asarray(of_graph(7, Canonical()).info({"graph": jnp.asarray(graphs)}).size))
    assert (np.median(size), size.max()) == (4, 5040)
    assert np.sum(size == automorphisms) == 528


def keys_of(graph):
    """The diagonals of the projectors on the eigenspaces, in NumPy."""
    values, vectors = np.linalg.eigh(np.diag(graph.sum(axis=1)) - graph)
    spaces = {}
    for value, vector in zip(values, vectors.T, strict=True):
        spaces.setdefault(round(float(value), 6), []).append(vector)
    return np.round([sum(v**2 for v in vectors) for _, vectors in sorted(spaces.items())], 6).T


def test_the_frame_of_the_paper_by_brute_force(x64):
    """The mean over all permutations that sort the keys, of all graphs with five nodes."""
    graphs, _ = atlas(5)
    sym = of_graph(5, Laplacian(max_size=120, refine=False))
    backbone = jax.jit(jax.vmap(sym.backbone))
    y, info = jax.tree.map(np.asarray, sym({"graph": graphs}, with_info=True))
    for i, graph in enumerate(graphs):
        rows = [tuple(row) for row in keys_of(graph)]
        sorting = [p for p in itertools.permutations(range(5)) if [rows[i] for i in p] == sorted(rows)]
        copies = np.zeros((120, 5, 5))
        copies[: len(sorting)] = [graph[np.ix_(p, p)] for p in sorting]
        moved = {name: np.asarray(y)[: len(sorting)] for name, y in backbone({"graph": copies}).items()}
        back = np.take_along_axis(moved["each"], np.argsort(sorting, axis=1), axis=1)
        np.testing.assert_allclose(y["all"][i], np.mean(moved["all"], axis=0), atol=1e-12)
        np.testing.assert_allclose(y["each"][i], back.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(info.size[i], len(sorting), rtol=1e-5)


def test_an_eigenspace_is_one_key_whatever_the_tolerance(x64):
    """Rounding alone tells the eigenvalues of an eigenspace apart; keys that it makes have no weight."""
    graphs = matrices(nx.cycle_graph(5), nx.disjoint_union(nx.cycle_graph(3), nx.path_graph(2)), nx.star_graph(4))
    assert_blind_to_labels(of_graph(5, Laplacian(max_size=120, refine=False, tolerance=0.0)), graphs, 1e-13)


def test_outputs_for_pairs(x64):
    """Automorphisms are listed, but for exchanges of twins."""
    triangles = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    graphs = matrices(triangles, nx.cycle_graph(6), nx.path_graph(5), nx.circular_ladder_graph(3), nx.star_graph(4))
    sym = of_pairs(6, Laplacian(max_size=12))
    other, orders = relabeled(graphs)
    y, z = (np.asarray(sym(jnp.asarray(a))) for a in (graphs, other))
    for one, two, p in zip(y, z, orders, strict=True):
        np.testing.assert_allclose(two, one[np.ix_(p, p)], atol=1e-13)
    frame = sym.frame(jnp.asarray(graphs))
    assert (frame.weights > 0).sum(axis=0).tolist() == [2, 12, 2, 12, 1]
    np.testing.assert_allclose(frame.info.size, [72, 12, 2, 12, 24], rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "edges"), [("float32", "each"), pytest.param("float64", "sum", marks=pytest.mark.slow)]
)
def test_weights_directions_and_channels(x64, dtype, edges):
    def backbone(a):
        return jnp.cumsum(jnp.sin(a), axis=-3).sum(axis=-2)

    sym = ek.symmetrize(backbone, "p p -> p", p=ek.S, how=Laplacian(edges=edges))
    assert_equivariant(sym, "p p -> p", p=ek.S(7), channels=2, dtype=dtype, key=jax.random.key(0))


def test_nodes_with_numbers_of_their_own_and_masks(x64):
    """Numbers of nodes break ties; absent nodes come last, whatever they hold."""
    graph, colors = nx.to_numpy_array(nx.cycle_graph(6)), np.array([1.0, 0, 0, 1, 0, 0])
    graph, colors = np.pad(graph, (0, 2), constant_values=np.nan), np.pad(colors, (0, 2), constant_values=7)
    graph[2, 2] = 3  # a loop is a number of a node too
    there = np.arange(8) < 6

    def backbone(x, mask):
        both = mask["p"][..., :, None] & mask["p"][..., None, :]
        a = jnp.where(both, x["edges"], 0) + jnp.where(mask["p"], x["nodes"], 0)[..., None]
        return perceptron(8, 8)(a) + 100 * jnp.sum(mask["p"] * jnp.arange(8))

    signature = {"edges": "p p", "nodes": "p"}, {"y": "p"}
    sym = ek.symmetrize(backbone, *signature, p=ek.S, channels=False, how=Laplacian(max_size=2))
    p = np.array([6, 3, 1, 0, 7, 5, 2, 4])

    def at(q):
        x = {"edges": jnp.asarray(graph[np.ix_(q, q)]), "nodes": jnp.asarray(colors[q])}
        y, info = sym(x, mask={"p": jnp.asarray(there[q])}, with_info=True)
        return np.asarray(y["y"]), info

    (y, info), (z, _) = at(np.arange(8)), at(p)
    np.testing.assert_allclose(z[there[p]], y[p][there[p]], atol=1e-12)
    assert np.all(y > 1400)  # the first six places are those that are there
    assert info.ties == 0
    assert not info.degenerate
    assert np.isfinite(info.gap)


@pytest.mark.parametrize(
    ("nodes", "refine"), [(0, True), (0, False), pytest.param(1, True, marks=pytest.mark.slow), (2, True)]
)
def test_few_nodes(nodes, refine):
    graph = np.ones((nodes, nodes), np.float32) - np.eye(nodes, dtype=np.float32)
    y, info = of_pairs(nodes, Laplacian(max_size=2, refine=refine))(graph, with_info=True)
    assert y.shape == (nodes, nodes)
    assert not info.degenerate
    np.testing.assert_allclose(info.size, max(nodes, 1), rtol=1e-6)


def test_more_orders_than_are_listed(x64):
    """Of a cycle of seven nodes there are 14; the paper's frame has all 5040, which are drawn where they do not fit."""
    graphs = {"graph": jnp.asarray(matrices(nx.cycle_graph(7), nx.path_graph(7)))}
    assert_error(
        ek.FrameError,
        lambda: of_graph(7, Laplacian(max_size=13))(graphs),
        "an input has no frame",
        "1 of 2 inputs for Laplacian",
        "without symmetries",
        "on_degenerate=",
    )
    info = of_graph(7, Laplacian(max_size=13)).info(graphs)
    assert info.degenerate.tolist() == [True, False]
    np.testing.assert_allclose(info.size, [14, 2], rtol=1e-5)
    sym = of_graph(7, Laplacian(max_size=50, refine=False, on_degenerate="sample"))
    y, info = sym(graphs, key=jax.random.key(0), with_info=True)
    network = jax.jit(perceptron(7, 17))
    orders = np.array(list(itertools.permutations(range(7))))
    cycle = np.asarray(graphs["graph"][0])
    every = np.asarray(network(cycle[orders[:, :, None], orders[:, None, :]]))[:, :10]
    error = np.asarray(info.standard_error["all"])
    assert np.all(error[1] == 0)
    np.testing.assert_allclose(error[0] * np.sqrt(50), every.std(axis=0), rtol=0.5)
    assert np.all(np.abs(y["all"][0] - every.mean(axis=0)) < 4 * error[0])


def test_a_random_leaf(x64):
    """Of leaves that automorphisms exchange any one gives the same invariants."""
    graphs = {"graph": jnp.asarray(matrices(nx.cycle_graph(7), nx.path_graph(7)))}
    y, info = of_graph(7, Stochastic(Laplacian(), samples=20))(graphs, key=jax.random.key(1), with_info=True)
    assert np.max(info.standard_error["all"]) < 1e-7
    each = np.asarray(y["each"][0])  # for nodes that are all alike
    assert np.ptp(each) > 0.01
    assert np.all(np.abs(each - each.mean()) < 4 * info.standard_error["each"][0])


@pytest.mark.slow
def test_circular_skip_links(x64):
    """Ten graphs with 41 nodes, all of which are alike in each: the keys of the paper say nothing, refinement all."""
    graphs = np.stack([nx.to_numpy_array(nx.circulant_graph(41, [1, skip])) for skip in SKIPS])
    y, _ = assert_blind_to_labels(of_graph(41, Laplacian(max_size=164)), graphs, 1e-12)
    assert least_distance(y) > 0.1
    sym = of_graph(41, Laplacian(max_size=200, refine=False, on_degenerate="sample"))
    one, info = sym({"graph": jnp.asarray(graphs)}, key=jax.random.key(0), with_info=True)
    two = sym({"graph": jnp.asarray(relabeled(graphs)[0])}, key=jax.random.key(1))
    np.testing.assert_allclose(info.more["log_size"], np.sum(np.log(np.arange(1, 42))), rtol=1e-6)  # all 41! orders
    one, two, error = one["all"], two["all"], float(info.standard_error["all"].mean())
    apart = np.median([np.abs(one[i] - one[j]).max() for i, j in itertools.combinations(range(10), 2)])
    same = np.median(np.abs(one - two).max(axis=1))
    assert apart < 1.3 * same  # different graphs are as far apart as two samples of one graph
    assert 1 < same / (np.sqrt(2) * error) < 3


def test_half_precision_and_what_is_no_number():
    graphs = matrices(nx.cycle_graph(5), nx.path_graph(5)).astype(jnp.bfloat16)
    graphs[0, 1, 2] = np.nan
    sym = jax.jit(of_graph(5, Laplacian(max_size=10)))
    y, other = (jax.tree.map(np.asarray, sym({"graph": x})) for x in (graphs, graphs[::-1, ::-1, ::-1]))
    assert y["all"].dtype == jnp.bfloat16
    assert np.isnan(y["all"][0]).all()
    np.testing.assert_array_equal(y["all"][1], other["all"][0])
    np.testing.assert_array_equal(y["each"][1], other["each"][0, ::-1])


def test_derivatives(x64):
    """The order is constant near an input without ties, and finite with them."""
    sym = of_graph(5, Laplacian(max_size=10))

    @jax.jit
    @jax.vmap
    def slope(graph, direction):
        def along(t):
            y = sym({"graph": graph + t * direction})
            return jnp.sum(y["all"] ** 2) + jnp.sum(y["each"] ** 3)

        values, slopes = jax.vmap(jax.value_and_grad(along))(jnp.array([-1e-6, 0, 1e-6]))
        return slopes[1], (values[2] - values[0]) / 2e-6

    weights = np.random.default_rng(0).uniform(size=(2, 5, 5))
    graphs = np.stack([weights[0], *matrices(nx.cycle_graph(5))])
    found, wanted = slope(graphs, weights)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6)
    assert np.all(np.isfinite(found))


def test_refusals():
    def made(how, signature="p p -> p", **groups):
        return ek.symmetrize(jnp.sin, signature, groups={"p": ek.S, **groups}, channels=False, how=how)

    assert_error(
        ek.OptionError, lambda: made(Laplacian(), "p -> p"), "no input has 'p' twice", "p -> p", "'p' twice", "Sort"
    )
    assert_error(
        ek.OptionError,
        lambda: made(Laplacian(terms=("q",))),
        "unknown value for terms=",
        "'q'",
        '"p p"',
        'write terms="p p"',
    )
    assert_error(
        ek.GroupError,
        lambda: made(Laplacian(), p=ek.Z(4)),
        "Laplacian does not work with Z(4)",
        "p=Z(4)",
        "S",
        "GroupAverage",
    )
    assert_error(ek.OptionError, lambda: Laplacian(edges="all"), "value for edges=", "'all'", '"each"', 'edges="sum"')
    assert_error(
        ek.OptionError, lambda: Laplacian(refine=1), "refine= must be True or False", "1", "a bool", "refine=True"
    )
    assert_error(
        ek.OptionError,
        lambda: Laplacian(on_degenerate="weighted"),
        "unknown value for on_degenerate=",
        "weighted",
        "flag",
        "error",
    )
