"""Next steps of layers on supports that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import numpy as np
from flax import nnx

import equikit as ek
from equikit.plans import apply_multilinear

EDGES = ek.Support("p p", [0, 1], [1, 0], n=3)
TRIPLES = ek.Support("p p p", [0], [1], [2], n=3)
LAYER = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
ON_TRIPLES = ek.nn.Linear("p p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
DENSE = np.ones((3, 3, 1), np.float32)
STACKED, SUPPORTS = DENSE[:2, :2], jax.tree.map(lambda a: np.stack([a, a]), EDGES)


def by(method: str = "dense") -> Any:
    layer = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, method=method, rngs=nnx.Rngs(0))
    return layer(DENSE[:2, 0], support=EDGES)


def product(support: Any = EDGES, method: Any = "factored") -> Any:
    space, rows = ek.hom("p p, p p -> p p", p=ek.S), DENSE[:2, 0]
    weights = np.ones((space.dim, 1), np.float32)
    return apply_multilinear(space, (rows, rows), weights, mode="channelwise", support=support, method=method)


def of_size(p: Any = ek.S(4)) -> Any:  # noqa: B008  # as users write it
    return ek.nn.Linear("p p -> p p", 1, 1, p=p, rngs=nnx.Rngs(0))(DENSE[:2, 0], support=EDGES)


CALL: dict[str, tuple[Any, str, Any]] = {
    "support-of-another-type": (
        lambda: LAYER(DENSE[:2, 0], support=([0, 1], [1, 0])),
        'ek.Support("p p", senders, receivers, n=n)',
        {"ek": ek, "senders": [0, 1], "receivers": [1, 0], "n": 3},
    ),
    "supports-in-a-stack": (
        lambda: LAYER(STACKED, support=SUPPORTS),
        "jax.vmap(lambda x, support: layer(x, support=support))(x, supports)",
        {"jax": jax, "layer": LAYER, "x": STACKED, "supports": SUPPORTS},
    ),
    "support-with-a-dense-matrix": (by, 'method="auto"', None),
    "support-of-graphs-of-another-size": (of_size, "p=ek.S", None),
    "support-without-triples": (
        lambda: ON_TRIPLES(DENSE[:1, 0], support=EDGES),
        "edges | edges.cliques()",
        {"edges": EDGES},
    ),
    "product-without-triples": (
        lambda support=EDGES: product(support),
        "support=edges | edges.cliques()",
        lambda code: product(**eval(f"dict({code})", {"edges": EDGES})),
    ),
    "product-by-the-definition": (
        lambda method="naive": product(EDGES | EDGES.cliques(), method),
        'method="factored"',
        None,
    ),
    "dense-array-on-a-support": (
        lambda: LAYER(DENSE, support=EDGES),
        "x[support.indices()]",
        lambda code: LAYER(eval(code, {"x": DENSE, "support": EDGES}), support=EDGES),
    ),
}
