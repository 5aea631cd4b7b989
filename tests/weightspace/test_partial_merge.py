"""A partial merge averages the features that match, and keeps the others of each network."""

from __future__ import annotations

import copy
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import equikit as ek
from equikit import DTypeError, OptionError, ShapeError
from equikit.weightspace import align, mean, merge, partial_merge, repair, trace
from equikit.weightspace.merging._selection import groups_of, within_budget
from equikit.weightspace.merging._widen import Widened, widened
from equikit.weightspace.specifications._terms import Leaf, Product, Sum, Symbol

X = np.random.default_rng(0).normal(size=(40, 3))
SHAPES = {"a": (3, 6), "of a": (6,), "b": (6, 4), "of b": (4,), "c": (4, 2), "of c": (2,)}


def apply(params: Any, x: Any) -> Any:
    hidden = jnp.tanh(x @ params["a"] + params["of a"])
    hidden = jnp.tanh(hidden @ params["b"] + params["of b"])
    return hidden @ params["c"] + params["of c"]


def drawn(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


pytestmark = pytest.mark.usefixtures("x64")
ONE, TWO, THREE = (drawn(seed) for seed in range(3))


def oracle(params: Any) -> list[np.ndarray]:
    """Both hidden layers and the outputs."""
    first = np.tanh(X @ params["a"] + params["of a"])
    second = np.tanh(first @ params["b"] + params["of b"])
    return [first, second, second @ params["c"] + params["of c"]]


SPEC = trace(apply, ONE, X)


def test_everything_is_kept_and_outputs_are_means() -> None:
    wide, info = partial_merge(SPEC, apply, [ONE, TWO, THREE], [X], keep=1, coefficients=[1, 2, 1], with_info=True)
    assert wide["b"].shape == (18, 12)
    assert info.refused == {}
    assert info.error < 1e-12
    each = [oracle(params) for params in (ONE, TWO, THREE)]
    found = oracle({name: np.asarray(array) for name, array in wide.items()})
    for layer in (0, 1):  # the features of all networks, the first network first
        assert_allclose(found[layer], np.concatenate([one[layer] for one in each], -1), atol=1e-12)
    assert_allclose(found[2], each[0][2] / 4 + each[1][2] / 2 + each[2][2] / 4, atol=1e-12)


def test_nothing_is_kept_and_the_result_is_the_merge() -> None:
    found = partial_merge(SPEC, apply, [ONE, align(SPEC, ONE, TWO)], [X], keep=0)
    wanted = merge(SPEC, [ONE, TWO])
    element = align(SPEC, wanted, found, with_info=True)[1].element
    for name, array in SPEC.act(element, found).items():
        assert_allclose(array, wanted[name], atol=1e-12)


def test_a_permuted_copy_merges_without_loss() -> None:
    copy = SPEC.act(SPEC.random_element(key=jax.random.key(0)), ONE)
    for keep in (0, 0.5):
        found, info = partial_merge(SPEC, apply, [ONE, align(SPEC, ONE, copy)], [X], keep=keep, with_info=True)
        assert_allclose(apply(found, X), oracle(ONE)[2], atol=1e-12)
        assert all(np.allclose(score, 1) for score in info.scores.values())


def test_the_features_that_match_least_are_kept() -> None:
    two = {name: np.array(array) for name, array in ONE.items()}
    two["b"][:, 3] *= -1
    wide, info = partial_merge(SPEC, apply, [ONE, two], [X], keep={"h1": 0.25}, with_info=True)
    assert info.kept == {"h1": (3,)}
    assert np.allclose(info.scores["h0"], 1)
    assert wide["a"].shape == (3, 6)
    assert wide["b"].shape == (6, 5)
    assert wide["c"].shape == (5, 2)
    assert info.size == sum(a.size for a in wide.values()) / sum(a.size for a in ONE.values())
    assert_allclose(apply(wide, X), (oracle(ONE)[2] + oracle(two)[2]) / 2, atol=1e-12)  # all others are equal


def test_scores_are_correlations_over_all_data() -> None:
    batches = [X[:7], X[7:]]
    _, info = partial_merge(SPEC, apply, [ONE, TWO], batches, keep=0, with_info=True)
    before = [X @ params["a"] for params in (ONE, TWO)]
    arrays = [before, [b + p["of a"] for b, p in zip(before, (ONE, TWO), strict=True)]]
    arrays.append([np.tanh(one) for one in arrays[-1]])
    wanted = [[np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(6)] for a, b in arrays]
    assert_allclose(info.scores["h0"], np.mean(wanted, axis=0), atol=1e-9)


def test_complex_networks_are_merged() -> None:
    one, two = ({name: array + 1j * array[..., ::-1] for name, array in tree.items()} for tree in (ONE, TWO))
    spec = trace(apply, one, X)
    wide, info = partial_merge(spec, apply, [one, two], [X], keep=1, with_info=True)
    assert wide["b"].shape == (12, 8)
    assert {label: score.dtype for label, score in info.scores.items()} == dict.fromkeys(spec.groups, np.float64)
    assert_allclose(oracle(wide)[2], (oracle(one)[2] + oracle(two)[2]) / 2, atol=1e-12)


def test_parameters_that_all_features_share_are_reported() -> None:
    def sloped(p: Any, x: Any) -> Any:
        hidden = x @ p["a"]
        return jnp.where(hidden > 0, hidden, p["slope"] * hidden) @ p["c"] + p["bias"]

    shapes = {"a": (3, 4), "slope": (), "c": (4, 2), "bias": (2,)}
    one, two = drawn(25, shapes), drawn(26, shapes)
    spec, shares = trace(sloped, one, X), np.array([0.25, 0.75])
    wide, info = partial_merge(spec, sloped, [one, two], [X], keep=1, coefficients=shares, with_info=True)
    wanted = shares @ np.array([sloped(p, X) for p in (one, two)]).reshape(2, -1)
    difference = np.ravel(sloped(wide, X)) - wanted
    assert info.shared == {"slope": pytest.approx(np.max(np.abs(difference)) / np.max(np.abs(wanted)))}
    same = two | {"slope": one["slope"]}
    assert partial_merge(spec, sloped, [one, same], [X], keep=1, with_info=True)[1].shared == {}


def test_permutations_of_both_networks_change_nothing() -> None:
    element = SPEC.random_element(key=jax.random.key(1))
    pair = [ONE, TWO]
    wide, moved = (
        partial_merge(SPEC, apply, trees, [X], keep=0.5) for trees in (pair, [SPEC.act(element, one) for one in pair])
    )
    assert_allclose(apply(moved, X), apply(wide, X), atol=1e-12)
    swapped = partial_merge(SPEC, apply, pair[::-1], [X], keep=0.5)
    assert_allclose(apply(swapped, X), apply(wide, X), atol=1e-12)


def test_a_budget_is_spent_on_the_worst_features_of_all_labels() -> None:
    before = sum(array.size for array in ONE.values())
    wide, info = partial_merge(SPEC, apply, [ONE, TWO], [X], size=1.6, with_info=True)
    assert 1.4 < info.size <= 1.6
    kept = [info.scores[label][list(indices)] for label, indices in info.kept.items()]
    merged = [np.delete(score, list(info.kept.get(label, ()))) for label, score in info.scores.items()]
    assert max(map(np.max, kept)) <= min(np.min(some) for some in merged if some.size)
    assert sum(array.size for array in wide.values()) == pytest.approx(info.size * before)
    groups = groups_of(SPEC, ["h0", "h1"])
    assert within_budget(SPEC, info.scores, groups, 2, before) == {"h0": 0, "h1": 0}
    assert within_budget(SPEC, info.scores, groups, 2, 4 * before) == {"h0": 6, "h1": 4}


def test_an_entry_is_the_mean_over_the_networks_of_its_outputs() -> None:
    """The rule of `widened`, entry by entry, also for axes that are flattened and concatenated."""
    symbols = Symbol("p", 2), Symbol("q", 3), Symbol("r", 4)
    leaf = Leaf("w", (Product((symbols[0], symbols[1])), Sum((symbols[2], symbols[1]))))
    shares = (0.25, 0.75)
    one, two = (np.random.default_rng(seed).normal(size=(6, 7)) for seed in (0, 1))
    wide = {"q": Widened(3, (1,), 2), "r": Widened(4, (0, 2), 2)}
    found = widened(leaf, [one, two], ("in", "out"), wide, shares)
    assert found is not None
    assert found.shape == (2 * 4, 6 + 4)
    columns = [(wide["r"], i, wide["r"].indices[i]) for i in range(6)]
    columns += [(wide["q"], i, 4 + wide["q"].indices[i]) for i in range(4)]
    for row in range(8):
        for number, (label, i, column) in enumerate(columns):
            of_in, of_out = wide["q"].members[:, row % 4], label.members[:, i]
            source = row // 4 * 3 + wide["q"].indices[row % 4]
            total = sum(
                shares[s] * array[source, column] for s, array in enumerate((one, two)) if of_in[s] and of_out[s]
            )
            assert found[row, number] == pytest.approx(total / sum(np.array(shares)[of_out]))


@pytest.mark.slow
def test_least_squares_reach_a_target_that_the_layers_can_have() -> None:
    """With everything kept the merge is exact, so a disturbed start is fitted back to it; and a half comes closer."""
    aligned = align(SPEC, ONE, TWO, how="activations", apply=apply, x=X)
    mean_of_both = (oracle(ONE)[2] + oracle(TWO)[2]) / 2
    half, fitted = (
        np.asarray(apply(partial_merge(SPEC, apply, [ONE, aligned], [X[:20], X[20:]], keep=0.5, ridge=ridge), X))
        for ridge in (None, 1e-3)
    )
    errors = [np.mean((outputs - mean_of_both) ** 2) for outputs in (half, fitted)]
    assert errors[1] < 0.5 * errors[0]


def shallow(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["a"] + params["of a"]) @ params["c"] + params["of c"]


def test_the_last_layer_solves_the_normal_equations() -> None:
    shapes, ridge = {"a": (3, 4), "of a": (4,), "c": (4, 2), "of c": (2,)}, 0.1
    one, two = drawn(13, shapes), drawn(14, shapes)
    spec = trace(shallow, one, X)
    start = partial_merge(spec, shallow, [one, two], [X], keep=0.5)
    fitted = partial_merge(spec, shallow, [one, two], [X], keep=0.5, ridge=ridge)
    inputs = np.tanh(X @ np.asarray(fitted["a"]) + np.asarray(fitted["of a"]))
    rows = np.concatenate([inputs, np.ones((len(X), 1))], axis=1)
    old = np.concatenate([start["c"], start["of c"][None]])
    goal = (np.asarray(shallow(one, X)) + np.asarray(shallow(two, X))) / 2
    normal = rows.T @ rows / len(X) + ridge * np.eye(rows.shape[1])
    wanted = old + np.linalg.solve(normal, rows.T @ (goal - rows @ old) / len(X))
    assert_allclose(np.concatenate([fitted["c"], fitted["of c"][None]]), wanted, atol=1e-4)


@pytest.mark.slow
def test_products_without_a_bias_are_fitted_where_all_labels_are_of_the_kernel() -> None:
    def mixed(p: Any, x: Any) -> Any:
        hidden = jnp.tanh(x @ p["a"])
        hidden = jnp.einsum("nh,nm->mh", hidden, p["m"])  # the label h is of the data, not of m
        return jnp.tanh(hidden) @ p["c"]

    shapes = {"a": (3, 4), "m": (40, 5), "c": (4, 2)}
    one, two = drawn(17, shapes), drawn(18, shapes)
    spec = trace(mixed, one, X)
    found = [partial_merge(spec, mixed, [one, two], [X], keep=0.5, ridge=ridge) for ridge in (None, 1e-9)]
    assert_allclose(found[1]["m"], found[0]["m"], atol=1e-12)
    hidden = np.tanh(np.einsum("nh,nm->mh", np.tanh(X @ np.asarray(found[1]["a"])), found[1]["m"]))
    goal = np.asarray(mixed(one, X) + mixed(two, X)) / 2
    rest = goal - hidden @ np.asarray(found[1]["c"])
    least = np.sum((goal - hidden @ np.linalg.lstsq(hidden, goal)[0]) ** 2)
    assert np.sum(rest**2) == pytest.approx(least, rel=1e-3, abs=1e-6)


def attention(p: Any, x: Any) -> Any:
    q, k, v = (jnp.einsum("ti,ihd->thd", x, p[name]) for name in ("q", "k", "v"))
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k))
    return jnp.einsum("hqk,khd,hdo->qo", weights, v, p["o"])


HEADS = {"q": (3, 4, 2), "k": (3, 4, 2), "v": (3, 4, 2), "o": (4, 2, 3)}


def test_heads_are_kept_whole() -> None:
    one, two = drawn(3, HEADS), drawn(4, HEADS)
    spec = trace(attention, one, X)
    wide, info = partial_merge(spec, attention, [one, two], [X], keep=1, with_info=True)
    assert wide["q"].shape == (3, 8, 2)
    assert list(info.kept) == ["h0"]
    assert set(info.refused.values()) == {"kept together with each index of 'h0'"}
    assert_allclose(attention(wide, X), (attention(one, X) + attention(two, X)) / 2, atol=1e-12)


def test_parts_of_a_concatenation_are_widened_in_their_places() -> None:
    def joined(p: Any, x: Any) -> Any:
        parts = [jnp.tanh(x @ p["a"]), jax.nn.relu(x @ p["b"])]
        return jnp.concatenate(parts, axis=-1) @ p["c"]

    shapes = {"a": (3, 4), "b": (3, 2), "c": (6, 2)}
    one, two = drawn(15, shapes), drawn(16, shapes)
    spec = trace(joined, one, X)
    assert spec.terms["c"] == "(h0 + h1) out"
    wide = partial_merge(spec, joined, [one, two], [X], keep={"h0": 1, "h1": 1})
    assert wide["c"].shape == (12, 2)
    assert_allclose(joined(wide, X), (joined(one, X) + joined(two, X)) / 2, atol=1e-12)


def recurrent(p: Any, x: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        return jnp.tanh(row @ p["in"] + h @ p["h"]), None

    h = jax.lax.scan(step, jnp.zeros(p["h"].shape[0], x.dtype), x)[0]
    return jax.lax.cond(x[0, 0] > 0, lambda: h @ p["h"][:, :] @ p["out"], lambda: h @ p["out"])


def test_both_axes_of_one_label_have_their_roles_in_loops_and_conditions() -> None:
    shapes = {"in": (3, 5), "h": (5, 5), "out": (5, 2)}
    one, two = drawn(5, shapes), drawn(6, shapes)
    spec = trace(recurrent, one, X)
    wide, info = partial_merge(spec, recurrent, [one, two], [X[None, 0], X[:1]], keep=1, with_info=True)
    assert wide["h"].shape == (10, 10)
    assert_allclose(recurrent(wide, X), (recurrent(one, X) + recurrent(two, X)) / 2, atol=1e-12)
    _, info = partial_merge(spec, recurrent, [one, two], [X], keep=0.4, with_info=True)
    assert info.kept["h0"]
    assert info.error < 1e-12


def test_labels_that_cannot_be_widened_are_reported_with_reasons() -> None:
    def limited(p: Any, x: Any) -> Any:
        hidden = jnp.tanh(x @ p["w"]).reshape(40, 6)
        tied = jnp.tanh(hidden @ p["v"]) @ p["v"].T
        return jnp.tanh(tied @ p["u"]) @ p["o"]

    shapes = {"w": (3, 6), "v": (6, 5), "u": (6, 4), "o": (4, 2)}
    one, two = drawn(7, shapes), drawn(8, shapes)
    spec = trace(limited, one, X)
    labels = {name: spec.terms[name].split()[1] for name in ("w", "v", "u")}
    wide, info = partial_merge(spec, limited, [one, two], [X], keep=0.5, with_info=True)
    assert list(info.kept) == [labels["u"]]
    assert wide["u"].shape == (6, 6)
    assert "cannot reshape" in info.refused[labels["w"]]
    assert "without a parameter" in info.refused[labels["v"]]
    with pytest.raises(OptionError, match="cannot be widened") as caught:
        partial_merge(spec, limited, [one, two], [X], keep={labels["w"]: 0.5})
    assert "cannot reshape" in str(caught.value)
    assert "read from the parameters" in str(caught.value)


def test_layer_normalization_is_exact_if_all_features_are_kept() -> None:
    def normalized(p: Any, x: Any) -> Any:
        hidden = jax.nn.standardize(x @ p["a"] + p["of a"])
        return hidden @ p["b"] + p["of b"]

    shapes = {"a": (3, 6), "of a": (6,), "b": (6, 2), "of b": (2,)}
    one, two = drawn(9, shapes), drawn(10, shapes)
    spec = trace(normalized, one, X)
    errors = [partial_merge(spec, normalized, [one, two], [X], keep=keep, with_info=True)[1].error for keep in (0.5, 1)]
    assert errors[0] > 1e-3
    assert errors[1] < 1e-12
    with pytest.raises(OptionError, match=r"(?s)normalizes over 'h0'.*with_info=True"):
        partial_merge(spec, normalized, [one, two], [X], keep=0.5)
    partial_merge(spec, normalized, [one, two], [X], keep=1)


def test_experts_whose_copies_change_the_outputs_are_refused() -> None:
    def experts(p: Any, x: Any) -> Any:
        gates = jax.nn.softmax(x @ p["gate"])
        return jnp.einsum("ne,nei->ni", gates, jnp.einsum("nd,edi->nei", x, p["up"])) @ p["down"]

    shapes = {"gate": (3, 4), "up": (4, 3, 2), "down": (2, 2)}
    one, two = drawn(19, shapes), drawn(20, shapes)
    spec = trace(experts, one, X)
    label = spec.terms["gate"].split()[-1]
    call = functools.partial(partial_merge, spec, experts, [one, two], [X], keep={label: 0.5})
    with pytest.raises(OptionError, match=f"'{label}'"):
        call()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_least_squares_of_half_precision_are_finite_and_match_float32(dtype: str) -> None:
    def linear(p: Any, x: Any, scale: Any) -> Any:
        return scale * jax.nn.relu(x @ p["a"]) @ p["c"]

    shapes = {"a": (3, 4), "c": (4, 2)}
    x = jnp.asarray(20 * np.random.default_rng(0).normal(size=(500, 3)), dtype)
    halves = [jax.tree.map(lambda a: jnp.asarray(a, dtype), drawn(seed, shapes)) for seed in (21, 22)]
    singles = [jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), one) for one in halves]
    scale = jnp.ones(1, dtype)
    spec = trace(linear, halves[0], (x, scale))
    found = partial_merge(spec, linear, halves, [(x, scale)], keep=0, ridge=1e-2)
    wanted = partial_merge(spec, linear, singles, [(x.astype(jnp.float32), scale)], keep=0, ridge=1e-2)
    for name, array in found.items():
        assert array.dtype == dtype
        assert_allclose(np.asarray(array, np.float64), wanted[name], atol=0.03)


@pytest.mark.compiled
def test_least_squares_that_overflow_or_fix_a_dtype_are_refused() -> None:
    def fixed(p: Any, x: Any) -> Any:
        start = jnp.zeros((len(x), p["a"].shape[1]), jnp.float16)
        return jax.lax.fori_loop(0, 1, lambda _, h: h + x @ p["a"], start) @ p["c"]

    shapes = {"a": (3, 4), "c": (4, 2)}
    x = jnp.asarray(X, jnp.float16)
    half = [jax.tree.map(lambda a: jnp.asarray(a, jnp.float16), drawn(seed, shapes)) for seed in (23, 24)]
    with pytest.raises(OptionError, match="the program fails there"):
        partial_merge(trace(fixed, half[0], x), fixed, half, [x], keep=0, ridge=1e-3)

    def plain(p: Any, x: Any) -> Any:
        return jnp.tanh(x @ p["a"]) @ p["c"]

    ones = [{name: np.float32(array) for name, array in drawn(seed, shapes).items()} for seed in (23, 24)]
    spec, x = trace(plain, ones[0], X), jnp.asarray(X, jnp.float32)
    found, large = (
        partial_merge(spec, plain, [one | {"c": size * one["c"]} for one in ones], [x], keep=0, ridge=1e-3)
        for size in (np.float32(1), np.float32(1e30))
    )
    assert_allclose(large["c"] / 1e30, found["c"], rtol=1e-4)  # squares of its differences overflow
    with pytest.raises(OptionError, match="least-squares sums for 'a' are not finite"):
        partial_merge(spec, plain, ones, [1e25 * x], keep=0, ridge=1e-3)


def test_dtypes_of_two_networks_are_promoted_as_in_the_mean() -> None:
    one, two = (jax.tree.map(lambda a, kind=kind: jnp.asarray(a, kind), drawn(5)) for kind in ("float32", "bfloat16"))
    x = jnp.asarray(X, jnp.float32)
    spec = trace(apply, one, x)
    for pair in ([one, two], [two, one]):
        found = partial_merge(spec, apply, pair, [x], keep=0)
        for name, array in mean(pair).items():
            assert found[name].dtype == array.dtype == jnp.float32
            assert_allclose(found[name], array, rtol=1e-6)


def test_infos_can_be_compared() -> None:
    info = partial_merge(SPEC, apply, [ONE, TWO], [X], keep=0, with_info=True)[1]
    assert info == info
    assert info != copy.copy(info)


@pytest.mark.slow
def test_running_averages_of_the_wide_network_are_repaired() -> None:
    def normalized(p: Any, x: Any) -> Any:
        hidden = (x @ p["a"] - p["mean"]) / jnp.sqrt(p["var"] + 1e-5)
        return jnp.tanh(hidden) @ p["b"]

    shapes = {"a": (3, 6), "b": (6, 2)}
    one, two = (drawn(seed, shapes) | {"mean": np.zeros(6), "var": np.ones(6)} for seed in (11, 12))
    wide = partial_merge(trace(normalized, one, X), normalized, [one, two], [X], keep=0.5)
    by_least_squares = partial_merge(trace(normalized, one, X), normalized, [one, two], [X], keep=0.5, ridge=1e-3)
    for fixed in (repair(trace(normalized, wide, X), normalized, wide, [X]), by_least_squares):
        assert_allclose(fixed["mean"], (X @ np.asarray(fixed["a"])).mean(0), atol=1e-12)
        assert_allclose(fixed["var"], (X @ np.asarray(fixed["a"])).var(0), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "texts"),
    [
        ({"keep": 1.5}, OptionError, ["keep"]),
        ({"keep": {"h7": 0.5}}, OptionError, ["h7", "spec.groups"]),
        ({"keep": 0.5, "size": 1.5}, OptionError, ["keep", "size"]),
        ({"size": 0.5}, OptionError, ["size"]),
        ({"batches": []}, OptionError, ["no batches"]),
        ({"batches": None}, OptionError, ["batches", "None"]),
        ({"batches": X}, OptionError, ["pass a list of inputs"]),
        ({"batches": [X, X[:0]]}, OptionError, ["batches[1] is empty", "[0, 3]"]),
        ({"batches": [X[:1]]}, OptionError, ["the number of examples", "correlations"]),
        ({"networks": None}, OptionError, ["networks", "None"]),
        ({"networks": [jax.tree.map(np.int32, ONE)] * 2, "keep": 0}, DTypeError, ["'a'", "int32"]),
        ({"networks": [jax.tree.map(np.int32, ONE)] * 2, "ridge": 1e-3}, DTypeError, ["'a'", "int32"]),
        ({"networks": [ONE, ONE | {"a": ONE["a"].astype(int)}]}, DTypeError, ["'a' of networks[1]", "int64"]),
        ({"networks": [ONE]}, OptionError, ["the number of networks"]),
        ({"networks": [ONE, drawn(0, SHAPES | {"c": (4, 3)})]}, ShapeError, ["networks[1]"]),
        ({"coefficients": [1]}, OptionError, ["coefficients"]),
        ({"ridge": -1}, OptionError, ["ridge"]),
        ({"with_info": 2}, OptionError, ["with_info= must be True or False", "2"]),
    ],
)
def test_options_that_do_not_fit_are_refused(change: dict[str, Any], error: type[Exception], texts: list[str]) -> None:
    with pytest.raises(error) as caught:
        partial_merge(**{"spec": SPEC, "apply": apply, "networks": [ONE, TWO], "batches": [X]} | change)
    assert all(text in str(caught.value) for text in texts)


@pytest.mark.slow
def test_a_module_is_merged_as_a_module() -> None:
    from flax import nnx

    def new(seed: int) -> Any:
        rngs = nnx.Rngs(seed)
        return nnx.Sequential(nnx.Linear(3, 8, rngs=rngs), jnp.tanh, nnx.Linear(8, 2, rngs=rngs))

    one, two = new(0), new(1)
    spec = trace(lambda net, x: net(x), one, X)
    wide = partial_merge(spec, lambda net, x: net(x), [one, two], [X], keep=1)
    assert_allclose(wide(X), (one(X) + two(X)) / 2, atol=1e-5)
    assert isinstance(mean([one, two]), nnx.Sequential)
    assert ek.weightspace.partial_merge is partial_merge
