"""Next steps of functionals on weights that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import weightspace


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["a"]) @ params["b"]


PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
SPEC = weightspace.trace(apply, PARAMS, jnp.ones((5, 3)))
OTHER = weightspace.trace(lambda p, x: x @ p["a"], {"a": jnp.ones((3, 4))}, jnp.ones((5, 3)))
X = jnp.ones((4, 1, 3))
GRAPH = weightspace.ParameterGraph(SPEC)
PROBES = weightspace.Probes(GRAPH, apply, X)
NAMES = {"ParameterGraph": weightspace.ParameterGraph, "Probes": weightspace.Probes}
ZOO, MASKS = weightspace.pad(SPEC, [PARAMS])
STATISTICS = weightspace.Standardize(SPEC, ZOO, mask=MASKS)
NAMES |= {"Standardize": weightspace.Standardize, "params": ZOO, "masks": MASKS}
NAMES |= {"apply": apply, "spec": SPEC, "x": X}


def made(spec: weightspace.Specification = SPEC, **options: Any) -> weightspace.Functional:
    return weightspace.Functional(spec, [1, 2], **options, rngs=nnx.Rngs(0))


CALL: dict[str, tuple[Any, str, Any]] = {
    "mean-of-linear-heads": (
        lambda head=(), members=2: made(out="", head=head, members=members),
        "head=[16, 10], members=2",
        None,
    ),
    "probes-that-are-none": (
        lambda: made(out="", probes=3),
        "Probes(ParameterGraph(spec), apply, x)",
        NAMES,
    ),
    "probes-of-other-parameters": (
        lambda: made(OTHER, out="", probes=PROBES),
        "Probes(ParameterGraph(spec), apply, x)",
        NAMES,
    ),
    "statistics-of-other-parameters": (
        lambda: made(OTHER, statistics=STATISTICS),
        "statistics=Standardize(spec, params, mask=masks)",
        lambda code: made(**eval(f"dict({code})", NAMES)),
    ),
    "padded-axis-without-mask": (
        lambda **options: weightspace.pad(SPEC, [PARAMS], sizes={"in": 9}, **options),
        "also=['in']",
        None,
    ),
    "padded-axes-that-are-no-labels": (
        lambda also=None: weightspace.pad(SPEC, [PARAMS], also=also),
        'also=["in"]',
        None,
    ),
    "parameters-of-no-features": (
        lambda features=None: GRAPH.parameters(features, PARAMS),
        "graph.features(params)",
        {"graph": GRAPH, "params": PARAMS},
    ),
    "padded-without-channels": (
        lambda params=PARAMS: weightspace.pad(SPEC, [params], channels=2),
        "jax.tree.map(lambda *a: jnp.stack(a, -1), weights, gradients)",
        lambda code: weightspace.pad(
            SPEC, [eval(code, {"jax": jax, "jnp": jnp, "weights": PARAMS, "gradients": PARAMS})], channels=2
        ),
    ),
    "mean-of-linear-node-heads": (
        lambda members=2: weightspace.MessagePassing(GRAPH, [1, 2, 1], "h0", members=members, rngs=nnx.Rngs(0)),
        "members=1",
        None,
    ),
}
