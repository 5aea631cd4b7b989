"""An action of matrices on two layers with a nonlinearity between them, which is exact only on a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import EquivarianceError


class BatchAction(NamedTuple):
    """Two layers after the action of a matrix.

    Attributes:
        first, second: the new weights, `[inputs, width]` and `[width, outputs]`.
        residual: the norm of the change of the outputs on the batch, relative to the norm of the outputs, `[]`.
    """

    first: jax.Array
    second: jax.Array
    residual: jax.Array


def batch_action(
    first: jax.Array,
    second: jax.Array,
    inputs: jax.Array,
    matrix: jax.Array,
    *,
    activation: Callable[[jax.Array], jax.Array],
    allow_inexact: bool = False,
    tolerance: float | None = None,
) -> BatchAction:
    r"""Transform two layers by a matrix g and preserve their outputs on a batch: not a symmetry of the function.

    For the network \(x \mapsto \sigma(x V)\, U\) and inputs X, the new layers are

    \[ V' = V g, \qquad U' = \sigma(X V')^{+}\, \sigma(X V)\, U. \]

    The new outputs on the batch are \(H H^{+} Y\), where \(H = \sigma(X V')\) and Y are the old outputs. They equal Y
    if the rows of H are linearly independent, which in general requires a batch that is **not larger than the width**.
    For a larger batch, Y is projected onto the column space of H: the relative change is 0.1 to 0.3 for width 32 and 64
    to 256 inputs. On inputs outside the batch the two networks differ, often by more than the norm of their outputs.
    This function exists to compare with the papers; the actions that `teleport` uses are exact for all inputs.

    Args:
        first: the weights V, `[inputs, width]`; represent a bias by an additional row and a constant input of one.
        second: the weights U, `[width, outputs]`.
        inputs: the batch X, `[batch, inputs]`.
        matrix: an invertible matrix g, `[width, width]`.
        activation: the elementwise nonlinearity.
        allow_inexact: whether to return layers that are not exact on the batch.
        tolerance: the largest residual that counts as exact; by default the square root of the rounding error.

    Returns:
        The new layers, and the residual on the batch. Under `jit` no error can be raised: layers that are not exact on
        the batch are NaN there, unless `allow_inexact` is set.

    Raises:
        ShapeError: if the shapes of the arrays do not match.
        EquivarianceError: if the action is not exact on the batch and `allow_inexact` is not set.

    Cost: a pseudo-inverse of a `[batch, width]` matrix.

    Example:
        >>> draw = jax.random.normal(jax.random.key(0), (3, 32, 32)) / 32**0.5
        >>> def act(batch):
        ...     x = jax.random.normal(jax.random.key(1), (batch, 32))
        ...     return batch_action(*draw[:2], x, jnp.eye(32) + draw[2] / 2, activation=jax.nn.leaky_relu,
        ...                         allow_inexact=True).residual
        >>> bool(act(8) < 1e-5), bool(act(64) > 0.05)
        (True, True)

    Source:
        Zhao, Dehmamy, Walters and Yu, Symmetry teleportation for accelerated optimization, arXiv:2205.10637; the
        residual and the analysis of larger batches are ours.
    """
    _checks.function("activation", activation, example="jnp.tanh")
    _checks.flag("allow_inexact", allow_inexact)
    _checks.number("tolerance", tolerance, least=0, optional=True, example=1e-3)
    _refuse_misfits(first, second, inputs, matrix)
    limit = float(np.finfo(jnp.result_type(first, second)).eps) ** 0.5 if tolerance is None else tolerance
    new = first @ matrix
    after = activation(inputs @ new)
    outputs = activation(inputs @ first) @ second
    wide = jnp.promote_types(after.dtype, jnp.float32)
    adapted = (jnp.linalg.pinv(after.astype(wide)) @ outputs).astype(second.dtype)
    size = jnp.linalg.norm(outputs)
    residual = jnp.linalg.norm(after @ adapted - outputs) / jnp.where(size > 0, size, 1)
    if allow_inexact:
        return BatchAction(new, adapted, residual)
    if isinstance(residual, jax.core.Tracer):
        exact = residual <= limit
        return BatchAction(jnp.where(exact, new, jnp.nan), jnp.where(exact, adapted, jnp.nan), residual)
    if not float(residual) <= limit:
        # With the identity the outputs stay, so another matrix helps where fewer inputs do not.
        change = "fewer inputs" if len(inputs) > first.shape[1] else "an invertible matrix closer to the identity"
        raise EquivarianceError(
            "the action of the matrix is not exact on the batch",
            got=f"a relative change of the outputs of {float(residual):.1e}, "
            f"with {len(inputs)} inputs and a width of {first.shape[1]}",
            expected=f"at most {limit:.1e}: a batch that is not larger than the width, with independent features",
            step=f"pass {change}, use teleport, which is exact, or write allow_inexact=True",
        )
    return BatchAction(new, adapted, residual)


def _refuse_misfits(first: jax.Array, second: jax.Array, inputs: jax.Array, matrix: jax.Array) -> None:
    arrays = {"first": first, "second": second, "inputs": inputs, "matrix": matrix}
    for name, array in arrays.items():
        step = "reshape the inputs to [batch, inputs], and layers to [inputs, outputs]"
        _checks.array(name, array, ("rows", "columns"), kind="real or complex", step=step)
    width = first.shape[1]
    wanted = {"second": (width, second.shape[1]), "inputs": (len(inputs), len(first)), "matrix": (width, width)}
    for name, shape in wanted.items():
        step = "pass the weights of two layers that follow each other, as x @ first @ second"
        _checks.shaped(name, arrays[name], shape, step=step)
    _checks.some("inputs", range(inputs.size), got=f"shape {list(inputs.shape)}", step="pass inputs")
