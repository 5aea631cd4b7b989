"""Bad arguments to `plan` and `apply`."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.diagrams import mean_square_gains
from equikit.plans import (
    PASSES,
    apply,
    apply_multilinear,
    multilinear_plan,
    multilinear_weight_shape,
    plan,
    plan_cost,
    unshared,
    weight_name,
)

ones = jnp.ones
program = plan(ek.hom("p -> p", p=ek.S), (2, 3))
good = {"p -> p": ones((2, 2, 3))}


def double(shape):
    """An array of JAX in double precision, made where x64 was on."""
    with jax.enable_x64(True):
        return ones(shape)


APPLIES = {
    "method": (
        ek.OptionError,
        lambda: apply(program, ones((4, 2)), good, method="fast"),
        "unknown value for method=",
        "'fast'",
        '"auto", "factored", "dense", "naive" or "fused"',
        'method="auto"',
    ),
    "weights-missing": (
        ek.ShapeError,
        lambda: apply(program, ones((4, 2)), {}),
        "the weights do not have the expected names",
        "no names",
        "a dictionary with the names 'p -> p'",
        "weight_shapes(plan)",
    ),
    "weights-shape": (
        ek.ShapeError,
        lambda: apply(program, ones((4, 2)), {"p -> p": ones((2, 3, 2))}),
        "the weights 'p -> p' must have shape [2, 2, 3]",
        "shape [2, 3, 2]",
        "[2, 2, 3]",
        "weight_shapes(plan)",
    ),
    "weights-integers": (
        ek.DTypeError,
        lambda: apply(program, ones((4, 2)), {"p -> p": ones((2, 2, 3), int)}),
        "weights 'p -> p' does not hold floating-point numbers",
        "dtype int32",
        "float32",
        "astype",
    ),
    "weights-of-eight-bits": (
        ek.DTypeError,
        lambda: apply(program, ones((4, 2)), {"p -> p": ones((2, 2, 3), jnp.float8_e4m3fn)}),
        "weights 'p -> p' holds numbers with fewer than 16 bits",
        "dtype float8_e4m3fn",
        "float32",
        "astype",
    ),
    "weights-float64": (
        ek.DTypeError,
        lambda: apply(program, ones((4, 2)), {"p -> p": double((2, 2, 3))}),
        "weights 'p -> p' would be cast silently",
        "dtype float64 while jax_enable_x64 is off",
        "float32",
        "pass x.astype(jnp.float32)",
    ),
    "weights-not-a-dictionary": (
        ek.OptionError,
        lambda: apply(program, ones((4, 2)), ones((2, 2, 3))),
        "weights is not a dictionary",
        "Array",
        "a dictionary from name to value",
        'weights={"p -> p": ...',
    ),
    "plan-normalize": (
        ek.OptionError,
        lambda: plan(ek.hom("p -> p", p=ek.S), normalize=None),
        "unknown value for normalize=",
        "None",
        '"mean" or "sum"',
        'normalize="mean"',
    ),
    "plan-channels-alone": (
        ek.ShapeError,
        lambda: plan(ek.hom("p -> p", p=ek.S), 16),
        "the channels are not a pair",
        "16",
        "channels of the inputs, and channels of the outputs",
        "(16, 32)",
    ),
    "plan-channels-three": (
        ek.ShapeError,
        lambda: ek.hom("p -> p", p=ek.S).plan((1, 2, 3)),
        "the channels are not a pair",
        "(1, 2, 3)",
        "channels of the inputs, and channels of the outputs",
        "(16, 32)",
    ),
    "plan-channels-fraction": (
        ek.OptionError,
        lambda: ek.hom("p -> p", p=ek.S).plan((1.5, 2)),
        "the number of input channels must be a whole number",
        "1.5",
        "an integer ≥ 0",
        "1",
    ),
    "plan-bias": (
        ek.OptionError,
        lambda: ek.hom("p -> p", p=ek.S).plan(bias="no"),
        "bias= must be True or False",
        "'no'",
        "a bool",
        "write bias=True",
    ),
    "unshared-bias": (
        ek.OptionError,
        lambda: unshared(ek.hom("p -> p", p=ek.S), bias=1),
        "bias= must be True or False",
        "1",
        "a bool",
        "write bias=True",
    ),
    "gains-mean": (
        ek.OptionError,
        lambda: ek.hom("p, p -> p", p=ek.S).mean_square_gains(3, mean="no"),
        "mean= must be True or False",
        "'no'",
        "a bool",
        "write mean=True",
    ),
    "diagram-gains-mean": (
        ek.OptionError,
        lambda: mean_square_gains(ek.hom("p -> p", p=ek.S).diagrams, {"p": 3}, mean="no"),
        "mean= must be True or False",
        "'no'",
        "a bool",
        "write mean=True",
    ),
    "weight-shape-channels": (
        ek.OptionError,
        lambda: multilinear_weight_shape(ek.hom("p, p -> p", p=ek.S), None, 1),
        "the number of input channels must be a whole number",
        "None",
        "an integer ≥ 0",
        "give for example 1",
    ),
    "weight-shape-out-channels": (
        ek.OptionError,
        lambda: multilinear_weight_shape(ek.hom("p, p -> p", p=ek.S), (1, 1), -1),
        "the number of output channels must be a whole number",
        "-1",
        "an integer ≥ 0",
        "give for example 1",
    ),
    "multilinear-plan-of-linear-maps": (
        ek.OptionError,
        lambda: multilinear_plan(ek.hom("p -> p", p=ek.S)),
        "space= must be a MultilinearSpace",
        "dimension 2",
        "a MultilinearSpace",
        'write space=ek.hom("x, x -> x", x=ek.SO(3))',
    ),
    "plan-text": (
        ek.OptionError,
        lambda: plan("p -> p"),
        "signature= must be a Signature",
        "'p -> p'",
        "a Signature",
        'write signature=ek.hom("p p -> p", p=ek.S)',
    ),
    "space-for-a-plan": (
        ek.OptionError,
        lambda: apply(ek.hom("p -> p", p=ek.S), ones((4, 2)), good),
        "plan= must be a Plan",
        "dimension 2",
        "a Plan",
        "space.plan",
    ),
    "batch": (
        ek.OptionError,
        lambda: program.cost(batch=-1),
        "batch= must be a whole number",
        "-1",
        "an integer ≥ 0",
        "write batch=1",
    ),
    "plan-channels": (
        ek.ShapeError,
        lambda: plan(ek.hom("p -> p", p=ek.S), ((1, 2), 3)),
        "the number of input channels for ['p'] must be 1",
        "2",
        "1",
        "one number for each term",
    ),
}


@pytest.mark.parametrize("case", APPLIES)
def test_the_error_names_the_argument_the_value_and_the_next_step(case):
    assert_error(*APPLIES[case])


@pytest.mark.parametrize("text", ["p -> p", "p, p -> p"])
def test_unknown_options_of_plan_are_refused_by_python(text):
    with pytest.raises(TypeError, match=r"plan\(\) got an unexpected keyword argument 'foo'"):
        ek.hom(text, p=ek.S).plan(foo=1)


@pytest.mark.parametrize("call", [*PASSES, lambda space: [*plan_cost(space)]])
def test_a_space_is_not_a_plan(call):
    space = ek.hom("p -> p", p=ek.S)
    step = "plan=space.plan((channels_in, channels_out))"
    assert_error(ek.OptionError, lambda: call(space), "plan= must be a Plan", "hom(", "a Plan", step)


def test_the_size_of_a_number_is_a_count_of_bytes():
    for wrong in (None, -1, 0, math.nan, 1j):
        cost = plan_cost(program, itemsize=wrong)
        assert_error(ek.OptionError, lambda c=cost: [*c], "itemsize=", str(wrong), "an integer ≥ 1", "itemsize=4")


def test_a_text_is_not_a_term():
    (term,) = program.signature.outputs
    step = "target=space.signature.outputs[0]"
    assert_error(ek.OptionError, lambda: weight_name(term, "p"), "target= must be a Term", "'p'", "a Term", step)
    step = "source=space.signature.inputs[0]"
    assert_error(ek.OptionError, lambda: weight_name("p", term), "source= must be a Term", "'p'", "a Term", step)


def test_masks_of_multilinear_maps_are_booleans():
    space, x = ek.hom("p, p -> p", p=ek.S(3)), ones((3, 1))
    call = functools.partial(apply_multilinear, space, (x, x), ones((5, 1, 1, 1)))
    masks = np.array([True, True, False])
    assert call(mask=masks)[:, 0].tolist() == call(mask=jnp.asarray(masks))[:, 0].tolist() == [11, 11, 0]
    for wrong, got in ((masks.astype(str), "<U5"), (masks.astype(float), "float64"), (masks.tolist(), "list")):
        step = "asarray(mask, dtype=bool)"
        assert_error(ek.DTypeError, lambda m=wrong: call(mask=m), "not an array of booleans", got, "bool", step)
