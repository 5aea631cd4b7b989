"""What cannot be compiled for a target, and the error that says so; none of these needs a compiler."""

import dataclasses
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.plans import TARGETS, CompiledCost, compiled_cost, compiled_table
from equikit.plans.targets import _compiled, _compilers, collectives

X = jax.ShapeDtypeStruct((8, 3), jnp.float32)
HERE = jax.__version__
EXAMPLE = CompiledCost("cpu", 1, False, "float32", 1, 8, 0, 8, 0, 1, 0.1)


def refused(error, *arguments, target="cpu", **options):
    """The text of the error, in one line."""
    with pytest.raises(error) as caught:
        compiled_cost(*arguments, target=target, **options)
    return " | ".join(line.strip() for line in str(caught.value).splitlines())


def installed(monkeypatch, **versions):
    """Let some packages have other versions, or none."""
    known = importlib.metadata.version

    def version(package):
        name = package.replace("-", "_")
        found = versions[name] if name in versions else known(package)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(("given", "near"), [("v5", "v5p"), ("H100", "h100"), ("h200", "h100"), ("a100", "h100")])
def test_a_target_that_does_not_exist_has_a_nearest_one(given, near):
    text = refused(ek.OptionError, jnp.negative, X, target=given)
    assert text == (
        f"unknown value for target= | got:       '{given}' | "
        'expected:  "cpu", "h100", "v4", "v5e", "v5p", "v6e" or "tpu7x" | '
        f'next step: write target="{near}"'
    )


@pytest.mark.parametrize(
    ("target", "package", "extra"), [("h100", "jax-cuda12-plugin", "cuda12-local"), ("v5e", "libtpu", "tpu")]
)
def test_missing_packages(monkeypatch, target, package, extra):
    installed(monkeypatch, jax_cuda12_pjrt=None, jax_cuda13_pjrt=None, libtpu=None)
    text = refused(ek.MissingPackageError, jnp.negative, X, target=target)
    assert text == (
        f'target="{target}" needs a compiler that is not installed | got:       no package {package} | '
        f"expected:  {package}, which compiles on machines without the device; the extra targets of equikit has it | "
        f'next step: pip install "jax[{extra}]=={HERE}"'
    )


def test_a_plugin_of_another_version(monkeypatch):
    installed(monkeypatch, jax_cuda12_pjrt="0.4.30", jax_cuda13_pjrt=None, libtpu="0.0.6")
    jaxlib = importlib.metadata.version("jaxlib")
    assert refused(ek.OptionError, jnp.negative, X, target="h100") == (
        "jax-cuda12-pjrt is of another version than jax | "
        f"got:       jax-cuda12-pjrt 0.4.30, with jax {HERE} and jaxlib {jaxlib} | "
        f"expected:  jax-cuda12-pjrt {jaxlib} | "
        f'next step: pip install "jax[cuda12-local]=={HERE}"'
    )
    text = refused(ek.OptionError, jnp.negative, X, target="v6e")
    assert text.startswith("libtpu is of another version than jax | got:       libtpu 0.0.6, with jax")
    assert text.endswith(f'next step: pip install "jax[tpu]=={HERE}"')


def test_the_version_of_libtpu_is_the_one_that_jax_asks_for(monkeypatch):
    wanted = next(
        line.partition("==")[2].partition("*")[0]
        for line in importlib.metadata.requires("jax")
        if line.startswith("libtpu")
    )
    installed(monkeypatch, libtpu=f"{wanted}3")
    _compilers._check_libtpu("v5e")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_tpus_have_no_double_precision(dtype):
    x = jax.ShapeDtypeStruct((8, 3), dtype)
    text = refused(ek.DTypeError, jnp.negative, x, target="v5e")
    assert text == (
        f'target="v5e" has no double precision | got:       an argument of dtype {jnp.dtype(dtype)} | '
        "expected:  float32, bfloat16 or complex64 | next step: pass arrays and parameters of dtype float32"
    )
    assert compiled_cost(jnp.negative, x, target="cpu").io_bytes == 2 * 24 * jnp.dtype(dtype).itemsize


def test_double_precision_needs_x64():
    x = jax.ShapeDtypeStruct((8, 3), jnp.float64)
    assert refused(ek.DTypeError, jnp.negative, x) == (
        "an input cannot be float64 while jax_enable_x64 is off | got:       dtype float64 | "
        'expected:  float32, or x64 switched on | next step: call jax.config.update("jax_enable_x64", True) first'
    )


def test_symbolic_sizes():
    batch, n = jax.export.symbolic_shape("batch, n")
    layer = ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    text = refused(ek.ShapeError, layer, jax.ShapeDtypeStruct((batch, n, n, 2), jnp.float32), target="h100")
    assert text == (
        "a program is compiled for sizes that are numbers | got:       the symbolic size batch | "
        "expected:  whole numbers | "
        "next step: pass jax.ShapeDtypeStruct(shape, dtype) with the sizes that you want to know about"
    )


def test_numbers_of_devices():
    assert refused(ek.OptionError, jnp.negative, X, target="v5e", devices=9) == (
        'target="v5e" has no topology of 9 devices | got:       devices=9 | '
        "expected:  1, 4, 8, 16, 32, 64, 128, 256 | next step: choose 8 devices"
    )
    count = len(jax.devices("cpu"))
    assert refused(ek.OptionError, jnp.negative, X, devices=count + 1).endswith(
        f'next step: call jax.config.update("jax_num_cpu_devices", {count + 1}) before anything else in the process'
    )
    assert "devices= must be a whole number ≥ 1" in refused(ek.OptionError, jnp.negative, X, devices=0)


@pytest.mark.parametrize(("axis", "shape"), [(0, [9, 8]), (2, [8, 8])])
def test_an_axis_that_cannot_be_spread(axis, shape):
    mesh = jax.sharding.AbstractMesh((8,), ("batch",))
    with pytest.raises(ek.ShapeError) as caught:
        ek.plans.targets._arguments.placed(jax.ShapeDtypeStruct(shape, jnp.float32), axis, mesh, None)
    assert str(caught.value).splitlines() == [
        f"axis {axis} of an input cannot be divided over 8 devices",
        f"  got:       shape {shape}",
        "  expected:  a multiple of 8 there, or axis=None for inputs that all devices have",
        "  next step: pass inputs with a batch of 8 or a multiple of it",
    ]


@pytest.mark.parametrize("axis", ["batch", (0, 0), 0.5])
def test_an_axis_is_a_number_for_each_input(axis):
    text = refused(ek.OptionError, jnp.negative, X, axis=axis)
    assert text.startswith("axis= must be one axis, or one for each input | ")
    assert text.endswith("expected:  a number, None, or a tuple of 1 of them | next step: write axis=0")


@pytest.mark.parametrize("gradient", [False, True])
def test_results_are_arrays(gradient):
    text = refused(ek.OptionError, lambda x: {"y": x, "name": "mean"}, X, gradient=gradient)
    assert text == (
        "a result is not an array | got:       'mean' | expected:  arrays, numbers, or pytrees of them | "
        "next step: pass a function that returns arrays only"
    )


@pytest.mark.parametrize("costs", [EXAMPLE, [], None, "cpu", {"cpu": EXAMPLE}, [1]])
def test_a_table_is_of_a_list_of_costs(costs):
    with pytest.raises(ek.OptionError, match="a table is made of a list of costs") as caught:
        compiled_table(costs)
    assert caught.value.step == "write compiled_table([cost])"


def test_inputs_are_arrays():
    text = refused(ek.OptionError, lambda x, mode: x, X, "mean")
    assert text.startswith("an input is not an array | got:       'mean' | ")
    assert text.endswith(
        "next step: pass lambda layer, x: layer(x, name=value) as the function, and the layer as the first input"
    )
    assert "function= must be callable" in refused(ek.OptionError, 3, X)


@pytest.mark.parametrize(
    ("function", "x", "what"),
    [
        (jnp.negative, np.arange(3), "inputs of dtypes int32"),
        (lambda x: x > 0, np.ones(3, np.float32), "results of dtypes bool"),
        (lambda x: (), np.ones(3, np.float32), "results of dtypes of no arrays"),
    ],
)
def test_a_gradient_needs_floating_point_numbers(function, x, what):
    text = refused(ek.DTypeError, function, x, gradient=True)
    assert text.startswith(f"there is nothing to differentiate | got:       {what} | ")
    assert text.endswith("next step: write gradient=False")


def test_collectives_that_are_not_understood():
    line = "  %a = f32[4]{0} all-reduce(%x), replica_groups=[2,4]<=[8]X, to_apply=%s"
    with pytest.raises(ek.OptionError, match="not understood") as caught:
        collectives(line, 8)
    assert caught.value.step == "compile with a version of JAX that equikit is tested with"


def test_a_program_that_does_not_fit_in_memory():
    small = dataclasses.replace(TARGETS["cpu"], memory=100.0)
    with pytest.raises(ek.TooLargeError) as caught:
        _compiled._compiled(jax.jit(jnp.negative).trace(X), "h100", small)
    assert str(caught.value).splitlines() == [
        "the program does not fit in the memory of h100",
        "  got:       192 bytes of arguments, results and temporary arrays",
        "  expected:  at most 85,899,345,920 bytes on each device",
        "  next step: pass inputs with a smaller batch, or spread it over more devices",
    ]
