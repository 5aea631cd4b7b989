"""Calls of the backbone, which may be any callable, with checks of its results and side effects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import flax.errors
import jax
from flax import nnx

from equikit import _checks
from equikit._array_checks import name_last_axis
from equikit._errors import OptionError
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine.backbones._foreign import impure, refuse_new_state, state_of, stateful

KeyArgument = Literal["key", "rngs"]
"""The keyword by which a backbone takes a random key: as a key, or as `nnx.Rngs`."""


@dataclass(frozen=True)
class Call:
    """One call of the backbone: everything that is the same for all elements of a frame.

    Attributes:
        backbone: the function or module.
        action: its signature.
        as_mapping: whether it takes a dictionary of inputs.
        batch, sizes: the batch axes, and the size of every label.
        arguments, keywords: passed on as they are, the same for all samples.
        told: keywords whose arrays have the batch axes.
        key_argument: the keyword by which it takes a random key.
        batched: whether it takes all samples at once, or one.
    """

    backbone: Callable[..., Any]
    action: Action
    as_mapping: bool
    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    told: Mapping[str, Array]
    key_argument: KeyArgument | None
    batched: bool

    def __call__(self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> dict[str, Array]:
        """Evaluate the backbone on inputs `[*batch, *axes, channels]`, inside a JAX transformation.

        Raises:
            OptionError: if the backbone changes its own state, needs a key, or takes one sample and not a batch.
            ShapeError, DTypeError: if its outputs do not match the signature.
        """
        if not self.batched:
            return self._sample_by_sample(x, masks, key)
        try:
            return self._evaluated(x, masks, dict(self.told), key, self.batch)
        except OptionError:
            raise
        except Exception as error:
            step = self._mapped(x, masks, key)
            if step is None:
                raise
            raise _with_fewer_axes(error, x, step, self.action.channels) from error

    def _sample_by_sample(
        self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None
    ) -> dict[str, Array]:
        """Return the outputs of a backbone for one sample, mapped over the batch axes."""

        def one(
            x: dict[str, Array], masks: dict[str, Array], told: dict[str, Array], key: jax.Array | None
        ) -> dict[str, Array]:
            return self._evaluated(x, masks, told, key, ())

        for _ in self.batch:
            one = jax.vmap(one)
        return one(x, masks, dict(self.told), None if key is None else jax.random.split(key, self.batch))

    def _mapped(self, x: dict[str, Array], masks: dict[str, Array], key: jax.Array | None) -> str | None:
        """Explain how to map a failing backbone so that it fits the signature; `None` if `vmap` does not help."""
        if self.batch and _runs(self._sample_by_sample, x, masks, key):
            return "write symmetrize(..., batched=False)"
        found, text = self.backbone, "backbone"
        for _ in range(min(array.ndim for array in x.values())):
            found, text = jax.vmap(found), f"jax.vmap({text})"
            mapped = functools.partial(replace(self, backbone=found)._evaluated, batch=self.batch)
            if _runs(mapped, x, masks, dict(self.told), key):
                return f"pass {text}"
        return None

    def _evaluated(
        self,
        x: dict[str, Array],
        masks: dict[str, Array],
        told: dict[str, Array],
        key: jax.Array | None,
        batch: tuple[int, ...],
    ) -> dict[str, Array]:
        """Return the outputs of the backbone, after a check of the batch axes."""
        keywords = {**self.keywords, **told}
        if masks:
            keywords["mask"] = masks
        if self.key_argument is not None and key is not None:
            keywords[self.key_argument] = nnx.Rngs(key) if self.key_argument == "rngs" else key
        inputs: Any = x if self.as_mapping else next(iter(x.values()))
        before = state_of(self.backbone)
        try:
            outputs = self.backbone(inputs, *self.arguments, **keywords)
        except Exception as error:
            refusal = self._refusal(error, keywords)
            if refusal is None:
                raise
            raise refusal from error
        refuse_new_state(self.backbone, before)
        return self._checked(outputs, batch)

    def _refusal(self, error: Exception, keywords: Mapping[str, Any]) -> OptionError | None:
        """Explain an error of the backbone, if it comes from how `symmetrize` calls it; else `None`."""
        if isinstance(error, flax.errors.TraceContextError | flax.errors.ModifyScopeVariableError):
            return stateful(error)
        words = str(error)
        if ("ropout" in words and any(word in words for word in ("rng", "key", "PRNG"))) or "non-None PRNGKey" in words:
            return _keyless(self.key_argument)
        for name in keywords.keys() - self.keywords.keys():
            if isinstance(error, TypeError) and f"unexpected keyword argument {name!r}" in words:
                return _without_argument(name, error)
        if not _checks.takes(self.backbone, 1 + len(self.arguments), *keywords):
            return _with_other_arguments(error, len(self.arguments), keywords)
        return impure(error)

    def _checked(self, outputs: Any, batch: tuple[int, ...]) -> dict[str, Array]:
        terms = self.action.signature.outputs
        single = len(terms) == 1 and not isinstance(outputs, Mapping)
        step = "return one array for each output term, or correct the signature"
        given = {terms[0].name: outputs} if single else outputs
        found = _checks.same_names("the outputs of the backbone", given, [term.name for term in terms], step=step)
        for term in terms:
            what, array = f"the output {term.name!r} of the backbone", found[term.name]
            step = "return logits, not classes; convert integers in the backbone"
            _checks.array(what, array, kind="real or complex", step=step)
            axes = (*batch, *(self.sizes.get(label, label) for label in term.labels))
            step = "correct the signature; channels=False is for arrays without an axis of channels"
            more = array.shape[len(axes) :]
            if not self.action.channels and len(more) == 1 and array.shape[: len(axes)] == axes:
                step = name_last_axis(term, self.sizes, more[0])
            is_number = not axes and array.ndim == 0  # an energy of one sample may come without channels
            channels = ["channels"] * (self.action.channels and not is_number)
            _checks.shaped(what, array, (*axes, *channels), step=step)
        return {term.name: found[term.name] for term in terms}


def _runs(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function of arrays raises no error."""
    try:
        jax.eval_shape(function, *arguments)
    except Exception:
        return False
    return True


def _with_fewer_axes(error: Exception, x: Mapping[str, Array], step: str, channels: bool) -> OptionError:
    what = _checks.shown(error.args[0] if error.args else error)
    axes = "[*batch, *axes, channels]" if channels else "[*batch, *axes]"
    return OptionError(
        "the backbone takes arrays with fewer axes",
        got=f"an input of shape {list(next(iter(x.values())).shape)}: {what}",
        expected=f"a backbone for arrays {axes}, or for one sample with batched=False",
        step=step,
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


def _with_other_arguments(error: Exception, count: int, keywords: Mapping[str, Any]) -> OptionError:
    listed = ", ".join(["x", *["..."] * count, *(f"{name}=" for name in keywords)])
    return OptionError(
        f"the backbone cannot be called with ({listed})",
        got=str(error),
        expected="the input, and the further arguments of the call",
        step="let the backbone take x first, or pass its other arguments after x in the call",
    )


def _keyless(key_argument: KeyArgument | None) -> OptionError:
    return OptionError(
        "the backbone has dropout, but no key",
        got="no key" if key_argument else "no key_argument, so that no key reaches the backbone",
        expected="a key in every call in training",
        step="call with key=jax.random.key(0)"
        if key_argument
        else 'write symmetrize(..., key_argument="rngs"), '
        'or "key" for a backbone that takes the key itself, and call with key=',
    )
