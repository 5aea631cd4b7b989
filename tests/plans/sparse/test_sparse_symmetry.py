"""Plans on supports commute with permutations of nodes, entries and graphs, and ignore padding."""

import functools

import jax
import numpy as np
import pytest
from by_entries import padded_to
from helpers import assert_close, random_weights
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, plan

pytestmark = pytest.mark.usefixtures("x64")

SIGNATURE = "p p + p x + () -> x p p + p + ()"
N = 6
SLOW_SUM = pytest.param("sum", marks=pytest.mark.slow)


@functools.cache
def program_of(normalize: str, signature: str = SIGNATURE):
    groups = {"p": ek.S, **({"x": ek.O(2)} if "x" in signature else {})}
    return plan(ek.hom(signature, groups=groups), (2, 3), normalize=normalize, bias=True)


def run(program, inputs, support):
    weights = random_weights(program)
    return in_numpy(lambda inputs, weights: apply(program, inputs, weights, support=support), inputs, weights)


def random_edges(seed: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero(np.random.default_rng(seed).random((n, n)) < 0.5)


def random_features(entries: int, nodes: int, graphs: int | None, seed: int = 0):
    rng = np.random.default_rng(seed)
    scalars = (2,) if graphs is None else (graphs, 2)
    return {"p p": rng.normal(size=(entries, 2)), "p x": rng.normal(size=(nodes, 2, 2)), "": rng.normal(size=scalars)}


@pytest.mark.parametrize("normalize", [SLOW_SUM, "mean"])
def test_nodes_can_be_renumbered(normalize):
    program, (senders, receivers) = program_of(normalize), random_edges(0)
    x = random_features(len(senders), N, None)
    g = np.random.default_rng(1).permutation(N)
    moved = x | {"p x": x["p x"][np.argsort(g)]}
    first = run(program, x, ek.Support("p p", senders, receivers, n=N))
    second = run(program, moved, ek.Support("p p", g[senders], g[receivers], n=N))
    assert_close(second, {"x p p": first["x p p"], "p": first["p"][np.argsort(g)], "": first[""]}, 1e-12)


@pytest.mark.parametrize("normalize", [SLOW_SUM, "mean"])
def test_entries_can_be_reordered(normalize):
    program, (senders, receivers) = program_of(normalize), random_edges(2)
    x = random_features(len(senders), N, None)
    order = np.random.default_rng(3).permutation(len(senders))
    first = run(program, x, ek.Support("p p", senders, receivers, n=N))
    moved = ek.Support("p p", senders[order], receivers[order], n=N)
    second = run(program, x | {"p p": x["p p"][order]}, moved)
    assert_close(second, first | {"x p p": first["x p p"][order]}, 1e-12)


def test_triples_commute_with_permutations_of_nodes_and_entries():
    program = program_of("mean", "p p p + p -> p p p + p p + p")
    rng = np.random.default_rng(4)
    pairs, triples = random_edges(4), np.nonzero(rng.random((N, N, N)) < 0.2)
    x = {"p p p": rng.normal(size=(len(triples[0]), 2)), "p": rng.normal(size=(N, 2))}
    g, two, three = (rng.permutation(size) for size in (N, len(pairs[0]), len(triples[0])))
    support = ek.Support("p p", *pairs, n=N) | ek.Support("p p p", *triples, n=N)
    first = run(program, x, support)
    pairs, triples = [g[index[two]] for index in pairs], [g[index[three]] for index in triples]
    moved = {"p p p": x["p p p"][three], "p": x["p"][np.argsort(g)]}
    second = run(program, moved, ek.Support("p p", *pairs, n=N) | ek.Support("p p p", *triples, n=N))
    wanted = {"p p p": first["p p p"][three], "p p": first["p p"][two], "p": first["p"][np.argsort(g)]}
    assert_close(second, wanted, 1e-12)


@pytest.mark.parametrize("normalize", [SLOW_SUM, "mean"])
def test_several_graphs_are_computed_as_one_at_a_time(normalize):
    program, sizes = program_of(normalize), (3, 0, 1, 5)
    parts = [ek.Support("p p", *random_edges(5 + n, n), n=n) for n in sizes]
    features = [random_features(part.entries[2], part.n, None, part.n) for part in parts]
    alone = [run(program, x, part) for x, part in zip(features, parts, strict=True)]
    both = {name: np.concatenate([x[name] for x in features]) for name in ("p p", "p x")}
    together = run(program, both | {"": np.stack([x[""] for x in features])}, ek.Support.join(parts))
    wanted = {name: np.concatenate([y[name] for y in alone]) for name in ("x p p", "p")}
    assert_close(together, wanted | {"": np.stack([y[""] for y in alone])}, 1e-12)


@pytest.mark.parametrize(("grouped", "normalize"), [pytest.param(False, "sum", marks=pytest.mark.slow), (True, "mean")])
def test_nan_in_padding_reaches_neither_values_nor_gradients(grouped, normalize):
    program, weights = program_of(normalize), random_weights(program_of(normalize))
    parts = [ek.Support("p p", *random_edges(5, 4), n=4), ek.Support("p p", *random_edges(6, 3), n=3)]
    support = ek.Support.join(parts) if grouped else parts[0]
    more = {"graphs": 3} if grouped else {}
    padded = support.pad(nodes=11, entries=30, **more)
    x = random_features(support.entries[2], support.n, support.graphs)
    rows = {"p p": 30, "p x": 11} | ({"": 3} if grouped else {})
    long = x | {name: padded_to(x[name], count) for name, count in rows.items()}

    def loss(x, weights, support):
        y = apply(program, x, weights, support=support)
        return sum((y**2).sum() for y in y.values()), y

    def both(x, support):
        return in_numpy(lambda x, w: jax.value_and_grad(loss, (0, 1), has_aux=True)(x, w, support), x, weights)

    (value, y), (dx, dw) = both(x, support)
    (padded_value, padded_y), (padded_dx, padded_dw) = both(long, padded)
    lengths = {"x p p": 30, "p": 11} | ({"": 3} if grouped else {})
    assert_close(padded_value, value, 1e-12)
    assert_close(padded_y, y | {name: padded_to(y[name], count, 0.0) for name, count in lengths.items()}, 1e-12)
    assert_close(padded_dx, dx | {name: padded_to(dx[name], count, 0.0) for name, count in rows.items()}, 1e-12)
    assert_close(padded_dw, dw, 1e-12)
