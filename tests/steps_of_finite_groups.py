"""Next steps of subgroup lattices, finite groups and LieGAN that are code, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import numpy as np

import equikit as ek
from equikit.groups import subgroup

CALL: dict[str, tuple[Any, str, Any]] = {
    "subgroups-of-a-free-group": (
        lambda: ek.discover.subgroups(ek.S()),
        "S(4)",
        lambda code: ek.discover.subgroups(eval(code, {"S": ek.S})),
    ),
    "positions-that-are-none": (
        lambda: subgroup(ek.S(3), [0.5]),
        "group.elements()",
        {"group": ek.S(3)},
    ),
    "a-function-without-samples": (
        lambda **options: ek.discover.permutations(lambda x: x.sum(1), **options),
        "data=x",
        lambda code: ek.discover.permutations(
            lambda x: x.sum(1), **eval(f"dict({code})", {"x": np.random.default_rng(0).normal(size=(100, 3))})
        ),
    ),
    "a-function-of-one-sample": (
        lambda: ek.discover.permutations(np.sum, np.random.default_rng(0).normal(size=(100, 3))),
        "jax.vmap(f)",
        {"jax": jax, "f": np.sum},
    ),
    "samples-of-one-axis": (
        lambda: ek.discover.permutations(np.ones(4000)),
        "np.random.default_rng(0).normal(size=(1000, 5))",
        {"np": np},
    ),
}
