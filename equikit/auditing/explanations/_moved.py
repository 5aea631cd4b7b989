"""Elements of the groups of a signature, all or drawn, and inputs that they move."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._array_checks import by_name
from equikit._errors import GroupError, OptionError
from equikit._keywords import Call
from equikit.auditing._action import Elements, act_each
from equikit.auditing.explanations._explainer import samples_of
from equikit.groups import Group
from equikit.signatures import Signature, Term, binding_text, parse_signature


@dataclass(frozen=True, slots=True)
class Moves:
    """Inputs, and how the groups of a signature move them.

    Attributes:
        signature: of the explainer or the model.
        x: an array for each input term, `[samples, *axes, channels]`.
        as_dict: whether functions take a dictionary.
        samples: the number of samples.
    """

    signature: Signature
    x: Mapping[str, Any]
    as_dict: bool
    samples: int

    @property
    def groups(self) -> dict[str, Group]:
        """The group of each label, without stars."""
        return {label: what for label, what in self.signature.bindings if isinstance(what, Group)}

    @property
    def order(self) -> int | None:
        """The number of elements of the product of all groups; `None` if it is infinite or unknown."""
        orders = [group.order() for group in self.groups.values()]
        return None if None in orders else math.prod(n for n in orders if n is not None)

    def every(self) -> Iterator[list[Elements]]:
        """Yield all elements, the same for each sample."""
        lists = [group.elements(most=self.order or 1) for group in self.groups.values()]
        for found in itertools.product(*lists):
            yield [dict(zip(self.groups, found, strict=True))] * self.samples

    def drawn(self, draws: int, seed: int) -> Iterator[list[Elements]]:
        """Yield random elements, independent ones for each sample."""
        random = np.random.default_rng(seed)
        for _ in range(draws):
            yield [{label: group.random_element(random) for label, group in self.groups.items()} for _ in self.rows]

    @property
    def rows(self) -> range:
        """The indices of the samples."""
        return range(self.samples)

    def inputs(self, elements: list[Elements] | None = None) -> Any:
        """Return the inputs, moved by an element for each sample, in their own dtype and package."""
        moved = {term.name: self._moved(term, elements) for term in self.signature.inputs}
        return moved if self.as_dict else next(iter(moved.values()))

    def _moved(self, term: Term, elements: list[Elements] | None) -> Any:
        x = self.x[term.name]
        if elements is None:
            return x
        moved = act_each(self.signature, term, elements, x)
        return jnp.asarray(moved, x.dtype) if isinstance(x, jax.Array) else moved.astype(x.dtype)


def axes_of(kind: Signature, term: Term, samples: int | str) -> list[int | str]:
    """Return the expected axes of a batch of a term, for `_checks.shaped`."""
    return [samples, *(int(kind.sizes[label] or 0) for label in term.labels), "channels"]


def moves(
    signature: str, x: Any, groups: Mapping[str, object] | None, bindings: Mapping[str, object], call: Call
) -> Moves:
    """Read a signature and the inputs, and check that every group acts on its axis."""
    kind = parse_signature(signature, groups=groups, keywords=bindings, call=call)
    as_dict = isinstance(x, Mapping) or len(kind.inputs) > 1
    names = [term.name for term in kind.inputs]
    found = by_name(names, x) if isinstance(x, Mapping) else {names[0]: x}
    step = "give one array for each input term"
    given = _checks.same_names("the inputs", found, names, step=step)
    for label, size in kind.sizes.items():
        if size is None:
            family = f"ek.{kind.groups[label]}"
            raise GroupError(
                f"label {label!r} is bound to a free group",
                got=f"{label}={kind.groups[label]}",
                expected="groups with a size, whose elements are drawn",
                step=f"bind {binding_text(label, f'{family}(4)', call)}",
            )
    for term in kind.inputs:
        what, axes = f"input {term.name!r}", axes_of(kind, term, "samples")
        _checks.array(what, given[term.name], axes, kind="real or complex", step="check the signature")
    samples = samples_of(given)
    if not all(np.size(array) for array in given.values()):
        raise OptionError(
            "nothing would be compared: an input has no entries",
            got=", ".join(f"{name!r} of shape {[*np.shape(array)]}" for name, array in given.items()),
            expected="one sample or more, with one entry or more",
            step="give more samples, or bind groups of size 1 or more",
        )
    _checks.finite("inputs", *given.values(), step="leave out the samples with NaN or infinity")
    return Moves(kind, given, as_dict, samples)
