"""Methods, which compute a frame for every input."""

from __future__ import annotations

import functools
import types
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups import Group, S
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._frame import Frame, as_draws, drawn
from equikit.symmetrization.engine._options import check_options
from equikit.symmetrization.engine._sample import Sample

OnDegenerate = Literal["error", "flag", "sample", "weighted"]
"""What to do with an input without a unique frame, because of a symmetry of the input itself."""


class _Untraced:
    """A method that `nnx.tabulate` must not replace: it replaces module functions, and rejects other dataclasses."""

    def __init__(self, function: types.FunctionType) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # it is called by binding it
        self.function = function

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self.function, instance)


class Method(ABC):
    """How to compute the frame of an input: the argument `how` of `symmetrize`."""

    asked: Any = None
    """The required group of a label, if one was requested."""

    policies: ClassVar[tuple[Any, ...]] = get_args(OnDegenerate)
    """The values that `on_degenerate` may have, if it is an option."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in ("acts_on", "reads", "frame", "draw"):
            if issubclass(cls, nnx.Module) and isinstance(function := getattr(cls, name), types.FunctionType):
                setattr(cls, name, _Untraced(function))

    @property
    def needs_key(self) -> bool:
        """Whether frames are always random, so that a key is required."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether frames are random if there is a key."""
        return self.needs_key

    @abstractmethod
    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels on which the elements act.

        Raises:
            GroupError, OptionError: if the method does not support the groups of the signature.
        """

    def reads(self, action: Action) -> frozenset[str]:
        """The labels whose group elements change the frame; methods for them must come first."""
        return frozenset(action.groups) - self.acts_on(action)

    @abstractmethod
    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the frame of the inputs `[*batch, *axes, channels]`; with a key it may be random."""

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Return a frame of elements sampled independently with their weights as probabilities."""
        for_frame, for_draws = jax.random.split(key)
        if not self.is_random:
            return drawn(self.frame(action, sample, for_frame), for_draws, samples)
        # Sample each element from its own frame: samples from one frame would share its randomness.
        several = jax.tree.map(lambda array: jnp.broadcast_to(array, (samples, *array.shape)), sample)
        return as_draws(drawn(self.frame(action, several, for_frame), for_draws, 1))


class Framed(Method):
    """A method without parameters, defined by the frame of one sample. Subclasses are frozen dataclasses."""

    def __post_init__(self) -> None:
        check_options(self, self.policies)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the frames of all samples, by one compiled program."""
        found: Frame = _frames(self, action, sample, key)
        return found

    @abstractmethod
    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the frame of one sample, with an axis of elements in front of elements and weights."""


def checked_method(name: str, value: Any) -> Method:
    """Return a method, or raise `OptionError`; the next step calls a given class that needs no arguments."""
    make = "ek.frames.PCA()"
    frame = isinstance(value, type) and issubclass(value, Framed)
    if frame and all(field.default is not MISSING for field in fields(value)):
        make = f"{'ek.frames.' if value.__module__.startswith('equikit.') else ''}{value.__name__}()"
    return _checks.instance(name, value, Method, make)  # type: ignore[type-abstract]  # none is made


@functools.partial(jax.jit, static_argnums=(0, 1))
def _frames(method: Framed, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
    first = action.inputs[0]
    batch = action.batch(first, sample.x[first.name])
    keys = None if key is None else jax.random.split(key, batch)

    def one(sample: Sample, key: jax.Array | None) -> Frame:
        return method.of_sample(action, sample, key)

    for _ in batch:
        one = jax.vmap(one)
    frame = one(sample, keys)
    front = functools.partial(jnp.moveaxis, source=len(batch), destination=0)
    parts = {name: getattr(frame, name) for name in ("elements", "weights", "tail", "turns")}
    return replace(frame, **jax.tree.map(front, parts))


def only_label(
    method: object,
    action: Action,
    label: str | None,
    kinds: tuple[type[Group], ...],
    fits: Callable[[Group], bool] | None = None,
) -> str:
    """Return the label of a method: the given one, or the only one with a group of these kinds.

    Args:
        method: the method, for messages.
        action: how groups act on the signature.
        label: the label that was given, if any.
        kinds: the families that are named in messages.
        fits: whether a group suits the method, if other families do too.

    Raises:
        GroupError: if no label or more than one fits, or the given label has another group.
    """
    groups = action.groups
    asked = getattr(method, "asked", None)
    fitting = [
        name
        for name, group in groups.items()
        if (fits(group) if fits else isinstance(group, kinds))
        and not name.endswith("*")
        and asked in (None, group, type(group))
    ]
    name = type(method).__name__
    wanted = " or ".join(kind.__name__ for kind in kinds) if asked is None else _named(asked)
    bind = kinds[0].__name__ if asked is None else _named(asked)
    found = ", ".join(f"{label}={what}" for label, what in action.signature.bindings) or "no labels"
    if label is None and len(fitting) == 1:
        return fitting[0]
    if label is not None and label in fitting:
        return label
    if label is None:
        problem = f"{name} finds no axis to act on" if not fitting else f"{name} does not know which axis to act on"
        step = f'name it: {name}("{fitting[0]}")' if fitting else f"bind a label to {bind}, or use another method"
    else:
        problem = f"{name} cannot act on {label!r}"
        step = f'write {name}("{fitting[0]}")' if fitting else f"bind {label} to {bind}, or use another method"
    raise GroupError(problem, got=found, expected=f"a label bound to {wanted}", step=step)


def refuse_unsuited(method: object, action: Action, label: str, suits: bool, expected: str, step: str) -> None:
    """Raise `GroupError` unless the group of a label suits a method."""
    if not suits:
        raise GroupError(
            f"{type(method).__name__} does not work with {action.groups[label]}",
            got=f"{label}={action.groups[label]}",
            expected=expected,
            step=step,
        )


def permuted_label(method: object, action: Action, label: str | None) -> str:
    """Return the label whose entries a method sorts: the given one, or the only one bound to S.

    Raises:
        GroupError: if the label has another group.
    """
    found = only_label(method, action, label, (S,), lambda group: group.elements_are == "permutations")
    step, suits = "use ek.frames.GroupAverage for small groups", isinstance(action.groups[found], S)
    refuse_unsuited(method, action, found, suits, "S", step)
    return found


def _named(group: object) -> str:
    return group.__name__ if isinstance(group, type) else str(group)
