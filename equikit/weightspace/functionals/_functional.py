"""Equivariant and invariant networks on the weights of other networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import masks_of
from equikit._errors import OptionError, ShapeError
from equikit._masks import masked
from equikit.groups import Fixed, S
from equikit.nn import Activation, Linear, RMSNorm, relu
from equikit.nn.initializers import unit_normal
from equikit.plans import Masks
from equikit.weightspace.asymmetric import Ensemble
from equikit.weightspace.functionals._fixed import Encoding, FixedAxes, coded_labels, sinusoids
from equikit.weightspace.functionals._perceptron import Perceptron
from equikit.weightspace.functionals._standardize import Standardize
from equikit.weightspace.functionals._wreath import WreathLinear, checked_result
from equikit.weightspace.graphs import Probes
from equikit.weightspace.specifications._leaves import batch_of, in_channels, named_leaves, one_channel
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, labels_of, split, tensors_of

RESULT = "result"
CODES = "positions of "
ACTIVATIONS = "activations of "


class Functional(nnx.Module):
    r"""A network on the parameters of other networks, equivariant or invariant under their permutations.

    The parameters are split into tensors with one label for each axis. A layer maps all tensors to all tensors: it is a
    `Linear` layer whose diagrams span every linear map that commutes with the group, and whose plan shares intermediate
    results between the maps. Layers are separated by an elementwise nonlinearity. Sums over neurons are means, so one
    set of weights serves networks of every width: `spec` can be of any of them, and `pad` makes batches.

    Some axes are not permuted: inputs, outputs and positions in space. With `"dense"` every index of these axes has its
    own weights, whose number grows with the product of the sizes of two such axes. With `"positions"` these axes are
    treated as if they were permuted, and a learned encoding of every position is an additional input that breaks this
    symmetry; the number of weights does not depend on their sizes. `UNF`, `NFN` and `DWSNet` are published models.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers of channels for each weight: input, hidden layers, output. The input has one channel for
            weights only, and more if each weight comes with a gradient or a momentum.
        out: labels of the output, such as `""` for invariants or `"h0"` for a feature of every neuron of a layer; by
            default the output is a tree like the parameters.
        fixed: `"dense"` or `"positions"`, for all axes that are not permuted or by label; by default dense.
        codes: number of channels of the position encodings.
        encoding: `"learned"`, or `"sinusoids"`, with which these axes can have any size, too.
        activation: the nonlinearity after every hidden layer.
        normalization: `"rms"` divides the features of every weight, before the activation, by their root mean square
            over the channels and the axes that are not permuted.
        dropout: the share of hidden features that are set to zero in training, when the call gets a key.
        residual: add the input of a hidden layer to its output if their numbers of channels agree.
        head: widths of a perceptron that is applied to the activated result; the last width is the number of output
            channels. With `out=""` the functional is then a general invariant network.
        members: number of heads on the same features. With `out=` the result is their mean, and `head=` is needed.
            Otherwise each head returns parameters of its own, whose networks together are larger than the network that
            is edited: average the outputs of these networks.
        probes: activations of every neuron as additional features, see `Probes`. All networks then have the widths of
            `spec`.
        rank: the rank of maps between many tensors; by default not limited. Tensors without a common label exchange
            means over all their axes, and each pair of tensors has its own weights for them. With `rank=r`, they pass
            through r features that all tensors share, so that operations and weights grow linearly with the number of
            layers. So does any other label of so many tensors that two factors have fewer weights than a matrix,
            such as a residual stream; a good rank is twice the number of hidden channels.
        statistics: parameters of many networks, stacked, whose statistics standardize inputs; or a `Standardize`, which
            for padded networks needs their masks: `Standardize(spec, params, mask=masks)`.
        rngs: random keys for the parameters.
        **options: options of `Linear`, such as `normalize="sum"`, `dtype=` or `remat=True`.

    Raises:
        OptionError: if there are fewer than two numbers of channels, or an option is invalid.

    Cost: a reduction of every tensor for each subset of its labels, each followed by a matrix product. The matrix of
    means over all axes has (tensors × channels)² entries without `rank=`.

    Example:
        >>> from equikit.weightspace import Functional, trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> functional = Functional(spec, [1, 16, 4], out="", rngs=nnx.Rngs(0))
        >>> functional(params).shape
        (4,)
        >>> moved = spec.act(spec.random_element(key=jax.random.key(0)), params)
        >>> bool(jnp.allclose(functional(moved), functional(params), atol=1e-5))
        True

    Source:
        Zhou, Finn and Harrison, Universal neural functionals, arXiv:2402.05232; Navon et al., Equivariant architectures
        for learning in deep weight spaces, arXiv:2301.12780; Zhou et al., Permutation equivariant neural functionals,
        arXiv:2302.14040; for members Dayan, Eitan and Maron, On the expressive power of permutation-equivariant
        weight-space networks, arXiv:2602.01083, section 8.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        fixed: FixedAxes | Mapping[str, FixedAxes] = "dense",
        codes: int = 8,
        encoding: Encoding = "learned",
        activation: Activation = relu,
        normalization: Literal["rms"] | None = None,
        dropout: float = 0.0,
        residual: bool = False,
        head: Sequence[int] = (),
        members: int = 1,
        probes: Probes | None = None,
        rank: int | None = None,
        statistics: Any = None,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        checked_specification(spec)
        widths = _checks.widths("channels", channels, fewest=2, example="[1, 16, 1]")
        _keywords.refuse_unknown(
            type(self).__name__, options, _keywords.call_of(type(self), Linear).options - {"groups"}
        )
        self.spec, self.channels = spec, widths
        self.out = _checks.text("out", out, optional=True, example="h0")
        for label in (out or "").split():
            _checks.choice("out", label, [*spec.sizes])
        self.activation = _checks.function("activation", activation, example="jnp.tanh")
        self.residual = _checks.flag("residual", residual)
        self.dropout = _checks.number("dropout", dropout, least=0, below=1, example=0.1, traced=False)
        _checks.choice("normalization", normalization, ("rms", None))
        codes = _checks.count("codes", codes, example=8)
        rank = None if rank is None else _checks.count("rank", rank, least=1, example=32)
        self.probes = probes
        seen = _terms(spec, self.probes)
        perceptron = _checks.widths("head", head, example="[16, 10]")
        self.members = _checked_members(members, out, perceptron)
        coded, sizes = coded_labels(spec, fixed), spec.sizes
        self.coded = coded
        # Free groups: the weights serve every width.
        groups: dict[str, type[S] | Fixed] = {
            label: what if isinstance(what, Fixed) and label not in coded else S for label, what in spec.bindings
        }
        _checks.choice("encoding", encoding, get_args(Encoding))
        self.resizable, self.code_width = coded if encoding == "sinusoids" else (), codes
        learned = [label for label in coded if label not in self.resizable]
        self.codes = nnx.Dict(
            {label: nnx.Param(unit_normal(_checks.rngs(rngs).params(), (sizes[label], codes))) for label in learned}
        )
        self.standardize = _standardize(spec, statistics, widths[0])
        tensors = [tensor for leaf in spec.leaves for tensor in tensors_of(leaf)]

        def features(width: int) -> dict[str, tuple[str, int]]:
            return {tensor.name: (" ".join(tensor.labels), width) for tensor in tensors}

        sides = [features(width) for width in widths]
        if not perceptron:
            sides[-1] = features(widths[-1] * self.members)
        if out is not None:
            sides[-1] = {RESULT: (checked_result(out, spec.nested), widths[-1])}
        layers, norms = list[WreathLinear](), list[RMSNorm | None]()
        for number, (before, after) in enumerate(itertools.pairwise(sides)):
            more = {CODES + label: (label, codes) for label in coded} | seen if number == 0 else {}
            bound = _used(groups, before | more | after)
            layers.append(
                WreathLinear(before | more, after, groups=bound, nested=spec.nested, rank=rank, rngs=rngs, **options)
            )
            norms.append(_norm(normalization, after, groups) if number + 2 < len(widths) else None)
        self.layers, self.norms = nnx.List(layers), nnx.List(norms)

        def made(rngs: nnx.Rngs) -> Perceptron:
            return Perceptron((widths[-1], *perceptron), self.activation, rngs)

        self.head = Ensemble(made, self.members, rngs=rngs) if perceptron and self.members > 1 else made(rngs)

    def __call__(self, params: Any, *, key: jax.Array | None = None, mask: Masks | None = None) -> Any:
        """Apply the functional to parameters of the architecture of `spec`, with any widths of the permuted labels.

        Args:
            params: a tree of arrays `[*batch, *shape]`, the parameters of one network or of stacked networks; with more
                than one input channel `[*batch, *shape, channels]`.
            key: JAX key for dropout in training; without a key there is no dropout.
            mask: for a permuted label, booleans `[*batch, n]`: which neurons each network has, as `pad` returns. What
                absent neurons hold is ignored, and they are zero in the result.

        Returns:
            `[*batch, *axes, channels]` with the axes of `out`; or a tree like `params`, with a last axis of output
            channels if there is more than one, and a first axis of members if there is more than one.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters do not match the specification, or `key` is not a JAX
                key.
        """
        if key is not None:
            _checks.key(key)
        tree = in_channels(params, self.channels[0])
        spec, arrays = self._spec_of(one_channel(tree)), named_leaves(tree)
        leaves = spec.leaves
        batch = batch_of(leaves, one_channel(arrays))
        known = self.layers[0].signature
        masks = {} if mask is None else masks_of(known, mask)
        if self.standardize is not None:
            arrays = self.standardize.arrays(arrays)
        x: dict[str, jax.Array] = split(leaves, arrays)
        for label in self.coded:
            code = self._code(label, spec.sizes[label])
            x[CODES + label] = jnp.broadcast_to(code, (*batch, *code.shape))
        if self.probes is not None:
            x |= _activations(self.probes, jax.tree.map(lambda leaf: leaf[..., 0], tree), mask)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            # Masks of unknown labels are kept: the layer refuses them.
            mine = layer.signature.groups
            own = {label: m for label, m in masks.items() if label in mine or label not in known.groups} or None
            y = layer(x, mask=own)
            if number + 1 < len(self.layers):
                y = y if norm is None else norm(y, mask=own)
                y = self._dropped({name: self.activation(array) for name, array in y.items()}, key, number)
                if self.residual and self.channels[number] == self.channels[number + 1]:
                    y = {name: array + x[name] for name, array in y.items()}
            x = y
        if self.out is not None:
            return masked(self.head(x[RESULT]), self.out.split(), masks, len(batch))
        x = self._edits(x, masks, len(batch))
        results = list(join(leaves, x).values())
        if results[0].shape[-1] == 1:
            results = [array[..., 0] for array in results]
        return jax.tree.unflatten(jax.tree.structure(params), results)

    def _spec_of(self, params: Any) -> Specification:
        """Return the specification with the widths of these parameters."""
        try:
            return self.spec.resized(params, self.resizable)
        except ShapeError:
            fixed = [label for label, what in self.spec.bindings if isinstance(what, Fixed)]
            sizes = self.spec.resized(params, fixed).sizes  # raises again if it is another architecture
            label = next(label for label in fixed if sizes[label] != self.spec.sizes[label])
            raise ShapeError(
                f"the functional has weights for every index of {label!r}, which is not permuted",
                got=f"{sizes[label]} indices",
                expected=f"{self.spec.sizes[label]} indices, as in its specification",
                step='to serve all sizes, use UNF(spec, channels, out, encoding="sinusoids", rngs=rngs)',
            ) from None

    def _code(self, label: str, size: int) -> jax.Array:
        if label not in self.resizable:
            learned: jax.Array = self.codes[label][...]
            return learned
        like = jax.tree.leaves(nnx.state(self.layers[0], nnx.Param))[0]
        return jnp.asarray(sinusoids(size, self.code_width), like.dtype)

    def _edits(self, x: dict[str, jax.Array], masks: Mapping[str, jax.Array], batch: int) -> dict[str, jax.Array]:
        """Return the output of the head, with a first axis of members if there is more than one."""
        labels = labels_of(self.spec.leaves)

        def present(x: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return {name: masked(array, labels[name], masks, batch) for name, array in x.items()}

        if isinstance(self.head, Ensemble):
            edits: dict[str, jax.Array] = jax.vmap(present)(self.head.each(x))
            return edits
        x = present(self.head(x))
        if self.members == 1:
            return x
        cut = {name: a.reshape(*a.shape[:-1], self.members, self.channels[-1]) for name, a in x.items()}
        return {name: jnp.moveaxis(array, -2, 0) for name, array in cut.items()}

    def _dropped(self, x: dict[str, jax.Array], key: jax.Array | None, number: int) -> dict[str, jax.Array]:
        """Apply dropout: set random features to zero and scale up the others."""
        if key is None or not self.dropout:
            return x
        keys = jax.random.split(jax.random.fold_in(key, number), len(x))
        return {
            name: jnp.where(jax.random.bernoulli(one, 1 - self.dropout, array.shape), array / (1 - self.dropout), 0)
            for one, (name, array) in zip(keys, x.items(), strict=True)
        }


def _standardize(spec: Specification, statistics: Any, channels: int) -> Standardize | None:
    if statistics is None or not isinstance(statistics, Standardize):
        return None if statistics is None else Standardize(spec, statistics, channels=channels)
    step = "write statistics=Standardize(spec, params, mask=masks)"
    _checks.same("the list of names in statistics=", [*statistics.spec.terms], [*spec.terms], step=step)
    step = f"write channels={channels}"
    _checks.same("the number of channels of statistics=", statistics.channels, channels, step=step)
    return statistics


def _checked_members(members: Any, out: str | None, head: Sequence[int]) -> int:
    """Return the number of heads, or raise `OptionError` if their mean would be one linear map."""
    count = _checks.count("members", members, least=1, example=4)
    if count > 1 and out is not None and not head:
        raise OptionError(
            "members= without head= would average linear maps, which is one linear map",
            got=f"out={out!r}, members={count}",
            expected="a perceptron for each member",
            step=f"write head=[16, 10], members={count}",
        )
    return count


def _terms(spec: Specification, probes: Any) -> dict[str, tuple[str, int]]:
    """Return the labels and the number of channels of the activations of each layer."""
    if probes is None:
        return {}
    step = "write probes=Probes(ParameterGraph(spec), apply, x)"
    _checks.instance("probes", probes, Probes, step.removeprefix("write probes="))
    _checks.same("specification of probes=", probes.graph.spec, spec, step=step)
    return {ACTIVATIONS + name: (" ".join(labels), probes.count) for name, labels in probes.layers.items()}


def _activations(probes: Probes, params: Any, mask: Any) -> dict[str, jax.Array]:
    """Return the activations of each layer, which depend on all neurons, so that none may be absent."""
    if mask is not None:
        raise OptionError(
            "a functional with probes takes no mask",
            got="mask=, for absent neurons",
            expected="networks of the width of spec: the probes run whole networks",
            step="leave mask out",
        )
    return {ACTIVATIONS + name: array for name, array in probes.by_layer(params).items()}


def _used(
    groups: Mapping[str, type[S] | Fixed], *features: Mapping[str, tuple[str, int]]
) -> dict[str, type[S] | Fixed]:
    """Return the groups of the labels that occur in the features."""
    found = {label for side in features for text, _ in side.values() for label in text.split()}
    return {label: what for label, what in groups.items() if label in found}


def _norm(
    kind: str | None, after: Mapping[str, tuple[str, int]], groups: Mapping[str, type[S] | Fixed]
) -> RMSNorm | None:
    return RMSNorm(after, groups=_used(groups, after)) if kind else None
