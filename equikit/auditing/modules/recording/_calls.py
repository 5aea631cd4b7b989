"""The calls of the modules of a model, in the order in which they end, with the arrays that go in and come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

OUTPUT = "output"
"""The name of the call of the whole function."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module, or one equation of a program.

    Attributes:
        name: the path of the module, such as `"blocks.1.norm"`, with `"#2"` for its second call; for an equation its
            primitive and source line.
        kind: the class of the module, or the primitive; for the whole function, see `whole_kind`.
        inputs, outputs: NumPy arrays in their own dtypes; what is not an array is left out.
        sources, results: numbers that identify the arrays of equations; empty for modules.
        reason: why the call has no arrays, if it has none.
        inside: the names of the calls of modules that an equation belongs to, outermost first.
    """

    name: str
    kind: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    sources: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    reason: str = ""
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls of one evaluation of a function.

    Attributes:
        calls: in the order in which they end; the last one is the call of the whole function.
        equations: the equations of a JAX program, if they were asked for.
        never: modules that were not called.
    """

    calls: tuple[Call, ...]
    equations: tuple[Call, ...] = ()
    never: tuple[str, ...] = ()


def numbered(calls: Iterable[Call]) -> tuple[Call, ...]:
    """Give the second call of a name the suffix `"#2"`, and so on."""
    seen: Counter[str] = Counter()
    found = []
    for call in calls:
        seen[call.name] += 1
        found.append(replace(call, name=f"{call.name}#{seen[call.name]}") if seen[call.name] > 1 else call)
    return tuple(found)


def is_array(value: object) -> bool:
    """Whether a value is an array of numbers, of any framework."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return False
    return not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended))


def map_arrays(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to the arrays in tuples, lists and dictionaries; other values are unchanged."""
    if is_array(value):
        return function(value)
    if isinstance(value, dict):
        return type(value)((name, map_arrays(function, one)) for name, one in value.items())
    if isinstance(value, tuple | list):
        parts = [map_arrays(function, one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def arrays_in(value: Any) -> Iterator[Any]:
    """Yield the arrays in tuples, lists and dictionaries, dictionaries in the order of their keys."""
    if is_array(value):
        yield value
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            yield from arrays_in(value[name])
    elif isinstance(value, tuple | list):
        for one in value:
            yield from arrays_in(one)
