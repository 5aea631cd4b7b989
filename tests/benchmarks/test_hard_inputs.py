"""The benchmark of hard inputs tells right from wrong, and its report can be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import equikit as ek
from benchmarks.accuracy import _hard_doubt, hard_inputs
from benchmarks.accuracy._hard_clouds import clouds, with_moments
from benchmarks.accuracy._hard_copies import Copies, Input, Moves, boosts, moved
from benchmarks.accuracy._hard_errors import KINDS, STEP, errors, slopes
from benchmarks.accuracy._hard_events import SPEEDS, events
from benchmarks.accuracy._hard_graphs import graphs
from benchmarks.accuracy._hard_methods import METHODS, Rival
from benchmarks.accuracy._hard_programs import Results
from benchmarks.accuracy._hard_report import COUNTS, Most, check_targets
from benchmarks.core import command, lines
from benchmarks.core.folders import RESULTS

RNG = np.random.default_rng(0)
CLOUDS = [Input("five", "random", RNG.normal(size=(5, 3)), 1.0), Input("three", "random", RNG.normal(size=(3, 3)), 1.0)]
MOMENTA = [Input("four", "random", RNG.normal(size=(4, 4)), 1.0, speed=0.9)]
MATRICES = [Input("four", "random", RNG.normal(size=(4, 4)), 1.0)]


def copied(moves: Moves, dtype: str = "float64", copies: int = 4, shift: float = 0.0) -> Copies:
    inputs = MATRICES if moves.matrices else MOMENTA if moves.turns == "O(1,3)" else CLOUDS
    return moved(inputs, moves, dtype, 6, copies, shift=shift)


def results(copies: Copies, vector: np.ndarray, reported: bool = False) -> Results:
    flag = np.full(copies.shape, reported)
    return Results(np.ones(copies.shape), vector, np.zeros_like(vector), flag, flag)


def kinds(copies: Copies, found: Results, dtype: str) -> tuple[list[str], list[str]]:
    said = errors(copies, found).kinds(dtype)
    outputs, forces = ([KINDS[k] for k in said[way]] for way in ("outputs", "forces"))
    return outputs, forces


@pytest.mark.parametrize(
    "moves",
    [Moves("O(3)"), Moves("H(3)"), Moves("", permutes=True), Moves("O(1,3)", permutes=False), Moves(matrices=True)],
    ids=str,
)
def test_copies_are_moved_and_brought_together(moves: Moves) -> None:
    copies = copied(moves)
    together = copies.together(copies.arrays)
    assert not np.allclose(copies.arrays[:, 0], copies.arrays[:, 1])
    np.testing.assert_allclose(together, np.broadcast_to(together[:, :1], together.shape), atol=1e-12)


def test_gradients_turn_by_the_inverse_transpose() -> None:
    copies = copied(Moves("O(1,3)", permutes=False))
    metric = np.array([1.0, -1, -1, -1])
    gradient = metric * copies.arrays  # of half the square
    together = copies.together(gradient, covariant=True)
    np.testing.assert_allclose(together, np.broadcast_to(together[:, :1], together.shape), atol=1e-12)


def test_copies_are_rounded_after_they_are_shifted() -> None:
    copies = copied(Moves("O(3)", translates=True), "float32", shift=1e6)
    assert np.array_equal(copies.arrays, copies.arrays.astype(np.float32))
    assert np.abs(copies.arrays[0, 1]).max() > 1e5
    assert not copies.arrays[1, :, 3:].any()  # padding stays zero


@pytest.mark.parametrize(("dtype", "exact"), [("float32", 1e-6), ("float64", 1e-12)])
def test_each_kind_is_told(dtype: str, exact: float) -> None:
    copies = copied(Moves("O(3)"), dtype)
    turned, fixed = copies.arrays, np.broadcast_to(copies.arrays[:, :1], copies.arrays.shape)
    nan = np.full_like(turned, np.nan)
    assert kinds(copies, results(copies, turned), dtype) == (["right"] * 2, ["right"] * 2)
    assert kinds(copies, results(copies, fixed), dtype)[0] == ["silent"] * 2
    assert kinds(copies, results(copies, nan), dtype)[0] == ["silent"] * 2
    assert kinds(copies, results(copies, fixed, reported=True), dtype)[0] == ["reported"] * 2
    assert kinds(copies, results(copies, nan, reported=True), dtype)[0] == ["reported"] * 2
    assert kinds(copies, results(copies, turned, reported=True), dtype)[0] == ["needless"] * 2
    assert errors(copies, results(copies, turned)).outputs.max() < exact


def test_one_copy_that_is_reported_does_not_excuse_the_others() -> None:
    copies = copied(Moves("O(3)"))
    fixed = np.broadcast_to(copies.arrays[:, :1], copies.arrays.shape)
    found = results(copies, fixed)
    found.reported[:, 0] = True
    assert kinds(copies, found, "float64")[0] == ["silent"] * 2
    found.reported[:, 1:-1] = True  # a single copy has none to differ from
    assert kinds(copies, found, "float64")[0] == ["reported"] * 2


def test_refused_inputs_are_judged_by_what_goes_on_with_them() -> None:
    copies = copied(Moves("O(3)"))
    refused = results(copies, np.full_like(copies.arrays, np.nan), reported=True)
    assert (errors(copies, refused, results(copies, copies.arrays)).kinds("float64")["outputs"] == 2).all()


def test_wrong_forces_are_silent_and_make_a_report_needed() -> None:
    copies = copied(Moves("O(3)"))
    fixed = np.broadcast_to(copies.arrays[:, :1], copies.arrays.shape)
    for reported, kind in ((False, "silent"), (True, "reported")):
        flag = np.full(copies.shape, reported)
        found = Results(np.ones(copies.shape), copies.arrays, fixed, flag, flag)
        assert kinds(copies, found, "float64")[1] == [kind] * 2


class Known:
    """A program whose energy is known."""

    def __init__(self, energy: object) -> None:
        self.energy = energy

    def rows(self, arrays: np.ndarray, *others: object) -> tuple[np.ndarray]:
        return (self.energy(arrays),)  # type: ignore[operator]


def told(energy: object, force: np.ndarray, copies: Copies) -> np.ndarray:
    flag = np.zeros(copies.shape, bool)
    here = np.stack([energy(copies.arrays[:, i]) for i in range(copies.shape[1])], axis=1)  # type: ignore[operator]
    force = force * copies.scale[:, None, None]
    found = Results(here, copies.arrays, np.broadcast_to(force[:, None], copies.arrays.shape), flag, flag)
    return slopes(Known(energy), copies, found)  # type: ignore[arg-type]


def test_forces_are_compared_with_slopes() -> None:
    copies = copied(Moves("O(3)"))
    first = copies.arrays[:, 0]
    found = told(lambda x: np.sum(np.sin(x), axis=(-1, -2)), np.cos(first), copies)
    np.testing.assert_allclose(found[..., 0], found[..., 1], atol=1e-7)
    wrong = told(lambda x: np.sum(np.sin(x), axis=(-1, -2)), -np.cos(first), copies)
    assert np.abs(wrong[..., 0] - wrong[..., 1]).max() > 0.1


def test_slopes_at_kinks_are_means_of_both_sides_and_jumps_have_none() -> None:
    copies = moved(CLOUDS[:1], Moves("O(3)"), "float64", 6, 2)
    first = copies.arrays[:, 0]
    force = np.zeros_like(first)
    force[0, 1, 0] = 1
    found = told(lambda x: np.abs(x[:, 0, 0] - first[0, 0, 0]) + x[:, 1, 0], force, copies)
    np.testing.assert_allclose(found[..., 0], found[..., 1], atol=1e-7)
    jumps = (
        lambda x: np.sign(x[:, 0, 0] - first[0, 0, 0]),
        lambda x: (np.abs(x - first).max(axis=(-1, -2)) > STEP / 100) * 1.0,  # at the input itself
    )
    for jump in jumps:
        assert np.isnan(told(jump, force, copies)[..., 1]).all()


def test_inputs_that_are_reported_have_no_slopes() -> None:
    copies = copied(Moves("O(3)"))
    found = results(copies, copies.arrays, reported=True)
    assert np.isnan(slopes(Known(None), copies, found)).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("speed", SPEEDS)
def test_boosts_keep_the_metric(speed: float) -> None:
    metric = np.diag([1.0, -1, -1, -1])
    found = boosts(np.full(3, speed), np.random.default_rng(0))
    np.testing.assert_allclose(found.swapaxes(-1, -2) @ metric @ found, np.broadcast_to(metric, (3, 4, 4)), atol=1e-9)
    np.testing.assert_allclose(found[:, 0, 0], 1 / np.sqrt(1 - speed**2))


def test_clouds_have_the_moments_that_are_asked_for() -> None:
    points = with_moments(np.random.default_rng(0), 10, np.array([[1, 1 - 1e-3, 0.3], [1, 1 - 1e-9, 0.3]]))
    found = np.linalg.eigvalsh(points.swapaxes(-1, -2) @ points / 10)
    np.testing.assert_allclose(found, [[0.3, 1 - 1e-3, 1], [0.3, 1 - 1e-9, 1]], atol=1e-12)


@pytest.mark.parametrize("make", [clouds, graphs, events])
def test_names_of_inputs_are_unique(make: object) -> None:
    names = [one.name for one in make(0)]  # type: ignore[operator]
    assert len(names) == len(set(names)) > 40


def test_strongly_regular_graphs_are() -> None:
    for one in graphs():
        if one.family == "strongly regular" and one.name != "cube":
            a, n = one.array, len(one.array)
            square, values = a @ a, np.unique(a @ a)
            assert len(np.unique(np.diag(square))) == 1
            assert len(values) <= 3
            assert len(np.unique(square[a == 1])) == len(np.unique(square[(a == 0) & ~np.eye(n, dtype=bool)])) == 1


def test_the_doubt_is_compared_with_the_error_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(x: np.ndarray) -> SimpleNamespace:
        matrices = x[None, :, :3]
        elements = SimpleNamespace(linear={"x": matrices})
        return SimpleNamespace(
            elements=elements, weights=matrices[..., 0, 0] ** 0, info=SimpleNamespace(doubt=x[:, 3, 0])
        )

    monkeypatch.setattr(Rival, "symmetrized", lambda self, size: SimpleNamespace(frame=frame))
    generator = np.random.default_rng(0)
    inputs = []
    for doubt in (1e-3, 1e-12):
        points = generator.normal(size=(4, 3))
        points[3, 0] = doubt
        inputs.append(Input("one", "random", points, 1.0))
    said, wrong = _hard_doubt.doubts("PCA", inputs)
    np.testing.assert_allclose(said, [1e-3, 1e-12], rtol=1e-6)
    assert ((wrong > 1e-9) & (wrong < 1e-7)).all()
    assert _hard_doubt.agreement(said, wrong)["uncovered"] == 0.5


def test_agreement_of_known_doubts() -> None:
    found = _hard_doubt.agreement(np.array([1.0, 2.0, np.inf, 1.0]), np.array([0.1, 1.0, 1.0, 0.0]))
    assert found == {"inputs": 4, "uncovered": 0, "infinite": 0.25, "ratio": 6.0}


def test_targets() -> None:
    def record(silent: float, **about: object) -> dict[str, object]:
        case = {"family": "flat", "dtype": "float32", "random": False} | about
        scores = {"right": 8.0, "reported": 1.0, "needless": 1.0, "silent": silent, "inputs": 10.0 + silent}
        return {"rival": "PCA", "direction": "outputs", "case": case, "scores": scores}

    records = [record(1), record(2, family="far"), record(0, family="many", random=True)]
    targets = [Most("PCA", "outputs", "silent", 0), Most("PCA", "outputs", "reported", 0.2, "many")]
    missed, met = check_targets(targets, records)
    assert (missed["value"], missed["met"], met["value"], met["met"]) == (3, False, 0.2, True)
    assert not check_targets([Most("QR", "outputs", "silent", 0)], records)
    assert COUNTS.target_lines({"targets": [missed, met]}) == [
        "PCA, hard inputs, outputs, silent: 3 of 23, wanted at most 0, missed",
        "PCA, many, outputs, reported: 20.00% of 10, wanted at most 20.00%, met",
    ]


def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(hard_inputs, "QUICK", ("GroupAverage",))
    assert command.main(["run", "hard_inputs", "--quick", "--output", str(tmp_path)]) == 0
    of_lists = [r for r in lines.read(tmp_path / "hard_inputs.jsonl") if r["rival"] == "GroupAverage"]
    inputs = sum(r["scores"]["inputs"] for r in of_lists if r["direction"] == "outputs")
    assert inputs == 2 * len(clouds())
    for record in of_lists:
        assert sum(record["scores"][kind] for kind in KINDS) == record["scores"]["inputs"]
        assert len(record["silent"]) == record["scores"]["silent"]
    text = (tmp_path / "hard_inputs.md").read_text(encoding="utf-8")
    assert "| GroupAverage | float32 | " in text
    assert "| PCA, Sort, 5 random points | float32 | 256 | " in text
    assert (tmp_path / "hard_inputs.png").stat().st_size > 1000


def test_every_method_is_measured() -> None:
    listed = [(cell.rivals, cell.case["dtype"]) for cell in hard_inputs.cells(False) if not cell.case["random"]]
    assert listed == [((rival,), dtype) for rival in METHODS for dtype in hard_inputs.DTYPES]
    assert list(METHODS) == list(hard_inputs.RIVALS)


def test_records_are_of_their_cell_and_gaps_are_said() -> None:
    measure = hard_inputs.start(True, 0, lambda text: None)
    one, *_, family, _ = hard_inputs.cells(True)
    (found,) = measure(family)
    assert (found.case, found.direction, (found.rival,)) == (family.case, family.direction, family.rivals)
    gap = {"case": one.case, "direction": "", "rival": "PCA", "status": "failed", "reason": "no memory"}
    result = {"circumstances": "A day.", "measurements": [gap, found.record()], "targets": []}
    text = COUNTS.markdown(result, hard_inputs.RIVALS)
    assert "| PCA, Sort, 5 random points | float32 | 256 | 0.00% | " in text
    assert text.endswith("\n- PCA failed: no memory (dtype float32, random False)\n")


@pytest.mark.parametrize(("points", "digits"), [(1000, 0), (100, 2)])
def test_the_docstring_of_sort_gives_the_stored_parts_of_reported_clouds(points: int, digits: int) -> None:
    (scores,) = (
        record["scores"]
        for record in lines.read(RESULTS / "hard_inputs.jsonl")
        if record["rival"] == "PCA, Sort" and record["case"]["family"] == f"{points} random points"
    )
    part = 100 * (scores["reported"] + scores["needless"]) / scores["inputs"]
    assert scores["silent"] == 0
    assert f"{part:.{digits}f} %" in " ".join((ek.frames.Sort.__doc__ or "").split())
