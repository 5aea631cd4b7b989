"""Evaluate functions of JAX in NumPy, for the many programs that tests run once: nothing is compiled."""

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.lax import GatherScatterMode

PLATFORM = "cpu"
"""The platform whose branch is evaluated."""

ENTRYWISE = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "abs": np.abs,
    "max": np.maximum, "lt": np.less, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.bitwise_and,
    "min": np.minimum, "gt": np.greater, "le": np.less_equal, "or": np.bitwise_or, "not": np.invert, "sign": np.sign,
    "sin": np.sin, "cos": np.cos, "real": np.real, "imag": np.imag, "exp": np.exp, "log": np.log, "tanh": np.tanh,
    "sqrt": np.sqrt, "square": np.square, "expm1": np.expm1, "log1p": np.log1p, "pow": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x), "logistic": lambda x: 1 / (1 + np.exp(-x)), "stop_gradient": np.asarray,
}  # fmt: skip


def in_numpy(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Trace a function and evaluate its jaxpr, with JAX only for operations that are rare."""
    given = arguments, keywords
    jaxpr, shapes = jax.make_jaxpr(lambda given: function(*given[0], **given[1]), return_shape=True)(given)
    with np.errstate(all="ignore"):
        return jax.tree.unflatten(jax.tree.structure(shapes), _values(jaxpr, jax.tree.leaves(given)))


def by_numpy(function: Any) -> Any:
    """The same function, evaluated in NumPy; a module keeps its variables."""

    def called(*arguments: Any, **keywords: Any) -> Any:
        return (nnx.clone(function) if isinstance(function, nnx.Module) else function)(*arguments, **keywords)

    return functools.partial(in_numpy, called)


def assert_derivatives(function: Any, *arguments: Any, tolerance: float = 1e-6) -> None:
    """Check that both modes have the derivative of a function of numbers by finite differences in a direction."""
    rng, step, places = np.random.default_rng(0), 1e-6, tuple(range(len(arguments)))
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), arguments)
    first, second = (
        in_numpy(function, *jax.tree.map(lambda a, d, s=sign: a + s * step * d, arguments, direction))
        for sign in (1, -1)
    )
    _, ahead = in_numpy(lambda *values: jax.jvp(function, values, direction), *arguments)
    back = jax.tree.map(np.vdot, direction, in_numpy(jax.grad(function, places), *arguments))
    for found in (ahead, sum(jax.tree.leaves(back))):
        np.testing.assert_allclose(found, (first - second) / (2 * step), rtol=tolerance, atol=tolerance)


def _values(closed: Any, arguments: Any) -> list[Any]:
    jaxpr = getattr(closed, "jaxpr", closed)
    variables, given = [*jaxpr.constvars, *jaxpr.invars], [*getattr(closed, "consts", ()), *arguments]
    known: dict[Any, Any] = {}

    def write(variables: Any, values: Any) -> None:
        for v, value in zip(variables, values, strict=True):
            known[v] = _held(value, v.aval)
            assert known[v].shape == v.aval.shape

    def read(v: Any) -> Any:
        return _held(v.val, v.aval) if hasattr(v, "val") else known[v]

    write(variables, given)
    for equation in jaxpr.eqns:
        found = _result(equation, [read(v) for v in equation.invars])
        write(equation.outvars, found if isinstance(found, list | tuple) else [found])
    return [read(v) for v in jaxpr.outvars]


def _result(equation: Any, operands: list[Any]) -> Any:
    name, params = equation.primitive.name, equation.params
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    if name in ("jit", "pjit", "remat2", "checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call"):
        return _values(inner, operands)
    if name == "cond":
        return _values(params["branches"][int(operands[0])], operands[1:])
    if name == "platform_index":
        names = [names or [PLATFORM] for names in params["platforms"]]
        return np.int32(next(i for i, some in enumerate(names) if PLATFORM in some))
    if name in ENTRYWISE:
        return ENTRYWISE[name](*operands)
    found = SHAPING[name](*operands, **params) if name in SHAPING else NotImplemented
    return equation.primitive.bind(*operands, **params) if found is NotImplemented else found


def _held(value: Any, aval: Any) -> Any:
    """The value as an array of NumPy, random keys apart."""
    return value if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended) else np.asarray(value, aval.dtype)


def _broadcast(x: Any, shape: Any, broadcast_dimensions: Any, **_: Any) -> Any:
    sizes = dict(zip(broadcast_dimensions, x.shape, strict=True))
    return np.broadcast_to(x.reshape([sizes.get(axis, 1) for axis in range(len(shape))]), shape)


def _product(x: Any, y: Any, dimension_numbers: Any, preferred_element_type: Any, **_: Any) -> Any:
    x, y = (array if preferred_element_type is None else array.astype(preferred_element_type) for array in (x, y))
    (rows, columns), (batch, same) = dimension_numbers
    first, second = [*range(x.ndim)], [*range(x.ndim, x.ndim + y.ndim)]
    for i, j in zip((*rows, *batch), (*columns, *same), strict=True):
        second[j] = i
    free = [i for i in first if i not in (*rows, *batch)] + [i for i in second if i >= x.ndim]
    return np.einsum(x, first, y, second, [*batch, *free], optimize=True)


def _pad(x: Any, value: Any, padding_config: Any) -> Any:
    """Negative padding removes entries."""
    steps = [between + 1 for _, _, between in padding_config]
    inner = [max((n - 1) * step + 1, 0) for n, step in zip(x.shape, steps, strict=True)]
    ends = [(max(low, 0), max(high, 0)) for low, high, _ in padding_config]
    found = np.full([low + n + high for n, (low, high) in zip(inner, ends, strict=True)], value, x.dtype)
    found[tuple(slice(low, low + n, step) for (low, _), n, step in zip(ends, inner, steps, strict=True))] = x
    return found[tuple(slice(max(-low, 0), min(high, 0) or None) for low, high, _ in padding_config)]


def _gather(x: Any, places: Any, dimension_numbers: Any, mode: Any, fill_value: Any, **_: Any) -> Any:
    """`jnp.take` along one axis."""
    axes, others = dimension_numbers.start_index_map, dimension_numbers.offset_dims
    if places.ndim != 2 or axes != dimension_numbers.collapsed_slice_dims or {*axes, *others} != {*range(x.ndim)}:
        return NotImplemented
    (axis,), rows = axes, places[:, 0]
    if mode != GatherScatterMode.FILL_OR_DROP:
        return np.take(x, rows, axis)
    there = (rows >= 0) & (rows < x.shape[axis])
    found = np.take(x, np.where(there, rows, 0), axis)
    return np.where(np.expand_dims(there, [i for i in range(x.ndim) if i != axis]), found, x.dtype.type(fill_value))


def _scatter_add(x: Any, places: Any, updates: Any, dimension_numbers: Any, mode: Any, **_: Any) -> Any:
    """Add rows to rows, and drop those that are out of range."""
    axes, window = dimension_numbers.scatter_dims_to_operand_dims, dimension_numbers.update_window_dims
    one = axes == dimension_numbers.inserted_window_dims == (0,) and window == tuple(range(1, x.ndim))
    if places.ndim != 2 or not one or mode != GatherScatterMode.FILL_OR_DROP:
        return NotImplemented
    rows = places[:, 0]
    there = (rows >= 0) & (rows < len(x))
    found = x.copy()
    np.add.at(found, rows[there], updates[there])
    return found


def _slice(x: Any, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


SHAPING = {
    "iota": lambda dtype, shape, dimension, **_: np.broadcast_to(
        np.arange(shape[dimension], dtype=dtype).reshape([-1, *[1] * (len(shape) - dimension - 1)]), shape
    ),
    "integer_pow": lambda x, y: x**y,
    "reshape": lambda x, new_sizes, **_: x.reshape(new_sizes),
    "broadcast_in_dim": _broadcast,
    "split": lambda x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "dot_general": _product,
    "transpose": lambda x, permutation: x.transpose(permutation),
    "pad": _pad,
    "reduce_sum": lambda x, axes, **_: x.sum(axes),
    "reduce_max": lambda x, axes, **_: x.max(axes) if x.size else NotImplemented,
    "reduce_and": lambda x, axes, **_: x.all(axes),
    "reduce_or": lambda x, axes, **_: x.any(axes),
    "is_finite": lambda x: np.isfinite(x),
    "slice": _slice,
    "gather": _gather,
    "scatter-add": _scatter_add,
    "stack": lambda *arrays, axis: np.stack(arrays, axis),
    "unstack": lambda x, axis: [*np.moveaxis(x, axis, 0)],
    "convert_element_type": lambda x, new_dtype, **_: (x if new_dtype.kind == "c" else x.real).astype(new_dtype),
    "concatenate": lambda *arrays, dimension: np.concatenate(arrays, dimension),
    "select_n": lambda which, *cases: np.where(which, *cases[::-1]) if len(cases) == 2 else NotImplemented,
    "squeeze": lambda x, dimensions: np.squeeze(x, dimensions),
    "div": lambda x, y: x / y if np.issubdtype(x.dtype, np.inexact) else NotImplemented,
}
