"""Networks of vectors and of matrices on supports: against dense arrays, graph by graph, and with padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit.nn import MatrixNetwork, VectorNeurons

X = 3
GROUPS = {"p": ek.S, "x": ek.O(X)}
NODES = {"at": ("p x", 1), "charge": ("p", 1), "field": ("x", 1), "time": ("", 1)}
EDGES = {"p x p": 2, "p x": 1, "p p": 1}


@functools.cache
def network(kind: str) -> VectorNeurons:
    features = NODES if kind == "nodes" else EDGES
    return VectorNeurons(features, 2, channels=2, layers=1, groups=GROUPS, rngs=nnx.Rngs(0))


def words(name: str, value: object) -> list[str]:
    return (value[0] if isinstance(value, tuple) else name).split()


def dense(kind: str, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng, sizes = np.random.default_rng(seed), {"p": n, "x": X}
    found = {}
    for name, value in (NODES if kind == "nodes" else EDGES).items():
        width = value[1] if isinstance(value, tuple) else value
        shape = [sizes[label] for label in words(name, value)]
        found[name] = rng.normal(size=(*shape, width)).astype(np.float32)
    return found


def stored(x: dict[str, np.ndarray], graphs: bool = False) -> dict[str, np.ndarray]:
    """The rows of dense arrays on the full support."""
    found = {}
    for name, array in x.items():
        own = words(name, (NODES | {key: key for key in EDGES})[name])
        axes = [i for i, label in enumerate(own) if label == "p"]
        array = np.moveaxis(array, axes, range(len(axes)))
        shape = (-1, *array.shape[2:]) if len(axes) == 2 else array.shape if axes or not graphs else (1, *array.shape)
        found[name] = array.reshape(shape)
    return found


def full(n: int) -> ek.Support:
    return ek.Support.from_mask(np.ones((n, n), bool))


def rows_of(kind: str, y: np.ndarray) -> np.ndarray:
    """The rows of a dense result, whose axes are those of the first term."""
    return y if kind == "nodes" else np.moveaxis(y, 2, 1).reshape(-1, X, 2)


@pytest.mark.parametrize("kind", ["nodes", "edges"])
def test_graphs_in_one_array_are_as_alone_on_dense_arrays(kind):
    """The full support, two graphs of different sizes, and the same with padding that holds NaN."""
    net = by_numpy(network(kind))
    x = [dense(kind, 3), dense(kind, 2, seed=1)]
    x[1] = {name: 100 * array if "x" in words(name, (NODES | {key: key for key in EDGES})[name]) else array
            for name, array in x[1].items()}  # fmt: skip
    wanted = [rows_of(kind, np.asarray(net(each))) for each in x]
    assert_close(net(stored(x[0]), support=full(3)), wanted[0], 1e-5)
    parts = [stored(each, graphs=True) for each in x]
    both = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    support = ek.Support.join([full(3), full(2)])
    found = np.asarray(net(both, support=support))
    assert_close(found[: len(wanted[0])], wanted[0], 1e-5)
    assert_close(found[len(wanted[0]) :] / 100, wanted[1] / 100, 1e-5)
    size = {5: 7, 13: 16, 2: 3}  # nodes, entries and graphs
    long = {
        name: np.concatenate([a, np.full((size[len(a)] - len(a), *a.shape[1:]), np.nan, np.float32)])
        for name, a in both.items()
    }
    padded = np.asarray(net(long, support=support.pad(nodes=7, entries=16, graphs=3)))
    assert_close(padded[: len(found)] / 100, found / 100, 1e-5)
    assert not np.any(padded[len(found) :])


def test_a_permutation_and_a_rotation_of_a_graph():
    rng = np.random.default_rng(0)
    mask = rng.random((4, 4)) < 0.6
    senders, receivers = np.nonzero(mask)
    net, count = by_numpy(network("edges")), len(senders)
    x = {"p x p": rng.normal(size=(count, X, 2)), "p x": rng.normal(size=(4, X, 1)), "p p": rng.normal(size=(count, 1))}
    x = {name: array.astype(np.float32) for name, array in x.items()}
    turn, g = np.float32(ek.O(X).random_element(rng)), rng.permutation(4)
    moved = {
        "p x p": np.einsum("ij,ejc->eic", turn, x["p x p"]),
        "p x": np.einsum("ij,njc->nic", turn, x["p x"])[np.argsort(g)],
        "p p": x["p p"],
    }
    first = np.asarray(net(x, support=ek.Support("p p", senders, receivers, n=4)))
    second = net(moved, support=ek.Support("p p", g[senders], g[receivers], n=4))
    assert_close(second, np.einsum("ij,ejc->eic", turn, first), 1e-5)
    assert np.abs(first).max() > 1e-3


def test_gradients_of_padded_graphs_are_finite():
    support = ek.Support.join([full(2), ek.Support("p p", [], [], n=0)]).pad(nodes=3, entries=6, graphs=3)
    x = {name: np.zeros((6 if name != "p x" else 3, *shape), np.float32)
         for name, shape in {"p x p": (X, 2), "p x": (X, 1), "p p": (1,)}.items()}  # fmt: skip
    x["p x p"][:4] = np.random.default_rng(0).normal(size=(4, X, 2))
    found = in_numpy(jax.grad(lambda x: jnp.sum(network("edges")(x, support=support) ** 2)), x)
    assert all(np.all(np.isfinite(array)) for array in jax.tree.leaves(found))
    assert np.abs(found["p x p"][:4]).max() > 0
    assert not np.any(found["p x p"][4:])


def test_a_support_for_another_label_is_refused():
    with pytest.raises(ek.OptionError, match="which is not a label of the signature"):
        network("nodes")(dense("nodes", 2), support=ek.Support("q q", [0], [1], n=2))


def test_matrices_of_graphs():
    hidden = [{"p x": 2, "": 3}, {"p x": 2}]
    net = by_numpy(MatrixNetwork({"p p": 1, "p x": 2}, "x", hidden=hidden, groups=GROUPS, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    x = [{"p p": rng.normal(size=(n, n, 1)), "p x": rng.normal(size=(n, X, 2))} for n in (3, 2)]
    x = [{name: array.astype(np.float32) for name, array in each.items()} for each in x]
    both = {"p p": np.concatenate([each["p p"].reshape(-1, 1) for each in x]),
            "p x": np.concatenate([each["p x"] for each in x])}  # fmt: skip
    found = net(both, support=ek.Support.join([full(3), full(2)]))
    assert_close(found, np.stack([net(each) for each in x]), 1e-5)
