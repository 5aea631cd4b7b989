"""Every rival of `permutation_layers` computes what equikit computes: outputs, losses and gradients."""

from __future__ import annotations

import functools
import importlib.util

import jax
import numpy as np
import pytest

from benchmarks.core.harness import relative_error
from benchmarks.core.measurement import Skip
from benchmarks.speed import permutation_layers
from benchmarks.speed._permutation_rivals import Shape

CASES = [
    *((shape, way) for shape in (Shape(1, 1, 5, 3, 4), Shape(2, 2, 3, 2, 3)) for way in permutation_layers.DIRECTIONS),
    *((shape, "forward") for shape in (Shape(2, 1, 4, 2, 3), Shape(1, 2, 4, 2, 3))),
]
RIVALS = [rival for rival in permutation_layers.RIVALS if rival not in ("equikit", "EMLP")]


@functools.cache
def results(shape: Shape, direction: str, rival: str) -> dict[str, jax.Array]:
    """What a rival computes, in the shared form."""
    contenders = {one.rival: one for one in permutation_layers.contenders(shape, direction, seed=3)}
    entry = contenders[rival].make()
    return dict(entry.comparable(jax.jit(entry.function)(*entry.arguments)))


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize(("shape", "direction"), CASES, ids=[f"{s.k}->{s.l} n={s.n} {way}" for s, way in CASES])
def test_rivals_compute_the_same(shape: Shape, direction: str, rival: str) -> None:
    if rival == "dense" and direction != "forward":
        with pytest.raises(Skip, match="training has to assemble"):
            results(shape, direction, rival)
        return
    expected, got = results(shape, direction, "equikit"), results(shape, direction, rival)
    assert got.keys() == expected.keys()
    assert relative_error(got, expected) < permutation_layers.TOLERANCE[direction]


SLOW = ("einsum", "einsum, staged", "opt_einsum")
"""They take many seconds to compile at 203 diagrams."""


@pytest.mark.parametrize(
    "rival", ["dense", "stacked", *(pytest.param(rival, marks=pytest.mark.slow) for rival in SLOW)]
)
def test_order_three(rival: str) -> None:
    shape = Shape(3, 3, 3, 2, 2)
    error = relative_error(results(shape, "forward", rival), results(shape, "forward", "equikit"))
    assert error < permutation_layers.TOLERANCE["forward"]


@pytest.mark.skipif(importlib.util.find_spec("emlp") is not None, reason="emlp is installed")
def test_without_emlp_the_reason_is_given() -> None:
    with pytest.raises(Skip, match="emlp is not installed"):
        results(CASES[0][0], "forward", "EMLP")


def test_the_reference_is_the_definition() -> None:
    shape = Shape(2, 2, 4, 2, 3)
    (contender, *_) = permutation_layers.contenders(shape, "forward", seed=3)
    entry = contender.make()
    weights, x = entry.arguments
    (kernel,) = weights.values()
    basis = shape.space.matrices(4).reshape(-1, 4, 4, 4, 4)
    expected = np.einsum("dijkl,zklx,dxy->zijy", basis, np.asarray(x, np.float64), np.asarray(kernel, np.float64))
    np.testing.assert_allclose(np.asarray(entry.function(weights, x)), expected, atol=1e-4 * np.abs(expected).max())


def test_a_cell_is_measured_as_it_is_described_and_a_resumed_run_gives_up_the_same() -> None:
    benchmark = permutation_layers.BENCHMARK
    cell, *_ = benchmark.cells(True)
    given_up = {"case": {"k": 1, "l": 1, "n": 2}, "direction": "forward", "rival": "einsum", "given_up": "too slow"}
    measure = benchmark.start(True, 0, lambda text: None, earlier=[given_up])
    found = {m.rival: m for m in measure(cell)}
    assert tuple(found) == cell.rivals
    assert all(m.case == cell.case and m.direction == cell.direction for m in found.values())
    assert (found["einsum"].status, found["einsum"].reason) == ("skipped", "too slow")
    assert all(found[rival].median for rival in ("equikit", "dense", "einsum, staged", "stacked"))
    for quick in (True, False):
        names = [cell.name for cell in benchmark.cells(quick)]
        assert len(set(names)) == len(names)
