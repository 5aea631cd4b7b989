"""Random programs: every generator of what is traced keeps what they compute."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import in_float64 as plain
from jax import lax
from soundness import assert_sound

from equikit.weightspace import trace

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64")]
PARAMS = plain(
    {"a": (3, 3, 4), "b": (3, 4, 3), "c": (2, 3, 4, 4), "w": (3, 4, 4), "d": (4,), "q": (4, 24), "m": (3, 4)}
)
X = np.random.default_rng(0).normal(size=(5, 3))
LARGEST = 2000
ELEMENTWISE = (jnp.tanh, jax.nn.relu, jnp.sin, jnp.negative, jnp.abs, jax.nn.silu, jax.checkpoint(jnp.cos), jnp.square)
ALONG: tuple[Callable[..., Any], ...] = (
    jnp.cumsum,
    jnp.flip,
    jnp.sort,
    jax.nn.softmax,
    lax.cummax,
    lambda u, axis: jnp.roll(u, 1, axis),
    lambda u, axis: lax.cumprod(jnp.tanh(u), axis),
    lambda u, axis: jnp.fft.ifft(2 * jnp.fft.fft(u, axis=axis), axis=axis).real,
)
Pool = list[jax.Array]


class NotPossibleError(Exception):
    """The arrays that were chosen do not fit."""


def an_axis(draw: random.Random, u: jax.Array) -> int:
    if not u.ndim:
        raise NotPossibleError
    return draw.randrange(u.ndim)


def contracted(draw: random.Random, u: jax.Array, v: jax.Array) -> jax.Array:
    """Some axes of the same size go along or are summed over."""
    left, right = list("abcdefgh"[: u.ndim]), list("ijklmnop"[: v.ndim])
    pairs = [(i, j) for i in range(u.ndim) for j in range(v.ndim) if u.shape[i] == v.shape[j]]
    chosen = draw.sample(pairs, min(len(pairs), draw.choice([1, 1, 2])))
    summed = set()
    for i, j in chosen:
        if right[j] in "ijklmnop" and left[i] not in right:
            right[j] = left[i]
            summed |= {left[i]} if draw.random() < 0.6 else set()
    result = [one for one in dict.fromkeys(left + right) if one not in summed]
    size = np.prod([dict(zip(left + right, u.shape + v.shape, strict=True))[one] for one in result])
    if not chosen or size > LARGEST or len(result) > 5:
        raise NotPossibleError
    return jnp.einsum(f"{''.join(left)},{''.join(right)}->{''.join(result)}", u, v)


def one_array(draw: random.Random, pool: Pool, x: jax.Array) -> jax.Array:
    u = draw.choice(pool)
    axis = an_axis(draw, u)
    size, order = u.shape[axis], draw.sample(range(u.ndim), u.ndim)
    factor = draw.choice([one for one in range(1, size + 1) if size % one == 0])
    start = draw.randrange(size)
    return draw.choice(
        [
            lambda: draw.choice(ELEMENTWISE)(u),
            lambda: draw.choice(ALONG)(u, axis=axis),
            lambda: u.transpose(order),
            lambda: u.reshape([*u.shape[:axis], factor, size // factor, *u.shape[axis + 1 :]]),
            lambda: u.reshape([*u.shape[: axis - 1], -1, *u.shape[axis + 1 :]]) if axis else u.sum(axis),
            lambda: lax.index_in_dim(u, start, axis, keepdims=False),
            lambda: lax.slice_in_dim(u, start, draw.randrange(start, size) + 1, axis=axis),
            lambda: jnp.stack(jnp.unstack(u, axis=axis)[::-1], draw.choice([0, axis])),
            lambda: lax.dynamic_index_in_dim(u, jnp.argmax(x[0]), axis, keepdims=False),
        ]
    )()


def two_arrays(draw: random.Random, pool: Pool, x: jax.Array) -> jax.Array:
    u, v = draw.choice(pool), draw.choice(pool)
    same = draw.choice([one for one in pool if one.shape == u.shape])
    axis, other = an_axis(draw, u), an_axis(draw, v)
    seed, at, then = draw.random(), jnp.argmax(x, -1), draw.choice([0, 0, 1])
    choices = [
        lambda: contracted(draw, u, v),
        lambda: u + same,
        lambda: jnp.concatenate([u, same], axis),
        lambda: lax.cond(x[0, 0] > 0, jnp.multiply, jnp.maximum, u, same),
    ]
    if u.shape[axis] == v.shape[other] == 3:

        def looked_up(one: Any, two: Any) -> jax.Array:
            chosen = lax.dynamic_index_in_dim(u, one, axis, keepdims=False)
            return contracted(random.Random(seed), chosen, jnp.take(v, two, other))

        choices += 3 * [
            lambda: jax.vmap(looked_up)(at, jnp.roll(at, then)),
            lambda: looked_up(at[0], (at[0] + then) % 3),
        ]
    if u.shape[axis] == v.shape[other] and min(u.ndim, v.ndim) > 1:
        choices += [lambda: jax.vmap(lambda *its: contracted(random.Random(seed), *its), (axis, other))(u, v)]
    return draw.choice(choices)()


def a_loop(draw: random.Random, pool: Pool, x: jax.Array) -> jax.Array:
    u, start = draw.choice([one for one in pool if one.ndim > 1]), draw.choice(pool)
    v = draw.choice([one for one in pool if one.ndim and one.shape[0] == u.shape[0]])
    seed = draw.random()

    def step(carry: jax.Array, rows: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        inside = random.Random(seed)
        found = jnp.tanh(contracted(inside, carry, rows[0]))
        found = contracted(inside, found, rows[1]) if rows[1].ndim and inside.random() < 0.7 else found
        after = found if found.shape == carry.shape else carry + found.sum()
        return (after if inside.random() < 0.5 else carry + after), found

    return draw.choice(lax.scan(step, start, (u, v), reverse=draw.random() < 0.3))


def applied(seed: int) -> Callable[[Any, Any], Iterable[jax.Array]]:
    """A program of a few random steps; its results are sums of the last arrays."""

    def model(params: Any, x: Any) -> Iterable[jax.Array]:
        draw = random.Random(seed)
        names = draw.sample(sorted(params), 3)
        pool = [jnp.asarray(x), *(jnp.asarray(params[name]) for name in names)]
        for _ in range(draw.choice([4, 6, 8, 10])):
            try:
                found = draw.choice([one_array, two_arrays, two_arrays, a_loop])(draw, pool, pool[0])
            except NotPossibleError:
                continue
            pool += [found] * 2 if 0 < found.size <= LARGEST and found.ndim <= 5 else []
        return jnp.stack([jnp.tanh(one).sum() for one in pool[-3:]])

    return jax.jit(model)


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_random_programs_keep_what_they_compute(first: int) -> None:
    for seed in range(first, first + 40):
        model = applied(seed)
        assert_sound(model, PARAMS, trace(model, PARAMS, X), X, 1.3 * X[::-1] + 0.1)
