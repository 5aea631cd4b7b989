"""Frames: for every input a few group elements with weights, and what is known of how good they are."""

from __future__ import annotations

import functools
import math
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import GroupError
from equikit.groups import Group
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element, compose, is_permutation, rounding
from equikit.symmetrization._options import check_options
from equikit.symmetrization._sample import Sample

OnDegenerate = Literal["error", "flag", "sample", "weighted"]
"""What is done where an input has no frame of its own, since a symmetry of the input itself leaves it undecided."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Info:
    r"""What a frame knows of itself, an entry for each sample; `None` where it has no meaning.

    Attributes:
        size: number of elements, float32 where it may not fit in integers.
        degenerate: whether the elements are not equivariant for this input.
        refused: whether such an input is an error.
        gap: the smallest difference between neighboring eigenvalues (or keys) that decide, over the largest.
        rank: the dimension that the input spans.
        ties: the number of entries that no key tells from another.
        doubt: a bound of the error of the elements to first order, which rounding the input and computing them make:
            of the entries of \(g^{-1} \delta g\), zero for permutations, and infinite where rounding may have decided
            what the elements jump with. The input is degenerate where it exceeds `most_doubt`.
        more: other quantities by name, such as scores and matrices that losses are made of; where several methods or
            labels have one, "matrix", "matrix 2" and so on. Of draws they have an axis of these in front, and of a
            method that comes after one with several elements an axis of those.
        exact: whether the elements are all there are, where others of the same batch were drawn at random.
        standard_error: of the average, for each output, where elements were drawn at random; an upper estimate where
            the draws of one method are joined with all elements of another.
    """

    size: Array
    degenerate: Array
    refused: Array
    gap: Array | None = None
    rank: Array | None = None
    ties: Array | None = None
    doubt: Array | None = None
    exact: Array | None = None
    more: dict[str, Array] = field(default_factory=dict)
    standard_error: dict[str, Array] = field(default_factory=dict)


_DATA = ("elements", "weights", "info", "tail", "turns", "fallback")


@functools.partial(jax.tree_util.register_dataclass, data_fields=_DATA, meta_fields=("drawn",))
@dataclass(frozen=True)
class Frame:
    r"""A probability measure \(\sum_g w_g\,\delta_g\) on the group for every input: elements g and weights \(w_g\).

    Attributes:
        elements: with an axis of elements before the batch axes, `[elements, *batch, ...]`.
        weights: `[elements, *batch]`, which sum to one over the elements.
        info: gap, rank, ties and size, and whether the input is degenerate, `[*batch]` each.
        drawn: whether the elements are independent draws, so that the average has a standard error.
        tail: what matrices and shifts lack to twice the precision of their dtype, for methods that come after.
        turns: for a label, standard deviations of the errors of the entries of \(g^{-1} \delta g\),
            `[elements, *batch, n, n]`.
        fallback: more elements, whose weights are zero for most inputs. The backbone is evaluated on them only where
            one of a batch has a weight.
    """

    elements: Element
    weights: Array
    info: Info
    drawn: bool = False
    tail: Element = field(default_factory=Element)
    turns: dict[str, Array] = field(default_factory=dict)
    fallback: Frame | None = None

    @property
    def size(self) -> int:
        """How many elements are listed, those of weight zero included."""
        return int(self.weights.shape[0])


def in_one_list(frame: Frame) -> Frame:
    """All elements of a frame in one list, those of its fallback last."""
    one, two = frame, frame.fallback
    if two is None:
        return frame
    kept = [_with_stabilizer(one.elements, two.elements), _with_stabilizer(two.elements, one.elements)]
    parts = [(elements, part.weights, part.tail, part.turns) for elements, part in zip(kept, (one, two), strict=True)]
    elements, weights, tail, turns = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    return Frame(elements, weights, one.info, one.drawn, tail, turns)


def _with_stabilizer(elements: Element, others: Element) -> Element:
    """Elements with a stabilizer for every label for which others have one: the identity alone, if they had none."""
    found = dict(elements.stabilizer)
    for label in others.stabilizer.keys() - found.keys():
        shape, kept = elements.linear[label].shape, others.stabilizer[label]
        one = jnp.arange(shape[-1]) if is_permutation(kept) else jnp.eye(shape[-1])
        found[label] = jnp.broadcast_to(one.astype(kept.dtype), (*shape[: len(shape) - one.ndim], *one.shape))
    return replace(elements, stabilizer=found)


def with_fallback(frame: Frame, share: Array, fallback: Callable[[], Frame]) -> Frame:
    """A frame that shares its weight with another one, which is computed only where an input of the batch needs it.

    Args:
        frame: the frame.
        share: the weight of the other one, `[*batch]`, between zero and one.
        fallback: computes the other one. Under a `vmap` of the caller it is computed always.
    """
    other = only_if(jnp.any(share > 0), fallback)
    its_own = _of_some(other.info, share > 0)
    info = _of_both(_of_some(frame.info, share < 1), its_own)
    mine = jnp.where(share < 1, (1 - share) * frame.weights, 0)
    weights = jnp.where(share > 0, share * other.weights, 0)
    other = replace(other, weights=weights, info=its_own)
    return replace(frame, weights=settled(mine, info), info=info, fallback=other)


def _of_some(info: Info, used: Array) -> Info:
    """What is known of a frame, or of one that is perfect, where it is not used."""

    def where(entry: Array | None, unused: float | bool) -> Any:
        return None if entry is None else jnp.where(used, entry, unused)

    return replace(
        info,
        size=where(info.size, 0),
        degenerate=info.degenerate & used,
        refused=info.refused & used,
        gap=where(info.gap, jnp.inf),
        ties=where(info.ties, 0),
        doubt=where(info.doubt, 0),
    )


def _of_both(one: Info, two: Info) -> Info:
    """What is known of the elements of a frame and of its fallback together."""

    def either(name: str, choose: Callable[[Array, Array], Array]) -> Array | None:
        mine, theirs = getattr(one, name), getattr(two, name)
        return choose(mine, theirs) if mine is not None and theirs is not None else theirs if mine is None else mine

    return replace(
        one,
        size=one.size + two.size,
        degenerate=one.degenerate | two.degenerate,
        refused=one.refused | two.refused,
        gap=either("gap", jnp.minimum),
        ties=either("ties", jnp.maximum),
        doubt=either("doubt", jnp.maximum),
    )


def only_if(needed: Array, compute: Callable[[], Any]) -> Any:
    """What a function computes, where it is needed; else zeros."""

    def zeros() -> Any:
        return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(compute))

    if isinstance(needed, jax.core.Tracer):
        return jax.lax.cond(needed, compute, zeros)
    return compute() if needed else zeros()


def drawn(frame: Frame, key: jax.Array, samples: int) -> Frame:
    """Elements of a frame drawn independently, each with the probability that is its weight."""
    frame = in_one_list(frame)
    chances = jnp.log(frame.weights)
    picks = jax.random.categorical(key, chances, axis=0, shape=(samples, *frame.weights.shape[1:]))

    def picked(array: Array) -> Array:
        index = jnp.expand_dims(picks, range(picks.ndim, array.ndim))
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            return jnp.take_along_axis(array, index, axis=0)
        # A choice among few, whose derivative is no scatter.
        return sum((jnp.where(index == i, array[i], 0) for i in range(frame.size)), jnp.zeros((), array.dtype))

    weights = jnp.where(jnp.any(jnp.isnan(frame.weights), axis=0), jnp.nan, jnp.full(picks.shape, 1 / samples))
    info = replace(frame.info, exact=None)
    elements, tail, turns = jax.tree.map(picked, (frame.elements, frame.tail, frame.turns))
    return Frame(elements, weights.astype(frame.weights.dtype), info, True, tail, turns)


def _as_draws(frame: Frame) -> Frame:
    """One element of each of several frames, `[1, draws, *batch]`, as the elements of one frame."""
    info, weights = frame.info, frame.weights[0] / frame.weights.shape[1]
    worst = {name: getattr(info, name) for name in ("size", "rank", "ties", "doubt")}
    several = {name: None if entry is None else jnp.max(entry, axis=0) for name, entry in worst.items()}
    gap = None if info.gap is None else jnp.min(info.gap, axis=0)
    degenerate, refused = jnp.any(info.degenerate, axis=0), jnp.any(info.refused, axis=0)
    found = Info(degenerate=degenerate, refused=refused, gap=gap, more=info.more, **several)  # type: ignore[arg-type]
    elements, tail, turns = jax.tree.map(lambda array: array[0], (frame.elements, frame.tail, frame.turns))
    return Frame(elements, settled(weights, found), found, True, tail, turns)


def settled(weights: Array, info: Info) -> Array:
    """The weights, not-a-number for inputs that are refused: a compiled program cannot raise an error."""
    return jnp.where(info.refused, jnp.nan, weights)


def then(one: Frame, later: Callable[[Frame], Frame]) -> Frame:
    """The products of each element of a frame with those of a later one, of the input that the element has moved back.

    Args:
        one: the frame.
        later: computes the later frame, `[later, one, *batch]`, of the inputs that the elements of a frame have moved.
    """
    two = later(one)
    if two.fallback is not None and one.size > 1:
        two = in_one_list(two)
    found = joined(one, two)
    if two.fallback is not None:
        found = replace(found, fallback=joined(one, two.fallback))
    if one.fallback is None:
        return found
    fallback = one.fallback
    other = only_if(jnp.any(fallback.weights != 0), lambda: joined(fallback, in_one_list(later(fallback))))
    info = _of_both(found.info, other.info)
    found = replace(in_one_list(found), weights=settled(in_one_list(found).weights, info), info=info, fallback=other)
    return found


def joined(one: Frame, two: Frame) -> Frame:
    """The products of each element of the one with those of its own frame, whose arrays are `[two, one, *batch]`."""
    count = one.size * two.size

    def flat(array: Array) -> Array:
        return jnp.moveaxis(array, 0, 1).reshape(count, *array.shape[2:])

    first = jax.tree.map(lambda array: jnp.repeat(array, two.size, axis=0), one.elements)
    # Where the first has no weight the second may be refused, without any harm.
    weights = flat(jnp.where(one.weights == 0, 0, one.weights * two.weights))
    return Frame(compose(first, jax.tree.map(flat, two.elements)), weights, _both(one, two), one.drawn or two.drawn)


def _exact(frame: Frame) -> Array:
    given = frame.info.exact
    return jnp.full(frame.info.degenerate.shape, not frame.drawn) if given is None else given


def _both(one: Frame, two: Frame) -> Info:
    """What is known of products: of the later frames, those that a nonzero weight leads to."""
    first, later, used = one.info, two.info, one.weights != 0

    def worst(name: str) -> Array | None:
        mine, theirs = getattr(first, name), getattr(later, name)
        if theirs is None:
            return mine
        if name == "gap":
            least = jnp.min(jnp.where(used, theirs, jnp.inf), axis=0)
            return least if mine is None else jnp.minimum(mine, least)
        most = jnp.max(jnp.where(used, theirs, 0), axis=0)
        if mine is None or name == "rank":
            return most if mine is None else mine
        return mine + most if name == "ties" else jnp.maximum(mine, most)

    return Info(
        size=jnp.sum(jnp.where(used, later.size, 0), axis=0),
        doubt=worst("doubt"),
        degenerate=first.degenerate | jnp.any(later.degenerate & used, axis=0),
        refused=first.refused | jnp.any(later.refused & used, axis=0),
        gap=worst("gap"),
        rank=worst("rank"),
        ties=worst("ties"),
        exact=_exact(one) & jnp.all(_exact(two) | ~used, axis=0),
        more=merged_more(first.more, _without_one(later.more) if one.size == 1 else later.more),
    )


def _without_one(more: Mapping[str, Array]) -> dict[str, Array]:
    """The quantities of later frames without the axis of the one element before, which is behind that of draws."""
    return {name: array[0] if array.shape[0] == 1 else array[:, 0] for name, array in more.items()}


def merged_more(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, Array]:
    """The quantities of two methods; where a name comes again, it is numbered: "matrix", "matrix 2"."""
    found = dict(one)
    for place, value in two.items():
        name, number = place.partition(" ")[0], 1
        while (place := name if number == 1 else f"{name} {number}") in found:
            number += 1
        found[place] = value
    return found


class _Untraced:
    """A method that `nnx.tabulate` leaves alone: it replaces functions of modules, and knows no other dataclasses."""

    def __init__(self, function: types.FunctionType) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # it is called by binding it
        self.function = function

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self.function, instance)


class Method(ABC):
    """How an input gets its frame: the argument `how` of `symmetrize`."""

    asked: Any = None
    """The group that a label has to have, where it was asked for one."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in ("acts_on", "reads", "frame", "draw"):
            if issubclass(cls, nnx.Module) and isinstance(function := getattr(cls, name), types.FunctionType):
                setattr(cls, name, _Untraced(function))

    @property
    def needs_key(self) -> bool:
        """Whether frames are drawn at random, so that a key is needed always."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether frames are drawn at random where there is a key."""
        return self.needs_key

    @abstractmethod
    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels on which the elements act.

        Raises:
            GroupError, OptionError: if the groups of the signature are not those that the method is for.
        """

    def reads(self, action: Action) -> frozenset[str]:
        """The labels whose groups change the frame beyond what they should: methods for them have to come before."""
        return frozenset(action.groups) - self.acts_on(action)

    @abstractmethod
    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The frame of the inputs `[*batch, *axes, channels]`; a key means that it may be drawn at random."""

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """A frame of elements drawn independently with the probabilities that their weights are."""
        for_frame, for_draws = jax.random.split(key)
        if not self.is_random:
            return drawn(self.frame(action, sample, for_frame), for_draws, samples)
        # Each draw is from a frame of its own: draws from one would have its randomness in common.
        several = jax.tree.map(lambda array: jnp.broadcast_to(array, (samples, *array.shape)), sample)
        return _as_draws(drawn(self.frame(action, several, for_frame), for_draws, 1))


class Framed(Method):
    """A method without parameters, which says what the frame of one sample is. Subclasses are frozen dataclasses."""

    policies: ClassVar[tuple[str, ...]] = get_args(OnDegenerate)
    """The values that `on_degenerate` may have."""

    def __post_init__(self) -> None:
        check_options(self, self.policies)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The frames of all samples, by one compiled program."""
        found: Frame = _frames(self, action, sample, key)
        return found

    @abstractmethod
    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """The frame of one sample, with an axis of elements in front of elements and weights."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def _frames(method: Framed, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
    first = action.inputs[0]
    batch = action.batch(first, sample.x[first.name])
    keys = None if key is None else jax.random.split(key, batch)

    def one(sample: Sample, key: jax.Array | None) -> Frame:
        return method.of_sample(action, sample, key)

    for _ in batch:
        one = jax.vmap(one)
    frame = one(sample, keys)
    front = functools.partial(jnp.moveaxis, source=len(batch), destination=0)
    parts = {name: getattr(frame, name) for name in ("elements", "weights", "tail", "turns")}
    return replace(frame, **jax.tree.map(front, parts))


def only_label(method: object, action: Action, label: str | None, kinds: tuple[type[Group], ...]) -> str:
    """The label that a method is for: the one given, or the only one with a group of these kinds.

    Raises:
        GroupError: if there is none, more than one, or it has another group.
    """
    groups = action.groups
    asked = getattr(method, "asked", None)
    fitting = [
        name
        for name, group in groups.items()
        if isinstance(group, kinds) and not name.endswith("*") and asked in (None, group, type(group))
    ]
    name = type(method).__name__
    wanted = " or ".join(kind.__name__ for kind in kinds) if asked is None else _named(asked)
    bind = kinds[0].__name__ if asked is None else _named(asked)
    found = ", ".join(f"{label}={what}" for label, what in action.signature.bindings) or "no labels"
    if label is None and len(fitting) == 1:
        return fitting[0]
    if label is not None and label in fitting:
        return label
    if label is None:
        problem = f"{name} finds no axis to act on" if not fitting else f"{name} does not know which axis to act on"
        step = f'name it: {name}("{fitting[0]}")' if fitting else f"bind a label to {bind}, or use another method"
    else:
        problem = f"{name} cannot act on {label!r}"
        step = f'write {name}("{fitting[0]}")' if fitting else f"bind {label} to {bind}, or use another method"
    raise GroupError(problem, got=found, expected=f"a label bound to {wanted}", step=step)


def _named(group: object) -> str:
    return group.__name__ if isinstance(group, type) else str(group)


def most_doubt(dtype: Any) -> float:
    """The doubt from which on an input is degenerate: a quarter of the root of the rounding error.

    An error of more than half of the digits; in half precision, where this is more, of sixteen roundings.
    """
    return max(math.sqrt(rounding(dtype)) / 4, 16 * rounding(dtype))


def standard_tolerance(tolerance: float | None, dtype: Any) -> float:
    """The gap, relative to the largest eigenvalue, below which two count as one: the root of the rounding error."""
    if tolerance is not None:
        return tolerance
    return math.sqrt(rounding(dtype))
