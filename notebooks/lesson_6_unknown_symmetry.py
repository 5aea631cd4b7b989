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
# # Lesson 6. What if you do not know the group?
#
# The other lessons begin with a group. In practice you begin with a function or with data, and the group is in doubt. A
# network may break the symmetry that its author claims. The coordinates of the data may hide a symmetry. Or the
# symmetry is only approximate. This lesson measures symmetry, finds it, and softens it:
#
# | package | question | answer |
# | --- | --- | --- |
# | `ek.audit` | Does this function have this symmetry? | error, worst element, largest subgroup, first broken module |
# | `ek.discover` | Which symmetry does this function have? | a group, with its evidence, or a refusal |
# | `ek.relax` | How much of a symmetry should a layer keep? | a gate for each step from a large group to a small one |
#
# From lesson 1 you need signatures such as `"p x -> p x"`, and from lesson 2 the groups of rotations.
#
# | section | question |
# | --- | --- |
# | 1 | Does a function have the symmetry that I believe it has? |
# | 2 | Which part of a network breaks it? |
# | 3 | How large may an error be? |
# | 4 | Which other properties should I check? |
# | 5 | Can the group be found? |
# | 6 | What if there is no symmetry, or almost one? |
# | 7 | What if there are only data? |
# | 8 | Can permutations be found? |
# | 9 | What is left of a group when it is broken? |
# | 10 | How much of a symmetry should a layer keep? |
# | 11 | Is the task invariant at all? |
# | 12 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import equikit as ek
from equikit.auditing import explanations

BLUE, ORANGE, GREEN, GRAY = "#1b79b8", "#d55e00", "#2a8f5c", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
rng = np.random.default_rng(0)


def normal(*shape):
    """Random numbers in float32."""
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


# %% [markdown]
# ## 1. Does a function have the symmetry that I believe it has?
#
# Five equal balls are joined by springs, each ball with each other. The energy of the springs does not change when all
# balls are rotated, reflected or exchanged. Somebody claims the same for the total energy, which includes the weight of
# the balls. `ek.audit` takes any function of JAX, NumPy or PyTorch, a signature, and some inputs. It moves the inputs
# with random elements of the group, and compares. With $g$ acting on inputs and outputs, the error of a sample is
#
# $$\frac{\lVert f(g x) - g f(x) \rVert}{\lVert f(g x) \rVert + \lVert g f(x) \rVert},$$
#
# a number from 0 to 1.


# %%
def energy(x):
    """The energy `[samples, 1]` of balls `[samples, balls, 3, 1]`: of their springs, and of their weight."""
    stretched = jnp.sum((x[:, :, None] - x[:, None]) ** 2, axis=(1, 2, 3)) / 4
    return stretched + 0.5 * jnp.sum(x[:, :, 2], axis=1)


balls = normal(32, 5, 3, 1)
report = ek.audit(energy, "p x -> ", p=ek.S(5), x=ek.O(3), data=balls)
report

# %% [markdown]
# The claim is false, and the report says how. The **error** is a mean with a confidence interval, since O(3) is
# infinite. The **worst element** is the result of a search: it turns the balls upside down. **Kept** is the largest
# subgroup that the function keeps: balls can be exchanged, rotated about the vertical axis, and reflected in vertical
# planes. **First broken** is an operation with its line: `slice`, the cell's `x[:, :, 2]`, takes one coordinate alone.
#
# `report.save("report.html")` writes the page, and the command `equikit audit` does all of this in a shell.

# %%
assert not report.passed
assert report.error > 1000 * report.rounding
assert report.kept["p"].is_whole
assert str(report.kept["x"]) == "O(2) about (0, 0, 1)"
upside_down = report.worst_element.elements["x"] @ [0, 0, 1]
assert np.allclose(upside_down, [0, 0, -1], atol=0.2)
assert report.first_broken.startswith("slice")

# %% [markdown]
# The kept subgroup is a group that layers accept. A vector now has an invariant linear function, its vertical
# component. Under O(3) there was none.

# %%
kept = report.kept["x"].group
print("invariant linear functions:", ek.hom("x -> ", x=ek.O(3)).dim, "under O(3),", ek.hom("x -> ", x=kept).dim, "now")
assert ek.hom("x -> ", x=ek.O(3)).dim == 0
assert ek.hom("x -> ", x=kept).dim == 1
assert report.kept["x"].dimension == 1  # of the Lie algebra: rotations about one axis

# %% [markdown]
# ## 2. Which part of a network breaks it?
#
# The network below maps positions to forces. Its linear layers commute with permutations and rotations, and so does the
# gate, which depends on lengths only. In the second block somebody has added a `LayerNorm`, as in a transformer.


# %%
class Block(nnx.Module):
    def __init__(self, norm, *, rngs):
        self.mix = ek.nn.Linear("p x -> p x", 4, 4, p=ek.S, x=ek.O(3), normalize="mean", rngs=rngs)
        self.norm = norm

    def __call__(self, x):
        gate = jnp.tanh(jnp.sum(x**2, axis=-2, keepdims=True))
        return x + gate * self.norm(self.mix(x))


class Forces(nnx.Module):
    def __init__(self, norm, *, rngs):
        self.embed = ek.nn.Linear("p x -> p x", 1, 4, p=ek.S, x=ek.O(3), normalize="mean", rngs=rngs)
        self.blocks = nnx.List([Block(lambda x: x, rngs=rngs), Block(norm, rngs=rngs)])

    def __call__(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x


network = Forces(nnx.LayerNorm(4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
report = ek.audit(network, "p x -> p x", p=ek.S, x=ek.O(3), data=balls)
print(report.verdict)
print(report.modules)
assert report.first_broken == "blocks.1.norm"

# %% [markdown]
# The audit compares the activations of all modules at $x$ and at $g x$. For each of them it infers how the group acts:
# here by rotation of axis 2. `LayerNorm` is the first module whose input is equivariant and whose output is not. It
# subtracts a mean over channels and divides by a deviation for each coordinate separately, so it treats the axes of
# space as special. All later modules fail too, but they are not at fault.
#
# The remedy is to divide by a length, which rotations do not change.


# %%
def length_norm(x):
    return x / jnp.sqrt(jnp.mean(x**2, axis=(-2, -1), keepdims=True) + 1e-6)


correct = Forces(length_norm, rngs=nnx.Rngs(1))
report = ek.audit(correct, "p x -> p x", p=ek.S, x=ek.O(3), data=balls)
print(report.verdict)
assert report.passed
assert report.first_broken is None

# %% [markdown]
# ## 3. How large may an error be?
#
# As large as rounding explains. In bfloat16, numbers have three digits, and no network is equivariant to more than
# that. The audit therefore measures how much the output changes when rounding errors are added to the input. It works
# with the dtype of the data: the same network, in two precisions.

# %%
half = ek.audit(correct, "p x -> p x", p=ek.S, x=ek.O(3), data=balls.astype(jnp.bfloat16))
for one in (report, half):
    print(f"{one.precision:9s} error {one.error:.1e}, rounding explains {one.rounding:.1e}")
assert half.passed
assert half.error > 1000 * report.error

# %% [markdown]
# An error that is far larger than rounding is a fault in a network that claims exact symmetry. Other networks only
# learn their symmetry, from data that are moved by random elements of the group. A monitor measures the error of a
# model while it is trained: it is a callback of `ek.train.fit`. The task is the sum of the distances of three points
# from the origin. A perceptron learns it with and without random rotations and reflections.


# %%
class Perceptron(nnx.Module):
    def __init__(self, widths, *, rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths)])

    def __call__(self, x):
        h = x.reshape(*x.shape[:-2], -1)
        for layer in self.layers[:-1]:
            h = jax.nn.silu(layer(h))
        return self.layers[-1](h)


def squared(model, batch):
    x, y = batch
    return jnp.mean((model(x) - y) ** 2)


def moved_at_random(batch, *, key):
    x, y = batch
    q, r = jnp.linalg.qr(jax.random.normal(key, (len(x), 3, 3)))
    matrices = q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None]  # uniform on O(3)
    return matrices @ x, y


points = normal(400, 3, 3)  # the last axis counts the points
lengths = jnp.sum(jnp.linalg.norm(points, axis=1), axis=1)[:, None]
monitors = {}
for name, augment in (("as they are", None), ("moved at random", moved_at_random)):
    monitors[name] = ek.auditing.Monitor("x -> ", x=ek.O(3), data=points[:64], every=10)
    ek.train.fit(
        Perceptron((9, 64, 64, 1), rngs=nnx.Rngs(0)),
        squared,
        (points, lengths),
        epochs=201,
        batch=100,
        optimizer=3e-3,
        key=jax.random.key(0),
        augment=augment,
        callback=monitors[name],
    )

fig, ax = plt.subplots(figsize=(5.6, 3))
for (name, monitor), color in zip(monitors.items(), (BLUE, ORANGE), strict=True):
    steps = [entry.step for entry in monitor.history]
    ax.semilogy(steps, [entry.error for entry in monitor.history], color=color, label=f"training data {name}")
ax.semilogy(steps, [entry.rounding for entry in monitor.history], "--", color=GRAY, label="rounding explains")
ax.set(xlabel="epoch", ylabel="error under O(3)")
ax.legend(frameon=False)
plt.show()
plain, augmented = (monitor.history[-1] for monitor in monitors.values())
assert augmented.error < plain.error < monitors["as they are"].history[0].error
assert augmented.error > 1000 * augmented.rounding

# %% [markdown]
# Both errors fall, since an accurate model of an invariant target is invariant. Neither comes near to rounding.

# %% [markdown]
# ## 4. Which other properties should I check?
#
# **Is the force the gradient of an energy?** A network that predicts forces directly can be perfectly equivariant and
# still let a closed path gain energy. Below, each ball is pulled towards the center of all, more strongly the farther
# away it is from the origin. That is equivariant, and no energy has this gradient: its Jacobian is not symmetric.


# %%
def springs(x):
    return jnp.mean(x, axis=-2, keepdims=True) - x


def uneven(x):
    return jnp.sum(x**2, axis=-1, keepdims=True) * springs(x)


assert ek.audit(lambda x: uneven(x[..., 0])[..., None], "p x -> p x", p=ek.S, x=ek.O(3), data=balls).passed
for force in (springs, uneven):
    found = ek.auditing.curl_error(force, balls[0, :, :, 0])
    print(f"{force.__name__:8s} antisymmetric part of the Jacobian: {found}")
    assert found.passed == (force is springs)

# %% [markdown]
# **Does the origin matter?** Rotations about the origin do not move it. The group of an audit contains no translations,
# so there is a function for them, and one for entries that are appended and masked, `padding_error`. The uneven force
# fails again.

# %%
for force in (springs, uneven):
    found = ek.auditing.translation_error(
        lambda x, force=force: force(x[..., 0])[..., None], "p x -> p x", along="x", p=ek.S, x=ek.O, data=balls
    )
    print(f"{force.__name__:8s} {found.error:.1e}, rounding explains {found.rounding:.1e}")
    assert found.passed == (force is springs)

# %% [markdown]
# **Is the explanation symmetric?** Explain the output of an invariant model by the contributions of its inputs. If the
# inputs are permuted, the contributions should be permuted with them. Integrated gradients compare with a baseline
# input. If permutations change the baseline, the method breaks the symmetry, although the model has it. The guarantee
# names the condition that fails, and the mean over the group restores the symmetry.


# %%
def pooled(x):
    return jnp.tanh(jnp.max(x) + jnp.sum(x**2) / 4)


sets = normal(4, 4, 1)
skewed = explanations.integrated_gradients(pooled, baseline=jnp.arange(4.0)[:, None] / 2)
restored = explanations.averaged(skewed, "p -> p", p=ek.S(4))
for explainer in (explanations.integrated_gradients(pooled), skewed, restored):
    score = explanations.equivariance(explainer, sets, "p -> p", p=ek.S(4))
    print(f"{explainer.name:30s} {score}")
    assert (score.value > 0.9999) == (explainer is not skewed)
why = explanations.guarantee(skewed, sets, "p -> ()", p=ek.S(4))
print(why)
assert not why.holds
assert "no   the baseline is invariant" in str(why)

# %% [markdown]
# ## 5. Can the group be found?
#
# An audit needs a candidate. Now there is none. A detector returns four numbers for each of two particles, in
# coordinates that nobody has documented, and a function of these eight numbers. Which matrices leave it unchanged?
#
# If $f(e^{tL} x) = f(x)$ for all $t$, then the derivative at $t = 0$ vanishes: $\nabla f(x) \cdot L x = 0$. This is one
# **linear equation** for the matrix $L$, for every sample and every output. A thousand samples with two outputs give
# 2000 equations with 16 unknowns. Their null space is the Lie algebra of the symmetry group.

# %%
hidden = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]])  # documented by nobody
back = np.linalg.inv(hidden)
metric = back.T @ np.diag([1, -1, -1, -1]) @ back


def detector(x):
    """Two numbers for each sample of two particles `[samples, 4, 2]`."""
    products = jnp.einsum("sic,ij,sjd->scd", x, metric, x)
    return jnp.stack([jnp.tanh(products[:, 0, 0] * products[:, 1, 1] / 9), jnp.tanh(products[:, 0, 1] / 2)], 1)


particles = normal(1000, 4, 2)


def singular_values(function, x):
    """Singular values of the linear equations for L, the largest one set to 1."""
    gradient = jax.vmap(jax.jacobian(lambda one: function(one[None])[0]))(x)
    equations = jnp.einsum("skic,sjc->skij", gradient, x).reshape(-1, x.shape[1] ** 2)
    values = np.linalg.svd(np.asarray(equations, np.float64), compute_uv=False)
    return values / values[0]


def show_spectra(**functions):
    _, ax = plt.subplots(figsize=(5.6, 2.8))
    for (name, (function, x)), color in zip(functions.items(), (BLUE, ORANGE), strict=False):
        values = singular_values(function, x)
        ax.semilogy(range(1, len(values) + 1), values, "o", ms=5, color=color, label=name.replace("_", " "))
    ax.set(xlabel="singular value", ylabel="relative size", ylim=(1e-9, 3))
    ax.legend(frameon=False, loc="lower left")
    plt.show()


show_spectra(the_detector=(detector, particles))
spectrum = singular_values(detector, particles)
assert spectrum[9] > 0.05
assert spectrum[10] < 1e-5  # six directions

# %% [markdown]
# Ten singular values are large and six are rounding errors: the algebra has dimension six. The **gap** between them is
# the evidence. `ek.discover.lie_algebra` solves the same equations, and adds what a result needs to be trusted:
#
# - Coordinates are **rescaled** first, so that the singular values do not depend on the units of the data.
# - A quarter of the samples is held out. On them the **defect** of every generator is measured, with an upper bound
#   that holds with 95 % confidence. For an exact symmetry it is here 5.5 over the number of held-out samples.
# - The algebra is **recognized** by its structure constants and its invariant forms. The result is a name and a change
#   of basis to the standard matrices. Generators are rounded to rational matrices if they allow it.
# - Linear equations see only the connected part of a group. **Reflections** are tested one by one.

# %%
found = ek.discover.lie_algebra(detector, particles)
print(found)
assert found.dimension == 6
assert found.gap > 1000
assert str(found.recognized) == "O(1, 3)"
assert np.allclose(found.certificate, 5.5 / found.held_out, rtol=0.05)
assert found.recognized.exact

# %% [markdown]
# The detector measures special relativity: the group is the Lorentz group O(1, 3), in undocumented coordinates. Its
# invariant metric is the hidden one, up to a factor:

# %%
print(np.round(found.recognized.metric / found.recognized.metric[2, 1], 6) + 0.0)
assert np.allclose(found.recognized.metric / found.recognized.metric[2, 1], metric / metric[2, 1], atol=1e-6)

# %% [markdown]
# `found.group` goes where any other group goes. The network below computes invariants of products of two coordinates
# with a layer of this group, and sees 150 samples. A perceptron that knows nothing of the group sees the same.


# %%
class Invariants(nnx.Module):
    def __init__(self, group, *, rngs):
        self.layer = ek.nn.Linear("x x -> ", 4, 64, x=group, rngs=rngs)
        self.head = nnx.Linear(64, 2, rngs=rngs)

    def __call__(self, x):
        products = x[:, :, None, :, None] * x[:, None, :, None, :]
        return self.head(jax.nn.silu(self.layer(products.reshape(*products.shape[:3], 4))))


def test_error(model):
    """The mean squared error on 850 new samples, relative to the variance."""
    y = detector(particles)
    fitted = ek.train.fit(
        model, squared, (particles[:150], y[:150]), epochs=300, batch=50, optimizer=1e-2, key=jax.random.key(0)
    )
    return float(jnp.mean((fitted.model(particles[150:]) - y[150:]) ** 2) / jnp.var(y[150:]))


informed = test_error(Invariants(found.group, rngs=nnx.Rngs(0)))
ignorant = test_error(Perceptron((8, 64, 64, 2), rngs=nnx.Rngs(0)))
print(f"test error: {informed:.3f} with the group that was found, {ignorant:.3f} without")
assert informed < 0.3 * ignorant

# %% [markdown]
# ## 6. What if there is no symmetry, or almost one?
#
# Least squares always returns something, and a matrix always has a smallest singular value. A method that returns the
# best $L$ finds a symmetry in everything. So the gap decides. Below, one wire of the detector also picks up a bit of
# another signal. The small singular values disappear, and with them the gap. The answer is an error, not a group.


# %%
def faulty(x):
    return detector(x) + 0.5 * jnp.sin(x[:, 0] + x[:, 1] * x[:, 2] + x[:, 3] ** 2)


show_spectra(the_detector=(detector, particles), the_faulty_detector=(faulty, particles))
try:
    ek.discover.lie_algebra(faulty, particles)
except ek.GroupError as error:
    refusal = str(error)
print(refusal)
assert "no Lie algebra stands out" in refusal

# %% [markdown]
# Between the two is the approximate symmetry. Take the balls of section 1 and change their weight. Of the three
# directions of O(3), one is exact at any weight, the rotation about the vertical axis. The singular values of the other
# two are proportional to the weight. So there are two gaps: above all three values, and above the smallest one. The
# larger ratio decides, where all values at the level of rounding count as equal. If both ratios are nearly equal, here
# near a weight of $10^{-2}$, the function refuses, and says how to ask for the smaller group.


# %%
def energy_with(weight):
    def energy(x):
        stretched = jnp.sum((x[:, :, None] - x[:, None]) ** 2, axis=(1, 2, 3)) / 4
        return stretched + weight * jnp.sum(x[:, :, 2], axis=1)

    return energy


many_balls = normal(400, 5, 3, 1)
weights = 10.0 ** np.array([-5, -4, -3, -1.5, -1, 0])
results = [ek.discover.lie_algebra(energy_with(weight), many_balls, "p x -> ") for weight in weights]
fig, ax = plt.subplots(figsize=(5.6, 3))
ax.loglog(weights, [result.spectrum[-3:] for result in results], "o-", color=BLUE)
ax.loglog(weights, [result.spectrum[-4] for result in results], "o-", color=GRAY)
for weight, result in zip(weights, results, strict=True):
    ax.text(weight, 3, str(result.recognized).replace(" x Trivial(1)", ""), ha="center")
ax.set(xlabel="weight of the balls", ylabel="singular values", ylim=(3e-9, 10))
plt.show()
names = [str(result.recognized) for result in results]
print(names)
assert names[:3] == ["O(3)"] * 3
assert names[-1] == "O(2) x Trivial(1)"
assert 1e-6 < results[2].defects.max() < 1e-3

# %% [markdown]
# Gray is the fourth smallest value, of a direction that is no symmetry. Blue are the three smallest; two of them are
# almost equal. For a weight of $10^{-3}$, O(3) is a good answer to any question that tolerates an error of $10^{-4}$,
# and the defects in the report say so. Whether a small value counts as zero depends on the accuracy that you need, not
# on mathematics. Section 10 treats symmetries that hold only approximately.

# %% [markdown]
# ## 7. What if there are only data?
#
# Then there is no gradient. There are two ways:
#
# - Fit a smooth network to the data, and ask the network. The error of the fit is noise in the spectrum, and the gap
#   has to be larger than the noise.
# - Play a game, **LieGAN**. Generators $L_i$ move the data by random elements $e^{\sum w_i L_i}$. A discriminator tells
#   moved data from others, and the generators are trained until it fails. The result has no certificate, but the game
#   also works for data without outputs.
#
# The data: points of the plane, with a number that is constant on unknown ellipses.

# %%
stretch = np.array([[1.5, 0.6], [0.2, 0.8]])
inputs = rng.normal(size=(2000, 2)) @ stretch.T
outputs = np.sum((inputs @ np.linalg.inv(stretch).T) ** 2, axis=1, keepdims=True)

fitted = ek.discover.surrogate(
    inputs[:, :, None], outputs, key=jax.random.key(0), hidden=(64, 64), epochs=40, batch=100
)
by_algebra = ek.discover.lie_algebra(fitted, inputs[:, :, None])
print(by_algebra)
gan = ek.discover.LieGAN(hidden=(32, 32), rates=(1e-2, 2e-3), similarity=0.3)
by_game = gan.fit(inputs[:, :, None], outputs[:, 0], epochs=20, key=jax.random.key(0))


def unit(matrix):
    return matrix / np.linalg.norm(matrix)


true = unit(stretch @ np.array([[0, -1], [1, 0]]) @ np.linalg.inv(stretch))
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
titles = "a network and linear algebra", "LieGAN"
for ax, generator, title in zip(axes, (by_algebra.basis[0], by_game.basis[0]), titles, strict=True):
    generator = unit(generator)
    cosine = abs(np.sum(generator * true))
    ax.scatter(*inputs[:400].T, c=outputs[:400, 0], s=6, cmap="viridis", vmax=6)
    ax.quiver(*inputs[:60].T, *(inputs[:60] @ generator.T).T, color=ORANGE, angles="xy", width=0.004)
    ax.set(title=f"{title}: cosine {cosine:.4f}", xlim=(-4, 4), ylim=(-2.5, 2.5))
    ax.set_aspect("equal")
    assert cosine > 0.98
plt.show()
assert by_algebra.recognized.name == "O(2)"

# %% [markdown]
# Arrows show the motion $L x$. They follow the ellipses of equal color.

# %% [markdown]
# ## 8. Can permutations be found?
#
# The Lie algebra of a finite group is zero, so it tells nothing. For permutations, the question is about graphs. Six
# masses stand on a ring, and springs join neighbors. The recording numbers the masses in an unknown order.
# `ek.discover.permutations` measures for each pair of entries how they act together, searches the automorphisms of this
# weighted graph, and tests each candidate on held-out samples.

# %%
order = np.array([0, 3, 1, 5, 2, 4])  # unknown


def ring(x, stiffness=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)):
    """The energy of six masses on a ring, `[samples, 6]`."""
    around = x[:, order]
    return jnp.sum(jnp.array(stiffness) * (around - jnp.roll(around, -1, axis=1)) ** 2 / 2 + around**4 / 4, axis=1)


masses = normal(500, 6)
symmetry = ek.discover.permutations(lambda x: ring(x[..., 0]), masses[..., None])
print(symmetry)
assert symmetry.name == "D(6)"
assert symmetry.order == 12

# %% [markdown]
# D(6) has 12 elements: 6 rotations of the ring and 6 reflections. Only the rotation by one place and its inverse move
# all masses in one cycle of length six. This cycle is the order of the masses, in one of the two directions. Mixed
# second derivatives confirm it. As recorded they look random, and along the cycle neighbors are next to each other.


# %%
def cycle_of(matrix):
    """The masses that a permutation visits, from the mass 0."""
    images, found = np.argmax(matrix, axis=0), [0]
    while images[found[-1]] != 0:
        found.append(int(images[found[-1]]))
    return found


cycle = next(one for one in map(cycle_of, symmetry.group.elements()) if len(one) == 6)
hessian = jax.vmap(jax.hessian(lambda one: ring(one[None])[0]))(masses[:100])
mixed = jnp.abs(hessian).mean(0) * (1 - jnp.eye(6))
fig, axes = plt.subplots(1, 2, figsize=(5.4, 2.6))
for ax, places, title in zip(axes, (np.arange(6), np.array(cycle)), ("as recorded", "along the cycle"), strict=True):
    ax.imshow(mixed[places][:, places], cmap="Blues")
    ax.set(title=title, xticks=range(6), yticks=range(6), xticklabels=places, yticklabels=places)
plt.show()
print("found:", cycle, "hidden:", order.tolist())
assert np.all(mixed[np.array(cycle), np.roll(cycle, -1)] > 0.5)

# %% [markdown]
# ## 9. What is left of a group when it is broken?
#
# Every second spring of the ring is replaced by a stiffer one. Some of the twelve symmetries remain. They form a
# subgroup, and all candidates are known: `ek.discover.subgroups` lists the subgroups of a finite group, ordered by
# inclusion. From here on the masses are numbered along the ring.

# %%
lattice = ek.discover.subgroups(ek.D(6))
print(lattice)
assert len(lattice) == 16  # the divisors of 6, and their sum: 4 + 12


def damaged(x):
    """The energy of a ring `[samples, 6, 1]` with springs of two kinds."""
    stiffness = jnp.array([1.0, 2.0] * 3)[:, None]
    return jnp.sum(stiffness * (x - jnp.roll(x, -1, axis=1)) ** 2 / 2 + x**4 / 4, axis=1)


rings = normal(64, 6, 1)
dihedral = ek.D(6).elements()
moved = jnp.stack([damaged(rings[:, np.asarray(g)]) for g in dihedral])
errors = np.asarray(jnp.abs(moved - damaged(rings)).mean((1, 2)) / jnp.std(damaged(rings)))
worst = {one: float(errors[one.positions].max()) for one in lattice}
largest = lattice.largest(np.flatnonzero(errors < 1e-5))
print("kept:", largest, "of order", largest.order)
assert str(largest) == "D(3)"
assert {one for one in lattice if worst[one] < 1e-5} == {one for one in lattice if largest.contains(one)}

# %% [markdown]
# Below is the lattice as a **Hasse diagram**. A line joins a group to its maximal subgroups, and the numbers on the
# left are orders. Green groups are kept. A subgroup of a kept group is kept, so green is closed downwards, and there is
# one green group that contains all others. Two groups are called D(3). One has the reflections whose axis runs through
# springs, the other those whose axis runs through masses. The latter exchange the two kinds of springs.

# %%
rows = sorted({one.order for one in lattice})
place = {}
for height, size in enumerate(rows):
    row = [one for one in lattice if one.order == size]
    place |= {one: (column - (len(row) - 1) / 2, height) for column, one in enumerate(row)}
fig, ax = plt.subplots(figsize=(6.6, 4))
for low, high in lattice.graph().edges:
    (a, b), (c, d) = place[low], place[high]
    ax.plot((a, c), (b, d), color=GRAY, lw=0.7, zorder=1)
for one, (a, b) in place.items():
    color = GREEN if worst[one] < 1e-5 else GRAY
    ax.text(a, b, str(one), color="white", ha="center", va="center", bbox={"boxstyle": "round", "fc": color, "lw": 0})
ax.set(xlim=(-4, 4), ylim=(-0.5, len(rows) - 0.5), yticks=range(len(rows)), yticklabels=rows, xticks=[])
ax.spines[["left", "bottom"]].set_visible(False)
plt.show()

# %% [markdown]
# The lattice is also a space for searches. Its moves are one step up or down. A search for the largest kept group
# starts at the trivial group, and goes up as long as it can. An audit finds the same group.

# %%
path = [lattice.subgroups[0]]
while steps := [one for one in lattice.above(path[-1]) if worst[one] < 1e-5]:
    path.append(steps[-1])
print(" < ".join(map(str, path)))
audited = ek.audit(damaged, "z -> ", z=ek.D(6), data=rings)
print("audit:", audited.kept)
assert path[-1] == largest
assert str(audited.kept) == str(largest)

# %% [markdown]
# ## 10. How much of a symmetry should a layer keep?
#
# A layer that commutes with O(3) cannot represent the force on balls with weight, and a free layer needs more data than
# necessary. Between them is a chain of groups, each containing the next:
#
# $$O(3) \supset O(2) + O(1) \supset O(2) + 1 \supset 1.$$
#
# The sum acts on blocks: O(2) on the horizontal coordinates, O(1) or nothing on the vertical one. A smaller group has
# more equivariant maps. `ek.relax.chain` splits them exactly: the maps of the largest group, then for each step the
# maps that are new, orthogonal to the ones before.

# %%
groups = [ek.O(3), ek.O(2) + ek.O(1), ek.O(2) + ek.Trivial(1), ek.Trivial(3)]
chain = ek.relax.chain("p x -> p x", p=ek.S(5), x=groups)
counts = {name: [len(basis) for basis in parts] for name, parts in chain.broken().items()}
print(chain.dims, counts)
assert chain.dims == (2, 2, 0, 14)
assert sum(chain.dims) == ek.hom("p x -> p x", p=ek.S(5), x=ek.Trivial(3)).dim
assert counts["-> p x"] == [0, 1, 2]  # biases

# %% [markdown]
# The first step adds maps that treat the vertical coordinate differently. The second adds a single **bias**, the
# vertical vector. The last adds all others. `ek.relax.Linear` is the layer of O(3), plus these parts, each with a
# **gate**. A penalty on the norm of each part pulls it to zero unless the data need it. The data: springs that are
# stiffer vertically, weight, and noise.

# %%
stiffness = jnp.array([1.0, 1.0, 2.0])[:, None]
x = normal(128, 5, 3, 1)
y = stiffness * (jnp.mean(x, axis=1, keepdims=True) - x) - 0.5 * jnp.array([0.0, 0.0, 1.0])[:, None]
y += 0.1 * normal(*x.shape)


def sizes(layer):
    """The norm of the maps that each step adds."""
    return jnp.sqrt(2 * layer.penalty() + 1e-6)


def with_penalty(layer, batch):
    return squared(layer, batch) + 0.02 * jnp.sum(sizes(layer))


history = []
layer = ek.relax.Linear(chain, 1, 1, gates=1.0, rngs=nnx.Rngs(1))
relaxed = ek.train.fit(
    layer,
    with_penalty,
    (x, y),
    epochs=500,
    optimizer=2e-2,
    key=jax.random.key(0),
    callback=lambda epoch, training, validation, *, model: history.append(np.asarray(sizes(model))),
)
fig, ax = plt.subplots(figsize=(5.6, 3))
steps = ("O(3) → O(2) + O(1): stiffness", "O(2) + O(1) → O(2) + 1: weight", "O(2) + 1 → 1: nothing")
for curve, label, color in zip(np.transpose(history), steps, (BLUE, ORANGE, GRAY), strict=True):
    ax.plot(curve, color=color, label=label)
ax.set(xlabel="epoch", ylabel="norm of what a step adds", ylim=(0, 3))
ax.legend(frameon=False)
plt.show()
stiff, weight, nothing = history[-1]
print(f"norms: stiffness {stiff:.2f}, weight {weight:.2f}, nothing {nothing:.3f}")
assert min(stiff, weight) > 50 * nothing

# %% [markdown]
# The training has chosen the group: the data need O(2) + 1, the group that section 1 found for the energy. A penalty on
# norms rather than on their squares sets parts to zero, as in the lasso.
#
# If the smaller group is known, gates are not necessary. `ek.relax.restrict` turns the layer of a trained network into
# the layer of a subgroup that computes the same. Training then continues with more freedom. The subgroup may be the one
# that the audit of section 1 has found.

# %%
strict = ek.nn.Linear("p x -> p x", 1, 1, p=ek.S(5), x=ek.O(3), rngs=nnx.Rngs(0))
free = ek.relax.restrict(strict, x=kept)
print(f"{strict.space.dim} maps before, {free.space.dim} after")
assert jnp.allclose(strict(x), free(x), atol=1e-5)
assert (strict.space.dim, free.space.dim) == (2, 4)

# %% [markdown]
# ## 11. Is the task invariant at all?
#
# Augmentation with random rotations helps if the task is invariant, and hurts if it is not. Which is it? Formulate it
# as a constraint: minimize the loss, subject to a loss of at most $\epsilon$ on the worst rotations. The multiplier
# $\gamma$ of the constraint rises while it is violated, and falls otherwise. If the task is invariant, the constraint
# is soon satisfied, and $\gamma$ returns to zero. If not, no model satisfies it, and $\gamma$ keeps rising, faster if
# more of the task is not invariant. Three tasks in the plane: $|x|^2 / 2$, the first coordinate, and a mixture.


# %%
def turned(x, *, key):
    """Rotate each point `[samples, 2]` by its own random angle."""
    angle = jax.random.uniform(key, (len(x), 1), maxval=2 * jnp.pi)
    a, b = x[:, :1], x[:, 1:]
    return jnp.concatenate([jnp.cos(angle) * a - jnp.sin(angle) * b, jnp.sin(angle) * a + jnp.cos(angle) * b], 1)


def by_row(model, batch):
    return jnp.mean((model(batch[0][..., None]) - batch[1]) ** 2, axis=-1)


def multipliers(broken):
    """γ after each epoch, for a target whose part `broken` is not invariant."""
    x = jax.random.normal(jax.random.key(1), (512, 2))
    y = (1 - broken) * jnp.sum(x**2, 1, keepdims=True) / 2 + broken * x[:, :1]
    model = ek.relax.Augmentation(Perceptron((2, 32, 1), rngs=nnx.Rngs(0)), turned, loss=by_row, epsilon=0.1, rate=1e-2)
    found = []
    ek.train.fit(
        model,
        ek.relax.Augmentation.objective,
        (x, y),
        epochs=100,
        batch=128,
        optimizer=1e-2,
        key=jax.random.key(2),
        callback=lambda epoch, training, validation, *, model: found.append(float(model.multiplier[...])),
    )
    return found


curves = {broken: multipliers(broken) for broken in (0.0, 0.5, 1.0)}
fig, ax = plt.subplots(figsize=(5.6, 3))
for (broken, curve), color in zip(curves.items(), (GREEN, BLUE, ORANGE), strict=True):
    ax.plot(curve, color=color, label=f"{broken:.0%} of the target is not invariant")
ax.set(xlabel="epoch", ylabel="multiplier", ylim=(-0.1, 6.5))
ax.legend(frameon=False)
plt.show()
rises = [curve[-1] - curve[len(curve) // 2] for curve in curves.values()]
print("rise in the second half:", np.round(rises, 2))
assert rises[0] < 0 < 0.1 < rises[1] < 0.5 * rises[2]

# %% [markdown]
# ## 12. Exercises
#
# ### Exercise 1
#
# A network applies $\tanh$ to each component of a vector of the plane. Which subgroup of O(2) does it keep? How many
# elements does that have? Guess first, then audit it. What about a rectifier, $\max(x, 0)$?

# %% [markdown]
# ### Solution 1

# %% tags=["solution"]
for function, expected in ((jnp.tanh, 8), (jax.nn.relu, 2)):
    pointwise = ek.audit(function, "x -> x", x=ek.O(2), channels=1)
    print(f"{function.__name__}: {pointwise.kept}, error {pointwise.error:.2f}")
    assert len(pointwise.kept["x"].group.elements()) == expected
# tanh is odd: it keeps signed permutations, the symmetries of a square. The rectifier only keeps the exchange.

# %% [markdown]
# ### Exercise 2
#
# A function returns the determinant of three vectors in space. What is the dimension of its Lie algebra? Which group do
# you expect, and which function of three vectors is invariant under it, other than the determinant?

# %% [markdown]
# ### Solution 2

# %% tags=["solution"]
volumes = ek.discover.lie_algebra(lambda x: jnp.linalg.det(x), normal(500, 3, 3))
print(volumes)
assert volumes.dimension == 8  # matrices with trace zero
assert volumes.recognized.name == "SL(3)"
assert ek.hom("x x x -> ", x=volumes.group).dim == 1  # among trilinear functions there is no other one

# %% [markdown]
# ### Exercise 3
#
# A layer on six points on a ring is to be softened in steps: all permutations, then rotations and reflections of the
# ring, then rotations, then nothing. How many maps does each step add? Split the matrix that shifts all points by one.
# Which part of it does each group contribute?

# %% [markdown]
# ### Solution 3

# %% tags=["solution"]
around = ek.relax.chain("p -> p", p=[ek.S(6), ek.D(6), ek.Z(6), ek.Trivial(6)])
print(repr(around))
assert around.dims == (2, 2, 2, 30)
shift = np.roll(np.eye(6), 1, axis=0)
parts = around.split(shift)
assert np.allclose(parts[0], (1 - np.eye(6)) / 5)  # the mean over all permutations
assert np.allclose(parts[0] + parts[1], (shift + shift.T) / 2)  # reflections exchange the two directions
assert np.allclose(parts[2], (shift - shift.T) / 2)  # only rotations tell them apart
assert np.allclose(parts[3], 0)
