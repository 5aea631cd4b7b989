"""What a checkpoint remembers of its training, so that another training does not continue it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._checks import is_key

ENTRIES = 8
"""The number of entries of each array that are compared, evenly spaced."""

SHOWN = 3
"""The number of differences that an error lists."""


def of_shapes(tree: Any) -> dict[str, str]:
    """Return the dtype and shape of each array, by its path."""
    return {path: f"{leaf.dtype}{[*leaf.shape]}" for path, leaf in _leaves(tree)}


def of_weights(tree: Any) -> dict[str, list[int | float]]:
    """Return some entries of each array.

    Entries and not a digest, because the same seed gives weights with other rounding errors on another kind of device.
    """
    found: dict[str, list[int | float]] = {}
    for path, leaf in _leaves(tree):
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf).ravel()
        chosen = array[np.linspace(0, max(array.size - 1, 0), min(array.size, ENTRIES)).astype(int)]
        if jnp.issubdtype(chosen.dtype, jnp.complexfloating):
            chosen = np.stack([chosen.real, chosen.imag])
        exact = jnp.issubdtype(chosen.dtype, jnp.integer) or chosen.dtype == bool
        found[path] = chosen.astype(np.int64 if exact else np.float64).ravel().tolist()
    return found


def of_optimizer(transformation: Any) -> dict[str, int | float]:
    """Return the numbers that the functions of an optax optimizer hold, such as learning rates and decays."""
    found: dict[str, int | float] = {}
    for name, value in _numbers("", transformation, set()):
        place = next(number for number in range(len(found) + 1) if f"{name}#{number}" not in found)
        found[f"{name}#{place}"] = value
    return found


def _numbers(name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, int | float]]:
    """Yield the numbers in a value, in tuples, dictionaries and functions, with the names of their variables."""
    if isinstance(value, int | float | np.number) or (isinstance(value, jax.Array | np.ndarray) and not value.shape):
        yield name, np.asarray(value).item()
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, functools.partial):
        value = (value.func, value.args, value.keywords)
    if isinstance(value, types.MethodType):
        value = (value.__func__, value.__self__)
    if type(value).__module__.startswith("optax.") and not isinstance(value, tuple):
        value = getattr(value, "__dict__", value)  # such as MultiSteps; most optimizers are tuples of functions
    if isinstance(value, tuple | list):
        parts = [(name, part) for part in value]
    elif isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        parts = [(key, cell.cell_contents) for key, cell in cells if _filled(cell)]
    else:
        parts = []
    for key, part in parts:
        yield from _numbers(key, part, seen)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that has no value yet
        return False


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="."), leaf


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what differs between two trainings: by section, the values of both in words."""
    found = {}
    for section in dict.fromkeys([*old, *new]):
        one, other = old.get(section), new.get(section)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            names = dict.fromkeys([*one, *other])
            if section == "optimizer":  # other versions of optax may have other variables
                names = dict.fromkeys(name for name in one if name in other)
            changed = [name for name in names if not _alike(one.get(name), other.get(name))]
            if changed:
                found[section] = (_listed(one, changed), _listed(other, changed))
        elif not _alike(one, other):
            found[section] = (_text(one), _text(other))
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are equal; floats up to rounding errors."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-3, atol=1e-7, equal_nan=True))
    return bool(one == other)


def _listed(values: Mapping[str, Any], names: list[str]) -> str:
    shown = [f"{name.partition('#')[0]}: {_text(values.get(name))}" for name in names[:SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _text(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(entry, float) for entry in value):
        return f"[{', '.join(f'{entry:.3g}' for entry in value[:2])}{', ...' if len(value) > 2 else ''}]"
    if isinstance(value, Mapping):
        return _listed(value, [*value])
    return "none" if value is None else str(value)
