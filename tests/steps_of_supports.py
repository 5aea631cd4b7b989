"""Next steps of `ek.Support` that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse

import equikit as ek

EDGES = ek.Support("p p", [0, 1], [1, 0], n=3)
BOTH = EDGES | ek.Support("p p p", [0, 1], [0, 1], [0, 1], n=3)
PADDING = {"nodes": None, "edges": None, "senders": [0, 2, 2], "receivers": [1, 2, 2], "n_node": [2, 1]}


def pairs(senders: Any = (0, 1), receivers: Any = (1, 0), **options: Any) -> ek.Support:
    return ek.Support("p p", senders, receivers, **{"n": 3} | options)


def jraph(padded: bool = False, **changed: Any) -> ek.Support:
    return ek.Support.from_jraph(SimpleNamespace(**PADDING | {"n_edge": [1, 2]} | changed), padded=padded)


def without_nodes(padded: bool = True) -> ek.Support:
    return jraph(padded, senders=[], receivers=[], n_node=[0], n_edge=[0])


CALL: dict[str, tuple[Any, str, Any]] = {
    "nodes-beyond-n": (lambda n=3: pairs([0, 7], n=n), "n=8", None),
    "graphs-beyond": (lambda graphs=1: pairs(graph_of=[1, 1, 0], graphs=graphs), "graphs=2", None),
    "indices-that-are-floats": (
        lambda: pairs(np.array([0.0, 1.0])),
        "np.asarray(senders, np.int32)",
        lambda code: pairs(eval(code, {"np": np, "senders": np.array([0.0, 1.0])})),
    ),
    "indices-that-are-a-list-of-floats": (
        lambda: pairs([0.0, 1.0]),
        "np.asarray(senders, np.int32)",
        lambda code: pairs(eval(code, {"np": np, "senders": [0.0, 1.0]})),
    ),
    "mask-of-numbers-in-a-list": (
        lambda: ek.Support.from_mask([[0, 1], [1, 0]]),
        "np.asarray(mask) != 0",
        lambda code: ek.Support.from_mask(eval(code, {"np": np, "mask": [[0, 1], [1, 0]]})),
    ),
    "nodes-as-a-float": (lambda n=2.0: pairs(n=n), "n=2", None),
    "nodes-as-a-small-float": (lambda n=1.0: pairs(n=n), "n=2", None),
    "nodes-as-a-text": (lambda n="2": pairs(n=n), "n=2", None),
    "graphs-as-a-text": (lambda graphs="2": pairs(graph_of=[1, 1, 0], graphs=graphs), "graphs=2", None),
    "padding-as-a-float": (lambda nodes=5.0: EDGES.pad(nodes=nodes), "nodes=5", None),
    "padding-as-a-text": (lambda nodes="5": EDGES.pad(nodes=nodes), "nodes=3", None),
    "indices-that-are-a-mask": (
        lambda: ek.Support("p p", np.eye(2, dtype=bool), [0], n=2),
        "Support.from_mask(mask)",
        {"Support": ek.Support, "mask": np.eye(2, dtype=bool)},
    ),
    "graphs-without-numbers": (
        lambda: pairs(graphs=1),
        "graph_of=np.zeros(n, int)",
        lambda code: pairs(graphs=1, **eval(f"dict({code})", {"np": np, "n": 3})),
    ),
    "entries-there-twice": (lambda coalesce=False: pairs([0, 0], [1, 1], coalesce=coalesce), "coalesce=True", None),
    "dense-matrix-for-a-sparse-one": (
        lambda: ek.Support.from_scipy(np.eye(2)),
        "scipy.sparse.coo_array(matrix)",
        lambda code: ek.Support.from_scipy(eval(code, {"scipy": scipy, "matrix": np.eye(2)})),
    ),
    "mask-of-triples": (
        lambda term="p p": ek.Support.from_mask(np.ones((2,) * 4, bool), term=term),
        'term="p p p p"',
        None,
    ),
    "graphs-with-padding": (jraph, "padded=True", None),
    "graphs-without-padding": (without_nodes, "padded=False", None),
    "padding-of-no-graphs": (
        lambda: EDGES.pad(graphs=2),
        "Support.join([support])",
        lambda code: eval(code, {"Support": ek.Support, "support": EDGES}).pad(graphs=2),
    ),
    "padding-of-two-orders": (lambda entries=9: BOTH.pad(entries=entries), "entries={2: 2, 3: 2}", None),
    "padding-below-an-order": (lambda entries=None: BOTH.pad(entries=entries or {3: 1}), "entries={3: 2}", None),
    "padding-below-the-nodes": (lambda nodes=2: EDGES.pad(nodes=nodes), "nodes=3", None),
    "padding-before-a-join": (
        lambda: ek.Support.join([EDGES.pad()]),
        ".pad(...)",
        lambda code: eval(f"joined{code.replace('...', 'nodes=4')}", {"joined": ek.Support.join([EDGES])}),
    ),
    "join-of-no-list": (
        lambda: ek.Support.join(EDGES),
        "Support.join([one, two])",
        {"Support": ek.Support, "one": EDGES, "two": EDGES},
    ),
    "triangles-of-triples": (
        lambda: ek.Support("p p p", [0], [1], [2], n=3).triangles(),
        "edges.triangles()",
        {"edges": EDGES},
    ),
    "order-that-is-not-there": (lambda order=3: EDGES.indices(order), "order=2", None),
}
