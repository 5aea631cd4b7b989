"""The search for permutations: gains, starts, and networks that leave little to search."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, normal, plain
from helpers import assert_error

import equikit as ek
from equikit.weightspace import align, barrier, interpolate, mean, merge, trace
from equikit.weightspace.alignment._gains import Gains, inner
from equikit.weightspace.alignment._matching import match
from equikit.weightspace.alignment._search import best, sequential

LABELS = {"w0": ("in", "h"), "b0": ("h",), "w1": ("h", "k"), "r": ("k", "k"), "w2": ("k", "out")}
SIZES = {"in": 3, "h": 4, "k": 5, "out": 2}


def tensors(seed: int, dtype=jnp.float32):
    return {
        name: normal(*(SIZES[label] for label in axes), seed=10 * seed + place).astype(dtype)
        for place, (name, axes) in enumerate(LABELS.items())
    }


def element(seed: int):
    generator = np.random.default_rng(seed)
    return {label: generator.permutation(SIZES[label]) for label in ("h", "k")}


def moved(labels, element, two):
    """Entry i of a label goes to place p[i]."""
    for label, places in element.items():
        two = {
            name: jnp.take(array, np.argsort(places), axis=labels[name].index(label))
            if label in labels[name]
            else array
            for name, array in two.items()
        }
        second = {name: axes for name, axes in labels.items() if axes.count(label) == 2}
        two |= {name: jnp.take(two[name], np.argsort(places), axis=len(axes) - 1) for name, axes in second.items()}
    return two


def test_gains_are_differences_of_inner_products() -> None:
    one, two = tensors(0), tensors(1)
    gains = Gains(LABELS, ["h", "k"], one, two)
    assert gains.twice == {"k"}
    assert gains.neighbors == {"h": {"k"}, "k": {"h", "k"}}
    here = element(2)
    assert gains.value(here) == pytest.approx(inner(one, moved(LABELS, here, two)), abs=1e-5)
    matrix = gains.matrix("h", here)
    for places in itertools.permutations(range(4)):
        after = {**here, "h": np.array(places)}
        by_matrix = matrix[np.array(places), np.arange(4)].sum() - matrix[here["h"], np.arange(4)].sum()
        assert by_matrix == pytest.approx(gains.value(after) - gains.value(here), abs=1e-4)
    after, gained = best(gains, "h", here)
    most = max(gains.value({**here, "h": np.array(p)}) for p in itertools.permutations(range(4)))
    assert gained == pytest.approx(most - gains.value(here), abs=1e-4)
    assert gains.value({**here, **after}) == pytest.approx(most, abs=1e-4)


def test_no_permutation_of_one_label_is_better() -> None:
    """In double precision, and for the label on two axes of a tensor: at least no swap that the gain proposes."""
    with jax.enable_x64(True):
        one, two = tensors(0, jnp.float64), tensors(1, jnp.float64)
        found = match(LABELS, ["h", "k"], one, two, np.random.default_rng(0), 3)
        gains = Gains(LABELS, ["h", "k"], one, two)
        assert gains.matrix("h", found.element).dtype == np.float64
        value = gains.value(found.element)
        for places in itertools.permutations(range(4)):
            assert gains.value({**found.element, "h": np.array(places)}) <= value + 1e-12
        assert gains.value({**found.element, **best(gains, "k", found.element)[0]}) <= value + 1e-12
    assert found.similarity == pytest.approx(max(found.starts))
    assert len(found.starts) == 4


@pytest.mark.parametrize("seed", range(3))
def test_the_sequential_start_is_a_planted_permutation(seed: int) -> None:
    one, planted = tensors(seed), element(seed)
    back = {label: np.argsort(places) for label, places in planted.items()}
    start, unsure = sequential(Gains(LABELS, ["h", "k"], one, moved(LABELS, back, one)))
    assert "k" in unsure  # on two axes of one tensor
    for label, places in planted.items():
        np.testing.assert_array_equal(start[label], places)


NESTED = {"q": ("in", "m", "h"), "v": ("m", "h", "k"), "both": ("h", "in", "k", "m"), "o": ("k", "m", "out")}


@pytest.mark.parametrize("start", [None, "still", "random"])
def test_labels_with_a_permutation_for_each_index_of_another(start: str | None) -> None:
    """Two of them in one tensor, on either side of the outer one; against an evaluation by hand."""
    sizes = {**SIZES, "m": 3}
    one, two = (
        {
            name: normal(*(sizes[label] for label in axes), seed=10 * s + i)
            for i, (name, axes) in enumerate(NESTED.items())
        }
        for s in (0, 1)
    )
    nested = (("h", "m"), ("k", "m"))
    gains = Gains(NESTED, ["m", "h", "k"], one, two, nested)
    assert gains.sizes == {"m": 3}
    begin = {None: None, "still": gains.still(), "random": gains.random(np.random.default_rng(5))}[start]
    found = match(NESTED, ["m", "h", "k"], one, two, np.random.default_rng(0), 0, begin, nested)
    element = found.element
    assert element["h"].shape == (3, 4)
    assert element["k"].shape == (3, 5)
    total = 0.0
    for name, axes in NESTED.items():
        for index in np.ndindex(*(sizes[label] for label in axes)):
            at = dict(zip(axes, index, strict=True))
            goes = {**at, "m": element["m"][at["m"]]}
            goes |= {inner: element[inner][at["m"], at[inner]] for inner in ("h", "k") if inner in at}
            total += float(one[name][tuple(goes[label] for label in axes)]) * float(two[name][index])
    assert found.similarity * np.sqrt(inner(one, one) * inner(two, two)) == pytest.approx(total, abs=1e-4)
    assert gains.value(element) == pytest.approx(total, abs=1e-4)
    assert best(gains, "m", element)[1] <= 1e-5
    if begin is not None:
        assert total >= gains.value(begin) - 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_what_the_sequential_start_is_sure_of_is_the_best(seed: int) -> None:
    chain = {"w0": ("in", "h"), "b0": ("h",), "w1": ("h", "k"), "w2": ("k", "out")}
    one, two = ({name: tensors(s)[name] for name in chain} for s in (seed, seed + 10))
    gains = Gains(chain, ["h", "k"], one, two)
    start, unsure = sequential(gains)
    (sure,) = {"h", "k"} - unsure
    value = gains.value(start)
    assert best(gains, sure, start)[1] == pytest.approx(0, abs=1e-5)
    for places in itertools.permutations(range(SIZES[sure])):
        assert gains.value({**start, sure: np.array(places)}) <= value + 1e-5


def test_what_is_found_is_never_worse_than_the_networks_as_they_are() -> None:
    one = tensors(0)
    for seed in range(5):
        two = {name: 0.7 * one[name] + array for name, array in tensors(seed + 1).items()}
        found = match(LABELS, ["h", "k"], one, two, np.random.default_rng(seed), 0)
        norm = np.sqrt(inner(one, one) * inner(two, two))
        assert found.similarity >= inner(one, two) / norm - 1e-6


def perceptron(hidden: int, dtype=jnp.float32):
    params = {
        name: normal(*shape, seed=seed).astype(dtype)
        for seed, (name, shape) in enumerate({"w0": (3, hidden), "b0": (hidden,), "w1": (hidden, 2)}.items())
    }
    return params, trace(lambda p, x: jax.nn.relu(x @ p["w0"] + p["b0"]) @ p["w1"], params, jnp.ones((2, 3), dtype))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow), jnp.float64])
def test_of_every_precision(dtype) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        params, spec = perceptron(7, dtype)
        other = spec.act(spec.random_element(key=jax.random.key(1)), params)
        found, matching = align(spec, params, other, with_info=True)
        for name, leaf in params.items():
            assert found[name].dtype == dtype
            np.testing.assert_array_equal(found[name], leaf)
    assert matching.similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("hidden", [0, 1])
def test_labels_with_nothing_to_permute(hidden: int) -> None:
    params, spec = perceptron(hidden)
    found, matching = align(spec, params, params, restarts=2, with_info=True)
    for name, leaf in params.items():
        np.testing.assert_array_equal(found[name], leaf)
    assert matching.similarity == pytest.approx(1)


def test_zeros_and_no_label_at_all() -> None:
    params, spec = perceptron(4)
    zeros = jax.tree.map(jnp.zeros_like, params)
    assert align(spec, params, zeros, with_info=True)[1].similarity == 0
    vector = {"scale": jnp.arange(3.0)}
    rigid = trace(lambda p, x: x * p["scale"], vector, jnp.ones(3))
    _, matching = align(rigid, vector, vector, with_info=True)
    assert matching.element == {}
    assert matching.similarity == pytest.approx(1)


@pytest.mark.parametrize("name", ["perceptron", pytest.param("residual", marks=pytest.mark.slow)])
def test_four_networks_are_merged(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    noisy = [jax.tree.map(lambda p, k=k: p + 0.02 * normal(*p.shape, seed=k), params) for k in range(4)]
    networks = [spec.act(spec.random_element(key=jax.random.key(k)), tree) for k, tree in enumerate(noisy)]
    wanted = jax.tree.map(lambda *leaves: sum(leaves) / 4, *noisy)
    found = align(spec, wanted, merge(spec, networks))
    for one, two in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_running_averages_are_taken_anew() -> None:
    """Between networks activations vary less: averages that fit the mean of two are not the mean of theirs."""
    x = normal(500, 6)
    params = plain({"w0": (6, 20), "w1": (20, 1)})
    params |= {"mean": (x @ params["w0"]).mean(0), "variance": (x @ params["w0"]).var(0)}
    one, two = (dict(params), dict(params) | {"w0": normal(6, 20, seed=8) / 2})
    two |= {"mean": (x @ two["w0"]).mean(0), "variance": (x @ two["w0"]).var(0)}
    half = ek.weightspace.interpolate(one, two, 0.5)
    between = (x @ half["w0"]).var(0)
    assert float(jnp.mean(between)) < 0.8 * float(jnp.mean(half["variance"]))


def test_a_line_of_half_precision_is_of_half_precision() -> None:
    one, two = ({"w": normal(5, seed=seed).astype(jnp.bfloat16)} for seed in (0, 1))
    seen = []
    for place in (0.25, jnp.float32(0.25), np.float64(0.25)):
        half = interpolate(one, two, place)["w"]
        assert half.dtype == jnp.bfloat16
        exact = 0.75 * np.asarray(one["w"], np.float64) + 0.25 * np.asarray(two["w"], np.float64)
        np.testing.assert_allclose(np.asarray(half, np.float64), exact, rtol=2**-8)
    barrier(lambda p: seen.append(p["w"].dtype) or jnp.sum(p["w"]), one, two, points=2)
    assert seen == [jnp.bfloat16]
    np.testing.assert_array_equal(interpolate(one, two, 1)["w"], two["w"])
    assert mean([one, two])["w"].dtype == jnp.bfloat16


def test_means_of_half_precision_are_added_in_float32() -> None:
    large = [{"w": jnp.full(3, 4e4, jnp.float16)}] * 4
    assert mean(large)["w"].dtype == jnp.float16
    np.testing.assert_array_equal(mean(large)["w"], large[0]["w"])
    # 300 terms: the sum in bfloat16 is stuck at 256.
    trees = [{"w": (1 + 0.1 * normal(5, seed=seed)).astype(jnp.bfloat16)} for seed in range(300)]
    exact = np.mean([np.asarray(tree["w"], np.float64) for tree in trees], axis=0)
    np.testing.assert_allclose(np.asarray(mean(trees)["w"], np.float64), exact, rtol=2**-8)


def test_networks_of_half_precision_are_merged_without_overflow() -> None:
    large = jax.tree.map(lambda leaf: jnp.full_like(leaf, 4e4, jnp.float16), PARAMS)
    for one, two in zip(*map(jax.tree.leaves, (merge(SPEC, [large] * 3), large)), strict=True):
        assert one.dtype == jnp.float16
        np.testing.assert_array_equal(one, two)


def test_integers_on_a_line_are_those_of_the_nearer_end() -> None:
    one, two = ({"w": jnp.full(2, float(n)), "count": jnp.array(n), "mask": jnp.array(n > 1)} for n in (1, 2))
    for place in (0.0, 0.25, 0.5, 1.0):
        found, nearer = jax.jit(interpolate)(one, two, place), one if place < 0.5 else two
        assert {name: leaf.dtype for name, leaf in found.items()} == {name: leaf.dtype for name, leaf in one.items()}
        assert (found["count"], found["mask"]) == (nearer["count"], nearer["mask"])
        np.testing.assert_allclose(found["w"], 1 + place)


PARAMS, SPEC = perceptron(4)
STACKED = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PARAMS)
BROKEN = PARAMS | {"w1": PARAMS["w1"].at[1, 0].set(jnp.nan)}
ROW = PARAMS | {"w0": PARAMS["w0"][:1]}
LESS = {"w0": PARAMS["w0"], "more": PARAMS["w1"]}
REFUSED = {
    "a line of two shapes": (
        lambda: interpolate(PARAMS, ROW, 0.5),
        (ek.ShapeError, "'w0' of params_b must have shape [3, 4]", "shape [1, 4]", "[3, 4]", "one arch"),
    ),
    "a line of two trees": (
        lambda: barrier(lambda p: 0.0, PARAMS, LESS),
        (
            ek.OptionError,
            "leaves of params_b do not have the expected names",
            "'more', 'w0'",
            "a dictionary with the names 'b0', 'w0', 'w1'",
            "one",
        ),
    ),
    "a list and a tuple": (
        lambda: mean([[jnp.ones(2)], (jnp.ones(2),)]),
        (ek.OptionError, "structure of trees[1] is a different one", "PyTreeDef((*,))", "PyTreeDef([*])", "one"),
    ),
    "a place on a line": (
        lambda: interpolate(PARAMS, PARAMS, jnp.ones(3)),
        (ek.ShapeError, "place must have shape []", "[3]", "[]", "jax.vmap"),
    ),
    "a mean of two shapes": (
        lambda: mean([PARAMS, ROW]),
        (ek.ShapeError, "'w0' of trees[1] must have shape [3, 4]", "shape [1, 4]", "[3, 4]", "one arch"),
    ),
    "a mean of counters": (
        lambda: mean([{"w": jnp.ones(2), "count": jnp.array(1)}] * 2),
        (
            ek.DTypeError,
            "the parameter 'count' must be an array of real or comple",
            "int32",
            "float32, bfloat16, float16, float64 or complex",
            "merge(spec, trees)",
        ),
    ),
    "a mean of nothing": (
        lambda: mean([]),
        (ek.OptionError, "there are no trees in a list", "[]", "one or more", "params_a"),
    ),
    "a tree to merge": (
        lambda: merge(SPEC, PARAMS),
        (
            ek.OptionError,
            "there are no trees in a list",
            "{'w0': Array([[ 0.12573022, -0.13210486,  0.64042264,  0",
            "one or more trees in a list",
            "params_a",
        ),
    ),
    "another network to merge": (
        lambda: merge(SPEC, [PARAMS, ROW]),
        (ek.ShapeError, "'w0' of trees[1] (in h0) must have shape [*batch, 3, 4]", "[1, 4]", "[*batch, 3, 4]", "trace"),
    ),
    "a loss of a vector": (
        lambda: barrier(lambda p: p["b0"], PARAMS, PARAMS, points=2),
        (ek.OptionError, "the loss is not one number", "shape [4], dtype float32", "loss(params)", "mean"),
    ),
    "no loss": (
        lambda: barrier(lambda p: None, PARAMS, PARAMS, points=2),
        (ek.OptionError, "the loss is not one number", "NoneType", "loss(params)", "mean"),
    ),
    "a complex loss": (
        lambda: barrier(lambda p: 1j * jnp.sum(p["b0"]), PARAMS, PARAMS, points=2),
        (ek.OptionError, "the loss is not one number", "complex64", "loss(params)", "mean"),
    ),
    "a loss that is not finite": (
        lambda: barrier(lambda p: 1 / p, jnp.zeros(()), jnp.ones(()), points=3),
        (
            ek.OptionError,
            "losses on the line are not finite",
            "1 of 3 entries infinite or NaN",
            "finite numbers",
            "diverged",
        ),
    ),
    "not a number": (
        lambda: align(SPEC, PARAMS, BROKEN),
        (ek.OptionError, "weights 'w1' of params_b are not finite", "1 of 8 entries", "finite", "diverged"),
    ),
    "a batch of networks": (
        lambda: align(SPEC, STACKED, PARAMS),
        (
            ek.ShapeError,
            "'b0' of params_a must have shape [4]",
            "[2, 4]",
            "[4]",
            "take one network at a time: jax.tree.map(lambda leaf: le",
        ),
    ),
    "a tracer": (
        lambda: jax.jit(lambda p: align(SPEC, p, p))(PARAMS),
        (
            ek.OptionError,
            "'b0' of params_a must not be traced",
            "a tracer",
            "an array with values",
            "call this outside of jit, and use the result inside",
        ),
    ),
    "restarts": (
        lambda: align(SPEC, PARAMS, PARAMS, restarts=-1),
        (ek.OptionError, "restarts= must be", "-1", "from 0 to 1,000,000", "restarts=10"),
    ),
    "one point": (
        lambda: barrier(lambda p: p, jnp.zeros(()), jnp.ones(()), points=1),
        (ek.OptionError, "points= must be", "1", "from 2 to 1,000,000", "points=25"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
