"""The attention layer: queries, keys and values are tensors, and scores are invariant products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit.diagrams import MultilinearSpace, multilinear
from equikit.nn._arguments import Space, sides_of
from equikit.nn._dtypes import cast
from equikit.nn._features import Features, features_of, labels_among, labels_of
from equikit.nn._layer import Layer, features_text
from equikit.nn._linear import Linear, unreached
from equikit.nn.attention._call import checked_call
from equikit.nn.attention._kinds import Known, as_features, dual, known_about, options_of
from equikit.nn.attention._parts import channels_of, read_parts, unreached_output, used_kinds
from equikit.nn.attention._points import Points, centered
from equikit.nn.attention._products import Products
from equikit.nn.attention._sums import Sums, Tensors, Weights
from equikit.nn.networks._hidden import HiddenLinear
from equikit.plans import Channels, Feature, Masks
from equikit.signatures import Signature, Term, base
from equikit.supports import Support


class Attention(Layer):
    r"""Attention over a set, whose queries, keys and values are tensors of any signature.

    \(y_i = C \sum_j a_{ij}\, V x_j\), where \(a_{ij}\) is the softmax over j of the scores
    \(s_{ij} = \langle Q x_i, K x_j \rangle / \sqrt{N}\). Q, K, V and C are equivariant `Linear` layers on each point
    alone; K has no bias, because the softmax would not see it. \(\langle q, k \rangle\) is the sum of the products of
    each kind of feature of a key with the same kind of feature of the query, contracted over all axes: with the metric
    for Lorentz, with the symplectic form for Sp, and of vectors with dual vectors for U, GL and MatrixGroup. Since Q
    and K have all linear maps to all kinds, the scores are all invariant bilinear maps of two points that `ek.hom`
    finds (`scores`), with learned weights. N is the number of products in the sum, so that the variance of a score is
    one at initialization. The result commutes with permutations of the set and with the groups on all other axes.

    **Scores of vectors under boosts.** A product of four-vectors has no sign: of \((E, p)\) and \((E', p')\) it is
    \(E E' - p \cdot p'\), which grows as the cosh of the relative rapidity, and the learned channels determine whether
    particles with small or with large invariant mass \((p + p')^2\) get the weights. Invariance holds for every boost;
    in floating point the product of vectors with a Lorentz factor γ loses \(\gamma^2\) times the rounding error. The
    softmax subtracts the largest score first and is finite for all finite scores, but one key gets all the weight if
    scores differ by more than about 20. Divide momenta by a typical mass or energy before the first layer.

    Args:
        inputs: features of the points, labels to channels (`{"p": 32, "p x": 8}`) or name to labels and channels. The
            label of the set is the first one bound to permutations that every term has exactly once. Or a space
            `ek.hom("p + p x -> p", p=ek.S, x=ek.O(3))`.
        outputs: the output features, on the same set; by default the inputs. For a space the channels of both sides.
        heads: number of heads, each with scores of its own.
        context: features of another set, whose points are keys and values (cross-attention), such as `{"t": 16}`; by
            default keys and values come from the inputs. With the label of the inputs they are other features of the
            same points.
        qkv_features: channels of queries, keys and values for each kind of feature of one point, all heads together,
            such as `{"": 32, "x": 8}`; by default the channels of the context, rounded up to a multiple of `heads`.
        pairs: invariant features of pairs, such as `{"p p": 4}`: a linear map of them is added to the scores.
        points: number of points in space for each head: \(-w_h \sum |q - k|^2\) is added to the scores, where q and k
            are positions plus vectors of the features; means of such points, relative to the query, are added to the
            values (invariant point attention). The result is invariant under translations.
        products: number of products of each kind of value with each kind of feature of the query, by which a result is
            also computed; 0 for linear maps of values only. With products scalars are multiplied with vectors.
        dropout_rate: probability that a weight \(a_{ij}\) is dropped.
        deterministic: whether to drop nothing.
        block_size: number of queries and of keys whose scores are computed at a time, in loops that never form all
            scores: memory grows as n, not as \(n^2\), also for gradients. By default blocks are used where samples,
            heads and pairs together have more than \(2^{21}\) scores, with a block of about \(2^{18}\) of them.
        rngs: random keys for the parameters, and the stream `dropout`.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups.

    Attributes:
        query, key, value, out: the linear layers Q, K, V and C.
        pair: the linear layer of the features of pairs, or `None`.
        points, products: the layers of these options, or `None`.

    Raises:
        SignatureError: if the features are not features of points, or there is no invariant product of two points, or
            an output is not reached.
        OptionError: if an option does not fit.

    Cost: time n · m for n queries and m keys, times the numbers in a key and a value; memory n · m for each head, or
    \(n + m\) with blocks. On a support time and memory grow as its entries.

    Example:
        >>> from equikit import O, S
        >>> attend = Attention({"p": 32, "p x": 8}, heads=4, p=S, x=O(3), rngs=nnx.Rngs(0))
        >>> attend({"p": jnp.ones((5, 32)), "p x": jnp.ones((5, 3, 8))})["p x"].shape
        (5, 3, 8)
        >>> sorted(attend.scores)
        ['p x, p x', 'p, p']

    Source:
        Vaswani et al., Attention is all you need, arXiv:1706.03762; Lee et al., Set Transformer, arXiv:1810.00825;
        Fuchs et al., SE(3)-Transformers, arXiv:2006.10503; Spinner et al., L-GATr, arXiv:2405.14806, for Lorentz
        products; Jumper et al., AlphaFold, Nature 596, 2021, for points; Milakov and Gimelshein, arXiv:1805.02867, and
        Rabe and Staats, arXiv:2112.05682, for blocks.
    """

    def __init__(
        self,
        inputs: Features | Space,
        outputs: Features | tuple[Channels, Channels] | None = None,
        *,
        heads: int,
        context: Features | None = None,
        qkv_features: Features | None = None,
        pairs: Features | None = None,
        points: int = 0,
        products: int = 0,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        block_size: int | None = None,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        call = _keywords.call_of(type(self), Linear)
        bindings = labels_among(options, call)
        if outputs is None and isinstance(inputs, Mapping):
            outputs = inputs
        sides = sides_of(inputs, outputs, groups, bindings, call)  # type: ignore[arg-type]  # it rejects other types
        points = _checks.count("points", points, example=4)
        self.parts = read_parts(*sides[:2], context, pairs, points, sides[2], bindings, call)
        self.signature: Signature = self.parts.signature
        self.heads = _checks.count("heads", heads, least=1, example=4)
        products = _checks.count("products", products, example=8)
        self.block_size = None if block_size is None else _checks.count("block_size", block_size, least=1, example=256)
        rate = _checks.number("dropout_rate", dropout_rate, least=0, most=1, example=0.1, traced=False)
        self.dropout_rate: float = rate
        self.deterministic = _checks.flag("deterministic", deterministic)
        _checks.rngs(rngs)
        if self.dropout_rate:
            _checks.rngs(rngs, "dropout")

        def linear(before: Features, after: Features, kind: type[Linear] = Linear, **more: Any) -> Linear:
            own = options_of(self.signature, options, labels_of([before, after]))
            return kind(before, after, rngs=rngs, **own | more)

        one, other, targets = self.parts.queries, self.parts.key_set, self.parts.outputs
        channels = channels_of(self.parts, self.heads, qkv_features)
        self.qkv_features = None if qkv_features is None else tuple(qkv_features.items())
        chosen = {"products": bool(products), "chosen": qkv_features is not None}
        self.scored, self.valued = used_kinds(self.parts, tuple(channels), **chosen)
        duals = {dual(self.signature, kind): channels[kind] for kind in self.scored}
        self.query = linear(one.features, as_features(duals))
        keys = as_features({kind: channels[kind] for kind in self.scored})
        self.key = linear(other.features, keys, use_bias=False)  # a bias adds the same number to all scores of a query
        values = {kind: channels[kind] for kind in self.valued}
        self.value = linear(other.features, as_features(values))
        self.points = self._points(points, rngs, options)
        between = features_of([Term.of((), term.name) for term in self.parts.pairs[0]], self.parts.pairs[1])
        self.pair = linear(between, {"": heads}, use_bias=False) if between else None
        messages: Features = {f"value {name}".rstrip(): what for name, what in as_features(values).items()}
        if self.parts.space is not None:
            messages = {**messages, "points": (self.parts.space, self.heads * points)}
        self.out = linear(messages, targets.features, HiddenLinear)
        multiplied = messages, one.features, targets.features
        self.products = Products(*multiplied, products, self.signature, rngs, options) if products else None
        self._refuse_unreached()
        self.dropout = nnx.Dropout(self.dropout_rate, rngs=rngs) if self.dropout_rate else None

    def _points(self, count: int, rngs: nnx.Rngs, options: Mapping[str, Any]) -> Points | None:
        """Return the layer of points, if there are any."""
        if self.parts.space is None:
            return None
        return Points(
            self.parts.queries.features,
            self.parts.key_set.features,
            count=count,
            heads=self.heads,
            signature=self.signature,
            space=self.parts.space,
            rngs=rngs,
            options=options,
        )

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features of the queries and of the outputs."""
        one, other = self.parts.queries, self.parts.outputs
        return features_of(one.terms, one.widths), features_of(other.terms, other.widths)

    def _call_arguments(self) -> list[str]:
        before, after = map(features_text, self.sides)
        return [before] if before == after else [before, after]

    def _call_options(self) -> Iterator[str]:
        yield f"heads={self.heads}"
        keys, (terms, widths) = self.parts.keys, self.parts.pairs
        if keys is not None:
            yield f"context={features_text(features_of(keys.terms, keys.widths))}"
        if self.qkv_features is not None:
            yield f"qkv_features={features_text(dict(self.qkv_features))}"
        if terms:
            yield f"pairs={features_text(features_of(terms, widths))}"
        if self.points is not None:
            yield f"points={self.points.query.channels[1][0] // self.heads}"
        if self.products is not None:
            yield f"products={self.products.left.channels[1][0]}"
        for name in ("dropout_rate", "deterministic", "block_size"):
            value = getattr(self, name)
            yield from [f"{name}={value}"] if value else []

    def _refuse_unreached(self) -> None:
        """Raise `SignatureError` if neither values nor products reach an output."""
        lost = [term.name for term in unreached(self.out.signature, self.out.channels)]
        if self.products is not None:
            found = [term.name for term in self.products.mix.signature.outputs]
            lost = [name for name in lost if name not in found]
        if lost:
            raise unreached_output(lost[0], self.valued)

    @property
    def scores(self) -> dict[str, MultilinearSpace]:
        """The spaces of invariant bilinear maps of a query and a key, for each pair of terms that has such maps."""
        found = {}
        for (one, term), (other, key) in itertools.product(
            zip(self.parts.queries.alone, self.parts.queries.terms, strict=True),
            zip(self.parts.key_set.alone, self.parts.key_set.terms, strict=True),
        ):
            used = {base(label) for label in (*one.used, *other.used)}
            groups = {label: what for label, what in self.signature.bindings if label in used}
            space = multilinear(f"{one.text}, {other.text} -> ()", groups)
            if space.count:
                found[f"{term.name}, {key.name}"] = space
        return found

    def __call__(
        self,
        x: Mapping[str, Feature],
        context: Mapping[str, Feature] | None = None,
        *,
        mask: Masks | None = None,
        pair_mask: jax.Array | None = None,
        support: Support | None = None,
        pairs: Mapping[str, Feature] | None = None,
        positions: jax.Array | None = None,
        context_positions: jax.Array | None = None,
        deterministic: bool | None = None,
    ) -> dict[str, Feature]:
        """Apply the layer to dictionaries of arrays `[*batch, *axes, channels]`.

        Args:
            x: the features of the queries, and of keys and values if the layer has no `context=`.
            context: the features of keys and values.
            mask: for a label, booleans `[*batch, n]`: which entries are present. Absent keys have no weight, and absent
                queries are zero in the result, whatever their values.
            pair_mask: booleans `[*batch, n, m]`: which keys a query sees.
            support: entries of pairs of the set: query i sees key j if (i, j) is an entry. Arrays of points have nodes
                first, features of pairs have a row for each entry, and scores are computed for entries only.
            pairs: the features of pairs, `[*batch, n, m, channels]`; with a support `[*batch, entries, channels]`.
            positions: `[*batch, n, dimension]`, if the layer has `points=`.
            context_positions: `[*batch, m, dimension]`, if the keys are other points than the queries.
            deterministic: overrides the option of the layer.

        Returns:
            `[*batch, *axes, channels]` for each output. A query that sees no key is zero, without bias. NaN in a query,
            or in a key that it sees, gives NaN. Scores that overflow give NaN, or zero if all are negative.

        Raises:
            ShapeError, DTypeError, OptionError: if an array does not fit; nothing is broadcast or cast silently.
        """
        if self.query.dtype is not None:
            x, context, pairs = (cast(each, self.query.dtype) for each in (x, context, pairs))
        chosen = self.deterministic if deterministic is None else _checks.flag("deterministic", deterministic)
        places_given = positions, context_positions
        given = checked_call(self.parts, x, context, pairs, places_given, mask, pair_mask, support)
        one, other, batch = self.parts.queries, self.parts.key_set, len(given.shapes.batch)
        rows, columns = (
            each.points_first(arrays, given.masks, batch, rows=support is not None)
            for each, arrays in ((one, given.queries), (other, given.keys))
        )
        known, known_keys = (known_about(each, given.masks, given.shapes) for each in (one, other))

        def applied(layer: Linear, features: Mapping[str, Feature], known: Known) -> list[jax.Array]:
            found: dict[str, jax.Array] = layer(dict(features), **known.of(layer.signature))
            return [found[term.name] for term in layer.signature.outputs]

        places, points = None, []
        if self.points is not None and given.positions is not None:
            places = centered(given.positions, (given.masks.get(one.label), given.masks.get(other.label)))
            points = [*self.points(rows, columns, places, (known, known_keys))]
        queries, keys = applied(self.query, rows, known), applied(self.key, columns, known_keys)
        values = applied(self.value, columns, known_keys)
        tensors = Tensors(queries, keys, values, points, given.pairs, given.seen)
        key = None if chosen or self.dropout is None else self.dropout.rngs()
        *values, seen = self._sums(tensors, self._weights(), given.masks, key, given.shapes, support)
        messages = dict(zip([term.name for term in self.out.signature.inputs], values, strict=True))
        if places is not None:
            here = values[-1] - places[0][..., None].astype(values[-1].dtype)
            messages["points"] = jnp.where(seen[..., None], here, 0).astype(values[0].dtype)
        found: dict[str, Feature] = self.out(messages, **known.of(self.out.signature))
        if self.products is not None:
            found = self._with_products(found, self.products(messages, rows, known))
        if one.label in given.masks:
            seen = seen & given.masks[one.label][..., None]
        result = {}
        for term in self.parts.outputs.terms:
            y = found[term.name]
            y = jnp.where(jnp.expand_dims(seen, range(batch + 2, y.ndim)), y, jnp.zeros((), y.dtype))
            result[term.name] = y if support is not None else jnp.moveaxis(y, batch, self.parts.outputs.place(term))
        return result

    def _with_products(self, linear: dict[str, Feature], products: dict[str, Feature]) -> dict[str, Feature]:
        """Add linear maps and products; the sum of two terms of variance one is scaled to variance one."""
        lost = {term.name for term in unreached(self.out.signature, self.out.channels)}
        return {
            name: (y + products[name]) * (1 if name in lost else math.sqrt(0.5)) if name in products else y
            for name, y in linear.items()
        }

    @property
    def _sums(self) -> Sums:
        """How scores and sums are computed."""
        duals = tuple(term.words for term in self.query.signature.outputs)
        return Sums(
            self.signature,
            (duals, self.scored, self.valued),
            (self.parts.queries.label, self.parts.key_set.label),
            self.parts.space,
            self.heads,
            self.block_size,
            self.dropout_rate,
            self.query.options.precision,
        )

    def _weights(self) -> Weights:
        """Return the parameters of the scores."""
        pairs = [] if self.pair is None else [kernel[0] for kernel in self.pair.weights().values()]
        return Weights(pairs, None if self.points is None else self.points.weight[...])
