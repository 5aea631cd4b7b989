"""A network for any group, from a list of features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flax import nnx

from equikit import _checks
from equikit._errors import OptionError, SignatureError
from equikit._keywords import Call, call_of
from equikit.groups import Fixed, Group
from equikit.nn._bilinear import Bilinear
from equikit.nn._dtypes import cast
from equikit.nn._features import (
    Features,
    given_terms,
    labels_among,
    labels_of,
    masks_for,
    options_for,
    read_features,
    support_for,
)
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.nn._layer import Layer, features_text
from equikit.nn._linear import Linear, unreached
from equikit.nn.networks._hidden import (
    HiddenBilinear,
    HiddenLinear,
    LastLinear,
    LaterBilinear,
    LaterLinear,
    Nonlinearity,
    Normalized,
    agree,
    nonlinear_layer,
    present,
    rms_norm,
)
from equikit.nn.networks._reach import Reach, reach
from equikit.plans import Feature, Masks
from equikit.signatures import Signature, bind, parse_side
from equikit.supports import Support


class Network(Layer):
    r"""Equivariant network on tensors of any groups, defined by a list of features.

    A hidden layer maps x to \(\sigma(s\,(L x + B(x)))\): L is a `Linear` layer, B a `Bilinear` layer, σ the
    nonlinearity, and \(s = 2^{-1/2}\) for a term that both L and B reach, so that the sum of two terms of variance one
    also has variance one. The last layer is linear. Linear layers alone cannot map a vector under rotations to an
    invariant.

    Products double the polynomial degree in every layer, and with long-tailed inputs the largest values dominate the
    loss. L layers with products are polynomials of degree \(2^L\) in the inputs: no scale of the initial weights keeps
    them near one for all inputs. Train two or more such layers with clipped gradients,
    `optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))`, above all with `normalize="sum"`. With
    `normalize_features` every layer except the first divides its input by the root mean square. The first layer does
    not, because the target often depends on the magnitude of the inputs. Output vectors and tensors are then bounded,
    while invariants depend on the magnitude: leave the option off for outputs that grow with the inputs.

    Args:
        features: dictionaries for the input, each hidden layer and the output: labels to channels, or name to labels
            and channels.
        out_channels: channels of an invariant output `{"": out_channels}`, which is appended to the list.
        nonlinearity: `"gated"`, gates that the preceding linear maps compute; `"norm"`, gates from the norm of each
            feature; `"pointwise"`, the activation on every entry, if it commutes with the groups.
        products: channels of the products in each bilinear layer; one number, or one for each hidden layer; 0 for
            linear layers only.
        normalize_features: apply `RMSNorm` before every layer except the first, to all terms with orthogonal groups;
            terms with boosts or symplectic matrices have no invariant mean square and stay unchanged.
        residual: add the input of a hidden layer to its output if their features agree.
        activation: activation of terms on which only permutations act; with `"pointwise"`, of all terms.
        gate: activation of the gates of all other terms.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups. With `normalize="sum"` pass the largest
            n of the data as `init_size`. The first layer preserves the variance of independent entries there; in later
            layers, and in products, entries on which S acts are correlated and count as equal.

    Attributes:
        linear: the linear layers, one for each hidden layer.
        nonlinear: the nonlinearities, one for each hidden layer.
        bilinear: the layers of products, keyed by the index of the hidden layer, from `"0"`, or `"head"` for the last
            layer.
        norms: the `RMSNorm` layers, by the same keys.
        head: the last layer.

    Raises:
        OptionError: if the features are not a list, an option is unknown, or an option would change nothing.
        SignatureError, GroupError: if features cannot be read, or an output would not depend on the input.

    Cost: one `Linear` and one `Bilinear` layer for each hidden layer.

    Example:
        >>> from equikit import O
        >>> import jax.numpy as jnp
        >>> net = Network([{"x": 2}, {"": 32, "x": 8}, {"": 16, "x": 4}, {"": 1}], x=O(5), rngs=nnx.Rngs(0))
        >>> net({"x": jnp.ones((7, 5, 2))})[""].shape
        (7, 1)

    Source:
        Finzi et al., A practical method for constructing equivariant multilayer perceptrons, arXiv:2104.09459,
        section 6, for linear, bilinear and gated layers; Xiong et al., arXiv:2002.04745, for normalization before each
        layer.
    """

    shows_parts = True

    def __init__(
        self,
        features: Sequence[Features],
        *,
        out_channels: int | None = None,
        nonlinearity: Nonlinearity = "gated",
        products: int | Sequence[int] = 8,
        normalize_features: bool = False,
        residual: bool = False,
        activation: Activation = silu,
        gate: Activation = sigmoid,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        features = _checked_features(features, out_channels)
        labels = labels_of(features)
        bound = _bindings(features, groups, options, call_of(type(self), Linear))

        def of(*parts: Features) -> dict[str, Any]:
            used = labels_of(parts)
            return {
                "groups": {label: what for label, what in bound.items() if label in used or label not in labels},
                **options_for(options, used, labels),
            }

        pairs = list(itertools.pairwise(features[:-1]))
        widths = _checked_products(products, len(pairs))
        _checks.flag("residual", residual)
        _checks.flag("normalize_features", normalize_features)
        self.residual = tuple(residual and agree(before, after) for before, after in pairs)
        stored = {"param_dtype": options["param_dtype"]} if "param_dtype" in options else {}
        linear: list[Linear] = []
        bilinear: dict[str, Bilinear] = {}
        norms: dict[str, Normalized] = {}
        nonlinear: list[nnx.Module] = []
        for number, ((before, after), width) in enumerate(zip(pairs, widths, strict=True)):
            layer, wanted = nonlinear_layer(nonlinearity, after, activation, gate, of(after)["groups"])
            linear.append((LaterLinear if number else HiddenLinear)(before, wanted, rngs=rngs, **of(before, after)))
            if width:
                bilinear[f"{number}"] = _products(before, widths, wanted, number, rngs, of(before, after))
            norm = rms_norm(before, of(before)["groups"], stored) if normalize_features and number else None
            if norm is not None:
                norms[f"{number}"] = norm
            nonlinear.append(layer)
        norm = rms_norm(features[-2], of(features[-2])["groups"], stored) if normalize_features and pairs else None
        if norm is not None:
            norms["head"] = norm
        _checked_use("residual", residual, any(self.residual), "hidden layers that keep their features")
        _checked_use("normalize_features", normalize_features, bool(norms), "a hidden layer with a term to normalize")
        self.linear = nnx.List(linear)
        self.bilinear = nnx.Dict(bilinear)
        self.shared = tuple(_shared(one, bilinear.get(f"{i}")) for i, one in enumerate(linear))
        self.norms = nnx.Dict(norms)
        self.nonlinear = nnx.List(nonlinear)
        self.head = (LastLinear if pairs else Linear)(features[-2], features[-1], rngs=rngs, **of(*features[-2:]))
        self._refuse_constant(features, widths)

    def _call_arguments(self) -> list[str]:
        inputs = [layer.sides[0] for layer in (*self.linear, self.head)]
        return [f"[{', '.join(map(features_text, [*inputs, self.head.sides[1]]))}]"]

    def _call_options(self) -> Iterator[str]:
        """Yield `residual` only: the listed parts show products and norms."""
        yield from ["residual=True"] if any(self.residual) else []

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features of the first layer's inputs and of the last layer's outputs."""
        return [*self.linear, self.head][0].sides[0], self.head.sides[1]

    @property
    def call_signature(self) -> Signature:
        """A signature with the groups of all layers."""
        bound = (layer.signature.bindings for layer in (*self.linear, self.head))
        return Signature((), (), tuple(sorted(set(itertools.chain(*bound)))))

    def _refuse_constant(self, features: Sequence[Features], products: Sequence[int]) -> None:
        """Raise `SignatureError` if an output does not depend on the input: every path has a layer without maps."""
        moving = self._moving()
        lost = [term.name for term in self.head.signature.outputs if term.name not in moving]
        if lost:
            few = any(width == 0 for width in products)
            which = f" {lost[0]!r}" if moving else ""
            raise SignatureError(
                f"the output{which} of the network does not depend on its input",
                got=f"{[dict(side) for side in features]}, products={[*products]}",
                expected="hidden features that are reached by maps of the input, and reach the output",
                step=(f"write products={max([8, *products])}, or " if few else "")
                + "give hidden layers the axes of the input",
            )

    def _moving(self) -> frozenset[str]:
        """Return the names of the outputs that depend on the input."""
        names = frozenset(self.sides[0])
        here = Reach(names, names)
        for i, layers in enumerate(zip(self.linear, self.nonlinear, strict=True)):
            after = reach(layers[0], here)
            if f"{i}" in self.bilinear:
                after = after.join(reach(self.bilinear[f"{i}"], here))
            after = reach(layers[1], after)
            here = after.join(here) if self.residual[i] else after
        return reach(self.head, here).moving

    def __call__(
        self, x: Mapping[str, Feature], *, mask: Masks | None = None, support: Support | None = None
    ) -> dict[str, Feature]:
        """Apply the network.

        Args:
            x: arrays `[*batch, *axes, channels]`, one for each input term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; as for `Linear`, in every layer with
                the label.
            support: which entries of the axes of one label are present, as for `Linear`, in every layer with the label.

        Returns:
            `[*batch, *axes, channels]` for each output term; absent entries are zero.

        Raises:
            ShapeError, DTypeError: if an array does not fit.
        """
        whole = self.linear[0].signature if self.linear else self.head.signature
        if self.head.dtype is not None:
            x = cast(x, self.head.dtype)

        def on(layer: Any) -> dict[str, Any]:
            """Return the support for a layer."""
            return {} if support is None else {"support": support_for(layer.call_signature, whole, support)}

        for i, linear in enumerate(self.linear):
            options = {"mask": masks_for(linear.signature, whole, mask), **on(linear)}
            before = x
            if f"{i}" in self.norms:
                x = self.norms[f"{i}"](x, **on(self.norms[f"{i}"]))
            y = linear(x, **options)
            if f"{i}" in self.bilinear:
                y = _scaled_sums(self.shared[i], y, self.bilinear[f"{i}"](x, **options))
            x = self.nonlinear[i](y, **on(self.nonlinear[i]))
            if self.residual[i]:
                names = {term.name: term for term in linear.signature.inputs}
                kept = given_terms(names, before)
                x = {
                    name: array + present(names[name], kept[name], options["mask"], options.get("support"))
                    for name, array in x.items()
                }
        if "head" in self.norms:
            x = self.norms["head"](x, **on(self.norms["head"]))
        return self.head(dict(x), mask=masks_for(self.head.signature, whole, mask), **on(self.head))


def _shared(linear: Linear, bilinear: Bilinear | None) -> tuple[str, ...]:
    """Return the names of the terms that linear maps and products reach.

    The network stores them: layers of smaller groups reach more terms, and must not change the scales of their outputs.
    """
    lost = {term.name for term in unreached(linear.signature, linear.channels)}
    outputs = () if bilinear is None else bilinear.mix.signature.outputs
    return tuple(term.name for term in outputs if term.name not in lost)


def _scaled_sums(
    shared: Sequence[str], first: Mapping[str, Feature], second: Mapping[str, Feature]
) -> dict[str, Feature]:
    """Add linear maps and products, and scale the sum of outputs that have both."""
    scale = {name: math.sqrt(0.5) if name in shared else 1 for name in second}
    return {name: (one + second[name]) * scale[name] if name in second else one for name, one in first.items()}


def _products(
    before: Features, widths: Sequence[int], after: Features, number: int, rngs: nnx.Rngs, options: Mapping[str, Any]
) -> Bilinear:
    try:
        kind = LaterBilinear if number else HiddenBilinear
        return kind(before, widths[number], after, rngs=rngs, **options)
    except SignatureError as error:
        raise OptionError(
            f"no product of features reaches hidden layer {number + 1}",
            got=f"products={widths[number]}, from {dict(before)} to {dict(after)}",
            expected="features that a product of two features of one kind, or of dual kinds, can be mapped to",
            step=f"write products={[0 if i == number else width for i, width in enumerate(widths)]}, or give the layer "
            "other features",
        ) from error


def _bindings(
    features: Sequence[Features], groups: Mapping[str, object] | None, options: dict[str, Any], call: Call
) -> dict[str, Group | Fixed]:
    """Return the group of each label of the features, and remove keywords that are labels from the options."""
    kinds = [dict.fromkeys(" ".join(term.words) for term in read_features(side, "hidden")[0]) for side in features]
    inputs, *later = ({text: text for text in side} for side in kinds)
    outputs = {text: text for side in later for text in side}
    sides = parse_side(inputs, "input"), parse_side(outputs, "output")
    return dict(bind(*sides, groups, labels_among(options, call), call=call).bindings)


def _checked_features(features: object, out_channels: int | None) -> list[Features]:
    if isinstance(features, Sequence) and all(isinstance(side, Mapping) for side in features):
        found = [*features]
        if out_channels is not None:
            found.append({"": _checks.count("out_channels", out_channels)})
        if len(found) > 1:
            for i, side in enumerate(found):
                read_features(side, "output" if i else "input")
            return found
    raise OptionError(
        "the features of the network are not a list of dictionaries",
        got=repr(features),
        expected="features of the input, of hidden layers, and of the output",
        step='write [{"x": 2}, {"": 32, "x": 16}, {"": 1}]',
    )


def _checked_products(products: object, layers: int) -> list[int]:
    widths = (
        [*products] if isinstance(products, Sequence) and not isinstance(products, str | bytes) else [products] * layers
    )
    if len(widths) != layers:
        raise OptionError(
            "the numbers of products do not fit the hidden layers",
            got=f"products={products!r} for {layers} hidden layers",
            expected="one number for all, or one for each hidden layer",
            step=f"write products={[8] * layers}",
        )
    step = "give 0 for none, or for example 8"
    return [_checks.count("the number of products", width, step=step) for width in widths]


def _checked_use(option: str, asked: bool, used: bool, expected: str) -> None:
    if asked and not used:
        raise OptionError(
            f"{option} would change nothing in this network",
            got=f"{option}=True",
            expected=expected,
            step=f"leave {option} out, or change the features",
        )
