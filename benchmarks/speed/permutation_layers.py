"""Layers of the symmetric group, 1->1, 2->2 and 3->3: equikit against six other ways to compute the same function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import jax

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Contender, Entry, Harness, Limits
from benchmarks.core.measurement import Skip
from benchmarks.core.targets import Target
from benchmarks.speed._emlp_library import load_emlp
from benchmarks.speed._entry import entry
from benchmarks.speed._permutation_einsum import best_path, one_einsum, three_steps
from benchmarks.speed._permutation_peers import emlp, stacked
from benchmarks.speed._permutation_rivals import (
    Layer,
    Shape,
    dense_assembled,
    dense_prebuilt,
    equikit_layer,
    equikit_module,
    shared_weights,
)

DIRECTIONS = ("forward", "forward+backward")
RIVALS: dict[str, str] = {
    "equikit": "`equikit.nn.Linear`, without bias",
    "dense": "one product with the whole matrix, assembled beforehand (inference only)",
    "dense, assembled": "the same, the matrix assembled from the weights in each call",
    "einsum": "one `jnp.einsum` a diagram, written as it stands, default contraction order",
    "einsum, staged": "each diagram by hand: reduce by `jnp.einsum`, mix channels, expand by identity matrices",
    "opt_einsum": "one `opt_einsum.contract_expression` a diagram, optimal path",
    "stacked": "as IGN does at 2 → 2: the full output of each diagram, stacked, then channels mixed by one product",
    "EMLP": "EMLP's layer: a full matrix projected onto the equivariant ones in each call",
}
TARGETS = (
    Target("stacked", {"k": 2, "l": 2, "n": 64}, "forward", 5.0),
    Target("einsum", {"k": 3, "l": 3, "n": 16, "batch": 8}, "forward", 5.0),
    Target("einsum", {"k": 3, "l": 3, "n": 16, "batch": 8}, "forward+backward", 20.0),
    Target("einsum, staged", {"k": 3, "l": 3, "n": 16, "batch": 8}, "forward", 5.0),
    Target("einsum, staged", {"k": 3, "l": 3, "n": 16, "batch": 8}, "forward+backward", 20.0),
)

FULL = (
    *(Shape(1, 1, n, 32, 16) for n in (8, 64, 512)),
    *(Shape(2, 2, n, 32, 16) for n in (8, 16, 32, 64)),
    *(Shape(3, 3, n, 32, 16) for n in (4, 8, 16)),
    Shape(3, 3, 16, 8, 16),
)
QUICK = (
    Shape(1, 1, 8, 4, 16),
    Shape(1, 1, 64, 4, 16),
    Shape(2, 2, 8, 4, 16),
    Shape(2, 2, 16, 4, 16),
    Shape(3, 3, 4, 2, 16),
)

# Relative to the largest entry of a result, in float32. Gradients of weights sum up to batch * n^3 terms; EMLP's basis
# is the result of an iteration that stops at 1e-5.
TOLERANCE = {"forward": 1e-4, "forward+backward": 1e-3}
EMLP_TOLERANCE = 5e-3


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.1, least=3, patience=0.5, call=5.0, prepare=8.0) if quick else Limits()


def _makers(shape: Shape, seed: int) -> dict[str, Callable[[], Layer]]:
    module = equikit_module(shape, seed)
    weights = shared_weights(module)
    rivals = {
        "dense": dense_prebuilt,
        "dense, assembled": dense_assembled,
        "einsum": one_einsum,
        "einsum, staged": three_steps,
        "opt_einsum": best_path,
        "stacked": stacked,
        "EMLP": emlp,
    }
    made = {name: functools.partial(maker, shape, weights) for name, maker in rivals.items()}
    return {"equikit": lambda: equikit_layer(module), **made}


def known_bytes(rival: str, shape: Shape, direction: str) -> int:
    """Return a lower bound on the memory of a rival, before anything is allocated."""
    backward = direction == "forward+backward"
    if rival in ("dense", "dense, assembled", "EMLP"):
        basis = len(shape.diagrams) * shape.n ** (shape.k + shape.l) * 4
        return shape.matrix_bytes * (2 if backward else 1) + basis
    if rival == "stacked":
        one = shape.batch * shape.n**shape.l * shape.channels * 4
        return one * len(shape.diagrams)
    return 0


def _not_trainable() -> Entry:
    raise Skip("its matrix is fixed; training has to assemble it from the weights")


def contenders(shape: Shape, direction: str, seed: int) -> list[Contender]:
    """All rivals for one shape and direction, equikit first."""
    x = jax.random.normal(jax.random.key(seed + 1), shape.input)

    def contender(rival: str, maker: Callable[[], Layer]) -> Contender:
        if rival == "dense" and direction != "forward":
            return Contender(rival, _not_trainable)
        tolerance = EMLP_TOLERANCE if rival == "EMLP" else TOLERANCE[direction]
        return Contender(rival, lambda: entry(maker(), x, direction), known_bytes(rival, shape, direction), tolerance)

    return [contender(rival, maker) for rival, maker in _makers(shape, seed).items()]


def cells(quick: bool) -> list[Cell]:
    """Shapes and directions, in the order in which they are run."""
    both = [(shape, direction) for shape in (QUICK if quick else FULL) for direction in DIRECTIONS]
    # The gradient of 203 einsums takes a minute to compile.
    wanted = [pair for pair in both if not quick or pair[0].k < 3 or pair[1] == "forward"]
    return [Cell(asdict(shape), direction, tuple(RIVALS), shape) for shape, direction in wanted]


def start(quick: bool, seed: int, tell: Tell, earlier: Iterable[Mapping[str, Any]] = ()) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell, family=("k", "l"))
    harness.learn(earlier)
    load_emlp()  # importing it takes seconds, which are not part of its basis
    return lambda cell: harness.measure(cell.case, cell.direction, contenders(cell.given, cell.direction, seed))


BENCHMARK = Benchmark(
    title="Permutation-equivariant linear layers",
    summary="k -> l layers of S_n against dense matrices, einsum, opt_einsum, stacked layers and EMLP",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    panel=("k", "l", "batch"),
    family=True,
)
