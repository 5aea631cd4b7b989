"""Every layer refuses the same supports with one text, and takes supports without nodes or entries."""

import jax
import numpy as np
import pytest
from flax import nnx
from helpers import message_of

import equikit as ek

BOTH, NODES, VECTORS = {"p p": 2, "p": 2}, {"p": 2}, {"p p x": 2, "p x": 2}
LAST = {"p": 2, "": 1}
GROUPS = {"p": ek.S, "x": ek.O(3)}


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


LAYERS = {
    "Linear": lambda: ek.nn.Linear(BOTH, BOTH, p=ek.S, rngs=rngs()),
    "Multilinear": lambda: ek.nn.Multilinear("p p, p -> p", (2, 2), 2, p=ek.S, rngs=rngs()),
    "Bilinear": lambda: ek.nn.Bilinear(BOTH, 3, NODES, p=ek.S, rngs=rngs()),
    "Network": lambda: ek.nn.Network([BOTH, BOTH, LAST], products=2, p=ek.S, rngs=rngs()),
    "Residual": lambda: ek.nn.Residual([ek.nn.RMSNorm(BOTH, p=ek.S)]),
    "RMSNorm": lambda: ek.nn.RMSNorm(BOTH, p=ek.S),
    "BatchNorm": lambda: ek.nn.BatchNorm(BOTH, p=ek.S),
    "Dropout": lambda: ek.nn.Dropout(BOTH, 0.5, p=ek.S, rngs=rngs()),
    "NormGated": lambda: ek.nn.NormGated(BOTH, p=ek.S),
    "Pool": lambda: ek.nn.Pool("p p", p=ek.S),
    "Invariant": lambda: ek.nn.Invariant("p p", 2, 1, p=ek.S, rngs=rngs()),
    "GraphNetwork": lambda: ek.nn.GraphNetwork(2, [2], 2, node_channels=2, rngs=rngs()),
    "DeepSets": lambda: ek.nn.DeepSets(2, [2], 2, rngs=rngs()),
    "Attention": lambda: ek.nn.Attention(NODES, heads=1, pairs={"p p": 2}, p=ek.S, rngs=rngs()),
    "VectorNeurons": lambda: ek.nn.VectorNeurons(VECTORS, 2, channels=2, layers=1, groups=GROUPS, rngs=rngs()),
    "MatrixNetwork": lambda: ek.nn.MatrixNetwork(VECTORS, "x", hidden=[{"p x": 2, "": 2}], groups=GROUPS, rngs=rngs()),
}


def called(name: str, support: object, entries: int, nodes: int):
    layer, axes = LAYERS[name](), (3,) if name in ("VectorNeurons", "MatrixNetwork") else ()
    edges, points = (np.ones((count, *axes, 2), np.float32) for count in (entries, nodes))
    match name:
        case "Multilinear" | "GraphNetwork":
            return layer(edges, points, support=support)
        case "Pool" | "Invariant":
            return layer(edges, support=support)
        case "DeepSets":
            return layer(points, support=support)
        case "Attention":
            return layer({"p": points}, pairs={"p p": edges}, support=support)
        case "VectorNeurons" | "MatrixNetwork":
            return layer({"p p x": edges, "p x": points}, support=support)
    return layer({"p p": edges, "p": points}, support=support)


@pytest.mark.parametrize("name", LAYERS)
def test_supports_that_do_not_fit_are_refused(name):
    edges = ek.Support("p p", [0, 1, 2], [1, 2, 0], n=4)
    other = message_of(ek.OptionError, lambda: called(name, ek.Support("q q", [0], [1], n=4), 3, 4))
    assert "'q'" in other["problem"]
    assert 'support for the term "p p"' in other["next step"]
    untyped = message_of(ek.OptionError, lambda: called(name, ([0], [1]), 3, 4))
    assert untyped["problem"] == "support= must be a Support"
    entries, nodes = (3, 5) if name == "DeepSets" else (4, 4)
    rows = message_of(ek.ShapeError, lambda: called(name, edges, entries, nodes))
    assert rows["expected"]


@pytest.mark.slow
@pytest.mark.parametrize("graphs", [None, 0, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_no_nodes_and_no_entries(name, graphs):
    known = {} if graphs is None else {"graph_of": np.zeros(0, int), "graphs": graphs}
    found = called(name, ek.Support("p p", [], [], n=0, **known), 0, 0)
    assert all(np.all(np.isfinite(array)) for array in jax.tree.leaves(found))
    if graphs is None:
        found = called(name, ek.Support("p p", [], [], n=4), 0, 4)
        assert all(np.all(np.isfinite(array)) for array in jax.tree.leaves(found))
