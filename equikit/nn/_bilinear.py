"""Products of features: equivariant maps of second degree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError
from equikit.diagrams import Signature, Term
from equikit.diagrams._parse import bind
from equikit.groups import S
from equikit.groups._group import checked_size
from equikit.nn._features import Features, given_terms, masks_for, options_for, typed_side
from equikit.nn._linear import Linear
from equikit.plans._apply import Feature

LETTERS = "abcdefghijklmnopqrstuvw"


class Bilinear(nnx.Module):
    r"""Equivariant maps of second degree: \(y = C(A x \otimes B x)\), the products channel by channel.

    A and B are `Linear` layers to features of the kinds that come in, C is one from their products. A product is the
    outer product over the axes that rotations and the like act on, and entry by entry over the axes that are permuted:
    `"p x"` times `"p x"` is `"p x x"`. Only features of one kind are multiplied with each other.

    Args:
        inputs: what comes in, as for `Linear`, in a dictionary.
        channels: how many products are formed of each kind of feature.
        outputs: what comes out, in a dictionary.
        rngs: random keys for the parameters.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
        **options: options of the three layers, and labels with their groups.

    Raises:
        SignatureError, OptionError: if the features cannot be read, or no channel is asked for.

    Cost: \(n^{2k}\) numbers for a feature of k axes that are not permuted.

    Example:
        >>> from equikit import O
        >>> inner = Bilinear({"x": 2}, 4, {"": 1}, x=O(3), rngs=nnx.Rngs(0))
        >>> inner({"x": jnp.ones((5, 3, 2))})[""].shape
        (5, 1)

    Source:
        Finzi et al., A practical method for constructing equivariant multilayer perceptrons, arXiv:2104.09459, whose
        bilinear layers this generalises.
    """

    def __init__(
        self,
        inputs: Features,
        channels: int,
        outputs: Features,
        *,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        sides = [typed_side(side, None, what)[0] for side, what in ((inputs, "input"), (outputs, "output"))]
        if checked_size("the number of products", channels) == 0:
            raise OptionError(
                "no products are asked for",
                got="channels=0",
                expected="one or more of each kind of feature",
                step="leave the layer out, or write 8",
            )
        labels = {label for side in sides for term in side for label in term.labels}
        bindings = {name: options.pop(name) for name in [*options] if name in labels}
        bound = {**(groups or {}), **bindings}
        self.signature: Signature = bind(sides[0], sides[1], bound, {})
        kinds = tuple(dict.fromkeys(term.labels for term in sides[0]))
        self.kinds = kinds
        factors = {" ".join(kind): (" ".join(kind), channels) for kind in kinds}
        products = {self._name(kind): (" ".join(self._product(kind)), channels) for kind in kinds}
        before = options_for(options, {label for term in sides[0] for label in term.labels}, labels)
        self.left = Linear(inputs, factors, groups=self._of(bound, sides[0]), rngs=rngs, **before)
        self.right = Linear(inputs, factors, groups=self._of(bound, sides[0]), rngs=rngs, **before)
        self.mix = Linear(products, outputs, groups=bound, rngs=rngs, **options)

    @staticmethod
    def _of(bound: Mapping[str, object], terms: tuple[Term, ...]) -> dict[str, object]:
        used = {label for term in terms for label in term.labels}
        return {label: what for label, what in bound.items() if label in used}

    def _shared(self, label: str) -> bool:
        """Whether a product goes entry by entry over the axes of a label: they are permuted, or plain."""
        groups = self.signature.groups
        return label not in groups or isinstance(groups[label], S)

    def _product(self, kind: tuple[str, ...]) -> tuple[str, ...]:
        shared = tuple(label for label in kind if self._shared(label))
        return shared + tuple(label for label in kind if not self._shared(label)) * 2

    @staticmethod
    def _name(kind: tuple[str, ...]) -> str:
        return f"product of {' '.join(kind) or '()'}"

    def __call__(self, x: Mapping[str, Feature], *, mask: Mapping[str, Any] | None = None) -> dict[str, Feature]:
        """Apply the layer to a dictionary of arrays `[*batch, *axes, channels]`."""
        x = given_terms([term.name for term in self.left.signature.inputs], x)
        before, after = (masks_for(layer.signature, self.signature, mask) for layer in (self.left, self.mix))
        left, right = self.left(x, mask=before), self.right(x, mask=before)
        products = {}
        for kind in self.kinds:
            name = " ".join(kind)
            first = LETTERS[: len(kind)]
            fresh = iter(LETTERS[len(kind) :])
            second = "".join(a if self._shared(label) else next(fresh) for a, label in zip(first, kind, strict=True))
            shared = "".join(a for a, b in zip(first, second, strict=True) if a == b)
            outer = ["".join(c for c in row if c not in shared) for row in (first, second)]
            formula = f"...{first}z,...{second}z->...{shared}{outer[0]}{outer[1]}z"
            products[self._name(kind)] = jnp.einsum(formula, left[name], right[name])
        result: dict[str, Feature] = self.mix(products, mask=after)
        return result
