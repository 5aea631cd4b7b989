"""Jets of a heavy particle and of one parton, and the exact ratio of their likelihoods.

A parton of squared mass t that is larger than `CUT` splits into two. The squared mass of the first is t uᵃ with uniform
u and a = 1 / `STRENGTH`, as in a shower with a Sudakov factor of constant coupling; of the second likewise, with the
square of what mass is left in place of t. In the frame of the parton all directions are equally likely. A parton below
`CUT` is a massless constituent. A background jet is the shower of one parton. A signal jet is a particle of the same
mass, which decays into a resonance and a parton; the resonance decays into two partons, and all three partons shower.

All is defined by invariants, so that the density of the constituents is an invariant too. It is a sum over all binary
trees, which dynamic programming over subsets computes exactly (Macaluso et al., Cluster Trellis, arXiv:2002.11661).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

FEWEST, MOST = 8, 12
"""The numbers of constituents; other jets are drawn again."""
STRENGTH, CUT = 0.2, 1e-5
RESONANCE, WIDTH = 0.45, 0.01
"""The mean mass of the resonance in units of the mean mass of a jet, and its standard deviation."""
MASSES = (0.9, 1.1)
TRANSVERSE, RAPIDITY = (3.0, 4.0), 1.0
"""The momentum across the beam over the mass, and the largest pseudorapidity, of a jet as drawn."""


@dataclass(frozen=True)
class Jets:
    """Jets, float64.

    Attributes:
        momenta: `[N, 12, 4]`, massless, (E, p_x, p_y, p_z) with the beam along z; zero for absent constituents.
        mask: `[N, 12]`, which constituents are present.
        labels: `[N]`, 1 for signal.
    """

    momenta: np.ndarray
    mask: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: slice) -> Jets:
        """The jets of a slice."""
        return Jets(self.momenta[index], self.mask[index], self.labels[index])

    def moved(self, elements: np.ndarray) -> Jets:
        """Apply a matrix `[N, 4, 4]` to every jet."""
        return Jets(np.einsum("bij,bpj->bpi", elements, self.momenta), self.mask, self.labels)


def squared(p: np.ndarray) -> np.ndarray:
    """The squared masses of four-momenta."""
    found: np.ndarray = p[..., 0] ** 2 - np.sum(p[..., 1:] ** 2, axis=-1)
    return found


def boosts(directions: np.ndarray, gamma: np.ndarray | float) -> np.ndarray:
    """Matrices `[N, 4, 4]` of boosts along unit vectors `[N, 3]`."""
    n = len(directions)
    gamma = np.broadcast_to(np.asarray(gamma, float), n)
    found = np.broadcast_to(np.eye(4), (n, 4, 4)).copy()
    along = np.sqrt(gamma**2 - 1)[:, None] * directions
    found[:, 0, 0] = gamma
    found[:, 0, 1:] = found[:, 1:, 0] = along
    found[:, 1:, 1:] += (gamma - 1)[:, None, None] * directions[:, :, None] * directions[:, None, :]
    return found


def directions(generator: np.random.Generator, count: int) -> np.ndarray:
    """Uniform unit vectors `[count, 3]`."""
    v = generator.normal(size=(count, 3))
    found: np.ndarray = v / np.linalg.norm(v, axis=1, keepdims=True)
    return found


# How jets are drawn.


def _virtualities(generator: np.random.Generator, most: np.ndarray) -> np.ndarray:
    """The squared masses of partons, zero below the cut."""
    t = most * generator.random(len(most)) ** (1 / STRENGTH)
    return np.where(t < CUT, 0.0, t)


def _decay(
    generator: np.random.Generator, parent: np.ndarray, masses: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Two four-momenta with these squared masses, whose sum is the parent; isotropic in its frame."""
    t = squared(parent)
    one, two = masses
    energy = (t + one - two) / (2 * np.sqrt(t))
    size = np.sqrt(np.maximum(energy**2 - one, 0))
    p = np.concatenate([energy[:, None], size[:, None] * directions(generator, len(t))], axis=1)
    speed = np.linalg.norm(parent[:, 1:], axis=1)
    along = parent[:, 1:] / np.where(speed > 0, speed, 1.0)[:, None]
    first = np.einsum("bij,bj->bi", boosts(along, np.maximum(parent[:, 0] / np.sqrt(t), 1)), p)
    return first, parent - first


def _showers(generator: np.random.Generator, signal: bool, count: int) -> list[np.ndarray]:
    """The constituents of jets at rest, each `[n, 4]`."""
    jet, mass = np.arange(count), generator.uniform(*MASSES, size=count)
    p, t = np.zeros((count, 4)), mass**2
    p[:, 0] = mass
    if signal:
        resonance = generator.normal(RESONANCE, WIDTH, size=count)
        parts = resonance**2, _virtualities(generator, (mass - resonance) ** 2)
        p, t, jet = np.concatenate(_decay(generator, p, parts)), np.concatenate(parts), np.tile(jet, 2)
    done: list[tuple[np.ndarray, np.ndarray]] = []
    while len(jet):
        stable = t == 0
        done.append((jet[stable], p[stable]))
        jet, p, t = jet[~stable], p[~stable], t[~stable]
        one = _virtualities(generator, t)
        parts = one, _virtualities(generator, (np.sqrt(t) - np.sqrt(one)) ** 2)
        p, t, jet = np.concatenate(_decay(generator, p, parts)), np.concatenate(parts), np.tile(jet, 2)
    jet, p = (np.concatenate(each) for each in zip(*done, strict=True))
    order = np.argsort(jet, kind="stable")
    return np.split(p[order], np.cumsum(np.bincount(jet, minlength=count))[:-1])


def _at_rest(generator: np.random.Generator, signal: bool, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Jets at rest with allowed numbers of constituents: momenta `[count, MOST, 4]` in random order, and a mask."""
    kept: list[np.ndarray] = []
    while len(kept) < count:
        kept += [p for p in _showers(generator, signal, 2 * count) if FEWEST <= len(p) <= MOST]
    momenta, mask = np.zeros((count, MOST, 4)), np.zeros((count, MOST), bool)
    for i, p in enumerate(kept[:count]):
        momenta[i, : len(p)] = generator.permutation(p)
        mask[i, : len(p)] = True
    return momenta, mask


def jets(count: int, seed: int) -> Jets:
    """Draw jets, half of them signal, as a detector sees them: fast, and across the beam rather than along it."""
    generator = np.random.default_rng(seed)
    parts = [_at_rest(generator, signal, n) for signal, n in ((False, count - count // 2), (True, count // 2))]
    momenta, mask = (np.concatenate(each) for each in zip(*parts, strict=True))
    labels = np.repeat([0, 1], [count - count // 2, count // 2])
    across, rapidity = generator.uniform(*TRANSVERSE, size=count), generator.uniform(-RAPIDITY, RAPIDITY, size=count)
    angle = generator.uniform(0, 2 * np.pi, size=count)
    flight = across[:, None] * np.stack([np.cos(angle), np.sin(angle), np.sinh(rapidity)], axis=1)
    speed = np.linalg.norm(flight, axis=1)
    order = generator.permutation(count)
    fast = Jets(momenta, mask, labels).moved(boosts(flight / speed[:, None], np.sqrt(1 + speed**2)))
    return Jets(fast.momenta[order], mask[order], labels[order])


# The likelihood.


@functools.cache
def _splits(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each size from two on: all sets of n constituents of this size, as bits, and the first part of their splits.

    The first part has the first member, so that each split into two is listed once: `[sets]` and `[sets, splits]`.
    """
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    found = []
    for size in range(2, n + 1):
        sets = np.flatnonzero(bits.sum(axis=1) == size)
        members = 1 << np.nonzero(bits[sets])[1].reshape(-1, size)
        chosen = np.arange(2 ** (size - 1) - 1)[:, None] >> np.arange(size - 1) & 1  # not all of the others
        found.append((sets, members[:, :1] + members[:, 1:] @ chosen.T))
    return found


def _log_ratio(momenta: np.ndarray) -> np.ndarray:
    """The logarithm of signal over background of jets `[N, n, 4]`, all with n constituents and before any selection."""
    n = momenta.shape[1]
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    mass = np.sqrt(np.maximum(squared(np.einsum("sn,bni->bsi", bits, momenta)), 0))
    single = bits.sum(axis=1) == 1
    with np.errstate(divide="ignore"):
        power = STRENGTH * mass ** (2 * STRENGTH - 2)
    weight = np.where(single, CUT**STRENGTH, np.where(mass**2 < CUT, 0.0, power))
    # The density of what a parton with these constituents becomes, relative to the product of d^3p / 2E of all.
    density = np.broadcast_to(single.astype(float), mass.shape).copy()
    for sets, first in _splits(n):
        second = sets[:, None] - first
        whole, one, two = mass[:, sets, None], mass[:, first], mass[:, second]
        # An isotropic decay has the density 2 t / (pi sqrt(lambda)) relative to d^4p of one part.
        square = (whole**2 - (one + two) ** 2) * (whole**2 - (one - two) ** 2)
        decay = 2 * whole**2 / (np.pi * np.sqrt(np.maximum(square, 1e-24)))
        # Either part can be the one whose mass was drawn first: what remains limits the mass of the other.
        after_one, after_two = (np.maximum(whole - each, np.sqrt(CUT)) ** (-2 * STRENGTH) for each in (one, two))
        both = density[:, first] * density[:, second] * decay
        splits = both * weight[:, first] * weight[:, second] * (after_one + after_two)
        density[:, sets] = whole[..., 0] ** (-2 * STRENGTH) * splits.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = np.exp(-(((mass - RESONANCE) / WIDTH) ** 2) / 2) / (np.sqrt(2 * np.pi) * WIDTH * 2 * mass)
    peak = np.where(single | (mass == 0), 0.0, peak)
    decays = peak[:, first] * weight[:, second] * after_one + weight[:, first] * peak[:, second] * after_two
    found: np.ndarray = np.log((both * decays).sum(axis=(1, 2))) - np.log(density[:, -1])
    return found


@functools.cache
def _log_selected(count: int = 50_000) -> float:
    """The logarithm of the share of signal jets with an allowed number of constituents, over background jets."""
    shares = []
    for signal in (False, True):
        sizes = np.array([len(p) for p in _showers(np.random.default_rng(0), signal, count)])
        shares.append(np.mean((sizes >= FEWEST) & (sizes <= MOST)))
    return float(np.log(shares[1] / shares[0]))


def log_likelihood_ratio(of: Jets, batch: int = 8) -> np.ndarray:
    """Return the logarithm of the likelihood of signal over background `[N]`.

    No classifier is more accurate than its sign. The time grows as the number of jets times 3^n.
    """
    sizes = of.mask.sum(axis=1)
    found = np.empty(len(of))
    for n in np.unique(sizes):
        rows = np.flatnonzero(sizes == n)
        for part in np.split(rows, range(batch, len(rows), batch)):
            found[part] = _log_ratio(of.momenta[part][of.mask[part]].reshape(len(part), n, 4))
    return found - _log_selected()
