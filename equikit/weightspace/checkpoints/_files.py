"""Read the arrays of a checkpoint, by name: safetensors, PyTorch, orbax, NumPy, or a dictionary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import EquikitError, OptionError
from equikit.weightspace.specifications._leaves import key_name

Arrays = dict[str, np.ndarray]
"""Arrays by name."""

STATES = ("state_dict", "model_state_dict")
"""Keys under which training scripts keep the arrays of a model, and nothing else."""
NESTED = ("model", "module", "params")
"""Keys under which they may keep these arrays; models have parts of these names too."""
INDEX = "*.safetensors.index.json"
"""The file that names the shard of each array."""


def read(checkpoint: Any) -> Arrays:
    """Return the arrays of a checkpoint by name.

    Raises:
        OptionError: if the checkpoint cannot be read, or has no arrays.
        MissingPackageError: if the package that reads this kind of file is not installed.
    """
    if isinstance(checkpoint, Mapping):
        return _named(checkpoint, "a dictionary")
    if not isinstance(checkpoint, str | Path):
        raise OptionError(
            "the checkpoint is neither a path nor a dictionary",
            got=_checks.shown(checkpoint),
            expected="a path, or a dictionary from names to arrays",
            step="pass the path of a file, or the state dict itself",
        )
    path = Path(checkpoint).expanduser()
    try:
        return _named(_of_path(path), str(path))
    except EquikitError:
        raise
    except Exception as error:  # each reader raises errors of its own
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise OptionError(
            f"the checkpoint {path.name!r} cannot be read",
            got=text[0],
            expected="a safetensors file, a PyTorch state dict, an orbax folder, or an npz file",
            step="check the path, and that the file is complete",
        ) from error


def _of_path(path: Path) -> Any:
    """Return what a file or folder holds; PyTorch files are read without running code from them."""
    if path.is_dir():
        found = [*path.glob(INDEX)] or [*path.glob("*.safetensors")]
        if len(found) > 1:
            raise OptionError(
                f"the folder {path.name!r} has several checkpoints",
                got=", ".join(sorted(one.name for one in found)),
                expected="one file, or shards with an index",
                step="pass the path of one file",
            )
        return _of_path(found[0]) if found else _of_orbax(path)
    if path.match(INDEX):
        files = sorted(set(json.loads(path.read_text())["weight_map"].values()))
        return {name: array for file in files for name, array in _of_safetensors(path.with_name(file)).items()}
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        return _checks.package("torch", "torch").load(path, map_location="cpu", weights_only=True)
    return _of_safetensors(path)


def _of_safetensors(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = _checks.package("safetensors.numpy", "safetensors").load_file(path)
    return found


def _of_orbax(path: Path) -> Any:
    import orbax.checkpoint  # takes a second

    return orbax.checkpoint.StandardCheckpointer().restore(path.absolute())


def _named(found: Any, where: str) -> Arrays:
    """Return the arrays of a tree by their paths with dots, without what PyTorch scripts wrap around them."""
    while isinstance(found, Mapping):
        inner = next((found[key] for key in STATES if isinstance(found.get(key), Mapping)), None)
        for key in NESTED if inner is None else ():
            alone = not any(map(_is_array, jax.tree.leaves({k: v for k, v in found.items() if k != key})))
            inner = found[key] if isinstance(found.get(key), Mapping) and alone else inner
        if inner is None:
            break
        found = inner
    leaves, _ = jax.tree_util.tree_flatten_with_path(found, is_leaf=_is_array)
    arrays: Arrays = {}
    for path, leaf in leaves:
        name = ".".join(map(key_name, path))
        if name in arrays:
            raise OptionError(
                f"two arrays of the checkpoint have the name {name!r}",
                got=where,
                expected="paths that differ",
                step="rename one of the keys",
            )
        if _is_array(leaf):
            arrays[name] = _of_any(leaf)
    _checks.some("arrays in the checkpoint", arrays, got=where, step="pass the state dict of the model")
    return arrays


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _of_any(value: Any) -> np.ndarray:
    """Return an array of NumPy, JAX or PyTorch as one of NumPy."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    if str(tensor.dtype) != "torch.bfloat16":
        return np.asarray(tensor.numpy())
    # NumPy has no bfloat16, and float32 holds its values exactly.
    return np.asarray(tensor.float().numpy()).astype(jax.numpy.bfloat16)
