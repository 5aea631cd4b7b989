"""Examples of different sizes, padded to one size."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from equikit import _checks
from equikit._array_checks import mapping
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.signatures import base, parse_term

Example = Mapping[str, np.ndarray]
"""Features by name. Each has one axis for each label of its term, and channels last."""

Labels = Mapping[str, tuple[str, ...]]
"""The labels of the axes of each feature."""


def pad(
    examples: Sequence[Example],
    *,
    sizes: Mapping[str, int] | None = None,
    terms: Mapping[str, str] | None = None,
    masked: Collection[str] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Bool[np.ndarray, "batch n"]]]:
    """Stack examples of different sizes: pad them with zeros, and mark the entries that are present.

    It is also the function that loaders ask for to make a batch of examples (`collate_fn` of PyTorch, `batch_fn` of
    grain).

    Args:
        examples: features by name. Each feature has one axis for each label, and channels last: `{"p p": [n, n, edge
            channels], "p": [n, node channels]}`.
        sizes: the padded size of each label; by default the largest one among the examples.
        terms: the labels of features whose name is not the term itself: `{"edges": "p p"}`. A name without an entry is
            read as labels: `"positions"` would be a label of its own, with its own mask.
        masked: the labels with a mask, by default all; the others have one size in all examples. Name them if a group
            mixes the entries of a label, as the axes of space in `"p x"`: such entries cannot be absent.

    Returns:
        The features, `[batch, sizes, channels]`, and a mask `[batch, n]` for each label. Layers take both:
        `layer(features, mask=masks)`.

    Raises:
        OptionError: if examples are not a list or there is none, examples have no features or different ones, a size
            is too small, `masked` has another label, `terms` another name, or a feature is traced.
        DTypeError: if a feature does not hold numbers or is a masked array.
        ShapeError: if a feature does not have an axis for each label, a label has two sizes in one example, examples
            have different numbers of channels, `sizes` has other labels, or a label without a mask would be padded.

    Cost: one copy.

    Example:
        >>> pair, triple = ({"p p": np.ones((n, n, 1)), "p": np.ones((n, 4))} for n in (2, 3))
        >>> features, masks = pad([pair, triple])
        >>> features["p p"].shape, features["p"].shape
        ((2, 3, 3, 1), (2, 3, 4))
        >>> masks["p"].tolist()
        [[True, True, False], [True, True, True]]
        >>> pad([{"p x": np.ones((n, 3, 1))} for n in (2, 4)], masked=["p"])[1].keys()
        dict_keys(['p'])
    """
    labels = labels_of(examples, terms)
    examples = arrays_of(examples)
    found = [sizes_of(example, labels) for example in examples]
    largest = {label: max(one[label] for one in found) for label in found[0]}
    wanted = largest if sizes is None else _wanted(sizes, largest)
    for name in labels:
        channels = [np.shape(example[name])[-1] for example in examples]
        _checks.same(
            f"the number of channels of {name!r}",
            max(channels),
            min(channels),
            step="give every example the same channels",
            error=ShapeError,
        )
    present = {label: np.array([one[label] for one in found])[:, None] for label in wanted}
    chosen = marked(masked, wanted)
    refuse_padded(chosen, found, wanted)
    masks = {label: np.arange(wanted[label]) < present[label] for label in chosen}
    return {name: _stacked([e[name] for e in examples], labels[name], wanted) for name in labels}, masks


def marked(masked: Collection[str] | None, labels: Collection[str]) -> tuple[str, ...]:
    """Return the labels with a mask, or raise `OptionError`."""
    if masked is None:
        return tuple(labels)
    step, given = f"write masked={[*labels]}", _checks.sequence(masked)
    each = [masked] if given is None else given
    return tuple(_checks.choice("masked", label, [*labels], step=step, code="{}=[{!r}]") for label in each)


def refuse_padded(masks: Collection[str], found: Sequence[Mapping[str, int]], wanted: Mapping[str, int]) -> None:
    """Raise `ShapeError` if a label without a mask would be padded.

    Args:
        masks: the labels with a mask.
        found: the size of each label in each example.
        wanted: the padded size of each label.
    """
    for label in wanted.keys() - {*masks}:
        sizes = sorted({one[label] for one in found})
        if sizes != [wanted[label]]:
            raise ShapeError(
                f"label {label!r} has no mask, but would be padded",
                got=f"sizes {sizes}, padded to {wanted[label]}",
                expected="one size in all examples",
                step=f"add {label!r} to masked=, or leave masked= out",
            )


def labels_of(examples: Sequence[Example], terms: Mapping[str, str] | None) -> dict[str, tuple[str, ...]]:
    """Return the labels of each feature without the star of the dual, which has the size of its vectors.

    Raises:
        OptionError: if examples are not a list, there is none, they have no features or different ones, or `terms` has
            another name.
    """
    if isinstance(examples, Mapping) or hasattr(examples, "shape") or not hasattr(examples, "__getitem__"):
        raise OptionError(
            "examples must be a list",
            got=_checks.shown(examples, 60),
            expected="dictionaries of features",
            step="pass a list of examples",
        )
    _checks.some("examples", examples, got=examples, step='pass [{"p": np.ones((3, 4))}]')
    first = mapping("examples[0]", examples[0])
    got = "None or an empty dictionary"
    _checks.some("features in examples[0]", first, got=got, step='pass [{"p": np.ones((3, 4))}]')
    for number, example in enumerate(examples):
        if mapping(f"examples[{number}]", example).keys() != first.keys():
            raise OptionError(
                f"examples[{number}] has other features than examples[0]",
                got=[*(example or ())],
                expected=[*first],
                step="give every example the same features",
            )
    known = mapping("terms", terms, names=first)
    for name in known:
        _checks.choice("a key of terms", name, [*first], step=f"remove the key {name!r}", code="the key {1!r}")
    return {name: tuple(map(base, parse_term(known.get(name, name)).labels)) for name in first}


def arrays_of(examples: Sequence[Example]) -> list[dict[str, np.ndarray]]:
    """Return examples with arrays in place of lists, of one dtype for each feature, or raise `DTypeError`."""
    found = [{name: _array(name, given) for name, given in example.items()} for example in examples]
    dtypes = {name: _common({example[name].dtype for example in found}) for name in found[0]}
    return [{name: array.astype(dtypes[name], copy=False) for name, array in example.items()} for example in found]


def _common(dtypes: Collection[np.dtype]) -> np.dtype:
    try:
        return np.result_type(*dtypes)
    except np.exceptions.DTypePromotionError:  # by versions of NumPy that do not mix two kinds of half precision
        return functools.reduce(np.promote_types, dtypes, np.dtype(np.float32))


def _array(name: str, given: object) -> np.ndarray:
    _checks.unmasked(f"feature {name!r}", given, step="pass x.filled(0), and the mask by mask= to layers")
    _checks.untraced(f"feature {name!r}", given, step="make the batch outside of jit, grad and vmap, and pass it on")
    try:
        array = np.asarray(given)
    except (TypeError, ValueError):  # lists of tracers, typed keys; rows of different lengths
        array = np.asarray(None)
    if jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool:
        return array
    raise DTypeError(
        f"feature {name!r} does not hold numbers",
        got=_checks.shown(given, 60),
        expected="an array of numbers",
        step="pass an array of numbers, as np.ones((3, 4))",
    )


def sizes_of(example: Example, labels: Labels) -> dict[str, int]:
    """Return the size of each label in one example, or raise `ShapeError`."""
    found: dict[str, int] = {}
    for name, axes in labels.items():
        shape = np.shape(example[name])
        if len(shape) != len(axes) + 1:
            raise ShapeError(
                f"feature {name!r} does not have one axis for each label and channels",
                got=f"shape {[*shape]}",
                expected=f"[{', '.join([*axes, 'channels'])}]",
                step=f'add an axis of channels: {{"{name}": x[..., None]}}'
                if len(shape) == len(axes)
                else f'name a label for each axis before the channels, as in terms={{"{name}": "p x"}}',
            )
        for label, size in zip(axes, shape, strict=False):
            known = found.setdefault(label, size)
            if size != known:
                raise ShapeError(
                    f"label {label!r} has sizes {known} and {size} in one example",
                    got=f"{name!r} of shape {[*shape]}",
                    expected=f"{label}={known}, as in the axes before",
                    step=f"give every {label!r} of an example one size, or name the labels by terms=",
                )
    return found


def _wanted(sizes: Mapping[str, int], largest: Mapping[str, int]) -> dict[str, int]:
    """Return the given sizes, or raise `OptionError`."""
    _checks.same_names("sizes=", sizes, largest, step="give a size for each label")
    for label, size in sizes.items():
        if _checks.count(f"sizes[{label!r}]", size) < largest[label]:
            raise OptionError(
                f"sizes[{label!r}] is smaller than an example",
                got=size,
                expected=f"at least {largest[label]}",
                step=f"write sizes={{{label!r}: {largest[label]}}}",
            )
    return dict(sizes)


def _stacked(arrays: Sequence[Any], labels: tuple[str, ...], sizes: Mapping[str, int]) -> np.ndarray:
    """Copy arrays into one array of zeros."""
    dtype = np.result_type(*arrays)
    result = np.zeros((len(arrays), *(sizes[label] for label in labels), np.shape(arrays[0])[-1]), dtype)
    for row, array in zip(result, arrays, strict=True):
        row[tuple(slice(n) for n in np.shape(array))] = array
    return result
