"""The optimizer: the plan of one diagram at a time, and the passes that lead from it to what `plan` returns."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_plan_duals
import test_plan_families
import test_plan_null_space
from helpers import SIGNATURES, assert_close, bindings, sizes_of, with_groups
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import (
    PASSES,
    add_before_broadcasting,
    apply,
    batch_products,
    plan,
    plan_cost,
    stages,
    unshared,
    weight_shapes,
)
from equikit.signatures._signature import base

FAMILIES = [*test_plan_families.CASES, *test_plan_duals.CASES, *test_plan_null_space.CASES]
SYMMETRIC = [
    *((text, bindings(text)) for text in SIGNATURES),
    *((text, bindings(text, sizes_of(text, 2))) for text in SIGNATURES),  # fewer points than blocks: weights have gaps
]
CASES = [*FAMILIES, *SYMMETRIC]
cases, compiled_cases = with_groups(CASES), with_groups(CASES, len(CASES), also=["p p -> p p"])


def sizes_in(signature):
    """A size for every label: that of its group, or two and three for free ones."""
    free = sorted(label for label, size in signature.sizes.items() if size is None)
    found = {base(label): 2 + i % 2 for i, label in enumerate(free)}
    return {label: found[base(label)] if size is None else size for label, size in signature.sizes.items()}, found


def drawn(program, sizes, batch=(2,), seed=0):
    """Inputs and weights, complex where a group is."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        values = rng.normal(size=shape)
        return values + 1j * rng.normal(size=shape) if program.signature.is_complex else values

    terms = zip(program.signature.inputs, program.channels[0], strict=True)
    inputs = {term.name: draw((*batch, *(sizes[base(label)] for label in term.labels), c)) for term, c in terms}
    return inputs, {name: draw(shape) for name, shape in weight_shapes(program).items()}


@cases
@pytest.mark.parametrize(
    ("channels", "options"), [((1, 1), {}), ((2, 3), {"normalize": "mean", "bias": True}), ((7, 1), {"bias": True})]
)
def test_the_passes_lead_to_the_plan(text, groups, channels, options):
    space = ek.hom(text, groups=groups)
    found = stages(space, channels, **options)
    assert list(found) == ["unshared", *(improve.__name__ for improve in PASSES)]
    assert [*found.values()][-1] == plan(space, channels, **options)


@pytest.mark.usefixtures("x64")
@compiled_cases
def test_every_pass_keeps_the_map(text, groups):
    space = ek.hom(text, groups=groups)
    found = stages(space, (2, 3), normalize="mean", bias=True)
    sizes, free = sizes_in(space.signature)
    x, w = drawn(found["unshared"], sizes)
    run = functools.partial(apply, sizes=free, method="factored")
    slow = in_numpy(functools.partial(run, found["unshared"], method="naive"), x, w)
    for program in dict.fromkeys(found.values()):
        assert_close(in_numpy(functools.partial(run, program), x, w), slow, 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("improve", PASSES, ids=lambda improve: improve.__name__)
@pytest.mark.parametrize("text", ["p p p -> p p", "p x -> x x p"])
def test_a_pass_alone_keeps_the_map(improve, text):
    space = ek.hom(text, groups={label: group for label, group in {"p": ek.S, "x": ek.SO(3)}.items() if label in text})
    before = unshared(space, (2, 3), bias=True)
    after = improve(before)
    sizes, free = sizes_in(space.signature)
    x, w = drawn(before, sizes)
    run = functools.partial(apply, sizes=free, method="factored")
    slow = in_numpy(functools.partial(run, before, method="naive"), x, w)
    assert_close(in_numpy(functools.partial(run, after), x, w), slow, 1e-12)
    assert improve(after) == after
    assert improve(plan(space, (2, 3), bias=True)) == plan(space, (2, 3), bias=True) or improve is batch_products


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("spread", ["axes", "channels"])
def test_the_steps_for_many_devices_run_every_stage(spread):
    from equikit._array_checks import Shapes
    from equikit.plans._apply import keyed
    from equikit.plans.execution._execute import run

    for text, groups in [("p p + p -> p p", {"p": ek.S(3)}), ("p z -> z p", {"p": ek.S(3), "z": ek.Z(2)})]:
        found = stages(ek.hom(text, groups=groups), ((2, 2) if "+" in text else 2, 3), bias=True)
        sizes = {label: group.n for label, group in groups.items()}
        x, w = drawn(found["unshared"], sizes)
        (slow,) = in_numpy(functools.partial(apply, found["unshared"], method="naive"), x, w).values()
        arrays = [x[term.name] for term in found["unshared"].signature.inputs]
        for program in dict.fromkeys(found.values()):
            shapes = Shapes((2,), sizes)
            one = functools.partial(run, program, shapes=shapes, masks={}, precision=None, spread=spread)
            (fast,) = in_numpy(lambda x, w, one=one, program=program: one(x, keyed(program, w)), arrays, w)
            assert_close(fast, slow, 1e-12)


def test_every_diagram_has_a_product_and_chains_of_its_own():
    program = unshared(ek.hom("p p -> p p", p=ek.S), bias=True)
    assert len(program.products) == 15 + 2
    for product in program.products:
        (block,) = product.blocks
        assert sum(map(len, product.inputs)) == (block.source is not None)
        assert sum(map(len, product.outputs)) == len(product.wires_in) == len(product.wires_out) == 1
        assert [count for _, count in block.segments] == [1]
    chosen = [(b.source, b.segments[0][0]) for product in program.products for b in product.blocks]
    assert sorted(chosen, key=str) == sorted([*((0, i) for i in range(15)), (None, 0), (None, 1)], key=str)
    made = [step.small for step in program.reductions]
    wanted = [half for product in program.products for half in product.inputs[0]]
    assert all(made.count(half) >= wanted.count(half) for half in wanted if half.core != ("p", "p"))


def test_masks_and_gradients_of_the_unshared_plan(x64):
    space = ek.hom("p p -> p p", p=ek.S)
    x, w = drawn(plan(space, (2, 3)), {"p": 4})
    mask = {"p": np.array([[True, True, False, True], [True, False, False, False]])}

    def slope(program):
        def loss(w):
            return jnp.sum(jnp.sin(apply(program, x["p p"], w, mask=mask, method="factored")))

        return in_numpy(jax.grad(loss), w)

    shared, alone = (slope(make(space, (2, 3), normalize="mean")) for make in (plan, unshared))
    assert_close(alone, shared, 1e-12)


def test_results_that_wait_at_one_tensor_are_each_taken_once():
    """Expanded as often as it is written, each expansion takes one; expanded less often, the last takes the rest."""
    before = unshared(ek.hom("p -> p p", p=ek.S), bias=True)
    assert len(before.expansions) > len(set(before.expansions))
    merged = add_before_broadcasting(before)
    again = replace(merged, expansions=(*merged.expansions[:1], *merged.expansions))
    x, w = drawn(before, {"p": 3})
    x, w = jax.tree.map(np.float32, (x, w))
    slow = apply(before, x, w, method="naive")
    for program in (before, merged, again):
        assert_close(apply(program, x, w, method="factored"), slow, 1e-5)


@pytest.mark.parametrize("n", [2, 5, 20, 100])
@pytest.mark.parametrize("channels", [(1, 1), (16, 32), (8, 2)])
@pytest.mark.parametrize("text", ["p p -> p p", "p p p -> p p p"])
def test_bytes_fall_or_stay_with_every_pass(text, channels, n):
    costs = [program.cost(n=n, batch=4) for program in stages(ek.hom(text, p=ek.S), channels, bias=True).values()]
    assert all(after[1] <= before[1] for before, after in itertools.pairwise(costs))
    assert all(after[0] <= before[0] for before, after in itertools.pairwise(costs))
    assert costs[-1][1] < costs[0][1] / 2


def test_adding_is_counted():
    """Two diagrams write the whole output, the second is added to the first; merged, more wait at smaller tensors."""
    found = stages(ek.hom("p p -> p p", p=ek.S))
    mixed = {
        name: sum(line.flops for line in plan_cost(program, n=10) if line.stage == "mix")
        for name, program in found.items()
    }
    products = 2 * (2 * 100 + 9 * 10 + 4)
    assert mixed["reduce_from_smallest"] == products + 100
    # Nine products write three vectors, four write two numbers.
    assert mixed["add_before_broadcasting"] == products + 100 + 6 * 10 + 2
    assert mixed["batch_products"] == products


def test_every_stage_prints():
    for program in stages(ek.hom("p p -> p", p=ek.S)).values():
        steps = len(program.reductions) + len(program.products) + len(program.expansions)
        assert f"{steps} steps" in str(program)


@pytest.mark.parametrize("make", [unshared, stages])
def test_what_cannot_be_planned_is_said(make):
    with pytest.raises(ek.OptionError, match="signature= must be a Signature"):
        make("p -> p")
    with pytest.raises(ek.OptionError, match="unknown value for normalize="):
        make(ek.hom("p -> p", p=ek.S), normalize="median")
