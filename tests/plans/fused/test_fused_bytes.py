"""The bytes that fused kernels move: the formulas against kernels that count what they load and store."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.plans import fused_bytes
from equikit.plans.fused import _expand, _gram, _orbits, _reduce, _tiles
from equikit.plans.fused._expand import run_expansion
from equikit.plans.fused._gram import run_gram
from equikit.plans.fused._orbits import closure, composed, inverse, orbits
from equikit.plans.fused._reduce import run_reduction
from equikit.plans.fused._run import stage_of


class Counted:
    """A table whose entries count when they are read."""

    def __init__(self, array, moved):
        self.array, self.moved, self.dtype = np.asarray(array), moved, array.dtype

    def __getitem__(self, place):
        self.moved.append(self.array.itemsize)
        return self.array[place]


@pytest.fixture
def moved(monkeypatch):
    """The bytes of each load and store of the kernels, which run one program after the other, without arithmetic."""
    found, place = [], [0, 0]

    def entries(ref, index, mask):
        shape = np.broadcast_shapes(*(np.shape(i) for i in index), np.shape(mask))
        for i, size in zip(index, ref.array.shape, strict=True):
            inside = np.broadcast_to(np.asarray(i), shape)[np.broadcast_to(np.asarray(mask), shape)]
            assert ((inside >= 0) & (inside < size)).all()  # nothing outside of an array is touched
        found.append(int(np.broadcast_to(np.asarray(mask), shape).sum()) * ref.array.itemsize)
        return shape

    def load(ref, index, mask):
        return jnp.zeros(entries(ref, index, mask), ref.dtype)

    def store(ref, index, value, mask):
        entries(ref, index, mask)

    def launch(body, grid, operands, results, *, name, mode, warps):
        refs = [Counted(array, found) for array in (*operands, *(np.zeros(r.shape, r.dtype) for r in results))]
        for program in np.ndindex(grid):
            place[:] = program
            body(*refs)
        for result in results if name != "expand" else ():  # XLA adds the parts
            parts = math.prod(result.shape[:2]) if name == "gram" else result.shape[1]
            size = math.prod(result.shape) * result.dtype.itemsize
            if parts > 1 or name == "gram":
                found.append(size + size // parts)
        return [jnp.zeros(result.shape, result.dtype) for result in results]

    for module in (_expand, _gram, _reduce):
        monkeypatch.setattr(module, "launch", launch)
        monkeypatch.setattr(module, "store", store)
    for module in (_expand, _gram, _reduce, _tiles):
        monkeypatch.setattr(module, "program_id", lambda axis: jnp.int32(place[axis]))
    for module in (_expand, _reduce, _tiles):
        monkeypatch.setattr(module, "load", load)
    for module in (_expand, _gram):
        monkeypatch.setattr(module, "product", lambda x, w: jnp.zeros((x.shape[0], w.shape[1])))
    with jax.disable_jit():
        yield found


CASES = [
    ("p p -> p p", {"p": ek.S}, 20, 1),
    ("p p -> p p", {"p": ek.S}, 33, 2),
    ("p p + p -> p p + p", {"p": ek.S}, 20, 1),
    ("x p -> p x", {"p": ek.S, "x": ek.O(3)}, 70, 1),
    ("p f p -> p p", {"p": ek.S, "f": ek.Fixed(2)}, 20, 1),
    ("p p p -> p p p", {"p": ek.S}, 5, 1),
    ("x x x -> x x x", {"x": ek.O(3)}, None, 2),
    ("p -> p", {"p": ek.S}, 300, 1),
]


def stage(signature, groups, n, batch):
    plan = ek.hom(signature, **groups).plan((3, 2), normalize="mean", bias=True)
    sizes = {label: n if size is None else size for label, size in plan.signature.sizes.items()}
    return plan, stage_of(plan, batch, sizes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signature", "groups", "n", "batch"),
    CASES,
    ids=[case[0] for case in CASES],
)
def test_the_formulas_are_what_kernels_load_and_store(signature, groups, n, batch, moved):
    assert_counted(signature, groups, n, batch, moved)


@pytest.mark.slow
def test_programs_that_take_several_samples_load_weights_once(moved, monkeypatch):
    monkeypatch.setattr(_orbits, "ENOUGH_PROGRAMS", 1)
    assert stage("p p -> p p", {"p": ek.S}, 18, 5)[1].expansion(0).orbits.samples == 5
    assert_counted("p p -> p p", {"p": ek.S}, 18, 5, moved)


def assert_counted(signature, groups, n, batch, moved):
    plan, found = stage(signature, groups, n, batch)
    arrays = [np.zeros((batch, *root.tensor.shape), np.float32) for root in found.inputs]
    for t, x in enumerate(arrays):
        run_reduction(found.reduction(t, 4), x, {}, "compile")
    for s, root in enumerate(found.outputs):
        pairs = [pair for pair in found.pairs if pair.target == s]
        features = [found.inputs[pair.source].tensor.features for pair in pairs]
        run_expansion(
            found.expansion(s),
            [arrays[pair.source] for pair in pairs],
            [
                np.zeros((len(p.wirings), f, root.tensor.features), np.float32)
                for p, f in zip(pairs, features, strict=True)
            ],
            [np.zeros((batch, *step.small(root.tensor).shape), np.float32) for step in root.steps],
            {},
            jnp.float32,
            "compile",
        )
    assert sum(moved) == found.bytes(4) == fused_bytes(plan, batch=batch, n=n).moved
    before = len(moved)
    for pair in found.pairs:
        y = np.zeros((batch, *found.outputs[pair.target].tensor.shape), np.float32)
        run_gram(found.gram(pair), arrays[pair.source], y, {}, "compile")
    backward = fused_bytes(plan, batch=batch, n=n, gradient=True).moved
    assert sum(moved[before:]) == backward - found.T.bytes(4)


def test_layers_move_few_bytes():
    """At most 1.6 times inputs and outputs for two axes at n=256, 4 for three axes; the backward pass twice that."""
    two = ek.hom("p p -> p p", p=ek.S).plan((32, 32), normalize="mean", bias=True)
    assert fused_bytes(two, batch=32, n=256).ratio < 1.6
    assert fused_bytes(two, batch=32, n=256, gradient=True).ratio < 3.2
    three = ek.hom("p p p -> p p p", p=ek.S).plan((32, 32), normalize="mean", bias=True)
    assert fused_bytes(three, batch=4, n=64).ratio < 2.2
    mixed = ek.hom("p x -> p x", p=ek.S, x=ek.O(3)).plan((32, 32), normalize="mean", bias=True)
    assert fused_bytes(mixed, batch=512, n=1024).ratio < 1.51


@pytest.mark.parametrize("sizes", [(40, 40), (16, 16), (1, 1), (70, 3, 3), (9, 9, 9), (300,)], ids=str)
def test_every_tile_is_in_one_orbit(sizes):
    labels = tuple("pqr"[sizes.index(size)] for size in sizes)
    wirings = [
        w for w in itertools.permutations(range(len(sizes))) if all(labels[i] == labels[j] for j, i in enumerate(w))
    ]
    found = orbits(labels, sizes, wirings, 16, 1)
    assert found.group == closure(tuple(wirings), len(sizes))
    assert found.group[0] == tuple(range(len(sizes)))
    covered = {tuple(tile[list(g)]) for tile in found.tiles for g in found.group}
    assert covered == set(np.ndindex(*(-(-size // step) for size, step in zip(sizes, found.tile, strict=True))))
    met = [frozenset(tuple(tile[list(g)]) for g in found.group) for tile in found.tiles]
    assert len(set(met)) == len(met) == found.runs[:, -1].sum()
    assert all(step & (step - 1) == 0 for step in found.tile)
    assert math.prod(found.tile) >= 16


def test_permutations_compose_as_indices_do():
    x = np.arange(60).reshape(3, 4, 5)
    for g, h in itertools.product(itertools.permutations(range(3)), repeat=2):
        index = (2, 3, 4)
        moved = functools.reduce(lambda i, w: tuple(i[j] for j in w), (g, h), index)
        assert moved == tuple(index[j] for j in composed(g, h))
        assert composed(g, inverse(g)) == (0, 1, 2)
        assert np.transpose(x, inverse(g)).shape == tuple(x.shape[j] for j in inverse(g))


def test_bytes_are_counted_of_what_kernels_support():
    plan = ek.hom("p q -> p", p=ek.S, q=ek.S).plan((2, 2))
    with pytest.raises(ek.ShapeError, match="the size of 'p' is missing"):
        fused_bytes(plan)
    with pytest.raises(ek.DTypeError, match="float32"):
        fused_bytes(plan, n=4, dtype="float64")
    with pytest.raises(ek.OptionError, match="32 bits"):
        fused_bytes(plan, n=4096, batch=10**6)
    wide = ek.hom("p p -> p p", p=ek.S).plan((256, 256))
    with pytest.raises(ek.OptionError, match="matrices"):
        fused_bytes(wide, n=8)
    assert fused_bytes(plan, n=0, batch=0).ratio == 1
