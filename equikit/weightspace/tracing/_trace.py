"""Find the symmetry of a model's parameters by reading its jaxpr."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from equikit import _checks
from equikit.groups import Fixed, S
from equikit.weightspace.specifications._leaves import named_leaves
from equikit.weightspace.specifications._linear_action import linear_actions
from equikit.weightspace.specifications._scaling import scalings
from equikit.weightspace.specifications._specification import Specification, warn_of_unread
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Simple, Sum, Symbol
from equikit.weightspace.tracing._collapse import collapsed
from equikit.weightspace.tracing._nesting import nested
from equikit.weightspace.tracing.axes._axes import Axis, factors, make_rigid, parts
from equikit.weightspace.tracing.axes._places import Place
from equikit.weightspace.tracing.axes._relation import ALONE
from equikit.weightspace.tracing.programs._program import Call, program_of
from equikit.weightspace.tracing.programs._reading import OUTPUT, read, shapes_of


def trace(
    apply: Callable[..., Any], params: Any, x: Any, *, examples: Sequence[Any] = (), unreached: bool = False
) -> Specification:
    r"""Find the permutations of a model's parameters that preserve its function.

    The jaxpr of the model is read equation by equation, and every axis of every array gets an index set. Elementwise
    operations, contractions and loop carries unify index sets. Reshape forms products of index sets, concatenation and
    slicing form sums, and reductions remove them. Inputs, outputs, positions in space and operations without a rule
    make index sets rigid. The free index sets are permuted: the result is a group \(\prod_h S_{n_h}\) that acts on the
    parameters and preserves the function; a label that is nested in another gives a wreath product \(S_n \wr S_m\).
    The group need not be the full symmetry group of the model, because unknown operations make index sets rigid.
    `trace` also finds two larger actions: scales and signs of single indices (`spec.scalings`), and general linear
    groups of labels along which all operations are linear (`spec.linear_actions`).

    Args:
        apply: the model, a pure function `apply(params, x)` that JAX can trace.
        params: a tree of arrays, or of `jax.ShapeDtypeStruct`s.
        x: an input, or several in a tuple, which are passed after the parameters; `jax.ShapeDtypeStruct`s are allowed.
        examples: further inputs, such as inputs of another length: the result is a symmetry for all of them.
        unreached: whether to permute index sets that reach no output, such as positions beyond the length of the
            input. With other inputs they may reach an output.

    Returns:
        A term for each parameter and a group for each label: `spec.terms` and `spec.groups`. If the labels of an axis
        depend on the index along a fixed axis, such as in layers stacked for a scan, its term is `h0|h1|h2`, an
        `Indexed`.

    Warns:
        TraceWarning: if operations of the program have no rule; their names are in `spec.unread`.

    Raises:
        DTypeError, OptionError: if a parameter is not an array of numbers or booleans, or the model cannot be traced.

    Cost: tracing the model for each input, without evaluating it. A scan over stacked layers is read step by step.

    Example:
        >>> import jax.numpy as jnp
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> spec.terms, spec.groups
        ({'first': 'in h0', 'second': 'h0 out'}, {'h0': S(8)})

    Source:
        ours; users write such specifications by hand in Ainsworth, Hayase and Srinivasa, Git Re-Basin,
        arXiv:2209.04836, and Zhou, Finn and Harrison, Universal neural functionals, arXiv:2402.05232.
    """
    return traced(apply, params, x, examples=examples, unreached=unreached)[0]


def traced(
    apply: Callable[..., Any], params: Any, x: Any, *, examples: Sequence[Any] = (), unreached: bool = False
) -> tuple[Specification, Call, Mapping[Axis, str]]:
    """Return the result of `trace`, the program for the first inputs, and the label of each index set in it."""
    given, tuples = named_leaves(params), [one if isinstance(one, tuple) else (one,) for one in (x, *examples)]
    _checks.flag("unreached", unreached)
    programs = [program_of(apply, params, inputs) for inputs in tuples]
    reading = read(programs, shapes_of(list(given.values())), unreached=unreached)
    names = _Names({axis.root for call in reading.calls for axis in _of_inputs(call, len(given))})
    leaves = tuple(
        Leaf(name, tuple(map(names.place, places))) for name, places in zip(given, reading.params, strict=True)
    )
    free = {label: axis for axis, label in names.labels.items() if isinstance(names.bindings[label], S)}
    pairs = nested(reading.calls, free)
    leaves, found_scalings, found_actions = collapsed(
        leaves,
        scalings(reading.calls, leaves, reading.params, free),
        list(linear_actions(reading.calls, leaves, reading.params, free, pairs)),
    )
    spec = Specification(
        leaves,
        tuple(names.bindings.items()),
        tuple(names.reasons.items()),
        scalings=found_scalings,
        nested=pairs,
        linear_actions=found_actions,
        unread=reading.unread,
    )
    warn_of_unread(spec)
    return spec, reading.calls[0], names.labels


def _of_inputs(call: Call, params: int) -> Iterator[Axis]:
    for variable in call.jaxpr.invars[params:]:
        for place in call.places[variable]:
            yield place.only


class _Names:
    """Assigns labels to index sets, in the order of their first occurrence."""

    def __init__(self, of_inputs: set[Axis]) -> None:
        self.of_inputs = of_inputs
        self.labels: dict[Axis, str] = {}
        self.bindings: dict[str, S | Fixed] = {}
        self.reasons: dict[str, str] = {}

    def place(self, place: Place) -> Expression:
        """Return the term of a parameter's axis, which may depend on other axes."""
        members = tuple(self.expression(axis) for axis in place.members.flat)
        over = tuple(one for one in place.over if isinstance(one, int))
        return Indexed(over, place.members.shape, members) if over else members[0]

    def expression(self, axis: Axis) -> Simple:
        """Return the term of an index set."""
        axis = axis.root
        if axis.kind == "product":
            return Product(tuple(map(self.expression, factors(axis))))
        if axis.kind == "sum" and not any(part.size > 1 for part in parts(axis)):
            make_rigid(axis, ALONE)
        if axis.kind == "sum":
            return Sum(tuple(map(self.expression, parts(axis))))
        return Symbol(self._label(axis), axis.size)

    def _label(self, axis: Axis) -> str:
        if axis not in self.labels:
            free = axis.kind == "free" and axis.size > 1
            label = self._new("h", always=True) if free else self._new(self._of_rigid(axis), always=False)
            self.labels[axis] = label
            self.bindings[label] = S(axis.size) if free else Fixed(axis.size)
            if not free:
                self.reasons[label] = axis.reason
        return self.labels[axis]

    def _of_rigid(self, axis: Axis) -> str:
        return "in" if axis in self.of_inputs else "out" if axis.reason == OUTPUT else "fixed"

    def _new(self, prefix: str, always: bool) -> str:
        count = sum(label.rstrip("0123456789") == prefix for label in self.bindings)
        return f"{prefix}{count}" if count or always else prefix
