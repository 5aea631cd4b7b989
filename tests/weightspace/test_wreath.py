"""What is permuted by itself for every index of another label: heads, groups of channels, experts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.plans import lay_out
from equikit.weightspace import Functional, trace
from equikit.weightspace.functionals._wreath import core_name

NESTED = {
    "group_norm": {"h1": "h0"},
    "grouped_convolution": {"h1": "h0", "h2": "h0"},
    "attention": {"h1": "h0", "h2": "h0"},
    "transformer": {"h3": "h2", "h4": "h2"},
    "fused_attention": {"h2": "h1", "h3": "h1"},
    "mixture_of_experts": {"h1": "h0"},
}
"""All architectures with a wreath product; the others have none."""
SLOW = ("transformer", "group_norm", "fused_attention", "grouped_convolution")
QUICK = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NESTED]


def traced(name: str):
    apply, params, x = MODELS[name]()
    return apply, params, x, trace(apply, params, x)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in (*NESTED, "gru", "perceptron") else pytest.mark.slow) for name in MODELS],
)
def test_what_is_nested(name: str) -> None:
    _, _, _, spec = traced(name)
    assert dict(spec.nested) == NESTED.get(name, {})


@pytest.mark.parametrize("name", NESTED)
def test_the_wreath_product_preserves_the_function(name: str) -> None:
    apply, params, x, spec = traced(name)
    for seed in range(3):
        element = spec.random_element(key=jax.random.key(seed))
        inner, outer = spec.nested[0]
        assert element[inner].shape == (spec.sizes[outer], spec.sizes[inner])
        assert spec.check(jax.jit(apply), params, x, key=jax.random.key(seed)) < 1e-5
    assert f"{inner}=S({spec.sizes[inner]}) within {outer}" in str(spec)


def mixed(mix: str):
    """A network with two labels, o and i, whose hidden features are multiplied by one more matrix."""

    def apply(p, x):
        h = jnp.tanh(jnp.einsum("bj,joi->boi", x, p["up"]))
        h = h + jnp.tanh(jnp.einsum(mix, h, p["mix"]))
        return jnp.einsum("boi,oi,o->b", h, p["down"], p["heads"])

    shapes = {"up": (3, 4, 5), "mix": (4, 4) if "op" in mix else (5, 5), "down": (4, 5), "heads": (4,)}
    params = plain(shapes)
    return apply, params, jax.random.normal(jax.random.key(0), (6, 3))


@pytest.mark.parametrize("mix", ["boi,op->bpi", "boi,ij->boj"])
def test_a_false_nesting_is_caught(mix: str) -> None:
    """Matrices that mix the heads, or entries of every head alike, need one permutation for all heads."""
    apply, params, x = mixed(mix)
    spec = trace(apply, params, x)
    assert spec.groups == {"h0": ek.S(4), "h1": ek.S(5)}
    assert spec.nested == ()
    assert spec.check(apply, params, x, key=jax.random.key(0)) < 1e-5
    if "op" in mix:
        with pytest.raises(ek.EquivarianceError):
            replace(spec, nested=(("h1", "h0"),)).check(apply, params, x, key=jax.random.key(0))


def test_elements_move_each_head_by_itself() -> None:
    def apply(p, x):
        return jnp.einsum("beh,eh,e->b", jnp.tanh(jnp.einsum("bi,ieh->beh", x, p["up"])), p["down"], p["gate"])

    params = plain({"up": (3, 2, 4), "down": (2, 4), "gate": (2,)})
    spec = trace(apply, params, jnp.ones((5, 3)))
    assert spec.terms == {"down": "h0 h1", "gate": "h0", "up": "in h0 h1"}
    assert spec.nested == (("h1", "h0"),)
    element = {"h0": np.array([1, 0]), "h1": np.array([[1, 2, 3, 0], [0, 1, 3, 2]])}
    moved = spec.act(element, params)["down"]
    for o in range(2):
        for i in range(4):
            assert moved[element["h0"][o], element["h1"][o, i]] == params["down"][o, i]
    turned = spec.act({"h1": np.array([1, 2, 3, 0])}, params)["down"]
    np.testing.assert_array_equal(turned, jnp.roll(params["down"], 1, 1))


@pytest.mark.parametrize("fixed", ["dense", "positions"])
@pytest.mark.parametrize("name", QUICK)
def test_functionals_commute_with_wreath_products(name: str, fixed: str) -> None:
    _, params, _, spec = traced(name)
    element = spec.random_element(key=jax.random.key(1))
    equivariant = Functional(spec, [1, 3, 1], fixed=fixed, rngs=nnx.Rngs(1))
    static, state = nnx.split(equivariant)
    run = jax.jit(lambda params: nnx.merge(static, state)(params))
    wanted, found = spec.act(element, run(params)), run(spec.act(element, params))
    for one, two in zip(*map(jax.tree.leaves, (wanted, found)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("outer", "inner"), [(2, 2), (2, 3), (3, 2)])
def test_maps_are_a_basis(outer: int, inner: int) -> None:
    """Of tensors "o i" and "o": as many as Burnside counts over all elements, independent, and all commute."""
    _, params, _, spec = small(outer, inner)
    layer = Functional(spec, [1, 1], use_bias=False, rngs=nnx.Rngs(0)).layers[0]
    perms = [np.eye(outer)[list(p)] for p in itertools.permutations(range(outer))]
    inners = [np.eye(inner)[list(p)] for p in itertools.permutations(range(inner))]
    elements = []
    for p in perms:
        for chosen in itertools.product(inners, repeat=outer):
            blocks = [[p[a, b] * chosen[b] for b in range(outer)] for a in range(outer)]
            elements.append({"down": np.block(blocks), "gate": p})
    for source, target in itertools.product(("down", "gate"), repeat=2):
        fixed = np.mean([np.trace(g[source]) * np.trace(g[target]) for g in elements])
        weights = layer.weights()
        own = weights[f"{source} -> {target}"]
        left = np.flatnonzero(own)
        assert len(left) == round(fixed)
        matrices = []
        for one in left:
            chosen = {name: jnp.zeros_like(weight) for name, weight in weights.items()}
            chosen[f"{source} -> {target}"] = jnp.zeros_like(own).at[one].set(1)
            matrices.append(matrix_of(layer, chosen, params, source, target))
        flat = np.stack(matrices).reshape(len(matrices), -1)
        assert np.linalg.matrix_rank(flat) == len(left)
        for matrix, g in itertools.product(matrices, elements):
            np.testing.assert_allclose(matrix @ g[source], g[target] @ matrix, atol=1e-5)


def small(outer: int, inner: int):
    def apply(p, x):
        return jnp.einsum("boi,oi,o->b", jnp.tanh(jnp.einsum("bj,joi->boi", x, p["up"])), p["down"], p["gate"])

    params, x = plain({"up": (1, outer, inner), "down": (outer, inner), "gate": (outer,)}), jnp.ones((5, 1))
    return apply, params, x, trace(apply, params, x)


def matrix_of(layer, weights, params, source: str, target: str) -> np.ndarray:
    """The matrix of a layer with certain weights, from one tensor to another."""
    static, state, rest = nnx.split(layer, nnx.Param, ...)
    for product, (rows, _) in zip(layer.plan.products, lay_out(layer.plan, weights).products, strict=True):
        state["kernel"][core_name(product)] = nnx.Param(rows[0])
    run = nnx.merge(static, state, rest)
    size = params[source].size
    inputs = {name: jnp.zeros((size, *leaf.shape, 1)) for name, leaf in params.items()}
    inputs[source] = jnp.eye(size).reshape(size, *params[source].shape, 1)
    return np.asarray(run(inputs)[target]).reshape(size, -1).T


def test_results_need_the_outer_label() -> None:
    _, params, _, spec = traced("mixture_of_experts")
    assert Functional(spec, [1, 2], out="h0 h1", rngs=nnx.Rngs(0))(params).shape == (4, 6, 2)
    assert_error(
        ek.OptionError,
        lambda: Functional(spec, [1, 2], out="h1", rngs=nnx.Rngs(0)),
        "out has 'h1', which is permuted by itself for every index of 'h0'",
        "out='h1'",
        "both of them",
        "out='h0 h1'",
    )


@pytest.mark.parametrize("name", ["attention", "fused_attention", pytest.param("transformer", marks=pytest.mark.slow)])
def test_augmentation_draws_an_element_for_every_network(name: str) -> None:
    apply, params, x, spec = traced(name)
    zoo = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4).reshape(2, 2, *leaf.shape), params)
    moved = jax.jit(spec.augment)(zoo, key=jax.random.key(0))
    outputs = [
        apply(jax.tree.map(lambda leaf, at=at: leaf[at], moved), x) for at in itertools.product(range(2), range(2))
    ]
    for one in outputs:
        np.testing.assert_allclose(one, apply(params, x), rtol=1e-4, atol=1e-5)
    different = [np.any(np.asarray(leaf[0, 0]) != np.asarray(leaf[1, 0])) for leaf in jax.tree.leaves(moved)]
    assert any(different)
