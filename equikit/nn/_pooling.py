"""Layers from equivariant features to invariants: a learned head, and pooling without parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import checked_arrays, masks_of
from equikit._errors import OptionError
from equikit._masks import present
from equikit.nn._arguments import Space, one_term, refuse_outputs, typed_side
from equikit.nn._features import Features, features_of
from equikit.nn._layer import Layer, maps_text, quoted
from equikit.nn._linear import Linear
from equikit.plans import Channels, Feature, Inputs, Masks, Planned, planned_part
from equikit.plans.sharding import OutSharding
from equikit.signatures import Signature, Term
from equikit.supports import Support


class Invariant(Linear):
    """All invariant linear maps of the inputs, each with a learned weight: a `Linear` layer to scalars.

    Args:
        features: labels of the input (`"p p"`), a space with a scalar output (`ek.hom("p p -> ()", p=ek.S)`), or a
            dictionary as for `Linear`.
        channels: channels of the input; omitted if `features` is a dictionary.
        out_channels: channels of the result.
        rngs: random keys for the parameters.
        **options: options and label bindings, as for `Linear`.

    Example:
        >>> from equikit import S
        >>> head = Invariant("p p", 16, 10, p=S, rngs=nnx.Rngs(0))
        >>> head(jnp.ones((4, 9, 9, 16))).shape
        (4, 10)
    """

    def __init__(
        self,
        features: str | Features | Space,
        channels: Channels | None = None,
        out_channels: int = 1,
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        if isinstance(features, Space):
            refuse_outputs(features, features.signature.inputs, (), _keywords.call_of(type(self)))
        terms, widths = typed_side(features, channels, "input")
        if widths is None:
            raise OptionError(
                "the channels of the input are not given",
                got=features,
                expected='Invariant("p p", 16, 10, ...)',
                step="give the channels of input and output",
            )
        if isinstance(features, Space):
            super().__init__(features, widths, out_channels, rngs=rngs, **options)
        else:
            super().__init__(features_of(terms, widths), {"": ("", out_channels)}, rngs=rngs, **options)

    def _call_arguments(self) -> list[str]:
        whole, *channels = maps_text(self.signature, self.channels)
        if len(channels) == 1:
            return [whole, f"out_channels={self.channels[1][0]}"]
        return [quoted(whole.strip('"').partition(" -> ")[0]), *channels]

    def plans_and_weights(self) -> Planned:
        """Return the plan and its weights as NumPy arrays, for `equikit.plans.to_numpy` and `to_torch`."""
        return planned_part(self.plan, self.weights(), single=True)

    def __call__(  # type: ignore[override]  # one array for every kind of input
        self,
        x: Inputs,
        *,
        mask: Masks | None = None,
        sizes: Mapping[str, int] | None = None,
        out_sharding: OutSharding | None = None,
        support: Support | None = None,
    ) -> Feature:
        """Apply the head: `[*batch, channels]`, for one array or a dictionary of arrays; options as for `Linear`."""
        single = len(self.signature.inputs) == 1 and not isinstance(x, Mapping)
        given: Any = {self.signature.inputs[0].name: x} if single else x
        y: Any = super().__call__(given, mask=mask, sizes=sizes, out_sharding=out_sharding, support=support)
        head: Feature = y[self.signature.outputs[0].name] if isinstance(y, dict) else y
        return head


def plain_labels(signature: Signature, term: Term) -> tuple[str, ...]:
    """Return the labels of a term's plain axes, on which nothing acts."""
    return tuple(term.labels[i] for i in signature.plain(term))


class Pool(Layer):
    """Sum, mean or maximum over all axes on which groups act; no parameters.

    Args:
        features: labels of the input, `"p p"`, or a space from them to the plain axes, `ek.hom("p p -> ()", p=ek.S)`.
        how: `"sum"`, `"mean"` or `"max"`; without entries the mean is zero and the maximum minus infinity.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Raises:
        OptionError: if `how` is unknown, or a group does more than permute entries.
        SignatureError: if the labels cannot be read or are not bound.

    Example:
        >>> from equikit import S
        >>> Pool("p", how="max", p=S)(jnp.array([[1.0], [3.0], [2.0]])).tolist()
        [3.0]
    """

    def __init__(
        self,
        features: str | Space,
        *,
        how: Literal["sum", "mean", "max"] = "mean",
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        self.how = _checks.choice("how", how, ("sum", "mean", "max"), step='write how="mean"')
        self.signature = one_term(features, groups, bindings, _keywords.call_of(type(self)), plain_labels)
        for label, group in self.signature.groups.items():
            if group.elements_are != "permutations":
                raise OptionError(
                    f"pooling over {label!r} would not give invariants",
                    got=f"{label}={group}",
                    expected="groups that permute entries, S or A",
                    step="use ek.nn.Invariant, which knows the invariants of every group",
                )

    def _call_arguments(self) -> list[str]:
        return [quoted(self.signature.inputs[0].text)]

    def __call__(self, x: Feature, *, mask: Masks | None = None) -> Feature:
        """Pool an array `[*batch, *axes, channels]` to `[*batch, *plain axes, channels]`, with any number of channels.

        Raises:
            ShapeError, DTypeError: if the array or a mask does not fit.
        """
        (term,) = self.signature.inputs
        masks = masks_of(self.signature, mask)
        (x,), shapes = checked_arrays(self.signature, None, [x], masks=masks)
        batch = len(shapes.batch)
        acted = self.signature.acted(term)
        keep = present(term.labels, masks, x.ndim, batch)
        axes = tuple(batch + place for place in acted)
        if self.how == "max":
            return jnp.max(x, axis=axes, where=keep, initial=-jnp.inf)
        # In half precision the sum or the count can overflow although the mean does not.
        wide = jnp.promote_types(x.dtype, jnp.float32)
        total = jnp.sum(x, axis=axes, where=keep, dtype=wide)
        if self.how == "mean":
            count = jnp.sum(jnp.broadcast_to(keep, x.shape), axis=axes)
            total = total / jnp.maximum(count, 1).astype(wide)
        return total.astype(x.dtype)
