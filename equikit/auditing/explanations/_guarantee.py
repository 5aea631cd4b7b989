"""Whether an explanation method is equivariant or invariant for a model, by the conditions of its proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from equikit import _checks, _keywords
from equikit.auditing._action import Elements, act, wide
from equikit.auditing._elements import identity
from equikit.auditing._reading import MOST_DRAWS
from equikit.auditing._rounding import epsilon, perturbed
from equikit.auditing.explanations._explainer import Explainer, filled
from equikit.auditing.explanations._moved import Moves, moves
from equikit.plans import Inputs


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a guarantee.

    Attributes:
        text: in words.
        holds: whether it was found to hold.
        error: the largest relative deviation, for conditions that are measured; otherwise `None`.
    """

    text: str
    holds: bool
    error: float | None = None

    def __str__(self) -> str:
        measured = "" if self.error is None else f", largest relative deviation {self.error:.2g}"
        return f"{'yes' if self.holds else 'no':<4} {self.text}{measured}"


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What is guaranteed for an explanation method, and by which conditions.

    Attributes:
        method: its name.
        symmetry: `"equivariance"` or `"invariance"`.
        conditions: each with the result of its test.
    """

    method: str
    symmetry: str
    conditions: tuple[Condition, ...]

    @property
    def holds(self) -> bool:
        """Whether all conditions hold; an average over all elements of the groups has none."""
        return all(one.holds for one in self.conditions)

    def __str__(self) -> str:
        head = f"{self.symmetry} of {self.method}: {'guaranteed' if self.holds else 'not guaranteed'}"
        return "\n".join([head, *(f"  {one}" for one in self.conditions)])


def guarantee(
    explainer: Explainer,
    x: Inputs,
    signature: str,
    /,
    *,
    tolerance: float | None = None,
    samples: int = 8,
    most: int = 720,
    seed: int = 0,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Guarantee:
    r"""Test the conditions under which explanations of an invariant model are equivariant or invariant.

    | method | conditions, besides the invariance of the model |
    | --- | --- |
    | gradient | the model is differentiable at the inputs, the groups keep norms |
    | input times gradient | the model is differentiable at the inputs, the groups permute entries |
    | integrated gradients, gradient SHAP | the same, the baseline is invariant, there is no noise |
    | occlusion | the groups permute entries and the set of regions, the baseline is invariant |
    | Shapley values | the same, and the groups permute the set of orders |
    | examples and concepts | the layer is invariant, in place of the model |

    The conditions are sufficient, not necessary: an explainer without a guarantee may still have a score of one.
    Conditions on models and layers are tested at the inputs: a deviation disproves invariance, and no deviation does
    not prove it for other inputs. A model counts as differentiable if attributions change little when the inputs change
    by rounding; they change much at ties of a maximum. The generators of the groups decide the other conditions.

    Args:
        explainer: a method of this package.
        x: inputs `[samples, *axes, channels]`, or a dictionary of them.
        signature: with the inputs of the model, such as `"p p -> ()"`.
        tolerance: the largest relative deviation of the model that counts as rounding; by default 64 times the spacing
            of the inputs' dtype at one.
        samples: the number of elements drawn for each sample, where the groups have more than `most` elements.
        most, seed, groups, **bindings: as for `equivariance`.

    Returns:
        The conditions, and whether each holds.

    Raises:
        ShapeError, OptionError, GroupError: as for `equivariance`.

    Cost: one evaluation of the model or the layer for each element.

    Example:
        >>> import equikit as ek
        >>> from equikit.auditing.explanations import integrated_gradients
        >>> x = jax.random.normal(jax.random.key(0), (3, 5, 2))
        >>> e = integrated_gradients(lambda x: jax.numpy.sum(x**2), baseline=1.0)
        >>> print(guarantee(e, x, "p -> ()", p=ek.S(5)))                  # doctest: +ELLIPSIS
        equivariance of integrated_gradients: guaranteed
          yes  the model is invariant at the inputs, largest relative deviation ...
          yes  the model is differentiable at the inputs, largest relative deviation ...
          yes  the groups permute entries
          yes  the baseline is invariant, largest relative deviation 0

    Source:
        Crabbé and van der Schaar, arXiv:2304.06715, section 2. We state which actions of groups each proof needs.
    """
    _checks.instance("explainer", explainer, Explainer, 'explainer("gradient", model)')
    call = _keywords.call_of(guarantee)
    given = moves(
        signature,
        x,
        groups,
        bindings,
        call,
        most=_checks.count("most", most, least=1, example=720),
        draws=_checks.count("samples", samples, least=1, most=MOST_DRAWS, example=8),
        seed=_checks.count("seed", seed),
    )
    tolerance = _checks.number("tolerance", tolerance, least=0, example=1e-5, optional=True, traced=False)
    if tolerance is None:
        tolerance = 64 * max(epsilon(array.dtype) for array in given.question.arrays.values())
    parts = explainer.parts

    def invariant(part: str) -> Condition:
        error = _deviation(parts[part], given)
        return Condition(f"the {part} is invariant at the inputs", error <= tolerance, error)

    tests: dict[str, Callable[[], Condition]] = {
        "model": lambda: invariant("model"),
        "layer": lambda: invariant("layer"),
        "differentiable": lambda: _differentiable(explainer, given),
        "norm": lambda: Condition("the groups keep norms", all(group.keeps_norm for group in given.groups.values())),
        "permutations": lambda: Condition("the groups permute entries", _permute(given)),
        "noise": lambda: Condition("there is no noise", parts["noise"] == 0),
        "baseline": lambda: _baseline(given, parts["baseline"], tolerance),
        "regions": lambda: Condition("the groups permute the regions", _stable(given, parts["regions"])),
        "orders": lambda: Condition("the groups permute the orders", _stable(given, parts["regions"], parts["orders"])),
    }
    needs = explainer.needs
    unknown = (Condition("the conditions of the method are known", False),)
    met = unknown if needs is None else tuple(tests[need]() for need in needs)
    return Guarantee(explainer.name, explainer.symmetry, met)


def _deviation(function: Callable[[Any], Any], given: Moves) -> float:
    """Return the largest change of a function under elements, relative to its largest value; NaN for NaN."""
    batch = jax.jit(jax.vmap(function))
    first = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(batch(given.inputs()))]
    scale = max((float(np.max(np.abs(leaf), initial=0)) for leaf in first), default=0.0) or 1.0
    worst = 0.0
    for drawn in given.elements():
        found = jax.tree.leaves(batch(given.inputs(drawn)))
        gaps = [np.max(np.abs(np.asarray(a) - b), initial=0) for a, b in zip(found, first, strict=True)]
        worst = float(np.maximum(worst, np.max(gaps, initial=0.0)))
    return worst / scale


def _differentiable(explainer: Explainer, given: Moves) -> Condition:
    """Compare attributions of the inputs, and of inputs that change by rounding."""
    random, x = np.random.default_rng(0), given.inputs()
    eps = max(epsilon(leaf.dtype) for leaf in jax.tree.leaves(x))
    moved = jax.tree.map(lambda leaf: perturbed(wide(leaf), leaf.dtype, random, ties=False).astype(leaf.dtype), x)
    pairs = [jax.tree.leaves(explainer(each)) for each in (x, moved)]
    one, other = (np.concatenate([np.reshape(leaf, (given.samples, -1)) for leaf in each], axis=1) for each in pairs)
    lengths = np.maximum(np.linalg.norm(one, axis=1), np.finfo(float).tiny)
    error = float(np.max(np.linalg.norm(one - other, axis=1) / lengths))
    return Condition("the model is differentiable at the inputs", error <= math.sqrt(eps), error)


def _permute(given: Moves) -> bool:
    return all(group.elements_are == "permutations" for group in given.groups.values())


def _generators(given: Moves) -> Iterator[Elements]:
    """Yield elements that generate the groups; of infinite groups, also some random ones."""
    random, neutral = np.random.default_rng(0), {label: identity(group) for label, group in given.groups.items()}
    for label, group in given.groups.items():
        drawn = [] if group.is_finite else [group.random_element(random) for _ in range(4)]
        for element in [*group.generators(), *drawn]:
            yield neutral | {label: element}


def _by_term(given: Moves, tree: Any) -> Mapping[str, Any]:
    return tree if given.question.as_dict else {given.signature.inputs[0].name: tree}


def _baseline(given: Moves, baseline: Any, tolerance: float) -> Condition:
    start = _by_term(given, filled(baseline, jax.tree.map(lambda leaf: leaf[0], given.inputs())))
    error = 0.0
    for element in _generators(given):
        for term in given.signature.inputs:
            array = np.asarray(start[term.name], np.float64)
            gap = np.max(np.abs(act(given.signature, term, element, array) - array), initial=0)
            error = max(error, float(gap / max(np.max(np.abs(array), initial=0), np.finfo(float).tiny)))
    return Condition("the baseline is invariant", error <= tolerance, error)


def _region_moves(given: Moves, regions: Any) -> list[np.ndarray] | None:
    """Return for each generator where it moves each region; `None` if it moves one to a set that is no region."""
    arrays = {name: np.asarray(array, np.float64) for name, array in _by_term(given, regions).items()}
    flat, found = _rows(arrays), []
    for element in _generators(given):
        moved = _rows({t.name: act(given.signature, t, element, arrays[t.name]) for t in given.signature.inputs})
        order, moved_order = np.lexsort(flat.T), np.lexsort(moved.T)
        if not np.array_equal(flat[order], moved[moved_order]):
            return None
        places = np.empty(len(flat), int)
        places[moved_order] = order
        found.append(places)
    return found


def _rows(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], axis=1)


def _stable(given: Moves, regions: Any, orders: np.ndarray | None = None) -> bool:
    """Whether the groups permute the regions, and the set of orders if there is one."""
    places = _region_moves(given, regions) if _permute(given) else None
    if places is None or orders is None:
        return places is not None
    rows = orders[np.lexsort(orders.T)]
    moved = [place[orders] for place in places]
    return all(np.array_equal(rows, one[np.lexsort(one.T)]) for one in moved)
