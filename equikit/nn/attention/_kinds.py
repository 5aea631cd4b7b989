"""The features of one point of a set, and the kinds of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit._array_checks import Shapes
from equikit._errors import SignatureError
from equikit._masks import masked
from equikit.groups import Fixed
from equikit.nn._features import Features, features_of, options_for, permuted, read_features
from equikit.nn._linear import unreached
from equikit.signatures import Signature, Term, base, is_axis, without_mark

Kind = tuple[str, ...]
"""The words of a feature of one point: its labels and determinants, without the label of the set."""


@dataclass(frozen=True, slots=True)
class PointSet:
    """Features on the points of a set.

    Attributes:
        terms: the terms, each with one axis of the set.
        widths: their channels.
        label: the label of the set.
    """

    terms: tuple[Term, ...]
    widths: tuple[int, ...]
    label: str

    @property
    def alone(self) -> tuple[Term, ...]:
        """The terms of one point: the same names, without the label of the set."""
        return tuple(Term.of(without(term.words, self.label), term.name) for term in self.terms)

    @property
    def features(self) -> Features:
        """The features of one point, in a dictionary."""
        return features_of(self.alone, self.widths)

    def place(self, term: Term) -> int:
        """Return the axis of the set, counted from the end of an array with channels."""
        return term.labels.index(self.label) - len(term.labels) - 1

    def points_first(
        self, arrays: Sequence[jax.Array], masks: Mapping[str, jax.Array], batch: int, *, rows: bool = False
    ) -> dict[str, jax.Array]:
        """Return arrays by name, with the axis of the set after the batch and absent points set to zero.

        Args:
            arrays: the arrays.
            masks: the masks by label.
            batch: the number of batch axes.
            rows: whether the axis of the set is there already, as in arrays on a support.
        """
        found = {}
        for term, x in zip(self.terms, arrays, strict=True):
            x = x if rows else jnp.moveaxis(x, self.place(term), batch)
            found[term.name] = (
                masked(x, (self.label,), {self.label: masks[self.label]}, batch) if self.label in masks else x
            )
        return found


def without(words: Sequence[str], label: str) -> Kind:
    """Return the words of a term without the axis of this label."""
    return tuple(word for word in words if not (is_axis(word) and without_mark(word) == label))


def set_label(signature: Signature, terms: Sequence[Term], what: str, known: str | None = None) -> str:
    """Return the label of the set: the known one, or the first permuted label that every term has exactly once.

    Raises:
        SignatureError: if there is no such label.
    """
    for label in terms[0].labels if known is None else (known,):
        if permuted(signature, label) and all(term.labels.count(label) == 1 for term in terms):
            return label
    bound = ", ".join(f"{label}={group}" for label, group in signature.bindings)
    wanted = "a label bound to S" if known is None else f"the label {known!r}"
    raise SignatureError(
        f"the {what} features are not features of the points of a set",
        got=f"{', '.join(map(str, terms))}, with {bound or 'no labels'}",
        expected=f"{wanted} that every term has exactly once",
        step='write {"p": 32, "p x": 8}, p=ek.S, x=ek.O(3)',
    )


def dual(signature: Signature, kind: Kind) -> Kind:
    """Return the kind of a query that has an invariant product with a key of this kind: every axis is its dual."""

    def dual_word(word: str) -> str:
        group = dict(signature.bindings)[base(without_mark(word))] if is_axis(word) else None
        if group is None or isinstance(group, Fixed) or not group.has_dual:
            return word
        return base(word) if word.endswith("*") else f"{word}*"

    return tuple(map(dual_word, kind))


def reached(signature: Signature, sources: Sequence[Term], kinds: Sequence[Kind]) -> list[Kind]:
    """Return the kinds to which a nonzero linear map leads from one of the terms of a point."""
    targets = tuple(Term.of(kind) for kind in kinds)
    used = {base(label) for term in (*sources, *targets) for label in term.used}
    own = Signature(tuple(sources), targets, tuple(item for item in signature.bindings if item[0] in used))
    lost = unreached(own, ((1,) * len(sources), (1,) * len(targets)))
    return [kind for kind, target in zip(kinds, targets, strict=True) if target not in lost]


def name_of(kind: Kind) -> str:
    """Return the name of a kind in the layers that compute queries, keys and values."""
    return " ".join(kind)


def as_features(channels: Mapping[Kind, int]) -> Features:
    """Return kinds and their channels as features."""
    return {name_of(kind): (name_of(kind), width) for kind, width in channels.items()}


def kinds_of(features: Features) -> tuple[Kind, ...]:
    """Return the different kinds of some features."""
    return tuple(dict.fromkeys(term.words for term in read_features(features, "input")[0]))


def options_of(signature: Signature, options: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """Return the groups and options of an inner layer with these labels."""
    labels = {label for label, _ in signature.bindings}
    groups = {label: what for label, what in signature.bindings if label in used}
    return {"groups": groups, **options_for(options, used, labels)}


@dataclass(frozen=True, slots=True)
class Known:
    """What inner layers need to know besides the features.

    Attributes:
        masks: the masks of all labels except the label of the set, `[*batch, points, n]`.
        sizes: the size of each label.
    """

    masks: Mapping[str, jax.Array]
    sizes: Mapping[str, int]

    def of(self, signature: Signature) -> dict[str, Any]:
        """Return the masks of a layer with this signature, and the sizes of the labels that its inputs do not have."""
        there = {base(label) for term in signature.inputs for label in term.labels}
        needed = {base(label) for term in signature.outputs for label in term.labels} - there
        return {
            "mask": {label: mask for label, mask in self.masks.items() if label in signature.groups},
            "sizes": {label: self.sizes[label] for label in needed if label in self.sizes},
        }


def known_about(points: PointSet, masks: Mapping[str, jax.Array], shapes: Shapes) -> Known:
    """Return what layers on the points of a set need to know: masks hold for each of its points."""
    count = shapes.sizes[points.label]
    inner = {
        label: jnp.broadcast_to(mask[..., None, :], (*shapes.batch, count, mask.shape[-1]))
        for label, mask in masks.items()
        if label != points.label
    }
    return Known(inner, shapes.sizes)
