"""Tasks and dynamical systems whose group is hidden by a random change of coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import sqrtm

import equikit as ek
from benchmarks.data import emlp
from equikit.groups.lie import Recognized, recognize

Arrays = Any
"""An array, or a dictionary of arrays by the name of a term."""

MOST_CONDITION = 4.0
"""Of hidden coordinates."""


@dataclass(frozen=True)
class System:
    """A regression with a symmetry on the axis `label`.

    Attributes:
        name: in tables.
        signature: of the map, in which `label` carries the unknown group.
        label: the axis.
        n: its size.
        algebra: standard matrices of the true Lie algebra; empty if there is none.
        connected: the name of the connected group; `None` if none may be found.
        group: the name after tests of reflections.
        draw: a generator and a number to inputs and targets by term name, in standard coordinates.
        reflections: which reflections belong to the group.
        traceless: whether scalings are excluded, under which the target is homogeneous.
        features: channels of input terms and output terms for networks; `None` if no network is trained.
        rate: the learning rate of networks.
        rows: samples of the fit.
        epochs: of the fit.
    """

    name: str
    signature: str
    label: str
    n: int
    algebra: np.ndarray
    connected: str | None
    group: str | None
    draw: Callable[[np.random.Generator, int], tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]
    reflections: tuple[str, ...] = ()
    traceless: bool = False
    features: tuple[dict[str, int], dict[str, int]] | None = None
    rate: float = 5e-3
    rows: int = 8000
    epochs: int = 60

    @property
    def terms(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of input and output terms."""
        sides = self.signature.split("->")
        found = [
            tuple("" if term.strip() in ("", "()") else term.strip() for term in side.split("+")) for side in sides
        ]
        return found[0], found[1]

    def moved(self, arrays: Mapping[str, np.ndarray], change: np.ndarray) -> dict[str, np.ndarray]:
        """Apply a matrix to all axes of the hidden group."""
        found = {}
        for term, array in arrays.items():
            for place, label in enumerate(term.split()):
                if label == self.label:
                    array = np.moveaxis(np.tensordot(change, array, axes=((1,), (1 + place,))), 0, 1 + place)
            found[term] = array
        return found

    def told(self, change: np.ndarray, near: Recognized | None = None) -> ek.MatrixGroup:
        """The true group in hidden coordinates, for a network that is told.

        Args:
            change: the hidden coordinates.
            near: the group that was found. Among all standard bases of the true group the nearest one to its basis is
                chosen, so that both networks have nearly the same parameters and start from the same ones.
        """
        true = recognize(change @ self.algebra @ np.linalg.inv(change), 1e-9)
        if near is not None and near.standard.shape == true.standard.shape:
            basis = true.change_of_basis @ _nearest(np.linalg.inv(true.change_of_basis) @ near.change_of_basis, near)
            true = replace(
                true, change_of_basis=basis, matrices=basis @ true.standard @ np.linalg.inv(basis), exact=False
            )
        return (true.with_reflections([self.reflections]) if self.reflections else true).group


@dataclass(frozen=True)
class Data:
    """Samples of a system in hidden coordinates, float32.

    Attributes:
        train, test: inputs and targets by term name.
        change: x = change z for standard coordinates z.
    """

    train: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    test: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    change: np.ndarray


def _nearest(matrix: np.ndarray, near: Recognized) -> np.ndarray:
    """The element of O(p, q) or U(m) that is nearest to a matrix, up to a factor."""
    n = len(matrix)
    if near.blocks[0].signature is None:
        half = n // 2
        parts = []
        for sign in (1, -1):  # linear, or antilinear: complex conjugation maps the group to itself
            one, other = (
                matrix[:half, :half] + sign * matrix[half:, half:],
                matrix[half:, :half] - sign * matrix[:half, half:],
            )
            left, size, right = np.linalg.svd(one + 1j * other)
            u = left @ right
            parts.append((size.sum(), np.block([[u.real, -sign * u.imag], [u.imag, sign * u.real]])))
        return max(parts, key=lambda part: part[0])[1]
    metric = np.diag(np.repeat([1.0, -1.0], near.blocks[0].signature))
    scaled = matrix / abs(np.linalg.det(matrix)) ** (1 / n)
    return np.real(scaled @ np.linalg.inv(sqrtm(metric @ scaled.T @ metric @ scaled)))


def hide(n: int, generator: np.random.Generator) -> np.ndarray:
    """A random matrix of moderate condition."""
    while True:
        change = generator.normal(size=(n, n))
        if np.linalg.cond(change) < MOST_CONDITION:
            return change


def make_data(system: System, rows: int, test: int, seed: int) -> Data:
    """Sample a system, with targets divided by their root mean square, in hidden coordinates."""
    generator = np.random.default_rng([seed, sum(map(ord, system.name))])
    inputs, targets = system.draw(generator, rows + test)
    scale = {name: np.sqrt(np.mean((y - y.mean() * (name == "")) ** 2)) for name, y in targets.items()}
    targets = {name: (y - y.mean() * (name == "")) / scale[name] for name, y in targets.items()}
    change = hide(system.n, generator) if len(system.algebra) else np.eye(system.n)
    parts = [
        {name: a.astype(np.float32) for name, a in system.moved(arrays, change).items()} for arrays in (inputs, targets)
    ]
    cut = [
        tuple({name: a[span] for name, a in part.items()} for part in parts)
        for span in (slice(rows), slice(rows, None))
    ]
    return Data(cut[0], cut[1], change)  # type: ignore[arg-type]


def _of_emlp(name: str) -> Callable[..., Any]:
    task = emlp.TASKS[name]

    def draw(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        x = task.draw(generator, count)
        scalars, vectors = task.split(x)
        y = task.target(x)
        inputs = {"x": vectors.swapaxes(1, 2) / np.sqrt(np.mean(vectors**2))}
        if task.scalars:
            inputs = {"": scalars} | inputs
        return inputs, {"x x": y.reshape(count, task.n, task.n, 1)} if task.matrix else {"": y}

    return draw


def _two_bodies(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Change of positions and momenta of two bodies with softened gravity over one time step, in the plane."""
    state = generator.normal(size=(count, 2, 4))  # axis x; channels q1, q2, p1, p2

    def rate(_: float, flat: np.ndarray) -> np.ndarray:
        s = flat.reshape(count, 2, 4)
        apart = s[..., 1] - s[..., 0]
        force = 3 * apart / (np.sum(apart**2, axis=1, keepdims=True) + 1) ** 1.5
        return np.stack([s[..., 2], s[..., 3], force, -force], axis=-1).ravel()

    after = solve_ivp(rate, (0, 0.5), state.ravel(), rtol=1e-6, atol=1e-6).y[:, -1].reshape(count, 2, 4)
    return {"x": state}, {"x": after - state}


def _oscillator(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Change of position and momentum of an isotropic oscillator in the plane over one time step, and its energy."""
    state = generator.normal(size=(count, 4, 1))
    c, s = np.cos(0.7), np.sin(0.7)
    flow = np.kron([[c, s], [-s, c]], np.eye(2))
    return {"s": state}, {"s": np.einsum("ij,njc->nic", flow - np.eye(4), state), "": np.sum(state**2, axis=1) / 2}


def _ring(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Change of two concentrations (FitzHugh and Nagumo) in six cells on a ring over one time step."""
    state = generator.normal(size=(count, 6, 2))

    def rate(_: float, flat: np.ndarray) -> np.ndarray:
        s = flat.reshape(count, 6, 2)
        u, v = s[..., 0], s[..., 1]
        spread = np.roll(s, 1, axis=1) + np.roll(s, -1, axis=1) - 2 * s
        reaction = np.stack([u - u**3 / 3 - v, 0.5 * (u + 0.7 - 0.8 * v)], axis=-1)
        return (reaction + spread * np.array([0.6, 0.1])).ravel()

    after = solve_ivp(rate, (0, 0.5), state.ravel(), rtol=1e-6, atol=1e-6).y[:, -1].reshape(count, 6, 2)
    return {"p": state}, {"p": after - state}


def _scatterer(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The four-force on a charge that a moving charge scatters: the field \\(r \\wedge v\\) times the momentum.

    Channels are the separation r, the velocity v of the source, and the momentum u.
    """
    r, v, _ = vectors = generator.normal(size=(3, count, 4)) / 2
    dots = np.einsum("anj,j,bnj->abn", vectors, emlp.METRIC, vectors)
    force = r * dots[1, 2, :, None] - v * dots[0, 2, :, None]
    return {"x": vectors.transpose(1, 2, 0)}, {"x": force[..., None]}


def _pendulum(generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Derivatives of the angles and angular velocities of a double pendulum under gravity; equal masses and lengths."""
    angles = generator.uniform(-2.5, 2.5, size=(count, 2))
    rates = generator.normal(size=(count, 2))
    a, b, u, v = angles[:, 0], angles[:, 1], rates[:, 0], rates[:, 1]
    gravity = 3.0
    below = 3 - np.cos(2 * (a - b))
    first = -3 * gravity * np.sin(a) - gravity * np.sin(a - 2 * b)
    first = (first - 2 * np.sin(a - b) * (v**2 + u**2 * np.cos(a - b))) / below
    second = 2 * np.sin(a - b) * (2 * u**2 + 2 * gravity * np.cos(a) + v**2 * np.cos(a - b)) / below
    return {"s": np.concatenate([angles, rates], 1)[..., None]}, {"s": np.stack([u, v, first, second], 1)[..., None]}


def _algebra(group: Any) -> np.ndarray:
    return np.array(group.lie_algebra(), np.float64)


def _unitary() -> np.ndarray:
    complex_structure = np.kron([[0, 1], [-1, 0]], np.eye(2))
    rotations = _algebra(ek.SO(4))
    projected = [(a - complex_structure @ a @ complex_structure) / 2 for a in rotations]
    flat = np.linalg.svd(np.array(projected).reshape(6, 16))[2][:4]
    return flat.reshape(4, 4, 4)


NOTHING = np.zeros((0, 1, 1))
BOTH = ("positive", "negative", "both")
SYSTEMS = {
    system.name: system
    for system in (
        System(
            *("O(5) invariant", "x -> ()", "x", 5, _algebra(ek.SO(5)), "SO(5)", "O(5)", _of_emlp("O(5) invariant")),
            reflections=("positive",),
            features=({"x": 2}, {"": 1}),
        ),
        System(
            *("inertia", "() + x -> x x", "x", 3, _algebra(ek.SO(3)), "SO(3)", "O(3)", _of_emlp("inertia")),
            reflections=("positive",),
            traceless=True,
            features=({"": 5, "x": 5}, {"x x": 1}),
            rate=2e-2,
        ),
        System(
            *("scattering", "x -> ()", "x", 4, _algebra(ek.SO(1, 3)), "SO+(1, 3)", "O(1, 3)", _of_emlp("scattering")),
            reflections=BOTH,
            features=({"x": 4}, {"": 1}),
            rows=16000,
            epochs=100,
        ),
        System(
            *("two bodies", "x -> x", "x", 2, _algebra(ek.SO(2)), "SO(2)", "O(2)", _two_bodies),
            reflections=("positive",),
            features=({"x": 4}, {"x": 4}),
            rows=12000,
            epochs=80,
        ),
        System(
            *("oscillator", "s -> s + ()", "s", 4, _unitary(), "U(2)", "U(2)", _oscillator),
            features=({"s": 1}, {"s": 1, "": 1}),
            rows=4000,
        ),
        System(
            *("Lorentz scatterer", "x -> x", "x", 4, _algebra(ek.SO(1, 3)), "SO+(1, 3)", "O(1, 3)", _scatterer),
            reflections=BOTH,
            features=({"x": 3}, {"x": 1}),
            rows=16000,
            epochs=100,
        ),
        System("reaction and diffusion", "p -> p", "p", 6, NOTHING, None, "D(6)", _ring),
        System("double pendulum", "s -> s", "s", 4, NOTHING, None, None, _pendulum),
    )
}
