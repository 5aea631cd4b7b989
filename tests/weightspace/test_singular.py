"""Singular values are kept by permutations, singular vectors are aligned by matching; and both figures."""

from __future__ import annotations

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import MODELS, normal, plain
from helpers import assert_error
from sklearn.datasets import load_digits

import equikit as ek
from equikit.weightspace import Line, align, barrier, plot_lines, singular_alignment, trace

APPLY, PARAMS, X = MODELS["perceptron"]()
SPEC = trace(APPLY, PARAMS, X)


def other(seed: int, noise: float = 0.1):
    moved = {name: leaf + noise * normal(*leaf.shape, seed=seed) for name, leaf in PARAMS.items()}
    return SPEC.act(SPEC.random_element(key=jax.random.key(seed)), moved)


def test_of_a_permuted_copy_all_is_aligned() -> None:
    found = singular_alignment(SPEC, PARAMS, other(1, 0))
    assert found.leaves.keys() == {"w0", "w1", "w2"}
    for pair in found.leaves.values():
        np.testing.assert_allclose(pair.one, pair.two, atol=1e-6)
        np.testing.assert_allclose(np.diag(pair.after), 1, atol=1e-5)
        for threshold in (None, 0.0, 0.5):
            assert pair.alignment(threshold=threshold) == pytest.approx(1, abs=1e-5)
            assert pair.alignment(matched=False, threshold=threshold) < 0.99
    assert found.distances[1] == pytest.approx(0, abs=1e-6)
    assert found.distances[0] > 0.5


def test_the_alignment_is_the_inner_product_over_the_largest_that_there_is() -> None:
    two = other(2)
    moved = align(SPEC, PARAMS, two)
    found = singular_alignment(SPEC, PARAMS, two, moved=moved)
    for name, pair in found.leaves.items():
        values = [np.linalg.svd(np.asarray(tree[name], float), compute_uv=False) for tree in (PARAMS, two)]
        np.testing.assert_allclose(pair.two, values[1], rtol=1e-5)
        for tree, matched in ((two, False), (moved, True)):
            inner = float(np.sum(np.asarray(PARAMS[name], float) * np.asarray(tree[name], float)))
            assert pair.alignment(matched=matched) == pytest.approx(inner / np.sum(values[0] * values[1]), abs=1e-5)
    mean = np.mean([pair.alignment(threshold=0.5) for pair in found.leaves.values()])
    assert found.alignment(threshold=0.5) == pytest.approx(mean)


def test_integers_have_no_singular_vectors() -> None:
    params = PARAMS | {"count": jnp.array([[10**9, 1]])}
    spec = trace(lambda p, x: APPLY(p, x) + p["count"].sum(), params, X)
    found = singular_alignment(spec, params, params | {"count": jnp.array([[0, 0]])})
    assert found.leaves.keys() == {"w0", "w1", "w2"}
    assert found.distances == (0, 0)


def test_of_equal_singular_values_no_basis_is_preferred() -> None:
    """Signs and rotations of singular vectors of one value change nothing."""
    params = {"w0": jnp.eye(4), "w1": jnp.eye(4)[:, :2]}
    spec = trace(lambda p, x: jax.nn.relu(x @ p["w0"]) @ p["w1"], params, jnp.ones((2, 4)))
    found = singular_alignment(spec, params, jax.tree.map(lambda leaf: 2 * leaf, params))
    assert [pair.alignment() for pair in found.leaves.values()] == pytest.approx([1, 1])


def test_zeros_are_equal_to_nothing_but_zeros() -> None:
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for one, two, wanted in ((PARAMS, zeros, 0), (zeros, PARAMS, 0), (zeros, zeros, 1)):
        found = singular_alignment(SPEC, one, two)
        assert found.alignment() == found.alignment(threshold=0) == found.alignment(matched=False) == wanted
        for how in ("weights", "activations"):  # biases are no input, so activations of zeros are constant
            assert align(SPEC, one, two, how, apply=APPLY, x=X, with_info=True)[1].similarity == wanted
    assert singular_alignment(SPEC, zeros, PARAMS).distances == (np.inf, np.inf)


@pytest.mark.parametrize("options", [{"threshold": t} for t in (-0.1, 1.5, np.nan, "0.5", True)] + [{"matched": 2}])
def test_thresholds_are_shares_of_the_largest_singular_value(options) -> None:
    with pytest.raises(ek.OptionError, match=next(iter(options))):
        singular_alignment(SPEC, PARAMS, PARAMS).alignment(**options)


@pytest.mark.parametrize("thresholds", [0.5, (0.5, 2)])
def test_thresholds_of_a_figure_are_a_list_of_shares(thresholds) -> None:
    with pytest.raises(ek.OptionError, match="thresholds="):
        singular_alignment(SPEC, PARAMS, PARAMS).plot(thresholds=thresholds)


def test_a_layer_without_neurons_is_aligned() -> None:
    params = {"w0": np.zeros((3, 0), np.float32), "w1": np.zeros((0, 2), np.float32)}
    spec = trace(lambda p, x: jax.nn.relu(x @ p["w0"]) @ p["w1"], params, jnp.ones((2, 3)))
    found = singular_alignment(spec, params, params)
    assert (found.alignment(), found.alignment(threshold=0.5), found.distances) == (1, 1, (0, 0))
    assert all(pair.one.shape == (0,) and pair.after.shape == (0, 0) for pair in found.leaves.values())


def test_axes_of_a_kernel_are_one() -> None:
    def apply(p, x):
        y = jax.lax.conv_general_dilated(x, p["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y).mean((1, 2)) @ p["out"]

    params = plain({"conv": (3, 3, 2, 5), "out": (5, 2)})
    found = singular_alignment(trace(apply, params, jnp.ones((1, 4, 4, 2))), params, params)
    assert found.leaves["conv"].one.shape == (5,)
    assert found.alignment(matched=False) == pytest.approx(1)


def test_figures() -> None:
    def loss(params):
        return jnp.mean((APPLY(params, X) - APPLY(PARAMS, X)) ** 2)

    two = other(3)
    lines = {"as they are": barrier(loss, PARAMS, two, points=5), "matched": Line(np.linspace(0, 1, 5), np.zeros(5))}
    figure = plot_lines(lines)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0].startswith("as they are: barrier ")
    assert texts[1] == "matched: barrier 0"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), lines["as they are"].losses)
    assert lines["matched"].plot().axes[0].get_legend().get_texts()[0].get_text() == "barrier 0"
    again = plot_lines(lines, axes)
    assert again is figure
    assert len(axes.lines) == 8
    found = singular_alignment(SPEC, PARAMS, two)
    columns = found.plot(thresholds=(0.0, 0.5)).axes
    assert [each.get_title() for each in columns[:3]] == ["w0", "w1", "w2"]
    drawn = columns[3].lines[1].get_ydata()
    assert drawn[1] == pytest.approx(found.leaves["w0"].alignment(threshold=0.5))


def test_without_matplotlib(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # makes the import fail
    line = Line(np.linspace(0, 1, 2), np.zeros(2))
    assert_error(
        ek.MissingPackageError,
        line.plot,
        "matplotlib is not installed", "no module matplotlib", "the package", "pip install matplotlib",
    )  # fmt: skip


REFUSED = {
    "no lines": (
        lambda: plot_lines({}),
        (ek.OptionError, "there are no lines", "no lines", "one or more lines", "barrier(loss, a, b)"),
    ),
    "no matrices": (
        lambda: singular_alignment(trace(lambda p, x: x * p["scale"], VECTOR, jnp.ones(3)), VECTOR, VECTOR),
        (ek.OptionError, "there are no matrices", "'scale' [3]", "one or more matrices", "a linear layer"),
    ),
    "another model": (
        lambda: singular_alignment(SPEC, PARAMS, PARAMS, moved={"w0": PARAMS["w0"]}),
        (
            ek.OptionError,
            "moved do not have the expected names",
            "'w0'",
            "a dictionary with the names 'b0', 'b1', 'w0', 'w1', 'w2'",
            "same structure",
        ),
    ),
}
VECTOR = {"scale": jnp.ones(3)}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)


def on_digits(decay: float, steps: int):
    """Two perceptrons for digits from two starts."""
    data = load_digits()
    x, y = jnp.asarray(data.images.reshape(-1, 64) / 16, jnp.float32), jnp.asarray(data.target)
    widths = (64, 128, 128, 128, 10)

    def apply(p, x):
        for i in range(3):
            x = jax.nn.relu(x @ p[f"w{i}"] + p[f"b{i}"])
        return x @ p["w3"] + p["b3"]

    def loss(p, rows):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(apply(p, x[rows]), y[rows]))

    optimizer = optax.adamw(2e-3, weight_decay=decay)

    @jax.jit
    def train(key):
        p = {}
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            p[f"w{i}"] = jax.random.normal(jax.random.fold_in(key, i), (a, b)) * (2 / a) ** 0.5
            p[f"b{i}"] = jnp.zeros(b)

        def step(carry, key):
            p, state = carry
            slopes = jax.grad(loss)(p, jax.random.randint(key, (64,), 0, len(x)))
            updates, state = optimizer.update(slopes, state, p)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (p, optimizer.init(p)), jax.random.split(key, steps))[0][0]

    one, two = (train(jax.random.key(seed)) for seed in range(2))
    return singular_alignment(trace(apply, one, x[:2]), one, two)


@pytest.mark.slow
@pytest.mark.usefixtures("full_compile")
def test_weight_decay_aligns_large_singular_values() -> None:
    with_decay, without = on_digits(1.0, 700), on_digits(0.0, 300)
    assert with_decay.alignment(threshold=0.5) > 0.4
    assert without.alignment(threshold=0.5) < min(0.3, without.alignment())
