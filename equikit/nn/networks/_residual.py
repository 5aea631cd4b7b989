"""Residual blocks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.groups import Fixed, Group
from equikit.nn._features import Features, masks_for, read_features, support_for
from equikit.nn._layer import Layer, features_text
from equikit.nn.networks._hidden import agree
from equikit.nn.termwise._rows import read_terms
from equikit.plans import Arrays, Masks
from equikit.signatures import Signature
from equikit.supports import Support


@functools.lru_cache(maxsize=256)
def _options_of(call: Callable[..., Any]) -> frozenset[str]:
    """Return which of `mask=` and `support=` a function takes."""
    return frozenset({"mask", "support"} & inspect.signature(call).parameters.keys())


def known_groups(layer: nnx.Module) -> Signature | None:
    """Return a signature with the groups of a layer; `None` for modules of other packages."""
    return layer.call_signature if isinstance(layer, Layer) else None


def applied(layer: Any, x: Any, mask: Masks | None, support: Support | None, whole: Signature) -> Any:
    """Apply a layer, with the masks and the support of its labels only."""
    of_flax = type(layer).__module__.partition(".")[0] == "flax"  # there `mask=` is an array with another meaning
    own, takes = known_groups(layer), frozenset[str]() if of_flax else _options_of(type(layer).__call__)
    options: dict[str, Any] = {}
    if "mask" in takes:
        options["mask"] = mask if own is None else masks_for(own, whole, mask)
    if "support" in takes and support is not None:
        options["support"] = support if own is None else support_for(own, whole, support)
    return layer(x, **options)


def refuse_change(before: Any, after: Any) -> None:
    """Raise `ShapeError` if layers change the names or shapes of arrays."""
    shapes = [jax.tree.map(lambda array: [*jnp.shape(array)], x) for x in (before, after)]
    if shapes[0] != shapes[1]:
        raise ShapeError(
            "the layers change the names or shapes of arrays",
            got=f"{shapes[1]} of {shapes[0]}",
            expected="the features that the first layer takes",
            step="give the last layer the output features that the first one takes",
        )


def known_sides(layer: nnx.Module) -> tuple[Features, Features] | None:
    """Return the input and output features of a layer; `None` if they are unknown."""
    return layer.sides if isinstance(layer, Layer) else None


def checked_layers(layers: Sequence[object]) -> list[nnx.Module]:
    """Return a nonempty list of layers, or raise `OptionError`."""
    found = [layer for layer in layers if isinstance(layer, nnx.Module) and callable(layer)]
    if not found or len(found) < len(layers):
        raise OptionError(
            "a layer of a residual block or a stack is not an NNX module",
            got=_checks.shown([*layers]),
            expected="layers of equikit, or other NNX modules",
            step="wrap functions of single entries by ek.nn.Pointwise",
        )
    return found


def refuse_mismatch(layers: Sequence[nnx.Module]) -> None:
    """Raise `ShapeError` if known features of consecutive layers, or of the last and first layers, differ."""
    for one, other in zip(layers, [*layers[1:], layers[0]], strict=True):
        before, after = known_sides(one), known_sides(other)
        if before is not None and after is not None and not agree(before[1], after[0]):
            last = other is layers[0]
            raise ShapeError(
                "the layers do not give the features that they take" if last else "two layers do not fit together",
                got=f"{features_text(before[1])} from {type(one).__name__}",
                expected=f"{features_text(after[0])}, which {type(other).__name__} takes",
                step="make their features equal",
            )


def refuse_groups(layers: Sequence[nnx.Module]) -> None:
    """Raise `SignatureError` where two layers bind a label to groups that are not one group, or its free group."""
    found: dict[str, Group | Fixed] = {}
    for layer in layers:
        signature = known_groups(layer)
        for label, group in signature.bindings if signature is not None else ():
            known = found.setdefault(label, group)
            if known != group and (
                isinstance(known, Fixed) or isinstance(group, Fixed) or (known.free != group and group.free != known)
            ):
                raise SignatureError(
                    f"label {label!r} is bound to different groups",
                    got=f"{known} and {group}",
                    expected="one group for each label in all layers of a residual block",
                    step=f"bind {label!r} to {known} in all layers, or use two labels",
                )


class Residual(Layer):
    r"""Residual block \(y = x + f(x)\), where f is a layer or a sequence of layers.

    Args:
        layers: a layer or a sequence of layers, from equikit or other NNX modules. The output features of the last
            layer must be the input features of the first.

    Attributes:
        layers: the layers.

    Raises:
        OptionError: if there are no layers, or a layer is not an NNX module.
        ShapeError: if the features of consecutive layers, or of the input and the output, do not agree.
        SignatureError: if layers bind a label to different groups; a group and its free group agree.

    Example:
        >>> import jax.numpy as jnp
        >>> import equikit as ek
        >>> norm, layer = ek.nn.LayerNorm({"p": 4}, p=ek.S), ek.nn.Linear("p -> p", 4, 4, p=ek.S, rngs=nnx.Rngs(0))
        >>> Residual([norm, layer])(jnp.ones((5, 4))).shape
        (5, 4)

    Source:
        He et al., Deep residual learning for image recognition, arXiv:1512.03385.
    """

    shows_parts = True

    def __init__(self, layers: nnx.Module | Sequence[nnx.Module]) -> None:
        given = [layers] if isinstance(layers, nnx.Module) and not isinstance(layers, nnx.List) else layers
        self.layers = nnx.List(checked_layers([*given] if isinstance(given, Sequence) else [given]))
        refuse_mismatch([*self.layers])
        refuse_groups([*self.layers])

    @property
    def sides(self) -> tuple[Features, Features] | None:
        """The input features of the first layer, or the output features of the last one, twice, if they are known."""
        first, last = known_sides(self.layers[0]), known_sides(self.layers[-1])
        if first is not None:
            return first[0], first[0]
        return None if last is None else (last[1], last[1])

    @property
    def call_signature(self) -> Signature:
        """A signature with the groups of all layers."""
        found = (known_groups(layer) for layer in self.layers)
        bound = {pair for signature in found if signature is not None for pair in signature.bindings}
        return Signature((), (), tuple(sorted(bound)))

    def _call_bindings(self) -> list[str]:
        return []  # the layers show them

    def __call__(self, x: Arrays, *, mask: Masks | None = None, support: Support | None = None) -> Arrays:
        """Apply the block to an array or a dictionary of arrays.

        Args:
            x: input of the first layer.
            mask: for a label, booleans `[*batch, n]`: which entries are present; passed to every layer with the label.
                If the features of the first or last layer are known, absent entries are zero in the result, whatever
                their values.
            support: which entries of the axes of one label are present, as for `Linear`; for every layer with the
                label.

        Raises:
            ShapeError, DTypeError: if an array does not fit, or the layers change the shape.
        """
        whole = self.call_signature
        y = kept = self._present(x, mask, support, whole)
        for layer in self.layers:
            y = applied(layer, y, mask, support, whole)
        refuse_change(kept, y)
        # A pointwise function, such as a cosine, may have filled absent entries.
        y = self._present(y, mask, support, whole)
        result: Arrays = jax.tree.map(jnp.add, kept, y)
        return result

    def _present(self, x: Arrays, mask: Masks | None, support: Support | None, whole: Signature) -> Arrays:
        """Return an array of the block's features, or a dictionary of them, with absent entries set to zero."""
        sides = self.sides
        if (mask is None and support is None) or sides is None:
            return x
        terms, widths = read_features(sides[0], "input")
        masks = masks_for(whole, whole, mask) or {}
        given: Any = x if isinstance(x, Mapping) else {terms[0].name: x}
        arrays, rows = read_terms(Signature(terms, (), whole.bindings), widths, given, masks, support)
        kept = {term.name: rows.together(term, rows.present(term, arrays[term.name])) for term in terms}
        return kept if isinstance(x, Mapping) else kept[terms[0].name]
