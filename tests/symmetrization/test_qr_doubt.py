"""The doubt of QR against float64: it covers the errors that rounding the input makes, and not much more.

Run as a script, it prints what the tests assert, for 10,000 inputs of each kind.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.symmetrization.frames import QR, Sort

COUNT, PARTICLES = 1000, 8


def clouds(group, count):
    """Random vectors, in one of three cases nearly dependent."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 5, group.n))
    if group.is_complex:
        x = x + 1j * rng.normal(size=x.shape)
    x[::3, 1] = x[::3, 0] + 10 ** rng.uniform(-3, 0, (len(x[::3]), 1)) * x[::3, 1]
    return x


def elements(group, x):
    sym = ek.symmetrize(lambda x: x, "p x -> p x", p=ek.Fixed(5), x=group, channels=False, how=QR(on_degenerate="flag"))
    frame = jax.jit(sym.frame)(x)
    return np.asarray(frame.elements.linear["x"][0]), frame.info


def measured(group, count):
    """The doubts and the errors of the elements of clouds that are rounded to float32, and which are flagged."""
    x = clouds(group, count)
    with jax.enable_x64(True):
        exact, _ = elements(group, x)
        rounded, info = elements(group, x.astype(np.complex64 if group.is_complex else np.float32))
        error = np.abs(np.swapaxes(exact.conj(), -1, -2) @ rounded - np.eye(group.n)).max((1, 2))
        return np.asarray(info.doubt), error, np.asarray(info.degenerate)


GROUPS = [ek.SO(3), ek.U(3), ek.O(5)]


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.usefixtures("full_compile")
def test_the_doubt_covers_the_error_and_is_near_it(group):
    doubt, error, degenerate = measured(group, COUNT)
    assert np.mean(error <= doubt) >= 0.999
    assert np.median(doubt / error) <= 20
    assert np.mean(degenerate[1::3]) < 0.01


def events(rng, count):
    """Four-momenta of four to eight particles, half of them massless, `[count, particles, 4]`; the others are zero."""
    momenta = rng.normal(size=(count, PARTICLES, 3))
    masses = np.where(rng.random((count, PARTICLES)) < 0.5, 0, rng.uniform(0.1, 1, (count, PARTICLES)))
    energies = np.sqrt(np.sum(momenta**2, axis=-1) + masses**2)
    there = np.arange(PARTICLES) < rng.integers(4, PARTICLES + 1, (count, 1))
    return np.concatenate([energies[..., None], momenta], axis=-1) * there[..., None]


def boosts(rng, count, beta):
    """Boosts in random directions, `[count, 4, 4]`."""
    way = rng.normal(size=(count, 3))
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    gamma = 1 / np.sqrt(1 - beta**2)
    space = np.eye(3) + (gamma - 1) * way[:, :, None] * way[:, None, :]
    mixed = gamma * beta * way
    above = np.concatenate([np.full((count, 1, 1), gamma), mixed[:, None, :]], axis=-1)
    return np.concatenate([above, np.concatenate([mixed[:, :, None], space], axis=-1)], axis=1)


def outputs(x):
    """A scalar and a vector that know nothing of the group, in float64."""
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(4 * PARTICLES, 9))) / 3
    hidden = jnp.sin(jnp.asarray(x, jnp.float64).reshape(*x.shape[:-2], 4 * PARTICLES) @ weights + 0.3)
    return {"scalar": jnp.sum(hidden[..., :5], axis=-1), "vector": hidden[..., 5:]}


@functools.cache
def of_events():
    """A program for the outputs and reports of events."""
    sym = ek.symmetrize(
        lambda x: outputs(x["x"]),
        {"x": "p x"},
        {"scalar": "", "vector": "x"},
        p=ek.Fixed(PARTICLES),
        x=ek.Lorentz,
        channels=False,
        how=QR(on_degenerate="flag"),
    )
    return jax.jit(lambda x: sym({"x": x}, with_info=True))


def boosted(beta, count):
    """By how much the outputs of two observers differ, relative to the largest; and what either of them flags."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, boost = events(rng, count), boosts(rng, count, beta)
        at_rest, moving = (of_events()(a.astype(np.float32)) for a in (x, np.einsum("nij,npj->npi", boost, x)))
        wanted = np.einsum("nij,nj->ni", boost, at_rest[0]["vector"])
        vector = np.abs(wanted - moving[0]["vector"]).max(-1) / np.abs(wanted).max(-1)
        scalar, other = (np.asarray(y["scalar"]) for y, _ in (at_rest, moving))
        size = np.maximum(np.abs(scalar), np.abs(at_rest[0]["vector"]).max(-1))
        flagged = np.asarray(at_rest[1].degenerate | moving[1].degenerate)
        return np.maximum(vector, np.abs(scalar - other) / size), flagged


MOST_OFF = {0.5: 0.0, 0.9: 0.001, 0.99: 0.013, 0.999: 0.31}
"""For a speed, how many events may be off by more than 1e-2, all of which have to be flagged."""

MOST_FLAGGED = {0.5: 0.01, 0.9: 0.01, 0.99: 0.03, 0.999: 0.75}
"""For a speed, how many events may be flagged."""


@pytest.mark.slow
@pytest.mark.parametrize("beta", MOST_OFF)
def test_boosted_observers_agree_or_the_event_is_flagged(beta):
    off, flagged = boosted(beta, COUNT)
    assert np.all(flagged[off > 1e-2])
    assert np.mean(off > 1e-2) <= MOST_OFF[beta]
    assert np.mean(flagged) <= MOST_FLAGGED[beta]


def test_points_that_are_sorted_in_the_axes_of_vectors_are_right_or_flagged():
    """The frame that comes after knows the errors of the numbers that it gets."""
    count, points = 400, 30
    rng = np.random.default_rng(0)
    x = {"axes": rng.normal(size=(count, 3, 3)), "points": rng.normal(size=(count, points, 3))}
    weights = rng.normal(size=(points, 3))
    sym = ek.symmetrize(
        lambda x: jnp.sum(jnp.asarray(weights, jnp.float32) * jnp.sin(x["points"]), axis=-2),
        {"axes": "v x", "points": "p x"},
        {"y": "x"},
        v=ek.Fixed(3),
        p=ek.S,
        x=ek.O(3),
        channels=False,
        how=[QR("x", terms=("axes",), on_degenerate="flag"), Sort("p", on_degenerate="flag")],
    )
    run = jax.jit(lambda x: sym(x, with_info=True))
    turn, order = ek.O(3).random_element(rng), rng.permutation(points)
    turned = {"axes": x["axes"] @ turn.T, "points": x["points"][:, order] @ turn.T}
    (y, info), (z, other) = (run({name: a.astype(np.float32) for name, a in each.items()}) for each in (x, turned))
    found, wanted = np.asarray(z["y"]), np.asarray(y["y"]) @ turn.T
    off = np.abs(found - wanted).max(-1) / np.abs(wanted).max(-1)
    flagged = np.asarray(info.degenerate | other.degenerate)
    assert not np.any((off > 1e-3) & ~flagged)
    assert np.mean(flagged) < 0.02


if __name__ == "__main__":
    for group in GROUPS:
        doubt, error, degenerate = measured(group, 10_000)
        print(
            f"{group}: covered {np.mean(error <= doubt):.4%}, median doubt / error {np.median(doubt / error):.1f}, "
            f"largest error / doubt {np.max(error / doubt):.2f}, flagged {np.mean(degenerate):.2%}, "
            f"of independent vectors {np.mean(degenerate[1::3]):.2%}, "
            f"flagged with errors below 1e-6 {np.mean(degenerate & (error < 1e-6)):.2%}"
        )
    for beta in MOST_OFF:
        off, flagged = boosted(beta, 10_000)
        print(
            f"beta {beta}: off by more than 1e-2 {np.mean(off > 1e-2):.2%}, of them not flagged "
            f"{np.sum((off > 1e-2) & ~flagged)} events, flagged {np.mean(flagged):.2%}, "
            f"largest miss not flagged {off[~flagged].max():.1e}"
        )
