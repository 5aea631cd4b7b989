"""Calls of the network of a learned method, which return scores and vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit.nn import DeepSets, GraphNetwork, Network
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine.backbones._modules import mask_keyword

NOISE = "noise"
"""The name of the noise among a network's inputs."""


def wide_inputs(action: Action, terms: tuple[Term, ...], x: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of some terms with an axis of channels, in float32 or wider to limit rounding errors."""
    arrays = {term.name: x[term.name] for term in terms}
    if not action.channels:
        arrays = {name: array[..., None] for name, array in arrays.items()}
    return {name: array.astype(jnp.promote_types(array.dtype, jnp.float32)) for name, array in arrays.items()}


def called(
    network: Callable[..., Any],
    terms: tuple[Term, ...],
    arrays: Mapping[str, Array],
    masks: Mapping[str, Array],
) -> Any:
    """Call the network with the arrays of some terms, in the form that it expects.

    `DeepSets` gets all numbers of every entry as its channels, `GraphNetwork` gets edges and nodes, and `Network`
    always gets a dictionary. Any other network gets one array for one term, and a dictionary for several terms.
    """
    labels = {label for term in terms for label in term.labels}
    masks = {label: mask for label, mask in masks.items() if label in labels}
    if isinstance(network, DeepSets | GraphNetwork):
        return _called_on_points(network, terms, arrays, masks)
    keywords = mask_keyword("the network", network, masks)
    if len(terms) == 1 and not isinstance(network, Network):
        return network(arrays[terms[0].name], **keywords)
    return network(dict(arrays), **keywords)


def _called_on_points(
    network: DeepSets | GraphNetwork,
    terms: tuple[Term, ...],
    arrays: Mapping[str, Array],
    masks: Mapping[str, Array],
) -> Array:
    """Call a network of sets or graphs: numbers of entries are channels, numbers of pairs are edge channels."""
    pairs = [term for term in terms if len(term.labels) == 2 and term.labels[0] == term.labels[1]]
    graph = isinstance(network, GraphNetwork)
    label = pairs[0].labels[0] if pairs else terms[0].labels[0] if terms and terms[0].labels else ""
    points = [term for term in terms if term not in pairs]
    if len(pairs) != graph or any(term.labels.count(label) != 1 for term in points) or not terms or not label:
        raise OptionError(
            f"{type(network).__name__} does not fit the inputs",
            got=", ".join(map(str, terms)) or "no terms",
            expected="one term with two axes of the points, others with one"
            if graph
            else "terms with one axis of the points",
            step="name other terms=, or pass an ek.nn.Network",
        )
    rows = []
    for term in points:
        array = arrays[term.name]
        batch = array.ndim - 1 - len(term.labels)
        moved = jnp.moveaxis(array, batch + term.labels.index(label), batch)
        rows.append(moved.reshape(*moved.shape[: batch + 1], math.prod(moved.shape[batch + 1 :])))
    numbers: Any = jnp.concatenate(rows, axis=-1) if rows else None
    if isinstance(network, GraphNetwork):
        return network(arrays[pairs[0].name], numbers, mask=masks.get(label))
    return network(numbers, mask=masks.get(label))


def output_of(found: Any, names: tuple[str, ...], what: str) -> Array:
    """Return the array with one of these names from a network's output, or the only array.

    Raises:
        ShapeError: if there is none.
        DTypeError: if it does not hold floating-point numbers.
    """
    if isinstance(found, Mapping):
        given = [name for name in names if name in found]
        if not given and len(found) != 1:
            raise ShapeError(
                f"the network returns no {what}",
                got=f"a dictionary of {sorted(map(str, found))}",
                expected=f"an array named {' or '.join(map(repr, names))}",
                step="name what the network returns",
            )
        found = found[given[0]] if given else next(iter(found.values()))
    array: Array = _checks.array(what, found, step="correct the network")
    return array
