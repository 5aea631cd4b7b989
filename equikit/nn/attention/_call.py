"""Check the arrays of a call of the attention layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._array_checks import (
    Shapes,
    checked_arrays,
    checked_dtype,
    is_array,
    masks_of,
    refuse_mixture,
    refuse_real,
)
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.nn._features import given_terms, refuse_complex
from equikit.nn.attention._parts import Parts
from equikit.plans import support_shapes
from equikit.signatures import Signature, Term
from equikit.supports import Support


@dataclass(frozen=True, slots=True)
class Given:
    """The checked arrays of a call.

    Attributes:
        queries, keys: arrays of the features, in the order of the terms.
        pairs: arrays of features of pairs.
        positions: the positions of queries and of keys, or `None`.
        seen: `[*batch, n, m]`, or `None`.
        masks: the masks by label.
        shapes: the batch axes, and the size of each label.
    """

    queries: list[jax.Array]
    keys: list[jax.Array]
    pairs: list[jax.Array]
    positions: tuple[jax.Array, jax.Array] | None
    seen: jax.Array | None
    masks: dict[str, jax.Array]
    shapes: Shapes


def _refuse_argument(name: str, value: object, wanted: bool, step: str) -> None:
    """Raise `OptionError` if an argument is missing, or if the layer has no use for it."""
    if (value is not None) != wanted:
        raise OptionError(
            f"the layer needs {name}=" if wanted else f"the layer does not take {name}=",
            got=f"{name}=None" if wanted else f"{name}= with {type(value).__name__}",
            expected=f"{name}=" if wanted else f"no {name}=, or a layer that was made for it",
            step=step if wanted else f"leave {name} out",
        )


def checked_call(
    parts: Parts,
    x: object,
    context: object,
    pairs: object,
    places: tuple[Any, Any],
    mask: object,
    pair_mask: object,
    support: Support | None,
) -> Given:
    """Check all arrays of a call; the arguments are as in the call, `places` are the positions of queries and keys.

    Raises:
        OptionError, ShapeError, DTypeError: if an array is missing, not wanted, or does not fit.
    """
    signature, spaced, (positions, context_positions) = parts.signature, parts.space is not None, places
    _refuse_argument("context", context, parts.keys is not None, "pass the features of the context after x")
    _refuse_argument("pairs", pairs, bool(parts.pairs[0]), "pass a dictionary of arrays, one for each term of pairs=")
    _refuse_argument("positions", positions, spaced, "pass the positions of the points, one vector each")
    _refuse_argument(
        "context_positions", context_positions, spaced and parts.other_set, "pass the positions of the context"
    )
    masks = masks_of(signature, mask)
    terms, widths = parts.terms()
    arrays = [*given_terms([term.name for term in parts.queries.terms], x).values()]
    counts = [len(arrays)]
    for given, wanted in ((context, parts.keys.terms if parts.keys else ()), (pairs, parts.pairs[0])):
        arrays += given_terms([term.name for term in wanted], given).values()
        counts.append(len(arrays))
    arrays += [place for place in (positions, context_positions) if place is not None]
    dimension = None if parts.space is None else signature.sizes[parts.space]
    for name, place in (("positions", positions), ("context_positions", context_positions)):
        if dimension != 1 and is_array(place) and place.shape[-2:] == (dimension, 1):
            raise ShapeError(
                f"{name} have an axis of channels",
                got=f"shape {[*place.shape]}",
                expected=f"[*batch, points, {dimension}]",
                step=f"drop the axis of channels: pass {name}[..., 0]",
            )
    whole = Signature(terms, (), signature.bindings)
    sized = [] if parts.space is None else [parts.space]
    if support is None:
        checked, shapes = checked_arrays(whole, widths, arrays, masks=masks, sized=sized)
    else:
        _refuse_support(parts, pair_mask, support)
        checked, shapes = _checked_on_support(whole, widths, arrays, masks, support)
        if support.padded:
            masks[support.label] = jnp.broadcast_to(support.present(1), (*shapes.batch, support.n))
    found = [refuse_complex("positions", place) for place in checked[counts[2] :]]
    queries, keys = checked[: counts[0]], checked[counts[0] : counts[1]]
    n, m = (shapes.sizes[each.label] for each in (parts.queries, parts.key_set))
    return Given(
        queries,
        keys if parts.keys is not None else queries,
        checked[counts[1] : counts[2]],
        (found[0], found[-1]) if found else None,
        _checked_pair_mask(pair_mask, (*shapes.batch, n, m)),
        {label: jnp.asarray(each) for label, each in masks.items()},
        shapes,
    )


def _refuse_support(parts: Parts, pair_mask: object, support: Support) -> None:
    """Raise `OptionError` if a call cannot have a support."""
    _checks.instance("support", support, Support, 'ek.Support("p p", senders, receivers, n=n)')
    if parts.other_set:
        raise OptionError(
            "attention to another set has no support",
            got=f"support= and a context of {parts.key_set.label!r}, with queries of {parts.queries.label!r}",
            expected="a support for pairs of points of one set",
            step="leave support out, and pass pair_mask=",
        )
    _checks.at_most_one(pair_mask=pair_mask, support=support)
    known = parts.queries.label
    if support.label != known:
        raise OptionError(
            f"the support is for {support.label!r}, but the points of the layer have the label {known!r}",
            got=f"a support for {support.label!r}",
            expected=f"a support for {known!r}",
            step=f'make the support for the term "{known} {known}"',
        )


def _checked_on_support(
    signature: Signature,
    channels: Sequence[int | None],
    arrays: Sequence[object],
    masks: Mapping[str, Any],
    support: Support,
) -> tuple[list[jax.Array], Shapes]:
    """Check arrays on a support, as `checked_arrays` does without one."""
    names = [term.name for term in signature.inputs]
    checked = [checked_dtype(name, array) for name, array in zip(names, arrays, strict=True)]
    refuse_real(signature, names, checked)
    refuse_mixture({f"input {name!r}": array for name, array in zip(names, checked, strict=True)})
    pairs = Signature(signature.inputs, (Term("pairs", (support.label, support.label)),), signature.bindings)
    return checked, support_shapes(pairs, channels, checked, masks, {}, support)


def _checked_pair_mask(mask: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if mask is None:
        return None
    if not is_array(mask) or mask.dtype != bool:
        raise DTypeError(
            "pair_mask= is not an array of booleans",
            got=f"dtype {getattr(mask, 'dtype', type(mask).__name__)}",
            expected="bool: True where a query sees a key",
            step="pass jnp.asarray(pair_mask, dtype=bool)",
        )
    checked: jax.Array = jnp.asarray(_checks.shaped("pair_mask", mask, shape))
    return checked
