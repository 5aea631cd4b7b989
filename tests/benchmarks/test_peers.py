"""Every rival of `peers` computes what equikit computes, and its targets are read as they are meant."""

from __future__ import annotations

import functools
import importlib.util
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from benchmarks.core import lines
from benchmarks.core.harness import relative_error
from benchmarks.core.measurement import Skip
from benchmarks.core.report import cells
from benchmarks.core.targets import rows
from benchmarks.speed import _peer_irreps, _peer_layers, _peer_weightspace, peers
from benchmarks.speed._peer_targets import BASES, STYLE, TARGETS, YARDSTICKS
from benchmarks.speed._permutation_rivals import Shape
from benchmarks.speed.peers import BENCHMARK, LAYERS, RIVALS, Case
from benchmarks.speed.permutation_layers import DIRECTIONS, TOLERANCE

CASES = (
    Case("S 1 → 1", 4, 3, 2),
    Case("S 2 → 2", 3, 2, 2),
    Case("O 2 → 2", 3, 2, 2),
    Case("O(3) 3 → 3", 3, 2, 2),
    Case("RNN kernel, 15 terms", 4, 2, 2),
    Case("MLP, 32 terms", 3, 2, 2),
)
NEEDED = {"EMLP": "emlp", "e3nn-jax": "e3nn_jax", "cuEquivariance": "cuequivariance_jax"}
PAIRS = [
    (case, rival, way)
    for case in CASES
    for rival in LAYERS[case.layer][1]
    for way in DIRECTIONS
    if rival not in (*YARDSTICKS, "EMLP")
    # `test_permutation_layers` has the gradients of these.
    and (way == "forward" or rival not in ("stacked", "einsum", "dense, assembled", "einsum, staged"))
]


def is_installed(rival: str) -> bool:
    return rival not in NEEDED or importlib.util.find_spec(NEEDED[rival]) is not None


@functools.cache
def results(case: Case, direction: str, rival: str) -> dict[str, jax.Array]:
    """What a rival computes, in the shared form."""
    contenders = {one.rival: one for one in peers.contenders(case, direction, seed=3)}
    entry = contenders[rival].make()
    return dict(entry.comparable(jax.jit(entry.function)(*entry.arguments)))


@pytest.mark.parametrize(("case", "rival", "way"), PAIRS, ids=[f"{c.layer}, {r}, {w}" for c, r, w in PAIRS])
def test_rivals_compute_the_same(case: Case, rival: str, way: str) -> None:
    if not is_installed(rival):
        with pytest.raises(Skip, match="is not installed"):
            results(case, way, rival)
        return
    expected, got = results(case, way, "equikit"), results(case, way, rival)
    assert {name: array.shape for name, array in got.items()} == {name: a.shape for name, a in expected.items()}
    assert all(np.abs(np.asarray(array)).max() > 1e-3 for array in expected.values())
    assert relative_error(got, expected) < TOLERANCE[way]


def test_every_rival_is_described_and_timed() -> None:
    timed = {"equikit", *(rival for _, rivals in LAYERS.values() for rival in rivals)}
    assert timed == set(RIVALS)
    assert {case.layer for case in (*peers.FULL, *peers.QUICK)} == set(LAYERS)


def test_yardsticks_are_forward_only_and_of_the_right_size() -> None:
    case = Case("S 2 → 2", 4, 2, 3)
    ways = {way: [one.rival for one in peers.contenders(case, way, 0)] for way in DIRECTIONS}
    assert set(ways["forward"]) - set(ways["forward+backward"]) == set(YARDSTICKS)
    shape = Shape(2, 2, 4, 2, 3)
    # Two wires: the tensor itself, in two orders. One: rows, columns, diagonal. None: all entries, diagonal.
    assert sorted(_peer_layers.product_sizes(shape)) == [(2, 6, 6), (8, 9, 9), (32, 3, 6)]
    weights = jnp.ones((15, 3, 3))
    layer = _peer_layers.core_product(shape, weights)
    assert [y.shape for y in layer.apply(layer.parameters, layer.enter(None))] == [(32, 6), (8, 9), (2, 6)]
    x = jnp.zeros(shape.input)
    np.testing.assert_array_equal(_peer_layers.copy(shape, weights).apply((), x), x + 1)


def test_counts_of_terms() -> None:
    for layers in (2, 3, 12):
        space = _peer_weightspace.mlp(layers, 4, 1, 1)
        assert len(space.terms) == 2 * layers
        assert len(space.labels) == layers + 1
    # 4 L^2 + 10 L - 4 of them; the 692 for L = 12 are counted pair by pair below, as making that layer takes seconds.
    module = _peer_weightspace.mlp(3, 4, 1, 1).module(0)
    assert sum(len(weights) for weights in _peer_weightspace.shared_weights(module).values()) == 62
    assert len(_peer_weightspace.rnn(4, 1, 1).module(0).kernel["h h -> h h"][...]) == 15


def count(top: set[str], bottom: set[str]) -> int:
    """Maps between tensors whose labels differ: each shared label is joined or not."""
    return 2 ** len(top & bottom)


def test_the_largest_weight_space_has_692_terms() -> None:
    terms = [set(term.split()) for term in _peer_weightspace.mlp(12, 4, 1, 1).terms]
    assert sum(count(top, bottom) for top in terms for bottom in terms) == 692


@pytest.mark.parametrize("order", [1, 2, 3])
def test_diagrams_and_irreps_span_the_same_maps(order: int) -> None:
    blocks = _peer_irreps.blocks(order)
    matrix = np.concatenate([m.reshape(len(m), -1) for *_, m in blocks], axis=1)
    assert matrix.shape[0] == matrix.shape[1] == sum(copies**2 for _, copies, _ in blocks)
    assert np.linalg.matrix_rank(matrix) == len(matrix) == {1: 1, 2: 3, 3: 15}[order]
    # The map of gradients is the transpose of the map of weights.
    shape = _peer_irreps.TensorShape(order, order, 3, 1, 2)
    one, two = jax.random.split(jax.random.key(0))
    weights = jax.random.normal(one, (len(matrix), 2, 2))
    there = _peer_irreps.to_blocks(shape, weights)
    others = [jax.random.normal(key, m.shape) for key, m in zip(jax.random.split(two, len(there)), there, strict=True)]
    left = sum(float(jnp.vdot(a, b)) for a, b in zip(there, others, strict=True))
    assert left == pytest.approx(float(jnp.vdot(weights, _peer_irreps.from_blocks(shape, others))), rel=1e-4)


def test_the_loss_of_tensors_does_not_depend_on_the_basis() -> None:
    y = jax.random.normal(jax.random.key(0), (4, 3, 5))
    turned = jnp.einsum("ij,bjc->bic", jnp.linalg.qr(jax.random.normal(jax.random.key(1), (3, 3)))[0], y)
    assert float(_peer_irreps.lengths(turned)) == pytest.approx(float(_peer_irreps.lengths(y)), rel=1e-5)
    assert float(_peer_irreps.lengths(2 * y)) != pytest.approx(2 * float(_peer_irreps.lengths(y)), rel=1e-2)


def record(case: dict, direction: str, rival: str, median: float, compiled: float = 1.0) -> dict:
    times = {"median": median, "trace_seconds": 0.0, "compile_seconds": compiled}
    return {"case": case, "direction": direction, "rival": rival, **times}


def test_targets_of_each_kind() -> None:
    small, large = {"layer": "S 2 → 2", "n": 64}, {"layer": "MLP, 692 terms", "n": 32}
    times = {"equikit": 2.0, "stacked": 14.0, "core product": 0.5, "copy": 1.5}
    records = [record(small, "forward", rival, time) for rival, time in times.items()]
    records += [record(small, "forward+backward", "equikit", 9.0)]
    records += [record(large, "forward", "equikit", 1.0, 2.0), record(large, "forward", "one term at a time", 1.0, 7.0)]
    found = {line["rival"]: line for line in STYLE.check_targets(TARGETS, records) if line["direction"] == "forward"}
    assert (found["stacked"]["ratio"], found["stacked"]["met"]) == (7.0, True)
    limit = found["the slower of core product and copy"]
    assert (limit["ratio"], limit["met"]) == (pytest.approx(4 / 3), True)  # the slower of the two counts
    assert (found["one term at a time"]["ratio"], found["one term at a time"]["met"]) == (3.5, True)
    whole = [line for line in STYLE.check_targets(TARGETS, records) if line.get("against")]
    assert [(line["ratio"], line["met"]) for line in whole] == [(4.5, False)]
    unmeasured = [line for line in records if line["rival"] != "copy"]
    assert [line["ratio"] for line in STYLE.check_targets(TARGETS, unmeasured) if line.get("most")] == [4.5, None]
    said = STYLE.target_lines({"targets": STYLE.check_targets(TARGETS, records)})
    assert "S 2 → 2, n 64, forward, over stacked: 7.0x, wanted 6x, met" in said
    assert "S 2 → 2, n 64, forward+backward, as a multiple of equikit, forward: 4.5x, wanted at most 4x, missed" in said
    assert "MLP, 692 terms, n 32, forward, seconds to compile over one term at a time: 3.5x, wanted 3x, met" in said
    # The row about bases comes from the benchmark that measures them.
    assert sum("(stored run of basis_construction)" in line for line in said) == 3


def test_every_target_has_its_cases() -> None:
    for target in TARGETS:
        matching = [case for case in peers.FULL if not target.case.items() - vars(case).items()]
        assert matching, target
        names = (target.rival,) if isinstance(target.rival, str) else target.rival
        assert all(name == "equikit" or name in LAYERS[case.layer][1] for case in matching for name in names)


@pytest.mark.slow
def test_a_quick_run() -> None:
    measure = BENCHMARK.start(True, 0, lambda text: None)
    chosen = [cell for cell in BENCHMARK.cells(True) if cell.case["layer"] in ("S 1 → 1", "O(3) 3 → 3")]
    found = [m.record() for cell in chosen for m in measure(cell)]
    assert [m["rival"] for m in found] == [rival for cell in chosen for rival in cell.rivals]
    assert {m["rival"] for m in found} == {"equikit", "by hand", "e3nn-jax", "cuEquivariance"}
    assert all(m["relative_error"] < 1e-3 for m in found if m["status"] == "measured")
    assert {m["rival"] for m in found if m["status"] == "measured"} >= {"equikit", "by hand"}
    targets = STYLE.check_targets(TARGETS, found)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(STYLE.terminal_table(BENCHMARK.title, found, list(RIVALS)))
    assert "Peers, S 1 → 1: median ms, and the ratio to equikit" in console.export_text()
    table = STYLE.markdown({"circumstances": "A day.", "targets": targets, "measurements": found}, RIVALS)
    assert "*S 1 → 1*\n\n| case | direction | equikit | by hand |" in table  # each kind with its own rivals
    assert "*O(3) 3 → 3*\n\n| case | direction | equikit | e3nn-jax | cuEquivariance |" in table


def test_targets_of_bases_are_the_ratios_of_the_stored_run() -> None:
    seconds = {
        (line["case"]["group"], line["case"]["k"], line["case"]["l"], line["case"]["n"], line["rival"]): line
        for line in lines.read(BASES)
    }
    quoted = STYLE.check_targets((), [])
    assert [target["from"] for target in quoted] == ["stored run of basis_construction"] * 3
    for target in quoted:
        case = tuple(target["case"][name] for name in ("group", "k", "l", "n"))
        emlp, ours = seconds[*case, "EMLP"], seconds[*case, "equikit"]
        assert target["ratio"] == pytest.approx(
            (emlp["longer_than"] if target["at_least"] else emlp["median"]) / ours["median"]
        )


def test_a_faster_rival_is_bold_and_a_yardstick_is_not() -> None:
    times = {"equikit": 2.0, "stacked": 1.0, "einsum": 1.995, "copy": 0.5}
    records = [record({"layer": "S 2 → 2", "n": 64}, "forward", rival, time) for rival, time in times.items()]
    assert cells(rows(records)[0][2], list(times), YARDSTICKS) == [
        "2000",
        "1000 (**0.50x**)",
        "1995 (1.00x)",
        "500 (0.25x)",
    ]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(STYLE.terminal_table("Peers", records, list(times)))
    shown = console.export_text(styles=True)
    assert "\x1b[1m0.50x\x1b[0m" in shown
    assert "\x1b[1m0.25x" not in shown


def test_single_points_are_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path: drawn.append(self))
    quartiles = {"lower_quartile": 1.0, "upper_quartile": 3.0}
    records = [
        record({"layer": layer, "n": n, "batch": 1}, "forward", rival, time) | quartiles
        for layer, n, rival, time in (
            ("S 1 → 1", 2, "equikit", 2.0),
            ("S 1 → 1", 4, "equikit", 3.0),
            ("O(3) 3 → 3", 3, "equikit", 2.0),
            ("O(3) 3 → 3", 3, "e3nn-jax", 1.5),
        )
    ]
    STYLE.plot(tmp_path / "a.png", {"measurements": records}, list(RIVALS), BENCHMARK.panel, BENCHMARK.axis)
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["S 1 → 1, forward", "O(3) 3 → 3, forward"]
    alone = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panels[1].lines}
    assert alone == {"equikit": ([3], [2000.0]), "e3nn-jax": ([3], [1500.0])}
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["equikit", "e3nn-jax"]
