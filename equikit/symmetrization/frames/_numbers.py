"""The numbers by which the entries of an axis are compared, of all terms that have the label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from equikit.diagrams import Term
from equikit.diagrams._signature import base
from equikit.symmetrization._action import Action
from equikit.symmetrization._double_word import power_of_two
from equikit.symmetrization._element import Array, rounding
from equikit.symmetrization._sample import Sample
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


EQUAL = 64
"""Numbers that differ by less than this many roundings of the longest entry are one number, computed in two ways."""

COARSE = 4
"""How many times as much it is at first where frames moved numbers; what is equal then is compared again."""

MOST_EQUAL = 1 / 32
"""The most that it is, as a part of the longest entry, in dtypes of few bits."""


def keys_of(terms: Sequence[Term], label: str, sample: Sample, tolerance: float | None) -> tuple[_ties.Keys, Array]:
    """All numbers of the terms with a label once as keys of its entries, and whether they are finite.

    Numbers that a frame of matrices moved come in double words, with errors. Those of equal entries differ by as much
    as the errors do. Their tolerance has to be the same in every frame of reference: a part of the longest entry. It
    is coarse at first, so that errors do not reach it.
    """
    there = sample.masks.get(label)
    parts: list[tuple[Array, ...]] = []
    shared: list[Array] = []
    all_numbers: list[Array] = []
    for term in with_one(terms, label):
        (numbers,), moved = rows_of([term], label, sample.x, there), term.name in sample.errors
        all_numbers.append(numbers)
        size = jnp.max(jnp.abs(numbers), initial=0)
        scale, finite = power_of_two(size), jnp.isfinite(size)
        numbers = jnp.where(finite, numbers, 0) / scale
        if tolerance is not None:
            step = tolerance * jnp.max(jnp.abs(numbers), initial=0)
        else:
            precision = rounding(sample.dtype(term.name) if moved else numbers.dtype)
            longest = jnp.sqrt(jnp.max(jnp.sum(numbers**2, axis=0), initial=0))
            step = min(EQUAL * precision, MOST_EQUAL) * longest
        zeros = jnp.zeros_like(numbers)
        tails, errors, common = zeros, zeros, zeros[:, None]
        if moved:
            (tails,) = rows_of([term], label, {term.name: sample.tail(term.name)}, there)
            (errors,) = rows_of([term], label, {term.name: sample.error(term.name)}, there)
            if len(errors) < len(numbers):  # real and imaginary parts have one bound
                errors = jnp.concatenate([errors, errors])
            tails, errors = (jnp.where(finite, part, 0) / scale for part in (tails, errors))
            common = _in_common(term, label, sample, there) / scale
        parts.append((numbers, jnp.full(len(numbers), step, numbers.dtype), tails, errors))
        shared.append(common)
    most = max(common.shape[1] for common in shared)
    numbers, tolerances, tails, errors = (jnp.concatenate(rows) for rows in zip(*parts, strict=True))
    keys, finite = _ties.Keys(numbers, tolerances), all_finite(all_numbers)
    if not any(term.name in sample.errors for term in terms):
        return keys, finite
    keys = _ties.Keys(numbers, tolerances, tails, errors, jnp.concatenate([_padded(each, most) for each in shared]))
    again = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), keys)
    both = jnp.concatenate([tolerances * (COARSE if tolerance is None else 1), tolerances])
    return again._replace(tolerances=both), finite


def _padded(common: Array, parts: int) -> Array:
    return jnp.pad(common, ((0, 0), (0, parts - common.shape[1]), (0, 0)))


def _in_common(term: Term, label: str, sample: Sample, there: Array | None) -> Array:
    """How errors of the matrices that were applied to a term move its numbers: `Keys.common`, `[numbers, parts, n]`."""
    array, parts = sample.x[term.name], []
    for place, name in enumerate(term.labels):
        if (turns := sample.turns.get(base(name))) is not None:
            moved = turns * jnp.moveaxis(array, place, -1)[..., None, :]
            parts += [jnp.moveaxis(moved[..., part], -1, place) for part in range(turns.shape[-1])]
    rows = [rows_of([term], label, {term.name: part}, there)[0] for part in parts]
    numbers = rows_of([term], label, {term.name: array}, there)[0]
    return jnp.stack(rows, axis=1) if rows else jnp.zeros_like(numbers)[:, None]


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
