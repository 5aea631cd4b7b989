"""Parse the inputs and outputs of layers into terms and channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._array_checks import by_name, is_array, masks_of
from equikit._errors import DTypeError, OptionError, ShapeError, SignatureError
from equikit._keywords import Call
from equikit.plans import Masks
from equikit.signatures import Signature, Term, base, parse_side
from equikit.supports import Support

Features = Mapping[str, int | tuple[str, int]]
"""Dictionary of names to `(labels, channels)`, or of labels to channels."""


def features_of(terms: Sequence[Term], widths: Sequence[int]) -> dict[str, tuple[str, int]]:
    """Return features as a dictionary: name to labels and channels."""
    return {term.name: (" ".join(term.words), width) for term, width in zip(terms, widths, strict=True)}


def read_features(features: Features, what: str) -> tuple[tuple[Term, ...], tuple[int, ...]]:
    """Parse a dictionary of features into terms and their channels.

    Raises:
        SignatureError: if the features are not a dictionary, or a term cannot be read.
        OptionError: if a number of channels is not a whole number.
    """
    if not isinstance(features, Mapping):
        raise SignatureError(
            f"the {what} features are not a dictionary",
            got=_checks.shown(features),
            expected='labels to channels, such as {"p p": 16}, or names to both, such as {"edges": ("p p", 16)}',
            step='write {"p p": 16}, with your labels and channels',
        )
    terms: list[Term] = []
    channels: list[int] = []
    for name, value in features.items():
        labels, count = value if isinstance(value, tuple) and len(value) == 2 else (name, value)
        (term,) = parse_side({name: labels}, what)
        if not isinstance(value, tuple):
            term = Term.of(term.words)
        if term.name in (other.name for other in terms):
            raise SignatureError(
                f"two {what} terms have the name {term.name!r}",
                got=[*features],
                expected="different names; labels alone are named by the labels, spaces aside",
                step='name them: {"a": ("p p", 16), "b": ("p p", 4)}',
            )
        terms.append(term)
        channels.append(_checks.count(f"the number of {what} channels of {name!r}", count))
    if not terms:
        raise SignatureError(
            f"no {what} terms",
            got="an empty dictionary",
            expected='at least one, such as {"p p": 16}',
            step="add a term",
        )
    return tuple(terms), tuple(channels)


def labels_of(features: Sequence[Features]) -> set[str]:
    """Return all labels of several features, without the stars of duals."""
    terms = (term for side in features for term in read_features(side, "feature")[0])
    return {base(label) for term in terms for label in term.used}


def permuted(signature: Signature, label: str) -> bool:
    """Whether a group only permutes the entries of an axis."""
    group = signature.groups.get(label)
    return group is not None and group.elements_are == "permutations"


def mixed(signature: Signature, term: Term) -> bool:
    """Whether a group mixes the entries of an axis of a term, or changes the sign of the term by a determinant."""
    return bool(signature.odd(term)) or any(
        label in signature.groups and not permuted(signature, label) for label in term.labels
    )


def not_permuted(signature: Signature, term: Term) -> list[int]:
    """Return the axes of a term that are not permuted, counted from the end of an array with channels."""
    axes = len(term.labels)
    return [i - axes - 1 for i, label in enumerate(term.labels) if not permuted(signature, label)]


def labels_among(options: dict[str, Any], call: Call) -> dict[str, Any]:
    """Remove and return the keywords that are not options of a call: they are labels."""
    return {name: options.pop(name) for name in [*options] if name not in call.options}


def options_for(options: Mapping[str, Any], used: set[str], network: set[str]) -> dict[str, Any]:
    """Return the options of a network for one layer; keep sizes of unknown labels, so that the layer rejects them."""
    found = dict(options)
    sizes = found.get("init_size")
    if isinstance(sizes, Mapping):
        found["init_size"] = {
            label: n for label, n in sizes.items() if base(str(label)) in used or base(str(label)) not in network
        }
    return found


def masks_for(layer: Signature, network: Signature, mask: Masks | None) -> dict[str, Any] | None:
    """Return the masks of a network for one layer; keep masks of unknown labels, so that the layer rejects them."""
    if mask is None:
        return None
    masks = masks_of(network, mask)
    return {label: m for label, m in masks.items() if label in layer.groups or label not in network.groups}


def support_for(layer: Signature, network: Signature, support: Support | None) -> Support | None:
    """Return the support of a network for one layer, which has none if its label is only in other layers."""
    label = support.label if isinstance(support, Support) else None
    return None if label in network.groups and label not in layer.groups else support


def given_terms(names: Iterable[str], x: Any) -> dict[str, Any]:
    """Return the arrays in the order of these names, after normalizing names, or raise an error."""
    wanted = list(names)
    if x is not None and not isinstance(x, Mapping):
        raise OptionError(
            "the features are not a dictionary of arrays",
            got=f"an array of shape {list(x.shape)}" if is_array(x) else type(x).__name__,
            expected=f"a dictionary with the names {', '.join(map(repr, wanted))}",
            step=f'write {{"{wanted[0]}": features}}' + ", with one array for each name" * (len(wanted) > 1),
        )
    found = by_name(wanted, x or {})
    if found.keys() != set(wanted):
        raise ShapeError(
            "the arrays do not fit the features",
            got=f"arrays named {sorted(map(str, found))}",
            expected=f"arrays named {sorted(wanted)}",
            step="give exactly one array for each term; of ek.nn.Gated they are gated.inputs",
        )
    return {name: found[name] for name in wanted}


def refuse_complex(name: str, array: jax.Array) -> jax.Array:
    """Return a checked array if it is real, or raise `DTypeError`."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise DTypeError(
            f"input {name!r} must be real",
            got=f"dtype {array.dtype}",
            expected="float32, bfloat16, float16 or float64",
            step=f"pass {name}.real",
        )
    return array
