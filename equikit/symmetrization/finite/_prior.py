"""Prior regularization: canonical forms close to the inputs of a pretrained backbone."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._more import entries, required_entries


def prior_loss(info: Info, *, beta: float = 1.0) -> jax.Array:
    r"""Return the difference between canonical forms and inputs, on the data of a pretrained backbone.

    A pretrained backbone expects upright inputs, but canonical forms may have any orientation. On the backbone's
    training data, this loss makes them agree. For a finite group, it is the cross-entropy
    \(-\log\,\mathrm{softmax}(\beta a)_e\) of the activations against the identity; for others
    \(\lVert M - 1 \rVert^2 / d^2\), the mean squared difference of the matrix from the identity.

    Args:
        info: what `sym(x, with_info=True)` returns with a result. `info.more` has `"activations"`
            `[*batch, elements]`, the identity first, or `"matrix"` `[*batch, d, d]`; losses of methods are added.
        beta: the inverse temperature of the softmax.

    Returns:
        The mean over all inputs, a number.

    Raises:
        OptionError: if the info has neither.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization.canonicalization import EnergyCanonicalization
        >>> sym = ek.symmetrize(
        ...     jnp.sin, "t -> t", t=ek.Z(3), how=EnergyCanonicalization(lambda x: -x[:, 0, 0], on_degenerate="flag"))
        >>> y, info = sym(jnp.zeros((3, 1)), with_info=True)              # all three copies are alike
        >>> bool(jnp.allclose(prior_loss(info), jnp.log(3.0)))
        True

    Source:
        Mondal et al., Equivariant adaptation of large pretrained models, arXiv:2310.01647, section 3.
    """
    sharpness, found = _checks.number("beta", beta, above=0), []
    required_entries(info, "activations", "matrix", how="ek.Canonicalize(network, group=ek.D(4))")
    for activations in entries(info, "activations"):
        activations = activations.astype(jnp.promote_types(activations.dtype, jnp.float32))
        found.append(-jnp.mean(jax.nn.log_softmax(sharpness * activations, axis=-1)[..., 0]))
    for matrix in entries(info, "matrix"):
        found.append(jnp.mean(jnp.abs(matrix - jnp.eye(matrix.shape[-1], dtype=matrix.dtype)) ** 2))
    loss: jax.Array = sum(found[1:], start=found[0])
    return loss
