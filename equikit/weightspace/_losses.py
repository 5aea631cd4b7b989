"""Losses and the batches they are taken on, as users pass them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from equikit._errors import OptionError, explain

Loss = Callable[[Any, Any], jax.Array]
"""A scalar of parameters and a batch."""


def checked_losses(loss: Loss | None, batches: Sequence[Any] | None, call: str) -> tuple[Loss, list[Any]]:
    """Return a loss and batches that there are, or raise `OptionError`; `call` is an example."""
    if loss is None or not isinstance(batches, list | tuple) or len(batches) == 0:
        amount = f", {len(batches)} of them" if isinstance(batches, list | tuple) else ""
        raise OptionError(
            explain(
                "there is nothing to take gradients of",
                got=f"loss={loss!r}, batches of type {type(batches).__name__}{amount}",
                expected="a loss, and a list of one batch or more",
                step=f"write {call}",
            )
        )

    def checked(params: Any, batch: Any) -> jax.Array:
        value = loss(params, batch)
        if np.shape(value) != ():
            raise OptionError(
                explain(
                    "the loss is no number",
                    got=f"shape {list(np.shape(value))}",
                    expected="a scalar, loss(params, batch)",
                    step="take the mean over the batch",
                )
            )
        return value

    return checked, list(batches)
