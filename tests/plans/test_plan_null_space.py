"""Plans and layers of groups without diagrams, alone and mixed with others."""

import functools
import pickle
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, compiled, every, partly_slow, primitives
from in_numpy import in_numpy

import equikit as ek
from equikit import SO, D, Fixed, Lorentz, MatrixGroup, S, Z, hom
from equikit.plans import apply, plan, weight_shapes

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

ROTATIONS = [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]]
STRETCH = MatrixGroup([[[Fraction(1, 2), 0], [0, 1]], [[0, 1], [1, 0]]])
SU2 = MatrixGroup(lie_algebra=[[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]], [[0, 1j], [1j, 0]]], name="SU(2)")
TURN = MatrixGroup([[[0.6, -0.8], [0.8, 0.6]]])

CASES = [
    ("z -> z", {"z": Z(5)}),
    ("z z -> z z", {"z": Z(3)}),
    ("z z -> z", {"z": D(4)}),
    ("p z -> p z", {"z": Z(3), "p": S(4)}),
    ("p z z p -> z p", {"z": D(3), "p": S(2)}),
    ("z x -> x z x", {"z": Z(3), "x": SO(3)}),
    ("x z x -> z x", {"z": Z(3), "x": SO(3)}),
    ("b a p a -> p b", {"a": Z(2), "b": D(3), "p": S(2)}),
    ("p z + p + z -> p + z + ()", {"z": Z(3), "p": S(2)}),
    ("g g* -> g g*", {"g": STRETCH}),
    ("g* g g -> g* g g", {"g": SU2}),
    ("x f -> x x h", {"x": MatrixGroup(lie_algebra=ROTATIONS), "f": Fixed(2), "h": Fixed(3)}),
    ("p z m -> m z p", {"p": S(3), "z": Z(2), "m": Lorentz}),
    ("g -> z g", {"g": TURN, "z": Z(2)}),
]
cases = pytest.mark.parametrize(("text", "groups"), CASES, ids=[text for text, _ in CASES])


def program_of(text, groups, normalize="mean"):
    space = hom(text, groups=groups)
    dtype = jnp.complex128 if space.signature.is_complex else jnp.float64
    return plan(space, (2, 3), normalize=normalize, bias=True), dtype


def arrays(shapes, dtype, seed=0):
    rng = np.random.default_rng(seed)

    def draw(shape):
        values = rng.normal(size=shape)
        return values + 1j * rng.normal(size=shape) if dtype == jnp.complex128 else values

    return {name: draw(shape) for name, shape in shapes.items()}


def inputs(program, dtype):
    signature = program.signature
    shapes = {t.name: (2, *(signature.sizes[label] for label in t.labels), 2) for t in signature.inputs}
    return arrays(shapes, dtype, 1)


@pytest.mark.parametrize(
    ("case", "normalize"),
    partly_slow(
        every(CASES, ["sum", "mean"]),
        lambda place: place % 4 in (0, 3),  # one and the other by turns
        [f"{text}, {normalize}" for (text, _), normalize in every(CASES, ["sum", "mean"])],
    ),
)
def test_a_plan_is_its_reference(x64, case, normalize):
    text, groups = case
    program, dtype = program_of(text, groups, normalize)
    x, weights = inputs(program, dtype), arrays(weight_shapes(program), dtype)
    run = functools.partial(apply, program)
    fast, slow = (in_numpy(functools.partial(run, method=method), x, weights) for method in ("factored", "naive"))
    assert_close(fast, slow, 1e-12)


@cases
def test_layers_commute(x64, text, groups):
    _, dtype = program_of(text, groups)
    layer = ek.nn.Linear(text, 2, 3, groups=groups, rngs=nnx.Rngs(0), param_dtype=dtype)
    ek.testing.assert_equivariant(
        jax.jit(layer), text, groups=groups, channels=2, key=jax.random.key(0), tolerance=1e-11, batch=(2,)
    )


def test_gradients_are_those_of_the_reference(x64):
    program, dtype = program_of("p z z -> z p", {"z": Z(3), "p": S(2)})
    x, weights = inputs(program, dtype), arrays(weight_shapes(program), dtype)

    def loss(method):
        return lambda w, x: jnp.sum(apply(program, x, w, method=method)["z p"] ** 3)

    fast, slow = (in_numpy(jax.grad(loss(method), (0, 1)), weights, x) for method in ("factored", "naive"))
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-12), fast, slow)


def test_a_circulant_layer_is_a_convolution(x64):
    """The maps of Z(n) on one axis are circular convolutions: their eigenvectors are those of the Fourier transform."""
    layer = ek.nn.Linear("z -> z", 1, 1, z=Z(7), rngs=nnx.Rngs(0), use_bias=False, param_dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(0), (7, 1))
    kernel = layer(jnp.zeros((7, 1)).at[0].set(1.0))
    assert jnp.allclose(jnp.fft.fft(layer(x)[:, 0]), jnp.fft.fft(kernel[:, 0]) * jnp.fft.fft(x[:, 0]))


def test_orbits_look_weights_up_and_gather_nothing_else():
    program, _ = program_of("p z z -> z p", {"z": Z(3), "p": S(2)})
    weights = {name: jnp.ones(shape) for name, shape in weight_shapes(program).items()}
    found = primitives(jax.make_jaxpr(lambda x: apply(program, x, weights))(jnp.ones((2, 3, 3, 2))).jaxpr)
    assert found["gather"] == len(program.products)
    assert not {name for name in found if "scatter" in name}


def test_initial_variance_is_kept():
    run = jax.jit(lambda layer, x: layer(x))  # weights that are constants would be looked up by the compiler
    for groups in ({"z": Z(6)}, {"z": D(5)}, {"z": TURN}):
        layer = ek.nn.Linear("z z -> z z", 64, 128, groups=groups, rngs=nnx.Rngs(0))
        n = groups["z"].n
        y = run(layer, jax.random.normal(jax.random.key(1), (64, n, n, 64)))
        assert abs(float(jnp.var(y)) - 1) < 0.15


def test_masks_and_pooling_of_permutations(x64):
    layer = ek.nn.Linear("z -> z", 2, 2, z=D(5), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    ek.testing.assert_equivariant(layer, "z -> z", z=D(5), channels=2, key=jax.random.key(0), mask=True)
    assert ek.nn.Pool("z", z=Z(3))(jnp.ones((3, 2))).shape == (2,)
    ek.nn.Pointwise(jnp.abs, "z", z=Z(3))
    with pytest.raises(ek.OptionError, match="does not commute"):
        ek.nn.Pointwise(jnp.abs, "z", z=TURN)


def test_layers_pickle_and_networks_train_on_them():
    network = ek.nn.MLP([{"x": 2}, {"": 4, "x": 4}, {"": 1}], x=TURN, rngs=nnx.Rngs(0))
    again = pickle.loads(pickle.dumps(network))
    x = {"x": jnp.ones((3, 2, 2))}
    assert jnp.array_equal(network(x)[""], again(x)[""])
    gradient = compiled(nnx.grad(lambda net: jnp.sum(net(x)[""] ** 2)), network)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_no_map_is_said_with_the_reason():
    with pytest.raises(ek.SignatureError, match=r"MatrixGroup.* has no invariant tensor on 3 axes 'x'"):
        ek.nn.Linear("x x -> x", 1, 1, x=MatrixGroup([[[-1]]]), rngs=nnx.Rngs(0))


def test_tensors_too_large_are_refused_before_they_are_made():
    with pytest.raises(ek.TooLargeError, match=r"the invariant tensors of Z\(64\)"):
        ek.nn.Linear("z z -> z", 1, 1, z=Z(64), rngs=nnx.Rngs(0))
