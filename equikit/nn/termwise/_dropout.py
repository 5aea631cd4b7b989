"""Dropout that is equivariant in distribution."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Literal

from flax import nnx

from equikit import _checks
from equikit._errors import OptionError
from equikit.nn._features import Features, not_permuted, permuted
from equikit.nn.termwise._rows import Rows
from equikit.nn.termwise._termwise import Termwise
from equikit.plans import Arrays, Feature, Masks
from equikit.signatures import Term
from equikit.supports import Support

Dropped = Literal["values", "channels", "entries"]
"""What is dropped together: one channel of one entry, a channel of all entries, or all channels of an entry."""


class Dropout(Termwise):
    r"""Dropout of whole vectors: set random parts of features to zero, and scale the rest by 1 / (1 - rate).

    All components that a group mixes are dropped together, so that the layer commutes with any group on such axes,
    including boosts and GL(n). Entries of permuted axes are dropped independently with equal probability, so that the
    distribution of the result does not depend on their order.

    `model.train()` turns dropout on and `model.eval()` turns it off, through `deterministic` as in `nnx.Dropout`.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        rate: the probability that a part is dropped.
        drop: `"values"` drops each channel of each entry of permuted axes independently; `"channels"`, a channel in all
            entries of a sample, which on a support is a graph; `"entries"`, an entry of permuted axes, such as a node,
            in all channels.
        deterministic: whether to return the input unchanged.
        rngs: random keys; the stream `dropout` is used.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        masks: maps the name of a term to its `nnx.Dropout`.

    Raises:
        OptionError: if the rate is not from 0 to 1, or a term has no permuted axis whose entries could be dropped.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit import O, S
        >>> dropout = Dropout({"p x": 4}, 0.5, p=S, x=O(3), rngs=nnx.Rngs(0))
        >>> y = dropout(jnp.ones((5, 3, 4)))                    # all three components of a vector, or none
        >>> bool((y == y[:, :1]).all()), sorted(set(y.ravel().tolist()))
        (True, [0.0, 2.0])

    Source:
        Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.
    """

    def __init__(
        self,
        features: Features,
        rate: float,
        *,
        drop: Dropped = "values",
        deterministic: bool = False,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        _checks.rngs(rngs, "dropout")
        super().__init__(features, None, groups, bindings)
        self.rate: float = _checks.number("rate", rate, least=0, most=1, example=0.1, traced=False)
        self.drop: Dropped = _checks.choice("drop", drop, ("values", "channels", "entries"))
        self.deterministic = _checks.flag("deterministic", deterministic)
        self.masks = nnx.Dict(
            {
                term.name: nnx.Dropout(self.rate, broadcast_dims=self._shared(term), rngs=rngs)
                for term in self.signature.inputs
            }
        )

    def _call_arguments(self) -> list[str]:
        return [*super()._call_arguments(), f"{self.rate:g}"]

    def _shared(self, term: Term) -> tuple[int, ...]:
        """Return the axes, counted from the end, along which all numbers are dropped together."""
        axes, mixed = len(term.labels), not_permuted(self.signature, term)
        plain = [i - axes - 1 for i in self.signature.plain(term)]
        if self.drop == "values":
            return tuple(i for i in mixed if i not in plain)
        if self.drop == "channels":
            return tuple(i - axes - 1 for i in self.signature.acted(term))
        if not any(permuted(self.signature, label) for label in term.labels):
            raise OptionError(
                f"no entries of {term.name!r} can be dropped",
                got=f'drop="entries", {term}',
                expected="terms with an axis that is permuted",
                step='write drop="values"',
            )
        return (*mixed, -1)

    def __call__(
        self,
        x: Arrays,
        *,
        mask: Masks | None = None,
        deterministic: bool | None = None,
        support: Support | None = None,
    ) -> Arrays:
        """Drop parts of an array `[*batch, *axes, channels]` or of a dictionary of arrays.

        Args:
            x: a dictionary with an array for each term, or a single array if there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.
            deterministic: overrides the option of the layer.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        chosen = self.deterministic if deterministic is None else _checks.flag("deterministic", deterministic)

        def dropped(term: Term, array: Feature, rows: Rows) -> Feature:
            drop = functools.partial(self.masks[term.name], deterministic=chosen)
            if self.drop == "channels" and rows.has_graphs(term):
                return array * rows.for_graphs(term, array, drop)
            result: Feature = drop(array)
            return result

        return self._each(x, mask, support, dropped)
