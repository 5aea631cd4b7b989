"""Base class of layers that act on each term separately."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import masks_of
from equikit._errors import OptionError
from equikit.nn._features import Features, features_of, read_features
from equikit.nn._layer import Layer, features_text
from equikit.nn.termwise._rows import Rows, read_terms
from equikit.plans import Arrays, Feature, Masks
from equikit.signatures import Signature, Term, bind
from equikit.supports import Support

Applied = Callable[[Term, Feature, Rows], Feature]
"""A function of a term, its array, whose absent entries are zero, and how arrays are stored."""


def refuse_without_norm(signature: Signature) -> None:
    """Raise `OptionError` for a group that does not preserve the sum of squares."""
    for label, group in signature.groups.items():
        if not group.keeps_norm:
            raise OptionError(
                f"the mean square over {label!r} is not invariant under {group}",
                got=f"{label}={group}",
                expected="a group of orthogonal matrices",
                step="leave the term out; ek.nn.Gated scales it by invariants",
            )


class Termwise(Layer):
    """Base class of layers that act on each term separately.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        rngs: random keys that are not used, or `None`.
        groups, bindings: the group of each label.
    """

    def __init__(
        self,
        features: Features,
        rngs: nnx.Rngs | None,
        groups: Mapping[str, object] | None,
        bindings: Mapping[str, object],
    ) -> None:
        if rngs is not None:
            _checks.rngs(rngs)
        terms, self.widths = read_features(features, "input")
        self.signature: Signature = bind(terms, (), groups, bindings, call=_keywords.call_of(type(self)))

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features, as inputs and as outputs."""
        features = features_of(self.signature.inputs, self.widths)
        return features, features

    def _call_arguments(self) -> list[str]:
        return [features_text(self.sides[0])]

    def _each(self, x: Arrays, mask: Masks | None, support: Support | None, apply: Applied) -> Arrays:
        """Apply a function to every term; absent entries are zero before and after."""
        (first, *more), masks = self.signature.inputs, masks_of(self.signature, mask)
        alone = not isinstance(x, Mapping) and not more
        given, rows = read_terms(self.signature, self.widths, {first.name: x} if alone else x, masks, support)

        def applied(term: Term) -> Feature:
            array = rows.present(term, given[term.name])
            return rows.together(term, rows.present(term, apply(term, array, rows)))

        found: Any = {term.name: applied(term) for term in self.signature.inputs}
        result: Arrays = found[first.name] if alone else found
        return result
