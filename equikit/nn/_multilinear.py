"""The multilinear layer: all equivariant products of several tensors, each with a learned weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from equikit import _checks, _keywords
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.diagrams import MultilinearSpace, multilinear, why_none
from equikit.nn._arguments import Space, space_of
from equikit.nn._dtypes import cast, checked_dtypes
from equikit.nn._layer import Layer, channels_text, quoted
from equikit.nn._linear import initial_sizes
from equikit.nn.initializers import scaled, unit_normal
from equikit.plans import (
    NORMALIZE,
    Feature,
    Masks,
    Mode,
    MultilinearPlan,
    Normalize,
    Planned,
    RunOptions,
    applied_maps,
    multilinear_weight_shape,
    per_term,
    planned_maps,
    planned_part,
)
from equikit.signatures import Signature
from equikit.supports import Support


class Multilinear(Layer):
    r"""All multilinear maps of several tensors that commute with the groups, each with a learned weight.

    \(y = \sum_b b(x_1, \dots, x_m)\, W_b\), where b runs over the basis of `hom("x, x y -> x", ...)`. The outer product
    of the inputs is never formed.

    On a support of edges, in the call, `"p p, p -> p"` is message passing: a feature of an edge times a feature of its
    end, added over the edges of a node. `"p p, p r -> p r"` are subgraph networks: messages in a subgraph for each
    root, with nodes `p` on the edges of the graph, and roots `r` on a dense axis of their own. `"p p, p p -> p p"` are
    k-IGNs with products of matrices, which need the triples of nodes that edges link in pairs,
    `edges | edges.cliques()`.

    All tensors with several axes of one label have the entries of one support. Channels are mixed at less cost by
    `Linear` layers around mode `"channelwise"`: mode `"full"` holds a product of channels for each entry.

    Args:
        signature: inputs separated by commas: `"x, x y -> x"`. `sym(x x)` and `alt(x x)` mark axes in which a tensor is
            symmetric or antisymmetric; `sym(x, x)` marks inputs that may be exchanged, such as a tensor that enters
            twice. An exchange swaps the tensors, not their channels. Or a space `ek.hom("x, x y -> x", ...)`, which
            includes the groups.
        channels: channels of each input, or one number for all.
        out_channels: channels of the output; in mode `"channelwise"` equal to the channels of the inputs.
        mode: `"full"` has a weight for each choice of a channel from every input and the output; `"channelwise"`
            multiplies corresponding channels, with one weight for each channel.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        normalize: `"mean"` divides each sum over an index that is not in the output by its size; `"sum"` does not.
        init_size: size of the free labels (one for all, or by label) at which initialization preserves the variance.
        dtype: dtype of the computation; by default the promoted dtype of inputs and parameters.
        param_dtype: dtype of the parameters; by default float32, or complex64 if a group is complex.
        precision: precision of the products, as in `jax.lax.dot_general`.
        kernel_init: initializer with variance one; its values are scaled by the exact norm of each basis element, so
            that independent inputs of variance one give an output of variance one.
        **bindings: labels with their groups.

    Attributes:
        kernel: a parameter `[basis, *features in, features out]`, or `[basis, channels]`.

    Raises:
        SignatureError: if the signature cannot be read, or if the only map is zero.
        GroupError, ShapeError, DTypeError, OptionError: if an argument does not fit.

    Cost: as in `equikit.plans.apply_multilinear`.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit import O
        >>> layer = Multilinear("x, x x -> x", (4, 2), 8, x=O(3), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((5, 3, 4)), jnp.ones((5, 3, 3, 2))).shape
        (5, 3, 8)

        Messages along edges, in time and memory that grow as the number of edges:

        >>> from equikit import S, Support
        >>> edges = Support("p p", [0, 1, 2], [1, 2, 0], n=3)
        >>> message = Multilinear("p p, p -> p", (4, 2), 8, p=S, rngs=nnx.Rngs(0))
        >>> message(jnp.ones((3, 4)), jnp.ones((3, 2)), support=edges).shape
        (3, 8)

    Source:
        Zhang et al., Constructing Invariant and Equivariant Operations by Symmetric Tensor Network, arXiv:2508.12596.
    """

    def __init__(
        self,
        signature: str | Space,
        channels: int | Sequence[int],
        out_channels: int | None = None,
        *,
        mode: Mode = "full",
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        normalize: Normalize = "mean",
        init_size: int | Mapping[str, int] = 1,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike | None = None,
        precision: lax.PrecisionLike = None,
        kernel_init: nnx.Initializer = unit_normal,
        **bindings: object,
    ) -> None:
        call = _keywords.call_of(type(self))
        given = space_of(signature, MultilinearSpace, groups, bindings, call)
        self.space: MultilinearSpace = given or multilinear(signature, groups, bindings, call)  # type: ignore[arg-type]
        self.channels = per_term(channels, self.space.inputs, "input")
        if out_channels is None and mode != "channelwise":
            raise OptionError(
                "the channels of the output are not given",
                got=f"{signature!r}, {channels!r}",
                expected="channels of the inputs and of the output",
                step='write Multilinear("x, x -> x", (4, 4), 8, ...), or mode="channelwise"',
            )
        wanted = self.channels[0] if out_channels is None else out_channels
        self.out_channels = _checks.count("the number of output channels", wanted)
        self.mode: Mode = mode
        self.normalize: Normalize = _checks.choice("normalize", normalize, NORMALIZE)
        self.dtype, stored = checked_dtypes(dtype, param_dtype, complex_group=self.space.signature.is_complex)
        self.options = RunOptions(precision, "factored")
        _checks.rngs(rngs)
        shape = multilinear_weight_shape(self.space, self.channels, self.out_channels, mode=mode)
        if not self.space.dim:
            raise SignatureError(
                "no multilinear map but zero commutes with the group",
                got=f"{self.space!r}: {self._reason()}",
                expected="a space of dimension one or more",
                step="look at ek.hom(...).dim, and choose another number of axes, a larger n or another group",
            )
        sizes = initial_sizes(self.space.signature.sizes, init_size)
        acted = {label: size for label, size in sizes.items() if label in self.space.signature.groups}
        free = {label: size for label, size in acted.items() if self.space.signature.sizes[label] is None}
        gains = np.array([float(gain) for gain in self.space.mean_square_gains(free, mean=normalize == "mean")])
        width = 1 if mode == "channelwise" else max(int(np.prod(shape[1:-1])), 1)
        scale = 1 / np.sqrt(len(gains) * width * gains)
        self.kernel = nnx.Param(scaled(kernel_init, rngs.params(), shape, stored, scale))

    def _call_arguments(self) -> list[str]:
        return [quoted(self.space.text), channels_text(self.channels), str(self.out_channels)]

    @property
    def call_signature(self) -> Signature:
        """The signature of the space."""
        return self.space.signature

    def _map_count(self) -> int | None:
        return self.space.dim

    def _reason(self) -> str:
        """Explain why the space has dimension zero."""
        diagrams = self.space.all_diagrams
        why = why_none(diagrams.top, diagrams.bottom, diagrams.groups)
        if why is not None or not self.space.symmetric:
            return why or "a plain axis has no entries"
        return "every diagram changes its sign under an exchange that should leave it, or the reverse"

    @property
    def plan(self) -> MultilinearPlan:
        """The plan that the layer runs."""
        return planned_maps(self.space, self.channels, self.out_channels, self.normalize, self.mode)

    def plans_and_weights(self) -> Planned:
        """Return the plan and its weights as NumPy arrays, for `equikit.plans.to_numpy` and `to_torch`."""
        kernel = self.kernel[...]
        return planned_part(self.plan, {"kernel": kernel if self.dtype is None else kernel.astype(self.dtype)})

    def __call__(
        self,
        *inputs: Feature,
        mask: Masks | None = None,
        sizes: Mapping[str, int] | None = None,
        support: Support | None = None,
    ) -> Feature:
        """Apply the layer to an array `[*batch, *axes, channels]` for each input, in order.

        Args:
            *inputs: the arrays.
            mask: for a label, booleans `[*batch, n]`: which entries are present; as for `Linear`.
            sizes: sizes of free labels that no input has.
            support: which entries of the axes of one label are present, as for `Linear`; products and their means on a
                support are described in `equikit.plans.apply_multilinear`.

        Returns:
            `[*batch, *axes, channels]`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
            OptionError: if a product needs triples that the support lacks.
        """
        kernel: Any = self.kernel[...]
        if self.dtype is not None:
            kernel, inputs = kernel.astype(self.dtype), tuple(cast(x, self.dtype) for x in inputs)
        for i, (x, width) in enumerate(zip(inputs, self.channels, strict=False)):
            if isinstance(x, jax.Array | np.ndarray) and x.ndim and x.shape[-1] != width:
                raise ShapeError(
                    f"input {i + 1} has {x.shape[-1]} channels, not {width}",
                    got=f"shape {list(x.shape)}",
                    expected=f"{width} channels, last",
                    step="check the last axis, or the layer",
                )
        return applied_maps(
            self.space,
            inputs,
            kernel,
            self.options,
            mode=self.mode,
            normalize=self.normalize,
            mask=mask,
            sizes=sizes,
            support=support,
        )
