"""Small data sets that scikit-learn ships: rows of numbers, with a class or a number to predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.core.measurement import Skip

SHARES = 0.6, 0.2
"""Of the rows: to train on, and for validation; the others are for tests."""
NAMES = ("digits", "breast cancer", "wine", "diabetes")


@dataclass(frozen=True)
class Table:
    """Rows, which are standardized by those to train on, and what to predict.

    Attributes:
        train, validation, test: numbers `[rows, features]`, and classes or standardized numbers `[rows]`.
        classes: how many there are; none if numbers are predicted.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: int | None

    @property
    def outputs(self) -> int:
        """How many numbers a network returns."""
        return self.classes or 1


def table(name: str, seed: int) -> Table:
    """Load a data set, and split its rows in random order.

    Raises:
        Skip: where scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise Skip("scikit-learn is not installed") from None
    x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    ends = np.round(np.cumsum(SHARES) * len(x)).astype(int)
    rows = np.split(order, ends)
    classes = int(y.max()) + 1 if np.issubdtype(np.asarray(y).dtype, np.integer) else None
    x = _standardized(x, rows[0])
    y = y.astype(np.int32) if classes else _standardized(y, rows[0])
    parts = [(x[part], y[part]) for part in rows]
    return Table(parts[0], parts[1], parts[2], classes)


def _standardized(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Shift and scale columns; a constant one becomes zero."""
    mean, deviation = values[rows].mean(axis=0), values[rows].std(axis=0)
    found: np.ndarray = ((values - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return found
