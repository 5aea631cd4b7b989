"""Next steps of neighbor lists and their use that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek

POINTS, CELL = np.eye(3), np.diag([1.0, 2.0, 0.0])
FEATURES = {"p": jnp.ones((3, 1))}
LAYER = ek.nn.GeometricMessage(
    {"p": 1}, {"p": 1}, cutoff=2.0, powers=0, hidden=(), radial=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)
)


def near(**options: Any) -> ek.data.Neighbors:
    return ek.data.neighbors(**{"positions": POINTS, "cutoff": 2.0} | options)


def with_argument(name: str, **known: Any) -> Any:
    """Evaluate the code of a step, and pass the result by keyword."""
    return lambda code: near(**{name: eval(code, {"np": np} | known)})


def sent(edges: Any) -> Any:
    return LAYER(FEATURES, jnp.asarray(POINTS, jnp.float32), edges=edges)


def along(code: str) -> None:
    names = {"ek": ek, "positions": np.asarray(POINTS, np.float32), "cutoff": 2.0}
    assert sent(**eval(f"dict({code})", names))["p"].shape == (3, 1)


EDGES = ek.Support("p p", [0, 2], [1, 1], n=3)

CALL: dict[str, tuple[Any, str, Any]] = {
    "support-for-neighbors": (
        lambda: sent(EDGES),
        "edges=ek.data.Neighbors.of(*support.indices(), n=support.n)",
        lambda code: sent(**eval(f"dict({code})", {"ek": ek, "support": EDGES})),
    ),
    "mask-of-numbers-for-neighbors": (
        lambda: near(mask=np.ones(3)),
        "np.asarray(mask, dtype=bool)",
        with_argument("mask", mask=np.ones(3)),
    ),
    "neighbors-without-numbers-of-graphs": (
        lambda: near(graph_of=np.array(["a", "a", "b"])),
        "np.repeat(np.arange(len(sizes)), sizes)",
        with_argument("graph_of", sizes=[2, 1]),
    ),
    "cell-of-lengths": (lambda: near(cell=np.ones(3)), "np.diag(cell)", with_argument("cell", cell=np.ones(3))),
    "cell-with-a-row-of-zeros": (
        lambda **changed: near(cell=CELL, **changed),
        "periodic=(True, True, False)",
        None,
    ),
    "flags-for-two-rows": (
        lambda periodic=(True, False): near(cell=np.eye(3), periodic=periodic),
        "periodic=(True, True, True)",
        None,
    ),
    "fewer-edges-than-there-are": (lambda edges=2: near(edges=edges), "edges=6 or more", lambda code: near(edges=6)),
    "no-number-of-edges": (lambda edges=(): near(edges=edges), "edges=6", None),
    "senders-that-are-floats": (
        lambda: ek.data.Neighbors.of([0.5, 1], [1, 0], n=2),
        "np.array([0, 1])",
        lambda code: ek.data.Neighbors.of(eval(code, {"np": np}), [1, 0], n=2),
    ),
    "senders-with-two-axes": (
        lambda: ek.data.Neighbors.of([[0, 1]], [1, 0], n=2),
        "np.array([0, 1])",
        lambda code: ek.data.Neighbors.of(eval(code, {"np": np}), [1, 0], n=2),
    ),
    "fewer-nodes-than-there-are": (
        lambda nodes=2: ek.data.join([{"p": POINTS}], nodes=nodes),
        "nodes=3 or more",
        lambda code: ek.data.join([{"p": POINTS}], nodes=3),
    ),
    "no-number-of-nodes": (lambda nodes=(): ek.data.join([{"p": POINTS}], nodes=nodes), "nodes=3", None),
    "some-lists-without-a-cell": (
        lambda **cell: ek.data.join(
            [{"p": POINTS}] * 2, neighbors=[near(cell=np.eye(3)), near(**{"cell": np.eye(3)} | cell if cell else {})]
        ),
        "periodic=False",
        None,
    ),
    "edges-that-are-arrays": (
        lambda: sent((np.array([0]), np.array([1]))),
        "edges=ek.data.neighbors(positions, cutoff)",
        along,
    ),
    "edges-of-other-points": (
        lambda: sent(ek.data.Neighbors.of([0], [1], n=2)),
        "edges=ek.data.neighbors(positions, cutoff)",
        along,
    ),
}
