"""Compile a layer or a function for a device that is not there, and count what the program does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp
from jax.sharding import Mesh

from equikit import _checks
from equikit._errors import DTypeError, TooLargeError
from equikit.plans.targets._arguments import Arguments, Axis, arguments, axes_of, placed, refuse_double
from equikit.plans.targets._collectives import collectives
from equikit.plans.targets._compilers import device_of, devices_for
from equikit.plans.targets._cost import CompiledCost
from equikit.plans.targets._devices import TARGETS, Device
from equikit.plans.targets._meshes import explained
from equikit.plans.targets._operations import ran
from equikit.plans.targets._private import cost_of


def compiled_cost(
    function: Callable[..., Any],
    *inputs: Any,
    target: str,
    gradient: bool = False,
    devices: int = 1,
    axis: Axis | Sequence[Axis] = 0,
) -> CompiledCost:
    """Compile a layer or a function for a device, which need not be there, and return what the program costs.

    The program is compiled by XLA as `jax.jit` compiles it on that device, and its optimized form is counted. Nothing
    is run.

    Args:
        function: a layer or another Flax NNX module, or any JAX function of arrays. Arrays and modules that a function
            closes over are constants of the program: pass them as inputs instead.
        *inputs: arguments: arrays, `jax.ShapeDtypeStruct`, pytrees of them, or NNX modules with parameters.
        target: `"cpu"`, `"h100"`, `"v4"`, `"v5e"`, `"v5p"`, `"v6e"` or `"tpu7x"`: an entry of `TARGETS`.
        gradient: compile the value and gradient of the mean square of all floating-point outputs, with respect to
            parameters (`nnx.Param`) and floating-point inputs.
        devices: how many devices the inputs are spread over, on a mesh of one automatic axis, `"batch"`; parameters are
            on each device. Where arrays lie already makes no difference.
        axis: the axis of every array of `inputs` that is spread, or one axis for each input; `None` for an input that
            is on each device, such as the parameters of a function.

    Returns:
        The cost of one device.

    Raises:
        OptionError: for a target or a number of devices that does not exist, or a compiler of another version than JAX;
            for a function with another mesh; for collectives in a loop.
        MissingPackageError: if no compiler for the target is installed.
        ShapeError: if a size is symbolic, or an axis cannot be divided over the devices.
        TooLargeError: if the program does not fit in the memory of a device.
        DTypeError: for double precision on TPUs, which have none; for a gradient without floating-point numbers.

    Cost:
        The time and memory of XLA's compiler, `compile_seconds` of the result; seconds to minutes.

    Example:
        >>> import equikit as ek, jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = ek.nn.Linear("p p -> p p", 4, 4, p=ek.S, rngs=nnx.Rngs(0))
        >>> x = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)
        >>> cost = ek.plans.compiled_cost(layer, x, target="cpu")
        >>> cost.io_bytes == 4 * (2 * x.size + 15 * 4 * 4 + 2 * 4)  # input, output, weights and bias
        True

    Source:
        Ahead-of-time compilation for described topologies: `jax.experimental.topologies`.
    """
    device = device_of(target)
    function = _checks.function("function", function, example="layer", arguments=len(inputs))
    gradient = _checks.flag("gradient", gradient)
    devices = _checks.count("devices", devices, least=1)
    axes = axes_of(axis, len(inputs))
    if isinstance(function, nnx.Module):
        function, inputs, axes = _call, (function, *inputs), (None, *axes)
    given = arguments(inputs, axes)
    refuse_double(target, device.platform, "an argument", given.arrays)
    found = devices_for(target, devices)
    mesh = Mesh(np.array(found), ("batch",)) if devices > 1 else None
    arrays = [placed(array, axis, mesh, found[0]) for array, axis in zip(given.arrays, given.axes, strict=True)]
    program = _with_gradient(function, given) if gradient else _forward(function, given)
    with explained(inputs, devices):
        traced = jax.jit(program).trace(*given.split(arrays))
        refuse_double(target, device.platform, "a result", jax.tree.leaves(traced.out_info))
        compiled, seconds = _compiled(traced, target, device)
    return _counted(compiled, seconds, arrays, traced.out_info, target, gradient, devices)


def _call(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


def _forward(function: Callable[..., Any], given: Arguments) -> Callable[..., Any]:
    def forward(moving: Sequence[Any], fixed: Sequence[Any]) -> Any:
        return given.called(function, moving, fixed)

    return forward


def _with_gradient(function: Callable[..., Any], given: Arguments) -> Callable[..., Any]:
    """Return the value and gradient of the mean square of all floating-point results."""
    if not any(given.moves):
        raise DTypeError(
            "there is nothing to differentiate",
            got=f"inputs of dtypes {', '.join(sorted({str(array.dtype) for array in given.arrays})) or 'of no arrays'}",
            expected="a floating-point input, or a module with nnx.Param",
            step="write gradient=False",
        )

    def loss(moving: Sequence[Any], fixed: Sequence[Any]) -> tuple[jax.Array, list[Any]]:
        found, changed = given.called(function, moving, fixed)
        results = jax.tree.leaves(found)
        squares = [jnp.mean(_square(y)) for y in results if jnp.issubdtype(y.dtype, jnp.inexact)]
        if not squares:
            raise DTypeError(
                "there is nothing to differentiate",
                got=f"results of dtypes {', '.join(sorted({str(y.dtype) for y in results})) or 'of no arrays'}",
                expected="a floating-point result",
                step="write gradient=False",
            )
        return sum(squares[1:], squares[0]), changed

    return jax.value_and_grad(loss, has_aux=True)


def _square(y: jax.Array) -> jax.Array:
    """Return the squares of real numbers, as users write them: the absolute value would keep another array."""
    return jnp.abs(y) ** 2 if jnp.issubdtype(y.dtype, jnp.complexfloating) else y**2


def _compiled(traced: Any, target: str, device: Device) -> tuple[Any, float]:
    """Return the compiled program and the seconds of the compiler, or raise an error if it does not fit in memory."""
    lowered = traced.lower(lowering_platforms=(device.platform,))
    start = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        text = str(error)
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        raise _too_large(target, next((line for line in text.splitlines() if "memory" in line), text)[:200]) from error
    seconds, sizes = time.perf_counter() - start, compiled.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    held += sizes.temp_size_in_bytes
    if device.memory is not None and held > device.memory:  # for TPUs XLA checks it; for GPUs it does not
        raise _too_large(target, f"{held:,} bytes of arguments, results and temporary arrays")
    return compiled, seconds


def _too_large(target: str, got: str) -> TooLargeError:
    memory = TARGETS[target].memory
    return TooLargeError(
        f"the program does not fit in the memory of {target}",
        got=got,
        expected="the memory of this machine" if memory is None else f"at most {memory:,.0f} bytes on each device",
        step="pass inputs with a smaller batch, or spread it over more devices",
    )


def _itemsize(dtype: Any) -> int:
    return int(dtype.itemsize)


def _io_bytes(arrays: Sequence[Any], shardings: Sequence[Any]) -> int:
    """Return the bytes of arrays on one device."""
    shapes = (sharding.shard_shape(array.shape) for array, sharding in zip(arrays, shardings, strict=True))
    return sum(math.prod(shape) * _itemsize(array.dtype) for array, shape in zip(arrays, shapes, strict=True))


def _widest(arrays: Sequence[Any], hlo: str) -> str:
    """Return the widest floating-point dtype, which the peak rate depends on; numbers of Python have none."""
    sizes = {
        array.dtype.itemsize // (2 if jnp.issubdtype(array.dtype, jnp.complexfloating) else 1): str(array.dtype)
        for array in arrays
        if jnp.issubdtype(array.dtype, jnp.inexact) and not array.weak_type
    }
    widest = sizes[max(sizes)].replace("complex64", "float32").replace("complex128", "float64") if sizes else "float32"
    highest = "operand_precision={highest" in hlo or "algorithm=dot_f32_f32_f32" in hlo
    return f"{widest} highest" if widest == "float32" and highest else widest


def _counted(
    compiled: Any,
    seconds: float,
    arrays: Sequence[Any],
    results: Any,
    target: str,
    gradient: bool,
    devices: int,
) -> CompiledCost:
    hlo = compiled.as_text()
    cost, found = cost_of(compiled), ran(hlo)
    shardings = jax.tree.leaves(compiled.output_shardings)
    return CompiledCost(
        target=target,
        devices=devices,
        gradient=gradient,
        dtype=_widest(arrays, hlo),
        kernels=found.kernels,
        bytes=max(int(cost.get("bytes accessed", 0)), 0) + found.custom_bytes,  # -1 stands for unknown
        on_chip_bytes=found.on_chip if device_of(target).platform == "tpu" else 0,
        io_bytes=_io_bytes(arrays, [array.sharding for array in arrays])
        + _io_bytes(jax.tree.leaves(results), shardings),
        temporaries=int(compiled.memory_analysis().temp_size_in_bytes),
        flops=max(int(cost.get("flops", 0)), 0),
        compile_seconds=seconds,
        loops=found.loops,
        uncounted=found.custom_calls,
        collectives=tuple(collectives(hlo, devices)) if devices > 1 else (),
    )
