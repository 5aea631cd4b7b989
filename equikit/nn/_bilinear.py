"""The bilinear layer: quadratic equivariant maps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit.groups import Fixed
from equikit.nn._arguments import Space, sides_of
from equikit.nn._features import (
    Features,
    given_terms,
    labels_among,
    labels_of,
    masks_for,
    options_for,
    permuted,
    read_features,
    support_for,
)
from equikit.nn._layer import Layer, features_text
from equikit.nn._linear import Linear
from equikit.plans import Channels, Feature, Masks, Paired
from equikit.plans.sharding import Result, entries, placed
from equikit.signatures import Signature, Term, base, bind, is_axis, without_mark
from equikit.supports import Support

LETTERS = "abcdefghijklmnopqrstuvw"

Kind = tuple[str, ...]
"""The words of a feature: its labels and determinants."""


class ProductLinear(Linear):
    """The linear layer applied to the products."""

    other_layer = "Linear"
    mixed_input = True


class Bilinear(Layer):
    r"""Quadratic equivariant maps \(y = C(A x \otimes B x)\), with channelwise products.

    A and B are `Linear` layers to features of the same kinds as the inputs; C is a `Linear` layer from their products.
    A product is an outer product over axes whose entries a group mixes, and elementwise over permuted and plain axes:
    `"p x"` times `"p x"` is `"p x x"`. Each kind of feature is multiplied with itself, and with the dual kind if the
    inputs contain it: `"v"` with `"v"` and with `"v*"`. A vector `"x"` is also multiplied with an axial vector `"x~"`.

    Initial weights of A and B preserve the variance as in `Linear`. Products of entries at different places are
    correlated, so C is scaled for equal entries. The variance of a product is the product of the mean squares, so that
    inputs of variance v give outputs of the order of v².

    Args:
        inputs: the input features, in a dictionary as for `Linear`; or a space such as `ek.hom("x -> ()", x=ek.O(3))`,
            which defines the terms and groups.
        channels: number of products of each kind of feature with itself, and of each kind with its dual.
        outputs: the output features, in a dictionary; for a space the channels of both sides, `(2, 1)`.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of the three layers, and labels with their groups.

    Raises:
        SignatureError: if the features cannot be read, or products do not reach an output.
        OptionError: if `channels` is not a whole number above zero.

    Cost: \(n^{2k}\) entries for each product of features with k axes that are not permuted; on a support, for each row.

    Example:
        >>> from equikit import O
        >>> inner = Bilinear({"x": 2}, 4, {"": 1}, x=O(3), rngs=nnx.Rngs(0))
        >>> inner({"x": jnp.ones((5, 3, 2))})[""].shape
        (5, 1)

    Source:
        Finzi et al., A practical method for constructing equivariant multilayer perceptrons, arXiv:2104.09459, whose
        bilinear layers this generalizes.
    """

    factor: ClassVar[type[Linear]] = Linear
    """The layer that computes the factors."""

    def __init__(
        self,
        inputs: Features | Space,
        channels: int,
        outputs: Features | tuple[Channels, Channels],
        *,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        call = _keywords.call_of(type(self), Linear)
        bindings = labels_among(options, call)
        inputs, outputs, groups = sides_of(inputs, outputs, groups, bindings, call)
        sides = [read_features(side, what)[0] for side, what in ((inputs, "input"), (outputs, "output"))]
        channels = _checks.count("channels", channels, least=1, example=8)
        used, labels = labels_of([inputs]), labels_of([inputs, outputs])
        self.signature: Signature = bind(sides[0], sides[1], groups, bindings, call=call)
        bound = dict(self.signature.bindings)
        kinds = tuple(dict.fromkeys(term.words for term in sides[0]))
        self._pairs = tuple(self._multiplied(kinds))
        factors = {" ".join(kind): (" ".join(kind), channels) for kind in kinds}
        products = {name: (" ".join(self._product(*pair)), channels) for name, pair in self.products.items()}
        own = {label: what for label, what in bound.items() if label in used}
        before = options_for(options, used, labels)
        self.left, self.right = (self.factor(inputs, factors, groups=own, rngs=rngs, **before) for _ in range(2))
        outputs = self._kept(products, outputs, bound)
        after = labels_of([products, outputs])
        rest = {label: what for label, what in bound.items() if label in after}
        self.mix = ProductLinear(products, outputs, groups=rest, rngs=rngs, **options_for(options, after, labels))

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features of the inputs and of the outputs."""
        return self.left.sides[0], self.mix.sides[1]

    def _call_arguments(self) -> list[str]:
        before, after = map(features_text, self.sides)
        return [before, str(self.left.channels[1][0]), after]

    def _kept(self, products: Features, outputs: Features, groups: Mapping[str, Any]) -> Features:
        """Return the outputs that the products have to reach; by default all."""
        return outputs

    @property
    def products(self) -> dict[str, tuple[Kind, Kind]]:
        """The products by name, each with the labels of its two factors."""
        texts = [[" ".join(kind) or "()" for kind in dict.fromkeys(pair)] for pair in self._pairs]
        return {f"product of {', '.join(text)}": pair for text, pair in zip(texts, self._pairs, strict=True)}

    def _multiplied(self, kinds: tuple[Kind, ...]) -> Iterator[tuple[Kind, Kind]]:
        """Yield pairs to multiply: each kind with itself, and two kinds that are dual or equal up to a determinant."""
        yield from zip(kinds, kinds, strict=True)
        for one, other in itertools.combinations(kinds, 2):
            (shared, rest), (also_shared, also_rest) = (self._split(self._axes(kind)) for kind in (one, other))
            dual = tuple(map(self._dual, rest))
            twisted = self.signature.odd(Term.of(one), Term.of(other))
            if shared == also_shared and dual == also_rest and (rest != dual or twisted):
                yield one, other

    def _axes(self, kind: Kind) -> Kind:
        """Return the labels of the axes of a kind."""
        return tuple(without_mark(word) for word in kind if is_axis(word))

    def _dual(self, label: str) -> str:
        """Return the label of the dual; the label itself if vectors and dual vectors are the same."""
        group = dict(self.signature.bindings)[base(label)]
        if isinstance(group, Fixed) or not group.has_dual:
            return label
        return f"{label}*" if label == base(label) else base(label)

    def _shared(self, word: str) -> bool:
        """Whether a product is elementwise along the axis of a word, because the axis is permuted or plain."""
        label = without_mark(word)
        return is_axis(word) and (label not in self.signature.groups or permuted(self.signature, label))

    def _split(self, kind: Kind) -> tuple[Kind, Kind]:
        """Return the words along which a product is elementwise, and the others."""
        shared = tuple(word for word in kind if self._shared(word))
        return shared, tuple(word for word in kind if not self._shared(word))

    def _product(self, one: Kind, other: Kind) -> Kind:
        """Return the words of a product."""
        (shared, rest), (_, also) = self._split(one), self._split(other)
        return shared + rest + also

    def _formula(self, one: Kind, other: Kind, sparse: str | None = None) -> str:
        """Return the product of two factors as an `einsum`; shared axes are paired in order.

        On a support, the axes of its label are rows, which both factors share like the axes of a batch.
        """
        letters = iter(LETTERS)
        one, other = (tuple(label for label in self._axes(kind) if label != sparse) for kind in (one, other))
        first = [next(letters) for _ in one]
        shared = [letter for letter, label in zip(first, one, strict=True) if self._shared(label)]
        paired = iter(shared)
        second = [next(paired) if self._shared(label) else next(letters) for label in other]
        outer = [letter for letter in (*first, *second) if letter not in shared]
        return f"...{''.join(first)}z,...{''.join(second)}z->...{''.join((*shared, *outer))}z"

    def plans_and_weights(self) -> Paired:
        """Return the plans and their weights as NumPy arrays, for `equikit.plans.to_numpy` and `to_torch`."""
        names = {term.words: term.name for term in self.left.signature.outputs}
        products = tuple(
            (name, names[one], names[other], self._formula(one, other)) for name, (one, other) in self.products.items()
        )
        left, right, mix = (layer.plans_and_weights() for layer in (self.left, self.right, self.mix))
        return Paired(self.signature, left, right, mix, products)

    def __call__(
        self, x: Mapping[str, Feature], *, mask: Masks | None = None, support: Support | None = None
    ) -> dict[str, Feature]:
        """Apply the layer to a dictionary of arrays `[*batch, *axes, channels]`; options as for `Linear`."""
        x = given_terms([term.name for term in self.left.signature.inputs], x)
        options: list[dict[str, Any]] = [
            {
                "mask": masks_for(layer.signature, self.signature, mask),
                "support": support_for(layer.signature, self.signature, support),
            }
            for layer in (self.left, self.mix)
        ]
        before, after = options
        left, right = (layer(x, **before) for layer in (self.left, self.right))
        products = self._multiply(left, right, None if support is None else support.label)
        result: dict[str, Feature] = self.mix(products, **after)
        return result

    def _multiply(
        self, left: dict[str, Feature], right: dict[str, Feature], sparse: str | None = None
    ) -> dict[str, Feature]:
        """Return the products by name; on automatic axes, as JAX cannot put two explicit axes on the same devices."""
        terms, pairs = self.left.signature.outputs, self.products
        factors = [side[term.name] for side in (left, right) for term in terms]
        place = {term.words: i for i, term in enumerate(terms)}

        def compute(factors: Sequence[Any], *_: object) -> list[jax.Array]:
            return [
                jnp.einsum(self._formula(one, other, sparse), factors[place[one]], factors[len(terms) + place[other]])
                for one, other in pairs.values()
            ]

        if sparse is not None:
            return dict(zip(pairs, compute(factors), strict=True))

        def outputs() -> list[Result]:
            found = jax.eval_shape(compute, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in factors])
            channels = [entries(factors[place[one]])[-1] for one, _ in pairs.values()]
            return [
                Result(*each)
                for each in zip(self.mix.signature.inputs, (y.shape for y in found), channels, strict=True)
            ]

        products = placed(compute, (factors, [], {}), terms * 2, outputs, None)
        return dict(zip(pairs, products, strict=True))
