"""The functions of PER's paper have the symmetries that they are said to have, and images are rotated as elsewhere."""

import jax
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from benchmarks.data.digits import turned
from benchmarks.papers import invariance_constrained_2209_15031 as augmentation, per_2306_00356 as per
from benchmarks.papers.per_2306_00356._tasks import (
    FUNCTIONS,
    ROTATIONS,
    SCALED,
    SCALES,
    about,
    cosines,
    modified_inertia,
)


class Fixed:
    """A generator that returns given arrays, so that a function is evaluated at chosen inputs."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def normal(self, size):
        found = self.arrays.pop(0)
        assert found.shape == size
        return found


def inertia_defect(element, rng):
    """The largest change of the target under an element, beyond the element's action."""
    masses, places = rng.normal(size=(20, 5)), rng.normal(size=(20, 5, 3))
    _, before = modified_inertia(Fixed(masses, places), 20)
    _, after = modified_inertia(Fixed(masses, places @ element.T), 20)
    return np.abs(after - element @ before @ element.T).max()


@pytest.mark.parametrize("axis", range(3))
def test_modified_inertia_has_the_symmetry_of_the_z_axis(axis):
    rng = np.random.default_rng(0)
    defects = [inertia_defect(about(axis).random_element(rng), rng) for _ in range(3)]
    assert max(defects) < 1e-3 if axis == 2 else max(defects) > 0.1
    assert inertia_defect(ek.O(3).random_element(rng), rng) > 0.1


def test_the_candidates_are_conjugate_subgroups():
    for axis in range(3):
        elements = [about(axis).matrix(g) for g in about(axis).generators()]
        assert all(abs(element[axis, axis]) == 1 for element in elements)
        assert ek.hom("x x -> x x", x=about(axis)).dim == 10
    assert FUNCTIONS["modified inertia"].candidates[3] == ek.O(2) + ek.O(1)


@pytest.mark.parametrize(("kept", "name"), [("rotations", ROTATIONS), ("scales", SCALED)])
def test_cosines_keep_what_they_say(kept, name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3, 3))
    values = [cosines(Fixed(moved), 20, kept)[1] for moved in (x, x @ ek.SO(3).random_element(rng).T, 1.7 * x)]
    rotated, scaled = (np.abs(values[0] - other).max() for other in values[1:])
    assert (rotated < 1e-5, scaled < 1e-5) == (kept == "rotations", kept == "scales")
    assert FUNCTIONS[name].candidates[FUNCTIONS[name].true] == (ek.SO(3) if kept == "rotations" else SCALES)


def test_images_are_rotated_as_in_the_data():
    images = np.random.default_rng(0).random((5, 8, 8)).astype(np.float32)
    key = jax.random.key(0)
    angles = np.asarray(jax.random.uniform(key, (5, 1, 1), maxval=2 * np.pi))[:, 0, 0]
    found = np.asarray(augmentation.rotated(images, key=key))
    inside = (slice(None), slice(2, 6), slice(2, 6))  # no corner of it leaves the image
    np.testing.assert_allclose(found[inside], turned(images, np.rad2deg(angles))[inside], atol=1e-4)


def test_ranks_and_free_weights():
    function = FUNCTIONS["modified inertia"]
    found = per.ranking(function, np.array([0.1, 2.0, 0.5, 1.0]))
    assert found == {per.RANK: 2.0, per.RATIO: 2.0}
    assert per.ranking(function, np.ones(4))[per.RANK] == 4  # a tie is not a first place
    free = FUNCTIONS[ROTATIONS].free(0)
    layers = [layer for _, layer in nnx.iter_modules(free) if isinstance(layer, ek.nn.Linear)]
    groups = {str(layer.signature.groups.get("x")) for layer in layers}
    assert groups == {"Trivial(3)", "SO(3)"}  # products keep their group
