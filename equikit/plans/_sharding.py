"""Results on many devices: what `out_sharding` may be, and how plans run where meshes have explicit axes.

On a mesh with automatic axes XLA finds the sharding of every step. With explicit axes JAX wants to know it at every
reshape, diagonal and product, and refuses where it cannot tell. A plan leaves that to XLA: its steps run with all axes
automatic (`jax.sharding.auto_axes`), and only what comes out has a sharding in its type. Without `out_sharding` it is
that of the inputs, by labels: see `_usual`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from equikit._errors import OptionError, ShapeError, explain
from equikit.diagrams import Term
from equikit.plans._check import Shapes, by_name

Spec = PartitionSpec | NamedSharding
OutSharding = Spec | Mapping[str, Spec]
Entry = tuple[str, ...]
"""The axes of the mesh that one axis of an array is spread over."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of an output before it is computed.

    Attributes:
        term: its name and labels.
        shape: `[*batch, *axes, channels]`.
        features: the sharding of the last axis of its weights, where that is the channels of the output.
    """

    term: Term
    shape: tuple[int, ...]
    features: Entry = ()


def entries(array: Any) -> tuple[Entry, ...]:
    """For each axis of an array the explicit axes of the mesh that its type says it is spread over."""
    spec = jax.typeof(array).sharding.spec
    found = [() if entry is None else (entry,) if isinstance(entry, str) else tuple(entry) for entry in spec]
    return (*found, *[()] * (array.ndim - len(found)))


def result(term: Term, shapes: Shapes, channels: int, weights: Sequence[jax.Array]) -> Result:
    """An output of this shape; its channels are spread as the last axis of the first of its weights."""
    shape = (*shapes.batch, *(shapes.sizes[label] for label in term.labels), channels)
    whole = [entries(w)[-1] for w in weights if w.shape[-1] == channels]  # else plain axes are folded into it
    return Result(term, shape, whole[0] if whole else ())


def _mesh(arrays: Sequence[jax.Array], wanted: Sequence[Spec | None]) -> AbstractMesh:
    """The mesh of the context; else that of a sharding that was given; else the explicit one of an array."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        given = [spec.mesh.abstract_mesh for spec in wanted if isinstance(spec, NamedSharding)]
        typed = [m for array in arrays if (m := jax.typeof(array).sharding.mesh).explicit_axes]
        mesh = next(iter([*given, *typed]), mesh)
    return mesh


def _by_output(results: Sequence[Result], given: object) -> list[Any]:
    """What is wanted for each output, in their order; `None` for nothing."""
    names = [each.term.name for each in results]
    if not isinstance(given, Mapping):
        if given is not None and len(names) != 1:
            raise OptionError(
                explain(
                    "one out_sharding came for several outputs",
                    got=repr(given),
                    expected=f"a dictionary with shardings for some of {names}",
                    step=f"write out_sharding={{{names[0]!r}: ...}}",
                )
            )
        return [given] * len(names)
    given = by_name(names, given)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise OptionError(
            explain(
                f"out_sharding has {unknown[0]!r}, which is no output",
                got=f"shardings for {sorted(map(str, given))}",
                expected=f"some of {names}",
                step="correct the name",
            )
        )
    return [given.get(name) for name in names]


def _checked(each: Result, given: Any, mesh: AbstractMesh) -> PartitionSpec | None:
    """The spec of what is wanted for one output, if the mesh and the output fit it, or an error of ours."""
    if given is None:
        return None
    name, rank = f"out_sharding of {each.term.name or '()'!r}", len(each.shape)
    axes = ", ".join([*["*batch"] * bool(rank - 1 - len(each.term.labels)), *each.term.labels, "channels"])

    def wrong(kind: type[OptionError | ShapeError], problem: str, expected: str, step: str) -> Exception:
        return kind(explain(f"{name} {problem}", got=repr(given), expected=expected, step=step))

    if not isinstance(given, Spec):
        raise wrong(
            OptionError,
            "is not a sharding",
            "a jax.sharding.PartitionSpec or NamedSharding",
            'write jax.P("data"), which spreads the first axis over the mesh axis "data"',
        )
    spec = given.spec if isinstance(given, NamedSharding) else given
    if mesh.empty:
        raise wrong(
            OptionError,
            "names axes of a mesh, but no mesh is set",
            "a mesh in the context, or a NamedSharding",
            "write jax.set_mesh(jax.make_mesh((8,), ('data',))) first",
        )
    if isinstance(given, NamedSharding) and given.mesh.shape_tuple != mesh.shape_tuple:
        raise wrong(
            OptionError,
            "is for another mesh than the one that is set",
            f"a sharding on the mesh {dict(mesh.shape)}",
            "pass its PartitionSpec alone",
        )
    if len(spec) > rank:
        raise wrong(
            ShapeError,
            f"has {len(spec)} entries for an output with {rank} axes",
            f"at most {rank} entries: [{axes}] with shape {list(each.shape)}",
            "remove the entries that are too many; batch axes come first, channels last",
        )
    if spec.unreduced or spec.reduced:
        raise wrong(OptionError, "leaves sums open", "a spec without unreduced= and reduced=", "remove them")
    used: list[str] = []
    for place, entry in enumerate(spec):
        if entry is None or entry is PartitionSpec.UNCONSTRAINED:
            continue
        over = (entry,) if isinstance(entry, str) else tuple(entry)
        for axis in over:
            if axis not in mesh.axis_names or axis in mesh.manual_axes:
                free = [known for known in mesh.axis_names if known not in mesh.manual_axes]
                raise wrong(
                    OptionError,
                    f"names the mesh axis {axis!r}, which "
                    + ("shard_map has taken" if axis in mesh.axis_names else "there is not"),
                    f"some of {free}",
                    "correct the name, or make the mesh with this axis",
                )
            if axis in used:
                raise wrong(OptionError, f"names the mesh axis {axis!r} twice", "each axis once", "remove one of them")
            used.append(axis)
        pieces, size = math.prod(mesh.shape[axis] for axis in over), each.shape[place]
        if isinstance(size, int) and size % pieces:  # not a symbol of jax.export
            raise wrong(
                ShapeError,
                f"spreads an axis of {size} over {pieces} devices",
                f"sizes that {pieces} divides; the output has shape {list(each.shape)}: [{axes}]",
                f"pad the axis to {-(-size // pieces) * pieces}, shard another one, or use a mesh axis that divides it",
            )
    return spec


def _usual(each: Result, terms: Sequence[Term], arrays: Sequence[jax.Array]) -> PartitionSpec:
    """The sharding of an output where none is asked for, by explicit axes.

    Batch axes are spread as those of the first input that has them spread, the j-th axis of a label as the j-th axis
    of this label in an input, channels as the last axis of the weights. Each axis of the mesh is used once, in this
    order.
    """
    batch = len(each.shape) - 1 - len(each.term.labels)
    spread: dict[object, Entry] = {}
    for term, array in zip(terms, arrays, strict=True):
        for key, entry in zip(_places(term, batch), entries(array), strict=True):
            spread[key] = spread.get(key) or entry
    spread["channels"] = each.features
    used: set[str] = set()
    found: list[Entry | None] = []
    for key in _places(each.term, batch):
        entry = spread.get(key, ())
        found.append(entry if entry and used.isdisjoint(entry) else None)
        used.update(entry)
    return PartitionSpec(*found)


def _places(term: Term, batch: int) -> list[object]:
    """A name for every axis of a tensor that says what it is: number of batch axis, label and which of it, channels."""
    places = [(label, term.labels[:i].count(label)) for i, label in enumerate(term.labels)]
    return [*range(batch), *places, "channels"]


def _only(spec: PartitionSpec, axes: Sequence[str]) -> PartitionSpec:
    """A spec without the axes of the mesh that are not among these."""
    found: list[Entry | None] = []
    for entry in spec:
        over = () if entry in (None, PartitionSpec.UNCONSTRAINED) else (entry,) if isinstance(entry, str) else entry
        found.append(tuple(axis for axis in over if axis in axes) or None)
    return PartitionSpec(*found)


def placed(
    compute: Callable[..., list[jax.Array]],
    operands: tuple[Sequence[jax.Array], Sequence[jax.Array], Mapping[str, jax.Array]],
    terms: Sequence[Term],
    results: Sequence[Result],
    out_sharding: OutSharding | None,
) -> list[jax.Array]:
    """Call `compute(inputs, weights, masks)` so that its results are sharded as wanted.

    Args:
        compute: gives a list with an array for each of `results`.
        operands: inputs, weights and masks.
        terms: those of the inputs.
        results: what is known of the outputs.
        out_sharding: for the single output, or by name; outputs that it leaves out are sharded as usual.

    Raises:
        OptionError, ShapeError: if the mesh or the outputs do not fit `out_sharding`.
    """
    flat = jax.tree.leaves(operands)
    given = _by_output(results, out_sharding)
    mesh = _mesh(flat, given)
    wanted = [_checked(each, spec, mesh) for each, spec in zip(results, given, strict=True)]
    context = not jax.sharding.get_abstract_mesh().empty

    def on(spec: PartitionSpec, where: AbstractMesh) -> Spec:
        return spec if context else NamedSharding(where, spec)

    explicit = mesh.explicit_axes
    if not explicit or not (any(any(entries(array)) for array in flat) or any(spec is not None for spec in wanted)):
        found = compute(*operands)
        concrete = [
            s if isinstance(s, NamedSharding) and not context else w for s, w in zip(given, wanted, strict=True)
        ]
        return [y if s is None else lax.with_sharding_constraint(y, s) for y, s in zip(found, concrete, strict=True)]
    specs = [
        _usual(each, terms, operands[0]) if spec is None else _only(spec, explicit)
        for each, spec in zip(results, wanted, strict=True)
    ]

    def automatic(*operands: Any) -> list[jax.Array]:
        found = compute(*operands)
        if set(explicit) == set(mesh.axis_names) - set(mesh.manual_axes):
            return found  # the types of what comes out say it all
        return [y if s is None else lax.with_sharding_constraint(y, s) for y, s in zip(found, wanted, strict=True)]

    switched = jax.sharding.auto_axes(automatic, out_sharding=[on(spec, mesh) for spec in specs])
    y: list[jax.Array] = switched(*operands)
    return y
