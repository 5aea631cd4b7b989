"""Every error that equikit raises on purpose.

Each message says what is wrong, what came, what was expected, and one next step. All are subclasses of
`EquikitError` and of the built-in class that a Python programmer would catch.
"""

from __future__ import annotations


class EquikitError(Exception):
    """Base class of all errors raised by equikit."""


class SignatureError(EquikitError, ValueError):
    """A signature, or the groups bound to its labels, cannot be read."""


class GroupError(EquikitError, ValueError):
    """A group is asked for with a size, or a property, that it does not have."""


class DiagramError(EquikitError, ValueError):
    """A diagram is malformed, or two diagrams do not fit together."""


class ShapeError(EquikitError, ValueError):
    """An array has the wrong number of axes, or an axis of the wrong size."""


class DTypeError(EquikitError, TypeError):
    """An array has a dtype on which the operation is not defined, or that would be cast silently."""


class OptionError(EquikitError, ValueError):
    """An argument has a value that is not one of those allowed."""


class TooLargeError(EquikitError, ValueError):
    """The result would not fit in memory; raised before anything is allocated."""


class MissingPackageError(EquikitError, ImportError):
    """A package is asked for that is not installed with equikit."""


class FrameError(EquikitError, ValueError):
    """An input has no frame: a symmetry of its own leaves open which group element moves it."""


class EquivarianceError(EquikitError, AssertionError):
    """A function that was claimed to be equivariant is not."""


def explain(problem: str, *, got: object, expected: object, step: str) -> str:
    """Lay out an error text: the problem, what came, what was expected, and one next step."""
    return f"{problem}\n  got:       {got}\n  expected:  {expected}\n  next step: {step}"


def point_at(problem: str, text: str, start: int, length: int = 1, *, expected: object, step: str) -> str:
    """Lay out an error about a place in a text, with carets under it."""
    carets = " " * start + "^" * max(length, 1)
    return f"{problem}\n  {text}\n  {carets}\n  expected:  {expected}\n  next step: {step}"
