"""Kernels around a function of small tensors, with gradients of any order in reverse mode.

A stage is `y = expand(x, matrices, small)`, where `small` is a function of `reduce(x)` and of other arrays. Its
gradient with respect to x is again a stage, with the two kernels exchanged: the gradient of y is reduced, the gradient
of the small function maps the result, and one kernel expands it and multiplies by the transposed matrices. So is the
gradient of that, and the second gradient needs no more code than the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.plans.fused._expand import Expansion, Source, expansion_bytes, run_expansion
from equikit.plans.fused._gram import Gram, gram_bytes, run_gram
from equikit.plans.fused._orbits import inverse
from equikit.plans.fused._pallas import Mode
from equikit.plans.fused._reduce import Reduction, reduction_bytes, run_reduction
from equikit.plans.fused._tensors import PlainAxis, RootStep, Tensor, Wiring
from equikit.plans.fused._tiles import Marks

Small = Callable[[Any, Any], tuple[Any, Any]]
"""A function of the reduced tensors of all inputs and of other arrays: to the tensors that are expanded, and others."""


@dataclass(frozen=True, slots=True)
class Root:
    """A tensor that kernels read or write, and the steps between it and smaller tensors."""

    tensor: Tensor
    steps: tuple[RootStep, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The product of an input and a matrix for each permutation, which is added to an output."""

    source: int
    target: int
    wirings: tuple[Wiring, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """The kernels of one call.

    Attributes:
        inputs, outputs: the tensors.
        pairs: the products.
        batch: the number of samples.
    """

    inputs: tuple[Root, ...]
    outputs: tuple[Root, ...]
    pairs: tuple[Pair, ...]
    batch: int

    @property
    def T(self) -> Stage:  # as Plan.T
        """The stage of gradients with respect to the inputs."""
        pairs = tuple(Pair(p.target, p.source, tuple(map(inverse, p.wirings))) for p in self.pairs)
        return replace(self, inputs=self.outputs, outputs=self.inputs, pairs=pairs)

    def reduction(self, t: int, itemsize: int) -> Reduction:
        """The reductions of an input."""
        steps = tuple(step for step in self.inputs[t].steps if step.operation != "whole")
        return Reduction(self.inputs[t].tensor, steps, self.batch, itemsize)

    def expansion(self, s: int) -> Expansion:
        """The expansions of an output."""
        sources = tuple(Source(self.inputs[p.source].tensor, p.wirings) for p in self.pairs if p.target == s)
        return Expansion(self.outputs[s].tensor, sources, self.outputs[s].steps, self.batch)

    def gram(self, pair: Pair) -> Gram:
        """The gradient of the matrices of a product."""
        source = Source(self.inputs[pair.source].tensor, pair.wirings)
        return Gram(source, self.outputs[pair.target].tensor, self.batch)

    def bytes(self, itemsize: int) -> int:
        """Count the bytes that the kernels move."""
        reduced = sum(reduction_bytes(self.reduction(t, itemsize)) for t in range(len(self.inputs)))
        return reduced + sum(expansion_bytes(self.expansion(s), itemsize) for s in range(len(self.outputs)))

    def gradient_bytes(self, itemsize: int) -> int:
        """Count the bytes that the kernels of the backward pass move."""
        return self.T.bytes(itemsize) + sum(gram_bytes(self.gram(pair), itemsize) for pair in self.pairs)


def _order(tensor: Tensor) -> tuple[list[int], list[int]]:
    """Return the axes of the array that are axes of the tensor, in their order there, and the plain axes."""
    acted = sorted((place, i) for i, place in enumerate(tensor.places, start=1) if not isinstance(place, PlainAxis))
    plain = [i for i, place in enumerate(tensor.places, start=1) if isinstance(place, PlainAxis)]
    return [i for _, i in acted], plain


def _present(tensor: Tensor, x: jax.Array, marks: Marks) -> jax.Array:
    """Set entries to zero that are absent."""
    for axis, label in enumerate(tensor.labels, start=1):
        if label in marks:
            shape = [1] * x.ndim
            shape[0], shape[axis] = marks[label].shape
            x = jnp.where(marks[label].reshape(shape) != 0, x, jnp.zeros((), x.dtype))
    return x


def _folded(tensor: Tensor, x: jax.Array, marks: Marks) -> jax.Array:
    """Return an array with its axes in the order of the tensor, and zero where entries are absent."""
    acted, plain = _order(tensor)
    x = x.transpose(0, *acted, *plain).reshape(x.shape[0], *tensor.sizes, tensor.features)
    return _present(tensor, x, marks)


def _unfolded(tensor: Tensor, y: jax.Array, marks: Marks) -> jax.Array:
    """The inverse of `_folded`."""
    y = _present(tensor, y, marks)
    acted, plain = _order(tensor)
    y = y.reshape(y.shape[0], *tensor.sizes, *(tensor.shape[i - 1] for i in plain))
    return y.transpose(0, *(int(i) for i in 1 + np.argsort([*acted, *plain])))


def _reduced(stage: Stage, arrays: Sequence[jax.Array], marks: Marks, mode: Mode) -> list[list[jax.Array]]:
    """Return for each input the result of each step."""
    found = []
    for t, (root, x) in enumerate(zip(stage.inputs, arrays, strict=True)):
        smaller = iter(run_reduction(stage.reduction(t, x.dtype.itemsize), x, marks, mode))
        found.append(
            [_folded(root.tensor, x, marks) if step.operation == "whole" else next(smaller) for step in root.steps]
        )
    return found


def _expanded(
    stage: Stage,
    arrays: Sequence[jax.Array],
    matrices: Sequence[jax.Array],
    smaller: Sequence[Sequence[jax.Array]],
    marks: Marks,
    mode: Mode,
) -> list[jax.Array]:
    dtype = arrays[0].dtype
    found = []
    for s, small in enumerate(smaller):
        root = stage.outputs[s]
        pairs = [(p, matrix) for p, matrix in zip(stage.pairs, matrices, strict=True) if p.target == s]
        if not pairs and all(step.operation == "whole" for step in root.steps):
            shape = (stage.batch, *root.tensor.sizes, root.tensor.features)
            y = sum(small[1:], small[0]) if small else jnp.zeros(shape, dtype)
            found.append(_unfolded(root.tensor, y.astype(dtype), marks))
            continue
        inputs, mixing = [arrays[p.source] for p, _ in pairs], [matrix for _, matrix in pairs]
        found.append(run_expansion(stage.expansion(s), inputs, mixing, small, marks, dtype, mode))
    return found


def _none(marks: Marks) -> Any:
    """The gradient of integers."""
    return {label: np.zeros(mark.shape, jax.dtypes.float0) for label, mark in marks.items()}


def run_stage(
    stage: Stage,
    small: Small,
    arrays: Sequence[jax.Array],
    matrices: Sequence[jax.Array],
    others: Any,
    marks: Marks,
    mode: Mode,
) -> tuple[list[jax.Array], Any]:
    """Run a stage.

    Args:
        stage: the kernels.
        small: computes the tensors that are expanded from the reduced ones; it uses no other array than its arguments.
        arrays: the inputs, `[batch, *axes, channels]`, of one dtype; an array without axes has its features last.
        matrices: for each pair `[wirings, features in, features out]`, of the dtype of the inputs.
        others: arrays that the small function takes.
        marks: for each label with a mask integers `[batch, n]`.
        mode: whether kernels are compiled or interpreted.

    Returns:
        The outputs, of the dtype of the inputs, and what else the small function returns.
    """

    @jax.custom_vjp
    def staged(arrays: Any, matrices: Any, others: Any, marks: Any) -> tuple[list[jax.Array], Any]:
        smaller, more = small(_reduced(stage, arrays, marks, mode), others)
        return _expanded(stage, arrays, matrices, smaller, marks, mode), more

    def forward(arrays: Any, matrices: Any, others: Any, marks: Any) -> Any:
        # This is differentiated again for second derivatives, so it is a stage, which returns the reduced tensors too.
        def keeping(reduced: Any, others: Any) -> tuple[Any, Any]:
            smaller, more = small(reduced, others)
            return smaller, (more, reduced)

        results, (more, reduced) = run_stage(stage, keeping, arrays, matrices, others, marks, mode)
        return (results, more), (arrays, matrices, others, marks, reduced)

    def backward(kept: Any, moved: Any) -> Any:
        arrays, matrices, others, marks, reduced = kept
        moved_results, moved_more = moved

        def turned(moved_smaller: Any, others: Any) -> tuple[Any, Any]:
            values, pull = jax.vjp(small, *others[:2])
            like = jax.tree.map(lambda value, dot: dot.astype(value.dtype), values, (moved_smaller, others[2]))
            found: tuple[Any, Any] = pull(like)
            return found

        transposed = [matrix.swapaxes(1, 2) for matrix in matrices]
        moved_arrays, moved_others = run_stage(
            stage.T, turned, moved_results, transposed, (reduced, others, moved_more), marks, mode
        )
        moved_matrices = [
            _gram(stage.gram(pair), arrays[pair.source], moved_results[pair.target], marks, mode).astype(matrix.dtype)
            for pair, matrix in zip(stage.pairs, matrices, strict=True)
        ]
        return moved_arrays, moved_matrices, moved_others, _none(marks)

    staged.defvjp(forward, backward)
    found: tuple[list[jax.Array], Any] = staged(list(arrays), list(matrices), others, dict(marks))
    return found


def _gram(spec: Gram, x: jax.Array, y: jax.Array, marks: Marks, mode: Mode) -> jax.Array:
    """Return the gradient of matrices; its own gradients are products, which are stages."""

    @jax.custom_vjp
    def gram(x: Any, y: Any, marks: Any) -> jax.Array:
        return run_gram(spec, x, y, marks, mode)

    def forward(x: Any, y: Any, marks: Any) -> Any:
        return _gram(spec, x, y, marks, mode), (x, y, marks)

    def backward(kept: Any, moved: Any) -> Any:
        x, y, marks = kept
        pair = Pair(0, 0, spec.source.wirings)
        stage = Stage((Root(spec.source.tensor, ()),), (Root(spec.output, ()),), (pair,), spec.batch)

        def nothing(reduced: Any, others: Any) -> tuple[Any, Any]:
            return [[]], ()

        matrix = moved.astype(x.dtype)
        (moved_y,), _ = run_stage(stage, nothing, [x], [matrix], (), marks, mode)
        (moved_x,), _ = run_stage(stage.T, nothing, [y], [matrix.swapaxes(1, 2)], (), marks, mode)
        return moved_x, moved_y, _none(marks)

    gram.defvjp(forward, backward)
    found: jax.Array = gram(x, y, marks)
    return found
