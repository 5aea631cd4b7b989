"""Call a function before and after each module of JAX, without changing classes or modules for good."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Around = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of a module with its name, its method, and its arguments; returns the result."""


@contextmanager
def hooked(modules: Mapping[str, Any], around: Around) -> Iterator[None]:
    """Give each module its own subclass whose `__call__` goes through `around`, and its own class back at the end.

    The name belongs to the subclass, so copies that `nnx.merge`, `jax.vmap` or `jax.tree.map` make are hooked too.
    """
    classes = {name: type(module) for name, module in modules.items()}
    try:
        for name, module in modules.items():
            object.__setattr__(module, "__class__", _subclass(classes[name], name, around))
        yield
    finally:
        for name, module in modules.items():
            object.__setattr__(module, "__class__", classes[name])


def _subclass(kind: Any, name: str, around: Around) -> Any:
    own = kind.__call__

    @functools.wraps(own)
    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return around(name, functools.partial(own, self), arguments, keywords)

    body = {"__call__": __call__, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": None}
    return type(kind)(kind.__name__, (kind,), body)
