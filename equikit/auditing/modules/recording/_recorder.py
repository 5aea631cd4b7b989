"""Record a function of any framework with arrays of NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equikit._errors import EquikitError
from equikit.auditing._action import wide
from equikit.auditing._callables import Adapted, host, raised
from equikit.auditing.modules.recording._calls import OUTPUT, Call, Recording, arrays_in
from equikit.auditing.modules.recording._jax import JaxRecorder, Key, Pullback
from equikit.auditing.modules.recording._torch import TorchRecorder


class NumpyRecorder:
    """Records a function of NumPy, which has no modules: its output only."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def record(self, given: Any, keywords: Mapping[str, Any], equations: bool = False) -> Recording:
        """Evaluate the function and return its call."""
        output = self.function(given, **keywords)
        return Recording((Call(OUTPUT, "function", tuple(arrays_in(given)), tuple(arrays_in(output))),))


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records an adapted function.

    Attributes:
        function: the function.
        inner: the recorder of its framework.
    """

    function: Adapted
    inner: JaxRecorder | TorchRecorder | NumpyRecorder

    def __call__(
        self, arrays: Mapping[str, np.ndarray], keywords: Mapping[str, Any] | None = None, *, equations: bool = False
    ) -> Recording:
        """Evaluate the function with an array for each input, rounded to its dtype, and return its calls.

        Raises:
            OptionError: if the function raises an exception.
        """
        given, more = self.function.arguments(arrays, keywords or {})
        try:
            found = self.inner.record(given, more, equations)
        except EquikitError:
            raise
        except Exception as error:  # whatever the function raises
            raise raised(error, self.function.channels) from error
        last, added = found.calls[-1], self.function.with_channels
        last = replace(last, inputs=tuple(map(added, last.inputs)), outputs=tuple(map(added, last.outputs)))
        return replace(found, calls=(*found.calls[:-1], last))

    def pullback(self, arrays: Mapping[str, np.ndarray], *, equations: bool = False) -> Pullback | None:
        """Return the derivative of every recorded array, as a function to a dictionary of NumPy arrays.

        `None` if the function is one of NumPy, or if JAX cannot trace it.
        """
        given, more = self.function.arguments(arrays, {})
        pull = None if isinstance(self.inner, NumpyRecorder) else self.inner.pullback(given, more, equations)
        if pull is None:
            return None

        def on_host(key: Key, cotangent: np.ndarray) -> Any:
            found = pull(key, cotangent)
            named = found if found is None or self.function.as_dict else {next(iter(arrays)): found}
            added = self.function.with_channels
            return None if named is None else {name: added(wide(host(array))) for name, array in named.items()}

        return on_host


def recorder(function: Adapted, *, rules: bool = False) -> Recorder:
    """Return the recorder of a function; `rules` as for `JaxRecorder`."""
    if function.framework == "jax":
        return Recorder(function, JaxRecorder(function.function, rules=rules))
    kinds: dict[str, Any] = {"torch": TorchRecorder, "numpy": NumpyRecorder}
    return Recorder(function, kinds[function.framework](function.function))
