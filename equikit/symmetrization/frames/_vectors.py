"""The vectors of an input along one axis, whatever other axes it has."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp

from equikit._errors import OptionError, explain
from equikit.diagrams import Term
from equikit.diagrams._signature import base
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array
from equikit.symmetrization.frames._center import present


def checked_vectors(action: Action, label: str, names: tuple[str, ...] | None) -> tuple[Term, ...]:
    """The input terms with a label, those named or all.

    Raises:
        OptionError: if a name is that of no input term, or no term has the label.
    """
    known = [term.name for term in action.inputs]
    for name in names or ():
        if name not in known:
            raise OptionError(
                explain(
                    "no such input term", got=repr(name), expected=", ".join(map(repr, known)), step="correct terms="
                )
            )
    found = tuple(
        term for term in action.inputs if label in map(base, term.labels) and (names is None or term.name in names)
    )
    if not found:
        raise OptionError(
            explain(
                f"no input term has the label {label!r}",
                got=f"{action.signature}, terms={names}",
                expected="vectors or tensors that say how the input is turned",
                step="name other terms=, or turn nothing",
            )
        )
    return found


def read_labels(action: Action, label: str, names: tuple[str, ...] | None) -> frozenset[str]:
    """The other labels of these terms on which a group acts."""
    found = {base(other) for term in checked_vectors(action, label, names) for other in term.labels}
    return frozenset(found & action.groups.keys()) - {label}


def orders_of_outputs(action: Action, label: str) -> int:
    """The most axes with a label, starred or not, that an output has."""
    return max((sum(base(name) == label for name in term.labels) for term in action.signature.outputs), default=0)


def vectors_in(
    action: Action, label: str, names: tuple[str, ...] | None, x: Mapping[str, Array], masks: Mapping[str, Array]
) -> Array:
    """All vectors along a label in the input of one sample, `[count, d]`, in float32 or more; absent ones are zero.

    Where real matrices act on complex arrays, real and imaginary parts are vectors of their own; axes with a star are
    conjugated, so that what comes out is turned by the matrices themselves.
    """
    group, found = action.groups[label], []
    for term in checked_vectors(action, label, names):
        array = x[term.name]
        array = jnp.where(present(term, masks, array.ndim), array, 0)
        array = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        for place, name in enumerate(term.labels):
            if base(name) == label:
                others = math.prod(size for i, size in enumerate(array.shape) if i != place)
                rows = jnp.moveaxis(array, place, -1).reshape(others, array.shape[place])
                rows = rows if name == label else jnp.conj(rows)
                split = jnp.iscomplexobj(rows) and not group.is_complex
                found += [rows.real, rows.imag] if split else [rows]
    return jnp.concatenate(found)


def numbers_in(
    action: Action, label: str, names: tuple[str, ...], x: Mapping[str, Array], masks: Mapping[str, Array]
) -> Array:
    """All numbers of every entry of an axis, `[n, numbers]`, real and in float32 or more; absent ones are zero.

    Of the terms named, which have the label once.
    """
    found = []
    for term in action.inputs:
        if term.name in names:
            array, place = x[term.name], term.labels.index(label)
            array = jnp.where(present(term, masks, array.ndim), array, 0)
            others = math.prod(size for i, size in enumerate(array.shape) if i != place)
            rows = jnp.moveaxis(array, place, 0).reshape(array.shape[place], others)
            rows = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
            found += [rows.real, rows.imag] if jnp.iscomplexobj(rows) else [rows]
    return jnp.concatenate(found, axis=1)
