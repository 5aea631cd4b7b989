"""Check the shapes and masks of the arrays of a call, which may be of any library. No JAX."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, EquikitError, GroupError, OptionError, ShapeError
from equikit.groups import Group
from equikit.signatures import Signature, Term, base, binding_text, normalized


@dataclass(frozen=True, slots=True)
class Shapes:
    """The batch axes and the size of each label in the arrays of one call."""

    batch: tuple[int, ...]
    sizes: dict[str, int]


def by_name(names: Iterable[str], given: Mapping[Any, Any]) -> dict[Any, Any]:
    """Replace each key that is a variant spelling of a name by the name."""
    exact = set(names)
    if given.keys() == exact:
        return dict(given)
    spellings = {normalized(name): name for name in exact}
    return {name if name in exact else spellings.get(normalized(name), name): value for name, value in given.items()}


def by_label(argument: str, given: object, label: str = "p") -> dict[str, Any]:
    """Return a dictionary with normalized labels (empty for `None`), or raise `OptionError`, which names `label`."""
    return {normalized(label): value for label, value in mapping(argument, given, label).items()}


def mapping(argument: str, given: object, label: str = "p", *, names: Collection[str] = ()) -> Mapping[Any, Any]:
    """Return a dictionary (empty for `None`), or raise `OptionError`, which names `label`, or the `names` of terms."""
    if given is not None and not isinstance(given, Mapping):
        values = ", ".join(f'"{key}": ...' for key in names or [label])
        raise OptionError(
            f"{argument} is not a dictionary",
            got=type(given).__name__,
            expected=f"a dictionary from {'name' if names else 'label'} to value",
            step=f"write {argument}={{{values}}}",
        )
    return given or {}


def masks_of(signature: Signature, mask: object) -> dict[str, Any]:
    """Return the mask of each label, from a dictionary, or from a single array if only one label can have a mask.

    Raises:
        OptionError: if `mask` is an array although none or several labels can have a mask, or has another type.
    """
    if mask is None or isinstance(mask, Mapping):
        return by_label("mask", mask)
    labels = [label for label, group in signature.groups.items() if group.permutes]
    if len(labels) == 1:
        return {labels[0]: mask}
    raise OptionError(
        "mask= does not say which label it is for" if labels else "no entries can be masked",
        got=f"{type(mask).__name__}, where {', '.join(labels) or 'no label'} can have a mask",
        expected="a dictionary from label to mask, or an array where one label can have a mask",
        step=f'write mask={{"{labels[0]}": mask}}' if labels else "leave mask= out",
    )


def _expected(term: Term, signature: Signature, channels: int | None) -> str:
    sizes = signature.sizes
    axes = [label if sizes[label] is None else f"{label}={sizes[label]}" for label in term.labels]
    return f"[{', '.join(['*batch', *axes, *([] if channels is None else [f'{channels} channels'])])}]"


def given_sizes(signature: Signature, given: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """Return the bound or given sizes, each with its origin for error messages.

    Raises:
        ShapeError: if a label with a given size does not exist, or is bound to another size.
    """
    sizes: dict[str, tuple[int, str]] = {
        label: (size, f"{label} is bound to {signature.bound[label]}")
        for label, size in signature.sizes.items()
        if size is not None
    }
    for label, size in given.items():
        label = base(label) if isinstance(label, str) else label
        number = _checks.count(f"sizes[{label!r}]", size, step=f"give {label!r} a whole number")
        known, where = sizes.setdefault(label, (number, f"sizes gives {number}"))
        if label not in signature.sizes or known != number:
            problem = f"sizes has {label!r}={number}, but " + (where if label in signature.sizes else "no axis has it")
            labels = ", ".join(sorted({*map(base, signature.sizes)})) or "no label"
            expected = f"size {known}" if label in signature.sizes else f"sizes for {labels}"
            raise ShapeError(problem, got=dict(given), expected=expected, step="correct sizes")
    return sizes


def checked_shapes(
    signature: Signature,
    channels: Sequence[int | None],
    arrays: Sequence[Any],
    masks: Mapping[str, Any],
    given: Mapping[str, int] | None = None,
    sized: Collection[str] = (),
) -> Shapes:
    """Read the batch axes and the size of each label from the arrays, and check that they agree.

    Args:
        signature: the signature whose inputs are the arrays.
        channels: the channels of each input; `None` for an array without a channel axis.
        arrays: the inputs.
        masks: masks by label.
        given: sizes of labels that no input has.
        sized: labels that can only be bound to groups with a size.

    Raises:
        ShapeError: if shapes disagree; the error has the term, the shape and the expected shape.
    """
    sizes = given_sizes(signature, given or {})
    batch: tuple[tuple[int, ...], str] | None = None
    for term, width, array in zip(signature.inputs, channels, arrays, strict=True):
        batch = _read_shape(signature, term, width, array, sizes, batch, sized)
    known_sizes = {label: size for label, (size, _) in sizes.items()}
    labels = signature.sizes
    known_sizes |= {label: known_sizes[base(label)] for label in labels if base(label) in known_sizes}
    found = Shapes(batch[0] if batch else (), known_sizes)
    missing = sorted({x for term in signature.outputs for x in term.labels} - found.sizes.keys())
    if missing:
        label = base(missing[0])
        binding = binding_text(label, f"ek.{dict(signature.bindings)[label]}(4)")
        raise ShapeError(
            f"no input says how large {missing[0]!r} is",
            got=f"the label in outputs only, bound to the free group {signature.bound[missing[0]]}",
            expected="a bound group, or an input with that label",
            step=f"pass sizes={ {**(given or {}), **dict.fromkeys(map(base, missing), 4)} }, or bind {binding}",
        )
    for label in labels.keys() - found.sizes.keys():
        found.sizes[label] = 1  # a label in determinants only, such as "det(x)": the maps are the same for every size
    for label, group in signature.groups.items():
        if label in found.sizes:
            _check_size(label, group, found.sizes[label])
    for label in masks:
        _check_mask(label, masks, found, signature)
    return found


def fits(signature: Signature, channels: Sequence[int | None], arrays: Sequence[Any], masks: Mapping[str, Any]) -> bool:
    """Whether arrays fit the inputs of a signature."""
    try:
        checked_shapes(signature, channels, arrays, masks)
    except EquikitError:
        return False
    return True


def _read_shape(
    signature: Signature,
    term: Term,
    channels: int | None,
    array: Any,
    sizes: dict[str, tuple[int, str]],
    batch: tuple[tuple[int, ...], str] | None,
    sized: Collection[str],
) -> tuple[tuple[int, ...], str]:
    """Check the shape of one input, and add the sizes of its labels to the known sizes.

    Sizes and batch axes have their origin for error messages. Returns the batch axes.
    """
    name = f"input {term.name!r}"

    def wrong(problem: str, step: str) -> ShapeError:
        expected = _expected(term, signature, channels)
        return ShapeError(f"{name} has {problem}", got=f"shape {list(array.shape)}", expected=expected, step=step)

    start = array.ndim - len(term.labels) - (channels is not None)
    if start < 0:
        last = "" if channels is None else "; channels come last"
        raise wrong("too few axes", f"add the missing axes{last}")
    if channels is not None and array.shape[-1] != channels:
        raise wrong(f"{array.shape[-1]} channels, not {channels}", "check the last axis, or the layer")
    for label, size in zip(term.labels, array.shape[start:], strict=False):
        known, where = sizes.setdefault(base(label), (size, f"it is {size} in {name}"))
        if size != known:
            step = _one_size(base(label), signature, any_size=label not in sized)
            if where == f"it is {known} in {name}":
                raise wrong(f"sizes {known} and {size} on axes {base(label)!r}", step)
            raise wrong(f"size {size} on axis {label!r}, but {where}", step)
    here, first = batch or (array.shape[:start], name)
    if here != array.shape[:start]:
        raise wrong(f"batch axes {list(array.shape[:start])}, but {first} has {list(here)}", "make them equal")
    return here, first


def _one_size(label: str, signature: Signature, *, any_size: bool) -> str:
    """Return the next step if the size of an axis differs from the size of its label."""
    group, size = dict(signature.bindings)[label], signature.sizes[label]
    if size is None:
        return f"give every {label!r} one size"
    family = group.free if isinstance(group, Group) and any_size else None
    wider = "" if family is None else f"bind {binding_text(label, f'ek.{family}')} for any size, or "
    return f"{wider}give every {label!r} size {size}"


def _check_size(label: str, group: Group, size: Any) -> None:
    """Raise `GroupError` or `ShapeError` if a group does not act on axes of this size, which may be symbolic."""
    if not isinstance(size, int):
        _check_symbol(label, group, size)
        return
    try:
        group.checked(size)
    except GroupError as error:
        raise GroupError(
            error.problem,
            got=f"size {size} on axis {label!r}",
            expected=error.expected,
            step=f"give every {label!r} a size that {group} has",
        ) from None


def _check_symbol(label: str, group: Group, size: Any) -> None:
    """Raise `ShapeError` if a symbolic size of jax.export could be odd, but the group has only even sizes.

    A constraint can also make the symbol even, but JAX cannot infer the shapes of the backward pass from it.
    """
    if group.form is not None and group.form.kind == "symplectic" and (size % 2 != 0 or "floordiv" in str(size // 2)):
        raise ShapeError(
            f"the symbolic size of axis {label!r} is not twice a symbol, and {group} needs an even one",
            got=size,
            expected="an even number: equal numbers of positions and momenta",
            step='write it as twice a symbol: jax.export.symbolic_shape("batch, 2*half")',
        )


def name_last_axis(term: Term, used: Collection[str], size: int) -> str:
    """Return the step for an output without an axis of channels that has one more axis: a label of its own."""
    free = next(name for name in "cdefgh" if name not in used)
    text = " ".join([*term.words, free])
    step = f'name the last axis: write the output "{text}", and bind {free}=ek.Fixed({size})'
    return step


def is_array(value: object) -> bool:
    """Whether a value is an array of NumPy, JAX or PyTorch; a library that is not loaded has no arrays."""
    loaded = (getattr(sys.modules.get(name), kind, None) for name, kind in (("jax", "Array"), ("torch", "Tensor")))
    return isinstance(value, (np.ndarray, *(kind for kind in loaded if kind is not None)))


def _library(array: object) -> str:
    """Return how the library of an array is called in code; other values are given to JAX."""
    kind = type(array).__module__.partition(".")[0]
    return {"numpy": "np", "torch": "torch"}.get(kind, "jnp")


def _with_booleans(mask: object) -> str:
    name = _library(mask)
    return "mask.bool()" if name == "torch" else f"{name}.asarray(mask, dtype=bool)"


def _check_mask(label: str, given: Mapping[str, Any], found: Shapes, signature: Signature) -> None:
    mask = given[label]
    if label not in signature.groups:
        can = sorted(other for other, group in signature.groups.items() if group.permutes)
        step = "leave the mask out"
        if label in dict(signature.bindings):
            step += f": nothing acts on {label!r}"
        elif can and len(given) > 1:
            step = f"remove {label!r} from the masks, or correct the label"
        elif can:
            own = f"if {label!r} is the axis that is {can[0]!r} here"
            step = f"pass mask=mask[{label!r}], {own}"
            if len(can) > 1:
                step = f"pass mask={{{can[0]!r}: mask[{label!r}]}}, {own}"
        raise ShapeError(
            f"the mask is for {label!r}, which is not a label that a group acts on",
            got=f"mask for {label!r}",
            expected=f"a mask for {' or '.join(can)}" if can else "no mask: no group here permutes entries",
            step=step,
        )
    if not is_array(mask) or str(mask.dtype).removeprefix("torch.") != "bool":
        raise DTypeError(
            f"the mask for {label!r} is not an array of booleans",
            got=f"dtype {mask.dtype}" if hasattr(mask, "dtype") else f"an object of type {type(mask).__name__}",
            expected="bool: True where the entry is there",
            step=f"leave the mask of {label!r} out" if mask is None else f"pass {_with_booleans(mask)}",
        )
    group = signature.groups[label]
    if not group.permutes:
        permuted = sorted(other for other, kind in signature.groups.items() if kind.permutes)
        raise OptionError(
            f"entries of {label!r} cannot be masked",
            got=f"a mask for an axis on which {group} acts",
            expected="a group that permutes the entries of the axis, such as S",
            step="leave the mask out: it would not commute with the group; masks of permuted labels may stay"
            f" (in ek.data.pad and ek.data.Batches write masked={permuted})",
        )
    expected = (*found.batch, found.sizes[label])
    if mask.shape != expected:
        step = f"pass a mask of shape {list(expected)}, one entry for each {label!r}"
        if mask.shape == expected[-mask.ndim :]:
            step = f"broadcast it yourself with {_library(mask)}.broadcast_to if one mask serves the whole batch"
        raise ShapeError(
            f"the mask for {label!r} has the wrong shape",
            got=f"shape {list(mask.shape)}",
            expected=f"{list(expected)}: the batch axes, then the axis {label!r}",
            step=step,
        )
