"""Linear layers that commute with wreath products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit._errors import OptionError
from equikit.diagrams import Diagrams
from equikit.nn import Linear
from equikit.nn._init import rows
from equikit.plans import weight_name
from equikit.weightspace._nesting import Nested


class WreathLinear(Linear):
    r"""The layer `Linear`, without the maps that do not commute with a wreath product \(S_n \wr S_m\).

        nested: pairs of labels, inner and outer. A term has the inner one at most once, and the outer one with it.
    only where their o are equal. Of the diagrams for the direct product \(S_n \times S_m\) those are left in which
    blocks of i lie within a block of o. They are as many as the orbits of tuples of pairs, and hence a basis.

    Args:
        nested: pairs of labels, inner and outer. A term has an inner label at most once, and with it the outer one.
        *arguments, **options: as for `Linear`.

    Attributes:
        kept: for pairs of terms of which not all diagrams are left: the name, how many there are, and the places of
            those that are left.
    """

    def __init__(self, *arguments: Any, nested: Nested, **options: Any) -> None:
        super().__init__(*arguments, **options)
        fits: dict[str, dict[str, np.ndarray]] = {}
        for pair in self.space.pairs:
            (source,), (target,), diagrams = pair.signature.inputs, pair.signature.outputs, pair.diagrams
            assert isinstance(diagrams, Diagrams)
            labels = (*diagrams.top, *diagrams.bottom)
            its = np.array([_fits(diagram.growth, labels, nested) for diagram in diagrams], bool)
            fits.setdefault(target.name, {})[weight_name(source, target)] = its
        kept = []
        for of in fits.values():
            every = np.concatenate(list(of.values()))
            # Variance is preserved by the maps that are left.
            scale = np.sqrt(len(every) / max(np.sum(every), 1))
            for name, its in of.items():
                if len(its) and not np.all(every):
                    self.kernel[name] = nnx.Param(rows(self.kernel[name][...], np.flatnonzero(its), scale))
                if not np.all(its):
                    kept.append((name, len(its), tuple(map(int, np.flatnonzero(its)))))
        self.kept: tuple[tuple[str, int, tuple[int, ...]], ...] = tuple(kept)

    def _initial_sizes(self, init_size: int | Mapping[str, int]) -> dict[str, int]:
        """One for all: features of neurons are far from independent, and a mean over many of them is not small.

        What preserves the variance of independent entries would multiply a mean over n of them by the root of n.
        """
        return dict.fromkeys(super()._initial_sizes(init_size), 1)

    def weights(self) -> dict[str, jax.Array]:
        """Weights for all diagrams of the plan, those that are not left being zero."""
        found = super().weights()
        for name, count, places in self.kept:
            weight = found[name]
            found[name] = jnp.zeros((count, *weight.shape[1:]), weight.dtype).at[np.array(places, int)].set(weight)
        return found


def _fits(growth: tuple[int, ...], labels: tuple[str, ...], nested: Nested) -> bool:
    """Whether, for each pair, vertices of the inner label that are in one block belong to one block of the outer."""
    for inner, outer in nested:
        inside = [block for block, label in zip(growth, labels, strict=True) if label == inner]
        outside = [block for block, label in zip(growth, labels, strict=True) if label == outer]
        # A term has each of them once: the second of two vertices is that of the other term.
        if len(inside) == 2 and inside[0] == inside[1] and outside[0] != outside[1]:
            return False
    return True


def checked_result(out: str, pairs: Nested) -> str:
    """The labels of a result: one that is nested has no meaning without the other."""
    labels = out.split()
    for inner, outer in pairs:
        if inner in labels and (labels.count(inner), labels.count(outer)) != (1, 1):
            raise OptionError(
                f"out has {inner!r}, which is permuted by itself for every index of {outer!r}",
                got=f"out={out!r}",
                expected=f"both of them, once, or {outer!r} alone",
                step=f"write out={f'{outer} {inner}'!r}",
            )
    return out
