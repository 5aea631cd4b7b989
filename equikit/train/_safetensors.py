"""The weights of a model in a safetensors file, under names that other tools accept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError, ShapeError

Model = TypeVar("Model", bound=nnx.Module)


def save(model: nnx.Module, path: str | Path) -> None:
    """Write the parameters and statistics of a model to a safetensors file.

    Names are paths with dots, such as `layers.0.kernel.p_p`; each part has letters, digits, `_` and `-` only. States of
    random number generators are left out.

    Args:
        model: a Flax module.
        path: the file, which is replaced if it exists.

    Raises:
        OptionError: if `model` is not a module, safetensors is not installed, two variables have the same name, or the
            file cannot be written.

    Cost: one copy of the arrays.

    Example:
        >>> import equikit as ek, pathlib, tempfile
        >>> layer = ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "layer.safetensors")
        ...     ek.train.save(layer, file)
        ...     other = ek.train.load(ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(1)), file)
        >>> x = jnp.ones((1, 4, 4, 2))
        >>> bool(jnp.all(layer(x) == other(x)))
        True
    """
    tensors = {name: np.ascontiguousarray(variable[...]) for name, variable in _named(model).items()}
    numpy = _checks.package("safetensors.numpy", "safetensors")
    with _file(path, "cannot be written", "a file in a folder that exists") as file:
        numpy.save_file(tensors, file)


def load(model: Model, path: str | Path) -> Model:
    """Return a copy of a model with the weights of a safetensors file.

    Args:
        model: a Flax module with the structure of the saved one; it is not modified. Its dtypes are kept.
        path: a file that `save` has written, or another one with the same names.

    Returns:
        The copy.

    Raises:
        OptionError: if the file cannot be read, or has other names than the model.
        ShapeError: if an array has another shape.

    Cost: one copy of the arrays.

    Example: see `save`.
    """
    named = _named(model)
    package = _checks.package("safetensors", "safetensors")
    with (
        _file(path, "cannot be read", "a file that ek.train.save has written") as name,
        package.safe_open(name, framework="numpy") as file,
    ):
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    step = "load it into a model like the saved one"
    _checks.same_names("arrays of the file", found, named, step=step, error=OptionError)
    copy = nnx.clone(model)
    for name, variable in _named(copy).items():
        if found[name].shape != variable.shape:
            raise ShapeError(
                f"array {name!r} of the file has another shape",
                got=[*found[name].shape],
                expected=[*variable.shape],
                step=step,
            )
        variable[...] = jnp.asarray(found[name], variable.dtype)
    return copy


@contextlib.contextmanager
def _file(path: Any, problem: str, expected: str) -> Iterator[str]:
    """Give the name of the file, and turn errors of the system and of safetensors into `OptionError`."""
    wrong = _checks.package("safetensors", "safetensors").SafetensorError
    try:
        if not isinstance(path, str | Path):
            raise OSError("neither text nor a path")
        yield str(Path(path).expanduser())
    except (OSError, wrong) as error:
        raise OptionError(
            f"path= {problem}",
            got=f"{_checks.shown(path)}: {str(error).splitlines()[0]}",
            expected=expected,
            step='write path="model.safetensors"',
        ) from error


def _named(model: nnx.Module) -> dict[str, Any]:
    """Return the variables of a model by their dotted names."""
    _checks.instance("model", model, nnx.Module, "nnx.Linear(2, 1, rngs=nnx.Rngs(0))")
    state = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.RngState)))
    found: dict[str, Any] = {}
    for path, variable in state:
        name = ".".join(re.sub(r"[^A-Za-z0-9_-]+", "_", str(part).replace("->", "to")).strip("_") for part in path)
        if name in found:
            raise OptionError(
                f"two variables of the model have the name {name!r} in a file",
                got=".".join(map(str, path)),
                expected="attributes that differ in letters or digits",
                step="rename one of the attributes",
            )
        found[name] = variable
    return found
