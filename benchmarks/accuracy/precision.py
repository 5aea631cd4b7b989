"""Rounding errors of layers in float32, bfloat16 and float16, of outputs and gradients, against float64."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy._precision_report import ERRORS, Most
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement
from benchmarks.speed._layers import LayerCase, Weights, function

RIVALS: dict[str, str] = {
    "float32": "`precision=None`",
    "float32, highest": '`precision="highest"`',
    "bfloat16": "`precision=None`",
    "bfloat16, highest": '`precision="highest"`',
    "bfloat16, rounded": "the result of float64, rounded once: no computation in bfloat16 can be closer",
    "float16": "`precision=None`",
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
WHAT = ("output", "gradient by input", "gradient by weights")
# Root mean square. Tensors between reductions, products and expansions are rounded too, so a few roundings of 1.7e-3
# (bfloat16) or 2e-4 (float16) each.
TARGETS = tuple(
    Most(rival, what, most)
    for rival, most in {"float32": 1e-6, "bfloat16": 8e-3, "float16": 1e-3}.items()
    for what in WHAT
)

FULL = (
    LayerCase("S", 1, 1, 4096, 32),
    LayerCase("S", 2, 2, 64, 32),
    LayerCase("S", 3, 3, 16, 32),
    LayerCase("O", 2, 2, 64, 32),
    LayerCase("Lorentz", 2, 2, 4, 4096),
    LayerCase("A", 2, 2, 4, 4096),
    LayerCase("SO", 3, 3, 3, 1024),
    LayerCase("S x O(3)", 2, 2, 1024, 32),
)
QUICK = (LayerCase("S", 1, 1, 64, 4, 4), LayerCase("S", 2, 2, 8, 4, 4), LayerCase("O", 2, 2, 8, 4, 4))


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer: one computation gives output and gradients."""
    return [Cell(asdict(case), "", tuple(RIVALS), case) for case in (QUICK if quick else FULL)]


def results(case: LayerCase, arrays: tuple[Weights, jax.Array, jax.Array], **options: Any) -> dict[str, np.ndarray]:
    """Return the output, and the pullback of a given cotangent, in float64."""
    layer = function(case, "forward", **options)

    @jax.jit
    def both(weights: Weights, x: jax.Array, cotangent: jax.Array) -> tuple[Any, ...]:
        y, pull = jax.vjp(layer, weights, x)
        return y, *pull(cotangent)

    y, by_weights, by_input = both(*arrays)
    names = sorted(by_weights)
    wide = [np.asarray(by_weights[name], np.float64).ravel() for name in names]
    return dict(zip(WHAT, (*(np.asarray(a, np.float64) for a in (y, by_input)), np.concatenate(wide)), strict=True))


def errors(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """The largest error over the largest entry, and the root of the ratio of mean squares."""
    difference = np.abs(found - exact)
    return {
        "largest": float(difference.max() / np.abs(exact).max()),
        "rms": float(np.sqrt(np.mean(difference**2) / np.mean(exact**2))),
    }


def measured(case: LayerCase, seed: int) -> list[Measurement]:
    """The errors of one layer; float64 gets the rounded numbers, so that only errors of the computation count."""
    measurements = []
    rng = np.random.default_rng(seed + 1)
    # Numbers about a mean that is not zero, so that errors of long sums do not cancel; of a size at which all sums stay
    # in the narrow range of float16.
    cotangent = 1 + rng.normal(size=case.shape(case.l))
    cotangent /= cotangent.size**0.25
    with jax.enable_x64(True):
        weights, x = case.arrays(jnp.float64, seed)
        x = x + 1
        for name, dtype in DTYPES.items():
            narrow = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), (weights, x, jnp.asarray(cotangent)))
            exact = results(case, jax.tree.map(lambda a: a.astype(jnp.float64), narrow))
            for rival in (rival for rival in RIVALS if rival.split(",")[0] == name):
                if rival.endswith("rounded"):
                    found = {what: a.astype(dtype).astype(np.float64) for what, a in exact.items()}
                else:
                    found = results(case, narrow, precision="highest" if "highest" in rival else None)
                for what in WHAT:
                    m = Measurement(asdict(case), what, rival)
                    m.scores = errors(found[what], exact[what])
                    measurements.append(m)
    return measurements


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: layers share no data."""

    def measure(cell: Cell) -> list[Measurement]:
        tell("compute")
        return measured(cell.given, seed)

    return measure


BENCHMARK = Benchmark(
    title="Rounding errors of layers",
    summary="errors of outputs and gradients in float32, bfloat16 and float16 against float64",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=ERRORS,
    timed=False,
)
