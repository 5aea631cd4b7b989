"""Layers on an accelerator: checked, then timed relative to the device's peak."""

from __future__ import annotations

import functools
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import recorded, relative_error
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.speed._accelerator_report import STYLE, Near, Share
from benchmarks.speed._layers import DIRECTIONS, MIXED, LayerCase, account, function
from benchmarks.speed._target_seconds import expected_seconds
from equikit.plans import TARGETS as DEVICES, Method, compiled_cost

RIVALS: dict[str, str] = {
    "float32": "the layer, `precision=None`",
    "bfloat16": "the layer with weights and input in bfloat16",
    "float32, fused": "the layer in kernels made from its plan",
    "bfloat16, fused": "the same in bfloat16",
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
PROGRAMS: dict[str, tuple[str, Method]] = {
    **{dtype: (dtype, "auto") for dtype in DTYPES},
    **{f"{dtype}, fused": (dtype, "fused") for dtype in DTYPES},
}
"""The dtype and the method of each rival."""
TARGETS = (
    *(Share(rival, {"group": "S", "k": 2, "l": 2}, "forward", 0.6) for rival in RIVALS),
    *(Near(direction, 0.25) for direction in DIRECTIONS),
)
# Largest error over the largest entry, of the naive method in float32 at highest precision. With `precision=None` an
# accelerator may round the factors of products in float32 to fewer bits: 11 with TF32.
TOLERANCE = {"float32": 5e-3, "bfloat16": 5e-2}
HIGHEST = 1e-5

FULL = (
    LayerCase("S", 2, 2, 256, 32, 32),
    LayerCase("S", 3, 3, 64, 4, 32),
    LayerCase("O", 3, 3, 3, 65_536, 32),
    LayerCase(MIXED, 2, 2, 1024, 512, 32),
    LayerCase("S", 1, 1, 4096, 256, 32),
    LayerCase("S", 2, 2, 64, 512, 32),
    LayerCase("S", 2, 2, 256, 8, 128),
    LayerCase("S", 2, 1, 256, 32, 32),
    LayerCase("S", 3, 2, 64, 4, 32),
    LayerCase("O", 2, 2, 3, 262_144, 32),
)
QUICK = (
    LayerCase("S", 2, 2, 16, 2, 8),
    LayerCase("S", 3, 1, 4, 2, 8),
    LayerCase("O", 3, 1, 3, 16, 8),
    LayerCase(MIXED, 2, 2, 16, 2, 8),
)


@dataclass(frozen=True)
class Budget:
    """The budget of a run.

    Attributes:
        turns, turn: the number of turns, each with several calls that are timed together, and the seconds of one.
        stream: bytes that are copied to measure the bandwidth.
        side: of the matrices whose product is timed.
    """

    turns: int = 9
    turn: float = 0.08
    stream: int = 2**30
    side: int = 8192


def limits(quick: bool) -> Budget:
    """The limits of a run."""
    return Budget(turns=3, turn=0.002, stream=2**22, side=128) if quick else Budget()


def cells(quick: bool) -> list[Cell]:
    """Return the device's peak, of a copy and of a product, then each layer in each direction."""
    layers = [
        Cell(asdict(case), direction, tuple(DTYPES if quick else RIVALS), case)  # fused kernels need a GPU
        for case in (QUICK if quick else FULL)
        for direction in DIRECTIONS
    ]
    return [*(Cell({"group": name}, "roof", tuple(DTYPES), roof) for name, roof in ROOFS.items()), *layers]


def small(case: LayerCase) -> LayerCase:
    """Return the same layer at a size at which the naive method runs."""
    return replace(case, n=min(case.n, 4), batch=2, channels=min(case.channels, 8))


def timed(call: Callable[[], Any], budget: Budget) -> list[float]:
    """Return seconds per call, for calls that are dispatched together and awaited once."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    jax.block_until_ready(call())
    count = int(min(max(budget.turn / max(time.perf_counter() - start, 1e-7), 1), 500))
    times = []
    for _ in range(budget.turns):
        start, result = time.perf_counter(), None
        for _ in range(count):
            result = call()  # the earlier result is dropped, so that its memory is free
        jax.block_until_ready(result)
        times.append((time.perf_counter() - start) / count)
    return times


def flat(result: Any) -> dict[str, jax.Array]:
    """The arrays of an output, or of a loss with gradients, by place, in float32."""
    return {str(i): leaf.astype(jnp.float32) for i, leaf in enumerate(jax.tree.leaves(result))}


@functools.cache
def reference(case: LayerCase, direction: str) -> Callable[..., Any]:
    """Return the naive method at the highest precision, compiled once for all rivals."""
    return jax.jit(function(case, direction, method="naive", precision="highest"))


def check(case: LayerCase, direction: str, rival: str) -> dict[str, float]:
    """Errors of a small layer against the naive method, over the largest entry.

    Raises:
        AssertionError: if one is larger than rounding explains.
    """
    case = small(case)
    dtype, method = PROGRAMS[rival]
    wanted = reference(case, direction)
    arrays = case.arrays(DTYPES[dtype])
    exact = flat(wanted(*jax.tree.map(lambda a: a.astype(jnp.float32), arrays)))
    bounds = {None: TOLERANCE[dtype], **({"highest": HIGHEST} if dtype == "float32" else {})}
    errors = {}
    for precision, bound in bounds.items():
        name = rival if precision is None else f"{rival}, {precision}"
        found = jax.jit(function(case, direction, method=method, precision=precision))(*arrays)
        errors[name] = relative_error(flat(found), exact)
        if not errors[name] <= bound:
            raise AssertionError(f"{name} differs from the naive method by {errors[name]:.1e}: {case}, {direction}")
    return errors


def copies(budget: Budget) -> list[Measurement]:
    """Return the bandwidth of a copy, for each dtype."""
    found = []
    for rival, dtype in DTYPES.items():
        x = jnp.ones(budget.stream // jnp.dtype(dtype).itemsize, dtype)
        call = functools.partial(jax.jit(lambda x: x + 1), x)
        found.append(rate({"group": "a copy", "n": x.size}, rival, call, budget, "bytes_a_second", 2 * x.nbytes))
    return found


def products(budget: Budget) -> list[Measurement]:
    """Return the rate of a product of matrices, for each dtype."""
    found = []
    for rival, dtype in DTYPES.items():
        a = jnp.ones((budget.side, budget.side), dtype)
        call, flops = functools.partial(jax.jit(jnp.matmul), a, a), 2 * budget.side**3
        found.append(rate({"group": "a product", "n": budget.side}, rival, call, budget, "flops_a_second", flops))
    return found


def rate(
    case: dict[str, Any], rival: str, call: Callable[[], Any], budget: Budget, score: str, amount: float
) -> Measurement:
    """Return the amount that a call moves or computes in a second."""
    m = Measurement(case, "roof", rival)
    m.times = timed(call, budget)
    m.summarize()
    assert m.median is not None
    m.scores = {score: amount / m.median}
    return m


ROOFS = {"a copy": copies, "a product": products}


def least_bytes(case: LayerCase, direction: str, dtype: Any) -> int:
    """Return the bytes that have to be moved: forward the input is read and the output written.

    In training the output is read again for its cotangent, the input for the gradients of weights, and the gradient by
    the input is written. Weights hardly count.
    """
    whole = case.tensor_bytes(dtype)
    if direction == "forward":
        return whole
    return 2 * whole + jnp.dtype(dtype).itemsize * math.prod(case.shape(case.k))


def least_flops(case: LayerCase, direction: str) -> int:
    """Return the operations of the plan; its gradients by weights and by input take as many each."""
    free = {label: case.n for label, size in case.plan.signature.sizes.items() if size is None}
    flops, _ = case.plan.cost(batch=case.batch, n=free or None)
    return int(flops) * (1 if direction == "forward" else 3)


def kernels(text: str) -> dict[str, float]:
    """Count the operations of some kinds in the compiled program."""
    (entry,) = re.findall(r"^ENTRY .*?^}", text, re.MULTILINE | re.DOTALL)
    names = Counter(re.findall(r" (fusion|custom-call|dot|copy|transpose|convolution)\(", entry))
    return {f"kernels: {name}": float(count) for name, count in names.items()}


def expected(program: Callable[..., Any], case: LayerCase, dtype: Any) -> dict[str, float]:
    """Return the seconds that counts and datasheet let expect; none on devices that `compiled_cost` does not know."""
    here = jax.devices()[0].device_kind
    target = next((name for name, device in DEVICES.items() if device.kind == here), None)
    if target is None:
        return {}
    counts = compiled_cost(program, *case.abstract(dtype), target=target).as_dict()
    return {"expected_seconds": expected_seconds(counts, target)}


def measured(m: Measurement, case: LayerCase, budget: Budget, roof: Mapping[str, float]) -> None:
    """Compile a layer, read its memory, and time it."""
    name, method = PROGRAMS[m.rival]
    dtype, program = DTYPES[name], function(case, m.direction, method=method)
    start = time.perf_counter()
    lowered = jax.jit(program).lower(*case.abstract(dtype))
    m.trace_seconds = time.perf_counter() - start
    start = time.perf_counter()
    compiled = lowered.compile()
    m.compile_seconds = time.perf_counter() - start
    found = account(case, compiled, dtype)
    found.write(m)
    x = jax.random.normal(jax.random.key(0), case.shape(case.k), dtype)
    m.times = timed(functools.partial(compiled, case.weights(dtype), x), budget)
    m.summarize()
    assert m.median is not None
    moved, flops = least_bytes(case, m.direction, dtype), least_flops(case, m.direction)
    copied, multiplied = moved / roof["bytes_a_second"], flops / roof["flops_a_second"]
    m.flops = float(flops)
    m.scores = {
        "bytes": float(moved),
        "share_of_copy": copied / m.median,
        "share_of_roof": max(copied, multiplied) / m.median,
        "over_input_and_output": found.ratio,
        **expected(program, case, dtype),
        **kernels(compiled.as_text()),
    }


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare the device's peak, which is measured when it is first needed.

    Raises:
        Skip: if JAX sees no accelerator, unless the run is quick.
    """
    if jax.default_backend() == "cpu" and not quick:
        raise Skip(
            "python -m benchmarks run accelerator needs an accelerator, and JAX sees only the CPU here.\n"
            "Install JAX for yours (pip install 'jax[cuda13]'), or pass --quick: it runs tiny sizes on the CPU, to see "
            "that everything works."
        )
    budget = limits(quick)

    @functools.cache
    def peak(roof: Callable[[Budget], list[Measurement]]) -> list[Measurement]:
        tell(f"peak of {roof.__name__}")
        return roof(budget)

    def measure(cell: Cell) -> list[Measurement]:
        if cell.direction == "roof":
            return peak(cell.given)
        known: dict[str, dict[str, float]] = {dtype: {} for dtype in DTYPES}
        for roof in ROOFS.values():
            for m in peak(roof):
                known[m.rival] |= m.scores or {}
        found = []
        for rival in cell.rivals:
            m = Measurement({**asdict(cell.given)}, cell.direction, rival)
            found.append(m)
            with recorded(m):
                tell(f"check {rival}")
                m.relative_error, *highest = check(cell.given, cell.direction, rival).values()
                tell(f"compile and time {rival}")
                measured(m, cell.given, budget, known[PROGRAMS[rival][0]])
                if highest:
                    m.scores = {**(m.scores or {}), "error_at_highest": highest[0]}
        return found

    return measure


BENCHMARK = Benchmark(
    title="Layers on an accelerator",
    summary="layers on an accelerator over the bandwidth of a copy, float32 and bfloat16; needs one, but for --quick",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
)
