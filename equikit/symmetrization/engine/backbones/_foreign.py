"""Modules of other libraries: detect those that JAX cannot trace, and explain what to pass instead."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any

import flax.errors
import jax
from flax import linen

from equikit._errors import OptionError

LINEN = "functools.partial(net.apply, variables), with variables = net.init(key, x)"
HAIKU = "lambda x: net.apply(params, None, x), with net = hk.transform(f) and params = net.init(key, x)"
"""Pure functions of an input, from networks of both libraries."""


def refuse_foreign(what: str, thing: Any) -> None:
    """Raise `OptionError` for PyTorch modules, and for modules that are not yet functions of an input."""
    found = _not_a_function(thing)
    if found is not None:
        problem, step = found
        raise OptionError(
            f"{what} is {problem}",
            got=thing.__name__ if isinstance(thing, type) else type(thing).__name__,
            expected="a pure function of arrays, or a module that holds its parameters",
            step=step,
        )


def _not_a_function(thing: Any) -> tuple[str, str] | None:
    """Explain what is wrong with a module, and what to pass instead."""
    if any(kind.__module__.split(".")[0] == "torch" for kind in type(thing).__mro__):
        return "a module of PyTorch, which JAX cannot trace", "write it in JAX, for example as a flax.nnx.Module"
    if isinstance(thing, type):
        return "a class", "make the module first, and pass the instance"
    if isinstance(thing, linen.Module) and thing.scope is None:
        return "a module of Flax Linen without parameters", f"pass {LINEN}"
    if isinstance(thing, tuple) and hasattr(thing, "init") and hasattr(thing, "apply"):
        return "a pair of functions, init and apply", f"pass {HAIKU}"
    return None


def is_initializing(thing: Any) -> bool:
    """Whether a Flax Linen or Haiku module creates its parameters in this call, which must not be transformed."""
    if isinstance(thing, linen.Module):
        return thing.scope is not None and thing.is_initializing()
    return _is_haiku(thing) and bool(sys.modules["haiku"].running_init())


def _is_haiku(thing: object) -> bool:
    haiku = sys.modules.get("haiku")
    return haiku is not None and isinstance(thing, haiku.Module)


def state_of(thing: Any) -> dict[int, Any]:
    """Return the arrays of a Flax Linen or Haiku module that it may replace in a call, by identity."""
    variables = thing.variables if isinstance(thing, linen.Module) else thing.state_dict() if _is_haiku(thing) else {}
    return {id(leaf): leaf for leaf in jax.tree.leaves(variables)}


def refuse_new_state(thing: Any, before: Mapping[int, Any]) -> None:
    """Raise `OptionError` if a Flax Linen or Haiku module has replaced arrays, or created some after initialization."""
    after = state_of(thing).keys()
    if after != before.keys() and not (is_initializing(thing) and before.keys() <= after):
        raise stateful(type(thing).__name__)


def impure(error: Exception) -> OptionError | None:
    """Explain an error of Flax Linen, Haiku or JAX due to an impure backbone; else `None`."""
    if isinstance(error, jax.errors.TracerArrayConversionError | jax.errors.ConcretizationTypeError):
        return _untraceable(error)
    kinds = flax.errors.JaxTransformError | flax.errors.ScopeParamNotFoundError
    modules = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
    packages = {name.split(".")[0] for name in modules}
    scoped = "haiku" in packages and any(word in str(error) for word in ("hk.transform", "as part of `init`"))
    if not scoped and not isinstance(error, jax.errors.UnexpectedTracerError | kinds):
        return None
    step = "return all that it computes, and keep nothing outside of it"
    if "haiku" in packages:
        step = f"outside of hk.transform, pass {HAIKU}"
    elif any(name.startswith(("flax.linen", "flax.core")) for name in modules):
        step = f"pass {LINEN}"
    return OptionError(
        "the backbone makes parameters, draws keys or keeps values as it is called",
        got=str(error).split("\n")[0][:100],
        expected="a pure function: it is evaluated inside transformations of JAX, and more than once",
        step=step,
    )


def _untraceable(error: Exception) -> OptionError:
    return OptionError(
        "the backbone needs the values of its input, as NumPy, PyTorch and Python's if do",
        got=str(error).split("\n")[0][:100],
        expected="a function that JAX can trace",
        step="write it with jax.numpy, jnp.where in place of if; jax.pure_callback calls other code",
    )


def stateful(error: object) -> OptionError:
    """Return the error for a backbone that changes its state, where `error` says what it changed."""
    what = str(error).split("(")[0].strip()
    random = "Rng" in what
    return OptionError(
        "the backbone changes its own state when it is called",
        got=what,
        expected="a pure function: it is evaluated on several copies of the input, in no order",
        step=(
            'make its dropout without rngs=, write symmetrize(..., key_argument="rngs"), and call with key='
            if random
            else "switch it to evaluation: model.eval() in NNX, use_running_average=True in Linen, "
            "is_training=False in Haiku"
        ),
    )
