"""Frames for the parts of an input: each part is moved back by its own element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks, _keywords
from equikit._errors import FrameError, GroupError, OptionError, SignatureError
from equikit.signatures import parse_signature
from equikit.symmetrization._symmetrize import Symmetrized, _narrow, symmetrize
from equikit.symmetrization._without_frame import named
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._evaluate import mean_over
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._method import Method
from equikit.symmetrization.engine._options import option, refuse_wrong_key
from equikit.symmetrization.engine._sequential import accepting, code_of
from equikit.symmetrization.engine.backbones._modules import ModuleOf, PytreeOf, checked_callable, mask_keyword
from equikit.symmetrization.parts._parts import PartsCall, checked_weights, excused, per_part, settled_weights, together

Told = Literal["mask", "weights"]
"""The information about a part that the backbone gets in addition to its points."""


class Piecewise:
    r"""A backbone that is applied to each part of its input in a frame of the part. Made by `piecewise`.

    Attributes:
        symmetrized: the backbone with its frames, as `symmetrize` makes them.
        parts: the function that computes the weights of the points, or `None`.
        points: the label of the points.
    """

    symmetrized: Symmetrized
    parts: Callable[..., Any] | None
    points: str
    threshold: float
    hard: bool
    tell: tuple[Told, ...]

    def __call__(
        self,
        x: Any,
        *arguments: Any,
        parts: Array | None = None,
        key: jax.Array | None = None,
        mask: Mapping[str, Array] | None = None,
        with_info: bool = False,
        **keywords: Any,
    ) -> Any:
        """Apply the backbone to every part, for every element of its frame, and recombine the parts.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary with one such array for each input term.
            *arguments, **keywords: passed on to the backbone as they are, the same for all parts.
            parts: nonnegative weights `[*batch, points, parts]`, the proportions of each point in the parts; by
                default, computed by the argument `parts` of `piecewise`.
            key, mask: as for the result of `symmetrize`.
            with_info: return `(y, info)`, with an axis of parts at the end of every entry, `[*batch, parts]`, and the
                weights in `info.more["part_weights"]`.

        Returns:
            The output of the backbone: an array, or a dictionary of arrays.

        Raises:
            FrameError: for a part without a frame, if the method treats this as an error.
            OptionError: if there are no weights, or some are negative or not finite.
            ShapeError, DTypeError: if an array does not fit, or the backbone's outputs do not match the signature.
        """
        sym = self.symmetrized
        _checks.flag("with_info", with_info)
        refuse_wrong_key(key)
        arrays, masks, call = sym._read(x, arguments, keywords, mask)
        weights = self._weights(x, parts, masks, (*call.batch, call.sizes[self.points]))
        for_frame, for_backbone = (None, None) if key is None else jax.random.split(key)
        frame, several, weighed = self._frames(arrays, masks, weights, for_frame)
        _refuse(sym.how, sym.action, frame.info)
        y, errors = mean_over(
            PartsCall.of(call, self.points, self.tell, weights.shape[-1], frozenset(masks)),
            frame,
            several,
            weighed,
            for_backbone if sym.key_argument is not None else None,
            chunk_size=sym.chunk_size,
            remat=sym.remat,
        )
        y = together(sym.action, self.points, y, weights)
        dtypes = jnp.result_type(*arrays.values())
        y = {name: array.astype(_narrow(array.dtype, dtypes)) for name, array in y.items()}
        result = y if len(y) > 1 or call.as_mapping else next(iter(y.values()))
        if not with_info:
            return result
        errors = together(sym.action, self.points, errors, weights, squared=True) if errors else {}
        info = jax.tree.map(lambda entry: jnp.moveaxis(entry, 0, len(call.batch)), frame.info)
        more = {**info.more, "part_weights": weights}
        return result, replace(info, more=more, standard_error=errors)

    def frame(
        self,
        x: Any,
        *,
        parts: Array | None = None,
        key: jax.Array | None = None,
        mask: Mapping[str, Array] | None = None,
    ) -> Frame:
        """Return the elements and weights of each part, without the backbone: `[elements, parts, *batch, ...]`."""
        refuse_wrong_key(key)
        arrays, masks, call = self.symmetrized._read(x, (), {}, mask)
        weights = self._weights(x, parts, masks, (*call.batch, call.sizes[self.points]))
        return self._frames(arrays, masks, weights, None if key is None else jax.random.split(key)[0])[0]

    def _weights(self, x: Any, given: Any, masks: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """Return the weights of the points, `[*batch, points, parts]`, which sum to one for each present point."""
        if given is None:
            step = "pass parts=jax.nn.one_hot(part_of_each_point, number_of_parts)"
            _checks.given("piecewise", step, parts=self.parts)
            assert self.parts is not None, "it was checked"
            given = self.parts(x, **mask_keyword("parts", self.parts, masks))
        there = masks.get(self.points)
        weights: Array = settled_weights(checked_weights(given, shape, there), there, self.threshold, self.hard)
        return weights

    def _frames(
        self, arrays: Mapping[str, Array], masks: Mapping[str, Array], weights: Array, key: jax.Array | None
    ) -> tuple[Frame, dict[str, Array], dict[str, Array]]:
        """Return the frames, inputs and masks of all parts, with parts as an additional first batch axis."""
        x, weighed = per_part(arrays, self.points, masks, weights)
        frame = self.symmetrized._frame(x, weighed, key, refuse=False)
        return replace(frame, info=excused(frame.info, weights)), x, weighed


def _refuse(how: Method, action: Action, info: Info) -> None:
    """Raise `FrameError` if a part has no frame, outside of compiled programs."""
    if isinstance(info.refused, jax.core.Tracer) or not bool(jnp.any(info.refused)):
        return
    part = int(jnp.argmax(jnp.any(info.refused.reshape(info.refused.shape[0], -1), axis=1)))
    refused = np.flatnonzero(np.asarray(info.refused)).tolist()
    raise FrameError(
        "a part of an input has no frame: it is symmetric itself, or not finite",
        got=f"{len(refused)} of {info.refused.size} parts for {named(how)}; the first is part {part}",
        expected="parts without symmetries of their own, all entries finite",
        step=accepting(how, action, "look at the info"),
        how=repr(how),
        refused=refused,
    )


class PiecewiseModule(Piecewise, ModuleOf):
    """A piecewise backbone that is a module because one of its components is."""


class PiecewiseFunction(Piecewise, PytreeOf):
    """A piecewise function; a pytree with the leaves of the backbone if the backbone is a pytree."""

    def __repr__(self) -> str:
        return f"piecewise({self.symmetrized!r}, parts={self.parts!r})"


@_keywords.needs(how="write how=ek.frames.PCA()")
def piecewise(
    backbone: Any,
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    /,
    *,
    how: Method | Sequence[Method],
    parts: Callable[..., Any] | None = None,
    points: str | None = None,
    threshold: float = 1e-4,
    hard: bool = False,
    tell: Sequence[Told] = (),
    groups: Mapping[str, object] | None = None,
    **options: Any,
) -> Piecewise:
    r"""Make a function of points equivariant to independent motions of each part of its input.

    With weights \(w_{pk}\) of point p in part k, \(\sum_k w_{pk} = 1\), the result at point p is
    \(\sum_k w_{pk} \sum_g w_g\, \bigl(g\, f(w_k\, g^{-1} x)\bigr)_p\): the frame of part k comes from the weighted
    centroid and the weighted covariance; all points are moved back by an element g of this frame and then scaled toward
    its origin by their weight, so that the backbone sees the points of the part and zeros; outputs are moved by g,
    weighted and summed. Points of weight zero in a part have no effect on it; a point of weight zero in all parts has
    output zero, which does not move.

    If every point belongs to one part, the result is equivariant up to rounding when each part moves by its own
    element. With weights between zero and one, parts depend on each other, and the result is only *approximately*
    equivariant, more closely for harder weights, but still up to rounding for a common motion of all parts. If the
    partition is random, and wrong with probability \(\lambda\), the expected error is at most \(\lambda\) times the
    largest.

    Args:
        backbone, signature, outputs: as in `symmetrize`; every output has one axis of the points.
        how: frames that weight points: `PCA`, `Stochastic(PCA())`, or only centroids (`[]`).
        parts: a function or module from x to weights `[*batch, points, parts]`, called as `parts(x)`, with `mask=` if
            there is one. None if weights are passed in each call.
        points: the label of the points; by default, the only one bound to S.
        threshold: weights below this, relative to the sum of weights of their point, are dropped.
        hard: assign each point to the part with its largest weight, with the derivatives of the soft weights.
        tell: what the backbone gets by keyword for a part: `"mask"`, a dictionary with booleans `[*batch, points]`,
            true for nonzero weights, as layers of `equikit.nn` take it; `"weights"`, the weights of the part,
            `[*batch, points]`.
        groups, **options: as in `symmetrize`: labels with their groups, `translate=`, `channels=` and so on.

    Returns:
        A callable of `x` and `parts=`; an NNX module if the backbone, the method or `parts` is one, otherwise a pytree.

    Raises:
        GroupError, SignatureError: if there are no points, or an output has none.
        OptionError: if the method does not weight points, and as in `symmetrize`.

    Cost: one evaluation of the backbone on all points for each part and each element of its frame.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import piecewise
        >>> sym = piecewise(
        ...     jnp.sin, "p x -> p x", p=ek.S, x=ek.SO(2), translate="x", channels=False, how=ek.frames.PCA())
        >>> x = jax.random.normal(jax.random.key(0), (8, 2))
        >>> parts = jax.nn.one_hot(jnp.array([0, 0, 0, 0, 1, 1, 1, 1]), 2)
        >>> moved = x.at[4:].add(5)                                        # the second part alone
        >>> bool(jnp.allclose(sym(moved, parts=parts), sym(x, parts=parts).at[4:].add(5), atol=1e-4))
        True

    Source:
        Atzmon et al., Approximately piecewise E(3) equivariant point networks, arXiv:2402.08529, section 3, without the
        random frames of its code for small parts.
    """
    bindings = {name: what for name, what in options.items() if name not in _keywords.options_of(symmetrize)}
    call = _keywords.call_of(piecewise, symmetrize)
    parse_signature(signature, outputs, groups=groups, keywords=bindings, call=call)
    given = list(how) if isinstance(how, Sequence) else [how]
    if any(isinstance(method, Method) and not _weighs(method) for method in given):
        shown = ", ".join(map(code_of, given))
        raise OptionError(
            "the method does not weigh points",
            got=f"how={shown}" if len(given) == 1 else f"how=[{shown}]",
            expected="PCA, or Stochastic(PCA()), alone or with translate=",
            step="write how=ek.frames.PCA()",
        )
    inner = symmetrize(backbone, signature, outputs, how=how, groups=groups, **options)
    found = _points(inner, option("points", points))
    for term in inner.action.signature.outputs:
        if term.labels.count(found) != 1:
            raise SignatureError(
                f"the output {term.name!r} has no value for each point",
                got=str(inner.action.signature),
                expected=f"outputs with one axis {found!r}, which are put together from the parts",
                step=f"give the backbone such an output, and take its mean over {found!r} yourself",
            )
    if parts is not None:
        checked_callable(
            "parts",
            parts,
            "a function or module that makes weights of the input",
            "pass an array of weights in each call: sym(x, parts=weights)",
        )
    told = _checks.names("tell", tell, example="mask")
    for word in told:
        _checks.choice("tell", word, ("mask", "weights"))
    hard = _checks.flag("hard", hard)
    threshold = _checks.number("threshold", threshold, least=0, below=1, example=1e-4, traced=False)
    attributes = {
        "symmetrized": inner,
        "parts": parts,
        "points": found,
        "threshold": threshold,
        "hard": hard,
        "tell": told,
    }
    as_module = isinstance(inner, nnx.Module) or isinstance(parts, nnx.Module)
    return PiecewiseModule(attributes) if as_module else PiecewiseFunction(attributes)


def _points(symmetrized: Symmetrized, given: str | None) -> str:
    """Return the label of the points: the given one, or the only one bound to S."""
    bindings = symmetrized.action.signature.bindings
    permuted = [label for label, what in symmetrized.action.groups.items() if what.elements_are == "permutations"]
    known = [given] if given is not None and given in dict(bindings) else permuted if given is None else []
    if len(known) != 1:
        raise GroupError(
            "there is no axis of points" if not known else "there are several axes that may be points",
            got=", ".join(f"{label}={what}" for label, what in bindings) + f"; points={given!r}",
            expected="a label of the signature, or exactly one bound to S",
            step='write points="p"',
        )
    return known[0]


def _weighs(method: Method) -> bool:
    """Whether a method, and all its components, accept weights of points as a mask."""
    inner = [*getattr(method, "methods", ()), *([method.of] if hasattr(method, "of") else [])]
    return all(map(_weighs, inner)) if inner else getattr(method, "takes_weights", False)
