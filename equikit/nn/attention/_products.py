"""Products of what a point receives with its own features."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError
from equikit.diagrams import multilinear
from equikit.groups import Fixed
from equikit.nn._features import Features, features_of, labels_of, read_features
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.nn._multilinear import Multilinear
from equikit.nn.attention._kinds import Known, kinds_of, name_of, options_of, reached
from equikit.plans import Feature, Mode
from equikit.signatures import Signature, Term, base

SHARED = frozenset({"normalize", "init_size", "dtype", "param_dtype", "precision", "kernel_init"})
"""The options of `Linear` that `Multilinear` has too."""


class Products(Layer):
    """Bilinear maps of two groups of features of a point, with channelwise products.

    `Linear` layers map both to `channels` features of each of their kinds. `Multilinear` layers have all maps of two
    kinds to the kind of an output, and a last `Linear` layer mixes the products. Kinds with plain axes, which have no
    channelwise maps, are multiplied in mode `"full"`.

    Args:
        first, second: the features of the two factors.
        outputs: the output features; those that no product reaches are left out.
        channels: the number of products of two kinds.
        signature: a signature with the groups of all labels.
        rngs: random keys for the parameters.
        options: options of the linear layers.

    Attributes:
        left, right: the linear layers of the factors.
        maps: the multilinear layers.
        names: for each of them the names of its factors and of its result.
        mix: the linear layer of the products.
    """

    shows_parts = True

    def __init__(
        self,
        first: Features,
        second: Features,
        outputs: Features,
        channels: int,
        signature: Signature,
        rngs: nnx.Rngs,
        options: Mapping[str, Any],
    ) -> None:
        shared = {name: value for name, value in options.items() if name in SHARED}
        kinds = [kinds_of(side) for side in (first, second, outputs)]
        factors = [{name_of(kind): (name_of(kind), channels) for kind in side} for side in kinds[:2]]
        self.left = Linear(first, factors[0], rngs=rngs, **options_of(signature, options, labels_of([first])))
        self.right = Linear(second, factors[1], rngs=rngs, **options_of(signature, options, labels_of([second])))
        maps, names = [], []
        for triple in itertools.product(*kinds):
            one, other, result = map(Term.of, triple)
            text = f"{one.text}, {other.text} -> {result.text}"
            used = {base(label) for term in (one, other, result) for label in term.used}
            own = options_of(signature, shared, used)
            if multilinear(text, own["groups"]).count:
                plain = any(isinstance(what, Fixed) for what in own["groups"].values())  # has no channelwise maps
                mode: Mode = "full" if plain else "channelwise"
                maps.append(Multilinear(text, channels, channels, mode=mode, rngs=rngs, **own))
                names.append((name_of(triple[0]), name_of(triple[1]), name_of(triple[2])))
        self.maps = nnx.List(maps)
        self.names = tuple(names)
        results = [result for _, _, result in names]
        products = {result: (result, channels * results.count(result)) for result in dict.fromkeys(results)}
        kept = self._kept(products, outputs, signature)
        if not kept:
            raise OptionError(
                "no product of values and queries reaches an output",
                got=f"products={channels}, from {dict(first)} and {dict(second)} to {dict(outputs)}",
                expected="outputs that a bilinear map of a value and a query reaches",
                step="leave products out",
            )
        self.mix = Linear(products, kept, rngs=rngs, **options_of(signature, options, labels_of([products, kept])))

    def _kept(self, products: Features, outputs: Features, signature: Signature) -> Features:
        """Return the outputs that products reach."""
        (targets, narrow) = read_features(outputs, "output")
        found = reached(signature, read_features(products, "input")[0], kinds_of(outputs)) if products else []
        kept = [term.words in found for term in targets]
        return {
            name: what for (name, what), keep in zip(features_of(targets, narrow).items(), kept, strict=True) if keep
        }

    def __call__(self, first: Mapping[str, Feature], second: Mapping[str, Feature], known: Known) -> dict[str, Feature]:
        """Return the outputs that products reach, for two dictionaries of features of points."""
        left = self.left(dict(first), **known.of(self.left.signature))
        right = self.right(dict(second), **known.of(self.right.signature))
        found: dict[str, list[Feature]] = {}
        for layer, (one, other, result) in zip(self.maps, self.names, strict=True):
            found.setdefault(result, []).append(layer(left[one], right[other], **known.of(layer.call_signature)))
        products = {name: jnp.concatenate(parts, -1) for name, parts in found.items()}
        mixed: dict[str, Feature] = self.mix(products, **known.of(self.mix.signature))
        return mixed
