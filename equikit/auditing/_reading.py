"""Read what is asked: a function, its signature, and the data or the channels of random data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks, _keywords
from equikit._array_checks import by_name, checked_shapes, fits
from equikit._errors import DTypeError, GroupError, OptionError, ShapeError
from equikit.auditing._action import Elements
from equikit.auditing._callables import host
from equikit.groups import Group
from equikit.nn import Features, typed_side
from equikit.plans import Channels, per_term
from equikit.signatures import Signature, Term, base, bind, binding_text, parse_arrow, parse_side

MOST_DRAWS = 10**6
"""The largest number of random elements or directions: a mean error between 0 and 1 is known to 0.002 then."""
MOST_ENTRIES = 2**27
"""The largest number of entries of random inputs: a gigabyte in double precision."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The terms of a function, the channels of its inputs if they are given, and whether arrays have channels."""

    inputs: tuple[Term, ...]
    widths: tuple[int, ...] | None
    outputs: tuple[Term, ...]
    channels: bool = True


def read_sides(
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None,
    channels: Channels | bool | None,
    *,
    data: bool = False,
) -> Sides:
    """Parse the inputs and outputs of a function; without an axis of channels, inputs have one channel here.

    Raises:
        OptionError: if there are no outputs, or no channels where there are no data either.
    """
    sides = Sides((), None, ())
    without = isinstance(channels, bool | np.bool_) and not channels
    given: Any = None if isinstance(channels, bool | np.bool_) else channels
    first: Any = signature
    second: Any = outputs
    if isinstance(signature, str) and outputs is None:
        sources, targets = parse_arrow(signature)
        sides = Sides(sources, None if given is None else per_term(given, sources, "input"), targets)
    elif outputs is not None and without:
        sides = Sides(_labels_only(first, "input"), None, _labels_only(second, "output"))
    elif outputs is not None:
        (sources, widths), (targets, _) = typed_side(first, given, "input"), typed_side(second, None, "output")
        sides = Sides(sources, widths, targets)
    if without:
        sides = replace(sides, widths=(1,) * len(sides.inputs), channels=False)
    if not sides.inputs or (sides.widths is None and not data):
        raise OptionError(
            "the inputs of the function are not settled",
            got=f"{signature!r}, outputs {outputs!r}, channels {channels!r}",
            expected='"p p -> p p" with channels=16 or channels=False, or two dictionaries as for Linear',
            step="write channels=1" if isinstance(signature, str) else "give the outputs too, in a dictionary",
        )
    return sides


def _labels_only(side: Any, what: str) -> tuple[Term, ...]:
    """Parse the terms of arrays without channels: one text, or a dictionary from names to labels."""
    if isinstance(side, Mapping) and not all(isinstance(labels, str) for labels in side.values()):
        labels = {term.name: " ".join(term.words) for term in typed_side(side, None, what)[0]}
        raise OptionError(
            f"the {what}s have channels, but channels=False is for arrays without this axis",
            got=dict(side),
            expected="names with their labels",
            step=f"write {labels}, or leave channels=False out",
        )
    return parse_side(side, what)


def bound_sizes(signature: Signature) -> dict[str, int]:
    """Return the size of each label, or raise `GroupError` for a free group."""
    groups = {label: what for label, what in signature.bindings if isinstance(what, Group)}
    sizes = {}
    for label, size in signature.sizes.items():
        if size is None:
            group = groups[base(label)]
            raise GroupError(
                f"label {label!r} is bound to a free group",
                got=f"{base(label)}={group}",
                expected="groups with a size, whose elements are drawn",
                step=f"bind {binding_text(base(label), f'ek.{group}(4)')}",
            )
        sizes[label] = size
    return sizes


def refuse_empty(what: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `OptionError` if all inputs or all outputs are empty, so that every function would pass."""
    if not any(math.prod(shape) for shape in shapes.values()):
        raise OptionError(
            f"nothing would be compared: the {what}s have no entries",
            got=", ".join(f"{name!r} of shape {list(shape)}" for name, shape in shapes.items()),
            expected=f"an {what} with one entry or more",
            step="bind groups of size 1 or more, with one channel or more",
        )


def normal(seeds: np.random.Generator, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Return standard normal numbers, with an imaginary part if the dtype is complex.

    Raises:
        TooLargeError: if there are more than `MOST_ENTRIES`.
    """
    step = "use fewer channels, a smaller batch, or groups of smaller sizes"
    _checks.refuse_if_more("the random inputs are too large", math.prod(shape), MOST_ENTRIES, "entries", step)
    numbers = seeds.normal(size=shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        numbers = numbers + 1j * seeds.normal(size=shape)
    return np.asarray(numbers.astype(dtype))


def seeds_of(key: jax.Array | None) -> np.random.Generator:
    """Return a generator of NumPy that a JAX key determines; without a key, always the same one."""
    return np.random.default_rng(0 if key is None else np.asarray(jax.random.key_data(_checks.key(key))).ravel())


PRESENT = 0.7
"""The share of entries that a random mask has."""


@dataclass(frozen=True, slots=True)
class Masks:
    """Which entries of the samples are present; elements that permute entries move masks too.

    Attributes:
        arrays: a Boolean array for each masked label, `[*batch, n]`.
        batch: the number of batch axes.
        as_dict: whether the function takes a dictionary from labels to arrays; otherwise it takes the only array.
    """

    arrays: Mapping[str, np.ndarray]
    batch: int
    as_dict: bool = True

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of the function."""
        return {"mask": dict(self.arrays) if self.as_dict else next(iter(self.arrays.values()))}

    def shaped(self, batch: Sequence[int], most: int | None = None) -> Masks:
        """Return the masks of the first samples, with other batch axes."""
        rows = {label: a.reshape(-1, a.shape[-1])[:most] for label, a in self.arrays.items()}
        return replace(self, arrays={x: a.reshape(*batch, a.shape[-1]) for x, a in rows.items()}, batch=len(batch))

    def moved(self, signature: Signature, elements: Elements | Sequence[Elements]) -> Masks:
        """Apply an element of each label, or one for each entry of the only batch axis."""
        found = {}
        for label, array in self.arrays.items():
            group = signature.groups.get(label) or signature.groups[f"{label}*"]
            if isinstance(elements, Mapping):
                found[label] = group.act(elements[label], array, self.batch) if label in elements else array
            else:
                found[label] = np.stack([group.act(g[label], a, 0) for g, a in zip(elements, array, strict=True)])
        return replace(self, arrays=found)


def random_masks(
    signature: Signature, sizes: Mapping[str, int], batch: Sequence[int], seeds: np.random.Generator
) -> Masks:
    """Draw a mask for each label whose group permutes entries; each has an entry that is present."""
    labels = dict.fromkeys(base(label) for label, group in signature.groups.items() if group.permutes)
    drawn = {label: seeds.random((*batch, sizes[label])) for label in labels}
    found = {x: (a < PRESENT) | (a == a.min(axis=-1, keepdims=True, initial=1.0)) for x, a in drawn.items()}
    return Masks(found, len(batch))


def read_masks(mask: Any, question: Question, seeds: np.random.Generator) -> Masks | None:
    """Read the argument `mask` of an audit: a truth value, a Boolean array, or a dictionary of arrays.

    Raises:
        OptionError: if no group permutes entries, or a label has no mask.
        ShapeError, DTypeError: if a mask is no Boolean array `[*batch, n]`.
    """
    if isinstance(mask, bool | np.bool_) and not mask:
        return None
    kind, sizes, batch = question.signature, question.sizes, question.batch
    drawn = random_masks(kind, sizes, batch, seeds)
    labels = [*drawn.arrays]
    if not labels:
        raise OptionError(
            "there is nothing to mask",
            got=", ".join(f"{label}={group}" for label, group in kind.groups.items()) or "no group",
            expected="a group that permutes entries, such as S(5)",
            step="leave out mask=",
        )
    if isinstance(mask, bool | np.bool_):
        return drawn
    if not isinstance(mask, Mapping) and len(labels) > 1:
        raise OptionError(
            "a single mask does not tell its label",
            got=f"an array, for the labels {', '.join(labels)}",
            expected="a dictionary from labels to masks",
            step=f'write mask={{"{labels[0]}": ...}}',
        )
    given = dict(mask) if isinstance(mask, Mapping) else {labels[0]: mask}
    unknown = [label for label in given if label not in labels]
    if unknown or not given:
        raise OptionError(
            f"no group permutes entries along {unknown[0]!r}" if unknown else "there is no mask",
            got=f"masks of {', '.join(map(repr, given))}" if given else "mask={}",
            expected=f"masks of {', '.join(map(repr, labels))}",
            step=f"leave {unknown[0]!r} out of mask=" if unknown else "leave out mask=",
        )
    found = {}
    for label, array in given.items():
        found[label] = host(array)
        if found[label].dtype != bool:
            raise DTypeError(
                f"the mask of {label!r} is not Boolean",
                got=f"dtype {found[label].dtype}",
                expected="a Boolean array that is true for present entries",
                step="convert it with mask.astype(bool)",
            )
        if found[label].shape != (*batch, sizes[label]):
            raise ShapeError(
                f"the mask of {label!r} does not fit the data",
                got=f"shape {list(found[label].shape)}",
                expected=f"shape {[*batch, sizes[label]]}, [*batch, {label}]",
                step="give a mask with the batch axes of the data",
            )
    return Masks(found, len(batch), isinstance(mask, Mapping))


@dataclass(frozen=True, slots=True)
class Question:
    """A function's signature, with bound groups, and its inputs.

    Attributes:
        signature: the signature; all groups have sizes.
        arrays: an array for each input term, as given, `[*batch, *axes, channels]`; an axis of one channel is added to
            arrays without channels.
        batch: the sizes of the batch axes.
        sizes: the size of each label.
        as_dict: whether the function takes a dictionary.
        channels: whether arrays of the function have an axis of channels.
        masks: the masks that the function takes too, if it does.
    """

    signature: Signature
    arrays: Mapping[str, Any]
    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    as_dict: bool
    channels: bool = True
    masks: Masks | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of the function."""
        return {} if self.masks is None else self.masks.keywords()


def read_question(
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None,
    data: Any,
    *,
    channels: Channels | bool | None,
    batch: Sequence[int],
    seeds: np.random.Generator,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    call: _keywords.Call,
) -> Question:
    """Read the arguments of an audit, and draw Gaussian inputs if there are no data.

    Raises:
        OptionError, ShapeError, DTypeError: if the data do not fit the signature, are empty or not finite.
        GroupError: if a group is free and no data tell its size.
    """
    sides = read_sides(signature, outputs, channels, data=data is not None)
    kind = bind(sides.inputs, sides.outputs, groups, bindings, call=call)
    as_dict = not isinstance(signature, str) or len(kind.inputs) > 1 or isinstance(data, Mapping)
    if data is None:
        assert sides.widths is not None, "channels are needed where there are no data"
        sizes, batch = bound_sizes(kind), _checks.widths("batch", batch, example="(32,)", what="sizes")
        pairs = list(zip(kind.inputs, sides.widths, strict=True))
        shapes = {term.name: (*batch, *(sizes[label] for label in term.labels), width) for term, width in pairs}
        refuse_empty("input", shapes)
        dtype = complex if kind.is_complex else float
        arrays = {name: normal(seeds, shape, dtype) for name, shape in shapes.items()}
        return Question(kind, arrays, batch, sizes, as_dict, sides.channels)
    return _with_data(kind, data, sides, as_dict=as_dict)


def _with_data(kind: Signature, data: Any, sides: Sides, *, as_dict: bool) -> Question:
    """Check the data against the signature, and give free groups their sizes."""
    names = [term.name for term in kind.inputs]
    given = by_name(names, data) if isinstance(data, Mapping) else {names[0]: data} if len(names) == 1 else data
    arrays = _checks.same_names("the data", given, names, step="give a dictionary with an array for each input")
    for name in names:
        _checks.unmasked(f"the data of {name!r}", arrays[name])
    numbers, step = ("complex", "give complex numbers") if kind.is_complex else ("real or complex", "give floats")
    checked = [_checks.array(f"the data of {name!r}", host(arrays[name]), kind=numbers, step=step) for name in names]
    _refuse_free_outputs(kind)
    fixed = _with_sizes(kind, _sizes_in(kind, sides, checked))
    if not sides.channels:
        checked = [array[..., None] for array in checked]
    shapes = {name: array.shape for name, array in zip(names, checked, strict=True)}
    start = checked[0].ndim - len(kind.inputs[0].labels) - 1
    if 0 in checked[0].shape[:start]:
        raise OptionError(
            "the data have no samples",
            got=f"batch axes {list(checked[0].shape[:start])}",
            expected="one sample or more",
            step="give data with samples, or leave data out and write channels=1",
        )
    refuse_empty("input", shapes)
    _checks.finite("the data", *(array.astype(np.complex128) for array in checked), step="leave these samples out")
    # Arrays of PyTorch and JAX stay what they are.
    in_order = {n: arrays[n] if hasattr(arrays[n], "shape") else np.asarray(arrays[n]) for n in names}
    if not sides.channels:
        in_order = {name: array[..., None] for name, array in in_order.items()}
    return Question(fixed, in_order, checked[0].shape[:start], bound_sizes(fixed), as_dict, sides.channels)


def _sizes_in(kind: Signature, sides: Sides, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
    """Check the shapes of the data, and return the size of each label in them."""
    without: list[int | None] = [None] * len(arrays)
    widths = [array.shape[-1] if array.ndim else 1 for array in arrays] if sides.widths is None else sides.widths
    inputs = replace(kind, outputs=())
    try:
        return checked_shapes(kind, widths if sides.channels else without, arrays, {}).sizes
    except ShapeError as error:
        if not sides.channels or not fits(inputs, without, arrays, {}):
            raise
        raise ShapeError(
            "the data have no axis of channels",
            got=error.got,
            expected=error.expected,
            step="write channels=False if the function takes such arrays, or data[..., None]",
        ) from None


def _refuse_free_outputs(signature: Signature) -> None:
    """Raise `GroupError` for a free group that only outputs have."""
    known = {base(label) for term in signature.inputs for label in term.labels}
    other = tuple(item for item in signature.bindings if item[0] not in known)
    bound_sizes(Signature((), (), other))


def _with_sizes(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """Replace each free group by the group of the size that the data have."""
    bound = tuple(
        (label, type(what)(sizes[label]) if isinstance(what, Group) and what.n is None else what)
        for label, what in signature.bindings
    )
    return Signature(signature.inputs, signature.outputs, bound)
