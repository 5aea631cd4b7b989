"""Axes that are permuted in another way for each index of an axis that is fixed: layers of a scan, members, experts."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import in_float64 as plain
from flax import nnx
from soundness import assert_sound

from equikit.groups import S
from equikit.weightspace import Functional, align, trace

pytestmark = pytest.mark.usefixtures("x64")
X = np.random.default_rng(0).normal(size=(5, 3))


def scanned(p, x):
    def layer(x, w):
        return x + jnp.tanh(x @ w[0]) @ w[1], None

    return jax.lax.scan(layer, x @ p["in"], (p["a"], p["b"]))[0] @ p["out"]


def indexed(p, x):
    x = x @ p["in"]
    for layer in range(3):
        x = x + jnp.tanh(x @ p["a"][layer]) @ p["b"][layer]
    return x @ p["out"]


def by_number(p, x):
    p = jax.tree.map(jnp.asarray, p)

    def layer(number, x):
        return x + jnp.tanh(x @ p["a"][number]) @ p["b"][number]

    return jax.lax.fori_loop(0, 3, layer, x @ p["in"]) @ p["out"]


def unstacked(p, x):
    x = x @ p["in"]
    for a, b in zip(jnp.unstack(p["a"]), jnp.unstack(p["b"]), strict=True):
        x = x + jnp.tanh(x @ a) @ b
    return x @ p["out"]


def in_two_scans(p, x):
    def layer(x, w):
        return x + jnp.tanh(x @ w[0]) @ w[1], None

    x, _ = jax.lax.scan(layer, x @ p["in"], (p["a"][:1], p["b"][:1]))
    return jax.lax.scan(layer, x, (p["a"][1:], p["b"][1:]))[0] @ p["out"]


LAYERS = plain({"in": (3, 6), "a": (3, 6, 8), "b": (3, 8, 6), "out": (6, 2)})


@pytest.mark.parametrize("model", [scanned, indexed, by_number, unstacked, in_two_scans])
def test_layers_in_one_array_have_a_permutation_each(model) -> None:
    spec = trace(model, LAYERS, X)
    assert spec.terms["a"] == "fixed h0 h1|h2|h3"
    assert spec.terms["b"].split(" ", 1)[1] == "h1|h2|h3 h0"
    assert spec.groups == {"h0": S(6), "h1": S(8), "h2": S(8), "h3": S(8)}
    assert {one.label for one in spec.scalings if one.kind == "sign"} >= {"h1", "h2", "h3"}
    assert_sound(model, LAYERS, spec, X, jnp.concatenate([X, X + 1]))


@pytest.mark.parametrize("model", [scanned, indexed])
def test_planted_permutations_of_layers_in_one_array_are_recovered(model) -> None:
    spec = trace(model, LAYERS, X)
    other = spec.act(spec.random_element(key=jax.random.key(3)), LAYERS)
    found, matching = align(spec, LAYERS, other, restarts=4, with_info=True)
    assert matching.similarity == pytest.approx(1, abs=1e-12)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(LAYERS), strict=True):
        np.testing.assert_array_equal(one, two)
    found = align(spec, LAYERS, other, how="activations", apply=model, x=X, restarts=4)
    np.testing.assert_array_equal(found["a"], LAYERS["a"])


def test_what_is_carried_from_layer_to_layer_is_shifted() -> None:
    def model(p, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x @ p["in"], p["a"])[0] @ p["out"]

    params = plain({"in": (3, 6), "a": (3, 6, 6), "out": (6, 2)})
    spec = trace(model, params, X)
    assert spec.terms["a"] == "fixed h0|h1|h2 h1|h2|h3"
    assert_sound(model, params, spec, X)

    def backwards(p, x):
        step = lambda x, w: (jnp.tanh(x @ w), None)  # noqa: E731
        return jax.lax.scan(step, x @ p["in"], p["a"], reverse=True)[0] @ p["out"]

    spec = trace(backwards, params, X)
    assert spec.terms["a"] == "fixed h0|h1|h2 h3|h0|h1"
    assert_sound(backwards, params, spec, X)


def test_layers_from_the_input_to_the_output_are_told_apart() -> None:
    def model(p, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, p["a"])[0]

    params = plain({"a": (4, 3, 3)})
    spec = trace(model, params, X)
    assert spec.terms == {"a": "fixed in|h0|h1|h2 h0|h1|h2|out"}
    assert_sound(model, params, spec, X)


def one_network(p, x):
    return jax.nn.relu(x @ p["a"]) @ p["b"]


MEMBERS = plain({"a": (4, 3, 8), "b": (4, 8, 2)})


def test_members_of_an_ensemble_have_a_permutation_each() -> None:
    def model(p, x):
        return jax.vmap(lambda p: one_network(p, x))(p)

    spec = trace(model, MEMBERS, X)
    assert spec.terms["a"].endswith(" in h0|h1|h2|h3")
    assert spec.groups == {f"h{member}": S(8) for member in range(4)}
    assert sum(one.kind == "positive" for one in spec.scalings) == 4
    assert_sound(model, MEMBERS, spec, X)
    # The mean over the members moves them too.
    mean = trace(lambda p, x: model(p, x).mean(0), MEMBERS, X)
    assert mean.groups == {"h0": S(4), "h1": S(8)}
    assert mean.nested == (("h1", "h0"),)


def top_experts(p, x):
    _, chosen = jax.lax.top_k(x @ p["router"], 2)
    hidden = jnp.tanh(jnp.einsum("td,tkdh->tkh", x, p["a"][chosen]))
    return jnp.einsum("tkh,tkho->to", hidden, p["b"][chosen])


def experts_of_single_rows(p, x):
    p = jax.tree.map(jnp.asarray, p)
    number = jnp.argmax(x @ p["router"], -1)
    return jax.vmap(lambda row, expert: jnp.tanh(row @ p["a"][expert]) @ p["b"][expert])(x, number)


def sorted_experts(p, x):
    order = jnp.argsort(jnp.argmax(x @ p["router"], -1))
    counts = jnp.array([2, 0, 2, 1])
    rows = jax.lax.ragged_dot(jnp.tanh(jax.lax.ragged_dot(x[order], p["a"], counts)), p["b"], counts)
    return jnp.zeros_like(rows).at[order].set(rows)


EXPERTS = plain({"router": (3, 4), "a": (4, 3, 8), "b": (4, 8, 2)})


@pytest.mark.parametrize("model", [top_experts, experts_of_single_rows])
def test_experts_that_are_looked_up_have_a_permutation_each(model) -> None:
    spec = trace(model, EXPERTS, X)
    assert spec.groups == {f"h{expert}": S(8) for expert in range(4)}
    assert_sound(model, EXPERTS, spec, X, jnp.concatenate([X, X + 1]))


def test_experts_at_two_numbers_of_single_rows_are_tied() -> None:
    def model(p, x):
        p, number = jax.tree.map(jnp.asarray, p), jnp.argmax(x @ p["router"], -1)
        return jax.vmap(lambda row, a, b: jnp.tanh(row @ p["a"][a]) @ p["b"][b])(x, number, number[::-1])

    spec = trace(model, EXPERTS, X)
    assert spec.groups == {"h0": S(8)}
    assert_sound(model, EXPERTS, spec, X)


def test_experts_of_consecutive_rows_have_a_permutation_each() -> None:
    spec = trace(sorted_experts, EXPERTS, X)
    assert spec.unread == ()
    assert spec.groups == {f"h{expert}": S(8) for expert in range(4)}
    assert_sound(sorted_experts, EXPERTS, spec, X)


def test_experts_at_two_numbers_are_tied() -> None:
    def model(p, x):
        one, two = jnp.argmax(x @ p["router"], -1), jnp.argmin(x @ p["router"], -1)
        return jnp.einsum("th,tho->to", jnp.einsum("td,tdh->th", x, p["a"][one]), p["b"][two])

    spec = trace(model, EXPERTS, X)
    assert spec.groups == {"h0": S(8)}
    assert_sound(model, EXPERTS, spec, X)


def test_experts_of_other_rows_are_tied() -> None:
    def model(p, x):
        chosen = jnp.argmax(x @ p["router"], -1)
        hidden = jnp.einsum("td,tdh->th", x, p["a"][chosen])
        return jnp.einsum("th,tho->to", hidden, p["b"][chosen[::-1]])

    square = jnp.concatenate([X, X[::-1]])
    spec = trace(model, EXPERTS, square)
    assert spec.groups == {"h0": S(8)}
    assert_sound(model, EXPERTS, spec, square)


def fused(p, x):
    q, k, v = jnp.moveaxis((x @ p["in"] @ p["qkv"]).reshape(5, 3, 2, 4), 1, 0)
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), -1)
    return jnp.einsum("hqk,khd->qhd", weights, v).reshape(5, 8) @ p["out"]


def fused_axes(p, x):
    q, k, v = jnp.einsum("td,dshe->sthe", x @ p["in"], p["qkv"].reshape(6, 3, 2, 4))
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), -1)
    return jnp.einsum("hqk,khd->qhd", weights, v).reshape(5, 8) @ p["out"]


FUSED = plain({"in": (3, 6), "qkv": (6, 24), "out": (8, 3)})


@pytest.mark.parametrize("model", [fused, fused_axes])
def test_queries_keys_and_values_of_one_projection_are_told_apart(model) -> None:
    spec = trace(model, FUSED, X)
    assert spec.terms["qkv"] == "h0 ((h1 h3) + (h1 h3) + (h1 h2))"
    assert set(spec.nested) == {("h2", "h1"), ("h3", "h1")}
    assert {str(one) for one in spec.linear_actions} >= {
        "h2 linear in each h1: up out[0]; down qkv[1]",
        "h3 linear in each h1: up qkv[1]; down qkv[1]",
    }
    assert_sound(model, FUSED, spec, X)
    other = spec.act(spec.random_element(key=jax.random.key(3)), FUSED)
    found = align(spec, FUSED, other, restarts=4)
    np.testing.assert_array_equal(found["qkv"], FUSED["qkv"])


def test_linear_actions_on_an_axis_of_its_own_may_differ_by_index() -> None:
    def model(p, x):
        q, k = jnp.einsum("td,sde->ste", x, p["qk"])
        return q @ k.T

    params = plain({"qk": (2, 3, 4)})
    spec = trace(model, params, X)
    assert spec.terms == {"qk": "fixed in h0|h0"}
    assert [one.variances for one in spec.linear_actions] == [(("qk", 2, (1, -1)),)]
    assert_sound(model, params, spec, X)


TIED = {
    "a sum over the outer axis": lambda p, x: one_network({"a": p["a"].sum(0), "b": p["b"][0]}, x),
    "a reversal": lambda p, x: jax.vmap(one_network, (0, None))({"a": p["a"], "b": p["b"][::-1]}, x),
    "an operand without it": lambda p, x: jax.vmap(lambda a: one_network({"a": a, "b": p["b"][0]}, x))(p["a"]),
    "an order that is computed": lambda p, x: jax.vmap(one_network, (0, None))(
        {"a": p["a"], "b": p["b"][jnp.argsort(x[:4, 0])]}, x
    ),
    "two loops that meet": lambda p, x: (
        jax.lax.scan(lambda h, w: (h + jax.nn.relu(x @ w), None), jnp.zeros((5, 8)), p["a"])[0] @ p["b"][0]
    ),
}


@pytest.mark.parametrize("name", TIED)
def test_what_ties_the_indices(name: str) -> None:
    spec = trace(TIED[name], MEMBERS, X, unreached=True)
    inner = [label for label in spec.leaves[0].axes[2].labels if label in spec.groups]
    assert len(inner) == 1
    assert_sound(TIED[name], MEMBERS, spec, X)


@pytest.mark.parametrize("name", ["cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp"])
def test_what_runs_along_the_indices_ties_them(name: str) -> None:
    def model(p, x):
        hidden = getattr(jax.lax, name)(jnp.tanh(jnp.einsum("td,eds->tes", x, p["a"])), axis=1)
        return jnp.einsum("tes,eso->teo", hidden, p["b"])

    spec = trace(model, MEMBERS, X)
    assert spec.groups == {"h0": S(8)}
    assert_sound(model, MEMBERS, spec, X)


def rows_of_members(p, x):
    layers = zip(jnp.unstack(p["a"])[: len(x)], jnp.unstack(p["b"])[: len(x)], x, strict=True)
    return sum(one_network({"a": a, "b": b}, row) for a, b, row in layers)


def states_in_between(p, x):
    states = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w),) * 2, x @ p["in"], p["w"], reverse=True)[1]
    return states[-len(x)] @ p["out"]


@pytest.mark.parametrize(
    ("model", "params", "free"),
    [(rows_of_members, MEMBERS, 10), (states_in_between, plain({"in": (3, 6), "w": (4, 6, 6), "out": (6, 2)}), 5)],
)
def test_layers_are_tied_where_some_reach_no_output(model, params, free: int) -> None:
    spec = trace(model, params, X[:2])
    assert len(spec.groups) <= 1
    assert_sound(model, params, spec, X[:2], X[:4])
    assert len(trace(model, params, X[:2], unreached=True).groups) == free


def test_members_in_another_order_are_matched() -> None:
    def model(p, x):
        return jax.vmap(one_network, (0, None))({"a": p["a"], "b": jnp.roll(p["b"], 1, 0)}, x)

    spec = trace(model, MEMBERS, X)
    assert spec.leaves[0].axes[2].labels == ("h0", "h1", "h2", "h3")
    assert spec.leaves[1].axes[1].labels == ("h1", "h2", "h3", "h0")
    assert_sound(model, MEMBERS, spec, X)


def test_layers_of_experts_are_read_for_each_of_both() -> None:
    def model(p, x):
        def layer(x, w):
            a, b = w
            return x + sum(jnp.tanh(x @ a[e]) @ b[e] for e in range(2)), None

        return jax.lax.scan(layer, x @ p["in"], (p["a"], p["b"]))[0] @ p["out"]

    params = plain({"in": (3, 6), "a": (3, 2, 6, 4), "b": (3, 2, 4, 6), "out": (6, 2)})
    spec = trace(model, params, X)
    assert sorted(group.n for group in spec.groups.values()) == [4] * 6 + [6]
    assert spec.terms["a"] == "fixed fixed1 h0 h1|h2|h3|..|h6"
    assert_sound(model, params, spec, X)
    other = spec.act(spec.random_element(key=jax.random.key(5)), params)
    np.testing.assert_array_equal(align(spec, params, other, restarts=4)["a"], params["a"])


def test_functionals_augmentation_and_pickling_know_such_axes() -> None:
    spec = trace(scanned, LAYERS, X)
    assert pickle.loads(pickle.dumps(spec)) == spec
    layer = Functional(spec, [1, 2], rngs=nnx.Rngs(0))
    element = spec.random_element(key=jax.random.key(7))
    one, two = layer(spec.act(element, LAYERS)), layer(LAYERS)
    moved = [spec.act(element, jax.tree.map(lambda leaf, c=c: leaf[..., c], two)) for c in range(2)]
    for mine, *others in zip(jax.tree.leaves(one), *map(jax.tree.leaves, moved), strict=True):
        np.testing.assert_allclose(mine, jnp.stack(others, -1), rtol=1e-9, atol=1e-12)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), LAYERS)
    for member in (0, 1):
        own = jax.tree.map(lambda leaf, member=member: leaf[member], spec.augment(batch, key=jax.random.key(8)))
        np.testing.assert_allclose(scanned(own, X), scanned(LAYERS, X), rtol=1e-9)
