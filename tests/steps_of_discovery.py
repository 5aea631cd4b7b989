"""Next steps of `ek.discover` and `equikit.groups.lie` that are code, as in `CALL` of `test_steps_as_code.py`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.groups import lie

X = np.random.default_rng(0).normal(size=(200, 3, 2))
FLAT = np.concatenate([X, X[:, :1]], axis=1)
NAMES = {"np": np, "jnp": jnp, "ek": ek}
MASKED = np.ma.masked_array(np.random.default_rng(0).normal(size=(3000, 3, 1)), mask=False)


def almost(x, amount=0.15):
    return np.sum(x**2, axis=(1, 2)) * (1 + amount * x[:, 0, 0] * x[:, 1, 1])


def in_the_span(code: str) -> Any:
    """Follow the step that expresses vectors in a basis of their span."""
    basis = np.linalg.svd(FLAT.swapaxes(0, 1).reshape(4, -1))[0][:, :3]
    scope = {"x": FLAT, "basis": basis} | NAMES
    exec(code, scope)
    return ek.discover.lie_algebra(lambda x: jnp.sum(x**2, axis=(1, 2)), np.asarray(scope["x"]))


def dropped(code: str) -> Any:
    """Ask a model with dropout, after the code of a step."""
    model = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    eval(code, {"model": model})
    return ek.discover.lie_algebra(lambda x: jnp.sum(model(jnp.asarray(x)) ** 2, axis=(1, 2)), X.astype(np.float32))


def two_terms(data: Any) -> Any:
    return ek.discover.lie_algebra(lambda x: jnp.sum(x["a"] * x["b"], axis=(1, 2)), data, "a: x + b: x -> ()")


def size(x):
    return np.sum(x**2, axis=(1, 2), keepdims=True)


def two_outputs(function: Any) -> Any:
    return ek.discover.lie_algebra(function, X, "x -> y: x + z: ()")


def signature(text: str | None = None) -> Any:
    function = functools.partial(ek.discover.lie_algebra, lambda x: x * np.sum(x**2, axis=(1, 2), keepdims=True), X)
    return function("() -> ()" if text is None else eval(text))


def tilted(x):
    """A function that breaks SO(3) as much as the precision of differences is below it."""
    return np.sum(x**2, axis=(1, 2)) + 0.004 * x[:, 2, 0]


def smaller(code: str) -> Any:
    """Follow the step to the smaller of two groups."""
    found = ek.discover.lie_algebra(tilted, X, **eval(f"dict({code}1e-6)"))
    assert found.dimension == 1


CALL = {
    "two-gaps-of-one-size": (lambda: ek.discover.lie_algebra(tilted, X), "most_defect=3.", smaller),
    "samples-with-a-mask": (
        lambda: ek.discover.permutations(MASKED),
        "x.filled(0)",
        lambda code: ek.discover.permutations(eval(code, {"x": MASKED})),
    ),
    "not-a-basis": (
        lambda: lie.recognize(np.eye(2)),
        "np.array([[[0, -1], [1, 0]]])",
        lambda code: lie.recognize(eval(code, NAMES)),
    ),
    "not-closed": (
        lambda: lie.recognize(ek.SO(3).lie_algebra()[:2]),
        "generate(matrices)",
        {"generate": lie.generate, "matrices": ek.SO(3).lie_algebra()[:2]},
    ),
    "no-gap": (
        lambda **o: ek.discover.lie_algebra(almost, X, **{"most_defect": 0.9} | o),
        "least_gap=2",
        None,
    ),
    "data-in-a-subspace": (
        lambda: ek.discover.lie_algebra(lambda x: jnp.sum(x**2, axis=(1, 2)), FLAT),
        "x = jnp.einsum('si...,ik->sk...', x, basis)",
        in_the_span,
    ),
    "a-model-in-training-mode": (
        lambda: dropped("None"),
        "model.eval()",
        dropped,
    ),
    "data-by-name": (
        lambda: two_terms(X),
        "data={'a': ..., 'b': ...}",
        lambda code: two_terms(dict.fromkeys(eval(f"dict({code})")["data"], X)),
    ),
    "outputs-by-name": (
        lambda: two_outputs(lambda x: x),
        "{'y': ..., 'z': ...}",
        lambda code: two_outputs(lambda x: dict(zip(eval(code), (x * size(x), size(x)[:, :, 0]), strict=True))),
    ),
    "no-axis": (signature, '"x -> x"', signature),
    "no-arrays": (
        lambda: ek.discover.surrogate({}, X, key=jax.random.key(0)),
        '{"x": x}',
        lambda code: ek.discover.surrogate(
            eval(code, {"x": X}), X, key=jax.random.key(0), hidden=(2,), epochs=1, batch=90
        ),
    ),
}
