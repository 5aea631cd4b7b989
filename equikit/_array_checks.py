"""Check the arrays of JAX of a call before any computation; `_shape_checks.py` checks their shapes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError
from equikit._shape_checks import (
    Shapes as Shapes,
    by_label as by_label,
    by_name as by_name,
    checked_shapes as checked_shapes,
    fits as fits,
    given_sizes as given_sizes,
    is_array as is_array,
    mapping as mapping,
    masks_of as masks_of,
    name_last_axis as name_last_axis,
)
from equikit.signatures import Signature


def foreign(array: np.ndarray) -> bool:
    """Whether JAX would change the meaning of an array: masked, of extended precision, or byte-swapped."""
    wide = array.dtype in (np.longdouble, np.clongdouble) and array.dtype not in (np.float64, np.complex128)
    return isinstance(array, np.ma.MaskedArray) or wide or not array.dtype.isnative


def _dtype_of(value: object) -> str | None:
    """Return the dtype in which JAX makes an array of numbers of a value, or `None` if it cannot."""
    for dtype in ("float32", "complex64"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                jnp.asarray(value, dtype=dtype)
        except (TypeError, ValueError, np.exceptions.ComplexWarning):
            continue
        return dtype
    return None


def checked_dtype(name: str, array: object, what: str = "input") -> jax.Array:
    """Return a floating-point array as a JAX array, or raise `DTypeError`.

    NumPy arrays are float64 by default, so while x64 is off they are rounded to single precision, as everywhere in JAX.
    A JAX array in double precision is intentional and never rounded.
    """
    if not isinstance(array, jax.Array | np.ndarray) or (isinstance(array, np.ndarray) and foreign(array)):
        masked, dtype = isinstance(array, np.ma.MaskedArray), _dtype_of(array)
        step = f"pass jnp.asarray(x, dtype=jnp.{dtype})" if dtype else "pass an array of numbers"
        raise DTypeError(
            f"{what} {name!r} is not a plain array",
            got=f"{type(array).__name__} of dtype {array.dtype}" if hasattr(array, "dtype") else type(array).__name__,
            expected="a JAX or NumPy array of floating-point numbers",
            step="pass x.filled(0), and the mask by mask=" if masked else step,
        )
    if not _checks.is_float(array.dtype):
        narrow = "holds numbers with fewer than 16 bits" if jnp.issubdtype(array.dtype, jnp.inexact) else None
        numeric = array.dtype == object or any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.number, jnp.bool_))
        raise DTypeError(
            f"{what} {name!r} {narrow or 'does not hold floating-point numbers'}",
            got=f"dtype {array.dtype}",
            expected=_checks.FLOATS,
            step="pass x.astype(jnp.float32)" if numeric else "pass an array of numbers",
        )
    kept = jax.dtypes.canonicalize_dtype(array.dtype)
    if kept != array.dtype and isinstance(array, jax.Array):
        raise DTypeError(
            f"{what} {name!r} would be cast silently",
            got=f"dtype {array.dtype} while jax_enable_x64 is off",
            expected=f"{kept}, or x64 switched on",
            step=f"pass x.astype(jnp.{kept})",
        )
    return jnp.asarray(array)


def refuse_mixture(arrays: Mapping[str, jax.Array]) -> None:
    """Raise `DTypeError` if arrays mix half and double precision, or both kinds of half precision.

    Single precision can be mixed with all others: JAX computes in the wider dtype and loses nothing. A result in double
    precision would hide that some weights have only eight bits, and bfloat16 and float16 promote to float32, which is
    neither.

    Args:
        arrays: the arrays by their names in error messages, such as `"input 'p'"`.
    """
    of: dict[str, str] = {}
    for name, array in arrays.items():
        of.setdefault(str(array.dtype), name)
    halves = [dtype for dtype in ("bfloat16", "float16") if dtype in of]
    doubles = [dtype for dtype in ("float64", "complex128") if dtype in of]
    if not halves or len(halves + doubles) < 2:
        return
    one, other, *_ = halves + doubles
    wide = "float32" if other == "float16" else "float64"
    narrow = "" if other == "complex128" else f", or {of[other]} to {one} to compute in half precision"
    raise DTypeError(
        f"{of[one]} in {one} cannot go with {of[other]} in {other}",
        got=", ".join(f"{name} of dtype {array.dtype}" for name, array in arrays.items()),
        expected="arrays of one dtype; only float32 and complex64 may come together with others",
        step=f"cast {of[one]} to {wide}{narrow}; a layer casts both to its dtype=",
    )


def refuse_real(signature: Signature, names: Iterable[str], arrays: Iterable[jax.Array]) -> None:
    """Raise `DTypeError` for real arrays with complex groups, or a mixture of real and complex arrays."""
    given = dict(zip(names, arrays, strict=True))
    kinds = {name: bool(jnp.issubdtype(array.dtype, jnp.complexfloating)) for name, array in given.items()}
    if all(kinds.values()) or (not any(kinds.values()) and not signature.is_complex):
        return
    name = next(name for name, kind in kinds.items() if not kind)
    acting = [f"{label}={group}" for label, group in signature.groups.items() if group.is_complex]
    wider = jnp.promote_types(given[name].dtype, jnp.complex64)
    raise DTypeError(
        f"input {name!r} is real, but {acting[0] if acting else 'another input'} is complex",
        got=", ".join(f"{'complex' if kind else 'real'} {name!r}" for name, kind in kinds.items()),
        expected="complex arrays" if acting else "inputs that are all real, or all complex",
        step=f"pass x.astype(jnp.{wider})",
    )


def checked_arrays(
    signature: Signature,
    channels: Sequence[int | None] | None,
    arrays: Iterable[object],
    *,
    weights: Mapping[str, jax.Array] | None = None,
    masks: Mapping[str, Any] | None = None,
    given: Mapping[str, int] | None = None,
    sized: Collection[str] = (),
) -> tuple[list[jax.Array], Shapes]:
    """Check the input arrays of a function without a linear plan; `apply` checks its own.

    Args:
        signature: the signature whose inputs are the terms of the arrays.
        channels: the channels of each array, `None` for an array without a channel axis; `None` for any channels.
        arrays: the arrays, in the order of the terms.
        weights: parameters used with the arrays, by their names in error messages.
        masks: masks by label.
        given: sizes of labels that no input has.
        sized: labels that can only be bound to groups with a size.

    Returns:
        The arrays, and their common batch axes and sizes.

    Raises:
        ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
    """
    checked = checked_values(signature, arrays, weights)
    widths = [array.shape[-1] if array.ndim else 1 for array in checked] if channels is None else channels
    return checked, checked_shapes(signature, widths, checked, masks or {}, given, sized)


def checked_values(
    signature: Signature, arrays: Iterable[object], weights: Mapping[str, jax.Array] | None = None
) -> list[jax.Array]:
    """Check the kinds and dtypes of the input arrays of a function, but not their shapes, as `checked_arrays` does."""
    names = [term.name for term in signature.inputs]
    checked = [checked_dtype(name, array) for name, array in zip(names, arrays, strict=True)]
    refuse_real(signature, names, checked)
    described = {f"input {name!r}": array for name, array in zip(names, checked, strict=True)}
    refuse_mixture(described | {**(weights or {})})
    return checked
