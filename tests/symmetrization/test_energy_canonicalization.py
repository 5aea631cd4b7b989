"""Canonical forms by energy over finite groups: exact for any encoder, ties reported, derivatives through choices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from encoders import energy, mixed, weights
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.canonicalization import EnergyCanonicalization, prior_loss, separation_loss
from equikit.symmetrization.finite._turned import turned

OCTAHEDRAL = ek.MatrixGroup([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]], name="octahedral")
SKEWED = ek.MatrixGroup([[[0, -1], [1, -1]]], name="C3")
"""Rotations by a third, in a basis that is not orthogonal."""


# Finite groups.


CASES = [
    ("t -> t", {"t": ek.Z(5)}, 1),
    ("t t -> t", {"t": ek.D(4)}, 2),
    ("p x -> p x", {"p": ek.Fixed(4), "x": OCTAHEDRAL}, 2),
    ("p x -> x x", {"p": ek.Fixed(4), "x": SKEWED}, 2),
    ("p -> p p", {"p": ek.S(3)}, 1),
    ("h -> h", {"h": ek.H(2)}, 1),
]


def backbone_of(signature, bindings):
    inside, outside = (side.split() for side in signature.split(" -> "))
    shape = [bindings[label].size if isinstance(bindings[label], ek.Fixed) else bindings[label].n for label in outside]

    def backbone(x):
        flat = x.reshape(*x.shape[: x.ndim - 1 - len(inside)], -1)
        width = int(np.prod(shape))
        return jnp.tanh(flat @ weights(flat.shape[-1], width, seed=3, dtype=x.dtype)).reshape(
            *flat.shape[:-1], *shape, 1
        )

    return backbone


@pytest.mark.parametrize(("signature", "bindings", "axes"), CASES, ids=[case[0] + str(case[1]) for case in CASES])
def test_any_encoder_makes_any_backbone_equivariant(signature, bindings, axes):
    how = EnergyCanonicalization(energy, selection="straight-through" if axes == 1 else "argmax")
    sym = jax.jit(ek.symmetrize(backbone_of(signature, bindings), signature, **bindings, how=how))
    ek.testing.assert_equivariant(sym, signature, channels=2, samples=2, **bindings, key=jax.random.key(1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("signature", "bindings", "axes"), CASES[2:4], ids=["octahedral", "C3"])
def test_double_precision_is_kept(signature, bindings, axes):
    how = EnergyCanonicalization(energy, on_degenerate="weighted")
    sym = jax.jit(ek.symmetrize(backbone_of(signature, bindings), signature, **bindings, how=how))
    ek.testing.assert_equivariant(
        sym, signature, channels=1, samples=1, **bindings, key=jax.random.key(0), dtype=jnp.float64
    )


@pytest.mark.parametrize("selection", ["straight-through", "argmax"])
def test_images_are_exact_on_quarter_turns(selection):
    group, pixels = ek.D(4), {"i": ek.Fixed(6), "j": ek.Fixed(6)}
    how = EnergyCanonicalization(energy, group, vectors="x", selection=selection)

    def backbone(x):
        return {"image": mixed(x, 3), "field": jnp.stack([x, jnp.cumsum(x, -2)], -2)}

    sym = ek.symmetrize(backbone, {"in": "i j"}, {"image": "i j", "field": "i j x"}, **pixels, x=ek.O(2), how=how)
    run, x = jax.jit(sym), weights(2, 6, 6, 1, seed=5)
    turn = jax.jit(lambda matrix, x: turned(matrix, x, (1, 2)))
    straight = run(x)
    for matrix in group.plane_matrices():
        found = run(turn(jnp.asarray(matrix), x))
        assert np.array_equal(found["image"], turn(jnp.asarray(matrix), straight["image"]))
        field = jnp.einsum("ab,nijbc->nijac", jnp.asarray(matrix, jnp.float32), turn(matrix, straight["field"]))
        assert np.array_equal(found["field"], field)


def test_the_least_energy_is_taken():
    def first(x):
        return -x[:, 0, 0]

    sym = ek.symmetrize(lambda x: jnp.cumsum(x, -2), "t -> t", t=ek.Z(4), how=EnergyCanonicalization(first))
    x = jnp.array([[1.0], [4.0], [0.0], [2.0]])
    frame = sym.frame(x)
    order = jnp.take(x[:, 0], jnp.argmax(frame.elements.linear["t"][0], axis=0))  # what the backbone sees
    assert order.tolist() == [4.0, 0.0, 2.0, 1.0]
    assert sorted(frame.info.more["activations"].tolist()) == [0.0, 1.0, 2.0, 4.0]
    assert np.isclose(frame.info.gap, 0.5)
    assert sym(x)[:, 0].tolist() == [7.0, 4.0, 4.0, 6.0]


def test_several_inputs_masks_and_batches_reach_the_encoder():
    p = ek.S(4)

    def encoder(x, mask):
        assert mask["p"].shape == x["points"].shape[:2]
        kept = jnp.where(mask["p"][..., None], x["points"], 0).reshape(-1, 8)
        return jnp.tanh(kept @ weights(8, 3) + x["pairs"].reshape(-1, 16) @ weights(16, 3, seed=1)) @ weights(3, seed=2)

    def backbone(x, mask):
        there = mask["p"][..., None]
        return jnp.where(there, jnp.cumsum(jnp.where(there, x["points"], 0), -2) + x["pairs"].sum(-2), 0)

    inputs, outputs = {"points": ("p", 2), "pairs": ("p p", 1)}, {"out": ("p", 2)}
    plain = {name: labels for name, (labels, _) in inputs.items()}
    how = EnergyCanonicalization(encoder, on_degenerate="weighted")
    sym = jax.jit(ek.symmetrize(backbone, plain, {"out": "p"}, p=p, how=how))
    ek.testing.assert_equivariant(sym, inputs, outputs, p=p, mask=True, samples=2, key=jax.random.key(0))


def test_ties_are_reported_and_averaged_exactly():
    x = np.array([[1, 2, 1, 2], [3, 3, 3, 3], [0, 0, 0, 0], [1, 2, 3, 5]], np.float32)[..., None]
    signature, bindings = "t -> t t", {"t": ek.D(4)}
    backbone = backbone_of(signature, bindings)
    sym = ek.symmetrize(backbone, signature, **bindings, how=EnergyCanonicalization(energy))
    assert jax.jit(sym.info)(x).degenerate.tolist() == [True, True, True, False]
    assert_error(
        ek.FrameError, lambda: sym(x), "has no frame", "inputs for EnergyCanonicalization; the first", "", "flag"
    )
    how = EnergyCanonicalization(energy, on_degenerate="weighted")
    sym = ek.symmetrize(backbone, signature, **bindings, how=how)
    run = jax.jit(lambda x: sym(x, with_info=True))
    straight, info = jax.tree.map(np.asarray, run(x))
    assert info.size.tolist() == [4, 8, 8, 1]
    for element in ek.D(4).elements():
        inverse = np.argsort(element)
        found, _ = run(x[:, inverse])
        assert np.allclose(found, straight[:, inverse][:, :, inverse], atol=1e-5)
    # An invariant output is right, since all choices show the backbone the same input.
    invariant = ek.symmetrize(lambda x: x[..., 0, :], "t -> ", **bindings, how=EnergyCanonicalization(energy))
    assert not jax.jit(invariant.info)(x).degenerate.any()


def test_ties_of_an_encoder_that_sees_nothing_are_not_taken_for_those_of_the_input():
    sym = ek.symmetrize(lambda x: x[..., 0, :], "t -> ", t=ek.Z(4), how=EnergyCanonicalization(lambda x: x.sum((1, 2))))
    info = jax.jit(sym.info)
    assert info(np.arange(4, dtype=np.float32)[:, None]).degenerate
    assert not info(np.ones((4, 1), np.float32)).degenerate


class Encoder(nnx.Module):
    def __init__(self, features, count, dtype=jnp.float32):
        self.weight = nnx.Param(weights(features, count, seed=4, dtype=dtype))

    def __call__(self, x):
        return jnp.tanh(x.reshape(x.shape[0], -1) @ self.weight[...])


@pytest.mark.usefixtures("x64")
def test_derivatives_reach_encoder_and_reference_through_the_soft_permutation():
    encoder, x = Encoder(5, 3, jnp.float64), weights(4, 5, 1, seed=6, dtype=np.float64)
    how = EnergyCanonicalization(encoder, features=3, rngs=nnx.Rngs(0), beta=2.0)
    how.score.reference[...] = weights(3, seed=8, dtype=np.float64)

    def backbone(x):
        return jnp.sin(3 * x) * jnp.arange(5.0)[:, None]

    sym = ek.symmetrize(backbone, "t -> t", t=ek.Z(5), how=how)
    slope = nnx.jit(nnx.grad(lambda sym: jnp.sum(sym(x) ** 3)))(sym)["how"]["score"]
    listed = jnp.asarray(np.eye(5)[:, ek.Z(5).elements()].transpose(1, 0, 2))
    start = (encoder.weight[...], how.score.reference[...])

    def scores(weight, reference):
        moved = jnp.einsum("gij,nic->gnj", listed, x)  # by the inverse of each
        vectors = jnp.tanh(moved @ weight)
        cosines = vectors @ reference / jnp.linalg.norm(reference) / jnp.linalg.norm(vectors, axis=-1)
        return jax.nn.softmax(2.0 * cosines, axis=0)

    @jax.jit
    def soft(weight, reference):
        here, there = scores(weight, reference), scores(*start)
        matrix = listed[jnp.argmax(there, axis=0)] + jnp.einsum("gn,gij->nij", here - there, listed)
        y = backbone(jnp.einsum("nij,nic->njc", matrix, x))
        return jnp.sum(jnp.einsum("nij,njc->nic", matrix, y) ** 3)

    for place, found in enumerate((slope["encoder"]["weight"][...], slope["reference"][...])):
        change, step = jnp.asarray(np.random.default_rng(1).normal(size=found.shape)), 1e-6
        sides = [
            soft(*(a + sign * step * change if i == place else a for i, a in enumerate(start))) for sign in (1, -1)
        ]
        expected = (sides[0] - sides[1]) / (2 * step)
        assert abs(expected) > 1e-3
        assert abs(jnp.vdot(found, change) - expected) < 1e-6 * max(1, abs(expected))


def test_an_encoder_learns_which_copy_is_upright_and_to_keep_the_copies_apart():
    seeds = np.random.default_rng(0)
    ramp = np.array([0.0, 1.0, 2.0, 4.0, 2.0, 0.0])
    data = (ramp + 0.2 * seeds.normal(size=(64, 6))).astype(np.float32)[..., None]
    how = EnergyCanonicalization(Encoder(6, 8), features=8, rngs=nnx.Rngs(1))
    sym = ek.symmetrize(lambda x: x, "t -> t", t=ek.Z(6), how=how)
    optimizer = nnx.Optimizer(sym, optax.adam(0.03), wrt=nnx.Param)

    def losses(sym):
        info = sym.info(data)
        return prior_loss(info, beta=10.0), separation_loss(info)

    @nnx.jit
    def step(sym, optimizer):
        optimizer.update(sym, nnx.grad(lambda sym: sum(losses(sym)))(sym))
        return losses(sym)

    before = nnx.jit(losses)(sym)
    for _ in range(80):
        after = step(sym, optimizer)
    assert after[0] < 0.1 < before[0]
    assert after[1] < 0.5 * before[1]
    moved = np.roll(data, 2, axis=1)
    elements = nnx.jit(lambda sym, x: sym.frame(x).elements.linear["t"][0])(sym, moved)
    assert np.mean(np.argmax(elements, axis=-2)[:, 0] == 2) > 0.95


def test_separation_is_the_mean_squared_cosine():
    x = np.array([[3, 4, 0]], np.float32)[..., None]
    how = EnergyCanonicalization(lambda x: x[..., 0], features=3, rngs=nnx.Rngs(0))
    info = jax.jit(ek.symmetrize(jnp.sin, "t -> t", t=ek.Z(3), how=how).info)(x)
    assert np.isclose(separation_loss(info), (12 / 25) ** 2)
    one = ek.symmetrize(
        jnp.sin, "t -> t", t=ek.Z(1), how=EnergyCanonicalization(lambda x: x[:, 0], features=1, rngs=nnx.Rngs(0))
    )
    assert separation_loss(jax.jit(one.info)(np.ones((2, 1, 1), np.float32))) == 0
    without = ek.symmetrize(jnp.sin, "t -> t", t=ek.Z(3), how=EnergyCanonicalization(energy))
    without = jax.jit(without.info)(x)
    assert_error(
        ek.OptionError,
        lambda: separation_loss(without),
        "the info has no 'vectors'",
        "activations",
        "features=",
        "features=16",
    )


# Bad input.


def test_what_does_not_fit_is_refused_with_the_next_step():
    x, make = jnp.ones((4, 1)), EnergyCanonicalization

    def use(how, signature="t -> t", **bindings):
        return ek.symmetrize(jnp.sin, signature, **(bindings or {"t": ek.Z(4)}), how=how)

    wide = use(make(lambda x: x))
    assert_error(ek.ShapeError, lambda: wide(x), "energy of the encoder", "[4, 4, 1]", "[4]", "features=")
    vectors = use(make(lambda x: x[..., 0], features=3, rngs=nnx.Rngs(0)))
    assert_error(ek.ShapeError, lambda: vectors(x), "what the encoder returns", "[4, 4]", "[4, 3]", "features=")
    assert_error(
        ek.OptionError,
        lambda: make(energy, rngs=nnx.Rngs(0)),
        "rngs=",
        "features=None, rngs=Rngs( # RngState: 2 (12 B)   default",
        "all of them, or none",
        "leave",
    )
    assert_error(ek.OptionError, lambda: make(energy, features=3), "rngs= must be", "None", "nnx.Rngs", "rngs=")
    assert_error(
        ek.OptionError,
        lambda: make(energy, ek.D(4), label="t"),
        "group= and label= cannot be given together",
        "'t'",
        "one of",
        "leave label out",
    )
    assert_error(ek.OptionError, lambda: make(3), "cannot be called", "int", "module", "pass")
    assert_error(ek.GroupError, lambda: make(energy, ek.S(4)), "does not turn", "S(4)", "D(n)", "ek.D(4)")
    assert_error(
        ek.GroupError, lambda: use(make(energy), x=ek.O(3), signature="x -> x"), "no axis", "O(3)", "S or H", "bind"
    )
    large = ek.S(9)
    assert_error(ek.TooLargeError, lambda: use(make(energy), t=large), "too many", "362,880", "1,024", "ek.frames")
    shear = ek.MatrixGroup([[[1, 1], [0, 1]]])
    assert_error(
        ek.TooLargeError, lambda: use(make(energy), t=shear), "too many", "more than 1,024", "1,024", "ek.frames"
    )
    lie = ek.MatrixGroup(lie_algebra=[[[0, 1], [-1, 0]]])
    assert_error(
        ek.GroupError,
        lambda: use(make(energy), t=lie),
        "EnergyCanonicalization does not work with MatrixGroup(1 ",
        "Lie",
        "finite",
        "EnergyDescent",
    )
    free = use(make(energy), t=ek.S)
    assert free(jnp.arange(3.0)[:, None]).shape == (3, 1)
    assert_error(ek.TooLargeError, lambda: free(jnp.ones((9, 1))), "too many", "362,880", "1,024", "ek.frames")
    gumbel = use(make(energy, selection="gumbel"))
    assert_error(ek.OptionError, lambda: gumbel(x), "EnergyCanonicalization needs key=", "key=None", "key=", "key=")
    assert gumbel(x, key=jax.random.key(0)).shape == (4, 1)


def test_text_is_short():
    assert repr(EnergyCanonicalization(energy, ek.D(4))) == "EnergyCanonicalization(function, D(4))"
