"""Which array of a checkpoint each parameter of a model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.weightspace.checkpoints._arrangements import Arrangement
from equikit.weightspace.checkpoints._files import Arrays, read
from equikit.weightspace.checkpoints._images import with_images
from equikit.weightspace.checkpoints._matching import Found, matched
from equikit.weightspace.checkpoints._sources import Parameter, sources_of
from equikit.weightspace.checkpoints._words import UNUSED, Words, words_of
from equikit.weightspace.specifications._leaves import named_leaves
from equikit.weightspace.tracing._roles import Roles, roles_of
from equikit.weightspace.tracing.programs._program import program_of

Given = Mapping[str, str | Callable[[Mapping[str, np.ndarray]], Any]]
"""For parameters the name of an array, or a function of all arrays; for modules the name of a module."""
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

    def load(self, checkpoint: Any, like: Any) -> Any:
        """Return the parameters from a checkpoint with the same names and shapes, as a tree like `like`."""
        arrays, known = read(checkpoint), dict(self.shapes)
        _checks.same_names("the arrays", arrays, known, step="derive the names again, with name_map", error=OptionError)
        for name, shape in known.items():
            _checks.shaped(f"the array {name!r}", arrays[name], shape, step="derive the names again, with name_map")
        leaves, made = named_leaves(like), dict(self.entries)
        step = "pass the parameters of the model that name_map was called with"
        _checks.same_names("the parameters", leaves, made, step=step, error=OptionError)
        found = []
        for name, leaf in leaves.items():
            one = made[name]
            found.append(_as(name, one.leaf(arrays[one.source]) if isinstance(one, Arrangement) else one(arrays), leaf))
        return jax.tree.unflatten(jax.tree.structure(like), found)

    def store(self, params: Any) -> Arrays:
        """Return parameters as the arrays of the checkpoint, by its names: the inverse of `load`.

        Arrays of the checkpoint that are no parameters are left out.

        Raises:
            OptionError: if a parameter is computed by a function, which has no inverse here; if parts of an array are
                missing; or if parameters that share an array differ.
            ShapeError: if a parameter has another shape.
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
        step = "pass parameters of the model that name_map was called with"
        _checks.same_names("the parameters", leaves, dict(self.entries), step=step, error=OptionError)
        parts: dict[str, dict[tuple[int, int, int], np.ndarray]] = {}
        for name, one in self.entries:
            assert isinstance(one, Arrangement)
            _checks.untraced(f"the parameter {name!r}", leaves[name], step="call store outside of jit")
            _checks.shaped(f"the parameter {name!r}", leaves[name], one.shape, step=step)
            part = one.part or (0, 1, 0)
            _, count, axis = part
            shape = shapes[one.source]
            shape = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :]) if count > 1 else shape
            array, known = one.stored(np.asarray(leaves[name]), shape), parts.setdefault(one.source, {})
            if not np.array_equal(known.setdefault(part, array), array):
                raise OptionError(
                    f"two parameters share the array {one.source!r}, and differ",
                    got=name,
                    expected="equal parameters",
                    step="write one of them yourself",
                )
        found: Arrays = {}
        for source, some in parts.items():
            ((count, axis),) = {part[1:] for part in some}
            if len(some) < count:
                raise OptionError(
                    f"the array {source!r} is known in part",
                    got=f"{len(some)} of {count} parts",
                    expected="all parts",
                    step="write this array yourself",
                )
            every = [some[number, count, axis] for number in range(count)]
            found[source] = every[0] if count == 1 else np.concatenate(every, axis)
        return found


def name_map(
    checkpoint: Any,
    like: Any,
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    names: Given | None = None,
    strict: bool = True,
) -> NameMap:
    """Find which array of a checkpoint each parameter of a model is, or raise an error where several choices are left.

    Modules with the same name, or the same last word of it, are matched first, where words such as `kernel` and
    `weight`, or `query` and `q_proj`, count as one. Then everything with one choice is matched by shapes, for the
    arrays of a module together. Matrices of PyTorch have outputs first: axes are permuted, and split for heads of
    attention. Projections to queries, keys and values in one array are taken apart. Square matrices whose axes the name
    does not tell need the model itself, `apply` and `x`. So do dense layers that read or return a flattened image,
    which PyTorch has channels first. Without the model, sizes alone show which layers may do this, and miss some: with
    convolutions, pass the model. Not found out: images that no convolution reads or returns; gates of recurrent cells;
    kernels of transposed convolutions.

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
    names: NameMap | Given | None = None,
    strict: bool = True,
) -> Any:
    """Return the parameters of a model from a checkpoint of another library.

    Args:
        checkpoint: a path to a safetensors file, to its index or to a folder of its shards, to a state dict of PyTorch
            (read without running code from it), to an orbax folder or an npz file; or a dictionary of arrays.
        like: the parameters of the model, a tree of arrays or of `jax.ShapeDtypeStruct`.
        apply: the model, `apply(params, x)`; needed where names and shapes do not tell inputs from outputs, or the
            order of features in flattened images.
        x: an input, or several in a tuple.
        names: for some parameters (`"layers/0/kernel"`) the name of an array, or a function of the dictionary of all
            arrays that returns the parameter; for some modules (`"layers/0"`) the name of a module; or a `NameMap`.
        strict: whether arrays of the checkpoint that no parameter uses are an error. If not, parameters are matched by
            names alone.

    Returns:
        A tree like `like`, with its dtypes; JAX has 64 bits only with `jax_enable_x64`.

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
    known = names if isinstance(names, NameMap) else _derived(arrays, like, apply, x, names, strict)
    return known.load(arrays, like)


def _derived(
    arrays: Arrays,
    like: Any,
    apply: Callable[..., Any] | None,
    x: Any,
    names: Given | None,
    strict: bool,
) -> NameMap:
    leaves = named_leaves(like)
    _checks.flag("strict", strict)
    shapes = {name: tuple(leaf.shape) for name, leaf in leaves.items()}
    usable = {name: array.shape for name, array in arrays.items() if not name.endswith(UNUSED)}
    given = _by_parameter(names, [*leaves], [*usable])
    roles: dict[str, Roles] = {name: (None,) * len(shape) for name, shape in shapes.items()}
    if apply is not None:
        _checks.function("apply", apply, arguments=2, example="apply, the model")
        program = program_of(apply, like, x if isinstance(x, tuple) else (x,))
        roles = dict(zip(shapes, roles_of(program, [*shapes.values()]), strict=True))
    parameters = {name: Parameter(name, shape, roles[name]) for name, shape in shapes.items()}
    functions = {name: one for name, one in given.items() if callable(one)}
    reading = _Reading(arrays)
    for one in functions.values():
        one(reading)
    found: Found = {}
    for name, source in given.items():
        if name not in functions:
            found[name] = _given(parameters, name, source, usable)
    used = {one.source for some in found.values() for one in some} | reading.used
    rest = {name: shape for name, shape in usable.items() if name not in used}
    open_ones = [one for name, one in parameters.items() if name not in given]
    found |= matched(open_ones, sources_of(rest, open_ones), by_shape=strict)
    _refuse_open(parameters, found, {*functions}, usable, reading.used, strict, apply)
    found = with_images(found, parameters, usable, apply, like, x)
    entries = tuple((name, functions[name] if name in functions else found[name][0]) for name in leaves)
    return NameMap(entries, tuple((name, array.shape) for name, array in arrays.items()))


class _Reading(dict[str, np.ndarray]):
    """The arrays of a checkpoint, and the names of those that were read."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.used.add(name)
        return super().__getitem__(name)


def _by_parameter(names: Any, leaves: list[str], sources: list[str]) -> dict[str, Any]:
    """Return what is given for each parameter; for a module, the arrays of the other module with the same words."""
    if names is None:
        return {}
    _checks.instance("names", names, Mapping, '{"layers/0/kernel": "0.weight"}')  # type: ignore[type-abstract]
    found = {}
    for name, what in names.items():
        under = [leaf for leaf in leaves if leaf.startswith(f"{name}/")]
        if name in leaves or not under or callable(what):
            step = "write a name of the model, as a specification prints it"
            found[_checks.choice("parameter in names", name, leaves, step=step, code='"{1}"')] = what
            continue
        inside = {_within(one, what): one for one in sources if one.startswith(f"{what}.")}
        for leaf in under:
            if _within(leaf, name) in inside:
                found[leaf] = inside[_within(leaf, name)]
        if not any(leaf in found for leaf in under):
            raise OptionError(
                f"the module {what!r} of the checkpoint has no array of {name!r}",
                got=_listed([one[len(what) + 1 :] for one in inside.values()]) or "no arrays",
                expected=_listed([leaf[len(name) + 1 :] for leaf in under]),
                step="look at the names of the checkpoint",
            )
    return found


def _within(name: str, module: str) -> Words:
    return words_of(f"module.{name[len(module) + 1 :]}")[1:]


def _given(
    parameters: Mapping[str, Parameter], name: str, source: Any, shapes: Mapping[str, tuple[int, ...]]
) -> list[Arrangement]:
    """Return the arrangements of a parameter whose array is named, or raise an error."""
    _checks.choice("array in names", source, [*shapes], step="look at the names of the checkpoint", code='"{1}"')
    parameter = parameters[name]
    found = [
        one
        for others in ((), [*parameters.values()])
        for some in sources_of(shapes, others)
        if some.name == source
        for one in some.as_parameter(parameter)
    ]
    if not found:
        raise ShapeError(
            f"the array {source!r} does not fit {name!r}",
            got=[*shapes[source]],
            expected=f"{[*parameter.shape]}, or the same with axes permuted and split",
            step="name another array, or put a function of all arrays in its place",
        )
    return [*dict.fromkeys(found)]


def _refuse_open(
    parameters: Mapping[str, Parameter],
    found: Found,
    computed: set[str],
    usable: Mapping[str, tuple[int, ...]],
    read_by_functions: set[str],
    strict: bool,
    apply: Callable[..., Any] | None,
) -> None:
    """Raise an error for parameters without an array or with two arrangements, and for arrays that are left."""
    for name, some in found.items():
        if len(some) > 1:
            raise OptionError(
                f"names and shapes do not tell the inputs of {name!r} from its outputs",
                got=" or ".join(map(str, some)),
                expected="one arrangement",
                step="write load(checkpoint, params, apply=apply, x=x), with the model and an input"
                if apply is None
                else "in names, give a function that returns this parameter",
            )
    missing = [one for name, one in parameters.items() if name not in found and name not in computed]
    used = {(one.source, one.part) for some in found.values() for one in some}
    every = sources_of(usable, [*parameters.values()])
    left = [one for one in every if {(one.name, one.part), (one.name, None)}.isdisjoint(used)]
    names = [name for name in dict.fromkeys(one.name for one in left) if name not in read_by_functions]
    if missing:
        one = missing[0]
        fitting = [*dict.fromkeys(source.name for source in left if source.as_parameter(one))]
        example = [one.name, *fitting[:1]]
        if fitting and "/" in one.name and "." in fitting[0]:
            example = [one.name.rpartition("/")[0], fitting[0].rpartition(".")[0]]
        raise OptionError(
            f"{len(missing)} of {len(parameters)} parameters have no array that names and shapes determine",
            got=_listed([f"{one.name} {[*one.shape]}" for one in missing]),
            expected=f"for {one.name!r} one of: {_listed(fitting)}" if fitting else "arrays that fit",
            step='write names={"' + '": "'.join(example) + '"}'
            if fitting
            else "in names, give a function of all arrays that returns it; or pass the parameters of another model",
        )
    if names and strict:
        raise OptionError(
            f"{len(names)} of {len(usable)} arrays of the checkpoint belong to no parameter",
            got=_listed([f"{name} {[*usable[name]]}" for name in names]),
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
