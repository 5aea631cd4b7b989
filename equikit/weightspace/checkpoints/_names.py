"""Which array of a checkpoint each parameter of a model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.weightspace.checkpoints._arrangements import Arrangement
from equikit.weightspace.checkpoints._files import Arrays, read
from equikit.weightspace.checkpoints._matching import Found, Parameter, matched, sources_of
from equikit.weightspace.checkpoints._words import UNUSED
from equikit.weightspace.specifications._leaves import named_leaves
from equikit.weightspace.tracing._roles import Roles, roles_of
from equikit.weightspace.tracing.programs._program import program_of

Given = Mapping[str, str | Callable[[Arrays], Any]]
"""For some parameters the name of an array, or a function of all arrays that returns the parameter."""
KINDS = np.bool_, np.integer, np.floating, np.complexfloating
SHOWN = 3
"""The number of names that an error lists."""


@dataclass(frozen=True)
class NameMap:
    """Which array of a checkpoint each parameter is, and how it is arranged; made by `name_map`.

    Attributes:
        entries: for each parameter by name its arrangement, or the function that computes it.
        shapes: the shape of each array of the checkpoint.
    """

    entries: tuple[tuple[str, Arrangement | Callable[[Arrays], Any]], ...]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.entries), default=0)
        return "\n".join(
            f"{name:<{width}}  {one if isinstance(one, Arrangement) else 'a function'}" for name, one in self.entries
        )

    def load(self, arrays: Mapping[str, Any], like: Any) -> Any:
        """Return the parameters from the arrays of a checkpoint of this kind, as a tree like `like`."""
        given = read(arrays)
        _checks.same_names("the arrays", given, dict(self.shapes), step="pass a checkpoint with the same names")
        made = dict(self.entries)
        leaves = {
            name: _as(name, one.leaf(given[one.source]) if isinstance(one, Arrangement) else one(given), leaf)
            for (name, leaf), one in zip(named_leaves(like).items(), made.values(), strict=True)
        }
        return jax.tree.unflatten(jax.tree.structure(like), list(leaves.values()))

    def store(self, params: Any) -> Arrays:
        """Return parameters as the arrays of the checkpoint, by its names: the inverse of `load`.

        Arrays of the checkpoint that are no parameters are left out.

        Raises:
            OptionError: if a parameter is computed by a function, which has no inverse here.
        """
        functions = [name for name, one in self.entries if not isinstance(one, Arrangement)]
        if functions:
            raise OptionError(
                "a parameter is computed by a function of the checkpoint",
                got=functions[0],
                expected="names of arrays, which can be written back",
                step="write this array yourself, and give names alone to name_map",
            )
        shapes, leaves = dict(self.shapes), named_leaves(params)
        parts: dict[str, dict[int, np.ndarray]] = {}
        axes: dict[str, int] = {}
        for name, one in self.entries:
            assert isinstance(one, Arrangement)
            shape = shapes[one.source]
            number, count, axis = one.part or (0, 1, 0)
            if one.part is not None:
                shape = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
            parts.setdefault(one.source, {})[number] = one.stored(np.asarray(leaves[name]), shape)
            axes[one.source] = axis
        return {
            source: some[0] if len(some) == 1 else np.concatenate([some[i] for i in sorted(some)], axes[source])
            for source, some in parts.items()
        }


def name_map(
    checkpoint: Any,
    like: Any,
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    names: Given | Literal["order"] | None = None,
    strict: bool = True,
) -> NameMap:
    """Find which array of a checkpoint each parameter of a model is, or raise an error where several choices are left.

    Modules with the same name on both sides are matched first, where words such as `kernel` and `weight`, or `query`
    and `q_proj`, count as one. Then everything with one choice is matched by shapes, for the arrays of a module
    together. Matrices of PyTorch have outputs first: axes are permuted, and split for heads of attention. Projections
    to queries, keys and values in one array are taken apart. Square matrices whose axes the name does not tell need the
    model itself, `apply` and `x`.

    Args:
        checkpoint, like, apply, x, names, strict: as for `load`.

    Returns:
        A `NameMap`; printed, it is the table of names.

    Raises:
        OptionError, ShapeError: as `load`.

    Cost: the number of pairs of modules with different names; with `apply` one trace of the model.

    Example:
        >>> state = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}
        >>> print(name_map(state, {"dense": {"kernel": np.ones((3, 2)), "bias": np.ones(2)}}))
        dense/bias    fc.bias
        dense/kernel  fc.weight.transpose(1, 0)
    """
    return _derived(read(checkpoint), like, apply, x, names, strict)


def load(
    checkpoint: Any,
    like: Any,
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    names: NameMap | Given | Literal["order"] | None = None,
    strict: bool = True,
) -> Any:
    """Return the parameters of a model from a checkpoint of another library.

    Args:
        checkpoint: a path to a safetensors file, to its index or to a folder of its shards, to a state dict of PyTorch
            (read without running code from it), to an orbax folder or an npz file; or a dictionary of arrays.
        like: the parameters of the model, a tree of arrays or of `jax.ShapeDtypeStruct`.
        apply: the model, `apply(params, x)`; needed only where names and shapes do not tell inputs from outputs.
        x: an input, or several in a tuple.
        names: for some parameters (`"layers/0/kernel"`) the name of an array, or a function of the dictionary of all
            arrays that returns the parameter; or a `NameMap`; or `"order"`, which matches equal modules in the order of
            their names.
        strict: whether arrays of the checkpoint that no parameter uses are an error.

    Returns:
        A tree like `like`, with its dtypes.

    Raises:
        OptionError: if the checkpoint cannot be read, a parameter has no array or several choices, or arrays are left.
        ShapeError, DTypeError: if a given array does not fit.
        MissingPackageError: if the package that reads the file is not installed.

    Cost: the arrays of the checkpoint and of the model in memory; see `name_map` for time.

    Example:
        >>> state = {"fc.weight": np.arange(6.0).reshape(2, 3), "fc.bias": np.ones(2)}
        >>> params = {"dense": {"kernel": np.ones((3, 2)), "bias": np.ones(2)}}
        >>> load(state, params)["dense"]["kernel"].tolist()
        [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    arrays = read(checkpoint)
    found = names if isinstance(names, NameMap) else _derived(arrays, like, apply, x, names, strict)
    return found.load(arrays, like)


def _derived(
    arrays: Arrays,
    like: Any,
    apply: Callable[..., Any] | None,
    x: Any,
    names: Given | Literal["order"] | None,
    strict: bool,
) -> NameMap:
    leaves = named_leaves(like)
    _checks.flag("strict", strict)
    if isinstance(names, str):
        _checks.choice("names", names, ("order",))
    given: Given = names if isinstance(names, Mapping) else {}
    for name in given:
        step = "write a name of the model, as a specification prints it"
        _checks.choice("parameter in names", name, [*leaves], step=step, code='"{1}"')
    shapes = {name: tuple(leaf.shape) for name, leaf in leaves.items()}
    roles: dict[str, Roles] = {name: (None,) * len(shape) for name, shape in shapes.items()}
    if apply is not None:
        _checks.function("apply", apply, arguments=2, example="apply, the model")
        program = program_of(apply, like, x if isinstance(x, tuple) else (x,))
        roles = dict(zip(shapes, roles_of(program, [*shapes.values()]), strict=True))
    parameters = {name: Parameter(name, shape, roles[name]) for name, shape in shapes.items()}
    usable = {name: array.shape for name, array in arrays.items() if not name.endswith(UNUSED)}
    functions = {name: one for name, one in given.items() if callable(one)}
    found: Found = {}
    for name, source in given.items():
        if name not in functions:
            found[name] = _given(parameters[name], source, usable)
    used = {one.source for some in found.values() for one in some}
    rest = sources_of({name: shape for name, shape in usable.items() if name not in used})
    open_ones = [one for name, one in parameters.items() if name not in given]
    found |= matched(open_ones, rest, by_order=names == "order")
    _refuse_open(parameters, found, functions, usable, strict)
    entries = tuple((name, functions[name] if name in functions else found[name][0]) for name in leaves)
    return NameMap(entries, tuple((name, array.shape) for name, array in arrays.items()))


def _given(parameter: Parameter, source: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[Arrangement]:
    """Return the arrangements of a parameter whose array is named, or raise an error."""
    _checks.choice("array in names", source, [*shapes], step="look at the names of the checkpoint", code='"{1}"')
    found = [one for some in sources_of(shapes) if some.name == source for one in some.as_parameter(parameter)]
    if not found:
        raise ShapeError(
            f"the array {source!r} does not fit {parameter.name!r}",
            got=[*shapes[source]],
            expected=f"{[*parameter.shape]}, or the same with axes permuted and split",
            step="name another array, or put a function of all arrays in its place",
        )
    return found


def _refuse_open(
    parameters: Mapping[str, Parameter],
    found: Found,
    functions: Mapping[str, Any],
    usable: Mapping[str, tuple[int, ...]],
    strict: bool,
) -> None:
    """Raise an error for parameters without an array or with two arrangements, and for arrays that are left."""
    for name, some in found.items():
        if len(some) > 1:
            raise OptionError(
                f"names and shapes do not tell the inputs of {name!r} from its outputs",
                got=" or ".join(map(str, some)),
                expected="one arrangement",
                step="write load(checkpoint, params, apply=apply, x=x), with the model and an input",
            )
    missing = [name for name in parameters if name not in found and name not in functions]
    used = {(one.source, one.part) for some in found.values() for one in some}
    parts = [(source.name, source.part) for source in sources_of(usable)]
    left = [*dict.fromkeys(name for name, part in parts if {(name, part), (name, None)}.isdisjoint(used))]
    if missing:
        one = parameters[missing[0]]
        fitting = [source.name for source in sources_of({n: usable[n] for n in left}) if source.as_parameter(one)]
        raise OptionError(
            f"{len(missing)} of {len(parameters)} parameters have no array that names and shapes determine",
            got=_listed([f"{name} {[*parameters[name].shape]}" for name in missing]),
            expected=f"for {missing[0]!r} one of: {_listed(fitting)}" if fitting else "arrays that fit",
            step=f'write names={{"{missing[0]}": "{fitting[0]}"}}, or names="order"'
            if fitting
            else "pass the parameters of the model that the checkpoint is of",
        )
    if left and strict and not functions:
        raise OptionError(
            f"{len(left)} of {len(usable)} arrays of the checkpoint belong to no parameter",
            got=_listed([f"{name} {[*usable[name]]}" for name in left]),
            expected="a model that uses all arrays",
            step="write strict=False to leave them out",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _as(name: str, array: Any, leaf: Any) -> jax.Array:
    """Return an array with the dtype of a parameter, after its shape and kind are checked."""
    values = np.asarray(array)
    _checks.shaped(f"the parameter {name!r} from the checkpoint", values, leaf.shape, step="return this shape")
    kinds = [next(kind for kind in KINDS if jax.numpy.issubdtype(dtype, kind)) for dtype in (values.dtype, leaf.dtype)]
    cast = _checks.cast(values, leaf.dtype) if kinds[0] == kinds[1] else None
    if cast is None:
        raise DTypeError(
            f"the parameter {name!r} cannot hold the array of the checkpoint",
            got=values.dtype,
            expected=leaf.dtype,
            step=f"make the model with {values.dtype}",
        )
    return jax.numpy.asarray(cast)
