"""One set of weights serves networks of every width, alone and padded with masks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

from equikit import DTypeError, OptionError, ShapeError
from equikit.weightspace import UNF, DWSNet, Functional, Standardize, pad, trace
from equikit.weightspace.functionals._fixed import sinusoids


def recurrent(p, x):
    """A label on both axes of one parameter, and a hidden axis that is flattened together with a fixed one."""
    y = jnp.tanh(jnp.tanh(x[..., None] * p["in"]) @ p["again"]) @ p["again"]
    return jnp.tanh(y.reshape(len(y), -1) @ p["flat"]) @ p["out"]


def params_of(n: int, m: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"in": (n,), "again": (n, n), "flat": (2 * n, m), "out": (m,)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def traced(n: int, m: int):
    return trace(recurrent, jax.tree.map(jnp.asarray, params_of(n, m)), jnp.ones((5, 2)))


SPEC = traced(4, 3)
WIDTHS = [(4, 3), (1, 2), (2, 4)]
TREES = [params_of(n, m, seed) for seed, (n, m) in enumerate(WIDTHS)]
MAKERS: dict[str, Any] = {
    "invariant": lambda **o: DWSNet(SPEC, [1, 3, 2], out="", head=[3], **o),
    "tree": lambda **o: UNF(SPEC, [1, 3, 1], normalization="rms", activation=jnp.cos, members=2, head=[3, 1], **o),
    "neurons": lambda **o: Functional(SPEC, [1, 3, 3, 2], out="h0", head=[2], activation=jnp.cos, residual=True, **o),
}


def test_the_architecture_is_what_the_tests_need() -> None:
    assert SPEC.terms == {"again": "h0 h0", "flat": "(in h0) h1", "in": "h0", "out": "h1"}


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def in_double(**options: Any) -> dict[str, Any]:
    return {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)} | options


def entries(name: str, widths: tuple[int, int], whole: tuple[int, int]) -> np.ndarray:
    """Which entries of padded parameters are present."""
    n, m = (np.arange(one) < own for one, own in zip(whole, widths, strict=True))
    return {"in": n, "again": n[:, None] & n, "flat": np.tile(n, 2)[:, None] & m, "out": m, "h0": n}[name]


def parts_of(kind: str, found: Any, whole: tuple[int, int]) -> list[list[np.ndarray]]:
    """For each network the present entries of each array, with axes of members or channels last."""
    result = []
    for number, widths in enumerate(WIDTHS):
        if kind == "invariant":
            result.append([found[number]])
            continue
        if kind == "tree":
            arrays = {name: np.moveaxis(array[:, number], 0, -1) for name, array in found.items()}
        else:
            arrays = {"h0": found[number]} if kind == "neurons" else {k: a[number] for k, a in found.items()}
        present = {name: entries(name, widths, whole) for name in arrays}
        assert all(np.all(np.asarray(array)[~present[name]] == 0) for name, array in arrays.items())
        result.append([np.asarray(array)[present[name]].ravel() for name, array in arrays.items()])
    return result


def alone_of(kind: str, run: Any) -> list[list[np.ndarray]]:
    """The same for each network alone."""
    result = []
    for tree in TREES:
        found = run(tree)
        if kind == "tree":
            found = {name: np.moveaxis(np.asarray(array), 0, -1) for name, array in found.items()}
        result.append([np.asarray(array).ravel() for array in jax.tree.leaves(found)])
    return result


def equal(one: list[list[np.ndarray]], two: list[list[np.ndarray]]) -> None:
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


KINDS = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k == "tree" else pytest.mark.slow) for k in MAKERS]
)


@KINDS
def test_a_padded_batch_equals_each_network_alone(kind: str, double: None) -> None:
    static, state = nnx.split(MAKERS[kind](**in_double()))
    run = jax.jit(lambda state, params, masks: nnx.merge(static, state)(params, mask=masks))
    params, masks = pad(SPEC, TREES, sizes={"h1": 6})
    assert params["flat"].shape == (3, 8, 6)
    whole = parts_of(kind, run(state, params, masks), (4, 6))
    equal(whole, alone_of(kind, lambda tree: run(state, tree, None)))
    present = {k: np.stack([entries(k, own, (4, 6)) for own in WIDTHS]) for k in params}
    garbage = {name: np.where(present[name], array, np.nan) for name, array in params.items()}
    equal(whole, parts_of(kind, run(state, garbage, masks), (4, 6)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_of_a_padded_batch(kind: str, double: None) -> None:
    """The gradient of the weights is the sum over the networks; absent entries of the input have none."""
    static, state = nnx.split(MAKERS[kind](**in_double()))
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state)  # the head too

    @jax.jit
    def run(state, params, masks):
        def loss(state, params):
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(nnx.merge(static, state)(params, mask=masks)))

        return jax.grad(loss, argnums=(0, 1))(state, params)

    params, masks = pad(SPEC, TREES)
    slopes, inputs = run(state, params, masks)
    alone = [run(state, tree, None) for tree in TREES]
    for one, *two in zip(*map(jax.tree.leaves, (slopes, *(own for own, _ in alone))), strict=True):
        np.testing.assert_allclose(one, sum(two), rtol=1e-8, atol=1e-9)
    own = [[np.asarray(array).ravel() for array in jax.tree.leaves(found)] for _, found in alone]
    equal(parts_of("input", inputs, (4, 4)), own)


def test_equivariance_with_masks(double: None) -> None:
    """Neurons move together with their masks; an absent neuron may move anywhere."""
    network = Functional(SPEC, [1, 3, 1], activation=jnp.cos, head=[2, 1], **in_double())
    params, masks = pad(SPEC, TREES)
    whole = SPEC.resized(params)
    element = whole.random_element(key=jax.random.key(3))
    moved = {label: mask[:, np.argsort(element[label])] for label, mask in masks.items()}
    static, state = nnx.split(network)
    run = jax.jit(lambda state, params, masks: nnx.merge(static, state)(params, mask=masks))
    one = whole.act(element, run(state, params, masks))
    two = run(state, whole.act(element, params), moved)
    for first, second in zip(*map(jax.tree.leaves, (one, two)), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-11)
    assert max(np.ptp(leaf) for leaf in jax.tree.leaves(one)) > 1e-3


@pytest.mark.parametrize(
    "sizes", [(1, 2), *(pytest.param(n, marks=pytest.mark.slow) for n in [(1, 1), (2, 1), (2, 2)])]
)
def test_fewer_neurons_than_vertices(sizes: tuple[int, int], double: None) -> None:
    """Each diagram has its definition also where diagrams are dependent: the same as one diagram at a time."""
    outputs = []
    for method in ("auto", "naive"):
        network = DWSNet(SPEC, [1, 1], method=method, **in_double())
        outputs.append(network(jax.tree.map(jnp.asarray, params_of(*sizes))))
    for one, two in zip(*map(jax.tree.leaves, outputs), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_weights_do_not_depend_on_widths() -> None:
    def shapes(n: int, m: int) -> Any:
        network = nnx.eval_shape(lambda: UNF(SPEC.resized(params_of(n, m)), [1, 2, 2], "", rngs=nnx.Rngs(0)))
        return jax.tree.map(jnp.shape, nnx.state(network))

    assert shapes(1, 2) == shapes(9, 5)
    assert SPEC.resized(params_of(9, 5)) == traced(9, 5)


@pytest.mark.slow
def test_means_do_not_grow_with_the_width() -> None:
    """A network whose neurons are repeated has the same means over neurons."""

    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["in"]) @ p["mid"]) @ p["out"]

    narrow = {"in": (3, 4), "mid": (4, 3), "out": (3, 2)}
    narrow = {name: np.random.default_rng(0).normal(size=shape) for name, shape in narrow.items()}
    wide = {"in": np.repeat(narrow["in"], 5, 1), "mid": np.repeat(np.repeat(narrow["mid"], 5, 0), 2, 1)}
    wide["out"] = np.repeat(narrow["out"], 2, 0)
    spec = trace(apply, jax.tree.map(jnp.asarray, narrow), jnp.ones((5, 3)))
    static, state = nnx.split(DWSNet(spec, [1, 4, 4], out="", head=[2], rngs=nnx.Rngs(0)))
    run = jax.jit(lambda state, params: nnx.merge(static, state)(params))
    np.testing.assert_allclose(run(state, wide), run(state, narrow), rtol=1e-4, atol=1e-5)


def test_widths_that_do_not_fit() -> None:
    network = UNF(SPEC, [1, 2, 2], out="", rngs=nnx.Rngs(0))
    other = params_of(6, 3)
    texts = "'flat' of the parameters ((in h0) h1)", "[14, 3]", "[*batch, 12, 3]", "trace the model"
    assert_error(ShapeError, lambda: network(other | {"flat": np.ones((14, 3))}), *texts)
    assert_error(OptionError, lambda: network({"in": np.ones(3)}), "parameters", "'in'", "'again'", "same structure")
    masks = {"h0": np.ones((1, 6), bool), "nothing": np.ones((1, 3), bool)}
    with pytest.raises((ShapeError, OptionError), match="nothing"):
        network(jax.tree.map(lambda leaf: leaf[None], other), mask=masks)


def test_trees_that_cannot_be_padded() -> None:
    assert_error(OptionError, lambda: pad(SPEC, []), "trees", "[]", "", "pass [params, other_params]")
    texts = "sizes['h0'] is smaller", "3", "at least 4", "sizes={'h0': 4}"
    assert_error(OptionError, lambda: pad(SPEC, TREES, sizes={"h0": 3}), *texts)
    with pytest.raises(ShapeError, match="sizes="):
        pad(SPEC, TREES, sizes={"h7": 4})
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * 2), TREES[0])
    texts = "'again' (h0 h0)", "[2, 4, 4, 1]", "[4, 4, 1]", "pass a list"
    assert_error(ShapeError, lambda: pad(SPEC, [stacked]), *texts)
    channels = [jax.tree.map(lambda leaf: np.stack([leaf] * 2, -1), tree) for tree in TREES]
    assert pad(SPEC, channels, channels=2)[0]["flat"].shape == (3, 8, 4, 2)


def test_sizes_channels_and_collections_that_do_not_fit() -> None:
    texts = "'in' is not permuted", "'in': 9", "its size, 2", "also=['in']"
    assert_error(ShapeError, lambda: pad(SPEC, TREES, sizes={"in": 9}), *texts)
    wide = {"a": np.ones((5, 4)), "b": np.ones((4, 2))}
    spec = trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], wide, np.ones((3, 5)))
    texts = "'in' is not permuted", "size 3", "its size, 5", "also=['in']"
    assert_error(ShapeError, lambda: pad(spec, [wide, {"a": np.ones((3, 4)), "b": np.ones((4, 2))}]), *texts)
    texts = "'again' (h0 h0) with 2 channels", "[4, 4]", "[h0, h0, 2]", "stack channels last"
    assert_error(ShapeError, lambda: pad(SPEC, TREES[:1], channels=2), *texts)
    assert_error(OptionError, lambda: pad(SPEC, iter(TREES)), "trees= must be", "iterator", "Sequence", "[params,")
    assert_error(
        OptionError, lambda: pad(SPEC, TREES, sizes=[9]), "sizes is not a dictionary", "list", "", 'sizes={"h0": ...}'
    )
    padded, masks = pad(SPEC, TREES)
    texts = "mask is not a dictionary", "ndarray", "from label", 'mask={"h0": ...}'
    assert_error(OptionError, lambda: Standardize(SPEC, padded, mask=masks["h0"]), *texts)
    for wrong in (None, 3):
        texts = "also= must be a Collection", str(wrong), "a Collection", 'write also=["in"]'
        assert_error(OptionError, lambda wrong=wrong: pad(SPEC, TREES, also=wrong), *texts)
    texts = "must not be traced", "tracer", "values", "outside of jit"
    assert_error(OptionError, lambda: jax.jit(lambda tree: pad(SPEC, [tree])[0])(TREES[0]), *texts)
    texts = "'h0' has two sizes", "'again'", "one size", "one network"
    for call in (lambda tree: pad(SPEC, [tree]), UNF(SPEC, [1, 2], out="", rngs=nnx.Rngs(0))):
        assert_error(ShapeError, lambda call=call: call(TREES[0] | {"in": np.ones(7)}), *texts)
    texts = "out=", "h9", "h0", "out="
    assert_error(OptionError, lambda: Functional(SPEC, [1, 2], out="h9", rngs=nnx.Rngs(0)), *texts)
    network = UNF(SPEC, [1, 2], out="", rngs=nnx.Rngs(0))
    for mask, name in (([True] * 4, "type list"), (True, "type bool")):
        with pytest.raises(DTypeError, match=name):
            network(TREES[0], mask={"h0": mask})


def test_statistics_of_padded_networks_count_present_entries() -> None:
    params, masks = pad(SPEC, TREES, sizes={"h1": 6})
    found = Standardize(SPEC, params, mask=masks)
    for name in params:
        entries = np.concatenate([tree[name].ravel() for tree in TREES])
        np.testing.assert_allclose(found.shift[name][...], [np.mean(entries)], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.scale[name][...], [1 / np.std(entries)], rtol=1e-5)
    network = UNF(SPEC, [1, 1], out="", statistics=found, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(network(params, mask=masks)[1], network(TREES[1]), rtol=1e-4, atol=1e-5)
    texts = "the list of names in statistics=", "'again'", "'w'", "Standardize(spec, params, mask=masks)"
    other = trace(lambda p, x: x @ p["w"], {"w": jnp.ones((2, 2))}, jnp.ones((5, 2)))
    assert_error(OptionError, lambda: UNF(other, [1, 1], statistics=found, rngs=nnx.Rngs(0)), *texts)


def test_augmentation_moves_present_neurons_only(double: None) -> None:
    params, masks = pad(SPEC, TREES, sizes={"h1": 6})
    masks = {label: mask[:, ::-1] for label, mask in masks.items()}  # absent neurons come first
    params = {"in": params["in"][:, ::-1], "again": params["again"][:, ::-1, ::-1], "out": params["out"][:, ::-1]} | {
        "flat": params["flat"].reshape(3, 2, 4, 6)[:, :, ::-1, ::-1].reshape(3, 8, 6)
    }
    run = jax.jit(SPEC.augment)
    moved = [run(params, key=jax.random.key(seed), mask=masks) for seed in range(8)]
    whole = SPEC.resized(params)
    for tree in moved:
        for name, array in tree.items():
            np.testing.assert_allclose(np.sort(array[0], axis=None), np.sort(params[name][0], axis=None))
        assert not np.any(tree["in"][~masks["h0"]])
        assert not np.any(tree["out"][~masks["h1"]])
    assert len({tuple(np.asarray(tree["in"][0]).tolist()) for tree in moved}) > 3
    network = UNF(whole, [1, 2, 1], out="", activation=jnp.cos, **in_double())
    one, two = (network(tree, mask=masks) for tree in (params, moved[0]))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11)


def with_inputs(n: int, m: int, inputs: int) -> dict[str, np.ndarray]:
    return params_of(n, m) | {"flat": np.random.default_rng(5).normal(size=(inputs * n, m))}


@pytest.mark.slow
def test_sinusoids_serve_any_number_of_inputs(double: None) -> None:
    sizes = [(4, 3, 2), (2, 1, 3)]
    trees = [with_inputs(*one) for one in sizes]
    static, state = nnx.split(UNF(SPEC, [1, 3, 2], out="", encoding="sinusoids", **in_double()))
    run = jax.jit(lambda state, params, masks: nnx.merge(static, state)(params, mask=masks))
    params, masks = pad(SPEC, trees, also=["in"])
    assert (params["flat"].shape, masks["in"].sum(1).tolist()) == ((2, 12, 3), [2, 3])
    found = run(state, params, masks)
    for row, tree in zip(found, trees, strict=True):
        np.testing.assert_allclose(row, run(state, tree, None), rtol=1e-9, atol=1e-11)
    turned = trees[1] | {"flat": np.roll(trees[1]["flat"], 2, axis=0)}  # inputs are not permuted
    assert np.max(np.abs(run(state, turned, None) - found[1])) > 1e-4


def test_sinusoids_are_of_variance_one() -> None:
    codes = sinusoids(2000, 8)
    np.testing.assert_allclose(codes[:, 0], np.sqrt(2) * np.sin(np.arange(2000)))
    np.testing.assert_allclose(np.mean(codes[:, :2] ** 2, 0), 1, rtol=1e-2)
    np.testing.assert_array_equal(codes[:7], sinusoids(7, 8))


@pytest.mark.parametrize("kind", [UNF, Functional])
def test_learned_codes_and_dense_axes_have_one_size(kind) -> None:
    network = kind(SPEC, [1, 2], out="", rngs=nnx.Rngs(0))
    texts = "every index of 'in'", "3 indices", "2 indices", 'UNF(spec, channels, out, encoding="sinusoids", rngs=rngs)'
    assert_error(ShapeError, lambda: network(with_inputs(4, 3, 3)), *texts)
    texts = "'flat' of the parameters ((in h0) h1)", "[9, 3]", "[*batch, 8, 3]", "trace the model"
    assert_error(ShapeError, lambda: network(TREES[0] | {"flat": np.ones((9, 3))}), *texts)


def test_options_of_positions() -> None:
    with pytest.raises(OptionError, match="learned"):
        UNF(SPEC, [1, 2], out="", encoding="sinusoid", rngs=nnx.Rngs(0))
    with pytest.raises(OptionError, match="also"):
        SPEC.resized(TREES[0], ["inputs"])
