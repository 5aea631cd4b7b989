"""The spaces between pairs of terms, without plain axes, and their maps as rows of a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.diagrams import Diagram, HomSpace
from equikit.groups import Trivial
from equikit.plans import Normalize, weight_name
from equikit.signatures import Signature, Term, base, is_axis, without_mark

MOST_ENTRIES = 2**25
"""The most entries of the maps of one space, as a dense array."""


def acted_term(signature: Signature, term: Term) -> Term:
    """Return a term without its plain axes, which are folded into channels."""
    kept = (word for word in term.words if not is_axis(word) or without_mark(word) in signature.groups)
    return Term.of(kept, term.name)


def pair_spaces(signature: Signature, *, bias: bool) -> dict[str, HomSpace]:
    """Return by the name of its weights the space of each pair of terms, without plain axes; biases have no input."""
    found: dict[str, HomSpace] = {}
    for target in signature.outputs:
        rows = acted_term(signature, target)
        for source in signature.inputs:
            columns = acted_term(signature, source)
            pair = Signature((columns,), (rows,), signature.bindings).pair(columns, rows)
            found[weight_name(source, target)] = HomSpace(pair)
        if bias:
            none = Term("", ())
            pair = Signature((none,), (rows,), signature.bindings).pair(none, rows)
            found[weight_name(None, target)] = HomSpace(pair)
    return found


def _sides(space: HomSpace) -> tuple[tuple[Term, ...], ...]:
    return space.signature.outputs, space.signature.inputs


def shape_of(space: HomSpace) -> list[int]:
    """Return the numbers of rows and columns of the maps of a space of bound groups."""
    sizes = space.sizes()
    return [sum(math.prod(sizes[x] for x in term.labels) for term in side) for side in _sides(space)]


def maps(space: HomSpace, sizes: Mapping[str, int] | None = None, normalize: Normalize = "sum") -> np.ndarray:
    """Return the maps of a space as a layer applies them, one in each row, `[diagrams, rows * columns]`.

    With `normalize="mean"` every sum over an input axis is divided by its number of terms, as in layers.

    Raises:
        TooLargeError: if there are too many entries.
    """
    known = space.sizes(dict(sizes) if sizes else None)
    entries = math.prod(sum(math.prod(known[x] for x in term.labels) for term in side) for side in _sides(space))
    free = any(isinstance(what, Trivial) for _, what in space.signature.bindings)
    step = "use fewer axes, or a group with fewer maps than ek.Trivial" if free else "use fewer axes, or smaller sizes"
    problem = f"the maps of {space} would not fit in memory"
    _checks.refuse_if_more(problem, space.dim * entries, MOST_ENTRIES, "entries", step)
    matrices = space.matrices(dict(sizes) if sizes else None)
    found = matrices.reshape(len(matrices), math.prod(matrices.shape[1:]))
    if normalize == "sum":
        return found
    scales = np.array([_mean_scale(diagram, known) for diagram in space.diagrams]).reshape(-1, 1)
    return np.asarray(found * scales)


def _mean_scale(diagram: Diagram, sizes: Mapping[str, int]) -> float:
    """Return one over the number of terms of each mean in a map."""
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    whole = {label for label, _, _ in diagram.elements}
    scale = 1.0
    for number, block in enumerate(diagram.blocks):
        label = base(diagram.labels[block[0]])
        if block[0] >= len(diagram.top) and number not in legs and label not in whole:
            scale /= max(sizes[label], 1)
    return scale


def squared_norm(arrays: Any) -> jax.Array:
    """Return the sum of the squares of all numbers of a tree, in float32 at least: squares of float16 overflow."""
    total = jnp.zeros(())
    for array in map(jnp.abs, jax.tree.leaves(arrays)):
        total = total + jnp.sum(array.astype(jnp.promote_types(array.dtype, jnp.float32)) ** 2)
    return total
