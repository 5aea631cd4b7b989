"""Permutations from the scores of a network: sorting with a derivative, and ties of every kind."""

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
import equikit.testing
from equikit.symmetrization.canonicalization import PermutationCanonicalization, assignment_entropy, sinkhorn, soft_sort
from equikit.symmetrization.engine._sample import Sample


def squares(x, mask=None):
    """Scores of points: the sums of their squares."""
    return jnp.sum(x * x, axis=-1, keepdims=True)


def walks(graph):
    """Scores of nodes of graphs `[*batch, n, n, 1]`: weighted numbers of walks, the same for nodes that look alike."""
    edges = graph[..., 0]
    ones = jnp.ones((*edges.shape[:-1], 1), edges.dtype)
    return edges @ ones + 0.1 * edges @ (edges @ ones) + jnp.diagonal(edges @ edges @ edges, 0, -2, -1)[..., None]


def mixing(x, axes=1):
    """A backbone that knows the place of every entry."""
    count = int(np.prod(x.shape[-axes:], dtype=int))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(count, count)), x.dtype)
    return jnp.cos(x.reshape(*x.shape[:-axes], count) @ weights + 0.3).reshape(x.shape)


def of_graph(graph):
    return mixing(graph, 2)[..., 0]


def adjacency(graph, dtype=np.float32):
    return networkx.to_numpy_array(graph).astype(dtype)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("evaluation", [True, False])
def test_it_is_equivariant(evaluation):
    network = ek.nn.DeepSets(3, [4], 1, out="p", rngs=nnx.Rngs(0))
    how = PermutationCanonicalization(network)

    def backbone(x, mask=None):
        there = mask["p"][..., None] if mask else True
        return jnp.where(there, mixing(jnp.where(there, x, 0), 2), 0)

    sym = ek.symmetrize(backbone, "p -> p", p=ek.S, how=how)
    if evaluation:
        sym.eval()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)))
    element = jax.eval_shape(sym.frame, x).elements.linear["p"]
    assert element.dtype == (jnp.int64 if evaluation else jnp.float64)
    for mask in (False, True) if evaluation else (True,):
        equikit.testing.assert_equivariant(
            jax.jit(sym), "p -> p", p=ek.S(5), channels=3, key=jax.random.key(0), mask=mask, tolerance=1e-13
        )


@pytest.mark.usefixtures("x64")
def test_graphs_and_points_after_rotations_are_exact():
    network = ek.nn.GraphNetwork(1, [4], 1, node_channels=2, out="p", rngs=nnx.Rngs(0))
    how = PermutationCanonicalization(network, max_size=2)
    signature = {"edges": "p p", "nodes": "p"}, {"edges": "p p", "nodes": "p"}
    sym = ek.symmetrize(
        lambda x: {"edges": mixing(x["edges"], 3), "nodes": mixing(x["nodes"], 2)}, *signature, p=ek.S, how=how
    )
    equikit.testing.assert_equivariant(
        jax.jit(sym),
        {"edges": ("p p", 1), "nodes": ("p", 2)},
        {"edges": ("p p", 1), "nodes": ("p", 2)},
        p=ek.S(4),
        key=jax.random.key(0),
        tolerance=1e-12,
    )
    points = [ek.frames.PCA(), PermutationCanonicalization(lambda x: jnp.sin(x[..., 0, :] + x[..., 1, :] ** 2))]
    sym = ek.symmetrize(lambda x: mixing(x, 3), "p x -> p x", p=ek.S, x=ek.O(2), how=points)
    equikit.testing.assert_equivariant(
        jax.jit(sym), "p x -> p x", p=ek.S(4), x=ek.O(2), channels=1, key=jax.random.key(0), tolerance=1e-11
    )


def test_the_order_is_that_of_the_scores_and_close_scores_are_decided_by_the_entries():
    how = PermutationCanonicalization(lambda x: x[..., :1])
    sym = ek.symmetrize(lambda x: x, "p -> p", p=ek.S, how=how)
    sym.eval()
    x = np.array([[3, 0], [1, 5], [1 + 1e-7, 2], [-1, 0], [1, 5]], np.float32)
    frame = jax.jit(sym.frame)(x)
    assert frame.elements.linear["p"].tolist() in ([[3, 2, 1, 4, 0]], [[3, 2, 4, 1, 0]])
    assert frame.elements.stabilizer["p"].tolist() == [[0, 1, 2, 2, 3]]
    assert int(frame.info.ties) == 1
    np.testing.assert_allclose(frame.info.gap, 2 / 3, rtol=1e-6)
    assert not bool(frame.info.degenerate)


class Places(nnx.Linear):
    """A linear map of all numbers."""

    def __call__(self, x):
        return super().__call__(x.reshape(*x.shape[:-2], -1))


GRAPHS = {
    "star": networkx.star_graph(5),
    "two stars": networkx.disjoint_union(networkx.star_graph(2), networkx.star_graph(2)),
    "path": networkx.path_graph(6),
    "cycle": networkx.cycle_graph(6),
    "asymmetric": networkx.Graph([(0, 2), (1, 2), (1, 3), (1, 4), (2, 4), (3, 5)]),
    "complete": networkx.complete_graph(6),
}
SIZES = {"star": 1, "two stars": 2 * 24, "path": 8, "cycle": 720, "asymmetric": 1, "complete": 1}
"""How many orders matter: exchanges of twins do not."""


@functools.cache
def with_places_for_ties():
    """The outputs of all graphs and of copies with their nodes in another order, and what is known of the frames."""
    how = PermutationCanonicalization(walks, max_size=8, on_degenerate="error")

    def backbone(x):
        y = mixing(x["edges"], 2)
        return {"p": y[..., 0], "p p": y}

    sym = ek.symmetrize(backbone, {"edges": "p p"}, {"p": "p", "p p": "p p"}, p=ek.S, channels=False, how=how)
    sym.eval()
    run = jax.jit(lambda x: sym({"edges": x}, with_info=True))
    x, order = np.stack([adjacency(graph) for graph in GRAPHS.values()]), np.array([3, 1, 5, 0, 4, 2])
    (y, info), (z, _) = (jax.tree.map(np.asarray, run(a)) for a in (x, x[:, order][:, :, order]))
    return y, z, info, order


@pytest.mark.parametrize("out", ["p", "p p"])
def test_ties_are_averaged_listed_or_refused(out):
    y, z, info, order = with_places_for_ties()
    y, z = y[out], z[out]
    expected = y[:, order] if out == "p" else y[:, order][:, :, order]
    for i, name in enumerate(GRAPHS):
        symmetries = sum(1 for _ in networkx.isomorphism.GraphMatcher(GRAPHS[name], GRAPHS[name]).isomorphisms_iter())
        size = SIZES[name]
        assert round(float(info.size[i])) == size
        assert bool(info.degenerate[i]) == (size > 8)
        if size > 8:
            assert np.all(np.isnan(y[i]))
        else:
            np.testing.assert_allclose(z[i], expected[i], atol=1e-5, err_msg=name)
            assert symmetries == 1 or info.ties[i] > 0


def test_ties_at_random_are_equivariant_in_expectation():
    how = PermutationCanonicalization(walks, on_degenerate="sample")
    sym = ek.symmetrize(of_graph, "p p -> p", p=ek.S, channels=False, how=how)
    sym.eval()
    cycle = np.broadcast_to(adjacency(GRAPHS["cycle"]), (4000, 6, 6))
    y, info = jax.jit(lambda x, key: sym(x, key=key, with_info=True))(cycle, jax.random.key(0))
    error = np.std(y, axis=0) / np.sqrt(4000)
    assert np.all(error > 1e-3)
    assert np.all(np.abs(np.mean(y, axis=0) - np.mean(y)) < 5 * error)
    assert bool(np.all(info.degenerate & ~info.refused))
    with pytest.raises(ek.OptionError, match="needs key="):
        sym(cycle)


@pytest.mark.usefixtures("x64")
def test_sinkhorn_converges_at_the_rate_of_the_second_singular_value():
    logs = np.random.default_rng(0).normal(size=(3, 5, 5))
    rounds = jax.jit(sinkhorn, static_argnums=1)
    limit = rounds(logs, 200)
    np.testing.assert_allclose(limit.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(limit.sum(-2), 1, atol=1e-12)
    # It is a scaling of the matrix: all its minors of two rows and two columns have the same cross ratio.
    ratio = np.asarray(limit) / np.exp(logs)
    np.testing.assert_allclose(ratio * ratio[:, :1, :1], ratio[:, :, :1] * ratio[:, :1, :], rtol=1e-9)
    errors = [np.abs(np.asarray(rounds(logs, k)).sum(-1) - 1).max(-1) for k in (8, 12)]
    second = np.linalg.svd(limit, compute_uv=False)[:, 1]
    np.testing.assert_allclose((errors[1] / errors[0]) ** 0.25, second**2, rtol=0.1)
    np.testing.assert_allclose(np.asarray(rounds(logs + 700, 3)).sum(-2), 1, atol=1e-12)
    assert rounds(np.zeros((2, 0, 0)), 3).shape == (2, 0, 0)


def test_soft_sorting_tends_to_sorting():
    scores = np.array([[0.3, -1.0, 2.0, 0.9]], np.float32)
    soft = [np.exp(np.asarray(jax.jit(soft_sort)(scores, tau))) for tau in (1.0, 0.01)]
    np.testing.assert_allclose(soft[1][0], np.eye(4)[np.argsort(scores[0])], atol=1e-6)
    assert np.all(np.argmax(soft[0], -1) == np.argsort(scores))
    np.testing.assert_allclose(soft[0].sum(-1), 1, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_the_derivative_is_that_of_the_soft_permutation():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(4, 2)), rng.normal(size=2)
    scores = jax.jit(lambda weights: x @ weights)

    @jax.jit
    def soft_loss(weights):
        matrix = sinkhorn(soft_sort(scores(weights), 0.5), 5)
        return jnp.sum(jnp.sin(jnp.arange(8).reshape(4, 2) * (matrix @ x)))

    @jax.jit
    def loss(weights):
        how = PermutationCanonicalization(lambda x: x @ weights[:, None], temperature=0.5, rounds=5)
        sym = ek.symmetrize(
            lambda x: jnp.sin(jnp.arange(8).reshape(4, 2) * x).sum((-2, -1))[None], "p -> ", p=ek.S, how=how
        )
        y, info = sym(x, with_info=True)
        return y[0], (info.more["assignment"], sym.frame(x).elements.linear["p"][0])

    (value, (soft, hard)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
    order = np.argsort(scores(weights))
    np.testing.assert_allclose(value, np.sum(np.sin(np.arange(8).reshape(4, 2) * x[order])), rtol=1e-12)
    assert np.all(np.asarray(hard) == np.eye(4)[order].T)  # to the last digit
    np.testing.assert_allclose(soft.sum(-2), 1, rtol=1e-12)
    # By the chain rule with the soft matrix, at the hard one: the backbone is not linear.
    inner = jax.grad(lambda y: jnp.sum(jnp.sin(jnp.arange(8).reshape(4, 2) * y)))(x[order])
    steps = 1e-6 * np.eye(2)

    def matrix(weights):
        return np.asarray(jax.jit(lambda w: sinkhorn(soft_sort(scores(w), 0.5), 5))(weights))

    expected = [np.sum(inner * ((matrix(weights + s) - matrix(weights - s)) @ x)) / 2e-6 for s in steps]
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_absent_entries_come_last_and_stand_apart():
    how = PermutationCanonicalization(squares)
    sym = ek.symmetrize(lambda x, mask: mixing(jnp.where(mask["p"][..., None], x, 0), 2), "p -> p", p=ek.S, how=how)
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    mask = np.array([True, False, True, False, True])
    x[~mask] = 1e8
    run = jax.jit(lambda x, mask: sym(x, mask=mask, with_info=True))
    y, info = run(x, {"p": mask})
    soft = np.asarray(info.more["assignment"])
    np.testing.assert_array_equal(soft[3:], np.eye(5)[[1, 3]])
    np.testing.assert_allclose(soft.sum(0), 1, rtol=1e-5)
    nothing = np.where(mask[:, None], x, np.nan)
    np.testing.assert_array_equal(run(nothing, {"p": mask})[0][mask], y[mask])
    sym.eval()
    z = jax.jit(sym)(x, mask={"p": mask})
    np.testing.assert_allclose(y[mask], z[mask], rtol=1e-6)
    assert jax.jit(sym.frame)(x, mask={"p": mask}).elements.linear["p"][0][3:].tolist() == [1, 3]


@pytest.mark.slow
def test_gumbel_noise_draws_orders_of_plackett_and_luce():
    scores = np.array([0.0, 0.5, 2.0], np.float32)
    how = PermutationCanonicalization(lambda x: x, gumbel=True)
    sym = ek.symmetrize(lambda x: x, "p -> p", p=ek.S, channels=False, how=how)
    x = np.broadcast_to(scores, (6000, 3))
    frame = jax.jit(lambda x, key: sym.frame(x, key=key))(x, jax.random.key(0))
    assert frame.drawn
    last = np.argmax(np.asarray(frame.elements.linear["p"][0])[:, :, 2], axis=-1)
    chances = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(np.bincount(last) / 6000, chances, atol=5 * np.sqrt(0.25 / 6000))
    assert not sym.frame(scores).drawn
    # Each of several draws has noise of its own, and one draw among places for ties does not know its error.
    several = ek.frames.Stochastic(how, samples=6000).frame(
        sym.action, Sample({"p": jnp.asarray(scores)}, {}), jax.random.key(1)
    )
    last = np.argmax(np.asarray(several.elements.linear["p"])[:, :, 2], axis=-1)
    np.testing.assert_allclose(np.bincount(last) / 6000, chances, atol=5 * np.sqrt(0.25 / 6000))
    roomy = PermutationCanonicalization(lambda x: x, gumbel=True, max_size=2)
    assert roomy.frame(sym.action, Sample({"p": jnp.asarray(scores)}, {}), jax.random.key(0)).size == 1
    sym.eval()
    assert not sym.frame(scores, key=jax.random.key(0)).drawn


def test_few_entries_numbers_that_are_none_and_half_precision():
    how = PermutationCanonicalization(squares)
    sym = ek.symmetrize(lambda x: x + 1, "p -> p", p=ek.S, how=how)
    run = jax.jit(lambda x: sym(x, with_info=True))
    for count in (0, 1):
        y, info = run(jnp.zeros((count, 2)))
        assert y.shape == (count, 2)
        assert not bool(info.degenerate)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.bfloat16)
    y, _ = run(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(y, np.float32), np.asarray(x + 1, np.float32))
    y, info = run(x.at[0, 0].set(jnp.nan))
    assert bool(info.degenerate)
    assert bool(jnp.all(jnp.isnan(y)))


def test_it_trains_with_a_penalty_on_entropy_and_is_a_module_like_any_other():
    network = ek.nn.DeepSets(2, [8], 1, out="p", rngs=nnx.Rngs(0))
    how = PermutationCanonicalization(network, temperature=0.3, rounds=5)
    sym = ek.symmetrize(Places(10, 1, rngs=nnx.Rngs(1)), "p -> ", p=ek.S, how=how)
    assert isinstance(sym, nnx.Module)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(sym))
    # The second number of the entry whose first is the largest: a linear map of sorted entries, of no others.
    x = np.random.default_rng(0).normal(size=(64, 5, 2)).astype(np.float32)
    target = x[np.arange(64), np.argmax(x[..., 0], axis=-1), 1:]
    graph, state = nnx.split(sym)
    optimizer = optax.adam(3e-2)

    @jax.jit
    def step(state, momenta):
        def loss(state):
            y, info = nnx.merge(graph, state)(x, with_info=True)
            return jnp.mean((y - target) ** 2) + 0.01 * assignment_entropy(info)

        value, slope = jax.value_and_grad(loss)(state)
        updates, momenta = optimizer.update(slope, momenta)
        return optax.apply_updates(state, updates), momenta, value, slope

    momenta, losses = jax.jit(optimizer.init)(state), []
    for _ in range(24):
        state, momenta, loss, slope = step(state, momenta)
        losses.append(float(loss))
    assert losses[-1] < 0.4 * losses[0]
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope.how.network.layers))
    trained = nnx.merge(graph, state)
    copies = (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained)), nnx.clone(trained))
    losses = [step(nnx.split(other)[1], momenta)[2] for other in (trained, *copies)]
    np.testing.assert_array_equal(losses, losses[0])


def test_entropy_is_that_of_rows_and_columns():
    matrix = np.array([[0.25, 0.75], [0.75, 0.25]], np.float32)
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(assignment_entropy(matrix), expected, rtol=1e-6)
    assert float(assignment_entropy(jnp.eye(3))) == 0
    assert bool(jnp.all(jnp.isfinite(jax.grad(assignment_entropy)(jnp.eye(3)))))
    sym = ek.symmetrize(lambda x: x, "p -> p", p=ek.S, how=ek.frames.Sort())
    assert_error(
        ek.OptionError,
        lambda: assignment_entropy(sym.info(jnp.ones((2, 1)))),
        "the info has no 'assignment'",
        "info with ['log_size', 'margin', 'unsure']",
        "the info of PermutationCanonicalization(network), in training",
        "write how=PermutationCanonicalization(network), in training",
    )


def test_messages():
    x = jnp.ones((3, 2))
    assert_error(
        ek.ShapeError,
        lambda: ek.symmetrize(jnp.sin, "p -> p", p=ek.S, how=PermutationCanonicalization(lambda x: x))(x),
        "scores of 'p' must have shape [3, 1]",
        "shape [3, 2]",
        "[3, 1]",
        'give it one channel for each entry: out="p", out_channels=1 of ek.nn.GraphNetwork',
    )
    assert_error(
        ek.GroupError,
        lambda: ek.symmetrize(jnp.sin, "p -> p", p=ek.Z(3), how=PermutationCanonicalization(squares)),
        "PermutationCanonicalization does not work with Z(3)",
        "p=Z(3)",
        "S",
        "use ek.frames.GroupAverage for small groups",
    )
    assert_error(
        ek.OptionError,
        lambda: PermutationCanonicalization(squares, temperature=0),
        "temperature= must be a number > 0",
        "0",
        "a number > 0",
        "write temperature=0.1",
    )
    for temperature in (0.0, -1.0, np.nan, "a"):
        with pytest.raises(ek.OptionError, match="temperature= must be a number > 0"):
            soft_sort(jnp.ones(3), temperature)
    assert soft_sort(jnp.ones(3), jnp.float32(0.1)).shape == (3, 3)
    for wrong in (lambda: soft_sort(jnp.ones(3, int), 0.1), lambda: sinkhorn([[1.0]])):
        with pytest.raises(ek.DTypeError, match="scores must be an array of real floating-point numbers"):
            wrong()
    with pytest.raises(ek.OptionError, match="info= must be an Info"):
        assignment_entropy([[1.0]])
    assert_error(
        ek.ShapeError,
        lambda: sinkhorn(jnp.ones((2, 3))),
        "log_scores must have shape [*batch, n, n]",
        "shape [2, 3]",
        "[*batch, n, n]",
        "pass an array of shape [*batch, n, n]",
    )
    network = ek.nn.GraphNetwork(1, [2], 1, out="p", rngs=nnx.Rngs(0))
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(jnp.sin, "p -> p", p=ek.S, how=PermutationCanonicalization(network))(x),
        "GraphNetwork does not fit the inputs",
        "p",
        "one term with two axes of the points, others with one",
        "name other terms=, or pass an ek.nn.Network",
    )
    with pytest.raises(ek.OptionError, match="unknown value for on_degenerate="):
        PermutationCanonicalization(squares, on_degenerate="weighted")
    how = [PermutationCanonicalization(squares), ek.frames.PCA()]
    with pytest.raises(ek.OptionError, match="comes before PCA, but reads 'x'"):
        ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(2), how=how)
