"""Check on which devices a support and arrays on it are, before any computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from equikit._errors import OptionError
from equikit.supports._support import Support


def refuse_placement(support: Support, arrays: Sequence[Any], axes: Sequence[int]) -> None:
    """Raise `OptionError` unless a spread support is used in its `jax.shard_map`, and any other one is whole.

    Args:
        support: the support.
        arrays: the inputs.
        axes: for each input the number of axes from the axis of rows on; zero without one.
    """
    exchange = support.levels[1].exchange
    if exchange is not None:
        _refuse_outside(exchange.axis, exchange.devices)
        return
    rows = [(array, array.ndim - count) for array, count in zip(arrays, axes, strict=True) if count]
    for array, axis in [*rows, *((table, 0) for table in jax.tree.leaves(support.levels))]:
        name = _explicit_axis(array, axis)
        if name is not None:
            raise OptionError(
                f"rows of the support or of its arrays are sharded along {name!r}",
                got=f"explicit sharding {jax.typeof(array).sharding.spec}",
                expected="a support that is spread, and a call in jax.shard_map",
                step=f'spread it: edges, order = edges.spread({jax.typeof(array).sharding.mesh.size}, axis="{name}")',
            )


def _explicit_axis(array: Any, axis: int) -> str | None:
    """Return the explicit axis of a mesh along which an axis of an array is sharded."""
    if not isinstance(array, jax.Array):
        return None
    found = jax.typeof(array).sharding.spec[axis]
    return found if found is None or isinstance(found, str) else found[0]


def _refuse_outside(axis: str, devices: int) -> None:
    try:
        size = lax.axis_size(axis)
    except NameError:
        size = None
    if size != devices:
        spec = f'jax.P("{axis}")'
        where = "outside jax.shard_map" if size is None else f"over {size} devices"
        raise OptionError(
            f"a support that is spread over {devices} devices along {axis!r} is used {where}",
            got="no such axis" if size is None else f"{axis}={size}",
            expected=f"a call in jax.shard_map over an axis {axis!r} of {devices} devices",
            step=f"write jax.shard_map(call, mesh=mesh, in_specs=({spec}, {spec}), out_specs={spec})(x, support)",
        )
