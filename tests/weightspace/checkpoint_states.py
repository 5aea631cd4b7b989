"""Random state dicts as PyTorch has them, and its definitions of layers, in NumPy."""

import numpy as np
from scipy.signal import correlate

State = dict[str, np.ndarray]


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def of_linear(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    """PyTorch's definition: outputs first."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def convolved(state: State, name: str, x: np.ndarray) -> np.ndarray:
    """PyTorch's definition: images `[batch, channels, height, width]`, kernels with outputs first."""
    kernel = state[f"{name}.weight"]
    one = [[correlate(image, filter_, mode="valid")[0] for filter_ in kernel] for image in x]
    return np.array(one) + state[f"{name}.bias"][:, None, None]
