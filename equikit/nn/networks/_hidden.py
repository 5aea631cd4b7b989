"""Parts of hidden layers other than linear and bilinear maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from flax import nnx

from equikit import _checks
from equikit.nn._bilinear import Bilinear
from equikit.nn._features import Features, features_of, given_terms, labels_of, read_features, support_for
from equikit.nn._functions import Activation
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear, unreached
from equikit.nn._nonlinear import Gated, NormGated, Pointwise
from equikit.nn.termwise._norms import RMSNorm
from equikit.nn.termwise._rows import present_rows
from equikit.plans import Feature
from equikit.signatures import Signature, Term, base, bind
from equikit.supports import Support


class HiddenLinear(Linear):
    """The linear part of the first hidden layer, which may not reach every output: products reach others."""

    needs_input = False


class LaterLinear(HiddenLinear):
    """The linear part of another hidden layer."""

    mixed_input = True


class LastLinear(Linear):
    """The last layer after hidden layers, or a factor of products in them."""

    mixed_input = True

    def _call_name(self) -> str:
        return "Linear"  # which it is, except for its initial weights


class HiddenBilinear(Bilinear):
    """The bilinear part of the first hidden layer, restricted to the outputs that products reach."""

    def _kept(self, products: Features, outputs: Features, groups: Mapping[str, Any]) -> Features:
        (sources, wide), (targets, narrow) = read_features(products, "input"), read_features(outputs, "output")
        lost = unreached(bind(sources, targets, groups, {}), (wide, narrow))
        kept = features_of(targets, narrow)
        for term in lost:
            del kept[term.name]
        return kept or outputs


class LaterBilinear(HiddenBilinear):
    """The bilinear part of another hidden layer."""

    factor = LastLinear


class PerTerm(Layer):
    """A `Pointwise` nonlinearity for every term of some features."""

    shows_parts = True

    def __init__(self, function: Activation, features: Features, groups: Mapping[str, object]) -> None:
        terms, _ = read_features(features, "output")
        self.names = tuple(term.name for term in terms)
        self.layers = nnx.List(
            [
                Pointwise(function, term.text, groups={x: groups[x] for x in map(base, {*term.used}) if x in groups})
                for term in terms
            ]
        )

    @property
    def call_signature(self) -> Signature:
        """A signature with the groups of all terms."""
        bound = {pair for layer in self.layers for pair in layer.signature.bindings}
        return Signature((), (), tuple(sorted(bound)))

    def __call__(self, x: Mapping[str, Feature], *, support: Support | None = None) -> dict[str, Feature]:
        """Apply the function to a dictionary of arrays."""
        x, whole = given_terms(self.names, x), self.call_signature
        return {
            name: layer(x[name], support=support_for(layer.signature, whole, support))
            for name, layer in zip(self.names, self.layers, strict=True)
        }


def _gated(
    features: Features, activation: Activation, gate: Activation, groups: Mapping[str, object]
) -> tuple[nnx.Module, Features]:
    layer = Gated(features, activation=activation, gate=gate, groups=groups)
    return layer, layer.inputs


def _norm_gated(
    features: Features, activation: Activation, gate: Activation, groups: Mapping[str, object]
) -> tuple[nnx.Module, Features]:
    return NormGated(features, activation=activation, gate=gate, groups=groups), features


def _pointwise(
    features: Features, activation: Activation, gate: Activation, groups: Mapping[str, object]
) -> tuple[nnx.Module, Features]:
    return PerTerm(activation, features, groups), features


Nonlinearity = Literal["gated", "norm", "pointwise"]
"""What follows the linear maps of a network: gates that these maps compute, gates from norms, or the activation."""
NONLINEARITIES: dict[str, Callable[..., tuple[nnx.Module, Features]]] = {
    "gated": _gated,
    "norm": _norm_gated,
    "pointwise": _pointwise,
}
"""Builders from output features, activation, gate and groups to a layer and its input features."""


def nonlinear_layer(
    kind: Nonlinearity,
    features: Features,
    activation: Activation,
    gate: Activation,
    groups: Mapping[str, object],
) -> tuple[nnx.Module, Features]:
    """Return a nonlinearity with these output features, and its input features."""
    _checks.choice("nonlinearity", kind, tuple(NONLINEARITIES))
    return NONLINEARITIES[kind](features, activation, gate, groups)


def rms_norm(features: Features, groups: Mapping[str, Any], options: Mapping[str, Any]) -> Normalized | None:
    """Return `RMSNorm` on the terms that have an invariant mean square; `None` if there is no such term."""
    terms, widths = read_features(features, "input")
    bound = bind(terms, (), groups, {}).groups
    orthogonal = {term.name for term in terms if all(bound[x].keeps_norm for x in term.labels if x in bound)}
    kept = {name: what for name, what in features_of(terms, widths).items() if name in orthogonal}
    return Normalized(kept, groups, options) if kept else None


class Normalized(Layer):
    """`RMSNorm` on some terms of a dictionary; the others are unchanged."""

    shows_parts = True

    def __init__(self, kept: Features, groups: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.names = tuple(kept)
        used = labels_of([kept])
        self.norm = RMSNorm(kept, groups={label: what for label, what in groups.items() if label in used}, **options)

    @property
    def call_signature(self) -> Signature:
        """The signature of the normalized terms."""
        return self.norm.signature

    def __call__(self, x: Mapping[str, Feature], *, support: Support | None = None) -> dict[str, Feature]:
        """Normalize the terms that have an invariant mean square."""
        kept: Any = self.norm({name: x[name] for name in self.names}, support=support)
        return {**x, **kept}


def agree(before: Features, after: Features) -> bool:
    """Whether two dictionaries describe the same features, in any order and spelling."""

    def known(side: Features) -> set[tuple[str, tuple[str, ...], int]]:
        terms, widths = read_features(side, "feature")
        return {(term.name, term.words, width) for term, width in zip(terms, widths, strict=True)}

    return known(before) == known(after)


def present(term: Term, array: Feature, masks: Mapping[str, Any] | None, support: Support | None = None) -> Feature:
    """Return an array with its absent entries set to zero, whatever their values."""
    return present_rows(term, array, masks or {}, support)
