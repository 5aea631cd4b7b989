"""Ensembles and mixtures of experts are what their formulas say, for any module."""

from __future__ import annotations

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from architectures import normal
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import AsymmetricMLP, Ensemble, InterpolatedExperts, MixtureOfExperts

X = normal(7, 4)


def factory(rngs):
    return AsymmetricMLP([4, 6, 3], fixed=2, key=jax.random.key(0), rngs=rngs)


def members_of(stack, size: int) -> list:
    static, state = nnx.split(stack)
    return [nnx.merge(static, jax.tree.map(lambda leaf, i=i: leaf[i], state)) for i in range(size)]


def test_an_ensemble_is_the_mean() -> None:
    ensemble = Ensemble(factory, 5, rngs=nnx.Rngs(0))
    each = np.stack([member(X) for member in members_of(ensemble.members, 5)])
    assert np.std(each, axis=0).min() > 0  # they are different networks
    masks = np.asarray(ensemble.members.layers[0].mask[...])
    assert np.all(masks == masks[0])  # with the same fixed entries
    np.testing.assert_allclose(ensemble.each(X), each, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ensemble(X), each.mean(0), rtol=1e-5, atol=1e-6)
    of_probabilities = Ensemble(factory, 5, mean="probabilities", rngs=nnx.Rngs(0))
    np.testing.assert_allclose(np.exp(of_probabilities(X)), scipy.special.softmax(each, -1).mean(0), rtol=1e-5)


def test_a_mixture_is_the_weighted_sum() -> None:
    rngs = nnx.Rngs(1)
    mixture = MixtureOfExperts(factory, 5, nnx.Linear(4, 5, rngs=rngs), rngs=rngs)
    each = [np.asarray(member(X)) for member in members_of(mixture.experts, 5)]
    weights = scipy.special.softmax(np.asarray(mixture.gate(X)), -1)
    expected = sum(weights[:, i, None] * each[i] for i in range(5))
    np.testing.assert_allclose(mixture(X), expected, rtol=1e-4, atol=1e-6)
    few = MixtureOfExperts(factory, 5, mixture.gate, top=2, rngs=nnx.Rngs(1))
    few.experts = mixture.experts
    kept = np.where(weights >= np.sort(weights)[:, [-2]], weights, 0)
    kept /= kept.sum(1, keepdims=True)
    np.testing.assert_allclose(few.weights(X), kept, rtol=1e-5)
    np.testing.assert_allclose(few(X), sum(kept[:, i, None] * each[i] for i in range(5)), rtol=1e-4, atol=1e-6)
    # Experts that are not chosen learn nothing, also where logits are equal.
    tied = MixtureOfExperts(factory, 5, lambda x: jnp.zeros((len(x), 5)), top=2, rngs=nnx.Rngs(1))
    gradient = nnx.grad(lambda mixture: jnp.sum(mixture(X) ** 2))(tied)["experts"].layers[0].kernel[...]
    assert [bool(np.any(one != 0)) for one in np.asarray(gradient)] == [True, True, False, False, False]
    assert np.all(np.isfinite(gradient))


def test_interpolated_experts_are_one_network_for_each_input() -> None:
    rngs = nnx.Rngs(2)
    experts = InterpolatedExperts(factory, 3, nnx.Linear(4, 3, rngs=rngs), rngs=rngs)
    weights, found, rows = (np.asarray(array) for array in (experts.weights(X), experts(X), X))
    static, params, rest = nnx.split(experts.experts, nnx.Param, ...)
    shared = jax.tree.map(lambda leaf: leaf[0], rest)
    for row in range(len(X)):
        mixed = jax.tree.map(lambda leaf, row=row: np.tensordot(weights[row], np.asarray(leaf), 1), params)
        np.testing.assert_allclose(found[row], nnx.merge(static, mixed, shared)(rows[row]), rtol=1e-4, atol=1e-6)
    experts.gate = lambda x: 1e4 * jax.nn.one_hot(jnp.full(x.shape[:-1], 1), 3)
    np.testing.assert_allclose(experts(X), members_of(experts.experts, 3)[1](X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(experts(rows[:, None]), np.asarray(experts(X))[:, None], rtol=1e-5, atol=1e-6)
    assert experts(X[0]).shape == (3,)
    assert experts(X[:0]).shape == (0, 3)


def made(kind: str):
    rngs = nnx.Rngs(3)
    gate = nnx.Linear(4, 3, rngs=rngs)
    if kind == "ensemble":
        return Ensemble(factory, 3, rngs=rngs)
    return {"mixture": MixtureOfExperts, "interpolated": InterpolatedExperts}[kind](factory, 3, gate, top=2, rngs=rngs)


@pytest.mark.parametrize("kind", ["ensemble", "mixture", "interpolated"])
def test_modules_are_valid_everywhere(kind: str) -> None:
    module = made(kind)
    expected = module(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(module))(X), expected)
    for graph in (True, False):
        np.testing.assert_array_equal(nnx.merge(*nnx.split(module, graph=graph))(X), expected)
        gradient = nnx.jit(nnx.grad(lambda module: jnp.sum(module(X) ** 2), graph=graph), graph=graph)(module)
        finite = jax.tree.map(lambda leaf: bool(np.all(np.isfinite(leaf))), nnx.state(gradient, nnx.Param))
        assert all(jax.tree.leaves(finite))
    np.testing.assert_allclose(jax.vmap(module)(X), expected, rtol=1e-5, atol=1e-6)


class Stateful(nnx.Module):
    def __init__(self, rngs):
        self.first, self.norm = nnx.Linear(4, 6, rngs=rngs), nnx.BatchNorm(6, rngs=rngs)
        self.dropout, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(self.dropout(self.norm(self.first(x))))


def test_members_keep_their_state() -> None:
    ensemble = Ensemble(Stateful, 3, rngs=nnx.Rngs(0))
    one, two = ensemble.each(X), ensemble.each(X)
    assert bool(jnp.any(one != two))  # dropout draws anew
    means = ensemble.members.norm.mean[...]
    assert means.shape == (3, 6)
    assert bool(jnp.any(means[0] != means[1]))
    assert bool(jnp.all(means != 0))
    ensemble.eval()
    np.testing.assert_array_equal(ensemble(X), ensemble(X))
    np.testing.assert_array_equal(ensemble.members.norm.mean[...], means)


WIDTHS = itertools.count(3)


def several(rngs):
    return nnx.Linear(4, next(WIDTHS), rngs=rngs)


def linear(rngs):
    return nnx.Linear(4, 3, rngs=rngs)


REFUSED = {
    "no rngs": (
        lambda: Ensemble(lambda rngs: nnx.Linear(2, 3, rngs=rngs), 2, rngs=None),
        (ek.OptionError, "rngs= must be nnx.Rngs", "None", "nnx.Rngs", "rngs=nnx.Rngs(0)"),
    ),
    "none": (
        lambda: Ensemble(linear, 0, rngs=nnx.Rngs(0)),
        (ek.OptionError, "size= must be", "0", "from 1 to 100,000", "size=4"),
    ),
    "a number": (
        lambda: Ensemble(lambda rngs: 3, 2, rngs=nnx.Rngs(0)),
        (ek.OptionError, "the factory does not make networks", "3", "an nnx.Module", "nnx.Linear("),
    ),
    "a function": (
        lambda: Ensemble(lambda rngs: jnp.sin, 2, rngs=nnx.Rngs(0)),
        (ek.OptionError, "the factory does not make networks", "sin", "an nnx.Module", "nnx.Linear("),
    ),
    "a module without a call": (
        lambda: MixtureOfExperts(lambda rngs: nnx.Dict(a=nnx.Param(jnp.ones(2))), 2, linear, rngs=nnx.Rngs(0)),
        (ek.OptionError, "the factory does not make networks", "Dict", "can be called", "nnx.Linear("),
    ),
    "several architectures": (
        lambda: Ensemble(several, 2, rngs=nnx.Rngs(0)),
        (ek.OptionError, "several architectures", "network 1", "one architecture", "rngs alone"),
    ),
    "mean": (
        lambda: Ensemble(linear, 2, mean="median", rngs=nnx.Rngs(0)),
        (ek.OptionError, "unknown value for mean=", "'median'", '"outputs" or "probabilities"', 'mean="outputs"'),
    ),
    "top": (
        lambda: MixtureOfExperts(linear, 2, linear, top=3, rngs=nnx.Rngs(0)),
        (ek.OptionError, "top= must be", "3", "from 1 to 2", "top=1"),
    ),
    "gate": (
        lambda: MixtureOfExperts(linear, 2, lambda x: x, rngs=nnx.Rngs(0))(X),
        (ek.ShapeError, "the gate does not fit the experts", "[7, 4]", "[..., 2]", "nnx.Linear(features, 2"),
    ),
    "batch of a mixture": (
        lambda: MixtureOfExperts(linear, 2, lambda x: jnp.ones((3, 2)), rngs=nnx.Rngs(0))(X),
        (
            ek.ShapeError,
            "outputs of the experts must have shape [2, 3, *axes]",
            "shape [2, 7, 3]",
            "[2, 3, *axes]",
            "one row",
        ),
    ),
    "batch of interpolated experts": (
        lambda: InterpolatedExperts(linear, 2, lambda x: jnp.ones((3, 2)), rngs=nnx.Rngs(0))(X),
        (
            ek.ShapeError,
            "x must have shape [3, *axes]",
            "shape [7, 4]",
            "[3, *axes]",
            "one row",
        ),
    ),
    "state": (
        lambda: InterpolatedExperts(Stateful, 2, lambda x: jnp.ones((7, 2)), rngs=nnx.Rngs(0))(X),
        (ek.OptionError, "change their state", "another one after the call", "without state", "model.eval()"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
