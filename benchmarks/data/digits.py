"""The handwritten digits of scikit-learn, 8 × 8 pixels: upright, rotated, and as point clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.core.measurement import Skip

SIZE, POINTS = 8, 50


@dataclass(frozen=True)
class Digits:
    """Images, or clouds of points, and which digits they show.

    Attributes:
        inputs: images `[N, 8, 8]` from zero to one, or clouds `[N, points, 2]`, float32.
        labels: `[N]`, from 0 to 9.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: slice) -> Digits:
        """The images or clouds of a slice."""
        return Digits(self.inputs[index], self.labels[index])


def digits(seed: int) -> Digits:
    """All 1,797 images in random order.

    Raises:
        Skip: where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise Skip("scikit-learn is not installed") from None
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    return Digits((found.images[order] / 16).astype(np.float32), found.target[order].astype(np.int32))


def quarter_turns(images: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Rotate every image `[N, 8, 8]` counter-clockwise by its own number of quarter turns, which moves whole pixels."""
    every = np.stack([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    found: np.ndarray = every[turns % 4, np.arange(len(images))]
    return found


def turned(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Rotate every image `[N, n, n]` counter-clockwise about its center by its own angle.

    A pixel is interpolated between the four around the place that it comes from; outside of the image there is zero.
    """
    n = images.shape[-1]
    center = (n - 1) / 2
    angle = np.deg2rad(degrees)[:, None, None]
    row, column = np.mgrid[:n, :n] - center
    # Rows count downward, which reverses the sense of the rotation.
    source = (
        np.cos(angle) * row + np.sin(angle) * column + center,
        np.cos(angle) * column - np.sin(angle) * row + center,
    )
    low = [np.floor(s).astype(int) for s in source]
    part = [s - f for s, f in zip(source, low, strict=True)]
    padded = np.pad(images, ((0, 0), (n, n), (n, n)))  # a rotated corner lies at most (√2 - 1) n / 2 outside
    which = np.arange(len(images))[:, None, None]
    total = np.zeros(np.broadcast_shapes(images.shape, source[0].shape))
    for i in (0, 1):
        for j in (0, 1):
            weight = np.abs(1 - i - part[0]) * np.abs(1 - j - part[1])
            total += weight * padded[which, low[0] + i + n, low[1] + j + n]
    return total.astype(images.dtype)


def clouds(images: Digits, seed: int, copies: int = 1, jitter: float = 0.2) -> Digits:
    """Sample clouds of 50 points, each near a random pixel that the image determines.

    A pixel is there with the probability that is its brightness. Points come in no order. The image is the square from
    -1 to 1, so that pixels are a quarter apart.

    Args:
        images: `[N, 8, 8]`.
        seed: of everything random.
        copies: clouds of each image, drawn anew.
        jitter: the standard deviation of points about the center of their pixel, in pixels.

    Returns:
        Clouds `[copies · N, 50, 2]`, x before y; copy after copy.
    """
    generator = np.random.default_rng(seed)
    bright = np.tile(images.inputs.reshape(len(images), -1), (copies, 1))
    there = generator.random(bright.shape) < bright
    there |= bright == bright.max(axis=1, keepdims=True)  # at least one
    ends = np.cumsum(there, axis=1)
    drawn = generator.integers(1, ends[:, -1:] + 1, size=(len(bright), POINTS))
    # The k-th pixel that is there is the first at which k of them have been counted.
    pixel = np.sum(ends[:, None, :] < drawn[:, :, None], axis=2)
    row, column = np.divmod(pixel, SIZE)
    places = np.stack([column, SIZE - 1 - row], axis=-1) + jitter * generator.normal(size=(len(bright), POINTS, 2))
    scaled = (places - (SIZE - 1) / 2) * 2 / SIZE
    return Digits(scaled.astype(np.float32), np.tile(images.labels, copies))
