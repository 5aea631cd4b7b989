"""Search for a design: evolution strategies in the space of one symmetry, and moves on the lattice of subgroups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.papers.sard_2306_00036._robots import LIMBS, Task, lattice, symmetric
from equikit.groups import Subgroup


@dataclass(frozen=True)
class Budget:
    """How much is evaluated.

    Attributes:
        evaluations: rewards in all; trials of neighbors count too.
        population: designs for one step, in pairs.
        spread: of the designs around the mean.
        rate: of a step.
        noise: standard deviation of the noise of a reward.
        every: steps between two moves on the lattice.
        tried: neighbors that are tried at once.
    """

    evaluations: int = 6000
    population: int = 16
    spread: float = 0.1
    rate: float = 0.15
    noise: float = 0.2
    every: int = 4
    tried: int = 2


@dataclass
class Walk:
    """A search in progress.

    Attributes:
        task, budget, generator: see above.
        left: evaluations that are left.
        curve: pairs of evaluations used and the reward without noise.
    """

    task: Task
    budget: Budget
    generator: np.random.Generator
    left: int
    curve: list[tuple[int, float]]

    def rewards(self, designs: np.ndarray) -> np.ndarray:
        """Noisy rewards."""
        self.left -= len(designs)
        return self.task.reward(designs) + self.budget.noise * self.generator.normal(size=len(designs))

    def step(self, mean: np.ndarray, kept: Subgroup) -> tuple[np.ndarray, float]:
        """Move the mean design along the estimated gradient within a symmetry; also return the mean reward."""
        half = self.budget.population // 2
        drawn = symmetric(self.generator.normal(size=(half, LIMBS, 2)), kept)
        # Every space gets perturbations of one size: a small space has few directions.
        size = np.sqrt(np.mean(np.sum(drawn**2, (1, 2)))) + 1e-12
        drawn *= self.budget.spread * np.sqrt(2 * LIMBS) / size
        rewards = self.rewards(np.concatenate([mean + drawn, mean - drawn]))
        order = np.argsort(np.argsort(rewards)) / (2 * half - 1) - 0.5  # ranks, as usual for evolution strategies
        slope = np.tensordot(order[:half] - order[half:], drawn, 1)
        length = np.linalg.norm(slope) + 1e-12
        return mean + self.budget.rate * np.sqrt(LIMBS) * slope / length * self._decay(), float(np.mean(rewards))

    def _decay(self) -> float:
        return 0.1 + 0.9 * max(self.left, 0) / self.budget.evaluations


Choose = Callable[[Walk, Subgroup], list[Subgroup]]
"""Which symmetries are tried next."""


def neighbors(walk: Walk, kept: Subgroup) -> list[Subgroup]:
    """The moves of SARD: one step down or up in the lattice."""
    return some(walk, list(lattice().neighbors(kept)))


def anywhere(walk: Walk, kept: Subgroup) -> list[Subgroup]:
    """Any subgroups: the ablation without structure."""
    return some(walk, [one for one in lattice() if one != kept])


def stay(walk: Walk, kept: Subgroup) -> list[Subgroup]:
    """None: the symmetry is given."""
    return []


def some(walk: Walk, found: list[Subgroup]) -> list[Subgroup]:
    """A few of several."""
    count = min(len(found), walk.budget.tried)
    return [found[i] for i in walk.generator.choice(len(found), count, replace=False)]


def search(
    task: Task, first: Subgroup, choose: Choose, budget: Budget, seed: int
) -> tuple[np.ndarray, Subgroup, list[tuple[int, float]]]:
    """Design a robot; returns the design, its symmetry, and the curve of rewards.

    After every few steps, the current symmetry and some others are given the same few steps from the same design, and
    the search goes on with the one of the highest mean reward, if it is above the current one by a standard error.
    """
    walk = Walk(task, budget, np.random.default_rng(seed), budget.evaluations, [])
    kept, mean = first, symmetric(0.3 * walk.generator.normal(size=(LIMBS, 2)), first)
    while walk.left > 0:
        trials = []
        for trial in [kept, *choose(walk, kept)]:
            moved = symmetric(mean, trial)
            values = []
            for _ in range(budget.every):
                moved, value = walk.step(moved, trial)
                values.append(value)
            trials.append((float(np.mean(values)), trial, moved))
        best = max(trials, key=lambda one: one[0])
        sure = budget.noise * np.sqrt(2 / (budget.every * budget.population))
        _, kept, mean = best if best[0] > trials[0][0] + sure else trials[0]
        walk.curve.append((budget.evaluations - walk.left, float(task.reward(mean[None])[0])))
    return mean, kept, walk.curve
