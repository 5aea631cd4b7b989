"""Momenta that are hard for frames of the Lorentz group: light-like ones, pairs, and boosts near the speed of light."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy._hard_copies import Input

SPEEDS = (0.5, 0.9, 0.99, 0.999)
PARTICLES = 5


def massless(*momenta: tuple[float, float, float]) -> np.ndarray:
    """Light-like momenta `[N, 4]` from those in space."""
    return with_masses(np.array(momenta), np.zeros(len(momenta)))


def with_masses(momenta: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Momenta `[..., N, 4]` from those in space `[..., N, 3]` and masses `[..., N]`."""
    energy = np.sqrt(np.sum(momenta**2, axis=-1) + masses**2)
    return np.concatenate([energy[..., None], momenta], axis=-1)


def random_events(count: int, speed: float, generator: np.random.Generator) -> list[Input]:
    """Events of two massless and three massive particles."""
    masses = np.broadcast_to([0, 0, 0.14, 0.5, 0.94], (count, PARTICLES))
    momenta = with_masses(generator.normal(size=(count, PARTICLES, 3)), masses)
    return [Input(f"event {i}", "events", one, float(np.abs(one).max()), speed) for i, one in enumerate(momenta)]


def events(seed: int = 0) -> list[Input]:
    """All hard events, at each speed."""
    generator = np.random.default_rng(seed)
    listed = {
        "one at rest": np.array([[2.0, 0, 0, 0]]),
        "two at rest": np.array([[2.0, 0, 0, 0], [1.0, 0, 0, 0]]),
        "time-like": np.array([[2.0, 0.1, 0, 0], [3, 0, 1, 1]]),
        "space-like": np.array([[0.3, 1, 2, 0]]),
        "one light-like": massless((1, 2, 3)),
        "parallel light-like": massless((1, 2, 3), (2, 4, 6)),
        "massless pair, back to back": massless((1, 0, 0), (-1, 0, 0)),
        "massless pair": massless((1, 0, 0), (0, 1, 2)),
        "four massless": massless((1, 0, 0), (0, 1, 2), (1, 1, 1), (3, -1, 2)),
        "two massless pairs": massless((1, 0, 0), (-1, 0, 0), (0, 2, 0), (0, -2, 0)),
        "nearly light-like": with_masses(np.array([[1.0, 2, 3], [2, 1, 3]]), np.array([1e-3, 0])),
        "tangent to the cone": np.array([[1.0, 1, 0, 0], [0, 0, 1, 0]]),
        "planar": with_masses(np.array([[1.0, 0, 0], [0, 1, 0], [-1, -1, 0]]), np.array([1, 0, 0])),
        "zero": np.zeros((2, 4)),
        "none": np.zeros((0, 4)),
        "random": random_events(1, 0, generator)[0].array,
    }
    return [
        Input(f"{name}, {speed}", f"speed {speed}", array, float(np.abs(array).max(initial=0)) or 1.0, speed)
        for speed in SPEEDS
        for name, array in listed.items()
    ] + [
        Input("NaN", "not finite", np.full((2, 4), np.nan), 1.0),
        Input("inf", "not finite", np.full((2, 4), np.inf), 1.0),
    ]
