"""Evaluate a function on arrays of NumPy, and check that its outputs fit the signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit._errors import EquivarianceError
from equikit.auditing._callables import Adapted
from equikit.auditing._reading import refuse_empty
from equikit.signatures import Signature


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A function whose outputs are checked against its signature at every call.

    Attributes:
        function: the function, called with arrays of NumPy.
        signature: its signature.
        batch: the batch axes of all inputs and outputs.
        sizes: the size of each label.
    """

    function: Adapted
    signature: Signature
    batch: tuple[int, ...]
    sizes: Mapping[str, int]

    def __call__(self, arrays: Mapping[str, np.ndarray], **keywords: Any) -> dict[str, np.ndarray]:
        """Return the output of each term, `[*batch, *axes, channels]`, in its own dtype.

        Raises:
            EquivarianceError: if an output is missing or has another shape than its term.
            OptionError: if all outputs are empty.
        """
        y, outputs = self.function(arrays, **keywords), self.signature.outputs
        result = dict(y) if isinstance(y, Mapping) else {outputs[0].name: y}
        for term in outputs:
            wanted = (*self.batch, *(self.sizes[label] for label in term.labels))
            found = {name: getattr(array, "shape", None) for name, array in result.items()}
            shape = found.get(term.name)
            if found.keys() != {t.name for t in outputs} or not shape or shape[:-1] != wanted:
                raise EquivarianceError(
                    "the function does not have the outputs of its signature",
                    got={name: type(result[name]) if s is None else list(s) for name, s in found.items()},
                    expected=f"{term.name!r} with shape {[*wanted, 'channels']}",
                    step="add an axis of channels to the output, the last one"
                    if shape == wanted
                    else "check the signature, or the function",
                )
        refuse_empty("output", {name: array.shape for name, array in result.items()})
        return {term.name: result[term.name] for term in outputs}
