"""Base class of layers; its `repr` is the constructor call with the numbers of maps and parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx
from flax.nnx import reprlib, visualization
from treescope import rendering_parts

from equikit import _checks, _keywords
from equikit.nn._features import Features, features_of
from equikit.plans import Widths
from equikit.signatures import Signature, is_keyword


def quoted(text: str) -> str:
    """Return a text in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def value_text(value: object) -> str | None:
    """Return the source text of an option, or `None` for a value without a short text."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool | int | float | tuple):
        return repr(value)
    return getattr(value, "__name__", None) if callable(value) else None


def channels_text(channels: Sequence[int]) -> str:
    """Return the source text of the channels of several terms: one number if they are equal."""
    return str(channels[0] if len(set(channels)) == 1 else tuple(channels))


def features_text(features: Features) -> str:
    """Return the source text of a feature dictionary, with labels only for names that differ from them."""

    def written(name: str, labels: str, width: int) -> str:
        return f"{quoted(name)}: {width if name == labels else f'({quoted(labels)}, {width})'}"

    pairs = ((name, what if isinstance(what, tuple) else (name, what)) for name, what in features.items())
    return f"{{{', '.join(written(name, *what) for name, what in pairs)}}}"


def maps_text(signature: Signature, channels: Widths) -> list[str]:
    """Return the source text of linear maps: a signature and the channels of both sides, or two dictionaries."""
    (inputs, outputs), (wide, narrow) = (signature.inputs, signature.outputs), channels
    if all(term.name.isidentifier() or term.name == " ".join(term.words) for term in (*inputs, *outputs)):
        return [quoted(str(signature)), channels_text(wide), channels_text(narrow)]
    return [features_text(features_of(inputs, wide)), features_text(features_of(outputs, narrow))]


class Layer(nnx.Module):
    """Base class of layers and networks, whose `repr` is the constructor call.

    Attributes:
        shows_parts: whether the `repr` lists the inner layers, one per line.
    """

    shows_parts: ClassVar[bool] = False

    def _call_name(self) -> str:
        """Return the name of the class that is called."""
        return type(self).__name__

    def _call_arguments(self) -> list[str]:
        """Return the source text of each positional argument."""
        return []

    @property
    def sides(self) -> tuple[Features, Features] | None:
        """The input and output features, or `None` if they are unknown."""
        return None

    @property
    def call_signature(self) -> Signature | None:
        """A signature with the groups of the layer."""
        found = vars(self).get("signature")
        return found if isinstance(found, Signature) else None

    def _map_count(self) -> int | None:
        """Return the dimension of the space of maps, or `None` if the layer does not cover the whole space."""
        return None

    def _call_options(self) -> Iterable[str]:
        """Yield the source text of each option that differs from its default."""
        places = (self, vars(self).get("options"))
        for name, default in _keywords.defaults_of(type(self)).items():
            place = next((place for place in places if place is not None and hasattr(place, name)), None)
            text = value_text(default if place is None else getattr(place, name))
            if text is not None and text != value_text(default):
                yield f"{name}={text}"

    def _call_bindings(self) -> Iterable[str]:
        """Yield the source text of the groups."""
        signature, call = self.call_signature, _keywords.call_of(type(self))
        bound = {label: str(what) for label, what in (() if signature is None else signature.bindings)}
        keywords = [label for label in bound if is_keyword(label, call)]
        yield from (f"{label}={bound[label]}" for label in keywords)
        others = [f"{quoted(label)}: {what}" for label, what in bound.items() if label not in keywords]
        if others:
            yield f"groups={{{', '.join(others)}}}"

    def _counts(self) -> str:
        """Return the numbers of maps and parameters, as a comment."""
        leaves = jax.tree.leaves(nnx.state(self, nnx.Param))
        parameters, maps = sum(math.prod(getattr(leaf, "shape", ())) for leaf in leaves), self._map_count()
        counts = [] if maps is None else [f"{_checks.count_text(maps)} map{'' if maps == 1 else 's'}"]
        if parameters:
            counts.append(f"{parameters:,} parameter{'' if parameters == 1 else 's'}")
        return f"  # {', '.join(counts)}" if counts else ""

    def _call_text(self) -> str:
        """Return the source text of all arguments."""
        return ", ".join([*self._call_arguments(), *self._call_options(), *self._call_bindings()])

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        """Render the call as a comment, then parameters and inner layers, for `nnx.display` in notebooks."""
        parts = {key: part for key, part in vars(self).items() if isinstance(part, nnx.Module | nnx.Variable)}
        comment = rendering_parts.text(f" # {self._call_name()}({self._call_text()}){self._counts()}")
        return visualization.render_object_constructor(
            object_type=type(self),
            attributes=parts,
            path=path,
            subtree_renderer=subtree_renderer,
            first_line_annotation=rendering_parts.comment_color(comment),
        )

    def __nnx_repr__(self) -> Iterator[reprlib.Object | reprlib.Attr]:
        """Yield the call, with the counts as a comment, and the inner layers."""
        name, call, counts = self._call_name(), self._call_text(), self._counts()
        parts = {key: part for key, part in vars(self).items() if has_layers(part)} if self.shows_parts else {}
        if not parts:
            yield reprlib.Object(type=f"{name}({call}){counts}", start="", end="")
            return
        yield reprlib.Object(type=name, start=f"({call}{',' if call else ''}", comment=counts)
        yield from (reprlib.Attr(key, part) for key, part in parts.items())


def has_layers(part: object) -> bool:
    """Whether an attribute is a module, or a list or dictionary of modules."""
    inside = nnx.iter_modules(part) if isinstance(part, nnx.Module) else ()
    return any(not isinstance(module, nnx.List | nnx.Dict) for _, module in inside)
