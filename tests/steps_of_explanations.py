"""Next steps of `ek.auditing.explanations` that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import numpy as np

import equikit as ek

X = np.ones((2, 3, 1), np.float32)


def explained(target: Any = -1) -> Any:
    return ek.auditing.explanations.gradient(lambda x: x.sum(0), target)(X)


def compared(**options: Any) -> Any:
    return ek.auditing.explanations.equivariance(lambda x: 1e-9 * x, X, "p -> p", p=ek.S(3), **options)


CALL = {
    "a-negative-class": (explained, "target=0", None),
    "explanations-below-the-offset": (compared, "offset=0", None),
}
