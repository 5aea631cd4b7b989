"""Planted permutations are found, by weights and by activations, and networks are merged."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, normal, plain
from helpers import assert_error

import equikit as ek
from equikit.weightspace import align, barrier, merge, trace
from equikit.weightspace.alignment import _activations
from equikit.weightspace.alignment._activations import DATA, activations, streamed
from equikit.weightspace.alignment._matching import similarity

QUICK = ("perceptron", "gru", "residual", "mixture_of_experts")


HOW = ("weights", "activations")
SLOW = [(name, HOW[place % 2]) for place, name in enumerate(MODELS) if name not in QUICK]  # one of both for each
CASES = [(name, how) for name in QUICK for how in HOW]


@pytest.mark.parametrize(("name", "how"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_a_planted_permutation_is_found(name: str, how: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    other = spec.act(spec.random_element(key=jax.random.key(2)), params)
    found, matching = align(spec, params, other, how, apply=apply, x=x, restarts=6, with_info=True)
    if how == "weights":
        for one, two in zip(*map(jax.tree.leaves, (params, found)), strict=True):
            np.testing.assert_array_equal(one, two)
    assert matching.similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["perceptron", "attention"])
def test_batches_one_after_another_are_compared_as_all_data_together(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    other = jax.tree.map(lambda leaf: leaf + 0.1, spec.act(spec.random_element(key=jax.random.key(2)), params))
    together = activations(spec, apply, params, other, (x,))
    sums = streamed(spec, apply, params, other, ((x,) for _ in range(3)))
    assert together.labels.keys() == sums.labels.keys()
    for array, labels in sums.labels.items():
        count = math.prod(spec.sizes[label] for label in labels[:-1])
        assert sums.one[array].shape[-1] == 2 * count, "products of n entries of both networks, however many data"
        mine = correlations(labels, sums.one[array], sums.two[array])
        theirs = correlations(together.labels[array], together.one[array], together.two[array])
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def correlations(labels: tuple[str, ...], one: jax.Array, two: jax.Array) -> np.ndarray:
    """The products over the data, for all pairs of indices of labels of both networks."""
    kept = [place for place, label in enumerate(labels) if label != DATA]
    rest = [place for place in range(one.ndim) if place not in kept]
    count = math.prod(one.shape[place] for place in kept)
    mine, theirs = (np.asarray(array).transpose([*kept, *rest]).reshape(count, -1) for array in (one, two))
    return mine @ theirs.T


def test_a_planted_permutation_is_found_from_batches() -> None:
    other = SPEC.act(SPEC.random_element(key=jax.random.key(2)), PARAMS)
    batches = (X[start : start + 4] for start in range(0, len(X), 4))
    found = align(SPEC, PARAMS, other, "activations", apply=APPLY, batches=batches)
    for one, two in zip(*map(jax.tree.leaves, (PARAMS, found)), strict=True):
        np.testing.assert_array_equal(one, two)


def residual_blocks(blocks: int):
    """Blocks on one stream, whose inner neurons are known by nothing but the stream, which is permuted too."""
    shapes = {"in": (5, 12), "out": (12, 3)}
    for i in range(blocks):
        shapes |= {f"up{i}": (12, 16), f"down{i}": (16, 12)}

    def apply(p, x):
        h = x @ p["in"]
        for i in range(blocks):
            h = h + jax.nn.relu(h @ p[f"up{i}"]) @ p[f"down{i}"]
        return h @ p["out"]

    return apply, shapes


@pytest.mark.parametrize("blocks", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_permutations_of_residual_blocks_are_found_in_20_of_20(blocks: int) -> None:
    apply, shapes = residual_blocks(blocks)
    params = {name: jax.random.normal(jax.random.key(seed), shape) for seed, (name, shape) in enumerate(shapes.items())}
    spec = trace(apply, params, jnp.ones((2, 5)))
    for seed in range(20):
        other = spec.act(spec.random_element(key=jax.random.key(seed)), params)
        _, matching = align(spec, params, other, seed=seed, with_info=True)
        assert matching.similarity > 1 - 1e-5


def test_two_axes_of_one_tensor() -> None:
    """The gain of a permutation on both is quadratic; of what is tried only what gains is kept."""

    def apply(p, x):
        h = x @ p["in"]
        for _ in range(3):
            h = jnp.tanh(h @ p["hidden"])
        return h @ p["out"]

    params = plain({"in": (3, 9), "hidden": (9, 9), "out": (9, 2)})
    spec = trace(apply, params, jnp.ones((4, 3)))
    other = {name: leaf + 0.2 * jax.random.normal(jax.random.key(7), leaf.shape) for name, leaf in params.items()}
    moved = spec.act(spec.random_element(key=jax.random.key(3)), other)
    _, matching = align(spec, params, moved, restarts=8, with_info=True)
    norms = [np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in tree.values())) for tree in (params, other)]
    straight = sum(float(jnp.sum(params[name] * other[name])) for name in params) / norms[0] / norms[1]
    assert matching.similarity >= straight - 1e-6
    assert len(matching.starts) == 9


def test_complex_weights_are_aligned_by_the_real_inner_product() -> None:
    """The real parts of all neurons are alike, so that the imaginary ones alone tell them apart."""

    def model(p, x):
        return jnp.tanh((x @ p["w0"]).imag) @ p["w1"]

    params = {"w0": 1 + 1j * normal(3, 8), "w1": jnp.ones((8, 2))}
    spec = trace(model, params, normal(5, 3))
    element = spec.random_element(key=jax.random.key(0))
    found, matching = align(spec, params, spec.act(element, params), with_info=True)
    np.testing.assert_array_equal(found["w0"], params["w0"])
    assert matching.similarity == pytest.approx(1)
    turned = params | {"w0": (1 - 1j) * params["w0"]}
    _, matching = align(spec.fix("h0"), params, turned, with_info=True)
    one, two = (np.concatenate([np.ravel(leaf) for leaf in tree.values()]) for tree in (params, turned))
    exact = np.vdot(one, two).real / np.linalg.norm(one) / np.linalg.norm(two)
    assert matching.similarity == pytest.approx(exact, abs=1e-5)


def test_complex_activations_are_aligned_by_the_real_part_of_their_correlation() -> None:
    def model(p, x):
        return jnp.tanh(x @ p["w0"]) @ p["w1"]

    shapes = {"w0": (3, 8), "w1": (8, 2)}
    params = {name: normal(*shape) + 1j * normal(*shape, seed=1) for name, shape in shapes.items()}
    spec, x = trace(model, params, normal(5, 3)), normal(20, 3)
    other = spec.act(spec.random_element(key=jax.random.key(0)), params)
    for data in ({"x": x}, {"batches": [x[:8], x[8:]]}):
        found, matching = align(spec, params, other, how="activations", apply=model, **data, with_info=True)
        np.testing.assert_array_equal(found["w0"], params["w0"])
        assert matching.similarity == pytest.approx(1, abs=1e-5)
    turned = params | {"w0": params["w0"] * jnp.exp(1j * jnp.arange(8))}
    arrays = [np.asarray(x @ tree["w0"], np.complex128) for tree in (params, turned)]
    one, two = (array - array.mean(0) for array in arrays)
    wanted = (one.conj().T @ two).real / np.linalg.norm(one, axis=0)[:, None] / np.linalg.norm(two, axis=0)
    for found in (activations(spec, model, params, turned, (x,)), streamed(spec, model, params, turned, [(x,)])):
        products = correlations(found.labels["0"], found.one["0"].conj(), found.two["0"]).real
        np.testing.assert_allclose(products, wanted, atol=1e-5)
    found = _activations.correlations(spec, model, params, turned, [(x[:8],), (x[8:],)])[0][1]
    np.testing.assert_allclose(found, np.diag(wanted), atol=1e-5)


def counted(p, x):
    return jax.nn.relu(x @ p["w0"]) * p["mask"] @ p["w1"] / (1 + p["count"])


def test_integers_are_moved_and_not_compared() -> None:
    params = {"w0": normal(3, 8), "w1": normal(8, 2, seed=1), "mask": jnp.arange(8) < 5, "count": jnp.array(10**9)}
    spec, x = trace(counted, params, normal(5, 3)), normal(5, 3)
    other = spec.act(spec.random_element(key=jax.random.key(0)), params) | {"count": jnp.array(3)}
    found, matching = align(spec, params, other, with_info=True)
    for name in ("w0", "w1", "mask"):
        np.testing.assert_array_equal(found[name], params[name])
    assert (found["count"], matching.similarity) == (3, pytest.approx(1)), "counters would outweigh everything"
    by_output = align(spec, params, other, how="activations", apply=counted, x=x)
    np.testing.assert_allclose(counted(by_output, x), counted(other, x), rtol=1e-4, atol=1e-6)
    no_weights = trace(lambda p, x: x.sum() * p["mask"].sum(), {"mask": params["mask"]}, x)
    assert align(no_weights, {"mask": params["mask"]}, {"mask": params["mask"][::-1]}, with_info=True)[1].element == {}


def test_merged_networks_have_the_integers_of_the_first() -> None:
    params = {"w0": normal(3, 8), "w1": normal(8, 2, seed=1), "mask": jnp.arange(8) < 5, "count": jnp.array(7)}
    spec = trace(counted, params, normal(5, 3))
    others = [
        spec.act(spec.random_element(key=jax.random.key(seed)), params) | {"count": jnp.array(seed)}
        for seed in range(2)
    ]
    found = merge(spec, [params, *others])
    assert {name: leaf.dtype for name, leaf in found.items()} == {name: leaf.dtype for name, leaf in params.items()}
    assert found["count"] == 7
    expected = counted(params, normal(5, 3))
    np.testing.assert_allclose(counted(found, normal(5, 3)), expected, rtol=1e-4, atol=1e-6)


def test_merged_networks_are_the_mean_of_aligned_ones() -> None:
    apply, params, x = MODELS["perceptron"]()
    spec = trace(apply, params, x)
    noisy = [
        {name: leaf + 0.01 * jax.random.normal(jax.random.key(k), leaf.shape) for name, leaf in params.items()}
        for k in range(3)
    ]
    moved = [spec.act(spec.random_element(key=jax.random.key(k)), tree) for k, tree in enumerate(noisy)]
    wanted = jax.tree.map(lambda *leaves: sum(leaves) / 3, *noisy)
    found = merge(spec, moved)
    np.testing.assert_allclose(apply(found, x), apply(wanted, x), atol=1e-5)
    assert merge(spec, moved[:1]) is not moved[0]


@pytest.mark.parametrize("scale", [1e25, 1e-20])
def test_large_and_small_weights_are_aligned(scale: float) -> None:
    """Their products are no numbers of float32, but similarities are what they are for others."""
    params = {name: scale * leaf for name, leaf in PARAMS.items()}
    other = SPEC.act(SPEC.random_element(key=jax.random.key(1)), params)
    found, matching = align(SPEC, params, other, with_info=True)
    np.testing.assert_array_equal(found["w0"], params["w0"])
    assert matching.similarity == pytest.approx(1, abs=1e-5)
    hidden = align(SPEC, params, other, "activations", apply=lambda p, x: x @ p["w0"], x=X)
    np.testing.assert_array_equal(hidden["w0"], params["w0"])
    noisy = {name: leaf + 0.3 * jax.random.normal(jax.random.key(3), leaf.shape) for name, leaf in PARAMS.items()}
    of_noisy = {name: scale * leaf for name, leaf in noisy.items()}
    assert similarity(params, of_noisy) == pytest.approx(similarity(PARAMS, noisy), abs=1e-5)
    assert similarity(params, of_noisy) < 0.99


def test_logits_that_are_masked_are_data_that_are_not_there() -> None:
    def causal(p, x):
        logits = jnp.einsum("bqd,hde,bke->bhqk", x, p["mix"], x)
        weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((4, 4), bool)), logits, -jnp.inf))
        return jnp.einsum("bhqk,bkd,hde->bqe", weights, x, p["out"])

    params = plain({"mix": (3, 5, 5), "out": (3, 5, 2)})
    x = jax.random.normal(jax.random.key(0), (2, 4, 5))
    spec = trace(causal, params, x)
    other = spec.act(spec.random_element(key=jax.random.key(1)), params)
    found = align(spec, params, other, "activations", apply=causal, x=x)
    np.testing.assert_array_equal(found["mix"], params["mix"])


def test_a_line_is_shown_by_its_barrier() -> None:
    line = barrier(lambda x: (x**2 - 1) ** 2, jnp.array(-1.0), jnp.array(1.0), points=3)
    assert repr(line) == "Line(3 points, barrier 1)"


REFUSED = {
    "data that are no numbers": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=APPLY, x=X.at[0, 0].set(jnp.nan)),
        (
            ek.OptionError,
            "activations of params_a with axes data, h0 are not finite",
            "32 of 32 entries infinite or NaN",
            "finite numbers",
            "data",
        ),
    ),
    "no labels on activations": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=lambda p, x: jnp.sum(x), x=X),
        (
            ek.OptionError,
            "there are no activations with a permuted axis",
            "no array that depends on the data outside of while loops",
            "one or more activations with a permuted axis",
            'write how="weights"',
        ),
    ),
    "no batches": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=APPLY, batches=[]),
        (ek.OptionError, "there are no batches", "no batches", "one or more batches", "a list"),
    ),
    "an input without examples": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=APPLY, x=X[:0]),
        (ek.OptionError, "x is empty", "an input of shape [0, 3]", "one or more examples", "pass data with examples"),
    ),
    "a batch without examples": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=APPLY, batches=(x for x in (X, X[:0]))),
        (ek.OptionError, "batches[1] is empty", "[0, 3]", "one or more examples", "pass data with examples"),
    ),
    "an input and batches": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations", apply=APPLY, x=X, batches=[X]),
        (
            ek.OptionError,
            "x= and batches= cannot be given together",
            "x=Array([[ 0.12573022, -0.13210486,  0.64042264],       ",
            "at most one of x=, batches=",
            "leave batches out",
        ),
    ),
    "activations that overflow": (
        lambda: align(
            SPEC, PARAMS, {n: 1e37 * leaf for n, leaf in PARAMS.items()}, "activations", apply=APPLY, x=1e3 * X
        ),
        (
            ek.OptionError,
            "activations of params_b with axes data, h0 are not finite",
            "32 of 32 entries infinite or NaN",
            "finite",
            "diverged",
        ),
    ),
    "no such how": (
        lambda: align(SPEC, PARAMS, PARAMS, "gradients"),
        (ek.OptionError, "unknown value for how=", "'gradients'", '"weights", "activations"', 'how="weights"'),
    ),
    "no data": (
        lambda: align(SPEC, PARAMS, PARAMS, "activations"),
        (ek.OptionError, "how='activations' needs apply=", "apply=None", "apply=", "apply=apply, x=x"),
    ),
    "another model": (
        lambda: align(SPEC, PARAMS, {"w0": PARAMS["w0"]}),
        (
            ek.OptionError,
            "params_b do not have the expected names",
            "'w0'",
            "a dictionary with the names 'b0', 'b1', 'w0', 'w1', 'w2'",
            "same structure",
        ),
    ),
    "nothing to merge": (
        lambda: merge(SPEC, []),
        (ek.OptionError, "there are no trees in a list", "[]", "one or more", "params_a"),
    ),
    "networks one by one": (
        lambda: merge(SPEC, PARAMS, PARAMS, PARAMS),
        (ek.OptionError, "not in one list", "3 networks", "a list", "merge(spec, [params_a, params_b])"),
    ),
}
APPLY, PARAMS, X = MODELS["perceptron"]()
SPEC = trace(APPLY, PARAMS, X)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)


MEMORY = """
from pathlib import Path

import jax.numpy as jnp, numpy as np
from equikit.weightspace import align, trace
from equikit.weightspace.alignment import _gains

_gains.AT_ONCE = 2**22  # as small a part of this network as the default is of 100 million parameters


def apply(params, x):
    for name in list(params)[:-1]:
        x = jnp.tanh(x @ params[name])
    return x @ params["last"]


def network(width, depth, random):
    shapes = {str(n): (width if n else 8, width) for n in range(depth)} | {"last": (width, 2)}
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def aligned(width, depth):
    one, two = (network(width, depth, np.random.default_rng(seed)) for seed in (0, 1))
    spec = trace(apply, one, np.ones((2, 8), np.float32))
    before = kilobytes("VmRSS")
    align(spec, one, two)
    return 1024 * (kilobytes("VmHWM") - before) / sum(array.nbytes for array in one.values())


aligned(8, 2)  # loads what is imported when needed
print(aligned(1024, 16))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_alignment_takes_the_memory_of_three_networks() -> None:
    freed = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system at once
    found = subprocess.run([sys.executable, "-c", MEMORY], env=freed, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 3
