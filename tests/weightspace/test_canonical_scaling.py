"""Canonical forms are equal for networks that differ by scales and signs, and networks on them commute."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS, in_float64
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import (
    CanonicalScaling,
    Functional,
    MessagePassing,
    ParameterGraph,
    RelationalTransformer,
    ScaleEquivariant,
    Specification,
    canonical_form,
    pad,
    trace,
)

X = jnp.ones((4, 3), jnp.float32)
SHAPES = {"w0": (3, 6), "b0": (6,), "w1": (6, 5), "b1": (5,), "w2": (5, 2), "b2": (2,)}


def layers(activation):
    def apply(p, x):
        x = activation(x @ p["w0"] + p["b0"])
        return activation(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    return apply, SHAPES, X


def residual():
    def apply(p, x):
        x = jax.nn.relu(x @ p["first"])
        return jax.nn.relu(x + jax.nn.relu(x @ p["in"] + p["bias"]) @ p["out"]) @ p["last"]

    return apply, {"first": (3, 6), "in": (6, 4), "bias": (4,), "out": (4, 6), "last": (6, 2)}, X


def convolutions():
    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def apply(p, x):
        x = jax.nn.relu(convolved(x, p["k0"]) + p["b0"])
        return jnp.mean(jax.nn.relu(convolved(x, p["k1"])), (1, 2)) @ p["w"]

    return apply, {"k0": (3, 3, 1, 4), "b0": (4,), "k1": (3, 3, 4, 5), "w": (5, 2)}, jnp.ones((2, 4, 4, 1), jnp.float32)


def experts():
    def apply(p, x):
        hidden = jax.nn.relu(jnp.einsum("bi,eih->beh", x, p["in"]))
        return jnp.einsum("beh,eho,be->bo", hidden, p["out"], jax.nn.softmax(x @ p["gate"]))

    return apply, {"in": (4, 3, 6), "out": (4, 6, 2), "gate": (3, 4)}, X


def one_hidden_neuron():
    def apply(p, x):
        for number in range(3):
            x = jax.nn.relu(x @ p[f"w{number}"] + p[f"b{number}"])
        return x @ p["w3"]

    weights = {"w0": (3, 6), "w1": (6, 1), "w2": (1, 5), "w3": (5, 2)}
    return apply, weights | {"b0": (6,), "b1": (1,), "b2": (5,)}, X


NETWORKS = {
    "relu": lambda: layers(jax.nn.relu),
    "leaky_relu": lambda: layers(jax.nn.leaky_relu),
    "tanh": lambda: layers(jnp.tanh),
    "sine": lambda: layers(lambda x: jnp.sin(5 * x)),
    "residual": residual,
    "convolutions": convolutions,
    "experts": experts,
    "one_hidden_neuron": one_hidden_neuron,
    "one_neuron_in_and_out": lambda: (
        lambda p, x: jnp.tanh(x @ p["a"] + p["b"]) @ p["c"],
        {"a": (1, 4), "b": (4,), "c": (4, 1)},
        X[:, :1],
    ),
}


def made(name: str, seed: int = 0) -> tuple[Specification, dict[str, np.ndarray]]:
    apply, shapes, x = NETWORKS[name]()
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return trace(apply, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), x), params


def moved(spec: Specification, params, seed: int = 0):
    """Permute parameters, with leading axes of a batch, and scale them."""
    element = spec.random_element(key=jax.random.key(seed))

    @jax.jit
    def run(params):
        params = spec.act(element, params)
        for scaling, numbers in drawn(spec, seed):
            params = spec.rescale(scaling, numbers, params)
        return params

    return run(params)


def permuted(spec: Specification, params, seed: int = 0):
    """Only permute parameters, as `moved` does."""
    element = spec.random_element(key=jax.random.key(seed))
    return jax.jit(lambda params: spec.act(element, params))(params)


def drawn(spec: Specification, seed: int = 0):
    """Draw the numbers of each scaling."""
    rng = np.random.default_rng(seed)
    for scaling in spec.scalings:
        size = spec.sizes[scaling.label]
        yield scaling, np.exp(rng.normal(size=size)) if scaling.kind == "positive" else rng.choice([-1.0, 1.0], size)


def assert_close(one, two, **tolerances) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


QUICK = ("perceptron", "gated_halves")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_architectures_have_canonical_forms_with_the_same_function(name: str) -> None:
    apply, params, x = MODELS[name]()
    spec = trace(apply, params, x)
    if not spec.scalings:
        return
    inputs = x if isinstance(x, tuple) else (x,)
    form, run = canonical_form(spec, params), jax.jit(apply)
    for one, two in zip(*(jax.tree.leaves(run(p, *inputs)) for p in (params, form.params)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * np.max(np.abs(one)))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        found, after = canonical_form(spec, params).params, canonical_form(spec, moved(spec, params)).params
        assert_close(after, permuted(spec, found), rtol=1e-9, atol=1e-12)


def test_norms_are_one_and_the_largest_entry_decides_the_sign() -> None:
    spec, params = made("relu")
    found = canonical_form(spec, jax.tree.map(jnp.float32, params))
    first = np.sqrt(np.sum(params["w0"] ** 2, 0) + params["b0"] ** 2)
    entering = params["w1"] * first[:, None]
    second = np.sqrt(np.sum(entering**2, 0) + params["b1"] ** 2)
    wanted = {
        "w0": params["w0"] / first,
        "b0": params["b0"] / first,
        "w1": entering / second,
        "b1": params["b1"] / second,
        "w2": params["w2"] * second[:, None],
        "b2": params["b2"],
    }
    assert_close(found.params, wanted, rtol=1e-5, atol=1e-6)
    numbers = dict(zip([scaling.label for scaling in spec.scalings], found.numbers.values(), strict=True))
    np.testing.assert_allclose(numbers[spec.terms["b0"]], first, rtol=1e-5)
    np.testing.assert_allclose(numbers[spec.terms["b1"]], second, rtol=1e-5)
    assert float(found.margin) == 1

    spec, params = made("tanh")
    found = canonical_form(spec, jax.tree.map(jnp.float32, params))
    entries = np.concatenate([params["w0"], params["b0"][None]])
    signs = np.sign(entries[np.argmax(np.abs(entries), 0), np.arange(6)])
    np.testing.assert_allclose(found.params["w0"], params["w0"] * signs, rtol=1e-6)
    assert 0 < float(found.margin) < 1


CALLS = {
    "functional": lambda spec, *options: CanonicalScaling(spec, Functional(spec, *options, **FLOAT64)),
    "messages": lambda spec, *options: CanonicalScaling(
        spec, MessagePassing(ParameterGraph(spec), *options, **FLOAT64)
    ),
    "transformer": lambda spec, *options: CanonicalScaling(
        spec, RelationalTransformer(ParameterGraph(spec), *options, heads=2, **FLOAT64)
    ),
    "layers": lambda spec, *options: ScaleEquivariant(spec, *options, **FLOAT64),
}
FLOAT64 = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
CASES = [(name, how) for name in NETWORKS for how in CALLS]
FAST = [("relu", "functional"), ("tanh", "layers")]


@pytest.mark.parametrize(
    ("name", "how"), [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in CASES]
)
def test_networks_commute_with_scales_signs_and_permutations(name: str, how: str) -> None:
    with jax.enable_x64(True):
        spec, params = made(name)
        _, more = made(name, 1)
        batch = jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), params, more)
        other = moved(spec, batch)
        hidden = [4, 4, 4] if how == "layers" else [4]
        static, state = nnx.split([CALLS[how](spec, [1, *hidden, 3], ""), CALLS[how](spec, [1, *hidden, 2], None)])

        @jax.jit
        def run(state, params):
            invariant, equivariant = nnx.merge(static, state)
            return invariant(params), equivariant(params)

        (number, tree), (again, after) = run(state, batch), run(state, other)
        np.testing.assert_allclose(number, again, rtol=1e-9, atol=1e-10)
        assert np.std(number) > 1e-3
        for channel in range(2):  # the last axis has output channels
            one, two = (jax.tree.map(lambda leaf, c=channel: leaf[..., c], result) for result in (tree, after))
            assert_close(two, moved(spec, one), rtol=1e-8, atol=1e-9)
            assert all(np.std(leaf) > 1e-4 for leaf in jax.tree.leaves(one))


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_neurons_without_weights_commute_and_have_finite_gradients(name: str) -> None:
    with jax.enable_x64(True):
        spec, params = made(name)
        params["w0"][:, 1], params["b0"][1] = 0, 0  # nothing enters, but something leaves
        params["w1"][2], params["w0"][:, 2], params["b0"][2] = 0, 0, 0  # nothing at all
        params = jax.tree.map(jnp.asarray, params)

        @jax.jit
        @jax.grad
        def gradient_of(params):
            return sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(canonical_form(spec, params).params))

        form, after, gradient = (
            canonical_form(spec, params),
            canonical_form(spec, moved(spec, params)),
            gradient_of(params),
        )
        assert_close(after.params, permuted(spec, form.params), rtol=1e-9, atol=1e-12)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
        numbers = form.numbers[str(spec.scalings[0])]
        assert np.flatnonzero(numbers == 0).tolist() == [2]
        apply, _, x = NETWORKS[name]()
        run, x = jax.jit(apply), np.asarray(x, np.float64)
        np.testing.assert_allclose(run(form.params, x), run(params, x), rtol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    with jax.enable_x64(True):
        spec, params = made("residual")
        flat, back = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, params))

        @jax.jit
        def loss(flat):
            leaves = jax.tree.leaves(canonical_form(spec, back(flat)).params)
            return sum(jnp.sum(jnp.sin(leaf + place)) for place, leaf in enumerate(leaves))

        direction = np.random.default_rng(0).normal(size=flat.shape) / flat.size**0.5
        slope = (loss(flat + 1e-5 * direction) - loss(flat - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(jax.grad(loss)(flat) @ direction, slope, rtol=1e-8)


def test_half_precision_large_values_and_some_scalings() -> None:
    spec, params = made("relu")
    by = {"w0": 1e30, "b0": 1e30, "w1": 1e-30}  # the squares overflow
    large = {name: jnp.asarray(by.get(name, 1) * array, jnp.float32) for name, array in params.items()}
    form = canonical_form(spec, large)
    assert all(np.all(np.isfinite(numbers)) for numbers in form.numbers.values())
    entering = np.vstack([form.params["w0"], form.params["b0"]])
    np.testing.assert_allclose(np.linalg.norm(entering, axis=0), 1, rtol=1e-5)
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(canonical_form(spec, half).params)} == {np.dtype(jnp.bfloat16)}
    first = canonical_form(spec, jax.tree.map(jnp.float32, params), spec.scalings[:1])
    assert len(first.numbers) == 1
    np.testing.assert_array_equal(first.params["w2"], params["w2"].astype(np.float32))
    bad = jax.tree.map(jnp.float32, params | {"b0": np.full(6, np.nan)})
    assert bool(jnp.any(jnp.isnan(canonical_form(spec, bad).params["w0"])))


def test_ties_are_refused_or_reported() -> None:
    apply = lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"]  # noqa: E731
    params = {"a": jnp.asarray([[1.0, 1.0], [-1.0, 0.5]]), "b": jnp.asarray([[1.0, -1.0], [0.5, 1.0]])}
    spec = trace(apply, params, jnp.ones((3, 2)))
    assert float(canonical_form(spec, params).margin) == 0
    network = Functional(spec, [1, 2], "", rngs=nnx.Rngs(0))
    batch = jax.tree.map(lambda a: jnp.stack([a + 0.25, a]), params)
    text = ("rounding decides the sign of a neuron", "network 1 of 2", "not balanced", 'on_tie="keep"')
    assert_error(ek.FrameError, lambda: CanonicalScaling(spec, network)(batch), *text)
    found = jax.jit(lambda p: CanonicalScaling(spec, network)(p))(batch)
    assert np.isnan(found).all(-1).tolist() == [False, True]
    kept = CanonicalScaling(spec, network, on_tie="keep")(batch)
    np.testing.assert_allclose(found[0], kept[0], rtol=1e-6)
    assert np.isfinite(kept).all()


def padded():
    """Networks of two widths, their padded parameters and masks, and parameters with garbage in place of padding."""
    spec, params = made("tanh")
    narrow = {"w0": (3, 4), "b0": (4,), "w1": (4, 2), "b1": (2,), "w2": (2, 2), "b2": (2,)}
    trees = [in_float64(narrow), params]
    batch, masks = pad(spec, trees)
    zeros = jax.tree.map(np.ones_like, trees[0])
    there = pad(spec, [zeros, trees[1]])[0]
    garbage = {name: array.copy() for name, array in batch.items()}
    for name, array in garbage.items():
        array[0][there[name][0] == 0] = np.nan
    return spec, trees, batch, masks, garbage


class Sum(nnx.Module):
    """A network without `mask=`."""

    out = ""

    def __call__(self, params):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))


def test_padded_networks_have_the_canonical_forms_of_networks_alone() -> None:
    with jax.enable_x64(True):
        spec, trees, batch, masks, garbage = padded()
        forms = [canonical_form(spec, tree, mask=masks) for tree in (batch, garbage)]
        for form in forms:
            for number, tree in enumerate(trees):
                alone = canonical_form(spec, tree)
                np.testing.assert_allclose(form.margin[number], alone.margin, rtol=1e-12)
                again, _ = pad(spec, [alone.params, trees[1]])
                for name, array in again.items():
                    np.testing.assert_allclose(form.params[name][number], array[0], rtol=1e-12)
        network = CanonicalScaling(spec, Functional(spec, [1, 2], rngs=nnx.Rngs(0)))
        found = network(garbage, mask=masks)
        for name, array in network(trees[0]).items():
            np.testing.assert_allclose(found[name][0][tuple(map(slice, array.shape))], array, rtol=1e-9, atol=1e-12)
        texts = "mask for 'h0'", "list", "booleans", "pad"
        assert_error(ek.DTypeError, lambda: canonical_form(spec, batch, mask={"h0": [True]}), *texts)
        unmasked = CanonicalScaling(spec, Sum())
        texts = "takes no mask", "mask=, for Sum", "whose call has mask=", "a Functional"
        assert_error(ek.OptionError, lambda: unmasked(batch, mask=masks), *texts)


def test_members_and_empty_batches() -> None:
    spec, params = made("tanh")
    batch = jax.tree.map(lambda a: jnp.asarray(np.stack([a, 2 * a]), jnp.float32), params)
    network = CanonicalScaling(spec, Functional(spec, [1, 2, 1], members=3, rngs=nnx.Rngs(0)))
    found, after = network(batch), network(moved(spec, batch))
    assert_close(after, moved(spec, found), rtol=1e-4, atol=1e-5)
    assert found["w1"].shape == (3, 2, 6, 5)
    assert np.ptp(found["w1"], axis=0).max() > 1e-3
    assert network(jax.tree.map(lambda a: a[:0], batch))["w1"].shape == (3, 0, 6, 5)


def test_signs_of_weights_that_are_not_finite_or_large() -> None:
    spec, params = made("tanh")
    small = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    large = {name: array * np.float32(2.0**124) if name in ("w0", "b0") else array for name, array in small.items()}
    forms = [canonical_form(spec, tree) for tree in (small, large)]
    assert np.isfinite(forms[1].margin)
    for name in ("w1", "w2"):
        np.testing.assert_array_equal(forms[1].params[name], forms[0].params[name])
    for bad in (np.full_like(small["w0"], np.nan), np.where(np.arange(6) == 1, np.nan, small["w0"])):
        assert np.isnan(canonical_form(spec, small | {"w0": bad}).margin)


def test_forms_that_are_too_large_are_refused() -> None:
    spec, params = made("relu")
    large = jax.tree.map(lambda a: np.asarray(a, np.float32) * np.float32(1e20), params)
    texts = "canonical parameters are not finite", "infinite", "finite numbers", "float64"
    assert_error(ek.OptionError, lambda: canonical_form(spec, large), *texts)
    canonical = CanonicalScaling(spec, Functional(spec, [1, 2], "", rngs=nnx.Rngs(0)))
    assert_error(ek.OptionError, lambda: canonical(large), *texts)


def test_what_is_refused() -> None:
    spec, params = made("relu")
    other = made("tanh")[0].scalings[0]
    text = "this scaling does not act", str(other), str(spec.scalings[1]), "spec.scalings"
    assert_error(ek.OptionError, lambda: canonical_form(spec, params, [other]), *text)
    network = Functional(spec, [1, 2], "", rngs=nnx.Rngs(0))
    assert_error(ek.OptionError, lambda: CanonicalScaling(spec, network, scalings=[other]), *text)
    smooth = trace(lambda p, x: jax.nn.gelu(x @ p["a"]) @ p["b"], {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, X)
    text = "nothing to scale", "spec.scalings is empty", "relu, tanh or sine", "without scalings"
    for refused in (smooth, trace(lambda p, x: x @ p["a"], {"a": jnp.ones((3, 2))}, X), replace(spec, scalings=())):
        assert_error(ek.OptionError, lambda spec=refused: canonical_form(spec, params), *text)
        assert_error(ek.OptionError, lambda spec=refused: CanonicalScaling(spec, network), *text)
    # No weight enters the first layer alone or leaves the second one alone.
    circular = tuple(
        replace(scaling, powers=tuple(entry for entry in scaling.powers if entry[0] == "w1"))
        for scaling in spec.scalings
    )
    text = "depend on each other", str(circular[0]), "before it", "spec.fix("
    assert_error(ek.OptionError, lambda: canonical_form(replace(spec, scalings=circular), params), *text)
    text = "does not say what it returns", "function", "the attribute out", "pass a Functional"
    assert_error(ek.OptionError, lambda: CanonicalScaling(spec, lambda p: p), *text)
    two = Functional(spec, [2, 2], "", rngs=nnx.Rngs(0))
    text = "scale inversely", "2 input", "one, the parameters", "channels=[1, 16, 1]"
    assert_error(ek.OptionError, lambda: CanonicalScaling(spec, two), *text)
    text = "on_tie", "guess", "refuse", "on_tie="
    assert_error(ek.OptionError, lambda: CanonicalScaling(spec, network, on_tie="guess"), *text)
    with pytest.raises(ek.ShapeError, match="b0"):
        canonical_form(spec, in_float64(SHAPES | {"b0": (7,)}))


def test_layers_standardize_and_give_features_of_neurons() -> None:
    spec, params = made("tanh")
    zoo = jax.tree.map(lambda a: jnp.asarray(np.stack([a, 2 * a]), jnp.float32), params)
    label = spec.terms["b1"]
    networks = [
        ScaleEquivariant(spec, [1, 4, 4, 3], label, statistics=zoo, rngs=nnx.Rngs(0)),
        ScaleEquivariant(spec, [1, 4, 4, 3], label, rngs=nnx.Rngs(0)),
    ]
    sizes = {name: np.sqrt(np.mean(np.square(array))) for name, array in zoo.items()}
    run = nnx.jit(lambda network, params: network(params))
    found = run(networks[0], zoo)
    assert found.shape == (2, 5, 3)
    by_hand = run(networks[1], {name: array / sizes[name] for name, array in zoo.items()})
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)
    text = "no networks in statistics=", "0", "one or more", "one network or more"
    none = jax.tree.map(lambda a: a[:0], zoo)
    assert_error(ek.OptionError, lambda: ScaleEquivariant(spec, [1, 4, 2], statistics=none, rngs=nnx.Rngs(0)), *text)
    text = "out", "h7", label, "out="
    assert_error(ek.OptionError, lambda: ScaleEquivariant(spec, [1, 4, 2], "h7", rngs=nnx.Rngs(0)), *text)
    text = "the list of hidden widths is a different one", "(4, 8)", "(4, 4)", "channels=[1, 16, 16, 1]"
    assert_error(ek.OptionError, lambda: ScaleEquivariant(spec, [1, 4, 8, 2], rngs=nnx.Rngs(0)), *text)
    other = made("relu")[0].scalings[0]
    with pytest.raises(ek.OptionError, match="does not act"):
        ScaleEquivariant(spec, [1, 4, 2], scalings=[other], rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_layers_have_finite_gradients_at_neurons_without_weights() -> None:
    spec, params = made("relu")
    params["w0"][:, 1], params["b0"][1], params["w1"][1] = 0, 0, 0
    params = jax.tree.map(jnp.float32, params)
    static, state = nnx.split(ScaleEquivariant(spec, [1, 4, 4, 1], rngs=nnx.Rngs(0)))

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients(state, params):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(nnx.merge(static, state)(params)))

    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients(state, params)))
