"""Every method is right on hard inputs, or reports them; and it reports none without need."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy._hard_copies import moved
from benchmarks.accuracy._hard_doubt import COVERED, HAS_DOUBT, RATIO, agreement, doubts
from benchmarks.accuracy._hard_errors import KINDS
from benchmarks.accuracy._hard_events import random_events
from benchmarks.accuracy._hard_families import FAMILIES, Family, normal
from benchmarks.accuracy._hard_methods import METHODS
from benchmarks.accuracy.hard_inputs import DOUBTED, DTYPES, LISTS, list_errors, program
from equikit import FrameError

pytestmark = [pytest.mark.slow, pytest.mark.compiled]

DRAWN = {1000: 128, 100: 512}
"""How many inputs of a random family are drawn, by their size."""


def test_refused_inputs_are_an_error_and_nan_in_compiled_programs() -> None:
    rival, listed = METHODS["PCA, error"], LISTS["clouds"]
    copies = moved(listed.make(0), rival.moves, "float32", listed.size, 1)
    found = program("PCA, error")(copies, "float32")
    assert found.refused.any()
    assert np.array_equal(found.refused, np.isnan(found.energy))
    refused = np.flatnonzero(found.refused[:, 0])
    array, there, scale = copies.arrays[refused, 0], copies.there[refused, 0], copies.scale[refused]
    sym, mask = rival.symmetrized(listed.size), {"p": there}
    array, scale = array.astype(np.float32), scale.astype(np.float32)
    with pytest.raises(FrameError):
        sym(array, scale, mask=mask)
    assert sym.info(array, mask=mask).refused.all()


@pytest.mark.parametrize("rival", METHODS)
def test_hard_inputs_are_right_or_reported(rival: str) -> None:
    wrong = {}
    for dtype in DTYPES:
        inputs, _, kinds = list_errors(rival, dtype)
        for way, kind in kinds.items():
            for bad in ("silent", "needless"):
                names = {one.name for one, k in zip(inputs, kind, strict=True) if KINDS[k] == bad}
                if names:
                    wrong[f"{dtype}, {way}, {bad}"] = names
    assert wrong == {}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_few_random_inputs_are_silent_or_reported(family: Family) -> None:
    found = family.counts(DRAWN.get(family.size, 2048))
    found["reported"] += found["needless"]
    parts = {kind: found[kind] / found["inputs"] for kind in family.limits}
    assert {kind: part for kind, part in parts.items() if part > family.limits[kind]} == {}


@pytest.mark.skipif(not HAS_DOUBT, reason="frames do not estimate their errors")
@pytest.mark.parametrize("rival", DOUBTED)
def test_the_doubt_covers_the_error_and_is_not_much_larger(rival: str) -> None:
    generator = np.random.default_rng(0)
    lorentz = METHODS[rival].listed == "events"
    inputs = random_events(2000, 0, generator) if lorentz else normal(20)(2000, generator)
    found = agreement(*doubts(rival, inputs))
    # The rounding of a network is estimated, and not followed.
    covered, ratio = (0.995, 30) if rival == "RotationCanonicalization" else (COVERED, RATIO)
    assert found["uncovered"] <= 1 - covered
    assert found["ratio"] <= ratio
