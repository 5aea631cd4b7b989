"""A merged network gets means and variances over data: of its own, or of the networks that it was made from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from equikit import DTypeError, OptionError
from equikit.weightspace import align, mean, repair, trace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 3)).astype(np.float32)


def apply(params: Any, x: Any) -> Any:
    hidden = jnp.tanh(x @ params["a"] + params["of a"])
    hidden = jnp.tanh(params["of b"] + hidden @ params["b"])
    return hidden @ params["c"] + params["of c"]


SHAPES = {"a": (3, 8), "of a": (8,), "b": (8, 6), "of b": (6,), "c": (6, 2), "of c": (2,)}


def drawn(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def before(params: Any) -> list[np.ndarray]:
    """The arrays before both activations."""
    p = {name: np.asarray(array, np.float64) for name, array in params.items()}
    one = X @ p["a"] + p["of a"]
    return [one, np.tanh(one) @ p["b"] + p["of b"]]


SPEC = trace(apply, drawn(0), X)
ONE, TWO = drawn(0), drawn(1)
MERGED = mean([ONE, TWO])


def test_layers_get_the_statistics_of_the_networks() -> None:
    fixed = repair(SPEC, apply, MERGED, [X[:32], X[32:]], networks=[ONE, TWO], coefficients=[3, 1])
    for its, first, second in zip(before(fixed), before(ONE), before(TWO), strict=True):
        assert_allclose(its.mean(0), 0.75 * first.mean(0) + 0.25 * second.mean(0), atol=1e-5)
        assert_allclose(its.std(0), 0.75 * first.std(0) + 0.25 * second.std(0), rtol=1e-4)
    for name in ("c", "of c"):  # outputs are not permuted
        assert_array_equal(fixed[name], MERGED[name])


def test_a_network_is_its_own_repair() -> None:
    fixed = repair(SPEC, apply, ONE, [X], networks=[ONE, ONE])
    for name, array in ONE.items():
        assert_allclose(np.asarray(fixed[name]), array, atol=1e-5)
    copy = SPEC.act(SPEC.random_element(key=jax.random.key(0)), ONE)
    found = repair(SPEC, apply, mean([ONE, align(SPEC, ONE, copy)]), [X], networks=[ONE, align(SPEC, ONE, copy)])
    assert_allclose(np.asarray(apply(found, X)), np.asarray(apply(ONE, X)), atol=1e-4)


def test_a_unit_that_does_not_vary_keeps_its_kernel() -> None:
    still = {**MERGED, "a": np.asarray(MERGED["a"]) * np.array([0, *[1] * 7], np.float32)}
    fixed = repair(SPEC, apply, still, [X], networks=[ONE, TWO])
    assert_array_equal(np.asarray(fixed["a"])[:, 0], 0)
    assert np.isfinite(np.asarray(fixed["of a"])).all()


class Normalized(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(2, 4, (3,), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.second = nnx.Linear(4, 5, rngs=rngs)
        self.other = nnx.BatchNorm(5, use_running_average=True, use_scale=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(self.norm(self.first(x)))
        return jnp.sum(self.other(self.second(hidden)), (1, 2))


def test_running_averages_become_those_of_the_data() -> None:
    graph, params = nnx.split(Normalized(nnx.Rngs(0)))
    params = jax.tree.map(lambda a: a + jnp.asarray(RNG.uniform(0.1, 0.5, a.shape), a.dtype), params)

    def run(params: Any, x: Any) -> Any:
        return nnx.merge(graph, params)(x)

    x = RNG.normal(size=(40, 9, 2)).astype(np.float32)
    fixed = repair(trace(run, params, x), run, params, [x[:10], x[10:]])
    model = nnx.merge(graph, fixed)
    first = np.asarray(model.first(jnp.asarray(x)), np.float64).reshape(-1, 4)
    assert_allclose(np.asarray(model.norm.mean[...]), first.mean(0), atol=1e-5)
    assert_allclose(np.asarray(model.norm.var[...]), first.var(0), rtol=1e-4)
    scale, bias = (np.asarray(one[...]) for one in (model.norm.scale, model.norm.bias))
    hidden = np.maximum((first - first.mean(0)) / np.sqrt(first.var(0) + 1e-5) * scale + bias, 0)
    second = hidden @ np.asarray(model.second.kernel[...]) + np.asarray(model.second.bias[...])
    assert_allclose(np.asarray(model.other.mean[...]), second.mean(0), atol=1e-4)
    assert_allclose(np.asarray(model.other.var[...]), second.var(0), rtol=1e-3)
    same = jax.tree.leaves((fixed["first"], fixed["second"], fixed["norm"]["scale"]))
    for array, other in zip(
        same, jax.tree.leaves((params["first"], params["second"], params["norm"]["scale"])), strict=True
    ):
        assert_array_equal(array, other)


@pytest.mark.parametrize("form", ["scale first", "division", "axes in front"])
def test_other_ways_to_normalize(form: str) -> None:
    def run(params: Any, x: Any) -> Any:
        hidden = x @ params["w"]
        m, v = params["mean"], params["var"]
        if form == "scale first":
            return jnp.sum((hidden - m) * (params["scale"] * jax.lax.rsqrt(v + 1e-3)), 1)
        if form == "division":
            return jnp.sum((hidden - m) / jnp.sqrt(v + 1e-3) * params["scale"], 1)
        hidden = hidden.T
        return jnp.sum((hidden - m[:, None]) * jax.lax.rsqrt(v + 1e-3)[:, None] * params["scale"][:, None], 0)

    params = {"w": RNG.normal(size=(3, 4)), "mean": np.zeros(4), "var": np.ones(4), "scale": RNG.normal(size=4)}
    params = {name: array.astype(np.float32) for name, array in params.items()}
    fixed = repair(trace(run, params, X), run, params, [X])
    assert_allclose(np.asarray(fixed["mean"]), (X @ params["w"]).mean(0), atol=1e-5)
    assert_allclose(np.asarray(fixed["var"]), (X @ params["w"]).var(0), rtol=1e-4)


def test_parameters_that_are_used_twice_stay() -> None:
    def tied(params: Any, x: Any) -> Any:
        hidden = jnp.tanh(x @ params["a"] + params["b"])
        return jnp.tanh(hidden @ params["a"].T @ params["a"] + params["c"])

    params = {"a": RNG.normal(size=(3, 4)), "b": RNG.normal(size=4), "c": RNG.normal(size=4)}
    params = {name: array.astype(np.float32) for name, array in params.items()}
    text = refused(trace(tied, params, X), tied, params, [X], networks=[params, params])
    assert "nothing to correct" in text


def two_products(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["a"] + x @ params["d"] + params["b"]) @ params["c"]


def gain(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["a"] * jnp.sum(params["d"], 0) + params["b"]) @ params["c"]


@pytest.mark.parametrize("run", [two_products, gain])
def test_layers_that_are_more_than_a_product_and_a_bias_stay(run: Any) -> None:
    shapes = {"a": (3, 4), "b": (4,), "c": (4, 2), "d": (3, 4)}
    params = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    text = refused(trace(run, params, X), run, params, [X], networks=[params, params])
    assert "no running averages, and no layer that is corrected" in text
    assert "a layer x @ W + b with permuted outputs, whose bias is added to one product alone" in text


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(OptionError) as caught:
        repair(*arguments, **options)
    return str(caught.value)


def test_numbers_that_would_be_rounded_or_lose_a_part_are_refused() -> None:
    whole, turned = (jax.tree.map(kind, MERGED) for kind in (np.int32, np.complex64))
    for params, networks, text in (
        (whole, [ONE, TWO], "int32"),
        (turned, [ONE, TWO], "complex64"),
        (MERGED, [ONE, turned], "complex64"),
    ):
        with pytest.raises(DTypeError, match=f"(?s)repair needs real floating-point parameters.*{text}"):
            repair(SPEC, apply, params, [X], networks=networks)
    with pytest.raises(DTypeError, match=r"(?s)statistics are corrected.*complex64"):
        repair(SPEC, apply, MERGED, [X * 1j], networks=[ONE, TWO])


def test_counters_stay() -> None:
    def counted(params: Any, x: Any) -> Any:
        return apply(params, x) / (1 + params["count"])

    one, two, merged = ({**each, "count": np.int32(i)[None]} for i, each in enumerate((ONE, TWO, MERGED)))
    fixed = repair(trace(counted, one, X), counted, merged, [X], networks=[one, two])
    assert_array_equal(fixed["count"], [2])


def test_what_cannot_be_corrected() -> None:
    assert "no running averages, and no networks=" in refused(SPEC, apply, MERGED, [X])
    for batches in ([], None, 3, X):
        assert "there are no batches" in refused(SPEC, apply, MERGED, batches, networks=[ONE, TWO])
    assert "batches[1] is empty" in refused(SPEC, apply, MERGED, [X, X[:0]], networks=[ONE, TWO])
    assert "coefficients" in refused(SPEC, apply, MERGED, [X], networks=[ONE, TWO], coefficients=[1])
    assert "networks[1]" in refused(SPEC, apply, MERGED, [X], networks=[ONE, {"a": ONE["a"]}])
    nan = {**MERGED, "a": np.asarray(MERGED["a"]) * np.float32("nan")}
    assert "statistics of 'a'" in refused(SPEC, apply, nan, [X], networks=[ONE, TWO])
