"""The equivariant linear layer: a static plan and its parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from equikit import _checks, _keywords
from equikit._errors import SignatureError
from equikit.diagrams import Diagrams, HomSpace, mean_square_gains, pair_diagrams, why_none
from equikit.groups import S
from equikit.nn._arguments import Space, typed, without_loops
from equikit.nn._dtypes import cast, checked_dtypes
from equikit.nn._features import Features, features_of
from equikit.nn._layer import Layer, maps_text
from equikit.nn.initializers import initial, scaled, unit_normal, zeros
from equikit.plans import (
    NORMALIZE,
    Active,
    Arrays,
    Channels,
    Layout,
    Masks,
    Method,
    Normalize,
    Plan,
    Planned,
    RunOptions,
    TermPair,
    Widths,
    active_maps,
    applied,
    feature_widths,
    planned,
    planned_part,
    weight_name,
    weight_places,
)
from equikit.plans.sharding import OutSharding
from equikit.signatures import Signature, Term, base
from equikit.supports import Support

LARGEST_SIZE = 10**9
"""The largest `init_size`: larger sizes give weights beyond the range of float32."""


def initial_sizes(known: Mapping[str, int | None], init_size: int | Mapping[str, int]) -> dict[str, int]:
    """Return the size of every label for initialization: the bound size, or `init_size` for free labels.

    A label and its dual have the same size, which may be given for either.
    """
    free = sorted({base(label) for label, size in known.items() if size is None})
    if not free and not isinstance(init_size, Mapping):
        _checks.count("init_size", init_size, most=LARGEST_SIZE)
    given = init_size if isinstance(init_size, Mapping) else dict.fromkeys(free, init_size)
    chosen: dict[str, int] = {}
    for label, size in given.items():
        own, number = base(str(label)), _checks.count(f"init_size of {label!r}", size, most=LARGEST_SIZE)
        if chosen.setdefault(own, number) != number:
            raise SignatureError(
                f"init_size gives two sizes for {own!r} and its dual",
                got=dict(given),
                expected="one size for both",
                step=f"remove {own}*",
            )
    sizes = {label: max(1, chosen.get(base(label), 1) if size is None else size) for label, size in known.items()}
    unknown = sorted(chosen.keys() - set(free))
    if unknown:
        raise SignatureError(
            f"init_size is given for {unknown[0]!r}, which is not a free label",
            got=dict(given),
            expected=f"sizes for {', '.join(free) or 'nothing: every label is bound'}",
            step="remove it; a bound label is initialized at its own size",
        )
    return sizes


def unreached(signature: Signature, channels: Widths) -> list[Term]:
    """Return the outputs that have no nonzero linear map from any input."""
    reached = {s for (t, s), _ in weight_places(signature, channels, False).values() if t is not None}
    return [term for s, term in enumerate(signature.outputs) if s not in reached]


class Linear(Layer):
    r"""Equivariant linear layer: all linear maps that commute with the groups, with weights for each channel pair.

    \(y_s = \sum_t \sum_D D\, x_t\, W_{t s D} + b_s\), where D runs over the diagrams from input term t to output term s
    and the bias is a linear combination of the invariant vectors of the output. One plan computes the sum: time and
    memory grow as \(n^{\max(k,l)}\), not as \(n^{k+l}\).

    Axes before the axes of the signature are batch axes. So a layer that acts on each point alone leaves out the label
    of the points: `"x -> x"` in place of `"p x -> p x"`, which also has means over the points.

    Args:
        signature: a string `"p p -> p p"`; or a space `ek.hom("p p -> p p", p=ek.S)`, which includes the groups; or the
            input features as a dictionary, labels to channels (`{"p p": 16, "p": 8}`) or name to labels and channels
            (`{"edges": ("p p", 16)}`). As in `ek.hom`, `"x~"` is an axial vector of O(n), `"det(x)"` a pseudoscalar.
        channels: channels of the inputs (one number, or one for each term); or the output features as a dictionary.
        out_channels: channels of the outputs, if `signature` is a string or a space.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        use_bias: whether to add a learned combination of the invariant vectors of each output.
        normalize: `"mean"` divides each sum over input axes by its number of terms, so that one set of weights serves
            every n; `"sum"` does not. On a support it divides by the number of present entries.
        loops: `False` leaves out the maps that are zero on supports without loops, those whose diagrams join two axes
            of one term: of the 15 maps from `"p p"` to `"p p"` it keeps 7. The layer is then the layer with all maps
            whose other weights are zero, also on dense arrays and on supports with loops. The label, bound to `ek.S`,
            is the only one with several axes in a term.
        init_size: size of the free labels (one for all, or by label) at which initialization preserves the variance of
            independent entries: the n of the data, if it is known. The default of 1 suits means: the output variance is
            at most the input variance at every n, and equals it for inputs with equal entries and outputs with at most
            one axis. With sums the variance grows for n beyond `init_size`. Entries that other layers have computed are
            not independent; `Network` counts them as equal.
        dtype: dtype of the computation, to which inputs and parameters are cast; by default their promoted dtype. Half
            precision together with float64 is rejected.
        param_dtype: dtype of the parameters; by default float32, or complex64 if a group is complex.
        precision: precision of the matrix products, as in `jax.lax.dot_general`.
        method: how to run the plan: `"auto"`, `"factored"`, `"dense"`, `"naive"` or `"fused"`, as in
            `equikit.plans.apply`.
        remat: keep only inputs and weights for the backward pass, and recompute intermediates.
        chunk_size: number of samples computed at a time, in a loop over the batch, to save memory.
        kernel_init: initializer with variance one; its values are scaled by the exact norm of each diagram.
        bias_init: initializer of the bias.
        **bindings: labels with their groups: `p=ek.S` (any n), `p=ek.S(5)`, `f=ek.Fixed(3)`.

    Attributes:
        kernel: maps `"in -> out"` to a parameter `[diagrams, features in, features out]`; features are channels times
            the sizes of plain axes, plain axes first.
        bias: maps `"-> out"` to a parameter `[diagrams, features out]`.

    Raises:
        SignatureError: if the signature cannot be read, or if the only map to an output is zero, even if it has a bias.
        GroupError, ShapeError, DTypeError, OptionError: if an argument does not fit.
        TooLargeError: if there are more than 2,500,000 maps between two terms, too many to scale initial weights. With
            fewer maps `nnx.eval_shape` returns the shapes of a layer even if its arrays or plan would be too large.

    Example:
        >>> from equikit import S
        >>> from jax import numpy as jnp
        >>> layer = Linear("p p -> p p", 16, 32, p=S, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((4, 9, 9, 16))).shape
        (4, 9, 9, 32)
        >>> from equikit import hom
        >>> Linear(hom("p p -> p p", p=S), 16, 32, rngs=nnx.Rngs(0)).signature == layer.signature
        True

    Source:
        Maron et al., arXiv:1812.09902; Pearce-Crump, arXiv:2212.08648; Godfrey et al., arXiv:2303.06208.
    """

    needs_input: ClassVar[bool] = True
    """Whether to reject an output that does not depend on any input, and so is zero or a constant."""
    other_layer: ClassVar[str] = "Bilinear"
    """The layer that errors suggest if this layer has no map."""
    mixed_input: ClassVar[bool] = False
    """Whether the inputs come from layers of the same network, whose sums give permuted entries one value."""

    loops: bool = True
    """Whether the layer has the maps that are zero on supports without loops."""

    def __init__(
        self,
        signature: str | Features | Space,
        channels: Channels | Features,
        out_channels: Channels | None = None,
        *,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        use_bias: bool = True,
        normalize: Normalize = "mean",
        loops: bool = True,
        init_size: int | Mapping[str, int] = 1,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike | None = None,
        precision: lax.PrecisionLike = None,
        method: Method = "auto",
        remat: bool = False,
        chunk_size: int | None = None,
        kernel_init: nnx.Initializer = unit_normal,
        bias_init: nnx.Initializer = zeros,
        **bindings: object,
    ) -> None:
        kind = typed(signature, channels, out_channels, groups, bindings, _keywords.call_of(type(self)))
        self.signature = kind.signature
        if not _checks.flag("loops", loops):
            self.loops, self.signature = False, without_loops(kind.signature)
        self.channels = kind.channels
        self.normalize = _checks.choice("normalize", normalize, NORMALIZE)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.dtype, stored = checked_dtypes(dtype, param_dtype, complex_group=self.signature.is_complex)
        self.options = RunOptions(precision, method, remat, chunk_size)
        _checks.rngs(rngs)
        kernels = {name: shape for name, ((t, _), shape) in self._places.items() if t is not None}
        biases = {name: shape for name, ((t, _), shape) in self._places.items() if t is None}
        if self.needs_input:
            self._refuse_unreached()
        scales = self._scales(init_size)
        self.kernel = nnx.Dict(
            {
                name: nnx.Param(scaled(kernel_init, rngs.params(), shape, stored, scales[name]))
                for name, shape in kernels.items()
            }
        )
        self.bias = nnx.Dict(
            {
                name: nnx.Param(initial("bias_init", bias_init, rngs.params(), shape, stored))
                for name, shape in biases.items()
            }
        )

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features of the inputs and of the outputs."""
        inputs, outputs = self.signature.inputs, self.signature.outputs
        return features_of(inputs, self.channels[0]), features_of(outputs, self.channels[1])

    def _call_arguments(self) -> list[str]:
        return maps_text(self.signature, self.channels)

    def _map_count(self) -> int | None:
        return self.space.dim

    @property
    def plan(self) -> Plan:
        """The plan that the layer runs."""
        return planned(self.signature, self.channels, self.normalize, self.use_bias)

    @property
    def _places(self) -> Mapping[str, tuple[TermPair, tuple[int, ...]]]:
        """The pair of terms and the shape of each parameter, without a plan, for which there can be too many maps."""
        return weight_places(self.signature, self.channels, self.use_bias)

    @property
    def space(self) -> HomSpace:
        """The Hom space of the maps; its diagrams are in the order of the parameters."""
        return HomSpace(self.signature)

    def _refuse_unreached(self) -> None:
        """Raise `SignatureError` if an output depends on no input, and so would always be zero or a constant."""
        lost, other = unreached(self.signature, self.channels), f"or use ek.nn.{self.other_layer}"
        if not lost:
            return
        biased = any(weight_name(None, term) in self._places for term in lost)
        if len(lost) == len(self.signature.outputs):
            raise SignatureError(
                "no linear map but zero commutes with the group" + (", and only a bias is left" if biased else ""),
                got=f"{HomSpace(self.signature)!r}: {'; '.join(self._reasons(lost))}",
                expected="a space of dimension one or more",
                step=f"look at ek.hom(...).dim; choose other axes, a larger n or another group, {other}",
            )
        name = lost[0].name
        raise SignatureError(
            f"no input reaches the output {name!r}" + (", and only a bias is left" if biased else ""),
            got=f"inputs {', '.join(map(str, self.signature.inputs))}: {'; '.join(self._reasons(lost[:1]))}",
            expected="a linear map but zero from an input to every output",
            step=f"remove {name!r} from the outputs, {other}",
        )

    def _reasons(self, targets: Sequence[Term]) -> list[str]:
        """Explain for each pair of terms why there is no map to these outputs."""
        reasons = []
        for target, source in itertools.product(targets, self.signature.inputs):
            diagrams = HomSpace(self.signature.pair(source, target)).diagrams
            assert isinstance(diagrams, Diagrams)
            why = why_none(diagrams.top, diagrams.bottom, diagrams.groups)
            reasons.append(why or "a plain axis has no entries")
        return list(dict.fromkeys(reasons))

    def _initial_sizes(self, init_size: int | Mapping[str, int]) -> dict[str, int]:
        """Return the size of every label at which the variance of independent entries is preserved."""
        return initial_sizes(self.signature.sizes, init_size)

    def _scales(self, init_size: int | Mapping[str, int]) -> dict[str, np.ndarray]:
        r"""Return the standard deviation of the weights: \((c_{in}\, |D|\, \lVert D \rVert^2 / n^l)^{-1/2}\).

        If the inputs are mixed, permuted entries count as equal: no output entry then has a larger variance than the
        input entries, for any correlation. Scaled for independent entries, every sum over n of them adds a factor n.
        """
        sizes, (wide, _) = self._initial_sizes(init_size), feature_widths(self.signature, self.channels)
        equal = [label for label, group in self.signature.groups.items() if self.mixed_input and isinstance(group, S)]
        scales: dict[str, np.ndarray] = {}
        for target in self.signature.outputs:
            gains = {}
            for source, width in zip(self.signature.inputs, wide, strict=True):
                diagrams = pair_diagrams(self.signature, source, target)
                exact = mean_square_gains(diagrams, sizes, mean=self.normalize == "mean", equal=equal)
                gains[weight_name(source, target)] = max(width, 1) * np.array([float(gain) for gain in exact])
            count = sum(map(len, gains.values()))
            scales |= {name: 1 / np.sqrt(count * gain) for name, gain in gains.items()}
        return scales

    def weights(self) -> dict[str, jax.Array]:
        """Return the weights of the plan, in the dtype of the computation."""
        # Use the names of the plan: `nnx.tabulate` adds a key to each `nnx.Dict` and wraps its methods.
        places = weight_places(self.signature, self.channels, self.use_bias)
        found = {name: (self.bias if t is None else self.kernel)[name][...] for name, ((t, _), _) in places.items()}
        return found if self.dtype is None else {name: weight.astype(self.dtype) for name, weight in found.items()}

    def active(self, support: Support) -> Active:
        """Return for each parameter which of its maps are not zero on a support.

        Args:
            support: the support, outside `jit`.

        Returns:
            A mapping from the names of parameters to booleans `[diagrams]`, in the order of `space.diagrams` of a pair
            of terms; its `zero` has the diagrams of the maps that are zero. Their weights have no effect.

        Raises:
            OptionError: if the layer cannot be applied on the support.

        Cost: O(rows) for each half diagram, and for each pair of half diagrams of the label with a wiring.

        Example:
            >>> from equikit import S, Support
            >>> layer = Linear("p p -> p p", 1, 1, p=S, rngs=nnx.Rngs(0))
            >>> layer.active(Support("p p", [0, 1, 1, 2], [1, 0, 2, 1], n=3))
            Active(p p -> p p: 7 of 15, -> p p: 1 of 2)
        """
        return active_maps(self.signature, self.channels, self.use_bias, support)

    def plans_and_weights(self) -> Planned:
        """Return the plan and its weights as NumPy arrays, for `equikit.plans.to_numpy` and `to_torch`."""
        return planned_part(self.plan, self.weights())

    def __call__(
        self,
        x: Arrays,
        *,
        mask: Masks | None = None,
        sizes: Mapping[str, int] | None = None,
        out_sharding: OutSharding | None = None,
        support: Support | None = None,
    ) -> Arrays:
        """Apply the layer.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary of such arrays if the layer has several inputs.
            mask: for a label, booleans `[*batch, n]`: which entries are present. Absent entries are ignored, whatever
                their values, and are zero in the result. A single array is enough if only one label can have a mask.
            sizes: sizes of free labels that no input has.
            out_sharding: how the result is sharded over a mesh, as in `equikit.plans.apply`.
            support: which entries of the axes of one label are present, a label bound to `ek.S`. Arrays then have rows
                in place of these axes, first and after batch axes: one for each entry, or each node, or each graph, as
                in `equikit.plans.apply`.

        Returns:
            `[*batch, *axes, channels]`; a dictionary if `x` is a dictionary or the layer has several outputs. The
            annotated result type is the type of `x`: pass a dictionary to a layer with several outputs. NaNs in present
            entries propagate to every sum over them.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        weights = self._given()
        if self.dtype is not None:
            x = cast(x, self.dtype)
        options: dict[str, Any] = {"mask": mask, "sizes": sizes, "out_sharding": out_sharding, "support": support}
        result: Any = applied(self.plan, x, weights, self.options, **options)
        found: Arrays = result
        return found

    def _given(self) -> dict[str, jax.Array] | Layout:
        """Return the weights for the plan, by name or as a layout."""
        return self.weights()
