"""Aligning two networks: weight matching by equikit and by Git Re-Basin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Harness, Limits
from benchmarks.core.measurement import Measurement
from benchmarks.core.report import label, markdown, target_lines
from benchmarks.core.style import TIMES
from benchmarks.core.targets import Target, rows
from benchmarks.models.git_rebasin import similarity, weight_matching
from equikit.weightspace import Specification, align, trace

RIVALS: dict[str, str] = {
    "equikit": "`weightspace.align` as it is by default, from one start that matches labels one after another",
    "restarts": "the same from three starts; the best counts",
    "Git Re-Basin": "from the networks as they are, products compiled, assignments by SciPy, until a pass gains none",
}
DIRECTION = "warm"
TARGETS = (
    # 784-512-512-512-10 takes the reference 0.6 to 0.7 s.
    Target("Git Re-Basin", {"layer": "perceptron, other weights", "n": 512}, DIRECTION, 2.0),
)


@dataclass(frozen=True)
class Case:
    """Two networks with n neurons in each hidden layer.

    Attributes:
        layer: the network, and whether the second network is the first one moved or has other weights.
        n: see above.
    """

    layer: str
    n: int


NETWORKS = (
    "perceptron, other weights",
    "perceptron, moved",
    "residual blocks, other weights",
    "residual blocks, moved",
)
FULL = tuple(Case(name, n) for name in NETWORKS for n in (64, 128, 256, 512))
QUICK = tuple(Case(name, 16) for name in NETWORKS)


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.05, least=3, patience=0.5) if quick else Limits(seconds=2.0, least=7, patience=10.0)


def perceptron(n: int) -> tuple[Callable[..., Any], dict[str, tuple[int, ...]], int]:
    """The model with three hidden layers, the shapes of its parameters, and the number of inputs."""
    widths = (784, n, n, n, 10)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, pair in enumerate(pairwise(widths)):
        shapes |= {f"w{place}": pair, f"b{place}": pair[1:]}

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for place in range(4):
            x = x @ params[f"w{place}"] + params[f"b{place}"]
            x = jax.nn.relu(x) if place < 3 else x
        return x

    return apply, shapes, 784


def residual_blocks(n: int) -> tuple[Callable[..., Any], dict[str, tuple[int, ...]], int]:
    """Return three blocks on a stream, whose inner neurons connect only to the stream, which is permuted too."""
    shapes: dict[str, tuple[int, ...]] = {"in": (784, n), "out": (n, 10)}
    for place in range(3):
        shapes |= {f"up{place}": (n, n), f"down{place}": (n, n)}

    def apply(params: Any, x: jax.Array) -> jax.Array:
        x = x @ params["in"]
        for place in range(3):
            x = x + jax.nn.relu(x @ params[f"up{place}"]) @ params[f"down{place}"]
        return x @ params["out"]

    return apply, shapes, 784


def networks(case: Case, seed: int) -> tuple[Specification, dict[str, jax.Array], dict[str, jax.Array]]:
    """The symmetry of a case, and its two networks."""
    apply, shapes, inputs = (perceptron if case.layer.startswith("perceptron") else residual_blocks)(case.n)
    one, two = (
        {
            name: jax.random.normal(key, shape) / shape[0] ** 0.5
            for key, (name, shape) in zip(jax.random.split(jax.random.key(k), len(shapes)), shapes.items(), strict=True)
        }
        for k in (2 * seed, 2 * seed + 1)
    )
    spec = trace(apply, one, jnp.ones((2, inputs)))
    return spec, one, spec.act(spec.random_element(key=jax.random.key(seed)), one) if "moved" in case.layer else two


def callers(case: Case, seed: int) -> dict[str, Callable[[], dict[str, jax.Array]]]:
    """Return for every rival a function without arguments that moves the second network."""
    spec, one, two = networks(case, seed)
    terms = tuple((leaf.name, leaf.labels) for leaf in spec.leaves)

    def reference() -> dict[str, jax.Array]:
        taken = weight_matching(terms, tuple(spec.groups), one, two, seed)
        return jax.block_until_ready(spec.act({label: np.argsort(each) for label, each in taken.items()}, two))

    return {
        "equikit": lambda: jax.block_until_ready(align(spec, one, two, seed=seed)),
        "restarts": lambda: jax.block_until_ready(align(spec, one, two, seed=seed, restarts=2)),
        "Git Re-Basin": reference,
    }


def cells(quick: bool) -> list[Cell]:
    """One for each case, with all rivals in turns."""
    return [Cell(asdict(case), DIRECTION, tuple(RIVALS), case) for case in (QUICK if quick else FULL)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that measures the similarity of each rival of a cell, and its time after compilation."""
    harness = Harness(limits(quick), seed)

    def measure(cell: Cell) -> list[Measurement]:
        case: Case = cell.given
        harness.tell = lambda text: tell(f"{case.layer}, n = {case.n}: {text}")
        _, one, _ = networks(case, seed)
        ready = []
        for rival, call in callers(case, seed).items():
            harness.tell(f"compile {rival}")
            found = similarity(one, call())
            if rival != "Git Re-Basin" and "moved" in case.layer and found < 1 - 1e-5:
                raise AssertionError(f"{rival} does not find what was planted: {found:.6f}, {case}")
            ready.append((Measurement(asdict(case), DIRECTION, rival, scores={"similarity": found}), call))
        harness.rounds(ready)
        for m, _ in ready:
            m.summarize()
        return [m for m, _ in ready]

    return measure


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Write the targets, and for every case the similarity that each rival reaches."""
    found = []
    for case, _, by_rival in rows(result["measurements"]):
        reached = [f"{rival} {record['scores']['similarity']:.4f}" for rival, record in by_rival.items()]
        found.append(f"{label(case)}: similarity {', '.join(reached)}")
    return [*target_lines(result), *found]


BENCHMARK = Benchmark(
    title="Aligning two networks",
    summary="weight matching of perceptrons and residual blocks, against Git Re-Basin",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=replace(TIMES, markdown=partial(markdown, sentences=sentences), target_lines=sentences),
    panel=("layer",),
)
