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
# # Lesson 3. One layer for a point cloud: permutations and rotations
#
# Lesson 1 permuted the entries of a list, lesson 2 rotated vectors. A point cloud needs both at once: its points have
# no order, and its coordinates no preferred direction. This lesson combines the two, and then trains a network on rigid
# bodies, compared with networks that have to learn from examples what this one knows from the start.
#
# You need section 3 of lesson 1 (set partitions as diagrams) and section 2 of lesson 2 (pairings).
#
# | section | question |
# | --- | --- |
# | 1 | Which linear maps commute with two groups at once? |
# | 2 | What does the second diagram do, and what about translations? |
# | 3 | What may follow a linear layer? |
# | 4 | Does it help, and by how much? |
# | 5 | What if space is replaced by spacetime? |
# | 6 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from IPython.display import HTML

import equikit as ek
from equikit.draw import diagram_svg, matrix_svg

BLUE, ORANGE, GRAY = "#1b79b8", "#d55e00", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
key, rng = jax.random.key(0), np.random.default_rng(3)


def show(*parts):
    """Diagrams, integer matrices and words, side by side."""
    draw = {ek.Diagram: diagram_svg, np.ndarray: matrix_svg, str: "<span>{}</span>".format}
    cells = "".join(draw[type(part)](part) for part in parts)
    return HTML(f'<div style="display:flex;flex-wrap:wrap;align-items:center;gap:14px">{cells}</div>')


def table(head, rows):
    """A table of HTML."""
    style = 'style="text-align:left; padding:0.2em 0.8em; border-bottom:1px solid #8886"'
    lines = ["".join(f"<td {style}>{cell}</td>" for cell in row) for row in rows]
    titles = "".join(f"<th {style}>{title}</th>" for title in head)
    return HTML(f"<table><tr>{titles}</tr><tr>{'</tr><tr>'.join(lines)}</tr></table>")


# %% [markdown]
# ## 1. Two groups, two axes
#
# A cloud of $n$ points is an array $X$ of shape $[n, 3]$, one row for each point. Listing the points in another order
# exchanges rows: $X$ becomes $P X$. Rotating the axes of space mixes columns: $X$ becomes $X g^T$. The order of the two
# does not matter.

# %%
X = rng.normal(size=(4, 3))
P, g = np.eye(4)[[2, 0, 3, 1]], ek.O(3).random_element(rng)
assert np.allclose((P @ X) @ g.T, P @ (X @ g.T))
assert np.allclose(np.kron(P, g) @ X.ravel(), (P @ X @ g.T).ravel())

fig, axes = plt.subplots(1, 4, figsize=(8.4, 2.7))
pictures = {"the cloud X": X, "rows exchanged, P X": P @ X, "columns mixed, X gᵀ": X @ g.T, "both, P X gᵀ": P @ X @ g.T}
for ax, (title, array) in zip(axes, pictures.items(), strict=True):
    ax.imshow(array, cmap="RdBu", vmin=-2.5, vmax=2.5)
    for i, j in itertools.product(range(4), range(3)):
        ink = "white" if abs(array[i, j]) > 1.6 else "black"
        ax.text(j, i, f"{array[i, j]:.1f}".replace("-0.0", "0.0"), ha="center", va="center", size=9, color=ink)
    ax.set_title(title, size=10)
    ax.axis("off")
fig.tight_layout()
plt.show()

# %% [markdown]
# Written as one vector of $3n$ numbers, row after row, the cloud is multiplied by the Kronecker product $P \otimes g$.
# Which matrices $W$ commute with all of these? First without theory: $W (P \otimes g) = (P \otimes g) W$ is a set of
# linear equations for the $12 \cdot 12 = 144$ entries of $W$. Take a few random elements and count the solutions.

# %%
rows = []
for _ in range(4):
    both = np.kron(np.eye(4)[ek.S(4).random_element(rng)], ek.O(3).random_element(rng))
    rows.append(np.kron(both, np.eye(12)) - np.kron(np.eye(12), both.T))  # acts on the entries of W
values = np.linalg.svd(np.concatenate(rows), compute_uv=False)
solutions = int((values < 1e-9).sum())
print(f"{solutions} independent solutions; the next singular value is {values[-1 - solutions]:.2f}")
assert solutions == 2

# %% [markdown]
# Now with diagrams. In a signature each axis gets a label, and each label a group: `p` for points, `x` for space.

# %%
space = ek.hom("p x -> p x", p=ek.S, x=ek.O(3))
assert space.dim == 2
space

# %% [markdown]
# Vertices with the same label may be joined, vertices with different labels never. So a diagram is a **set partition**
# of the vertices `p` together with a **pairing** of the vertices `x`. Here `x` has one pairing and `p` has two
# partitions. The matrix is the Kronecker product of the two matrices: the identity of space, times one of the two maps
# of lesson 1.

# %%
for D, partition in zip(space.diagrams, ek.hom("p -> p", p=ek.S).diagrams, strict=True):
    pairing = ek.Diagram.identity("x")
    assert (D.matrix({"p": 4, "x": 3}) == np.kron(partition.matrix(4), pairing.matrix(3))).all()
first, second = space.diagrams
show(second, ":", partition.matrix(4), "&otimes;", pairing.matrix(3), "=", second.matrix({"p": 4, "x": 3}))

# %% [markdown]
# ### Dimensions multiply
#
# A diagram is chosen label by label, so the number of diagrams is a product. To count, cross out all labels but one.


# %%
def only(label, signature):
    """The signature with the other labels crossed out."""
    return " ".join(word for word in signature.split() if word in (label, "->"))


rows = []
for signature in (
    "p x -> p x",
    "p x x -> p x x",
    "p x p x -> p x x",
    "p x p x -> p",
    "p x p x -> p x p x",
    "p x -> p",
    "p x p x -> p x",
):
    points = ek.hom(only("p", signature), p=ek.S).dim
    axes_of_space = ek.hom(only("x", signature), x=ek.O(3)).dim
    together = ek.hom(signature, p=ek.S, x=ek.O(3)).dim
    assert together == points * axes_of_space
    rows.append((signature, points, axes_of_space, together))
assert [row[3] for row in rows] == [2, 6, 15, 5, 45, 0, 0]
table(["signature", "partitions of p", "pairings of x", "diagrams"], rows)

# %% [markdown]
# The two zeros are there because an odd number of vertices cannot be paired: no linear layer makes a number from
# vectors. Section 3 has to find another way.
#
# Here are the six diagrams for a tensor at each point, as two rows of three. The pairing changes along a row, and the
# partition from row to row.

# %%
tensors = ek.hom("p x x -> p x x", p=ek.S, x=ek.O(3)).diagrams
pairs = [str(D).split(": ")[1].split(" | ") for D in tensors]
assert sum("1 1'" in blocks for blocks in pairs) == 3
alike = [D for D, blocks in zip(tensors, pairs, strict=True) if "1 1'" in blocks]
mixed = [D for D, blocks in zip(tensors, pairs, strict=True) if "1 1'" not in blocks]
HTML(show("each point itself:", *alike).data + show("sum over points:", *mixed).data)

# %% [markdown]
# A layer has one weight for each diagram and each pair of channels. A layer that commutes only with permutations, and
# treats the coordinates as channels, has nine times as many.

# %%
layer = ek.nn.Linear("p x -> p x", 4, 8, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
unaware = ek.nn.Linear("p x -> p x", 4, 8, p=ek.S, x=ek.Fixed(3), rngs=nnx.Rngs(0))
assert layer.kernel["p x -> p x"].shape == (2, 4, 8)  # diagrams, channels in, channels out
assert unaware.kernel["p x -> p x"].size == 9 * layer.kernel["p x -> p x"].size
for size in (1, 2, 10):  # one set of weights, any number of points
    ek.testing.assert_equivariant(nnx.jit(layer), "p x -> p x", p=ek.S(size), x=ek.O(3), channels=4, key=key)
error = ek.testing.equivariance_error(nnx.jit(unaware), "p x -> p x", p=ek.S(10), x=ek.O(3), channels=4, key=key)
print(f"relative error of the other layer under rotations: {error:.1f}")
assert error > 0.1

# %% [markdown]
# ## 2. The center, and translations
#
# Call the second diagram $D$. It gives each point the sum of all points. So $D / n$ replaces each point by the
# **center** of the cloud, and $I - D / n$ subtracts the center. Applying either twice is the same as applying it once,
# because $D D = n D$: a loop in the composition counts the points.

# %%
print(second @ second)
n = 4
sizes = {"p": n, "x": 3}
assert str(second @ second).startswith("n_p * ")
D = second.matrix(sizes)
assert np.array_equal(D @ D, n * D)
assert np.allclose((D @ X.ravel() / n).reshape(n, 3), X.mean(0))

# %% [markdown]
# A third group acts on clouds: moving all points by the same vector $t$. It is not linear, so no label stands for it.
# But linear maps can be chosen to respect it. Let $W = a I + b D$. Then $W$ maps a shift by $t$ to a shift by $(a + n
# b)\, t$. With $a + n b = 1$ the output moves along with the input; with $a + n b = 0$ it does not change. The second
# holds for $I - D / n$. So it is enough to subtract the center once, before the network.


# %%
def centered(places, mask):
    """Subtract the mean of the points that are there; absent points become zero."""
    there = mask[..., None]
    mean = (places * there).sum(-2, keepdims=True) / there.sum(-2, keepdims=True)
    return (places - mean) * there


t, everyone = rng.normal(size=3), np.ones(4, bool)
assert np.allclose(centered(X + t, everyone), centered(X, everyone))
assert np.allclose(centered(P @ X @ g.T, everyone), P @ centered(X, everyone) @ g.T)  # still commutes
assert np.allclose(((np.eye(12) - D / n) @ X.ravel()).reshape(4, 3), centered(X, everyone))
for a, b in ((1, 0), (0, 1 / n), (1, -1 / n), (0.3, 0.7 / n)):
    W = a * np.eye(12) + b * D
    assert np.allclose((W @ (X + t).ravel() - W @ X.ravel()).reshape(4, 3), (a + n * b) * t)

# %% [markdown]
# ## 3. What may follow a linear layer?
#
# Most networks apply a function to each entry. That commutes with permutations, because the function does not depend on
# the position of an entry. It does not commute with rotations. Below, arrows of length one are rotated by $40°$ and
# passed through ReLU, in both orders. The ends, which lie on a circle at first, land in different places.

# %%
angle = np.linspace(0, 2 * np.pi, 25)[:-1]
ring = np.array([np.cos(angle), np.sin(angle)])
c, s = np.cos(np.radians(40)), np.sin(np.radians(40))
turn = np.array([[c, -s], [s, c]])


def relu(v):
    return np.maximum(v, 0)


def gate(v):
    """A vector times a function of its length."""
    return v * np.tanh(np.sum(v**2, 0)) * 1.2


fig, axes = plt.subplots(1, 2, figsize=(7, 3.3), sharex=True, sharey=True)
for ax, function, title in zip(axes, (relu, gate), ("ReLU of each coordinate", "gated by the length"), strict=True):
    ax.plot(*turn @ function(ring), "o", color=BLUE, ms=8, label="function, then turn")
    ax.plot(*function(turn @ ring), "o", color=ORANGE, ms=4, label="turn, then function")
    ax.plot(*np.append(ring, ring[:, :1], 1), color=GRAY, lw=0.6)
    ax.set_title(title, size=10)
    ax.set(aspect="equal")
    ax.axis("off")
fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="lower center", ncols=2)
fig.subplots_adjust(bottom=0.12)
plt.show()
assert not np.allclose(turn @ relu(ring), relu(turn @ ring))
assert np.allclose(turn @ gate(ring), gate(turn @ ring))

# %% [markdown]
# In space the error of ReLU is as large as the vectors themselves. `Pointwise` is a layer for such functions, and it
# raises an error with the reason if they do not commute.

# %%
try:
    ek.nn.Pointwise(jax.nn.relu, "p x", p=ek.S, x=ek.O(3))
except ek.OptionError as reason:
    print(reason)
else:
    raise AssertionError("there must be no such layer")

# %% [markdown]
# Two operations commute: multiplying a vector by a function of invariants (`Gated`), and multiplying vectors with each
# other, which gives tensors and dot products (`Bilinear`). Products also solve the problem of section 1. There is no
# linear map `"p x -> p"`, but the length of a vector is the square root of a product.

# %%
gated = ek.nn.Gated({"p x": 4}, p=ek.S, x=ek.O(3))
assert set(gated.inputs) == {"p x", "gate of p x"}  # vectors, and a number for each vector
products = ek.nn.Bilinear({"p x": 4}, 4, {"p": 4, "p x x": 4}, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
vectors = ({"p x": 4}, {"p x": 4})
trials = {
    "ReLU, on numbers p": (jax.nn.relu, "p -> p"),
    "ReLU, on vectors p x": (jax.nn.relu, "p x -> p x"),
    "tanh, on vectors p x": (jnp.tanh, "p x -> p x"),
    "gates": (gated, gated.inputs, {"p x": 4}),
    "products": (nnx.jit(products), {"p x": 4}, {"p": 4, "p x x": 4}),
}
errors = {}
for name, (function, *kind) in trials.items():
    groups = {"p": ek.S(6), "x": ek.O(3)} if name != "ReLU, on numbers p" else {"p": ek.S(6)}
    widths = {"channels": 4} if len(kind) == 1 else {}
    errors[name] = ek.testing.equivariance_error(function, *kind, key=key, groups=groups, **widths)
assert all(errors[name] > 0.1 for name in ("ReLU, on vectors p x", "tanh, on vectors p x"))
assert all(errors[name] < 1e-5 for name in ("ReLU, on numbers p", "gates", "products"))
table(["function", "relative error"], [(name, f"{error:.1g}") for name, error in errors.items()])

# %% [markdown]
# ## 4. Rigid bodies
#
# Now a task. A rigid body consists of points with masses. Its **tensor of inertia** says how hard it is to rotate the
# body about its center of mass, around each axis; exercise 2 of lesson 2 derived it. With the fractions $w_i = m_i /
# \sum_j m_j$ and the positions $r_i$ relative to the center of mass $\sum_i w_i r_i$, and per unit of mass,
#
# $$\Theta = \mathrm{tr}(Q)\, I - Q, \qquad Q = \sum_i w_i\, r_i r_i^T.$$
#
# A network that gets positions and masses has to find $\Theta$. This takes a weighted mean, products and a division.
# The answer is known exactly, so this is a test and not an application. The bodies have 4 to 12 points, padded to 12
# with absent points, and all are long in one direction and flat in another.

# %%
ROOM, SHAPE = 12, np.array([0.4, 0.8, 1.6])


def bodies(count, least, most, room=ROOM):
    """Random places, masses and the mask of points that are there."""
    mask = np.arange(room) < rng.integers(least, most + 1, count)[:, None]
    places = rng.normal(size=(count, room, 3)) * SHAPE + 5 * rng.normal(size=(count, 1, 3))  # anywhere
    masses = rng.uniform(0.2, 2, (count, room)) * mask
    return centered(places, mask).astype(np.float32), masses.astype(np.float32), mask


def inertia(places, masses, mask):
    """The tensor of inertia about the center of mass, divided by the mass."""
    share = (masses / masses.sum(1, keepdims=True))[..., None]
    r = places - (share * places).sum(1, keepdims=True)
    Q = np.einsum("bpi,bpj->bij", share * r, r)
    return (np.trace(Q, axis1=1, axis2=2)[:, None, None] * np.eye(3) - Q).astype(np.float32)


def turned(turns, body, tensor):
    """A body and its tensor, both turned."""
    places, *rest = body
    return (jnp.einsum("bij,bpj->bpi", turns, places), *rest), turns @ tensor @ turns.transpose(0, 2, 1)


def random_turns(count):
    return np.array([ek.O(3).random_element(rng) for _ in range(count)], np.float32)


train, test = bodies(2000, 4, 12), bodies(1000, 4, 12)
goal, test_goal = inertia(*train), inertia(*test)
other, other_goal = turned(random_turns(1000), test, test_goal)
assert np.allclose(inertia(*map(np.asarray, other)), other_goal, atol=1e-4)  # the tensor turns with the body

# %% [markdown]
# The network is a list of features. The inputs are vectors and numbers at each point; the hidden features are numbers
# and vectors, and then tensors; the output is one tensor for the whole body. Each hidden layer is linear plus bilinear
# and then gated. The activation is $\tanh$, so that numbers stay bounded and the output is of second degree in the
# lengths, up to the gates. The points remain until the last layer, so that every layer has an axis for the mask.
#
# Its rivals get the same numbers in one flat row. The second of them sees each body rotated at random in every step,
# which is called augmentation.


# %%
class Equivariant(nnx.Module):
    def __init__(self, rngs):
        features = [{"p x": 1, "p": 1}, {"p": 16, "p x": 8}, {"p x x": 8}, {"x x": 1}]
        self.net = ek.nn.MLP(features, activation=jnp.tanh, p=ek.S, x=ek.O(3), rngs=rngs)

    def __call__(self, places, masses, mask):
        features = {"p x": places[..., None], "p": masses[..., None]}
        return self.net(features, mask={"p": mask})["x x"][..., 0]


class Flat(nnx.Module):
    def __init__(self, rngs, width=128):
        sizes = (4 * ROOM, width, width, 9)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])

    def __call__(self, places, masses, mask):
        y = jnp.concatenate([places, masses[..., None]], -1).reshape(len(places), 4 * ROOM)
        for layer in self.layers[:-1]:
            y = jax.nn.silu(layer(y))
        return self.layers[-1](y).reshape(-1, 3, 3)


def mean_square(output, target):
    return jnp.mean((output - target) ** 2)


def fit(net, inputs, target, loss=mean_square, rate=1e-2, steps=1000, batch=64, augment=False):
    """Train a copy with Adam."""
    turns = jnp.asarray(random_turns(1000))

    def turn(batch, *, key):
        return turned(turns[jax.random.randint(key, (len(batch[1]),), 0, len(turns))], *batch)

    fitted = ek.train.fit(
        net,
        lambda net, batch: loss(net(*batch[0]), batch[1]),
        (inputs, target),
        epochs=steps // (len(target) // batch),
        batch=batch,
        optimizer=rate,
        key=jax.random.key(0),
        augment=turn if augment else None,
    )
    return nnx.jit(fitted.model)


models = {
    "equivariant": (Equivariant, {}),
    "MLP": (Flat, {"rate": 3e-3}),
    "MLP, augmented": (Flat, {"rate": 3e-3, "augment": True, "steps": 4000}),
}
sizes = {
    name: sum(array.size for array in jax.tree.leaves(nnx.state(model(nnx.Rngs(0)), nnx.Param)))
    for name, (model, _) in models.items()
}
trained = {name: fit(model(nnx.Rngs(0)), train, goal, **options) for name, (model, options) in models.items()}

# %% [markdown]
# The error is the root mean square error over all entries of the tensors. The last columns show the largest relative
# errors under random elements of the two groups, for random inputs.


# %%
def error_of(net, body, tensor):
    return float(jnp.sqrt(mean_square(net(*body), tensor)))


def as_features(net):
    """The network in the form that equikit.testing calls."""
    there = jnp.ones((2, ROOM), bool)
    return lambda x: {"x x": net(x["p x"][..., 0], x["p"][..., 0], there)[..., None]}


kind = ({"p x": 1, "p": 1}, {"x x": 1})
rows, errors, moved = [], {}, {}
for name, net in trained.items():
    errors[name] = [error_of(net, test, test_goal), error_of(net, other, other_goal)]
    moved[name] = [
        ek.testing.equivariance_error(as_features(net), *kind, key=key, groups={"p": p, "x": x})
        for p, x in ((ek.Fixed(ROOM), ek.O(3)), (ek.S(ROOM), ek.Fixed(3)))
    ]
    rows.append((name, f"{sizes[name]:,}", *(f"{e:.3f}" for e in errors[name]), *(f"{e:.1g}" for e in moved[name])))
constant = goal.mean(0)
errors["mean of the training set"] = [
    float(np.sqrt(mean_square(constant, tensor))) for tensor in (test_goal, other_goal)
]
rows.append(("mean of the training set", 9, *(f"{e:.3f}" for e in errors["mean of the training set"]), "", ""))
assert np.isclose(*errors["equivariant"], rtol=1e-3)
assert max(errors["equivariant"]) < 0.05
assert min(min(errors[name]) for name in ("MLP", "MLP, augmented")) > 5 * max(errors["equivariant"])
assert errors["MLP"][1] > 1.5 * errors["MLP"][0]  # it has learned the direction of the data, too
assert max(moved["equivariant"]) < 1e-4
table(["model", "parameters", "test error", "bodies turned", "under rotations", "under permutations"], rows)

# %% [markdown]
# The equivariant network has the same error in both columns, by construction. The plain MLP learned that bodies are
# long in the third direction: rotated bodies double its error. Augmentation removes that difference, and here also
# helps in general, like a larger set of examples. But the output still changes with the direction and with the order of
# the points, and 2,000 bodies are few to learn both from.
#
# The eigenvalues of $\Theta$ are the **principal moments**, which are invariant. Here are those of the rotated bodies.

# %%
truth = np.linalg.eigvalsh(other_goal)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
for ax, (name, net) in zip(axes, trained.items(), strict=True):
    symmetric = np.asarray(net(*other))
    guess = np.linalg.eigvalsh((symmetric + symmetric.transpose(0, 2, 1)) / 2)
    ax.plot([0, 8], [0, 8], color=GRAY, lw=0.8)
    ax.plot(truth[:300].ravel(), guess[:300].ravel(), ".", color=BLUE if name == "equivariant" else ORANGE, ms=2)
    ax.set_title(name, size=10)
    ax.set(xlim=(-0.5, 8), ylim=(-0.5, 8), xlabel="true moment", aspect="equal")
axes[0].set_ylabel("predicted moment")
fig.tight_layout()
plt.show()

# %% [markdown]
# ### More points than in training
#
# All sums of the layer are means over the present points, so the same weights serve any number of points. The rivals
# cannot even take more than 12.

# %%
fig, ax = plt.subplots(figsize=(7, 3.2))
curves = {}
for name, net in trained.items():
    counts = [3, 4, 6, 8, 10, 12] + [16, 24, 48] * (name == "equivariant")
    curves[name] = []
    for count in counts:
        body = bodies(500, count, count, room=max(count, ROOM))
        curves[name].append(error_of(net, body, inertia(*body)))
    style = {"equivariant": (BLUE, "-"), "MLP": (ORANGE, "-"), "MLP, augmented": (ORANGE, "--")}[name]
    ax.plot(counts, curves[name], style[1], marker="o", ms=4, color=style[0], label=name)
ax.axvspan(4, 12, color=GRAY, alpha=0.15, lw=0)
ax.text(7, 1.0, "in training", color=GRAY, ha="center")
ax.set(xlabel="points", ylabel="test error", xscale="log", yscale="log", ylim=(0.008, 1.6))
ax.set_xticks(counts_shown := [3, 4, 6, 8, 12, 16, 24, 48], [str(count) for count in counts_shown])
ax.minorticks_off()
ax.legend(frameon=False, loc="center right")
plt.show()
assert max(curves["equivariant"]) < 0.1

# %% [markdown]
# The values at absent points do not matter, not even NaN.

# %%
net = trained["equivariant"]
places, masses, mask = test
dirty = np.where(mask[..., None], places, np.nan).astype(np.float32)
assert not mask.all()
assert np.allclose(net(dirty, masses, mask), net(*test), atol=1e-5)

# %% [markdown]
# ## 5. Another group on the second axis
#
# Nothing above is specific to space. The particles from a collision are a cloud as well: each has an energy and a
# momentum, four numbers that mix when the observer moves. Their group is the Lorentz group, and it takes one line.

# %%
jets = ek.nn.MLP([{"h m": 1}, {"h": 8, "h m": 4}, {"h": 8}, {"": 1}], h=ek.S, m=ek.Lorentz, rngs=nnx.Rngs(0))
ek.testing.assert_equivariant(nnx.jit(jets), {"h m": 1}, {"": 1}, h=ek.S(6), m=ek.Lorentz, key=key)

# %% [markdown]
# There are two invariant numbers of second degree: pairing the two axes `m` leaves two partitions of the two `h`. One
# is the sum of the squared masses, the other the squared mass of the sum. Two photons have no mass, but a particle that
# decays into two photons has one, and this is how it is found.

# %%
second_degree = ek.hom("h m h m -> ", h=ek.S(2), m=ek.Lorentz)
photons = np.array([[3.0, 0, 0, 3], [5.0, 0, 4, 3]])  # energy and momentum
squares = {
    str(D).split(": ")[1]: float(M @ np.kron(photons.ravel(), photons.ravel()))
    for D, M in zip(second_degree.diagrams, second_degree.matrices()[:, 0], strict=True)
}
total = photons.sum(0)
assert second_degree.dim == 2
assert sorted(abs(value) for value in squares.values()) == [0, abs(total[0] ** 2 - (total[1:] ** 2).sum())] == [0, 12]
print(squares)

# %% [markdown]
# ## 6. Exercises
#
# Try each exercise before you read on. The solutions follow in separate cells, and assert what they claim.
#
# ### Exercise 1. Forty-five, counted twice
#
# The table in section 1 has 45 diagrams for `"p x p x -> p x p x"`. The dimension of the space of maps that commute
# with a group is also the average, over the group, of the trace of the matrix that acts on their entries. Use this to
# count once more, for $n = 4$ points and for $n = 2$. What does each of the two numbers count?

# %% [markdown]
# ### Solution 1
#
# The matrix that acts is $(P \otimes g)^{\otimes 4}$, twice for the input and twice for the output. Its trace is
# $(\mathrm{tr}\, P)^4 (\mathrm{tr}\, g)^4$, so the average is a product of two averages. The trace of $P$ is the number
# of fixed points, and 24 permutations can be listed. For $O(3)$ a rotation by the angle $\alpha$ has the trace $1 + 2
# \cos \alpha$, the angle has the density $(1 - \cos \alpha) / \pi$ between $0$ and $\pi$, and a reflection only changes
# the sign. The first average counts partitions, the second pairings. With two points partitions into more than two
# blocks are zero, and 8 of the 15 are left.

# %% tags=["solution"]
fine = np.linspace(0, np.pi, 2001)
fine = (fine[1:] + fine[:-1]) / 2
pairings = np.sum((1 + 2 * np.cos(fine)) ** 4 * (1 - np.cos(fine)) / np.pi) * np.pi / 2000
assert np.isclose(pairings, 3)
for size, partitions in ((4, 15), (2, 8)):
    fixed = [sum(i == j for i, j in enumerate(order)) for order in itertools.permutations(range(size))]
    assert np.mean([count**4 for count in fixed]) == partitions
    assert ek.hom("p x p x -> p x p x", p=ek.S(size), x=ek.O(3)).dim == round(partitions * pairings)
    print(f"n = {size}: {partitions} x {pairings:.3f}")

# %% [markdown]
# ### Exercise 2. Left and right
#
# A carbon atom with four different neighbors exists in two forms, mirror images of each other. Take four points at the
# corners of a tetrahedron, with the masses 1, 2, 3 and 4, perturbed a little, rotated at random, in random order. Which
# of the two forms is it? Show that no network that commutes with $O(3)$ can tell. Train one that can.

# %% [markdown]
# ### Solution 2
#
# A mirror is in $O(3)$, so an invariant output is the same for both forms. For $SO(3)$ there is one more invariant, the
# Levi-Civita tensor: it makes a determinant of three vectors, which a mirror changes in sign. Only the group in the
# definition changes.
#
# The network gets some help. Each point comes with four vectors, its position times powers of its mass, because the
# determinant of three sums needs three different sums. A network can make them by gates, but then the output starts as
# a product of many small factors with a gradient close to zero, and training starts slowly.

# %% tags=["solution"]
assert ek.hom("x x x -> ", x=ek.O(3)).dim == 0
assert ek.hom("x x x -> ", x=ek.SO(3)).dim == 1
CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def molecules(count):
    """Places and masses, and which form it is: 1 for the one above, 0 for its mirror image."""
    form = rng.integers(0, 2, count)
    turns = np.array([ek.SO(3).random_element(rng) for _ in range(count)])
    shaken = (CORNERS + 0.2 * rng.normal(size=(count, 4, 3))) * np.where(form, 1, -1)[:, None, None]
    order = rng.permuted(np.tile(np.arange(4), (count, 1)), axis=1)
    places = np.take_along_axis(np.einsum("bij,bpj->bpi", turns, shaken), order[..., None], 1)
    return (places.astype(np.float32), (order + 1).astype(np.float32)), form.astype(np.float32)


class Handed(nnx.Module):
    def __init__(self, group, rngs):
        features = [{"p x": 4}, {"x": 16}, {"": 16}, {"": 1}]
        self.net = ek.nn.MLP(features, activation=jnp.tanh, p=ek.S, x=group, rngs=rngs)

    def __call__(self, places, masses):
        powers = (masses[..., None, None] / 2.5) ** jnp.arange(4)
        return self.net({"p x": places[..., None] * powers})[""][:, 0]


def logistic(output, target):
    return jnp.mean(optax.sigmoid_binary_cross_entropy(output, target))


(seen, seen_form), (fresh, fresh_form) = molecules(500), molecules(1000)
mirrored = (fresh[0] * np.array([1, 1, -1], np.float32), fresh[1])
rows = []
for group in (ek.O(3), ek.SO(3)):
    judge = fit(Handed(group, nnx.Rngs(0)), seen, seen_form, loss=logistic, steps=500)
    right = float(np.mean((judge(*fresh) > 0) == fresh_form))
    change = float(jnp.abs(judge(*fresh) - judge(*mirrored)).max())
    rows.append((str(group), f"{right:.1%}", f"{change:.1g}"))
    assert (0.4 < right < 0.6 and change < 1e-3) if group == ek.O(3) else (right > 0.95 and change > 1)
table(["group", "right answers", "largest change of the output in a mirror"], rows)

# %% [markdown]
# ### Exercise 3. A cloud from its distances
#
# Let $E_{ij} = |x_i - x_j|^2$ be the squared distances in a centered cloud, and $G = X X^T$ the dot products. The map
# from $E$ to $G$ is linear and commutes with permutations, so it is a combination of the 15 diagrams of `"p p -> p p"`.
# Which? Put the weights into a layer, and find the cloud from $G$. Which property of the cloud cannot be found?

# %% [markdown]
# ### Solution 3
#
# From $E_{ij} = G_{ii} - 2 G_{ij} + G_{jj}$, and because the rows of $G$ add up to zero, $G = -\frac12 C E C$, where $C
# = I - D / n$ subtracts the mean, as in section 2. Multiplied out: $-\frac12$ for $E$ itself, $\frac12$ for the mean of
# each row and for the mean of each column, $-\frac12$ for the mean of all. That is four diagrams. The eigenvectors of
# $G$ times the roots of the eigenvalues are a cloud with the same dot products: the same up to an element of $O(3)$.

# %% tags=["solution"]
pairs = ek.hom("p p -> p p", p=ek.S)
weights = {"1 1' | 2 2'": -0.5, "1 1' | 2 | 2'": 0.5, "1 | 2 2' | 1'": 0.5, "1 | 2 | 1' | 2'": -0.5}
kernel = [weights.get(str(D).split(": ")[1], 0) for D in pairs.diagrams]
assert np.count_nonzero(kernel) == 4
from_distances = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, use_bias=False, rngs=nnx.Rngs(0))
from_distances.kernel["p p -> p p"][...] = jnp.array(kernel, jnp.float32).reshape(15, 1, 1)

Y = centered(rng.normal(size=(7, 3)), np.ones(7, bool))
E = ((Y[:, None] - Y[None]) ** 2).sum(-1)
G = np.asarray(from_distances(jnp.asarray(E, jnp.float32)[..., None])[..., 0])
assert np.allclose(G, Y @ Y.T, atol=1e-5)

eigenvalues, eigenvectors = np.linalg.eigh(G)
found = eigenvectors[:, -3:] * np.sqrt(eigenvalues[-3:])
left, _, right = np.linalg.svd(found.T @ Y)  # the element of O(3) that fits best
assert np.allclose(found @ (left @ right), Y, atol=1e-4)
show(*(part for D, w in zip(pairs.diagrams, kernel, strict=True) if w for part in (f"{w:+.1f} &times;", D)))

# %% [markdown]
# ## What to remember
#
# - With one group on each label, a diagram is one diagram for each label, and the dimensions multiply.
# - A cloud of vectors has two linear maps to itself: each point, and the center. Subtracting the center takes care of
#   translations.
# - Functions of single coordinates do not commute with rotations. Gates and products do.
# - An equivariant network has the same error in all directions. Other networks must learn each direction, and
#   augmentation makes   them learn all of them.
# - Replace the group on a label, and you have the network for mirror images, or for particles.
#
# The sources: Maron et al., [Invariant and Equivariant Graph Networks](https://arxiv.org/abs/1812.09902); Zaheer et
# al., [Deep Sets](https://arxiv.org/abs/1703.06114); Villar et al., [Scalars are
# universal](https://arxiv.org/abs/2106.06610); Finzi et al., [A Practical Method for Constructing Equivariant
# Multilayer Perceptrons](https://arxiv.org/abs/2104.09459).
