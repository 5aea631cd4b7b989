"""Linear plans on triples of nodes, alone and with pairs: all 203 maps of order three, against masked dense arrays."""

import numpy as np
import pytest
from by_entries import by_entries, dense_inputs, rows_of
from helpers import assert_close, random_weights
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, plan

pytestmark = pytest.mark.usefixtures("x64")

N = 4


def edges_and_triples(kind: str):
    """Return a support, and its masks by number of axes."""
    rng = np.random.default_rng(0)
    edges = rng.random((N, N)) < 0.5
    if kind == "triangles":
        edges = np.triu(edges | (rng.random((N, N)) < 0.7), 1)
        edges = edges | edges.T
        pairs = ek.Support.from_mask(edges)
        both = pairs | pairs.triangles()
    else:
        both = ek.Support.from_mask(edges) | ek.Support.from_mask(rng.random((N, N, N)) < 0.3, term="p p p")
    masks = {}
    for order in (2, 3):
        masks[order] = np.zeros((N,) * order, bool)
        masks[order][tuple(np.asarray(index) for index in both.indices(order))] = True
    return both, masks


def assert_equal_to_dense(signature, kind, normalize, run):
    support, masks = edges_and_triples(kind)
    assert masks[3].sum() > 5
    space = ek.hom(signature, p=ek.S)
    program = plan(space, (1, 1), normalize=normalize, bias=True)
    inputs, weights, terms = dense_inputs(program, {"p": N}), random_weights(program), program.signature
    rows = {term.name: rows_of(inputs[term.name], term.labels, masks) for term in terms.inputs}
    wanted = by_entries(program, inputs, weights, {"p": N}, masks)
    found = run(lambda rows, weights: apply(program, rows, weights, support=support), rows, weights)
    assert_close(found, {term.name: rows_of(wanted[term.name], term.labels, masks) for term in terms.outputs}, 1e-12)


@pytest.mark.parametrize(("kind", "normalize"), [("triangles", "sum"), ("triples", "mean")])
def test_all_203_maps_of_triples(kind, normalize):
    assert_equal_to_dense("p p p -> p p p", kind, normalize, in_numpy)


@pytest.mark.parametrize(("kind", "normalize"), [("triangles", "mean"), ("triples", "sum")])
def test_triples_and_pairs_together(kind, normalize):
    assert_equal_to_dense("p p p + p p -> p p", kind, normalize, in_numpy)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("kind", ["triangles", "triples"])
@pytest.mark.parametrize("signature", ["p p p -> p p p", "p p p + p p -> p p", "p p -> p p p + p", "p + () -> p p p"])
def test_mixed_orders(signature, kind, normalize):
    assert_equal_to_dense(signature, kind, normalize, lambda function, *arguments: function(*arguments))
