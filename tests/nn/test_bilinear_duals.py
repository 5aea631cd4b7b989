"""`Bilinear` and `Network` on features with duals, and on labels that have a star wherever they occur."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from in_numpy import by_numpy

import equikit as ek
from equikit import GL, MatrixGroup, O, S, U

GROWTH = MatrixGroup([[[2, 1], [1, 3]]])
"""Of determinant five, so that two vectors have no invariant."""
DUALS = [GL(2), U(2), GROWTH]


def rngs(seed=0):
    return nnx.Rngs(seed)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def dtype_of(group):
    return jnp.complex128 if group.is_complex else jnp.float64


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"v": 2, "v*": 1, "": 1}, {"": 2, "v v*": 2}),
        ({"p v": 2, "v* p": 1}, {"p": 2, "": 1}),
        ({"v*": 2}, {"v* v*": 1}),
        ({"v v": 1, "v* v*": 1}, {"": 2, "v v*": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("group", DUALS, ids=str)
def test_products_with_duals_commute(group, inputs, outputs):
    bound = {"v": group} | ({"p": S(3)} if any("p" in side for side in inputs) else {})
    dtype = dtype_of(group)
    layer = ek.nn.Bilinear(inputs, 3, outputs, groups=bound, param_dtype=dtype, rngs=rngs())
    error = ek.testing.equivariance_error(
        by_numpy(layer), inputs, outputs, groups=bound, dtype=dtype, key=jax.random.key(0)
    )
    assert error < 1e-9


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("group", [GL(2), U(2)], ids=str)
def test_the_pairing_of_a_vector_with_a_dual_vector_is_found(group):
    dtype = dtype_of(group)
    layer = ek.nn.Bilinear({"v": 1, "v*": 1}, 1, {"": 1}, v=group, use_bias=False, param_dtype=dtype, rngs=rngs())
    x = {"v": normal(6, 2, 1).astype(dtype), "v*": normal(6, 2, 1, seed=1).astype(dtype)}
    ratio = layer(x)[""] / jnp.sum(x["v"] * x["v*"], 1)
    assert float(jnp.abs(ratio[0, 0])) > 1e-3
    np.testing.assert_allclose(ratio, jnp.broadcast_to(ratio[:1], ratio.shape), rtol=1e-8)


def test_shared_axes_are_multiplied_entry_by_entry_in_any_order():
    layer = ek.nn.Bilinear({"p v": 1, "v* p": 1}, 1, {"p": 1}, p=S, v=GL(2), use_bias=False, rngs=rngs())
    for name, kernel in layer.mix.kernel.items():
        identity = kernel[...] * 0
        kernel[...] = identity.at[0].set(1.0) if "," in name else identity
    one, two = normal(4, 2, 1), normal(2, 4, 1, seed=1)
    y = layer({"p v": one, "v* p": two})["p"]
    left, right = layer.left({"p v": one, "v* p": two})["p v"], layer.right({"p v": one, "v* p": two})["v* p"]
    pairs = jnp.einsum("pvc,vqc->pqc", left, right)
    diagonal = jnp.einsum("ppc->pc", pairs)
    # The only maps from "p v v*" to "p" that sum over v are the identity on p and the mean over p.
    fit = jnp.stack([diagonal[:, 0], jnp.full(4, diagonal.mean())], 1)
    rest = y[:, 0] - fit @ jnp.linalg.lstsq(fit, y[:, 0])[0]
    assert float(jnp.abs(y).max()) > 1e-3
    np.testing.assert_allclose(rest, 0, atol=1e-5)


def test_other_products_keep_their_names():
    """Weights that were saved before kinds were multiplied with their duals still fit where there are no duals."""
    layer = ek.nn.Bilinear({"x": 2, "": 1}, 3, {"": 2}, x=O(3), rngs=rngs())
    assert [term.name for term in layer.mix.signature.inputs] == ["product of x", "product of ()"]
    dual = ek.nn.Bilinear({"v": 2, "v*": 1}, 3, {"": 2}, v=GL(2), rngs=rngs())
    names = [term.name for term in dual.mix.signature.inputs]
    assert names == ["product of v", "product of v*", "product of v, v*"]
    own = ek.nn.Bilinear({"v v*": 2}, 3, {"": 2}, v=GL(2), rngs=rngs())
    assert [term.name for term in own.mix.signature.inputs] == ["product of v v*"]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("group", DUALS, ids=str)
def test_networks_of_a_vector_and_a_dual_vector_depend_on_both(group):
    dtype = dtype_of(group)
    features = [{"v": 2, "v*": 1}, {"": 4}, {"": 1}]
    net = ek.nn.Network(features, v=group, param_dtype=dtype, rngs=rngs())
    error = ek.testing.equivariance_error(
        jax.jit(net), features[0], features[-1], v=group, dtype=dtype, key=jax.random.key(0)
    )
    assert error < 1e-9
    x = {"v": normal(5, 2, 2).astype(dtype), "v*": normal(5, 2, 1, seed=1).astype(dtype)}
    for name in x:
        other = net(x | {name: 2 * x[name]})[""]
        assert float(jnp.abs(other - net(x)[""]).max()) > 1e-3


@pytest.mark.parametrize("nonlinearity", ["gated", "norm"])
def test_labels_may_have_a_star_alone(nonlinearity):
    features = [{"u*": 2}, {"u*": 3, "u* u*": 1}, {"u*": 1}]
    net = ek.nn.Network(
        features,
        nonlinearity=nonlinearity,
        normalize_features=True,
        u=U(2),
        rngs=rngs(),
    )
    ek.testing.assert_equivariant(
        jax.jit(net), features[0], features[-1], u=U(2), dtype=jnp.complex64, key=jax.random.key(0), tolerance=5e-5
    )
    layer = ek.nn.Bilinear({"u*": 2}, 3, {"u* u*": 1}, groups={"u": U(2)}, rngs=rngs())
    assert layer({"u*": jnp.ones((4, 2, 2), jnp.complex64)})["u* u*"].shape == (4, 2, 2, 1)


def test_functions_of_single_entries_are_refused_on_duals():
    with pytest.raises(ek.OptionError, match="does not commute with"):
        ek.nn.Network([{"u*": 2}, {"u*": 3}, {"u*": 1}], nonlinearity="pointwise", u=U(2), rngs=rngs())
