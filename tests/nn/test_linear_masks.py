"""Masks: a padded array with a mask gives what the array without padding gives, whatever the padding holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, labels_of
from in_numpy import by_numpy, in_numpy

import equikit as ek

CASES = ["p -> p", "p p -> p p", "p p -> ()", "p p p -> p", "p -> p p", "q p q -> p q", "p p + p -> p + ()"]
REAL, PADDED = {"p": 3, "q": 2}, {"p": 5, "q": 4}
KEPT = {"p": np.array([0, 2, 3]), "q": np.array([1, 3])}


def prepare(signature, normalize, garbage):
    labels = labels_of(signature)
    inputs = ek.hom(signature, groups=dict.fromkeys(labels, ek.S)).signature.inputs
    layer = ek.nn.Linear(
        signature, 2, 3, groups=dict.fromkeys(labels, ek.S), normalize=normalize, rngs=nnx.Rngs(0),
        bias_init=nnx.initializers.normal(1.0),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    small, large = {}, {}
    for term in inputs:
        small[term.name] = rng.normal(size=(*(REAL[label] for label in term.labels), 2)).astype(np.float32)
        large[term.name] = np.full((*(PADDED[label] for label in term.labels), 2), garbage, np.float32)
        large[term.name][np.ix_(*(KEPT[label] for label in term.labels))] = small[term.name]
    mask = {label: np.isin(np.arange(PADDED[label]), KEPT[label]) for label in labels}
    return layer, small, large, mask


@pytest.mark.parametrize("garbage", [0.0, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize("signature", CASES)
def test_padding_has_no_effect_whatever_it_holds(signature, normalize, garbage):
    layer, small, large, mask = prepare(signature, normalize, garbage)
    expected, actual = by_numpy(layer)(small), by_numpy(layer)(large, mask=mask)
    for term in layer.signature.outputs:
        kept = np.ix_(*(KEPT[label] for label in term.labels))
        assert_close(actual[term.name][kept], expected[term.name], 1e-5)
        rest = np.array(actual[term.name])
        rest[kept] = 0
        assert not rest.any()


@pytest.mark.parametrize("garbage", [1.0, np.nan])
@pytest.mark.parametrize("signature", ["p p -> p p", "p p -> ()", "q p q -> p q"])
def test_padding_has_no_effect_on_gradients(signature, garbage):
    layer, small, large, mask = prepare(signature, "mean", garbage)
    graph, state = nnx.split(layer)

    def loss(state, x, mask):
        return sum(jnp.sum(jnp.sin(y)) for y in nnx.merge(graph, state)(x, mask=mask).values())

    state_small, x_small = in_numpy(jax.grad(loss, argnums=(0, 1)), state, small, None)
    state_large, x_large = in_numpy(jax.grad(loss, argnums=(0, 1)), state, large, mask)
    for a, b in zip(jax.tree.leaves(state_large), jax.tree.leaves(state_small), strict=True):
        assert_close(a, b, 1e-5)
    for term in layer.signature.inputs:
        kept = np.ix_(*(KEPT[label] for label in term.labels))
        assert_close(x_large[term.name][kept], x_small[term.name], 1e-5)
        rest = np.array(x_large[term.name])
        rest[kept] = 0
        assert not rest.any()


@pytest.mark.parametrize("normalize", ["mean", "sum"])
def test_a_mask_that_keeps_nothing_gives_zeros_or_the_bias(normalize):
    layer = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, normalize=normalize, rngs=nnx.Rngs(0))
    empty = {"p": jnp.zeros((2, 4), bool)}
    x = jnp.full((2, 4, 4, 2), jnp.nan)
    assert layer(x, mask=empty).tolist() == jnp.zeros((2, 4, 4, 3)).tolist()
    gradient = jax.grad(lambda x: jnp.sum(layer(x, mask=empty)))(x)
    assert not bool(jnp.any(gradient))
    head = ek.nn.Invariant("p p", 2, 3, p=ek.S, normalize=normalize, rngs=nnx.Rngs(0), bias_init=nnx.initializers.ones)
    assert head(x, mask=empty).tolist() == [[1.0] * 3] * 2


def test_a_mask_that_keeps_all_changes_nothing():
    layer = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 2)), jnp.float32)
    assert_close(layer(x, mask={"p": jnp.ones((2, 4), bool)}), layer(x), 1e-6)
    assert layer(x, mask={}).tolist() == layer(x, mask=None).tolist() == layer(x).tolist()


def test_a_mask_for_some_of_the_labels():
    layer = ek.nn.Linear("p q -> p q", 2, 3, p=ek.S, q=ek.S, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2)), jnp.float32)
    mask = jnp.array([True, False, True])
    expected = layer(x[:, np.array([0, 2])])
    actual = layer(x, mask={"q": mask})
    assert_close(actual[:, np.array([0, 2])], expected, 1e-5)
    assert not bool(jnp.any(actual[:, 1]))


def test_each_batch_entry_has_its_own_mask():
    layer = ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 4, 2)), jnp.float32)
    mask = jnp.asarray(rng.random((2, 3, 4)) < 0.6)
    y = layer(x, mask={"p": mask})
    for i, j in np.ndindex(2, 3):
        assert_close(y[i, j], layer(x[i, j], mask={"p": mask[i, j]}), 1e-5)


def test_a_mask_for_a_label_that_only_the_output_has():
    layer = ek.nn.Linear("() -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    y = layer(jnp.ones((5, 2)), sizes={"p": 4}, mask={"p": jnp.arange(4) < jnp.arange(5)[:, None]})
    assert [[bool(jnp.any(entry)) for entry in row] for row in y] == [[j < i for j in range(4)] for i in range(5)]


def test_masks_are_traced_so_one_compilation_serves_all():
    layer = ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    count = []

    @jax.jit
    def run(x, mask):
        count.append(1)
        return layer(x, mask={"p": mask})

    x = jnp.ones((4, 4, 2))
    for kept in range(5):
        assert_close(run(x, jnp.arange(4) < kept)[:kept], layer(x[:kept, :kept]), 1e-5)
    assert len(count) == 1
