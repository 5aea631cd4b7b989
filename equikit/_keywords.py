"""Keywords of functions and layers: options, labels, and the closest option for a misspelled one."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from equikit._checks import nearest
from equikit._errors import OptionError

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Call:
    """A function or layer whose keywords are options or labels.

    Attributes:
        name: its name in error messages.
        options: its keyword-only arguments; every other keyword is a label.
        arguments: all arguments that can be passed by name, including options; no label has such a name.
        inner: the positional arguments of inherited constructors and inner layers, which the call passes itself.
    """

    name: str
    options: frozenset[str]
    arguments: frozenset[str]
    inner: frozenset[str] = frozenset()


def _constructors(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function, or the constructors in the class hierarchy that receive the keywords of a class."""
    if not isinstance(function, type):
        yield function
        return
    name = "__new__" if "__new__" in vars(function) else "__init__"
    for kind in function.__mro__:
        if name in vars(kind):
            constructor = vars(kind)[name]
            yield constructor
            if all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(constructor).parameters.values()):
                return


@functools.lru_cache(maxsize=256)
def call_of(function: Callable[..., Any], *inner: Callable[..., Any]) -> Call:
    """Return the arguments of a function or class, and of the functions that receive its keywords."""
    calls = [
        [*inspect.signature(call).parameters.values()] for outer in (function, *inner) for call in _constructors(outer)
    ]
    own = {p.name for p in calls[0] if p.kind is not p.VAR_KEYWORD}
    found = [p for call in calls for p in call]
    options = frozenset(p.name for p in found if p.kind is p.KEYWORD_ONLY)
    arguments = options.union(p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD)
    return Call(function.__name__, options, arguments, arguments - options - own)


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the default of each option of a class that has one."""
    found = (p for function in _constructors(kind) for p in inspect.signature(function).parameters.values())
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def options_of(call: Callable[..., Any]) -> frozenset[str]:
    """Return the keyword-only arguments of a function or of the constructor of a class."""
    return call_of(call).options


def refuse_misspelled(call: Call, keywords: Collection[str], labels: Collection[str]) -> None:
    """Raise `OptionError` for an unknown keyword that resembles an option or label, or for unused `rngs=`."""
    unknown = sorted({*keywords} - {*labels} - call.options)
    if "rngs" in unknown:
        raise OptionError(
            f"{call.name} has no parameters to initialize",
            got="rngs=",
            expected="random keys for layers with parameters only",
            step="remove rngs=",
        )
    known = (call.arguments - call.inner - {"self"}).union(labels)
    for name in unknown:
        if nearest(name, sorted(known)):
            refuse_unknown(call.name, [name], known)


def refuse_unknown(owner: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise `OptionError` for an unknown keyword, and suggest the closest known one."""
    unknown = sorted({*given} - {*known})
    if not unknown:
        return
    near = nearest(unknown[0], sorted(known))
    raise OptionError(
        f"{owner} has no option {unknown[0]!r}",
        got=f"{unknown[0]}=",
        expected=f"{', '.join(sorted(known))}" if known else "no options",
        step=f"write {near}=" if near else f"remove {unknown[0]}=",
    )


def needs(**steps: str) -> Callable[[Function], Function]:
    """Make a function or constructor raise `OptionError`, with these next steps, if it lacks one of these arguments."""

    def wrapped(call: Function) -> Function:
        owner = call.__qualname__.partition(".")[0]
        parameters = inspect.signature(call).parameters.values()
        places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

        @functools.wraps(call)
        def needing(*given: Any, **keywords: Any) -> Any:
            for name in steps.keys() - keywords.keys() - {*places[: len(given)]}:
                known = call_of(call).arguments - {"cls"}
                refuse_unknown(owner, [word for word in keywords if word not in known and nearest(word, [name])], known)
                got, step = ", ".join(f"{word}=" for word in keywords) or "no keywords", steps[name]
                raise OptionError(f"{owner} needs {name}=", got=got, expected=f"{name}=", step=step)
            return call(*given, **keywords)

        return needing  # type: ignore[return-value]  # it has the same signature

    return wrapped


def answer_misspelled(door: str) -> None:
    """Make every public class and function of a module suggest the closest option for an unknown keyword.

    Constructors are wrapped in place, functions in the public namespace and in the module that defines them. Classes
    and functions that accept any keyword, such as labels, are unchanged.
    """
    namespace = vars(sys.modules[door])
    for name in namespace["__all__"]:
        public = namespace[name]
        is_class = isinstance(public, type)
        known = _options(public) if is_class or inspect.isfunction(public) else None
        if known is None:
            continue
        if is_class:
            constructor = "__new__" if "__new__" in vars(public) else "__init__"
            setattr(public, constructor, _answering(getattr(public, constructor), name, known))
        else:
            namespace[name] = _answering(public, name, known)
            vars(sys.modules[public.__module__])[name] = namespace[name]  # pickle looks functions up there


def _options(public: Callable[..., Any]) -> frozenset[str] | None:
    """Return the arguments that can be passed by name, or `None` if any keyword is accepted."""
    *_, last = _constructors(public)
    passes_on = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(last).parameters.values())
    return None if passes_on else call_of(public).arguments - {"self", "cls", "_cls"}


def _answering(call: Callable[..., Any], owner: str, known: frozenset[str]) -> Callable[..., Any]:
    """Return a wrapper that raises `OptionError` for an unknown keyword."""
    if hasattr(call, "answers_misspelled"):
        return call

    @functools.wraps(call)
    def answering(*given: Any, **keywords: Any) -> Any:
        if not keywords.keys() <= known:
            refuse_unknown(owner, keywords, known)
        return call(*given, **keywords)

    answering.answers_misspelled = True  # type: ignore[attr-defined]  # functions have a dictionary
    return answering
