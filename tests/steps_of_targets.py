"""Next steps of compiling for other devices that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.plans import compiled_cost, compiled_table
from equikit.plans.targets import collectives

X = np.ones((2, 3), np.float32)
LOOP = "%body (p: f32[4]) -> f32[4] {\n  %a = f32[4]{0} all-reduce(%p), replica_groups={}, to_apply=%s\n}\n\n"


def compiled(function: Any = jnp.negative, x: Any = X, *more: Any, target: str = "cpu", **options: Any) -> Any:
    return compiled_cost(function, x, *more, target=target, **options)


def read(unroll: bool = False) -> Any:
    return collectives(LOOP + ("" if unroll else "ENTRY %m () -> () {\n  %w = () while(), body=%body\n}\n"), 8)


class Summed(nnx.Module):
    def __call__(self, x: Any, name: str = "mean") -> Any:
        return getattr(jnp, name)(x)


def option_of_jax(text: str) -> None:
    """Evaluate a call of `jax.config.update`, which JAX accepts only before its first computation."""
    given: list[Any] = []
    eval(text, {"jax": SimpleNamespace(config=SimpleNamespace(update=lambda *words: given.extend(words)))})
    assert hasattr(jax.config, given[0])


def in_chunks(chunk_size: Any = 2) -> Any:
    """With eight devices the script `plans/targets/programs_on_devices.py` makes the same call."""
    layer = ek.nn.Linear("p -> p", 2, 2, p=ek.S, chunk_size=chunk_size, rngs=nnx.Rngs(0))
    cost = compiled(layer, np.ones((4, 4, 2), np.float32))
    return read(unroll=not cost.loops)


def with_a_mesh() -> Any:
    where = {"mesh": jax.make_mesh((1,), ("batch",)), "in_specs": jax.P("batch"), "out_specs": jax.P("batch")}
    return compiled(jax.shard_map(jnp.negative, **where), X)


def table(text: str) -> None:
    eval(text, {"compiled_table": compiled_table, "cost": compiled()})


MESH = 'jax.sharding.AbstractMesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))'
CALL: dict[str, tuple[Any, str, Any]] = {
    "a-target-that-is-no-text": (lambda **o: compiled(**{"target": 3} | o), 'target="h100"', lambda text: None),
    "more-devices-than-the-process-has": (
        lambda: compiled(x=np.ones((64, 3), np.float32), devices=64),
        'jax.config.update("jax_num_cpu_devices", 64)',
        option_of_jax,
    ),
    "an-axis-for-each-of-too-many": (lambda axis=(0, 0): compiled(axis=axis), "axis=0", None),
    "an-input-that-is-no-array": (
        lambda: compiled(Summed(), X, "sum"),
        "lambda layer, x: layer(x, name=value)",
        lambda text: compiled(eval(text, {"value": "sum"}), Summed(), X),
    ),
    "a-symbolic-size-to-compile": (
        lambda: compiled(x=jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 3"), jnp.float32)),
        "jax.ShapeDtypeStruct(shape, dtype)",
        {"shape": (2, 3), "dtype": jnp.float32},
    ),
    "a-gradient-of-integers": (
        lambda gradient=True: compiled(x=np.arange(3), gradient=gradient),
        "gradient=False",
        None,
    ),
    "double-precision-to-compile": (
        lambda: compiled(x=jax.ShapeDtypeStruct((2, 3), jnp.float64)),
        'jax.config.update("jax_enable_x64", True)',
        option_of_jax,
    ),
    "collectives-in-a-loop": (read, "unroll=True", None),
    "chunks-of-a-batch-that-is-spread": (in_chunks, "chunk_size=None", None),
    "a-function-with-a-mesh": (with_a_mesh, MESH, {"jax": jax}),
    "a-table-of-one-cost": (lambda: compiled_table(compiled()), "compiled_table([cost])", table),
}
