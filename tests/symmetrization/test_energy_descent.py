"""Canonical forms by descent over rotations: as equivariant as the starts are, and honest about ties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoders import energy, mixed, weights
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.canonicalization import EnergyDescent, prior_loss
from equikit.symmetrization.engine._info import most_doubt
from equikit.symmetrization.frames import PCA, Sort


class Encoder(nnx.Module):
    def __init__(self, features, count, dtype=jnp.float32):
        self.weight = nnx.Param(weights(features, count, seed=4, dtype=dtype))

    def __call__(self, x):
        return jnp.tanh(x.reshape(x.shape[0], -1) @ self.weight[...])


def cloud_energy(x):
    return energy(x) + 0.1 * jnp.sum(x**2, axis=(1, 2, 3))


def rotations(group, count, seed=0):
    seeds = np.random.default_rng(seed)
    return np.stack([group.random_element(seeds) for _ in range(count)])


@functools.cache
def descent(**options):
    return EnergyDescent(cloud_energy, learning_rate=0.2, **options)


@pytest.mark.parametrize(
    ("group", "steps"),
    [
        (ek.O(2), 6),
        pytest.param(ek.O(3), 0, marks=pytest.mark.slow),
        pytest.param(ek.SO(4), 3, marks=pytest.mark.slow),
        pytest.param(ek.SO(1), 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_descent_from_a_frame_is_equivariant_converged_or_not(group, steps):
    points = ek.Fixed(5)
    sym = ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", p=points, x=group, how=descent(steps=steps))
    ek.testing.assert_equivariant(
        jax.jit(sym), "p x -> p x", p=points, x=group, channels=1, samples=2, key=jax.random.key(2), tolerance=3e-5
    )


@pytest.mark.usefixtures("x64")
def test_descent_is_equivariant_to_rounding_in_double_precision():
    points, group = ek.Fixed(5), ek.O(3)
    sym = ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", p=points, x=group, translate="x", how=descent(steps=8))
    ek.testing.assert_equivariant(
        jax.jit(sym), "p x -> p x", p=points, x=group, channels=1, samples=2, key=jax.random.key(0), dtype=jnp.float64
    )


def test_descent_goes_down_and_says_how_far():
    @jax.jit
    def run(x):
        few, many = (
            ek.symmetrize(lambda x: x, "p x -> p x", p=ek.Fixed(5), x=ek.SO(3), how=descent(steps=steps)).info(x)
            for steps in (5, 80)
        )
        return few.more["energy"], many.more, prior_loss(many)

    energies, more, loss = jax.tree.map(np.asarray, run(weights(6, 5, 3, 1, seed=2)))
    assert np.all(energies >= more["energy"])
    assert np.max(more["gradient"]) < 0.03
    matrix = more["matrix"]
    assert np.allclose(matrix.mT @ matrix, np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(matrix), 1, atol=1e-5)
    assert np.isclose(loss, np.mean((matrix - np.eye(3)) ** 2))


def test_too_long_steps_end_above_their_start_and_say_so():
    @jax.jit
    def run(x):
        def info(**options):
            how = EnergyDescent(lambda x: -jnp.sum(jnp.tanh(x[:, :, 0, 0]), 1), **options)
            return ek.symmetrize(lambda x: x, "p x -> p x", p=ek.Fixed(4), x=ek.SO(2), how=how).info(x).more

        return info(steps=0)["energy"], info(steps=3), info(steps=3, learning_rate=5.0)

    starts, short, long = jax.tree.map(np.asarray, run(weights(20, 4, 2, 1, seed=2)))
    assert np.allclose(short["start_energy"], starts, atol=1e-6)
    assert np.allclose(long["start_energy"], starts, atol=1e-6)
    assert np.all(short["energy"] <= short["start_energy"])
    assert np.any(long["energy"] > long["start_energy"])


def test_given_starts_are_equivariant_as_far_as_paths_arrive():
    points, group = ek.Fixed(4), ek.SO(2)
    errors = {}
    for steps in (1, 20):
        how = EnergyDescent(
            lambda x: -jnp.sum(jnp.tanh(x[:, :, 0, 0]), 1), starts=rotations(group, 6), steps=steps, learning_rate=0.5
        )
        sym = jax.jit(ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", p=points, x=group, how=how))
        errors[steps] = ek.testing.equivariance_error(
            sym, "p x -> p x", p=points, x=group, channels=1, samples=2, key=jax.random.key(0)
        )
    assert errors[1] > 0.01
    assert errors[20] < 1e-3


FLAT = np.random.default_rng(3).normal(size=(5, 3, 1)).astype(np.float32) * np.array([1, 1, 0], np.float32)[:, None]
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)[..., None]


def test_a_cloud_with_a_mirror_is_degenerate_for_vectors_and_not_for_invariants():
    flat = FLAT
    bound = {"p": ek.Fixed(5), "x": ek.O(3)}
    invariant = ek.symmetrize(lambda x: jnp.sum(x, (-3, -2)), "p x -> ", **bound, how=descent(steps=4))
    assert not jax.jit(invariant.info)(flat).degenerate
    fields = ek.symmetrize(lambda x: mixed(x, 3) + 1, "p x -> p x", **bound, how=descent(steps=0))
    assert_error(ek.FrameError, lambda: fields(flat), "has no frame", "inputs for EnergyDescent; the first", "", "flag")
    how = descent(steps=4, on_degenerate="weighted")
    run = jax.jit(ek.symmetrize(lambda x: mixed(x, 3) + 1, "p x -> p x", **bound, how=how))
    straight = np.asarray(run(flat))
    assert np.abs(straight[:, 2]).max() < 1e-5  # nothing leaves the plane
    for matrix in rotations(ek.O(3), 3).astype(np.float32):
        assert np.allclose(run(matrix @ flat), matrix @ straight, atol=1e-4)


def test_a_symmetry_of_the_input_is_seen_though_descent_multiplies_rounding_errors():
    """In a plane, both directions of the normal give one copy; paths from the two would part by their rounding."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 5, 2)) @ rng.normal(size=(512, 2, 3))
    slopes = rng.normal(size=(5, 3, 1)).astype(np.float32)
    how = EnergyDescent(lambda x: jnp.sum(jnp.tanh(x * slopes), axis=(1, 2, 3)), on_degenerate="weighted")
    sym = ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", p=ek.Fixed(5), x=ek.O(3), how=how)
    y, info = jax.jit(lambda x: sym(x, with_info=True))(x.astype(np.float32)[..., None])
    # The mirror of the plane leaves the input as it is, and so the output.
    normals = np.cross(x[:, 0], x[:, 1])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    beside = np.einsum("nd,npd->np", normals, y[..., 0])
    assert np.abs(beside[~np.asarray(info.degenerate)]).max() < 1e-2  # of numbers of size one
    # Reported are those alone that rounding moves by more than the doubt allows, and few that it moves by less.
    assert np.array_equal(info.degenerate, info.doubt > most_doubt(jnp.float32))
    assert np.mean(info.degenerate) < 0.025
    assert np.mean(info.degenerate & (info.doubt < 2 * most_doubt(jnp.float32))) < 0.02


@pytest.mark.parametrize("there", [[False, False], []], ids=["absent", "none"])
def test_an_input_without_points_is_no_tie_for_vectors_of_points(there):
    def backbone(x, mask=None):
        return x if mask is None else jnp.where(mask["p"][..., None, None], x + 1, 0)

    def encoder(x, mask=None):
        return jnp.sum(x**2, axis=(1, 2, 3))

    how = EnergyDescent(encoder, steps=2, invariant_to="p")
    sym = ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.O(3), how=how)
    mask = {"p": np.array(there)} if there else None
    y, info = jax.jit(lambda x: sym(x, mask=mask, with_info=True))(np.ones((len(there), 3, 1), np.float32))
    assert not info.degenerate
    assert not np.any(y)


@pytest.mark.slow
def test_ties_of_paths_are_flagged_or_drawn():
    flat, bound = FLAT, {"p": ek.Fixed(5), "x": ek.O(3)}
    flagged = ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", **bound, how=descent(steps=4, on_degenerate="flag"))
    y, info = jax.jit(lambda x: flagged(x, with_info=True))(flat)
    assert np.isfinite(y).all()
    assert info.degenerate
    assert not info.refused
    sampled = descent(steps=4, on_degenerate="sample")
    sym = ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", **bound, how=sampled)
    drawn = jax.jit(jax.vmap(lambda key: sym.frame(flat, key=key).elements.linear["x"][0]))
    assert len(np.unique(np.round(drawn(jax.random.split(jax.random.key(0), 20)), 3), axis=0)) == 2


@pytest.mark.slow
def test_an_octahedron_starts_from_alignments_with_its_points():
    bound = {"p": ek.Fixed(6), "x": ek.SO(3)}
    how = EnergyDescent(
        cloud_energy, starts=PCA(on_degenerate="weighted"), steps=3, learning_rate=0.2, on_degenerate="weighted"
    )
    run = jax.jit(ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", **bound, how=how))
    straight = np.asarray(run(OCTAHEDRON))
    for matrix in rotations(ek.SO(3), 3).astype(np.float32):
        assert np.allclose(run(matrix @ OCTAHEDRON), matrix @ straight, atol=1e-4)


def test_points_are_sorted_after_a_descent_that_does_not_see_their_order():
    def symmetric(x):
        return jnp.sum(jnp.tanh(x[..., 0] @ weights(3, 4)) @ weights(4, seed=1), axis=1)

    def build(**options):
        how = [EnergyDescent(symmetric, steps=3, **options), Sort()]
        return ek.symmetrize(lambda x: mixed(x, 3), "p x -> p x", p=ek.S(4), x=ek.SO(3), translate="x", how=how)

    assert_error(
        ek.OptionError,
        build,
        "EnergyDescent and Sort each read the label of the other",
        "EnergyDescent",
        "nothing acts",
        'use ek.frames.PCA("x")',
    )
    sym = jax.jit(build(invariant_to=("p",)))
    ek.testing.assert_equivariant(
        sym, "p x -> p x", p=ek.S(4), x=ek.SO(3), channels=1, samples=1, key=jax.random.key(1), tolerance=3e-5
    )


@pytest.mark.usefixtures("x64")
def test_derivatives_of_the_descent_agree_with_finite_differences():
    start = tuple(
        np.asarray(weights(*shape, seed=seed, dtype=np.float64)) for shape, seed in (((12, 3), 4), ((4, 3, 1), 6))
    )

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def loss(weight, x):
        def encoder(x):
            return jnp.sum(jnp.tanh(x.reshape(x.shape[0], 12) @ weight), axis=1)

        how = EnergyDescent(encoder, steps=4, learning_rate=0.2)
        sym = ek.symmetrize(lambda x: jnp.sin(3 * x), "p x -> p x", p=ek.Fixed(4), x=ek.SO(3), how=how)
        return jnp.sum(sym(x) ** 3)

    _, slopes = loss(*start)
    step = 1e-6
    for place, found in enumerate(slopes):
        change = np.asarray(weights(*found.shape, seed=9, dtype=np.float64))
        sides = [
            loss(*(a + sign * step * change if i == place else a for i, a in enumerate(start)))[0] for sign in (1, -1)
        ]
        expected = (float(sides[0]) - float(sides[1])) / (2 * step)
        assert abs(expected) > 1e-4
        assert abs(np.vdot(found, change) - expected) < 1e-5 * max(1, abs(expected))


def test_a_detached_descent_has_no_derivatives():
    encoder, x = Encoder(12, 1), weights(4, 3, 1, seed=6)
    how = EnergyDescent(encoder, features=1, rngs=nnx.Rngs(0), steps=2, differentiable=False)
    sym = ek.symmetrize(lambda x: jnp.sin(3 * x), "p x -> p x", p=ek.Fixed(4), x=ek.SO(3), how=how)
    slope = nnx.jit(nnx.grad(lambda sym: jnp.sum(sym(x) ** 3)))(sym)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope))


# Bad input.


def test_descents_that_do_not_fit_are_refused_with_the_next_step():
    make = EnergyDescent

    def use(how, **bindings):
        return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S(4), **(bindings or {"x": ek.SO(3)}), how=how)

    assert_error(
        ek.GroupError,
        lambda: use(make(energy), x=ek.O(1, 3)),
        "EnergyDescent does not work with O(1, 3)",
        "O(1, 3)",
        "definite",
        "QR",
    )
    assert_error(ek.GroupError, lambda: use(make(energy), x=ek.Z(3)), "no axis", "x=Z(3)", "bound to O", "bind")
    for starts in (np.ones((2, 3, 3)), np.eye(3), "PCA", np.zeros((0, 3, 3))):
        assert_error(
            ek.OptionError, lambda s=starts: make(energy, starts=s), "not rotations", "shape", "starts", "leave"
        )
    two = make(energy, starts=np.eye(2)[None])
    assert_error(ek.ShapeError, lambda: use(two), "size of SO(3)", "[1, 2, 2]", "[starts, 3, 3]", "random_element")
    wrong = make(energy, starts=Sort())
    assert_error(
        ek.OptionError,
        lambda: use(wrong),
        "the starts do not have the expected names",
        "'p'",
        "a dictionary with the names 'x'",
        'PCA("x")',
    )
    for options, least in (({"learning_rate": 0}, "> 0"), ({"tolerance": -1.0}, "≥ 0, or None")):
        name = next(iter(options))
        assert_error(ek.OptionError, lambda o=options: make(energy, **o), name, str(options[name]), least, f"{name}=")
    assert_error(ek.OptionError, lambda: make(energy, steps=-1), "steps= must be", "-1", "from 0 to", "steps=1")
    assert_error(ek.OptionError, lambda: make(energy, on_degenerate="no"), "on_degenerate", "'no'", "flag", "error")
    sampled = use(make(energy, on_degenerate="sample"))
    assert_error(
        ek.OptionError, lambda: sampled(jnp.ones((4, 3, 1))), "EnergyDescent needs key=", "key=None", "key=", "key="
    )


def test_starts_that_reflect_are_no_rotations():
    how = EnergyDescent(energy, starts=np.diag([1.0, -1])[None])
    assert how.acts_on(ek.symmetrize(jnp.sin, "x -> x", x=ek.O(2), how=how).action) == {"x"}
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(jnp.sin, "x -> x", x=ek.SO(2), how=how),
        "some starts are not elements of SO(2)",
        "determinant -1",
        "determinant 1",
        "SO(2).random_element",
    )


def test_an_energy_without_a_direction_is_named_as_the_reason():
    sym = ek.symmetrize(
        jnp.sin, "p x -> p x", p=ek.Fixed(4), x=ek.O(2), how=EnergyDescent(lambda x: jnp.sum(x**2, (1, 2, 3)), steps=0)
    )
    assert_error(
        ek.FrameError,
        lambda: sym(weights(4, 2, 1, seed=6)),
        "the network, the energy or float32 does not tell",
        "1 of 1 inputs",
        "a network or energy that changes when they are moved",
        'on_degenerate="flag"',
    )


def test_text_is_short():
    assert repr(EnergyDescent(energy, starts=np.eye(3)[None])) == "EnergyDescent(function, starts=1 matrices, steps=10)"
