"""Minimal frames by Gram-Schmidt: rotations, Lorentz transformations, unitary matrices, inputs that span too little."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.engine._stabilizer import has_mean, stabilizer_mean
from equikit.symmetrization.frames import QR, GroupAverage, Stochastic

POINTS, CASES = 5, 12


def massless(*momenta):
    return np.array([[np.linalg.norm(p), *p] for p in momenta])


EUCLIDEAN = {
    "random": np.random.default_rng(0).normal(size=(5, 3)),
    "octahedron": np.concatenate([np.eye(3), -np.eye(3)])[:5],
    "planar": np.array([[1.0, 2, 0], [0, 1, 0], [3, -1, 0]]),
    "collinear": np.outer([1.0, -2, 4], [1, 2, 3]),
    "one vector": np.array([[1.0, 2, 3]]),
    "all zero": np.zeros((4, 3)),
}
LORENTZ = {
    "random": np.random.default_rng(0).normal(size=(5, 4)),
    "light-like": massless([1, 0, 0], [0, 1, 2.0], [1, 1, 1], [3, -1, 2.0]),
    "back to back": massless([1, 0, 0], [-1, 0, 0]),
    "one at rest": np.array([[2.0, 0, 0, 0]]),
    "time-like": np.array([[2.0, 0.1, 0, 0], [3, 0, 1, 1]]),
    "space-like": np.array([[0.3, 1, 2, 0]]),
    "nearly light-like": np.array([[np.sqrt(14) + 1e-7, 1, 2, 3], [np.sqrt(14), 2, 1, 3]]),
    "tangent": np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [2, 2, 3, 1]]),
    "all zero": np.zeros((2, 4)),
}
ON_THE_CONE = {
    "one light-like": massless([1, 2, 3.0]),
    "parallel": massless([1, 2, 3.0], [2, 4, 6.0]),
    "touching": np.array([[1.0, 1, 0, 0], [0, 0, 1, 0]]),
}
"""Inputs whose span touches the light cone along a line: which element takes it to its canonical form is open."""

UNITARY = {
    "random": np.random.default_rng(0).normal(size=(5, 3, 2)) @ [1, 1j],
    "plane": np.random.default_rng(1).normal(size=(2, 3, 2)) @ [1, 1j],
    "line": np.outer([1, 2j, 3], [1, 1j, 2 + 1j]),
    "all zero": np.zeros((2, 3), complex),
}


def batch(cases):
    """All cases as one array, of one shape for all: vectors that are zero change nothing."""
    found = [np.pad(x, ((0, POINTS - len(x)), (0, 0))) for x in cases.values()]
    return np.stack(found + found[:1] * (CASES - len(found)))


@jax.jit
def outputs(x):
    """Nothing that knows of the group: a scalar, a vector for each point, and a tensor."""
    d = x.shape[-1]
    mixing = np.random.default_rng(2).normal(size=(d, d)).astype(x.real.dtype)
    moved = x @ mixing + jnp.sum(x**2, axis=-2, keepdims=True)
    each = jnp.sin(moved.real) + 0.3 * x**2 + 0.5 * jnp.cos(moved.imag)
    one = jnp.sum(each, axis=-2)
    two = one[..., :, None] * jnp.cos(one)[..., None, :] + 0.1 * np.arange(d * d).reshape(d, d).astype(x.real.dtype)
    return {"scalar": jnp.sum(jnp.abs(one), axis=-1).astype(x.dtype), "each": each, "two": two}


AXES = {"scalar": (), "each": (2,), "two": (1, 2)}


@functools.cache
def wrapped(group, *names, function=outputs, **options):
    signatures = {"scalar": "", "each": "p x", "two": "x x*" if group.is_complex else "x x"}
    return ek.symmetrize(
        lambda x: {name: function(x["x"])[name] for name in names},
        {"x": "p x"},
        {name: signatures[name] for name in names},
        p=ek.Fixed(POINTS),
        x=group,
        channels=False,
        how=QR(**options),
    )


def run(group, **options):
    """Outputs and info of a batch of one shape for all tests."""
    sym = wrapped(group, *AXES, on_degenerate="flag", **options)
    return lambda x: sym({"x": x}, with_info=True)


def moved(array, g, axes, stars=()):
    for axis in axes:
        by = np.conj(g) if axis in stars else g
        array = np.moveaxis(np.tensordot(by, np.asarray(array), (1, axis)), 0, axis)
    return array


def misses(group, cases, samples=3):
    """By how much each case misses, over a few random elements, relative to its largest entry."""
    rng, x, function = np.random.default_rng(3), batch(cases), run(group)
    before, worst = function(x)[0], np.zeros(CASES)
    for _ in range(samples):
        g = group.random_element(rng)
        after = function(moved(x, g, (2,)))[0]
        for name, array in after.items():
            wanted = moved(before[name], g, AXES[name], (2,) if group.is_complex and name == "two" else ())
            rest = tuple(range(1, wanted.ndim))
            scale = np.maximum(np.abs(wanted).max(rest), 1e-9)
            worst = np.maximum(worst, np.abs(array - wanted).max(rest) / scale)
    return dict(zip(cases, worst, strict=False))


GROUPS = {
    ek.O(3): EUCLIDEAN,
    ek.SO(3): EUCLIDEAN,
    ek.Lorentz: LORENTZ | ON_THE_CONE,
    ek.U(3): UNITARY,
    ek.SO(1, 3): LORENTZ | ON_THE_CONE,
    ek.O(0, 3): EUCLIDEAN,
    ek.O(2, 2): {"random": LORENTZ["random"], "null": np.array([[1.0, 0, 1, 0]])},
}
every_group = pytest.mark.parametrize(
    "group", [pytest.param(g, marks=[] if i < 4 else pytest.mark.slow, id=str(g)) for i, g in enumerate(GROUPS)]
)


@every_group
def test_what_moves_the_input_moves_the_output(x64, group):
    """Where means are not known (tensors of light-like inputs), what is left is equivariant too."""
    found = misses(group, GROUPS[group])
    assert all(miss < 1e-10 for miss in found.values()), found


@every_group
def test_the_element_is_in_the_group_and_the_canonical_form_is_one_for_an_orbit(x64, group):
    x = batch(GROUPS[group])
    g = group.random_element(np.random.default_rng(5))
    form = np.eye(x.shape[-1]) if group.form is None else group.form.matrix(x.shape[-1])
    canonical = []
    for cloud in (x, moved(x, g, (2,))):
        frame = wrapped(group, *AXES, on_degenerate="flag").frame({"x": cloud})
        matrix = np.asarray(frame.elements.linear["x"])
        assert matrix.shape == (1, CASES, *form.shape)
        np.testing.assert_allclose(np.swapaxes(matrix.conj(), -1, -2) @ form @ matrix, form + 0 * matrix, atol=1e-11)
        if isinstance(group, ek.SO):
            np.testing.assert_allclose(np.linalg.det(matrix), 1)
        canonical.append(np.einsum("bpi,bij->bpj", cloud @ form, matrix[0].conj()) @ form)
        assert np.allclose(frame.weights, 1)
    np.testing.assert_allclose(*canonical, atol=1e-10)
    if group == ek.O(3):  # the triangular factor
        lower = canonical[0][0]
        assert np.allclose(np.triu(lower[:3], 1), 0)
        assert np.all(np.diag(lower) > 0)


@pytest.mark.parametrize(
    "group", [ek.Lorentz, *(pytest.param(g, marks=pytest.mark.slow) for g in (ek.O(3), ek.U(3)))], ids=str
)
def test_an_equivariant_backbone_is_left_as_it_is(x64, group):
    """Also its part across the span: the mean over what keeps the input is the true one."""
    cases = LORENTZ if group is ek.Lorentz else GROUPS[group]
    d = batch(cases).shape[-1]
    metric = np.eye(d) if group.form is None else group.form.matrix(d)

    @jax.jit
    def equivariant(x):
        products = jnp.einsum("...pi,ij,...qj->...pq", x.conj(), metric, x)
        each = jnp.einsum("...pq,...qi->...pi", jnp.cos(products.real), x)
        one = each[..., 0, :]
        two = one[..., :, None] * one[..., None, :].conj() + metric * products[..., :1, :1]
        return {"scalar": products[..., 0, 1], "each": each, "two": two}

    x = batch(cases)
    wanted = equivariant(x)
    for name, array in run(group, function=equivariant)(x)[0].items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("group", "n", "order"),
    [
        (ek.Lorentz, 4, 3),
        (ek.SO(4), 4, 2),
        (ek.U(3), 3, 2),
        *(pytest.param(g, g.n, 3, marks=pytest.mark.slow) for g in (ek.O(4), ek.U(3))),
    ],
)
def test_the_mean_over_the_stabilizer(x64, group, n, order):
    """It is a projection, does not change with what turns the open directions, and has the right rank."""
    rank, rng = 1, np.random.default_rng(0)
    starred = [False, True, False][:order] if group.is_complex else [False] * order
    projection = np.diag(np.arange(n) < rank).astype(float)
    mean = jax.jit(jax.vmap(lambda tensor: stabilizer_mean(group, projection, tensor, range(order), starred)))
    units = np.eye(n**order).reshape(-1, *[n] * order) * (1 + 0j if group.is_complex else 1)
    matrix = np.asarray(mean(units)).reshape(len(units), -1)
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
    pairs = order * (order - 1) // 2 if not group.is_complex else order - 1
    assert np.isclose(np.trace(matrix), rank**order + pairs * rank ** (order - 2))
    turn = np.eye(n, dtype=complex if group.is_complex else float)
    turn[rank:, rank:] = type(group)(n - rank).random_element(rng)
    tensors = rng.normal(size=(len(units), *[n] * order)) * (1 + 1j if group.is_complex else 1)
    axes, stars = range(1, order + 1), [i + 1 for i in range(order) if starred[i]]
    np.testing.assert_allclose(mean(moved(tensors, turn, axes, stars)), mean(tensors), atol=1e-12)
    np.testing.assert_allclose(moved(mean(tensors), turn, axes, stars), mean(tensors), atol=1e-12)


def test_which_means_are_known():
    assert has_mean(ek.O(4), 3, 2)
    assert not has_mean(ek.O(4), 4, 1)
    assert has_mean(ek.O(4), 4, 0)
    assert has_mean(ek.SO(4), 2, 3)
    assert not has_mean(ek.SO(4), 2, 2)
    assert not has_mean(ek.SO(4), 1, 1)


def test_what_it_says_of_the_input(x64):
    def info(group, cases):
        return run(group)(batch(cases))[1]

    found = info(ek.O(3), EUCLIDEAN)
    assert found.rank.tolist()[: len(EUCLIDEAN)] == [3, 3, 2, 1, 1, 0]
    assert not found.degenerate.any()
    assert np.all(found.gap > 0.05)
    assert found.size.tolist() == [1.0] * CASES
    # Turns about a line leave more tensors than pairs make; reflections leave no others.
    found = info(ek.SO(3), EUCLIDEAN)
    assert [name for name, is_so in zip(EUCLIDEAN, found.degenerate, strict=False) if is_so] == [
        "collinear",
        "one vector",
    ]
    assert not found.refused.any()
    cases = {**ON_THE_CONE, "tangent": LORENTZ["tangent"], "light-like": LORENTZ["light-like"]}
    found = info(ek.Lorentz, cases)
    assert found.degenerate.tolist()[:5] == [True, True, True, False, False]
    assert found.rank.tolist()[:5] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("differentiable", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_ratio_of_parallel_light_like_vectors_has_no_derivative(x64, differentiable):
    """No covector turns with the vectors and tells how the ratio changes, so that such inputs are reported."""
    sym = wrapped(ek.Lorentz, "scalar", on_degenerate="flag", differentiable=differentiable)
    beside = {
        "beside a vector": np.array([[0.0, 0, 1, 0], [1, 1, 0, 0], [2, 2, 0, 0]]),
        "pair": LORENTZ["back to back"],
    }
    found = sym.info({"x": batch({**ON_THE_CONE, **beside})})
    assert found.degenerate.tolist()[:5] == [False, differentiable, False, differentiable, False]
    assert found.rank.tolist()[:3] == [1, 1, 2]


@pytest.mark.parametrize(
    "group", [ek.Lorentz, *(pytest.param(g, marks=pytest.mark.slow) for g in (ek.O(4), ek.O(2, 2)))], ids=str
)
def test_no_error_is_silent(group):
    """Whatever spans nearly too little: either the result is good, or it is reported."""
    rng = np.random.default_rng(0)
    size = 1000
    x = rng.normal(size=(size, POINTS, 4))
    x[::2, :, 0] = np.linalg.norm(x[::2, :, 1:], axis=-1)  # light-like
    x[:, 1] = x[:, 0] + 10.0 ** -rng.uniform(0, 17, (size, 1)) * x[:, 1]
    x[::3, 2:] = x[::3, :1]
    x = np.float32(x)  # squares of light-like vectors are then of the size of the rounding error
    g = group.random_element(rng)
    (before, one), (after, two) = (run(group)(np.float32(cloud)) for cloud in (x, np.float64(x) @ g.T))
    wanted = np.float64(before["each"]) @ g.T
    miss = np.abs(wanted - after["each"]).max((1, 2)) / np.abs(wanted).max((1, 2))
    reported = np.asarray(one.degenerate | two.degenerate)
    assert miss[~reported].max() < 2e-3
    assert 0.01 < reported.mean() < 0.25


def test_near_the_edge(x64):
    """A cloud that is nearly planar has a third axis nevertheless; one that is nearly collinear is reported."""
    planar = {f"planar {e}": np.array([[1, 0.3, 0], [0.5, -1, 0], [2, -1, 10.0**-e]]) for e in (4, 8, 12, 15)}
    thin = {f"thin {e}": np.array([[1, 0.3, 0], [0.5, 0.15 + 10.0**-e, 0]]) for e in (2, 6, 9, 12, 16)}
    assert max(misses(ek.O(3), planar).values()) < 1e-11
    info = run(ek.O(3))(batch(planar | thin))[1]
    assert info.rank.tolist()[:9] == [3, 3, 3, 2, 2, 2, 1, 1, 1]
    assert info.degenerate.tolist()[:9] == [False] * 6 + [True, True, False]


def test_a_direction_that_rounding_of_the_input_makes_is_none():
    """Points of a plane that is turned are beside it by the rounding error of their few bits."""
    rng, flat = np.random.default_rng(0), np.array([[1.0, 0, 0], [0, 1, 0], [1, -1, 0], [1, 1, 0], [0, 0.5, 0]])
    sym = wrapped(ek.O(3), "scalar")
    for _ in range(3):
        turned = (flat @ ek.O(3).random_element(rng).T).astype(np.float16)
        assert int(sym.info({"x": turned}).rank) == 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_other_precisions(dtype):
    x = EUCLIDEAN["random"].astype(dtype)
    y = run(ek.O(3))(np.stack([x, x[..., ::-1]]))[0]["each"]
    assert y.dtype == dtype
    plain, mirrored = np.float64(y)
    assert np.abs(plain - mirrored[..., ::-1]).max() < (1e-5 if dtype == jnp.float32 else 0.05)


@pytest.mark.parametrize("group", [ek.O(3), pytest.param(ek.Lorentz, marks=pytest.mark.slow)], ids=str)
def test_derivatives(x64, group):
    """Finite on every input, and those of finite differences where the span does not change."""
    cases = {name: x for name, x in GROUPS[group].items() if name != "all zero"}
    sym, x = wrapped(group, "scalar", on_degenerate="flag"), batch(GROUPS[group])
    both = jax.jit(jax.value_and_grad(lambda x: (jnp.sum(y := sym({"x": x})["scalar"]), y), has_aux=True))
    gradient = np.asarray(both(x)[1])
    assert np.isfinite(gradient).all()
    full = [
        i for i, name in enumerate(GROUPS[group]) if name in cases and np.linalg.matrix_rank(cases[name]) == x.shape[-1]
    ]
    direction = np.random.default_rng(0).normal(size=x.shape) * (np.abs(x) > 0).any(-1, keepdims=True)
    step = 1e-6
    above, below = (np.asarray(both(x + sign * step * direction)[0][1]) for sign in (1, -1))
    slopes = (above - below) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction, (1, 2))[full], slopes[full], rtol=1e-5)


@pytest.mark.slow
def test_a_frame_may_be_held_fixed(x64):
    x = batch(EUCLIDEAN)

    @jax.jit
    def gradients(x):
        both = (wrapped(ek.O(3), "scalar", differentiable=through) for through in (True, False))
        return [jax.grad(lambda x, sym=sym: jnp.sum(sym({"x": x})["scalar"]))(x) for sym in both]

    assert np.abs(np.subtract(*gradients(x))).max() > 1e-3


def test_with_translations_permutations_and_random_elements():
    def net(x):
        return jnp.cumsum(jnp.sin(x @ jnp.array([[1.0, 0.3, 0], [0.2, -1, 0.5], [0.1, 0, 1]])), axis=-2) + x**2

    how = [GroupAverage("p"), Stochastic(QR("x"))]
    both = ek.symmetrize(net, "p x -> p x", p=ek.S, x=ek.O(3), translate="x", channels=False, how=how)
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(3, 3)).astype(np.float32), ek.O(3).random_element(rng).astype(np.float32)
    before, after = (np.asarray(y) for y in map(jax.jit(both), (x, (x @ g.T + 2)[::-1])))
    np.testing.assert_allclose(after, (before @ g.T + 2)[::-1], atol=1e-4)
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(net, "p x -> p x", p=ek.S, x=ek.O(3), how=[QR("x"), GroupAverage("p")]),
        "QR comes before GroupAverage, but reads 'p'",
        "QR(label='x'",
        "after those for the labels",
        "put GroupAverage before QR",
    )


@pytest.mark.slow
def test_refusal():
    x = batch({**EUCLIDEAN, "nan": EUCLIDEAN["random"] * np.nan})
    with pytest.raises(ek.FrameError, match="the first of them is number 6"):
        wrapped(ek.O(3), *AXES)({"x": x})
    found = jax.jit(wrapped(ek.O(3), *AXES))({"x": x})["each"]
    assert np.isnan(found[6]).all()
    assert np.isfinite(found[:6]).all()


@pytest.mark.slow
def test_terms_that_are_not_taken_may_reach_across_the_span():
    sym = ek.symmetrize(
        lambda x: x["a"] + x["b"],
        {"a": "x", "b": "x"},
        {"y": "x"},
        x=ek.O(3),
        channels=False,
        how=QR(terms=("a",)),
    )
    with pytest.raises(ek.FrameError, match="rank 1"):
        sym({"a": jnp.array([1.0, 2, 3]), "b": jnp.array([1.0, 0, 0])})


@pytest.mark.slow
def test_complex_vectors_that_are_turned_by_real_matrices(x64):
    sym = ek.symmetrize(lambda x: x**2 + x.real, "p x -> p x", p=ek.Fixed(2), x=ek.O(3), channels=False, how=QR())
    x = np.random.default_rng(0).normal(size=(2, 3, 2)) @ [1, 1j]
    g = ek.O(3).random_element(np.random.default_rng(1))
    np.testing.assert_allclose(sym(x @ g.T), np.asarray(sym(x)) @ g.T, atol=1e-12)


def test_what_is_not_finite_is_refused(x64):
    x = batch({"nan": EUCLIDEAN["random"] * np.nan, "inf": np.full((5, 3), np.inf), **EUCLIDEAN})
    assert run(ek.O(3))(x)[1].degenerate.tolist()[:8] == [True, True] + [False] * 6


@pytest.mark.slow
@pytest.mark.parametrize("d", [0, 1, 2])
def test_small_dimensions_and_no_vectors(x64, d):
    for group in (ek.O(d), ek.SO(d)):
        how = [GroupAverage("p"), QR("x")]
        sym = ek.symmetrize(lambda x: x + 1, "p x -> p x", p=ek.S, x=group, channels=False, how=how)
        assert sym(jnp.zeros((0, d))).shape == (0, d)
        assert np.allclose(sym(jnp.zeros((2, d))), 1 if isinstance(group, ek.SO) and d == 1 else 0)


def test_errors():
    def make(group, **options):
        return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.Fixed(3), x=group, how=QR(**options))

    assert_error(ek.GroupError, lambda: make(ek.Sp(4)), "no axis", "x=Sp(4)", "O or U", "bind a label to O")
    assert_error(
        ek.OptionError,
        lambda: make(ek.O(3), on_degenerate="sample"),
        "unknown value for on_degenerate=",
        "'sample'",
        '"error" or "flag"',
        "error",
    )
    assert_error(
        ek.OptionError, lambda: make(ek.O(3), terms=("y",)), "unknown value for terms=", "'y'", '"p x"', "terms="
    )
    assert_error(
        ek.OptionError,
        lambda: ek.symmetrize(jnp.sin, "p -> x", p=ek.Fixed(3), x=ek.O(3), how=QR()),
        "no input has the label 'x'",
        "p -> x",
        "an input term with the label 'x'",
        "terms=",
    )
