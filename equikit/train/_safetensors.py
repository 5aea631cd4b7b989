"""The weights of a model in a safetensors file, under names that other tools accept."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import DTypeError, EquikitError, OptionError, ShapeError
from equikit.nn import check_saved, describe

Model = TypeVar("Model", bound=nnx.Module)

SAVED = nnx.Not((nnx.RngState, nnx.Intermediate))
"""The variables of a file: neither states of random number generators nor what `sow` keeps."""

DTYPES = {
    **{"BOOL": "bool", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{f"{code}{bits}": f"{kind}{bits}" for code, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}
"""The dtypes of files that NumPy reads, by the names that they have in a file."""

KINDS = np.bool_, jnp.integer, jnp.floating, jnp.complexfloating
VALUE = jax.tree_util.GetAttrKey("value")
STEP = "load it into a model like the saved one"


def save(model: nnx.Module, path: str | Path) -> None:
    """Write the parameters and statistics of a model to a safetensors file.

    Names are paths with dots, such as `layers.0.kernel.p_p_to_p`, where `p_p_to_p` stands for the signature
    `p p -> p`. Characters other than letters of any alphabet, digits, `_` and `-` are written as in addresses of the
    web: `%20` for a space. States of random number generators, keys, and values that `sow` has kept are left out. For
    layers of equikit the file also has what `ek.nn.describe` returns, as JSON under `"equikit"` in the metadata.

    Args:
        model: a Flax module.
        path: the file, which is overwritten if it exists.

    Raises:
        OptionError: if `model` is not a module, a variable has no values (under `jit`, or from `nnx.eval_shape`), two
            variables have the same name, or the file cannot be written.
        DTypeError: if a variable is not an array or number of a dtype that files have: bool, integers of 8 to 64 bits,
            float16, bfloat16, float32, float64 or complex64.
        MissingPackageError: if safetensors is not installed.

    Cost: two copies of the arrays.

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
    leaves, _ = _parts(model)
    tensors = {name: _values(f"variable {name!r} of the model", leaf) for name, leaf in leaves.items()}
    metadata, description = {"format": "flax"}, describe(model)
    if description["layers"]:
        metadata["equikit"] = json.dumps(description)
    data = _checks.package("safetensors.numpy", "safetensors").save(tensors, metadata)
    with _file(path, "cannot be written", "a file in a folder that exists") as file:
        file.write_bytes(data)


def load(model: Model, path: str | Path) -> Model:
    """Return a copy of a model with the weights of a safetensors file.

    Args:
        model: a Flax module with the structure of the saved one, also from `nnx.eval_shape` if it has no states of
            random number generators; it is not modified. Its dtypes and shardings are kept: floats are rounded to them.
        path: a file that `save` has written, or another one with the same names.

    Returns:
        The copy.

    Raises:
        OptionError: if the file cannot be read, or has other names than the model.
        SignatureError: if a layer of equikit was saved with another signature, group or normalization.
        ShapeError: if an array has another shape.
        DTypeError: if an array has another kind of numbers (bool, integers, floats, complex), or values that the dtype
            of the model does not have: larger integers, or finite floats that would become infinite.
        MissingPackageError: if safetensors is not installed.

    Cost: two copies of the arrays.

    Example: see `save`.
    """
    leaves, copied = _parts(model)
    package = _checks.package("safetensors", "safetensors")
    with (
        _file(path, "cannot be read", "a file that ek.train.save has written") as name,
        package.safe_open(str(name), framework="numpy") as file,
    ):
        description = (file.metadata() or {}).get("equikit")
        for key in file.keys():  # noqa: SIM118
            _refuse_dtype(f"array {key!r} of the file", DTYPES.get(code := file.get_slice(key).get_dtype(), code))
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if description is not None:
        _check(model, description)
    unexpected, missing = [name for name in found if name not in leaves], [name for name in leaves if name not in found]
    if unexpected or missing:
        raise OptionError(
            "the arrays of the file do not have the names of the model",
            got=_first("names that the model does not have", unexpected),
            expected=_first("names that the file does not have", missing),
            step=STEP,
        )
    copy = copied({name: _like(f"array {name!r} of the file", found[name], leaf) for name, leaf in leaves.items()})
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(copy))):
        raise OptionError(
            "states of random number generators have no values",
            got="a model of nnx.eval_shape",
            expected="values, since they are not in the file",
            step="make the model without nnx.eval_shape",
        )
    return copy


def _check(model: nnx.Module, text: str) -> None:
    """Check the layers of the description in a file; the names and shapes of its arrays are compared afterwards."""
    try:
        saved = json.loads(text)
    except ValueError:
        saved = text
    check_saved(model, saved | {"shapes": describe(model)["shapes"]} if isinstance(saved, dict) else saved)


def _first(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f", the first is {names[0]!r}" if names else "")


@contextlib.contextmanager
def _file(path: Any, problem: str, expected: str) -> Iterator[Path]:
    """Give the path of the file, and turn errors of the system and of safetensors into `OptionError`."""
    wrong = _checks.package("safetensors", "safetensors").SafetensorError
    try:
        if not isinstance(path, str | Path):
            raise OSError("neither text nor a path")
        yield Path(path).expanduser()
    except EquikitError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        wrong,
    ) as error:  # RuntimeError: no such user; ValueError: a null character
        raise OptionError(
            f"path= {problem}",
            got=f"{_checks.shown(path)}: {str(error).splitlines()[0]}",
            expected=expected,
            step='write path="model.safetensors"',
        ) from error


def _parts(model: Model) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Model]]:
    """Return the arrays and numbers of a model by name, and a function that copies the model with other ones."""
    _checks.instance("model", model, nnx.Module, "nnx.Linear(2, 1, rngs=nnx.Rngs(0))")
    graph, state, *rest = nnx.split(model, SAVED, ...)
    entries: list[tuple[Any, Any]]
    entries, tree = jax.tree.flatten_with_path(state)
    places: dict[str, int] = {}
    for place, (path, leaf) in enumerate(entries):
        if hasattr(leaf, "dtype") and _checks.is_key(leaf):
            continue
        name = ".".join(_name(jax.tree_util.keystr((key,), simple=True)) for key in path if key != VALUE)
        if name in places:
            raise OptionError(
                f"two variables of the model have the name {name!r} in a file",
                got=jax.tree_util.keystr(path, simple=True, separator="."),
                expected="attributes that differ in letters or digits",
                step="rename one of the attributes",
            )
        places[name] = place

    def copied(values: dict[str, Any]) -> Model:
        leaves = [leaf for _, leaf in entries]
        for name, value in values.items():
            leaves[places[name]] = value
        copy: Model = nnx.merge(graph, jax.tree.unflatten(tree, leaves), *rest, copy=True)
        return copy

    return {name: entries[place][1] for name, place in places.items()}, copied


def _name(part: str) -> str:
    """Return a part of a path: a signature with `_` and `to`, other characters in percent codes."""
    if "->" in part:
        part = "_".join(part.replace("()", "").replace("->", " to ").split())
    return re.sub(
        r"[^\w-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogatepass")), part
    )


def _refuse_dtype(what: str, dtype: Any) -> None:
    if str(dtype) not in DTYPES.values():
        raise DTypeError(
            f"{what} has a dtype that safetensors files of NumPy do not have",
            got=dtype,
            expected=", ".join(DTYPES.values()),
            step="cast it to one of these, such as float32 or bfloat16, or keep it outside of the variables",
        )


def _values(what: str, leaf: Any) -> np.ndarray:
    """Return a leaf as an array of NumPy, with its entries in order."""
    _checks.untraced(what, leaf, step="save the model outside of jit")
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise OptionError(
            f"{what} has no values", got=leaf, expected="an array", step="make the model without nnx.eval_shape"
        )
    try:
        values = np.array(leaf, order="C")
    except RuntimeError as error:  # deleted, or on other hosts
        raise OptionError(
            f"{what} has no values here",
            got=str(error).splitlines()[0],
            expected="an array of this process",
            step="save the model before its arrays are donated, and gather arrays of several hosts",
        ) from error
    _refuse_dtype(what, values.dtype.name)
    return values


def _like(what: str, found: np.ndarray, leaf: Any) -> Any:
    """Return an array as what it replaces: of JAX or NumPy, or a number, with the same shape, dtype and sharding."""
    is_array = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
    old = leaf if is_array else np.asarray(leaf)
    _refuse_dtype(f"the variable for {what}", old.dtype.name)
    if found.shape != old.shape:
        raise ShapeError(f"{what} has another shape", got=[*found.shape], expected=[*old.shape], step=STEP)
    kinds = [next(kind for kind in KINDS if jnp.issubdtype(dtype, kind)) for dtype in (found.dtype, old.dtype)]
    if kinds[0] != kinds[1]:
        raise DTypeError(
            f"{what} has another kind of numbers", got=found.dtype, expected=f"{old.dtype}, as in the model", step=STEP
        )
    if is_array and jax.dtypes.canonicalize_dtype(old.dtype) != old.dtype:
        raise DTypeError(
            f"the variable for {what} cannot be {old.dtype} while jax_enable_x64 is off",
            got=old.dtype,
            expected=f"{jax.dtypes.canonicalize_dtype(old.dtype)}, or x64 switched on",
            step='call jax.config.update("jax_enable_x64", True) first',
        )
    values = _checks.cast(found, old.dtype)
    if values is None:
        raise DTypeError(
            f"{what} has values that the model's dtype does not have",
            got=f"{found.dtype} from {found.min()} to {found.max()}",
            expected=old.dtype,
            step=f"make the model with {found.dtype}",
        )
    if is_array:
        return jax.device_put(values, _sharding(leaf))
    return values if isinstance(leaf, np.ndarray) else type(leaf)(values.item())


def _sharding(leaf: Any) -> Any:
    """Return the sharding of an array, or `None` if it has none that another array must have too."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.sharding if not isinstance(leaf, jax.core.Tracer) and leaf.committed else None
    if not isinstance(getattr(leaf.sharding, "mesh", None), jax.sharding.AbstractMesh):
        return leaf.sharding
    if jax.sharding.get_mesh().empty:
        raise OptionError(
            "a model of nnx.eval_shape is sharded over a mesh without devices",
            got=leaf.sharding.spec,
            expected="a mesh with devices",
            step="load it where jax.set_mesh is in effect",
        )
    return leaf.sharding.spec
