"""Methods that take the element of a finite group with the largest activation."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import ShapeError
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array
from equikit.symmetrization._frame import Frame
from equikit.symmetrization._method import Method, OnDegenerate
from equikit.symmetrization._options import option
from equikit.symmetrization._sample import Sample
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
        self.selection: Selection = _checks.choice("selection", selection, get_args(Selection))
        self.beta = option("beta", beta)
        self.tolerance = option("tolerance", tolerance)
        self.on_degenerate: OnDegenerate = _checks.choice("on_degenerate", on_degenerate, get_args(OnDegenerate))
        self.invariant_to = option("invariant_to", invariant_to)
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

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The element with the largest activation; with a weight for each element that is tied, where this is asked."""
        x, masks = sample.x, sample.masks
        given = self._of_finite(action, x, masks)
        frame: Frame = (
            drawn(self._choice, given, key, 1, wide(given.values, x))
            if self._draws and key is not None
            else chosen(self._choice, given, key, wide(given.values, x))
        )
        return _with_more(frame, given)

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Independent draws: by the activations with `selection="gumbel"`, else among what is tied."""
        x, masks = sample.x, sample.masks
        if not self._draws:
            return super().draw(action, sample, key, samples)
        given = self._of_finite(action, x, masks)
        return _with_more(drawn(self._choice, given, key, samples, wide(given.values, x)), given)

    def _of_finite(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]) -> Activations:
        """The activations, NaN for inputs that are not finite: not every network passes NaN on."""
        given = self.activations(action, x, masks)
        return replace(given, values=_where_finite(x, given.values))

    @property
    def _draws(self) -> bool:
        return self.selection == "gumbel" and not self.deterministic

    @property
    def _choice(self) -> Choice:
        differentiable = self.selection == "straight-through" and not self.deterministic
        return Choice(differentiable, self.beta, self.tolerance, self.on_degenerate)

    def __str__(self) -> str:
        return repr(self)  # short, not the tree of all parameters


@jax.jit
def _where_finite(x: Mapping[str, Array], activations: Array) -> Array:
    """The activations `[*batch, elements]`, NaN where an entry of the inputs `[*batch, ...]` is not finite."""
    batch = activations.ndim - 1
    each = [jnp.all(jnp.isfinite(array), axis=tuple(range(batch, array.ndim))) for array in x.values()]
    return jnp.where(functools.reduce(jnp.logical_and, each)[..., None], activations, jnp.nan)


def _with_more(frame: Frame, given: Activations) -> Frame:
    return replace(frame, info=replace(frame.info, more={"activations": given.values, **given.more}))


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
