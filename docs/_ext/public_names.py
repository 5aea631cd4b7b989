"""The public names of equikit: which there are, how users spell them, and where each is documented."""

import functools
import importlib
import inspect
import pkgutil
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Namespaces with names for users that `import equikit as ek` does not offer as attributes.
BESIDE = ("equikit.demo", "equikit.signatures")

# Modules with `__all__` that are not namespaces for users, each with the reason.
INTERNAL = {
    "equikit.auditing.subgroups": "its names are in ek.auditing",
    "equikit.cli": "the page of the command documents it",
    "equikit.groups.lie": "used by ek.discover",
    "equikit.numerics": "used by ek.symmetrization, which offers eigh",
    "equikit.plans.sharding": "used by layers; its types are in ek.typing",
    "equikit.plans.targets": "its public names are in ek.plans; benchmarks read collectives with it",
    "equikit.supports": "its name is ek.Support",
    "equikit.weightspace.asymmetric": "its names are in ek.weightspace",
    "equikit.weightspace.graphs": "its names are in ek.weightspace",
    "equikit.weightspace.optimizers": "its names are in ek.weightspace",
    "equikit.weightspace.teleportation": "its names are in ek.weightspace",
}


@dataclass(frozen=True)
class Name:
    """A public name: the namespace where it is documented, and its value."""

    namespace: str
    name: str
    value: Any

    @property
    def path(self) -> str:
        """The name with its namespace, `equikit.nn.Linear`."""
        return f"{self.namespace}.{self.name}"


def short(path: str) -> str:
    """Return how users spell a path: `ek.nn.Linear`, `ek.frames.QR`; modules outside `ek` keep their name."""
    if path.startswith(BESIDE):
        return path
    return path.replace("equikit.symmetrization.frames", "ek.frames").replace("equikit", "ek", 1)


@functools.cache
def namespaces() -> dict[str, tuple[str, ...]]:
    """Return the public names of each public namespace, modules left out; namespaces are found from `equikit`."""
    found: dict[str, tuple[str, ...]] = {}
    waiting = ["equikit", *BESIDE]
    while waiting:
        name = waiting.pop(0)
        module = importlib.import_module(name)
        values = {each: getattr(module, each) for each in sorted(module.__all__, key=str.lower)}
        modules = {value.__name__ for value in values.values() if isinstance(value, types.ModuleType)}
        found[name] = tuple(each for each, value in values.items() if not isinstance(value, types.ModuleType))
        waiting += sorted(modules - found.keys() - set(waiting))
    return found


def undecided() -> list[str]:
    """Return the modules with `__all__` that are neither a public namespace nor listed as internal."""
    package = importlib.import_module("equikit")
    every = [module.name for module in pkgutil.walk_packages(package.__path__, "equikit.")]
    open_ = [name for name in every if not any(part.startswith("_") for part in name.split("."))]
    return [
        name
        for name in open_
        if hasattr(importlib.import_module(name), "__all__") and name not in namespaces() and name not in INTERNAL
    ]


def is_documented_alone(value: Any) -> bool:
    """Whether a value has a docstring of its own, and is the same under all its names: a class or a function."""
    return inspect.isclass(value) or inspect.isfunction(value)


def text_below(name: Name) -> str:
    """Return the string below the definition of a constant or a type, which Python does not keep."""
    for module in [each for path, each in sys.modules.items() if path.startswith("equikit.")]:
        if getattr(module, name.name, None) is name.value:
            source = Path(str(module.__file__)).read_text(encoding="utf-8")
            found = re.search(rf'^{name.name}\b[^\n]* = [^\n]*\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
            if found:
                return found[1]
    return ""


@functools.cache
def documented() -> dict[str, Name]:
    """Return every spelling of a public name, `equikit.groups.S`, with the name under which it is documented."""
    first: dict[int, Name] = {}
    found = {}
    for namespace, names in namespaces().items():
        for each in names:
            name = Name(namespace, each, getattr(importlib.import_module(namespace), each))
            if is_documented_alone(name.value) or type(name.value).__module__.startswith("equikit"):
                name = first.setdefault(id(name.value), name)
            found[f"{namespace}.{each}"] = name
    return found


@functools.cache
def entries() -> dict[str, list[Name]]:
    """Return, for each namespace, the names that are documented there."""
    found: dict[str, list[Name]] = {namespace: [] for namespace in namespaces()}
    for spelling, name in documented().items():
        if spelling == name.path:
            found[name.namespace].append(name)
    return found


@functools.cache
def _by_last_part() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for names in entries().values():
        for name in names:
            found.setdefault(name.name, []).append(name.path)
    return found


def resolve(text: str, namespace: str = "") -> str | None:
    """Return the documented path, or the namespace, that a text names; `None` if it names none.

    `ek.nn.Linear` and `equikit.nn.Linear` are read as they are, `nn.Linear` from `ek`, and `Linear` from the given
    namespace, then from `ek`, then from the only namespace that has the name. A name may be followed by a member.
    """
    parts = text.split(".")
    if parts[0] == "ek":
        parts[0] = "equikit"
    if parts[:2] == ["equikit", "frames"]:
        parts[1:2] = ["symmetrization", "frames"]
    tries = [parts] if parts[0] == "equikit" else [[*namespace.split("."), *parts], ["equikit", *parts]]
    for each in tries:
        for length in range(len(each), 1, -1):
            path, members = ".".join(each[:length]), each[length:]
            if path in namespaces() and not members:
                return path
            name = documented().get(path)
            if name is not None and len(members) <= 1:
                return ".".join([name.path, *members]) if all(hasattr(name.value, m) for m in members) else None
    unique = _by_last_part().get(parts[0], [])
    if len(unique) == 1 and len(parts) <= 2:
        return ".".join([*unique, *parts[1:]])
    return None
