"""The straight-through estimator: train a permutation by the loss at the midpoint between two networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._progress import progress
from equikit.weightspace.alignment._losses import Loss
from equikit.weightspace.alignment._matching import match, similarity
from equikit.weightspace.alignment._search import Matching
from equikit.weightspace.merging._interpolation import interpolate
from equikit.weightspace.specifications._leaves import checked_leaves
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import checked_tensors, labels_of


def straight_through(
    spec: Specification,
    params_a: Any,
    params_b: Any,
    start: Matching,
    loss: Loss,
    batches: Sequence[Any],
    steps: int,
    optimizer: Any,
    generator: np.random.Generator,
) -> Matching:
    """Return the permutation with the lowest midpoint loss among the start and all permutations visited in training.

    Free parameters w start at the first network a. Each step searches for the permutation g that brings the second
    network b closest to w, starting from the previous g, and then updates w by the optimizer with the gradient of
    L((a + g b) / 2), where the derivative of g b with respect to w is replaced by the identity.
    """
    import optax

    optimizer = optax.sgd(0.01, momentum=0.9) if optimizer is None else optimizer
    labels = labels_of(spec.leaves)
    permuted = list(start.element)
    one, two = (checked_tensors(spec.leaves, params, "the parameters") for params in (params_a, params_b))

    def middle(projected: Any) -> Any:
        return interpolate(params_a, projected, 0.5)

    value = jax.jit(lambda projected, batch: loss(middle(projected), batch))

    @jax.jit
    def step(free: Any, state: Any, projected: Any, batch: Any) -> tuple[Any, Any]:
        # The derivative of the mean is 1/2; the straight-through estimate of the derivative of g b is the identity.
        slopes = jax.grad(lambda between: loss(between, batch))(middle(projected))
        updates, state = optimizer.update(jax.tree.map(lambda slope: slope / 2, slopes), state, free)
        return optax.apply_updates(free, updates), state

    def rated(projected: Any) -> float:
        return float(np.mean([float(value(projected, batch)) for batch in batches]))

    best, projected = start, spec.act(start.element, params_b)
    losses, element, passes = [rated(projected)], start.element, start.passes
    free, state = params_a, optimizer.init(params_a)
    with progress("straight-through estimator", steps) as advance:
        for number in range(steps if permuted else 0):
            free, state = step(free, state, projected, batches[number % len(batches)])
            near = _trained(spec, free, number)
            found = match(labels, permuted, near, two, generator, restarts=0, start=element, nested=spec.nested)
            passes += found.passes
            if any(np.any(found.element[label] != element[label]) for label in permuted):
                element, projected = found.element, spec.act(found.element, params_b)
                losses.append(rated(projected))
                if losses[-1] < min(losses[:-1]):
                    best = found
            advance(f"loss {min(losses):.3g}, {losses[0]:.3g} at first")
    reached = similarity(one, checked_tensors(spec.leaves, spec.act(best.element, params_b), "the parameters"))
    return Matching(best.element, reached, passes, start.starts, tuple(losses))


def _trained(spec: Specification, free: Any, number: int) -> dict[str, jax.Array]:
    step = "pass an optimizer with smaller steps: optimizer=optax.sgd(1e-3, momentum=0.9)"
    _checks.finite(f"weights after step {number + 1}", *checked_leaves(spec.leaves, free).values(), step=step)
    return checked_tensors(spec.leaves, free, "the parameters")
