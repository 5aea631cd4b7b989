"""The imports that the examples of a docstring need: doctest runs them inside their module, readers do not."""

import ast
import builtins
import doctest
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import public_names


def with_imports(obj: object, lines: Sequence[str]) -> list[str]:
    """Return a docstring whose first example imports the names of the object's module that its examples use."""
    needed = statements(obj, "\n".join(lines))
    first = next((i for i, line in enumerate(lines) if line.lstrip().startswith(">>> ")), None)
    if first is None or not needed:
        return [*lines]
    indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
    return [*lines[:first], *(f"{indent}>>> {statement}" for statement in needed), *lines[first:]]


def statements(obj: object, text: str) -> list[str]:
    """Return import statements for the names that the examples of a text use and do not define."""
    module = _module(obj)
    if module is None:
        return []
    names = [name for name in missing(text) if hasattr(module, name)]
    plain = [line for line in map(_outside, names, [getattr(module, name) for name in names]) if line]
    return sorted(plain, key=lambda line: line.startswith("from")) + _inside(module, names)


def missing(text: str) -> list[str]:
    """Return the names that the examples of a text load before they bind them, in order."""
    found: dict[str, None] = {}
    bound = {*dir(builtins)}
    for example in doctest.DocTestParser().get_examples(text):
        nodes = [*ast.walk(ast.parse(example.source))]
        bound |= {name for node in nodes for name in _bound(node)}
        loads = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        found |= dict.fromkeys(name for name in loads if name not in bound)
    return [*found]


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node binds: assignments, imports, definitions and arguments."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


def _module(obj: Any) -> types.ModuleType | None:
    owner = obj.fget if isinstance(obj, property) else inspect.unwrap(obj) if callable(obj) else obj
    return sys.modules.get(getattr(owner, "__module__", None) or "")


def _outside(name: str, value: object) -> str:
    """The import of a module, `import jax.numpy as jnp`; empty for other values."""
    if not isinstance(value, types.ModuleType):
        return ""
    package, _, last = value.__name__.rpartition(".")
    if name == value.__name__:
        return f"import {name}"
    return f"from {package} import {name}" if name == last and package else f"import {value.__name__} as {name}"


def _inside(module: types.ModuleType, names: Sequence[str]) -> list[str]:
    """The imports of values: public names from their namespace, others from a package above them."""
    public = {id(each.value): each.namespace for each in public_names.documented().values()}
    found: dict[str, list[str]] = {}
    for name in names:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            continue
        home = public.get(id(value)) or _package(name, getattr(value, "__module__", module.__name__))
        found.setdefault(home, []).append(name)
    return [f"from {home} import {', '.join(sorted(each))}" for home, each in sorted(found.items())]


def _package(name: str, home: str) -> str:
    """The innermost package without an underscore that offers a name."""
    while "._" in home or not hasattr(sys.modules[home], name):
        home = home.rpartition(".")[0]
    return home
