"""Tests of candidates on held-out samples: the error of a function, or a comparison of two distributions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit._errors import ShapeError
from equikit.auditing import raised
from equikit.discover._numbers import real_array
from equikit.discover.finite._moments import Graph, entry_features, graph_of

SURE_OF_DATA = 4.5
"""Standard errors beyond which two means of the same distribution differ once in 150,000 comparisons."""
MOST_HELD = 4096
"""Samples that a candidate is tested on, at most: it takes 512 sines and cosines of each."""
CLOSED = 1.25
"""Products of generators may have this many times the error that chance explains, since many are compared."""
FUNCTIONS = 256
"""Random functions of a sample whose means are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples `[samples, n, channels]` of vectors that are permuted, and invariant numbers `[samples, outputs]`."""

    vectors: tuple[np.ndarray, ...]
    scalars: np.ndarray

    def rows(self, part: slice) -> Samples:
        """Return some of the samples."""
        return Samples(tuple(v[part] for v in self.vectors), self.scalars[part])

    def __len__(self) -> int:
        return len(self.scalars)


def moved(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Move entry i of `[samples, n, channels]` to `images[i]`; images from n on change the sign."""
    n = values.shape[1]
    result = np.empty_like(values)
    sign = np.where(images[:n] < n, 1.0, -1.0)[:, None]
    result[:, images[:n] % n] = values * sign
    return result


class OfFunction:
    """Evidence from the values of a function at held-out samples."""

    more = "evaluate the function at more inputs, by a larger samples="

    def __init__(
        self,
        function: Callable[[Any], Any],
        x: np.ndarray,
        limit: float,
        *,
        equivariant: bool,
        signs: bool,
    ) -> None:
        self.function, self.equivariant, self.signs = function, equivariant, signs
        self.x, self.limit, self.closed = x, limit, limit
        self.y = self.outputs(x)
        self.scale = float(np.sqrt(np.mean((self.y - self.y.mean(0)) ** 2)))

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs at samples: `[samples, outputs]`, or `[samples, n, channels]` for an equivariant map."""
        try:
            given = np.asarray(self.function(x))
        except Exception as error:
            raise raised(error) from error
        y = real_array("the outputs of the function", given)
        fits = y.shape[:1] == x.shape[:1] and y.ndim in ((3,) if self.equivariant else (1, 2))
        if not fits or (self.equivariant and y.shape[1] != x.shape[1]):
            raise ShapeError(
                "the outputs of the function have the wrong shape",
                got=f"shape {list(y.shape)} for inputs of shape {list(x.shape)}",
                expected="[samples, n, channels]" if self.equivariant else "[samples] or [samples, outputs]",
                step="pass a function of a whole batch, for example jax.vmap(f)",
            )
        return y.reshape(*y.shape[: 1 + self.equivariant], -1)

    def graph(self, generator: np.random.Generator, samples: int, slack: float) -> Graph:
        """Return moments of inputs and outputs, at samples whose entries are shuffled.

        Moments have the symmetry of the function only where the distribution of the inputs has it too.
        """
        n = self.x.shape[1]
        rows = self.x[generator.integers(len(self.x), size=samples)]
        rows = np.take_along_axis(rows, generator.permuted(np.tile(np.arange(n), (samples, 1)), axis=1)[..., None], 1)
        if self.signs:
            rows = rows * generator.choice([-1.0, 1.0], (samples, n, 1))
        y, inputs = self.outputs(rows), entry_features(rows, signs=self.signs)
        if self.equivariant:
            return graph_of(inputs, entry_features(y, signs=self.signs), np.ones((1, samples)), slack)
        return graph_of(inputs, inputs, leading(y), slack)

    def defect(self, images: np.ndarray) -> float:
        """Return the root mean square of f(g x) - g f(x), relative to the spread of f."""
        wanted = moved(self.y, images) if self.equivariant else self.y
        return float(np.sqrt(np.mean((self.outputs(moved(self.x, images)) - wanted) ** 2))) / self.scale

    def step(self, defect: float) -> str:
        """Return what to do if a product of generators has this error, and generators do not form a group."""
        larger = min(0.99, 1.5 * max(defect, self.limit))
        return (
            f"accept such errors with tolerance={larger:.2g}, or find a smaller group with tolerance={larger / 10:.2g}"
        )


class OfData:
    """Evidence from held-out samples of a distribution."""

    more = "pass more samples"

    def __init__(self, samples: Samples, *, signs: bool) -> None:
        held = min(len(samples) // 2, MOST_HELD)
        self.fitted, self.held, self.signs = samples.rows(slice(held, None)), samples.rows(slice(held)), signs
        self.limit, self.closed = 1.0, CLOSED
        generator = np.random.default_rng(1)
        scale = [np.sqrt(np.mean(v**2)) or 1.0 for v in self.held.vectors]
        shapes = [v.shape[1:] for v in self.held.vectors]
        # Half of the functions depend on three entries, since the sum of many hides what few of them do.
        self.directions = [
            generator.normal(size=(FUNCTIONS, *shape)) * _sparse(generator, shape) / s
            for shape, s in zip(shapes, scale, strict=True)
        ]
        spread = np.std(self.held.scalars, axis=0) + 1e-300
        self.offset = (self.held.scalars / spread) @ generator.normal(size=(self.held.scalars.shape[1], FUNCTIONS))
        self.own = self.waves(self.held.vectors)

    def graph(self) -> Graph:
        """Return moments of pairs of entries, and their products with the invariant numbers."""
        features = [f for v in self.fitted.vectors for f in entry_features(v, signs=self.signs)]
        ones = np.ones((1, len(self.fitted)))
        weights = np.concatenate([ones, leading(self.fitted.scalars)]) if self.fitted.scalars.shape[1] else ones
        return graph_of(features, features, weights, 0.0)

    def waves(self, vectors: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return sines and cosines of random combinations of all numbers of a sample."""
        angles = self.offset + sum(
            np.tensordot(v, d, ((1, 2), (1, 2))) for v, d in zip(vectors, self.directions, strict=True)
        )
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)

    def defect(self, images: np.ndarray) -> float:
        """Return the largest difference of two means over the one that chance explains (4.5 standard errors)."""
        other = tuple(moved(v, images) for v in self.held.vectors)
        gap = self.own - self.waves(other)
        error = np.std(gap, axis=0) / np.sqrt(len(gap))
        # 1e-12 is above all rounding errors of waves, and matters only if no sample differs.
        return float(np.max(np.abs(np.mean(gap, axis=0)) / (SURE_OF_DATA * error + 1e-12)))

    def step(self, _: float) -> str:
        """Return what to do if generators do not form a group."""
        return "pass more samples; at most 8192 are used for the test"


def leading(outputs: np.ndarray) -> np.ndarray:
    """Return at most three principal components of outputs, with unit variance, `[kinds, samples]`."""
    centered = outputs - outputs.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    kept = sizes[:3] > 1e-9 * max(sizes.max(initial=0), 1e-300)
    return np.asarray(left[:, :3][:, kept].T * np.sqrt(len(outputs)))


def _sparse(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return masks of the entries that each function depends on, scaled to one angle in all."""
    n = shape[0]
    few = min(3, n)
    masks = np.full((FUNCTIONS, n), 1 / np.sqrt(n))
    for row in range(FUNCTIONS // 2):
        masks[row] = 0
        masks[row, generator.choice(n, few, replace=False)] = 1 / np.sqrt(few)
    return np.asarray(masks[..., None] / np.sqrt(shape[1]))
