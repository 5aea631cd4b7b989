"""Turning images: exact where pixels are exchanged, bilinear elsewhere, with derivatives that turn too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.symmetrization import Element, compose
from equikit.symmetrization.engine._action import moved_masks
from equikit.symmetrization.finite._turned import turned


@jax.jit
def in_rows(matrix, image):
    return turned(matrix, image, (0, 1))


def by_definition(matrix, image):
    """Every pixel moved to where the matrix takes it, one by one."""
    result = np.zeros_like(image)
    center = (np.array(image.shape[:2]) - 1) / 2
    for pixel in np.ndindex(*image.shape[:2]):
        place = matrix @ (np.array(pixel) - center) + center
        result[tuple(place.astype(int))] = image[pixel]
    return result


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 5), np.float32), ((6, 6, 2), np.float32), ((1, 1), np.int32), ((6, 6), jnp.bfloat16)]
)
def test_signed_permutations_exchange_pixels(shape, dtype):
    image = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for matrix in ek.D(4).plane_matrices():
        expected = by_definition(matrix, image)
        exact = in_rows(jnp.asarray(matrix), jnp.asarray(image))
        assert exact.dtype == image.dtype
        assert np.array_equal(exact, expected)
        assert np.array_equal(in_rows(jnp.asarray(matrix, jnp.float32), jnp.asarray(image)), expected)


def test_rectangles_keep_half_turns_and_refuse_quarter_turns_loudly():
    image = jnp.arange(12.0).reshape(3, 4)
    for matrix in ek.D(2).plane_matrices():
        assert np.array_equal(in_rows(jnp.asarray(matrix), image), by_definition(matrix, np.asarray(image)))
    assert jnp.all(jnp.isnan(in_rows(jnp.asarray(ek.Z(4).plane_matrices()[1]), image)))


def test_matrices_and_images_are_batched():
    images = jax.random.normal(jax.random.key(0), (8, 2, 5, 5))
    matrices = jnp.asarray(ek.D(4).plane_matrices())
    one = jax.jit(lambda matrix, image: turned(matrix, image, (1, 2)))
    many = jax.jit(jax.vmap(one))(matrices, images)
    for matrix, image, found in zip(matrices, images, many, strict=True):
        assert np.array_equal(found, one(matrix, image))


def test_what_is_not_a_number_stays_in_its_pixel():
    image = jnp.zeros((5, 5)).at[1, 3].set(jnp.nan)
    for dtype in (jnp.int32, jnp.float32):
        moved = in_rows(jnp.asarray(ek.Z(4).plane_matrices()[1], dtype), image)
        assert int(jnp.isnan(moved).sum()) == 1


def test_group_law_holds_for_smooth_images_up_to_interpolation():
    place = jnp.arange(24.0) - 11.5
    image = jnp.exp(-((place[:, None] - 3) ** 2 + (place[None, :] + 2) ** 2) / 18)
    eighth = jnp.asarray(ek.Z(8).plane_matrices()[1], jnp.float32)
    twice = in_rows(eighth, in_rows(eighth, image))
    error = jnp.linalg.norm(twice - in_rows(eighth @ eighth, image)) / jnp.linalg.norm(image)
    assert 0 < error < 0.03


@pytest.mark.usefixtures("x64")
def test_derivatives_agree_with_finite_differences():
    seeds = np.random.default_rng(0)
    image, change = jnp.asarray(seeds.normal(size=(2, 5, 6)))
    turn = jnp.asarray(seeds.normal(size=(2, 2)))

    @jax.jit
    def size(matrix, image):
        return jnp.sum(turned(matrix, image, (0, 1)) ** 3)

    slopes = jax.jit(jax.grad(size, (0, 1)))
    generic, step = jnp.array([[0.8, -0.6], [0.61, 0.79]]), 1e-8
    # A pixel falls on a pixel for the others, where slopes jump: the derivative is the mean of both sides.
    for matrix in (generic, *jnp.asarray(ek.D(4).plane_matrices(), jnp.float64)[jnp.array([0, 1, 6])]):
        by_matrix, by_image = slopes(matrix, image)
        found = jnp.vdot(by_matrix, turn)
        sides = [size(matrix + sign * step * turn, image) for sign in (1, -1)]
        assert abs(found - (sides[0] - sides[1]) / (2 * step)) < 1e-4
        sides = [size(matrix, image + sign * step * change) for sign in (1, -1)]
        assert abs(jnp.vdot(by_image, change) - (sides[0] - sides[1]) / (2 * step)) < 1e-4
    step = 1e-6
    curvature = jax.jit(lambda matrix: jax.jvp(jax.grad(size), (matrix, image), (turn, change))[1])(generic)
    sides = [slopes(generic + sign * step * turn, image + sign * step * change)[0] for sign in (1, -1)]
    assert jnp.allclose(curvature, (sides[0] - sides[1]) / (2 * step), atol=1e-4)


def test_derivatives_turn_with_the_image():
    image = jax.random.normal(jax.random.key(2), (6, 6))
    quarter = jnp.asarray(ek.Z(4).plane_matrices()[1])

    def size(matrix, image):
        return jnp.sum(jnp.sin(turned(matrix, image, (0, 1))))

    slope = jax.jit(jax.grad(size))
    straight = slope(jnp.eye(2), image)
    # The matrix M q^-1 does to the turned image what M does to the image.
    other = slope(quarter.T.astype(jnp.float32), in_rows(quarter, image))
    assert jnp.allclose(other @ quarter, straight, atol=1e-5)


def test_elements_of_integers_and_of_floats_are_composed():
    whole = Element(grid={("i", "j"): jnp.asarray(ek.Z(4).plane_matrices()[1])})
    other = Element(grid={("i", "j"): jnp.asarray(ek.Z(8).plane_matrices()[1], jnp.float32)})
    assert compose(whole, whole).grid["i", "j"].dtype == jnp.int32
    assert jnp.allclose(compose(whole, other).grid["i", "j"], ek.Z(8).plane_matrices()[3], atol=1e-6)


def test_masks_follow_matrices_that_permute(key):
    group, seeds = ek.H(5), np.random.default_rng(0)
    drawn = [group.random_element(seeds) for _ in range(3)]
    matrices = jnp.asarray(np.stack([group.matrix(element) for element in drawn]), jnp.float32)
    mask = jax.random.bernoulli(key, 0.5, (3, 5))
    moved = moved_masks(Element({"p": matrices}), {"p": mask})["p"]
    for element, before, after in zip(drawn, np.asarray(mask), np.asarray(moved), strict=True):
        assert np.array_equal(group.act(element, after, 0), before)
