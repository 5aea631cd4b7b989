"""The numbers by which the entries of an axis are compared, from all terms with the label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit.numerics import power_of_two, rounding
from equikit.signatures import Term, base
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._sample import FLAT, Sample
from equikit.symmetrization.permutations import _ties


def with_one(terms: Sequence[Term], label: str) -> list[Term]:
    """Return the terms that have a label once."""
    return [term for term in terms if term.labels.count(label) == 1]


def compared_terms(action: Action, label: str, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the input terms that have a label once, among the given terms or all.

    Raises:
        OptionError: if there are none.
    """
    found = tuple(term.name for term in with_one(action.named(names), label))
    action.refuse_without(found, f"{label!r} once", "use ek.frames.Laplacian for graphs, or name other terms=")
    return found


def rows_of(terms: Sequence[Term], label: str, x: Mapping[str, Array], there: Array | None) -> list[Array]:
    """Return the numbers of the entries in terms with a label once, `[numbers, n]` each; absent entries are zero."""
    return [_rows(term, label, x[term.name], there) for term in with_one(terms, label)]


def _rows(term: Term, label: str, array: Array, there: Array | None) -> Array:
    array = jnp.moveaxis(_wide(array), term.labels.index(label), -1)
    rows = _real(array.reshape(math.prod(array.shape[:-1]), array.shape[-1]))
    return rows if there is None else jnp.where(there, rows, 0)


def matrices_of(terms: Sequence[Term], label: str, x: Mapping[str, Array], there: Array | None) -> list[Array]:
    """Return the numbers of pairs of entries in terms with a label twice, `[channels, n, n]` each."""
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
"""Numbers that differ by less than this many rounding units of the longest entry count as equal."""

COARSE = 4
"""The factor of this tolerance in the first comparison of numbers that a frame moved; ties are compared again.

In float64 it is larger, two thirds of the digits: far from the origin, equal numbers differ by many rounding units.
"""

MOST_EQUAL = 1 / 32
"""The largest tolerance, as a fraction of the longest entry, in dtypes of few bits."""


def keys_of(
    terms: Sequence[Term], label: str, sample: Sample, tolerances: Mapping[str, float | None]
) -> tuple[_ties.Keys, Array]:
    """Return all numbers of the terms with a label once as keys of its entries, and whether they are finite.

    Numbers that a frame of matrices moved are double words with errors, by which equal entries differ. Their tolerance
    must be the same in every frame of reference: a fraction of the longest entry. It is coarse in the first comparison,
    so that errors do not reach it, unless `tolerances` has the name of the term.
    """
    terms, there = with_one(terms, label), sample.masks.get(label)
    keys = [_keys(term, label, sample, tolerances.get(term.name)) for term in terms]
    finite = all_finite(rows_of(terms, label, sample.x, there))
    if not any(term.name in sample.errors for term in terms):
        plain = [_ties.Keys(key.numbers, key.tolerances) for key in keys]
        return jax.tree.map(lambda *rows: jnp.concatenate(rows), *plain), finite
    common = [key.common for key in keys if key.common is not None]
    most = max(rows.shape[1] for rows in common)
    common = [jnp.pad(rows, ((0, 0), (0, most - rows.shape[1]), (0, 0))) for rows in common]
    padded = [key._replace(common=rows) for key, rows in zip(keys, common, strict=True)]
    once = jax.tree.map(lambda *rows: jnp.concatenate(rows), *padded)
    twice: _ties.Keys = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), once)
    factors = [_coarse(sample.dtype(term.name)) if tolerances.get(term.name) is None else 1 for term in terms]
    coarse = [key.tolerances * factor for key, factor in zip(keys, factors, strict=True)]
    return twice._replace(tolerances=jnp.concatenate([*coarse, once.tolerances])), finite


def _coarse(dtype: Any) -> float:
    return max(COARSE, math.cbrt(1 / rounding(dtype)) / EQUAL)


def _keys(term: Term, label: str, sample: Sample, tolerance: float | None) -> _ties.Keys:
    """Return the numbers of one term as keys, divided by a power of two."""
    there, moved = sample.masks.get(label), term.name in sample.errors
    numbers = _rows(term, label, sample.x[term.name], there)
    numbers = jnp.where(jnp.isfinite(numbers), numbers, 0)
    scale = power_of_two(jnp.max(jnp.abs(numbers), initial=0))
    numbers = numbers / scale
    if moved:
        tails, errors = (_rows(term, label, of(term.name), there) for of in (sample.tail, sample.error))
        parts = len(numbers) // max(len(errors), 1)  # real and imaginary parts share one error
        tails, errors = tails / scale, jnp.concatenate([errors] * parts) / scale
        common = _in_common(term, label, sample, there) / scale
    else:
        tails = errors = jnp.zeros_like(numbers)
        common = tails[:, None]
    longest, error = (jnp.sqrt(jnp.max(jnp.sum(rows**2, axis=0), initial=0)) for rows in (numbers, errors))
    if tolerance is not None:
        step = tolerance * jnp.max(jnp.abs(numbers), initial=0)
    else:
        precision = rounding(sample.dtype(term.name) if moved else numbers.dtype)
        step = min(EQUAL * precision, MOST_EQUAL) * longest
        # All entries count as equal if they are not larger than their errors.
        step = jnp.where((longest <= FLAT * error) & moved, jnp.inf, step)
    return _ties.Keys(numbers, jnp.full(len(numbers), step, numbers.dtype), tails, errors, common)


def _in_common(term: Term, label: str, sample: Sample, there: Array | None) -> Array:
    """Return the effect of errors of applied matrices on a term's numbers: `Keys.common`, `[numbers, parts, n]`."""
    array, parts = sample.x[term.name], []
    for place, name in enumerate(term.labels):
        if (turns := sample.turns.get(base(name))) is not None:
            moved = turns * jnp.moveaxis(array, place, -1)[..., None, :]
            parts += [jnp.moveaxis(moved[..., part], -1, place) for part in range(turns.shape[-1])]
    rows = [_rows(term, label, part, there) for part in parts]
    return jnp.stack(rows, axis=1) if rows else jnp.zeros_like(_rows(term, label, array, there))[:, None]


def turned_by_frames(action: Action, label: str, term: Term) -> bool:
    """Whether a group acts on another axis of a term, so that its frame causes errors far above rounding."""
    return any(other != label for other in map(base, term.labels) if other in action.groups)


def all_finite(arrays: Sequence[Array]) -> Array:
    """Return whether all entries are finite."""
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(array)) for array in arrays]))


def scaled(array: Array) -> Array:
    """Scale the largest entry to one, and replace non-finite entries by zero."""
    finite = jnp.where(jnp.isfinite(array), array, 0)
    size = jnp.max(jnp.abs(finite), initial=0)
    return finite / jnp.where(size > 0, size, 1)


def present_first(there: Array | None, count: int) -> Array:
    """Return the initial blocks: present entries are tied, and absent entries come last without ties."""
    if there is None:
        return _ties.together(count)
    blocks = jnp.cumsum(~there, dtype=jnp.int32) * ~there
    return blocks - jnp.min(blocks, initial=count)


def _wide(array: Array) -> Array:
    """Return a constant in float32 or wider."""
    return jax.lax.stop_gradient(array).astype(jnp.promote_types(array.dtype, jnp.float32))


def _real(array: Array) -> Array:
    """Concatenate real and imaginary parts."""
    return jnp.concatenate([array.real, array.imag]) if jnp.iscomplexobj(array) else array
