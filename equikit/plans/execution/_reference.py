"""A simple, slow reference implementation of a plan, against which every fast path is tested.

It shares no code with the plan: each diagram is applied as its dense tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit._array_checks import Shapes
from equikit.diagrams import Diagram, Diagrams, diagram_tensor
from equikit.plans._ir import MultilinearPlan, Plan
from equikit.plans.execution._layout import Weights
from equikit.signatures import Signature, Term, base

Sums = Iterable[Sequence[tuple[Diagram, Any]]]
"""Maps as diagrams with coefficients."""


def _scale(diagram: Diagram, plan: Plan | MultilinearPlan, shapes: Shapes, masks: Mapping[str, jax.Array]) -> jax.Array:
    """Return one over the number of terms of each mean, `[*batch]`."""
    scale = jnp.ones(shapes.batch)
    legs = {block for _, _, blocks in diagram.heads for block in blocks}
    whole = {label for label, _, _ in diagram.elements}
    for number, block in enumerate(diagram.blocks if plan.normalize == "mean" else ()):
        label = base(diagram.labels[block[0]])
        if block[0] >= len(diagram.top) and number not in legs and label not in whole:
            count = jnp.sum(masks[label], -1) if label in masks else jnp.full(shapes.batch, shapes.sizes[label])
            scale = scale / jnp.maximum(count, 1)
    return scale


def _masked(x: jax.Array, labels: tuple[str, ...], masks: Mapping[str, jax.Array], batch: int) -> jax.Array:
    for axis, label in enumerate(labels):
        if label in masks:
            mask = jnp.expand_dims(masks[label], [i for i in range(batch, x.ndim) if i != batch + axis])
            x = jnp.where(mask, x, 0)
    return x


def _maps(
    plan: Plan | MultilinearPlan, target: int, weights: Weights | jax.Array
) -> Iterator[tuple[tuple[int, ...], Sums, jax.Array]]:
    """Yield the inputs of the maps to an output term, the maps, and a weight for each."""
    if isinstance(plan, MultilinearPlan):
        basis = plan.space.basis
        assert isinstance(weights, jax.Array)
        yield tuple(range(len(plan.signature.inputs))), [basis[i].terms for i in plan.elements], weights
        return
    signature, groups = plan.signature, plan.signature.groups
    assert not isinstance(weights, jax.Array)
    for (t, s), kernel in weights.items():
        if s == target:
            terms = (signature.outputs[s], *(() if t is None else (signature.inputs[t],)))
            top, *bottom = (tuple(label for label in term.labels if label in groups) for term in terms)
            diagrams = Diagrams(top, bottom[0] if bottom else (), signature.between(*terms))
            yield () if t is None else (t,), ([(diagram, 1)] for diagram in diagrams), kernel


def _order(signature: Signature, term: Term) -> list[int]:
    """Return the axes of a term on which groups act, then the plain axes."""
    return [*signature.acted(term), *signature.plain(term)]


def _folded(
    plan: Plan | MultilinearPlan, t: int, x: jax.Array, masks: Mapping[str, jax.Array], batch: int
) -> jax.Array:
    """Return an input as `[*batch, *acted axes, features]`, with zeros for masked entries."""
    signature, term = plan.signature, plan.signature.inputs[t]
    order = [*range(batch), *(batch + i for i in _order(signature, term)), x.ndim - 1]
    x = _masked(x, term.labels, masks, batch).transpose(order)
    return x.reshape(*x.shape[: batch + len(signature.acted(term))], plan.features[0][t])


def _equation(
    counts: Sequence[int], batch: int, channelwise: bool
) -> tuple[list[list[int]], list[int], list[int], list[int]]:
    """Return the letters of the inputs, of the tensor of a diagram, of a weight and of the result.

    Args:
        counts: the vertices of the output and of each input.
        batch: the number of batch axes.
        channelwise: whether all features have one letter.
    """
    starts = [*itertools.accumulate(counts, initial=batch)]
    own = starts[-1]
    features = [own] * len(counts) if channelwise else [*range(own, own + len(counts))]
    inputs = [
        [*range(batch), *range(*vertices), feature]
        for vertices, feature in zip(itertools.pairwise(starts[1:]), features, strict=False)
    ]
    result = [*(range(batch) if inputs else ()), *range(batch, starts[1]), features[-1]]
    return inputs, [*range(batch, own)], features[:1] if channelwise else features, result


def run_reference(
    plan: Plan | MultilinearPlan,
    inputs: Sequence[jax.Array],
    weights: Weights | jax.Array,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
) -> list[jax.Array]:
    """Apply every map of a plan by its dense tensor, one after another; arguments as in `run`."""
    signature, batch, sizes = plan.signature, len(shapes.batch), shapes.sizes
    channelwise = isinstance(plan, MultilinearPlan) and plan.mode == "channelwise"
    dtype = jnp.result_type(*inputs, *([weights] if isinstance(weights, jax.Array) else weights.values()))
    wide = jnp.promote_types(dtype, jnp.float32)
    arrays = [_folded(plan, t, x, masks, batch).astype(wide) for t, x in enumerate(inputs)]
    results = []
    for s, target in enumerate(signature.outputs):
        order = _order(signature, target)
        axes = [sizes[target.labels[i]] for i in signature.acted(target)]
        total = jnp.zeros((*shapes.batch, *axes, plan.features[1][s]), wide)
        for sources, sums, kernel in _maps(plan, s, weights):
            counts = [len(axes), *(len(signature.acted(signature.inputs[t])) for t in sources)]
            own, vertices, features, result = _equation(counts, batch, channelwise)
            operands: list[Any] = [x for t, letters in zip(sources, own, strict=True) for x in (arrays[t], letters)]
            for terms, weight in zip(sums, kernel, strict=True):
                for diagram, factor in terms:
                    tensor = jnp.asarray(factor * diagram_tensor(diagram, sizes), total.dtype)
                    y = jnp.einsum(*operands, tensor, vertices, weight.astype(total.dtype), features, result)
                    scale = _scale(diagram, plan, shapes, masks).astype(total.dtype)
                    total = total + scale.reshape(*shapes.batch, *(1,) * (total.ndim - batch)) * y
        plain = [sizes[target.labels[i]] for i in signature.plain(target)]
        total = total.reshape(*shapes.batch, *axes, *plain, plan.channels[1][s])
        back = sorted(range(len(order)), key=order.__getitem__)
        total = total.transpose(*range(batch), *(batch + i for i in back), total.ndim - 1)
        results.append(_masked(total.astype(dtype), target.labels, masks, batch))
    return results
