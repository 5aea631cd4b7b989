"""Find the modules that a callable uses, and the paths of their parts."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from flax import nnx

from equikit.auditing._callables import is_torch

DEEPEST = 4
"""How many functions within functions are searched for modules."""


def kind_of(value: object) -> str | None:
    """Return `"nnx"`, `"equinox"` or `"torch"` for a module of that framework, otherwise `None`."""
    if isinstance(value, type):
        return None
    if isinstance(value, nnx.Module):
        return "nnx"
    classes = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    if "equinox.Module" in classes:
        return "equinox"
    return "torch" if "torch.Module" in classes and is_torch(value) else None


def roots(function: object) -> dict[str, Any]:
    """Return the modules that a function is, is bound to, or refers to, by the name of the variable.

    A module itself, and the only module of a function, has the name "", so that paths start with its parts.
    """
    found: dict[str, Any] = {}
    for name, module in _reached(function, DEEPEST):
        if all(module is not other for other in found.values()):
            found.setdefault(name, module)
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def whole_kind(function: object) -> str:
    """Return the kind of a whole function: its class if it is a module, `"function of Net"` if it has one module."""
    found = roots(function)
    if len(found) != 1:
        return "function"
    (module,) = found.values()
    own = module is function or module is getattr(function, "__self__", None)
    return type(module).__name__ if own else f"function of {type(module).__name__}"


def _reached(value: object, depth: int, name: str = "") -> Iterator[tuple[str, Any]]:
    if kind_of(value) is not None:
        yield name, value
    elif depth == 0 or isinstance(value, type):
        return
    elif isinstance(value, functools.partial):
        parts = [
            ("", value.func),
            *((f"argument {i}", one) for i, one in enumerate(value.args)),
            *value.keywords.items(),
        ]
        for place, part in parts:
            yield from _reached(part, depth - 1, place)
    elif isinstance(value, types.MethodType):
        yield from _reached(value.__self__, depth - 1, name)
        yield from _reached(value.__func__, depth - 1, name)
    elif isinstance(value, types.FunctionType):
        variables = inspect.getclosurevars(value)
        for place, part in (*variables.nonlocals.items(), *variables.globals.items()):
            if not isinstance(part, types.ModuleType) and not _of_library(part):
                yield from _reached(part, depth - 1, place)
    if hasattr(value, "__wrapped__") and kind_of(value) is None and depth:
        yield from _reached(value.__wrapped__, depth - 1, name)


def _of_library(value: object) -> bool:
    """Whether a function belongs to JAX, NumPy or PyTorch, whose variables hold no modules of the user."""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in ("jax", "jaxlib", "numpy", "torch", "flax")


def parts_of(module: Any) -> dict[str, Any]:
    """Return the callable parts of a module by their paths, such as `"blocks.1.norm"`, and the module itself as ""."""
    kind = kind_of(module)
    if kind == "torch":
        return dict(module.named_modules())
    if kind == "nnx":
        parts = {".".join(map(str, path)): part for path, part in nnx.iter_modules(module)}
    else:
        parts = {".".join(path): part for path, part in _fields_of(module, ())}
    found: dict[str, Any] = {}
    for name, part in sorted(parts.items(), key=lambda pair: (pair[0].count("."), pair[0])):
        if callable(part) and all(part is not other for other in found.values()):
            found[name] = part
    return found


def _fields_of(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the modules in the fields of an Equinox module, also in lists and dictionaries."""
    if kind_of(value) == "equinox":
        yield path, value
        for name in [field.name for field in fields(value)] if is_dataclass(value) else []:
            yield from _fields_of(getattr(value, name, None), (*path, name))
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _fields_of(one, (*path, str(name)))
    elif isinstance(value, tuple | list):
        for place, one in enumerate(value):
            yield from _fields_of(one, (*path, str(place)))


def joined(root: str, path: str) -> str:
    """Join the name of a root and the path of a part."""
    return ".".join(word for word in (root, path) if word)
