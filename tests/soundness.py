"""Whether every generator of a symmetry leaves what a model computes as it is, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from equikit.weightspace import Specification


def generators(spec: Specification, params: Any) -> Iterator[tuple[str, Any]]:
    """For every generator its name, and the parameters moved by a random element of it."""
    generator = np.random.default_rng(0)
    for label, permutation in spec.random_element(key=jax.random.key(1)).items():
        yield label, spec.act({label: permutation}, params)
    for scaling in spec.scalings:
        drawn = generator.normal(size=spec.sizes[scaling.label])
        numbers = np.exp(drawn) if scaling.kind == "positive" else np.sign(drawn)
        yield str(scaling), spec.rescale(scaling, numbers, params)
    for action in spec.linear_actions:
        shape = action.shape(spec.sizes)
        yield str(action), spec.transform(action, np.eye(shape[-1]) + 0.3 * generator.normal(size=shape), params)


def assert_sound(model, params, spec: Specification, *inputs) -> None:
    run = jax.jit(model)  # without it, a loop would be compiled again at every call
    wanted = [np.asarray(run(params, x)) for x in inputs]
    for name, moved in generators(spec, params):
        for x, before in zip(inputs, wanted, strict=True):
            np.testing.assert_allclose(run(moved, x), before, rtol=1e-9, atol=1e-9, err_msg=name)
