"""The parser of collectives and the model of time, on texts made by hand; one real program for eight devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed import scaling
from benchmarks.speed._scaling_model import H100, H100_LATENCY, Machine, collective_seconds, step_seconds
from benchmarks.speed._scaling_program import LAYOUTS, in_a_process
from benchmarks.speed._scaling_report import SCALING
from equikit.plans.targets import Collective, collectives

HLO = """HloModule jit_step, num_partitions=8

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(f32[] %a, f32[] %b)
}

ENTRY %main (x: f32[4,8]) -> f32[4,8] {
  %all-reduce.1 = (f32[], bf16[3,5]{1,0}) all-reduce(%a, %b), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%sum
  %all-gather.2 = f64[8,6]{1,0} all-gather(%c), channel_id=2, replica_groups=[2,4]<=[8], dimensions={0}
  %reduce-scatter.3 = f32[10]{0} reduce-scatter(%d), replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%sum
  %all-to-all.4 = (s32[2]{0}, s32[2]{0}) all-to-all(%e, %f), replica_groups=mesh['a'=2,'b'=4] {'a'}
  %permute.5 = pred[7]{0} collective-permute(%g), source_target_pairs={{0,5},{5,0}}
  %started = (f32[4]{0}, f32[32]{0}) all-gather-start(%h), replica_groups={}, dimensions={0}
  %done = f32[32]{0} all-gather-done(%started)
  %alone = f32[99]{0} all-reduce(%i), replica_groups={{0},{1}}, to_apply=%sum
  ROOT %last = c64[2]{0} all-reduce(%j), replica_groups=mesh['a'=2,'b'=4] {'b'}, to_apply=%sum, metadata={op_name="f"}
}
"""


def test_collectives_are_read_off_the_text() -> None:
    everyone = tuple(range(8))
    assert collectives(HLO, 8) == [
        Collective("all-reduce", 4 + 2 * 15, (0, 1, 2, 3)),
        Collective("all-gather", 8 * 48, (0, 1, 2, 3)),
        Collective("reduce-scatter", 40, (0, 4)),
        Collective("all-to-all", 16, (0, 4)),
        Collective("collective-permute", 7, (0, 5)),
        Collective("all-gather", 128, everyone),
        Collective("all-reduce", 16, (0, 1, 2, 3)),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  %a = f32[4]{0} all-reduce(%x), replica_groups=[2,4]<=[8]X, to_apply=%s", "not understood"),
        ("  %a = f32[4]{0} all-reduce(%x), replica_groups=mesh['a'=8] {'a':(1)2}, to_apply=%s", "not understood"),
    ],
)
def test_groups_that_are_not_known(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        collectives(text, 8)


def test_collectives_in_a_loop_are_refused() -> None:
    hlo = (
        "%body.1 (p: f32[4]) -> f32[4] {\n  %a = f32[4]{0} all-reduce(%p), replica_groups={}, to_apply=%s\n}\n\n"
        "ENTRY %main (x: f32[4]) -> f32[4] {\n  ROOT %w = f32[4]{0} while(%x), condition=%c, body=%body.1\n}\n"
    )
    with pytest.raises(ValueError, match=r"the loop body\.1 has collectives"):
        collectives(hlo, 8)
    assert len(collectives(hlo.replace("while", "call").replace("body=", "to="), 8)) == 1


def test_collectives_in_a_branch_of_a_loop_or_in_its_condition_are_refused() -> None:
    sent = "  ROOT %s = f32[4]{0} all-reduce(%a), replica_groups={{0,1}}, to_apply=%sum\n}\n\n"
    branch = f"%branch.1 (a: f32[4]) -> f32[4] {{\n  %a = f32[4]{{0}} parameter(0)\n{sent}"
    chosen = "  ROOT %c = f32[4]{0} conditional(%p, %a), branch_computations={%branch.1}\n}\n\n"
    body = f"%body.1 (a: f32[4]) -> f32[4] {{\n{chosen}"
    repeated = "  ROOT %w = f32[4]{0} while(%a), condition=%condition.1, body=%body.1\n}\n"
    loop = f"ENTRY %main (a: f32[4]) -> f32[4] {{\n{repeated}"
    with pytest.raises(ValueError, match=r"the loop body\.1 has collectives"):
        collectives(branch + body + loop, 2)
    condition = branch.replace("branch", "condition")
    with pytest.raises(ValueError, match=r"the loop condition\.1 has collectives"):
        collectives(condition + loop, 2)
    assert len(collectives(branch + loop, 2)) == 1


def test_bytes_of_the_ring_algorithms() -> None:
    group = (0, 1, 2, 3)
    assert Collective("all-reduce", 400, group).moved == 600  # 2 * 3/4
    assert Collective("all-gather", 400, group).moved == 300
    assert Collective("reduce-scatter", 100, group).moved == 300  # the whole array has 400
    assert Collective("all-to-all", 400, group).moved == 300
    assert Collective("collective-permute", 400, (0, 1)).moved == 400


def test_expected_seconds() -> None:
    inside, across = tuple(range(8)), tuple(range(0, 16))
    assert collective_seconds(H100, Collective("all-gather", 8 * 450_000, inside)) == pytest.approx(7e-6)
    # Across nodes a ring has eight ports of 50 GB/s, which is less than the link.
    assert collective_seconds(H100, Collective("all-gather", 16 * 400_000, across)) == pytest.approx(15e-6)
    # One device in each of two nodes has a port each.
    assert collective_seconds(H100, Collective("all-gather", 100_000, (0, 8))) == pytest.approx(1e-6)
    # Of 15 parts that a device sends to others, 8 are for the other node.
    everything = Collective("all-to-all", 16 * 50_000, across)
    assert collective_seconds(H100, everything) == pytest.approx(8e-6)
    assert collective_seconds(H100, Collective("collective-permute", 50_000, (0, 9))) == pytest.approx(1e-6)
    late = collective_seconds(H100_LATENCY, everything) - collective_seconds(H100, everything)
    assert late == pytest.approx(1e-6 * (6.8 + 7 * 0.6 + 5.0))
    reduced = Collective("all-reduce", 4, tuple(range(32)))
    late = collective_seconds(H100_LATENCY, reduced) - collective_seconds(H100, reduced)
    assert late == pytest.approx(1e-6 * (6.8 + 2 * (7 * 0.6 + 2 * 5.0)))


def test_a_step_is_the_longer_of_arithmetic_and_memory_and_then_collectives() -> None:
    machine = Machine(flops=10.0, memory=5.0, link=2.0, node=4, network=1.0)
    assert step_seconds(machine, 100.0, 20.0, []) == 10.0
    assert step_seconds(machine, 10.0, 20.0, []) == 4.0
    assert step_seconds(machine, 10.0, 20.0, [Collective("all-gather", 8, (0, 1))] * 2) == 8.0


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    return in_a_process(8, 8, 8, 2)


def test_with_the_batch_spread_only_the_gradient_is_exchanged(compiled: dict[str, Any]) -> None:
    exchanged = compiled["batch"]["collectives"]
    assert {each["kind"] for each in exchanged} == {"all-reduce"}
    assert sum(each["bytes"] for each in exchanged) == scaling.weight_bytes(8) + 4  # and the loss
    assert scaling.weight_bytes(8) == 4 * (15 * 64 + 2 * 8)


def test_work_is_divided_however_arrays_are_spread(compiled: dict[str, Any]) -> None:
    own = 4 * 2 * 8 * 8 * 8  # bytes of the input on one device
    for layout in LAYOUTS:
        assert compiled[layout]["flops"] < 2 * compiled["batch"]["flops"]  # done by every device it would be 8 times
    for each in compiled["tensor axis"]["collectives"]:
        assert each["bytes"] < 8 * own  # parts of the input are exchanged, it is never gathered
    assert "all-to-all" in {each["kind"] for each in compiled["tensor axis"]["collectives"]}


def test_a_quick_run_from_end_to_end(compiled: dict[str, Any], tmp_path: Path) -> None:
    alone = compiled["batch"] | {"collectives": []}
    records = [
        {"case": {"devices": count}, "rival": layout, "scores": scaling.scores(compiled[layout], alone, 8)}
        for layout in LAYOUTS
        for count in (8, 256)
    ]
    assert scaling.scores(alone, alone, 8)["efficiency H100"] == 1.0
    targets = SCALING.check_targets(scaling.TARGETS, records)
    assert [target["met"] for target in targets[:2]] == [True, True]
    result = {"measurements": records, "targets": targets}
    assert (
        SCALING.target_lines(result)[0]
        == "batch, 8 devices: 4 bytes exchanged beside the gradient, wanted at most 4, met"
    )
    SCALING.plot(tmp_path / "scaling.png", result, LAYOUTS, (), "devices")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    SCALING.terminal_table("title", records, LAYOUTS)
    gap = {"case": {"devices": 16}, "direction": "value and gradient", "rival": "batch", "reason": "no memory"}
    assert SCALING.check_targets(scaling.TARGETS, [*records, gap]) == targets
    SCALING.terminal_table("title", [*records, gap], LAYOUTS)


def test_a_cell_is_the_same_whether_or_not_those_before_it_were_measured(
    compiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def known(devices: int, *size: int) -> dict[str, Any]:
        started.append(devices)
        return compiled if devices > 1 else {"batch": compiled["batch"] | {"flops": 1e9, "collectives": []}}

    monkeypatch.setattr(scaling, "in_a_process", known)
    one, eight = scaling.cells(True)
    last = scaling.start(True, 0, lambda text: None)(eight)
    measure = scaling.start(True, 0, lambda text: None)
    assert [m.rival for m in measure(one)] == ["batch"]
    assert measure(eight) == last
    assert [m.rival for m in last] == list(LAYOUTS)
    assert started == [1, 8, 1, 8]
