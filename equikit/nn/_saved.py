"""Describe a model to save with its arrays, and check the description before loading them.

The position of a weight in canonical order determines its diagram, so arrays alone do not define their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

import equikit
from equikit import _checks
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.diagrams import MultilinearSpace
from equikit.groups import Group
from equikit.signatures import Signature

FORMAT = 1
"""The version of the weight format: raised when the order of diagrams or the map of a weight changes."""

SETTINGS = (
    *("signature", "space", "group", "normalize", "mode", "loops"),
    *("axes", "scale", "hyperelastic", "stress_free", "degree", "invariants"),  # constitutive laws
    *("basis", "cutoff", "how", "heads"),  # radial functions, pooling and attention
)
"""Layer attributes that determine how weights are used, beyond the shapes of arrays."""


def _text(value: object) -> str | None:
    """Return the text of a setting, with groups written in full; `None` for other attributes with the same name."""
    if isinstance(value, MultilinearSpace | Signature):
        text, signature = (value.text, value.signature) if isinstance(value, MultilinearSpace) else (str(value), value)
        return ", ".join([text, *(f"{label}={what!r}" for label, what in signature.bindings)])
    if isinstance(value, Group | bool | int | float | tuple):
        return repr(value)
    return value if isinstance(value, str) else None


def _settings(module: nnx.Module) -> dict[str, str]:
    texts = {name: _text(vars(module).get(name)) for name in SETTINGS}
    return {name: text for name, text in texts.items() if text is not None}


def describe(model: nnx.Module) -> dict[str, Any]:
    """Describe a model as a JSON dictionary to save with its arrays.

    Args:
        model: a layer, or any NNX module that contains equikit layers, also as returned by `nnx.eval_shape`.

    Returns:
        `"format"`, the number `equikit.nn.FORMAT`; `"equikit"`, the version; `"layers"`, the signature with its groups
        and the normalization of each layer, by its path; `"shapes"`, the shape of each array, by its path.

    Raises:
        OptionError: if the model is not an NNX module.

    Example:
        >>> from equikit import S
        >>> description = describe(equikit.nn.Linear("p -> p", 2, 3, p=S, rngs=nnx.Rngs(0)))
        >>> description["layers"]
        {'': {'signature': 'p -> p, p=S', 'normalize': 'mean'}}
        >>> description["shapes"]
        {'bias.-> p': [1, 3], 'kernel.p -> p': [2, 2, 3]}
    """
    if not isinstance(model, nnx.Module):
        raise OptionError(
            "only NNX modules can be described",
            got=_checks.shown(model),
            expected="a module, such as a layer",
            step="pass the model, and save its state separately: nnx.state(model)",
        )
    ours = {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_modules(model)
        if any(kind.__module__.startswith("equikit.") for kind in type(module).__mro__)
    }
    layers = {path: _settings(module) for path, module in sorted(ours.items())}
    arrays, _ = jax.tree.flatten_with_path(nnx.to_pure_dict(nnx.state(model)))
    return {
        "format": FORMAT,
        "equikit": equikit.__version__,
        "layers": {path: settings for path, settings in layers.items() if settings},
        "shapes": {
            jax.tree_util.keystr(path, simple=True, separator="."): [*np.shape(array)] for path, array in arrays
        },
    }


def check_saved(model: nnx.Module, description: Mapping[str, Any]) -> None:
    """Check that saved arrays have the same meaning in this model, before they are loaded into it.

    Args:
        model: the model to load into; `nnx.eval_shape` makes one without allocating arrays.
        description: what `describe` returned for the saved model, also after a round trip through JSON.

    Raises:
        OptionError: if the weights have another format, or the description does not come from `describe`.
        SignatureError: if a layer has another signature, group or normalization.
        ShapeError: if an array is missing, unknown, or has another shape.

    Example:
        >>> import json
        >>> from equikit import S
        >>> layer = equikit.nn.Linear("p -> p", 2, 3, p=S, rngs=nnx.Rngs(0))
        >>> text = json.dumps(describe(layer))            # saved next to nnx.state(layer)
        >>> check_saved(layer, json.loads(text))
    """
    here = describe(model)
    if not _complete(description, here):
        raise OptionError(
            "the description does not come from ek.nn.describe",
            got=_checks.shown(description),
            expected=f"a dictionary with {', '.join(here)}",
            step="save json.dumps(ek.nn.describe(model)) next to the arrays",
        )
    if _checks.integer(description["format"]) != FORMAT:
        raise OptionError(
            "the weights were saved in another format, in which they belong to other diagrams",
            got=f"format {description['format']}, of equikit {description['equikit']}",
            expected=f"format {FORMAT}, of equikit {equikit.__version__}",
            step=f"load them with equikit {description['equikit']}",
        )
    for path in sorted(here["layers"].keys() & description["layers"].keys()):
        _refuse_difference(path, description["layers"][path], here["layers"][path])
    for name in sorted(here["shapes"].keys() | description["shapes"].keys()):
        saved, wanted = (side["shapes"].get(name) for side in (description, here))
        if saved != wanted:
            raise ShapeError(
                f"the array {name!r} does not fit the saved one",
                got="no such array was saved" if saved is None else f"saved with shape {saved}",
                expected="no such array" if wanted is None else f"shape {wanted}",
                step="make the model with the channels and layers that were saved",
            )


def _complete(description: object, here: dict[str, Any]) -> bool:
    """Whether a description has all fields, and all its dictionaries have string keys."""
    if not isinstance(description, Mapping) or not here.keys() <= description.keys():
        return False
    layers, shapes = description["layers"], description["shapes"]
    parts = (layers, shapes, *(layers.values() if isinstance(layers, Mapping) else ()))
    return all(isinstance(part, Mapping) and all(isinstance(key, str) for key in part) for part in parts)


def _written(name: str, described: Mapping[str, str]) -> str | None:
    """Return an entry of a description, as a keyword if it is one; layers with loops do not say so."""
    if name == "loops":
        return f"loops={described.get(name, 'True')}"
    return f'{name}="{described[name]}"' if name == "normalize" and name in described else described.get(name)


def _refuse_difference(path: str, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            raise SignatureError(
                f"the layer {path!r} was saved with another {name}" if path else f"the saved layer has another {name}",
                got=f"saved with {_written(name, saved)}",
                expected=_written(name, wanted),
                step="make the model with the arguments that were saved",
            )
