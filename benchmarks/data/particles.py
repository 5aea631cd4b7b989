"""Five charges in space: the n-body task of equivariant networks, simulated locally and cached."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.core.cache import cached as keep


@dataclass(frozen=True)
class Simulation:
    """How charges move. The defaults are those with which the task was published (Fuchs et al., arXiv:2006.10503).

    Attributes:
        particles, dimension: of a system.
        speed: of every particle at the start, in a random direction.
        step: of time.
        largest: every component of a force is cut off there.
        observed, predicted: the steps after which the input and the target are recorded.
    """

    particles: int = 5
    dimension: int = 3
    speed: float = 0.5
    step: float = 1e-3
    largest: float = 100.0
    observed: int = 3100
    predicted: int = 4100


@dataclass(frozen=True)
class Systems:
    """Systems of charges, float32.

    Attributes:
        charges: `[N, particles]`, plus or minus one.
        positions, velocities: `[N, particles, dimension]`, what the prediction is made from.
        targets: `[N, particles, dimension]`, the positions one unit of time later.
    """

    charges: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.charges)

    def take(self, index: slice) -> Systems:
        """The systems of a slice."""
        return Systems(self.charges[index], self.positions[index], self.velocities[index], self.targets[index])

    def moved(self, elements: np.ndarray) -> Systems:
        """Apply an orthogonal matrix `[N, dimension, dimension]` to every system and its target."""

        def act(vectors: np.ndarray) -> np.ndarray:
            found: np.ndarray = np.einsum("bij,bpj->bpi", elements, vectors).astype(np.float32)
            return found

        return Systems(self.charges, act(self.positions), act(self.velocities), act(self.targets))


def forces(charges: np.ndarray, positions: np.ndarray, largest: float) -> np.ndarray:
    """Coulomb forces q_i q_j (x_i - x_j) / |x_i - x_j|³, summed over j, each component cut off at `largest`.

    Args:
        charges: `[particles, N]`.
        positions: `[dimension, particles, N]`; systems come last, so that all arithmetic runs along them.

    Returns:
        As positions.
    """
    total = np.zeros_like(positions)
    for i, j in itertools.combinations(range(len(charges)), 2):
        difference = positions[:, i] - positions[:, j]
        squared = np.einsum("dn,dn->n", difference, difference)
        force = difference * (charges[i] * charges[j] / (squared * np.sqrt(squared)))
        total[:, i] += force
        total[:, j] -= force
    return np.clip(total, -largest, largest, out=total)


def integrate(
    charges: np.ndarray, positions: np.ndarray, velocities: np.ndarray, rule: Simulation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kick, drift, kick, drift, ...: velocities are one step ahead of positions, as in the published data.

    Args:
        charges: `[particles, N]`.
        positions, velocities: `[dimension, particles, N]`, float64.
        rule: see `Simulation`.

    Returns:
        Positions and velocities at the step observed, positions at the step predicted.
    """
    x, v = positions.copy(), velocities.copy()
    observed = x, v
    for step in range(1, rule.predicted + 1):
        v += rule.step * forces(charges, x, rule.largest)
        x += rule.step * v
        if step == rule.observed:
            observed = x.copy(), v.copy()
    return *observed, x


def start(generator: np.random.Generator, count: int, rule: Simulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return initial charges, positions and velocities, in the layout of `integrate`."""
    charges = generator.choice([-1.0, 1.0], size=(count, rule.particles))
    positions = generator.normal(size=(count, rule.particles, rule.dimension))
    velocities = generator.normal(size=(count, rule.particles, rule.dimension))
    velocities *= rule.speed / np.linalg.norm(velocities, axis=-1, keepdims=True)
    return charges.T.copy(), positions.transpose(2, 1, 0).copy(), velocities.transpose(2, 1, 0).copy()


def simulate(count: int, seed: int, rule: Simulation | None = None, chunk: int = 1000) -> Systems:
    """Simulate systems sampled with `seed`; a chunk fits into the caches, and its size changes nothing else."""
    rule = Simulation() if rule is None else rule
    charges, positions, velocities = start(np.random.default_rng(seed), count, rule)
    found = []
    for first in range(0, count, chunk):
        q, x, v = (np.ascontiguousarray(a[..., first : first + chunk]) for a in (charges, positions, velocities))
        found.append(integrate(q, x, v, rule))
    joined = [np.concatenate(parts, axis=-1).transpose(2, 1, 0) for parts in zip(*found, strict=True)]
    return Systems(charges.T.astype(np.float32), *(np.ascontiguousarray(a, np.float32) for a in joined))


def cached(folder: Path, count: int, seed: int, rule: Simulation | None = None) -> Systems:
    """Return systems from a file in `folder`, or simulate and write them; its name depends on every setting."""
    rule = Simulation() if rule is None else rule
    settings = {"count": count, "seed": seed, **asdict(rule)}
    return Systems(**keep(folder, "particles", settings, lambda: vars(simulate(count, seed, rule))))
