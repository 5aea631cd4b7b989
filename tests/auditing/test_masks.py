"""Audits of functions that take masks: group elements move the masks with the data."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek

SIZES = np.random.default_rng(1).integers(2, 5, size=10)
DATA = np.random.default_rng(0).normal(size=(10, 5, 3)).astype(np.float32)
MASK = np.arange(5) < SIZES[:, None]


def total(x, mask):
    """The sum over present entries."""
    given = mask["p"] if isinstance(mask, dict) else mask
    return jnp.sum(jnp.where(given[..., None], x, 0), -2)


def last(x, mask):
    """The last of the present entries: for padded data it depends on the order."""
    place = jnp.sum(mask, -1) - 1
    return jnp.take_along_axis(x, place[:, None, None], 1)[:, 0]


@pytest.mark.parametrize("mask", [True, MASK, {"p": MASK}, jnp.asarray(MASK)], ids=["drawn", "array", "dict", "jax"])
def test_masks_move_with_the_data(mask):
    assert ek.audit(total, "p -> ()", p=ek.S, data=DATA, mask=mask, draws=40).passed


def test_without_data_masks_are_drawn():
    report = ek.audit(lambda x, mask: x * mask["p"][..., None], "p -> p", p=ek.S(6), channels=2, mask=True, draws=40)
    assert report.passed
    assert ek.audit(lambda x, mask: x * mask["p"], "p -> p", p=ek.S(6), channels=False, mask=True, draws=40).passed


def test_a_function_of_the_order_is_not_equivariant():
    assert not ek.audit(last, "p -> ()", p=ek.S, data=DATA, mask=MASK, draws=40).passed


class Net(nnx.Module):
    def __init__(self, weights, rngs):
        self.weights = weights
        self.mix = ek.nn.Linear("p -> p", 3, 3, p=ek.S, rngs=rngs)
        self.pool = ek.nn.Linear("p -> ()", 3, 2, p=ek.S, rngs=rngs)

    def __call__(self, x, mask):
        x = self.mix(x, mask=mask)
        return self.pool(x + self.weights, mask=mask)


def test_modules_are_compared_with_their_masks():
    options = {"p": ek.S, "data": DATA, "mask": MASK, "draws": 40}
    assert ek.audit(Net(0.0, nnx.Rngs(0)), "p -> ()", **options, at={"mix": "p"}).modules.rows[0].outputs["p"] == "kept"
    found = ek.audit(Net(np.arange(5.0, dtype=np.float32)[:, None], nnx.Rngs(0)), "p -> ()", **options)
    assert found.first_broken == "output"
    assert found.modules.where.startswith("between mix (Linear) and pool (Linear), in the code of Net, at add (")


def test_signed_permutations_move_masks_too():
    def function(x, mask):
        return x * mask["x"][..., None]

    assert ek.audit(function, "x -> x", x=ek.H(4), channels=2, mask=True, draws=40).passed


WRONG = {
    "no group": (
        lambda: ek.audit(total, "x -> x", x=ek.O(3), channels=1, mask=True),
        "there is nothing to mask",
        "leave out mask=",
    ),
    "a label that is not there": (
        lambda: ek.audit(total, "p -> ()", p=ek.S, data=DATA, mask={"q": MASK}),
        "no group permutes entries along 'q'",
        "leave 'q' out of mask=",
    ),
    "none": (lambda: ek.audit(total, "p -> ()", p=ek.S, data=DATA, mask={}), "there is no mask", "leave out mask="),
    "two labels": (
        lambda: ek.audit(total, "p q -> ()", p=ek.S, q=ek.S, data=DATA[..., None], mask=MASK),
        "a single mask does not tell its label",
        'write mask={"p": ...}',
    ),
    "shape": (
        lambda: ek.audit(total, "p -> ()", p=ek.S, data=DATA, mask=MASK[0]),
        "the mask of 'p' does not fit the data",
        "give a mask with the batch axes of the data",
    ),
    "dtype": (
        lambda: ek.audit(total, "p -> ()", p=ek.S, data=DATA, mask=MASK * 1),
        "the mask of 'p' is not Boolean",
        "convert it with mask.astype(bool)",
    ),
    "a function without a mask": (
        lambda: ek.audit(lambda x: x, "p -> p", p=ek.S, data=DATA, mask=True),
        "the function takes no mask=",
        "let it take mask=, or leave mask= out",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_masks_that_cannot_be_used(name):
    call, problem, step = WRONG[name]
    with pytest.raises(ek.EquikitError) as caught:
        call()
    assert caught.value.problem == problem
    assert caught.value.step == step
