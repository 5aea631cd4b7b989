"""Fused kernels on four virtual devices, each with a part of the batch; `test_fused_devices.py` runs this program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import equikit as ek
from equikit._errors import OptionError
from equikit.plans import apply, kernels

PLAN = ek.hom("p -> p", p=ek.S).plan((2, 3), normalize="mean", bias=True)


def main() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 5, 2)), jnp.float32)
    shapes = ek.plans.weight_shapes(PLAN)
    w = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))

    def loss(function, x, w):
        return jnp.sum(jnp.sin(function(x, w)))

    def fused(x, w):
        return apply(PLAN, x, w, method="fused")

    spread = jax.shard_map(fused, mesh=mesh, in_specs=(jax.P("d"), jax.P()), out_specs=jax.P("d"), check_vma=False)
    x = jax.device_put(x, jax.NamedSharding(mesh, jax.P("d")))
    gradient = jax.jit(jax.value_and_grad(lambda x, w: loss(spread, x, w), (0, 1)))
    with kernels("interpret"):
        found = gradient(x, w)
        text = gradient.lower(x, w).compile().as_text()
        with pytest.raises(OptionError, match="run on one device"):
            fused(x, w)
    expected = jax.jit(jax.value_and_grad(lambda x, w: loss(lambda x, w: apply(PLAN, x, w), x, w), (0, 1)))(x, w)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert "all-reduce" in text
    assert "all-gather" not in text


if __name__ == "__main__":
    main()
