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
# # Lesson 4. Any network made equivariant: averages, frames, canonical forms
#
# Lessons 1 to 3 built networks whose every layer commutes with a group. This lesson does not change the network, and
# wraps it: transform the input in a few ways, apply the network to each, transform the results back, and average. If
# the input itself chooses these ways, equivariantly, the result is equivariant for any network.
#
# You need nothing from the other lessons but the word *equivariant*: $f(g x) = g f(x)$.
#
# | section | question |
# | --- | --- |
# | 1 | What does averaging over a whole group do? |
# | 2 | How can four elements stand for all rotations and reflections? |
# | 3 | What if the points have no order? |
# | 4 | What does the wrapped function do when two axes change places? |
# | 5 | What happens on an octahedron? |
# | 6 | One element, a few, or a random one: what to train with? |
# | 7 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import equikit as ek

BLUE, ORANGE, GREEN, GRAY = "#1b79b8", "#d55e00", "#2a8f5c", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
key, rng = jax.random.key(0), np.random.default_rng(0)


def rotation(angle):
    """The matrix of a rotation of the plane."""
    return jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])


def backbone(x):
    """A function of points `[*batch, points, d]` that knows nothing of directions."""
    d = x.shape[-1]
    mix = jnp.eye(d) + 0.5 * jnp.tri(d)
    total = jnp.sum(jnp.tanh(x), axis=-2, keepdims=True)
    return jnp.sin(x @ mix + 0.5 * total) + 0.3 * x**2


# %% [markdown]
# ## 1. Averaging over the whole group
#
# For a finite group $G$ the average
# $$\bar f(x) = \frac{1}{|G|} \sum_{g \in G} g\, f(g^{-1} x)$$
# is equivariant: replacing $x$ by $h x$ only changes the order of the sum. Four quarter turns of the plane:

# %%
quarter_turns = [rotation(i * jnp.pi / 2) for i in range(4)]


def average(x):
    return sum(backbone(x @ g) @ g.T for g in quarter_turns) / 4  # x @ g turns every row by the inverse of g


cloud = jnp.asarray(rng.normal(size=(7, 2)) * [1.5, 0.6], jnp.float32)
for turn in quarter_turns:
    assert jnp.allclose(average(cloud @ turn.T), average(cloud) @ turn.T, atol=1e-5)
eighth = rotation(jnp.pi / 4)
missed = jnp.abs(average(cloud @ eighth.T) - average(cloud) @ eighth.T).max()
print(f"a quarter turn: exact; an eighth of a turn is not in the group: the average misses by {missed:.2f}")
assert missed > 0.05

# %% [markdown]
# All rotations form a continuous group, and the average over it is an integral. Random elements estimate it, and the
# error falls as one over the square root of their number: one more digit costs a hundred times the work.

# %%
angles = jnp.asarray(rng.uniform(0, 2 * np.pi, size=4096), jnp.float32)
single = jax.jit(jax.vmap(lambda angle: backbone(cloud @ rotation(angle)) @ rotation(angle).T))(angles)
best = single.mean(0)
counts = 4 ** np.arange(1, 6)
errors = [float(jnp.abs(single[: 4 * n].reshape(4, n, *best.shape).mean(1) - best).mean()) for n in counts]
fig, ax = plt.subplots(figsize=(4.2, 2.8))
ax.loglog(counts, errors, "o-", color=BLUE, label="random elements")
ax.loglog(counts, errors[0] * (counts[0] / counts) ** 0.5, "--", color=GRAY, label="one over the root")
ax.set_xlabel("elements")
ax.set_ylabel("mean error")
ax.legend(frameon=False)
plt.show()
assert errors[-1] < errors[0] / 4

# %% [markdown]
# ## 2. A frame: a few elements, chosen by the input
#
# The average need not run over the whole group. Let $F(x)$ be a set of group elements that rotates with the input, $F(h
# x) = h F(x)$: a **frame**. Then $\frac{1}{|F(x)|} \sum_{g \in F(x)} g f(g^{-1} x)$ is exactly equivariant.
#
# For rotations and reflections take the principal axes of the cloud. An axis has no preferred sign, so all signs are
# included: in the plane four elements. Below they are drawn as two arrows each, the first axis blue and the second
# orange, for a cloud and for the same cloud rotated.

# %%
wrapped = ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.O(2), channels=False, translate="x", how=ek.frames.PCA())


def draw_frames(ax, points, sym, title):
    frame = sym.frame(points)
    center = points.mean(0)
    ax.scatter(*points.T, s=16, color=GRAY)
    for i, matrix in enumerate(frame.elements.linear["x"]):
        shift = jnp.array([0.0, 0.0]) if i == 0 else 0.06 * jnp.array([[1, 1], [1, -1], [-1, -1]][i - 1])
        for axis, color in zip(matrix.T, (BLUE, ORANGE), strict=True):
            ax.annotate("", center + shift + axis, center + shift, arrowprops={"arrowstyle": "->", "color": color})
    ax.set_title(title, size=10)
    ax.set_xlim(-4, 4)
    ax.set_ylim(-3.4, 3)
    ax.set_aspect("equal")


fig, axes = plt.subplots(1, 2, figsize=(8, 3.2))
draw_frames(axes[0], cloud, wrapped, "four frames of a cloud")
draw_frames(axes[1], cloud @ rotation(1.0).T, wrapped, "the cloud turned: they turn with it")
plt.show()

# %% [markdown]
# `ek.symmetrize` takes the backbone, a signature that says which group acts on which axis, and the method. It works on
# any batch, subtracts the centroid and adds it back (`translate="x"`), and is exact up to rounding:

# %%
turn = jnp.asarray(ek.O(2).random_element(rng), jnp.float32)
moved = cloud @ turn.T + jnp.array([10.0, -3.0])
difference = jnp.abs(wrapped(moved) - (wrapped(cloud) @ turn.T + jnp.array([10.0, -3.0]))).max()
print(
    f"turned, reflected and moved: the output follows to {difference:.1e}; bare, it misses by "
    f"{jnp.abs(backbone(cloud @ turn.T) - backbone(cloud) @ turn.T).max():.2f}"
)
assert difference < 1e-4

# %% [markdown]
# ## 3. Unordered points
#
# The backbone above treats all points equally. A plain network on the flattened cloud does not: it also depends on the
# order of the points. The frame for permutations is the order that sorts the points, by their first coordinate, then by
# the second. Sorting must come after the axes: the first point depends on the rotation of the cloud, while the axes do
# not depend on the order. `symmetrize` knows this, and rejects the other order.

# %%
weights = jnp.asarray(rng.normal(size=(14, 14)) / 4, jnp.float32)


def flat_network(x):
    return jnp.tanh(x.reshape(*x.shape[:-2], 14) @ weights).reshape(x.shape)


both = ek.symmetrize(
    flat_network, "p x -> p x", p=ek.S, x=ek.O(2), channels=False, how=[ek.frames.PCA(), ek.frames.Sort()]
)
shuffle = rng.permutation(7)
assert jnp.allclose(both(cloud[shuffle] @ turn.T), both(cloud)[shuffle] @ turn.T, atol=1e-5)
try:
    ek.symmetrize(flat_network, "p x -> p x", p=ek.S, x=ek.O(2), how=[ek.frames.Sort(), ek.frames.PCA()])
except ek.OptionError as error:
    print(error)

# %% [markdown]
# ## 4. The jump
#
# Stretch a cloud along one axis, then shrink it: somewhere in between both principal values are equal, and the axes
# change places at once. The wrapped function is equivariant on both sides, but it **jumps**. No choice of a single
# frame can avoid it. A frame with *weights* can: take the directions of all points, weight each by the distance of its
# point, and a direction disappears continuously as its point passes through the center.

# %%
points = jnp.array([[1.0, 0.1], [-1.1, 0.6], [0.2, 1.0], [-0.1, -1.3], [0.4, 0.2]])
points = points - points.mean(0)
values, axes = jnp.linalg.eigh(points.T @ points)
points = points @ axes / jnp.sqrt(values)  # both principal values are one


def along(sym, stretch):
    return sym(points * jnp.array([1.0, stretch]))


def invariant(x):
    """One number from a cloud `[*batch, points, 2]`, that depends on how the cloud is turned."""
    return jnp.sum(jnp.cos(4 * x[..., 0]) + x[..., 1] ** 4, axis=-1)


kinds = {
    "principal axes": (ek.frames.PCA(on_degenerate="flag"), BLUE),
    "all points, weighted": (ek.frames.Alignment(), ORANGE),
}
stretches = jnp.linspace(0.6, 1.4, 401)
fig, ax = plt.subplots(figsize=(6.4, 3))
jumps = {}
for name, (method, color) in kinds.items():
    sym = ek.symmetrize(invariant, "p x -> ", p=ek.S, x=ek.O(2), channels=False, how=method)
    values = jax.jit(jax.vmap(lambda stretch, sym=sym: along(sym, stretch)))(stretches)
    jumps[name] = float(jnp.abs(jnp.diff(values)).max())
    ax.plot(stretches, values - values.mean(), ".", ms=3, color=color, label=name)
ax.set_xlabel("stretch along the second axis")
ax.set_ylabel("output, less its mean")
ax.legend(frameon=False)
plt.show()
print({name: f"largest step {jump:.3f}" for name, jump in jumps.items()})
assert jumps["principal axes"] > 10 * jumps["all points, weighted"]

# %% [markdown]
# ## 5. The octahedron
#
# Principal axes are a frame if the principal values differ. On an octahedron all three are equal: any three
# perpendicular directions will do, and a computer returns some. The "frame" no longer rotates with the input, and the
# wrapped network is far from equivariant. Symmetric molecules and crystals are like this, and a library without a check
# does not notice.

# %%
octahedron = jnp.concatenate([jnp.eye(3), -jnp.eye(3)])
turns = jnp.asarray(np.stack([ek.O(3).random_element(rng) for _ in range(200)]), jnp.float32)


def misses(sym):
    """How far the output is from turning with the input, relative to its size, for 200 turns."""
    back = jnp.swapaxes(turns, -1, -2)
    found = jax.jit(sym)(jnp.concatenate([octahedron[None], octahedron @ back]))
    before, after = found[0], found[1:]
    return jnp.linalg.norm(after - before @ back, axis=(1, 2)) / jnp.linalg.norm(before)


def in_space(how):
    return ek.symmetrize(backbone, "p x -> p x", p=ek.S, x=ek.O(3), channels=False, how=how)


unaware, exact = (misses(in_space(ek.frames.PCA(on_degenerate=what))) for what in ("flag", "weighted"))
fig, ax = plt.subplots(figsize=(5.2, 2.8))
ax.hist(np.asarray(unaware), bins=30, color=BLUE)
ax.axvline(float(exact.max()), color=ORANGE)
ax.set_xlabel("relative error on an octahedron: principal axes (blue), alignments (orange)")
plt.show()
assert unaware.max() > 0.1
assert exact.max() < 1e-5

# %% [markdown]
# `info` reports such inputs before anything goes wrong. By default they are an error.

# %%
info = in_space(ek.frames.PCA()).info(octahedron)
print(f"degenerate: {bool(info.degenerate)}, gap {float(info.gap):.1g}, rank {int(info.rank)}")
assert bool(info.degenerate)
try:
    in_space(ek.frames.PCA())(octahedron)
except ek.FrameError as error:
    print(error)

# %% [markdown]
# | `on_degenerate=` | what it does | equivariant |
# | --- | --- | --- |
# | `"error"` | raises; in a compiled program returns NaN | yes, on accepted inputs |
# | `"flag"` | continues, and reports it in `info` | no |
# | `"sample"` | samples undetermined axes at random | on average |
# | `"weighted"` | averages over alignments with the points themselves | yes |

# %% [markdown]
# ## 6. What to train with
#
# A canonical form is a frame of one element, so it costs one evaluation. A frame costs its size. In training there is a
# third way: sample one element of the frame in each step, and average over all of them only at the end. The network
# then sees its input from all sides of the frame, as it would with random rotations, but there are few of them.
#
# The task: the tensor of inertia of five bodies, $\sum_i |x_i|^2 I - x_i x_i^T$, from 300 examples. The network is an
# MLP on the flattened points, wrapped in three ways, and without a wrapper.


# %%
def inertia(x):
    squares = jnp.sum(x * x, axis=-1)[..., None, None] * jnp.eye(3)
    return jnp.sum(squares - x[..., :, None] * x[..., None, :], axis=-3)


train, test = (jax.random.normal(k, (n, 5, 3)) for k, n in zip(jax.random.split(key), (300, 1000), strict=True))


class Perceptron(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in ((15, 64), (64, 64), (64, 9))])

    def __call__(self, x):
        h = x.reshape(*x.shape[:-2], 15)
        for layer in self.layers[:-1]:
            h = jax.nn.silu(layer(h))
        return self.layers[-1](h).reshape(*x.shape[:-2], 3, 3)


def trained(how, steps=400):
    """Test error, and by how much outputs fail to turn with their inputs."""
    net = Perceptron(nnx.Rngs(0))
    if how is not None:
        net = ek.symmetrize(net, "p x -> x x", p=ek.S, x=ek.O(3), channels=False, how=how)
    random = isinstance(how, ek.frames.Stochastic)

    def loss(net, points, *, key):
        options = {"key": key} if random else {}
        return jnp.mean((net(points, **options) - inertia(points)) ** 2)

    fitted = ek.train.fit(net, loss, train, epochs=steps, optimizer=3e-3, key=jax.random.key(1))
    final = jax.jit(fitted.model)
    turn = jnp.asarray(ek.O(3).random_element(np.random.default_rng(5)), jnp.float32)
    y, z = final(test), final(test @ turn.T)
    return float(jnp.mean((y - inertia(test)) ** 2)), float(jnp.abs(z - turn @ y @ turn.T).mean())


frame = ek.frames.PCA(on_degenerate="flag")
ways = {"bare": None, "all of the frame": frame, "one at random, then all": ek.frames.Stochastic(frame)}
results = {name: trained(how) for name, how in ways.items()}
for name, (error, difference) in results.items():
    print(f"{name:26s} test error {error:6.3f}   turned inputs differ by {difference:.1e}")
assert results["one at random, then all"][0] < 0.5 * results["bare"][0]
assert results["one at random, then all"][1] < 1e-3 < results["bare"][1]

# %% [markdown]
# ## 7. Exercises
#
# ### Exercise 1
#
# SO(3) has no reflections. How many elements does its frame of principal axes have, and what changes for a function
# that distinguishes left from right, such as the determinant of the first three points?

# %% [markdown]
# ### Solution 1


# %% tags=["solution"]
def volume(x):
    return jnp.linalg.det(x[..., :3, :])


body = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
both_kinds = {
    group: ek.symmetrize(volume, "p x -> ", p=ek.S, x=group, channels=False, how=ek.frames.PCA())
    for group in (ek.O(3), ek.SO(3))
}
sizes = {str(group): sym.frame(body).size for group, sym in both_kinds.items()}
print(sizes)
assert sizes == {"O(3)": 8, "SO(3)": 4}
assert jnp.allclose(both_kinds[ek.SO(3)](body), volume(body), atol=1e-5)  # rotations keep it
assert jnp.allclose(both_kinds[ek.O(3)](body), 0, atol=1e-5)  # reflections change its sign: the average is zero

# %% [markdown]
# ### Exercise 2
#
# Two points coincide. Is the frame that sorts the points still correct, and how do you see it?

# %% [markdown]
# ### Solution 2

# %% tags=["solution"]
doubled = cloud.at[1].set(cloud[0])
sorted_only = ek.symmetrize(flat_network, "p x -> p x", p=ek.S, x=ek.Fixed(2), channels=False, how=ek.frames.Sort())
y = sorted_only(doubled)
assert int(sorted_only.info(doubled).ties) == 1
assert jnp.array_equal(y[0], y[1])  # equal points have equal outputs: the average over their two orders
assert jnp.allclose(sorted_only(doubled[shuffle]), y[shuffle], atol=1e-6)

# %% [markdown]
# ### Exercise 3
#
# Points on a line have two principal values equal to zero. Is that as bad as the octahedron? Consider what the frame
# leaves undetermined, and how the signs affect it.

# %% [markdown]
# ### Solution 3

# %% tags=["solution"]
line = jnp.outer(jnp.array([1.0, -2.0, 0.5]), jnp.array([1.0, 2.0, 2.0]) / 3)
sym = in_space(ek.frames.PCA())
assert int(sym.info(line).rank) == 1
assert not bool(sym.info(line).degenerate)
# The axes across the line are arbitrary, but the input has no extent along them, and in the output their signs cancel:
y = sym(line)
assert jnp.abs(y - (y @ line[0])[:, None] * line[0] / (line[0] @ line[0])).max() < 1e-5  # all of it along the line
turn = jnp.asarray(ek.O(3).random_element(rng), jnp.float32)
assert jnp.allclose(sym(line @ turn.T), y @ turn.T, atol=1e-5)
