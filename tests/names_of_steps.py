"""Names that next steps use, and small models that calls of `CALL` in `test_steps_as_code.py` fail on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import equikit as ek
from equikit import spherical, weightspace
from equikit.symmetrization import canonicalization, invariants, piecewise

RNGS, KEY = nnx.Rngs(0), jax.random.key(0)
PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
INPUT = jnp.ones((5, 3))
POINTS = jax.random.normal(KEY, (5, 3, 1))


def apply(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def loss(params, *_):
    return jnp.mean(apply(params, INPUT) ** 2)


def energy(x):
    return -x[:, 0, 0]


SPEC = weightspace.trace(apply, PARAMS, INPUT)
GRAPH = weightspace.ParameterGraph(SPEC)
NAMES = {
    **vars(ek),
    **vars(spherical),
    **vars(weightspace),
    **vars(canonicalization),
    **{"ek": ek, "jax": jax, "jnp": jnp, "np": np, "nnx": nnx, "optax": optax, "rngs": RNGS, "key": KEY},
    **{"apply": apply, "loss": loss, "batch": INPUT, "spec": SPEC, "params": PARAMS, "x": INPUT, "graph": GRAPH},
    **{"a": PARAMS, "b": PARAMS, "trees": [PARAMS, PARAMS], "params_a": PARAMS, "params_b": PARAMS, "network": jnp.sin},
    **{"encoder": energy, "piecewise": piecewise, "invariants": invariants},
}
