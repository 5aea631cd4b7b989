"""Find the first module whose derivative is wrong: automatic differentiation against finite differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.auditing._action import wide
from equikit.auditing._callables import Adapted
from equikit.auditing._rounding import epsilon
from equikit.auditing.modules._paths import broken_path
from equikit.auditing.modules.recording._calls import Recording
from equikit.auditing.modules.recording._jax import Key, Pullback
from equikit.auditing.modules.recording._recorder import Recorder, recorder

DIRECTIONS = 3
"""The number of random directions."""
CLEAR = 2
"""How many of them count: in one, a step may cross a singularity of a single sample."""
WRONG = 0.002
"""The relative error of a derivative that is called wrong, if finite differences do not explain it either.

A fault of a few percent is smaller in a sum with right derivatives.
"""
FOLLOWED = 0.1
"""The part of the error of the whole function that is followed back to the module at fault."""
MARGIN = 8.0
"""How many times the error of finite differences a derivative may differ."""
LOOK = "look at the function on these data"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Slope:
    """The derivative of a random linear function of one array, in random directions of the input.

    Attributes:
        error: the norm of the difference over the larger of both norms; 0 if both vanish.
        rounding: the error that finite differences explain.
    """

    error: float
    rounding: float

    def exceeds(self, level: float) -> bool:
        """Whether the error is larger than a level, and finite differences do not explain it."""
        return self.error > max(level, MARGIN * self.rounding)


@dataclass(frozen=True, slots=True)
class DerivativeReport:
    """Derivatives of the modules of a model by its input.

    Attributes:
        first_wrong: the first module whose inputs have the right derivatives and whose outputs have not; `None` if
            there is none. For functions of JAX without modules it is an equation.
        place: the equation of the fault and its source line, for functions of JAX.
        errors: the relative error of the derivative of each call's outputs, the whole function last.
        rounding: the part of each error that finite differences explain.
    """

    first_wrong: str | None
    place: str | None
    errors: Mapping[str, float]
    rounding: Mapping[str, float]

    @property
    def whole(self) -> tuple[float, float]:
        """The error of the whole function, and the part of it that finite differences explain."""
        name = [*self.errors][-1]
        return self.errors[name], self.rounding[name]

    def __str__(self) -> str:
        """A table of all calls, and the first fault."""
        width = max(map(len, self.errors), default=0)
        lines = [
            f"{name.ljust(width)}  {error:.1e} (rounding {self.rounding[name]:.1e})"
            for name, error in self.errors.items()
        ]
        if self.first_wrong is not None:
            where = "" if self.place in (None, self.first_wrong) else f" at {self.place}"
            lines.append(f"first wrong: {self.first_wrong}{where}")
        return "\n".join(lines)


@dataclass
class Slopes:
    """Compares both derivatives of every array of a recording.

    Attributes:
        base: the recording at x.
        steps: for each direction and each of two step lengths, the recordings on both sides of x, and the step.
        pull: the derivative in reverse mode.
        directions: the directions.
        eps: the spacing of the numbers of the function at one.
    """

    base: Recording
    steps: list[list[tuple[Recording, Recording, float]]]
    pull: Pullback
    directions: Sequence[Arrays]
    eps: float
    seeds: np.random.Generator
    found: dict[Key, Slope] = field(default_factory=dict)

    def slope(self, key: Key) -> Slope:
        """Return how well the derivative of an array agrees with finite differences."""
        if key not in self.found:
            with np.errstate(invalid="ignore"):  # of infinite derivatives, the error is NaN
                self.found[key] = self._slope(key)
        return self.found[key]

    def _slope(self, key: Key) -> Slope:
        first = _array(self.base, key)
        if first.dtype.kind in "biu" or not first.size:
            return Slope(0.0, 0.0)
        cotangent = self.seeds.normal(size=first.shape)
        gradient = self.pull(key, cotangent)
        if gradient is None:
            return Slope(0.0, 0.0)
        exact = np.array([sum(np.sum(gradient[n] * u[n]).real for n in u) for u in self.directions])
        ends = np.array(
            [[[np.sum(cotangent * (wide(_array(side, key)) - wide(first))).real / step for side in sides]
              for *sides, step in pair] for pair in self.steps]
        )  # fmt: skip
        both = (ends[..., 0] - ends[..., 1]).T / 2
        best, step = extrapolated(*both), self.steps[0][1][2]
        # Slopes on both sides of x differ by a multiple of the step, and at a kink by its jump at any step.
        bend = ends.sum(axis=2) @ [-1, 2]
        doubt = np.abs(best - both[1]) + np.abs(bend) / MARGIN
        clear = np.argsort(doubt, kind="stable")[:CLEAR]
        size = max(float(np.linalg.norm(exact[clear])), float(np.linalg.norm(best[clear])))
        floor = self.eps * float(np.linalg.norm(cotangent * wide(first))) / step
        noise = float(np.linalg.norm(doubt[clear])) + floor
        if size <= MARGIN * noise:
            return Slope(0.0, 0.0)
        return Slope(float(np.linalg.norm((exact - best)[clear])) / size, noise / size)

    def side(self, call: int, side: str) -> Slope:
        """Return the worst of the arrays of one side of a call; NaN is worst."""
        arrays = getattr(self.base.calls[call], side)
        found = [self.slope(("calls", call, side, place)) for place in range(len(arrays))]
        return max(found, key=lambda one: np.nan_to_num(one.error, nan=np.inf), default=Slope(0.0, 0.0))


def extrapolated(longer: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """Return Richardson's extrapolation of central differences with a step and with half of it."""
    return np.asarray((4 * shorter - longer) / 3)


def _array(recording: Recording, key: Key) -> np.ndarray:
    kind, call, side, place = key
    found: np.ndarray = getattr((recording.calls if kind == "calls" else recording.equations)[call], side)[place]
    return found


def checked_derivatives(function: Adapted, arrays: Arrays, seeds: np.random.Generator) -> DerivativeReport:
    """Compare the derivatives of all modules with finite differences.

    Raises:
        OptionError: if the function has no derivatives: it is one of NumPy, JAX cannot trace it, or it returns no
            numbers or numbers without finite derivatives.
    """
    run = recorder(function, rules=True)
    slopes = _slopes(run, arrays, seeds, equations=False)
    calls = slopes.base.calls
    results = calls[-1].outputs
    _checks.some("numbers that the function returns", [a for a in results if a.size], got="none", step=LOOK)
    _checks.finite("the outputs", *map(wide, results), step=LOOK)
    after = [slopes.side(call, "outputs") for call in range(len(calls))]
    if not np.isfinite(after[-1].error + after[-1].rounding):
        raise OptionError(
            "the derivatives are not finite",
            got="NaN or infinity, such as from the square root at zero",
            expected="finite derivatives in a neighborhood of the data",
            step="give other data, or look at the function near these",
        )
    errors = {one.name: slope.error for one, slope in zip(calls, after, strict=True)}
    rounding = {one.name: slope.rounding for one, slope in zip(calls, after, strict=True)}
    if not after[-1].exceeds(WRONG):
        return DerivativeReport(None, None, errors, rounding)
    # A sum with right derivatives makes the relative error smaller on its way, so that smaller ones are followed too.
    level = min(WRONG, FOLLOWED * after[-1].error)
    wrong = [
        call
        for call, slope in enumerate(after)
        if slope.exceeds(level) and (call == len(calls) - 1 or not slopes.side(call, "inputs").exceeds(level))
    ]
    name, place = calls[wrong[0]].name, None
    if function.framework == "jax":
        closer = slopes if slopes.base.equations else _slopes(run, arrays, seeds, equations=True)
        culprit = broken_path(
            closer.base, wrong[0], lambda e, s, i: closer.slope(("equations", e, s, i)).exceeds(level)
        )[1]
        place = None if culprit is None else closer.base.equations[culprit].name
    return DerivativeReport(place if place and len(calls) == 1 else name, place, errors, rounding)


def _slopes(run: Recorder, arrays: Arrays, seeds: np.random.Generator, *, equations: bool) -> Slopes:
    pull = run.pullback(arrays, equations=equations)
    if pull is None:
        raise OptionError(
            "the function has no derivatives to check",
            got=f"a function of {run.function.framework} that automatic differentiation cannot read",
            expected="a function of JAX that jax.grad accepts, or one of PyTorch",
            step="leave out the check, or write the function in JAX",
        )
    eps = epsilon(run.function.dtype)
    scales = {name: float(np.std(a)) or 1.0 for name, a in arrays.items()}
    directions = [
        {name: seeds.normal(size=a.shape) * scales[name] for name, a in arrays.items()} for _ in range(DIRECTIONS)
    ]

    def pair(direction: Arrays, step: float) -> tuple[Recording, Recording, float]:
        sides = ({n: wide(a) + sign * step * direction[n] for n, a in arrays.items()} for sign in (1, -1))
        plus, minus = (run(side, equations=equations) for side in sides)
        return plus, minus, step

    longest = eps ** (1 / 3)
    steps = [[pair(direction, longest), pair(direction, longest / 2)] for direction in directions]
    return Slopes(run(arrays, equations=equations), steps, pull, directions, eps, seeds)
