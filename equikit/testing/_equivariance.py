"""Test whether a function commutes with a group, with random inputs and random group elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from equikit import _checks, _keywords
from equikit._errors import EquivarianceError, OptionError
from equikit.auditing import (
    MOST_DRAWS,
    Evaluation,
    act,
    adapted,
    bound_sizes,
    normal,
    random_masks,
    read_sides,
    refuse_empty,
    seeds_of,
    stretch,
)
from equikit.groups import Group
from equikit.nn import Features
from equikit.plans import Channels
from equikit.signatures import bind

MOST_TOLERANCE = 0.01
"""The largest tolerance, unless rounding in the dtype itself exceeds it, however much elements stretch."""


def equivariance_error(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    key: jax.Array,
    channels: Channels | bool | None = None,
    batch: Sequence[int] = (2,),
    samples: int = 4,
    mask: bool = False,
    dtype: DTypeLike | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> float:
    r"""Return the largest error \(\lVert f(g x) - g f(x) \rVert_\infty\), relative to the largest entry.

    Args:
        function: a function or module of JAX, NumPy or PyTorch. It takes an array, or a dictionary of arrays if there
            are several inputs or they are given as a dictionary.
        signature, outputs: as for `equikit.nn.Linear`; channels of outputs are not needed.
        key: a JAX random key.
        channels: the number of channels of the inputs, with a signature in text. `False` for a function whose inputs
            and outputs have no axis of channels: they are `[*batch, *axes]`, and dictionaries map names to labels only.
        batch: batch axes of the inputs; `()` for a function of one sample.
        samples: the number of random inputs and elements, at least one; the generators of each group are tested too.
        mask: sample a random mask for every label whose group permutes entries, and pass it as `mask=`.
        dtype: dtype of the inputs; by default JAX's default, complex if a group is complex.
        groups: the group of each label, as a dictionary; labels may also be given as keywords. Groups must be bound.
        **bindings: labels with their groups.

    Returns:
        The error; NaN if the function returns NaN.

    Raises:
        OptionError: if the channels are missing, there are no samples, or all inputs or all outputs are empty, so that
            nothing would be compared.
        GroupError: if a group is free.
        DTypeError: if the dtype is not a floating-point dtype, or needs x64.
        EquivarianceError: if an output does not have the shape of its signature.

    Example:
        >>> from equikit import S
        >>> equivariance_error(jnp.sin, "p -> p", p=S(5), channels=2, key=jax.random.key(0))
        0.0

        A function of points `[n, 3]`, without an axis of channels:

        >>> from equikit import O
        >>> space = dict(p=S(5), x=O(3), channels=False, batch=(), key=jax.random.key(0))
        >>> equivariance_error(lambda x: x - x.mean(axis=0), "p x -> p x", **space) < 1e-5
        True
    """
    return _measured(
        function,
        signature,
        outputs,
        key=key,
        channels=channels,
        batch=batch,
        samples=samples,
        mask=mask,
        dtype=dtype,
        groups=groups,
        bindings=bindings,
        call=_keywords.call_of(equivariance_error),
    )[0]


def _measured(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None,
    *,
    key: jax.Array,
    channels: Channels | bool | None = None,
    batch: Sequence[int] = (2,),
    samples: int = 4,
    mask: bool = False,
    dtype: DTypeLike | None = None,
    groups: Mapping[str, object] | None = None,
    bindings: Mapping[str, object],
    call: _keywords.Call,
) -> tuple[float, float]:
    """Return the error, and the largest factor by which a sampled element enlarges the entries of a term.

    The elements of a noncompact group can stretch an input a lot; cancellation in the result then leaves rounding
    errors of the size of the stretched numbers.
    """
    if isinstance(bindings.get("data"), Mapping | Sequence) or hasattr(bindings.get("data"), "shape"):
        raise OptionError(
            f"{call.name} draws its inputs",
            got="data=",
            expected="channels= and bound groups, which tell the shapes of the inputs",
            step="use ek.audit for data, and read report.passed",
        )
    sides = read_sides(signature, outputs, channels)
    kind = bind(sides.inputs, sides.outputs, groups, bindings, call=call)
    assert sides.widths is not None, "there are no data, so that channels are needed"
    samples = _checks.count("samples", samples, least=1, most=MOST_DRAWS, example=4)
    mask = _checks.flag("mask", mask)
    batch = _checks.widths("batch", batch, example="(2,)", what="sizes")
    usual = jnp.result_type(complex if kind.is_complex else float)
    wanted_dtype = _checks.dtype("dtype", usual if dtype is None else dtype)
    groups_of = {label: what for label, what in kind.bindings if isinstance(what, Group)}
    as_dict = not isinstance(signature, str) or len(kind.inputs) > 1
    sizes = bound_sizes(kind)
    shapes = {
        term.name: (*batch, *(sizes[label] for label in term.labels), width)
        for term, width in zip(kind.inputs, sides.widths, strict=True)
    }
    refuse_empty("input", shapes)
    seeds = seeds_of(key)
    worst, growth = 0.0, 1.0

    def elements() -> Iterator[dict[str, np.ndarray]]:
        for _ in range(samples):
            yield {label: group.random_element(seeds) for label, group in groups_of.items()}
        # In a small group a few random elements may all be the identity; generators cover every element.
        for label, group in groups_of.items():
            for generator in group.generators():
                yield {name: other.random_element(seeds) for name, other in groups_of.items()} | {label: generator}

    run: Evaluation | None = None
    for drawn in elements():
        x = {name: normal(seeds, shape, wanted_dtype) for name, shape in shapes.items()}
        masks = random_masks(kind, sizes, batch, seeds) if mask else None
        moved = {term.name: act(kind, term, drawn, x[term.name]) for term in kind.inputs}
        first_mask = {} if masks is None else masks.keywords()
        second_mask = {} if masks is None else masks.moved(kind, drawn).keywords()
        if run is None:
            options: Any = {"dtype": wanted_dtype, "keywords": first_mask, "channels": sides.channels}
            called = adapted(function, x, as_dict=as_dict, **options)
            run = Evaluation(called, kind, batch, sizes)
        before, after = run(x, **first_mask), run(moved, **second_mask)
        for term in kind.outputs:
            with np.errstate(invalid="ignore", over="ignore"):
                first = act(kind, term, drawn, before[term.name]).astype(np.complex128)
            second = np.asarray(after[term.name], np.complex128)
            differs = first != second  # equal infinities do not differ, and NaN does
            scale = np.max(np.abs(first), initial=0.0, where=np.isfinite(first))
            with np.errstate(invalid="ignore"):
                error = np.max(np.abs(first - second), initial=0.0, where=differs)
            worst = float(np.maximum(worst, error / scale if scale > 0 else error))
        growth = max([growth, *(stretch(kind, term, drawn) for term in (*kind.inputs, *kind.outputs))])
    return worst, growth


def assert_equivariant(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    key: jax.Array,
    channels: Channels | bool | None = None,
    batch: Sequence[int] = (2,),
    samples: int = 4,
    mask: bool = False,
    tolerance: float | None = None,
    dtype: DTypeLike | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> None:
    """Raise unless a function commutes with the group up to rounding.

    The inputs are random. `equikit.audit` takes data, and tells where and how a function fails.

    Args:
        function: a function or module of JAX, NumPy or PyTorch. It takes an array, or a dictionary of arrays if there
            are several inputs or they are given as a dictionary.
        signature, outputs: as for `equikit.nn.Linear`; channels of outputs are not needed.
        key: a JAX random key.
        channels: the number of channels of the inputs, with a signature in text. `False` for a function whose inputs
            and outputs have no axis of channels: they are `[*batch, *axes]`, and dictionaries map names to labels only.
        batch: batch axes of the inputs; `()` for a function of one sample.
        samples: the number of random inputs and elements, at least one; the generators of each group are tested too.
        mask: sample a random mask for every label whose group permutes entries, and pass them as `mask=`, a dictionary
            from labels to Boolean arrays `[*batch, n]`.
        tolerance: the largest relative error that passes. By default 64 times the spacing of the dtype's numbers at one
            (8e-6 in float32), for groups that stretch vectors times the largest factor by which a sampled element
            stretches a term, and at most a hundredth.
        dtype: dtype of the inputs; by default JAX's default, complex if a group is complex.
        groups: the group of each label, as a dictionary; labels may also be given as keywords. Groups must be bound.
        **bindings: labels with their groups.

    Raises:
        EquivarianceError: with the measured error; NaN never passes.
        OptionError, GroupError, DTypeError: as for `equivariance_error`, also if nothing would be compared.

    Example:
        >>> from equikit import S
        >>> assert_equivariant(jnp.sin, "p -> p", p=S(5), channels=2, key=jax.random.key(0))
    """
    tolerance = _checks.number("tolerance", tolerance, least=0, example=1e-5, optional=True)
    error, growth = _measured(
        function,
        signature,
        outputs,
        key=key,
        channels=channels,
        batch=batch,
        samples=samples,
        mask=mask,
        dtype=dtype,
        groups=groups,
        bindings=bindings,
        call=_keywords.call_of(assert_equivariant),
    )
    kind = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    finfo: Any = jnp.finfo  # untyped in JAX
    rounding = 64 * float(finfo(kind).eps)
    limit = min(rounding * growth, max(rounding, MOST_TOLERANCE)) if tolerance is None else tolerance
    if not error <= limit:
        raise EquivarianceError(
            f"the function does not commute with the group of {signature!r}",
            got=f"relative error {error:.3g}",
            expected=f"at most {limit:.3g}",
            step="check that every operation treats the entries of an axis alike, or pass tolerance=",
        )
