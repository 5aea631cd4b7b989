"""Layers and networks of a smaller group that compute the same, and networks with relaxed layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import SignatureError
from equikit.diagrams import HomSpace
from equikit.groups import Fixed, Group
from equikit.nn import Bilinear, Linear as Equivariant
from equikit.plans import Normalize
from equikit.relax._chain import chain_of, checked_groups, steps_of
from equikit.relax._containment import refuse_outside
from equikit.relax._linear import Linear
from equikit.relax._spaces import maps, pair_spaces
from equikit.signatures import Signature, Term, bind, normalized

Model = TypeVar("Model", bound=nnx.Module)


def restrict(model: Model, *, groups: Mapping[str, object] | None = None, **bindings: object) -> Model:
    r"""Return a copy of a layer or network whose linear layers belong to smaller groups, and which computes the same.

    Each map of the larger group is a combination of the maps of the smaller one, \(T_i = \sum_j C_{ij} S_j\), so the
    new weights are \(C^T W\). Training then moves them to all maps of the smaller group. With `ek.Trivial(n)` the
    linear layers become free.

    Args:
        model: an `ek.nn.Linear`, or a module that contains some. In a network other layers, such as nonlinearities and
            products (`ek.nn.Bilinear`), are copied as they are, with the larger group.
        groups: the new group of each label, as a dictionary.
        **bindings: the same as keywords, `x=ek.O(2) + ek.O(1)`.

    Returns:
        A module of the same class.

    Raises:
        SignatureError: if no linear layer has a given label.
        GroupError: if a new group is free, or not contained in the group of a layer.
        TooLargeError: if there are too many maps.

    Cost: for every layer the entries of its maps before and after.

    Example:
        >>> from equikit import O, nn
        >>> layer = nn.Linear("x -> x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
        >>> smaller = restrict(layer, x=O(2) + O(1))
        >>> bool(jnp.allclose(smaller(jnp.ones((3, 1))), layer(jnp.ones((3, 1))), atol=1e-6)), smaller.space.dim
        (True, 2)
    """
    given = _given(groups, bindings)
    bound = {label: checked_groups(label, [what])[0] for label, what in given.items()}
    return _replaced(model, set(bound), lambda layer: _restricted(layer, bound))


def soften(
    model: Model,
    *,
    rngs: nnx.Rngs,
    gates: float | Sequence[float] = 0.0,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Model:
    """Return a copy of a network whose linear layers are `ek.relax.Linear` layers along a chain of smaller groups.

    The chain of a layer starts with the group of its label. With gates of zero the copy computes the same.

    Args:
        model: a module that contains `ek.nn.Linear` layers; all other layers are copied as they are, products too.
        rngs: random keys for the broken parts.
        gates: the first value of the gates: one number, or one for each step.
        groups: the smaller groups of each label, as a dictionary.
        **bindings: the same as keywords: lists such as `x=[ek.O(2) + ek.O(1), ek.Trivial(3)]`.

    Returns:
        A module of the same class. `ek.relax.penalty` returns its penalties.

    Raises:
        SignatureError: if no linear layer has a given label.
        OptionError, GroupError, TooLargeError: as `ek.relax.chain`.

    Example:
        >>> from equikit import O, Trivial, nn
        >>> from equikit.relax import penalty
        >>> net = nn.Network([{"x": 2}, {"": 8, "x": 4}, {"x": 1}], x=O(3), rngs=nnx.Rngs(0))
        >>> soft = soften(net, x=[Trivial(3)], gates=1.0, rngs=nnx.Rngs(1))
        >>> soft({"x": jnp.ones((5, 3, 2))})["x"].shape, penalty(soft).shape
        ((5, 3, 1), (1,))
    """
    given = _given(groups, bindings)
    lists = {
        label: checked_groups(label, what if isinstance(what, list | tuple) else [what])
        for label, what in given.items()
    }

    def softened(layer: Equivariant) -> Linear:
        old = dict(layer.signature.bindings)
        own = {label: (_bound(label, old[label], found[0]), *found) for label, found in lists.items() if label in old}
        signatures = [_rebound(layer.signature, step) for step in steps_of(own)]
        bound = layer.signature == signatures[0]
        kept = nnx.clone(layer) if bound else _restricted(layer, steps_of(own)[0])
        return Linear(chain_of(signatures, tuple(own)), kept, rngs=rngs, gates=gates)

    _checks.rngs(rngs)
    return _replaced(model, set(lists), softened)


def _given(groups: Mapping[str, object] | None, bindings: Mapping[str, object]) -> dict[str, object]:
    found = {normalized(label): what for label, what in {**(groups or {}), **bindings}.items()}
    _checks.some("smaller groups", found, got="no label", step="write x=ek.Trivial(3)")
    return found


def _replaced(model: Model, labels: set[str], make: Callable[[Equivariant], nnx.Module]) -> Model:
    """Return a copy of a model with each linear layer that has one of these labels replaced."""
    _checks.instance("model", model, nnx.Module, 'ek.nn.Linear("x -> x", 1, 1, x=ek.O(3), rngs=nnx.Rngs(0))')
    parts = [*nnx.iter_modules(model)]
    kept = [path for path, part in parts if isinstance(part, Bilinear | Linear)]
    layers = {
        path: part
        for path, part in parts
        if isinstance(part, Equivariant) and not any(path[: len(before)] == before for before in kept)
    }
    found = {x for layer in layers.values() for x, what in layer.signature.bindings if isinstance(what, Group)}
    if not labels <= found:
        raise SignatureError(
            f"no linear layer has the label {min(labels - found)!r}",
            got=f"labels {', '.join(sorted(found)) or 'of no group'} in {type(model).__name__}",
            expected="labels of ek.nn.Linear layers on which a group acts",
            step="name one of these labels" if found else "pass a model with ek.nn.Linear layers, before soften",
        )
    if isinstance(model, Equivariant):
        made: Any = make(model)
        return made  # type: ignore[no-any-return]
    copy = nnx.clone(model)
    for path, layer in layers.items():
        if labels & {label for label, _ in layer.signature.bindings}:
            *before, last = path
            owner: Any = functools.reduce(_child, before, copy)
            if isinstance(last, int) or not isinstance(owner, nnx.Module) or isinstance(owner, nnx.Dict):
                owner[last] = make(layer)
            else:
                setattr(owner, str(last), make(layer))
    return copy


def _child(owner: Any, key: Any) -> Any:
    return owner[key] if isinstance(key, int) or isinstance(owner, nnx.Dict) else getattr(owner, key)


def _bound(label: str, group: Group | Fixed, smaller: Group) -> Group:
    """Return the group of a layer at the size of a smaller group."""
    if isinstance(group, Group) and group.n is None and smaller.n is not None:
        return type(group)(smaller.n)
    checked_groups(label, [group, smaller])
    assert isinstance(group, Group)
    return group


def _rebound(signature: Signature, new: Mapping[str, object]) -> Signature:
    """Return a signature with other groups on some labels."""
    return bind(signature.inputs, signature.outputs, {**dict(signature.bindings), **new}, {})


def _restricted(layer: Equivariant, given: Mapping[str, Group]) -> Equivariant:
    old = dict(layer.signature.bindings)
    new = {label: what for label, what in given.items() if label in old}
    for label, smaller in new.items():
        refuse_outside(label, _bound(label, old[label], smaller), smaller)
    signature, run = _rebound(layer.signature, new), layer.options
    result = type(layer)(
        HomSpace(signature),
        *layer.channels,
        rngs=nnx.Rngs(0),
        use_bias=layer.use_bias,
        normalize=layer.normalize,
        dtype=layer.dtype,
        param_dtype=next(iter([*layer.kernel.values(), *layer.bias.values()]))[...].dtype,
        precision=run.precision,
        method=run.method,
        remat=run.remat,
        chunk_size=run.chunk_size,
    )
    before, after = (pair_spaces(one, bias=layer.use_bias) for one in (layer.signature, signature))
    for kind in ("kernel", "bias"):
        weights = getattr(layer, kind)
        for name, param in getattr(result, kind).items():
            value = np.zeros(param[...].shape)
            if name in weights:
                value = np.tensordot(
                    _combinations(before[name], after[name], layer.normalize), weights[name][...], (0, 0)
                )
            param[...] = jnp.asarray(value, param[...].dtype)
    return result


@functools.lru_cache(maxsize=256)
def _combinations(before: HomSpace, after: HomSpace, normalize: Normalize) -> np.ndarray:
    """Return the coordinates of the maps of a larger group in the maps of a smaller one, `[before, after]`.

    A label that stays free has independent maps as soon as its size is the number of its axes, and the coordinates do
    not depend on it.
    """
    signature = before.signature
    terms = (*signature.inputs, *signature.outputs)
    bound = {label: size for label, size in after.signature.sizes.items() if size is not None}
    free = {label: max(1, _axes(label, terms)) for label in after.signature.sizes if label not in bound}
    lost = {label: bound[label] for label, size in signature.sizes.items() if size is None and label in bound}
    new = maps(after, free, normalize)
    if new.shape[0] == new.shape[1] and np.array_equal(new, np.eye(len(new))):
        return maps(before, {**free, **lost}, normalize)
    old = maps(before, {**free, **lost}, normalize).astype(np.result_type(np.float64, new))
    return np.asarray(np.linalg.lstsq(new.T.astype(old.dtype), old.T, rcond=None)[0].T)


def _axes(label: str, terms: Sequence[Term]) -> int:
    return sum(term.labels.count(label) for term in terms)
