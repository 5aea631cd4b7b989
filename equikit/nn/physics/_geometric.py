"""The equivariant message of a geometric graph network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks, _keywords
from equikit._array_checks import Shapes, checked_arrays, is_array, masks_of
from equikit._errors import OptionError, ShapeError, SignatureError, TooLargeError
from equikit._masks import masked
from equikit._neighbors import Neighbors
from equikit.diagrams import MultilinearSpace
from equikit.groups import Group, O, S
from equikit.nn._arguments import Space, sides_of, typed_side
from equikit.nn._dtypes import checked_dtypes
from equikit.nn._features import Features, features_of, given_terms, refuse_complex
from equikit.nn._layer import Layer, features_text
from equikit.nn.initializers import scaled, unit_normal
from equikit.nn.physics._message_maps import OTHER, POINT, SPACE, message_maps
from equikit.nn.physics._pairs import Pairs, all_pairs, checked_edges, listed_pairs
from equikit.nn.physics._radial import Radial
from equikit.plans import Channels, Feature, Masks, planned_maps, run_contractions
from equikit.plans.sharding import Result, placed, result
from equikit.signatures import Signature, Term, bind, given_bindings


class GeometricMessage(Layer):
    r"""Messages from neighboring points, computed by all equivariant maps of their features and directions.

    \(m_i = \sum_{j \ne i} \sum_b f_b(r_{ij})\, b(h_j, \hat r_{ij}, \dots, \hat r_{ij})\): b runs over the maps that are
    linear in a feature \(h_j\) and of degree 0 to `powers` in the direction \(\hat r_{ij}\) from i to j, and \(f_b\)
    are learned functions of the distance, for each pair of channels, which vanish smoothly at the cutoff. The result is
    equivariant under permutations of points and rotations and reflections of space, and invariant under translations.
    Layers between messages that act on each point alone leave the label of the points out (`"x -> x"` for `"p x"`), so
    that points are batch axes: with the label, they would mix all points, also those beyond the cutoff.

    Args:
        inputs: features of the points: labels to channels (`{"p": 16, "p x": 8}`) or name to labels and channels; the
            label of the points comes first, then any number of spatial axes. Or a space
            `ek.hom("p -> p x", p=ek.S, x=ek.O(3))`.
        outputs: the message features, in a dictionary; for a space the channels of both sides, `(16, 8)`.
        cutoff: the distance beyond which points send no messages to each other.
        powers: the highest power of the direction; under O(3) at most 9 between scalars and 7 between vectors.
        radial: number of output functions of the `Radial` network; the \(f_b\) are linear combinations of them.
        basis, basis_size, hidden: as for `Radial`.
        neighbors: the typical number of points within the cutoff, which scales initial weights to preserve the
            variance.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords: `p=S`, `x=O(3)`.
        param_dtype: dtype of the parameters.
        kernel_init: initializer with variance one; its values are scaled by the exact norm of each map.
        **bindings: labels with their groups.

    Attributes:
        radial: the functions of the distance, a `Radial`.
        kernel: maps `"in, power -> out"` to a parameter `[maps, channels in, radial, channels out]`.

    Raises:
        SignatureError, OptionError: if the features do not belong to points in space, or an output has no map.
        TooLargeError: if there are too many diagrams for a power of the direction.

    Cost: memory for \(p^2\) pairs with `radial` · \(n^{powers}\) numbers; time \(p^2\) times channels and maps. With a
        neighbor list both are linear in its edges.

    Example:
        >>> layer = GeometricMessage({"p": 4}, {"p": 8, "p x": 2}, cutoff=2.0, p=S, x=O(3), rngs=nnx.Rngs(0))
        >>> message = layer({"p": jnp.ones((5, 4))}, jnp.zeros((5, 3)))
        >>> message["p x"].shape
        (5, 3, 2)
        >>> from equikit.data import neighbors
        >>> line = np.arange(15, dtype=np.float32).reshape(5, 3) / 3
        >>> message = layer({"p": jnp.ones((5, 4))}, line, edges=neighbors(line, 2.0))

    Source:
        Zhang et al., arXiv:2508.12596, section on geometric graph networks; Thomas et al., Tensor field networks,
        arXiv:1802.08219, for radial functions times maps.
    """

    def __init__(
        self,
        inputs: Features | Space,
        outputs: Features | tuple[Channels, Channels],
        *,
        cutoff: float,
        powers: int = 2,
        radial: int = 8,
        basis: Literal["bessel", "gaussian"] = "bessel",
        basis_size: int = 8,
        hidden: Sequence[int] = (32,),
        neighbors: float = 1.0,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        param_dtype: DTypeLike = jnp.float32,
        kernel_init: nnx.Initializer = unit_normal,
        **bindings: object,
    ) -> None:
        call = _keywords.call_of(type(self))
        before, after, groups = sides_of(inputs, outputs, groups, bindings, call)
        (sources, wide), (targets, narrow) = (
            typed_side(side, None, what) for side, what in ((before, "input"), (after, "output"))
        )
        if wide is None or narrow is None:
            raise SignatureError(
                "the features of the points have no channels",
                got=f"{inputs!r} and {outputs!r}",
                expected="two dictionaries, from labels to channels",
                step='write {"p": 16, "p x": 8}',
            )
        bound = given_bindings(groups, bindings)
        used = {label for term in (*sources, *targets) for label in term.used}
        # All features may be scalars, but the direction has a spatial axis.
        spatial = [label for label, what in bound.items() if label not in used and isinstance(what, Group | type)]
        _keywords.refuse_misspelled(call, bindings, used)
        extra = Term("positions", (*sources[0].labels[:1], *spatial[:1]))
        self.signature: Signature = bind((*sources, extra), targets, groups, bindings, call=call)
        self.channels = wide, narrow
        self.point, self.space = self._labels()
        positions = Term("positions", (self.point, self.space))
        self.signature = Signature((*sources, positions), targets, self.signature.bindings)
        _checks.rngs(rngs)
        _, stored = checked_dtypes(None, param_dtype)
        neighbors = _checks.number("neighbors", neighbors, above=0, example=1.0, traced=False)
        self.powers = _checks.count("powers", powers)
        self._refuse_high_powers()
        radial = _checks.count("radial", radial, least=1, example=8)
        self.radial = Radial(
            cutoff, radial, basis=basis, basis_size=basis_size, hidden=hidden, rngs=rngs, param_dtype=param_dtype
        )
        kernel = {}
        for term, out in zip(targets, narrow, strict=True):
            parts = {}
            for source, width in zip(sources, wide, strict=True):
                for power in range(self.powers + 1):
                    gains = self._gains(source, power, term)
                    if len(gains):
                        parts[self._name(source, power, term)] = gains, width
            count = sum(len(gains) for gains, _ in parts.values())
            if not count:
                raise SignatureError(
                    f"no map leads to the message {term.name!r}",
                    got=f"powers of the direction up to {self.powers}, features {', '.join(map(str, sources))}",
                    expected="a feature, or a power of the direction, with the same number of axes",
                    step="raise powers=",
                )
            for name, (gains, width) in parts.items():
                scale = 1 / np.sqrt(count * max(width, 1) * radial * neighbors * gains)
                shape = len(gains), width, radial, out
                kernel[name] = nnx.Param(scaled(kernel_init, rngs.params(), shape, stored, scale))
        self.kernel = nnx.Dict(kernel)

    def _call_arguments(self) -> list[str]:
        sides = zip((self.sources, self.signature.outputs), self.channels, strict=True)
        return [*(features_text(features_of(*side)) for side in sides), f"cutoff={self.radial.cutoff:g}"]

    def _call_options(self) -> Iterator[str]:
        yield from super()._call_options()
        count = self.radial.network[-1].channels[1][0]
        yield from [f"radial={count}"] if count != 8 else []
        yield from self.radial._call_options()

    @property
    def sources(self) -> tuple[Term, ...]:
        """The input terms without the positions."""
        return self.signature.inputs[:-1]

    def _labels(self) -> tuple[str, str]:
        """Return the labels of the points and of the spatial axes."""
        groups = self.signature.groups
        points = [label for label, group in groups.items() if isinstance(group, S)]
        spaces = [label for label, group in groups.items() if isinstance(group, O) and group.form is None and group.n]
        terms = (*self.sources, *self.signature.outputs)
        fits = len(points) == len(spaces) == 1 and len(groups) == len(self.signature.bindings) == 2
        if not fits or any(term.labels[:1] != (points[0],) or points[0] in term.labels[1:] for term in terms):
            raise OptionError(
                "the features do not belong to points in space",
                got=f"{', '.join(map(str, terms))}, "
                f"with {', '.join(f'{label}={what}' for label, what in self.signature.bindings)}",
                expected="one label of points bound to S, first in every feature, and one bound to O(n) or SO(n)",
                step='write {"p": 16, "p x": 8}, p=ek.S, x=ek.O(3)',
            )
        return points[0], spaces[0]

    def _refuse_high_powers(self) -> None:
        """Raise `TooLargeError` if there are too many diagrams for a power of the direction."""
        for power in range(self.powers + 1):
            for source, target in itertools.product(self.sources, self.signature.outputs):
                try:
                    self._maps(source, power, target)
                except TooLargeError as error:
                    if not power:
                        raise
                    raise TooLargeError(
                        f"powers= is too high for maps from {source.name!r} to {target.name!r}",
                        got=f"powers={self.powers}, where power {power} takes {error.got}",
                        expected=f"an integer from 0 to {power - 1} for these features",
                        step=f"write powers={power - 1}",
                    ) from None

    def _name(self, source: Term, power: int, target: Term) -> str:
        return f"{source.name}, {power} -> {target.name}"

    def _parts(self, target: Term) -> list[tuple[str, int, int]]:
        """Return the name, source index and power of the direction of each parameter of a message.

        The names are not read from the `nnx.Dict`, because `nnx.tabulate` changes its keys.
        """
        pairs = itertools.product(enumerate(self.sources), range(self.powers + 1))
        found = [(self._name(source, power, target), i, power) for (i, source), power in pairs]
        return [part for part in found if part[0] in self.kernel]

    def _maps(self, source: Term, power: int, target: Term) -> tuple[MultilinearSpace, tuple[int, ...]]:
        group, odd = self.signature.groups[self.space], bool(self.signature.odd(source, target))
        return message_maps(group, len(source.labels) - 1, power, len(target.labels) - 1, odd=odd)

    def _gains(self, source: Term, power: int, target: Term) -> np.ndarray:
        """Return the mean squares of messages from one neighbor, for features of variance one and unit directions."""
        space, chosen = self._maps(source, power, target)
        n = self.signature.groups[self.space].n
        assert n is not None
        gains = space.mean_square_gains({POINT: 1, OTHER: 1})
        return np.array([float(gains[element]) / n**power for element in chosen])

    def __call__(
        self,
        features: Mapping[str, Feature],
        positions: jax.Array,
        *,
        mask: Masks | None = None,
        edges: Neighbors | None = None,
    ) -> dict[str, Feature]:
        """Return the messages that all points receive.

        Args:
            features: arrays `[*batch, points, *axes, channels]`, named as in `inputs`.
            positions: `[*batch, points, n]`.
            mask: for the label of the points, or alone, booleans `[*batch, points]`: which points are present.
            edges: a neighbor list of the points, from `ek.data.neighbors`: messages are sent along its edges only, each
                counted as often as it is listed, once for each periodic image; so it is not a `Support`, which has
                each pair once. Batch axes share the list. By default, all pairs are computed.

        Returns:
            Arrays `[*batch, points, *axes, channels]`, named as in `outputs`; zero for absent points. Points at the
            same position have no direction: only maps of power 0 contribute between them. A present point with a NaN
            or infinite position gives NaN in every message that it may send or receive.

        Raises:
            ShapeError, DTypeError: if an array does not fit.
            OptionError: if `edges` is not a neighbor list.
        """
        masks = masks_of(self.signature, mask)
        parts = (part for term in self.signature.outputs for part in self._parts(term))
        kernels = {name: self.kernel[name][...] for name, *_ in parts}
        given = [*given_terms([term.name for term in self.sources], features).values(), positions]
        named = {f"weights {name!r}": kernel for name, kernel in kernels.items()}
        n = self.signature.sizes[self.space]
        if n != 1 and is_array(positions) and positions.shape[-2:] == (n, 1):
            raise ShapeError(
                "positions have an axis of channels",
                got=f"shape {[*positions.shape]}",
                expected=f"[*batch, {self.point}, {n}]",
                step="drop the axis of channels: pass positions[..., 0]",
            )
        (*arrays, positions), shapes = checked_arrays(
            self.signature, (*self.channels[0], None), given, weights=named, masks=masks, sized=[self.space]
        )
        refuse_complex("positions", positions)
        edges = None if edges is None else checked_edges(edges, *positions.shape[-2:])
        shifts = [] if edges is None or edges.shifts is None else [edges.shifts]
        dtype = jnp.result_type(*arrays, positions, *shifts, *kernels.values())
        masks = {label: jnp.asarray(mask) for label, mask in masks.items()}
        graphdef, state = nnx.split(self.radial)
        leaves, tree = jax.tree.flatten((kernels, state, edges))

        def compute(
            arrays: list[jax.Array], weights: list[jax.Array], masks: dict[str, jax.Array], _: object
        ) -> list[jax.Array]:
            *rows, positions = (x.astype(dtype) for x in arrays)
            given = jax.tree.unflatten(tree, weights)
            own = {name: kernel.astype(dtype) for name, kernel in given[0].items()}
            radial = nnx.merge(graphdef, given[1])
            return self._messages(rows, positions, own, radial, masks.get(self.point), given[2], shapes)

        def outputs() -> list[Result]:
            return [
                result(term, shapes, out, [kernels[name] for name, *_ in self._parts(term)])
                for term, out in zip(self.signature.outputs, self.channels[1], strict=True)
            ]

        terms = (*self.sources, Term("positions", (self.point,)))  # its last axis replaces the channels
        operands = [*arrays, positions], leaves, masks
        found = placed(compute, operands, terms, outputs, None)
        return dict(zip([term.name for term in self.signature.outputs], found, strict=True))

    def _messages(
        self,
        rows: Sequence[jax.Array],
        positions: jax.Array,
        kernels: Mapping[str, jax.Array],
        radial: Radial,
        mask: jax.Array | None,
        edges: Neighbors | None,
        shapes: Shapes,
    ) -> list[jax.Array]:
        """Return the messages for checked arrays of one dtype; batch axes are flattened into one."""
        (count, n), batch = positions.shape[-2:], math.prod(shapes.batch)
        rows = [x.reshape(batch, *x.shape[len(shapes.batch) :]) for x in rows]
        present = None if mask is None else mask.reshape(batch, count)
        if present is not None:
            rows = [masked(x, (POINT,), {POINT: present}, 1) for x in rows]
            positions = masked(positions.reshape(batch, count, n), (POINT,), {POINT: present}, 1)
        positions = positions.reshape(batch, count, n)
        # The distance from a point at infinity is not known either: two points there may be near each other.
        positions = jnp.where(jnp.all(jnp.isfinite(positions), -1, keepdims=True), positions, jnp.nan)
        pairs = all_pairs(positions, present) if edges is None else listed_pairs(positions, present, edges)
        directions, weights = self._directions(pairs, radial)
        blocks, receivers, senders, _ = directions.shape
        flat = Shapes((blocks,), {POINT: receivers, OTHER: senders, SPACE: n})
        rows = [pairs.sent(x) for x in rows]
        powers = [weights]
        for power in range(self.powers):
            powers.append(powers[-1][..., None, :] * directions.reshape(*directions.shape[:3], *[1] * power, n, 1))
        results = []
        for term in self.signature.outputs:
            parts = []
            for name, i, power in self._parts(term):
                space, chosen = self._maps(self.sources[i], power, term)
                plan = planned_maps(space, kernels[name].shape[1:3], kernels[name].shape[3], elements=chosen)
                parts.append(run_contractions(plan, [rows[i], powers[power]], kernels[name], flat, {}))
            total = pairs.summed(sum(parts[1:], parts[0]))
            results.append(total.reshape(*shapes.batch, *total.shape[1:]))
        return results

    def _directions(self, pairs: Pairs, radial: Radial) -> tuple[jax.Array, jax.Array]:
        """Return directions `[blocks, i, j, n]` and radial functions `[blocks, i, j, radial]`, zero where absent."""
        # Points beyond the cutoff contribute nothing, even if the square of their distance overflows.
        near = pairs.there & ~jnp.any(jnp.abs(pairs.difference) >= self.radial.cutoff, -1)  # NaN is not left out
        difference = jnp.where(near[..., None], pairs.difference, jnp.zeros((), pairs.difference.dtype))
        square = jnp.sum(difference**2, -1)
        apart = square != 0
        distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)  # the root has no derivative at zero
        directions = difference / jnp.where(apart, distance, 1)[..., None]
        functions = radial(distance).astype(difference.dtype)
        return directions, jnp.where(near[..., None], functions, jnp.zeros((), functions.dtype))
