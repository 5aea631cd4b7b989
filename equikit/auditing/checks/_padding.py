"""Whether masked entries that are appended to an axis change the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from equikit import _checks, _keywords
from equikit._errors import OptionError
from equikit.auditing._reading import MOST_ENTRIES, Question
from equikit.auditing.checks._asked import asked_about, estimated
from equikit.auditing.checks._estimate import Estimate
from equikit.auditing.modules._experiment import Changed
from equikit.auditing.modules._infer import Padded
from equikit.auditing.modules._locate import Run, outputs_of
from equikit.auditing.modules._match import rms
from equikit.auditing.modules.recording._calls import Recording
from equikit.nn import Features

NAME = "padding"


def padding_error(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    data: Any,
    along: str,
    channels: bool = True,
    more: int = 3,
    as_dict: bool = False,
    key: jax.Array | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Estimate:
    """Measure how a function changes when masked entries are appended to an axis.

    Args:
        function: as for `audit`; it also takes `mask=`, a Boolean array `[*batch, n]` that is true for present entries.
        signature, outputs: as for `audit`.
        data: an array, or a dictionary with an array for each input; all its entries are present.
        along: the label of the padded axis, such as `"p"` in `"p x"`.
        channels: whether arrays have an axis of channels, the last one; otherwise they are `[*batch, *axes]`.
        more: the number of entries that are appended. They have random values of the size of the data.
        as_dict: whether the mask is a dictionary from the label to the array, as layers with several masked labels
            take it.
        key: a JAX random key; by default always the same.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Returns:
        The mean normalized error of the present entries, the part that rounding explains, and the first module whose
        output changes at present entries although its inputs do not.

    Raises:
        OptionError: if no input has the label, all data are zero, or the function raises an exception, for example
            because it takes no mask.
        TooLargeError: if the padded inputs have more than 2^27 entries.
        EquivarianceError: if outputs do not have the shapes of the signature.

    Cost: seven calls; if rounding does not explain the error, some more for the modules.

    Example:
        >>> import equikit as ek, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(8, 5, 1))
        >>> leaking = lambda x, mask: (x * mask[..., None]).mean(1)
        >>> closed = lambda x, mask: (x * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        >>> [padding_error(f, "p -> ()", data=x, along="p", p=ek.S).passed for f in (leaking, closed)]
        [False, True]
    """
    along = _checks.text("along", along, example="p")
    more = _checks.count("more", more, least=1, example=3)
    as_dict = _checks.flag("as_dict", as_dict)
    call = _keywords.call_of(padding_error)

    def masked(batch: tuple[int, ...], present: int, absent: int) -> Any:
        mask = np.broadcast_to(np.arange(present + absent) < present, (*batch, present + absent))
        return {along: mask} if as_dict else mask

    def mask_of(question: Question) -> Any:
        if not any(along in term.labels for term in question.signature.inputs):
            raise OptionError(
                f"no input has the label {along!r}",
                got=f"along={along!r}, inputs {' + '.join(map(str, question.signature.inputs))}",
                expected="the label of an axis of the inputs",
                step="name the label of the padded axis in along=",
            )
        return masked(question.batch, question.sizes[along], 0)

    asked = asked_about(
        function,
        signature,
        outputs,
        data,
        channels=channels,
        key=key,
        groups=groups,
        bindings=bindings,
        call=call,
        mask_of=mask_of,
    )
    n = asked.evaluation.sizes[along]
    asked = replace(asked, keywords={"mask": masked(asked.batch, n, 0)})
    if not any(map(np.any, asked.arrays.values())):
        raise OptionError(
            "all data are zero, where most functions do not show what padding does",
            got="data without a number that is not zero",
            expected="data as the function has them in use",
            step="give other data, such as Gaussian ones",
        )
    shapes = {}
    for term in asked.evaluation.signature.inputs:
        array = asked.arrays[term.name]
        places = [array.ndim - 1 - len(term.labels) + i for i, label in enumerate(term.labels) if label == along]
        shapes[term.name] = [size + more * (axis in places) for axis, size in enumerate(array.shape)]
    size, own = sum(map(math.prod, shapes.values())), sum(array.size for array in asked.arrays.values())
    step = "append fewer entries" if 2 * own <= MOST_ENTRIES and n > 1 else "give fewer samples"
    _checks.refuse_if_more("the padded inputs are too large", size, MOST_ENTRIES, "entries", step)
    longer = {}
    for name, array in asked.arrays.items():
        longer[name] = (rms(array) or 1.0) * asked.seeds.normal(size=shapes[name])
        longer[name][tuple(map(slice, array.shape))] = array

    def make(run: Run, base: Recording, only: str | None) -> dict[str, Changed]:
        recording = run(longer, {"mask": masked(asked.batch, n, more)})
        return {NAME: Changed(Padded(NAME, n, more), (recording,), (outputs_of(base, asked.evaluation),))}

    return estimated(asked, make, NAME)
