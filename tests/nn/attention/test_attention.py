"""Attention is its formula, and commutes with permutations and with the groups of the other axes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_oracle import attention
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import GL, SO, H, Lorentz, O, S, Sp, U, Z
from equikit.nn import Attention

FEATURES = {"p": 6, "p x": 2}
METRIC = np.array([1.0, -1, -1, -1])


def make(features=FEATURES, outputs=None, *, heads=2, seed=0, dtype=jnp.float64, **options):
    groups = {"p": S, "x": O(3)} | options.pop("groups", {})
    used = {*"".join([*features, *(outputs or {}), *options.get("context", {})])} - {" "}
    bound = {label: group for label, group in groups.items() if label in used or options.get("points")}
    return Attention(features, outputs, heads=heads, groups=bound, param_dtype=dtype, rngs=nnx.Rngs(seed), **options)


def randomized(layer, seed=1):
    """A layer with random biases too."""
    rng = np.random.default_rng(seed)
    for _, param in nnx.to_flat_state(nnx.state(layer, nnx.Param)):
        values = param[...]
        if not values.any() or values.ndim == 1:
            param[...] = jnp.asarray(rng.normal(size=values.shape), values.dtype)
    return layer


def draw(features=FEATURES, points=5, batch=(), sizes=None, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"x": 3, "p": points, "t": 4} | (sizes or {})
    return {
        name: rng.normal(size=(*batch, *(sizes[label] for label in name.split()), width))
        for name, width in features.items()
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["plain", "products", "lorentz", "pairs", "points", "scalars"])
def test_it_is_the_formula(case):
    rng, options, given, known = np.random.default_rng(2), {}, {}, {}
    features = {"p": 6} if case == "scalars" else FEATURES
    x = draw(features, sizes={"x": 4} if case == "lorentz" else None)
    if case == "products":
        options = {"products": 3}
    if case == "lorentz":
        options, known = {"groups": {"x": Lorentz}, "products": 2}, {"metric": METRIC}
    if case in ("pairs", "points"):
        options, between = {"pairs": {"p p": 3}}, rng.normal(size=(5, 5, 3))
        given, known = {"pairs": {"p p": between}}, {"pairs": between}
    if case == "points":
        positions = rng.normal(size=(5, 3))
        options |= {"points": 2, "products": 2}
        given, known = given | {"positions": positions}, known | {"positions": positions}
    layer = randomized(make(features, **options))
    assert_close(in_numpy(layer, x, **given), attention(layer, x, **known), 1e-12)


@pytest.mark.usefixtures("x64")
def test_scalars_are_what_multi_head_attention_of_flax_computes():
    layer = randomized(make({"p": 6}))
    known = nnx.MultiHeadAttention(2, 6, decode=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    sides = {"query": (6, 2, 3), "key": (6, 2, 3), "value": (6, 2, 3), "out": (2, 3, 6)}
    for name, shape in sides.items():
        own, other = getattr(layer, name), getattr(known, name)
        other.kernel[...] = next(iter(own.kernel.values()))[...].reshape(shape)
        if name == "key":  # its bias adds a number to all scores of a query
            continue
        other.bias[...] = next(iter(own.bias.values()))[...].reshape(shape[1:] if name != "out" else (6,))
    x = draw({"p": 6}, batch=(3,))
    assert_close(in_numpy(layer, x)["p"], in_numpy(known, x["p"]), 1e-6)  # Flax scales in single precision


GROUPS = {
    "O": (FEATURES, {"p": S(4), "x": O(3)}),
    "SO": ({"p": 2, "p x": 2, "p x x": 2}, {"p": S(4), "x": SO(3)}),
    "Lorentz": ({"p": 2, "p x": 2, "p x x": 2}, {"p": S(4), "x": Lorentz}),
    "axial": ({"p": 2, "p x~": 2, "p x": 2, "p det(x)": 2}, {"p": S(4), "x": O(3)}),
    "symplectic": ({"p x": 2}, {"p": S(4), "x": Sp(4)}),
    "duals": ({"p x": 2, "p x*": 2}, {"p": S(4), "x": GL(2)}),
    "unitary": ({"p x": 2, "p x*": 2, "p": 2}, {"p": S(4), "x": U(2)}),
    "signs": ({"p x": 2}, {"p": S(4), "x": H(3)}),
    "direct sum": ({"p x": 2, "p": 2}, {"p": S(4), "x": O(2) + O(1)}),
    "cyclic": ({"p x": 2}, {"p": S(4), "x": Z(4)}),
    "mixture": ({"p": 2, "x p": 2, "q p y": 2}, {"p": S(4), "x": O(3), "y": Lorentz, "q": S(3)}),
    "plain axis": ({"p f": 2, "p x f": 2}, {"p": S(4), "x": O(3), "f": ek.Fixed(2)}),
}


ALONE = {"symplectic", "duals", "signs"}
"""The cases in which no product of two features is one of the features."""


QUICK = {"O", "Lorentz", "mixture", "duals"}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "case", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GROUPS]
)
def test_it_commutes_with_the_groups(case):
    features, groups = GROUPS[case]
    free = groups | {label: S for label in groups if isinstance(groups[label], S)}
    dtype = jnp.complex128 if any(getattr(g, "is_complex", False) for g in groups.values()) else jnp.float64
    layer = Attention(
        features, heads=2, groups=free, param_dtype=dtype, products=int(case not in ALONE), rngs=nnx.Rngs(0)
    )
    options = {"groups": groups, "samples": 1, "batch": (2,), "key": jax.random.key(0)}
    assert ek.testing.equivariance_error(by_numpy(layer), features, features, mask=True, **options) < 1e-10


@pytest.mark.parametrize("group", [O(3), SO(3)], ids=str)
def test_it_commutes_in_single_precision(group):
    layer = Attention(FEATURES, heads=2, products=2, p=S, x=group, rngs=nnx.Rngs(0))
    bound = {"p": S(6), "x": group}
    error = ek.testing.equivariance_error(by_numpy(layer), FEATURES, FEATURES, key=jax.random.key(0), **bound)
    assert error < 1e-5


def boost(gamma, direction):
    """The boost with this Lorentz factor."""
    v, speed = direction / np.linalg.norm(direction), np.sqrt(1 - gamma**-2)
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = gamma, -gamma * speed * v, -gamma * speed * v
    matrix[1:, 1:] += (gamma - 1) * np.outer(v, v)
    return matrix


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.float64, 1e-10)])
def test_boosts_of_ten(dtype, tolerance, request):
    if dtype == jnp.float64:
        request.getfixturevalue("x64")
    layer = make({"p": 4, "p x": 1}, {"p": 4, "p x": 2}, groups={"x": Lorentz}, products=2, dtype=dtype)
    rng, call = np.random.default_rng(0), by_numpy(layer)
    momenta = rng.normal(size=(6, 3))
    vectors = np.concatenate([np.sqrt(1 + np.sum(momenta**2, -1, keepdims=True)), momenta], -1)[..., None]
    scalars = rng.normal(size=(6, 4))
    own = call({"p": scalars.astype(dtype), "p x": vectors.astype(dtype)})
    for _ in range(3):
        matrix = boost(10.0, rng.normal(size=3))
        moved = np.einsum("ij,pjc->pic", matrix, vectors)
        found = call({"p": scalars.astype(dtype), "p x": moved.astype(dtype)})
        wanted = np.einsum("ij,pjc->pic", matrix, own["p x"])
        size = max(np.max(np.abs(own["p"])), 1)
        assert np.max(np.abs(found["p"] - own["p"])) < tolerance * size
        assert np.max(np.abs(found["p x"] - wanted)) < tolerance * np.max(np.abs(wanted))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("features", "group"),
    [({"p": 1, "p x": 1, "p x x": 1}, SO(3)), ({"p": 1, "p x": 2}, Lorentz), ({"p x": 1, "p x*": 1}, GL(2))],
)
def test_scores_are_all_invariant_bilinear_maps(features, group):
    """Scores of random weights span the maps that `hom` finds, on random pairs of points."""
    rng, n = np.random.default_rng(0), group.n
    layer = Attention(
        features, heads=1, p=S, x=group, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0),
        qkv_features={name.removeprefix("p").strip(): 4 for name in features},
    )  # fmt: skip
    pairs, maps = 60, 0
    one, other = ({name: rng.normal(size=(pairs, *[n] * name.count("x"), c)) for name, c in features.items()}
                  for _ in range(2))  # fmt: skip
    columns = []
    for (a, c), (b, d) in itertools.product(features.items(), repeat=2):
        space = layer.scores.get(f"{a}, {b}")
        if space is not None:
            maps += space.dim * c * d
            for matrix, (i, j) in itertools.product(space.matrices(), itertools.product(range(c), range(d))):
                outer = np.einsum("pi,pj->pij", one[a][..., i].reshape(pairs, -1), other[b][..., j].reshape(pairs, -1))
                columns.append(outer.reshape(pairs, -1) @ matrix[0])
    columns = np.stack(columns, -1)
    assert (
        np.linalg.matrix_rank(columns)
        == maps
        == sum(
            ek.hom(f"{a[2:] or '()'}, {b[2:] or '()'} -> ()", **({"x": group} if "x" in a + b else {})).dim * c * d
            for (a, c), (b, d) in itertools.product(features.items(), repeat=2)
        )
    )
    drawn = []
    for seed in range(maps + 3):
        weights = np.random.default_rng(seed)
        found = []
        for layer_, x in ((layer.query, one), (layer.key, other)):
            for param in layer_.kernel.values():
                param[...] = jnp.asarray(weights.normal(size=param[...].shape))
            found.append(in_numpy(layer_, x))
        total = 0
        for kind in found[1]:
            q, k = found[0][" ".join(w[:-1] if w.endswith("*") else w + "*" for w in kind.split())
                            if isinstance(group, GL) else kind], found[1][kind]  # fmt: skip
            for axis in range(1, q.ndim - 1):
                if group.form is not None:
                    q = q * group.form.signs().reshape(-1, *[1] * (q.ndim - axis - 1))
            total = total + np.sum(q * k, axis=tuple(range(1, q.ndim)))
        drawn.append(total)
    drawn = np.stack(drawn, -1)
    assert np.linalg.matrix_rank(drawn) == maps
    assert np.linalg.matrix_rank(np.concatenate([drawn, columns], -1)) == maps


@pytest.mark.usefixtures("x64")
def test_scores_have_variance_one_at_initialization():
    features = {"p": 32, "p x": 16, "p q": 16}
    layer = Attention(features, heads=2, p=S, x=O(3), q=S, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    x = draw(features, 40, sizes={"q": 5})
    queries, keys = in_numpy(layer.query, x), in_numpy(layer.key, x)
    scores = sum(queries[kind].reshape(40, -1) @ keys[kind].reshape(40, -1).T for kind in keys)
    terms = sum(array[0].size for array in keys.values())
    assert terms == 32 + 16 * 3 + 16 * 5
    assert 0.7 < np.mean(scores**2) / terms < 1.4
