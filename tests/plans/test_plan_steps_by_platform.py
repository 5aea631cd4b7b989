"""Large plans take other steps on accelerators, which give what the steps of a CPU give; no platform gathers."""

from __future__ import annotations

import re
from typing import Any

import in_numpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bindings, every, partly_slow, random_inputs, random_masks, random_weights, sizes_of
from jax import export

import equikit as ek
from equikit.plans import apply, plan, weight_shapes
from equikit.plans.execution import _program, _steps
from equikit.plans.execution._arrays import diagonal, embed, masked_diagonal, masked_embed
from equikit.plans.execution._matmul import Parts, matmul, matmul_apart, matmul_batched, matmul_rows

CASES: list[tuple[str, dict[str, Any], dict[str, int]]] = [
    *(
        (text, bindings(text), sizes_of(text, 3))
        for text in ("p p -> p p", "p p p -> p p p", "q p q -> p q", "f p g p -> p f", "p p -> q p", "p p -> ()")
    ),
    ("p p + p + () -> p p + p + ()", {"p": ek.S(2)}, {"p": 2}),  # fewer points than blocks: weights have gaps
    ("a: p p + b: p p -> c: p p", {"p": ek.S}, {"p": 3}),
    ("x x -> x x", {"x": ek.Sp(4)}, {"x": 4}),
    ("m m m -> m", {"m": ek.Lorentz}, {"m": 4}),
    ("x x -> x x", {"x": ek.SO(3)}, {"x": 3}),
    ("p x -> p x x", {"p": ek.S, "x": ek.Z(3)}, {"p": 4, "x": 3}),
    ("u u* -> u u*", {"u": ek.GL(3)}, {"u": 3, "u*": 3}),
]
LARGE = ek.hom("p p -> p p", p=ek.S).plan((4, 4))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose steps for arrays of any size."""
    monkeypatch.setattr(_program, "LEAST_BYTES", 0)
    monkeypatch.setattr(_steps, "LEAST_MASKED", 0)


def evaluated(monkeypatch: pytest.MonkeyPatch, platform: str, function: Any, *arguments: Any) -> list[np.ndarray]:
    monkeypatch.setattr(in_numpy, "PLATFORM", platform)
    found: list[np.ndarray] = jax.tree.leaves(in_numpy.in_numpy(function, *arguments))
    return found


def assert_alike(monkeypatch: pytest.MonkeyPatch, function: Any, *arguments: Any, rtol: float = 1e-12) -> None:
    expected = evaluated(monkeypatch, "cpu", function, *arguments)
    for platform in ("cuda", "tpu"):
        for one, other in zip(evaluated(monkeypatch, platform, function, *arguments), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("case", "dtype"),
    partly_slow(
        every(CASES, [np.float64, np.float32]),
        lambda place: place in (0, 5, 18),
        [f"{text}, {groups}, {dtype.__name__}" for (text, groups, _), dtype in every(CASES, [np.float64, np.float32])],
    ),
)
def test_same_values_and_derivatives_on_all_platforms(
    case: Any, dtype: Any, x64: None, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, groups, sizes = case
    space = ek.hom(text, **groups)
    inputs, outputs = len(space.signature.inputs), len(space.signature.outputs)
    the_plan = plan(space, (tuple(range(2, 2 + inputs)), tuple(range(3, 3 + outputs))), bias=True)
    weights, x = random_weights(the_plan), random_inputs(the_plan, sizes, (2,))
    weights, x = jax.tree.map(lambda a: np.asarray(a, dtype), (weights, x))
    permutes = all(group.permutes for group in space.signature.groups.values())
    masks = random_masks(the_plan, sizes, (2,)) if permutes else {}
    free = {"q": sizes["q"]} if text == "p p -> q p" else {}

    def run(weights: Any, x: Any) -> Any:
        return apply(the_plan, x, weights, mask=masks, sizes=free, method="factored")

    def all_of(weights: Any, x: Any) -> Any:
        y, back = jax.vjp(run, weights, x)
        _, ahead = jax.jvp(run, (weights, x), (weights, x))
        return y, back(jax.tree.map(jnp.cos, y)), ahead

    assert_alike(monkeypatch, all_of, weights, x, rtol=1e-12 if dtype == np.float64 else 2e-4)


def test_vectorized_and_second_derivatives_are_the_same(
    x64: None, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, x = random_weights(LARGE), random_inputs(LARGE, {"p": 3}, (2,))["p p"]
    weights = {pair: weight[:, :1, :1].repeat(4, 1).repeat(4, 2) for pair, weight in weights.items()}

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.sin(apply(LARGE, x, weights, method="factored")))

    def all_of(x: Any) -> Any:
        return jax.vmap(jax.grad(loss))(x), jax.grad(lambda x: jnp.sum(jnp.cos(jax.grad(loss)(x))))(x)

    assert_alike(monkeypatch, all_of, x)


def test_half_precision_is_accumulated_in_float32_on_all_platforms(
    always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, x = random_weights(LARGE), random_inputs(LARGE, {"p": 3}, (2,))["p p"]
    weights, x = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (weights, x))

    def run(weights: Any, x: Any) -> Any:
        return apply(LARGE, x, weights, method="factored").astype(jnp.float32)

    assert_alike(monkeypatch, run, weights, x, rtol=1e-2)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2), (1, 3)])
def test_masks_take_and_embed_the_same_diagonals(first: int, second: int, x64: None) -> None:
    x = np.random.default_rng(0).normal(size=(3, 3, 3, 3, 2))
    expected = np.moveaxis(x.diagonal(0, first, second), -1, first)
    for function in (diagonal, masked_diagonal):
        np.testing.assert_array_equal(in_numpy.in_numpy(lambda x, f=function: f(x, first, second), x), expected)
    x[..., 0] = np.nan  # what is not on the diagonal has no effect, whatever it is
    for i in range(3):
        x[tuple(i if axis in (first, second) else slice(None) for axis in range(5))] = 1
    found = in_numpy.in_numpy(lambda x: masked_diagonal(x, first, second), x)
    np.testing.assert_array_equal(found, np.ones_like(found))
    for shift in (0, 1):
        whole = np.zeros((3, 3, 3, 3, 2))
        small = np.random.default_rng(1).normal(size=(3, 3, 3, 2))
        for i in range(3):
            place: list[Any] = [slice(None)] * 5
            place[first], place[second] = i, (i + shift) % 3
            whole[tuple(place)] = small[(slice(None),) * first + (i,)]
        for grow in (embed, masked_embed):
            found = in_numpy.in_numpy(lambda x, f=grow, s=shift: f(x, first, second, s), small)
            np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("parts", [Parts((2, 2, 3), 2, 3), Parts((1, 6), 1, 1), Parts((7,), 3, 2)], ids=str)
def test_a_product_in_parts_is_the_product(parts: Parts, x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(2, 3, 4, 7)), rng.normal(size=(7, 12))
    found = in_numpy.in_numpy(lambda x, m: matmul_apart(x, m, parts, None), x, matrix)
    np.testing.assert_allclose(found, x @ matrix, rtol=1e-12)
    assert_alike(monkeypatch, lambda x, m: jax.vjp(lambda x, m: matmul(x, m, None, parts), x, m)[1](x @ m), x, matrix)


@pytest.mark.usefixtures("x64")
def test_a_long_axis_is_multiplied_for_each_sample_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(2, 3, 9, 2)), rng.normal(size=(2, 1))
    found = in_numpy.in_numpy(lambda x, m: matmul_batched(x, m, None), x, matrix)
    np.testing.assert_allclose(found, x @ matrix, rtol=1e-12)
    program = plan(ek.hom("p -> p", p=ek.S), (2, 1), bias=True)
    weights, points = random_weights(program), random_inputs(program, {"p": 9}, (4,))["p"]
    monkeypatch.setattr(_program, "LEAST_BYTES", 0)

    def both(x: Any, weights: Any) -> Any:
        y, back = jax.vjp(lambda x, w: apply(program, x, w, method="factored"), x, weights)
        return y, back(jnp.sin(y))

    assert_alike(monkeypatch, both, points, weights)
    text = export.export(jax.jit(both), platforms=["cuda"])(points, weights).mlir_module()
    assert "optimization_barrier" in text
    assert "batching_dims = [0] x [0]" in text


def test_blocks_of_rows_are_multiplied_in_parts(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    xs, rows = [rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 2))], [rng.normal(size=(k, 6)) for k in (4, 2)]
    parts = [Parts((2, 2), 3, 2), Parts((2,), 3, 2)]

    def both(xs: Any, rows: Any) -> Any:
        y, back = jax.vjp(lambda xs, rows: matmul_rows(xs, rows, None, parts), xs, rows)
        return y, back(y), jax.grad(lambda xs: jnp.sum(matmul_rows([xs[0], *xs[1:]], rows, None, parts) ** 3))(xs)

    (y, *_) = evaluated(monkeypatch, "tpu", both, xs, rows)
    np.testing.assert_allclose(y, np.concatenate(xs, -1) @ np.concatenate(rows), rtol=1e-12)
    assert_alike(monkeypatch, both, xs, rows)


def lowered(platform: str, gradient: bool, n: Any = 64, program: Any = LARGE) -> str:
    """The StableHLO of a plan, which is large at n = 64."""
    x = jax.ShapeDtypeStruct((8, n, n, 4), jnp.float32)
    weights = {pair: jax.ShapeDtypeStruct(shape, jnp.float32) for pair, shape in weight_shapes(program).items()}

    def function(x: Any, weights: Any) -> Any:
        return jnp.sum(apply(program, x, weights, method="factored"))

    exported = export.export(jax.jit(jax.grad(function, (0, 1)) if gradient else function), platforms=[platform])
    return exported(x, weights).mlir_module()


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
def test_steps_of_each_platform_in_what_is_lowered_for_it(gradient: bool) -> None:
    texts = {platform: lowered(platform, gradient) for platform in ("cpu", "cuda", "tpu")}
    for platform, text in texts.items():
        assert "gather" not in text
        assert "scatter" not in text
        assert ("stablehlo.select" in text) is (platform != "cpu")
        assert bool(re.search(r"interior = \[[^\]]*64|:65[,\]]", text)) is (platform != "tpu")  # strides
    products = {platform: text.count("stablehlo.dot_general") for platform, text in texts.items()}
    assert products["cpu"] == products["cuda"] == (6 if gradient else 3)
    assert products["tpu"] == (8 if gradient else 4)


def test_small_or_symbolic_plans_take_the_same_steps_everywhere() -> None:
    (symbol,) = export.symbolic_shape("n")
    for n in (8, symbol):
        assert "stablehlo.select" not in lowered("tpu", False, n)


@pytest.mark.parametrize("text", ["p p -> p p", "p p p -> p p"])
def test_the_backward_pass_keeps_no_masks(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks would be as large as the tensors, also in a program for a CPU, which does not need them."""
    program = ek.hom(text, p=ek.S).plan((2, 2))
    x = jnp.ones((2, *(5,) * len(program.signature.inputs[0].labels), 2))
    weights = {pair: jnp.ones(shape) for pair, shape in weight_shapes(program).items()}

    def kept(x: Any, weights: Any) -> Any:
        return jax.tree.leaves(jax.vjp(lambda x, w: apply(program, x, w, method="factored"), x, weights)[1])

    sizes = []
    for least in (10**9, 0):
        monkeypatch.setattr(_program, "LEAST_BYTES", least)
        monkeypatch.setattr(_steps, "LEAST_MASKED", 0)
        shapes = jax.eval_shape(kept, x, weights)
        sizes.append(sum(a.size * a.dtype.itemsize for a in shapes))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("signature", "barriers"), [("p p -> p p", 3), ("p p -> ()", 0)])
def test_sums_on_gpus_are_not_taken_from_the_tensor_again(signature: str, barriers: int) -> None:
    """XLA would merge two sums into one over the whole tensor; barriers keep what a product reads too."""
    program = ek.hom(signature, p=ek.S).plan((4, 4))
    for platform in ("cpu", "tpu", "cuda"):
        text = lowered(platform, False, program=program)
        assert text.count("stablehlo.optimization_barrier") == (barriers if platform == "cuda" else 0)


@pytest.mark.parametrize(
    ("text", "channels", "count"),
    [
        ("p p -> p p", (32, 32), 4),  # two products along the axes, one for each permutation, and two of smaller cores
        ("p p + p -> p p + p", ((32, 16), (32, 16)), 4),  # unlike features are not stacked: one product along p
        ("p q -> p q", (32, 32), 4),  # one tensor has nothing to stack
    ],
)
def test_what_a_tpu_multiplies_apart(text: str, channels: Any, count: int) -> None:
    space = ek.hom(text, **bindings(text))
    program = plan(space, channels)
    sizes = dict.fromkeys("pq", 64)
    axes = {term.name: [sizes[label] for label in term.labels] for term in space.signature.inputs}
    widths = zip(space.signature.inputs, program.channels[0], strict=True)
    x = {term.name: jax.ShapeDtypeStruct((2, *axes[term.name], width), jnp.float32) for term, width in widths}
    weights = {pair: jax.ShapeDtypeStruct(shape, jnp.float32) for pair, shape in weight_shapes(program).items()}
    run = jax.jit(lambda x, weights: apply(program, x, weights, method="factored"))
    module = export.export(run, platforms=["tpu"])(x, weights).mlir_module()
    assert module.count("stablehlo.dot_general") == count
