"""Robots with limbs on a circle: designs with a symmetry, and tasks that reward the ability to exert wrenches."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from equikit import D
from equikit.discover import subgroups
from equikit.groups import Subgroup, SubgroupLattice

LIMBS = 12
TURNS, PRICE = 40, 0.5
"""Steps of the solver that chooses activations, and what a squared length of a limb costs."""


@functools.cache
def lattice() -> SubgroupLattice:
    """All 34 symmetries that a design with twelve limbs can have."""
    return subgroups(D(LIMBS))


@functools.cache
def matrices() -> np.ndarray:
    """The 2x2 matrices of all elements of the group, `[24, 2, 2]`."""
    corners = D(LIMBS).elements()
    angle = 2 * np.pi * corners[:, 0] / LIMBS
    sign = np.where((corners[:, 1] - corners[:, 0]) % LIMBS == 1, 1.0, -1.0)
    rows = [np.cos(angle), -sign * np.sin(angle), np.sin(angle), sign * np.cos(angle)]
    return np.stack(rows, -1).reshape(-1, 2, 2)


def symmetric(designs: np.ndarray, kept: Subgroup) -> np.ndarray:
    """Project designs `[..., limbs, 2]` on those with a symmetry: limbs of an orbit have one attribute, turned.

    The mean over the subgroup also removes what an element that fixes a limb does not keep.
    """
    total = np.zeros_like(designs)
    for place in kept.positions:
        corners = D(LIMBS).elements()[place]
        total[..., corners, :] += designs @ matrices()[place].T
    return total / kept.order


@dataclass(frozen=True)
class Task:
    """A task: wrenches (force, force, torque) that the robot should exert.

    Attributes:
        name: in tables.
        wrenches: `[goals, 3]`.
        hidden: which symmetries map the goals to each other; a reflection changes the sign of a torque.
    """

    name: str
    wrenches: np.ndarray

    @functools.cached_property
    def hidden(self) -> Subgroup:
        """The largest subgroup that keeps the set of goals."""
        moved = np.concatenate(
            [
                np.einsum("gij,wj->gwi", matrices(), self.wrenches[:, :2]),
                np.linalg.det(matrices())[:, None, None] * self.wrenches[None, :, 2:],
            ],
            -1,
        )
        gaps = np.abs(moved[:, :, None] - self.wrenches).max(-1).min(-1).max(-1)
        return lattice().largest(gaps < 1e-9)

    def reward(self, designs: np.ndarray) -> np.ndarray:
        """Rewards of designs `[count, limbs, 2]`: minus the mean error of the wrenches, minus the price of the limbs.

        A limb pushes along its attribute with an activation between zero and one; the best activations are found by
        an accelerated projected gradient.
        """
        size = np.linalg.norm(designs, axis=-1, keepdims=True)
        limbs = designs / np.maximum(size, 1.0)  # no limb is longer than one
        angle = 2 * np.pi * np.arange(LIMBS) / LIMBS
        torque = np.cos(angle) * limbs[..., 1] - np.sin(angle) * limbs[..., 0]
        effect = np.concatenate([limbs, torque[..., None]], -1)
        gram = effect @ np.swapaxes(effect, 1, 2)
        pull = np.einsum("cli,wi->cwl", effect, self.wrenches)
        rate = 1 / np.maximum(np.trace(gram, axis1=1, axis2=2), 1e-9)[:, None, None]
        now = ahead = np.full(pull.shape, 0.1)
        for step in range(TURNS):
            new = np.clip(ahead - rate * (ahead @ gram - pull), 0, 1)
            ahead = new + step / (step + 3) * (new - now)
            now = new
        error = np.mean(np.sum((now @ effect - self.wrenches) ** 2, -1), 1)
        return -error - PRICE * np.mean(np.sum(limbs**2, -1), 1)


def tasks() -> tuple[Task, ...]:
    """Patrol between two places, along a line with a turn, in all directions, and in all directions with a turn."""
    every = 2 * np.pi * np.arange(LIMBS) / LIMBS
    around = np.stack([np.cos(every), np.sin(every)], 1)
    return (
        Task("patrol", np.array([[4.0, 0, 0], [-4, 0, 0], [2, 0, 0], [-2, 0, 0]])),
        Task("patrol and turn", np.array([[4.0, 0, 2], [-4, 0, 2], [2, 0, 2], [-2, 0, 2]])),
        Task("three ways", np.concatenate([3 * around[::4], np.zeros((3, 1))], 1)),
        Task("all ways and turn", np.concatenate([2 * around, 2 * np.ones((LIMBS, 1))], 1)),
    )
