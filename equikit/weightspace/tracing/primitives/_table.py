"""The table of primitives: the axis pattern and the arithmetic of each.

To add a primitive, add one line to `TABLE`: a function from an equation to a `Pattern`, and an `Arithmetic` or a
function from an equation to an `Arithmetic`. If other primitives can express it, add one line to `REWRITTEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit.weightspace.tracing.primitives._pattern import (
    Add,
    Arithmetic,
    Compare,
    Each,
    Homogeneous,
    Multiply,
    Other,
    Pattern,
)
from equikit.weightspace.tracing.primitives._patterns import (
    broadcast_in_dim,
    concatenate,
    convolution,
    cumulative,
    dot_general,
    dynamic_slice,
    dynamic_update,
    each_alone,
    elementwise,
    gather,
    iota,
    last_axes,
    opaque,
    ordered_reduction,
    pad,
    ragged_dot,
    reduction,
    reshape,
    reverse,
    scatter,
    slice_,
    sort,
    split,
    squeeze,
    top_k,
    transpose,
    window,
)


@dataclass(frozen=True)
class Primitive:
    """The rule of a primitive.

    Attributes:
        pattern: a function from an equation to its pattern; it returns None for forms of the primitive without a rule.
        arithmetic: how results scale with operands.
    """

    pattern: Callable[[Any], Pattern | None]
    arithmetic: Arithmetic | Callable[[Any], Arithmetic]

    def numbers(self, equation: Any) -> Arithmetic:
        """Return the arithmetic of an equation."""
        return self.arithmetic(equation) if callable(self.arithmetic) else self.arithmetic


def converted(equation: Any) -> Arithmetic:
    """Return the arithmetic of a cast: integers are truncated, and booleans distinguish only zeros."""
    dtype = equation.params["new_dtype"]
    if jnp.issubdtype(dtype, jnp.inexact):
        return Add()
    return Compare(equality=True) if jnp.issubdtype(dtype, jnp.bool_) else Other()


def whole_power(equation: Any) -> Arithmetic:
    """Return the arithmetic of an integer power."""
    power = int(equation.params["y"])
    return Homogeneous(Fraction(power), bool(power % 2))


def looked_up(equation: Any) -> Arithmetic:
    """Return the arithmetic of a gather, which may fill out-of-bounds entries with a constant."""
    outside, fill = equation.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP, equation.params["fill_value"]
    return Other() if outside and fill is not None and fill == fill and fill != 0 else Add((0,))


def _all(names: str, pattern: Callable[[Any], Pattern | None], arithmetic: Any) -> dict[str, Primitive]:
    return dict.fromkeys(names.split(), Primitive(pattern, arithmetic))


def _powers(odd: bool | None, **degrees: Fraction | int | None) -> dict[str, Primitive]:
    return {
        name: Primitive(elementwise, Homogeneous(None if degree is None else Fraction(degree), odd))
        for name, degree in degrees.items()
    }


def _matrices(equation: Any) -> int:
    return 2


def _transformed(equation: Any) -> int:
    return len(equation.params["fft_lengths"])


TABLE: dict[str, Primitive] = {
    # Elementwise operations.
    **_all("add add_any complex real imag conj copy copy_p neg reduce_precision stop_gradient sub", elementwise, Add()),
    **_all("max min clamp rem", elementwise, Add(ordered=True)),
    **_all("select_n", elementwise, lambda equation: Add(tuple(range(1, len(equation.invars))))),
    **_all("mul", elementwise, Multiply((1, 1))),
    **_all("div", elementwise, Multiply((1, -1))),
    **_powers(None, sqrt=Fraction(1, 2), rsqrt=Fraction(-1, 2)),
    **_powers(True, cbrt=Fraction(1, 3), sign=0),
    **_powers(False, abs=1, square=2, is_finite=0),
    **_powers(True, asin=None, asinh=None, atan=None, atanh=None, erf=None, erf_inv=None),
    **_powers(True, sin=None, sinh=None, tan=None, tanh=None, bessel_i1e=None),
    **_powers(False, cos=None, cosh=None, one_minus_square=None, bessel_i0e=None),
    **_all("integer_pow", elementwise, whole_power),
    **_all("convert_element_type", elementwise, converted),
    **_all("eq ne eq_to", elementwise, Compare(equality=True)),
    **_all("ge gt le lt le_to lt_to", elementwise, Compare()),
    **_all(
        "acos acosh atan2 ceil clz digamma erfc exp exp2 expm1 floor igamma igamma_grad_a igammac", elementwise, Other()
    ),
    **_all("lgamma log log1p log2 logistic nextafter polygamma pow population_count", elementwise, Other()),
    **_all("polynomial regularized_incomplete_beta round zeta random_gamma_grad and not or xor", elementwise, Other()),
    **_all("shift_left shift_right_arithmetic shift_right_logical mulhi bitcast_convert_type", elementwise, Other()),
    # Reductions and ordered operations.
    **_all("reduce_sum", reduction, Add()),
    **_all("reduce_max reduce_min", reduction, Add(ordered=True)),
    **_all("reduce_prod reduce_and reduce_or reduce_xor", reduction, Other()),
    **_all("argmax argmin", ordered_reduction, Compare()),
    **_all("cumsum", cumulative, Add()),
    **_all("cummax cummin", cumulative, Add(ordered=True)),
    **_all("cumprod cumlogsumexp", cumulative, Other()),
    **_all("sort", sort, Each(ordered=True)),
    **_all("top_k approx_top_k", top_k, Other()),
    **_all("rev", reverse, Add()),
    **_all("iota", iota, Add()),
    # Rearranged axes.
    **_all("transpose", transpose, Add()),
    **_all("broadcast_in_dim", broadcast_in_dim, Add((0,))),
    **_all("squeeze", squeeze, Add()),
    **_all("reshape", reshape, Add((0,))),
    **_all("concatenate", concatenate, Add()),
    **_all("split", split, Add()),
    **_all("slice", slice_, Add()),
    **_all("pad", pad, Add()),
    **_all("optimization_barrier name sharding_constraint reshard layout_constraint device_put", each_alone, Each()),
    **_all("pvary with_memory_space_constraint xla_metadata_value", each_alone, Each()),
    # Contractions and windows.
    **_all("dot_general", dot_general, Multiply((1, 1))),
    **_all("ragged_dot_general", ragged_dot, Multiply((1, 1, None))),
    **_all("conv_general_dilated", convolution, Multiply((1, 1))),
    **_all("reduce_window_sum", window, Add()),
    **_all("reduce_window_max reduce_window_min", window, Add(ordered=True)),
    # Lookups and updates at computed indices.
    **_all("gather", gather, looked_up),
    **_all("dynamic_slice", dynamic_slice, Add((0,))),
    **_all("dynamic_update_slice", dynamic_update, Add((0, 1))),
    **_all("scatter scatter-add scatter_add scatter-sub scatter_sub", scatter, Add((0, 2))),
    **_all("scatter-max scatter_max scatter-min scatter_min", scatter, Add((0, 2), ordered=True)),
    **_all("scatter-mul scatter_mul", scatter, Other()),
    # Fourier transforms and linear algebra on the last axes.
    **_all("fft", last_axes(_transformed), Add()),
    **_all("cholesky eig eigh svd qr lu householder_product geqrf geqp3 tridiagonal", last_axes(_matrices), Other()),
    **_all("triangular_solve schur hessenberg ormqr cholesky_update symmetric_product", last_axes(_matrices), Other()),
    **_all("tridiagonal_solve", last_axes(_matrices), Other()),
    # Random numbers, which do not commute with permutations.
    **_all(
        "random_bits random_fold_in random_gamma random_seed random_split random_wrap random_unwrap", opaque, Other()
    ),
    **_all("random_clone rng_bit_generator rng_uniform threefry2x32", opaque, Other()),
    **_all("axis_index empty2 lu_pivots_to_permutation", opaque, Other()),
}


def contracts(equation: Any) -> bool:
    """Whether an equation is a contraction: a product that is summed over labels that are missing in the results."""
    known = TABLE.get(equation.primitive.name)
    return known is not None and isinstance(known.arithmetic, Multiply) and known.pattern is not elementwise


_EXCHANGE = "all_gather all_to_all pmax pmin ppermute psum ragged_all_to_all"
_EFFECTS = "after_all create_token dce_sink get stage swap"
_BY_FUNCTIONS = "custom_lin custom_linear_solve reduce reduce_window select_and_gather_add select_and_scatter"
UNSUPPORTED = frozenset(f"{_EXCHANGE} {_EFFECTS} {_BY_FUNCTIONS} select_and_scatter_add".split())
"""JAX primitives without a rule: communication between devices, effects, and reductions by a user's function."""


def _stacked(*arrays: jax.Array, axis: int) -> jax.Array:
    return lax.concatenate([lax.expand_dims(array, (axis,)) for array in arrays], axis)


def _unstacked(array: jax.Array, *, axis: int) -> list[jax.Array]:
    return [lax.index_in_dim(array, index, axis, keepdims=False) for index in range(array.shape[axis])]


def _tiled(array: jax.Array, *, reps: Sequence[int]) -> jax.Array:
    both = [size for pair in zip(reps, array.shape, strict=True) for size in pair]
    spread = lax.broadcast_in_dim(array, both, range(1, len(both), 2))
    return lax.reshape(spread, [times * size for times, size in zip(reps, array.shape, strict=True)])


REWRITTEN: dict[str, Callable[..., Any]] = {"stack": _stacked, "unstack": _unstacked, "tile": _tiled}
"""Primitives that are read as programs of other primitives; each function takes the operands and the parameters."""


def rewritten(equation: Any) -> Any:
    """Return the program of other primitives that replaces an equation."""
    operands = [jax.ShapeDtypeStruct(one.aval.shape, one.aval.dtype) for one in equation.invars]
    function = REWRITTEN[equation.primitive.name]
    return jax.make_jaxpr(lambda *arrays: function(*arrays, **equation.params))(*operands)
