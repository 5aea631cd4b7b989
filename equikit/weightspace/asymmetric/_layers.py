"""Layers without permutation symmetry: a kernel with fixed entries, and gates that mix neurons."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.nn import checked_dtypes
from equikit.nn.initializers import filled, in_numpy, in_python, lecun_normal, placed, unit_normal
from equikit.weightspace.asymmetric._fixed import FixedEntries, draw_fixed


class AsymmetricLinear(nnx.Module):
    r"""A linear layer with some weights fixed at random numbers (W-Asym).

    \(y = x W + b\), where for every output a random set of entries of W is fixed at \(\kappa\) times standard normal
    numbers. The fixed entries of any two outputs differ, so outputs cannot be exchanged.

    Args:
        in_features, out_features: sizes of the last axis of input and output.
        fixed: number of fixed weights of every output.
        scale: the factor \(\kappa\).
        key: JAX key for the fixed entries. Layers with the same key have the same fixed entries, also in different
            processes; the weights of two networks are comparable only if their fixed entries are the same.
        use_bias: whether to add a bias.
        param_dtype: dtype of all weights.
        rngs: random keys for the trained weights.

    Attributes:
        kernel: an `nnx.Param`, `[in_features, out_features]`; entries at fixed positions are unused, with gradient 0.
        bias: an `nnx.Param`, `[out_features]`, or None.
        mask, values: `FixedEntries`, `[in_features, out_features]`: the mask is one at fixed entries.

    Raises:
        OptionError: if `fixed` is larger than `in_features`, or an argument is invalid.

    Example:
        >>> layer = AsymmetricLinear(8, 16, fixed=4, key=jax.random.key(0), rngs=nnx.Rngs(1))
        >>> layer(jnp.ones((3, 8))).shape, int(layer.mask[...].sum())
        ((3, 16), 64)

    Source:
        Lim et al., The empirical impact of neural parameter symmetries, or lack thereof, arXiv:2405.20231.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        fixed: int,
        scale: float = 1.0,
        key: jax.Array,
        use_bias: bool = True,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (
            _checks.count("in_features", in_features, least=1, example=8),
            _checks.count("out_features", out_features, least=1, example=16),
        )
        _, param_dtype = checked_dtypes(None, param_dtype)
        drawn = draw_fixed(shape, fixed, scale, key)
        self.kernel = nnx.Param(lecun_normal(_checks.rngs(rngs).params(), shape, param_dtype))
        self.bias = nnx.Param(filled(0, shape[1:], param_dtype)) if _checks.flag("use_bias", use_bias) else None
        self.mask = FixedEntries(placed(drawn.mask.astype(param_dtype), key))
        self.values = FixedEntries(placed(drawn.values.astype(param_dtype), key))

    @property
    def weights(self) -> jax.Array:
        """The kernel with its fixed entries."""
        return jnp.where(self.mask[...] > 0, jax.lax.stop_gradient(self.values[...]), self.kernel[...])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer: `[..., in_features]` to `[..., out_features]`."""
        _refuse_misfit(x, self.kernel.shape[0])
        y = x @ self.weights
        return y if self.bias is None else y + self.bias[...]


class FiGLU(nnx.Module):
    r"""A nonlinearity without permutation symmetry, \(x \mapsto x \odot \sigma(x F)\) with a fixed matrix F.

    It replaces an elementwise activation (\(\sigma\)-Asym). The entries of F are normally distributed. With a scale of
    1, as in the paper, the inputs of the gates are \(\sqrt{n}\) times as large as x, so that most gates are open or
    closed; with \(1/\sqrt{n}\) they are as large as x, and losses on the line between two networks are lower.

    Args:
        features: the size of the last axis.
        scale: the standard deviation of the entries of F.
        key: JAX key for F; see `AsymmetricLinear`.
        param_dtype: dtype of F.

    Attributes:
        matrix: F, `FixedEntries` `[features, features]`.

    Raises:
        OptionError: if `scale` is not finite, or `key` is not a JAX key.

    Example:
        >>> FiGLU(8, key=jax.random.key(0))(jnp.ones((3, 8))).shape
        (3, 8)

    Source:
        Lim et al., The empirical impact of neural parameter symmetries, or lack thereof, arXiv:2405.20231.
    """

    def __init__(self, features: int, *, scale: float = 1.0, key: jax.Array, param_dtype: Any = jnp.float32) -> None:
        size = _checks.count("features", features, example=8)
        scale, (_, stored) = in_python(_checks.number("scale", scale)), checked_dtypes(None, param_dtype)
        drawn = scale * in_numpy(unit_normal(_checks.key(key), (size, size), jnp.float32))
        self.matrix = FixedEntries(placed(drawn.astype(stored), key))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the gates along the last axis."""
        _refuse_misfit(x, len(self.matrix[...]))
        return x * jax.nn.sigmoid(x @ jax.lax.stop_gradient(self.matrix[...]))


def _refuse_misfit(x: jax.Array, features: int) -> None:
    step = "pass features as the last axis, or build the layer with other in_features"
    _checks.shaped("x", x, ("*batch", features), step=step)
