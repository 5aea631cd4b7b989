"""The centroid, which translations move along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._errors import OptionError
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element
from equikit.symmetrization._frame import Frame, Framed, Info
from equikit.symmetrization._masks import present, weighted


@dataclass(frozen=True)
class Center(Framed):
    r"""The translation that moves the centroid to the origin: one element, for the group of translations.

    `symmetrize` puts it first where it is told `translate="x"`. The centroid is that of all positions in the input:
    of all points and channels of the terms that are translated, absent points aside, and weighted where `piecewise`
    gives points weights. Without any point it is zero.

    Args:
        label: the label along which entries are positions.

    Cost: two sums over the input.

    Example:
        >>> from equikit.symmetrization import symmetrize
        >>> from equikit import S, O
        >>> spread = symmetrize(
        ...     lambda x: x**2, "p x -> p x", p=S, x=O(2), translate="x", channels=False, how=[])
        >>> spread(jnp.array([[0.0, 1.0], [2.0, 1.0]])).tolist()     # the squares of ±1, with the centroid put back
        [[2.0, 1.0], [2.0, 1.0]]

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.1.
    """

    label: str
    takes_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checks.text("label", self.label)

    def acts_on(self, action: Action) -> frozenset[str]:
        """No label linearly; positions are shifted."""
        if not any(action.translation(term) == self.label for term in action.inputs):
            raise OptionError(
                f"no input holds positions along {self.label!r}",
                got=f"{action.signature}, translated terms {dict(action.translated)}",
                expected="an input term that is translated",
                step=f'pass translate="{self.label}" to symmetrize, with an input that has {self.label!r} once',
            )
        return frozenset()

    def reads(self, action: Action) -> frozenset[str]:
        """Nothing: a centroid turns with the points, and does not depend on their order."""
        return frozenset()

    def of_sample(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array | None
    ) -> Frame:
        """The centroid of one sample."""
        first = self._mean(action, x, masks, None)
        # Again, for what rounding has left: where all points are equal, nothing is.
        centroid = first + self._mean(action, x, masks, first)
        no, one = jnp.zeros((), bool), jnp.ones((), jnp.float32)
        return Frame(Element(shift={self.label: centroid[None]}), jnp.ones(1, centroid.dtype), Info(one, no, no))

    def _mean(self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], origin: Array | None) -> Array:
        """The mean of all positions, seen from an origin."""
        total: Array = 0.0
        count: Array = 0
        for term in action.inputs:
            if action.translation(term) != self.label:
                continue
            array = x[term.name]
            place = term.labels.index(self.label)
            there = present(term, masks, array.ndim)
            wide = jnp.promote_types(array.dtype, jnp.float32)
            others = tuple(i for i in range(array.ndim) if i != place)
            if origin is not None:
                array = array - jnp.expand_dims(origin, others)
            total = total + jnp.sum(weighted(array, there), axis=others, dtype=wide)
            shape = [1 if i == place else size for i, size in enumerate(array.shape)]
            count = count + jnp.sum(jnp.broadcast_to(there, shape), dtype=wide) if masks else count + math.prod(shape)
        return total / jnp.where(count > 0, count, 1)
