"""Methods that take the element of a finite group with the largest activation."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypedDict, Unpack, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element, is_permutation, permutation_matrix
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import Method, OnDegenerate
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.finite._choice import (
    alike,
    copies,
    decided,
    finite_inputs,
    same_results,
    tie_tolerance,
    ties,
    wide,
)

Selection = Literal["straight-through", "argmax", "gumbel"]
"""How the element is chosen: the largest activation, with or without derivatives, or a random sample."""


class TieOptions(TypedDict, total=False):
    """Options of all methods that choose among candidates."""

    tolerance: float | None
    on_degenerate: OnDegenerate
    invariant_to: str | tuple[str, ...]


class SelectionOptions(TieOptions, total=False):
    """Options of methods that choose among all elements; `ImageCanonicalization` explains them."""

    selection: Selection
    beta: float


class Choosing(Method, nnx.Module):
    """A method that chooses among candidates; several may be tied."""

    def __init__(
        self,
        *,
        tolerance: float | None = None,
        on_degenerate: OnDegenerate = "error",
        invariant_to: str | tuple[str, ...] = (),
    ) -> None:
        self.tolerance = option("tolerance", tolerance)
        self.on_degenerate: OnDegenerate = _checks.choice("on_degenerate", on_degenerate, self.policies)
        self.invariant_to = option("invariant_to", invariant_to)

    @property
    def needs_key(self) -> bool:
        """Whether elements are sampled at random."""
        return self.on_degenerate == "sample"

    def reads(self, action: Action) -> frozenset[str]:
        """All labels on which the method does not act, except those in `invariant_to`."""
        return frozenset(action.groups) - self.acts_on(action) - frozenset(self.invariant_to)

    def __str__(self) -> str:
        return repr(self)  # short, not the tree of all parameters


class Selecting(Choosing):
    """A method that chooses among the elements of a finite group; subclasses compute the activations.

    Attributes:
        deterministic: whether the largest activation is taken, without derivatives and noise; set by `nnx.Module.eval`.
    """

    def __init__(
        self, *, selection: Selection = "straight-through", beta: float = 1.0, **options: Unpack[TieOptions]
    ) -> None:
        super().__init__(**options)
        self.selection: Selection = _checks.choice("selection", selection, get_args(Selection))
        self.beta = option("beta", beta)
        self.deterministic = False

    @property
    def needs_key(self) -> bool:
        """Whether elements are sampled at random."""
        return super().needs_key or self._draws

    @property
    def _draws(self) -> bool:
        return self.selection == "gumbel" and not self.deterministic

    @abstractmethod
    def _activations(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]
    ) -> tuple[Array, Element, dict[str, Array]]:
        """Return the activations of all elements, and extras, for inputs `[*batch, *axes, channels]`.

        Returns:
            Activations `[*batch, elements]`, the elements `[elements, ...]`, and other quantities for `info`.
        """

    def _read(self, readout: Callable[..., Frame], action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        values, elements, more = self._activations(action, sample.x, sample.masks)
        values = _of_finite(values, sample)
        frame = readout(values, elements, sample, key)
        return replace(frame, info=replace(frame.info, more={"activations": values, **more}))

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the element with the largest activation; its fallback has all tied ones, if requested."""
        if self._draws and key is not None:
            return self.draw(action, sample, key, 1)
        beta = self.beta if self.selection == "straight-through" and not self.deterministic else None
        readout = functools.partial(_chosen, action, beta, self.tolerance, self.on_degenerate)
        return self._read(readout, action, sample, key)

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Sample independently: by the activations with `selection="gumbel"`, otherwise among tied elements."""
        if not self._draws:
            return super().draw(action, sample, key, samples)
        return self._read(functools.partial(_drawn, self.beta, samples), action, sample, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _chosen(
    action: Action,
    beta: float | None,
    tolerance: float | None,
    on_degenerate: OnDegenerate,
    values: Array,
    elements: Element,
    sample: Sample,
    key: jax.Array | None,
) -> Frame:
    """Return the frame of the element with the largest activation, with derivatives if there is a beta."""
    found = ties(jnp.moveaxis(values, -1, 0), tolerance)
    near = jax.nn.one_hot(found.best, values.shape[-1], axis=0, dtype=bool)
    slope = None if beta is None else _slope(beta * values, wide(values, sample.x))

    def same_inputs() -> Array:
        moved, seen = copies(action, everywhere(elements, found.best.shape), sample.x, sample.masks)
        seen = {f"mask of {label}": mask for label, mask in seen.items()}
        return alike(moved | seen, found.best, tie_tolerance(None, values.dtype))

    same = same_results(action, elements, sample, found, near, same_inputs)
    best, sure = _picked(elements, found.best[None], slope), jnp.all(jnp.isfinite(values), axis=-1)
    frame = decided(on_degenerate, found, near, same, best, lambda at: _picked(elements, at, slope), sure, key)
    gap: Any = frame.info.gap
    return replace(frame, info=replace(frame.info, gap=jnp.where(sure, gap, jnp.nan)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _drawn(beta: float, samples: int, values: Array, elements: Element, sample: Sample, key: jax.Array) -> Frame:
    """Sample elements with probabilities softmax(beta activations), by Gumbel noise, differentiably."""
    dtype, degenerate = wide(values, sample.x), ~jnp.all(jnp.isfinite(values), axis=-1)
    noisy = beta * values.astype(dtype) + jax.random.gumbel(key, (samples, *values.shape), dtype)
    elements = _picked(elements, jnp.argmax(noisy, axis=-1), _slope(noisy, dtype))
    gap = jnp.where(degenerate, jnp.nan, jnp.inf)
    info = Info(jnp.full(degenerate.shape, samples, jnp.float32), degenerate, degenerate, gap)
    weights = jnp.full((samples, *degenerate.shape), 1 / samples, dtype)
    return Frame(elements, settled(weights, info), info, drawn=True)


@jax.jit
def _of_finite(values: Array, sample: Sample) -> Array:
    """Return the activations, NaN for non-finite inputs, because some networks do not propagate NaN."""
    return jnp.where(finite_inputs(sample, values.ndim - 1)[..., None], values, jnp.nan)


def _slope(logits: Array, dtype: Any) -> Array:
    """Return the softmax minus itself: exactly zero, but with its derivatives."""
    soft = jax.nn.softmax(logits.astype(dtype), axis=-1)
    return soft - jax.lax.stop_gradient(soft)


def _picked(elements: Element, picks: Array, slope: Array | None) -> Element:
    r"""Return the elements `[*picks, ...]` at given positions of a list, with derivatives if they have a slope.

    Args:
        elements: all elements, `[elements, ...]`.
        picks: positions, integers `[..., *batch]`.
        slope: zeros `[*batch, elements]` with the derivatives of soft weights \(s_g\): the selected matrices get the
            derivatives of \(\sum_g s_g g\). Permutations become matrices.
    """

    def one(array: Array, permutes: bool) -> Array:
        if slope is None:
            return array[picks]
        if permutes:
            array = permutation_matrix(array, slope.dtype)
        array = array.astype(jnp.promote_types(array.dtype, slope.dtype))
        rates = jnp.einsum("...g,gij->...ij", slope.astype(array.dtype), array, precision=jax.lax.Precision.HIGHEST)
        return array[picks] + rates

    linear = {label: one(by, is_permutation(by)) for label, by in elements.linear.items()}
    return Element(linear, grid={labels: one(turn, False) for labels, turn in elements.grid.items()})


def everywhere(elements: Element, batch: tuple[int, ...]) -> Element:
    """Return the same elements for every input of a batch, `[elements, *batch, ...]`."""
    places = range(1, 1 + len(batch))
    found: Element = jax.tree.map(
        lambda a: jnp.broadcast_to(jnp.expand_dims(a, places), (len(a), *batch, *a.shape[1:])), elements
    )
    return found
