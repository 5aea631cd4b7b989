"""Profiles and compiled programs name the steps as the table of the plan does."""

import jax
import jax.numpy as jnp
import pytest

import equikit as ek
from equikit.plans import apply, apply_multilinear, multilinear_weight_shape, plan_cost, weight_shapes

PLANS = {
    "S": ek.hom("p p -> p p", p=ek.S).plan((2, 2)),
    "SO": ek.hom("x x -> x x", x=ek.SO(3)).plan((2, 2), normalize="mean"),
    "Sp": ek.hom("x x -> x x", x=ek.Sp(4)).plan((2, 2)),
    "terms": ek.hom("p p + p -> p + ()", p=ek.S).plan(((2, 2), (2, 2))),
}
SIZES = {"S": 3, "SO": 3, "Sp": 4, "terms": 3}


def names_of(plan):
    return {f"{line.stage}: {line.operation}, {line.source} to {line.result}" for line in plan_cost(plan)}


@pytest.mark.parametrize("name", PLANS)
def test_every_step_is_a_scope_of_the_program(name):
    program, n = PLANS[name], SIZES[name]
    weights = {key: jnp.ones(shape) for key, shape in weight_shapes(program).items()}
    inputs = {term.name: jnp.ones((2, *(n,) * len(term.labels), 2)) for term in program.signature.inputs}
    lowered = jax.jit(lambda x, w: apply(program, x, w, method="factored")).lower(inputs, weights)
    text = lowered.as_text(debug_info=True)
    assert names_of(program)
    missing = [scope for scope in names_of(program) if scope not in text]
    # An axis of a head that only changes its place leaves no operation behind.
    assert not [scope for scope in missing if "transpose" not in scope]


def test_every_contraction_is_a_scope_of_the_program():
    space = ek.hom("x, x -> x", x=ek.SO(3))
    weights = jnp.ones(multilinear_weight_shape(space, (2, 2), 2))
    x = jnp.ones((3, 2))
    lowered = jax.jit(lambda x, w: apply_multilinear(space, (x, x), w)).lower(x, weights)
    text = lowered.as_text(debug_info=True)
    assert all(scope in text for scope in names_of(space.plan(((2, 2), 2))))


def test_a_compiled_program_keeps_the_names():
    program = PLANS["S"]
    weights = {key: jnp.ones(shape) for key, shape in weight_shapes(program).items()}
    compiled = jax.jit(lambda x: apply(program, x, weights, method="factored")).lower(jnp.ones((3, 3, 2))).compile()
    assert "reduce: sum, ij->ij to ij->i" in compiled.as_text()
