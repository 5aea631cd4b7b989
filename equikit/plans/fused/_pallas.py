"""Pallas, its Triton backend, and whether kernels are compiled or interpreted.

Why Triton and not Mosaic GPU: products of float32 must be exact in float32, and Mosaic's matrix instructions round it
to TF32; and the loads of Mosaic have no rule for Pallas' interpreter in JAX 0.10, so that the same kernel could not be
tested on a CPU. Triton is deprecated since JAX 0.11, with a `DeprecationWarning` whenever a kernel is compiled.
Everything that depends on it is in this file.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from equikit import _checks
from equikit._errors import MissingPackageError
from equikit.plans.fused._explained import explained

Mode = Literal["compile", "interpret"]
MODES: tuple[Mode, ...] = ("compile", "interpret")

_mode: Any = jax.make_user_context(None)
"""The mode of the context: part of the key of every cache of `jax.jit`."""


@contextmanager
def kernels(mode: Mode) -> Iterator[None]:
    """Set how the kernels of `method="fused"` run, in a `with` statement.

    Without it they are compiled if JAX's default device is a GPU, and refused otherwise.

    Args:
        mode: `"interpret"` runs the same kernels as JAX programs on any device: slowly, to test them on a CPU.
            `"compile"` compiles them for a GPU, also where none is present, for programs that are lowered for one.

    Raises:
        OptionError: if the mode is unknown; for kernels that are compiled for another platform, or differentiated in
            forward mode, also where JAX finds it only when it compiles a function around them.

    Cost: functions that `jax.jit` has compiled in another mode are compiled again.

    Example:
        >>> from equikit import S, hom
        >>> from equikit.plans import apply, kernels
        >>> plan = hom("p -> p", p=S).plan()
        >>> weights = {"p -> p": jnp.array([[[1.0]], [[10.0]]])}
        >>> with kernels("interpret"):
        ...     y = apply(plan, jnp.array([[1.0], [2.0]]), weights, method="fused")
        >>> y.tolist()
        [[31.0], [32.0]]
    """
    with _mode(_checks.choice("mode", mode, MODES, code="{1}")), explained():
        yield


def current_mode() -> Mode | None:
    """Return how kernels run here, `None` if they cannot."""
    mode: Mode | None = _mode.value
    if mode is None and jax.default_backend() == "gpu":
        return "compile"
    return mode


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[Any, Any]:
    """Return Pallas and its Triton backend.

    Raises:
        MissingPackageError: if this version of JAX has them no more.
    """
    try:
        return (
            importlib.import_module("jax.experimental.pallas"),
            importlib.import_module("jax.experimental.pallas.triton"),
        )
    except ImportError as error:
        raise MissingPackageError(
            "fused kernels need Pallas with its Triton backend, which this installation of JAX lacks",
            got=f"jax {jax.__version__}: {error}",
            expected="a version of JAX that has jax.experimental.pallas.triton",
            step='write method="factored"',
        ) from error


def check_installed() -> None:
    """Raise `MissingPackageError` if Pallas cannot be imported."""
    _libraries()


def program_id(axis: int) -> jax.Array:
    """Return the number of the program along an axis of the grid."""
    found: jax.Array = _libraries()[0].program_id(axis)
    return found


def load(ref: Any, index: tuple[jax.Array, ...], mask: jax.Array) -> jax.Array:
    """Load entries at arrays of indices; zero, without access to memory, where the mask is false."""
    found: jax.Array = _libraries()[1].load(ref.at[index], mask=mask, other=0)
    return found


def store(ref: Any, index: tuple[jax.Array, ...], value: jax.Array, mask: jax.Array) -> None:
    """Store entries at arrays of indices where the mask is true."""
    _libraries()[1].store(ref.at[index], value.astype(ref.dtype), mask=mask)


def product(x: jax.Array, matrix: jax.Array, axis: int = 1) -> jax.Array:
    """Contract an axis of x with the first axis of a matrix, in float32: without TF32 if they are in float32."""
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    found: jax.Array = lax.dot_general(
        x, matrix, (((axis,), (0,)), ((), ())), precision=exact, preferred_element_type=jnp.float32
    )
    return found


def launch(
    body: Callable[..., None],
    grid: tuple[int, ...],
    operands: Sequence[jax.Array],
    results: Sequence[jax.ShapeDtypeStruct],
    *,
    name: str,
    mode: Mode,
    warps: int,
) -> list[jax.Array]:
    """Run a kernel: `body` gets references to all operands, then to all results."""
    pallas, triton = _libraries()
    call = pallas.pallas_call(
        body,
        grid=grid,
        out_shape=tuple(results),
        interpret=mode == "interpret",
        compiler_params=triton.CompilerParams(num_warps=warps, num_stages=1),
        name=name,
    )
    found: tuple[jax.Array, ...] = call(*operands)
    return list(found)
