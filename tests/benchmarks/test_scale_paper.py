"""The paper on scale-equivariant metanetworks moves networks without a change of what they compute."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.models.zoo import perceptron, siren
from benchmarks.papers.scale_metanetworks_2406_10685 import _tasks as tasks
from equikit.weightspace import trace


@pytest.mark.slow
def test_moved_networks_compute_the_same_and_parameters_are_flattened_and_back() -> None:
    for model in (siren((1, 5, 4, 1)), perceptron((3, 5, 4, 2))):
        zoo = jax.vmap(lambda key, model=model: model.init(key, 1.0))(jax.random.split(jax.random.key(0), 3))
        spec = trace(model.apply, jax.tree.map(lambda a: a[0], zoo), model.example)
        run = jax.jit(lambda params, spec=spec: tasks.moved(spec, params, jax.random.key(1)))
        other = run(zoo)
        assert all(not np.allclose(other[name], zoo[name]) for name in ("w0", "w1", "w2"))
        x = jax.random.normal(jax.random.key(2), model.example.shape)
        apply = jax.jit(jax.vmap(model.apply, (0, None)))
        np.testing.assert_allclose(apply(other, x), apply(zoo, x), rtol=1e-4, atol=1e-5)
        units = {name: np.float32(2 + place) for place, name in enumerate(zoo)}
        flat = tasks.flat(zoo, units)
        assert flat.shape == (3, sum(leaf[0].size for leaf in zoo.values()))
        back = tasks.tree(flat, zoo, units)
        assert all(np.allclose(back[name], jnp.asarray(zoo[name]), rtol=1e-6) for name in zoo)
