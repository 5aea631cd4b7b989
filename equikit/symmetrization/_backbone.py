"""Calling the backbone: any callable, checked for what it returns and for what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.errors
import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array

KeyArgument = Literal["key", "rngs"]
"""The keyword by which a backbone takes a random key: as it is, or as `nnx.Rngs`."""


@dataclass(frozen=True)
class Call:
    """One call of the backbone: what is the same for all elements of a frame."""

    backbone: Callable[..., Any]
    action: Action
    as_mapping: bool
    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    key_argument: KeyArgument | None

    def __call__(self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> dict[str, Array]:
        """Evaluate the backbone on inputs `[*batch, *axes, channels]`, inside a transformation of JAX.

        Raises:
            OptionError: if the backbone changes its own state, or needs a key.
            ShapeError, DTypeError: if it returns what the signature does not say.
        """
        keywords = dict(self.keywords)
        if masks:
            keywords["mask"] = masks
        if self.key_argument is not None and key is not None:
            keywords[self.key_argument] = nnx.Rngs(key) if self.key_argument == "rngs" else key
        inputs: Any = x if self.as_mapping else next(iter(x.values()))
        try:
            outputs = self.backbone(inputs, *self.arguments, **keywords)
        except (flax.errors.TraceContextError, flax.errors.ModifyScopeVariableError) as error:
            raise _stateful(error) from error
        except Exception as error:
            words = str(error)
            if "ropout" in words and any(word in words for word in ("rng", "key", "PRNG")):
                raise _keyless(self.key_argument) from error
            for name in keywords.keys() - self.keywords.keys():
                if isinstance(error, TypeError) and f"unexpected keyword argument {name!r}" in words:
                    raise _without_argument(name, error) from error
            raise
        return self._checked(outputs)

    def _checked(self, outputs: Any) -> dict[str, Array]:
        terms = self.action.signature.outputs
        found = dict(outputs) if isinstance(outputs, Mapping) else {terms[0].name: outputs} if len(terms) == 1 else None
        names = [term.name for term in terms]
        if found is None or found.keys() != set(names):
            raise ShapeError(
                "the backbone does not return the outputs of its signature",
                got=type(outputs).__name__ if found is None else f"a dictionary of {sorted(map(str, found))}",
                expected=f"a dictionary of {names}" if len(names) > 1 else f"an array, or a dictionary of {names}",
                step="return one array for each output term, or correct the signature",
            )
        for term in terms:
            array = found[term.name]
            if not isinstance(array, jax.Array) or not jnp.issubdtype(array.dtype, jnp.inexact):
                what = f"dtype {array.dtype}" if isinstance(array, jax.Array) else type(array).__name__
                raise DTypeError(
                    f"the backbone returns something for {term.name!r} that has no average",
                    got=what,
                    expected="a JAX array of floating-point numbers",
                    step="return logits, not classes; convert integers in the backbone",
                )
            wanted = (*self.batch, *(self.sizes.get(label) for label in term.labels))
            shape = array.shape[: array.ndim - 1] if self.action.channels else array.shape
            if len(shape) != len(wanted) or any(b not in (a, None) for a, b in zip(shape, wanted, strict=True)):
                axes = [
                    label if size is None else f"{label}={size}"
                    for label, size in zip(term.labels, wanted[len(self.batch) :], strict=True)
                ]
                listed = [*map(str, self.batch), *axes, *(["channels"] if self.action.channels else [])]
                raise ShapeError(
                    f"the backbone returns another shape for {term.name!r} than the signature says",
                    got=f"shape {list(array.shape)}",
                    expected=f"[{', '.join(listed)}]",
                    step="correct the signature; channels=False is for arrays without an axis of channels",
                )
        return {name: found[name] for name in names}


def _stateful(error: Exception) -> OptionError:
    what = str(error).split("(")[0].strip()
    random = "Rng" in what
    return OptionError(
        "the backbone changes its own state when it is called",
        got=what,
        expected="a pure function: it is evaluated on several copies of the input, in no order",
        step=(
            'make its dropout without rngs=, write symmetrize(..., key_argument="rngs"), and call with key='
            if random
            else "switch it to evaluation (model.eval()), or use a normalization without running averages"
        ),
    )


def _without_argument(name: str, error: Exception) -> OptionError:
    return OptionError(
        f"the backbone takes no {name}=",
        got=str(error),
        expected="a backbone that is told which entries are there" if name == "mask" else "a backbone with a key",
        step="write backbone(x, *, mask), where mask is a dictionary from label to booleans"
        if name == "mask"
        else f"let it take {name}=, or leave key_argument out",
    )


def _keyless(key_argument: KeyArgument | None) -> OptionError:
    return OptionError(
        "the backbone drops features at random, and has no key",
        got="no key" if key_argument else "no key_argument, so that no key reaches the backbone",
        expected="a key in every call in training",
        step="call with key=jax.random.key(0)"
        if key_argument
        else 'write symmetrize(..., key_argument="rngs"), '
        'or "key" for a backbone that takes the key itself, and call with key=',
    )
