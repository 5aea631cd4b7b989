"""Which programs NumPy computes while tests run: most run once or twice, and XLA takes longer to compile them.

Eager code compiles every operation for every shape, 30 ms of CPU each. Where XLA has no choice of rounding, NumPy has
the same bits, so that such programs are always computed here. All others are in tests that are not marked `compiled`.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from in_numpy import CALLS, Evaluator, LeftToJax, equations, equations_of
from jax.sharding import SingleDeviceSharding

MOVES = CALLS | {
    "broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "gather", "iota", "iota_2x32_shape", "pad", "reshape",
    "rev", "select_n", "slice", "split", "squeeze", "stack", "stop_gradient", "transpose", "unstack",
}  # fmt: skip
"""Operations that copy entries."""

CHOICES = {
    "abs", "and", "eq", "ge", "gt", "is_finite", "le", "lt", "max", "min", "ne", "neg", "not", "or", "reduce_and",
    "reduce_max", "reduce_min", "reduce_or", "shift_left", "shift_right_logical", "sign", "threefry2x32", "xor",
}  # fmt: skip
"""Operations that round nothing."""

ROUNDED = {"add", "div", "mul", "sqrt", "square", "sub"}
"""Operations that IEEE 754 rounds correctly. XLA may round two of them once, so that a program has one on floats."""

FLOATS = {np.dtype(name) for name in ("float32", "float64")}
SHARDINGS = ("in_shardings", "out_shardings")

RUNS, SHORT = 40, 5_000
"""A program of n operations is compiled once a test has run RUNS n + SHORT of them: XLA takes 1 ms for each operation
of a program, and NumPy 10 µs for each that is run, or more where arrays are large."""

OFTEN = 300
"""An exact program is compiled after this many runs, in whatever tests. Other programs are counted anew in each test;
otherwise, the tests before it would decide how its numbers are rounded."""

SHARED = {"_draw", "_threefry_seed"}
"""Programs that most tests call: the first draws initial values, the second makes a random key. XLA compiles them at
the first call. If NumPy evaluated the first call, each later call would take ten times longer, compiled or not."""


class Programs:
    """State of the test that is running."""

    installed = False
    everything = False
    operations: ClassVar[Counter[int]] = Counter()
    runs: ClassVar[MutableMapping[Any, int]] = weakref.WeakKeyDictionary()


def install() -> None:
    """Call `_outputs` before JAX compiles a program; a JAX without the replaced function compiles everything."""
    from jax._src import pjit

    compiled = getattr(pjit, "_pjit_call_impl_python", None)
    if compiled is None or Programs.installed:
        return

    @functools.wraps(compiled)
    def call(*arguments: Any, **options: Any) -> Any:
        outputs = _outputs(arguments, options)
        return compiled(*arguments, **options) if outputs is None else (outputs, None, None, [])

    pjit._pjit_call_impl_python, Programs.installed = call, True
    try:
        assert (jnp.arange(3) * 2.5 == np.array([0, 2.5, 5])).all()
    except (AttributeError, ImportError, KeyError, TypeError):
        pjit._pjit_call_impl_python, Programs.installed = compiled, False


@contextlib.contextmanager
def everything_in_numpy(chosen: bool = True) -> Iterator[None]:
    """Compute all programs in NumPy, even if NumPy and XLA round differently."""
    before, Programs.everything = Programs.everything, chosen
    try:
        yield
    finally:
        Programs.everything = before


def _outputs(arguments: tuple[Any, ...], options: dict[str, Any]) -> list[jax.Array] | None:
    """What the program gives, or nothing where XLA has to compute it."""
    program = getattr(options["jaxpr"], "jaxpr", options["jaxpr"])
    placed = any(type(each).__name__ != "UnspecifiedValue" for name in SHARDINGS for each in options[name])
    placed = placed or not options["ctx_mesh"].empty or any(getattr(each, "_committed", False) for each in arguments)
    exact = is_exact(program)
    placed = placed or jax.config.jax_default_device is not None or jax.config.jax_debug_nans
    placed = placed or any(options["donated_invars"]) or program.effects or _is_shared(options["name"], program)
    if placed or not (exact or Programs.everything):
        return None
    runs = Programs.runs[program] = Programs.runs.get(program, 0) + exact
    if runs > OFTEN:
        return None
    most = size_of(program) * RUNS + SHORT - Programs.operations[id(program)]
    alone = len(program.eqns) == 1 and program.eqns[0].primitive.name not in CALLS  # JAX would ask here again
    evaluator = Evaluator(most, strict=exact or alone)
    try:
        with everything_in_numpy(False), np.errstate(all="ignore"):
            values = evaluator(options["jaxpr"], arguments)
    except LeftToJax:
        return None
    if exact and _rounds(program) and _has_subnormal([*arguments, *values]):
        return None
    if not exact:
        Programs.operations[id(program)] += int(most - evaluator.left)
    return [_array(value, v.aval) for value, v in zip(values, program.outvars, strict=True)]


def _is_shared(name: str, program: Any) -> bool:
    """Whether most tests call the program: one in `SHARED`, or one that computes one or two unsigned integers.

    Random keys are pairs of such integers, and Flax counts with them how many keys it has made.
    """
    types = [v.aval for v in (*program.invars, *program.outvars)]
    return name in SHARED or bool(types and types[0].dtype == np.uint32 and all(t.size <= 2 for t in types))


def _array(value: Any, aval: Any) -> jax.Array:
    """An array on the only device; `jax.device_put` takes 16 times as long."""
    if isinstance(value, jax.Array):
        return value
    from jax._src.interpreters import pxla

    device = _device()
    return pxla.batched_device_put(aval, SingleDeviceSharding(device), [value], [device], committed=False)


@functools.cache
def _device() -> jax.Device:
    return jax.local_devices()[0]


@functools.lru_cache(2**14)
def size_of(jaxpr: Any) -> int:
    """Count the operations of a program, including bodies of loops and branches."""
    return sum(1 for _ in equations(jaxpr))


@functools.lru_cache(2**14)
def is_exact(jaxpr: Any) -> bool:
    """Whether NumPy has the bits of XLA."""
    equations = list(equations_of(jaxpr))
    rounded = [each for each in equations if each.primitive.name in ROUNDED and each.outvars[0].aval.dtype.kind == "f"]
    return all(map(_is_exact_alone, equations)) and len(rounded) < 2


def _is_exact_alone(equation: Any) -> bool:
    name, dtypes = equation.primitive.name, [v.aval.dtype for v in (*equation.invars, *equation.outvars)]
    if any(jax.dtypes.issubdtype(dtype, jax.dtypes.extended) for dtype in dtypes):
        return False
    if name in MOVES:
        return True
    if name == "convert_element_type":
        kinds = {dtype.kind for dtype in dtypes}
        return set(dtypes) <= FLOATS or kinds <= set("biu") or (dtypes[0].kind in "biu" and dtypes[-1] in FLOATS)
    return name in CHOICES | ROUNDED and all(dtype.kind in "biu" or dtype in FLOATS for dtype in dtypes)


def _rounds(jaxpr: Any) -> bool:
    return any(equation.primitive.name not in MOVES for equation in equations_of(jaxpr))


def _has_subnormal(values: Iterable[Any]) -> bool:
    """XLA makes subnormal numbers zero."""
    arrays = (np.asarray(value) for value in values)
    return any(((a != 0) & (abs(a) < np.finfo(a.dtype).tiny)).any() for a in arrays if a.dtype.kind == "f")
