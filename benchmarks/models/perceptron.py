"""The multilayer perceptron of the tasks on a few vectors, and its optimizer."""

from __future__ import annotations

import optax
from flax import nnx

from benchmarks.models.networks import Perceptron

HIDDEN = (256, 256, 256)


def perceptron(inputs: int, outputs: int, seed: int) -> Perceptron:
    """Return a multilayer perceptron, which expects inputs and targets in standardized units.

    Its matrices are initialized as in objax, which EMLP's paper uses: the first matrix is smaller than in Flax, so that
    the function is smoother.
    """
    init = nnx.initializers.xavier_normal()
    return Perceptron([inputs, *HIDDEN, outputs], nnx.Rngs(seed), init=init)


def optimizer(steps: int, rate: float) -> optax.GradientTransformation:
    """Return Adam on gradients of norm at most one; the rate rises for a twentieth of the steps, then falls to zero."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 20), steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
