"""One diagram times a tensor: the complexity of the paper, operation counts, and the growth of measured time with n."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Harness, Limits, compare, recorded
from benchmarks.core.measurement import Measurement
from benchmarks.speed._diagram_cases import BATCH, OVERHEAD, RIVALS, Row, free_rows, headed_rows
from benchmarks.speed._diagram_report import STYLE
from equikit.diagrams import Diagram, Factorization
from equikit.plans import apply, plan, weight_shapes

# No powers of two, where strided axes meet in few cache lines; even for Sp. Arrays are larger than the caches of a core
# and smaller than what is fetched from the system anew for each call (32 MiB with glibc; for a plan all its buffers
# together): crossing either border looks like growth.
SIZES = {(2, 2): (1000, 1260, 1600, 2000, 2400, 2800), (3, 1): (200, 230, 260, 300, 350, 400)}
SIZES |= dict.fromkeys([(3, 3), (2, 3)], (100, 116, 134, 152, 174, 196))
PLAN_SIZES = {(2, 2): (400, 500, 640, 800, 1000, 1260), (3, 1): (100, 120, 140, 160, 180, 200)}
PLAN_SIZES |= {(3, 3): (36, 44, 52, 60, 70, 84), (2, 3): (54, 62, 70, 84, 100, 116)}
DENSE_SIZES = {4: (34, 40, 48, 56, 62, 70), 5: (18, 20, 24, 28, 32), 6: (10, 12, 14, 16, 18)}
QUICK_SIZES = {(2, 2): (100, 160, 250), (3, 1): (20, 28, 40)}
QUICK_DENSE = {4: (8, 12, 16)}


@dataclass(frozen=True)
class Case:
    """A diagram at a size, and which rivals run.

    Attributes:
        row: the diagram.
        n: its size.
        factored, plan, dense: which rivals, the first of them in both forms.
        batch: vectors at once where there is a head.
        overhead: whether it measures the overhead.
    """

    row: Row
    n: int
    factored: bool = True
    plan: bool = True
    dense: bool = True
    batch: int = BATCH
    overhead: bool = False

    @property
    def record(self) -> dict[str, Any]:
        row = self.row
        record = {"k": row.k, "l": row.l, "group": row.family, "diagram": row.blocks, "n": self.n}
        return record if row.bound is None else record | {"batch": self.batch}

    @property
    def rivals(self) -> tuple[str, ...]:
        """Their names in the records."""
        wanted = {"factored": self.factored, "factored, written": self.factored, "plan": self.plan, "dense": self.dense}
        return tuple(rival + OVERHEAD * self.overhead for rival in RIVALS if wanted[rival])


def cases(quick: bool) -> list[Case]:
    """In the order in which they are run."""
    found = []
    for row in free_rows():
        if quick and (row.k, row.l) not in QUICK_SIZES:
            continue
        sizes, plans = ((QUICK_SIZES if quick else table)[row.k, row.l] for table in (SIZES, PLAN_SIZES))
        dense = (QUICK_DENSE if quick else DENSE_SIZES)[row.k + row.l]
        found += [Case(row, 2, overhead=True)]
        found += [Case(row, n, n in sizes, n in plans, n in dense) for n in sorted({*sizes, *plans, *dense})]
    for row in headed_rows():
        if row.bound is not None and not (quick and (row.k + row.l > 4 or row.bound > 4)):
            found += [Case(row, row.bound, batch=1, overhead=True), Case(row, row.bound)]
    return found


def limits(quick: bool) -> Limits:
    """Seconds of timed calls for a rival at one size."""
    return (
        Limits(seconds=0.002, least=3, patience=0.1) if quick else Limits(seconds=0.08, least=5, most=100, patience=0.6)
    )


def batched(row: Row) -> Factorization:
    """Return the factorization to apply; with a head the diagram gets an identity for the batch."""
    if row.bound is None:
        return row.diagram.factor()
    (term,) = row.diagram.tensor(Diagram.identity("batch")).terms
    return term.diagram.factor()


def calls(case: Case, seed: int) -> dict[str, tuple[Callable[[], Any], Callable[[], np.ndarray]]]:
    """For each rival the timed call and its result `[*axes]`, with a head `[*axes, batch]`; and the expected one."""
    row, n = case.row, case.n
    batch = () if row.bound is None else (case.batch,)
    x = np.random.default_rng(seed).standard_normal((*(n,) * row.k, *batch), np.float32)
    shape = (*(n,) * row.l, *batch)
    factored = functools.partial(batched(row).apply, x, {"x": n, "batch": case.batch})
    found: dict[str, tuple[Callable[[], Any], Callable[[], np.ndarray]]] = {"expected": (factored, factored)}
    if case.factored:
        out = np.empty(shape, np.float32)
        found["factored"] = factored, factored
        found["factored, written"] = (lambda: np.copyto(out, factored())), lambda: out
    if case.plan:
        planned = compiled_plan(row, n, x)
        found["plan"] = planned, lambda: np.moveaxis(np.asarray(planned()), 0, -1).reshape(shape)
    if case.dense:
        matrix = jnp.asarray(row.diagram.matrix(n).astype(np.float32))
        product = compiled(jnp.matmul, matrix, jnp.asarray(x.reshape(n**row.k, *batch)))
        found["dense"] = product, lambda: np.asarray(product()).reshape(shape)
    return found


def compiled(function: Callable[..., jax.Array], *arguments: Any) -> Callable[[], jax.Array]:
    """The call of a function with these arguments, compiled ahead."""
    run = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(run(*arguments))


def compiled_plan(row: Row, n: int, x: np.ndarray) -> Callable[[], jax.Array]:
    """The plan of the shape at this size, with a weight for the row's diagram only: `[batch, *axes, 1]`."""
    the_plan = plan(row.space)
    ((name, shape),) = weight_shapes(the_plan).items()
    weights = jnp.zeros(shape).at[list(row.space.diagrams).index(row.diagram)].set(1.0)
    array = jnp.asarray(x[None] if row.bound is None else np.moveaxis(x, -1, 0))[..., None]
    return compiled(lambda weights, x: apply(the_plan, x, {name: weights}), weights, array)


def timed(case: Case, harness: Harness, seed: int) -> list[Measurement]:
    """Time in turns the rivals whose results equal the expected one up to rounding of float32 sums."""
    found, rivals = [], calls(case, seed)
    expected = rivals.pop("expected")[1]()
    for rival, (call, result) in rivals.items():
        m = Measurement(case.record, f"{case.row.k} → {case.row.l}", rival + OVERHEAD * case.overhead)
        with recorded(m):
            call()
            compare(m, {"y": jnp.asarray(result())}, "factored", {"y": jnp.asarray(expected)}, 1e-3)
        found.append((m, call))
    harness.rounds([(m, call) for m, call in found if m.status == "measured"])
    for m, _ in found:
        m.summarize()
    return [m for m, _ in found]


def cells(quick: bool) -> list[Cell]:
    """Diagrams at all sizes, in the order in which they are run."""
    return [Cell(case.record, f"{case.row.k} → {case.row.l}", case.rivals, case) for case in cases(quick)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell, clock=time.process_time)  # growth, whatever else the machine does
    return lambda cell: timed(cell.given, harness, seed)


BENCHMARK = Benchmark(
    title="A diagram times a tensor",
    summary="one diagram of S, O, SO, Sp, A times a tensor: the paper's complexity, operations counted, growth of time",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    style=STYLE,
    panel=("group",),
)
