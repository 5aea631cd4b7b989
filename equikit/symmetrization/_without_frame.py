"""The error of an input without a frame: what the input lacks, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit._errors import FrameError
from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._method import Method
from equikit.symmetrization.engine._more import entries
from equikit.symmetrization.engine._sequential import Sequential, SequentialModule, accepting, parts_of
from equikit.symmetrization.orbits._orbit import OrbitDistance
from equikit.symmetrization.permutations._ordering import UNSURE
from equikit.symmetrization.rotations._center import Center


def named(how: Method) -> str:
    """Return the classes of a method and its parts, for error messages; `translate=` is not shown as a part."""
    if isinstance(how, Sequential | SequentialModule):
        return ", ".join(named(method) for method in how.methods if not isinstance(method, Center))
    of = getattr(how, "of", None)
    return f"{type(how).__name__}({named(of)})" if isinstance(of, Method) else type(how).__name__


def without_frame(how: Method, action: Action, info: Info, x: Mapping[str, Array]) -> FrameError:
    """Return the error that describes the first of the refused inputs."""
    info = jax.lax.stop_gradient(info)  # outside of compiled programs, derivatives trace entries whose values are known
    refused = np.asarray(info.refused)
    place = np.unravel_index(np.argmax(refused), refused.shape)
    known = {name: getattr(info, name) for name in ("doubt", "gap", "rank", "ties", "size")}
    values = {name: float(value[place]) for name, value in known.items() if value is not None}
    dtype = max((array.dtype for array in x.values()), key=rounding)
    if not all(bool(jnp.all(jnp.isfinite(array[place]))) for array in x.values()):
        lacks, expected, step = "is not finite", "finite entries", "pass jnp.nan_to_num(x), or leave such inputs out"
        shown = "it has NaN or infinity"
    else:
        values |= _outside(how, info, place)
        lacks, expected, step = _reason(how, action, info, place, f"{dtype}", "residual" in values)
        shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    return FrameError(
        f"an input has no frame: it {lacks}",
        got=f"{refused.sum()} of {refused.size} inputs for {named(how)}; "
        f"the first of them is number {np.argmax(refused)}: {shown}",
        expected=expected,
        step=step,
        how=repr(how),
        refused=np.flatnonzero(refused).tolist(),
        values=values,
    )


def _reason(
    how: Method, action: Action, info: Info, place: tuple[Any, ...], dtype: str, outside: bool
) -> tuple[str, str, str]:
    """Return what a finite input lacks, what is expected, and the next step."""
    learned = isinstance(how, nnx.Module)
    found = [matrix[(..., *place, slice(None), slice(None))] for matrix in entries(info, "orbit_matrix")]
    if learned and (
        not all(jnp.isfinite(m).all() for m in found) or (info.gap is not None and jnp.isnan(info.gap[place]))
    ):
        step = "look for a division by zero, a logarithm or a root in the network or energy"
        return "is finite, but the network or energy returned NaN or infinity for it", "finite numbers", step
    if outside:
        step = accepting(how, action, "train the network with orbit_loss")
        return "has a matrix that is not in the group", "a residual of at most the tolerance", step
    if (unsure := info.more.get(UNSURE)) is not None and bool(unsure[(..., *place)].any()):
        step = "use ek.frames.Directions or float64"
        return f"has an order that rounding to {dtype} decides", "numbers that differ by more than rounding", step
    teller = f"the network, the energy or {dtype}" if learned else dtype
    expected = ", and a network or energy that changes when they are moved" if learned else ""
    return (
        f"is symmetric itself, or {teller} does not tell that it is not",
        f"inputs without symmetries{expected}",
        accepting(how, action, "look at sym.info(x)"),
    )


def _outside(how: Method, info: Info, place: tuple[Any, ...]) -> dict[str, float]:
    """Return the residual and the tolerance of a matrix that `OrbitDistance` refuses, if there is one."""
    orbits = [part for part in parts_of(how) if isinstance(part, OrbitDistance)]
    found = entries(info, "orbit_residual"), entries(info, "orbit_tolerance")
    for part, *numbers in zip(orbits, *found, strict=False):
        residual, tolerance = (float(array[(..., *place)].max()) for array in numbers)
        if part.on_degenerate == "error" and not residual <= tolerance:
            return {"residual": residual, "tolerance": tolerance}
    return {}
