"""Ensembles of networks."""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.weightspace.asymmetric._members import Factory, outputs, stacked

Mean = Literal["outputs", "probabilities"]
"""Which numbers are averaged."""


class Ensemble(nnx.Module):
    r"""Several networks of one architecture, and the mean of their outputs.

    Args:
        factory: makes a network from an `nnx.Rngs`, that is called once for each. What is to be the same in all, as the
            fixed entries of `AsymmetricMLP`, comes from a key of its own.
        size: how many.
        mean: of "outputs", as logits, or of "probabilities": then outputs are logits along the last axis, and the
            logarithm of the mean probability is returned, \(\log \frac{1}{m} \sum_i \mathrm{softmax}(z_i)\).
        rngs: for the parameters.

    Attributes:
        members: a module whose arrays have a first axis more, of size `size`.

    Raises:
        OptionError: if there are no members, or they have several architectures.

    Cost: that of all members, which run as one program.

    Example:
        >>> from equikit.weightspace import AsymmetricMLP
        >>> def factory(rngs):
        ...     return AsymmetricMLP([4, 16, 3], fixed=2, key=jax.random.key(0), rngs=rngs)
        >>> ensemble = Ensemble(factory, 5, mean="probabilities", rngs=nnx.Rngs(0))
        >>> x = jnp.ones((7, 4))
        >>> ensemble(x).shape, ensemble.each(x).shape
        ((7, 3), (5, 7, 3))

    Source:
        Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive uncertainty estimation using deep
        ensembles, arXiv:1612.01474; of asymmetric networks: Chernov and Novitskij, The empirical impact of reducing
        symmetries on the performance of deep ensembles and MoE, 2025.
    """

    def __init__(self, factory: Factory, size: int, *, mean: Mean = "outputs", rngs: nnx.Rngs) -> None:
        self.mean: Mean = _checks.choice("mean", mean, get_args(Mean))
        self.members = stacked(factory, size, rngs)
        self.size = int(size)

    def each(self, x: jax.Array) -> jax.Array:
        """Return the output of each member, `[size, ...]`."""
        found: jax.Array = outputs(self.members, x)
        return found

    def __call__(self, x: jax.Array) -> jax.Array:
        """The mean."""
        found = self.each(x)
        if self.mean == "outputs":
            return jnp.mean(found, axis=0)
        return jax.nn.logsumexp(jax.nn.log_softmax(found), axis=0) - jnp.log(self.size)
