"""Average the outputs of several networks."""

from __future__ import annotations

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.weightspace.asymmetric._members import Factory, outputs, stacked

Mean = Literal["outputs", "probabilities"]
"""The quantity that is averaged."""


class Ensemble(nnx.Module):
    r"""An ensemble of networks with the same architecture, which returns the mean of their outputs.

    Args:
        factory: a function of an `nnx.Rngs` that creates a network; it is called once for each member. Arrays that all
            members share, such as the fixed entries of `AsymmetricMLP`, need their own key.
        size: number of members.
        mean: "outputs" averages the outputs; "probabilities" takes the outputs as logits along the last axis and
            returns the logarithm of the mean probability, \(\log \frac{1}{m} \sum_i \mathrm{softmax}(z_i)\).
        rngs: random keys for the parameters.

    Attributes:
        members: a module whose arrays have an additional first axis of size `size`.

    Raises:
        OptionError: if there are no members, a member is not a module, or their architectures differ.

    Cost: the cost of all members, which run as one program.

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
        ensembles, arXiv:1612.01474; for asymmetric networks Chernov and Novitskij, The empirical impact of reducing
        symmetries on the performance of deep ensembles and MoE, 2025.
    """

    def __init__(self, factory: Factory, size: int, *, mean: Mean = "outputs", rngs: nnx.Rngs) -> None:
        self.mean: Mean = _checks.choice("mean", mean, get_args(Mean))
        self.members = stacked(factory, size, rngs)
        self.size = int(size)

    def each(self, *x: Any, **named: Any) -> Any:
        """Return the output of each member, `[size, ...]`; a tree of such arrays if members return a tree."""
        return outputs(self.members, *x, **named)

    def __call__(self, *x: Any, **named: Any) -> jax.Array:
        """Return the mean of the members."""
        found: jax.Array = self.each(*x, **named)
        if self.mean == "outputs":
            return jnp.mean(found, axis=0)
        return jax.nn.logsumexp(jax.nn.log_softmax(found), axis=0) - jnp.log(self.size)
