"""The gradient of a plan is a plan: `plan.T` with the weights of `transpose_weights`, against JAX's own gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_error, with_groups
from in_numpy import in_numpy
from test_plan_passes import CASES as USUAL, drawn, sizes_in

import equikit as ek
from equikit.plans import apply, plan, transpose_weights, weight_shapes
from equikit.plans.compilation._transposition import transposition

SLOW = 2  # those after the usual ones
CASES = [
    *USUAL,
    ("x x x -> x x x", {"x": ek.Bistochastic(2)}),  # dependent diagrams, whose transposes need not be in the basis
    ("p x x -> x x x p x", {"x": ek.O(2), "p": ek.S}),
    ("x x -> x x x x", {"x": ek.O(2)}),
    ("p x x x -> x x p", {"x": ek.Bistochastic(2), "p": ek.S}),
    ("x x x -> x x x", {"x": ek.Sp(2)}),
    ("x x x -> x", {"x": ek.SO(2)}),
    ("x x x x -> x x", {"x": ek.SO(1, 1)}),
    ("u u u* -> u u* u", {"u": ek.U(2)}),
    ("v v v* -> v v* v", {"v": ek.GL(2)}),
    ("g -> g g g*", {"g": ek.MatrixGroup([[[1, 1], [0, 1]]])}),  # a group that transposes do not keep
]
cases, compiled_cases = with_groups(CASES), with_groups(CASES, len(USUAL) + SLOW, also=["p p -> p p"])


def pulled(run, x, w, cotangent):
    """The gradient of the inputs by JAX."""
    (found,) = in_numpy(lambda x, w, y: jax.vjp(lambda x: run(x, w), x)[1](y), x, w, cotangent)
    return found


@pytest.mark.usefixtures("x64")
@compiled_cases
def test_the_transposed_plan_is_the_gradient(text, groups):
    """With means, whose weights are those of sums times scales; the test with masks has sums."""
    space = ek.hom(text, groups=groups)
    program = plan(space, (2, 3), normalize="mean", bias=True)
    sizes, free = sizes_in(space.signature)
    x, w = drawn(program, sizes)
    cotangent, _ = drawn(program.T, sizes, seed=3)
    turned = in_numpy(functools.partial(transpose_weights, program, sizes=free), w)
    assert {name: array.shape for name, array in turned.items()} == weight_shapes(program.T)
    run = functools.partial(apply, sizes=free, method="factored")
    fast = in_numpy(functools.partial(run, program.T), cotangent, turned)
    assert_close(fast, pulled(functools.partial(run, program, method="naive"), x, w, cotangent), 1e-12)


@cases
def test_twice_transposed_is_the_plan(text, groups):
    space = ek.hom(text, groups=groups)
    program = plan(space, (2, 3))
    assert program == program.T.T
    assert program.T.channels == (program.channels[1], program.channels[0])
    assert not plan(space, (2, 3), bias=True).T.bias
    assert plan(space, (2, 3), normalize="mean").T == program.T


def test_transposes_outside_the_basis_are_written_in_it():
    """For six of the 32 diagrams; the coefficients are exact."""
    diagrams = ek.hom("x x x -> x x x", x=ek.Bistochastic(2)).diagrams
    assert sum(diagram.flip() not in diagrams for diagram in diagrams) == 6
    how = transposition(diagrams, diagrams)
    matrix = np.zeros((32, 32))
    for index, factor in zip(how.index, how.factor, strict=True):
        np.add.at(matrix, (np.arange(32), index), factor)
    dense = np.array([diagram.matrix(2) for diagram in diagrams])
    np.testing.assert_array_equal(np.einsum("td,tij->dij", matrix, dense), dense.transpose(0, 2, 1))


def test_labels_of_vectors_and_dual_vectors_change_places():
    signature = ek.hom("a: u u* p -> u", u=ek.GL, p=ek.S).plan().T.signature
    assert str(signature) == "u: u* -> a: u* u p"
    assert plan(ek.hom("x x -> x", x=ek.SO(3))).T.signature == ek.hom("x -> x x", x=ek.SO(3)).signature


@pytest.mark.usefixtures("x64")
def test_masks_are_the_same_for_both():
    program = plan(ek.hom("p p -> p + p p", p=ek.S), (2, 3))
    x, w = drawn(program, {"p": 4})
    cotangent, _ = drawn(program.T, {"p": 4}, seed=3)
    mask = {"p": np.array([[True, True, False, True], [True, False, False, False]])}
    run = functools.partial(apply, mask=mask)
    fast = in_numpy(lambda x, w: run(program.T, x, transpose_weights(program, w)), cotangent, w)
    assert_close(fast, pulled(functools.partial(run, program), x, w, cotangent), 1e-12)


def test_weights_are_transposed_inside_jit_and_keep_their_dtype():
    program = plan(ek.hom("p -> p", p=ek.S), (2, 3), normalize="mean", bias=True)
    w = {name: jnp.ones(shape, jnp.bfloat16) for name, shape in weight_shapes(program).items()}
    turned = jax.jit(functools.partial(transpose_weights, program, sizes={"p": 4}))(w)
    assert {name: (array.shape, array.dtype) for name, array in turned.items()} == {"p -> p": ((2, 3, 2), jnp.bfloat16)}
    np.testing.assert_array_equal(turned["p -> p"][:, 0, 0].astype(jnp.float32), [1, 0.25])


@pytest.mark.parametrize("channels", [(0, 3), (2, 0)])
def test_no_channels(channels):
    program = plan(ek.hom("p z -> z", p=ek.S(3), z=ek.Z(2)), channels)
    w = {name: jnp.ones(shape) for name, shape in weight_shapes(program).items()}
    assert {name: array.shape for name, array in transpose_weights(program, w).items()} == weight_shapes(program.T)


def test_real_weights_of_a_complex_group(x64):
    """Their transposes have complex coefficients where a basis of invariant tensors is complex."""
    turn = ek.MatrixGroup([[[1j, 0], [0, -1]]])
    program = plan(ek.hom("g g* -> g g*", g=turn))
    w = {name: np.random.default_rng(0).normal(size=shape) for name, shape in weight_shapes(program).items()}
    x, _ = drawn(program, {"g": 2})
    cotangent, _ = drawn(program.T, {"g": 2}, seed=3)
    fast = in_numpy(lambda x, w: apply(program.T, x, transpose_weights(program, w)), cotangent, w)
    assert_close(fast, pulled(functools.partial(apply, program), x, w, cotangent), 1e-12)


def test_a_mean_needs_the_sizes_it_is_over():
    program = plan(ek.hom("p q -> p", p=ek.S, q=ek.S), normalize="mean")
    w = {name: jnp.ones(shape) for name, shape in weight_shapes(program).items()}
    assert_error(
        ek.ShapeError,
        lambda: transpose_weights(program, w, sizes={"p": 3}),
        "the transpose of a mean over 'q'",
        "q bound to the free group S",
        "the size of every free label that is summed over",
        "pass sizes={'p': 3, 'q': 4}",
    )
    with pytest.raises(ek.ShapeError, match="no axis has it"):
        transpose_weights(program, w, sizes={"p": 3, "q": 3, "r": 2})
    bound = plan(ek.hom("p -> p", p=ek.S(3)), normalize="mean")
    with pytest.raises(ek.ShapeError, match="p is bound to S"):
        transpose_weights(bound, {"p -> p": jnp.ones((2, 1, 1))}, sizes={"p": 4})


def test_weights_that_do_not_fit_are_refused():
    program = plan(ek.hom("p -> p", p=ek.S))
    with pytest.raises(ek.ShapeError, match="the weights do not have the expected names"):
        transpose_weights(program, {})
    with pytest.raises(ek.OptionError, match="weights is not a dictionary"):
        transpose_weights(program, [jnp.ones((2, 1, 1))])
