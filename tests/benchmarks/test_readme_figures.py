"""The README and the pages of the documentation state stored figures."""

from __future__ import annotations

import math
import re
from typing import Any

from documents import README, said

from benchmarks.core import lines
from benchmarks.core.folders import RESULTS

CASES = {"2 → 2, 8, 32": (2, 8, 32), "2 → 2, 64, 32": (2, 64, 32), "3 → 3, 16, 8": (3, 16, 8)}


def two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:#.2g}"


def readme_cell(record: dict[str, Any] | None, base: float) -> str:
    """A slowdown, the memory that was missing, or a dash."""
    if record is not None and record.get("median"):
        return f"{two_digits(record['median'] / base)} ×"
    missing = re.search(r"needs ([\d.]+) GiB", (record or {}).get("reason") or "")
    return f"{float(missing[1]):.0f} GiB" if missing else "–"


def test_the_readme_states_the_stored_times() -> None:
    """IGN's own code stacks outputs at 2 → 2 alone, so that the README compares it there only."""
    stored = lines.read(RESULTS / "permutation_layers.jsonl")
    readme = README.read_text(encoding="utf-8")
    for name, (k, n, batch) in CASES.items():
        for direction, head in (("forward", name), ("forward+backward", "")):
            found = {
                record["rival"]: record
                for record in stored
                if record["direction"] == direction
                and {"k": k, "n": n, "batch": batch}.items() <= record["case"].items()
            }
            base = found["equikit"]["median"]
            dense = "dense" if direction == "forward" else "dense, assembled"
            rivals = [found.get(rival) for rival in (dense, "einsum", "einsum, staged")]
            rivals += [found.get("stacked") if k == 2 else None, found.get("EMLP")]
            cells = [two_digits(base * 1e3), *(readme_cell(record, base) for record in rivals)]
            label = f"{head} | forward" if head else "| and backward"
            assert f"| {label} | {' | '.join(cells)} |" in readme


SAID = said()
Record = dict[str, Any]


def found(name: str, direction: str, **case: Any) -> dict[str, Record]:
    """Records of a benchmark by rival, of one direction and the case with these entries."""
    stored = lines.read(RESULTS / f"{name}.jsonl")
    chosen = [r for r in stored if r["direction"] == direction and case.items() <= r["case"].items()]
    assert len({r["rival"] for r in chosen}) == len(chosen)
    return {record["rival"]: record for record in chosen}


def ratio(records: dict[str, Record], one: str, other: str) -> float:
    return records[one]["median"] / records[other]["median"]


def compile_seconds(record: Record) -> float:
    return record["trace_seconds"] + record["compile_seconds"]


def test_the_readme_states_the_stored_times_on_edges() -> None:
    way = {"layer": "15 maps", "n": 100_000, "edges": 1_000_000}
    records = (found("sparse", direction, **way) for direction in ("forward", "training"))
    forward, training = (by_rival["equikit"]["median"] for by_rival in records)
    text = f"take {1e3 * forward:.2g} ms, and {1e3 * training:.3g} ms with the gradient."
    assert text in SAID


def test_the_readme_states_the_stored_choice_of_method() -> None:
    small = found("methods", "forward", layer="A(5) 3 → 3", batch=4096, width=1)
    taken = [f"{small[rival]['median'] * 1e3:.2g}" for rival in ("auto", "factored")]
    assert f"takes {taken[0]} ms for 4,096 samples; step by step it would take {taken[1]} ms." in SAID


def test_the_readme_states_the_stored_cost_of_calls() -> None:
    more, by_hand = [], []
    for k, n in ((1, 8), (1, 32), (1, 128), (2, 8), (3, 4)):
        eager, compiled = (found("dispatch", way, k=k, n=n)["equikit"]["median"] for way in ("eager", "forward"))
        more.append((eager - compiled) * 1e3)
        rivals = [found("dispatch", way, k=k, n=n) for way in ("forward", "training")]
        by_hand += [ratio(of, "equikit", "by hand, nnx") for of in rivals if "by hand, nnx" in of]
    assert f"without it a layer call takes {min(more):.1f} to {max(more):.1f} ms longer" in SAID
    assert f"a small layer takes at most {math.ceil(100 * max(by_hand)) / 100} times as long as the same" in SAID


def test_the_readme_states_the_stored_seconds_of_bases() -> None:
    texts = []
    for group, k, n in (("S", 2, 8), ("O", 2, 8), ("O", 1, 16), ("O", 3, 6)):
        rivals = found("basis_construction", "basis", group=group, k=k, l=k, n=n)
        ours, theirs = rivals["equikit"]["median"] * 1e3, rivals["EMLP"]
        time = f"{two_digits(theirs['median'])} s" if "median" in theirs else f"more than {theirs['longer_than']:g} s"
        texts.append(f"{group}({n}) {k} → {k} in {two_digits(ours)} ms against {time}")
    for text in texts:
        assert text in SAID
    rivals = found("basis_construction", "basis", group="SO", k=2, l=2, n=2)
    null_space, ours = (rivals[name]["median"] * 1e3 for name in ("NumPy", "equikit"))
    text = f"(up to {ours / null_space:.0f} times: SO(2) 2 → 2, {null_space:.2g} ms against {ours:.2g})"
    assert text in SAID
    every = [found("basis_construction", "basis", **record["case"]) for record in all_bases()]
    assert max(ratio(of, "equikit", "NumPy") for of in every) == ratio(rivals, "equikit", "NumPy")


def all_bases() -> list[Record]:
    """Records of the dense null space at n = 2."""
    stored = lines.read(RESULTS / "basis_construction.jsonl")
    return [r for r in stored if r["rival"] == "NumPy" and r["case"]["n"] == 2 and "median" in r]


def test_the_readme_states_the_stored_ratios_to_peers() -> None:
    space = [found("peers", way, layer="O(3) 3 → 3") for way in ("forward", "forward+backward")]
    e3nn, cue = ([f"{ratio(of, 'equikit', name):.1f}" for of in space] for name in ("e3nn-jax", "cuEquivariance"))
    assert (
        f"O(3) 3 → 3 takes {e3nn[0]} times as long as e3nn-jax's `Linear` on the same irreps, with its gradient "
        f"{e3nn[1]} times, and {cue[0]} times as long as cuEquivariance, with its gradient {cue[1]} times."
    ) in SAID
    whole = [found("peers", way, layer="MLP, 692 terms") for way in ("forward", "forward+backward")]
    ours = [compile_seconds(of["equikit"]) for of in whole]
    faster = compile_seconds(whole[0]["one term at a time"]) / ours[0]
    assert (
        f"compiles {faster:.1f} times as fast as one term at a time: in {ours[0]:.1f} s, and with its gradient in "
        f"{ours[1]:.1f} s."
    ) in SAID
