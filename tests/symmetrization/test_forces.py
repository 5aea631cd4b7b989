"""Forces of molecules that span a plane or a line: the derivatives of an energy that a frame makes invariant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.symmetrization.canonicalization import RotationCanonicalization, VectorNeurons
from equikit.symmetrization.frames import PCA, QR, Alignment

ATOMS = 6
MOLECULES = {  # centered, with the first atoms independent of each other: beside a line, QR jumps where they are not
    "water": [[0.76, -0.4, 0], [0, 0.12, 0], [-0.76, -0.4, 0]],
    "ethylene": [[1.24, 0.93, 0], [0.67, 0, 0], [1.24, -0.93, 0], [-0.67, 0, 0], [-1.24, 0.93, 0], [-1.24, -0.93, 0]],
    "carbon dioxide": [[1.16, 0, 0], [0, 0, 0], [-1.16, 0, 0]],
    "acetylene": [[1.67, 0, 0], [0.6, 0, 0], [-0.6, 0, 0], [-1.67, 0, 0]],
    "nitrogen": [[0.55, 0, 0], [-0.55, 0, 0]],
    "ring": [[np.cos(angle), np.sin(angle), 0] for angle in np.arange(6) * np.pi / 3],
    "one point": [[1.0, 2, 3]],
}
STRETCH = np.array([[1.1, 1, 1], [1, 0.9, 1], [1.3, 1, 1], [0.8, 1.2, 1], [1, 1.1, 1], [1.2, 0.7, 1]])
"""By which it is undone that the vectors of a network cancel, as they must for symmetric molecules."""


def geometries(learned):
    """Molecules `[molecules, atoms, 3]`, turned at random; what is missing are zero vectors, which change nothing."""
    turn = ek.O(3).random_element(np.random.default_rng(1))
    found = [np.pad(np.array(x), ((0, ATOMS - len(x)), (0, 0))) for x in MOLECULES.values()]
    return np.stack([(x * STRETCH if learned else x) @ turn.T for x in found])


def energy(x):
    """A function that is no invariant, and depends on all coordinates."""
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(3 * ATOMS, 8)), x.dtype)
    return jnp.sum(jnp.sin(x.reshape(*x.shape[:-2], 3 * ATOMS) @ weights + 0.3), axis=-1)


BATCH = len(MOLECULES) * (1 + 6 * ATOMS)
"""Each molecule, and a step to both sides for each coordinate."""


@functools.cache
def program(group, learned, dtype):
    """The energies and the forces of a batch."""
    how = QR()
    if learned:
        count = 3 if group == ek.O(3) else 2
        options = {"channels": 4, "layers": 1, "rngs": nnx.Rngs(12), "param_dtype": dtype}
        how = RotationCanonicalization(VectorNeurons({"p x": 1}, count, p=ek.S, x=group, **options))
    p = ek.S if learned else ek.Fixed(ATOMS)
    sym = ek.symmetrize(energy, "p x -> ", p=p, x=group, channels=False, how=how)
    return jax.jit(jax.grad(lambda x: (jnp.sum(energies := sym(x)), energies), has_aux=True))


def measured(group, learned, dtype, x):
    """The energies and the forces of molecules, in a batch of one size for all tests."""
    forces, energies = program(group, learned, dtype)(np.resize(x, (BATCH, ATOMS, 3)).astype(dtype))
    return np.float64(energies)[: len(x)], np.float64(forces)[: len(x)]


def one_sided_mean(x, energies, step=3e-7):
    """The forces of molecules; and the mean of the finite differences to both sides, for each coordinate."""
    units = step * np.eye(3 * ATOMS).reshape(-1, 1, ATOMS, 3)
    found, forces = energies(np.concatenate([x, *(x + units), *(x - units)]))
    _, up, down = np.split(found.reshape(-1, len(x)), [1, 1 + 3 * ATOMS])
    return forces[: len(x)], ((up - down) / (2 * step)).T.reshape(x.shape)


def misses(found, wanted):
    """By how much the forces of each molecule miss, relative to the largest."""
    return np.abs(found - wanted).max((1, 2)) / np.maximum(np.abs(wanted).max((1, 2)), 1e-9)


METHODS = [
    (ek.O(3), False, np.float64),
    (ek.O(3), True, np.float64),
    (ek.O(3), False, np.float32),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in ((ek.SO(3), False, np.float64), (ek.SO(3), True, np.float64), (ek.O(3), True, np.float32))
    ),
]


@pytest.mark.parametrize(("group", "learned", "dtype"), [METHODS[i] for i in (0, 1, 3, 4)])
def test_forces_are_the_mean_of_the_one_sided_derivatives(x64, group, learned, dtype):
    x = geometries(learned)
    there = np.any(x != 0, axis=-1, keepdims=True)
    there[2, 1] = True  # the atom in the middle
    forces, wanted = one_sided_mean(x, functools.partial(measured, group, learned, dtype))
    off = misses(np.where(there, forces, 0), np.where(there, wanted, 0))
    assert np.all(off < 1e-4), dict(zip(MOLECULES, off, strict=True))


@pytest.mark.parametrize(("group", "learned", "dtype"), METHODS)
def test_forces_turn_with_the_molecule(group, learned, dtype):
    with jax.enable_x64(dtype == np.float64):
        x, g = geometries(learned), group.random_element(np.random.default_rng(2))
        before, after = (measured(group, learned, dtype, array)[1] for array in (x, x @ g.T))
        rounding = 1e-10 if dtype == np.float64 else 1e-3 if learned else 1e-4  # the network has errors of its own
        assert np.all(misses(after, before @ g.T) < rounding), misses(after, before @ g.T)


CHARGES = np.array([8.0, 6, 8.5])[:, None]


@pytest.mark.parametrize("how", [QR(), Alignment()], ids=lambda how: type(how).__name__)
@pytest.mark.parametrize("output", ["", "p x"], ids=["invariant", "vectors"])
def test_derivatives_across_the_line_of_different_atoms_turn_with_it(x64, how, output):
    """What invariants change across it cancels only in the mean over all rotations about it."""

    def network(x):
        found = CHARGES * jnp.tanh(x * jnp.array([1.0, 2, 3]) + x**2)
        return found if output else jnp.sum(found, axis=(-1, -2))

    options = {"translate": None if output else "x", "channels": False, "batched": False}
    sym = ek.symmetrize(network, f"p x -> {output}", p=ek.Fixed(3), x=ek.O(3), how=how, **options)
    slope = jax.jit(lambda x, v: (sym(x), jax.jvp(sym, (x,), (v,))[1]))
    turn, v = ek.O(3).random_element(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(3, 3))
    for x in (np.array([[1.16, 0, 0], [0.05, 0, 0], [-1.2, 0, 0]]), np.zeros((3, 3))):
        for one, other in zip(slope(x @ turn.T, v @ turn.T), slope(x, v), strict=True):
            np.testing.assert_allclose(one, other @ turn.T if output else other, atol=1e-12)
    if not output:
        np.testing.assert_array_equal(slope(np.zeros((3, 3)), v)[1], 0)


def small_network(x):
    """An energy of points in any order that depends on their orientation."""
    first, second = (jnp.asarray(np.random.default_rng(5).normal(size=size), x.dtype) for size in ((3, 8), 8))
    return 1 + jnp.mean(jnp.tanh(x @ first + 0.3) @ second, axis=-1)


def compared(how, x, dtype):
    """How far energies and forces of turned copies are off, relative to the larger of both; and what is reported.

    There are no forces for frames that are held fixed.
    """
    rng = np.random.default_rng(0)
    turns, shifts = np.linalg.qr(rng.normal(size=(len(x), 3, 3)))[0], rng.normal(size=(len(x), 1, 3))
    sym = ek.symmetrize(small_network, "p x -> ", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)

    def total(x):
        energies, info = sym(x, with_info=True)
        return jnp.sum(energies), (energies, info.degenerate)

    run = jax.jit(jax.grad(total, has_aux=True) if how.differentiable else lambda x: (0 * x, total(x)[1]))
    copies = (x, np.einsum("bij,bnj->bni", turns, x) + shifts)
    (force, (energy, one)), (other, (again, two)) = (
        jax.tree.map(np.asarray, run(copy.astype(dtype))) for copy in copies
    )
    force, other = np.float64(force), np.einsum("bij,bni->bnj", turns, np.float64(other))
    size = np.maximum(np.abs(force).max((1, 2)), np.abs(energy))
    return np.abs(energy - again) / size, np.abs(force - other).max((1, 2)) / size, one | two


def near_gaps(count):
    """Ten points whose two largest second moments differ by 3e-8 to 3e-7 of them."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 10, 3))
    white = np.linalg.svd(points - points.mean(1, keepdims=True), full_matrices=False)[0]
    gaps = 10 ** rng.uniform(-7.5, -6.5, size=count)
    moments = np.stack([np.ones(count), 1 - gaps, np.full(count, 0.3)], axis=-1)
    return white * np.sqrt(10 * moments)[:, None] @ np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]


@pytest.mark.parametrize(
    ("policy", "count", "silent"), [pytest.param("flag", 256, 0.03, marks=pytest.mark.slow), ("weighted", 64, 0.0)]
)
def test_forces_at_small_gaps_are_right_or_reported(x64, policy, count, silent):
    """They are less precise than the axes, the more the slope of the energy changes as these turn."""
    _, off, reported = compared(PCA(on_degenerate=policy), near_gaps(count), np.float64)
    assert np.mean((off > 1e-8) & ~reported) <= silent
    if policy == "weighted":
        assert not reported.any()


def rods(*powers):
    """Twelve points, along two axes a tenth as wide to these powers."""
    points = np.random.default_rng(0).normal(size=(len(powers), 12, 3))
    return points * np.stack([np.ones(len(powers)), *[10.0 ** -np.array(powers)] * 2], axis=-1)[:, None]


def test_forces_of_thin_rods_are_right_or_reported():
    """The axes across a rod turn fast as points move, which multiplies the rounding of outputs."""
    energies, off, reported = compared(PCA(on_degenerate="flag"), rods(2, 3, 5, 6, 8), np.float32)
    assert reported.tolist() == [False, False, True, False, False]
    assert energies.max() < 1e-6
    assert off[~reported].max() < 5e-5 < off[2]


def test_energies_of_thin_rods_are_those_of_principal_axes():
    """For all observers: across a rod that is thin enough, they cannot tell whether two axes are equal."""
    how = PCA(on_degenerate="weighted", differentiable=False)
    energies, _, reported = compared(how, rods(1, 2, 3, 4, 5, 6, 6.5, 7, 7, 7, 7, 8), np.float32)
    assert energies.max() < 1e-6
    assert not reported.any()


def test_forces_of_alignments_with_points_close_to_a_line_are_right_or_reported():
    """The rounding of outputs is multiplied by one over the distance of the points from the line."""
    x = rods(1, 2, 3, 4.5, 5, 6)
    energies, off, reported = compared(Alignment(on_degenerate="flag"), x, np.float32)
    assert reported.tolist() == [False] * 3 + [True] * 3
    assert off[~reported].max() < 1e-4 < off[reported].min()
    energies, _, reported = compared(Alignment(on_degenerate="flag", differentiable=False), x, np.float32)
    assert energies.max() < 1e-6
    assert not reported.any()
