"""Shared checks of arguments; each returns the normalized value or raises an error.

Subject-specific error texts are in the modules of their subjects. Symbolic packages use this module too, so only checks
of arrays and keys import JAX.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from equikit._errors import DTypeError, EquikitError, MissingPackageError, OptionError, ShapeError, TooLargeError

Value = TypeVar("Value")

LARGEST_COUNT = 10**100
"""The upper bound on counts: products of larger counts would have too many digits to print."""

FLOATS = "float32, bfloat16, float16, float64 or complex"


def shown(value: object, most: int = 80) -> str:
    """Return the `repr` of a value for an error text, truncated if it is long."""
    try:
        text = repr(value).replace("\n", " ")
    except ValueError:  # Python prints integers of at most 4,300 digits
        text = count_text(value) if isinstance(value, int) else f"{type(value).__name__} with too many digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _listed(words: Sequence[object]) -> str:
    *rest, last = [f'"{word}"' if isinstance(word, str) else repr(word) for word in words] or ["nothing"]
    return f"{', '.join(rest)} or {last}" if rest else last


def nearest(word: object, known: Collection[str]) -> str | None:
    """Return the known word that a word abbreviates or misspells, or `None` if none is close."""
    if not isinstance(word, str):
        return None
    longer = [one for one in known if len(word) > 2 and any(part.startswith(word) for part in one.split("_"))]
    found = longer if len(longer) == 1 else difflib.get_close_matches(word, known, n=1, cutoff=0.65)
    return found[0] if found else None


def choice(name: str, value: Any, allowed: Sequence[Value], *, step: str | None = None, code: str = '{}="{}"') -> Value:
    """Return the value if it is allowed, or raise `OptionError`, which suggests the closest spelling.

    Args:
        name: the argument.
        value: its value.
        allowed: texts, or `None`.
        step: the next step if no allowed text is similar; by default it suggests the first allowed value.
        code: a format string for the argument, with fields for its name and value.
    """
    # `in` compares arrays entry by entry, so check the type first.
    if (value is None or isinstance(value, str)) and value in allowed:
        return value  # type: ignore[return-value]  # it is one of them
    near = nearest(value, [word for word in allowed if isinstance(word, str)])
    usual = step or f"write {name}={_listed(allowed[:1])}"
    raise OptionError(
        f"unknown value for {name}=",
        got=shown(value),
        expected=_listed(allowed),
        step=usual if near is None else f"write {code.format(name, near)}",
    )


def flag(name: str, value: object, *, error: type[EquikitError] = OptionError) -> bool:
    """Return a boolean as a Python `bool`, or raise `OptionError`."""
    if not isinstance(value, bool | np.bool_):
        raise error(f"{name}= must be True or False", got=shown(value), expected="a bool", step=f"write {name}=True")
    return bool(value)


def integer(value: object) -> int | None:
    """Return an integer as a Python integer, or `None` for any other value, including booleans."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # anything with __index__ is an integer
    except TypeError:
        return None


def count(
    name: str,
    value: object,
    *,
    least: int = 0,
    most: int | None = None,
    example: int | None = None,
    step: str | None = None,
    error: type[EquikitError] = OptionError,
) -> int:
    """Return an integer in a range as a Python integer, or raise `OptionError`.

    Args:
        name: the argument, or a description such as `"the number of products"`.
        value: its value.
        least, most: the range, both ends included.
        example: the number in the next step, by default the larger of `least` and 1; a float that equals a larger
            integer in the range is suggested as this integer.
        step: the next step, in place of an example.
        error: the class of the error.
    """
    number = integer(value)
    if number is not None and least <= number < LARGEST_COUNT and (most is None or number <= most):
        return number
    exact = str(least) if least == most else None
    unit = f"an integer ≥ {least}" if most is None else exact or f"an integer from {least} to {most:,}"
    if number is not None and number >= LARGEST_COUNT and most is None:
        unit += f", below {count_text(LARGEST_COUNT)}"
    example = max(least, 1) if example is None else example
    if (
        isinstance(value, float | np.floating)
        and value.is_integer()
        and value <= (LARGEST_COUNT if most is None else most)
    ):
        example = max(example, int(value))
    argument = name.isidentifier()
    too_large = most is not None and number is not None and number > most
    bound = f" ≤ {most:,}" if too_large else f" ≥ {least}" if least else ""
    raise error(
        f"{name}{'=' if argument else ''} must be {exact or f'a whole number{bound}'}",
        got=shown(value),
        expected=unit,
        step=step or (f"write {name}={example}" if argument else f"give for example {example}"),
    )


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    example: float = 1.0,
    optional: bool = False,
    traced: bool = True,
    error: type[EquikitError] = OptionError,
) -> Any:
    """Return a finite real number, or raise `OptionError`; traced numbers are not checked.

    Python integers become floats, because JAX rejects integers of more than 64 bits; arrays are unchanged.

    Args:
        name: the argument.
        value: a number of Python, NumPy or JAX; under `jit` it may be traced.
        least, above, most, below: the range, ends included for `least` and `most`.
        example: the number of the next step.
        optional: whether `None` is allowed.
        traced: whether a traced number is allowed; if not, the number is returned as a Python `float`.
        error: the class of the error.
    """
    if value is None and optional:
        return value
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not plain and hasattr(value, "dtype"):
        import jax

        if traced and isinstance(value, jax.core.Tracer):
            return value
        is_array = isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, jax.core.Tracer)
        kinds = jax.numpy.integer, jax.numpy.floating
        plain = is_array and value.shape == () and any(jax.numpy.issubdtype(value.dtype, kind) for kind in kinds)
    bounds = {"≥": (operator.ge, least), ">": (operator.gt, above), "≤": (operator.le, most), "<": (operator.lt, below)}
    given = {sign: (holds, bound) for sign, (holds, bound) in bounds.items() if bound is not None}
    real = _real(value) if plain else math.nan
    if math.isfinite(real) and all(holds(real, bound) for holds, bound in given.values()):
        return value if traced and not isinstance(value, int) else real
    ranges = " and ".join(f"{sign} {bound:g}" for sign, (_, bound) in given.items())
    unit = f"a number {ranges}" if given else "a finite number"
    argument = name.isidentifier()
    raise error(
        f"{name}{'=' if argument else ''} must be {unit}",
        got=shown(value),
        expected=unit + (", or None" if optional else ""),
        step=f"write {name}={example:g}" if argument else f"give for example {example:g}",
    )


def _real(value: Any) -> float:
    """Return a number as a float, or infinity if an integer is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def text(name: str, value: object, *, optional: bool = False, example: str = "x") -> Any:
    """Return text, or raise `OptionError`."""
    if isinstance(value, str) or (value is None and optional):
        return value
    raise OptionError(
        f"{name}= must be a text",
        got=shown(value),
        expected="a text, or None" if optional else "a text",
        step=f'write {name}="{example}"',
    )


def names(name: str, value: object, *, fewest: int = 0, optional: bool = False, example: str = "x") -> Any:
    """Return texts as a tuple, or raise `OptionError`; a single text is a tuple of one."""
    if value is None and optional:
        return None
    entries = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else (None,)
    if len(entries) >= fewest and all(isinstance(entry, str) for entry in entries):
        return entries
    raise OptionError(
        f"{name}= must be a list of names",
        got=shown(value),
        expected="texts" + (", or None" if optional else ""),
        step=f'write {name}=("{example}",)',
    )


def sequence(value: object) -> tuple[object, ...] | None:
    """Return the entries of a sequence that is not text, or `None` for any other value."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0:
        return None
    return tuple(value)


def widths(
    name: str, value: object, *, least: int = 1, fewest: int = 0, example: str = "(32, 32)", what: str = "widths"
) -> tuple[int, ...]:
    """Return a sequence of `fewest` or more integers as a tuple, or raise `OptionError`; `what` is a plural noun."""
    entries = sequence(value)
    if entries is None or len(entries) < fewest:
        raise OptionError(
            f"{name}= must be a list of {what}",
            got=shown(value),
            expected=f"{fewest} {what} or more" if fewest > 1 else "one width a layer" if what == "widths" else what,
            step=f"write {name}={example}",
        )
    return tuple(count(f"each entry of {name}=", width, least=least, example=max(least, 8)) for width in entries)


def numbers(name: str, value: object, *, example: tuple[float, ...] = (0.5,), **bounds: float) -> tuple[float, ...]:
    """Return one or more numbers as a tuple, or raise `OptionError`; `number` describes the bounds."""
    entries = sequence(value)
    if not entries:
        raise OptionError(
            f"{name}= must be a list of numbers",
            got=shown(value),
            expected="one number or more",
            step=f"write {name}={example}",
        )
    each: Any = {"example": example[0], "traced": False, **bounds}
    return tuple(number(f"each entry of {name}=", entry, **each) for entry in entries)


def count_text(count: int) -> str:
    """Return a count with commas, or its order of magnitude if it has more than 100 digits.

    Example:
        >>> count_text(4213597), count_text(10**5000)
        ('4,213,597', 'about 10^5000')
    """
    sign = "-" if count < 0 else ""
    return f"{count:,}" if abs(count) < 10**100 else f"about {sign}10^{round(math.log10(abs(count)))}"


def axis_text(size: int) -> str:
    """Return the size of an axis without commas, or its order of magnitude if it has more than 100 digits."""
    return str(size) if size < LARGEST_COUNT else count_text(size)


def refuse_if_more(problem: str, count: int, most: int, unit: str, step: str) -> None:
    """Raise `TooLargeError` if a count exceeds a limit."""
    if count > most:
        raise TooLargeError(
            problem, got=f"{count_text(count)} {unit}", expected=f"at most {count_text(most)}", step=step
        )


def instance(name: str, value: Any, kind: type[Value], make: str, *, error: type[EquikitError] = OptionError) -> Value:
    """Return an object of a class, or raise `OptionError`; `make` is code that constructs such an object."""
    if isinstance(value, kind):
        return value
    wanted = f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
    raise error(f"{name}= must be {wanted}", got=shown(value, 60), expected=wanted, step=f"write {name}={make}")


def some(what: str, found: Collection[Any] | Mapping[Any, Any], *, got: object, step: str) -> None:
    """Raise `OptionError` if a collection is empty; `what` is a plural noun."""
    if not found:
        raise OptionError(f"there are no {what}", got=got, expected=f"one or more {what}", step=step)


def at_most_one(**given: object) -> None:
    """Raise `OptionError` if more than one of several arguments is given."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise OptionError(
            f"{'= and '.join(named)}= cannot be given together",
            got=", ".join(f"{name}={shown(given[name])}" for name in named),
            expected=f"at most one of {'=, '.join(given)}=",
            step=f"leave {named[-1]} out",
        )


def together(**given: object) -> None:
    """Raise `OptionError` if only some of several arguments are given."""
    named = [name for name, value in given.items() if value is not None]
    if named and len(named) < len(given):
        raise OptionError(
            f"{'= and '.join(given)}= must be given together",
            got=", ".join(f"{name}={shown(value)}" for name, value in given.items()),
            expected="all of them, or none",
            step=f"leave {named[0]} out",
        )


def same_names(
    what: str, given: object, wanted: Collection[Any], *, step: str, error: type[EquikitError] = ShapeError
) -> Mapping[Any, Any]:
    """Return a dictionary that has exactly these keys, or raise `ShapeError`; `what` is a plural noun."""
    if isinstance(given, Mapping) and given.keys() == {*wanted}:
        return given
    if isinstance(given, Mapping):
        got = ", ".join(map(repr, given)) or "no names"
    else:
        got = "one array" if hasattr(given, "shape") else type(given).__name__
    raise error(
        f"{what} do not have the expected names",
        got=got,
        expected=f"a dictionary with the names {', '.join(map(repr, wanted))}",
        step=step,
    )


def same(what: str, given: object, wanted: object, *, step: str, error: type[EquikitError] = OptionError) -> None:
    """Raise `OptionError` if two objects that belong together differ."""
    if given != wanted:
        raise error(f"{what} is a different one", got=shown(given), expected=shown(wanted), step=step)


def given(owner: str, step: str, **arguments: object) -> None:
    """Raise `OptionError` if an argument is missing."""
    for name, value in arguments.items():
        if value is None:
            raise OptionError(f"{owner} needs {name}=", got=f"{name}=None", expected=f"{name}=", step=step)


def untraced(what: str, value: object, *, step: str) -> None:
    """Raise `OptionError` for a tracer; without JAX there are none."""
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, jax.core.Tracer):
        got, expected = "a tracer of jit, grad or vmap", "an array with values"
        raise OptionError(f"{what} must not be traced", got=got, expected=expected, step=step)


Axes = Sequence[int | str]

KINDS = {
    "real": ("floating", "float32, bfloat16, float16 or float64"),
    "complex": ("complexfloating", "complex64 or complex128"),
    "real or complex": ("inexact", FLOATS),
}
"""For each kind of array, the class of its dtypes in JAX, and the names of these dtypes."""


def array(what: str, value: Any, axes: Axes | None = None, *, kind: str = "real", step: str | None = None) -> Any:
    """Return an array of floating-point numbers with these axes, or raise `DTypeError` or `ShapeError`.

    Args:
        what: the array in error messages: the name of an argument, or a description.
        value: an array of JAX or NumPy.
        axes: as for `shaped`; by default the shape is not checked.
        kind: one of `KINDS`.
        step: the next step for a wrong shape; also for a wrong dtype, unless `what` is an argument.
    """
    import jax

    unmasked(what, value)
    numbers, dtypes = KINDS[kind]
    cast = f"pass jnp.asarray({what}, {'complex' if kind == 'complex' else 'float'})"
    if not isinstance(value, jax.Array | np.ndarray) or not jax.numpy.issubdtype(
        value.dtype, getattr(jax.numpy, numbers)
    ):
        raise DTypeError(
            f"{what} must be an array of {kind} floating-point numbers",
            got=f"dtype {value.dtype}" if hasattr(value, "dtype") else type(value).__name__,
            expected=dtypes,
            step=cast if what.isidentifier() else step,
        )
    return value if axes is None else shaped(what, value, axes, step=step)


def unmasked(what: str, value: object, *, step: str | None = None) -> None:
    """Raise `DTypeError` for a masked array of NumPy, whose mask a conversion would drop silently."""
    if isinstance(value, np.ma.MaskedArray):
        raise DTypeError(
            f"{what} must not be a masked array",
            got=f"MaskedArray of dtype {value.dtype}",
            expected="an array without a mask",
            step=step or "pass x.filled(0), or leave out what is masked",
        )


def numpy_array(what: str, value: Any, *, step: str) -> np.ndarray[Any, Any]:
    """Return an array of NumPy, or raise `ShapeError` for lists of different lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(
            f"{what} has lists of different lengths", got=shown(value), expected="an array", step=step
        ) from None


def shaped(what: str, value: Any, axes: Axes, *, step: str | None = None) -> Any:
    """Return a value whose shape has these axes, or raise `ShapeError`.

    Axes are sizes or names. Equal names denote equal sizes, and one name with a star, such as `"*batch"`, denotes any
    number of axes.
    """
    if np.shape(value) != axes and not _has_axes(np.shape(value), [*axes]):
        text = f"[{', '.join(map(str, axes))}]"
        raise ShapeError(
            f"{what} must have shape {text}",
            got=f"shape {[*np.shape(value)]}",
            expected=text,
            step=step or f"pass an array of shape {text}",
        )
    return value


def _has_axes(shape: Sequence[Any], axes: Sequence[int | str]) -> bool:
    starred = [str(axis).startswith("*") for axis in axes]
    if any(starred) and len(shape) >= len(axes) - 1:
        place, more = starred.index(True), len(shape) - len(axes) + 1
        axes, shape = [*axes[:place], *axes[place + 1 :]], [*shape[:place], *shape[place + more :]]
    known: dict[str, Any] = {}
    pairs = zip(axes, shape, strict=False)
    wanted = [known.setdefault(axis, size) if isinstance(axis, str) else axis for axis, size in pairs]
    return len(shape) == len(axes) and all(size == axis for size, axis in zip(shape, wanted, strict=True))


def finite(what: str, *arrays: Any, step: str) -> None:
    """Raise `OptionError` if arrays have infinite or NaN entries; `what` is a plural noun. Tracers are not checked."""
    import jax

    known = [np.asarray(array) for array in arrays if not isinstance(array, jax.core.Tracer)]
    wrong = sum(int(np.sum(~np.isfinite(array))) for array in known)
    if wrong:
        raise OptionError(
            f"{what} are not finite",
            got=f"{wrong} of {sum(array.size for array in known)} entries infinite or NaN",
            expected="finite numbers",
            step=step,
        )


def package(module: str, distribution: str) -> Any:
    """Import an optional package, or raise `MissingPackageError` with the command that installs it.

    The command names the distribution and not an extra of equikit, so that it is right for an installation from a
    checkout and for one from an index.
    """
    top = module.partition(".")[0]
    try:
        importlib.import_module(top)
        return importlib.import_module(module)
    except ImportError as error:
        if error.name != top:
            raise
        raise MissingPackageError(
            f"{error.name} is not installed",
            got=f"no module {error.name}",
            expected=f"the package {error.name}, which only this function needs",
            step=f"pip install {distribution}",
        ) from None


def function(
    name: str, value: Any, *, example: str, arguments: int = 1, keywords: Sequence[str] = ()
) -> Callable[..., Any]:
    """Return a callable that takes a number of positional arguments and some keywords, or raise `OptionError`."""
    if not callable(value) or not takes(value, arguments, *keywords):
        more = "".join(f" and {word}=" for word in keywords)
        raise OptionError(
            f"{name}= must be callable"
            + (f" with {arguments} argument{'s' * (arguments > 1)}{more}" if callable(value) else ""),
            got=shown(value),
            expected="a function",
            step=f"write {name}={example}",
        )
    found: Callable[..., Any] = value
    return found


def takes(function: Callable[..., Any], arguments: int, *keywords: str) -> bool:
    """Whether a function accepts a number of positional arguments and keywords, if its signature is known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(arguments), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def is_key(array: Any) -> bool:
    """Whether an array contains typed JAX keys."""
    import jax

    return bool(jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key))


def key(value: Any, *, expected: str = "a JAX key", step: str = "write key=jax.random.key(0)") -> Any:
    """Return a single JAX random key, typed or raw, or raise `OptionError`."""
    import jax

    is_array = isinstance(value, jax.Array | np.ndarray)
    if is_array:
        typed = is_key(value)
        if value.ndim == 0 if typed else (value.ndim == 1 and value.dtype == np.uint32):
            return value
    raise OptionError(
        "key= must be one JAX key",
        got=f"{value.dtype} of shape {list(value.shape)}" if is_array else shown(value, 60),
        expected=expected,
        step=step,
    )


def rngs(value: Any, stream: str = "params") -> Any:
    """Return the random keys of a Flax module, or raise `OptionError` if they are not, or lack the stream."""
    is_class = isinstance(value, type)
    if is_class or not callable(getattr(value, stream, None)):
        streams = [*value] if hasattr(value, "fork") and not is_class else None
        raise OptionError(
            "rngs= must be nnx.Rngs" if streams is None else f"rngs= has no keys for {stream!r}",
            got=shown(value) if streams is None else f"nnx.Rngs with {', '.join(map(repr, streams)) or 'no keys'}",
            expected="nnx.Rngs" if streams is None else f"nnx.Rngs with {stream!r} or 'default'",
            step="write rngs=nnx.Rngs(0)",
        )
    return value


def is_float(dtype: Any) -> bool:
    """Whether layers support a dtype: real or complex floating point with at least 16 bits."""
    from jax import numpy as jnp

    return bool(jnp.issubdtype(dtype, jnp.inexact)) and np.dtype(dtype).itemsize > 1


def dtype(name: str, value: Any) -> Any:
    """Return a floating-point dtype that JAX does not change, or `None` for `None`; otherwise raise `DTypeError`."""
    import jax

    if value is None:
        return None
    try:
        wanted = jax.numpy.dtype(value) if isinstance(value, str | type | np.dtype) else None
    except TypeError:
        wanted = None
    if wanted is None or not is_float(wanted):
        bits = " of 16 bits or more" if wanted is not None and jax.numpy.issubdtype(wanted, jax.numpy.inexact) else ""
        raise DTypeError(
            f"{name}= must be a floating-point dtype{bits}",
            got=shown(value) if wanted is None else wanted,
            expected=FLOATS,
            step=f"write {name}=jnp.float32",
        )
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise DTypeError(
            f"{name}= cannot be {wanted} while jax_enable_x64 is off",
            got=wanted,
            expected=f"{jax.dtypes.canonicalize_dtype(wanted)}, or x64 switched on",
            step='call jax.config.update("jax_enable_x64", True) first',
        )
    return wanted


def cast(values: np.ndarray, dtype: Any) -> np.ndarray | None:
    """Return an array in another dtype, or `None` if an integer would change or a number would become infinite."""
    from jax import numpy as jnp

    with np.errstate(all="ignore"):
        found = values.astype(dtype)
        rounded = jnp.issubdtype(dtype, jnp.inexact)
        wrong = np.isfinite(values) & ~np.isfinite(found) if rounded else found != values
        if rounded and values.dtype.kind in "iu":  # NumPy compares numbers in floating point, Python exactly
            wide = found.astype(np.result_type(found.dtype, np.float64))
            wrong = wide.astype(object) != values.astype(object)
    return None if np.any(wrong) else found
