"""Gram-Schmidt with a metric: an orthonormal basis from the first independent vectors of the input."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit.numerics import (
    Double,
    double,
    matmul,
    matmul_error,
    minus,
    plus,
    square,
    times,
    total,
    transposed,
    with_derivative,
)
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.rotations._light_like import (
    FREE,
    NULL,
    PARTNER,
    SPANNED,
    Choice,
    Left,
    definite,
    indefinite,
    last,
    lengths,
)
from equikit.symmetrization.rotations._vectors import Points

_exactly = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Basis(NamedTuple):
    r"""A basis with \(\langle u_i, u_j \rangle = \pm\delta_{ij}\).

    Attributes:
        vectors: `[d, d]`, in rows; vectors from the input come first.
        tail: the low words of the vectors, `[d, d]`.
        signs: `[d]`, the squares \(\langle u_i, u_i \rangle\).
        kinds: `[d]`, the source of each vector.
        turns: `[d, d]`, standard deviations of \(\langle u_i, \delta u_j \rangle\) due to errors of the input.
        stored: `[d, d]`, sizes of these products due to leaving out the tail.
        gap: the smallest relative pivot: the length of the remainder of an independent vector over the longest length;
            for an indefinite metric \(|\langle v, v \rangle|\) of the remainder over its length and the longest length.
        doubtful: whether rounding decides which vectors are independent or light-like, or which vector is chosen.
        parallel: whether several vectors have a component along a light-like direction that is chosen alone.
    """

    vectors: Array
    tail: Array
    signs: Array
    kinds: Array
    turns: Array
    stored: Array
    gap: Array
    doubtful: Array
    parallel: Array


class _State(NamedTuple):
    """The basis so far, and how it depends on the input.

    Attributes:
        units: the basis, `[d, d]` in rows.
        rest: the remainder of every vector outside the basis, `[count, d]`.
        signs, kinds: as in `Basis`.
        places: positions of the chosen vectors, and of the vectors added to them or -1, `[d, 2]`.
        parts: the coefficients of the remainders in the chosen vectors, `[count, d]`.
        coefficients: the coefficients of the basis in the chosen vectors, `[d, d]`.
        variances: error variances of the entries of the chosen vectors, `[d, d]`.
        length: the length to which light-like vectors are boosted.
        gap, doubtful, parallel: as in `Basis`.
    """

    units: Double
    rest: Double
    signs: Array
    kinds: Array
    places: Array
    parts: Array
    coefficients: Array
    variances: Array
    length: Array
    gap: Array
    doubtful: Array
    parallel: Array


def gram_schmidt(
    points: Points,
    metric: np.ndarray,
    enough: float,
    tolerance: float | None = None,
    size: float | None = None,
) -> Basis:
    r"""Orthogonalize vectors with respect to a metric, and complete the basis arbitrarily.

    Every decision (which vector comes next, and which vector is added to it) depends only on the products
    \(\langle x_i, x_j \rangle\), so that a group element moves the basis as it moves the vectors; of the free
    directions, only their span moves with it. With a definite metric, every step takes the first vector with a large
    enough remainder. With an indefinite metric, remainders may be light-like: a step takes the first one whose square
    is nearly the largest, or, if all squares are small, the sum of the first two whose product is. If all products
    vanish, a nonzero remainder spans a hyperbolic plane with a partner that no product determines, unique only if no
    direction is free; the remainder is boosted to the length of the first vector with a nonzero square, or to one.

    The remainder of a vector is a combination \(x_i - \sum_k c_{ik} x_k\) of the chosen vectors, and its error is the
    same combination of their errors. Errors of decisions and of the basis are propagated to first order from the errors
    of the input; rounding errors of the computation, in double words, are far smaller.

    Args:
        points: vectors `[count, d]`, real, or complex for the Hermitian product.
        metric: its diagonal, `[d]`, of entries 1 and -1.
        enough: with a definite metric, the relative length of a remainder that is large enough to be taken first.
        tolerance: smaller values count as zero, lengths of remainders over the longest length, or for an indefinite
            metric squares over the largest root mean square of products; by default, values below their errors.
        size: the reference length, in place of the longest.

    Cost: d steps of O(count d) operations in double words, with an indefinite metric O(count d²).
    """
    vectors = points.vectors
    count, d = vectors.shape
    if not count:
        return gram_schmidt(jax.tree.map(_with_zero, points), metric, enough, tolerance, size)
    real = jnp.zeros((), vectors.dtype).real.dtype
    signature = jnp.asarray(metric, real)
    is_definite = bool(np.all(metric == metric[:1]))
    rest = Double(jax.lax.stop_gradient(vectors), points.tail)
    computing = matmul_error(real, max(d, 1)) * jnp.max(jnp.abs(rest.high), initial=0)
    # Raise variances to at least their mean over the axes, so that all observers make the same decisions.
    variances = jnp.maximum(points.errors**2, jnp.mean(points.errors**2, axis=1, keepdims=True))
    variances = variances + jnp.where(variances > 0, computing**2, 0)
    longest = jnp.max(lengths(rest.high), initial=0)
    longest = jnp.where(longest > 0, longest, 1) if size is None else jnp.asarray(size, real)
    table = jnp.linalg.qr(rest.high, mode="r") * signature
    scale = jnp.max(lengths(_exactly(rest.high, table.T)), initial=0) / np.sqrt(count)

    def step(place: Array, state: _State) -> _State:
        left = Left(
            state.rest.high,
            variances + _exactly(jnp.abs(state.parts) ** 2, state.variances),
            _squares(state.rest, signature),
        )
        # The other directions determine the last one, up to its sign.
        settled = (place == d - 1) & (not jnp.iscomplexobj(vectors))
        if is_definite:
            choice = definite(left, enough * longest, settled | (tolerance is None))
        else:
            products = functools.partial(_products, state.rest, signature)
            beside = [jnp.sum(signature == sign) - jnp.sum(state.signs == sign) for sign in (1, -1)]
            light_like = (beside[0] > 0) & (beside[1] > 0)
            found = indefinite(left, products, signature, (tolerance or 0) * scale, light_like)
            choice = _either(settled, last(left), found)
        before = state.kinds[place - 1] == NULL
        again = Choice(state.places[place - 1, 0], jnp.full((), -1), jnp.full((), PARTNER), jnp.zeros((), bool))
        choice = _either((place > 0) & before, again, choice)
        # After a free direction, remainders are only rounding errors.
        spanning = jnp.sum(state.kinds != FREE) == place
        kind = jnp.where(spanning, choice.kind, FREE)
        pair = choice.second >= 0
        one, two = (jax.tree.map(lambda a, i=i: a[i], state.rest) for i in (choice.index, choice.second))
        taken = jax.tree.map(lambda a, b: jnp.where(pair, a, b), plus(one, two), one)
        plane = functools.partial(_hyperbolic, one.high / state.length, state.units.high, state.signs, signature)
        free = functools.partial(_farthest, state.units.high, state.signs, signature)
        other = free() if is_definite else jnp.where(kind == FREE, free(), plane())
        spanned = (kind == SPANNED) | (kind == PARTNER)
        vector = jax.tree.map(lambda a, b: jnp.where(spanned, a, b), taken, double(other))
        vector = jax.tree.map(lambda a: a[None], vector)
        vector = _beside(vector, state.units, state.signs, signature)
        unit, sign, norm = _unit(vector, signature)
        of_input = jnp.where(kind == FREE, 0, 1)
        added = jnp.where(pair, state.parts[choice.second], 0)
        divisor = norm * jnp.where(kind == NULL, state.length, 1)
        its_own = (jnp.arange(d) == place) - state.parts[choice.index] - added
        its_own = of_input * jnp.where(kind == PARTNER, state.coefficients[place - 1], its_own / divisor)
        rest, multiples = _without(state.rest, unit, sign, signature)
        noise = variances[choice.index] + jnp.where(pair, variances[choice.second], 0)
        extent = lengths(vector.high[0])
        pivot = norm**2 / (extent * jnp.where(kind == NULL, extent, longest))
        counts = ((kind == SPANNED) | (kind == NULL)) & ~settled
        doubtful = spanning & choice.doubtful
        gap = jnp.where(counts, pivot, jnp.where(doubtful, jnp.max(lengths(left.vectors)) / longest, jnp.inf))
        first = (place == 0) & (kind == SPANNED)
        return _State(
            Double(*(all_.at[place].set(new[0]) for all_, new in zip(state.units, unit, strict=True))),
            rest,
            state.signs.at[place].set(sign),
            state.kinds.at[place].set(kind),
            state.places.at[place].set(jnp.stack([choice.index, choice.second])),
            state.parts + multiples[:, None] * its_own[None, :],
            state.coefficients.at[place].set(its_own),
            state.variances.at[place].set(jnp.where((kind == FREE) | (kind == PARTNER), 0, noise)),
            jnp.where(first, norm, state.length),
            jnp.minimum(state.gap, gap),
            state.doubtful | doubtful,
            state.parallel | (spanning & (kind == NULL) & (left.present() > 1)),
        )

    none = jnp.zeros((d, d), vectors.dtype)
    state = _State(
        double(none),
        rest,
        jnp.zeros(d, real),
        jnp.full(d, FREE),
        jnp.full((d, 2), -1),
        jnp.zeros((count, d), vectors.dtype),
        none,
        jnp.zeros((d, d), real),
        1 / points.scale.astype(real),
        jnp.full((), jnp.inf, real),
        jnp.zeros((), bool),
        jnp.zeros((), bool),
    )
    found: _State = jax.lax.fori_loop(0, d, step, state) if d else state
    plain = _with_derivatives(vectors, found, signature, is_definite)
    exact = with_derivative(found.units.high, plain)
    tail = found.units.low
    stored = jnp.abs(_exactly(tail, _dual(found.units, signature).high))
    return Basis(
        exact, tail, found.signs, found.kinds, _turns(found), stored, found.gap, found.doubtful, found.parallel
    )


def _with_zero(array: Array) -> Array:
    return jnp.zeros((1, array.shape[1]), array.dtype) if array.ndim == 2 else array


def _either(which: Array, one: Choice, other: Choice) -> Choice:
    return Choice(*(jnp.where(which, a, b) for a, b in zip(one, other, strict=True)))


def _dual(units: Double, signature: Array) -> Double:
    """Return the matrix from vectors in rows to their products with a basis, `[d, r]`."""
    return transposed(Double(*(jnp.conj(part) * signature for part in units)))


def _parts(number: Double) -> tuple[Double, Double]:
    """Return real and imaginary parts."""
    return Double(*(jnp.real(part) for part in number)), Double(*(jnp.imag(part) for part in number))


def _complex(real: Double, imaginary: Double) -> Double:
    return Double(*(jax.lax.complex(*parts) for parts in zip(real, imaginary, strict=True)))


def _product(one: Double, two: Double) -> Double:
    if not jnp.iscomplexobj(one.high):
        found: Double = matmul(one, two)
        return found
    (a, b), (c, d) = _parts(one), _parts(two)
    return _complex(minus(matmul(a, c), matmul(b, d)), plus(matmul(a, d), matmul(b, c)))


def _products(rest: Double, signature: Array, place: Array) -> Array:
    """Return the products of one vector with all vectors."""
    one = jax.tree.map(lambda a: a[place][None], rest)
    return _product(rest, _dual(one, signature)).high[:, 0]


def _squares(rest: Double, signature: Array) -> Array:
    squares = plus(*map(square, _parts(rest))) if jnp.iscomplexobj(rest.high) else square(rest)
    return total(Double(*(part * signature for part in squares)), axis=1).high


@jax.jit
def _beside(rows: Double, units: Double, signs: Array, signature: Array) -> Double:
    """Remove components of vectors along a basis, twice because of rounding; basis vectors of sign zero are ignored."""
    dual = _dual(units, signature)

    def once(_: Array, rows: Double) -> Double:
        along = _product(rows, dual).high * signs
        return minus(rows, _product(double(along), units))

    found: Double = jax.lax.fori_loop(0, 2, once, rows)
    return found


def _nearly_beside(rows: Array, units: Array, signs: Array, signature: Array) -> Array:
    """Remove the components of vectors along a basis, in float arithmetic."""
    for _ in range(2):
        rows = rows - _exactly(_exactly(rows, (jnp.conj(units) * signature).T) * signs, units)
    return rows


def _without(rows: Double, unit: Double, sign: Array, signature: Array) -> tuple[Double, Array]:
    """Remove the component of vectors along a unit vector, and return the component too."""
    part = _product(rows, _dual(unit, signature)).high[:, 0] * sign
    return _beside(rows, unit, sign, signature), part


@jax.jit
def _unit(vector: Double, signature: Array) -> tuple[Double, Array, Array]:
    """Normalize a vector `[1, d]`, and return the sign of its square and its length."""
    is_complex = jnp.iscomplexobj(vector.high)
    whole = Double(*(part[0, 0].real for part in _product(vector, _dual(vector, signature))))
    sign, norm = jnp.sign(whole.high), jnp.sqrt(jnp.abs(whole.high))
    rate = 1 / jnp.where(norm > 0, norm, 1)
    off = minus(double(sign), times(times(whole, rate), rate)).high * sign
    scaled = _complex(*(times(part, rate) for part in _parts(vector))) if is_complex else times(vector, rate)
    return plus(scaled, double(vector.high * (rate * off / 2))), sign, norm


@jax.jit
def _hyperbolic(vector: Array, units: Array, signs: Array, signature: Array) -> Array:
    """Return the sum of a light-like vector n and a light-like vector m outside the basis whose product is one."""
    partner = _nearly_beside((vector * signature)[None], units, signs, signature)[0]
    both = jnp.sum(signature * vector * partner)  # the squared Euclidean length of the vector
    partner = partner / jnp.where(both > 0, both, 1)
    partner = partner - jnp.sum(signature * partner * partner) / 2 * vector
    return vector - jnp.sum(signature * vector * vector) / 2 * partner + partner


@jax.jit
def _farthest(units: Array, signs: Array, signature: Array) -> Array:
    """Return the remainder of a coordinate axis, or the sum or difference of two, with a large square."""
    d = len(signature)
    left = _nearly_beside(jnp.eye(d, dtype=units.dtype), units, signs, signature)
    products = jnp.real(_exactly(jnp.conj(left) * signature, left.T))
    # If two vectors are light-like, the square of their sum is twice their product.
    found = jnp.argmax(jnp.abs(products) * jnp.where(jnp.eye(d) > 0, 1, 0.9))
    k, l = found // d, found % d
    side = jnp.where((products[k, k] + products[l, l] < 0) == (products[k, l] < 0), 1, -1)
    return jnp.where(k == l, left[k], left[k] + side * left[l])


def _with_derivatives(vectors: Array, found: _State, signature: Array, is_definite: bool) -> Array:
    """Recompute the basis with derivatives from the chosen vectors, in coordinates in which all vectors are short."""
    d = len(signature)
    units, dual = found.units.high, _dual(found.units, signature).high
    one, two = vectors[found.places[:, 0]], vectors[found.places[:, 1]]
    taken = jnp.where(found.places[:, 1, None] >= 0, one + two, one)
    moved, after = (_exactly(rows, dual) * found.signs for rows in (taken, jnp.roll(units, -1, axis=0)))
    partners = (jnp.eye(d, dtype=units.dtype) - after) / np.sqrt(2)

    def product(x: Array, y: Array) -> Array:
        return jnp.sum(jnp.conj(x) * found.signs * y)

    basis: list[Array] = []

    def beside(vector: Array) -> Array:
        for _ in range(2):
            for other, sign in zip(basis, found.signs, strict=False):
                vector = vector - sign * product(other, vector) * other
        return vector

    for place, kind in enumerate(found.kinds):
        vector = beside(jnp.where(kind == FREE, jnp.eye(d, dtype=units.dtype)[place], moved[place]))
        if not is_definite:
            light, partner = vector / found.length, beside(partners[place])
            both = product(partner, light)
            partner = partner / jnp.where(both != 0, both, 1)
            vector = jnp.where(kind == NULL, light + (1 - product(light, light) / 2) * partner, vector)
        square = jnp.abs(product(vector, vector))
        basis.append(vector / jnp.sqrt(jnp.where(square > 0, square, 1)))
    return _exactly(jnp.stack(basis), units) if d else units


def _turns(found: _State) -> Array:
    """Return first-order standard deviations of the products of each basis vector with the errors of the others."""
    noise = _exactly(jnp.abs(found.coefficients) ** 2, found.variances)
    along = jnp.sqrt(_exactly(jnp.abs(found.units.high) ** 2, noise.T))
    # For two vectors, the error comes from the one chosen first; for one, from its phase.
    below, phases = jnp.tril(along, -1), jnp.diag(jnp.diagonal(along))
    return below + below.T + (phases if jnp.iscomplexobj(found.units.high) else 0)
