"""Elements drawn from a learned distribution: only expectations know the symmetries of an input."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization import Probabilistic
from equikit.symmetrization.canonicalization import VectorNeurons, assignment_entropy
from equikit.symmetrization.engine._sample import Sample


def mixing(x, axes):
    """A backbone that knows the place of every entry."""
    count = int(np.prod(x.shape[-axes:], dtype=int))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(count, count)), x.dtype)
    return jnp.cos(x.reshape(*x.shape[:-axes], count) @ weights + 0.3).reshape(x.shape)


def messages(x, mask=None):
    """Scores of nodes of a graph `"p p"` from the noise of a node, of its neighbors, and degrees."""
    edges, noise = x["p p"][..., 0], x["noise"]
    degrees = jnp.sum(edges, axis=-1, keepdims=True)
    return jnp.tanh(noise + 0.7 * edges @ noise) + 0.3 * degrees


GRAPHS = {
    "path": (networkx.path_graph(8), [[0, 7], [1, 6], [2, 5], [3, 4]]),
    "star": (networkx.star_graph(7), [[0], [1, 2, 3, 4, 5, 6, 7]]),
    "two stars": (
        networkx.disjoint_union(networkx.star_graph(3), networkx.star_graph(3)),
        [[0, 4], [1, 2, 3, 5, 6, 7]],
    ),
    "cycle": (networkx.cycle_graph(8), [[*range(8)]]),
    "narrow grid": (
        networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(2, 4)),
        [[0, 3, 4, 7], [1, 2, 5, 6]],
    ),
    "grid": (
        networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(5, 5)),
        [[0, 4, 20, 24], [1, 3, 5, 9, 15, 19, 21, 23], [2, 10, 14, 22], [6, 8, 16, 18], [7, 11, 13, 17], [12]],
    ),
}
"""Graphs with symmetries, and which nodes these exchange."""


@functools.cache
def symmetrized_graph():
    sym = ek.symmetrize(
        lambda x: mixing(x, 2)[..., 0], "p p -> p", p=ek.S, channels=False, how=Probabilistic(messages, samples=2000)
    )
    sym.eval()

    @jax.jit
    def run(x, key):
        y, info = sym(x, key=key, with_info=True)
        frame = sym.how.draw(sym.action, Sample({"p p": x}, {}), key, 1)
        order = frame.elements.linear["p"][0]
        return y, info.standard_error["p"], mixing(x[order][:, order], 2)[jnp.argsort(order), 0]

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "grid" else name for name in GRAPHS]
)
def test_only_the_expectation_is_the_same_for_nodes_that_a_symmetry_exchanges(name):
    graph, orbits = GRAPHS[name]
    edges = networkx.to_numpy_array(graph).astype(np.float32)
    y, error, single = map(np.asarray, symmetrized_graph()(edges, jax.random.key(0)))
    assert np.all(error < 0.05)
    for orbit in orbits:
        assert np.all(np.abs(y[orbit] - y[orbit].mean()) <= 5 * error[orbit])
    assert max(np.ptp(single[orbit]) for orbit in orbits) > 0.1


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_it_commutes_in_distribution_and_with_the_noise():
    """With g acting on the noise too, every single element commutes."""
    network = VectorNeurons(
        {"p x": 1, "noise": ("p x", 1)}, 3, channels=2, layers=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)
    )

    def both(x, mask=None):
        vectors = network(x)
        return {"p": jnp.sum(vectors[..., :1] ** 2, axis=-2), "x": vectors}

    how = Probabilistic(both, samples=400)
    sym = ek.symmetrize(lambda x: mixing(x, 2), "p x -> p x", p=ek.S, x=ek.O(3), channels=False, how=how)
    assert sorted(how.acts_on(sym.action)) == ["p", "x"]
    run = jax.jit(lambda x, key: sym(x, key=key, with_info=True))
    x = np.random.default_rng(0).normal(size=(4, 3))
    g, order = ek.O(3).random_element(np.random.default_rng(1)), np.array([2, 0, 3, 1])
    (y, one), (z, two) = run(x, jax.random.key(0)), run(x[order] @ g.T, jax.random.key(1))
    error = np.sqrt(one.standard_error["p x"][order] ** 2 @ (g.T**2) + two.standard_error["p x"] ** 2)
    assert np.all(np.abs(z - np.asarray(y)[order] @ g.T) < 5 * error)
    assert np.all(error < 0.2)
    assert one.more["matrix"].shape == (400, 3, 3)
    assert jax.eval_shape(lambda x, key: sym.frame(x, key=key), x, jax.random.key(0)).weights.dtype == jnp.float64
    np.testing.assert_allclose(one.more["assignment"].sum(-2), 1, rtol=1e-12)
    # The same draws with the noise moved: element by element.
    noise = np.random.default_rng(2).normal(size=(4, 3, 1))
    here, there = (
        both({"p x": x[..., None], "noise": noise}),
        both({"p x": (x[order] @ g.T)[..., None], "noise": np.einsum("ij,pjc->pic", g, noise[order])}),
    )
    np.testing.assert_allclose(there["p"], np.asarray(here["p"])[order], atol=1e-12)
    np.testing.assert_allclose(there["x"], np.einsum("ij,pjc->pic", g, np.asarray(here["x"])[order]), atol=1e-12)


def test_noise_alone_is_the_average_over_the_group_and_no_noise_canonicalization():
    x = np.random.default_rng(0).normal(size=(3, 1)).astype(np.float32)

    @jax.jit
    def drawn(noise, entries):
        how = Probabilistic(lambda x: noise * x["noise"] + entries * x["p"], samples=6000)
        frame = ek.symmetrize(jnp.sin, "p -> p", p=ek.S, how=how).frame(x, key=jax.random.key(0))
        return jnp.argmax(frame.elements.linear["p"], axis=-2), frame.info.ties

    orders, _ = drawn(1.0, 0.0)
    counts = np.unique(orders @ np.array([9, 3, 1]), return_counts=True)[1]
    assert len(counts) == 6
    np.testing.assert_allclose(counts / 6000, 1 / 6, atol=5 * np.sqrt(5 / 36 / 6000))
    orders, _ = drawn(0.0, 1.0)
    assert np.all(orders == np.argsort(x[:, 0]))
    # Scores that tie are ordered at random: with no scores at all, it is the group average again.
    orders, ties = drawn(0.0, 0.0)
    assert np.all(ties == 2)
    counts = np.unique(orders @ np.array([9, 3, 1]), return_counts=True)[1]
    np.testing.assert_allclose(counts / 6000, 1 / 6, atol=5 * np.sqrt(5 / 36 / 6000))


@pytest.mark.parametrize("group", [ek.O(3), pytest.param(ek.SO(2), marks=pytest.mark.slow)], ids=str)
def test_rotations_from_noise_alone_are_uniform(group):
    count = group.n - isinstance(group, ek.SO)
    how = Probabilistic(lambda x: x["noise"], "x", samples=4000, noise=count)
    sym = ek.symmetrize(lambda x: x, "p x -> p x", p=ek.S, x=group, channels=False, how=how)
    frame = jax.jit(lambda x, key: sym.frame(x, key=key))(np.zeros((2, group.n), np.float32), jax.random.key(0))
    turns = np.asarray(frame.elements.linear["x"])
    assert not bool(frame.info.degenerate)
    np.testing.assert_allclose(turns.mT @ turns, np.broadcast_to(np.eye(group.n), turns.shape), atol=1e-5)
    assert np.all(np.abs(turns.mean(0)) < 5 / np.sqrt(4000 * group.n) * 1.1)
    determinants = np.linalg.det(turns)
    assert abs(determinants.mean() - (0 if type(group) is ek.O else 1)) < 0.1


def test_samples_keys_and_modes():
    network = ek.nn.DeepSets(2, [4], 1, out="p", rngs=nnx.Rngs(0))
    how = Probabilistic(network, samples=2, evaluation_samples=5)
    sym = ek.symmetrize(lambda x: mixing(x, 2), "p -> p", p=ek.S, how=how)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 1)), jnp.float32)
    shapes = jax.eval_shape(lambda key: sym.frame(x, key=key), jax.random.key(0))
    assert shapes.elements.linear["p"].shape == (2, 3, 4, 4)
    assert shapes.drawn
    sym.eval()
    shapes = jax.eval_shape(lambda key: sym.frame(x, key=key), jax.random.key(0))
    assert shapes.elements.linear["p"].shape == (5, 3, 4)
    assert shapes.elements.linear["p"].dtype == jnp.int32
    sym.train()
    assert jax.eval_shape(lambda key: sym.frame(x, key=key), jax.random.key(0)).size == 2
    drawn = jax.eval_shape(lambda x, key: how.draw(sym.action, Sample({"p": x}, {}), key, 7), x, jax.random.key(0))
    assert drawn.size == 7
    assert_error(
        ek.OptionError,
        lambda: sym(x),
        "Probabilistic needs key=",
        "key=None",
        "key=",
        "write sym(x, key=jax.random.key(0))",
    )


def test_absent_entries_half_precision_and_what_is_not_finite():
    network = ek.nn.DeepSets(3, [4], 1, out="p", rngs=nnx.Rngs(0))

    def backbone(x, mask):
        there = mask["p"][..., None]
        return jnp.where(there, jnp.cumsum(jnp.where(there, x, 0), -2), 0)

    sym = ek.symmetrize(backbone, "p -> p", p=ek.S, how=Probabilistic(network, samples=3))
    run = jax.jit(lambda x, mask, key: sym(x, mask=mask, key=key, with_info=True))
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    mask = np.array([[True, True, False, True], [True, True, True, True]])
    x[0, 2] = 1e5
    y, info = run(x, {"p": mask}, jax.random.key(0))
    assert np.all(np.abs(y) < 100)
    assert np.all(np.asarray(y)[0, 2] == 0)
    soft = np.asarray(info.more["assignment"])
    np.testing.assert_array_equal(soft[:, 0, 3], np.broadcast_to(np.eye(4)[2], (3, 4)))
    x[1, 0, 0] = np.nan
    y, info = run(x, {"p": mask}, jax.random.key(0))
    assert np.asarray(info.refused).tolist() == [False, True]
    assert np.isnan(np.asarray(y)).any(axis=(1, 2)).tolist() == [False, True]
    half = jax.eval_shape(
        lambda x, key: sym(x, mask={"p": mask}, key=key), jnp.asarray(x, jnp.bfloat16), jax.random.key(0)
    )
    assert half.dtype == jnp.bfloat16


def test_it_trains_both_groups_through_the_noise():
    class Both(nnx.Module):
        def __init__(self, rngs):
            self.vectors = nnx.Linear(2, 1, use_bias=False, rngs=rngs)
            self.scores = nnx.Linear(2, 1, rngs=rngs)

        def __call__(self, x):
            both = jnp.concatenate([x["p x"], x["noise"]], axis=-1)
            squares = jnp.sum(both**2, axis=-2)
            return {"p": self.scores(squares), "p x": self.vectors(both) * squares[..., None, :1]}

    class Places(nnx.Linear):
        def __call__(self, x):
            return super().__call__(x.reshape(*x.shape[:-2], -1)).reshape(x.shape)

    how = Probabilistic(Both(nnx.Rngs(0)), samples=2, scale=0.3, temperature=0.3, rounds=5)
    backbone = Places(8, 8, rngs=nnx.Rngs(1))
    sym = ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.SO(2), channels=False, how=how)
    assert isinstance(sym, nnx.Module)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(sym))
    x = np.random.default_rng(0).normal(size=(32, 4, 2)).astype(np.float32)
    farthest = np.argmax(np.sum(x * x, -1), axis=-1)
    target = x - x[np.arange(32), farthest][:, None]
    graph, state = nnx.split(sym)
    optimizer = optax.adam(3e-2)

    @jax.jit
    def step(state, momenta, number):
        key = jax.random.fold_in(jax.random.key(0), number)

        def loss(state):
            y, info = nnx.merge(graph, state)(x, key=key, with_info=True)
            return jnp.mean((y - target) ** 2) + 0.01 * assignment_entropy(info)

        value, slope = jax.value_and_grad(loss)(state)
        updates, momenta = optimizer.update(slope, momenta)
        return optax.apply_updates(state, updates), momenta, value, slope

    momenta, losses = jax.jit(optimizer.init)(state), []
    for number in range(12):
        state, momenta, loss, slope = step(state, momenta, number)
        losses.append(float(loss))
    assert np.mean(losses[-10:]) < 0.7 * losses[0]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    assert np.any(slope.how.network.scores.kernel[...])
    assert np.any(slope.how.network.vectors.kernel[...])
    trained = nnx.merge(graph, state)
    losses = [
        step(nnx.split(other)[1], momenta, 0)[2]
        for other in (trained, copy.deepcopy(trained), jax.tree.map(lambda a: a, trained))
    ]
    np.testing.assert_array_equal(losses, losses[0])
    network = ek.nn.DeepSets(2, [4], 1, out="p", rngs=nnx.Rngs(0))
    pickled = pickle.loads(pickle.dumps(Probabilistic(network)))
    assert nnx.split(pickled)[0] == nnx.split(Probabilistic(network))[0]


def test_in_a_list_with_other_methods():
    network = Probabilistic(lambda x: jnp.sum(x["p x"], axis=-2) * x["noise"], "p", samples=3)
    how = [ek.frames.PCA(), network]
    sym = ek.symmetrize(lambda x: mixing(x, 3), "p x -> p x", p=ek.S, x=ek.O(2), how=how)
    x = jax.ShapeDtypeStruct((5, 4, 2, 1), jnp.float32)
    frame = jax.eval_shape(lambda x, key: sym.frame(x, key=key), x, jax.random.key(0))
    assert frame.size == 12
    assert frame.drawn


def test_every_permuted_label_has_its_soft_permutation():
    def network(x):
        return {"p": jnp.mean(x["noise"], axis=-2), "q": jnp.mean(x["noise"], axis=-3)}

    sym = ek.symmetrize(jnp.sin, "p q -> p q", p=ek.S, q=ek.S, how=Probabilistic(network))
    x = jax.ShapeDtypeStruct((2, 3, 1), jnp.float32)
    more = jax.eval_shape(lambda x, key: sym.info(x, key=key), x, jax.random.key(0)).more
    assert {name: soft.shape for name, soft in more.items()} == {"assignment": (1, 2, 2), "assignment 2": (1, 3, 3)}
    # Beside the centroid, which is one element, too.
    how = Probabilistic(lambda x: x["noise"], samples=4, noise=2)
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.Fixed(5), x=ek.O(2), translate="x", how=how)
    x = jax.ShapeDtypeStruct((5, 2, 1), jnp.float32)
    assert jax.eval_shape(lambda x, key: sym.info(x, key=key), x, jax.random.key(0)).more["matrix"].shape == (4, 2, 2)
    several = ek.symmetrization.Info(
        *[jnp.zeros(())] * 3, more={k: jnp.full(s.shape, 1 / s.shape[-1]) for k, s in more.items()}
    )
    np.testing.assert_allclose(assignment_entropy(several), np.log(2) + np.log(3), rtol=1e-6)


def test_messages():
    x = jnp.ones((3, 2))
    assert_error(
        ek.GroupError,
        lambda: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.Sp(2), how=Probabilistic(jnp.sin, "x")),
        "Probabilistic cannot act on x",
        "p=S, x=Sp(2)",
        "labels bound to S, and at most one bound to O(d) or SO(d)",
        "bind a label, or name labels= and put another method int",
    )
    assert_error(
        ek.GroupError,
        lambda: ek.symmetrize(jnp.sin, "y x -> y x", x=ek.O(2), y=ek.O(2), how=Probabilistic(jnp.sin)),
        "Probabilistic cannot act on x, y",
        "x=O(2), y=O(2)",
        "labels bound to S, and at most one bound to O(d) or SO(d)",
        "bind a label, or name labels= and put another method into the list",
    )
    assert_error(
        ek.OptionError,
        lambda: Probabilistic(jnp.sin, samples=0),
        "samples= must be a whole number ≥ 1",
        "0",
        "an integer ≥ 1",
        "write samples=1",
    )
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(lambda x: x, {"noise": "p"}, {"noise": "p"}, p=ek.S, how=Probabilistic(jnp.sin))(
            {"noise": x}, key=jax.random.key(0)
        ),
        "an input has the name of the noise",
        "terms named ['noise']",
        "other names than 'noise'",
        "rename the term",
    )
    with pytest.raises(ek.GroupError, match="does not work with O"):
        ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.Lorentz, how=Probabilistic(jnp.sin))
    with pytest.raises(ek.ShapeError, match="scores of 'p' must have shape"):
        ek.symmetrize(jnp.sin, "p -> p", p=ek.S, how=Probabilistic(lambda x: x["noise"][0]))(x, key=jax.random.key(0))
