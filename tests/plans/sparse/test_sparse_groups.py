"""Other labels of a plan on a support: every kind of group and of axis, against dense arrays with absent entries."""

import numpy as np
import pytest
from by_entries import dense_inputs, rows_of
from helpers import assert_close, random_weights
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, plan, to_numpy

pytestmark = pytest.mark.usefixtures("x64")

N = 4
CASES = {
    "m p p -> p m + m": {"m": ek.Lorentz},
    "p p m m -> p p + p m m": {"m": ek.O(1, 2)},
    "p w w + p p -> w p w": {"w": ek.Sp(4)},
    "p x p x -> x p + p p": {"x": ek.SO(3)},
    "p x + p p -> x x p p": {"x": ek.SO(2)},
    "p p z -> z p": {"z": ek.Z(3)},
    "z p a -> p a p": {"z": ek.D(3), "a": ek.A(3)},
    "f p p g -> p f + g": {"f": ek.Fixed(2), "g": ek.Fixed(3)},
    "p v p -> v v* v p": {"v": ek.GL(2)},
    "p p x~ -> p x x": {"x": ek.O(3)},
    "det(x) p -> p p x x": {"x": ek.O(2)},
    "p q q p + q -> q p p": {"q": ek.S(3)},
    "h p p h -> p": {"h": ek.H(2)},
    "b p p -> p b + b": {"b": ek.Bistochastic(3)},
}


def assert_equal(signature: str, mask: np.ndarray, normalize: str) -> None:
    """Compare with the dense plan in NumPy, whose input is zero where entries are absent."""
    space = ek.hom(signature, p=ek.S, **CASES[signature])
    program = plan(space, (1, 2), normalize=normalize, bias=True)
    terms, weights = program.signature, random_weights(program)
    sizes = {"p": N, **{label: size for label, size in terms.sizes.items() if size is not None}}
    inputs = dense_inputs(program, sizes)
    for term in terms.inputs:
        axes = [i for i, label in enumerate(term.labels) if label == "p"]
        if len(axes) == 2:
            shape = [N if i in axes else 1 for i in range(len(term.labels) + 1)]
            inputs[term.name] = inputs[term.name] * mask.reshape(shape)
    wanted = to_numpy(program, weights)(inputs, sizes={"p": N})
    support = ek.Support.from_mask(mask)
    rows = {term.name: rows_of(inputs[term.name], term.labels, {2: mask}) for term in terms.inputs}
    found = in_numpy(lambda rows, weights: apply(program, rows, weights, support=support), rows, weights)
    assert_close(found, {t.name: rows_of(wanted[t.name], t.labels, {2: mask}) for t in terms.outputs}, 1e-12)


@pytest.mark.parametrize("signature", CASES)
def test_sums_on_some_entries(signature):
    assert_equal(signature, np.random.default_rng(0).random((N, N)) < 0.5, "sum")


@pytest.mark.slow
@pytest.mark.parametrize("signature", CASES)
def test_means_on_all_entries(signature):
    assert_equal(signature, np.ones((N, N), bool), "mean")
