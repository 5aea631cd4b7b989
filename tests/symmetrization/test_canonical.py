"""Canonical forms of graphs: against NetworkX, and as frames."""

import itertools
import math

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_error
from networkx.algorithms.isomorphism import GraphMatcher

import equikit as ek
from equikit.symmetrization.frames import Canonical, Laplacian, Stochastic
from equikit.symmetrization.graphs._automorphisms import canonical_form

SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)
"""The circular skip links of Murphy et al., Relational pooling (2019), on 41 nodes."""


def shrikhande():
    """Strongly regular like the graph of the rook on a board of four by four, and another."""
    steps = [(0, 1), (1, 0), (1, 1)]
    graph = nx.Graph()
    for x, y in itertools.product(range(4), repeat=2):
        graph.add_edges_from(((x, y), ((x + a) % 4, (y + b) % 4)) for a, b in steps)
    return graph


LARGE = {
    "complete": (nx.complete_graph(30), math.factorial(30)),
    "no edges": (nx.empty_graph(30), math.factorial(30)),
    "complete bipartite": (nx.complete_bipartite_graph(12, 12), 2 * math.factorial(12) ** 2),
    "triangles": (nx.disjoint_union_all([nx.cycle_graph(3)] * 8), 6**8 * math.factorial(8)),
    "petersen": (nx.petersen_graph(), 120),
    "dodecahedron": (nx.dodecahedral_graph(), 120),
    "hypercube": (nx.hypercube_graph(5), 32 * math.factorial(5)),
    "paley": (nx.paley_graph(29).to_undirected(), 29 * 14),
    "hoffman-singleton": (nx.hoffman_singleton_graph(), 252_000),
    "rook": (nx.line_graph(nx.complete_bipartite_graph(4, 4)), 2 * 24 * 24),
    "shrikhande": (shrikhande(), 192),
    "frucht": (nx.frucht_graph(), 1),
    "tree": (nx.balanced_tree(2, 4), 2**15),
    "grid": (nx.grid_2d_graph(6, 6), 8),
}


def form_of(graph, nodes=None, most=10_000):
    """The matrix in canonical order, and the search."""
    count = len(graph)
    nodes = np.zeros(count, int) if nodes is None else nodes
    found = canonical_form(nodes, 2 * graph.astype(int) + np.eye(count, dtype=int), most)
    return graph[np.ix_(found.order, found.order)], found


def shuffled(graph, seed=0):
    p = np.random.default_rng(seed).permutation(len(graph))
    return graph[np.ix_(p, p)], p


def test_graphs_are_isomorphic_exactly_if_their_forms_are_equal():
    """All graphs with up to six nodes, and their automorphisms as NetworkX finds them."""
    seen = set()
    graphs = [g for g in nx.graph_atlas_g() if len(g) < 7]
    for graph in graphs:
        matrix = nx.to_numpy_array(graph).reshape(len(graph), len(graph))
        one, found = form_of(matrix)
        two, other = form_of(shuffled(matrix)[0])
        np.testing.assert_array_equal(one, two)
        seen.add((len(graph), one.tobytes()))
        matches = GraphMatcher(graph, graph).isomorphisms_iter()
        automorphisms = np.array([[match[i] for i in range(len(graph))] for match in matches], int)
        assert found.size == other.size == len(automorphisms)
        for axes in (1, 2, 3):
            numbers = np.arange(len(graph) ** axes).reshape([len(graph)] * axes)
            least = np.min([numbers[np.ix_(*[g] * axes)] for g in automorphisms], axis=0)
            np.testing.assert_array_equal(found.orbits(axes), least)
        assert found.complete
    assert len(seen) == len(graphs) == 209


@pytest.mark.parametrize("name", LARGE)
def test_many_automorphisms(name):
    graph, size = LARGE[name]
    matrix = nx.to_numpy_array(graph)
    one, found = form_of(matrix)
    two, _ = form_of(shuffled(matrix)[0])
    np.testing.assert_array_equal(one, two)
    assert found.size == size
    for g in found.generators:
        np.testing.assert_array_equal(matrix[np.ix_(g, g)], matrix)


def test_regular_graphs_are_told_apart_as_networkx_does():
    """Refinement of colors says nothing of them."""
    graphs = [nx.random_regular_graph(3, 8, seed=seed) for seed in range(12)]
    graphs += [LARGE["rook"][0], LARGE["shrikhande"][0]]
    forms = [form_of(nx.to_numpy_array(graph))[0] for graph in graphs]
    for (one, first), (two, second) in itertools.combinations(zip(graphs, forms, strict=True), 2):
        assert np.array_equal(first, second) == nx.is_isomorphic(one, two)


def test_colors_and_directions():
    """Colors of nodes, of edges and of loops, and the directions of edges, have to be kept."""
    generator = np.random.default_rng(0)
    cycle = np.roll(np.eye(6), 1, axis=1)
    assert form_of(cycle)[1].size == 6
    assert form_of(cycle + cycle.T)[1].size == 12
    assert form_of(cycle + 2 * cycle.T)[1].size == 6
    assert form_of(cycle + cycle.T, np.array([0, 1, 0, 1, 0, 1]))[1].size == 6
    assert form_of(cycle + cycle.T + np.diag([3, 0, 0, 0, 0, 0]))[1].size == 2
    for _ in range(20):
        matrix, nodes = generator.integers(0, 3, (6, 6)), generator.integers(0, 2, 6)
        other, p = shuffled(matrix, generator.integers(100))
        one, found = form_of(matrix, nodes)
        two, again = form_of(other, nodes[p])
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(nodes[found.order], nodes[p][again.order])


def test_a_search_that_is_not_finished():
    matrix = nx.to_numpy_array(LARGE["hypercube"][0])
    assert not form_of(matrix, most=3)[1].complete
    sym = ek.symmetrize(lambda a: a.sum((-1, -2)), "p p -> ", p=ek.S, channels=False, how=Canonical(max_steps=3))
    with pytest.raises(ek.FrameError, match="1 of 1 inputs for Canonical; "):
        sym(jnp.asarray(matrix))


def blind(x, shape):
    """A function of all entries in the order in which they come, with as many outputs as asked for."""
    flat, sin = x.reshape(*x.shape[:-2], -1), np.sin if isinstance(x, np.ndarray) else jnp.sin
    weights = np.random.default_rng(0).normal(size=(flat.shape[-1], math.prod(shape))) / np.sqrt(flat.shape[-1] / 3)
    return sin(flat @ weights.astype(x.dtype)).reshape((*x.shape[:-2], *shape))


OUTPUTS = {"none": "", "one": "p", "two": "p p", "three": "p p p"}
"""Outputs by their number of axes of nodes."""


def of_graph(how):
    """Functions of graphs with outputs of every order."""

    def backbone(x):
        a = x["graph"]
        return {name: blind(a, (a.shape[-1],) * order) for order, name in enumerate(OUTPUTS)}

    return ek.symmetrize(backbone, {"graph": "p p"}, OUTPUTS, p=ek.S, channels=False, how=how)


def assert_blind_to_labels(sym, graphs):
    moved = [shuffled(graph, seed) for seed, graph in enumerate(graphs)]
    y, z = (
        jax.tree.map(np.asarray, sym({"graph": x})) for x in (graphs, np.stack([relabeled for relabeled, _ in moved]))
    )
    for order, name in enumerate(OUTPUTS):
        for one, two, (_, p) in zip(y[name], z[name], moved, strict=True):
            np.testing.assert_allclose(two, one[np.ix_(*[p] * order)] if order else one, atol=1e-13)
    return y


def graphs_of_six():
    made = [nx.cycle_graph(6), nx.path_graph(6), nx.star_graph(5), nx.complete_graph(6), nx.circular_ladder_graph(3)]
    made += [nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), nx.empty_graph(6)]
    return np.stack([nx.to_numpy_array(graph) for graph in made])


def test_outputs_of_every_order(x64):
    """The mean over all automorphisms, by one evaluation."""
    graphs = graphs_of_six()
    sym = of_graph(Canonical())
    y = assert_blind_to_labels(sym, graphs)
    frame = sym.frame({"graph": graphs})
    sizes = [12, 2, 120, 720, 12, 72, 720]
    np.testing.assert_allclose(frame.info.size, sizes, rtol=1e-5)
    assert frame.weights.tolist() == [[1] * 7]
    assert (np.sort(frame.elements.linear["p"], axis=-1) == np.arange(6)).all()
    assert np.abs(y["none"][:, None] - y["none"][None] + np.eye(7)).min() > 1e-3
    for at, (graph, first) in enumerate(zip(graphs, np.asarray(frame.elements.linear["p"][0]), strict=True)):
        permutations = [p for p in itertools.permutations(range(6)) if np.array_equal(graph[np.ix_(p, p)], graph)]
        back = np.argsort(first)
        for order, name in [*enumerate(OUTPUTS)][1:]:
            canonical = blind(graph[np.ix_(first, first)], (6,) * order)[np.ix_(*[back] * order)]
            wanted = np.mean([canonical[np.ix_(*[p] * order)] for p in permutations], axis=0)
            np.testing.assert_allclose(y[name][at], wanted, atol=1e-13)


def test_circular_skip_links(x64):
    """All nodes are alike in each of the ten graphs: one evaluation tells them apart."""
    graphs = np.stack([nx.to_numpy_array(nx.circulant_graph(41, [1, skip])) for skip in SKIPS])
    sym = ek.symmetrize(lambda a: blind(a, ()), "p p -> ", p=ek.S, channels=False, how=Canonical())
    y, other = (np.asarray(sym(x)) for x in (graphs, np.stack([shuffled(g, seed)[0] for seed, g in enumerate(graphs)])))
    np.testing.assert_allclose(other, y, atol=1e-13)
    assert np.abs(y[:, None] - y[None] + np.eye(10)).min() > 1e-3
    frame = sym.frame(graphs)
    assert frame.size == 1
    np.testing.assert_allclose(frame.info.size, [164 if skip == 9 else 82 for skip in SKIPS], rtol=1e-5)
    assert frame.info.ties.tolist() == [40] * 10


def test_inside_transformations_of_jax(x64):
    """The search is called from compiled programs, for a whole batch at once."""
    graphs = graphs_of_six()
    sym = of_graph(Canonical())
    y = sym({"graph": graphs})
    gradient = jax.grad(lambda x: sum(jnp.sum(y**2) for y in sym(x).values()))
    for name, found in jax.jit(sym)({"graph": graphs}).items():
        np.testing.assert_allclose(found, y[name], atol=1e-13)
    for name, found in jax.jit(jax.vmap(sym))({"graph": graphs}).items():
        np.testing.assert_allclose(found, y[name], atol=1e-13)
    assert np.all(np.isfinite(jax.jit(gradient)({"graph": graphs})["graph"]))
    many = np.random.default_rng(0).integers(0, 2, (2000, 12, 12)).astype(np.float32)
    one = ek.symmetrize(lambda a: blind(a, ()), "p p -> ", p=ek.S, channels=False, how=Canonical())
    assert np.all(np.isfinite(jax.jit(one)(many)))


def test_draws_of_one_element_are_exact(x64):
    graphs = {"graph": graphs_of_six()}
    y, info = of_graph(Stochastic(Canonical(), samples=2))(graphs, key=jax.random.key(0), with_info=True)
    for name, wanted in of_graph(Canonical())(graphs).items():
        np.testing.assert_allclose(y[name], wanted, atol=1e-13)
        assert np.all(info.standard_error[name] < 1e-13)


def test_weights_numbers_of_nodes_and_masks(x64):
    """What differs by rounding alone is equal; absent nodes come last."""
    generator = np.random.default_rng(0)
    graph = np.pad(nx.to_numpy_array(nx.cycle_graph(6)) * 0.3, (0, 2), constant_values=np.nan)
    colors, there = np.array([0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 5, 7]), np.arange(8) < 6

    def backbone(x, mask):
        both = mask["p"][..., :, None] & mask["p"][..., None, :]
        a = jnp.where(both, x["edges"], 0) + jnp.where(mask["p"], x["nodes"], 0)[..., None]
        return blind(a, (8,)) + 100 * jnp.sum(mask["p"] * jnp.arange(8))

    signature = {"edges": "p p", "nodes": "p"}, {"y": "p"}
    sym = ek.symmetrize(backbone, *signature, p=ek.S, channels=False, how=Canonical())
    p = np.array([6, 3, 1, 0, 7, 5, 2, 4])

    def at(q):
        noisy = {"edges": graph * (1 + 1e-15 * generator.normal(size=(8, 8))), "nodes": colors * (1 + 1e-15)}
        x = {"edges": jnp.asarray(noisy["edges"][np.ix_(q, q)]), "nodes": jnp.asarray(noisy["nodes"][q])}
        y, info = sym(x, mask={"p": jnp.asarray(there[q])}, with_info=True)
        return np.asarray(y["y"]), info

    (y, info), (z, _) = at(np.arange(8)), at(p)
    np.testing.assert_allclose(z[there[p]], y[p][there[p]], atol=1e-11)
    assert np.all(y > 1400)  # the first six places are those that are there
    np.testing.assert_allclose(info.size, 6, rtol=1e-6)
    assert info.ties == 4


@pytest.mark.parametrize("nodes", [0, 1])
def test_few_nodes(nodes):
    y, info = of_graph(Canonical())({"graph": np.ones((nodes, nodes), np.float32)}, with_info=True)
    assert {name: array.ndim for name, array in y.items()} == {name: order for order, name in enumerate(OUTPUTS)}
    assert all(array.shape == (nodes,) * array.ndim for array in y.values())
    assert not info.degenerate
    assert info.size == 1


def test_what_is_no_number():
    graphs = graphs_of_six()[:2].astype(jnp.bfloat16)
    graphs[0, 1, 2] = np.nan
    for y in jax.jit(of_graph(Canonical()))({"graph": graphs}).values():
        assert y.dtype == jnp.bfloat16
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()


def test_refusals():
    def made(how, signature):
        return ek.symmetrize(jnp.sin, signature, p=ek.S, channels=False, how=how)

    for signature in ("p -> p", "p p p -> p"):
        assert_error(
            ek.OptionError,
            lambda signature=signature: made(Canonical(), signature),
            "no input has 'p' at most twice, and one twice",
            signature,
            "an input term with 'p' at most twice, and one twice",
            "Sort",
        )
    assert_error(ek.OptionError, lambda: Canonical(max_steps=0), "whole number ≥ 1", "0", "≥ 1", "max_steps=1")
    assert_error(
        ek.OptionError,
        lambda: Canonical(on_degenerate="sample"),
        "unknown value for on_degenerate=",
        "sample",
        "flag",
        "error",
    )
    with pytest.raises(ek.OptionError, match="max_size"):
        Canonical(max_size=2)


@pytest.mark.parametrize(
    ("how", "gap", "dtype", "bound"),
    [
        (Canonical(), 1e-3, jnp.float32, 1e-3),
        pytest.param(Laplacian(), 0.3, jnp.bfloat16, 0.05, marks=pytest.mark.slow),
    ],
    ids=["canonical", "spectral"],
)
def test_coordinates_that_another_frame_makes_equal(how, gap, dtype, bound):
    """Corners of a box share coordinates but for the error of their axes, which must not decide on their order."""
    box = np.array([[s, (1 + gap) * t, 2 * u] for s in (1, -1) for t in (1, -1) for u in (1, -1)])
    weights = np.random.default_rng(1).normal(size=(8, 3))

    def backbone(x):
        return jnp.sum(jnp.sin((2 * x["x"] + 1) * weights.astype(x["x"].dtype)), (-1, -2))

    sym = ek.symmetrize(
        backbone,
        {"x": "p x", "edges": "p p"},
        {"y": ""},
        p=ek.S,
        x=ek.O(3),
        channels=False,
        how=[ek.frames.PCA(), how],
    )
    rng = np.random.default_rng(0)
    turned = np.stack([(box @ ek.O(3).random_element(rng).T)[rng.permutation(8)] for _ in range(20)])
    y = np.float64(sym({"x": jnp.asarray(turned, dtype), "edges": jnp.ones((20, 8, 8), dtype)})["y"])
    np.testing.assert_allclose(y, np.median(y), rtol=bound)
