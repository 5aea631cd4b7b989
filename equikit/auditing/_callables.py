"""Call functions of JAX, NumPy and PyTorch in one way: arrays of NumPy in, arrays of NumPy out.

PyTorch is an extra. It is recognized by the names of modules, so that nothing here imports it before a module or a
tensor of PyTorch is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import EquikitError, OptionError

Framework = Literal["jax", "numpy", "torch"]
FRAMEWORKS: tuple[Framework, ...] = ("jax", "numpy", "torch")


@dataclass(frozen=True, slots=True)
class Adapted:
    """A function of any framework, called with NumPy arrays.

    Attributes:
        function: the function or module.
        framework: `"jax"`, `"numpy"` or `"torch"`.
        dtype: the dtype of NumPy to which inputs are rounded; bfloat16 is from ml_dtypes.
        as_dict: whether the function takes a dictionary of arrays; otherwise it takes the only array.
        channels: whether arrays of the function have an axis of channels. If not, it is removed from inputs and added
            to outputs, with one channel.
    """

    function: Callable[..., Any]
    framework: Framework
    dtype: Any
    as_dict: bool
    channels: bool = True

    def rounded(self, array: np.ndarray) -> np.ndarray:
        """Return an array rounded to the dtype of the function's inputs, as the function receives it."""
        with np.errstate(over="ignore"):
            rounded: np.ndarray = host(array).astype(self.dtype)
        return rounded

    def __call__(self, arrays: Mapping[str, np.ndarray], **keywords: Any) -> Any:
        """Call the function.

        Args:
            arrays: an array for each input term, rounded to `dtype` before the call.
            **keywords: more arguments, such as `mask=`; arrays in them keep their dtypes.

        Returns:
            Arrays of NumPy in the dtypes of the outputs: one array, or a dictionary of arrays if the function returns
            one. What is not an array is returned as it is.
        """
        argument, more = self.arguments(arrays, keywords)
        return self._with_channels(_on_host(self.function(argument, **more)))

    def arguments(self, arrays: Mapping[str, np.ndarray], keywords: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the argument and the keyword arguments of the function, as arrays of its framework."""
        rounded = {name: self.rounded(array) for name, array in arrays.items()}
        given = {name: self._given(array if self.channels else array[..., 0]) for name, array in rounded.items()}
        return given if self.as_dict else next(iter(given.values())), jax.tree.map(self._given, dict(keywords))

    def with_channels(self, array: np.ndarray) -> np.ndarray:
        """Return an input or output of the function with its axis of channels, which is added if it has none."""
        return array if self.channels else array[..., None]

    def _with_channels(self, result: Any) -> Any:
        if isinstance(result, Mapping):
            return {name: self._with_channels(array) for name, array in result.items()}
        return self.with_channels(result) if isinstance(result, np.ndarray) else result

    def _given(self, array: np.ndarray) -> Any:
        if self.framework == "jax":
            return jnp.asarray(array)
        return _tensor(array, _device(self.function)) if self.framework == "torch" else np.array(array)


def adapted(
    function: Any,
    example: Mapping[str, Any],
    *,
    as_dict: bool,
    dtype: Any = None,
    framework: Framework | None = None,
    keywords: Mapping[str, Any] | None = None,
    channels: bool = True,
) -> Adapted:
    """Find the framework of a function, and the dtype in which it works.

    Modules and data of PyTorch, and data and modules of JAX, tell the framework. Any other function is tried with
    arrays of JAX, then of NumPy, then, if PyTorch is loaded, with tensors. A function that turns arrays of JAX into
    arrays of NumPy is one of NumPy.

    Args:
        function: a function, or a module of Flax, Equinox or PyTorch.
        example: an array for each input term, with an axis of channels, of any framework.
        as_dict: whether the function takes a dictionary.
        dtype: the dtype of the inputs. By default it is the dtype of the data; for data of NumPy in float64 it is the
            dtype of a PyTorch module's parameters, or float32 for JAX without x64.
        framework: the framework, if it is known.
        keywords: more arguments of the function.
        channels: whether arrays of the function have an axis of channels.

    Raises:
        OptionError: if the function is not callable.
        Exception: what the function raises, if it raises something with arrays of each framework.
        MissingPackageError: for a module of PyTorch where PyTorch is not installed.

    Cost: at most one call for each framework.
    """
    if not callable(function):
        raise OptionError(
            "this cannot be called",
            got=_checks.shown(function),
            expected="a function of arrays, or a module",
            step="pass a function, such as jnp.sin",
        )
    known = framework or _framework_of(function, example.values())
    if known is not None:
        return Adapted(function, known, _dtype_of(function, example.values(), known, dtype), as_dict, channels)
    failures: list[Exception] = []
    for kind in FRAMEWORKS if "torch" in sys.modules else FRAMEWORKS[:2]:
        try:
            trial = Adapted(function, kind, _dtype_of(function, example.values(), kind, dtype), as_dict, channels)
            argument, more = trial.arguments(example, keywords or {})
            result = function(argument, **more)
        except Exception as error:  # whatever a function raises on arrays of another framework
            failures.append(error)
            continue
        if kind == "jax" and any(isinstance(array, np.ndarray) for array in jax.tree.leaves(result)):
            return replace(trial, framework="numpy", dtype=_dtype_of(function, example.values(), "numpy", dtype))
        return trial
    # Arrays of the wrong framework raise errors of types and attributes.
    raise next((error for error in failures if not isinstance(error, TypeError | AttributeError)), failures[0])


def raised(error: Exception, channels: bool = True) -> Exception:
    """Return the error to raise for an exception of the user's function; errors of equikit are returned as they are."""
    if isinstance(error, EquikitError):
        return error
    words = str(error)
    problem, step = "the function raises an exception", "call the function on the data, and follow its traceback"
    if isinstance(error, TypeError) and "unexpected keyword argument 'mask'" in words:
        problem, step = "the function takes no mask=", "let it take mask=, or leave mask= out"
    found = OptionError(
        problem,
        got=f"{type(error).__name__}: {_checks.shown(words, 200)[1:-1]}",
        expected=f"a function of arrays [*batch, *axes{', channels' * channels}]",
        step=step,
    )
    found.__cause__ = error
    return found


def _classes(value: object) -> set[str]:
    """Return the first word of the modules that define the classes of a value."""
    return {kind.__module__.partition(".")[0] for kind in type(value).__mro__}


def is_torch(value: object) -> bool:
    """Whether a value is a module or a tensor of PyTorch, without an import of PyTorch."""
    return "torch" in _classes(value)


def _framework_of(function: object, arrays: Iterable[object]) -> Framework | None:
    """Return the framework that a module or the data belong to, or `None` if neither tells."""
    if is_torch(function) or any(is_torch(array) for array in arrays):
        return "torch"
    kinds = _classes(function)
    if any(isinstance(array, jax.Array) for array in arrays) or kinds & {"flax", "equinox", "jax", "jaxlib"}:
        return "jax"
    return "numpy" if "numpy" in kinds else None


def _dtype_of(function: object, arrays: Iterable[Any], framework: Framework, wanted: Any) -> Any:
    """Return the NumPy dtype of the inputs of a function."""
    if wanted is not None:
        with jax.enable_x64(framework != "jax" or jax.config.jax_enable_x64):
            return _checks.dtype("dtype", wanted)
    given = {_numpy_dtype(array) for array in arrays}
    found = jnp.result_type(*given) if len(given) > 1 else given.pop()
    if not jnp.issubdtype(found, jnp.inexact):
        found = np.dtype(np.float64)
    if framework == "jax":
        return jax.dtypes.canonicalize_dtype(found)
    if framework == "torch" and found == np.float64 and not any(is_torch(array) for array in arrays):
        torch = _checks.package("torch", "torch")
        numbers = [p.dtype for p in _parameters(function) if p.dtype.is_floating_point]
        return _of_torch(numbers[0] if numbers else torch.get_default_dtype())
    return found


def _numpy_dtype(array: Any) -> Any:
    return _of_torch(array.dtype) if is_torch(array) else np.asarray(array).dtype


def _of_torch(dtype: object) -> Any:
    return jnp.dtype(str(dtype).removeprefix("torch."))


def _parameters(function: Any) -> list[Any]:
    return list(function.parameters()) if hasattr(function, "parameters") else []


def _device(function: object) -> Any:
    """Return the device of the parameters of a PyTorch module, or `None` for the default."""
    return next((parameter.device for parameter in _parameters(function)), None)


def _tensor(array: np.ndarray, device: Any) -> Any:
    torch = _checks.package("torch", "torch")
    if array.dtype.kind in "biu":
        return torch.tensor(array, device=device)
    name = array.dtype.name
    exact = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)  # PyTorch cannot read bfloat16
    return torch.tensor(exact, device=device).to(getattr(torch, name))


def host(array: Any) -> np.ndarray:
    """Return an array of any framework as an array of NumPy in its own dtype."""
    if not is_torch(array):
        return np.asarray(array)
    dtype = _of_torch(array.dtype)
    values = array.detach().cpu()
    return np.asarray((values.float() if dtype == jnp.bfloat16 else values).numpy()).astype(dtype)


def _on_host(result: Any) -> Any:
    if isinstance(result, Mapping):
        return {name: _on_host(array) for name, array in result.items()}
    return host(result) if hasattr(result, "shape") and hasattr(result, "dtype") else result
