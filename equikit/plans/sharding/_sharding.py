"""Shardings of results, and the switch to automatic axes on meshes with explicit axes.

On a mesh with automatic axes XLA chooses the sharding of every step. With explicit axes JAX has to know it at every
reshape and product, and refuses if it cannot tell. A plan leaves that to XLA: its steps run with all axes automatic
(`jax.sharding.auto_axes`), and its results get a sharding in their types again, by `_usual` unless one is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from equikit._array_checks import Shapes
from equikit.plans.sharding._out_sharding import Entry, OutSharding, Result, Spec, by_output, checked_spec, over
from equikit.plans.sharding._spread import Spread
from equikit.signatures import Term

Operands = tuple[Sequence[jax.Array], Sequence[jax.Array], Mapping[str, jax.Array]]
"""Inputs, weights, masks."""

_spec: Callable[..., PartitionSpec] = PartitionSpec  # JAX gives these two no types
_constrained: Callable[..., jax.Array] = lax.with_sharding_constraint


def entries(array: Any) -> tuple[Entry, ...]:
    """Return for each axis of an array the explicit mesh axes over which its type shards it."""
    found = [over(entry) for entry in jax.typeof(array).sharding.spec]
    return (*found, *[()] * (array.ndim - len(found)))


def result(term: Term, shapes: Shapes, channels: int, weights: Sequence[jax.Array]) -> Result:
    """Return an output of this shape, whose channels are sharded as the last axis of the first of its weights."""
    shape = (*shapes.batch, *(shapes.sizes[label] for label in term.labels), channels)
    whole = [entries(w)[-1] for w in weights if w.shape[-1] == channels]  # otherwise plain axes are folded into it
    return Result(term, shape, whole[0] if whole else ())


def _mesh(arrays: Sequence[jax.Array], wanted: Sequence[Any]) -> AbstractMesh:
    """Return the mesh of the context; else the mesh of a given sharding; else the explicit mesh of an array."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        given = [spec.mesh.abstract_mesh for spec in wanted if isinstance(spec, NamedSharding)]
        typed = [m for array in arrays if (m := jax.typeof(array).sharding.mesh).explicit_axes]
        mesh = next(iter([*given, *typed]), mesh)
    return mesh


def _places(term: Term, batch: int) -> list[object]:
    """Return what each axis of a tensor is: number of batch axis, label and number within the label, channels."""
    labels = [(label, term.labels[:i].count(label)) for i, label in enumerate(term.labels)]
    return [*range(batch), *labels, "channels"]


def _usual(each: Result, terms: Sequence[Term], arrays: Sequence[jax.Array]) -> PartitionSpec:
    """Return the default sharding of an output over explicit axes.

    Batch axes are sharded as in the first input in which they are sharded, the j-th axis of a label as the j-th axis of
    this label in an input, and channels as the last axis of the weights. A mesh axis is used once, in this order.
    """
    spread: dict[object, Entry] = {}
    for term, array in zip(terms, arrays, strict=True):
        for place, entry in zip(_places(term, each.batch), entries(array), strict=True):
            spread[place] = spread.get(place) or entry
    spread["channels"] = each.features
    used: set[str] = set()
    found: list[Entry | None] = []
    for place in _places(each.term, each.batch):
        entry = spread.get(place, ())
        found.append(entry if entry and used.isdisjoint(entry) else None)
        used.update(entry)
    return _spec(*found)


def _beyond_batch(
    operands: Operands, results: Sequence[Result], wanted: Sequence[PartitionSpec | None], mesh: AbstractMesh
) -> Spread | None:
    """Return which axes besides the batch are known to be sharded in inputs, weights or results, or `None`.

    Weights that are sharded over the devices of the batch do not count: they are only stored so, and gathered for use.
    """
    inputs, weights, _ = operands
    batch = results[0].batch if results else 0
    rows = [entries(array)[batch:] for array in inputs]
    axes = [entry for row in rows for entry in row[:-1]]
    channels = [row[-1] for row in rows]
    for each, spec in zip(results, wanted, strict=True):
        if spec is not None:
            last = len(each.shape) - 1
            axes += [over(entry) for entry in spec[batch:last]]
            channels += [over(entry) for entry in spec[last:]]
    by_batch = {axis for array in inputs for entry in entries(array)[:batch] for axis in entry}
    channels += [entry for array in weights for entry in entries(array)[1:] if by_batch.isdisjoint(entry)]

    def many(found: Sequence[Entry]) -> bool:
        return any(mesh.shape[axis] > 1 for entry in found for axis in entry)

    return "axes" if many(axes) else "channels" if many(channels) else None


def placed(
    compute: Callable[..., list[jax.Array]],
    operands: Operands,
    terms: Sequence[Term],
    outputs: Callable[[], Sequence[Result]],
    out_sharding: OutSharding | None,
) -> list[jax.Array]:
    """Call `compute(inputs, weights, masks, spread)` so that its results are sharded as requested.

    Without a mesh, `compute` is called directly.

    Args:
        compute: returns a list with an array for each output; `spread` says whether axes or channels are sharded over
            devices in addition to the batch.
        operands: inputs, weights and masks.
        terms: the terms of the inputs.
        outputs: returns the properties of the outputs that are known before they are computed.
        out_sharding: for the single output, or by name; omitted outputs have the default sharding.

    Raises:
        OptionError, ShapeError: if the mesh or the outputs do not fit `out_sharding`.
    """
    flat = jax.tree.leaves(operands)
    if out_sharding is None and _mesh(flat, ()).empty:
        return compute(*operands, None)
    results = outputs()
    given = by_output(results, out_sharding)
    mesh = _mesh(flat, given)
    wanted = [checked_spec(each, spec, mesh) for each, spec in zip(results, given, strict=True)]
    spread = _beyond_batch(operands, results, wanted, mesh)
    context = not jax.sharding.get_abstract_mesh().empty

    def settled(spec: PartitionSpec | None) -> Spec | None:
        return spec if context or spec is None else NamedSharding(mesh, spec)

    def on_automatic_axes(*operands: Any) -> list[jax.Array]:
        found = compute(*operands, spread)
        goals = map(settled, wanted) if context else given
        return [y if goal is None else _constrained(y, goal) for y, goal in zip(found, goals, strict=True)]

    explicit = set(mesh.explicit_axes)
    if not explicit:
        return on_automatic_axes(*operands)
    out = [
        _usual(each, terms, operands[0])
        if spec is None
        else _spec(*(tuple(axis for axis in over(entry) if axis in explicit) or None for entry in spec))
        for each, spec in zip(results, wanted, strict=True)
    ]
    # If all axes are explicit, the types of the results are complete.
    inside = on_automatic_axes if mesh.auto_axes else lambda *operands: compute(*operands, spread)
    switched = jax.sharding.auto_axes(inside, out_sharding=[settled(spec) for spec in out])
    found: list[jax.Array] = switched(*operands)
    return found
