"""The canonical form of parameters under scales and signs of neurons."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.weightspace.scaling._slots import Piece, Schedule, Slot, Step, chosen_of, schedule
from equikit.weightspace.specifications._leaves import batch_of, in_channels, named_leaves, one_channel
from equikit.weightspace.specifications._masks import checked_masks, labels_in, present
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, split


class CanonicalForm(NamedTuple):
    """Parameters in canonical form. Made by `canonical_form`.

    Attributes:
        params: the canonical parameters.
        numbers: the numbers of each scaling by its text, `[*batch, n]`, or `[*batch, m, n]` if its label is nested in
            a label of size m. Zero for neurons whose weights are all zero, and absent neurons. A scaling of a label in
            which another label is nested may be left out: the numbers of the inner label contain it. For one network
            without nested labels and zeros, `spec.rescale` with all numbers gives the original parameters.
        margin: the relative margin of the closest decision between two signs, `[*batch]`, from 0 to 1; one without
            signs, and NaN if weights that decide a sign are NaN. Where it is as small as rounding errors, rounding
            decides.
    """

    params: Any
    numbers: dict[str, jax.Array]
    margin: jax.Array


def canonical_form(
    spec: Specification, params: Any, scalings: Sequence[Scaling] | None = None, *, mask: Any = None
) -> CanonicalForm:
    r"""Scale the parameters of networks to a canonical form, equal for all networks that differ by scales and signs.

    Let \(w \mapsto s \cdot w\) be the action of the scalings, where s has a positive number or a sign for each neuron.
    The numbers \(s(w)\) satisfy \(s(t \cdot w) = t\, s(w)\), so that \(s(w)^{-1} \cdot w\) is invariant:

    Positive numbers: the Euclidean norm of what enters the neuron, weights and biases, after the neurons before it are
    canonical. All norms are then one. Weights of a residual connection that enter a neuron, and whose own scale
    depends on this neuron, are left out. A neuron that nothing enters is scaled by what leaves it.
    Signs: the entries along axes that are not permuted, and sums over axes that are, of the weights at the neuron,
    after other neurons are canonical; the sign of the one with the largest absolute value is made positive.

    The result is equivariant under permutations. Positive numbers are differentiable unless all weights at a neuron
    are zero. Signs are piecewise constant: no continuous choice of a sign exists.

    Args:
        spec: the symmetry of the parameters, from `trace`; they may have other widths of permuted labels.
        params: a tree of real arrays `[*batch, *shape]`.
        scalings: some of `spec.scalings`; by default all.
        mask: for a label, booleans `[*batch, n]`: which neurons each network has, as `pad` returns. What absent neurons
            hold is ignored, and they are zero in the result.

    Raises:
        OptionError: if the specification has no scalings, or not these; if scalings depend on each other such that
            none can come first; or if the parameters do not match the specification.
        OptionError: outside of `jit`, if the canonical parameters of a network are too large for their dtype: the last
            layers are multiplied by the numbers of all neurons before them. Under `jit` they are infinite or NaN.
        ShapeError, DTypeError: if the parameters do not match the specification.

    Cost: two to three sums over all parameters.

    Example:
        >>> from equikit.weightspace import trace
        >>> params = {"a": jax.random.normal(jax.random.key(0), (3, 8)), "b": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], params, jnp.ones((5, 3)))
        >>> form = canonical_form(spec, params)
        >>> bool(jnp.allclose(jnp.linalg.norm(form.params["a"], axis=0), 1))
        True
        >>> moved = spec.rescale(spec.scalings[0], np.arange(1.0, 9), params)
        >>> bool(jnp.allclose(canonical_form(spec, moved).params["b"], form.params["b"], rtol=1e-5))
        True

    Source:
        Kalogeropoulos, Bouritsas and Panagakis, Scale equivariant graph metanetworks, arXiv:2406.10685, who make
        features canonical in each layer; the canonical form of all parameters together is ours.
    """
    checked_specification(spec)
    chosen = chosen_of(scalings)
    plan = schedule(spec, chosen)
    tree = in_channels(params, 1)
    spec, arrays = spec.resized(one_channel(tree), labels_in(mask, spec.sizes)), named_leaves(tree)
    masks = checked_masks(mask, spec.sizes, spec.groups, batch_of(spec.leaves, one_channel(arrays)))
    found, numbers, margin = _canonical(spec, chosen, arrays, masks)
    named = {str(scaling): array for scaling, array in zip(plan.scalings, numbers, strict=True)}
    _refuse_overflow(arrays, found, numbers)
    results = [found[leaf.name] for leaf in spec.leaves]
    return CanonicalForm(jax.tree.unflatten(jax.tree.structure(params), results), named, margin)


def _refuse_overflow(
    arrays: Mapping[str, jax.Array], found: Mapping[str, jax.Array], numbers: Sequence[jax.Array]
) -> None:
    """Raise an error if finite arrays have a canonical form that is not finite; tracers are not checked."""
    given, results = (*arrays.values(),), (*found.values(), *numbers)
    if any(isinstance(array, jax.core.Tracer) for array in (*given, *results)):
        return
    if all(bool(jnp.all(jnp.isfinite(array))) for array in given):
        step = "pass the parameters in float64, or leave out networks with very large weights"
        _checks.finite("canonical parameters", *results, step=step)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _canonical(
    spec: Specification,
    chosen: tuple[Scaling, ...] | None,
    arrays: dict[str, jax.Array],
    masks: dict[str, jax.Array],
) -> tuple[dict[str, jax.Array], list[jax.Array], jax.Array]:
    """Return canonical arrays `[*batch, *shape]` by name, all numbers, and the margin."""
    plan = schedule(spec, chosen)
    wide = {name: array.astype(jnp.promote_types(array.dtype, jnp.float32)) for name, array in arrays.items()}
    wide = present(spec.leaves, wide, masks, len(batch_of(spec.leaves, one_channel(wide))))
    run = _Run(plan, spec.groups, split(spec.leaves, wide), masks)
    for step in plan.steps:
        run.compute(step)
    numbers, margin = run.finished()
    found = _scaled(spec, plan, numbers, wide, inverse=True)
    return {name: array[..., 0].astype(arrays[name].dtype) for name, array in found.items()}, numbers, margin


@functools.partial(jax.jit, static_argnums=(0, 1))
def rescaled_by(
    spec: Specification,
    chosen: tuple[Scaling, ...] | None,
    numbers: Sequence[jax.Array],
    arrays: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """Multiply arrays `[*batch, *shape, channels]`, by name, by powers of the numbers of a canonical form."""
    found = _scaled(spec, schedule(spec, chosen), numbers, arrays, inverse=False)
    return {name: array.astype(arrays[name].dtype) for name, array in found.items()}


def _scaled(
    spec: Specification,
    plan: Schedule,
    numbers: Sequence[jax.Array],
    arrays: Mapping[str, jax.Array],
    *,
    inverse: bool,
) -> dict[str, jax.Array]:
    tensors = split(spec.leaves, arrays)
    found = {}
    for piece in plan.pieces:
        array = tensors[piece.tensor.name]
        for slot in piece.slots:
            array = array * factor(piece, slot, numbers[slot.number], inverse=inverse)
        found[piece.tensor.name] = array
    return join(spec.leaves, found)


def factor(piece: Piece, slot: Slot, numbers: jax.Array, *, inverse: bool) -> jax.Array:
    """Return the factor of a tensor `[*batch, *axes, channels]` at one of its slots, broadcastable."""
    power = -slot.power if inverse else slot.power
    value = _powered(numbers, int(power) if power.denominator == 1 else float(power))
    start = numbers.ndim - len(slot.axes)
    order = np.argsort(slot.axes)
    axes = [size if place in slot.axes else 1 for place, size in enumerate(_sizes(piece))]
    return value.transpose([*range(start), *(start + order)]).reshape(*numbers.shape[:start], *axes, 1)


def _powered(numbers: jax.Array, power: float) -> jax.Array:
    """Return a power of numbers; zero stays zero."""
    return jnp.where(numbers != 0, jnp.where(numbers != 0, numbers, 1) ** power, 0)


def _sizes(piece: Piece) -> tuple[int, ...]:
    return tuple(axis.size for axis in piece.tensor.axes)


class _Run:
    """The numbers that are known, while the steps of a schedule are computed."""

    def __init__(
        self,
        plan: Schedule,
        permuted: Mapping[str, Any],
        tensors: Mapping[str, jax.Array],
        masks: Mapping[str, jax.Array],
    ) -> None:
        self.plan, self.permuted, self.tensors, self.masks = plan, permuted, tensors, masks
        self.numbers: dict[int, jax.Array] = {}
        self.margins: dict[int, jax.Array] = {}

    def compute(self, step: Step) -> None:
        """Compute numbers that are not known, which are zero so far."""
        if self.plan.scalings[step.number].kind == "positive":
            self._add(step.number, self._scales(step))
        else:
            signs, margins = self._signs(step)
            if step.number in self.numbers:  # a tie, whose sign is zero, may be decided by another step
                old = self.numbers[step.number]
                margins = jnp.where(old != 0, self.margins[step.number], margins)
            self.margins[step.number] = margins
            self._add(step.number, signs)

    def _add(self, number: int, found: jax.Array) -> None:
        old = self.numbers.get(number)
        self.numbers[number] = found if old is None else jnp.where(old != 0, old, found)

    def finished(self) -> tuple[list[jax.Array], jax.Array]:
        """Return all numbers, and the smallest margin; the sign of a tie is positive."""
        first, some = next(iter(self.numbers.items()))
        batch = some.shape[: some.ndim - len(self._axes(first))]
        margin = jnp.ones(batch, some.dtype)
        for number, margins in self.margins.items():
            signs = self.numbers[number]
            self.numbers[number] = jnp.where((signs == 0) & (margins == 0), 1, signs)
            margin = jnp.minimum(margin, jnp.min(margins, axis=tuple(range(len(batch), margins.ndim)), initial=1))
        return [self.numbers[number] for number in range(len(self.plan.scalings))], margin

    def _axes(self, number: int) -> tuple[int, ...]:
        return next(slot.axes for piece in self.plan.pieces for slot in piece.slots if slot.number == number)

    def _rest(self, place: int, slot: Slot, kinds: Sequence[str]) -> jax.Array:
        """Return a tensor without the factors of all other slots of these kinds."""
        piece = self.plan.pieces[place]
        array = self.tensors[piece.tensor.name]
        for other in piece.slots:
            kind = self.plan.scalings[other.number].kind
            if other is not slot and kind in kinds:
                array = array * factor(piece, other, self.numbers[other.number], inverse=True)
        return array

    def _held(self, slot: Slot, array: jax.Array, start: int) -> jax.Array:
        """Move the axes of a slot, which are in the order of the tensor, to the order of its numbers."""
        order = np.argsort(np.argsort(slot.axes))
        after = range(start + len(order), array.ndim)
        return array.transpose([*range(start), *(start + order), *after])

    def _scales(self, step: Step) -> jax.Array:
        """Return the norm of what enters each neuron, or the inverse norm of what leaves it; zero if that is zero."""
        parts = []
        for place, slot in step.uses:
            array = self._rest(place, slot, ("positive",))
            axes = _sizes(self.plan.pieces[place])
            start = array.ndim - 1 - len(axes)
            others = tuple(start + axis for axis in range(len(axes) + 1) if axis not in slot.axes)
            norms = self._held(slot, norm(array, others), start)
            parts.append(norms if abs(slot.power) == 1 else _powered(norms, float(1 / abs(slot.power))))
        total = parts[0] if len(parts) == 1 else norm(jnp.stack(parts, axis=-1), (-1,))
        return _powered(total, -1) if step.inverse else total

    def _signs(self, step: Step) -> tuple[jax.Array, jax.Array]:
        """Return the sign of the largest odd statistic of each neuron, and its margin over the opposite sign.

        The sign is zero for a tie, and for neurons whose weights are zero, which have margin one.
        """
        odd, bounds = list[jax.Array](), list[jax.Array]()
        rest = [jax.lax.stop_gradient(self._rest(place, slot, ("positive", "sign"))) for place, slot in step.uses]
        # Signs and margins do not depend on the size of what is at a neuron, whose squares could overflow.
        size = functools.reduce(jnp.maximum, [self._largest(x, *use) for x, use in zip(rest, step.uses, strict=True)])
        size = jnp.where(size == 0, 1, size)
        for whole, (place, slot) in zip(rest, step.uses, strict=True):
            piece = self.plan.pieces[place]
            array = whole / factor(piece, replace(slot, power=Fraction(1)), size, inverse=False)
            labels = piece.tensor.labels
            start = array.ndim - 1 - len(labels)
            free = [axis for axis, label in enumerate(labels) if label in self.permuted and axis not in slot.axes]
            summed = tuple(start + axis for axis in free)
            squares = jnp.sum(array * jnp.abs(array), summed, keepdims=True)
            sums = jnp.sum(array, summed, keepdims=True) / self._count(piece, free, array.ndim) ** 0.5
            # Two statistics: centered weights, for example, have sums of zero.
            for one in (sums, jnp.sign(squares) * jnp.abs(squares) ** 0.5):
                odd.append(self._flat(slot, one, start))
            bounds.append(self._flat(slot, jnp.sum(array**2, summed, keepdims=True) ** 0.5, start))
        values, most = jnp.concatenate(odd, -1), jnp.max(jnp.concatenate(bounds, -1), -1, initial=0)
        gap = jnp.max(values, -1, initial=0) - jnp.max(-values, -1, initial=0)
        return jnp.sign(gap), jnp.where(most == 0, 1, jnp.abs(gap) / jnp.where(most == 0, 1, most))  # NaN stays NaN

    def _largest(self, array: jax.Array, place: int, slot: Slot) -> jax.Array:
        """Return the largest absolute value at each neuron."""
        start = array.ndim - 1 - len(_sizes(self.plan.pieces[place]))
        others = tuple(axis for axis in range(start, array.ndim) if axis - start not in slot.axes)
        return self._held(slot, jnp.max(jnp.abs(array), others, initial=0), start)

    def _count(self, piece: Piece, axes: Sequence[int], ndim: int) -> Any:
        """Return the number of entries along some axes, one at least: of those that are present in each network."""
        whole: Any = 1
        for axis in axes:
            label, size = piece.tensor.labels[axis], piece.tensor.axes[axis].size
            whole = whole * (jnp.sum(self.masks[label], -1) if label in self.masks else size)
        if isinstance(whole, int):
            return max(whole, 1)
        return jnp.maximum(whole, 1).reshape(*whole.shape, *[1] * (ndim - whole.ndim))

    def _flat(self, slot: Slot, array: jax.Array, start: int) -> jax.Array:
        """Move the axes of a slot in front of all others, which are flattened."""
        others = [start + axis for axis in range(array.ndim - start) if axis not in slot.axes]
        front = array.transpose([*range(start), *(start + axis for axis in slot.axes), *others])
        first = start + len(slot.axes)
        return front.reshape(*front.shape[:first], math.prod(front.shape[first:]))


def norm(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Return the Euclidean norm along axes, without overflow, and with gradient zero where it is zero."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(array), axes, keepdims=True, initial=0))
    safe = jnp.where(largest == 0, 1, largest)
    total = jnp.sum((array / safe) ** 2, axes)
    size = jnp.squeeze(safe, axes) * jnp.sqrt(jnp.where(total == 0, 1, total))
    return jnp.where(total == 0, 0, size)  # NaN stays NaN
