"""Bad inputs raise our errors, with a next step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explained_models import inputs, of_points, of_set

import equikit as ek
from equikit.auditing.explanations import (
    all_orders,
    averaged,
    concepts,
    equivariance,
    explainer,
    gradient,
    gradient_shap,
    guarantee,
    integrated_gradients,
    invariance,
    occlusion,
    shapley,
    windows,
)

X = inputs(4, 2).astype(np.float32)
S4 = {"p": ek.S(4)}


def score(function, x=X, signature="p -> p", **options):
    return equivariance(function, x, signature, **{**S4, **options})


def holes(x):
    return np.where(x > 0.5, np.nan, x)


CASES = {
    "unknown name": (lambda: explainer("integrated_gradient", of_set), ek.OptionError, 'write how="integrated_grad'),
    "unknown option": (
        lambda: explainer("integrated_gradients", of_set, 0, step=10),
        ek.OptionError,
        "write steps=",
    ),
    "an array of the wrong shape": (
        lambda: score(lambda x: x[:, :2]),
        ek.ShapeError,
        "the explanation 'p' must have shape [3, 4, channels]",
    ),
    "no row for each sample": (
        lambda: invariance(lambda x: x.sum(0), X, "p -> ()", **S4),
        ek.ShapeError,
        "return one row for each sample",
    ),
    "a shape that changes": (
        lambda: invariance(lambda x: x[:, : 1 + int(x[0, 0, 0] > 0)], X, "p -> ()", **S4),
        ek.ShapeError,
        "whose shape does not depend on the values of x",
    ),
    "NaN": (lambda: score(holes), ek.OptionError, "explanations are not finite"),
    "all zero": (lambda: score(np.zeros_like), ek.OptionError, "all explanations are zero, and have no cosine"),
    "smaller than the offset": (lambda: score(lambda x: 1e-9 * x), ek.OptionError, "pass offset=0"),
    "no samples": (lambda: score(np.tanh, X[:0]), ek.OptionError, "nothing would be compared: an input has no entries"),
    "no axis of samples": (lambda: score(np.tanh, X[0]), ek.ShapeError, "the inputs have no axis of samples"),
    "several axes of samples": (lambda: score(np.tanh, X[None]), ek.ShapeError, "the inputs have several axes of"),
    "an axis of size zero": (lambda: score(np.tanh, X[:, :0], p=ek.S(0)), ek.OptionError, "an input has no entries"),
    "explanations without entries": (
        lambda: invariance(lambda x: x[:, :0], X, "p -> ()", **S4),
        ek.OptionError,
        "explanations have no entries",
    ),
    "inputs with NaN": (lambda: score(np.tanh, holes(X)), ek.OptionError, "the data are not finite"),
    "another size": (
        lambda: score(np.tanh, p=ek.S(5)),
        ek.ShapeError,
        "input 'p' has size 4 on axis 'p', but p is bound to S(5)",
    ),
    "a free group": (lambda: equivariance(np.tanh, X, "p -> q", p=ek.S, q=ek.S), ek.GroupError, "bind q=ek.S(4)"),
    "a missing input": (
        lambda: equivariance(lambda x: x["p"], {"p": X}, "p + p p -> p", **S4),
        ek.ShapeError,
        "the data do not have the expected names",
    ),
    "no function": (lambda: score(None), ek.OptionError, "explainer= must be callable"),
    "an unknown similarity": (lambda: score(np.tanh, similarity="cos"), ek.OptionError, 'write similarity="cosine"'),
    "a confidence of one": (lambda: score(np.tanh, confidence=1), ek.OptionError, "write confidence=0.95"),
    "a misspelled option": (lambda: score(np.tanh, sample=5), ek.OptionError, "samples"),
    "integers": (lambda: score(np.tanh, np.ones((3, 4, 2), int)), ek.DTypeError, "floating-point"),
    "a class that does not exist": (lambda: gradient(of_set, 3)(X), ek.OptionError, "classes from 0 to 2"),
    "a negative class": (lambda: gradient(of_set, [0, -1, 0]), ek.OptionError, "write target=0"),
    "targets of other samples": (lambda: gradient(of_set, [0, 1])(X), ek.ShapeError, "2 targets for 3 samples"),
    "scores without a target": (lambda: gradient(of_set)(X), ek.ShapeError, "give target= the class of each sample"),
    "a target without scores": (
        lambda: gradient(lambda x: jnp.sum(x), 0)(X),
        ek.ShapeError,
        "leave target= out, or return scores",
    ),
    "a baseline that does not fit": (
        lambda: integrated_gradients(of_set, 0, baseline=jnp.ones((5, 2)))(X),
        ek.ShapeError,
        "baseline= does not fit the inputs",
    ),
    "steps without end": (lambda: integrated_gradients(of_set, steps=10**30), ek.OptionError, "≤ 1,000,000"),
    "orders without end": (
        lambda: shapley(of_set, regions=windows((4,)), orders=10**30),
        ek.OptionError,
        "≤ 1,000,000",
    ),
    "elements without end": (lambda: score(np.tanh, samples=10**30), ek.OptionError, "≤ 1,000,000"),
    "no steps": (lambda: integrated_gradients(of_set, steps=0), ek.OptionError, "write steps=50"),
    "no key": (lambda: gradient_shap(of_set, 0, key=3), ek.OptionError, "write key=jax.random.key(0)"),
    "regions of numbers": (
        lambda: occlusion(of_set, regions=np.ones((2, 4, 1))),
        ek.OptionError,
        "make them with windows",
    ),
    "regions of other axes": (
        lambda: occlusion(of_set, 0, regions=windows((5,)))(X),
        ek.ShapeError,
        "[regions, 4, 1]",
    ),
    "a window that is too wide": (lambda: windows((4,), 5), ek.OptionError, "use smaller windows"),
    "regions that overlap": (
        lambda: shapley(of_set, regions=windows((4,), 2)),
        ek.OptionError,
        "regions= must divide the input",
    ),
    "orders of other regions": (
        lambda: shapley(of_set, regions=windows((4,)), orders=all_orders(3)),
        ek.OptionError,
        "integers [orders, 4]",
    ),
    "too many orders": (lambda: all_orders(9), ek.OptionError, "sample orders: pass their number"),
    "concepts of other examples": (
        lambda: concepts(of_points, X, [[True], [False]]),
        ek.ShapeError,
        "give one row of booleans for each example",
    ),
    "an unknown kernel": (
        lambda: concepts(of_points, X, [[True]] * 3, kernel="rbf"),
        ek.OptionError,
        'write kernel="linear"',
    ),
    "a guarantee for a function": (
        lambda: guarantee(np.tanh, X, "p -> p", **S4),
        ek.OptionError,
        "must be an Explainer",
    ),
    "an average over an infinite group": (
        lambda: averaged(np.tanh, "x -> x", x=ek.O(4))(jnp.asarray(X)),
        ek.GroupError,
        "O(4)",
    ),
    "random elements without a key": (
        lambda: averaged(np.tanh, "x -> x", x=ek.O(4), elements=4),
        ek.OptionError,
        "write key=jax.random.key(0)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_answered(name):
    call, error, text = CASES[name]
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert caught.value.step


def test_a_model_that_is_not_finite_is_reported_by_a_guarantee():
    with jax.debug_nans(False):
        found = guarantee(gradient(lambda x: jnp.sum(jnp.log(x))), X, "p -> p", **S4)
    assert not found.holds
    assert np.isnan(found.conditions[0].error)


def test_exceptions_of_models_and_explainers_are_ours():
    x = np.random.default_rng(0).normal(size=(4, 3, 1)).astype(np.float32)
    of_batches = ek.auditing.explanations.gradient(lambda x: jnp.sum(x, axis=(1, 2)))
    with pytest.raises(ek.OptionError, match="the model raises an exception for one sample"):
        of_batches(x)
    with pytest.raises(ek.OptionError, match="the function raises an exception"):
        ek.auditing.explanations.equivariance(lambda x: 1 / 0, x, "p -> p", p=ek.S)
