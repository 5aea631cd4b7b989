"""Normalization that commutes with permutations and with groups of orthogonal matrices."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit.nn._features import Features, mixed, not_permuted
from equikit.nn.initializers import filled
from equikit.nn.termwise._rows import Rows
from equikit.nn.termwise._termwise import Termwise, refuse_without_norm
from equikit.plans import Arrays, Feature, Masks
from equikit.signatures import Term
from equikit.supports import Support


def widened(array: Feature) -> Feature:
    """Return an array in float32 or wider: in half precision squares can overflow although the features do not."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


class RMSNorm(Termwise):
    r"""Divide features by their root mean square, which orthogonal matrices preserve, and scale channels.

    \(y = g \odot x / \sqrt{\mathrm{mean}(x^2) + \epsilon}\). The mean runs over the channels and the axes of a term,
    except permuted axes: every node of a graph is normalized separately. Features above 1e19 become zero, because their
    squares overflow.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        epsilon: added to the mean square.
        param_dtype: dtype of the scales.
        rngs: unused, because scales start at one; accepted for uniformity.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: maps the name of a term to a parameter `[channels]`.

    Raises:
        OptionError: if a group does not preserve the sum of squares, such as boosts and symplectic matrices.

    Example:
        >>> from equikit import O
        >>> norm = RMSNorm({"x": 1}, x=O(2))
        >>> bool(jnp.allclose(norm({"x": jnp.array([[3.0], [4.0]])})["x"][:, 0], jnp.array([3.0, 4.0]) / 12.5**0.5))
        True

    Source:
        Zhang and Sennrich, Root mean square layer normalization, arXiv:1910.07467.
    """

    def __init__(
        self,
        features: Features,
        *,
        epsilon: float = 1e-6,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        super().__init__(features, rngs, groups, bindings)
        refuse_without_norm(self.signature)
        self.epsilon: float = _checks.number("epsilon", epsilon, above=0, example=1e-6, traced=False)
        stored = _checks.dtype("param_dtype", param_dtype)
        self.scale = self._filled(1, stored)

    def _filled(self, value: float, dtype: jnp.dtype, *, centered: bool = False) -> nnx.Dict[nnx.Param[jax.Array]]:
        """Return a parameter for every term, or with `centered` for every term whose mean is subtracted."""
        terms = zip(self.signature.inputs, self.widths, strict=True)
        own = {term.name: width for term, width in terms if not (centered and mixed(self.signature, term))}
        return nnx.Dict({name: nnx.Param(filled(value, (width,), dtype)) for name, width in own.items()})

    def __call__(self, x: Arrays, *, mask: Masks | None = None, support: Support | None = None) -> Arrays:
        """Normalize an array `[*batch, *axes, channels]` or a dictionary of arrays; zeros stay zero.

        Args:
            x: a dictionary with an array for each term, or a single array if there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        return self._each(x, mask, support, self._normalized)

    def _normalized(self, term: Term, array: Feature, rows: Rows) -> Feature:
        wide = widened(array)
        square = jnp.mean(jnp.abs(wide) ** 2, axis=(*not_permuted(self.signature, term), -1), keepdims=True)
        scale = self.scale[term.name][...].astype(array.dtype)
        return (wide / jnp.sqrt(square + self.epsilon)).astype(array.dtype) * scale


class LayerNorm(RMSNorm):
    r"""Layer normalization of invariants and permuted features; RMS normalization of all other features.

    A term whose axes are only permuted, or plain, becomes \(g \odot (x - m) / \sqrt{\mathrm{mean}((x - m)^2) +
    \epsilon} + b\), where m is the mean over its channels and plain axes: every node of a graph is normalized
    separately. Any other term is normalized as in `RMSNorm`, because adding a constant to vectors is not equivariant.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        epsilon: added to the variance, or to the mean square.
        param_dtype: dtype of the parameters.
        rngs: unused, because parameters start at one or zero; accepted for uniformity.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: maps the name of a term to a parameter `[channels]`.
        bias: the same for the terms whose mean is subtracted.

    Raises:
        OptionError: if a group does not preserve the sum of squares, such as boosts and symplectic matrices.

    Example:
        >>> from equikit import O, S
        >>> norm = LayerNorm({"p": 2, "p x": 1}, p=S, x=O(2))
        >>> y = norm({"p": jnp.array([[1.0, 3.0]]), "p x": jnp.array([[[3.0], [4.0]]])})
        >>> y["p"].round(3).tolist()
        [[-1.0, 1.0]]

    Source:
        Ba et al., Layer normalization, arXiv:1607.06450.
    """

    def __init__(
        self,
        features: Features,
        *,
        epsilon: float = 1e-6,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        super().__init__(features, epsilon=epsilon, param_dtype=param_dtype, rngs=rngs, groups=groups, **bindings)
        self.bias = self._filled(0, _checks.dtype("param_dtype", param_dtype), centered=True)

    def _normalized(self, term: Term, array: Feature, rows: Rows) -> Feature:
        if term.name not in self.bias:
            return super()._normalized(term, array, rows)
        wide = widened(array)
        wide = wide - jnp.mean(wide, axis=(*not_permuted(self.signature, term), -1), keepdims=True)
        scaled = super()._normalized(term, wide, rows).astype(array.dtype)
        return scaled + self.bias[term.name][...].astype(array.dtype)
