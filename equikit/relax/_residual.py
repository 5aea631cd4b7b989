"""An equivariant pathway and a free one, with a penalty on the free one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import ShapeError
from equikit.relax._spaces import squared_norm


class Residual(nnx.Module):
    r"""The sum of an equivariant module and a free one, \(y = f(x) + h(x)\), with a Gaussian prior on h.

    Unlike `ek.relax.Linear`, the two parts may be any modules, such as whole networks; they overlap where h can also
    represent equivariant functions.

    Args:
        equivariant: a module.
        free: a module of the same inputs and outputs.

    Attributes:
        equivariant, free: the modules.

    Raises:
        OptionError: if an argument is not a module.

    Example:
        >>> from equikit import O, nn
        >>> exact = nn.Linear("x -> x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
        >>> layer = Residual(exact, nn.Linear("x -> x", 1, 1, x=O(2) + O(1), rngs=nnx.Rngs(1)))
        >>> layer(jnp.ones((5, 3, 1))).shape, layer.penalty().shape
        ((5, 3, 1), ())

    Source:
        Finzi et al., Residual pathway priors for soft equivariance constraints, arXiv:2112.01388, section 3.
    """

    def __init__(self, equivariant: nnx.Module, free: nnx.Module) -> None:
        made = "nnx.Linear(3, 3, rngs=nnx.Rngs(0))"
        self.equivariant = _checks.instance("equivariant", equivariant, nnx.Module, made)
        self.free = _checks.instance("free", free, nnx.Module, made)

    def __call__(self, *x: Any, **options: Any) -> Any:
        """Apply both modules to the same arguments, and add their outputs, arrays or trees of arrays.

        Raises:
            ShapeError: if the outputs differ in structure or shape.
        """
        exact: Any = self.equivariant
        free: Any = self.free
        one, other = exact(*x, **options), free(*x, **options)
        shapes = [jax.tree.map(jnp.shape, y) for y in (one, other)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                "the two modules have different outputs",
                got=f"shapes {shapes[0]} and {shapes[1]}",
                expected="outputs of one structure and shape",
                step="give the free module the outputs of the equivariant one",
            )
        return jax.tree.map(jnp.add, one, other)

    def penalty(self) -> jax.Array:
        """Return half the sum of squares of the parameters of the free module."""
        return 0.5 * squared_norm(nnx.state(self.free, nnx.Param))
