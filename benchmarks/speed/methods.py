"""The methods of a plan compared: whether `method="auto"` chooses the fastest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

import equikit as ek
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Contender, Entry, Harness, Limits
from benchmarks.core.measurement import Skip
from benchmarks.core.report import label, markdown, times_as_long
from benchmarks.core.style import TIMES
from benchmarks.core.targets import rows
from benchmarks.speed._methods_plot import plot
from equikit.plans import Plan, apply, weight_shapes
from equikit.plans.costs._method import dense_work, factored_work
from equikit.plans.costs._rates import Rates

DIRECTIONS = ("forward", "forward+backward")
RIVALS: dict[str, str] = {
    "auto": 'what `method="auto"` takes',
    "factored": "the steps of the plan",
    "dense": "one product with the whole matrix, assembled by a plan in each call",
    "naive": "one dense tensor a diagram",
}
NAIVE_LIMIT = 2**18
"""The most entries of all dense tensors together for which the naive method runs: more take minutes to compile."""


@dataclass(frozen=True)
class Case:
    """One layer and what it is applied to; `layer` is the signature with its groups, `width` its channels."""

    layer: str
    batch: int
    width: int


LAYERS: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "S 1 → 1, n 4": ("p -> p", {"p": ek.S}, {"p": 4}),
    "S 1 → 1, n 32": ("p -> p", {"p": ek.S}, {"p": 32}),
    "S 2 → 2, n 2": ("p p -> p p", {"p": ek.S}, {"p": 2}),
    "S 2 → 2, n 4": ("p p -> p p", {"p": ek.S}, {"p": 4}),
    "S 2 → 2, n 12": ("p p -> p p", {"p": ek.S}, {"p": 12}),
    "S 2 → 1, n 6": ("p p -> p", {"p": ek.S}, {"p": 6}),
    "S 3 → 3, n 3": ("p p p -> p p p", {"p": ek.S(3)}, {}),
    "S 3 → 3, n 5": ("p p p -> p p p", {"p": ek.S}, {"p": 5}),
    "A(4) 2 → 2": ("a a -> a a", {"a": ek.A(4)}, {}),
    "A(4) 3 → 3": ("a a a -> a a a", {"a": ek.A(4)}, {}),
    "A(5) 3 → 3": ("a a a -> a a a", {"a": ek.A(5)}, {}),
    "O(3) 1 → 1": ("x -> x", {"x": ek.O(3)}, {}),
    "O(3) 2 → 2": ("x x -> x x", {"x": ek.O(3)}, {}),
    "O(3) 3 → 3": ("x x x -> x x x", {"x": ek.O(3)}, {}),
    "O(10) 2 → 2": ("x x -> x x", {"x": ek.O(10)}, {}),
    "SO(3) 2 → 2": ("x x -> x x", {"x": ek.SO(3)}, {}),
    "SO(3) 3 → 3": ("x x x -> x x x", {"x": ek.SO(3)}, {}),
    "SO(4) 2 → 2": ("x x -> x x", {"x": ek.SO(4)}, {}),
    "Sp(4) 2 → 2": ("x x -> x x", {"x": ek.Sp(4)}, {}),
    "Z(6) 2 → 2": ("z z -> z z", {"z": ek.Z(6)}, {}),
    "S × O(3), n 6": ("p x -> p x", {"p": ek.S, "x": ek.O(3)}, {"p": 6}),
}
FULL = tuple(Case(layer, batch, width) for layer in LAYERS for batch, width in ((1, 16), (32, 16), (32, 1), (4096, 1)))
QUICK = (Case("S 2 → 2, n 2", 8, 4), Case("O(3) 2 → 2", 8, 4))


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.05 if quick else 0.3, least=3, patience=0.5 if quick else 2.0, call=2.0)


def layer(case: Case) -> tuple[Plan, dict[str, int]]:
    """The plan of a case, and the sizes of its labels."""
    signature, groups, sizes = LAYERS[case.layer]
    plan = ek.hom(signature, **groups).plan((case.width, case.width), normalize="mean")
    return plan, {label: size or sizes[label] for label, size in plan.signature.sizes.items()}


def naive_entries(case: Case) -> int:
    """The entries of the dense tensors of all diagrams together."""
    plan, sizes = layer(case)
    (shape,) = weight_shapes(plan).values()
    labels = [label for term in (*plan.signature.inputs, *plan.signature.outputs) for label in term.labels]
    return shape[0] * int(np.prod([sizes[label] for label in labels]))


def entry(case: Case, method: Any, direction: str, seed: int) -> Entry:
    """The function to time: the layer, or the gradient of mean(relu(y)^2) by weights and input."""
    if method == "naive" and naive_entries(case) > NAIVE_LIMIT:
        raise Skip(f"its tensors have more than {NAIVE_LIMIT:,} entries")
    plan, sizes = layer(case)
    rng = np.random.default_rng(seed)
    weights = {
        name: jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0] * shape[1]), jnp.float32)
        for name, shape in weight_shapes(plan).items()
    }
    axes = [sizes[label] for label in plan.signature.inputs[0].labels]
    x = jnp.asarray(rng.normal(size=(case.batch, *axes, case.width)), jnp.float32)

    def forward(weights: Any, x: jax.Array) -> Any:
        return apply(plan, x, weights, method=method)

    if direction == "forward":
        return Entry(forward, (weights, x), lambda y: {"output": y})

    def loss(weights: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.relu(forward(weights, x)) ** 2)

    def comparable(result: Any) -> dict[str, jax.Array]:
        value, (by_weights, by_input) = result
        return {"loss": value, "by input": by_input, **{f"by weights {k}": v for k, v in by_weights.items()}}

    return Entry(jax.value_and_grad(loss, argnums=(0, 1)), (weights, x), comparable)


def contenders(case: Case, direction: str, seed: int) -> list[Contender]:
    """All methods for one case and direction, the chosen one first."""

    def contender(name: str) -> Contender:
        return Contender(name, lambda: entry(case, name, direction, seed), tolerance=2e-3)

    return [contender(name) for name in RIVALS]


def cells(quick: bool) -> list[Cell]:
    """Cases and directions, in the order in which they are run."""
    cases = QUICK if quick else FULL
    return [Cell(asdict(case), direction, tuple(RIVALS), case) for case in cases for direction in DIRECTIONS]


def start(quick: bool, seed: int, tell: Tell, earlier: Iterable[Mapping[str, Any]] = ()) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell, family=("layer",))
    harness.learn(earlier)
    return lambda cell: harness.measure(cell.case, cell.direction, contenders(cell.given, cell.direction, seed))


def regrets(targets: Sequence[float], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the time of the chosen method over the best for each case; `targets` has the largest allowed ratios."""
    (most,) = targets
    found = []
    for case, direction, by_rival in rows(records):
        times = {name: median for name, record in by_rival.items() if (median := record.get("median"))}
        if "auto" not in times or len(times) < 2:
            continue
        best = min((name for name in times if name != "auto"), key=times.__getitem__)
        ratio = times["auto"] / times[best]
        found.append(
            {"case": case, "direction": direction, "rival": best, "ratio": ratio, "wanted": most, "met": ratio <= most}
        )
    return found


def regret_lines(result: Mapping[str, Any]) -> list[str]:
    """Write one sentence on all cases, and one on each that misses its target."""
    targets = result["targets"]
    missed = [target for target in targets if not target["met"]]
    lines = [f"auto is within {TARGETS[0]:g}x of the best in {len(targets) - len(missed)} of {len(targets)} cases"]
    lines += [
        f"{label(t['case'])}, {t['direction']}: {times_as_long(t['ratio'])} as long as {t['rival']}, missed"
        for t in sorted(missed, key=lambda t: -t["ratio"])
    ]
    return [*lines, "rates that fit best: " + ", ".join(f"{k} {v:.1e}" for k, v in result["summary"].items())]


def fitted_rates(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Fit the prices of `equikit.plans.costs._rates` to the forward times, by relative error."""
    work, times = [], []
    for record in records:
        if record["direction"] != "forward" or "median" not in record or record["rival"] not in WORK:
            continue
        case = Case(**record["case"])
        plan, sizes = layer(case)
        work.append(astuple(WORK[record["rival"]](plan, case.batch, sizes)))
        times.append(record["median"])
    scaled = np.array(work, float) / np.array(times)[:, None]
    prices, _ = nnls(scaled, np.ones(len(times)))
    return {field.name: float(price) for field, price in zip(fields(Rates), prices, strict=True)}


WORK = {"factored": factored_work, "dense": dense_work}
TARGETS = (1.2,)
STYLE = replace(
    TIMES,
    check_targets=regrets,
    markdown=partial(markdown, sentences=regret_lines),
    target_lines=regret_lines,
    summary=fitted_rates,
    plot=plot,
)
BENCHMARK = Benchmark(
    title="Methods",
    summary='method="auto" against the methods it chooses from',
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
    family=True,
)
