"""Restricted layers and networks compute the same, and their maps are those of the smaller group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import by_numpy

import equikit as ek
from equikit import SO, A, D, Fixed, H, O, S, Trivial, Z
from equikit.relax import restrict, soften

CASES = {
    "axis": ("x x -> x x", {"x": O(3)}, {"x": O(2) + O(1)}, (3, 3)),
    "free group": ("p p -> p", {"p": S}, {"p": Z(5)}, (5, 5)),
    "dependent": ("p p -> p p", {"p": S(3)}, {"p": D(3)}, (3, 3)),
    "head": ("x x -> x", {"x": SO(3)}, {"x": SO(2) + Trivial(1)}, (3, 3)),
    "free label": ("p x x -> p x", {"p": S, "x": SO(3)}, {"x": SO(2) + Trivial(1)}, (6, 3, 3)),
    "plain axis": ("p x f -> p x", {"p": S, "x": O(3), "f": Fixed(2)}, {"p": A(4), "x": Trivial(3)}, (4, 3, 2)),
    "form": ("x -> x", {"x": O(1, 3)}, {"x": O(1) + O(3)}, (4,)),
    "signs": ("x x -> x x", {"x": O(3)}, {"x": H(3)}, (3, 3)),
}


@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_it_computes_the_same(x64, name, normalize):
    signature, before, after, shape = CASES[name]
    options = {"normalize": normalize, "param_dtype": jnp.float64, "bias_init": jax.nn.initializers.normal(1.0)}
    layer = ek.nn.Linear(signature, 2, 3, **before, **options, rngs=nnx.Rngs(0))
    smaller = restrict(layer, **after)
    x = np.random.default_rng(0).normal(size=(2, *shape, 2))
    np.testing.assert_allclose(by_numpy(smaller)(x), by_numpy(layer)(x), atol=1e-12)
    assert dict(smaller.signature.bindings) == {**dict(layer.signature.bindings), **after}
    assert smaller.space == ek.hom(signature, **{**before, **after})
    assert (smaller.normalize, smaller.kernel[signature].dtype) == (normalize, jnp.float64)


def test_networks_are_restricted(x64):
    features = [{"": 2, "x": 2}, {"": 4, "x": 3, "x x": 2}, {"x x": 1}]
    net = ek.nn.Network(features, x=O(3), rngs=nnx.Rngs(0), products=2, param_dtype=jnp.float64)
    free, rng = restrict(net, x=Trivial(3)), np.random.default_rng(0)
    x = {"": rng.normal(size=(2, 2)), "x": rng.normal(size=(2, 3, 2))}
    np.testing.assert_allclose(by_numpy(free)(x)["x x"], by_numpy(net)(x)["x x"], atol=1e-12)
    assert free.head.kernel["x x -> x x"].shape == (81, 2, 1)
    assert free.nonlinear[0] is not net.nonlinear[0]
    assert net.head.kernel["x x -> x x"].shape == (3, 2, 1)


@pytest.mark.parametrize("nonlinearity", ["gated", "norm"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(O(3), Trivial(3)), (O(3), S(3)), (SO(3), A(3)), (SO(3), Trivial(1) + Trivial(2))],
    ids=str,
)
def test_networks_compute_the_same_where_the_smaller_group_fixes_a_vector(x64, before, after, nonlinearity):
    # Linear maps of the smaller group then reach gates and invariants that only products of the larger group reach.
    features = [{"x": 2}, {"": 2, "x": 4}, {"": 1, "x": 3}, {"": 1, "x": 1}]
    options = {"nonlinearity": nonlinearity, "products": 2, "param_dtype": jnp.float64}
    net = ek.nn.Network(features, x=before, rngs=nnx.Rngs(0), **options)
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 2))}
    found, wanted = by_numpy(restrict(net, x=after))(x), by_numpy(net)(x)
    for name in ("", "x"):
        assert np.abs(wanted[name]).max() > 1e-6  # far above the tolerance
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-12)


def test_bad_groups():
    layer = ek.nn.Linear("x -> x", 1, 1, x=O(3), rngs=nnx.Rngs(0))
    assert_error(
        ek.GroupError, lambda: restrict(layer, x=O(1, 2)), "does not contain", "O(3), then O(1, 2)", "desc", "larger"
    )
    assert_error(
        ek.GroupError, lambda: restrict(layer, x=O(2)), "different sizes", "O(2) of size 2", "one size", "ek.O(2)"
    )
    assert_error(ek.GroupError, lambda: restrict(layer, x=O), "needs groups with a size", "O", "bound", "ek.O(3)")
    assert_error(ek.GroupError, lambda: restrict(layer, x=[O(3)]), "a list", "[O(3)]", "bound", "without brackets")
    soft = soften(nnx.List([layer]), x=Trivial(3), rngs=nnx.Rngs(0))
    assert_error(
        ek.SignatureError,
        lambda: soften(soft, x=Trivial(3), rngs=nnx.Rngs(0)),
        "label 'x'",
        "no group",
        "labels",
        "pass a model with ek.nn.Linear layers, before soften",
    )
    assert_error(ek.SignatureError, lambda: restrict(layer, y=O(2)), "label 'y'", "labels x", "labels of", "name one")
    assert_error(
        ek.OptionError, lambda: restrict(layer), "no smaller groups", "no label", "one or more", "ek.Trivial(3)"
    )
    assert_error(ek.OptionError, lambda: restrict("x", x=O(2)), "model= must be", "'x'", "Module", "ek.nn.Linear")
    dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    assert_error(
        ek.SignatureError, lambda: restrict(dense, x=O(2)), "label 'x'", "of no group in Linear", "ek.nn", "pass"
    )
    wide = ek.nn.Linear("x x -> x x", 1, 1, x=O(20), rngs=nnx.Rngs(0))
    assert_error(ek.TooLargeError, lambda: restrict(wide, x=Trivial(20)), "Trivial(20)", "entries", "most", "fewer")


def test_subgroups_of_a_lattice_and_results_of_audits_are_groups():
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.D(4), rngs=nnx.Rngs(0))
    turns = next(one for one in ek.discover.subgroups(ek.D(4)).subgroups if one.name == "Z(4)")
    smaller = ek.relax.restrict(layer, p=turns)
    x = np.random.default_rng(0).normal(size=(5, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(smaller(x), layer(x), atol=1e-5)
    assert smaller.space.dim == 4
    assert ek.relax.chain("p -> p", p=[ek.D(4), turns]).spaces[-1].dim == 4


def test_penalties_of_models_without_free_layers_are_refused():
    free = ek.nn.Linear("x -> x", 1, 1, x=ek.Trivial(3), rngs=nnx.Rngs(0))
    exact = ek.nn.Linear("x -> x", 1, 1, x=ek.O(3), rngs=nnx.Rngs(0))
    candidates = ek.relax.Penalty(free, x=[ek.O(3)])
    with pytest.raises(ek.SignatureError, match="needs linear layers"):
        candidates(exact)
    with pytest.raises(ek.OptionError, match="model="):
        candidates(None)
    for weights, penalties in (("ab", [0.0, 1.0]), ([1.0, 1.0], ["a", "b"]), ([1.0, 1.0], [1j, 1.0])):
        with pytest.raises(ek.OptionError, match="number"):
            ek.relax.tuned(weights, penalties)
