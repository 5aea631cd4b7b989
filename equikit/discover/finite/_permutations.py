"""Find the permutations, also with signs, that a function or the distribution of data admits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import GroupError, OptionError, ShapeError
from equikit.discover._numbers import is_real, real_array
from equikit.discover.finite._evidence import SURE_OF_DATA, OfData, OfFunction, Samples
from equikit.discover.finite._names import action_name, full_order, generated_order, listed_elements
from equikit.discover.finite._search import Search
from equikit.groups import D, Group, H, MatrixGroup, S, Z

MOST_POINTS = 64
MOST_SHUFFLED = 2**27
"""The largest number of entries of shuffled inputs: a gigabyte in double precision."""
FEWEST = 64
"""Samples that the error of a function is measured with, at least."""
PRODUCTS = 32
"""Random products of generators that are tested."""
MOST_LISTED = 256
"""Groups of this order or less are tested element by element."""
STEPS = 128
"""Neighbors of the worst element that are tested."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundPermutations:
    """A group of permutations or signed permutations that was found.

    Attributes:
        generators: int64 `[count, n]`, elements in the format of `S(n)`, with signs in the format of `H(n)`.
        order: the number of elements of the group.
        name: the action by name, such as `"S(3) x S(2)"`, `"D(5)"`, `"S(2) wr S(3)"`, `"H(4)"` or `"trivial"`.
        orbits: the points that the group moves to each other.
        group: the group for layers, in the given order of the points: S, H, Z or D if it is one of them, otherwise a
            `MatrixGroup`.
        defect: the largest error over the elements that were tested, on held-out samples. For a function:
            the root mean square of f(g x) - g f(x), relative to the spread of f. For data: the largest of 512
            differences of means, relative to 4.5 standard errors.
        rejected: the smallest error of a candidate that was rejected; infinite if there was none.
        resolution: for data, the difference of two means of sines and cosines that could be overlooked; otherwise the
            tolerance.
    """

    generators: np.ndarray
    order: int
    name: str
    orbits: tuple[tuple[int, ...], ...]
    group: Group
    defect: float
    rejected: float
    resolution: float

    def __group__(self) -> Group:
        """Return the group that a label is bound to."""
        return self.group

    def __repr__(self) -> str:
        return f"<{self.name} of order {self.order:,}, error {self.defect:.2g}>"


def permutations(
    source: Callable[[Any], Any] | Any,
    data: Any = None,
    *,
    signs: bool = False,
    equivariant: bool = False,
    tolerance: float | None = None,
    samples: int = 16384,
    seed: int = 0,
) -> FoundPermutations:
    """Find the permutations of n points that a function or the distribution of data admits.

    Pairs of points are the edges of a graph, whose weights are moments of bounded functions of two entries and the
    outputs. Candidates are the automorphisms of this graph up to the error of the moments, found by refinement and
    backtracking with a chain of stabilizers. A candidate counts if it passes a test on held-out samples: the error of
    the function, or a comparison of 512 means of random functions of all entries.

    Args:
        source: a function of a batch `[samples, n, channels]`, of any framework; or data: an array of this shape, or a
            pair (x, y) of inputs and outputs.
        data: samples of the inputs, for a function. They should be unsorted: the function is also evaluated where their
            entries are shuffled.
        signs: whether to look for signed permutations.
        equivariant: whether outputs `[samples, n, channels]` are permuted along; otherwise they are invariant,
            `[samples]` or `[samples, outputs]`.
        tolerance: for a function, the largest error relative to its spread, by default 0.1. For data, the largest
            difference of means that may go unnoticed, by default 0.125: fewer samples than it needs are refused.
        samples: the number of shuffled inputs at which a function is evaluated for the moments.
        seed: of all random choices.

    Returns:
        The group, as generators and with its order and name, and the evidence for it.

    Raises:
        ShapeError: if arrays have the wrong shape, or rows of x and y differ in number.
        DTypeError: if an array is masked, or outputs are not real.
        OptionError: if data are too few, not finite, or constant, or the function is constant.
        TooLargeError: if there are more than 64 points, the shuffled inputs have more than 2^27 entries, or too many
            candidates fail the test.
        GroupError: if products of generators fail the test, with 1.25 times the limit for data. In a group of at most
            256 elements all are tested, in a larger one the largest error is searched with at most 160 products, so
            that an element with a slightly larger error may remain.

    Cost: for a function, `samples` evaluations, then one of the held-out samples for each candidate. Candidates are at
        least one for each generator; generators are fewer than n², and usually about n. The moments take n² times
        `samples` products, for each pair of up to eight features and up to four outputs: seconds for n = 64.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(500, 6, 1))
        >>> ring = permutations(lambda x: np.sum(x**2 * np.roll(x, 1, axis=1), axis=(1, 2)), x)
        >>> ring.name, ring.order, ring.group
        ('Z(6)', 6, Z(6))
        >>> permutations(lambda x: np.sum(x[:, :2] ** 2, axis=1) * np.sum(x[:, 2:], axis=1), x).name
        'S(4) x S(2)'
    """
    signs, equivariant = _checks.flag("signs", signs), _checks.flag("equivariant", equivariant)
    limit = _checks.number("tolerance", tolerance, above=0, below=1, example=0.1, optional=True, traced=False)
    generator = np.random.default_rng(_checks.count("seed", seed, example=0))
    if callable(source):
        _checks.given("a function", "pass data=x, samples of its inputs", data=data)
        x = _vectors("data", data)
        count = _checks.count("samples", samples, least=1000, example=16384)
        _refuse_few(len(x), FEWEST)
        what, step = "the shuffled inputs are too large", "use a smaller samples="
        _checks.refuse_if_more(what, count * x[0].size, MOST_SHUFFLED, "entries", step)
        limit = 0.1 if limit is None else limit
        if x.shape[1] < 2 - signs:
            return _of_nothing(x.shape[1], limit)
        evidence: Any = OfFunction(source, x, limit, equivariant=equivariant, signs=signs)
        _refuse_outputs(evidence.y, evidence.scale)
        graph = evidence.graph(generator, count, 0.1 * limit)
        resolution = limit
    else:
        read = _read_data(source, equivariant=equivariant)
        n, limit = read.vectors[0].shape[1], 0.125 if limit is None else limit
        _refuse_few(len(read), 2 * int(np.ceil((SURE_OF_DATA / limit) ** 2)))
        if n < 2 - signs:
            return _of_nothing(n, limit)
        order = generator.permutation(len(read))
        evidence = OfData(Samples(tuple(v[order] for v in read.vectors), read.scalars[order]), signs=signs)
        graph, resolution = evidence.graph(), SURE_OF_DATA / float(np.sqrt(len(evidence.held)))
        x = read.vectors[0]
    return _found(evidence, graph, x.shape[1], generator, resolution, signs=signs)


def _found(
    evidence: Any, graph: Any, n: int, generator: np.random.Generator, resolution: float, *, signs: bool
) -> FoundPermutations:
    defects: list[float] = []

    def passes(images: np.ndarray) -> bool:
        defects.append(evidence.defect(images))
        return bool(defects[-1] <= evidence.limit)

    nodes, order = Search(graph, n, passes, evidence.more).generators()
    rejected = min((defect for defect in defects if defect > evidence.limit), default=np.inf)
    defect = _worst_defect(evidence, nodes, order, generator) if nodes else 0.0
    # The generators of a chain of stabilizers generate `order` elements or more.
    generated = order if nodes and order == full_order(nodes)[0] else generated_order(nodes)
    if defect > evidence.closed or generated != order:
        raise GroupError(
            "the permutations that were found do not form a group of symmetries",
            got=f"error {defect:.3g} of a product of generators, {order:,} elements that generate {generated:,}",
            expected=f"an error of at most {evidence.closed:.3g} for all products",
            step=evidence.step(defect),
        )
    # A node is a point or its negative; elements have entries 0..n-1, or ±1..±n with signs.
    elements = np.array([np.where(g[:n] < n, 1, -1) * (g[:n] % n + 1) if signs else g for g in nodes], np.int64)
    elements = elements.reshape(len(nodes), n)
    name = action_name(nodes, n, order)
    return FoundPermutations(
        elements,
        order,
        name,
        _orbits(nodes, n),
        _group(elements, order, n, name, signs=signs),
        defect,
        rejected,
        resolution,
    )


def _worst_defect(evidence: Any, nodes: list[np.ndarray], order: int, generator: np.random.Generator) -> float:
    """Return the largest error of an element: of all of a small group, otherwise of a search from random products."""
    if order <= MOST_LISTED:
        return max(float(evidence.defect(images)) for images in listed_elements(nodes))
    defects = [float(evidence.defect(images)) for images in nodes]
    worst, defect = nodes[int(np.argmax(defects))], max(defects)

    def tried(word: np.ndarray) -> bool:
        nonlocal worst, defect
        error = float(evidence.defect(word))
        if error > defect:
            worst, defect = word, error
            return True
        return False

    for turn in range(PRODUCTS):
        word = worst if turn % 2 else np.arange(len(worst))  # half of the products go on from the worst so far
        for place in generator.integers(len(nodes), size=6):
            word = nodes[place][word]
        tried(word)
    # Both orders of a product: after the worst element so far, and before it.
    left, since = STEPS, 0
    for place in itertools.cycle(range(2 * len(nodes))):
        move = nodes[place // 2]
        since = 0 if tried(move[worst] if place % 2 else worst[move]) else since + 1
        left -= 1
        if not left or since == 2 * len(nodes):
            return defect
    return defect


def _of_nothing(n: int, limit: float) -> FoundPermutations:
    """Return the trivial group of no points or of one."""
    group = MatrixGroup(n=n, name="trivial")
    orbits = tuple((i,) for i in range(n))
    return FoundPermutations(np.zeros((0, n), np.int64), 1, "trivial", orbits, group, 0.0, float("inf"), limit)


def _orbits(nodes: list[np.ndarray], n: int) -> tuple[tuple[int, ...], ...]:
    import networkx as nx

    graph = nx.empty_graph(n)
    graph.add_edges_from((i, int(g[i]) % n) for g in nodes for i in range(n))
    return tuple(sorted(tuple(sorted(part)) for part in nx.connected_components(graph)))


def _group(elements: np.ndarray, order: int, n: int, name: str, *, signs: bool) -> Group:
    """Return the group in the given order of points: a family of equikit if it is one."""
    families: tuple[Group, ...] = (H(n),) if signs else (S(n), Z(n), D(n))
    for family in families:
        if family.order() == order and (
            isinstance(family, S | H) or all(np.any(np.all(family.elements() == g, axis=1)) for g in elements)
        ):
            return family
    acts = H(n) if signs else S(n)
    shown = f"{name} in another order of the points" if name in map(str, families) else name
    return MatrixGroup([acts.matrix(g) for g in elements], n=n, name=shown)


def _vectors(what: str, value: Any) -> np.ndarray:
    """Return samples `[samples, n, channels]` in float64."""
    _checks.unmasked(what, value)
    array = np.asarray(value)
    if array.ndim != 3 or not is_real(array.dtype):
        raise ShapeError(
            f"{what} must be samples of n points",
            got=f"{array.dtype}, shape {list(array.shape)}",
            expected="real numbers, [samples, n, channels]",
            step="add an axis of one channel: x[..., None]"
            if array.ndim == 2 and is_real(array.dtype)
            else "pass one row for each sample, as np.random.default_rng(0).normal(size=(1000, 5, 1)) has them",
        )
    if array.shape[1]:
        _checks.some(
            "channels of the points", range(array.shape[2]), got="0", step="give each point one channel or more"
        )
    _checks.refuse_if_more("there are too many points", array.shape[1], MOST_POINTS, "points", "pass fewer points")
    _checks.finite(f"the {what.removeprefix('the ')}", array, step="drop the samples that are not finite")
    return array.astype(np.float64)


def _read_data(source: Any, *, equivariant: bool) -> Samples:
    x, y = source if isinstance(source, tuple | list) and len(source) == 2 else (source, None)
    vectors = _vectors("the samples", x)
    scalars = np.zeros((len(vectors), 0))
    if vectors.shape[1] and not np.std(vectors):
        raise OptionError(
            "the samples are constant",
            got=f"{vectors.size} equal numbers",
            expected="samples of a distribution",
            step="pass samples that differ",
        )
    if y is None:
        return Samples((vectors,), scalars)
    if equivariant:
        outputs = _vectors("the outputs", y)
        _checks.shaped("the outputs", outputs, [*vectors.shape[:2], "channels"], step="pass one output for each point")
        return Samples((vectors, outputs), scalars)
    scalars = real_array("the outputs", y)
    _checks.finite("the outputs", scalars, step="drop the samples that are not finite")
    _checks.shaped(
        "the outputs", scalars, [len(vectors), *map(str, range(scalars.ndim - 1))], step="pass one row for each x"
    )
    return Samples((vectors,), scalars.reshape(len(vectors), -1))


def _refuse_few(given: int, fewest: int) -> None:
    if given < fewest:
        raise OptionError(
            "there are too few samples",
            got=f"{given:,}",
            expected=f"{fewest:,} or more",
            step="pass more samples, or a larger tolerance=",
        )


def _refuse_outputs(outputs: np.ndarray, scale: float) -> None:
    _checks.finite("the outputs of the function", outputs, step="pass data where the function is finite")
    if not scale > 1e-12 * max(1.0, float(np.abs(outputs).max(initial=0))):
        raise OptionError(
            "the function is constant on the data",
            got=f"spread {scale:.2g}",
            expected="outputs that differ, since a constant admits every permutation",
            step="pass data on which the function varies",
        )
