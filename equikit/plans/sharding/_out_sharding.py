"""Check `out_sharding` against the mesh and the outputs before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from equikit._array_checks import by_name
from equikit._errors import EquikitError, OptionError, ShapeError
from equikit.signatures import Term

Spec = PartitionSpec | NamedSharding
OutSharding = Spec | Mapping[str, Spec]
"""How outputs are spread over devices: one specification, or a dictionary with one for each output term."""
Entry = tuple[str, ...]
"""The axes of the mesh over which one axis of an array is sharded."""


@dataclass(frozen=True, slots=True)
class Result:
    """The properties of an output that are known before it is computed.

    Attributes:
        term: its name and labels.
        shape: `[*batch, *axes, channels]`.
        features: the mesh axes of the last axis of its weights, if that is the channels of the output.
    """

    term: Term
    shape: tuple[int, ...]
    features: Entry = ()

    @property
    def batch(self) -> int:
        """The number of batch axes."""
        return len(self.shape) - 1 - len(self.term.labels)


def over(entry: Any) -> Entry:
    """Return the axes of the mesh in an entry of a `PartitionSpec`."""
    if entry is None or entry is PartitionSpec.UNCONSTRAINED:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


def by_output(results: Sequence[Result], given: object) -> list[Any]:
    """Return the sharding requested for each output, in order; `None` if there is none.

    Raises:
        OptionError: if a sharding does not name its output, or names one that does not exist.
    """
    names = [each.term.name for each in results]
    if given is None:
        return [None] * len(names)
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise _not_by_output("one out_sharding came for several outputs", given, names)
        return [given]
    given = by_name(names, given)
    for unknown in given.keys() - set(names):
        raise _not_by_output(f"out_sharding= has {unknown!r}, which is not an output", given, names)
    return [given.get(name) for name in names]


def _not_by_output(problem: str, given: object, names: list[str]) -> OptionError:
    expected, step = f"a dictionary with shardings for some of {names}", f"write out_sharding={{{names[0]!r}: ...}}"
    return OptionError(problem, got=repr(given), expected=expected, step=step)


def checked_spec(each: Result, given: Any, mesh: AbstractMesh) -> PartitionSpec | None:
    """Return the spec requested for one output, if it fits the mesh and the output.

    Raises:
        OptionError, ShapeError: naming the output, the given spec, and what would fit.
    """
    if given is None:
        return None
    axes = ", ".join([*["*batch"] * bool(each.batch), *each.term.labels, "channels"])
    rank, has = len(each.shape), f"the output has shape {list(each.shape)}: [{axes}]"

    def wrong(problem: str, expected: str, step: str, kind: type[EquikitError] = OptionError) -> EquikitError:
        name = f"out_sharding of {each.term.name or '()'!r}"
        return kind(f"{name} {problem}", got=repr(given), expected=expected, step=step)

    if not isinstance(given, Spec):
        step = 'write jax.P("data"), which spreads the first axis over the mesh axis "data"'
        raise wrong("is not a sharding", "a jax.sharding.PartitionSpec or NamedSharding", step)
    spec = given.spec if isinstance(given, NamedSharding) else given
    if mesh.empty:
        step = 'call jax.set_mesh(jax.make_mesh((jax.device_count(),), ("data",))) first'
        raise wrong("names axes of a mesh, but no mesh is set", "a mesh that is set, or a NamedSharding", step)
    if isinstance(given, NamedSharding) and given.mesh.shape_tuple != mesh.shape_tuple:
        raise wrong("is for another mesh", f"one for the mesh that is set, {dict(mesh.shape)}", "pass its spec alone")
    if len(spec) > rank:
        step = "remove entries; batch axes come first, channels last"
        raise wrong(f"has {len(spec)} entries for {rank} axes", f"at most {rank} entries; {has}", step, ShapeError)
    if spec.unreduced or spec.reduced:
        raise wrong("leaves sums open", "a spec without unreduced= and reduced=", "remove them")
    if mesh.explicit_axes and PartitionSpec.UNCONSTRAINED in tuple(spec):
        raise wrong("leaves an axis open", "names or None, as the mesh has explicit axes", "write None in its place")
    used: list[str] = []
    for entry, size in zip(spec, each.shape, strict=False):
        for axis in over(entry):
            if axis not in mesh.axis_names or axis in mesh.manual_axes:
                free = [known for known in mesh.axis_names if known not in mesh.manual_axes]
                why = "shard_map has taken" if axis in mesh.axis_names else "the mesh does not have"
                step = "correct the name, or make the mesh with this axis"
                raise wrong(f"names the axis {axis!r}, which {why}", f"some of {free}", step)
            if axis in used:
                raise wrong(f"names the axis {axis!r} twice", "each axis of the mesh once", "remove one of them")
            used.append(axis)
        pieces = math.prod(mesh.shape[axis] for axis in over(entry))
        if isinstance(size, int) and size % pieces:  # not a symbol of jax.export
            step = f"pad this axis to {-(-size // pieces) * pieces}, or spread another one"
            raise wrong(
                f"spreads {size} entries over {pieces} devices", f"a multiple of {pieces}; {has}", step, ShapeError
            )
    return spec
