# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lesson 5. Networks as data
#
# Somebody trained ten thousand networks and gives you their weights. Which of them are accurate? Which image does this
# one store? Can two be merged into one? The weights are arrays of a special kind: exchange two hidden neurons, with all
# their inputs and outputs, and the arrays change while the function of the network does not. A prediction from weights
# should not depend on such a change. This lesson finds these symmetries in the program of the network itself, and uses
# them.
#
# From lesson 1 you need the layers that commute with permutations.
#
# | section | question |
# | --- | --- |
# | 1 | Which neurons can be exchanged? |
# | 2 | Is that true, and would a mistake be noticed? |
# | 3 | Which symmetries do other architectures have, besides permutations? |
# | 4 | What does it look like? |
# | 5 | How many linear layers on weights are there? |
# | 6 | Can two networks be merged? |
# | 7 | Can a network read the weights of others? |
# | 8 | What else is the symmetry good for? |
# | 9 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from IPython.display import HTML, display

import equikit as ek
from equikit import weightspace

BLUE, ORANGE, GREEN, GRAY = "#1b79b8", "#d55e00", "#2a8f5c", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})


def drawn(seed, **shapes):
    """Random parameters."""
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {name: jax.random.normal(key, shape) / 2 for key, (name, shape) in zip(keys, shapes.items(), strict=True)}


# %% [markdown]
# ## 1. Which neurons can be exchanged?
#
# A network is a function of its parameters and an input. It may be written in any library, or in none:


# %%
def network(params, x):
    hidden = jnp.tanh(x @ params["w0"] + params["b0"])
    hidden = jax.nn.relu(hidden @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


params = drawn(0, w0=(3, 8), b0=(8,), w1=(8, 5), b1=(5,), w2=(5, 2), b2=(2,))
x = jax.random.normal(jax.random.key(1), (20, 3))
spec = weightspace.trace(network, params, x)
print(spec)
assert spec.terms["w1"] == "h0 h1"
assert spec.groups == {"h0": ek.S(8), "h1": ek.S(5)}

# %% [markdown]
# `trace` reads the program of the network, operation by operation, and asks for every axis of every array: which other
# axes have to be permuted together with it? The answer is a **term** for each parameter. `w1` has the term `h0 h1`: its
# rows are permuted together with the columns of `w0` and the entries of `b0`, and its columns together with `b1` and
# the rows of `w2`. The **group** is $S_8 \times S_5$. Inputs and outputs are not permuted, and the specification knows
# why:

# %%
print(dict(spec.reasons))
assert dict(spec.reasons) == {"in": "an input", "out": "an output"}

# %% [markdown]
# ## 2. Is that true, and would a mistake be noticed?
#
# Sample an element of the group, move the parameters, and compare.

# %%
moved = spec.act(spec.random_element(key=jax.random.key(2)), params)
fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.6))
for ax, array, title in zip(axes, (params["w1"], moved["w1"]), ("w1", "w1, moved"), strict=True):
    ax.imshow(array, cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    ax.set(title=title, xlabel="h1", ylabel="h0", xticks=[], yticks=[])
plt.show()
difference = jnp.abs(network(moved, x) - network(params, x)).max()
print(f"the weights change by {jnp.abs(moved['w1'] - params['w1']).max():.1f}, the outputs by {difference:.1e}")
assert difference < 1e-5
assert spec.check(network, params, x, key=jax.random.key(3)) < 1e-5

# %% [markdown]
# Now make a false claim, that the inputs can be permuted too. The check fails, and names the first operation that
# contradicts it.


# %%
def objection(spec, *arguments, key):
    """What a check says of a symmetry that is not there."""
    try:
        spec.check(*arguments, key=key)
    except ek.EquivarianceError as error:
        return str(error)
    raise AssertionError("a false symmetry was not noticed")


false = replace(spec, bindings=tuple((label, ek.S(3) if label == "in" else what) for label, what in spec.bindings))
said = objection(false, network, params, x, key=jax.random.key(2))  # of three inputs, one element in six moves none
print(said)
assert "'in' is not free: an input" in said

# %% [markdown]
# ## 3. Which symmetries do other architectures have, besides permutations?
#
# **Concatenation** puts two sets of neurons on one axis. It is permuted in two pieces, written as a sum. Specifications
# written by hand easily give such an axis a single label.


# %%
def with_skip(params, x):
    hidden = jax.nn.relu(x @ params["first"])
    both = jnp.concatenate([hidden, jnp.tanh(hidden @ params["second"])], axis=-1)
    return both @ params["last"]


skip_params = drawn(1, first=(3, 4), second=(4, 5), last=(9, 2))
skip_spec = weightspace.trace(with_skip, skip_params, x)
print(skip_spec)
assert skip_spec.terms["last"] == "(h0 + h1) out"

wrong = tuple(
    replace(leaf, axes=(weightspace.Symbol("h2", 9), leaf.axes[1])) if leaf.name == "last" else leaf
    for leaf in skip_spec.leaves
)
by_hand = replace(skip_spec, leaves=wrong, bindings=(*skip_spec.bindings, ("h2", ek.S(9))))
said = objection(by_hand, with_skip, skip_params, x, key=jax.random.key(0))
print("\nwritten by hand:", said.splitlines()[1].strip())
assert "not free, but a sum" in said

# %% [markdown]
# **A recurrent network** uses its weights in every step: a permutation of one step applies to all steps, and both axes
# of the hidden kernels have one label.


# %%
def gru(params, x):
    def step(h, x):
        reset = jax.nn.sigmoid(x @ params["reset"] + h @ params["hidden reset"])
        update = jax.nn.sigmoid(x @ params["update"] + h @ params["hidden update"])
        new = jnp.tanh(x @ params["new"] + reset * (h @ params["hidden new"]))
        return (1 - update) * new + update * h, None

    return jax.lax.scan(step, jnp.zeros(6), x)[0] @ params["out"]


gates = ("reset", "update", "new")
gru_params = drawn(2, **dict.fromkeys(gates, (3, 6)), **{f"hidden {gate}": (6, 6) for gate in gates}, out=(6, 2))
gru_spec = weightspace.trace(gru, gru_params, x)
print(gru_spec)
assert all(gru_spec.terms[f"hidden {gate}"] == "h0 h0" for gate in gates)
assert gru_spec.check(gru, gru_params, x, key=jax.random.key(0)) < 1e-5

# %% [markdown]
# **Attention** has heads, which can be exchanged, and each head has its own coordinates, which can be permuted
# differently in every head. The group is a **wreath product**: with two heads of four coordinates for queries and keys
# and four for values $(S_4 \times S_4) \wr S_2$, with $(4!\, 4!)^2 \cdot 2$ elements.


# %%
def attention(params, x):
    queries, keys, values = (jnp.einsum("ti,ihd->thd", x, params[name]) for name in ("queries", "keys", "values"))
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", queries, keys))
    return jnp.einsum("hqk,khd,hdo->qo", weights, values, params["out"])


attention_params = drawn(3, queries=(3, 2, 4), keys=(3, 2, 4), values=(3, 2, 4), out=(2, 4, 3))
attention_spec = weightspace.trace(attention, attention_params, x)
print(attention_spec)
(_, head, of_queries), (_, _, of_values) = (attention_spec.terms[name].split() for name in ("queries", "values"))
assert set(attention_spec.nested) == {(of_queries, head), (of_values, head)}
assert attention_spec.random_element(key=jax.random.key(0))[of_queries].shape == (2, 4)  # a permutation for each head
assert attention_spec.check(attention, attention_params, x, key=jax.random.key(0)) < 1e-5

# %% [markdown]
# Queries and keys only meet in an inner product. There any invertible matrix $g$ can act, with $g^{-\top}$ on the other
# side, and with a different matrix in every head; the same holds for values and outputs. `spec.linear_actions` contains
# both:

# %%
for action in attention_spec.linear_actions:
    print(action)
assert {action.label for action in attention_spec.linear_actions} == {of_queries, of_values}
action = attention_spec.linear_actions[0]
matrices = jnp.eye(4) + 0.3 * jax.random.normal(jax.random.key(4), (2, 4, 4))
mixed = attention_spec.transform(action, matrices, attention_params)
assert jnp.allclose(attention(mixed, x), attention(attention_params, x), atol=1e-4)
assert not jnp.allclose(mixed["queries"], attention_params["queries"], atol=0.1)

# %% [markdown]
# Nonlinearities allow less. ReLU commutes with positive **scales**, tanh with **signs**; `spec.scalings` contains the
# power of the scale for each parameter. In our first network tanh acts on `h0`, and ReLU on `h1`:

# %%
for scaling in spec.scalings:
    print(scaling)
assert {(scaling.label, scaling.kind) for scaling in spec.scalings} == {("h0", "sign"), ("h1", "positive")}
(positive,) = (scaling for scaling in spec.scalings if scaling.kind == "positive")
rescaled = spec.rescale(positive, np.array([0.1, 0.5, 1.0, 3.0, 20.0]), params)
assert jnp.allclose(network(rescaled, x), network(params, x), atol=1e-4)

# %% [markdown]
# ## 4. What does it look like?
#
# `weightspace.graph` makes a graph of the parameters: a node for every neuron, an edge for every weight. Nodes of one
# column have one label; inputs and outputs are gray, because they are not permuted. The picture shows the symmetry:
# colored nodes of a column can be exchanged together with their edges.

# %%
one, two = (weightspace.graph(network, params, x), weightspace.graph(with_skip, skip_params, x))
pictures = [ek.draw.parameter_graph_svg(one, params), ek.draw.parameter_graph_svg(two)]
display(HTML("".join(f"<div>{picture}</div>" for picture in pictures)))
assert one.num_nodes == 3 + 8 + 5 + 2
assert one.num_edges == 3 * 8 + 8 * 5 + 5 * 2  # biases are features of the nodes
assert two.num_edges == 3 * 4 + 4 * 5 + 9 * 2  # the skip goes from h0 straight to the outputs

# %% [markdown]
# In the first picture blue weights are positive and orange ones negative, and a wider edge is a larger weight. The
# second picture has no values, but a color for each kind of edge. Any graph network can run on such a graph, such as
# `weightspace.MessagePassing` and `weightspace.RelationalTransformer`.
#
# ## 5. How many linear layers on weights are there?
#
# A layer on weights maps all parameters to all parameters, and commutes with the group. Lesson 1 counted such maps
# between two tensors. Here every pair of parameters is one such count. Take a perceptron with $L$ weights and $L$
# biases, and permute all its neurons, including those of input and output, as universal neural functionals do: then
# there are $4 L^2 + 10 L - 4$ maps, for any width.


# %%
def number_of_maps(spec):
    groups, terms = dict(spec.bindings), spec.terms.values()
    pairs = [(f"{a} -> {b}", {*a.split(), *b.split()}) for a in terms for b in terms]
    return sum(ek.hom(text, **{label: groups[label] for label in labels}).dim for text, labels in pairs)


def perceptron_spec(layers):
    """Of a perceptron whose neurons are all permuted; every layer has another width."""
    shapes = {f"w{i}": (4 + i, 5 + i) for i in range(layers)} | {f"b{i}": (5 + i,) for i in range(layers)}

    def apply(params, x):
        for i in range(layers):
            x = jnp.tanh(x @ params[f"w{i}"] + params[f"b{i}"])
        return x

    found = weightspace.trace(apply, drawn(0, **shapes), jnp.ones((2, 4)))
    return replace(found, bindings=tuple((label, ek.S(size)) for label, size in found.sizes.items()))


counts = {layers: number_of_maps(perceptron_spec(layers)) for layers in (1, 2, 3, 4)}
print(counts)
assert all(count == 4 * layers**2 + 10 * layers - 4 for layers, count in counts.items())

# %% [markdown]
# From a recurrent kernel to itself there are 15: both its axes have one label, like the axes of the adjacency matrix of
# a graph.

# %%
term = gru_spec.terms["hidden new"]
kernel_maps = ek.hom(f"{term} -> {term}", h0=gru_spec.groups["h0"])
print(kernel_maps, kernel_maps.dim)
assert kernel_maps.dim == 15

# %% [markdown]
# A `Functional` combines all of these maps, from all parameters to all, in one plan. It has a weight for each:

# %%
layer = weightspace.Functional(perceptron_spec(4), [1, 1], use_bias=False, rngs=nnx.Rngs(0))
assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param))) == counts[4]

# %% [markdown]
# ## 6. Can two networks be merged?
#
# Train one network twice, from two starts. Half way between the two sets of weights the loss is high: a **barrier**. Is
# it there because the networks differ, or because their neurons are in another order?
#
# The task: twelve clouds of points in 16 dimensions, in four classes.

# %%
rng = np.random.default_rng(0)
which = rng.integers(0, 12, size=2048)
points = jnp.asarray(rng.normal(size=(12, 16))[which] + rng.normal(size=(2048, 16)), jnp.float32)
classes = jnp.asarray(which % 4)
WIDTHS = (16, 256, 256, 4)


def start(key):
    keys = jax.random.split(key, 3)
    shapes = list(zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True))
    weights = {f"w{i}": jax.random.normal(key, (a, b)) * (2 / a) ** 0.5 for i, (key, a, b) in enumerate(shapes)}
    return weights | {f"b{i}": jnp.zeros(b) for i, (_, _, b) in enumerate(shapes)}


def classifier(params, x):
    for i in (0, 1):
        x = jax.nn.relu(x @ params[f"w{i}"] + params[f"b{i}"])
    return x @ params["w2"] + params["b2"]


def loss(params, rows=slice(0, 1024)):
    logits = classifier(params, points[rows])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, classes[rows]))


def accuracy(params):
    return float(jnp.mean(classifier(params, points[1024:]).argmax(-1) == classes[1024:]))


def descend(params, value, optimizer, steps):
    """Parameters after training, and the losses on the way."""

    def step(carried, _):
        params, memory = carried
        found, slope = jax.value_and_grad(value)(params)
        updates, memory = optimizer.update(slope, memory, params, value_fn=value)
        return (optax.apply_updates(params, updates), memory), found

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)
    return params, losses


adam = optax.with_extra_args_support(optax.adam(1e-3))
pair = jax.jit(jax.vmap(lambda key: descend(start(key), loss, adam, 150)[0]))(jax.random.split(jax.random.key(1)))
first, second = (jax.tree.map(lambda array, place=place: array[place], pair) for place in (0, 1))
classifier_spec = weightspace.trace(classifier, first, points)
aligned = weightspace.align(classifier_spec, first, second)
computed = {"how": "activations", "apply": classifier, "x": points[:1024]}
by_activations = weightspace.align(classifier_spec, first, second, **computed)
assert jnp.allclose(classifier(aligned, points), classifier(second, points), atol=1e-3)  # the same function as before

lines = {
    name: weightspace.barrier(loss, first, other, points=13)
    for name, other in (("as they are", second), ("weights", aligned), ("activations", by_activations))
}
fig, ax = plt.subplots(figsize=(5.4, 3.2))
weightspace.plot_lines(lines, ax)
ax.set_ylim(top=1.0)
plt.show()
means = {
    name: accuracy(weightspace.mean([first, other])) for name, other in (("as they are", second), ("aligned", aligned))
}
print(f"accuracies: {accuracy(first):.3f} and {accuracy(second):.3f}; of the means {means}")
assert lines["weights"].barrier < lines["as they are"].barrier / 3
assert lines["activations"].barrier < lines["as they are"].barrier / 3
assert means["aligned"] > means["as they are"]
assert means["aligned"] > accuracy(first) - 0.1

# %% [markdown]
# Most of the barrier was the order of the neurons. `align` finds the permutation by linear assignments, one label after
# another, from the weights or from the activations of both networks. `merge` takes the mean of several networks, each
# aligned with the mean of the others; for two it is the mean of the first and the aligned second.

# %%
merged = weightspace.merge(classifier_spec, [first, second])
print(f"merged: accuracy {accuracy(merged):.3f}")
assert accuracy(merged) > accuracy(first) - 0.1

# %% [markdown]
# ## 7. Can a network read the weights of others?
#
# A signal, an image, or a scene can be stored in the weights of a small network that maps a position to the value
# there. Networks with sines instead of ReLU do this well. Train 300 of them at once, each on a sine wave of another
# frequency; then predict the frequency from the weights.

# %%
COUNT, TRAIN = 300, 240
places = jnp.linspace(-1, 1, 48)[:, None]
frequencies = jnp.asarray(rng.uniform(1, 6, COUNT), jnp.float32)


def sine_network(params, x):
    hidden = jnp.sin(10 * (x @ params["w0"] + params["b0"]))
    return jnp.sin(4 * (hidden @ params["w1"] + params["b1"])) @ params["w2"] + params["b2"]


def train_sine(key, frequency):
    bounds = {"w0": 1.0, "b0": 1.0, "w1": 0.15, "b1": 0.25, "w2": 0.15, "b2": 0.25}
    shapes = {"w0": (1, 16), "b0": (16,), "w1": (16, 16), "b1": (16,), "w2": (16, 1), "b2": (1,)}
    keys = dict(zip(shapes, jax.random.split(key, 6), strict=True))
    params = {
        name: jax.random.uniform(keys[name], shape, minval=-bounds[name], maxval=bounds[name])
        for name, shape in shapes.items()
    }

    def miss(params):
        return jnp.mean((sine_network(params, places) - jnp.sin(frequency * jnp.pi * places)) ** 2)

    return descend(params, miss, optax.with_extra_args_support(optax.adam(3e-3)), 200)


zoo, losses = jax.jit(jax.vmap(train_sine))(jax.random.split(jax.random.key(2), COUNT), frequencies)
fig, ax = plt.subplots(figsize=(5.4, 2.2))
for place, color in zip(range(3), (BLUE, ORANGE, GREEN), strict=True):
    chosen = jax.tree.map(lambda array, place=place: array[place], zoo)
    ax.plot(places, sine_network(chosen, places), color=color, label=f"frequency {frequencies[place]:.1f}")
ax.set(xlabel="place", title="what three of the networks hold")
ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
print(f"error of the networks: median {jnp.median(losses[:, -1]):.1e}, of a constant 0.5")
assert jnp.median(losses[:, -1]) < 1e-3

# %% [markdown]
# Two readers: a `Functional`, which is invariant under permutations of the hidden neurons, and a perceptron with almost
# twenty times its weights on all numbers in a row. Both are also tested on networks whose neurons are permuted by a
# random element, which store the same signals.

# %%
train_zoo, test_zoo = (jax.tree.map(lambda array, s=s: array[s], zoo) for s in (slice(TRAIN), slice(TRAIN, None)))
sine_spec = weightspace.trace(sine_network, jax.tree.map(lambda array: array[0], zoo), places)
moved_zoo = jax.jit(sine_spec.augment)(test_zoo, key=jax.random.key(3))
target = (frequencies - frequencies[:TRAIN].mean()) / frequencies[:TRAIN].std()


class Flat(nnx.Module):
    """A perceptron on all weights in a row."""

    def __init__(self, rngs):
        self.standardize = weightspace.Standardize(sine_spec, train_zoo)
        sizes = (sum(leaf[0].size for leaf in jax.tree.leaves(zoo)), 128, 128, 1)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])

    def __call__(self, params):
        arrays = jax.tree.leaves(self.standardize(params))
        x = jnp.concatenate([array.reshape(len(array), -1) for array in arrays], axis=-1)
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


def read(model, steps=150):
    """Answers for networks of the test, as they are and moved, after training."""
    static, weights, rest = nnx.split(model, nnx.Param, ...)

    def answer(weights, networks):
        return nnx.merge(static, weights, rest)(networks)[:, 0]

    def miss(weights):
        return jnp.mean((answer(weights, train_zoo) - target[:TRAIN]) ** 2)

    optimizer = optax.with_extra_args_support(optax.adam(optax.cosine_decay_schedule(3e-3, steps)))
    weights, losses = jax.jit(lambda weights: descend(weights, miss, optimizer, steps))(weights)
    run = jax.jit(answer)
    return float(losses[-1]), run(weights, test_zoo), run(weights, moved_zoo)


readers = {
    "functional": weightspace.Functional(
        sine_spec, [1, 16, 16], out="", head=(32, 1), statistics=train_zoo, rngs=nnx.Rngs(0)
    ),
    "flat perceptron": Flat(nnx.Rngs(0)),
}
answers = {name: read(model) for name, model in readers.items()}
sizes = {name: sum(a.size for a in jax.tree.leaves(nnx.state(model, nnx.Param))) for name, model in readers.items()}
print(sizes)
assert 15 * sizes["functional"] < sizes["flat perceptron"]

fig, axes = plt.subplots(1, 2, figsize=(6.4, 3), sharey=True)
errors = {}
for ax, (name, (fitted, told, told_moved)) in zip(axes, answers.items(), strict=True):
    errors[name] = [float(jnp.mean((one - target[TRAIN:]) ** 2)) for one in (told, told_moved)]
    print(f"{name:16s} error {fitted:.3f} in training, {errors[name][0]:.3f} on others, {errors[name][1]:.3f} moved")
    ax.plot(target[TRAIN:], told, "o", ms=4, color=BLUE, label="as they are")
    ax.plot(target[TRAIN:], told_moved, "x", ms=4, color=ORANGE, label="moved")
    ax.plot([-2, 2], [-2, 2], color=GRAY, lw=0.8)
    ax.set(title=name, xlabel="frequency, standardized")
axes[0].set_ylabel("told")
axes[0].legend(frameon=False, fontsize=8)
plt.show()
assert jnp.allclose(answers["functional"][1], answers["functional"][2], atol=1e-2)
assert max(errors["functional"]) < 0.6 < 1 < min(errors["flat perceptron"])  # the mean of all has error 1
assert answers["flat perceptron"][0] < 0.01

# %% [markdown]
# The perceptron memorizes all training networks and learns nothing: each of them comes from another start, with its
# neurons in an order that was never seen. On this many networks it does not even beat the mean. `weightspace.UNF`,
# `NFN` and `DWSNet` are functionals with the choices of their papers.
#
# ## 8. Further uses of the symmetry
#
# **Teleportation** moves the parameters along their orbit before a step, to where the gradient is larger. Scales of a
# ReLU layer are such moves: they change the gradient, but not the loss. One such move, before the first step:


# %%
def small(params, x):
    return jax.nn.relu(x @ params["w0"] + params["b0"]) @ params["w1"] + params["b1"]


small_params = drawn(0, w0=(4, 16), b0=(16,), w1=(16, 1), b1=(1,))
inputs = jax.random.normal(jax.random.key(1), (128, 4))
small_spec = weightspace.trace(small, small_params, inputs)


def small_loss(params):
    return jnp.mean((small(params, inputs) - jnp.sin(inputs[:, :1]) * inputs[:, 1:2]) ** 2)


def steepness(params):
    return float(optax.tree.norm(jax.grad(small_loss)(params)))


move = weightspace.teleport(small_spec, optax.sgd(0.0), at=[0])  # the rate is zero: nothing but the move is seen
there = jax.jit(lambda params: descend(params, small_loss, move, 1)[0])(small_params)
print(f"loss {small_loss(small_params):.4f} and {small_loss(there):.4f}")
print(f"norm of the gradient {steepness(small_params):.1f} and {steepness(there):.1f}")
assert jnp.allclose(small_loss(there), small_loss(small_params), rtol=1e-4)
assert steepness(there) > 1.3 * steepness(small_params)

fig, ax = plt.subplots(figsize=(4.6, 2.8))
plain = optax.with_extra_args_support(optax.sgd(0.02))
curves = {}
for name, begin, color in (("as it starts", small_params, BLUE), ("teleported", there, ORANGE)):
    curves[name] = jax.jit(lambda params: descend(params, small_loss, plain, 100)[1])(begin)
    ax.semilogy(curves[name], color=color, label=name)
ax.set(xlabel="steps of gradient descent", ylabel="loss")
ax.legend(frameon=False)
plt.show()
assert curves["teleported"][10] < curves["as it starts"][10]

# %% [markdown]
# It is only a head start: where the gradient is larger, the curvature is too, so the next steps must not be too long.
#
# **Asymmetric networks** have some fixed weights, so that no permutation symmetry is left, and two of them trained from
# two starts need no alignment. A refinement of the colors of neurons proves that no permutation of the traced group is
# left:

# %%
options = {"key": jax.random.key(0), "rngs": nnx.Rngs(1)}
left = {
    fixed: weightspace.symmetry_left(weightspace.AsymmetricMLP([4, 8, 8, 2], fixed=fixed, **options), jnp.ones(4))
    for fixed in (0, 3)
}
for fixed, found in left.items():
    print(f"{fixed} weights of each neuron: {found}")
assert left[0] == {"h0": (tuple(range(8)),), "h1": (tuple(range(8)),)}
assert left[3] == {}

# %% [markdown]
# **Learned optimizers**: a `Functional` with channels for weights, gradients and momenta computes the step of an
# optimizer that treats all neurons of a layer equally. `weightspace.LearnedOptimizer` is one, as an optax
# transformation, and `weightspace.evolve` trains it.
#
# ## 9. Exercises
#
# ### Exercise 1
#
# In a residual network `x = x + relu(x @ up) @ down`, applied twice, what is permuted together? Write down the group
# for a stream of width 6 and hidden layers of width 7, then trace.

# %% [markdown]
# ### Solution 1


# %% tags=["solution"]
def residual(params, x):
    stream = x @ params["in"]
    for i in (0, 1):
        stream = stream + jax.nn.relu(stream @ params[f"up{i}"]) @ params[f"down{i}"]
    return stream @ params["out"]


blocks = {"up0": (6, 7), "down0": (7, 6), "up1": (6, 7), "down1": (7, 6)}
residual_spec = weightspace.trace(residual, drawn(5, **{"in": (3, 6)}, **blocks, out=(6, 2)), x)
print(residual_spec)
# A sum identifies two axes: the stream has one label from the first layer to the last, and each block has its own.
stream = residual_spec.terms["out"].split()[0]
for i in (0, 1):
    assert residual_spec.terms[f"up{i}"].split()[0] == stream == residual_spec.terms[f"down{i}"].split()[1]
assert sorted(group.n for group in residual_spec.groups.values()) == [6, 7, 7]
# Only linear maps meet the stream, so all invertible matrices act on it, not only permutations.
assert [action.label for action in residual_spec.linear_actions] == [stream]

# %% [markdown]
# ### Exercise 2
#
# Multiply the hidden layer of a network by `jnp.arange(1, 9)`. Which symmetry is left, what forbids the rest, and how
# must the network be written to make the neurons free again?

# %% [markdown]
# ### Solution 2


# %% tags=["solution"]
def weighted(params, x):
    return (jnp.arange(1.0, 9.0) * jnp.tanh(x @ params["first"])) @ params["second"]


def with_parameter(params, x):
    return (params["by"] * jnp.tanh(x @ params["first"])) @ params["second"]


layers = drawn(6, first=(3, 8), second=(8, 2))
fixed_spec = weightspace.trace(weighted, layers, x)
print(fixed_spec.groups, dict(fixed_spec.reasons))
assert fixed_spec.groups == {}  # every neuron has a number of its own that no permutation moves
assert "iota" in dict(fixed_spec.reasons).values()  # which is what jnp.arange is in the program
free_spec = weightspace.trace(with_parameter, layers | {"by": jnp.arange(1.0, 9.0)}, x)
assert free_spec.groups == {"h0": ek.S(8)}  # a parameter is moved with the neurons
assert free_spec.terms["by"] == "h0"

# %% [markdown]
# ### Exercise 3
#
# Two ReLU networks are equal up to the order of the hidden neurons **and** their scales. `align` only knows
# permutations and is led astray. Bring both networks to a standard form first, in which no scale is free any more, then
# align.

# %% [markdown]
# ### Solution 3

# %% tags=["solution"]
original = drawn(7, w0=(4, 16), b0=(16,), w1=(16, 1), b1=(1,))
(scaling,) = small_spec.scalings
assert str(scaling) == "h0 positive: b0[0] 1; w0[1] 1; w1[0] -1"  # powers of the numbers
scales = np.exp(2 * np.random.default_rng(0).normal(size=16))
scaled = small_spec.rescale(scaling, scales, original)
disguised = small_spec.act(small_spec.random_element(key=jax.random.key(8)), scaled)
assert jnp.allclose(small(disguised, inputs), small(original, inputs), atol=1e-3)


def standard(params):
    """The weights that go into a neuron, its bias among them, have norm one."""
    return weightspace.canonical_form(small_spec, params).params


def distance(params_a, params_b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, params_a, params_b)))


naive = weightspace.align(small_spec, original, disguised)
exact = weightspace.align(small_spec, standard(original), standard(disguised))
print(f"distance {distance(original, naive):.1f}; in standard form {distance(standard(original), exact):.1e}")
found = standard(original)
assert jnp.allclose(jnp.sum(found["w0"] ** 2, axis=0) + found["b0"] ** 2, 1, atol=1e-5)
assert distance(original, naive) > 1
assert distance(standard(original), exact) < 1e-4
