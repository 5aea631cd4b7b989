"""Normalization that commutes with groups of orthogonal matrices."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit._errors import OptionError
from equikit.nn._features import Features, checked_features, features_of, not_permuted, read_features
from equikit.nn._layer import Layer, features_text
from equikit.nn.initializers import filled
from equikit.plans import (
    Feature,
)
from equikit.signatures import (
    Signature,
    Term,
    bind,
)


class RMSNorm(Layer):
    r"""Divide features by their root mean square, which orthogonal matrices preserve, and scale channels.

    \(y = g \odot x / \sqrt{\mathrm{mean}(x^2) + \epsilon}\). The mean runs over the channels of a term and its axes,
    except those that are only permuted: every node of a graph is normalized by itself.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        epsilon: added to the mean square.
        param_dtype: dtype of the scales.
        rngs: not used, as the scales begin at one; taken so that all layers are made alike.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: name of a term to a parameter `[channels]`.

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
        if rngs is not None:
            _checks.rngs(rngs)
        terms, widths = read_features(features, "input")
        self.signature: Signature = bind(terms, (), groups, bindings, call=_checks.call_of(type(self)))
        for label, group in self.signature.groups.items():
            if not group.keeps_norm:
                raise OptionError(
                    f"the mean square over {label!r} is not invariant under {group}",
                    got=f"{label}={group}",
                    expected="a group of orthogonal matrices",
                    step="leave the term out; ek.nn.Gated scales it by invariants",
                )
        self.epsilon = _checks.number("epsilon", epsilon, above=0, example=1e-6, traced=False)
        self.widths = widths
        stored = _checks.dtype("param_dtype", param_dtype)
        self.scale = nnx.Dict(
            {term.name: nnx.Param(filled(1, (width,), stored)) for term, width in zip(terms, widths, strict=True)}
        )

    def _call_arguments(self) -> list[str]:
        return [features_text(features_of(self.signature.inputs, self.widths))]

    def __call__(self, x: Mapping[str, Feature]) -> dict[str, Feature]:
        """Normalize a dictionary of arrays `[*batch, *axes, channels]`; entries that are zero stay so.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        arrays = checked_features(self.signature, self.widths, x)
        return {term.name: self._normalized(term, arrays[term.name]) for term in self.signature.inputs}

    def _normalized(self, term: Term, array: Feature) -> Feature:
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        square = jnp.mean(jnp.abs(wide) ** 2, axis=(*not_permuted(self.signature, term), -1), keepdims=True)
        scale = self.scale[term.name][...].astype(array.dtype)
        return (wide / jnp.sqrt(square + self.epsilon)).astype(array.dtype) * scale
