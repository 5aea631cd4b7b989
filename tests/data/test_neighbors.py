"""Neighbor lists contain every pair within the cutoff: compared with all images in float64."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.data import Neighbors, neighbors


def brute(x, cutoff, cell, periodic):
    """All edges (receiver, sender, image), of all images that can be within the cutoff."""
    images = np.zeros((1, x.shape[1]), int)
    if any(periodic):
        dual = np.linalg.pinv(cell[[*periodic]])  # its columns give fractional coordinates
        spread = np.ptp(x @ dual, axis=0) + cutoff * np.linalg.norm(dual, axis=0)
        counts = iter(np.floor(spread).astype(int).tolist())
        ranges = [range(-k, k + 1) for k in (next(counts) if along else 0 for along in periodic)]
        images = np.array([*itertools.product(*ranges)])
    vectors = (x[None] - x[:, None])[None] + (images @ np.where(np.array(periodic)[:, None], cell, 0))[:, None, None]
    near = np.linalg.norm(vectors, axis=-1) < cutoff
    near &= np.any(images != 0, 1)[:, None, None] | ~np.eye(len(x), dtype=bool)
    return {(int(i), int(j), tuple(images[k].tolist())) for k, i, j in np.argwhere(near)}


def as_set(edges, d=3):
    here = edges.receivers < edges.n
    images = np.zeros((len(here), d), int) if edges.images is None else edges.images
    columns = (edges.receivers[here].tolist(), edges.senders[here].tolist(), map(tuple, images[here].tolist()))
    rows = [*zip(*columns, strict=True)]
    assert len({*rows}) == len(rows)
    assert rows == sorted(rows, key=lambda row: row[:2])
    return {*rows}


def opposite(edges):
    return {(j, i, tuple(-k for k in image)) for i, j, image in edges}


@pytest.mark.parametrize("seed", range(15))
def test_all_images_within_the_cutoff_are_found(seed):
    """Triclinic cells, smaller and larger than the cutoff, periodic along some rows or all; points outside too."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + np.diag(rng.choice([0, 2], 3))
    periodic = tuple(map(bool, rng.integers(2, size=3))) if seed % 3 else (True,) * 3
    x = rng.normal(size=(rng.integers(1, 8), 3))
    cutoff = rng.uniform(0.5, 1.2) * abs(np.linalg.det(cell)) ** (1 / 3) + 0.2
    edges = neighbors(x, cutoff, cell=cell, periodic=periodic)
    wanted = brute(x, cutoff, cell, periodic)
    assert as_set(edges) == wanted == opposite(wanted)
    np.testing.assert_allclose(edges.shifts, edges.images @ cell, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_space_of_any_dimension(d):
    rng = np.random.default_rng(d)
    cell, x = np.eye(d) + 0.3 * rng.normal(size=(d, d)), rng.normal(size=(3, d))
    assert as_set(neighbors(x, 0.9, cell=cell)) == brute(x, 0.9, cell, (True,) * d)
    assert as_set(neighbors(x, 1.5), d) == brute(x, 1.5, cell, (False,) * d)
    assert as_set(neighbors(x, 1.5, cell=0 * cell, periodic=False), d) == brute(x, 1.5, cell, (False,) * d)


def test_skewed_cells_are_reduced():
    """A cell of a cubic lattice that is sheared a thousand times its height, and three rows near one plane."""
    x = np.array([[0.1, 0.2, 0.3], [0.6, 0.1, 0.7]])
    for change in ([[1, 0, 0], [1000, 1, 0], [-777, 512, 1]], [[1, 0, 0], [0, 1, 0], [-1, -1, 1]]):
        skewed = np.array(change, float)
        straight, edges = (neighbors(x, 1.4, cell=cell) for cell in (np.eye(3), skewed))
        lists = [
            {(i, j, *shift) for i, j, shift in zip(e.receivers, e.senders, map(tuple, e.shifts.round(9)), strict=True)}
            for e in (straight, edges)
        ]
        assert lists[0] == lists[1]
        assert np.array_equal((edges.images @ skewed).round(9), edges.shifts.round(9))


def test_graphs_have_no_edges_in_common():
    """Each graph has its own cell, in any order of the points; the list is the union of the lists of the graphs."""
    rng = np.random.default_rng(0)
    x, graphs = rng.normal(size=(20, 3)), rng.permutation(np.repeat(np.arange(4), 5))
    cells = np.eye(3) * np.arange(1, 5)[:, None, None]
    found = {
        "cell": as_set(neighbors(x, 1.1, cell=cells, graph_of=graphs)),
        "none": as_set(neighbors(x, 1.1, graph_of=graphs)),
    }
    for name, edges in found.items():
        wanted = set()
        for graph in range(4):
            own = np.flatnonzero(graphs == graph)
            alone = neighbors(x[own], 1.1, cell=cells[graph] if name == "cell" else None)
            wanted |= {(int(own[i]), int(own[j]), image) for i, j, image in as_set(alone)}
        assert edges == wanted


def test_graphs_are_apart_where_rounding_errors_exceed_the_cutoff():
    """Points far from the origin, and large numbers of graphs."""
    one = np.ones((2, 3))
    for cell in (None, 4 * np.eye(3)):
        assert not len(neighbors(1e15 * one, 1.5, cell=cell, graph_of=[0, 1]).senders)
        assert not len(neighbors(one, 1.5, cell=cell, graph_of=[2**60, 2**60 + 1]).senders)
        assert len(neighbors(one, 1.5, cell=cell, graph_of=[2**60, 2**60]).senders) == 2


def test_lengths_at_the_ends_of_their_range():
    """Any unit of length gives the same list, as far as squares are in float64."""
    x, cell = np.random.default_rng(0).random((5, 3)), np.eye(3) + 0.2
    for unit in (1e99, 1e-99):
        for whole in ({}, {"cell": cell}):
            found = neighbors(unit * x, 0.5 * unit, **{name: unit * array for name, array in whole.items()})
            assert as_set(found) == as_set(neighbors(x, 0.5, **whole))
    assert not len(neighbors(1e99 * x, 1e-99).senders)


def test_absent_points_need_no_graph():
    edges = neighbors(np.zeros((3, 3)), 1.5, graph_of=[0, 0, -1], mask=[True, True, False])
    assert edges.senders.tolist() == [1, 0]


def test_opposite_edges_are_found_together_at_the_cutoff():
    """Distances on a lattice equal the cutoff up to rounding; both directions or none are in the list."""
    grid = np.stack(np.meshgrid(*[np.arange(4) * 0.1] * 3), -1).reshape(-1, 3) + 1e5
    for cutoff in (0.1, 0.2, np.sqrt(2) * 0.1):
        edges = as_set(neighbors(grid, cutoff, cell=0.4 * np.eye(3)))
        assert edges == opposite(edges)


@pytest.mark.slow
def test_a_large_list_against_brute_force():
    rng = np.random.default_rng(0)
    cell = np.array([[9.0, 0, 0], [2.0, 8.0, 0], [-3.0, 1.0, 10.0]])
    x = rng.random((600, 3)) @ cell
    assert as_set(neighbors(x, 2.0, cell=cell)) == brute(x, 2.0, cell, (True,) * 3)


def test_padding_absent_points_and_dtypes():
    x = np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0], [np.nan] * 3], np.float32)
    edges = neighbors(x, 1.2, cell=np.diag([5.0, 5, 0]), periodic=(True, True, False), mask=~np.isnan(x[:, 0]), edges=6)
    assert edges.senders.tolist() == [1, 2, 0, 0, 4, 4]
    assert edges.receivers.tolist() == [0, 0, 1, 2, 4, 4]
    assert [edges.senders.dtype, edges.receivers.dtype, edges.images.dtype] == [np.int32] * 3
    assert edges.shifts.dtype == np.float32
    assert not edges.shifts.any()
    assert repr(edges) == "Neighbors(n=4, edges=6)"
    several = neighbors(x[:3], 1.2, edges=(16, 2, 8))
    assert several.senders.shape == (8,)
    assert several.shifts is None
    assert several.images is None
    assert neighbors(jnp.asarray(x[:3], jnp.bfloat16), 1.2, cell=9 * np.eye(3)).shifts.dtype == jnp.bfloat16
    assert len(neighbors(np.zeros((0, 3)), 1.0, cell=np.eye(3)).senders) == 0
    assert len(neighbors(np.zeros((1, 3)), 1.0).senders) == 0


def test_lists_are_values_and_pytrees():
    edges = neighbors(np.zeros((2, 3)), 1.0, cell=2 * np.eye(3))
    again = pickle.loads(pickle.dumps(edges))
    assert jax.tree.structure(again) == jax.tree.structure(edges)
    assert jax.tree.map(np.array_equal, again, edges).n == 2
    assert jax.jit(lambda edges: edges.shifts.sum(), donate_argnums=())(edges) == 0
    with pytest.raises(AttributeError):
        edges.n = 3


def test_lists_of_other_packages_are_sorted():
    """As `receivers, senders, images = ase.neighborlist.neighbor_list("ijS", atoms, cutoff)`, in any order."""
    rng = np.random.default_rng(0)
    x, cell = rng.normal(size=(5, 3)), np.eye(3) * 1.5
    wanted = neighbors(x, 1.3, cell=cell)
    order = rng.permutation(len(wanted.senders))
    found = Neighbors.of(
        *(getattr(wanted, name)[order].tolist() for name in ("senders", "receivers")),
        n=5,
        shifts=wanted.images[order] @ cell,
        images=wanted.images[order],
        edges=300,
    )
    assert as_set(found) == as_set(wanted)
    assert Neighbors.of([], [], n=0).senders.tolist() == []


POINTS = np.arange(12, dtype=np.float64).reshape(4, 3)
STEP = "compute the list outside of jit, grad and vmap"


def listed(**options):
    options = {"positions": POINTS, "cutoff": 1.0} | options
    return lambda: neighbors(options.pop("positions"), options.pop("cutoff"), **options)


def traced(name, value):
    return lambda: jax.jit(lambda x: listed(**({"cell": np.eye(3)} | {name: x}))())(value)


def other(senders=(0,), receivers=(1,), **options):
    return lambda: Neighbors.of(senders, receivers, **({"n": 2} | options))


ERRORS = {
    "no cutoff": (ek.OptionError, listed(cutoff=0), "cutoff= must be a number > 0", "0", "> 0", "cutoff=5"),
    "nan cutoff": (ek.OptionError, listed(cutoff=np.nan), "cutoff= must be a number > 0", "nan", "> 0", "cutoff=5"),
    "no array": (
        ek.DTypeError,
        listed(positions=POINTS.tolist()),
        "positions must be an array of real floating-point numbers",
        "list",
        "float32",
        "jnp.asarray(positions, float)",
    ),
    "integers": (
        ek.DTypeError,
        listed(positions=POINTS.astype(int)),
        "positions must be an array of real floating-point numbers",
        "int64",
        "float32",
        "jnp.asarray(positions, float)",
    ),
    "batch": (
        ek.ShapeError,
        listed(positions=POINTS[None]),
        "positions must have shape [n, d]",
        "[1, 4, 3]",
        "[n, d]",
        "join several systems to one array, and give graph_of=",
    ),
    "nan": (
        ek.OptionError,
        listed(positions=np.where(POINTS == 4, np.nan, POINTS)),
        "positions are not finite",
        "1 of 12 entries",
        "finite numbers",
        "exclude them with mask=",
    ),
    "no coordinates": (
        ek.ShapeError,
        listed(positions=np.zeros((2, 0))),
        "positions have no coordinates",
        "shape [2, 0]",
        "d of 1 or more",
        "pass one coordinate or more for each point",
    ),
    "far positions": (
        ek.OptionError,
        listed(positions=np.where(POINTS == 4, -1e200, POINTS)),
        "a position is too large for squares in float64",
        "-1e+200",
        "at most 1e+100",
        "choose another unit of length",
    ),
    "far positions in a cell": (
        ek.TooLargeError,
        listed(positions=9e98 * POINTS, cell=1e-99 * np.eye(3)),
        "too many periodic images are within the cutoff",
        "images",
        "at most 50,000,000",
        "choose a smaller cutoff",
    ),
    "large cutoff": (
        ek.OptionError,
        listed(cutoff=1e200),
        "cutoff= is too large for squares in float64",
        "1e+200",
        "at most 1e+100, and at least 1e-100",
        "choose another unit of length",
    ),
    "small cutoff": (
        ek.OptionError,
        listed(cutoff=1e-200),
        "cutoff= is too small for squares in float64",
        "1e-200",
        "at least 1e-100",
        "choose another unit of length",
    ),
    "large cell": (
        ek.OptionError,
        listed(cell=1e300 * np.eye(3)),
        "a cell vector is too large for squares in float64",
        "1e+300",
        "at most 1e+100, and at least 1e-100",
        "choose another unit of length",
    ),
    "small cell": (
        ek.OptionError,
        listed(cell=np.diag([1.0, 1e-200, 0])),
        "a cell vector is too small for squares in float64",
        "1e-200",
        "at least 1e-100",
        "choose another unit of length",
    ),
    "traced positions": (
        ek.OptionError,
        traced("positions", POINTS),
        "positions= must not",
        "a tracer",
        "values",
        STEP,
    ),
    "traced cell": (ek.OptionError, traced("cell", np.eye(3)), "cell= must not be traced", "a tracer", "values", STEP),
    "lengths": (
        ek.ShapeError,
        listed(cell=np.ones(3)),
        "cell= must have shape [3, 3], with one lattice vector in each row",
        "shape [3]",
        "[graphs, 3, 3]",
        "pass np.diag(cell)",
    ),
    "plane cell": (
        ek.ShapeError,
        listed(cell=np.eye(2)),
        "cell= must have shape [3, 3]",
        "shape [2, 2]",
        "[3, 3]",
        "pass an array of shape [3, 3]",
    ),
    "integer cell": (
        ek.DTypeError,
        listed(cell=np.eye(3, dtype=int)),
        "cell must be an array of real floating-point numbers",
        "int64",
        "float32",
        "jnp.asarray(cell, float)",
    ),
    "infinite cell": (
        ek.OptionError,
        listed(cell=np.full((3, 3), np.inf)),
        "cell vectors are not finite",
        "9 of 9",
        "finite",
        "pass a cell of finite numbers",
    ),
    "row of zeros": (
        ek.OptionError,
        listed(cell=np.diag([1.0, 2, 0])),
        "rows of the cell are linearly dependent",
        "a row of zeros",
        "independent rows along the periodic axes",
        "periodic=(True, True, False)",
    ),
    "singular": (
        ek.OptionError,
        listed(cell=np.arange(9.0).reshape(3, 3)),
        "rows of the cell are linearly dependent",
        "rows in one plane",
        "independent rows",
        "pass a cell with independent rows",
    ),
    "periodic alone": (
        ek.OptionError,
        listed(periodic=True),
        "periodic= needs cell=",
        "cell=None",
        "cell=",
        "leave periodic out",
    ),
    "two flags": (
        ek.OptionError,
        listed(cell=np.eye(3), periodic=(True, False)),
        "periodic= must be one bool, or one for each row of the cell",
        "(True, False)",
        "3 bools",
        "periodic=(True, True, True)",
    ),
    "graph names": (
        ek.DTypeError,
        listed(graph_of=np.ones(4)),
        "graph_of= must be integers",
        "float64",
        "the number of the graph of each point",
        "np.repeat(np.arange(len(sizes)), sizes)",
    ),
    "few graphs": (
        ek.ShapeError,
        listed(graph_of=np.zeros(3, int)),
        "graph_of must have shape [4]",
        "[3]",
        "[4]",
        "[4]",
    ),
    "negative graph": (
        ek.OptionError,
        listed(graph_of=[0, 0, -1, -2]),
        "graph_of= has negative numbers",
        "-1 at position 2",
        "numbers of graphs from 0 on",
        "exclude them with mask=",
    ),
    "negative graph in a cell": (
        ek.OptionError,
        listed(graph_of=[0, 0, 0, -1], cell=np.eye(3), mask=np.array([False, True, True, True])),
        "graph_of= has negative numbers",
        "-1 at position 3",
        "numbers of graphs from 0 on",
        "exclude them with mask=",
    ),
    "graph without cell": (
        ek.OptionError,
        listed(graph_of=np.arange(4), cell=np.stack([np.eye(3)] * 2)),
        "a graph has no cell",
        "graph 2, and 2 cells",
        "a cell for each number in graph_of=",
        "give cell= one matrix for each graph",
    ),
    "cells of several graphs without numbers of graphs": (
        ek.OptionError,
        listed(cell=np.stack([np.eye(3), 10 * np.eye(3)])),
        "cell= with 2 matrices needs graph_of=",
        "graph_of=None",
        "graph_of=",
        "give graph_of= the number of the graph of each point, or cell= one matrix",
    ),
    "mask of numbers": (
        ek.DTypeError,
        listed(mask=np.ones(4)),
        "mask= must be booleans",
        "float64",
        "bool",
        "np.asarray(mask, dtype=bool)",
    ),
    "long mask": (ek.ShapeError, listed(mask=np.ones(5, bool)), "mask must have shape [4]", "[5]", "[4]", "[4]"),
    "few edges": (
        ek.OptionError,
        listed(cutoff=100.0, edges=(4, 8)),
        "edges= is smaller than the number of edges",
        "8",
        "at least 12",
        "edges=12",
    ),
    "no sizes": (ek.OptionError, listed(edges=()), "there are no numbers in edges=", "()", "one or more", "edges=0"),
    "ragged": (
        ek.ShapeError,
        other([[0], [0, 1]], [0, 1]),
        "senders has lists of different lengths",
        "[[0], [0, 1]]",
        "an array",
        "pass an integer array",
    ),
    "half an edge": (ek.OptionError, listed(edges=1.5), "edges= must be a whole number", "1.5", "integer", "edges="),
    "far too many": (
        ek.TooLargeError,
        listed(cutoff=1e4, cell=np.eye(3)),
        "too many periodic images are within the cutoff",
        "images",
        "at most 50,000,000",
        "choose a smaller cutoff",
    ),
    "all pairs": (
        ek.TooLargeError,
        listed(positions=np.linspace(0, 1, 50_000)[:, None], cutoff=2.0),
        "too many pairs are within the cutoff",
        "2,500,000,000 pairs",
        "at most 2,147,483,647",
        "choose a smaller cutoff",
    ),
    "index": (
        ek.OptionError,
        other(senders=[2]),
        "senders are not numbers of points",
        "2, with n=2",
        "integers from 0 to 1",
        "give n= the number of points",
    ),
    "index of nothing": (ek.OptionError, other(n=0), "are not numbers", "0, with n=0", "no edges", "give n="),
    "floats": (
        ek.DTypeError,
        other(senders=[0.5]),
        "senders must be an array of integers",
        "float64",
        "integers",
        "np.array([0, 1])",
    ),
    "columns": (
        ek.ShapeError,
        other(receivers=[[0]]),
        "receivers must have one axis",
        "shape [1, 1]",
        "[edges]",
        "np.array([0, 1])",
    ),
    "unequal": (ek.ShapeError, other(receivers=[0, 1]), "receivers must have shape [1]", "[2]", "[1]", "[1]"),
    "shifts": (
        ek.ShapeError,
        other(shifts=np.zeros((2, 3))),
        "shifts must have shape [1, d]",
        "[2, 3]",
        "[1, d]",
        "[1, d]",
    ),
    "infinite shifts": (
        ek.OptionError,
        other(shifts=np.full((1, 3), np.inf)),
        "shifts are not finite",
        "3 of 3",
        "finite",
        "pass finite shifts",
    ),
    "images": (
        ek.ShapeError,
        other(shifts=np.zeros((1, 3)), images=np.zeros((1, 2), int)),
        "images must have shape [1, 3]",
        "[1, 2]",
        "[1, 3]",
        "[1, 3]",
    ),
    "traced senders": (
        ek.OptionError,
        lambda: jax.jit(lambda i: Neighbors.of(i, [1], n=2).senders)(np.array([0])),
        "senders must not be traced",
        "a tracer",
        "values",
        "call this function outside of jit",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_arguments_that_do_not_fit(name):
    assert_error(*ERRORS[name])
