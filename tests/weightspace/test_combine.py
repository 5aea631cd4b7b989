"""Aligned networks are combined by their mean, on a circle, or by changes that agree in sign."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from equikit import DTypeError, OptionError
from equikit.weightspace import mean, merge, trace


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["a"]) @ params["b"]


def drawn(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(size=(3, 6)).astype(np.float32), "b": rng.normal(size=(6, 2)).astype(np.float32)}


SPEC = trace(apply, drawn(0), np.ones((4, 3), np.float32))
TREES = [drawn(seed) for seed in range(3)]


def same(found: Any, wanted: Any) -> None:
    for name, array in wanted.items():
        assert_allclose(np.asarray(found[name]), array, rtol=1e-5, atol=1e-6)


def test_coefficients_of_a_mean() -> None:
    wanted = {name: (2 * TREES[0][name] + 6 * TREES[1][name]) / 8 for name in "ab"}
    same(mean(TREES[:2], coefficients=[2, 6]), wanted)
    same(merge(SPEC, TREES[:2], coefficients=[0.25, 0.75], rounds=0), wanted)
    copies = [SPEC.act(SPEC.random_element(key=jax.random.key(seed)), TREES[0]) for seed in range(3)]
    found = merge(SPEC, copies, coefficients=[3, 2, 1])
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert_allclose(np.asarray(apply(found, x)), np.asarray(apply(TREES[0], x)), atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_circle_through_two_networks(share: float) -> None:
    found = merge(SPEC, TREES[:2], how="slerp", coefficients=[1 - share, share], rounds=0)
    for name in "ab":
        one, two = (tree[name].astype(np.float64) for tree in TREES[:2])
        angle = np.arccos((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))
        wanted = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * two) / np.sin(angle)
        assert_allclose(np.asarray(found[name]), wanted, atol=1e-5)


def test_the_circle_through_parallel_arrays_is_a_line() -> None:
    double = {name: 2 * array for name, array in TREES[0].items()}
    same(merge(SPEC, [TREES[0], double], how="slerp", rounds=0), {n: 1.5 * a for n, a in TREES[0].items()})
    zero = {name: 0 * array for name, array in TREES[0].items()}
    assert np.isfinite(np.asarray(merge(SPEC, [TREES[0], zero], how="slerp", rounds=0)["a"])).all()


@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 1.0])
def test_changes_that_agree_in_sign(density: float) -> None:
    base, shares = drawn(9), [0.5, 0.3, 0.2]
    found = merge(SPEC, TREES, how="ties", base=base, density=density, coefficients=shares, rounds=0)
    changes = [np.concatenate([(tree[name] - base[name]).ravel() for name in "ab"]) for tree in TREES]
    count = int(np.ceil(density * changes[0].size))
    for change in changes:
        change[np.argsort(np.abs(change))[: change.size - count]] = 0
    wanted = np.concatenate([base[name].ravel() for name in "ab"])
    for i, entries in enumerate(zip(*changes, strict=True)):
        total = sum(share * entry for share, entry in zip(shares, entries, strict=True))
        agree = [(c, e) for c, e in zip(shares, entries, strict=True) if e * total > 0]
        if agree:
            wanted[i] += sum(c * e for c, e in agree) / sum(c for c, _ in agree)
    flat = np.concatenate([np.asarray(found[name]).ravel() for name in "ab"])
    assert_allclose(flat, wanted, atol=1e-5)


def test_changes_are_counted_from_the_base_after_alignment() -> None:
    base = drawn(9)
    trained = {name: array + np.float32(0.01) for name, array in base.items()}
    moved = SPEC.act(SPEC.random_element(key=jax.random.key(1)), trained)
    same(merge(SPEC, [trained, moved], how="ties", base=base, density=1.0), trained)


@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_the_circle_does_not_depend_on_the_scale(scale: float) -> None:
    trees = [{name: array * np.float32(scale) for name, array in tree.items()} for tree in TREES[:2]]
    found = merge(SPEC, trees, how="slerp", rounds=0)
    wanted = merge(SPEC, TREES[:2], how="slerp", rounds=0)
    for name in "ab":
        assert_allclose(np.asarray(found[name]) / np.float32(scale), np.asarray(wanted[name]), rtol=1e-4, atol=1e-6)


def test_from_zeros_the_circle_is_a_line() -> None:
    zero = {name: 0 * array for name, array in TREES[0].items()}
    same(merge(SPEC, [zero, TREES[0]], how="slerp", rounds=0), {n: a / 2 for n, a in TREES[0].items()})


def test_equal_networks_stay_as_they_are() -> None:
    for how in ("mean", "slerp"):
        found = merge(SPEC, [TREES[0]] * 2, how=how)
        assert_array_equal(np.asarray(found["a"]), TREES[0]["a"])
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), TREES[0])
    assert merge(SPEC, [half, half], how="slerp")["a"].dtype == jnp.bfloat16


def refused(**options: Any) -> str:
    with pytest.raises(OptionError) as caught:
        merge(SPEC, TREES, **options)
    return str(caught.value)


def test_options_that_do_not_go_together() -> None:
    assert "between two networks" in refused(how="slerp")
    assert "no base=" in refused(how="ties")
    assert 'how="mean" has no base' in refused(base=TREES[0])
    assert "one number for each network" in refused(coefficients=[1, 2])
    assert "a positive sum" in refused(coefficients=[1, -1, 0])
    assert 'write how="ties"' in refused(how="tie")
    assert "density" in refused(how="ties", base=TREES[0], density=2)
    assert "each of coefficients=" in refused(how="ties", base=TREES[0], coefficients=[2, -1, 1])
    imaginary = [{name: array * 1j for name, array in tree.items()} for tree in TREES]
    with pytest.raises(DTypeError, match="ties"):
        merge(SPEC, imaginary, how="ties", base=imaginary[0])
    with pytest.raises(OptionError, match="base"):
        merge(SPEC, TREES, how="ties", base={"a": TREES[0]["a"]})


@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_means_of_large_numbers_do_not_overflow(kind: Any) -> None:
    trees = [{"a": np.array([2e38, 1e-36, sign * 3e38], kind)} for sign in (1, -1, 1)]
    for coefficients in (None, [2, 1, 1], [-1, 3, -1]):
        shares = np.array([1, 1, 1] if coefficients is None else coefficients, float)
        wanted = sum(c * tree["a"].astype(complex) for c, tree in zip(shares / shares.sum(), trees, strict=True))
        finite = np.abs(wanted) < 3.4e38
        for run in (mean, jax.jit(mean, static_argnums=1)):
            found = run(trees, coefficients and (*coefficients,))
            assert_allclose(np.asarray(found["a"])[finite], wanted[finite], rtol=1e-6)


def test_networks_of_integers_alone_are_the_first() -> None:
    first, second = ({name: np.full_like(array, i, np.int32) for name, array in TREES[0].items()} for i in (1, 2))
    for how, base in (("mean", None), ("slerp", None), ("ties", second)):
        found = merge(SPEC, [first, second], how=how, base=base)
        assert all(np.array_equal(found[name], array) for name, array in first.items())
