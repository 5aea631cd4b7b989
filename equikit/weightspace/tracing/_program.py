"""Reading a program of JAX: the axes of every array in it, in its inner programs too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from equikit._errors import OptionError
from equikit.weightspace._terms import Product, Simple, Sum, Symbol
from equikit.weightspace.tracing._axes import Axis, direct_sum, make_rigid, product, unify
from equikit.weightspace.tracing._loops import looped
from equikit.weightspace.tracing._pattern import Pattern, symbols_of
from equikit.weightspace.tracing._places import (
    Columns,
    Entry,
    Lookup,
    Place,
    Tree,
    filled,
    fit,
    in_pattern,
    joined,
    result_places,
    shared,
    single,
    size_of,
)
from equikit.weightspace.tracing._primitives import REWRITTEN, TABLE, opaque, rewritten

_WITH_RULES = "checkpoint custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr custom_vmap_call remat remat2"
_PLAIN = "call closed_call composite core_call eval_jaxpr jit pjit xla_metadata_call"
CALLS = frozenset(f"{_WITH_RULES} {_PLAIN}".split())
"""Primitives that run a program with their operands."""
PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
"""The parameters that hold this program."""

CONTROL = ("scan", "while", "cond")
"""Primitives with programs of their own that are run more than once, or not at all."""

LARGEST = 128
"""The number of indices of an axis up to which other axes are read for each of them."""

Places = list[Place]
"""One for each axis of an array."""
Path = tuple[int | str, ...]
"""The numbers of equations that lead to an inner program, or to an equation."""
Watch = Callable[[Any], None]
"""Called with every equation when its results have got their axes."""


def rigid(size: int, reason: str) -> Place:
    """An axis that nothing permutes."""
    return Place(single(Axis(size, "rigid", reason=reason)))


def of_constant(value: Any) -> Places:
    """The axes of an array whose entries are known: those along which it is the same everywhere are free."""
    shape = np.shape(value)
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return [rigid(size, "a constant") for size in shape]
    array = np.asarray(value)

    def same(place: int) -> bool:
        first = np.take(array, [0], axis=place) if array.size else array
        # Zeros with two signs are equal, and no function need give one value for both.
        return bool(np.all(array == first)) and all(np.all(one == two) for one, two in _signs(array, first))

    return [
        Place(single(Axis(size)), same=True) if same(place) else rigid(size, "a constant")
        for place, size in enumerate(shape)
    ]


def _signs(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    if jnp.issubdtype(arrays[0].dtype, jnp.complexfloating):
        yield from _signs(*(array.real for array in arrays))
        yield from _signs(*(array.imag for array in arrays))
    elif jnp.issubdtype(arrays[0].dtype, jnp.floating):
        yield tuple(np.signbit(array.astype(np.float64)) for array in arrays)


STATE = ("TraceContextError", "ModifyScopeVariableError")
KEYS = ("InvalidRngError",)
"""What Flax raises where a model changes its state, and where it draws without a key."""


def program_of(apply: Callable[..., Any], params: Any, inputs: Sequence[Any]) -> Any:
    """The program of a model.

    Raises:
        OptionError: if JAX cannot trace it.
    """
    try:
        return jax.make_jaxpr(apply)(params, *inputs)
    except Exception as error:
        kind = type(error).__name__
        expected, step = "a pure function apply(params, x)", "call apply(params, x), and mend what that says"
        if kind in STATE:
            expected = "a model without state: running averages used, not changed"
            step = "put the model into evaluation mode: model.eval(), use_running_average=True"
        elif kind in KEYS:
            expected = "a model without randomness"
            step = "switch dropout off: model.eval(), deterministic=True"
        got = f"{kind}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise OptionError("the model cannot be traced", got=got[:300], expected=expected, step=step) from error


def opened(closed: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants, which it may be closed over or not."""
    return (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())


@dataclass(frozen=True)
class Related:
    """How the axes of an equation are related.

    Attributes:
        pattern: of its axes.
        columns: the axes of the labels of the pattern.
        lookups: labels of the first operand along which one index is taken.
    """

    pattern: Pattern
    columns: Columns
    lookups: dict[str, Lookup]


@dataclass
class Call:
    """A program as it was read with certain inputs.

    Attributes:
        jaxpr, constants: the program, and what it is closed over.
        places: the axes of its variables.
        related: the number of an equation to how its axes are related.
        inner: the number of an equation to the program that it calls with its operands.
        bodies: the number of a loop to its body, or to one for each step; of a condition to its branches.
    """

    jaxpr: Any
    constants: tuple[Any, ...]
    places: dict[Any, Places]
    related: dict[int, Related] = field(default_factory=dict)
    inner: dict[int, Call] = field(default_factory=dict)
    bodies: dict[int, list[Call]] = field(default_factory=dict)

    def of(self, variable: Any) -> Places:
        """The axes of a variable or literal."""
        return of_constant(np.asarray(variable.val)) if isinstance(variable, Literal) else self.places[variable]

    @property
    def results(self) -> list[Places]:
        """The axes of what it returns."""
        return [self.of(variable) for variable in self.jaxpr.outvars]

    def calls(self) -> Iterator[Call]:
        """This program and all inner ones."""
        yield self
        for inner in [*self.inner.values(), *itertools.chain(*self.bodies.values())]:
            yield from inner.calls()


@dataclass
class Reader:
    """Reads programs.

    Attributes:
        split: labels of patterns, by the path of their equation, whose indices are taken one by one: the axes after
            them in a product are read for each index.
        watch: see `Watch`.
        unread: names of primitives without a rule.
    """

    split: Mapping[Path, frozenset[str]] = field(default_factory=dict)
    watch: Watch = lambda equation: None
    unread: set[str] = field(default_factory=set)
    _numbers: dict[Any, int] = field(default_factory=dict)

    def read(self, closed: Any, operands: Sequence[Places], path: Path = (), numbers: Sequence[int] = ()) -> Call:
        """Read a program, closed over its constants or not, whose inputs have these axes."""
        jaxpr, constants = opened(closed)
        call = Call(jaxpr, tuple(constants), {})
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            call.places[variable] = of_constant(value)
        call.places.update(zip(jaxpr.invars, operands, strict=True))
        values = dict(zip(jaxpr.invars, numbers, strict=True)) if numbers else {}
        for number, equation in enumerate(jaxpr.eqns):
            given = [call.of(variable) for variable in equation.invars]
            of_values = [self._value(variable, values) for variable in equation.invars]
            found = self.equation(equation, given, (*path, number), of_values, call)
            for variable, places in zip(equation.outvars, found, strict=True):
                call.places[variable] = places
            self._number(equation, of_values, values)
            self.watch(equation)
        return call

    def _value(self, variable: Any, values: dict[Any, int]) -> int:
        """The number of a value; equal numbers are equal values."""
        if isinstance(variable, Literal):
            return self._numbers.setdefault(("literal", repr(variable.val)), len(self._numbers))
        return values.setdefault(variable, self._numbers.setdefault(object(), len(self._numbers)))

    def _number(self, equation: Any, operands: list[int], values: dict[Any, int]) -> None:
        """Number the results of an equation on integers: the same operation on the same values has one number."""
        whole = all(jnp.issubdtype(one.aval.dtype, jnp.integer) or one.aval.dtype == bool for one in equation.outvars)
        if not whole or equation.primitive.name not in TABLE:
            return
        key = equation.primitive.name, repr(sorted(equation.params.items())), tuple(operands)
        for which, variable in enumerate(equation.outvars):
            values[variable] = self._numbers.setdefault((*key, which), len(self._numbers))

    def equation(
        self, equation: Any, given: list[Places], path: Path, numbers: Sequence[int], call: Call
    ) -> list[Places]:
        """The axes of the results of an equation."""
        name, at = equation.primitive.name, path[-1]
        assert isinstance(at, int)
        program = next((equation.params[key] for key in PROGRAMS if key in equation.params), None)
        if name in CALLS and program is not None:
            call.inner[at] = self.read(program, given, path, numbers)
            return call.inner[at].results
        if name in REWRITTEN:
            call.inner[at] = self.read(rewritten(equation), given, path, numbers)
            return call.inner[at].results
        if name in CONTROL:
            return self._controlled(equation, given, path, call)
        pattern = TABLE[name].pattern(equation) if name in TABLE else None
        if pattern is None:
            self.unread.add(name)
            pattern = opaque(equation)
        split = self.split.get(path, frozenset())
        found, call.related[at] = related(pattern, given, numbers, split, f"{equation.primitive}")
        return found

    def _controlled(self, equation: Any, given: list[Places], path: Path, call: Call) -> list[Places]:
        """The axes of the results of a loop or a condition, whose programs are read."""
        bodies = call.bodies.setdefault(int(path[-1]), [])

        def body(which: str, operands: list[Places]) -> list[Places]:
            parameter = equation.params[which] if which != "branches" else equation.params[which][len(bodies)]
            bodies.append(self.read(parameter, operands, (*path, which)))
            return bodies[-1].results

        return looped(equation, given, body, _Axes(f"{equation.primitive}"))


@dataclass(frozen=True)
class _Axes:
    """What loops do with axes."""

    reason: str

    def merge(self, one: Axis, two: Axis) -> None:
        unify(one, two, self.reason)

    def repeated(self, place: Place, other: Place) -> None:
        """Nothing: it is alike to every axis."""

    def state(self, given: list[Places]) -> list[Places]:
        """The axes of what a loop carries: those of its start, but what is the same everywhere may not stay so."""
        return [[Place(single(Axis(p.members.flat[0].size))) if p.same else p for p in places] for places in given]

    def steps(self, places: list[Place], size: int) -> Place:
        found = rigid(size, f"{self.reason} along it")
        for axis in (axis for place in places if not place.same for axis in place.members.flat):
            unify(axis, found.only, self.reason)
        return found


def related(
    pattern: Pattern, given: Sequence[Places], numbers: Sequence[int], split: frozenset[str], reason: str
) -> tuple[list[Places], Related]:
    """The axes of the results of a pattern, and those of its labels; the axes of operands are made alike."""

    def merge(one: Axis, two: Axis) -> None:
        unify(one, two, reason)

    symbols = pattern.symbols()
    lookups = {
        label: Lookup(numbers[operand], symbols[label].size, pattern.operands[operand][:-1])
        for label, operand in pattern.looked_up.items()
    }
    shares: dict[str, dict[int, tuple[tuple[Any, ...], np.ndarray]]] = {label: {} for label in symbols}
    bounds: dict[str, list[tuple[Any, ...]]] = {label: [] for label in symbols}
    loose: list[tuple[Simple, tuple[Any, ...], np.ndarray]] = []
    varying = set(pattern.rigid)
    for number, (shape, places) in enumerate(zip(pattern.operands, given, strict=True)):
        for axis, place in zip(shape, places, strict=True):
            if place.same:
                continue
            varying |= {symbol.label for symbol in symbols_of(axis)}
            over = in_pattern(place.over, shape, lookups if number == 0 else {})
            if isinstance(axis, Symbol):
                shares[axis.label][number] = over, place.members
            else:
                loose.append((axis, over, place.members))
                for symbol in symbols_of(axis):
                    bounds[symbol.label].append(over)
    _join(pattern, shares, split, merge)
    common = {label: shared([*(its for its, _ in shares[label].values()), *bounds[label]]) for label in symbols}
    columns = _columns(symbols, shares, common, loose, split, merge)
    one_by_one = dict.fromkeys(split & symbols.keys(), "its indices are taken one by one")
    for label, why in {**one_by_one, **pattern.rigid}.items():
        for member in columns.members[label].flat:
            make_rigid(member, why)
    for axis, its, members in loose:
        inside = columns.inside(axis)
        fitted = fit(members, its, inside, merge)
        for index in np.ndindex(*fitted.shape):
            other = composed(columns, columns.tree(axis, dict(zip(inside, index, strict=True))), reason)
            mine: Any = fitted[index]
            unify(mine, other, reason)
    found = []
    for shape in pattern.results:
        places = [*result_places(columns, shape, lambda its, tree: composed(its, tree, reason), merge)]
        for at, axis in enumerate(shape):
            if not isinstance(axis, Sum) and not varying & {symbol.label for symbol in symbols_of(axis)}:
                places[at] = Place(single(Axis(axis.size)), same=True)
        found.append(places)
    return found, Related(pattern, columns, lookups)


def _join(pattern: Pattern, shares: dict[str, Any], split: frozenset[str], merge: Callable[[Any, Any], None]) -> None:
    """Where arrays are put one after another, let other axes depend on the index, if they do so in an operand."""
    for whole in (axis for shape in pattern.results for axis in shape if isinstance(axis, Sum)):
        pieces = {
            number: axis
            for number, shape in enumerate(pattern.operands)
            for axis in shape
            if axis in whole.parts and isinstance(axis, Symbol)
        }
        for label, its in shares.items():
            depends = any(number in pieces and pieces[number] in over for number, (over, _) in its.items())
            every = its.keys() == pieces.keys() and len(pieces) == len(whole.parts)
            if every and (depends or {one.label for one in pieces.values()} & split):
                shares[label] = {0: joined(its, pieces, whole, merge)}


def _columns(
    symbols: dict[str, Symbol],
    shares: dict[str, Any],
    over: dict[str, tuple[Any, ...]],
    loose: Sequence[tuple[Simple, tuple[Any, ...], np.ndarray]],
    split: frozenset[str],
    merge: Callable[[Any, Any], None],
) -> Columns:
    """The axes of all labels: of the operands, made alike, or new."""
    changed = True
    while changed:  # all labels of an axis depend on what is common to them
        changed = False
        for axis, its, _ in loose:
            inner = [symbol.label for symbol in symbols_of(axis)]
            common = shared([its, *(over[label] for label in inner)])
            changed |= any(over[label] != common for label in inner)
            over |= dict.fromkeys(inner, common)
    for axis, _, _ in loose:
        factors = axis.factors if isinstance(axis, Product) else ()
        for number, factor in enumerate(factors):
            if isinstance(factor, Symbol) and factor.label in split:
                for later in (one.label for rest in factors[number + 1 :] for one in symbols_of(rest)):
                    over[later] = over[later] if shares[later] else (*over[later], factor)
    members: dict[str, np.ndarray] = {}
    for label, symbol in symbols.items():
        fitted = [fit(its, mine, over[label], merge) for mine, its in shares[label].values()]
        if not fitted:
            shape = [size_of(one) for one in over[label]]
            members[label] = filled(shape, lambda _, size=symbol.size: Axis(size))  # type: ignore[misc]
            continue
        members[label] = fitted[0]
        for other in fitted[1:]:
            for index in np.ndindex(*other.shape):
                merge(other[index], fitted[0][index])
    return Columns(over, members)


def composed(columns: Columns, tree: Tree, reason: str) -> Axis:
    """An axis from the axes of a tree of products and sums."""
    if isinstance(tree, Entry):
        found: Axis = columns.members[tree.label][tree.index]
        return found
    kind, inner = tree
    axes = [composed(columns, one, reason) for one in inner]
    return product(axes, reason) if kind == "product" else direct_sum(axes)
