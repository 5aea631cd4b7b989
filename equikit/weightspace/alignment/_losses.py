"""Validate losses and batches that users pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError

Loss = Callable[[Any, Any], jax.Array]
"""A function `loss(params, batch)` that returns a scalar."""


def checked_losses(loss: Loss | None, batches: Iterable[Any] | None, call: str) -> tuple[Loss, list[Any]]:
    """Return a checked loss and a nonempty list of batches, or raise `OptionError`; `call` is an example call."""
    given: Loss = _checks.function("loss", loss, arguments=2, example="lambda params, batch: ...")
    known = batches if isinstance(batches, list | tuple) else ()
    _checks.some("batches in a list", known, got=type(batches).__name__, step=f"write {call}")

    def checked(params: Any, batch: Any) -> jax.Array:
        value: jax.Array = checked_loss(given(params, batch), "loss(params, batch)")
        return value

    return checked, list(known)


def checked_inputs(batches: Any) -> list[tuple[Any, ...]]:
    """Return each batch of a nonempty list as a tuple of inputs, or raise `OptionError`."""
    known = isinstance(batches, Iterable) and not isinstance(batches, Mapping | jax.Array | np.ndarray)
    data = [one if isinstance(one, tuple) else (one,) for one in batches] if known else []
    _checks.some("batches", data, got="no batches" if known else _checks.shown(batches), step="pass a list of inputs")
    for number, inputs in enumerate(data):
        refuse_empty(f"batches[{number}]", inputs)
    return data


def refuse_empty(what: str, inputs: Any) -> None:
    """Raise `OptionError` if an input has no entries."""
    for shape in map(np.shape, jax.tree.leaves(inputs)):
        if 0 in shape:
            raise OptionError(
                f"{what} is empty",
                got=f"an input of shape {[*shape]}",
                expected="one or more examples",
                step="pass data with examples, and leave empty batches out",
            )


def checked_loss(
    value: Any,
    call: str,
    *,
    differentiated: bool = True,
    what: str = "the loss",
    step: str = "take the mean over the batch",
) -> Any:
    """Return the value of a loss if it is a real scalar, traced or not; otherwise raise `OptionError`.

    Args:
        value: the value that the loss returned.
        call: the call of the loss, for the text of the error.
        differentiated: whether the loss is differentiated: then its dtype must be floating-point.
        what: the value in the text of the error.
        step: the next step.
    """
    is_array = isinstance(value, jax.Array | np.ndarray | np.number | float | int)
    kinds = (jnp.floating,) if differentiated else (jnp.floating, jnp.integer, jnp.bool_)
    if is_array and np.shape(value) == () and any(jnp.issubdtype(jnp.result_type(value), kind) for kind in kinds):
        return value
    raise OptionError(
        f"{what} is not one number",
        got=f"shape {list(np.shape(value))}, dtype {jnp.result_type(value)}" if is_array else type(value).__name__,
        expected=f"a scalar, {call}, of a floating-point dtype",
        step=step,
    )
