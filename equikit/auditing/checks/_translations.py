"""Whether a function changes when all positions are translated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from equikit import _checks, _keywords
from equikit._errors import OptionError
from equikit.auditing._action import wide
from equikit.auditing.checks._asked import asked_about, estimated
from equikit.auditing.checks._estimate import Estimate
from equikit.auditing.modules._experiment import Changed
from equikit.auditing.modules._infer import Shifted
from equikit.auditing.modules._locate import Run, outputs_of
from equikit.auditing.modules.recording._calls import Recording
from equikit.nn import Features
from equikit.signatures import Term

SHIFTS = 3
"""The number of random translations."""
NAME = "translation"


def translation_error(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    data: Any,
    along: str,
    channels: bool = True,
    moves: bool = False,
    positions: Sequence[int] | None = None,
    key: jax.Array | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Estimate:
    r"""Measure how a function changes when a vector t is added to all positions: \(f(x + t)\) against \(f(x)\).

    Args:
        function: as for `audit`.
        signature, outputs: as for `audit`.
        data: an array, or a dictionary with an array for each input.
        along: the label of the axis of coordinates, such as `"x"` in `"p x"`. Terms that have it once are translated.
        channels: whether arrays have an axis of channels, the last one; otherwise they are `[*batch, *axes]`.
        moves: whether outputs with the label move along, as new positions do, rather than stay, as forces do.
        positions: the channels that are positions; by default all, in inputs and outputs.
        key: a JAX random key; by default always the same.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Returns:
        The mean normalized error of three translations as large as the data, the part that rounding explains, and the
        first module whose output is neither unchanged nor shifted by a constant although its inputs are.

    Raises:
        OptionError: if no input has the label once, there are no such positions, or the function raises an exception.
        ShapeError: if `positions` is not a list.
        EquivarianceError: if outputs do not have the shapes of the signature.

    Cost: eight calls; if rounding does not explain the error, some more for the modules.

    Example:
        >>> import equikit as ek, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(8, 5, 3, 1))
        >>> spread = lambda x: x - x.mean(1, keepdims=True)
        >>> translation_error(spread, "p x -> p x", data=x, along="x", p=ek.S, x=ek.O).passed
        True
    """
    along = _checks.text("along", along)
    moves = _checks.flag("moves", moves)
    if positions is not None:
        _checks.shaped("positions", positions, ("channels",), step="list the channels that are positions")
        _checks.some("positions", [*positions], got="no channels", step="leave the positions out for all channels")
    call = _keywords.call_of(translation_error)
    options: Any = {"channels": channels, "key": key, "groups": groups, "bindings": bindings, "call": call}
    asked = asked_about(function, signature, outputs, data, **options)
    kind = asked.evaluation.signature
    if not any(term.labels.count(along) == 1 for term in kind.inputs):
        raise OptionError(
            f"no input has the label {along!r} once",
            got=f"along={along!r}, inputs {' + '.join(map(str, kind.inputs))}",
            expected="the label of the coordinates of positions",
            step="name the label of the coordinates in along=",
        )
    scale = max(float(np.std(array)) for array in asked.arrays.values()) or 1.0
    shifts = [scale * asked.seeds.normal(size=asked.evaluation.sizes[along]) for _ in range(SHIFTS)]

    def translated(arrays: Mapping[str, np.ndarray], terms: Sequence[Term], shift: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        for term in terms:
            array = wide(arrays[term.name]).copy()
            if term.labels.count(along) == 1:
                place = array.ndim - 1 - len(term.labels) + term.labels.index(along)
                last = array.shape[-1] - 1
                some = [_checks.count("each entry of positions=", a, most=last, example=0) for a in positions or ()]
                array[..., slice(None) if positions is None else some] += shift.reshape(
                    [-1 if axis == place else 1 for axis in range(array.ndim)]
                )
            found[term.name] = array
        return found

    def make(run: Run, base: Recording, only: str | None) -> dict[str, Changed]:
        recordings = tuple(run(translated(asked.arrays, kind.inputs, shift)) for shift in shifts)
        first = outputs_of(base, asked.evaluation)
        wanted = tuple(translated(first, kind.outputs, shift) if moves else first for shift in shifts)
        return {NAME: Changed(Shifted(NAME), recordings, wanted)}

    return estimated(asked, make, NAME)
