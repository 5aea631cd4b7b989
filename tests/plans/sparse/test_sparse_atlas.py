"""Linear plans on the edges of small graphs: against masked dense arrays, diagram by diagram, in NumPy."""

import functools

import jax
import networkx as nx
import numpy as np
import pytest
from by_entries import atlas, by_entries, dense_inputs, padded_to, rows_of
from helpers import assert_close, random_weights

import equikit as ek
from equikit.plans import apply, plan, to_numpy

pytestmark = pytest.mark.usefixtures("x64")

NODES, ENTRIES = 7, 49
ALL = "p p + p + () -> p p + p + ()"
MIXED = "p p x + x p -> x p p + x"


def masks_of(number: int) -> np.ndarray:
    """Return the adjacency matrix of a graph of the atlas, with loops, without one direction of some edges, or both."""
    rng = np.random.default_rng(number)
    mask = nx.to_numpy_array(atlas()[number]) > 0
    if number % 2:
        mask = mask & (rng.random(mask.shape) < 0.7)
    if number // 2 % 2:
        mask = mask | np.diag(rng.random(len(mask)) < 0.6)
    return mask


@functools.cache
def program_of(signature: str, normalize: str):
    space = ek.hom(signature, p=ek.S, **({"x": ek.O(2)} if "x" in signature.split() else {}))
    widths = [
        tuple(1 + i % 2 for i in range(len(terms))) for terms in (space.signature.inputs, space.signature.outputs)
    ]
    return plan(space, tuple(widths), normalize=normalize, bias=True)


@functools.cache
def traced(program):
    """One program for all supports that are padded to the same numbers."""
    return jax.jit(lambda x, w, support: apply(program, x, w, support=support))


TOLERANCES = {"float64": 1e-12, "float32": 2e-6}
"""Of differences, relative to the largest entry."""


def assert_equal_on(number: int, signature: str, normalize: str, dtype: str = "float64") -> None:
    """Compare on a support that is padded so that one program serves all graphs, with NaN in the padding."""
    program, mask = program_of(signature, normalize), masks_of(number)
    sizes, masks = {"p": len(mask), "x": 2}, {2: mask}
    narrow = [
        {name: np.asarray(array).astype(dtype) for name, array in some.items()}
        for some in (dense_inputs(program, sizes, number), random_weights(program))
    ]
    inputs, weights = ({name: array.astype(float) for name, array in some.items()} for some in narrow)
    support = ek.Support("p p", *np.nonzero(mask), n=len(mask)).pad(nodes=NODES, entries=ENTRIES)
    length = {0: None, 1: NODES, 2: ENTRIES}

    def rows(term, arrays, fill):
        x, count = rows_of(arrays[term.name], term.labels, masks), length[term.labels.count("p")]
        return x if count is None else padded_to(x, count, fill)

    terms = program.signature
    found = traced(program)({term.name: rows(term, narrow[0], np.nan) for term in terms.inputs}, narrow[1], support)
    wanted = by_entries(program, inputs, weights, sizes, masks)
    assert_close(found, {term.name: rows(term, wanted, 0.0) for term in terms.outputs}, TOLERANCES[dtype])


@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("number", [0, 1, 3, 6, 7, 18, 49, 50, 51])
def test_all_maps_on_graphs_of_up_to_five_nodes(number, normalize):
    assert_equal_on(number, ALL, normalize)


@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("number", [6, 51])
def test_vectors_on_edges(number, normalize):
    assert_equal_on(number, MIXED, normalize)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize(
    ("signature", "nodes", "dtype"),
    [
        (ALL, 7, "float32"),
        (ALL, 7, "float64"),
        *((s, 5, "float64") for s in (MIXED, "p p -> p p", "p p -> p", "p -> p p", "p p -> ()", "p p x -> p p x + x")),
    ],
)
def test_every_graph_of_the_atlas(signature, nodes, dtype, normalize):
    graphs = [number for number, graph in enumerate(atlas()) if len(graph) <= nodes]
    assert len(graphs) == (1253 if nodes == 7 else 53)
    for number in graphs:
        assert_equal_on(number, signature, normalize, dtype)


@pytest.mark.parametrize("signature", ["p p -> p p", "p p + p -> p + ()"])
def test_a_full_support_has_the_means_of_dense_arrays(signature):
    program = program_of(signature, "mean")
    mask, sizes = np.ones((4, 4), bool), {"p": 4}
    inputs, weights = dense_inputs(program, sizes), random_weights(program)
    support = ek.Support.from_mask(mask)
    terms = program.signature
    rows = {term.name: rows_of(inputs[term.name], term.labels, {2: mask}) for term in terms.inputs}
    found = apply(program, rows, weights, support=support)
    dense = to_numpy(program, weights)(inputs)
    assert_close(found, {term.name: rows_of(dense[term.name], term.labels, {2: mask}) for term in terms.outputs}, 1e-12)
