"""Neighbor lists of points in space, with periodic images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import fmpz_mat
from scipy.spatial import cKDTree

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit._neighbors import Neighbors

MOST_EDGES = 2**31 - 1
"""Edges, whose numbers are int32."""

MOST_IMAGES = 5 * 10**7
"""Images of points within reach of the cell; each takes about 100 bytes."""

LEAST_ANGLE = 1e-10
"""Rows of a cell, divided by their lengths, are dependent if their smallest singular value is below this."""

LARGEST, SMALLEST = 1e100, 1e-100
"""The range of lengths: squares of larger and smaller ones, and their products with others, are not in float64."""

SKEW = 2.0
"""Cells whose rows are longer than this multiple of the distance of their planes are reduced."""


def neighbors(
    positions: Any,
    cutoff: float,
    *,
    cell: Any = None,
    periodic: bool | Sequence[bool] | None = None,
    graph_of: Any = None,
    mask: Any = None,
    edges: int | Sequence[int] | None = None,
) -> Neighbors:
    r"""Return all pairs of points closer than a cutoff, in both directions, with their periodic images.

    The vector of an edge is `positions[sender] - positions[receiver] + shift`. With a cell, a point has an edge to each
    image within the cutoff, also to images of itself, in cells of any shape and also if the cutoff is larger than the
    cell. Distances are compared in float64, so that of two opposite edges both are found or none.

    The list is computed on the host. For compiled programs, pad it with `edges`. A list for a larger cutoff than the
    layer's remains valid until a point has moved by half the difference, because the layer has its own cutoff.

    Args:
        positions: `[n, d]`, anywhere in space, not necessarily in the cell.
        cutoff: the distance, in the unit of the positions.
        cell: `[d, d]`, whose rows are the lattice vectors; `[graphs, d, d]` for a cell of each graph in `graph_of`.
        periodic: whether the points repeat along the rows of the cell, for all rows or for each; by default all. Rows
            that are not periodic are not used, and may be zero.
        graph_of: integers `[n]`, the number of the graph of each point, in any order; edges join points of one graph.
        mask: booleans `[n]`, which points are present; others have no edges, and may be NaN.
        edges: the number of edges after padding, or several, from which the smallest sufficient one is chosen.

    Returns:
        The edges, sorted by receiver and then by sender. Shifts have the dtype of the positions.

    Raises:
        OptionError: if the cutoff is not positive, rows of the cell are dependent, positions are infinite or NaN,
            lengths are above 1e100 or below 1e-100, so that their squares are not in float64, a graph number is
            negative, several cells are given without `graph_of`, an argument is traced, or `edges` is too small.
        ShapeError, DTypeError: if an array has another shape or kind.
        TooLargeError: if more than 50 million images or 2³¹ pairs are within reach.

    Cost: \(O(m \log m + e)\) for m points, images near the cell included, and e edges: about a microsecond
        for each edge.

    Example:
        >>> chain = np.array([[0.0], [1.0], [2.5]])
        >>> edges = neighbors(chain, 1.2)
        >>> edges.senders.tolist(), edges.receivers.tolist()
        ([1, 0], [0, 1])
        >>> ring = neighbors(chain, 1.6, cell=np.array([[4.0]]))
        >>> list(zip(ring.receivers.tolist(), ring.senders.tolist(), ring.shifts.ravel().tolist()))
        [(0, 1, 0.0), (0, 2, -4.0), (1, 0, 0.0), (1, 2, 0.0), (2, 0, 4.0), (2, 1, 0.0)]
    """
    cutoff = _checks.number("cutoff", cutoff, above=0, example=5.0, traced=False)
    _refuse_extreme("cutoff=", np.array([cutoff]), least=SMALLEST)
    for name, given in {"positions": positions, "cell": cell, "graph_of": graph_of, "mask": mask}.items():
        _checks.untraced(f"{name}=", given, step="compute the list outside of jit, grad and vmap, and pass it on")
    _checks.array("positions", positions, ("n", "d"), step="join several systems to one array, and give graph_of=")
    n, d = positions.shape
    if d == 0:
        raise ShapeError(
            "positions have no coordinates",
            got=f"shape {[n, d]}",
            expected="[n, d], with d of 1 or more",
            step="pass one coordinate or more for each point",
        )
    here = np.flatnonzero(_present(mask, n))
    x = np.asarray(positions, np.float64)[here]
    _checks.finite("positions", x, step="remove these points, or exclude them with mask=")
    _refuse_extreme("a position", x)
    graph = _graph_numbers(graph_of, n)[here]
    _refuse_negative(graph, here)
    # One more coordinate moves graphs out of each other's reach.
    apart = 2 * cutoff * graph[:, None] if graph_of is not None else np.zeros((len(here), 0))
    if cell is None:
        if periodic is not None:
            _checks.given("periodic=", "leave periodic out", cell=cell)
        senders, receivers = _pairs(np.hstack([x, apart]), cutoff)
        shifts = images = None
        vectors = x[senders] - x[receivers]
    else:
        axes = _periodic(periodic, d)
        lattices = _lattices(cell, d, axes, graph)
        if len(lattices) > 1:
            step = "give graph_of= the number of the graph of each point, or cell= one matrix"
            _checks.given(f"cell= with {len(lattices)} matrices", step, graph_of=graph_of)
        owner = graph if len(lattices) > 1 else np.zeros_like(graph)
        senders, receivers, multiples = _with_images(x, cutoff, apart, owner, lattices)
        images = np.zeros((len(senders), d), np.int64)
        images[:, axes] = multiples
        shifts = _combined(multiples, lattices, owner[receivers])
        vectors = (x[senders] - x[receivers]) + shifts  # exactly opposite for opposite edges
    # Where rounding errors exceed the cutoff, points of other graphs are within reach.
    near = np.flatnonzero((np.sum(vectors**2, 1) < cutoff**2) & (graph[senders] == graph[receivers]))
    return Neighbors.of(
        here[senders[near]],
        here[receivers[near]],
        n=n,
        shifts=None if shifts is None else shifts[near].astype(positions.dtype),
        images=None if images is None else images[near],
        edges=edges,
    )


def _present(mask: Any, n: int) -> np.ndarray:
    if mask is None:
        return np.ones(n, bool)
    array = np.asarray(mask)
    if array.dtype != bool:
        raise DTypeError(
            "mask= must be booleans",
            got=f"dtype {array.dtype}",
            expected="dtype bool",
            step="pass np.asarray(mask, dtype=bool)",
        )
    found: np.ndarray = _checks.shaped("mask", array, (n,))
    return found


def _graph_numbers(graph_of: Any, n: int) -> np.ndarray:
    if graph_of is None:
        return np.zeros(n, np.int64)
    array = np.asarray(graph_of)
    if not np.issubdtype(array.dtype, np.integer):
        raise DTypeError(
            "graph_of= must be integers",
            got=f"dtype {array.dtype}",
            expected="the number of the graph of each point",
            step="pass np.repeat(np.arange(len(sizes)), sizes)",
        )
    found: np.ndarray = _checks.shaped("graph_of", array, (n,)).astype(np.int64)
    return found


def _refuse_negative(graph: np.ndarray, here: np.ndarray) -> None:
    """Raise `OptionError` for negative numbers of graphs of the points that are present."""
    wrong = np.flatnonzero(graph < 0)
    if wrong.size:
        raise OptionError(
            "graph_of= has negative numbers",
            got=f"{graph[wrong[0]]} at position {here[wrong[0]]}",
            expected="numbers of graphs from 0 on",
            step="leave out the points with negative numbers, or exclude them with mask=",
        )


def _refuse_extreme(what: str, lengths: np.ndarray, *, least: float = 0.0) -> None:
    """Raise `OptionError` for lengths whose squares are not in float64; `what` is a singular noun."""
    size = np.abs(lengths)
    wrong = lengths[(size > LARGEST) | (size < least)]
    if wrong.size:
        raise OptionError(
            f"{what} is too {'large' if abs(wrong[0]) > LARGEST else 'small'} for squares in float64",
            got=f"{wrong[0]:g}",
            expected=f"at most {LARGEST:g}" + (f", and at least {least:g}" if least else ""),
            step="choose another unit of length",
        )


def _periodic(periodic: Any, d: int) -> np.ndarray:
    """Return which rows of the cell are periodic, booleans `[d]`."""
    flags = np.asarray(True if periodic is None else periodic)
    if flags.dtype != bool or flags.shape not in ((), (d,)):
        raise OptionError(
            "periodic= must be one bool, or one for each row of the cell",
            got=_checks.shown(periodic),
            expected=f"True, False or {d} bools",
            step=f"write periodic={(True,) * d}",
        )
    return np.broadcast_to(flags, (d,))


def _lattices(cell: Any, d: int, axes: np.ndarray, graph: np.ndarray) -> np.ndarray:
    """Return the periodic rows of each cell, `[cells, rows, d]`."""
    shape = np.shape(cell)
    if shape != (d, d) and (len(shape) != 3 or shape[1:] != (d, d)):
        raise ShapeError(
            f"cell= must have shape [{d}, {d}], with one lattice vector in each row",
            got=f"shape {[*shape]}",
            expected=f"[{d}, {d}], or [graphs, {d}, {d}]",
            step="pass np.diag(cell)" if shape == (d,) else f"pass an array of shape [{d}, {d}]",
        )
    _checks.array("cell", cell)
    found = np.asarray(cell, np.float64).reshape(-1, d, d)
    _checks.finite("cell vectors", found, step="pass a cell of finite numbers")
    wrong = graph[(graph < 0) | (graph >= len(found))] if len(shape) == 3 else graph[:0]
    if wrong.size:
        raise OptionError(
            "a graph has no cell",
            got=f"graph {int(wrong[0])}, and {len(found)} cells",
            expected="a cell for each number in graph_of=",
            step="give cell= one matrix for each graph",
        )
    found = found[:, axes]
    longest = np.max(np.abs(found), axis=2)
    _refuse_extreme("a cell vector", longest[longest > 0], least=SMALLEST)
    lengths = np.linalg.norm(found, axis=2, keepdims=True)
    with np.errstate(invalid="ignore"):
        least = np.linalg.svd(np.nan_to_num(found / lengths), compute_uv=False)
    if np.any(least < LEAST_ANGLE):
        empty = axes & ~np.any(np.asarray(cell).reshape(-1, d, d), (0, 2))
        flags = tuple((axes & ~empty).tolist())
        raise OptionError(
            "rows of the cell are linearly dependent",
            got="a row of zeros" if empty.any() else "rows in one plane",
            expected="independent rows along the periodic axes",
            step=f"write periodic={flags}" if empty.any() else "pass a cell with independent rows",
        )
    return found


def _wider(cutoff: float, x: np.ndarray) -> float:
    """Return a radius that includes rounding errors of coordinates; the exact comparison follows."""
    return cutoff * (1 + 1e-9) + 1e-14 * float(np.max(np.abs(x), initial=0))


def _refuse_too_many(tree: cKDTree, other: cKDTree, radius: float) -> None:
    """Raise `TooLargeError` before the pairs are listed; they are counted only if there could be too many."""
    if tree.n * other.n > MOST_EDGES:
        count = int(tree.count_neighbors(other, radius))
        _checks.refuse_if_more(
            "too many pairs are within the cutoff", count, MOST_EDGES, "pairs", "choose a smaller cutoff"
        )


def _pairs(x: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of points within about the cutoff, in both directions."""
    tree, radius = cKDTree(x), _wider(cutoff, x)
    _refuse_too_many(tree, tree, radius)
    pairs = tree.query_pairs(radius, output_type="ndarray")
    return np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])


def _with_images(
    x: np.ndarray, cutoff: float, apart: np.ndarray, owner: np.ndarray, lattices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return senders, receivers and multiples of lattice vectors of all edges within about the cutoff.

    All points are moved into the cell. Images of points are listed where they are within reach of the cell: these are
    O(n) for cells larger than the cutoff, and otherwise in proportion to the number of edges.
    """
    reduced, change = _reduced(lattices)
    dual = _dual(reduced)
    fraction = np.einsum("nd,nmd->nm", x, dual[owner])
    home = np.floor(fraction)
    inside = x - _combined(home, reduced, owner)
    fraction -= home
    reach = _wider(cutoff, x) * np.linalg.norm(dual, axis=2)[owner]
    lowest = np.ceil(-reach - fraction)
    counts = np.floor(1 + reach - fraction) - lowest + 1
    with np.errstate(over="ignore"):
        total = min(np.sum(np.prod(counts, 1)), 1e18)
    _checks.refuse_if_more(
        "too many periodic images are within the cutoff",
        int(total),
        MOST_IMAGES,
        "images",
        "choose a smaller cutoff",
    )
    point, multiples = _images(lowest.astype(np.int64), counts.astype(np.int64))
    ghosts = inside[point] + _combined(multiples, reduced, owner[point])
    points, images = np.hstack([inside, apart]), np.hstack([ghosts, apart[point]])
    senders, receivers = _pairs(points, cutoff)
    tree, others, radius = cKDTree(points), cKDTree(images), _wider(cutoff, images)
    _refuse_too_many(tree, others, radius)
    found = tree.sparse_distance_matrix(others, radius, output_type="ndarray")
    along = np.concatenate([np.zeros((len(senders), multiples.shape[1]), np.int64), multiples[found["j"]]])
    senders, receivers = np.concatenate([senders, point[found["j"]]]), np.concatenate([receivers, found["i"]])
    along += (home[receivers] - home[senders]).astype(np.int64)
    return senders, receivers, _combined(along, change, owner[receivers])


def _combined(multiples: np.ndarray, vectors: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return sums of multiples `[rows, m]` of the vectors `[cells, m, d]` of each row's cell."""
    one = len(vectors) == 1
    found: np.ndarray = np.einsum(
        "rm,md->rd" if one else "rm,rmd->rd", multiples, vectors[0] if one else vectors[owner]
    )
    return found


def _images(lowest: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points and multiples of lattice vectors of all images except the points themselves.

    Args:
        lowest, counts: integers `[n, rows]`, the range of multiples of each point.
    """
    point, multiples = np.arange(len(lowest)), np.zeros((len(lowest), 0), np.int64)
    for axis in range(lowest.shape[1]):
        times = counts[point, axis]
        ends = np.cumsum(times)
        number = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)
        point, multiples = np.repeat(point, times), np.repeat(multiples, times, 0)
        multiples = np.column_stack([multiples, lowest[point, axis] + number])
    other = np.any(multiples != 0, 1)
    return point[other], multiples[other]


def _dual(lattices: np.ndarray) -> np.ndarray:
    """Return the vectors whose products with points are their fractional coordinates."""
    found: np.ndarray = np.linalg.solve(lattices @ lattices.mT, lattices)
    return found


def _reduced(lattices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bases of the same lattices with short vectors, and the integer matrices that change to them.

    A skewed cell has its planes close together, so that many of its images would be within reach.
    """
    change = np.broadcast_to(
        np.eye(lattices.shape[1], dtype=np.int64), (len(lattices), *[lattices.shape[1]] * 2)
    ).copy()
    lengths = np.linalg.norm(lattices, axis=2) * np.linalg.norm(_dual(lattices), axis=2)
    for i in np.flatnonzero(np.any(lengths > SKEW, 1)):
        whole = np.rint(lattices[i] * (2.0**40 / np.max(np.abs(lattices[i]))))
        _, matrix = fmpz_mat(whole.astype(np.int64).tolist()).lll(True)
        change[i] = np.array(matrix.tolist(), np.int64)
    return change @ lattices, change
