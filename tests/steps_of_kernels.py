"""Next steps of fused kernels that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import jax.numpy as jnp

import equikit as ek
from equikit.plans import apply, kernels, weight_shapes

PLAN = ek.hom("p -> p", p=ek.S).plan()
WIDE = ek.hom("p p -> p p", p=ek.S).plan((256, 256))
X, W = jnp.ones((2, 3, 1)), {"p -> p": jnp.ones((2, 1, 1))}


def call(method: Any = "fused", x: Any = X) -> Any:
    return apply(PLAN, x, W, method=method)


def in_mode(mode: Any, method: Any = "fused") -> Any:
    with kernels(mode):
        return call(method)


def on_a_mesh(method: Any = "fused") -> Any:
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2,), ("d",))), kernels("interpret"):
        return jax.eval_shape(lambda x: apply(PLAN, x, W, method=method), X)


def large(method: Any = "fused", chunk_size: Any = None) -> Any:
    x = jax.ShapeDtypeStruct((2**20, 2**11, 1), X.dtype)
    with kernels("interpret"):
        return jax.eval_shape(lambda x: apply(PLAN, x, W, method=method, chunk_size=chunk_size), x)


def wide(method: Any = "fused") -> Any:
    weights = {name: jax.ShapeDtypeStruct(shape, X.dtype) for name, shape in weight_shapes(WIDE).items()}
    x = jax.ShapeDtypeStruct((2, 2, 256), X.dtype)
    with kernels("interpret"):
        return jax.eval_shape(lambda x, w: apply(WIDE, x, w, method=method), x, weights)


def forward(method: Any = "fused") -> Any:
    with kernels("interpret"):
        return jax.jvp(lambda x: call(method, x), (X,), (X,))


def mapped(check_vma: Any = True) -> Any:
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    where = {"mesh": mesh, "in_specs": jax.P("d"), "out_specs": jax.P("d"), "check_vma": check_vma}
    with kernels("interpret"):
        return jax.shard_map(lambda x: call(x=x), **where)(X)


FACTORED = 'method="factored"'
CALL: dict[str, tuple[Any, str, Any]] = {
    "kernels-on-a-cpu": (call, FACTORED, None),
    "kernels-on-a-cpu-interpreted": (call, 'ek.plans.kernels("interpret")', {}),
    "kernels-compiled-for-a-cpu": (lambda **o: in_mode("compile", **o), FACTORED, None),
    "kernels-on-a-mesh": (on_a_mesh, FACTORED, None),
    "kernels-of-large-arrays": (large, "chunk_size=1", None),
    "kernels-of-many-channels": (wide, FACTORED, None),
    "kernels-in-forward-mode": (forward, FACTORED, None),
    "kernels-with-a-check-of-shard-map": (mapped, "check_vma=False", None),
}
