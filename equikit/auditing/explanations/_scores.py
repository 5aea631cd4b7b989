"""Invariance and equivariance of explanations: the mean similarity of explanations of moved inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from equikit import _checks, _keywords
from equikit._errors import OptionError, ShapeError
from equikit._progress import progress
from equikit.auditing._action import Elements, act_each
from equikit.auditing._bounds import Interval, mean_interval
from equikit.auditing._callables import raised
from equikit.auditing._reading import MOST_DRAWS
from equikit.auditing.explanations._moved import Moves, axes_of, moves
from equikit.plans import Inputs
from equikit.signatures import Signature, Term

Similarity = Literal["cosine", "accuracy"]
WIDTHS: dict[str, tuple[float, float]] = {"cosine": (-1.0, 1.0), "accuracy": (0.0, 1.0)}
"""The range of each similarity."""

OFFSET = 1e-4
"""What the paper adds to every entry before it takes the cosine."""


@dataclass(frozen=True, slots=True)
class Score:
    """A mean similarity over samples and group elements.

    Attributes:
        value: the mean: over all elements, or over drawn ones.
        interval: an interval that contains the mean over all elements: the value if it is exact, otherwise by
            Hoeffding's bound.
        elements: the number of elements for each sample.
        each: the mean of each sample.
        undecided: the number of samples whose explanation is no larger than the offset of the cosine, or zero; their
            similarity says little.
    """

    value: float
    interval: Interval
    elements: int
    each: tuple[float, ...]
    undecided: int = 0

    @property
    def exact(self) -> bool:
        """Whether the mean is over all elements of the groups."""
        return self.interval.draws == 0

    def __str__(self) -> str:
        where = f"exact over {self.elements:,} elements" if self.exact else str(self.interval)
        text = f"{self.value:.4f}, {where}"
        return text + (f"; {self.undecided} of {len(self.each)} samples undecided" if self.undecided else "")


def equivariance(
    explainer: Callable[[Any], Any],
    x: Inputs,
    signature: str,
    /,
    *,
    similarity: Similarity = "cosine",
    offset: float = OFFSET,
    samples: int = 50,
    most: int = 720,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Score:
    r"""Measure how well explanations move with the input: the mean over g of \(s(e(gx),\, g\, e(x))\).

    The similarity s is the cosine of the flattened explanations after an offset is added to every entry, or the share
    of equal entries. The mean is exact if the groups have at most `most` elements. Otherwise elements are drawn
    independently for each sample, and the interval is by Hoeffding's bound.

    Args:
        explainer: a function from inputs `[samples, *axes, channels]`, or a dictionary of them, to explanations with
            one row for each sample, in the axes of the outputs of the signature.
        x: the inputs.
        signature: of the explainer, such as `"p -> p"` or `"p p -> p"`.
        similarity: `"cosine"` for attributions, or `"accuracy"` for the presence of concepts.
        offset: of the cosine. The paper adds 1e-4, which decides the score of attributions that are smaller than it;
            use 0 for those.
        samples: the number of elements drawn for each sample, if the mean is not exact.
        most: the largest number of elements over which the mean is exact.
        confidence: of the interval.
        seed: of the drawn elements.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Returns:
        The score, one for an equivariant explainer.

    Raises:
        ShapeError: if the inputs or the explanations do not have the axes of the signature.
        OptionError: if there are no inputs, explanations are not finite, or all of them are zero.
        GroupError: if a free group is only in the outputs.

    Cost: one call of the explainer for each element.

    Example:
        >>> import equikit as ek
        >>> x = np.random.default_rng(0).normal(size=(3, 5, 2))
        >>> print(equivariance(np.sin, x, "z -> z", z=ek.Z(5)))
        1.0000, exact over 5 elements

    Source:
        Crabbé and van der Schaar, arXiv:2304.06715, section 2; the offset is in the authors' code,
        `interpretability/robustness.py`.
    """
    given = _moves(equivariance, signature, x, groups, bindings, most, samples, seed)
    return _score(explainer, given, given.signature.outputs, similarity, offset, confidence)


def invariance(
    explainer: Callable[[Any], Any],
    x: Inputs,
    signature: str,
    /,
    *,
    similarity: Similarity = "cosine",
    offset: float = OFFSET,
    samples: int = 50,
    most: int = 720,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Score:
    r"""Measure how well explanations stay the same when the input moves: the mean over g of \(s(e(gx),\, e(x))\).

    Args:
        explainer: a function from inputs `[samples, *axes, channels]`, or a dictionary of them, to explanations with
            one row for each sample. A model is one too.
        x, similarity, offset, samples, most, confidence, seed, groups, **bindings: as for `equivariance`.
        signature: of the explainer, such as `"p -> ()"`; its outputs are taken as invariant.

    Returns:
        The score, one for an invariant explainer.

    Raises:
        ShapeError, OptionError, GroupError: as for `equivariance`.

    Cost: one call of the explainer for each element.

    Example:
        >>> import equikit as ek
        >>> x = np.random.default_rng(0).normal(size=(3, 5, 2))
        >>> print(invariance(lambda x: x.sum(1), x, "x -> ()", x=ek.O(5)).exact)
        False

    Source:
        Crabbé and van der Schaar, arXiv:2304.06715, section 2.
    """
    given = _moves(invariance, signature, x, groups, bindings, most, samples, seed)
    return _score(explainer, given, None, similarity, offset, confidence)


def _moves(
    function: Callable[..., Any],
    signature: str,
    x: Any,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    most: int,
    draws: int,
    seed: int,
) -> Moves:
    return moves(
        signature,
        x,
        groups,
        bindings,
        _keywords.call_of(function),
        most=_checks.count("most", most, least=1, example=720),
        draws=_checks.count("samples", draws, least=1, most=MOST_DRAWS, example=50),
        seed=_checks.count("seed", seed),
    )


def _score(
    explainer: Callable[[Any], Any],
    given: Moves,
    outputs: tuple[Term, ...] | None,
    similarity: str,
    offset: float,
    confidence: float,
) -> Score:
    _checks.function("explainer", explainer, example="lambda x: x")
    low, high = WIDTHS[_checks.choice("similarity", similarity, [*WIDTHS])]
    offset = _checks.number("offset", offset, least=0, example=OFFSET, traced=False)
    confidence = _checks.number("confidence", confidence, above=0, below=1, example=0.95, traced=False)
    first = explanations(_explained(explainer, given.inputs()), given, outputs)
    undecided = _undecided(first, offset if similarity == "cosine" else None)
    total = np.zeros(given.samples)
    with progress("explanations", given.count) as advance:
        for elements in given.elements():
            found = explanations(_explained(explainer, given.inputs(elements)), given, outputs)
            wanted = _acted(given.signature, outputs, elements, first)
            _checks.same("the shape of explanations", _shapes(found), _shapes(wanted), error=ShapeError, step=SAME)
            total += accuracy(found, wanted) if similarity == "accuracy" else cosine(found, wanted, offset)
            advance("")
    each = total / given.count
    value = float(each.mean())
    if given.listed is not None:
        interval = Interval(value, value)
    else:  # one independent number in an interval for each draw and sample
        unit = mean_interval((value - low) / (high - low), given.count * given.samples, confidence)
        interval = replace(unit, low=low + (high - low) * unit.low, high=low + (high - low) * unit.high)
    return Score(value, interval, given.count, tuple(each.tolist()), undecided)


def _explained(explainer: Callable[[Any], Any], inputs: Any) -> Any:
    """Return explanations, or raise `OptionError` if the explainer raises an exception."""
    try:
        return explainer(inputs)
    except Exception as error:  # whatever it raises
        raise raised(error) from error


SAME = "return explanations whose shape does not depend on the values of x"


def explanations(found: Any, given: Moves, outputs: tuple[Term, ...] | None) -> dict[str, np.ndarray]:
    """Return explanations by the name of their term, or raise an error if they do not fit the signature."""
    terms = outputs or given.signature.outputs
    as_dict = isinstance(found, Mapping)
    arrays = {name: np.asarray(array) for name, array in (found if as_dict else {terms[0].name: found}).items()}
    if outputs is not None:
        _checks.same_names("the explanations", arrays, [term.name for term in outputs], step="check the signature")
        for term in outputs:
            what, axes = f"the explanation {term.name!r}", axes_of(given, term)
            _checks.shaped(what, arrays[term.name], axes, step="check the outputs of the signature, or the explainer")
    for array in arrays.values():
        _checks.shaped("an explanation", array, [given.samples, "*axes"], step="return one row for each sample of x")
        _checks.finite("explanations", array, step="check the explainer at these inputs, or leave them out")
    if not any(array.size for array in arrays.values()):
        raise OptionError(
            "nothing would be compared: explanations have no entries",
            got=", ".join(f"shape {[*array.shape]}" for array in arrays.values()) or "no arrays",
            expected="explanations with one entry or more",
            step="check the explainer",
        )
    return arrays


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: [*array.shape] for name, array in arrays.items()}


def _acted(
    signature: Signature, outputs: tuple[Term, ...] | None, elements: list[Elements], arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    if outputs is None:
        return arrays
    return {term.name: act_each(signature, term, elements, arrays[term.name]) for term in outputs}


def _undecided(arrays: Mapping[str, np.ndarray], offset: float | None) -> int:
    """Count explanations that the offset outweighs, or raise `OptionError` if these are all."""
    if offset is None:
        return 0
    flat = _flat(arrays)
    count = int(np.sum(np.sqrt(np.mean(np.abs(flat) ** 2, axis=1)) <= offset))
    if count == len(flat):
        largest = np.max(np.abs(flat))
        raise OptionError(
            "all explanations are zero, and have no cosine"
            if largest == 0
            else "all explanations are smaller than the offset, which would decide the score",
            got=f"a largest entry of {largest:.3g}, offset {offset:g}",
            expected="explanations larger than the offset",
            step="check that the score of the model depends on x" if largest == 0 else "pass offset=0",
        )
    return count


def _flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], axis=1)


def cosine(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], offset: float) -> np.ndarray:
    """Return the cosine of explanations of each sample, one for equal ones, and zero if only one of them is zero."""
    wide = np.result_type(np.float64, _flat(one), _flat(other))
    a, b = (_flat({name: array.astype(wide) for name, array in arrays.items()}) + offset for arrays in (one, other))
    product = np.real(np.sum(a.conj() * b, axis=1))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal = np.all(a == b, axis=1)
    return np.where(equal, 1.0, product / np.where(norms > 0, norms, 1.0))


def accuracy(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the share of equal entries for each sample."""
    return np.mean(_flat(one) == _flat(other), axis=1)
