"""Compile a layer or a function for a device that is not there, and count what the program does."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P, SingleDeviceSharding

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError, TooLargeError
from equikit.plans.targets._collectives import collectives
from equikit.plans.targets._compilers import device_of, devices_for
from equikit.plans.targets._cost import CompiledCost
from equikit.plans.targets._operations import ran
from equikit.plans.targets._private import cost_of

Axis = int | None
Place = Callable[[Any, Axis], Any]


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
        function: a layer or another Flax NNX module, or any JAX function of arrays.
        *inputs: arguments: arrays, `jax.ShapeDtypeStruct`, pytrees of them, or NNX modules with parameters.
        target: `"cpu"`, `"h100"`, `"v4"`, `"v5e"`, `"v5p"`, `"v6e"` or `"tpu7x"`: an entry of `TARGETS`.
        gradient: compile the value and gradient of the mean square of all floating-point outputs, with respect to
            parameters (`nnx.Param`) and floating-point inputs.
        devices: how many devices the inputs are spread over, on a mesh of one axis; parameters are on each device.
        axis: the axis of every array of `inputs` that is spread, or one axis for each input; `None` for an input that
            is on each device, such as the parameters of a function.

    Returns:
        The cost of one device.

    Raises:
        OptionError: for a target or a number of devices that does not exist, or a compiler of another version than JAX.
        MissingPackageError: if no compiler for the target is installed.
        ShapeError: if a size is symbolic, or an axis cannot be divided over the devices.
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
    axes = _axes(axis, len(inputs))
    if isinstance(function, nnx.Module):
        function, inputs, axes = _call, (function, *inputs), (None, *axes)
    found = devices_for(target, devices)
    mesh = Mesh(np.array(found), ("batch",)) if devices > 1 else None
    given = _arguments(inputs, axes, _placed(mesh, found[0]))
    _refuse_double(target, device.platform, "an argument", given.arrays)
    program = _with_gradient(function, given) if gradient else _forward(function, given)
    traced = jax.jit(program).trace(*given.split(given.arrays))
    _refuse_double(target, device.platform, "a result", jax.tree.leaves(traced.out_info))
    compiled, seconds = _compiled(traced, target, device.platform)
    return _counted(compiled, seconds, given.arrays, traced.out_info, target, gradient, devices)


def _call(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


def _axes(axis: object, count: int) -> tuple[Axis, ...]:
    """Return an axis for each input."""
    given = (axis,) * count if axis is None or _checks.integer(axis) is not None else axis
    if not isinstance(given, tuple | list) or len(given) != count:
        raise OptionError(
            "axis= must be one axis, or one for each input",
            got=_checks.shown(axis),
            expected=f"a number, None, or a tuple of {count} of them",
            step="write axis=0",
        )
    return tuple(None if one is None else _checks.count("axis", one) for one in given)


def _placed(mesh: Mesh | None, device: Any) -> Place:
    """Return a function that places an abstract array on one device, or spreads one of its axes over a mesh."""

    def place(array: Any, axis: Axis) -> Any:
        if mesh is None:
            return array.update(sharding=SingleDeviceSharding(device))
        if axis is not None and (axis >= array.ndim or array.shape[axis] % mesh.size):
            raise ShapeError(
                f"axis {axis} of an input cannot be divided over {mesh.size} devices",
                got=f"shape {[*array.shape]}",
                expected=f"a multiple of {mesh.size} there, or axis=None for inputs that all devices have",
                step=f"pass inputs with a batch of {mesh.size} or a multiple of it",
            )
        return array.update(sharding=NamedSharding(mesh, P() if axis is None else P(*[None] * axis, "batch")))

    return place


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a function as a flat list of abstract arrays.

    Attributes:
        arrays: all arrays.
        moves: for each whether the gradient is taken with respect to it.
        build: returns the arguments from such a list of arrays.
    """

    arrays: list[Any]
    moves: list[bool]
    build: Callable[[Sequence[Any]], list[Any]]

    def split(self, arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the arrays with and without a gradient."""
        chosen: tuple[list[Any], list[Any]] = ([], [])
        for array, moves in zip(arrays, self.moves, strict=True):
            chosen[not moves].append(array)
        return chosen

    def called(self, function: Callable[..., Any], moving: Sequence[Any], fixed: Sequence[Any]) -> Any:
        """Call a function with the arguments, from both lists that `split` returns."""
        first, second = iter(moving), iter(fixed)
        return function(*self.build([next(first if moves else second) for moves in self.moves]))


def _arguments(inputs: Sequence[Any], axes: Sequence[Axis], place: Place) -> _Arguments:
    arrays: list[Any] = []
    moves: list[bool] = []
    builders: list[tuple[int, Callable[[Sequence[Any]], Any]]] = []
    for value, axis in zip(inputs, axes, strict=True):
        graph, parameters, tree = None, 0, value
        if isinstance(value, nnx.Module):
            graph, *tree = nnx.split(value, nnx.Param, ...)
            parameters = len(jax.tree.leaves(tree[0]))
        leaves, structure = jax.tree.flatten(tree)
        found = [place(_abstract(leaf), axis) for leaf in leaves]
        arrays += found
        moves += [
            (graph is None or i < parameters) and jnp.issubdtype(each.dtype, jnp.inexact)
            for i, each in enumerate(found)
        ]
        builders.append((len(leaves), functools.partial(_built, graph, structure)))

    def build(flat: Sequence[Any]) -> list[Any]:
        rest = iter(flat)
        return [builder([next(rest) for _ in range(count)]) for count, builder in builders]

    return _Arguments(arrays, moves, build)


def _built(graph: Any, structure: Any, leaves: Sequence[Any]) -> Any:
    tree = jax.tree.unflatten(structure, leaves)
    return tree if graph is None else nnx.merge(graph, *tree)


def _abstract(leaf: Any) -> Any:
    """Return the shape and dtype of an argument, or raise an error if it has none."""
    try:
        known = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        found = jax.ShapeDtypeStruct(known.shape, known.dtype, weak_type=known.weak_type)
    except (TypeError, AttributeError):
        raise OptionError(
            "an input is not an array",
            got=_checks.shown(leaf),
            expected="arrays, jax.ShapeDtypeStruct, NNX modules, or pytrees of them",
            step="bind other arguments first, as functools.partial(layer, name=value)",
        ) from None
    symbols = [size for size in found.shape if not isinstance(size, int)]
    if symbols:
        raise ShapeError(
            "a program is compiled for sizes that are numbers",
            got=f"the symbolic size {symbols[0]}",
            expected="whole numbers",
            step="pass jax.ShapeDtypeStruct(shape, dtype) with the sizes that you want to know about",
        )
    return found


def _refuse_double(target: str, platform: str, what: str, arrays: Sequence[Any]) -> None:
    """Raise `DTypeError` for double precision on a TPU: XLA computes it in software there."""
    double = [array for array in arrays if array.dtype in (jnp.float64, jnp.complex128)]
    if double and platform == "tpu":
        raise DTypeError(
            f'target="{target}" has no double precision',
            got=f"{what} of dtype {double[0].dtype}",
            expected="float32, bfloat16 or complex64",
            step="pass arrays and parameters of dtype float32",
        )


def _forward(function: Callable[..., Any], given: _Arguments) -> Callable[..., Any]:
    def forward(moving: Sequence[Any], fixed: Sequence[Any]) -> Any:
        return given.called(function, moving, fixed)

    return forward


def _with_gradient(function: Callable[..., Any], given: _Arguments) -> Callable[..., Any]:
    """Return the value and gradient of the mean square of all floating-point results."""
    if not any(given.moves):
        raise DTypeError(
            "there is nothing to differentiate",
            got=f"inputs of dtypes {', '.join(sorted({str(array.dtype) for array in given.arrays})) or 'of no arrays'}",
            expected="a floating-point input, or a module with nnx.Param",
            step="write gradient=False",
        )

    def loss(moving: Sequence[Any], fixed: Sequence[Any]) -> jax.Array:
        results = jax.tree.leaves(given.called(function, moving, fixed))
        squares = [jnp.mean(jnp.abs(y) ** 2) for y in results if jnp.issubdtype(y.dtype, jnp.inexact)]
        if not squares:
            raise DTypeError(
                "there is nothing to differentiate",
                got=f"results of dtypes {', '.join(sorted({str(y.dtype) for y in results})) or 'of no arrays'}",
                expected="a floating-point result",
                step="write gradient=False",
            )
        return sum(squares[1:], squares[0])

    return jax.value_and_grad(loss)


def _compiled(traced: Any, target: str, platform: str) -> tuple[Any, float]:
    """Return the compiled program and the seconds of the compiler, or raise an error if it does not fit in memory."""
    lowered = traced.lower(lowering_platforms=(platform,))
    start = time.perf_counter()
    try:
        return lowered.compile(), time.perf_counter() - start
    except jax.errors.JaxRuntimeError as error:
        text = str(error)
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        raise TooLargeError(
            f"the program does not fit in the memory of {target}",
            got=next((line for line in text.splitlines() if "memory" in line), text)[:200],
            expected="arrays and temporaries that fit in the memory of one device",
            step="pass inputs with a smaller batch, or spread it over more devices=",
        ) from error


def _itemsize(dtype: Any) -> int:
    return int(dtype.itemsize)


def _io_bytes(arrays: Sequence[Any], shardings: Sequence[Any]) -> int:
    """Return the bytes of arrays on one device."""
    shapes = (sharding.shard_shape(array.shape) for array, sharding in zip(arrays, shardings, strict=True))
    return sum(math.prod(shape) * _itemsize(array.dtype) for array, shape in zip(arrays, shapes, strict=True))


def _widest(arrays: Sequence[Any], hlo: str) -> str:
    """Return the widest floating-point dtype, which the peak rate depends on."""
    sizes = {
        array.dtype.itemsize // (2 if jnp.issubdtype(array.dtype, jnp.complexfloating) else 1): str(array.dtype)
        for array in arrays
        if jnp.issubdtype(array.dtype, jnp.inexact)
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
        on_chip_bytes=found.on_chip,
        io_bytes=_io_bytes(arrays, [array.sharding for array in arrays])
        + _io_bytes(jax.tree.leaves(results), shardings),
        temporaries=int(compiled.memory_analysis().temp_size_in_bytes),
        flops=max(int(cost.get("flops", 0)), 0),
        compile_seconds=seconds,
        loops=found.loops,
        uncounted=found.custom_calls,
        collectives=tuple(collectives(hlo, devices)) if devices > 1 else (),
    )
