"""Orbit distance: what is equivariant whatever the residual, what the residual bounds, options and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from flax import nnx
from helpers import assert_error
from jax.test_util import check_grads

import equikit as ek
from equikit.symmetrization import MatrixMLP, MatrixNetwork, OrbitDistance, matrix_equivariance_loss, orbit_loss
from equikit.testing import assert_equivariant

ETA = np.diag([1.0, -1, -1, -1])


def own_vectors(x):
    """The simplest matrix that moves with the input: n of its vectors."""
    return x[..., : x.shape[-2]]


def uneven(x):
    """A backbone that commutes with nothing."""
    return jnp.cumsum(jnp.sin(x) + x**2, axis=-2)


def of_group(acting, network=own_vectors, backbone=uneven, outputs="x", **options):
    return ek.symmetrize(backbone, f"x -> {outputs}", x=acting, how=OrbitDistance(network, **options))


def run(sym, x):
    """The outputs and what is known of the matrices, by one program."""
    return jax.tree.map(np.asarray, jax.jit(lambda x: sym(x, with_info=True))(x))


def info_of(sym, x):
    return jax.tree.map(np.asarray, jax.jit(sym.info)(x))


def residual(sym, x):
    return info_of(sym, x).more["orbit_residual"]


@pytest.fixture(scope="module")
def lorentz():
    return MatrixNetwork({"m": 4}, "m", m=ek.Lorentz, hidden=[{"": 8, "m": 4}], scale=3.0, rngs=nnx.Rngs(0))


class TestWithAMatrixThatMovesWithTheInput:
    @pytest.mark.parametrize(
        "group",
        [
            ek.O(3),
            ek.SO(1, 3),
            ek.U(2),
            *(pytest.param(g, marks=pytest.mark.slow) for g in (ek.SO(2), ek.Lorentz, ek.Sp(4))),
        ],
        ids=str,
    )
    def test_the_result_is_equivariant_far_from_the_group_too(self, group, key, x64):
        x = np.random.default_rng(0).normal(size=(2, group.n, group.n)) * (1 + 1j if group.is_complex else 1)
        sym = of_group(group)
        assert (residual(sym, x) > 0.3).all()
        assert_equivariant(jax.jit(sym), "x -> x", x=group, channels=group.n, key=key, samples=2)

    def test_tensors_come_back_as_tensors(self, key, x64):
        def backbone(x):
            return jnp.einsum("...ic,...jc->...ij", uneven(x), x)[..., None]

        sym = of_group(ek.Lorentz, backbone=backbone, outputs="x x")
        assert_equivariant(jax.jit(sym), "x -> x x", x=ek.Lorentz, channels=4, key=key, samples=2)

    def test_so_it_is_with_a_network_of_layers(self, lorentz, key):
        how = OrbitDistance(lorentz)
        sym = ek.symmetrize(uneven, "m -> m", m=ek.Lorentz, how=how)
        assert isinstance(sym, nnx.Module)
        assert_equivariant(jax.jit(sym), "m -> m", m=ek.Lorentz, channels=4, key=key, samples=2)

    @pytest.mark.slow
    def test_points_are_summed_over(self, key):
        network = MatrixNetwork({"p x": 1}, "x", p=ek.S, x=ek.SO(2), hidden=[{"p x": 2}], products=1, rngs=nnx.Rngs(0))
        how = [OrbitDistance(network, invariant_to="p"), ek.frames.Sort()]  # Sort reads x, the matrix does not read p
        sym = ek.symmetrize(lambda x: jnp.cumsum(x, -3), "p x -> p x", p=ek.S, x=ek.SO(2), how=how)
        assert_equivariant(jax.jit(sym), "p x -> p x", p=ek.S(4), x=ek.SO(2), channels=1, key=key, samples=2)

    @pytest.mark.parametrize("group", [ek.O(3), ek.Lorentz], ids=str)
    def test_the_residual_bounds_how_far_it_is_from_an_element_of_the_group(self, group, x64):
        """Beside M = h S, with h in the group, the values differ by |h| rho (|f(S u)| + L |u|)."""
        rng = np.random.default_rng(0)
        form = np.diag(group.metric())
        linear = rng.normal(size=(group.n, group.n))

        def backbone(x):
            return jnp.sin(linear @ x)

        lipschitz = np.linalg.norm(linear, 2)
        near = 0.1 * rng.normal(size=(20, group.n, group.n)) / group.n
        x = np.stack([group.random_element(rng) @ (np.eye(group.n) + noise) for noise in near])
        sym = of_group(group, backbone=backbone)
        y, info = run(sym, x)
        rho = np.sqrt(group.n) * info.more["orbit_residual"]
        assert (rho < 1).all()
        for i, matrix in enumerate(x):  # which is the input itself
            stretch = np.real(scipy.linalg.sqrtm(form @ matrix.T @ form @ matrix))
            h = matrix @ np.linalg.inv(stretch)
            np.testing.assert_allclose(h.T @ form @ h, form, atol=1e-10)
            u = np.linalg.inv(h) @ matrix
            moved = [np.linalg.norm(part, 2) for part in (h, np.sin(linear @ stretch @ u), u)]
            bound = rho[i] * moved[0] * (moved[1] + lipschitz * moved[2])
            found = np.linalg.norm(y[i] - h @ np.sin(linear @ u), 2)
            assert 0 < found <= bound

    def test_in_the_group_the_identity_stays_the_identity(self, x64):
        x = ek.Lorentz.random_element(np.random.default_rng(0))
        both = np.stack([x, 2 * x])
        y, info = run(of_group(ek.Lorentz, backbone=lambda x: x), both)
        np.testing.assert_allclose(y[0], x, atol=1e-10)
        np.testing.assert_allclose(y[1], 4 * 2 * x, atol=1e-9)  # M M^-1 = 4 for M = 2 g
        assert info.degenerate.tolist() == [False, True]


class TestWithAnyMatrix:
    def test_the_identity_is_in_the_group_and_not_equivariant(self, key, x64):
        sym = of_group(ek.SO(2), lambda x: jnp.broadcast_to(jnp.eye(2), (*x.shape[:-2], 2, 2)))
        x = np.random.default_rng(0).normal(size=(3, 2, 2))
        assert (residual(sym, x) == 0).all()
        error = ek.testing.equivariance_error(jax.jit(sym), "x -> x", x=ek.SO(2), channels=2, key=key)
        assert error > 0.1

    def test_the_error_is_bounded_by_that_of_the_matrix(self, x64):
        rng = np.random.default_rng(0)
        network = MatrixMLP(16, 4, hidden=(8,), rngs=nnx.Rngs(0))
        linear = rng.normal(size=(4, 4))
        lipschitz = np.linalg.norm(linear, 2)
        sym = of_group(ek.Lorentz, network, backbone=lambda x: jnp.sin(linear @ x))
        x = rng.normal(size=(20, 4, 4))
        g = np.stack([ek.Lorentz.random_element(rng) for _ in x])
        (y, info), (moved, moved_info) = (run(sym, z) for z in (x, g @ x))
        one, two = (i.more["orbit_matrix"] for i in (info, moved_info))
        back = np.linalg.inv(g) @ two
        found = np.linalg.norm(np.linalg.inv(g) @ np.asarray(moved) - y, 2, axis=(1, 2))
        apart, size, values = (
            np.linalg.norm(part, 2, axis=(1, 2)) for part in (back - one, one, np.sin(linear @ ETA @ back.mT @ ETA @ x))
        )
        assert (found <= apart * (values + size * lipschitz * np.linalg.norm(x, 2, axis=(1, 2)))).all()
        assert (found > 1e-3).all()
        error = matrix_equivariance_loss(info, moved_info, jnp.asarray(g))
        np.testing.assert_allclose(error, np.mean(np.sum((two - g @ one) ** 2, (1, 2))) / 4, rtol=1e-6)


class TestOptions:
    def test_one_element_for_every_input(self):
        x = np.ones((2, 5, 3, 3), np.float32) + np.eye(3, dtype=np.float32)
        frame = jax.jit(of_group(ek.O(3)).frame)(x)
        assert frame.elements.linear["x"].shape == (1, 2, 5, 3, 3)
        assert frame.weights.tolist() == np.ones((1, 2, 5)).tolist()
        assert jax.jit(of_group(ek.O(3)))(x[:, :0]).shape == (2, 0, 3, 3)

    def test_what_is_not_in_the_group_is_flagged_or_refused(self):
        inside, outside = np.eye(3), 1.01 * np.eye(3)
        both = np.stack([inside, outside, np.full((3, 3), np.nan), np.zeros((3, 3))]).astype(np.float32)
        flags = info_of(of_group(ek.O(3)), both)
        assert flags.degenerate.tolist() == [False, True, True, True]
        assert not flags.refused.any()
        assert info_of(of_group(ek.O(3), tolerance=0.1), both).degenerate.tolist() == [False, False, True, True]
        strict = of_group(ek.O(3), on_degenerate="error")
        residual = np.sqrt(3) * (1.01**2 - 1) / np.sqrt(3)
        assert_error(
            ek.FrameError,
            lambda: strict(both),
            "no frame: it has a matrix that is not in the group",
            f"3 of 4 inputs for OrbitDistance; the first of them is number 1: size 1, residual {residual:.3g}, "
            "tolerance 0.000345",
            "a residual of at most the tolerance",
            'train the network with orbit_loss; on_degenerate="flag" accepts such inputs',
        )
        assert np.isnan(jax.jit(strict)(both)).any(axis=(1, 2)).tolist() == [False, True, True, True]

    def test_a_method_that_refuses_an_input_is_not_mistaken_for_a_matrix_that_is_only_flagged(self):
        wide = lambda x: jnp.broadcast_to(2 * jnp.eye(2), (*x.shape[:-3], 2, 2))  # noqa: E731
        for policy, wanted in (
            ("flag", ("is symmetric itself, or the network", "gap 0", "inputs without symmetries", "sym.info(x)")),
            ("error", ("is not in the group", "residual 3, tolerance 0.000345", "a residual", "orbit_loss")),
        ):
            how = [OrbitDistance(wide, "x", invariant_to=["y"], on_degenerate=policy), ek.frames.PCA("y")]
            sym = ek.symmetrize(jnp.sin, "x y -> x y", x=ek.O(2), y=ek.O(2), how=how)
            assert_error(ek.FrameError, lambda sym=sym: sym(jnp.eye(2)[..., None]), *wanted)

    def test_an_input_of_zero_has_a_matrix_of_zero(self, lorentz):
        sym = ek.symmetrize(lambda x: x + 1, "m -> m", m=ek.Lorentz, how=OrbitDistance(lorentz))
        y, info = run(sym, np.zeros((4, 4), np.float32))
        assert (y == 0).all()
        assert float(info.more["orbit_residual"]) == 1

    def test_derivatives_are_finite_differences(self, x64):
        sym = of_group(ek.SO(4), compare_input=True)

        def losses(x):
            y, info = sym(x, with_info=True)
            return jnp.sum(jnp.cos(y)) + orbit_loss(info, input_weight=0.5, bound_weight=0.5, bound=0.2)

        x = np.concatenate([np.random.default_rng(0).normal(size=(2, 4, 4)) / 2, np.eye(4)[None], np.zeros((1, 4, 4))])
        check_grads(jax.jit(losses), (jnp.asarray(x),), order=1, modes=["rev"], rtol=1e-5)

    def test_under_jit_and_vmap(self, key):
        x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
        sym = of_group(ek.SO(3))
        np.testing.assert_allclose(jax.jit(jax.vmap(sym))(x), sym(x), rtol=1e-5, atol=1e-6)

    def test_half_precision(self, key):
        half = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(jnp.bfloat16)
        y, info = run(of_group(ek.SO(3)), half)
        assert y.dtype == jnp.bfloat16
        assert info.more["orbit_distance"].dtype == jnp.float32
        wanted, _ = run(of_group(ek.SO(3)), half.astype(np.float32))
        np.testing.assert_allclose(y.astype(np.float32), wanted, atol=0.01 * np.abs(wanted).max())

    def test_losses(self):
        sym = of_group(ek.Lorentz, compare_input=True)
        x = np.random.default_rng(0).normal(size=(5, 4, 4)).astype(np.float32)
        info = info_of(sym, x)
        inner = x.mT @ ETA @ x
        distance = np.sum((inner - ETA) ** 2, (1, 2)).mean() / 4
        moved = ETA @ x.mT @ ETA @ x
        apart = np.mean((moved.mT @ ETA @ moved - inner) ** 2)
        over = np.maximum(np.abs(x) - 0.5, 0).sum((1, 2)).mean()
        np.testing.assert_allclose(orbit_loss(info), distance, rtol=1e-5)
        np.testing.assert_allclose(
            orbit_loss(info, input_weight=2, bound_weight=3, bound=0.5), distance + 2 * apart + 3 * over, rtol=1e-5
        )
        boosts = np.stack([ek.Lorentz.random_element(np.random.default_rng(i)) for i in range(5)])
        exact = info_of(sym, boosts.astype(np.float32))
        assert float(orbit_loss(exact, input_weight=1, bound_weight=1)) < 1e-8

    def test_several_inputs_and_masks(self):
        def network(x, mask=None):
            points = jnp.where(mask["p"][..., None, None], x["p x"], 0)
            return x["x"] + jnp.sum(points, axis=-3)

        def backbone(x, mask=None):
            return x["x"]

        how = OrbitDistance(network, invariant_to=("p",), compare_input=True)
        sym = ek.symmetrize(backbone, "x + p x -> x", x=ek.O(2), p=ek.S, how=how)
        points = np.ones((3, 2, 2), np.float32) * np.array([0, 1, np.nan], np.float32)[:, None, None]
        x = {"x": np.eye(2, dtype=np.float32), "p x": points}
        frame_of = jax.jit(lambda x, there: sym.frame(x, mask={"p": there}))
        frame = frame_of(x, np.array([True, True, False]))
        np.testing.assert_allclose(frame.elements.linear["x"][0], np.eye(2) + 1)
        present = {"x": x["x"], "p x": x["p x"][:2]}  # what is not there changes nothing, the mean over pairs neither
        wanted = frame_of(present, np.ones(2, bool)).info.more["orbit_input"]
        np.testing.assert_allclose(frame.info.more["orbit_input"], wanted)
        assert wanted > 0
        assert how.reads(sym.action) == set()

    def test_a_matrix_group_and_another_group_of_the_same_form(self):
        quarter = ek.MatrixGroup([[[0, -1], [1, 0]]], name="C4")
        x = np.array([[0, -1], [1, 0]], np.float32)
        assert not info_of(of_group(quarter, orders=(2, 4)), x).degenerate
        assert not info_of(of_group(quarter, group=ek.SO(2)), x).degenerate
        reflection = np.diag(np.array([1, -1], np.float32))
        assert not info_of(of_group(ek.O(2)), reflection).degenerate
        assert info_of(of_group(ek.O(2), group=ek.SO(2)), reflection).degenerate

    def test_a_free_group_takes_the_size_of_the_array(self):
        assert not info_of(of_group(ek.O), np.eye(3, dtype=np.float32)).degenerate

    def test_a_dictionary_from_the_network(self):
        sym = of_group(ek.O(2), lambda x: {"x": x})
        assert not info_of(sym, np.eye(2, dtype=np.float32)).degenerate


class TestErrors:
    def test_of_the_method(self):
        assert_error(ek.OptionError, lambda: OrbitDistance(3), "cannot be called", "int", "module", "MatrixNetwork")
        assert_error(
            ek.OptionError,
            lambda: OrbitDistance(own_vectors, on_degenerate="sample"),
            "on_degen",
            "sample",
            "flag",
            "w",
        )
        assert_error(ek.GroupError, lambda: of_group(ek.S), "no axis", "x=S", "O or Sp or U", "bind")
        assert_error(ek.GroupError, lambda: of_group(ek.O(2), group=ek.Lorentz), "O(1, 3)", "x=O(2)", "same", "leave")
        assert_error(ek.GroupError, lambda: of_group(ek.O(2), group=ek.S(2)), "S(2)", "x=O(2)", "of matrices", "leave")

    def test_of_what_the_network_returns(self):
        def call(network, group=None):
            group = group or ek.O(3)
            x = jnp.ones((2, 3, 4), complex if group.is_complex else float)
            return lambda: of_group(group, network)(x)

        assert_error(
            ek.ShapeError,
            call(lambda x: x),
            "the matrix of the network must have shape [2, 3, 3]",
            "[2, 3, 4]",
            "[2, 3, 3]",
            "column",
        )
        assert_error(
            ek.DTypeError,
            call(lambda x: "M"),
            "the matrix of the network must be an array of real float",
            "str",
            "float32, bfloat16, float16 or float64",
            "column",
        )
        assert_error(
            ek.DTypeError,
            call(lambda x: own_vectors(x).astype(complex)),
            "the matrix of the network must be an array of real float",
            "complex",
            "float32, bfloat16, float16 or float64",
            "let the network return n vectors, one in each column",
        )
        assert_error(
            ek.DTypeError,
            call(lambda x: own_vectors(x).real, ek.U(3)),
            "the matrix of the network must be an array of complex fl",
            "float32",
            "complex",
            "let the network return n vectors, one in each column",
        )

    def test_of_losses(self):
        info = info_of(of_group(ek.O(2)), np.eye(2, dtype=np.float32))
        frame = ek.symmetrize(uneven, "x -> x", x=ek.Z(2), how=ek.frames.GroupAverage()).info(jnp.eye(2))
        assert_error(
            ek.OptionError,
            lambda: orbit_loss(frame),
            "the info has no 'orbit_distance'",
            "[]",
            "the info of OrbitDistance(network)",
            "OrbitDistance",
        )
        assert_error(
            ek.OptionError,
            lambda: orbit_loss(info, input_weight=1),
            "the info has no 'orbit_input'",
            "orbit_matrix",
            "the info of OrbitDistance(network, compare_input=True)",
            "comp",
        )
        for name in ("input_weight", "bound_weight", "bound"):
            assert_error(
                ek.OptionError,
                lambda name=name: orbit_loss(info, **{name: -1.0}),
                f"{name}= must be a number ≥ 0",
                "-1.0",
                "a number ≥ 0",
                f"write {name}=1",
            )
        assert_error(
            ek.OptionError,
            lambda: matrix_equivariance_loss(info, frame, jnp.eye(2)),
            "the info has no 'orbit_matrix'",
            "[]",
            "the info of OrbitDistance(network)",
            "Orb",
        )

    def test_of_what_there_is_nothing_to_compare_of(self):
        build = lambda: ek.symmetrize(  # noqa: E731
            jnp.sin, "x x -> x x", x=ek.O(2), how=OrbitDistance(own_vectors, compare_input=True)
        )
        assert_error(
            ek.OptionError,
            build,
            "no input has 'x' once",
            "x x",
            "an input term with 'x' once",
            "leave compare_input= out",
        )
        assert_error(
            ek.OptionError,
            lambda: orbit_loss(jnp.eye(2)),
            "info= must be an Info",
            "Array([[1., 0.],        [0., 1.]], dtype=float32)",
            "Info",
            "write info=sym.info(x)",
        )
