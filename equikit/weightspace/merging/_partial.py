"""Merge networks where their features match, and keep the other features of each: the result is wider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.merging._combine import checked_coefficients, promoted
from equikit.weightspace.merging._least_squares import fitted
from equikit.weightspace.merging._merge import checked_list, refuse_counters
from equikit.weightspace.merging._selection import (
    Scores,
    checked_batches,
    groups_of,
    parameters,
    scores,
    within_budget,
    worst,
)
from equikit.weightspace.merging._trial import WideProgram
from equikit.weightspace.merging._widen import Widened
from equikit.weightspace.specifications._leaves import refuse_not_real, refuse_unlike
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class PartialMerge:
    """Which features a partial merge kept apart.

    Attributes:
        kept: for each label, the indices that are kept apart. In the merged network the first n indices of a label
            are merged features, or kept features of the first network; the kept features of the other networks follow.
        scores: for each label, the mean correlation of the activations at each index between the networks; its
            real part, if they are complex.
        refused: for each label that cannot be widened, the reason.
        size: the number of parameters over the number of one network.
        error: the relative difference of outputs, for the first network merged with itself in this way, before least
            squares: only rounding, unless the program normalizes over a label that is widened.
        shared: for each parameter without a permuted label, such as a slope, the relative change of the mean of the
            networks' outputs if all networks get the mean of it, on the first batch; without changes that may be
            rounding, such as for the bias of a linear last layer.
    """

    kept: dict[str, tuple[int, ...]]
    scores: Scores
    refused: dict[str, str]
    size: float
    error: float
    shared: dict[str, float]


@overload
def partial_merge(
    spec: Specification,
    apply: Callable[..., Any],
    networks: Sequence[Any],
    batches: Iterable[Any],
    *,
    keep: float | Mapping[str, float] | None = None,
    size: float | None = None,
    coefficients: Sequence[float] | None = None,
    ridge: float | None = None,
    with_info: Literal[False] = False,
) -> Any: ...


@overload
def partial_merge(
    spec: Specification,
    apply: Callable[..., Any],
    networks: Sequence[Any],
    batches: Iterable[Any],
    *,
    keep: float | Mapping[str, float] | None = None,
    size: float | None = None,
    coefficients: Sequence[float] | None = None,
    ridge: float | None = None,
    with_info: Literal[True],
) -> tuple[Any, PartialMerge]: ...


def partial_merge(
    spec: Specification,
    apply: Callable[..., Any],
    networks: Sequence[Any],
    batches: Iterable[Any],
    *,
    keep: float | Mapping[str, float] | None = None,
    size: float | None = None,
    coefficients: Sequence[float] | None = None,
    ridge: float | None = None,
    with_info: bool = False,
) -> Any:
    r"""Average the features of aligned networks that match, and keep the others of each network.

    Indices of a label whose activations correlate least are kept apart, so that the label is wider in the result. A
    feature that is kept reads what its own network gives it; a feature that is merged reads the mean. If nothing is
    kept, the result is the `mean`. If everything is kept and the last layer is linear, the outputs are the mean of the
    networks' outputs, in a program that does two things alone with widened labels: functions of each feature, and sums
    in a product with a parameter. Layer normalization over a widened label, or a softmax over experts that are widened,
    mixes the features of all networks: then the outputs are not the mean. Neither are they if the networks differ in a
    parameter without a permuted label that is more than a bias of the last layer, such as the slope of an activation:
    kept features of all networks share the mean of it, and `info.shared` says what this changes.

    The program must read its sizes from the parameters. A label is tried by merging the first network with itself, with
    everything kept: if the program fails or its outputs change, the label is not widened. If outputs change for the
    indices that are kept in the end, as with layer normalization, this is an error unless `with_info=True`, which
    reports the change as `info.error`. Features within heads are kept with their head.
    With `ridge=`, each product with a parameter is then fitted, in the order of the program, to give the means of what
    the networks have there: kernel and bias W, which start at \(W_0\), minimize the mean squared difference plus
    \(r |W - W_0|^2\). Products inside loops, and with parameters that are used twice, stay. Running averages of batch
    normalization become those of the data; without `ridge=`, call `repair` with the specification of the result.

    Args:
        spec: the symmetry of all networks, from `trace`.
        apply: the model, `apply(params, x)`.
        networks: a list of networks after alignment, such as `[one, align(spec, one, two)]`; dtypes that differ are
            promoted.
        batches: inputs, a list of arrays with the batch first, with two or more examples in total; a batch is a tuple
            if the model has several inputs.
        keep: the share of the indices of each label that is kept, from 0 to 1; labels that cannot be widened keep
            nothing, see `info.refused`. Or a share by label; other labels keep nothing. The default is 0.25.
        size: in place of `keep`, the largest number of parameters over the number of one network: the worst indices of
            all labels are kept.
        coefficients: a number for each network, as for `merge`.
        ridge: r, such as 1e-3, for least squares, in float32 at least; by default layers are not fitted.
        with_info: return `(params, info)`.

    Returns:
        A tree like the networks, with wider arrays. `trace(apply, params, x)` gives its specification.

    Raises:
        OptionError: if a label that `keep` names cannot be widened, or no label can; if outputs change, without
            `with_info=True`; if options do not go together, examples are missing, or fitted weights are not finite.
        ShapeError: if parameters do not match the specification.
        DTypeError: if a parameter is integer or boolean, or complex with `ridge=`.

    Cost: a pass over the data for each pair of networks; the program is compiled for the wide parameters. With
    `with_info`, a pass over the first batch for each network and parameter without a permuted label. With `ridge`, a
    pass and at most 100 products with the data of one layer for each layer; all data are in memory.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from equikit.weightspace import align, partial_merge, trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> shapes = {"first": (3, 8), "second": (8, 2)}
        >>> one, two = ({name: np.random.default_rng(seed).normal(size=shape) for name, shape in shapes.items()}
        ...             for seed in (0, 1))
        >>> x = np.random.default_rng(2).normal(size=(64, 3))
        >>> spec = trace(apply, one, x)
        >>> aligned = align(spec, one, two, how="activations", apply=apply, x=x)
        >>> wide, info = partial_merge(spec, apply, [one, aligned], [x], keep=0.5, with_info=True)
        >>> wide["first"].shape, len(info.kept["h0"]), info.size
        ((3, 12), 4, 1.5)
        >>> both = partial_merge(spec, apply, [one, aligned], [x], keep=1)
        >>> bool(jnp.allclose(apply(both, x), (apply(one, x) + apply(two, x)) / 2, atol=1e-5))
        True

    Source:
        Nasery, Hayase, Koh and Oh, PLeaS: merging models with permutations and least squares, arXiv:2407.02447; the
        idea to merge a part of the features is of Stoica et al., ZipIt!, arXiv:2305.03053.
    """
    checked_specification(spec)
    with_info = _checks.flag("with_info", with_info)
    data = checked_batches(batches)
    _checks.function("apply", apply, arguments=1 + len(data[0]), example="apply, the model that was traced")
    _checks.at_most_one(keep=keep, size=size)
    trees = checked_list(networks, "networks")
    _checks.count("the number of networks", len(trees), least=2, step="pass [one, align(spec, one, two)]")
    for number, tree in enumerate(trees):
        checked_tensors(spec.leaves, tree, f"networks[{number}]")
    refuse_unlike({f"networks[{number}]": tree for number, tree in enumerate(trees)})
    for number, tree in enumerate(trees):
        step = "leave it out of the parameters, as a constant of apply(params, x), and trace again"
        refuse_counters(tree, step, f" of networks[{number}]")
    trees = promoted(trees)
    shares = checked_coefficients(coefficients, len(trees))
    wanted = _checked_shares(spec, 0.25 if keep is None and size is None else keep)
    if size is not None:
        _checks.number("size", size, least=1, most=len(trees) ** 2, example=1.5)
    program = WideProgram(spec, apply, trees[0], data[0])
    found = scores(spec, apply, trees, data)
    named = {} if wanted is None or not isinstance(keep, Mapping) else {label: s for label, s in wanted.items() if s}
    labels, refused = program.widenable(found)
    _refuse(named, refused, bool(labels) or (wanted is not None and not any(wanted.values())))
    groups = groups_of(spec, labels)
    if wanted is None:
        counts = within_budget(spec, found, groups, len(trees), float(size or 1) * parameters(spec, {}))
    else:
        counts = {label: round(wanted.get(label, 0) * spec.sizes[label]) for label in labels}
        _refuse_other_counts(groups, counts)
    kept = {label: worst(found[label], count) for label, count in counts.items() if count}
    wide = {label: Widened(spec.sizes[label], indices, len(trees)) for label, indices in kept.items()}
    if ridge is not None:
        _checks.number("ridge", ridge, least=0, example=1e-3)
        refuse_not_real("ridge=", trees[0])
    error = program.error(wide) if wide else 0.0
    if not with_info:
        program.refuse_changed(error, wide, groups)
    params = program.merged(trees, wide, shares)
    if ridge is not None:
        params = fitted(spec, apply, params, trees, data, wide, shares, float(ridge))
    if not with_info:
        return params
    larger = parameters(spec, wide) / parameters(spec, {})
    return params, PartialMerge(kept, found, refused, larger, error, program.shared(trees, shares))


def _checked_shares(spec: Specification, keep: Any) -> dict[str, float] | None:
    if keep is None:
        return None
    if isinstance(keep, Mapping):
        for label in keep:
            _checks.choice("label", label, list(spec.groups), step="look at spec.groups", code='keep={{"{1}": 0.25}}')
        return {
            label: float(_checks.number(f"keep[{label!r}]", share, least=0, most=1)) for label, share in keep.items()
        }
    share = float(_checks.number("keep", keep, least=0, most=1, example=0.25))
    return dict.fromkeys(spec.groups, share)


def _refuse(named: Mapping[str, float], refused: Mapping[str, str], enough: bool) -> None:
    """Raise an error if a label that was named cannot be widened, or none can."""
    wrong = [label for label in named if label in refused] or ([] if enough else [*refused])
    if wrong or not enough:
        raise OptionError(
            f"{wrong[0]!r} cannot be widened" if wrong else "there is nothing to keep",
            got=refused[wrong[0]] if wrong else "a specification without permuted labels",
            expected="a program that reads its sizes from its parameters, and multiplies a label with a parameter "
            "where it sums over it",
            step="in apply, build the model and reshape arrays with sizes that are read from the parameters; "
            "or leave the label out of keep=",
        )


def _refuse_other_counts(groups: Sequence[tuple[str, ...]], counts: Mapping[str, int]) -> None:
    for some in groups:
        if len({counts[label] for label in some}) > 1:
            raise OptionError(
                "labels of stacked arrays need the same width",
                got=", ".join(f"{counts[label]} indices of {label!r}" for label in some),
                expected="one share for all of them",
                step="write keep={" + ", ".join(f'"{label}": 0.25' for label in some) + "}",
            )
