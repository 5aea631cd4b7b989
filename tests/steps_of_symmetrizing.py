"""Next steps of `ek.symmetrize` about methods that read other labels, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import equikit as ek

F = ek.frames
ORDER, WIDE = np.array([2, 0, 3, 1]), {"p": ek.S, "x": ek.Lorentz}


def wrapped(how: Any, group: Any = ek.Lorentz, **options: Any) -> Any:
    def backbone(x: Any) -> Any:
        return jnp.tanh(x * jnp.cos(jnp.arange(x.size).reshape(x.shape)))

    return ek.symmetrize(backbone, "p x -> p x", how=how, channels=False, **({"p": ek.S, "x": group} | options))


def first(text: str) -> Any:
    """Put a method before QR, and check that a reordered input has the reordered output."""
    sym = wrapped([eval(text, {"ek": ek}), F.QR()])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    assert np.allclose(sym(x[ORDER]), sym(x)[ORDER], atol=1e-5)


def by_numbers(text: str) -> Any:
    """Sort by a second input, and check the same."""
    sym = ek.symmetrize(
        lambda x: {"y": x["r"] * jnp.cos(jnp.arange(16.0)).reshape(4, 4)},
        {"r": "p x", "q": "p"},
        {"y": "p x"},
        how=[eval(text, {"ek": ek}), F.QR()],
        channels=False,
        **WIDE,
    )
    r = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    q = jnp.arange(4.0)
    assert np.allclose(sym({"r": r[ORDER], "q": q[ORDER]})["y"], sym({"r": r, "q": q})["y"][ORDER], atol=1e-5)


def in_space(text: str) -> Any:
    return wrapped([eval(text, {"ek": ek}), F.Sort()], ek.O(3))


CALL: dict[str, tuple[Any, str, Any]] = {
    "an-order-that-qr-reads": (lambda: wrapped(F.QR()), 'ek.frames.GroupAverage("p")', first),
    "jets-in-any-order": (lambda: wrapped([F.Sort(), F.QR()]), 'ek.frames.Sort("p", terms=("q",))', by_numbers),
    "points-in-any-order": (lambda: wrapped([F.QR(), F.Sort()], ek.O(3)), 'ek.frames.PCA("x")', in_space),
    "vectors-that-sort-reads": (lambda: wrapped(F.Sort(), ek.O(3)), 'ek.frames.PCA("x")', in_space),
    "a-translation-along-points": (
        lambda **o: wrapped(F.PCA(), ek.O(3), **({"translate": "p"} | o)),
        'translate="x"',
        None,
    ),
}
