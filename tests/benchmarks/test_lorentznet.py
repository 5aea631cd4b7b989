"""Simulated jets have the likelihood that they are said to have, and networks on them the symmetry."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import said
from flax import nnx
from in_numpy import by_numpy, in_numpy

from benchmarks.core import command, lines, paper
from benchmarks.core.folders import RESULTS
from benchmarks.core.results import joined
from benchmarks.data import jets as data
from benchmarks.data.jets import CUT, RESONANCE, STRENGTH, WIDTH, Jets, boosts, directions, jets, log_likelihood_ratio
from benchmarks.papers.lorentznet_2201_08187 import BENCHMARK, GAMMA, MODELS, PAPER, RIVALS, TASK, auc, random_boosts
from benchmarks.papers.lorentznet_2201_08187._networks import LorentzAttention, LorentzNet, Pairs, Vectors, usual

SOME = jets(60, 0)


def fast(of: Jets, gamma: float = GAMMA) -> Jets:
    return of.moved(boosts(directions(np.random.default_rng(1), len(of)), gamma))


def total(of: Jets) -> np.ndarray:
    found: np.ndarray = of.momenta.sum(axis=1)
    return found


def test_jets_are_as_described() -> None:
    assert SOME.labels.sum() == 30
    sizes = SOME.mask.sum(axis=1)
    assert sizes.min() >= data.FEWEST
    assert sizes.max() <= data.MOST
    np.testing.assert_allclose(data.squared(SOME.momenta), 0, atol=1e-10)
    assert not SOME.momenta[~SOME.mask].any()
    assert (SOME.momenta[SOME.mask][:, 0] > 0).all()
    p = total(SOME)
    mass, size = np.sqrt(data.squared(p)), np.linalg.norm(p[:, 1:], axis=1)
    assert (mass > data.MASSES[0]).all()
    assert (mass < data.MASSES[1]).all()
    speed = np.hypot(p[:, 1], p[:, 2]) / mass
    assert (speed > data.TRANSVERSE[0]).all()
    assert (speed < data.TRANSVERSE[1]).all()
    assert (np.abs(np.arctanh(p[:, 3] / size)) < data.RAPIDITY).all()


def test_boosts_keep_products_and_have_their_factor() -> None:
    found = boosts(directions(np.random.default_rng(0), 5), 10.0)
    metric = np.diag([1.0, -1, -1, -1])
    np.testing.assert_allclose(found @ metric @ found.swapaxes(1, 2), np.broadcast_to(metric, (5, 4, 4)), atol=1e-12)
    np.testing.assert_allclose(found[:, 0, 0], 10)


def test_signal_jets_have_a_part_with_the_mass_of_the_resonance() -> None:
    for p, mask in zip(SOME.momenta[SOME.labels == 1][:10], SOME.mask[SOME.labels == 1][:10], strict=True):
        bits = np.arange(2 ** mask.sum())[:, None] >> np.arange(mask.sum()) & 1
        mass = np.sqrt(np.maximum(data.squared(bits @ p[mask]), 0))
        assert np.abs(mass - RESONANCE).min() < 4 * WIDTH


def product(p: np.ndarray) -> float:
    found: float = p[0] ** 2 - p[1:] @ p[1:]
    return found


def virtuality(t: float, most: float, stable: bool) -> float:
    """The density of a squared mass, or the probability of a stable parton."""
    if stable:
        return min(1.0, (CUT / most) ** STRENGTH)
    return STRENGTH * t ** (STRENGTH - 1) / most**STRENGTH if CUT < t < most else 0.0


def phase_space(t: float, one: float, two: float) -> float:
    """The density of an isotropic decay: 1 / 4 pi in the angles, over the Jacobian q / 4 sqrt(t) of d^4p."""
    q = np.sqrt(t**2 + one**2 + two**2 - 2 * (t * one + t * two + one * two)) / (2 * np.sqrt(t))
    found: float = 4 * np.sqrt(t) / q / (4 * np.pi)
    return found


def splits(members: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All ordered pairs of nonempty parts."""
    every = itertools.chain(*(itertools.combinations(members, k) for k in range(1, len(members))))
    return [(one, tuple(i for i in members if i not in one)) for one in every]


def shower(p: np.ndarray, members: tuple[int, ...]) -> float:
    """The sum over all histories of a parton, the first part of each split drawn first."""
    if len(members) == 1:
        return 1.0
    t, found = product(p[list(members)].sum(axis=0)), 0.0
    for one, two in splits(members):
        a, b = (product(p[list(part)].sum(axis=0)) for part in (one, two))
        drawn = virtuality(a, t, len(one) == 1)
        drawn *= virtuality(b, (np.sqrt(t) - np.sqrt(max(a, 0))) ** 2, len(two) == 1)
        found += drawn * phase_space(t, max(a, 0), max(b, 0)) * shower(p, one) * shower(p, two)
    return found


def decay(p: np.ndarray) -> float:
    """The sum over all histories of a particle that decays into the resonance, the first part, and a parton."""
    members, t, found = tuple(range(len(p))), product(p.sum(axis=0)), 0.0
    for one, two in splits(members):
        a, b = (product(p[list(part)].sum(axis=0)) for part in (one, two))
        if len(one) > 1:
            mass = np.sqrt(a)
            peak = np.exp(-(((mass - RESONANCE) / WIDTH) ** 2) / 2) / (np.sqrt(2 * np.pi) * WIDTH) / (2 * mass)
            other = virtuality(b, (np.sqrt(t) - mass) ** 2, len(two) == 1)
            found += peak * other * phase_space(t, a, max(b, 0)) * shower(p, one) * shower(p, two)
    return found


def test_the_ratio_is_that_of_all_histories() -> None:
    drawn = [p for p in data._showers(np.random.default_rng(3), True, 400) if len(p) <= 5]
    assert {len(p) for p in drawn} == {4, 5}
    for p in drawn[:8]:
        wanted = np.log(decay(p) / shower(p, tuple(range(len(p)))))
        np.testing.assert_allclose(data._log_ratio(p[None]), [wanted], rtol=1e-7)


def test_the_ratio_does_not_see_boosts_and_orders() -> None:
    few = SOME.take(slice(0, 12))
    moved = fast(few).momenta
    for p, other, mask in zip(few.momenta, moved, few.mask, strict=True):
        turned = other[mask][::-1]
        np.testing.assert_allclose(data._log_ratio(turned[None]), data._log_ratio(p[mask][None]), atol=1e-4)


@pytest.mark.slow
def test_the_ratio_is_calibrated() -> None:
    """The mean of the ratio over background is one; by its posterior, jets are signal as often as it says."""
    drawn = jets(1000, 5)
    ratio = np.exp(log_likelihood_ratio(drawn))
    assert abs(ratio[drawn.labels == 0].mean() - 1) < 0.15
    posterior = ratio / (1 + ratio)
    for least in (0.0, 0.2, 0.4, 0.6, 0.8):
        part = (posterior >= least) & (posterior < least + 0.2)
        assert abs(posterior[part].mean() - drawn.labels[part].mean()) < 2.5 / np.sqrt(part.sum()) / 2


def test_the_area_is_the_share_of_ordered_pairs() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, 9, 50).astype(float), generator.integers(0, 2, 50)
    one, two = scores[labels == 1][:, None], scores[labels == 0]
    assert auc(scores, labels) == pytest.approx(np.mean((one > two) + 0.5 * (one == two)))


def test_augmentation_boosts_every_jet() -> None:
    p, mask = SOME.momenta.astype(np.float32), SOME.mask
    moved, same, labels = in_numpy(
        lambda *batch: random_boosts(batch, key=jax.random.key(0)), p, mask, SOME.labels.astype(np.float32)
    )
    assert (same == mask).all()
    assert (labels == SOME.labels).all()
    before, after = total(SOME), np.float64(moved).sum(axis=1)
    np.testing.assert_allclose(data.squared(after), data.squared(before), rtol=1e-3)
    factors = after[:, 0] / before[:, 0]
    assert factors.max() > 3
    assert factors.min() < 0.9
    assert (factors < 2 * GAMMA).all()


def test_usual_features_are_relative_to_beam_and_jet() -> None:
    angle = 0.7
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    found, turned = (by_numpy(usual)(of.momenta, of.mask) for of in (SOME, SOME.moved(np.stack([turn] * 60))))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(turned, found, atol=1e-4)
    along = fast(SOME)
    assert np.abs(by_numpy(usual)(along.momenta, along.mask) - found).max() > 1


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: LorentzNet(4, 2, rngs, step=0.1),
        lambda rngs: Pairs(8, 2, rngs),
        pytest.param(lambda rngs: LorentzAttention(8, 1, rngs), marks=pytest.mark.slow),
        pytest.param(lambda rngs: Vectors(4, 1, rngs, vectors=2), marks=pytest.mark.slow),
    ],
    ids=["LorentzNet", "pairs", "attention", "vectors"],
)
def test_networks_do_not_see_boosts_orders_and_absent_particles(make: Callable[[nnx.Rngs], nnx.Module]) -> None:
    network = by_numpy(make(nnx.Rngs(0)))
    few = SOME.take(slice(0, 4))
    p, mask = few.momenta.astype(np.float32), few.mask
    found = network(p, mask)
    assert found.shape == (4,)
    assert np.ptp(found) > 1e-4
    order = np.random.default_rng(0).permutation(data.MOST)
    np.testing.assert_allclose(network(p[:, order], mask[:, order]), found, atol=1e-5)
    np.testing.assert_allclose(network(np.where(mask[..., None], p, np.float32(3)), mask), found, atol=1e-5)
    np.testing.assert_allclose(network(fast(few, 3.0).momenta.astype(np.float32), mask), found, atol=2e-3)


def test_published_values_have_a_cell() -> None:
    assert {cell.rivals for cell in BENCHMARK.cells(False)} == {(rival,) for rival in RIVALS}
    assert set(MODELS) < set(RIVALS)
    assert {(one.task, one.rival) for one in PAPER.published} <= {(TASK, rival) for rival in RIVALS}
    assert {rival for claim in PAPER.claims for rival in (claim.better, claim.than)} <= set(RIVALS)


def test_the_guide_states_the_stored_errors() -> None:
    ours = paper.values(joined(lines.read(RESULTS / "lorentznet_2201_08187.jsonl")))

    def percent(rival: str, score: str = "error, as drawn") -> str:
        return f"{100 * ours[TASK, rival, score].mean:.0f} %"

    known = "likelihood ratio", "Lorentz attention", "pairs"
    ratio, attention, pairs = map(percent, known)
    for rival in known:
        assert abs(ours[TASK, rival, "error, moved"].mean - ours[TASK, rival, "error, as drawn"].mean) < 0.01
    text = said()
    assert f"ratio has the wrong class for {ratio} of the jets" in text
    assert f"are added for {attention}, and a network of pairs such as `Pairs` for {pairs}; the boosts" in text
    changed = percent("transformer", "error, moved")
    assert f"has the wrong class for {percent('transformer')}, and for {changed} after the boosts" in text


@pytest.mark.slow
def test_it_runs_and_reports(tmp_path: Path) -> None:
    assert command.main(["run", "lorentznet_2201_08187", "--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "lorentznet_2201_08187.md").read_text(encoding="utf-8")
    assert "*jets*" in text
    assert "| likelihood ratio |" in text
    assert "AUC, moved" in text
    assert (tmp_path / "lorentznet_2201_08187.png").stat().st_size > 10_000
