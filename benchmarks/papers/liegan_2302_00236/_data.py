"""Data with a known symmetry: orbits of two bodies, a function of the angle in steps, and pairs of four-momenta."""

from __future__ import annotations

import numpy as np

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
DIAGONAL_BLOCKS = np.kron(np.eye(4), np.ones((2, 2))).astype(bool)
"""The mask of the search: each position and each velocity by itself."""


def two_bodies(count: int, seed: int, steps: int = 20, gap: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """States of two bodies of equal mass on noisy circular orbits, and the states after a step of time.

    Returns:
        Two arrays `[count, 8]`: position and velocity of the first body, then of the second one.
    """
    generator = np.random.default_rng(seed)
    orbits = -(-count // (steps - 1))
    radius = generator.uniform(0.5, 1.5, (orbits, 1))
    angle = generator.uniform(0, 2 * np.pi, (orbits, 1))
    outward = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    position = radius * outward
    speed = radius**-0.5 / 2 * (1 + 0.05 * generator.normal(size=(orbits, 1)))
    state = np.stack([position, speed * outward @ TURN.T, -position, -speed * outward @ TURN.T], 1)
    path = [state]
    for _ in range(steps - 1):
        for _ in range(20):
            state = _step(state, gap / 20)
        path.append(state)
    every = np.stack(path, 1).reshape(orbits, steps, 8)
    before, after = every[:, :-1].reshape(-1, 8), every[:, 1:].reshape(-1, 8)
    rows = generator.permutation(len(before))[:count]
    return before[rows], after[rows]


def _step(state: np.ndarray, time: float) -> np.ndarray:
    """Advance `[orbits, 4, 2]` by a Runge-Kutta step of fourth order."""

    def change(s: np.ndarray) -> np.ndarray:
        apart = s[:, 2] - s[:, 0]
        pull = apart / np.linalg.norm(apart, axis=1, keepdims=True) ** 3
        return np.stack([s[:, 1], pull, s[:, 3], -pull], 1)

    one = change(state)
    two = change(state + time / 2 * one)
    three = change(state + time / 2 * two)
    four = change(state + time * three)
    moved: np.ndarray = state + time / 6 * (one + 2 * two + 2 * three + four)
    return moved


def angle_in_steps(count: int, seed: int, k: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Normal points in space, and z / (1 + (angle in the plane mod 2π/k)), which a turn by 2π/k keeps."""
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return x, x[:, 2] / (1 + np.mod(np.arctan2(x[:, 1], x[:, 0]), 2 * np.pi / k))


def momenta(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The two leading four-momenta of simulated jets, and whether they come from a heavy particle.

    A particle of mass 1 (class 1) or 0.3 (class 0) decays into two massless ones in a random direction of its rest
    frame; the result is boosted in a random direction by a rapidity of at most 1.

    Returns:
        Float arrays `[count, 2, 4]` in the order (E, px, py, pz), and classes `[count]`.
    """
    generator = np.random.default_rng(seed)
    heavy = generator.integers(2, size=count)
    energy = np.where(heavy, 1.0, 0.3) * (1 + 0.1 * generator.normal(size=count)) / 2
    way = generator.normal(size=(count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    pair = energy[:, None, None] * np.stack(
        [np.concatenate([np.ones((count, 1)), sign * way], 1) for sign in (1, -1)], 1
    )
    axis = generator.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    rapidity = generator.uniform(0, 1, count)[:, None]
    along = np.einsum("ckj,cj->ck", pair[:, :, 1:], axis)
    boosted = np.cosh(rapidity) * pair[..., 0] + np.sinh(rapidity) * along
    gain = np.sinh(rapidity) * pair[..., 0] + (np.cosh(rapidity) - 1) * along
    moved = pair[..., 1:] + gain[..., None] * axis[:, None]
    return np.concatenate([boosted[..., None], moved], -1), heavy


def rotation_of_blocks() -> np.ndarray:
    """The generator of rotations of all four vectors, with unit norm."""
    generator: np.ndarray = np.kron(np.eye(4), TURN) / np.sqrt(8)
    return generator


def rotation_about_z() -> np.ndarray:
    """The generator of rotations about the third axis, with unit norm."""
    found = np.zeros((3, 3))
    found[:2, :2] = TURN / np.sqrt(2)
    return found


def lorentz() -> np.ndarray:
    """An orthonormal basis of so(1, 3), `[6, 4, 4]`."""
    found = np.zeros((6, 4, 4))
    for axis in range(3):
        found[axis, 0, 1 + axis] = found[axis, 1 + axis, 0] = 1
        one, other = (axis + 1) % 3 + 1, (axis + 2) % 3 + 1
        found[3 + axis, one, other], found[3 + axis, other, one] = -1, 1
    basis: np.ndarray = found / np.sqrt(2)
    return basis


def cosines(basis: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The cosine of each generator with its projection onto the true Lie algebra (an orthonormal basis)."""
    flat, true = basis.reshape(len(basis), -1), truth.reshape(len(truth), -1)
    found: np.ndarray = np.linalg.norm(flat @ true.T, axis=1) / np.linalg.norm(flat, axis=1)
    return found
