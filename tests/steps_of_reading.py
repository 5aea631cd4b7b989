"""Next steps of `to_numpy` and `to_torch` that are code, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.plans import to_numpy, to_torch, weight_shapes

PLAN = ek.hom("p -> p", p=ek.S).plan()
WEIGHTS = {"p -> p": np.ones((2, 1, 1), np.complex64)}
REAL = to_numpy(PLAN, {"p -> p": np.ones((2, 1, 1))})
HALF = ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
SHAPES = {"weight_shapes": weight_shapes, "plan": PLAN}

CALL: dict[str, tuple[Any, str, Any]] = {
    "half-precision-in-numpy": (lambda **options: to_numpy(HALF, **options), 'dtype="float32"', None),
    "complex-weights-in-numpy": (
        lambda **options: to_numpy(PLAN, WEIGHTS, **{"dtype": "float32"} | options),
        'dtype="complex64"',
        None,
    ),
    "an-unknown-dtype-in-numpy": (
        lambda **options: to_numpy(PLAN, **{"dtype": "int8"} | options),
        'dtype="float32"',
        None,
    ),
    "an-array-of-jax-in-numpy": (
        lambda: to_numpy(PLAN, WEIGHTS)(jnp.ones((4, 1))),
        "np.asarray(x)",
        {"np": np, "x": jnp.ones((4, 1))},
    ),
    **{
        f"an-array-of-{name}-in-numpy": (
            lambda dtype=dtype: REAL(np.ones((4, 1), dtype)),
            f"x.astype(np.{native})",
            lambda code, dtype=dtype: REAL(eval(code, {"np": np, "x": np.ones((4, 1), dtype)})),
        )
        for name, dtype, native in (
            ("swapped-bytes", ">f4", "float32"),
            ("extended-precision", np.longdouble, "float64"),
            ("integers", int, "float64"),
        )
    },
    "a-plan-without-weights-in-numpy": (lambda: to_numpy(PLAN)(np.ones((4, 1))), "weight_shapes(plan)", SHAPES),
    "a-plan-without-weights-in-torch": (lambda: to_torch(PLAN), "weight_shapes(plan)", SHAPES),
    "weights-of-another-plan-in-numpy": (lambda: to_numpy(PLAN, {}), "weight_shapes(plan)", SHAPES),
}
