"""Functions of JAX, NumPy and PyTorch are called in one way."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import adapted, host, is_torch

X = np.random.default_rng(0).normal(size=(2, 3))


def of(function, array=X, **options):
    return adapted(function, {"x": array}, as_dict=False, **options)


def written(x):
    """A function that writes into its argument, as NumPy allows."""
    x[0] = 0
    return x


@pytest.mark.parametrize(
    ("function", "array", "framework", "dtype"),
    [
        (jnp.sin, X, "jax", np.float32),
        (jnp.sin, X.astype(np.float16), "jax", np.float16),
        (jnp.sin, jnp.ones((2, 3), jnp.bfloat16), "jax", jnp.bfloat16),
        (jax.jit(lambda x: x), X, "jax", np.float32),
        (np.sin, X, "numpy", np.float64),
        (np.sin, X.astype(np.float32), "numpy", np.float32),
        (written, X, "numpy", np.float64),
        (lambda x: np.asarray(x) + 1, X, "numpy", np.float64),
        (nnx.LayerNorm(3, rngs=nnx.Rngs(0)), X, "jax", np.float32),
    ],
)
def test_the_framework_is_found(function, array, framework, dtype):
    found = of(function, array)
    assert (found.framework, found.dtype) == (framework, dtype)
    result = found({"x": np.asarray(array)})
    assert isinstance(result, np.ndarray)
    assert result.shape == (2, 3)


def test_inputs_are_copied():
    array = X.copy()
    of(written)({"x": array})
    np.testing.assert_array_equal(array, X)


def test_inputs_are_rounded_to_the_dtype_of_the_function():
    seen = []
    of(lambda x: seen.append(x.dtype) or x, dtype=jnp.bfloat16)({"x": X})
    assert {*seen} == {jnp.dtype(jnp.bfloat16)}


def test_equinox_modules_are_of_jax():
    eqx = pytest.importorskip("equinox")
    assert of(eqx.nn.Linear(3, 1, key=jax.random.key(0)), X[0]).framework == "jax"


def test_dictionaries_and_keywords():
    function = adapted(lambda x, mask: {"y": x["a"] * mask["p"]}, {"a": X}, as_dict=True, keywords={"mask": {"p": X}})
    result = function({"a": X}, mask={"p": X > 0})
    np.testing.assert_allclose(result["y"], X * (X > 0), rtol=1e-6)


def test_the_exception_of_the_function_is_raised():
    def fails(x):
        if isinstance(x, jax.Array):
            raise TypeError("not for JAX")
        raise KeyError("axis")

    with pytest.raises(KeyError, match="axis"):
        of(fails)
    with pytest.raises(TypeError, match="JAX"):
        of(lambda x: fails(jnp.asarray(x)))
    with pytest.raises(ek.OptionError, match="this cannot be called"):
        of(3)


def test_pytorch_is_recognized_without_an_import(monkeypatch):
    module = type("Module", (), {"__module__": "torch.nn.modules.module", "__call__": lambda self, x: x})()
    assert is_torch(module)
    assert not is_torch(jnp.sin)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import fails
    with pytest.raises(ek.MissingPackageError, match="torch is not installed") as caught:
        of(module)
    assert caught.value.step == "pip install torch"


class Tensor:
    """As much of a tensor of PyTorch as the adapter uses, by an array of NumPy."""

    __module__ = "torch"

    def __init__(self, array, dtype):
        self.array, self.dtype, self.shape = np.asarray(array), dtype, np.shape(array)

    def to(self, dtype):
        return Tensor(self.array.astype(str(dtype).removeprefix("torch.")), dtype)

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return self

    def numpy(self):
        return self.array


class Kind:
    is_floating_point = True

    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"torch.{self.name}"


def test_tensors_are_made_and_read_back(monkeypatch):
    """A stand-in for PyTorch shows what the adapter calls; tests with PyTorch are where it is installed."""
    double, single = Kind("float64"), Kind("float32")
    stand_in = types.SimpleNamespace(
        tensor=lambda array, device: Tensor(array, double), float32=single, get_default_dtype=lambda: single
    )
    monkeypatch.setitem(sys.modules, "torch", stand_in)

    def function(x):
        if not isinstance(x, Tensor):
            raise TypeError("not a tensor")
        return Tensor(2 * x.array, x.dtype)

    found = of(function)
    assert (found.framework, found.dtype) == ("torch", np.float32)
    result = found({"x": X})
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 2 * X, rtol=1e-6)
    assert of(function, Tensor(X, double)).dtype == np.float64
    np.testing.assert_array_equal(host(Tensor(X, double)), X)


def test_pytorch_itself():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    layer = torch.nn.Linear(3, 2)
    found = of(layer)
    assert (found.framework, found.dtype) == ("torch", np.float32)
    np.testing.assert_allclose(found({"x": X}), layer(torch.tensor(X, dtype=torch.float32)).detach().numpy())
    half = of(torch.sin, torch.ones(2, 3, dtype=torch.bfloat16))
    assert half({"x": X}).dtype == jnp.bfloat16
