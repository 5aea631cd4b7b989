"""Next steps of partial merges that are code, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit.weightspace import align, partial_merge, trace

X = np.ones((4, 3), np.float32)


def stacked(params: Any, x: Any) -> Any:
    hidden = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x @ params["in"], params["hidden"])[0]
    return hidden @ params["out"]


SHAPES = {"in": (3, 4), "hidden": (1, 4, 4), "out": (4, 2)}
ONE, TWO = (
    {name: np.random.default_rng(seed).normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    for seed in (0, 1)
)
TWICE = {**ONE, "hidden": np.concatenate([ONE["hidden"], TWO["hidden"]])}


def merged(networks: Any, **options: Any) -> Any:
    return partial_merge(trace(stacked, networks[0], X), stacked, networks, [X], **options)


def normalized(params: Any, x: Any) -> Any:
    return jax.nn.standardize(x @ params["in"]) @ params["out"]


EDGES = [{name: one[name] for name in ("in", "out")} for one in (ONE, TWO)]
ROWS = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)


CALL: dict[str, tuple[Any, str, Any]] = {
    "one-network-to-merge": (
        lambda: merged([ONE]),
        "[one, align(spec, one, two)]",
        lambda code: merged(eval(code, {"align": align, "one": ONE, "two": TWO, "spec": trace(stacked, ONE, X)})),
    ),
    "layers-of-two-widths": (
        lambda **options: merged([TWICE, TWICE], **{"keep": {"h0": 0.5}, **options}),
        'keep={"h0": 0.25, "h1": 0.25, "h2": 0.25}',
        None,
    ),
    "a-layer-norm-over-kept-features": (
        lambda **options: partial_merge(
            trace(normalized, EDGES[0], ROWS), normalized, EDGES, [ROWS], keep=0.5, **options
        ),
        "with_info=True",
        None,
    ),
}
