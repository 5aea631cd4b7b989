"""The public function `symmetrize`, which makes any backbone equivariant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import (
    Shapes,
    by_name,
    checked_dtype,
    checked_shapes,
    fits,
    mapping,
    masks_of,
    refuse_mixture,
    refuse_real,
)
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit._masks import masked
from equikit.groups import Group
from equikit.plans import Arrays
from equikit.signatures import Signature, Term, base, parse_signature
from equikit.symmetrization._stochastic import Stochastic
from equikit.symmetrization._without_frame import without_frame
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._evaluate import mean_over
from equikit.symmetrization.engine._frame import Frame, in_one_list
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import Framed, Method, checked_method
from equikit.symmetrization.engine._options import refuse_wrong_key
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine._sequential import Sequential, in_sequence, random_part, refuse_unsettled
from equikit.symmetrization.engine.backbones._backbone import Call, KeyArgument
from equikit.symmetrization.engine.backbones._modules import ModuleOf, PytreeOf, checked_callable
from equikit.symmetrization.rotations._center import Center


class Symmetrized:
    r"""A backbone made equivariant: \(x \mapsto \sum_g w_g(x)\, g f(g^{-1} x)\). Made by `symmetrize`.

    Attributes:
        backbone: the function or module.
        how: the method that computes a frame for every input.
        action: the signature, and how elements of the groups act on its terms.
    """

    backbone: Callable[..., Any]
    how: Method
    action: Action
    key_argument: KeyArgument | None
    chunk_size: int | None
    remat: bool
    batched: bool

    @overload
    def __call__(
        self,
        x: Arrays,
        *arguments: object,
        key: jax.Array | None = None,
        mask: Array | Mapping[str, Array] | None = None,
        with_info: Literal[False] = False,
        **keywords: object,
    ) -> Arrays: ...

    @overload
    def __call__(
        self,
        x: Arrays,
        *arguments: object,
        key: jax.Array | None = None,
        mask: Array | Mapping[str, Array] | None = None,
        with_info: Literal[True],
        **keywords: object,
    ) -> tuple[Arrays, Info]: ...

    def __call__(
        self,
        x: Any,
        *arguments: object,
        key: jax.Array | None = None,
        mask: Array | Mapping[str, Array] | None = None,
        with_info: bool = False,
        **keywords: object,
    ) -> Any:
        """Apply the backbone to every element of the frame, and average.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary with one such array for each input term. The backbone sees
                arrays of the same shapes, a dictionary if there are several terms, or `x` is one.
            *arguments, **keywords: passed on to the backbone as they are.
            key: a random key for elements of frames, degenerate inputs, and dropout of the backbone.
            mask: for each label, booleans `[*batch, n]`, true for present entries; other entries become zero, and the
                backbone gets the masks by label as `mask=`. A single array is enough if only one label can have a mask.
            with_info: return `(y, info)`.

        Returns:
            The output of the backbone: an array, or a dictionary of arrays. For type checkers it has the type of `x`.

        Raises:
            FrameError: for an input without a frame, if the method treats this as an error.
            ShapeError, DTypeError: if an array does not fit, or the backbone's outputs do not match the signature.
            OptionError: if a key is missing, or the backbone changes its state.
        """
        refuse_wrong_key(key)
        _checks.flag("with_info", with_info)
        arrays, masks, call = self._read(x, arguments, keywords, mask)
        for_frame, for_backbone = (None, None) if key is None else jax.random.split(key)
        frame = self._frame(arrays, masks, for_frame)
        y, errors = mean_over(
            call,
            frame,
            arrays,
            masks,
            for_backbone if self.key_argument is not None else None,
            chunk_size=self.chunk_size,
            remat=self.remat,
        )
        dtypes = jnp.result_type(*arrays.values())
        y = {name: array.astype(_narrow(array.dtype, dtypes)) for name, array in y.items()}
        result = y if len(y) > 1 or call.as_mapping else next(iter(y.values()))
        return (result, replace(frame.info, standard_error=errors)) if with_info else result

    def frame(self, x: Any, *, key: jax.Array | None = None, mask: Array | Mapping[str, Array] | None = None) -> Frame:
        """Return the elements and weights for an input, without the backbone; arguments as in a call."""
        refuse_wrong_key(key)
        arrays, masks, _ = self._read(x, (), {}, mask)
        for_frame = None if key is None else jax.random.split(key)[0]
        return in_one_list(self._frame(arrays, masks, for_frame, refuse=False))

    def info(self, x: Any, *, key: jax.Array | None = None, mask: Array | Mapping[str, Array] | None = None) -> Info:
        """Return gap, rank, ties and size of the frame, and whether the input is degenerate; accepts every input."""
        return self.frame(x, key=key, mask=mask).info

    def _read(
        self, x: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], mask: Array | Mapping[str, Array] | None
    ) -> tuple[dict[str, Array], dict[str, Array], Call]:
        action, terms = self.action, self.action.inputs
        as_mapping = len(terms) > 1 or isinstance(x, Mapping)
        names = [term.name for term in terms]
        given = by_name(names, mapping("x", x, names=names)) if as_mapping else {names[0]: x}
        step = "give one array for each term; other arguments of the backbone follow the first"
        _checks.same_names("the inputs", given, names, step=step, error=SignatureError)
        arrays = {term.name: checked_dtype(term.name, given[term.name]) for term in terms}
        refuse_mixture({f"input {name!r}": array for name, array in arrays.items()})
        refuse_real(action.signature, arrays, arrays.values())
        masks = masks_of(action.signature, mask)
        shapes = self._shapes([*arrays.values()], masks)
        sizes = shapes.sizes | {label: n for label, n in action.signature.sizes.items() if n is not None}
        masks = {label: jnp.asarray(array) for label, array in masks.items()}
        arrays = {term.name: masked(arrays[term.name], term.labels, masks, len(shapes.batch)) for term in terms}
        call = Call(
            self.backbone,
            action,
            as_mapping,
            shapes.batch,
            sizes,
            arguments,
            keywords,
            {},
            self.key_argument,
            self.batched,
        )
        return arrays, masks, call

    def _shapes(self, arrays: Sequence[Array], masks: Mapping[str, Array]) -> Shapes:
        """Return the batch axes and sizes of the inputs, or raise `ShapeError`."""
        inputs, action = replace(self.action.signature, outputs=()), self.action
        without: list[int | None] = [None] * len(arrays)
        widths = [(array.shape or (1,))[-1] for array in arrays] if action.channels else without
        try:
            return checked_shapes(inputs, widths, arrays, masks)
        except ShapeError as error:
            if action.channels and fits(inputs, without, arrays, masks):
                raise ShapeError(
                    "the inputs have no axis of channels",
                    got=error.got,
                    expected=error.expected,
                    step="write symmetrize(..., channels=False), or pass x[..., None]",
                ) from None
            raise

    def _frame(
        self, arrays: dict[str, Array], masks: dict[str, Array], key: jax.Array | None, refuse: bool = True
    ) -> Frame:
        if self.how.needs_key:
            _checks.given(random_part(self.how), "write sym(x, key=jax.random.key(0))", key=key)
        sample, how = Sample(arrays, masks), self.how
        at_once = _is_value(how)
        if at_once:
            frame: Frame = _frame_at_once(how, self.action, sample, key)
        else:  # a method of a user need not know how compiled programs refuse inputs
            frame = how.frame(self.action, sample, key)
            frame = replace(frame, weights=settled(frame.weights, frame.info))
        refused = frame.info.refused
        if refuse and not isinstance(refused, jax.core.Tracer) and bool(jnp.any(refused)):
            raise without_frame(self.how, self.action, frame.info, arrays)
        return frame


def _is_value(how: Method) -> bool:
    """Whether a method is a hashable value without parameters, so that one compiled program can compute its frame."""
    parts = how.methods if isinstance(how, Sequential) else (how.of,) if isinstance(how, Stochastic) else ()
    return all(map(_is_value, parts)) if parts else isinstance(how, Framed)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _frame_at_once(how: Method, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
    """Compute the frame by one program, instead of one for each method and each step between methods."""
    return how.frame(action, sample, key)


def _narrow(found: Any, given: Any) -> Any:
    """Return the dtype of the inputs if the mean was computed in a wider dtype; complex stays complex."""
    if jnp.issubdtype(found, jnp.complexfloating) or found.itemsize <= given.itemsize or given.itemsize >= 4:
        return found
    return given


class SymmetrizedModule(Symmetrized, ModuleOf):
    """A symmetrized module, with the parameters of the backbone and of the method."""


class SymmetrizedFunction(Symmetrized, PytreeOf):
    """A symmetrized function; a pytree with the leaves of the backbone if the backbone is a pytree."""

    def __repr__(self) -> str:
        return f"symmetrize({self.backbone!r}, {str(self.action.signature)!r}, how={self.how!r})"


@_keywords.needs(how="write how=ek.frames.PCA()")
def symmetrize(
    backbone: Any,
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    /,
    *,
    how: Method | Sequence[Method],
    translate: str | Mapping[str, str] | None = None,
    channels: bool = True,
    groups: Mapping[str, object] | None = None,
    key_argument: KeyArgument | None = None,
    chunk_size: int | None = None,
    remat: bool = False,
    batched: bool = True,
    **bindings: object,
) -> Symmetrized:
    r"""Make any function equivariant: \(x \mapsto \sum_g w_g(x)\, g f(g^{-1} x)\) over a frame of the input.

    Args:
        backbone: a function or module of any library that JAX can trace and that does not change its state. It is
            called with arrays of the same shapes as the result of `symmetrize`. Pass a Flax NNX module unchanged; an
            Equinox module with `batched=False`, or as `jax.vmap(net)`; a Flax Linen module as
            `functools.partial(net.apply, variables)` with `variables = net.init(key, x)`, or unchanged if it is a
            submodule of the Linen module that calls it; a Haiku function as `lambda x: net.apply(params, None, x)` with
            `net = hk.transform(f)` and `params = net.init(key, x)`.
        signature, outputs: the labels of the axes of its inputs and outputs: `"p x -> p x"`, or two dictionaries from
            name to labels. Outputs are transformed by their labels: `"p x -> "` are invariants, `"p x -> x"` vectors.
        how: the method: a frame of `ek.frames`, `ek.Canonicalize`, or a list of methods, one for each group, where each
            frame is computed for the canonical form from the frames before it. The symmetry of labels on which no
            method acts is left to the backbone, and frames must not depend on their groups.
        translate: a label along which entries are positions in space, in all terms that have it once and are not axial
            vectors, where the groups of all other axes keep sums, as permutations do; or a dictionary from the names of
            such terms to their label. The centroid is then subtracted first, and added to outputs.
        channels: whether arrays have an axis of channels, the last one; otherwise they are `[*batch, *axes]`.
        groups: a dictionary from labels to groups; labels may also be given as keywords.
        key_argument: the keyword by which the backbone takes a key for its dropout: `"key"`, or `"rngs"` as in Flax.
        chunk_size: the number of elements evaluated at once. By default, the largest array of the backbone stays in the
            cache of the device. Compiled programs loop over chunks; on CPUs the loop is unrolled sixteen times if the
            backbone has convolutions.
        remat: compute the backbone again in the backward pass, so that memory does not grow with the frame.
        batched: whether the backbone takes all samples at once, with leading batch axes, as Flax modules do; Equinox
            modules take one sample. With `batched=False` it is mapped over the batch axes, and gets the mask and a key
            for each sample; further arguments of a call are the same for all samples.
        **bindings: labels with their groups.

    Returns:
        A callable of `x`; an NNX module if the backbone or the method is one, otherwise a pytree.

    Raises:
        SignatureError: if the signature cannot be parsed, or `translate` names an axis without positions.
        OptionError, GroupError: if an option or a method does not fit the groups.

    Cost: one evaluation of the backbone for each element of the frame.

    Example:
        >>> import equikit as ek
        >>> net = nnx.Linear(3 * 4, 2, rngs=nnx.Rngs(0))                    # knows nothing of space
        >>> def backbone(x):
        ...     return net(x.reshape(*x.shape[:-2], 12))
        >>> sym = ek.symmetrize(
        ...     backbone, "p x -> c", p=ek.S, x=ek.O(3), c=ek.Fixed(2), translate="x", channels=False,
        ...     how=[ek.frames.PCA(), ek.frames.Sort()])
        >>> cloud = jax.random.normal(jax.random.key(0), (4, 3))
        >>> bool(jnp.allclose(sym(cloud), sym(7 - cloud[::-1]), atol=1e-4))    # moved, reflected, in another order
        True

        A module of Flax Linen, and a function of one sample:

        >>> import functools
        >>> from flax import linen
        >>> dense, clouds = linen.Dense(3), jnp.stack([cloud, cloud[::-1]])
        >>> variables = dense.init(jax.random.key(0), cloud)
        >>> frames = dict(p=ek.S, x=ek.O(3), channels=False, how=ek.frames.PCA())
        >>> ek.symmetrize(functools.partial(dense.apply, variables), "p x -> p x", **frames)(clouds).shape
        (2, 4, 3)
        >>> one = ek.symmetrize(lambda x: x.ravel().reshape(4, 3), "p x -> p x", batched=False, **frames)
        >>> one(clouds).shape
        (2, 4, 3)
    """
    kind = parse_signature(signature, outputs, groups=groups, keywords=bindings, call=_keywords.call_of(symmetrize))
    step = "pass what you would call with an array"
    checked_callable("the backbone", backbone, "a function or a module", step, arguments=None)
    channels, remat = _checks.flag("channels", channels), _checks.flag("remat", remat)
    batched = _checks.flag("batched", batched)
    _checks.choice("key_argument", key_argument, ("key", "rngs", None))
    if chunk_size is not None:
        chunk_size = _checks.count("chunk_size", chunk_size, least=1, example=8)
    translated = _translated(kind, translate)
    action = Action(kind, tuple(sorted(translated.items())), channels)
    shifted = sorted({translated[term.name] for term in kind.inputs if term.name in translated})
    methods = [*(Center(label) for label in shifted), *_methods(how)]
    method = in_sequence(methods, action)
    refuse_unsettled(methods, action)
    attributes = {
        "backbone": backbone,
        "how": method,
        "action": action,
        "key_argument": key_argument,
        "chunk_size": chunk_size,
        "remat": remat,
        "batched": batched,
    }
    as_module = isinstance(backbone, nnx.Module) or isinstance(method, nnx.Module)
    return SymmetrizedModule(attributes) if as_module else SymmetrizedFunction(attributes)


def _methods(how: object) -> list[Method]:
    given = list(how) if isinstance(how, Sequence) and not isinstance(how, str) else [how]
    return [checked_method("how", method) for method in given]


def _holds_positions(kind: Signature, term: Term, label: str) -> bool:
    """Whether a term can have positions along a label: it has one such axis and no determinant.

    The label is not one of points: its group does not permute. The centroid is a mean over all other axes, so their
    groups keep sums.
    """
    group, others = kind.groups.get(label), [kind.groups.get(base(other)) for other in term.labels if other != label]
    of_points = group is not None and group.elements_are == "permutations"
    kept = all(other is None or _keeps_sums(other) for other in others)
    return term.labels.count(label) == 1 and label not in kind.odd(term) and not of_points and kept


def _keeps_sums(group: Group) -> bool:
    """Whether elements preserve the sum of the entries of an axis, and the vector of ones."""
    if group.elements_are == "permutations" or group.blocks != "whole":
        return group.elements_are == "permutations" or group.blocks == "small"
    ones = [(g, 1) for g in group.generators()] + [(g, 0) for g in getattr(group, "lie_algebra", list)()]
    return all(np.allclose(g.sum(axis), total, atol=1e-9) for g, total in ones for axis in (0, 1))


def _translated(kind: Signature, translate: str | Mapping[str, str] | None) -> dict[str, str]:
    terms = (*kind.inputs, *kind.outputs)
    if translate is None:
        return {}
    positions = {(term.name, label) for term in terms for label in term.labels if _holds_positions(kind, term, label)}
    space = sorted({label for term in kind.inputs for label in term.labels if (term.name, label) in positions})
    step = f'write translate="{space[0]}"' if space else "leave translate= out: no input has positions"
    if not isinstance(translate, str | Mapping):
        raise OptionError(
            "translate= must be the label of the axis of space",
            got=_checks.shown(translate),
            expected="a label, or a dictionary from names of terms to labels",
            step=step,
        )
    if isinstance(translate, str):
        found = {term.name: translate for term in terms if _holds_positions(kind, term, translate)}
    else:
        found = dict(translate)
    if not found.items() <= positions or not any(term.name in found for term in kind.inputs):
        raise SignatureError(
            "translate= names an axis that holds no positions",
            got=f"translate={translate!r} for {str(kind)!r}",
            expected="the axis of space, exactly once in an input and beside axes of points only; or a dictionary from "
            "names of terms to such labels",
            step=step,
        )
    return found
