"""Errors of fused kernels: what they refuse, and errors of JAX that say what to do instead."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from equikit._errors import EquikitError, OptionError

FORWARD = ("custom_vjp", "custom_lin")
"""What JAX names in errors about forward mode: in the first derivative, and in derivatives of derivatives."""

ELSEWHERE = ("nterpret mode", "Compiler params for platform")
"""What JAX writes in errors about kernels that are lowered for a CPU, and for a TPU."""


def refused(problem: str, got: str, expected: str, *, step: str) -> OptionError:
    """Return the error that says why fused kernels do not run."""
    return OptionError(f"fused kernels {problem}", got=got, expected=expected, step=step)


def _is_from_pallas(error: Exception) -> bool:
    """Whether it is the assertion of JAX 0.10 that a kernel for a TPU has options for a TPU; it has no text."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    module = frames[-1][0].f_globals.get("__name__", "")
    return isinstance(error, AssertionError) and module.startswith("jax._src.pallas.mosaic.")


@contextmanager
def explained() -> Iterator[None]:
    """Raise errors of JAX about fused kernels as errors that say what to do.

    JAX finds forward mode, and kernels that are compiled for another platform, when it differentiates or compiles. That
    is outside of the call of the layer if `jax.jit` is around it, but inside of `kernels(...)`.
    """
    try:
        yield
    except EquikitError:  # it says what to do, and may name what the errors of JAX below name
        raise
    except (TypeError, NotImplementedError) as error:
        if not any(word in str(error) for word in FORWARD):
            raise
        raise refused(
            "have gradients in reverse mode only",
            "a derivative in forward mode, such as jax.jvp",
            "reverse mode",
            step='write method="factored", or use jax.vjp, jax.grad and jax.jacrev',
        ) from error
    except (ValueError, AssertionError) as error:
        text = str(error)
        if any(word in text for word in ELSEWHERE) or _is_from_pallas(error):
            raise refused(
                "are compiled for a GPU only",
                'kernels("compile") and a program for another platform',
                "a program for a GPU",
                step='write method="factored", or use kernels("interpret")',
            ) from error
        if "check_vma" in text:
            raise refused(
                "do not say over which devices their results vary",
                "jax.shard_map with check_vma=True",
                "jax.shard_map without this check",
                step="write check_vma=False in the call of jax.shard_map",
            ) from error
        raise
