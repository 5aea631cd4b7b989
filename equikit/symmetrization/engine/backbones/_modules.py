"""Functions and modules of any library as attributes of their wrappers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError
from equikit.symmetrization.engine.backbones._foreign import refuse_foreign


def is_plain(thing: object) -> bool:
    """Whether a value is `None` or a single leaf for JAX."""
    return thing is None or bool(jax.tree_util.all_leaves([thing]))


def held(thing: object) -> Any:
    """Return a value as an attribute of an NNX module: data if it holds arrays without being a module."""
    return thing if isinstance(thing, nnx.Module) or is_plain(thing) else nnx.data(thing)


def checked_callable(
    what: str, thing: object, expected: str, step: str, *, arguments: int | None = 1, keywords: tuple[str, ...] = ()
) -> Any:
    """Return a callable that accepts these arguments, or raise `OptionError`; `arguments=None` allows any."""
    refuse_foreign(what, thing)
    if not callable(thing):
        raise OptionError(f"{what} cannot be called", got=type(thing).__name__, expected=expected, step=step)
    # It may require a mask, which it gets if there is one.
    if arguments is not None and not any(_checks.takes(thing, arguments, *keywords, *mask) for mask in ((), ("mask",))):
        listed = ", ".join(["x"] * arguments + [f"{name}=" for name in keywords])
        raise OptionError(
            f"{what} cannot be called with ({listed})", got=_checks.shown(thing), expected=expected, step=step
        )
    return thing


def held_network(
    network: object,
    expected: str = "a function or a module",
    step: str = "pass what takes the input of symmetrize",
) -> Any:
    """Return a network as an attribute of an NNX module, or raise `OptionError` if it does not take one input."""
    return held(checked_callable("the network", network, expected, step))


def mask_keyword(what: str, network: object, masks: Mapping[str, Any], *keywords: str) -> dict[str, Any]:
    """Return the keyword `mask=` for a network if there are masks; raise `OptionError` if it does not accept it."""
    if not masks:
        return {}
    expected, step = "a function that is told which entries are there", "write f(x, *, mask=None), mask by label"
    checked_callable(what, network, expected, step, keywords=("mask", *keywords))
    return {"mask": masks}


class ModuleOf(nnx.Module):
    """A module with the given attributes."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, held(value))


class PytreeOf:
    """A pytree with the given attributes; its leaves are the leaves of attributes that are pytrees."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._names = tuple(attributes)
        for name, value in attributes.items():
            setattr(self, name, value)

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node_class(cls)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return children and static data, for JAX."""
        attributes = {name: getattr(self, name) for name in self._names}
        held = {name: value for name, value in attributes.items() if not is_plain(value)}
        static = tuple((name, value) for name, value in attributes.items() if name not in held)
        return tuple(held.values()), (tuple(held), static)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], children: tuple[Any, ...]) -> Self:
        """Rebuild the pytree, for JAX."""
        return cls({**dict(zip(static[0], children, strict=True)), **dict(static[1])})
