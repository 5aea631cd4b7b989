"""The errors and the warning of equikit.

Each error has fields for the problem, the given value, the accepted values, and one next step. All are subclasses of
`EquikitError` and of the usual built-in exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A position in text that cannot be read; carets underline `length` characters."""

    text: str
    start: int
    length: int = 1


def _text(value: object) -> str:
    """Return the text of a value, or only its type for integers with more digits than Python prints."""
    try:
        return str(value)
    except ValueError:
        return f"{type(value).__name__} with too many digits"


class EquikitError(Exception):
    """Base class of all errors raised by equikit.

    Args:
        problem: the problem, in one line.
        got: the given value, stored as text, so that an error does not keep arrays or tracers alive.
        expected: the accepted values.
        step: one next step that works when it is typed.
        at: the position in text that cannot be read.

    Attributes:
        problem, got, expected, step: the arguments as texts, or `None`.
        at: the position, or `None`.

    Example:
        >>> error = ShapeError("x has 3 channels, not 4", got="shape [5, 3]", expected="[n, 4]", step="pad x")
        >>> error.expected
        '[n, 4]'
        >>> print(error)
        x has 3 channels, not 4
          got:       shape [5, 3]
          expected:  [n, 4]
          next step: pad x
    """

    def __init__(
        self,
        problem: str,
        *,
        got: object = None,
        expected: object = None,
        step: str | None = None,
        at: Place | None = None,
    ) -> None:
        self.problem = problem
        self.got, self.expected = (None if value is None else _text(value) for value in (got, expected))
        self.step = step
        self.at = at
        super().__init__(self.text())

    def text(self, step: str | None = None) -> str:
        """Return the message; `step` replaces the next step, as the command line does for its options."""
        lines = [self.problem]
        if self.at is not None:
            lines += [f"  {self.at.text}", f"  {' ' * self.at.start}{'^' * max(self.at.length, 1)}"]
        fields = {"got:": self.got, "expected:": self.expected, "next step:": self.step if step is None else step}
        return "\n".join([*lines, *(f"  {name:<10} {value}" for name, value in fields.items() if value is not None)])

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: value for name, value in vars(self).items() if not name.startswith("__")}
        return _restored, (type(self), fields), vars(self)


def _restored(kind: type[EquikitError], fields: dict[str, Any]) -> EquikitError:
    """Rebuild a pickled error, whose arguments are keywords."""
    return kind(**fields)


class SignatureError(EquikitError, ValueError):
    """A signature, or the groups bound to its labels, cannot be read."""


class UnboundLabelError(SignatureError):
    """A label of a signature has no group.

    Attributes:
        label: the label.
    """

    def __init__(self, problem: str, *, label: str, **fields: Any) -> None:
        self.label = label
        super().__init__(problem, **fields)


class GroupError(EquikitError, ValueError):
    """A group does not have a requested size or property."""


class GroupAttributeError(GroupError, AttributeError):
    """A group lacks or cannot store an attribute; `hasattr` and other tools rely on an `AttributeError`."""


class DiagramError(EquikitError, ValueError):
    """A diagram is malformed, or two diagrams cannot be combined."""


class ShapeError(EquikitError, ValueError):
    """An array has the wrong number of axes, or an axis of the wrong size."""


class DTypeError(EquikitError, TypeError):
    """An array has a dtype that the operation does not support or would cast silently."""


class OptionError(EquikitError, ValueError):
    """An argument has a value that is not allowed."""


class UnknownLabelError(OptionError, KeyError):
    """A dictionary has no such label; dictionaries raise a `KeyError`, which `in` and `get` rely on."""

    __str__ = Exception.__str__  # KeyError would write the text in quotes, on one line


class TooLargeError(EquikitError, ValueError):
    """The result would not fit in memory; raised before anything is allocated."""


class MissingPackageError(EquikitError, ImportError):
    """An optional package is not installed."""


class FrameError(EquikitError, ValueError):
    """An input has no unique frame, because it is symmetric or not finite.

    Attributes:
        how: the method with all its options, as text.
        refused: the numbers of the inputs without a frame, counted over all batch axes; of parts in `piecewise`.
        values: the diagnostics of the first of them by name, such as its gap and its rank.
    """

    def __init__(
        self,
        problem: str,
        *,
        how: str = "",
        refused: Sequence[int] = (),
        values: Mapping[str, float] | None = None,
        **fields: Any,
    ) -> None:
        self.how, self.refused, self.values = how, tuple(refused), dict(values or {})
        super().__init__(problem, **fields)


class EquivarianceError(EquikitError, AssertionError):
    """A function that should be equivariant is not."""


class TraceWarning(EquikitError, UserWarning):
    """A program has operations without a tracing rule: its symmetry group may be larger than the traced group."""
