"""Sample uniformly distributed group elements with JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit._errors import GroupError
from equikit.groups import Group, O
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.finite._listed import as_linear


@dataclass
class _JaxRandom:
    """Random arrays from JAX, each with a new key, from which groups construct elements."""

    key: jax.Array
    dtype: Any
    space: Any = jnp

    def _key(self) -> jax.Array:
        key, self.key = jax.random.split(self.key)
        return key

    def normal(self, *shape: int) -> Array:
        return jax.random.normal(self._key(), shape, self.dtype)

    def permutation(self, n: int) -> Array:
        return jax.random.permutation(self._key(), n)

    def integer(self, stop: int) -> Array:
        return jax.random.randint(self._key(), (), 0, stop)

    def signs(self, n: int) -> Array:
        return jax.random.rademacher(self._key(), (n,), jnp.int32)


def refuse_noncompact(group: Group) -> None:
    """Raise `GroupError` for a group without a uniform distribution, or with an unknown one."""
    if group.has_haar:
        return
    compact = group.keeps_norm
    raise GroupError(
        f"{group} has no average over all its elements",
        got=f"{group}, " + ("for which no uniform sampler is known" if compact else "which is not compact"),
        expected="a finite group, or O, SO, U or Bistochastic: only a compact group has a uniform (Haar) probability",
        step="use a frame, as ek.frames.QR for a group with a metric"
        if isinstance(group, O)
        else "bind the label to a compact group, or use another method",
    )


def draw_element(group: Group, key: jax.Array, n: int, dtype: Any) -> Array:
    r"""Sample an element from the uniform (Haar) distribution: a permutation, integers `[n]`, or a matrix `[n, n]`.

    Args:
        group: a compact group.
        key: a JAX random key.
        n: the size of the axis.
        dtype: of matrices; complex for U.

    Cost: O(n³) for matrices.
    """
    with jax.default_matmul_precision("highest"):
        return as_linear(group, group.draw(_JaxRandom(key, dtype), n), dtype)
