"""The front door to learned canonicalization gives the method that the group has."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization import canonicalization


@pytest.mark.parametrize(
    ("group", "by", "wanted"),
    [
        (ek.Z(4), "network", canonicalization.ImageCanonicalization),
        (ek.D(4), "network", canonicalization.ImageCanonicalization),
        (ek.D(4), "energy", canonicalization.EnergyCanonicalization),
        (ek.O(3), "network", canonicalization.RotationCanonicalization),
        (ek.O, "network", canonicalization.RotationCanonicalization),
        (ek.SO(3), "energy", canonicalization.EnergyDescent),
        (ek.S, "network", canonicalization.PermutationCanonicalization),
        (ek.S(4), "energy", canonicalization.EnergyCanonicalization),
    ],
    ids=str,
)
def test_every_group_has_its_method(group, by, wanted):
    found = ek.Canonicalize(lambda x: x, group=group, by=by)
    assert type(found) is wanted
    assert isinstance(found, nnx.Module)


def test_options_are_those_of_the_class():
    found = ek.Canonicalize(lambda x: x, group=ek.O(3), label="x", on_degenerate="flag")
    assert (found.label, found.on_degenerate) == ("x", "flag")
    with pytest.raises(ek.OptionError, match="Canonicalize has no option 'color'"):
        ek.Canonicalize(lambda x: x, group=ek.O(3), color="red")


@pytest.mark.parametrize(
    ("asked", "bound"),
    [(ek.SO(3), ek.O(3)), (ek.O(3), ek.SO(3)), (ek.O(2), ek.O(3)), (ek.O, ek.SO(3)), (ek.S(4), ek.S), (ek.S, ek.Z(3))],
    ids=str,
)
def test_the_group_that_is_asked_for_is_that_of_a_label(asked, bound):
    how = ek.Canonicalize(lambda x: x, group=asked)
    name = asked.__name__ if isinstance(asked, type) else str(asked)
    assert_error(
        ek.GroupError,
        lambda: ek.symmetrize(jnp.sin, "x -> x", x=bound, how=how),
        "finds no axis to act on",
        "x=",
        f"a label bound to {name}",
        f"bind a label to {name}",
    )
    for other in ("y", None):
        named = ek.Canonicalize(lambda x: x, group=ek.SO(3), label=other)
        both = ek.symmetrize(jnp.sin, "x y -> x y", x=ek.O(3), y=ek.SO(3), how=named)
        assert both.how.acts_on(both.action) == {"y"}


def test_losses_are_those_of_all_methods():
    def method(label, place):
        energy = lambda x: 0 * jnp.sum(x[place], axis=(1, 2))  # noqa: E731
        of = {"label": label, "on_degenerate": "flag", "features": None}
        return canonicalization.EnergyCanonicalization(energy, **of, invariant_to="tu".replace(label, ""))

    how = [method("t", "t"), method("u", "u")]
    sym = ek.symmetrize(lambda x: x, {"t": "t", "u": "u"}, {"t": "t", "u": "u"}, t=ek.Z(3), u=ek.Z(4), how=how)
    info = jax.jit(sym.info)({"t": np.zeros((3, 1), np.float32), "u": np.zeros((4, 1), np.float32)})
    assert sorted(info.more) == ["activations", "activations 2"]
    assert canonicalization.prior_loss(info) == pytest.approx(math.log(12))


def test_the_call_of_the_readme_is_invariant_to_the_last_bit():
    network = canonicalization.GroupConvolution(1, ek.D(4), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(36, 5)).astype(np.float32)
    sym = ek.symmetrize(
        lambda x: x.reshape(*x.shape[:-3], 36) @ weights,
        "i j -> ",
        i=ek.Fixed(6),
        j=ek.Fixed(6),
        how=ek.Canonicalize(network, group=ek.D(4)),
    )
    images = rng.normal(size=(3, 6, 6, 1)).astype(np.float32)
    wanted = sym(images)
    for moved in (np.rot90(images, axes=(1, 2)), images[:, ::-1], np.swapaxes(images, 1, 2)):
        np.testing.assert_array_equal(sym(moved), wanted)


@pytest.mark.parametrize("group", [ek.Sp(2), ek.U(2), ek.Z, None, "D4"], ids=str)
def test_other_groups_are_refused(group):
    assert_error(
        ek.GroupError,
        lambda: ek.Canonicalize(lambda x: x, group=group),
        "no learned canonicalization",
        f"group={group!r}, by='network'",
        "Z(n) or D(n) for images",
        "ek.frames",
    )


def test_random_draws_of_a_method_with_parameters_keep_them_in_sight():
    network = canonicalization.VectorNeurons({"p x": 1}, 2, layers=1, p=ek.S, x=ek.O(2), rngs=nnx.Rngs(0))
    drawn = ek.frames.Stochastic(ek.Canonicalize(network, group=ek.O(2)), samples=2)
    assert isinstance(drawn, nnx.Module)
    assert len(jax.tree.leaves(nnx.state(drawn))) == len(jax.tree.leaves(nnx.state(network))) > 0
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(2), how=drawn)
    cloud, key = np.random.default_rng(0).normal(size=(4, 2, 1)).astype(np.float32), jax.random.key(1)
    assert jax.eval_shape(lambda cloud: sym.frame(cloud, key=key), cloud).size == 2
    one, two = jax.jit(lambda cloud: (sym(cloud, key=key), sym(cloud)))(cloud)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)  # both draws are the one element


@pytest.mark.parametrize("label", [None, "t"])
@pytest.mark.parametrize("group", [ek.Z(4), ek.D(4)], ids=str)
def test_cyclic_groups_act_on_the_label_that_is_bound_to_them(group, label):
    how = ek.Canonicalize(lambda x: -x[:, 0, 0], group=group, by="energy", label=label, on_degenerate="weighted")
    sym = ek.symmetrize(lambda x: jnp.cumsum(x, -2), "t -> t", t=group, how=how)
    assert sym.how.acts_on(sym.action) == {"t"}
    x = np.float32([1, 3, 0, 2])[:, None]
    np.testing.assert_allclose(sym(np.roll(x, 1, axis=0)), np.roll(sym(x), 1, axis=0))


def test_cyclic_groups_turn_images_although_a_label_is_bound_to_them():
    how = ek.Canonicalize(lambda x: x[:, 0, 0, 0, 0], group=ek.Z(4), by="energy", invariant_to="t")
    pixels = {"i": ek.Fixed(6), "j": ek.Fixed(6)}
    sym = ek.symmetrize(jnp.sin, "i j t -> i j t", t=ek.Z(4), how=how, **pixels)
    assert sym.how.acts_on(sym.action) == {"i", "j"}
