"""Models of other people's packages have the symmetry that one derives by hand, and keep what they compute under it.

The packages are those of the extra `packages`; a model is skipped where its package is not installed.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import other_models
import pytest
import sequence_models
import transformer_models
import vision_models
from expected_groups import EXPECTED, Group, of_specification
from known_gaps import GAPS
from package_models import MODELS, Model
from soundness import generators

from equikit.weightspace import Specification, align, trace

FILES = (other_models, sequence_models, transformer_models, vision_models)
FLOAT32 = ("t5", "llama", "mamba2")
"""Models whose norms compute in float32, whatever the parameters are."""

every_model = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in MODELS])
pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.filterwarnings("ignore")]


@functools.cache
def traced(name: str) -> tuple[Model, Specification]:
    model = MODELS[name]()
    model = model._replace(apply=jax.jit(model.apply))
    return model, trace(model.apply, model.params, model.inputs)


def difference(one: Any, two: Any) -> float:
    """The largest difference of two outputs, relative to the largest entry of each array."""
    pairs = zip(*map(jax.tree.leaves, (one, two)), strict=True)
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))) for a, b in pairs)


def damage(name: str, inputs: tuple[Any, ...]) -> dict[str, float]:
    """The generators that change what a model computes from inputs, and how much."""
    model, spec = traced(name)
    outputs, allowed = model.apply(model.params, *inputs), 1e-5 if name in FLOAT32 else 1e-9
    moved = dict(generators(spec, model.params))
    found = {label: difference(outputs, model.apply(params, *inputs)) for label, params in moved.items()}
    return {label: change for label, change in found.items() if not change <= allowed}


def changed(expected: Group, missing: Group, instead: Group) -> Group:
    def parts(of: Group) -> tuple[Any, ...]:
        return of.permutations, of.linear, of.scales, of.signs

    return Group(*(a - b + c for a, b, c in zip(*map(parts, (expected, missing, instead)), strict=True)))


def test_the_tables_have_the_models() -> None:
    assert EXPECTED.keys() == MODELS.keys()
    assert GAPS.keys() <= MODELS.keys()


@every_model
def test_the_group_is_the_one_derived_by_hand_but_for_known_gaps(name: str) -> None:
    expected = EXPECTED[name]
    if name in GAPS:
        expected = changed(expected, GAPS[name].missing, GAPS[name].instead)
        assert expected != EXPECTED[name]
    assert of_specification(traced(name)[1]) == expected


@every_model
def test_every_generator_keeps_the_outputs(name: str) -> None:
    assert damage(name, traced(name)[0].inputs) == {}


@every_model
def test_every_generator_keeps_the_outputs_of_longer_inputs(name: str) -> None:
    longer = traced(name)[0].longer
    if longer is None:
        pytest.skip("the model takes inputs of one shape")
    assert damage(name, longer) == {}


@every_model
def test_the_specification_checks_itself(name: str) -> None:
    model, spec = traced(name)
    spec.check(model.apply, model.params, model.inputs, key=jax.random.key(3))


@every_model
def test_a_planted_permutation_is_recovered(name: str) -> None:
    model, spec = traced(name)
    other = spec.act(spec.random_element(key=jax.random.key(2)), model.params)
    found, matching = align(spec, model.params, other, restarts=6, with_info=True)
    assert matching.similarity == pytest.approx(1, abs=1e-9)
    for one, two in zip(*map(jax.tree.leaves, (model.params, found)), strict=True):
        np.testing.assert_array_equal(one, two)
