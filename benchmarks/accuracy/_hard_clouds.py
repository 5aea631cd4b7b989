"""Point clouds that are hard for frames: symmetric, flat, distant, nearly symmetric, or not finite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from benchmarks.accuracy._hard_copies import Input

GOLDEN = (1 + 5**0.5) / 2
DIRECTION = np.array([0.48, -0.6, 0.64])


def _ring(count: int, height: float, turn: float = 0.0) -> np.ndarray:
    angles = turn + 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles), np.full(count, height)], axis=1)


def _symmetric() -> dict[str, np.ndarray]:
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=3)))
    golden = np.array([(0, a, b * GOLDEN) for a, b in itertools.product((1, -1), repeat=2)])
    return {
        "octahedron": np.concatenate([np.eye(3), -np.eye(3)]),
        "icosahedron": np.concatenate([np.roll(golden, shift, axis=1) for shift in range(3)]),
        "cube": signs,
        "tetrahedron": signs[np.prod(signs, axis=1) > 0],
        "triangular prism": np.concatenate([_ring(3, -0.8), _ring(3, 0.8)]),
        "pentagonal prism": np.concatenate([_ring(5, -0.6), _ring(5, 0.6)]),
        "chiral antiprism": np.concatenate([_ring(4, -0.7), _ring(4, 0.7, np.pi / 6)]),
        "hexagon": _ring(6, 0.0),
    }


def _flat(generator: np.random.Generator) -> dict[str, np.ndarray]:
    plane = generator.normal(size=(6, 3)) * [1, 1, 0]
    pairs = generator.normal(size=(3, 3))
    return {
        "planar": plane,
        "collinear": np.outer([1.0, -2, 4, 0.5, 3], [0.36, 0.48, 0.8]),
        "collinear, symmetric": np.outer([-2.0, -1, 0, 1, 2], [1.0, 0, 0]),
        "coincident": np.concatenate([pairs, pairs[:2]]),
        "equal": np.tile([[0.3, -1.1, 0.7]], (5, 1)),
        "zero": np.zeros((4, 3)),
        "one": np.array([[0.3, -1.1, 0.7]]),
        "two": np.array([[0.3, -1.1, 0.7], [1.0, 0.2, -0.4]]),
        "none": np.zeros((0, 3)),
    }


def molecules() -> dict[str, np.ndarray]:
    """Positions of nuclei in angstrom, at experimental bond lengths and angles."""
    tetrahedron = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    hydrogens = np.array([[side * (0.667 + 0.559), up * 0.924, 0] for side in (1, -1) for up in (1, -1)])
    return {
        "methane": np.concatenate([np.zeros((1, 3)), 1.087 * tetrahedron]),
        "water": np.array([[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]]),
        "ethylene": np.concatenate([[[0.667, 0, 0], [-0.667, 0, 0]], hydrogens]),
        "CO2": np.array([[0.0, 0, 0], [0, 0, 1.163], [0, 0, -1.163]]),
        "C2H2": np.outer([0.6015, -0.6015, 1.6625, -1.6625], [0.0, 0, 1]),
        "N2": np.outer([0.549, -0.549], [0.0, 0, 1]),
    }


def with_moments(generator: np.random.Generator, count: int, moments: np.ndarray) -> np.ndarray:
    """Random centered points `[..., count, 3]` whose second moments have the eigenvalues `[..., 3]`."""
    points = generator.normal(size=(*moments.shape[:-1], count, 3))
    points = points - points.mean(axis=-2, keepdims=True)
    whitened = np.linalg.svd(points, full_matrices=False)[0] * count**0.5
    turn = np.linalg.qr(generator.normal(size=(*moments.shape[:-1], 3, 3)))[0]
    found: np.ndarray = whitened * np.sqrt(moments)[..., None, :] @ turn
    return found


def _families(seed: int) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """Yield family, name, points, and the distance from the origin in extents."""
    generator = np.random.default_rng(seed)
    symmetric, flat, real = _symmetric(), _flat(generator), molecules()
    some = {name: {**symmetric, **real}[name] for name in ("octahedron", "water", "CO2", "C2H2")}
    some["random"] = generator.normal(size=(7, 3))
    for family, clouds in {"symmetric": symmetric, "flat": flat, "molecule": real}.items():
        for name, points in clouds.items():
            yield family, name, points, 0.0
    for scale in (1e-20, 1e20):
        for name, points in some.items():
            yield "scale", f"{name}, times {scale:.0e}", scale * points, 0.0
    for far in (1e2, 1e3, 1e4, 1e5, 1e6):
        for name, points in some.items():
            yield "far", f"{name}, {far:.0e} away", points, far
    for aspect in (10, 100, 1000, 10000):
        points = generator.normal(size=(12, 3))
        yield "rod or disc", f"rod 1:{aspect}", points * [1, 1 / aspect, 1 / aspect], 0.0
        yield "rod or disc", f"disc 1:{aspect}", points * [1, 1, 1 / aspect], 0.0
    for power in range(1, 10):
        gap = 10.0**-power
        yield "gap", f"gap 1e-{power}", with_moments(generator, 10, np.array([1, 1 - gap, 0.3])), 0.0
    for count in (3, 4, 5, 8, 12):
        yield "random", f"{count} random", generator.normal(size=(count, 3)), 0.0
    broken = some["random"].copy()
    for name, entry in {"NaN": np.nan, "inf": np.inf}.items():
        broken[2, 1] = entry
        yield "not finite", name, broken.copy(), 0.0
    yield "not finite", "all NaN", np.full((4, 3), np.nan), 0.0


def extent(points: np.ndarray) -> float:
    """Return the largest distance from the centroid; one if it is zero."""
    if not len(points) or not np.isfinite(points).all():
        return 1.0
    found = float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())
    return found if found > 1e-30 else 1.0


def clouds(seed: int = 0) -> list[Input]:
    """All hard clouds, of at most twelve points."""
    return [
        Input(name, family, points + far * extent(points) * DIRECTION, extent(points))
        for family, name, points, far in _families(seed)
    ]
