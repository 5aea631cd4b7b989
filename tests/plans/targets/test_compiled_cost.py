"""Programs of known cost, compiled for a CPU; what arguments may be; tables."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import equikit as ek
from equikit.plans import TARGETS, Collective, CompiledCost, compiled_cost, compiled_table

FLOATS = jax.ShapeDtypeStruct((128, 64), jnp.float32)


@pytest.fixture(autouse=True)
def optimized():
    """Other tests compile without optimizations, which are what is counted here."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


class Network(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(64, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.dropout(self.linear(x))


def on_cpu(*arguments, **options):
    return compiled_cost(*arguments, target="cpu", **options)


def test_one_pass_over_an_array():
    cost = on_cpu(jnp.negative, FLOATS)
    assert (cost.kernels, cost.bytes, cost.io_bytes, cost.ratio) == (1, 2 * 4 * 128 * 64, 2 * 4 * 128 * 64, 1.0)
    assert (cost.flops, cost.temporaries, cost.on_chip_bytes, cost.loops) == (128 * 64, 0, 0, 0)
    assert (cost.target, cost.devices, cost.gradient, cost.dtype) == ("cpu", 1, False, "float32")
    assert cost.compile_seconds > 0
    assert (cost.collectives, cost.sent_bytes, cost.uncounted) == ((), 0, ())


def test_a_product_of_matrices():
    a, b = jax.ShapeDtypeStruct((64, 32), jnp.float32), jax.ShapeDtypeStruct((32, 16), jnp.float32)
    cost = on_cpu(jnp.matmul, a, b)
    assert cost.flops == 2 * 64 * 32 * 16
    assert cost.bytes == cost.io_bytes == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert on_cpu(lambda a, b: jnp.matmul(a, b, precision="highest"), a, b).dtype == "float32 highest"


def test_half_precision_has_half_of_the_bytes():
    half = jax.ShapeDtypeStruct(FLOATS.shape, jnp.bfloat16)
    assert on_cpu(jnp.negative, half).io_bytes == 2 * 2 * 128 * 64
    assert on_cpu(lambda x, y: x * y, half, 2.0).dtype == "bfloat16"
    assert on_cpu(lambda x, y: x * y, half, np.float32(2)).dtype == "float32"  # the widest, of a scalar too


def test_the_gradient_is_of_parameters_and_inputs():
    layer = nnx.Linear(64, 3, rngs=nnx.Rngs(0))
    weights = 64 * 3 + 3
    assert on_cpu(layer, FLOATS).io_bytes == 4 * (weights + 128 * 64 + 128 * 3)
    cost = on_cpu(layer, FLOATS, gradient=True)
    assert cost.io_bytes == 4 * (2 * weights + 2 * 128 * 64 + 1)  # the loss is a number
    assert cost.flops >= 3 * 2 * 128 * 64 * 3  # the product, and two of the same size
    frozen = on_cpu(lambda x, count: x * count, FLOATS, np.arange(64), gradient=True)
    assert frozen.io_bytes == 4 * (2 * 128 * 64 + 64 + 1)  # integers have no gradient


def test_state_of_a_module_other_than_parameters_has_no_gradient():
    cost = on_cpu(Network(), FLOATS, gradient=True)
    seeds = 8 + 2 * 4  # a key, and a counter before and after
    assert cost.io_bytes == 4 * (2 * (64 * 3 + 3) + 2 * 128 * 64 + 1) + seeds


def test_what_a_training_step_changes_is_a_result():
    """Otherwise XLA would leave out the gradient and the optimizer."""
    layer = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    optimizer, x = nnx.Optimizer(layer, optax.sgd(0.1), wrt=nnx.Param), jax.ShapeDtypeStruct((16, 8), jnp.float32)

    def loss(layer, x):
        return jnp.mean(layer(x) ** 2)

    def step(layer, optimizer, x):
        value, gradient = nnx.value_and_grad(loss)(layer, x)
        optimizer.update(layer, gradient)
        return value

    forward, trained = on_cpu(loss, layer, x), on_cpu(step, layer, optimizer, x)
    assert trained.flops > 1.5 * forward.flops  # the product, and the gradient of the kernel
    count = 4  # of steps
    assert trained.io_bytes == forward.io_bytes + count + 4 * (64 + 8) + count


@pytest.mark.parametrize("gradient", [False, True])
def test_a_module_may_be_the_function_or_an_input(gradient):
    layer = ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((2, 4, 4, 2), jnp.float32)
    one = on_cpu(layer, x, gradient=gradient)
    other = on_cpu(lambda layer, x: layer(x), layer, x, gradient=gradient)
    assert (one.kernels, one.bytes, one.io_bytes) == (other.kernels, other.bytes, other.io_bytes)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_module_may_be_inside_of_an_input(gradient):
    """State such as running means has no gradient."""
    layer, norm = nnx.Linear(64, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0))

    def inside(modules, x):
        return modules["norm"](modules["layers"][0](x))

    def outside(layer, norm, x):
        return norm(layer(x))

    one = on_cpu(inside, {"layers": [layer], "norm": norm}, FLOATS, gradient=gradient)
    other = on_cpu(outside, layer, norm, FLOATS, gradient=gradient)
    assert (one.kernels, one.bytes, one.io_bytes) == (other.kernels, other.bytes, other.io_bytes)
    arrays = 64 * 3 + 3 + 2 * 3 + (0 if gradient else 128 * 3)
    given = arrays + 128 * 64 + 2 * 3 * 2  # running means and variances, before and after
    assert one.io_bytes == 4 * (given + gradient * (arrays + 128 * 64 + 1))


@pytest.mark.parametrize(("result", "sizes"), [(2.0, 4), (3, 4), (True, 1), (np.float32(2), 4)], ids=repr)
def test_results_may_be_numbers_of_python(result, sizes):
    assert on_cpu(lambda x: (x, result), FLOATS).io_bytes == 2 * 4 * 128 * 64 + sizes
    gradient = on_cpu(lambda x: (x, result), FLOATS, gradient=True)
    assert gradient.io_bytes == 4 * (2 * 128 * 64 + 1)


def test_inputs_may_be_pytrees_scalars_and_keys():
    def function(tree, scale, key):
        return tree["a"] * scale + jax.random.normal(key, (3,))

    assert on_cpu(function, {"a": np.ones(3, np.float32)}, 2.0, jax.random.key(0)).io_bytes == 4 * (3 + 1 + 3) + 8


def test_loops_and_custom_calls_are_named_below_the_table():
    def scan(x):
        return jax.lax.scan(lambda c, row: (jnp.tanh(c @ x) + row, None), x[0], x)[0]

    square = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    looped, called = on_cpu(scan, square), on_cpu(jnp.linalg.cholesky, square)
    assert looped.loops == 1
    assert str(looped).endswith("cpu: loops, 1, are counted as if they ran once")
    assert called.uncounted == ("lapack_spotrf_ffi",)
    assert called.bytes >= 2 * 4 * 16 * 16
    assert str(called).endswith("cpu: FLOPs without those of 1 custom calls (lapack_spotrf_ffi)")


@pytest.mark.parametrize("gradient", [False, True])
def test_an_empty_batch(gradient):
    layer = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    cost = on_cpu(layer, jax.ShapeDtypeStruct((0, 4, 4, 2), jnp.float32), gradient=gradient)
    assert cost.io_bytes == 4 * (15 * 6 + 2 * 3) * (2 if gradient else 1) + 4 * gradient
    assert math.isnan(on_cpu(lambda x: x, jax.ShapeDtypeStruct((0,), jnp.float32)).ratio)


EXAMPLE = CompiledCost(
    target="v5e",
    devices=8,
    gradient=True,
    dtype="float32",
    kernels=12,
    bytes=3_000_000,
    on_chip_bytes=543_000,
    io_bytes=1_000_000,
    temporaries=4096,
    flops=197 * 10**9,
    compile_seconds=1.25,
    collectives=(Collective("all-reduce", 8000, tuple(range(8))), Collective("all-reduce", 80, tuple(range(8)))),
)


def test_bounds_are_rates_of_the_datasheet():
    assert EXAMPLE.ratio == 3.0
    assert EXAMPLE.bandwidth_seconds == pytest.approx(2_457_000 / 819e9)  # 3 µs
    on_chip = replace(EXAMPLE, on_chip_bytes=2_900_000)
    assert on_chip.bandwidth_seconds == pytest.approx(1e6 / 819e9)  # arguments and results at least
    assert EXAMPLE.arithmetic_seconds == pytest.approx(1e-3)
    assert EXAMPLE.sent_bytes == 2 * 7 / 8 * 8080
    assert on_cpu(jnp.negative, FLOATS).bandwidth_seconds is None
    assert on_cpu(jnp.negative, FLOATS).arithmetic_seconds is None


def test_a_table_has_a_row_for_each_cost():
    lines = str(EXAMPLE).splitlines()
    assert lines[0] == "compiled, not run: float32, numbers of one device"
    assert lines[2].split("  ")[0] == "target"
    assert lines[4].split("  ")[0] == "v5e × 8, gradient"
    row = "12  3,000,000  543,000  3  4,096  197,000,000,000  3 µs  1 ms  1.2 s  2 all-reduce  14,140"
    assert lines[4].split()[4:] == row.split()
    table = compiled_table([EXAMPLE, on_cpu(jnp.negative, FLOATS)]).splitlines()
    assert len(table) == 6
    assert table[5].split()[0] == "cpu"
    assert table[5].split()[-6:-4] + table[5].split()[-2:] == ["–", "–", "none", "0"]


def test_html_and_json_have_the_same_numbers():
    text = EXAMPLE._repr_html_()
    assert text.startswith("<table><caption style='text-align:left'>compiled, not run")
    assert "<td style='text-align:left'>3,000,000</td>" in text
    value = json.loads(json.dumps(EXAMPLE.as_dict()))
    assert value["collectives"][0] == {"kind": "all-reduce", "bytes": 8000, "group": list(range(8))}
    assert value["ratio"] == 3.0


def test_every_target_has_a_source_and_topologies():
    for name, device in TARGETS.items():
        assert device.source
        assert device.platform in ("cpu", "cuda", "tpu")
        if name != "cpu":
            assert {1, 4, 8, 256} <= device.topologies.keys()
            assert device.rates["float32 highest"] < device.rates["float32"] <= device.rates["bfloat16"]
