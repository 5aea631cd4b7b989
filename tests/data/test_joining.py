"""Examples of different sizes in one array: features, numbers of graphs, masks and edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error

import equikit as ek
from equikit.data import Neighbors, join, neighbors

RNG = np.random.default_rng(0)
SIZES, TERMS = (3, 1, 0, 4), {"species": "p", "positions": "p x", "charge": ""}


def molecule(n, channels=2):
    return {
        "species": RNG.normal(size=(n, channels)),
        "positions": RNG.normal(size=(n, 3, 1)),
        "charge": RNG.normal(size=1),
    }


MOLECULES = [molecule(n) for n in SIZES]
LISTS = [neighbors(one["positions"][..., 0], 2.0, cell=2.0 * np.eye(3), edges=200) for one in MOLECULES]


def joined(examples=MOLECULES, **options):
    return join(examples, terms=TERMS, **options)


def test_examples_come_one_after_another():
    found = joined(neighbors=LISTS)
    for name in ("species", "positions"):
        assert np.array_equal(found.features[name], np.concatenate([one[name] for one in MOLECULES]))
    assert np.array_equal(found.features["charge"], np.stack([one["charge"] for one in MOLECULES]))
    assert found.graph_of.tolist() == [0, 0, 0, 1, 3, 3, 3, 3]
    assert found.graph_of.dtype == np.int32
    assert found.mask.all()
    cells = np.stack([2.0 * np.eye(3)] * 4)
    wanted = neighbors(found.features["positions"][..., 0], 2.0, cell=cells, graph_of=found.graph_of)
    rows = [
        {*zip(edges.receivers.tolist(), edges.senders.tolist(), map(tuple, edges.shifts.tolist()), strict=True)}
        for edges in (found.edges, wanted)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == len(found.edges.receivers) > 50
    assert np.all(np.diff(found.edges.receivers) >= 0)


def test_padding_is_absent():
    edges, found = joined(neighbors=LISTS).edges, joined(neighbors=LISTS, nodes=(4, 16), edges=[10, 1000], graphs=6)
    assert found.features["positions"].shape == (16, 3, 1)
    assert found.features["charge"].shape == (6, 1)
    assert found.graph_of.tolist() == [0, 0, 0, 1, 3, 3, 3, 3, *[6] * 8]
    assert found.mask.tolist() == [True] * 8 + [False] * 8
    count = len(edges.senders)
    assert found.edges.n == 16
    assert np.array_equal(found.edges.senders, np.append(edges.senders, [16] * (1000 - count)))
    assert joined().edges is None


@pytest.mark.slow
def test_a_layer_on_joined_molecules():
    """Messages and pooled energies are those of one molecule after another; two batches share one program."""
    layer = ek.nn.GeometricMessage(
        {"species": ("p", 2)}, {"p": 1}, cutoff=2.0, hidden=(4,), p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)
    )

    @jax.jit
    def energies(features, graph_of, mask, edges):
        messages = layer({"species": features["species"]}, features["positions"][..., 0], mask=mask, edges=edges)
        return jax.ops.segment_sum(messages["p"][:, 0], graph_of, 5)

    examples = jax.tree.map(np.float32, MOLECULES)
    alone = []
    for one, edges in zip(examples, LISTS, strict=True):
        single = joined([one], neighbors=[edges], nodes=16, edges=500, graphs=5)
        alone.append(energies(*single)[0])
    found = energies(*joined(examples, neighbors=LISTS, nodes=16, edges=500, graphs=5))
    assert_close(found, jnp.array([*alone, 0]), 1e-5)
    assert energies._cache_size() == 1


ERRORS = {
    "pairs": (
        ek.OptionError,
        lambda: join([{"p p": np.ones((2, 2, 1))}]),
        "feature 'p p' does not have its nodes first and once",
        "p p",
        "'p' first, or not at all",
        "use ek.data.pad",
    ),
    "no nodes": (
        ek.OptionError,
        lambda: join([{"q": np.ones((2, 1)), "": np.ones(1)}]),
        "no feature has nodes",
        "q, ()",
        "the label 'p'",
        "give label= the label of the nodes",
    ),
    "no examples": (ek.OptionError, lambda: joined([]), "there are no examples", "[]", "one or more", "np.ones("),
    "channels": (
        ek.ShapeError,
        lambda: joined([molecule(2), molecule(3, channels=4)]),
        "feature 'species' of examples[1] has another shape than in examples[0]",
        "[4] after the nodes",
        "[2]",
        "the same axes and channels",
    ),
    "small": (
        ek.OptionError,
        lambda: joined(nodes=(2, 4)),
        "nodes= is smaller than the number of nodes",
        "4",
        "at least 8",
        "nodes=8",
    ),
    "few graphs": (
        ek.OptionError,
        lambda: joined(graphs=3),
        "graphs= is smaller than the number of graphs",
        "3",
        "at least 4",
        "graphs=4",
    ),
    "edges without lists": (
        ek.OptionError,
        lambda: joined(edges=8),
        "edges= needs neighbors=",
        "neighbors=None",
        "neighbors=",
        "give neighbors= the neighbor list of each example",
    ),
    "other lists": (
        ek.OptionError,
        lambda: joined(neighbors=LISTS[:2]),
        "neighbors= does not belong to the examples",
        "lists of 3, 1 points",
        "lists of 3, 1, 0, 4 points",
        "of each example, in order",
    ),
    "arrays": (
        ek.OptionError,
        lambda: joined(neighbors=np.zeros(4)),
        "neighbors[0]= must be a Neighbors",
        "array",
        "a Neighbors",
        "ek.data.neighbors(positions, cutoff)",
    ),
    "some cells": (
        ek.OptionError,
        lambda: joined(neighbors=[Neighbors.of([], [], n=3), *LISTS[1:]]),
        "only some neighbor lists have shifts",
        "3 of 4 lists",
        "for all examples, or for none",
        "periodic=False",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_examples_that_do_not_fit(name):
    assert_error(*ERRORS[name])
