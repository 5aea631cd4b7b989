"""`python programs_on_devices.py`: print as JSON the costs of programs with a mesh on eight CPU devices, or errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.plans import compiled_cost

P, AUTO, EXPLICIT = jax.P, jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit
WEIGHTS, ROWS = np.ones((3, 4), np.float32), np.ones((8, 3), np.float32)
ABSTRACT = jax.sharding.AbstractMesh((8,), ("batch",), axis_types=(AUTO,))


def summed_over(**where):
    """A function with `jax.shard_map`, which sums a product over devices."""
    specs = {"in_specs": (P(), P("batch")), "out_specs": P()}
    return jax.shard_map(lambda w, x: jax.lax.psum((x @ w).sum(0), "batch"), **specs, **where)


def mesh_of(kind):
    return jax.make_mesh((8,), ("batch",), axis_types=(kind,))


def on_mesh(kind, array, *spec):
    return jax.device_put(array, jax.NamedSharding(mesh_of(kind), P(*spec)))


def found(*arguments, **options):
    """The numbers of a program, or the text of its error in one line."""
    try:
        cost = compiled_cost(*arguments, target="cpu", **options)
    except ek.OptionError as error:
        return " | ".join(line.strip() for line in str(error).splitlines())
    return [cost.io_bytes, [each.kind for each in cost.collectives]]


def in_chunks(chunk_size):
    layer = ek.nn.Linear("p -> p", 2, 2, p=ek.S, chunk_size=chunk_size, rngs=nnx.Rngs(0))
    return found(layer, jax.ShapeDtypeStruct((32, 4, 2), jnp.float32), devices=8)


def in_a_loop(unroll):
    def summed(x):
        return jax.lax.scan(lambda total, row: (total + row.sum(), None), 0.0, x, unroll=unroll)[0]

    return found(summed, jax.ShapeDtypeStruct((4, 8), jnp.float32), devices=8, axis=1)


def inside(modules):
    x = jax.ShapeDtypeStruct((128, 64), jnp.float32)
    return found(lambda modules, x: modules["layers"][0](x), modules, x, devices=8)


def everything():
    spread = {"devices": 8, "axis": (None, 0)}
    weights, rows = on_mesh(EXPLICIT, WEIGHTS), on_mesh(EXPLICIT, ROWS, "batch")
    values = {
        "automatic mesh": found(summed_over(mesh=mesh_of(AUTO)), on_mesh(AUTO, WEIGHTS), ROWS),
        "explicit mesh": found(summed_over(mesh=mesh_of(EXPLICIT)), weights, rows),
        "explicit mesh, 8": found(summed_over(mesh=mesh_of(EXPLICIT)), weights, rows, **spread),
        "no mesh": found(summed_over(), WEIGHTS, ROWS, **spread),
        "abstract mesh": found(summed_over(mesh=ABSTRACT), weights, rows, **spread),
        "closed over": found(lambda x: x @ weights, ROWS),
        "inputs on a mesh": found(lambda x, w: x @ w, rows, weights),
        "chunks": in_chunks(2),
        "no chunks": in_chunks(None),
        "loop": in_a_loop(1),
        "unrolled": in_a_loop(True),
        "modules inside": inside({"layers": [nnx.Linear(64, 3, rngs=nnx.Rngs(0))]}),
    }
    with jax.set_mesh(mesh_of(AUTO)):
        values["a mesh that is set"] = found(jnp.negative, ROWS)
    return values


if __name__ == "__main__":
    print(json.dumps(everything()))
