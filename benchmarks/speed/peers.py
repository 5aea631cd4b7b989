"""equikit against alternatives for each kind of layer, with target speedups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Contender, Harness, Limits
from benchmarks.speed import _peer_irreps, _peer_layers, _peer_weightspace
from benchmarks.speed._emlp_library import load_emlp
from benchmarks.speed._entry import entry, half_squares
from benchmarks.speed._peer_targets import STYLE, TARGETS, YARDSTICKS
from benchmarks.speed._permutation_einsum import one_einsum, three_steps
from benchmarks.speed._permutation_peers import emlp, stacked
from benchmarks.speed._permutation_rivals import (
    Layer,
    Shape,
    dense_assembled,
    equikit_layer,
    equikit_module,
    shared_weights,
)
from benchmarks.speed.permutation_layers import DIRECTIONS, EMLP_TOLERANCE, TOLERANCE, known_bytes

RIVALS: dict[str, str] = {
    "equikit": "`equikit.nn.Linear`, without bias",
    "by hand": "the layer in three lines of `jnp`",
    "stacked": "as IGN does at 2 → 2: the full output of each diagram, stacked, then channels mixed by one product",
    "einsum": "one `jnp.einsum` a diagram, default contraction order",
    "einsum, staged": "each diagram by hand: reduce by `jnp.einsum`, mix channels, expand by identity matrices",
    "one term at a time": "as UNF does: each term reduced, written on a diagonal, mixed and broadcast by itself",
    "dense, assembled": "one product with the whole matrix, assembled from the weights in each call",
    "EMLP": "EMLP's layer: a full matrix projected onto the equivariant ones in each call",
    "e3nn-jax": "`e3nn_jax.flax.Linear` on the same irreps, its input being in irreps already",
    "cuEquivariance": "the descriptor `linear` of cuEquivariance, naive method, its input being in irreps already",
    "core product": "no rival: the matrix products alone",
    "copy": "no rival: one read of the input, one write of the output",
}
CHANNELS = 16


@dataclass(frozen=True)
class Case:
    """A layer: its kind and its arrays."""

    layer: str
    n: int
    batch: int
    channels: int = CHANNELS


Made = tuple[Callable[[], Layer], dict[str, Callable[[], Layer]], Any, Callable[[Any], jax.Array]]
"""Makes equikit's layer; makes the rivals; makes the input; the loss."""


def _tensors(order: int, kind: type[Shape], case: Case, seed: int) -> Made:
    shape = kind(order, order, case.n, case.batch, case.channels)
    module = equikit_module(shape, seed)
    makers = {
        "by hand": _peer_layers.matrices_by_hand if shape.GROUP == "O" else _peer_layers.deep_sets,
        "stacked": stacked,
        "einsum": one_einsum,
        "einsum, staged": three_steps,
        "dense, assembled": dense_assembled,
        "EMLP": emlp,
        "core product": _peer_layers.core_product,
        "copy": _peer_layers.copy,
    }
    weights = shared_weights(module)
    made = {name: functools.partial(maker, shape, weights) for name, maker in makers.items()}
    x = jax.random.normal(jax.random.key(seed + 1), shape.input)
    return lambda: equikit_layer(module), made, x, half_squares


def _space(case: Case, seed: int) -> Made:
    shape = _peer_irreps.TensorShape(3, 3, 3, case.batch, case.channels)
    layer, weights = _peer_irreps.tensor_layer(shape, seed)
    makers = {"e3nn-jax": _peer_irreps.e3nn_linear, "cuEquivariance": _peer_irreps.cuequivariance_linear}
    made = {name: functools.partial(maker, shape, weights) for name, maker in makers.items()}
    x = jax.random.normal(jax.random.key(seed + 1), shape.input)
    return lambda: layer, made, x, _peer_irreps.lengths


def _weight_space(make: Callable[[int, int, int], _peer_weightspace.WeightSpace], case: Case, seed: int) -> Made:
    space = make(case.n, case.batch, case.channels)
    module = space.module(seed)
    makers = {
        "one term at a time": _peer_weightspace.one_term_at_a_time,
        "einsum, staged": _peer_weightspace.kernel_staged,
    }
    made = {name: functools.partial(maker, space, module) for name, maker in makers.items()}
    x = space.inputs(jax.random.key(seed + 1))
    return lambda: _peer_weightspace.equikit_layer(module), made, x, half_squares


LAYERS: dict[str, tuple[Callable[[Case, int], Made], tuple[str, ...]]] = {
    "S 1 → 1": (functools.partial(_tensors, 1, Shape), ("by hand",)),
    "S 2 → 2": (functools.partial(_tensors, 2, Shape), ("stacked", "einsum", "einsum, staged", *YARDSTICKS)),
    "S 3 → 3": (functools.partial(_tensors, 3, Shape), ("einsum",)),
    "O 2 → 2": (
        functools.partial(_tensors, 2, _peer_layers.OrthogonalShape),
        ("by hand", "dense, assembled", "EMLP", "copy"),
    ),
    "O(3) 3 → 3": (_space, ("e3nn-jax", "cuEquivariance")),
    "RNN kernel, 15 terms": (
        functools.partial(_weight_space, _peer_weightspace.rnn),
        ("one term at a time", "einsum, staged"),
    ),
    "MLP, 692 terms": (
        functools.partial(_weight_space, functools.partial(_peer_weightspace.mlp, 12)),
        ("one term at a time",),
    ),
    "MLP, 32 terms": (
        functools.partial(_weight_space, functools.partial(_peer_weightspace.mlp, 2)),
        ("one term at a time",),
    ),
}
"""For each kind of layer the function that makes its contenders, and the timed rivals."""

FULL = (
    *(Case("S 1 → 1", n, 32) for n in (8, 64, 512)),
    *(Case("S 2 → 2", n, 32) for n in (8, 16, 32, 64, 128)),
    *(Case("S 3 → 3", n, 32) for n in (8, 16)),
    Case("S 3 → 3", 16, 8),
    *(Case("O 2 → 2", n, 32) for n in (8, 16, 32, 64)),
    Case("O(3) 3 → 3", 3, 32),
    Case("RNN kernel, 15 terms", 128, 8),
    Case("MLP, 692 terms", 32, 8),
)
QUICK = (
    Case("S 1 → 1", 8, 4),
    Case("S 1 → 1", 64, 4),
    Case("S 2 → 2", 8, 4),
    Case("S 2 → 2", 16, 4),
    Case("S 3 → 3", 4, 2),
    Case("O 2 → 2", 3, 4),
    Case("O 2 → 2", 4, 4),
    Case("O(3) 3 → 3", 3, 4),
    Case("RNN kernel, 15 terms", 16, 2),
    Case("MLP, 32 terms", 8, 2),
)


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    if quick:
        return Limits(seconds=0.1, least=3, patience=0.5, call=5.0, prepare=8.0)
    return Limits(compile=240.0, prepare=40.0)


def contenders(case: Case, direction: str, seed: int, rivals: tuple[str, ...] | None = None) -> list[Contender]:
    """The rivals of a kind of layer, equikit first.

    Args:
        case: the layer and its arrays.
        direction: forward, or forward+backward.
        seed: of weights and input.
        rivals: those wanted, in place of the ones that are timed.
    """
    make, _ = LAYERS[case.layer]
    first, makers, x, loss = make(case, seed)

    def contender(rival: str, maker: Callable[[], Layer]) -> Contender:
        tolerance = EMLP_TOLERANCE if rival == "EMLP" else TOLERANCE[direction]
        return Contender(rival, lambda: entry(maker(), x, direction, loss), _bytes(rival, case, direction), tolerance)

    return [contender("equikit", first), *(contender(name, makers[name]) for name in rivals or timed(case, direction))]


def timed(case: Case, direction: str) -> tuple[str, ...]:
    """The rivals that are timed; yardsticks have no weights to take a gradient by."""
    _, usual = LAYERS[case.layer]
    return tuple(name for name in usual if direction == "forward" or name not in YARDSTICKS)


def _bytes(rival: str, case: Case, direction: str) -> int:
    if case.layer not in ("S 2 → 2", "O 2 → 2"):
        return 0
    kind = Shape if case.layer[0] == "S" else _peer_layers.OrthogonalShape
    return known_bytes(rival, kind(2, 2, case.n, case.batch, case.channels), direction)


def cells(quick: bool) -> list[Cell]:
    """Cases and directions, in the order in which they are run."""
    both = [(case, direction) for case in (QUICK if quick else FULL) for direction in DIRECTIONS]
    # The gradient of 203 einsums takes some seconds to compile.
    wanted = [pair for pair in both if not quick or pair[0].layer != "S 3 → 3" or pair[1] == "forward"]
    return [Cell(asdict(case), way, ("equikit", *timed(case, way)), case) for case, way in wanted]


def start(quick: bool, seed: int, tell: Tell, earlier: Iterable[Mapping[str, Any]] = ()) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell, family=("layer",))
    harness.learn(earlier)
    load_emlp()  # importing it takes seconds, which are not part of its basis
    return lambda cell: harness.measure(cell.case, cell.direction, contenders(cell.given, cell.direction, seed))


BENCHMARK = Benchmark(
    title="Peers",
    summary="each kind of layer against its best-known rivals, and against what memory and matrix products allow",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
    panel=("layer", "batch"),
    family=True,
)
