"""Next steps of graphs of any architecture that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import numpy as np
from flax import nnx

from equikit import weightspace

PARAMS = {"a": np.ones((3, 4), np.float32), "b": np.ones((4, 2), np.float32)}


def apply(params: Any, x: Any) -> Any:
    return (x @ params["a"]) ** 2 @ params["b"]


X = np.ones((5, 3), np.float32)
GRAPH = weightspace.graph(apply, PARAMS, X)
NAMES = {**vars(weightspace), "nnx": nnx, "graph": GRAPH, "params": PARAMS, "apply": apply, "x": X}


PAIR = {name: np.stack([array, array], -1) for name, array in PARAMS.items()}


def network(graph: Any = None, channels: int = 1) -> Any:
    kind = graph or weightspace.AnyArchitecture()
    return weightspace.MessagePassing(kind, [channels, 2, 1], out="", rngs=nnx.Rngs(0))


CALL: dict[str, tuple[Any, str, Any]] = {
    "joined-nothing": (
        lambda: weightspace.join_graphs([]),
        "join_graphs([(graph, params)])",
        lambda code: eval(code, NAMES),
    ),
    "joined-specification": (
        lambda: weightspace.join_graphs([(weightspace.ParameterGraph(GRAPH.spec), PARAMS)]),
        "graph(apply, params, x)",
        lambda code: weightspace.join_graphs([(eval(code, NAMES | {"graph": weightspace.graph}), PARAMS)]),
    ),
    "joined-iterator": (
        lambda: weightspace.join_graphs(iter([(GRAPH, PARAMS)])),
        "join_graphs([(graph, params)])",
        lambda code: eval(code, NAMES),
    ),
    "joined-with-other-channels": (
        lambda: network(channels=2)(weightspace.join_graphs([(GRAPH, PARAMS)])),
        "join_graphs(pairs, channels=2)",
        lambda code: network(channels=2)(eval(code, NAMES | {"pairs": [(GRAPH, PAIR)]})),
    ),
    "class-of-any-architecture": (
        lambda: network(weightspace.AnyArchitecture),
        "graph=AnyArchitecture()",
        lambda code: network(**eval(f"dict({code})", NAMES)),
    ),
    "parameters-of-any-architecture": (
        lambda: network()(PARAMS),
        "params=join_graphs([(graph, params)])",
        lambda code: network()(**eval(f"dict({code})", NAMES)),
    ),
    "joined-for-one-graph": (
        lambda: network(GRAPH)(weightspace.join_graphs([(GRAPH, PARAMS)])),
        'MessagePassing(AnyArchitecture(), [1, 16, 16, 1], out="", rngs=nnx.Rngs(0))',
        lambda code: eval(code, NAMES)(weightspace.join_graphs([(GRAPH, PARAMS)])),
    ),
}
