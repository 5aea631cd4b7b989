"""The nearest equivariant map of a matrix, compared with the least-squares solution on dense diagrams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equikit import (
    GL,
    SO,
    A,
    Bistochastic,
    D,
    DTypeError,
    Fixed,
    H,
    Lorentz,
    MatrixGroup,
    O,
    OptionError,
    S,
    ShapeError,
    Sp,
    TooLargeError,
    U,
    Z,
    hom,
)

ROTATION = MatrixGroup([[[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]]])
PHASE = MatrixGroup([[[1j, 0], [0, 1]]])
SHEAR = MatrixGroup([[[1, 1], [0, 1]]])

HUGE = np.broadcast_to(0.0, (150**2, 150**2))

SPACES = {
    "S": ("p p -> p p", {"p": S(4)}, None),
    "S free": ("p p -> p", {"p": S}, 4),
    "S dependent": ("p p -> p p", {"p": S}, 2),
    "S bound and small": ("p p -> p p", {"p": S(2)}, None),
    "S scalar": ("p p -> ()", {"p": S(3)}, None),
    "S empty": ("p -> p", {"p": S(0)}, None),
    "no axes": ("-> ()", {}, None),
    "A": ("p -> p p", {"p": A(3)}, None),
    "H": ("p p -> p p", {"p": H(3)}, None),
    "O": ("x x -> x x", {"x": O(3)}, None),
    "O dependent": ("x x x -> x x x", {"x": O(2)}, None),
    "Lorentz": ("x x -> x x", {"x": Lorentz}, None),
    "SO": ("x x -> x", {"x": SO(3)}, None),
    "SO with a metric": ("x x -> x", {"x": SO(1, 2)}, None),
    "Sp": ("x x -> x x", {"x": Sp(4)}, None),
    "Bistochastic": ("x x -> x", {"x": Bistochastic(3)}, None),
    "U": ("u u* -> u u*", {"u": U(2)}, None),
    "GL": ("u u -> u u", {"u": GL(3)}, None),
    "Z": ("z z -> z", {"z": Z(4)}, None),
    "D": ("z -> z", {"z": D(5)}, None),
    "not orthogonal": ("x x -> x x", {"x": SHEAR}, None),
    "floats": ("x x -> x x", {"x": ROTATION}, None),
    "complex entries": ("x x* -> x x*", {"x": PHASE}, None),
    "two labels": ("x p -> p x", {"x": O(2), "p": S(3)}, None),
    "two free labels": ("q p -> p q", {"q": S, "p": S}, {"p": 2, "q": 3}),
    "plain axes": ("f p g -> p f", {"p": S(3), "f": Fixed(2), "g": Fixed(3)}, None),
    "only plain axes": ("f -> g", {"f": Fixed(2), "g": Fixed(3)}, None),
    "terms": ("p p + p f -> p + () + f", {"p": S(3), "f": Fixed(2)}, None),
    "terms without maps": ("x + x x -> x + ()", {"x": O(2)}, None),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def case(request):
    text, groups, n = request.param
    return hom(text, groups=groups), n


def drawn(space, n, *, imaginary=False):
    shape, generator = space.matrices(n).shape[1:], np.random.default_rng(0)
    real = generator.normal(size=shape)
    return real + 1j * generator.normal(size=shape) if imaginary else real


def combined(weights, matrices):
    return np.tensordot(weights, matrices, 1)


@pytest.mark.parametrize("imaginary", [False, True], ids=["real", "complex"])
def test_the_projection_is_the_least_squares_solution(case, imaginary):
    space, n = case
    matrix, dense = drawn(space, n, imaginary=imaginary), space.matrices(n)
    columns = dense.reshape(len(dense), matrix.size).T
    best = columns @ np.linalg.lstsq(columns, matrix.ravel(), rcond=None)[0]
    found = space.project(matrix, n)
    np.testing.assert_allclose(found.ravel(), best, rtol=0, atol=1e-10)
    assert found.shape == matrix.shape
    assert np.iscomplexobj(found) == (imaginary or np.iscomplexobj(dense))


def test_weights_are_in_the_order_of_the_matrices(case):
    space, n = case
    matrix = drawn(space, n)
    weights = space.coefficients(matrix, n)
    assert weights.shape == (space.dim,)
    np.testing.assert_allclose(combined(weights, space.matrices(n)), space.project(matrix, n), rtol=0, atol=1e-10)


def test_projecting_twice_changes_nothing(case):
    space, n = case
    once = space.project(drawn(space, n), n)
    np.testing.assert_allclose(space.project(once, n), once, rtol=0, atol=1e-10)


def test_an_equivariant_map_is_returned(case):
    space, n = case
    dense = space.matrices(n)
    given = np.random.default_rng(1).normal(size=len(dense))
    matrix = combined(given, dense)
    np.testing.assert_allclose(space.project(matrix, n), matrix, rtol=0, atol=1e-10)
    columns = dense.reshape(len(dense), matrix.size)
    rank = np.linalg.matrix_rank(columns) if columns.size else 0  # NumPy before 2.4 rejects empty matrices
    if rank == len(dense):  # weights of dependent diagrams are not unique
        np.testing.assert_allclose(space.coefficients(matrix, n), given, rtol=0, atol=1e-10)


@pytest.mark.parametrize("group", [S(4), O(3), U(2), Z(4), H(3)], ids=str)
def test_the_projection_of_a_compact_group_commutes_with_averaging(group):
    space, generator = hom("x -> x", x=group), np.random.default_rng(2)
    matrix = generator.normal(size=(group.n, group.n))
    element = group.matrix(group.random_element(generator))
    turned = element @ matrix @ element.conj().T
    np.testing.assert_allclose(space.project(turned), space.project(matrix), rtol=0, atol=1e-10)


def test_the_arrays_of_layers_and_integers_are_taken():
    space = hom("p -> p", p=S(3))
    assert space.coefficients(np.eye(3, dtype=np.float32)).dtype == np.float64
    np.testing.assert_allclose(space.coefficients([[2, 1, 1], [1, 2, 1], [1, 1, 2]]), [1, 1], atol=1e-12)


def following(step, space, matrix, n):
    """The weights and the map that the next step computes."""
    names = {"space": space, "matrix": matrix, "n": n, "jnp": jnp}
    for statement in step.removeprefix("inside them ").replace(" does the same: ", "; ").split("; "):
        exec(statement, names)
    return names["weights"], names["map"]


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, lambda call: jax.vmap(call)], ids=["jit", "grad", "vmap"])
@pytest.mark.parametrize("method", ["coefficients", "project"])
def test_a_traced_matrix_is_refused_with_a_way_that_works(method, transform):
    space, matrix = hom("p -> p", p=S(3)), np.random.default_rng(3).normal(size=(3, 3, 3))
    matrix = matrix if transform not in (jax.jit, jax.grad) else matrix[0]
    with pytest.raises(OptionError, match="run on the host") as caught:
        transform(lambda traced: getattr(space, method)(traced).sum())(matrix)
    one = matrix.reshape(-1, 3, 3)[0]
    weights, projected = jax.jit(lambda traced: following(caught.value.step, space, traced, 3))(one)
    np.testing.assert_allclose(weights, space.coefficients(one), rtol=0, atol=1e-5)
    np.testing.assert_allclose(projected, space.project(one), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: hom("p -> p", p=S(3)).project(np.eye(4)), ShapeError, "does not fit the space"),
        (lambda: hom("p -> p", p=S(3)).project(np.eye(3)[0]), ShapeError, "does not fit the space"),
        (lambda: hom("p -> p", p=S).project(np.eye(3)), ShapeError, "no size is given"),
        (lambda: hom("p -> p", p=S(3)).project(np.eye(3) > 0), DTypeError, "matrix of numbers"),
        (lambda: hom("p -> p", p=S(2)).project([["a", "b"], ["c", "d"]]), DTypeError, "matrix of numbers"),
        (lambda: hom("p -> p", p=S(2)).project([[1, 2], [3]]), ShapeError, "rows of different lengths"),
        (lambda: hom("p p p p -> p p p p", p=S).project(np.zeros((16, 16)), 2), TooLargeError, "Gram matrix"),
        (lambda: hom("p p -> p p", p=S).project(HUGE, 150), TooLargeError, "too many entries"),
    ],
)  # fmt: skip
def test_what_cannot_be_projected_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
