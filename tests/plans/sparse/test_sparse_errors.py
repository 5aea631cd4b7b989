"""What a layer says about supports and arrays that do not fit, and supports without nodes or entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error
from in_numpy import in_numpy

import equikit as ek

EDGES = ek.Support("p p", [0, 1, 2], [1, 0, 1], n=4)
GROUPED = ek.Support("p p", [0, 1], [1, 0], n=3, graph_of=[0, 0, 1])
ROWS = np.ones((3, 2), np.float32)


def linear(signature: str = "p p -> p p", **options) -> ek.nn.Linear:
    return ek.nn.Linear(signature, 2, 1, **{"p": ek.S, "rngs": nnx.Rngs(0)} | options)


def x_of(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


NO_MASK = "mask= has 'p', but the support says which nodes and entries are there: pad the support to have absent ones"
WITH_TRIPLES = "join it with a support that has them, such as edges | edges.cliques()"

CASES = {
    "another type": (
        lambda: linear()(ROWS, support=([0], [1])),
        ("support= must be a Support", "([0], [1])", "a Support", 'write support=ek.Support("p p", senders'),
    ),
    "stacked supports": (
        lambda: linear()(np.stack([ROWS, ROWS]), support=jax.tree.map(lambda a: np.stack([a, a]), EDGES)),
        (
            "the tables of the support have an axis of a batch",
            "the graphs of the nodes have shape [2, 4]",
            "[4]: the support of one sample",
            "write jax.vmap(lambda x, support: layer(x, support=support))(x, supports)",
        ),
    ),
    "another label": (
        lambda: ek.nn.Linear("q q -> q", 2, 1, q=ek.S, rngs=nnx.Rngs(0))(ROWS, support=EDGES),
        (
            "the support is for 'p', which is not a label of the signature",
            "q q -> q",
            "a support for q",
            'make the support for the term "q q"',
        ),
    ),
    "a group that mixes entries": (
        lambda: linear("p p -> p p", p=ek.O(4))(ROWS, support=EDGES),
        (
            "entries of 'p' cannot be absent: O(4) has maps other than sums and diagonals",
            "a support for an axis on which O(4) acts",
            "no support: no label is bound to S",
            "leave the support out",
        ),
    ),
    "a group of some permutations": (
        lambda: linear("p p -> p p", p=ek.A(4))(ROWS, support=EDGES),
        ("A(4) has maps other than sums and diagonals", "A(4) acts", "no support", "leave the support out"),
    ),
    "a plain axis": (
        lambda: linear("p q -> q", p=ek.Fixed(4), q=ek.S)(ROWS, support=EDGES),
        (
            "entries of 'p' cannot be absent: nothing acts on the axis",
            "a support for the plain axis p=Fixed(4)",
            "a support for q",
            'make the support for the term "q q"',
        ),
    ),
    "no triples": (
        lambda: linear("p p -> p p p")(ROWS, support=EDGES),
        (
            "the support has no entries for the term 'p p p'",
            "a support with entries of 2 axes 'p'",
            "entries of 3 axes",
            WITH_TRIPLES,
        ),
    ),
    "a mask": (
        lambda: linear()(ROWS, support=EDGES, mask=np.ones(4, bool)),
        (NO_MASK, "mask= and support= for 'p'", "mask= for other labels only", "remove 'p' from mask="),
    ),
    "a size": (
        lambda: linear()(ROWS, support=EDGES, sizes={"p": 4}),
        (
            "sizes= has 'p', but the support says how many nodes there are",
            "sizes= and support= for 'p'",
            "sizes= for other labels only",
            "remove 'p' from sizes=",
        ),
    ),
    "a dense matrix": (
        lambda: linear(method="dense")(ROWS, support=EDGES),
        ("unknown value for method=", "'dense'", '"auto" or "factored"', 'write method="auto" with a support'),
    ),
    "chunks": (
        lambda: linear(chunk_size=2)(ROWS, support=EDGES),
        (
            "chunk_size= and support= cannot be given together",
            "chunk_size=2",
            "at most one of them",
            "leave chunk_size out",
        ),
    ),
    "a sharding": (
        lambda: linear()(ROWS, support=EDGES, out_sharding=jax.sharding.PartitionSpec()),
        (
            "out_sharding= and support= cannot be given together",
            "out_sharding=",
            "at most one of them",
            "leave out_sharding out",
        ),
    ),
    "a dense array": (
        lambda: linear()(x_of(4, 4, 2), support=EDGES),
        (
            "input 'p p' has 4 rows, but the support has 3 entries",
            "shape [4, 4, 2]",
            "[*batch, p p=3, 2 channels]",
            "pass one row for each entry; for a dense array x write x[support.indices()]",
        ),
    ),
    "other nodes": (
        lambda: linear("p x -> p x", x=ek.O(3))(x_of(5, 3, 2), support=EDGES),
        (
            "input 'p x' has 5 rows, but the support has 4 nodes",
            "shape [5, 3, 2]",
            "[*batch, p=4, x=3, 2 channels]",
            "pass one row for each node",
        ),
    ),
    "other graphs": (
        lambda: linear("() -> p")(x_of(2), support=GROUPED),
        (
            "input '' has too few axes, but the support has 2 graphs",
            "shape [2]",
            "[*batch, all graphs=2, 2 channels]",
            "pass one row for each graph",
        ),
    ),
    "other channels": (
        lambda: linear()(x_of(3, 5), support=EDGES),
        (
            "input 'p p' has 5 channels, not 2",
            "shape [3, 5]",
            "[*batch, p p=3, 2 channels]",
            "check the last axis, or the layer",
        ),
    ),
    "another size of a vector": (
        lambda: linear("p p x -> p p x", x=ek.O(3))(x_of(3, 2, 2), support=EDGES),
        (
            "input 'p p x' has size 2 on axis 'x', but x is bound to O(3)",
            "shape [3, 2, 2]",
            "[*batch, p p=3, x=3, 2 channels]",
            "give every 'x' size 3",
        ),
    ),
    "other batches": (
        lambda: ek.nn.Linear({"p p": 1, "p": 1}, {"p": 1}, p=ek.S, rngs=nnx.Rngs(0))(
            {"p p": x_of(7, 3, 1), "p": x_of(6, 4, 1)}, support=EDGES
        ),
        ("input 'p' has batch axes [6], but input 'p p' has [7]", "shape [6, 4, 1]", "[*batch, p=4", "make them equal"),
    ),
    "a bound size": (
        lambda: linear(p=ek.S(5))(ROWS, support=EDGES),
        (
            "the support has 4 nodes, but p is bound to S(5)",
            "4 nodes",
            "5 nodes in every graph",
            "bind p=ek.S for graphs of any size",
        ),
    ),
    "a bound size and several graphs": (
        lambda: linear(p=ek.S(2))(x_of(2, 2), support=GROUPED),
        (
            "graph 1 of the support has 1 node, but p is bound to S(2)",
            "1 node",
            "2 nodes in every graph",
            "bind p=ek.S for graphs of any size",
        ),
    ),
    "integers": (
        lambda: linear()(np.ones((3, 2), int), support=EDGES),
        ("input 'p p' does not hold floating-point numbers", "dtype int64", "float32", "pass x.astype(jnp.float32)"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(case):
    call, texts = CASES[case]
    assert_error(ek.EquikitError, call, *texts)


@pytest.mark.parametrize("graphs", [None, 0, 2])
def test_without_nodes_or_entries_results_are_empty(graphs):
    empty = ek.Support(
        "p p", np.zeros(0, int), np.zeros(0, int), n=0, graph_of=None if graphs is None else [], graphs=graphs
    )
    layer = ek.nn.Linear({"p p": 2, "p": 1}, {"p p": 1, "p": 2, "": 1}, p=ek.S, rngs=nnx.Rngs(0))
    layer.bias["-> ()"][...] = jnp.ones((1, 1))
    y = in_numpy(lambda x: layer(x, support=empty), {"p p": x_of(0, 2), "p": x_of(0, 1)})
    assert y["p p"].shape == (0, 1)
    assert y["p"].shape == (0, 2)
    assert_close(y[""], np.ones((1,) if graphs is None else (graphs, 1)), 1e-6)
    alone = ek.Support("p p", np.zeros(0, int), np.zeros(0, int), n=3)
    y = in_numpy(lambda x: layer(x, support=alone), {"p p": x_of(0, 2), "p": x_of(3, 1)})
    dense = in_numpy(layer, {"p p": np.zeros((3, 3, 2), np.float32), "p": x_of(3, 1)})
    assert_close(y["p"], dense["p"], 1e-6)


def test_a_bound_size_that_fits():
    layer, free = linear(p=ek.S(4)), linear()
    for name, param in free.kernel.items():
        param[...] = layer.kernel[name][...]
    assert_close(layer(ROWS, support=EDGES), np.asarray(free(ROWS, support=EDGES)), 1e-6)
    jax.eval_shape(lambda x, support: layer(x, support=support), ROWS, EDGES)  # traced: not checked


def test_masks_and_sizes_of_other_labels():
    layer = ek.nn.Linear("p p q -> p q", 1, 1, p=ek.S, q=ek.S, rngs=nnx.Rngs(0))
    x, mask = np.random.default_rng(0).normal(size=(3, 5, 1)).astype(np.float32), np.array([1, 1, 0, 1, 0], bool)
    masked = in_numpy(lambda x: layer(x, support=EDGES, mask={"q": mask}), x)
    alone = in_numpy(lambda x: layer(x, support=EDGES), x[:, mask])
    assert_close(masked[:, mask], alone, 1e-6)
    assert not masked[:, ~mask].any()
    batch, masks = np.stack([x, 2 * x]), np.stack([mask, ~mask])
    found = in_numpy(lambda x: layer(x, support=EDGES, mask={"q": masks}), batch)
    for one, own, wanted in zip(batch, masks, found, strict=True):
        assert_close(in_numpy(lambda x, m=own: layer(x, support=EDGES, mask={"q": m}), one), wanted, 1e-6)
    grown = ek.nn.Linear("p p -> p q", 2, 1, p=ek.S, q=ek.S, rngs=nnx.Rngs(0))
    assert in_numpy(lambda x: grown(x, support=EDGES, sizes={"q": 6}), ROWS).shape == (4, 6, 1)
