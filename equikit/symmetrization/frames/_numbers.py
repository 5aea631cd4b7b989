"""The numbers by which the entries of an axis are compared, of all terms that have the label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from equikit.diagrams import Term
from equikit.diagrams._signature import base
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array
from equikit.symmetrization.frames import _ties


def with_one(terms: Sequence[Term], label: str) -> list[Term]:
    """The terms that have a label once."""
    return [term for term in terms if term.labels.count(label) == 1]


def rows_of(terms: Sequence[Term], label: str, x: Mapping[str, Array], there: Array | None) -> list[Array]:
    """What the terms with a label once know of its entries, `[numbers, n]` each; absent entries are zero."""
    found = []
    for term in with_one(terms, label):
        array = jnp.moveaxis(_wide(x[term.name]), term.labels.index(label), -1)
        rows = _real(array.reshape(math.prod(array.shape[:-1]), array.shape[-1]))
        found.append(rows if there is None else jnp.where(there, rows, 0))
    return found


def matrices_of(terms: Sequence[Term], label: str, x: Mapping[str, Array], there: Array | None) -> list[Array]:
    """What the terms with a label twice know of pairs of its entries, `[channels, n, n]` each."""
    found = []
    for term in terms:
        if term.labels.count(label) == 2:
            first = term.labels.index(label)
            second = term.labels.index(label, first + 1)
            array = jnp.moveaxis(_wide(x[term.name]), (first, second), (-2, -1))
            matrices = _real(array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:]))
            both = None if there is None else there[:, None] & there[None, :]
            found.append(matrices if both is None else jnp.where(both, matrices, 0))
    return found


def turned_by_frames(action: Action, label: str, term: Term) -> bool:
    """Whether a group acts on another axis of a term, whose frame leaves errors much above rounding in its numbers."""
    return any(other != label for other in map(base, term.labels) if other in action.groups)


def all_finite(arrays: Sequence[Array]) -> Array:
    """Whether all entries are numbers."""
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(array)) for array in arrays]))


def scaled(array: Array) -> Array:
    """An array with its largest entry one, and with zeros where entries are no numbers."""
    finite = jnp.where(jnp.isfinite(array), array, 0)
    size = jnp.max(jnp.abs(finite), initial=0)
    return finite / jnp.where(size > 0, size, 1)


def present_first(there: Array | None, count: int) -> Array:
    """Blocks before any key is looked at: present entries are tied, absent ones come last and are no ties."""
    if there is None:
        return _ties.together(count)
    blocks = jnp.cumsum(~there, dtype=jnp.int32) * ~there
    return blocks - jnp.min(blocks, initial=count)


def _wide(array: Array) -> Array:
    """A constant in float32 or more."""
    return jax.lax.stop_gradient(array).astype(jnp.promote_types(array.dtype, jnp.float32))


def _real(array: Array) -> Array:
    """Real and imaginary parts one after another."""
    return jnp.concatenate([array.real, array.imag]) if jnp.iscomplexobj(array) else array
