"""Methods that take the element of a finite group with the largest activation."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError, ShapeError
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array
from equikit.symmetrization._frame import Frame, Method, OnDegenerate, checked_choice, checked_on_degenerate
from equikit.symmetrization.canonicalization._choice import Activations, Choice, chosen, drawn, wide

Selection = Literal["straight-through", "argmax", "gumbel"]
"""How the element is taken: the largest activation, with or without derivatives, or one drawn at random."""


class Selecting(Method, nnx.Module):
    """A method that chooses among the elements of a finite group; what its subclasses do is make activations.

    Attributes:
        deterministic: take the largest activation, without derivatives and noise; set by `nnx.Module.eval`.
    """

    def __init__(
        self,
        *,
        selection: Selection,
        beta: float,
        tolerance: float | None,
        on_degenerate: OnDegenerate,
        invariant_to: str | tuple[str, ...],
    ) -> None:
        checked_choice("selection", selection, get_args(Selection))
        checked_on_degenerate(on_degenerate)
        self.selection: Selection = selection
        self.beta = positive("beta", beta)
        self.tolerance = None if tolerance is None else positive("tolerance", tolerance)
        self.on_degenerate: OnDegenerate = on_degenerate
        self.invariant_to = names(invariant_to)
        self.deterministic = False

    @property
    def needs_key(self) -> bool:
        """Whether elements are drawn at random."""
        return self.on_degenerate == "sample" or (self.selection == "gumbel" and not self.deterministic)

    def reads(self, action: Action) -> frozenset[str]:
        """All labels that it does not act on, but those that its network is invariant to."""
        return frozenset(action.groups) - self.acts_on(action) - frozenset(self.invariant_to)

    @abstractmethod
    def activations(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]) -> Activations:
        """An activation for every element of the group, for inputs `[*batch, *axes, channels]`."""

    def frame(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array | None) -> Frame:
        """The element with the largest activation; with a weight for each element that is tied, where this is asked."""
        given = self.activations(action, x, masks)
        frame: Frame = (
            drawn(self._choice, given, key, 1, wide(given.values, x))
            if self._draws and key is not None
            else chosen(self._choice, given, key, wide(given.values, x))
        )
        return _with_more(frame, given)

    def draw(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array, samples: int
    ) -> Frame:
        """Independent draws: by the activations with `selection="gumbel"`, else among what is tied."""
        if not self._draws:
            return super().draw(action, x, masks, key, samples)
        given = self.activations(action, x, masks)
        return _with_more(drawn(self._choice, given, key, samples, wide(given.values, x)), given)

    @property
    def _draws(self) -> bool:
        return self.selection == "gumbel" and not self.deterministic

    @property
    def _choice(self) -> Choice:
        differentiable = self.selection == "straight-through" and not self.deterministic
        return Choice(differentiable, self.beta, self.tolerance, self.on_degenerate)

    def __str__(self) -> str:
        return repr(self)  # short, not the tree of all parameters


def _with_more(frame: Frame, given: Activations) -> Frame:
    return replace(frame, info=replace(frame.info, more={"activations": given.values, **given.more}))


def names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Labels as a tuple; one may be given by itself."""
    return (given,) if isinstance(given, str) else tuple(given)


def positive(argument: str, value: object) -> float:
    """Return a positive number, or raise `OptionError`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value > 0 or not math.isfinite(value):  # type: ignore[operator,arg-type]
        raise OptionError(
            f"{argument} is not a positive number",
            got=repr(value),
            expected=f"{argument} > 0",
            step=f"leave {argument} out, or write {argument}=1.0",
        )
    return float(value)  # type: ignore[arg-type]


def checked_result(what: str, array: Any, shape: tuple[int, ...], step: str) -> Array:
    """Return what a network gave, or raise `ShapeError` where these are no floating-point numbers of a shape."""
    if not isinstance(array, jax.Array) or not jnp.issubdtype(array.dtype, jnp.floating) or array.shape != shape:
        is_array = isinstance(array, jax.Array)
        raise ShapeError(
            f"{what} has not the shape that it should",
            got=f"{array.dtype} of shape {list(array.shape)}" if is_array else type(array).__name__,
            expected=f"floating-point numbers of shape {list(shape)}",
            step=step,
        )
    return array
