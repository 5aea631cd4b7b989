"""How a group element acts on the terms of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._errors import EquikitError, OptionError
from equikit.groups import Fixed, Group
from equikit.signatures import Signature, Term, base
from equikit.symmetrization.engine._element import Array, Element, along, inverse_linear, is_permutation
from equikit.symmetrization.engine._stabilizer import (
    has_mean,
    odd_stabilizer_mean,
    orbit_mean,
    stabilizer_mean,
    with_mean_derivative,
)
from equikit.symmetrization.finite._turned import turned


@dataclass(frozen=True)
class Action:
    """The action on the inputs and outputs of a backbone; hashable, so that programs compile once for each action.

    Attributes:
        signature: the terms, with a group on every label.
        translated: pairs of a term's name and the label along which its entries are positions in space.
        channels: whether arrays have an axis of channels, the last one.
    """

    signature: Signature
    translated: tuple[tuple[str, str], ...] = ()
    channels: bool = True

    @property
    def groups(self) -> Mapping[str, Group]:
        """The group of each label on which a group acts."""
        return self.signature.groups

    @property
    def fixed(self) -> tuple[str, ...]:
        """The labels on which no group acts."""
        return tuple(label for label, what in self.signature.bindings if isinstance(what, Fixed))

    @property
    def inputs(self) -> tuple[Term, ...]:
        """The input terms."""
        return self.signature.inputs

    def named(self, names: tuple[str, ...] | None) -> tuple[Term, ...]:
        """Return the input terms with these names, or all.

        Raises:
            OptionError: if a name does not belong to an input term.
        """
        for name in names or ():
            _checks.choice("terms", name, [term.name for term in self.inputs])
        return tuple(term for term in self.inputs if names is None or term.name in names)

    def refuse_without(self, found: object, what: str, step: str, error: type[EquikitError] = OptionError) -> None:
        """Raise `error` if a method found no suitable input."""
        if not found:
            raise error(
                f"no input has {what}",
                got=f"{self.signature}, translated terms {dict(self.translated)}",
                expected=f"an input term with {what}",
                step=step,
            )

    def output_order(self, label: str) -> int:
        """Return the largest number of axes with this label in an output; at least one with a determinant."""
        outputs = self.signature.outputs
        return max((max(len(_places(t, label)), label in self.signature.odd(t)) for t in outputs), default=0)

    def has_mean(self, label: str, free: Array) -> Array:
        """Whether `act` averages over all elements that rotate only the `free` directions orthogonal to the input."""
        found: Array = jnp.ones((), bool)
        for term in self.signature.outputs:
            odd = label in self.signature.odd(term)
            found = found & has_mean(self.groups[label], len(_places(term, label)), free, odd=odd)
        return found

    def sign(self, element: Element, term: Term) -> Array | int:
        """Return the product of the determinants by which an element multiplies a term."""
        sign: Array | int = 1
        for label in self.signature.odd(term):
            if label in element.linear:
                matrix = jax.lax.stop_gradient(element.linear[label])
                volume = jnp.linalg.det(matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32)))
                sign = sign * jnp.where(volume < 0, -1, 1)
        return sign

    def translation(self, term: Term) -> str | None:
        """Return the label along which the entries of a term are positions in space."""
        return dict(self.translated).get(term.name)

    def moves(self, element: Element, term: Term) -> bool:
        """Whether an element of this structure acts nontrivially on a term."""
        return (
            any(base(label) in element.linear for label in (*term.labels, *self.signature.odd(term)))
            or self.translation(term) in element.shift
            or any(set(labels) <= set(term.labels) for labels in element.grid)
        )

    def batch(self, term: Term, array: Array) -> tuple[int, ...]:
        """Return the batch axes of an array of a term."""
        return tuple(array.shape[: array.ndim - len(term.labels) - self.channels])

    def act(self, element: Element, term: Term, array: Array) -> Array:
        """Apply an element to an array `[*axes, channels]` of one sample."""
        for label, left in element.stabilizer.items():
            places = _places(term, label)
            if label in self.signature.odd(term):
                array = odd_stabilizer_mean(left, array, places)
            elif places and is_permutation(left):
                array = orbit_mean(array, left, places)
            elif places:
                starred = [term.labels[place] != label for place in places]
                array = stabilizer_mean(self.groups[label], left, array, places, starred)
        for place, label in enumerate(term.labels):
            if base(label) in element.linear:
                array = _on_axis(self._of(label, element.linear[base(label)]), array, place)
        array = signed(array, self.sign(element, term))
        for labels, turn in element.grid.items():
            if set(labels) <= set(term.labels):
                array = turned(turn, array, (term.labels.index(labels[0]), term.labels.index(labels[1])))
        translation = self.translation(term)
        if translation in element.shift:
            array = array + positions(element.shift[translation], term, translation, array.ndim)
        return array

    def act_inverse(self, element: Element, term: Term, array: Array) -> Array:
        r"""Apply the inverse of an element to an array `[*axes, channels]` of one sample.

        If the array does not span enough directions to determine the matrix, the result is projected onto its span,
        which does not change its value. A displacement orthogonal to the span then has no first-order effect: some
        group element fixes the array and reverses the displacement, so the value is even in it. At a kink, this is the
        mean of the one-sided derivatives. If permutations fix the array, its derivative is averaged over them.
        """
        translation = self.translation(term)
        if translation in element.shift:
            moved = array - positions(element.shift[translation], term, translation, array.ndim)
            array = moved.astype(array.dtype)  # the dtype tells how precise the numbers are
        for place, label in enumerate(term.labels):
            if base(label) in element.linear:
                by = element.linear[base(label)]
                if is_permutation(by):
                    array = jnp.take(array, by, axis=place)
                    continue
                matrix, onto = self.inverse_on(label, by), self.projection_on(label, element)
                array = _on_axis(matrix if onto is None else along(onto, matrix, 0), array, place)
        array = signed(array, self.sign(element, term))
        for label, left in element.stabilizer.items():
            places = _places(term, label)
            if places and is_permutation(left) and is_permutation(element.linear[label]):
                array = with_mean_derivative(array, left, places)
        for labels, turn in element.grid.items():
            if set(labels) <= set(term.labels):
                places = term.labels.index(labels[0]), term.labels.index(labels[1])
                array = turned(jnp.swapaxes(turn, -1, -2), array, places)
        return array

    def inverse_on(self, label: str, by: Array) -> Array:
        """Return the action of the inverse element on an axis with this label (possibly with a star)."""
        return inverse_linear(self.groups[label], self._of(label, by))

    def projection_on(self, label: str, element: Element) -> Array | None:
        """Return the projection of a moved axis with this label (possibly with a star) onto the span of the input."""
        onto = element.stabilizer.get(base(label))
        if onto is None or is_permutation(onto):
            return None
        form = self.groups[base(label)].form
        if base(label) == label or form is None:
            return onto
        metric = jnp.asarray(form.matrix(onto.shape[-1]), onto.dtype)
        return along(metric, along(metric, onto, 0), 1)

    def _of(self, label: str, by: Array) -> Array:
        """Return the action of an element on an axis with this label (possibly with a star)."""
        return by if base(label) == label else jnp.swapaxes(inverse_linear(self.groups[base(label)], by), -1, -2)


def positions(shift: Array, term: Term, label: str | None, ndim: int) -> Array:
    """Reshape a shift so that it broadcasts against positions along a label."""
    assert label is not None, "only labels along which entries are positions are asked for"
    place = term.labels.index(label)
    return jnp.expand_dims(shift, [i for i in range(ndim) if i != place])


def _places(term: Term, label: str) -> tuple[int, ...]:
    """Return the axes of a term with a label, starred or not."""
    return tuple(place for place, name in enumerate(term.labels) if base(name) == label)


def signed(array: Array, sign: Array | int) -> Array:
    """Multiply an array by a sign; a Python integer stands for one."""
    return array if isinstance(sign, int) else array * sign.astype(array.dtype)


def _on_axis(by: Array, array: Array, axis: int) -> Array:
    if is_permutation(by):
        return jnp.take(array, jnp.argsort(by), axis=axis)
    wide = jnp.promote_types(by.dtype, array.dtype)
    result = along(by.astype(wide), array.astype(wide), axis)
    return result.astype(jnp.promote_types(array.dtype, _kind(by.dtype, array.dtype)))


def _kind(by: Any, array: Any) -> Any:
    """Return the result dtype: complex matrices make real arrays complex; otherwise the dtype is unchanged."""
    complex_now = jnp.issubdtype(by, jnp.complexfloating) and not jnp.issubdtype(array, jnp.complexfloating)
    return by if complex_now else array


def act(
    action: Action,
    element: Element,
    terms: tuple[Term, ...],
    arrays: Mapping[str, Array],
    *,
    batch: int,
    backwards: bool = False,
) -> dict[str, Array]:
    """Apply elements `[*batch, ...]` to arrays `[*batch, *axes, channels]`, each to its own sample."""
    result = {}
    for term in terms:
        array = arrays[term.name]
        if action.moves(element, term):

            def one(element: Element, array: Array, term: Term = term) -> Array:
                return action.act_inverse(element, term, array) if backwards else action.act(element, term, array)

            for _ in range(batch):
                one = jax.vmap(one)
            array = one(element, array)
        result[term.name] = array
    return result


def moved_masks(element: Element, masks: Mapping[str, Array]) -> dict[str, Array]:
    """Return the masks of an input after applying the inverse of an element."""
    return {label: _masked(element.linear.get(label), mask) for label, mask in masks.items()}


def _masked(by: Array | None, mask: Array) -> Array:
    if by is None:
        return mask
    if is_permutation(by):
        return jnp.take_along_axis(mask, by, axis=-1)
    # A signed permutation matrix, or a soft approximation of one.
    moved = jnp.matmul(jnp.swapaxes(jnp.abs(by), -1, -2), mask[..., None].astype(by.real.dtype))
    return moved[..., 0] > 0.5
