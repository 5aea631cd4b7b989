"""What NumPy computes from a jaxpr is what XLA computes."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_close
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, weight_shapes


def test_a_gradient_with_masks_is_that_of_the_compiled_program():
    program = ek.hom("p z -> p", p=ek.S, z=ek.Z(3)).plan((2, 3), bias=True, normalize="mean")
    rng = np.random.default_rng(0)
    w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weight_shapes(program).items()}
    x, mask = rng.normal(size=(2, 4, 3, 2)).astype(np.float32), rng.random((2, 4)) < 0.6

    def loss(x, w):
        return jnp.sum(jnp.sin(apply(program, x, w, mask={"p": mask})))

    slope = jax.value_and_grad(loss, (0, 1))
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-5), in_numpy(slope, x, w), jax.jit(slope)(x, w))
