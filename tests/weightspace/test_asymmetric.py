"""Fixed entries come from a key, are not trained, and break the symmetry of the network."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.datasets
from architectures import normal
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.weightspace import (
    AsymmetricLinear,
    AsymmetricMLP,
    FiGLU,
    FixedEntries,
    fixed_weights,
    symmetry_left,
    trace,
)

KEY = jax.random.key(0)


def network(how: str = "weights", seed: int = 0, **options) -> AsymmetricMLP:
    options = {"fixed": 2} | options if how == "weights" else options
    return AsymmetricMLP([3, 6, 5, 2], how=how, rngs=nnx.Rngs(seed), **{"key": KEY} | options)


def test_every_output_has_as_many_fixed_weights() -> None:
    layer = AsymmetricLinear(200, 50, fixed=40, scale=3.0, key=KEY, rngs=nnx.Rngs(0))
    mask, values = np.asarray(layer.mask[...]) > 0, np.asarray(layer.values[...])
    np.testing.assert_array_equal(mask.sum(0), 40)
    assert len({tuple(column) for column in mask.T}) == 50
    assert np.all(values[~mask] == 0)
    assert abs(values[mask].std() - 3) < 0.2
    assert abs(mask.sum(1) - 10).max() < 15  # places are spread evenly
    x = normal(7, 200)
    weights = np.where(mask, values, layer.kernel[...])
    np.testing.assert_allclose(layer(x), x @ weights + layer.bias[...], rtol=1e-5, atol=1e-4)
    assert AsymmetricLinear(3, 2, fixed=0, key=KEY, use_bias=False, rngs=nnx.Rngs(0)).bias is None


@pytest.mark.parametrize("how", ["weights", "gates"])
def test_hidden_features_are_normalized_before_the_nonlinearity(how: str) -> None:
    net = network(how, normalization="layer", scale=[0.5, 2.0, 1.0])
    x = features = np.asarray(normal(7, 3))
    for number, layer in enumerate(net.layers):
        kernel = layer.weights if how == "weights" else layer.kernel[...]
        features = x @ np.asarray(kernel) + np.asarray(layer.bias[...])
        wide = (features - features.mean(-1, keepdims=True)) / np.sqrt(features.var(-1, keepdims=True) + 1e-6)
        if number < 2:
            x = np.maximum(wide, 0) if how == "weights" else wide / (1 + np.exp(-wide @ net.gates[number].matrix[...]))
    np.testing.assert_allclose(net(normal(7, 3)), features, rtol=1e-4, atol=1e-5)
    fixed = net.layers[1].values[...] if how == "weights" else net.gates[1].matrix[...]
    other = network(how, scale=[0.5, 1.0, 1.0])
    np.testing.assert_allclose(
        fixed, 2 * (other.layers[1].values[...] if how == "weights" else other.gates[1].matrix[...]), rtol=1e-6
    )


def test_gates() -> None:
    gate = FiGLU(64, scale=0.5, key=KEY)
    matrix, x = gate.matrix[...], normal(7, 64)
    assert abs(float(matrix.std()) - 0.5) < 0.05
    np.testing.assert_allclose(gate(x), x / (1 + jnp.exp(-x @ matrix)), rtol=1e-5)


@pytest.mark.parametrize("how", ["weights", pytest.param("gates", marks=pytest.mark.slow)])
def test_fixed_entries_are_no_parameters(how: str) -> None:
    one, two = network(how), network(how, seed=1)
    for net in (one, two):
        kinds = nnx.split(net, nnx.Param, FixedEntries, ...)
        assert not jax.tree.leaves(kinds[3])
        assert jax.tree.leaves(kinds[2])
    fixed = [jax.tree.leaves(nnx.state(net, FixedEntries)) for net in (one, two)]
    assert all(bool(jnp.all(a == b)) for a, b in zip(*fixed, strict=True))  # of one key
    kernels = [net.layers[0].kernel[...] for net in (one, two)]
    assert bool(jnp.all(kernels[0] != kernels[1]))
    x, y = normal(8, 3), normal(8, 2, seed=1)
    optimizer = nnx.Optimizer(one, optax.sgd(0.1), wrt=nnx.Param)
    before = [jnp.copy(leaf) for leaf in fixed[0]]
    loss, gradient = nnx.value_and_grad(lambda net: jnp.mean((net(x) - y) ** 2))(one)
    if how == "weights":
        assert bool(jnp.all(jnp.where(one.layers[1].mask[...] > 0, gradient.layers[1].kernel[...], 0) == 0))
    optimizer.update(one, gradient)
    after = jax.tree.leaves(nnx.state(one, FixedEntries))
    assert all(bool(jnp.all(a == b)) for a, b in zip(before, after, strict=True))
    assert jnp.mean((one(x) - y) ** 2) != loss


@pytest.mark.parametrize("how", ["weights", pytest.param("gates", marks=pytest.mark.slow)])
def test_modules_are_valid_everywhere(how: str) -> None:
    net, x = network(how), normal(4, 3)
    expected = net(x)
    for graph in (True, False):
        again = nnx.merge(*nnx.split(net, graph=graph))
        np.testing.assert_array_equal(again(x), expected)
        np.testing.assert_allclose(nnx.jit(lambda net, x: net(x), graph=graph)(net, x), expected, rtol=1e-5)
        gradient = nnx.grad(lambda net: jnp.sum(net(x) ** 2), graph=graph)(net)
        assert len(jax.tree.leaves(nnx.state(gradient, nnx.Param))) == 6
        assert not any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(nnx.state(gradient, FixedEntries)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x), expected)
    assert jax.vmap(net)(x).shape == (4, 2)
    assert network(how, param_dtype=jnp.bfloat16)(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.slow
def test_gradients_and_precision(x64: None) -> None:
    net, x = network(param_dtype=jnp.float64), normal(4, 3).astype(float)
    static, params, rest = nnx.split(net, nnx.Param, ...)

    def loss(params):
        return jnp.sum(nnx.merge(static, params, rest)(x) ** 2)

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    run = jax.jit(lambda size: loss(jax.tree.map(lambda a, d: a + size * d, params, direction)))
    np.testing.assert_allclose(jax.jit(jax.grad(run))(0.0), (run(1e-6) - run(-1e-6)) / 2e-6, rtol=1e-6)
    single = AsymmetricMLP([3, 6, 5, 2], fixed=2, key=KEY, rngs=nnx.Rngs(0))  # of the same entries in float32
    np.testing.assert_array_equal(single.layers[0].values[...], net.layers[0].values[...])


PRINT = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from flax import nnx
from equikit.weightspace import AsymmetricMLP, FixedEntries, fixed_weights
options = {"fixed": 2, "key": jax.random.key(5), "rngs": nnx.Rngs(0)}
nets = [AsymmetricMLP([3, 6, 2], how=how, **options) for how in ("weights", "gates")]
params = {"a": {"kernel": jnp.ones((4, 3))}, "b": jnp.ones((5, 2))}
fixed = [*(nnx.state(net, FixedEntries) for net in nets), *fixed_weights(params, 2, key=jax.random.key(5))]
print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fixed))).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_have_the_same_entries() -> None:
    digests = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, env=environment)
        digests.add(ran.stdout.strip())
    assert len(digests) == 1


@pytest.mark.parametrize("how", ["weights", "gates"])
def test_no_symmetry_is_left(how: str) -> None:
    net, x = network(how), normal(4, 3)
    assert symmetry_left(net, x) == {}
    # As constants of the program they make all neurons rigid; nor is there a scale, a sign or a linear group.
    static, params, rest = nnx.split(net, nnx.Param, ...)
    spec = trace(lambda p, x: nnx.merge(static, p, rest)(x), params, x)
    assert (spec.groups, spec.scalings, spec.linear_actions) == ({}, (), ())
    # As parameters they move with the others, and only then is the function preserved.
    spec = traced(net, x)
    assert sorted(group.n for group in spec.groups.values()) == [5, 6]


def traced(net, x):
    static, params, fixed = nnx.split(net, nnx.Param, ...)

    def apply(p, x):
        return nnx.merge(static, p["params"], p["fixed"])(x)

    spec = trace(apply, {"params": params, "fixed": fixed}, x)
    spec.check(apply, {"params": params, "fixed": fixed}, x, key=KEY)
    return spec


def with_equal_neurons(pairs) -> AsymmetricMLP:
    """A network, some neurons of whose first hidden layer have the same fixed entries as others, before and after."""
    net = network()
    for layer, axis in ((net.layers[0], 1), (net.layers[1], 0)):
        for variable in (layer.mask, layer.values):
            array = np.moveaxis(np.asarray(variable[...]).copy(), axis, 0)
            for one, two in pairs:
                array[two] = array[one]
            variable[...] = jnp.asarray(np.moveaxis(array, 0, axis))
    return net


def test_what_is_left_is_found() -> None:
    x = normal(4, 3)
    (classes,) = symmetry_left(with_equal_neurons([(1, 4)]), x).values()
    assert classes == ((1, 4),)
    (classes,) = symmetry_left(with_equal_neurons([(0, 2), (0, 3), (1, 5)]), x).values()
    assert classes == ((0, 2, 3), (1, 5))
    everything = symmetry_left(network(fixed=0), x)
    assert sorted(everything.values()) == [(tuple(range(5)),), (tuple(range(6)),)]
    one_sided = symmetry_left(network(fixed=[2, 0, 0]), x)  # the second hidden layer is left as it was
    assert list(one_sided.values()) == [(tuple(range(5)),)]
    assert len(symmetry_left(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), x)) == 0


def test_the_proof_against_all_permutations() -> None:
    """Of one hidden layer, by listing which permutations keep the fixed entries."""
    for seed in range(6):
        net = AsymmetricMLP([2, 4, 1], fixed=[1, 0], key=jax.random.key(seed), rngs=nnx.Rngs(0))
        coarse = jnp.sign(net.layers[0].values[...])  # few values, so that some neurons are alike
        net.layers[0].values[...] = coarse
        mask = np.asarray(net.layers[0].mask[...])
        keep = [
            order
            for order in itertools.permutations(range(4))
            if np.array_equal(mask[:, order], mask) and np.array_equal(coarse[:, np.array(order)], coarse)
        ]
        classes = symmetry_left(net, jnp.ones(2)).get("h0", ())
        sizes = [math.factorial(len(one)) for one in classes]
        assert len(keep) == np.prod(sizes, dtype=int)  # exact here, an upper bound in general


class FixedExperts(nnx.Module):
    """A mixture of experts to whose neurons, `[expert, neuron]`, fixed numbers are added."""

    def __init__(self, entries) -> None:
        self.entries = FixedEntries(jnp.asarray(entries, jnp.float32))
        experts, neurons = self.entries.shape
        self.up = nnx.Param(normal(experts, 3, neurons))
        self.down = nnx.Param(normal(experts, neurons, 2, seed=1))
        self.gate = nnx.Param(normal(3, experts, seed=2))

    def __call__(self, x):
        hidden = jnp.tanh(jnp.einsum("bx,oxi->boi", x, self.up[...]) + self.entries[...])
        return jnp.einsum("bo,boi,oiy->by", jax.nn.softmax(x @ self.gate[...]), hidden, self.down[...])


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        ([[1, 2], [3, 3]], {"h1": (((1, 0), (1, 1)),)}),
        ([[1, 2], [3, 4]], {}),
        ([[1, 2], [2, 1]], {"h0": ((0, 1),)}),
        ([[1, 1], [1, 1]], {"h0": ((0, 1),), "h1": (((0, 0), (0, 1)), ((1, 0), (1, 1)))}),
        ([[1, 2, 1], [4, 4, 4]], {"h1": (((0, 0), (0, 2)), ((1, 0), (1, 1), (1, 2)))}),
    ],
)
def test_neurons_of_one_expert_alone_may_be_exchanged(entries, left) -> None:
    """Classes are what all elements of the wreath product that keep the entries do, which are listed here."""
    net, entries = FixedExperts(entries), np.array(entries)
    assert symmetry_left(net, normal(5, 3)) == left
    experts, neurons = entries.shape
    keep = 0
    for outer in itertools.permutations(range(experts)):
        for rows in itertools.product(itertools.permutations(range(neurons)), repeat=experts):
            keep += all(np.array_equal(entries[o], entries[outer[o]][list(rows[o])]) for o in range(experts))
    orders = [math.factorial(len(one)) for classes in left.values() for one in classes]
    assert keep == np.prod(orders, dtype=int)
    if left.keys() == {"h1"}:  # the exchange leaves the function, by the definition
        (o, i), (_, j) = left["h1"][0][:2]
        x, before = normal(5, 3), net(normal(5, 3))
        order = jnp.arange(neurons).at[i].set(j).at[j].set(i)
        net.up[...] = net.up[...].at[o].set(net.up[...][o][:, order])
        net.down[...] = net.down[...].at[o].set(net.down[...][o][order])
        np.testing.assert_allclose(net(x), before, rtol=1e-5, atol=1e-6)


class Unread(nnx.Module):
    """An asymmetric network, and weights that an operation without a rule reads: a reduction by a function."""

    def __init__(self) -> None:
        self.net, self.row = network(), nnx.Param(normal(4))

    def __call__(self, x):
        return self.net(x) + jax.lax.reduce(self.row[...], 0.0, lambda one, two: one + two + one * two, (0,))


def test_the_proof_says_which_group_it_is_about() -> None:
    x = normal(4, 3)
    proved = symmetry_left(network(), x)
    assert (proved.spec.unread, proved.fixed) == ((), ())
    assert repr(proved) == (
        "Of the traced group h0=S(6), h1=S(5) the fixed entries leave only the identity. "
        "The trace read every operation, and fixed only axes of inputs and outputs."
    )
    left = symmetry_left(with_equal_neurons([(1, 4)]), x)
    assert "leave at most exchanges of equal indices: h0 (1, 4). The trace read" in repr(left)
    assert repr(symmetry_left(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), x)).startswith("The trace found no permutations")


def test_the_proof_does_not_cover_what_the_trace_did_not_read() -> None:
    """The entries of the row may be permuted, but the trace has no rule that says so."""
    net, x = Unread(), normal(4, 3)
    before = net(x)
    with pytest.warns(ek.TraceWarning, match="reduce") as caught:
        left = symmetry_left(net, x)
    assert [record.filename for record in caught] == [__file__]
    net.row[...] = net.row[...][jnp.array([1, 0, 2, 3])]
    np.testing.assert_allclose(net(x), before, rtol=1e-4)
    assert left.spec.unread == ("reduce",)
    ((label, why),) = left.fixed
    assert "reduce" in why
    doubts = f"the trace has no rule for reduce and fixed the axes {label!r} ({why})."
    assert repr(left).endswith(f"Permutations outside this group may be left: {doubts}")


def test_the_proof_does_not_cover_axes_that_the_trace_fixed() -> None:
    """Sums over prefixes fix the order of neurons: the model is read, and its group is not all that may be there."""

    class Ordered(nnx.Module):
        def __init__(self) -> None:
            self.net, self.row = network(), nnx.Param(normal(7))

        def __call__(self, x):
            return self.net(x) + jnp.cumsum(self.row[...])[-1]

    left = symmetry_left(Ordered(), normal(4, 3))
    assert left == {}
    assert [why for _, why in left.fixed] == ["cumsum along it"]
    assert repr(left).endswith("may be left: the trace fixed the axes 'fixed' (cumsum along it).")


def test_labels_within_products_and_sums_are_told_apart() -> None:
    """Entries along an axis that holds two layers one after another, or heads with their entries."""

    class Joined(nnx.Module):
        def __init__(self) -> None:
            self.entries = FixedEntries(jnp.array([1.0, 2.0, 3.0, 5.0, 5.0]))
            self.one, self.two = nnx.Param(normal(2, 3)), nnx.Param(normal(2, 2, seed=1))
            self.down = nnx.Param(normal(5, 2, seed=2))

        def __call__(self, x):
            joined = jnp.concatenate([jnp.tanh(x @ self.one[...]), jnp.sin(x @ self.two[...])], axis=-1)
            return (joined * self.entries[...]) @ self.down[...]

    ((label, classes),) = symmetry_left(Joined(), normal(4, 2)).items()
    assert classes == ((0, 1),)
    assert label.startswith("h")


@pytest.mark.slow
@pytest.mark.compiled
def test_the_barrier_is_lower_without_alignment() -> None:
    """Two networks that are trained apart, on digits; with fixed entries the straight line between them rises less."""
    x, y = map(jnp.asarray, sklearn.datasets.load_digits(return_X_y=True))
    x = x.astype(jnp.float32)[:1400] / 16

    def trained(static, params, rest, key):
        def loss(params, which=slice(None)):
            logits = nnx.merge(static, params, rest)(x[which])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[:1400][which]).mean()

        def step(carry, key):
            params, state = carry
            which = jax.random.randint(key, (64,), 0, 1400)
            updates, state = tx.update(jax.grad(loss)(params, which), state, params)
            return (optax.apply_updates(params, updates), state), None

        tx = optax.adam(1e-3)
        run = jax.jit(lambda params: jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, 600))[0][0])
        return loss, run(params)

    heights = {}
    for fixed in (0, [32, 128, 128]):
        found = []
        for seed in (1, 2):
            net = AsymmetricMLP([64, 256, 256, 10], fixed=fixed, scale=0.5, key=KEY, rngs=nnx.Rngs(seed))
            loss, params = trained(*nnx.split(net, nnx.Param, ...), jax.random.key(seed))
            assert loss(params) < 0.02
            found.append(params)
        heights[fixed != 0] = ek.weightspace.barrier(loss, *found, points=9).barrier
    assert heights[True] < 0.3 * heights[False]


REFUSED = {
    "no neurons": (
        lambda: AsymmetricMLP([3, 0, 2], fixed=0, key=KEY, rngs=nnx.Rngs(0)),
        (ek.OptionError, "each entry of features=", "0", "≥ 1", "8"),
    ),
    "one width": (
        lambda: AsymmetricMLP(3, fixed=0, key=KEY, rngs=nnx.Rngs(0)),
        (ek.OptionError, "features= must be a list of widths", "3", "2 widths or more", "[784, 512, 10]"),
    ),
    "no inputs": (
        lambda: AsymmetricLinear(0, 2, fixed=0, key=KEY, rngs=nnx.Rngs(0)),
        (ek.OptionError, "in_features= must be", "0", "≥ 1", "in_features=8"),
    ),
    "no rngs": (
        lambda: AsymmetricMLP([3, 4, 2], fixed=1, key=KEY, rngs=None),
        (ek.OptionError, "rngs= must be nnx.Rngs", "None", "nnx.Rngs", "rngs=nnx.Rngs(0)"),
    ),
    **{
        f"{which} of {name}": (build, (ek.OptionError, *texts))
        for which, options, texts in (
            ("key", {"key": None}, ("key= must be one JAX key", "None", "a JAX key", "jax.random.key(0)")),
            ("scale", {"scale": math.nan}, ("scale= must be", "nan", "a finite number", "scale=1")),
        )
        for name, build in {
            "a network": lambda o=options: network(**{"key": KEY} | o),
            "a layer": lambda o=options: AsymmetricLinear(3, 2, fixed=1, rngs=nnx.Rngs(0), **{"key": KEY} | o),
            "gates": lambda o=options: FiGLU(3, **{"key": KEY} | o),
            "a tree": lambda o=options: fixed_weights({"bias": jnp.ones(3)}, 1, **{"key": KEY} | o),
        }.items()
    },
    "too many": (
        lambda: AsymmetricLinear(3, 2, fixed=4, key=KEY, rngs=nnx.Rngs(0)),
        (ek.OptionError, "fixed= must be a whole number", "4", "an integer from 0 to 3", "fewer"),
    ),
    "shape": (
        lambda: AsymmetricLinear(3, 2, fixed=1, key=KEY, rngs=nnx.Rngs(0))(jnp.ones((5, 4))),
        (ek.ShapeError, "x must have shape [*batch, 3]", "[5, 4]", "[*batch, 3]", "last axis"),
    ),
    "gates": (
        lambda: FiGLU(3, key=KEY)(jnp.ones(())),
        (ek.ShapeError, "x must have shape [*batch, 3]", "[]", "[*batch, 3]", "last axis"),
    ),
    "how": (
        lambda: network("both"),
        (ek.OptionError, "unknown value for how=", "'both'", '"weights" or "gates"', 'how="weights"'),
    ),
    "no number": (
        lambda: AsymmetricMLP([3, 4, 2], key=KEY, rngs=nnx.Rngs(0)),
        (ek.OptionError, "how many weights are fixed", "fixed=None", "2 of them", "fixed=16"),
    ),
    "other scales": (
        lambda: network(scale=[1.0, 2.0]),
        (ek.OptionError, "not one scale for each layer", "scale=[1.0, 2.0]", "3 of them", "scale=1.0"),
    ),
    "other numbers": (
        lambda: network(fixed=[1, 2]),
        (ek.OptionError, "how many weights are fixed", "fixed=[1, 2]", "3 of them", "fixed=16"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    call, (error, *texts) = REFUSED[name]
    assert_error(error, call, *texts)
