"""Layers on supports on eight virtual devices against one: as a script, it prints for every check the largest error.

`python eight_devices_sparse.py slow` does the checks that are slow.
"""

import functools
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from eight_devices import error, mesh_of, put
from flax import nnx
from jax.sharding import PartitionSpec as P

import equikit as ek

SIGNATURE = {"p p": 2, "p": 2, "": 2}
NODES = 21


def graph(kind: str) -> ek.Support:
    """A random graph with reverse edges and loops; the numbers of an even one divide by eight."""
    rng = np.random.default_rng(0)
    n, entries = (24, 96) if kind == "even" else (NODES, 90)
    senders, receivers = np.divmod(rng.choice(n**2, entries, replace=False), n)
    graph_of = np.sort(rng.integers(0, 3, NODES)) if kind == "graphs" else None
    if graph_of is not None:
        there = graph_of[senders] == graph_of[receivers]
        senders, receivers = senders[there], receivers[there]
    if kind == "star":
        senders, receivers = np.arange(1, NODES), np.zeros(NODES - 1, int)
    if kind == "no entries":
        senders = receivers = np.zeros(0, int)
    return ek.Support("p p", senders, receivers, n=n, graph_of=graph_of)


def step(normalize: str) -> tuple[Callable[..., Any], Any]:
    """Outputs of a layer from parameters, features and a support; and the parameters."""
    layer = ek.nn.Linear(
        SIGNATURE,
        SIGNATURE,
        p=ek.S,
        normalize=normalize,
        rngs=nnx.Rngs(0),
        param_dtype=jnp.float64,
        bias_init=nnx.initializers.ones,
    )
    graphdef, state = nnx.split(layer)
    return (lambda state, x, support: nnx.merge(graphdef, state)(x, support=support)), state


def features(edges: ek.Support) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    graphs = () if edges.graphs is None else (edges.graphs,)
    return {
        "p p": rng.standard_normal((edges.entries[2], 2)),
        "p": rng.standard_normal((edges.n, 2)),
        "": rng.standard_normal((*graphs, 2)),
    }


def trained(run: Callable[..., Any], back: Callable[[Any], Any]) -> Callable[..., Any]:
    """Outputs and gradients of a loss in which each present entry counts once."""

    def loss(state: Any, x: Any, support: ek.Support) -> Any:
        y = back(run(state, x, support))
        return sum(jnp.sum(jnp.tanh(leaf)) for leaf in y.values()), y

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))


def spread(kind: str, axes: str, normalize: str = "mean") -> float:
    """The support spread by `Support.spread`, in `jax.shard_map`; rows of padding hold NaN."""
    edges, mesh = graph(kind), mesh_of(axes)
    run, state = step(normalize)
    x = features(edges)
    (_, y), gradients = trained(run, lambda y: y)(state, x, edges)
    parts, order = edges.spread(8, axis="d")
    rows, count = np.argsort(order)[: len(x["p p"])], 8 * parts.n
    moved = {
        "p p": np.full((len(order), 2), np.nan),
        "p": np.concatenate([x["p"], np.full((count - NODES, 2), np.nan)]),
        "": x[""],
    }
    moved["p p"][rows] = x["p p"]
    specs = {"p p": P("d"), "p": P("d"), "": P()}
    many = jax.shard_map(run, mesh=mesh, in_specs=(P(), specs, P("d")), out_specs=specs)

    def back(y: Any) -> Any:
        whole = {name: jax.sharding.reshard(leaf, P()) if axes == "explicit" else leaf for name, leaf in y.items()}
        return {"p p": whole["p p"][rows], "p": whole["p"][:NODES], "": whole[""]}

    with jax.set_mesh(mesh):
        placed = {name: put(mesh, array, specs[name]) for name, array in moved.items()}
        (_, found), (of_state, of_x) = trained(many, back)(state, placed, put(mesh, parts, P("d")))
        of_x = back(of_x)
    return error((found, (of_state, of_x)), (y, gradients)) if kind != "no entries" else error(found["p"], y["p"])


def automatic() -> float:
    """Rows of every table and array over automatic axes."""
    edges, mesh = graph("even"), mesh_of("auto")
    run, state = step("sum")
    x = features(edges)
    expected = trained(run, lambda y: y)(state, x, edges)
    with jax.set_mesh(mesh):
        placed = put(mesh, x, P("d"))
        assert placed["p p"].sharding.spec == P("d")
        found = trained(run, lambda y: y)(state, placed, put(mesh, edges, P("d")))
    return error(found, expected)


def batch() -> float:
    """A batch over explicit axes, whose graphs share a support."""
    edges, mesh = graph("any"), mesh_of("explicit")
    run, state = step("sum")
    x = {name: np.stack([array * (1 + i) for i in range(8)]) for name, array in features(edges).items()}
    expected = jax.jit(run)(state, x, edges)
    with jax.set_mesh(mesh):
        found = jax.jit(run)(state, put(mesh, x, P("d")), put(mesh, edges, P()))
    return error(found, expected)


CHECKS: dict[str, Callable[[], float]] = {
    "mean, explicit": functools.partial(spread, "graphs", "explicit"),
    "automatic axes": automatic,
}
SLOW: dict[str, Callable[[], float]] = {
    "sum, auto": functools.partial(spread, "any", "auto", "sum"),
    "star": functools.partial(spread, "star", "auto"),
    "no entries": functools.partial(spread, "no entries", "auto"),
    "batch": batch,
}


def main(checks: dict[str, Callable[[], float]]) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    assert jax.device_count() == 8
    found: dict[str, float | str] = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main(SLOW if sys.argv[1:] else CHECKS)
