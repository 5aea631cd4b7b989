"""The linear constraints of a Lie algebra: one row for each sample and output, in coordinates of unit second moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equikit._checks import refuse_if_more
from equikit._errors import OptionError
from equikit._progress import progress
from equikit.discover._motions import Array, Model, acted
from equikit.signatures import Term, base

MOST_ENTRIES = 2**26
"""The largest number of entries of the constraints."""

FLAT = 1e-10
"""Directions with a smaller part of the second moment are not in the data."""

UNUSED = 0.02
"""A direction along which the function changes less than by this part of the largest change is hardly used."""

FEWEST_HELD_OUT = 20
FEWEST_ROWS = 4
"""The smallest number of rows for each unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """Linear constraints on matrices L of the input label and M of each other label, flattened one after the other.

    Attributes:
        rows: `[samples, outputs, unknowns]`; each sample divided by its size, so that large gradients count no more.
        frames: for each label the matrix W with x = W z where z has unit second moment.
        slopes: for each label the matrix V with L = W V K W^{-1} for unknowns K: directions in which the function
            changes little are stretched, because maps into them would look like symmetries.
        sizes: the size of each label, the input label first.
        scales: what matrices of each label are divided by in the unknowns.
        allowed: orthonormal rows that span the unknowns to search, `[k, unknowns]`.
    """

    rows: Array
    frames: dict[str, Array]
    slopes: dict[str, Array]
    sizes: dict[str, int]
    scales: dict[str, float]
    allowed: Array

    def matrices(self, vectors: Array) -> dict[str, Array]:
        """Return the matrices of unknown vectors `[k, unknowns]`, by label, in coordinates of the data."""
        found, start = {}, 0
        for label, size in self.sizes.items():
            part = vectors[:, start : start + size**2].reshape(-1, size, size) / self.scales[label]
            found[label] = self.frames[label] @ self.slopes[label] @ part @ np.linalg.inv(self.frames[label])
            start += size**2
        return found


def frame(what: str, arrays: list[tuple[Term, Array]], label: str) -> Array:
    """Return W with x = W z and E[z zᵀ] = 1, from the axes with a label; duals move by the inverse transpose."""
    moments = []
    for term, array in arrays:
        for place, each in enumerate(term.labels):
            if base(each) == label:
                flat = np.moveaxis(np.asarray(array, np.float64), 1 + place, 0)
                flat = flat.reshape(len(flat), -1)
                moment = flat @ flat.T / flat.shape[1]
                moments.append((moment / max(np.trace(moment), 1e-300), each.endswith("*")))
    plain = [moment for moment, star in moments if not star]
    second = np.mean(plain or [moment for moment, _ in moments], axis=0)
    values, vectors = np.linalg.eigh(second)
    flat_directions = int(np.sum(values < FLAT * values.max()))
    if flat_directions:
        raise OptionError(
            f"{what} lie in a subspace of the axis {label!r}",
            got=f"{len(values) - flat_directions} of {len(values)} directions",
            expected="vectors in all directions",
            step="express them in a basis of their span, such as x = jnp.einsum('si...,ik->sk...', x, basis)",
        )
    scale = len(values) ** 0.5  # so that entries of z have size one
    w: Array = vectors * np.sqrt(values) * scale
    return w if plain else np.linalg.inv(w).T


def constraints(model: Model, traceless: bool) -> Constraints:
    """Return the constraints that every sample sets; `traceless` excludes scalings of the moved axis."""
    roles = model.roles
    inputs = [(term, np.asarray(model.data[term.name])) for term in roles.inputs]
    outputs = [(term, model.values[term.name].astype(np.float64)) for term in model.outputs]
    frames = {roles.label: frame("the data", inputs, roles.label)}
    frames |= {label: frame("the outputs", outputs, label) for label in roles.others}
    sizes = {label: len(w) for label, w in frames.items()}
    width = sum(value[0].size for _, value in outputs)
    unknowns = sum(size**2 for size in sizes.values())
    fewest, most = _refuse_few(model.samples, width, unknowns), MOST_ENTRIES // max(width * unknowns, 1)
    refuse_if_more(
        "the constraints would not fit in memory",
        model.samples * width * unknowns,
        MOST_ENTRIES,
        "entries",
        f"pass {most:,} samples" if most >= fewest else "look for the group of a smaller axis, or of fewer outputs",
    )
    back = {label: np.linalg.inv(w) for label, w in frames.items()}

    def flat(values: dict[str, Array]) -> Array:
        """Outputs in coordinates of unit second moment, one row for each sample."""
        turned = [acted(term, values[term.name], back, finite=True) for term, _ in outputs]
        return np.concatenate(
            [each.reshape(model.samples, -1) / max(s, 1e-300) for each, s in zip(turned, spreads, strict=True)], 1
        )

    spreads = [1.0] * len(outputs)
    spreads = [_size(acted(term, value, back, finite=True)) for term, value in outputs]
    columns, scales, slopes = [], {}, {label: np.eye(size) for label, size in sizes.items()}
    with progress("derivatives", unknowns) as advance:
        for label, size in sizes.items():
            block, raw = [], []
            for unit in np.eye(size**2).reshape(-1, size, size):
                matrix = frames[label] @ unit @ back[label]
                moved = {term.name: -acted(term, value, {label: matrix}) for term, value in outputs}
                if label == roles.label:
                    derivative = model.along(matrix)
                    raw.append(flat(derivative))
                    moved = {name: moved[name] + derivative[name].reshape(moved[name].shape) for name in moved}
                block.append(flat(moved))
                advance("")
            part = np.stack(block, axis=-1)
            if raw:
                slopes[label] = _stretch(np.stack(raw, axis=-1).reshape(-1, size, size))
                values = flat({term.name: value for term, value in outputs})
                _refuse_constant(max(map(_size, raw)), _size(part), values, model)
                square = part.reshape(*part.shape[:2], size, size)
                part = np.einsum("...ab,ac->...cb", square, slopes[label]).reshape(part.shape)
            scales[label] = _size(part)
            columns.append(part / max(scales[label], 1e-300))
    scales = {label: scale / scales[roles.label] for label, scale in scales.items()}
    rows = np.concatenate(columns, axis=-1)
    norms = np.linalg.norm(rows, axis=(1, 2))
    rows = rows / np.sqrt(norms**2 + np.median(norms) ** 2)[:, None, None]
    return Constraints(rows, frames, slopes, sizes, scales, _allowed(slopes[roles.label], unknowns, traceless))


def _stretch(derivatives: Array) -> Array:
    """Return V for derivatives `[rows, a, b]` along the matrices with one entry, at (a, b)."""
    moment = np.einsum("rab,rcb->ac", derivatives, derivatives)
    values, vectors = np.linalg.eigh(moment)
    values = np.sqrt(np.maximum(values, 0))
    stretched: Array = (vectors / np.maximum(values / max(float(values.max()), 1e-300), UNUSED)) @ vectors.T
    return stretched


def _allowed(slope: Array, unknowns: int, traceless: bool) -> Array:
    """Return all unknowns, or those whose first matrix has trace zero."""
    every = np.eye(unknowns)
    if not traceless:
        return every
    trace = np.zeros(unknowns)
    trace[: slope.size] = slope.T.ravel() / np.linalg.norm(slope)
    return np.linalg.svd(every - np.outer(trace, trace))[2][:-1]


def _size(array: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(array**2)))


def _refuse_few(samples: int, width: int, unknowns: int) -> int:
    """Return the smallest number of samples, or raise `OptionError` if there are fewer."""
    needed = max(4 * FEWEST_HELD_OUT, -(-4 * FEWEST_ROWS * unknowns // (3 * width)))
    if samples < needed:
        raise OptionError(
            f"there are too few samples for {unknowns} unknowns",
            got=f"{samples} samples with {width} outputs",
            expected=f"{needed} samples or more; a quarter is held out",
            step="pass more samples",
        )
    return needed


def _refuse_constant(slope: float, size: float, values: Array, model: Model) -> None:
    """Raise `OptionError` if derivatives, or all constraints, are zero up to rounding."""
    zero = 4 * model.precision * max(_size(values), 1e-300)
    if max(slope, size) > zero and size > zero:
        return
    varies = float(np.max(np.std(values, axis=0), initial=0)) > 10 * zero
    problem, step = "the function is constant", "pass a function of the data"
    if slope > zero:
        problem, step = f"the function commutes with every matrix on {model.roles.label!r}", "use ek.GL for this axis"
    elif varies:
        problem = "the derivatives of the function are zero but its values differ"
        step = "pass a smooth function, such as the logits before a choice"
    raise OptionError(
        problem,
        got=f"constraints of size {size:.1e}, derivatives of size {slope:.1e}",
        expected="a differentiable function that only some matrices leave as it is",
        step=step,
    )
