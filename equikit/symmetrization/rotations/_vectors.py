"""The vectors of an input along one axis, for any other axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from equikit._errors import OptionError
from equikit._masks import masked, present
from equikit.groups import O
from equikit.numerics import power_of_two
from equikit.signatures import Term, base
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._method import only_label, refuse_unsuited
from equikit.symmetrization.engine._sample import Sample


def definite_label(method: object, action: Action, label: str | None) -> str:
    """Return the label, given or unique, whose group is O(d) or SO(d).

    Raises:
        GroupError: if the label has another group, or a group with an indefinite metric.
    """
    found = only_label(method, action, label, (O,))
    step = f'use ek.frames.QR("{found}"), which keeps the metric'
    definite = action.groups[found].form is None
    refuse_unsuited(method, action, found, definite, "O(d) or SO(d), whose metric is definite", step)
    return found


def checked_vectors(action: Action, label: str, names: tuple[str, ...] | None) -> tuple[Term, ...]:
    """Return the input terms with a label, given ones or all, except axial vectors, whose signs reflections change.

    Raises:
        OptionError: if a name belongs to no input term or to an axial vector, or no term has the label.
    """
    with_label = tuple(term for term in action.named(names) if label in map(base, term.labels))
    found = tuple(term for term in with_label if label not in action.signature.odd(term))
    if found != with_label and (names is not None or not found):
        raise OptionError(
            f"a frame cannot be read from inputs that carry a determinant of {label!r}",
            got=f"{action.signature}, terms={names}",
            expected="vectors or tensors without determinants",
            step="name other terms=",
        )
    action.refuse_without(found, f"the label {label!r}", "name other terms=, or turn nothing")
    return found


def reads_all(action: Action, label: str, read: tuple[Term, ...]) -> bool:
    """Whether these terms are all input terms on which the group of a label acts."""
    return all(term in read for term in action.inputs if label in map(base, term.used))


def refuse_determinants(method: object, action: Action, label: str) -> None:
    """Raise `OptionError` if an input or output carries a determinant, for methods that cannot average it."""
    for term in (*action.inputs, *action.signature.outputs):
        if label in action.signature.odd(term):
            raise OptionError(
                f"{type(method).__name__} cannot average {term.name!r}, which carries a determinant of {label!r}",
                got=str(action.signature),
                expected="terms without determinants",
                step=f"use ek.frames.PCA({label!r}) or ek.frames.QR({label!r}), without weighted alignments",
            )


def refuse_tensors(method: object, action: Action, label: str, names: tuple[str, ...] | None) -> None:
    """Raise `OptionError` if one of these terms has a label more than once.

    The vectors along one axis of a tensor are not vectors of the group: a rotation acts on both axes.
    """
    for term in checked_vectors(action, label, names):
        once = sum(base(name) == label for name in term.labels) == 1
        step = f"use ek.frames.PCA({label!r}) if its metric is definite, or name other terms="
        action.refuse_without(once, f"{label!r} once, as {type(method).__name__} needs of {term.name!r}", step)


def refuse_untranslated(action: Action, label: str) -> None:
    """Raise `OptionError` if no input has positions along a label."""
    found = [term for term in action.inputs if action.translation(term) == label]
    action.refuse_without(found, f"positions along {label!r}", f'pass translate="{label}" to symmetrize')


def read_labels(action: Action, label: str, names: tuple[str, ...] | None) -> frozenset[str]:
    """Return the other labels of these terms on which a group acts."""
    found = {base(other) for term in checked_vectors(action, label, names) for other in term.used}
    return frozenset(found & action.groups.keys()) - {label}


def vectors_in(
    action: Action, label: str, names: tuple[str, ...] | None, x: Mapping[str, Array], masks: Mapping[str, Array]
) -> Array:
    """Return all vectors along a label in one sample, `[count, d]`, in float32 or wider; absent ones are zero.

    If real matrices act on complex arrays, real and imaginary parts are separate vectors; axes with a star are
    conjugated, so that the group's matrices act on all vectors.
    """
    found = []
    for term in checked_vectors(action, label, names):
        array = masked(x[term.name], term.labels, masks)
        array = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        for place, name in enumerate(term.labels):
            if base(name) == label:
                others = math.prod(size for i, size in enumerate(array.shape) if i != place)
                rows = jnp.moveaxis(array, place, -1).reshape(others, array.shape[place])
                rows = rows if name == label else jnp.conj(rows)
                found += [rows.real, rows.imag] if _is_split(action, label, array) else [rows]
    return jnp.concatenate(found)


class Points(NamedTuple):
    """The vectors of one sample, scaled by a power of two to a largest entry of about one, `[count, d]` each.

    Attributes:
        vectors: in float32 or wider, with derivatives.
        tail: the low words of the vectors.
        errors: standard deviations of the errors of their entries.
        scale: the power of two by which they were divided.
        finite: whether all entries are finite; otherwise the vectors are zero.
    """

    vectors: Array
    tail: Array
    errors: Array
    scale: Array
    finite: Array


def points_in(action: Action, label: str, names: tuple[str, ...] | None, sample: Sample) -> Points:
    """Return all vectors along a label in one sample, with their errors."""
    terms = checked_vectors(action, label, names)
    found = vectors_in(action, label, names, sample.x, sample.masks)
    finite = jnp.all(jnp.isfinite(found))  # a maximum does not always propagate NaN
    scale = power_of_two(jnp.max(jnp.abs(jax.lax.stop_gradient(found)), initial=0))

    def like(of: Callable[[str], Array]) -> Array:
        arrays = {}
        for term in terms:
            array = of(term.name)
            both = jnp.iscomplexobj(sample.x[term.name]) and not jnp.iscomplexobj(array)
            arrays[term.name] = jax.lax.complex(array, array) if both else array
        return jnp.where(finite, vectors_in(action, label, names, arrays, sample.masks), 0) / scale

    tail, errors = like(sample.tail), jnp.abs(like(sample.error))
    return Points(jnp.where(finite, found, 0) / scale, tail, errors, scale, finite)


def _is_split(action: Action, label: str, array: Array) -> bool:
    """Whether real matrices act on complex vectors, whose real and imaginary parts are then separate vectors."""
    return bool(jnp.iscomplexobj(array)) and not action.groups[label].is_complex


def weights_in(
    action: Action, label: str, names: tuple[str, ...] | None, x: Mapping[str, Array], masks: Mapping[str, Array]
) -> Array | None:
    """Return the weight of each of the `vectors_in`, `[count]`; `None` if masks only mark present entries."""
    if all(mask.dtype == bool for mask in masks.values()):
        return None
    found = []
    for term in checked_vectors(action, label, names):
        array = x[term.name]
        there = present(term.labels, masks, array.ndim)
        for place, name in enumerate(term.labels):
            if base(name) == label:
                others = tuple(1 if i == place else size for i, size in enumerate(array.shape))
                weights = jnp.broadcast_to(there, others).ravel().astype(jnp.promote_types(there.dtype, jnp.float32))
                found += [weights] * (2 if _is_split(action, label, array) else 1)
    return jnp.concatenate(found)


def numbers_in(
    action: Action, label: str, names: tuple[str, ...], x: Mapping[str, Array], masks: Mapping[str, Array]
) -> Array:
    """Return all numbers of every entry of an axis, `[n, numbers]`, real, in float32 or wider; absent ones are zero.

    The named terms must have the label once.
    """
    found = []
    for term in action.inputs:
        if term.name in names:
            array, place = masked(x[term.name], term.labels, masks), term.labels.index(label)
            others = math.prod(size for i, size in enumerate(array.shape) if i != place)
            rows = jnp.moveaxis(array, place, 0).reshape(array.shape[place], others)
            rows = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
            found += [rows.real, rows.imag] if jnp.iscomplexobj(rows) else [rows]
    return jnp.concatenate(found, axis=1)
