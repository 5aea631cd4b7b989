"""Layers from equivariant features to invariants: a learned head, and pooling without parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import masks_of
from equikit._errors import OptionError
from equikit.nn._arguments import Space, one_term, refuse_outputs, typed_side
from equikit.nn._features import Features, features_of
from equikit.nn._layer import Layer, maps_text, quoted
from equikit.nn._linear import Linear
from equikit.nn.termwise._rows import Rows, read_rows
from equikit.plans import Channels, Feature, Inputs, Masks, Planned, max_by_graph, planned_part, sum_by_graph
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
        how: `"sum"`, `"mean"` or `"max"`; without entries the mean is zero and the maximum minus infinity,
            but zero in padded graphs of a support.
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

    def __call__(self, x: Feature, *, mask: Masks | None = None, support: Support | None = None) -> Feature:
        """Pool an array `[*batch, *axes, channels]` to `[*batch, *plain axes, channels]`, with any number of channels.

        Args:
            x: the array.
            mask: for a label, booleans `[*batch, n]`: which entries are present.
            support: which entries of the axes of one label are present, as for `Linear`; the result has a row for each
                graph, if the support has graph numbers.

        Raises:
            ShapeError, DTypeError: if the array or a mask does not fit.
        """
        (term,) = self.signature.inputs
        masks = masks_of(self.signature, mask)
        (x,), rows = read_rows(self.signature, None, [x], masks, support)
        keep = rows.keep(term, x.ndim)
        there = jnp.broadcast_to(True if keep is None else keep, x.shape)
        if self.how == "max":
            return self._pooled(jnp.where(there, x, -jnp.inf), rows)
        # In half precision the sum or the count can overflow although the mean does not.
        wide = jnp.promote_types(x.dtype, jnp.float32)
        total = self._pooled(jnp.where(there, x, 0).astype(wide), rows)
        if self.how == "mean":
            total = total / jnp.maximum(self._pooled(there.astype(wide), rows), 1)
        return total.astype(x.dtype)

    def _pooled(self, x: Feature, rows: Rows) -> Feature:
        """Return sums or maxima of an array with an axis for each axis of the term."""
        (term,), batch = self.signature.inputs, len(rows.shapes.batch)
        own, acted = rows.places(term), self.signature.acted(term)
        if rows.support is None or not own:
            start = x.ndim - 1 - len(term.labels)  # after the axes of the batch, and of graphs
            return self._over(x, [start + place for place in acted])
        others = [place for place in range(len(term.labels)) if place not in own]
        x = self._over(rows.together(term, x), [batch + 1 + i for i, place in enumerate(others) if place in acted])
        by_graph = max_by_graph if self.how == "max" else sum_by_graph
        y = by_graph(jnp.moveaxis(x, batch, 0), rows.support, len(own))
        if self.how == "max" and rows.support.padded and rows.support.graphs is not None:
            # Minus infinity in padding would make gradients of what follows NaN.
            y = jnp.where(rows.support.present(0).reshape(-1, *(1,) * (y.ndim - 1)), y, jnp.zeros((), y.dtype))
        y = jnp.moveaxis(y, 0, batch)
        return y.squeeze(batch) if rows.support.graphs is None else y

    def _over(self, x: Feature, axes: Sequence[int]) -> Feature:
        return jnp.max(x, tuple(axes), initial=-jnp.inf) if self.how == "max" else jnp.sum(x, tuple(axes))
