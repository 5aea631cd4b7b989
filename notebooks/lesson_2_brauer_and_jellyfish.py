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
# # Lesson 2. Rotations, and why a sign appears
#
# Lesson 1 was about lists whose order has no meaning. This lesson is about arrows whose coordinates have no meaning:
# rotate the axes, and all numbers change, although the arrows are the same. Again few linear maps are unaffected, again
# each has a diagram, and the diagrams are simpler than before: every vertex has exactly one partner. The new element is
# a sign. It comes from mirrors, from odd permutations, and from forms other than the dot product.
#
# You need lesson 1 and the dot product. You need no physics, though some of it will appear.
#
# | section | question |
# | --- | --- |
# | 1 | What does it mean to commute with a rotation? |
# | 2 | Why are pairings all there is? |
# | 3 | How many are there, and when are they too many? |
# | 4 | What does a determinant of one add? |
# | 5 | What do even permutations add? |
# | 6 | What if the dot product has minus signs? |
# | 7 | How is a diagram applied without its matrix? |
# | 8 | What is a layer? |
# | 9 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
from collections import Counter
from functools import reduce
from itertools import combinations, permutations, product

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import sympy
from flax import nnx
from IPython.display import HTML

import equikit as ek
from equikit.diagrams import count_pairings, count_walks, mckay_quiver, stirling
from equikit.draw import diagram_svg, matrix_svg

BLUE, ORANGE, GRAY = "#1b79b8", "#d55e00", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
parse = ek.Diagram.parse


# %% [markdown]
# The two helpers of lesson 1, and one that writes a sum of diagrams.


# %%
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


def terms(pairs):
    """A sum, as parts for `show`: a coefficient before each diagram."""
    return [part for w, D in pairs for part in (f"{w:+d} &times;".replace("-", "&minus;"), D)]


# %% [markdown]
# ## 1. What does it mean to commute with a rotation?
#
# Here is a cloud of points in the plane, and the same cloud turned. A rotation, or a rotation with a reflection, is a
# matrix $g$ with $g^T g = I$. These matrices form the **orthogonal group** $O(n)$.
#
# Some things we may measure turn with the cloud. The mean is a **vector**: it becomes $g v$. The covariance matrix is a
# **tensor** with two axes: it becomes $g C g^T$, so each of its axes is turned. In the picture the mean is an arrow,
# and the covariance an ellipse.

# %%
rng = np.random.default_rng(2)
cloud = rng.normal(size=(60, 2)) @ np.array([[1.2, 0.5], [0.0, 0.4]]) + np.array([1.8, 0.6])
angle = 1.1
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
assert np.allclose(turn.T @ turn, np.eye(2))


def mean(points):
    return points.mean(0)


def covariance(points):
    return np.cov(points, rowvar=False)


turned = cloud @ turn.T  # each point x becomes g x
assert np.allclose(mean(turned), turn @ mean(cloud))
assert np.allclose(covariance(turned), turn @ covariance(cloud) @ turn.T)

circle = np.array([np.cos(np.linspace(0, 2 * np.pi, 100)), np.sin(np.linspace(0, 2 * np.pi, 100))])
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharex=True, sharey=True)
for ax, points, title in zip(axes, (cloud, turned), ("the cloud", "the cloud, turned"), strict=True):
    ellipse = mean(points)[:, None] + 2 * np.linalg.cholesky(covariance(points)) @ circle
    ax.scatter(*points.T, s=10, color=GRAY)
    ax.plot(*ellipse, color=ORANGE)
    ax.annotate("", mean(points), (0, 0), arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 2})
    ax.plot(0, 0, "o", color="black", ms=4)
    ax.set(title=title, aspect="equal")
    ax.axis("off")
plt.show()

# %% [markdown]
# Write the entries of a tensor with two axes as one long vector. Then $C \mapsto g C g^T$ is multiplication by the
# Kronecker product $g \otimes g$. A tensor with $k$ axes is multiplied by $g \otimes \cdots \otimes g$, with $k$
# factors. Call this matrix $g^{(k)}$.

# %%
C = covariance(cloud)
assert np.allclose(np.kron(turn, turn) @ C.reshape(4), (turn @ C @ turn.T).reshape(4))

# %% [markdown]
# A linear map $W$ from tensors with $k$ axes to tensors with $l$ axes is **equivariant** if rotating first and applying
# $W$ first give the same result:
#
# $$W g^{(k)} = g^{(l)} W \quad\text{for every } g \in O(n).$$
#
# A random $W$ from vectors to vectors does not commute. The picture shows four arrows $x$ (blue) and their images
# (orange), by both orders. The blue arrows are shown after the rotation.

# %%
W = rng.normal(size=(2, 2)) + np.eye(2)
scaling = 1.7 * np.eye(2)
assert not np.allclose(W @ turn, turn @ W)
assert np.allclose(scaling @ turn, turn @ scaling)

arrows = np.array([[1, 0], [0, 1], [-0.7, 0.7], [0.3, -0.9]]).T
zero = np.zeros(4)
style = {"angles": "xy", "scale_units": "xy", "scale": 1}
fig, axes = plt.subplots(1, 4, figsize=(10, 2.7), sharex=True, sharey=True)
for first, matrix, name in ((0, W, "random W"), (2, scaling, "W = 1.7 I")):
    for ax, both, order in (
        (axes[first], matrix @ turn, "turn, then W"),
        (axes[first + 1], turn @ matrix, "W, then turn"),
    ):
        ax.quiver(zero, zero, *(both @ arrows), color=ORANGE, width=0.013, **style)
        ax.quiver(zero, zero, *(turn @ arrows), color=BLUE, width=0.02, **style)
        ax.set_title(f"{name}: {order}", size=10)
        ax.set(xlim=(-2.2, 2.2), ylim=(-2, 2), aspect="equal")
        ax.axis("off")
fig.tight_layout()
plt.show()

# %% [markdown]
# ### Averaging
#
# From any $W$ we can make a map that commutes: apply $g$, then $W$, then undo $g$, and average the result over all $g$.
# The group $O(n)$ has a uniform distribution, called the **Haar distribution**, and `random_element` samples it. So we
# can average over samples. Here is the result for a random $3 \times 3$ matrix.

# %%
O3 = ek.O(3)
samples = np.array([O3.random_element(rng) for _ in range(20_000)])
assert np.allclose(samples.transpose(0, 2, 1) @ samples, np.eye(3))

W = rng.normal(size=(3, 3)) + np.diag([2, 1, 0])
fig, axes = plt.subplots(1, 5, figsize=(10, 2.3))
for ax, count in zip(axes, (0, 1, 10, 100, 20_000), strict=True):
    g = samples[:count] if count else np.eye(3)[None]
    average = np.mean(g.transpose(0, 2, 1) @ W @ g, axis=0)
    ax.imshow(average, cmap="RdBu", vmin=-3, vmax=3)
    for i, j in product(range(3), repeat=2):
        ink = {"color": "white" if abs(average[i, j]) > 2 else "black"}
        ax.text(j, i, f"{average[i, j]:.1f}".replace("-0.0", "0.0"), ha="center", va="center", size=9, **ink)
    ax.set_title(f"{count:,} samples" if count > 1 else ("W", "1 sample")[count], size=10)
    ax.axis("off")
plt.show()
assert np.allclose(average, np.trace(W) / 3 * np.eye(3), atol=0.05)

# %% [markdown]
# Of nine numbers one is left: the trace, distributed evenly. So the only linear maps from vectors to vectors that
# commute with all rotations and reflections are the multiples of the identity.
#
# Averaging is a projection onto the space of maps that commute, and its rank is the dimension of that space. For maps
# from two axes to two axes, $W$ has $9 \cdot 9 = 81$ entries, and the average is a matrix of $81 \times 81$ that acts
# on them. Here are its singular values.

# %%
twice = np.einsum("sij,skl->sikjl", samples, samples).reshape(-1, 81)  # g x g for each sample, as a row
fig, ax = plt.subplots(figsize=(7, 3))
for count, color in ((1, GRAY), (10, ORANGE), (100, BLUE), (20_000, "black")):
    moments = twice[:count].T @ twice[:count] / count  # the mean of the products of all entries
    projection = moments.reshape(9, 9, 9, 9).transpose(0, 2, 1, 3).reshape(81, 81)  # the mean of g x g x g x g
    values = np.linalg.svd(projection, compute_uv=False)
    ax.plot(np.arange(1, 82), values, ".-", color=color, label=f"{count:,} sample{'s' * (count > 1)}", lw=0.8)
ax.set(xlabel="the first 30 of 81", ylabel="singular value", xlim=(0, 30.5))
ax.legend(frameon=False, loc=(0.7, 0.5))
plt.show()
assert np.allclose(values[:3], 1)
assert values[3] < 0.05

# %% [markdown]
# Three of them stay at one, and all others fall toward zero. The space of equivariant maps has dimension three. Which
# three maps are they?
#
# ## 2. Pairings
#
# What do rotations and reflections preserve? Lengths and angles, which are known once all **dot products** are. A
# theorem of Weyl says that there is nothing else: each polynomial in several vectors that $O(n)$ preserves is a
# polynomial in their dot products.
#
# Now turn a linear map $W$ with four indices into a function of four vectors,
#
# $$f(u, v, w, z) = \sum_{ijkl} W_{ij,kl}\, u_i v_j w_k z_l.$$
#
# It is linear in each vector. If $W$ is equivariant, $O(n)$ preserves $f$. So $f$ is a sum of products of dot products
# in which each of the four vectors occurs exactly once. There are three such products:
#
# $$(u \cdot w)(v \cdot z), \qquad (u \cdot z)(v \cdot w), \qquad (u \cdot v)(w \cdot z).$$
#
# A dot product is $\sum_{ij} \delta_{ij} u_i v_j$, where $\delta_{ij}$ is one if $i = j$ and zero otherwise. So each of
# the three is a product of deltas, and it tells us which indices are paired. As a diagram: **every block is a pair**.
# These are Brauer diagrams, and equikit draws them for the group `O`.

# %%
space = ek.hom("x x -> x x", x=ek.O(3))
assert space.dim == 3
space

# %% [markdown]
# Are these the same three maps that the averages found? The projection made of the diagrams alone must agree with the
# average over samples.

# %%
basis = space.matrices().reshape(3, 81)
exact = basis.T @ np.linalg.inv(basis @ basis.T) @ basis  # the orthogonal projection onto their span
print(f"largest difference from the average of 20,000 samples: {np.abs(exact - projection).max():.3f}")
assert np.allclose(exact, projection, atol=0.03)

g = samples[0]
for M in space.matrices():
    assert np.allclose(M @ np.kron(g, g), np.kron(g, g) @ M)

# %% [markdown]
# In words: a tensor $T$ with two axes is unchanged, is transposed, or is replaced by its trace times the identity.

# %%
T = rng.integers(-4, 5, (3, 3))
meaning = {
    "1 1' | 2 2'": (T, "T itself"),
    "1 2' | 2 1'": (T.T, "T transposed"),
    "1 2 | 1' 2'": (np.trace(T) * np.eye(3, dtype=int), "the trace of T, times the identity"),
}
parts = []
for D in space.diagrams:
    result, words = meaning[str(D).split(": ")[1]]
    assert (D.matrix(3) @ T.reshape(9) == result.reshape(9)).all()
    parts += [D, words + ":", result]
show("T =", T, *parts)

# %% [markdown]
# Compare with lesson 1. The same signature with `S` has fifteen diagrams, with blocks of any size. Every permutation
# matrix is orthogonal, so whatever commutes with $O(n)$ commutes with $S(n)$: the three are among the fifteen. A larger
# group leaves fewer maps.

# %%
assert {*space.diagrams} < {*ek.hom("x x -> x x", x=ek.S(5)).diagrams}

# %% [markdown]
# ### Parity
#
# Is there a map from two axes to one? Three vertices cannot be paired, so there is no diagram. There is also a reason
# without diagrams: the matrix $-I$ is in $O(n)$. It changes the sign of a vector, but not that of a tensor with two
# axes. If $W$ commutes, then $W t = W (-I)^{(2)} t = -W t$, and so $W = 0$. The same happens whenever $k + l$ is odd.

# %%
assert (np.kron(-np.eye(3), -np.eye(3)) == np.eye(9)).all()
assert [ek.hom("x x -> x", x=ek.O(size)).dim for size in (1, 2, 3, 4)] == [0, 0, 0, 0]
try:
    ek.nn.Linear("x x -> x", 4, 4, x=ek.O(3), rngs=nnx.Rngs(0))
except ek.SignatureError as error:
    print(error)
else:
    raise AssertionError("there must be no such layer")

# %% [markdown]
# ## 3. How many are there?
#
# The first of $m$ vertices has $m - 1$ possible partners. Remove the pair; the first remaining vertex has $m - 3$, and
# so on. So there are $(m-1)(m-3) \cdots 3 \cdot 1$ pairings of $m = k + l$ vertices, which is written $(m - 1)!!$.

# %%
assert [count_pairings(m) for m in (2, 4, 6, 8)] == [1, 3, 3 * 5, 3 * 5 * 7]
rows = []
for k in (1, 2, 3, 4):
    labels = " ".join("x" * k)
    rows.append((f"{k} &rarr; {k}", *(ek.hom(f"{labels} -> {labels}", x=group).dim for group in (ek.O, ek.S))))
    assert rows[-1][1] == count_pairings(2 * k)
table(["axes", "pairings: O, large n", "partitions: S, large n"], rows)

# %% [markdown]
# ### Too many for a small n
#
# In lesson 1 a diagram with more blocks than points was left out, and the others were a basis. Pairings behave
# differently. No single one is zero at small $n$, but there are relations among them. As before, look at the matrix of
# inner products. It is singular exactly where the diagrams are dependent.

# %%
free = ek.hom("x x x -> x x x", x=ek.O)  # O without a number: any n
determinant = free.gram_determinant()
determinant

# %%
(n,) = determinant.free_symbols
assert determinant == sympy.sympify("n**15*(n-2)**5*(n-1)**14*(n+2)**10*(n+4)", {"n": n})
zeros = sympy.roots(sympy.Poly(determinant, n))

rows = []
for size in (1, 2, 3, 4):
    rank = np.linalg.matrix_rank(free.matrices(size).reshape(15, -1))
    bound = ek.hom("x x x -> x x x", x=ek.O(size))
    assert bound.dim == rank == np.linalg.matrix_rank(bound.matrices().reshape(bound.dim, -1))  # a basis
    rows.append((size, rank, bound.dim, 15 - zeros.get(size, 0)))
    assert len(set(rows[-1][1:])) == 1
assert [row[1] for row in rows] == [1, 10, 15, 15]
table(["n", "rank of all 15", "dimension by equikit", "15 less the order of the zero"], rows)

# %% [markdown]
# At $n = 2$ five of the fifteen can be expressed by the other ten. Where do the five relations come from? An
# antisymmetric tensor changes its sign if two indices are exchanged, so it is zero where two are equal. With three
# indices, each 0 or 1, two are always equal. So if we add up all six orders of three axes, each with the sign of the
# permutation, we get zero. This sum is the **antisymmetrizer**.


# %%
def sign(order):
    """The sign of a permutation, given as a list."""
    return round(np.linalg.det(np.eye(len(order))[list(order)]))


def relation(left, right):
    """The determinant of the deltas between two lists of vertices, as pairs (sign, diagram)."""
    row = ("x",) * 3
    orders = [(sign(order), [right[i] for i in order]) for order in permutations(range(3))]
    return [(s, ek.Diagram.from_blocks(row, row, list(zip(left, to, strict=True)))) for s, to in orders]


antisymmetrizer = relation((0, 1, 2), (3, 4, 5))  # top vertices are 0, 1, 2, bottom vertices 3, 4, 5
assert not sum(s * D.matrix(2) for s, D in antisymmetrizer).any()
assert sum(s * D.matrix(3) for s, D in antisymmetrizer).any()
show(*terms(antisymmetrizer), "= 0 at n = 2")

# %% [markdown]
# The pairs need not go from the bottom to the top. Split the six vertices into two sets of three in any way. There are
# ten ways, and each gives a relation among six diagrams. These ten relations are again dependent: they span five
# dimensions, which is all that is needed.

# %%
relations = []
for others in combinations(range(1, 6), 2):
    left = (0, *others)
    right = tuple(vertex for vertex in range(6) if vertex not in left)
    row = np.zeros(15, int)
    for s, D in relation(left, right):
        row[free.diagrams.index(D)] += s
    relations.append(row)
relations = np.array(relations)
assert relations.shape == (10, 15)
assert not np.einsum("rd,dij->rij", relations, free.matrices(2)).any()  # each of them holds
assert np.linalg.matrix_rank(relations) == 15 - 10  # and there are no others

# %% [markdown]
# ### Counting without any diagram
#
# As in lesson 1 there is a second way to count. The irreducible representations of $O(n)$ that occur in tensors are
# drawn as **Young diagrams**: rows of boxes. No box is a single number, one box a vector, two boxes in a row a
# symmetric tensor without trace, two boxes in a column an antisymmetric tensor. Tensor with one more vector, and the
# rule is: **add a box or take one away**. For $O(n)$ only shapes whose first two columns hold at most $n$ boxes exist.
#
# An arrow from one shape to another means that the second occurs in the first, tensored with a vector. Here are all
# shapes within three steps from no box, for $O(3)$ and for $O(2)$. Below each is the number of walks of three steps
# that end there.


# %%
def ends(quiver, steps):
    """How many walks from the shape without boxes end where."""
    walks = Counter({(): 1})
    for _ in range(steps):
        longer = Counter()
        for shape, number in walks.items():
            for image in quiver.successors(shape):
                longer[image] += number * quiver.edges[shape, image]["arrows"]
        walks = longer
    return walks


def young(ax, shape, x, y, side=0.17):
    """Draw rows of boxes around a point."""
    for line, length in enumerate(shape):
        for column in range(length):
            corner = x + side * (column - shape[0] / 2), y - side * (line + 1 - len(shape) / 2)
            ax.add_patch(plt.Rectangle(corner, side, side, facecolor=BLUE, edgecolor="white", zorder=3))


quivers = {size: mckay_quiver(ek.O(size), 3) for size in (3, 2)}
for size, quiver in quivers.items():
    further = mckay_quiver(ek.O(size), 4)  # has the arrows back from the last shapes, too
    assert all(further.edges[b, a]["arrows"] == quiver.edges[a, b]["arrows"] == 1 for a, b in quiver.edges)
spots = {(): (0, 0), (1,): (1.4, 0), (2,): (2.8, 0.7), (1, 1): (2.8, -0.7)}
spots |= {(3,): (4.2, 1.4), (2, 1): (4.2, 0), (1, 1, 1): (4.2, -1.4)}
fig, axes = plt.subplots(1, 2, figsize=(11, 4))
for ax, (size, quiver) in zip(axes, quivers.items(), strict=True):
    assert set(quiver) <= set(spots)
    lines = {tuple(sorted(edge, key=sum)) for edge in quiver.edges}
    nx.draw_networkx_nodes(quiver, spots, node_size=1700, node_color="white", edgecolors=GRAY, ax=ax)
    nx.draw_networkx_edges(quiver, spots, sorted(lines), node_size=1700, arrowstyle="<|-|>", edge_color=GRAY, ax=ax)
    for shape in quiver:
        young(ax, shape, *spots[shape])
        if walks := ends(quiver, 3)[shape]:
            ax.text(spots[shape][0] + 0.48, spots[shape][1], walks, va="center", weight="bold", color=ORANGE)
    ax.text(0, 0, "no\nbox", ha="center", va="center", size=8, color=GRAY)
    ax.set(xlim=(-0.6, 5.1), ylim=(-2, 2), title=f"O({size})", aspect="equal")
    ax.axis("off")
fig.tight_layout()
plt.show()

# %% [markdown]
# Maps from three axes to three are counted by the walks of six steps from no box back to no box. Such a walk goes out
# for three steps and comes back in three. Every line can be walked in both directions, so there are as many ways back
# as ways out. So the number is a sum of squares: $3^2 + 1 + 2^2 + 1 = 15$ for $O(3)$. For $O(2)$ the shapes with too
# many boxes are missing, and $3^2 + 1 = 10$.

# %%
for size, quiver in quivers.items():
    squares = sum(number**2 for number in ends(quiver, 3).values())
    assert squares == count_walks(ek.O(size), 6) == ek.hom("x x x -> x x x", x=ek.O(size)).dim
    print(f"O({size}): {' + '.join(f'{number}²' for number in ends(quiver, 3).values())} = {squares}")

# %% [markdown]
# ## 4. Determinant one
#
# Every $g$ in $O(n)$ has determinant $1$ or $-1$. Those with $1$ are the rotations; they form $SO(n)$. The others
# contain a reflection. If we ask only for rotations, the group is smaller, and there may be more maps. There is exactly
# one new building block: the **Levi-Civita tensor** $\varepsilon$. It has $n$ indices; its entry is the sign of its
# indices as a permutation, and zero if two are equal. It is the determinant, written as a tensor, and so
#
# $$g^{(n)} \varepsilon = \det(g)\, \varepsilon.$$
#
# In three dimensions it has three legs. Let two of them be inputs and one the output.

# %%
vectors = ek.hom("x x -> x", x=ek.SO(3))
assert vectors.dim == 1
(cross,) = vectors.diagrams
epsilon = cross.matrix(3).reshape(3, 3, 3)
assert all(epsilon[order] == sign(order) for order in permutations(range(3)))
assert np.count_nonzero(epsilon) == 6
for g in samples[:20]:
    assert np.allclose(np.einsum("ia,jb,kc,abc->ijk", g, g, g, epsilon), np.linalg.det(g) * epsilon)
vectors

# %% [markdown]
# The legs of the tensor are drawn as broken lines, and the text form marks them with `^`. You know this map. It maps
# two vectors to their **cross product**.

# %%
a, b, c = rng.normal(size=(3, 3))
assert np.allclose(cross.matrix(3) @ np.kron(a, b), np.cross(a, b))

# %% [markdown]
# The cross product commutes with rotations. A mirror gives it the wrong sign. That is what "right-hand rule" means: in
# a mirror, a right hand is a left hand.

# %%
for g in samples[:20]:
    assert np.allclose(np.cross(g @ a, g @ b), np.linalg.det(g) * g @ np.cross(a, b))

mirror = np.diag([-1, 1, 1])
assert np.allclose(np.cross(mirror @ a, mirror @ b), -mirror @ np.cross(a, b))

first, second = np.array([1.0, -0.2, 0]), np.array([0.7, 0.9, 0])
third = np.cross(first, second)
panels = {
    "a, b and a × b": (first, second, third),
    "all three in the mirror": (mirror @ first, mirror @ second, mirror @ third),
    "a × b of the mirrored a and b": (mirror @ first, mirror @ second, np.cross(mirror @ first, mirror @ second)),
}
fig, axes = plt.subplots(1, 3, figsize=(9, 3), subplot_kw={"projection": "3d"})
for ax, (title, three) in zip(axes, panels.items(), strict=True):
    for vector, name, color in zip(three, ("a", "b", "a × b"), (BLUE, BLUE, ORANGE), strict=True):
        ax.quiver(0, 0, 0, *vector, color=color, arrow_length_ratio=0.2, lw=2)
        ax.text(*(1.25 * vector), name, color=color, ha="center", va="center")
    ax.set_title(title, size=10)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    ax.set_box_aspect((1, 1, 1), zoom=1.3)
    ax.view_init(elev=28, azim=-80)
    ax.axis("off")
fig.tight_layout()
plt.show()

# %% [markdown]
# ### Two of them leave pairings
#
# The product of two determinants is not sensitive to the sign, so a product of two Levi-Civita tensors commutes with
# reflections too. It must be a sum of pairings. `flip` turns the diagram upside down, and `@` composes. Diagrams with
# an $\varepsilon$ may come out with a sign, or as a sum. Therefore the result is a list of `terms`, each with a
# coefficient.

# %%
(flipped,) = cross.flip().terms  # one term
assert flipped.coefficient == 1
assert (flipped.diagram.matrix(3) == cross.matrix(3).T).all()

both = flipped.diagram @ cross
print(both)
assert (both.matrix(3) == cross.matrix(3).T @ cross.matrix(3)).all()
show(flipped.diagram, "after", cross, "is", *terms((term.coefficient, term.diagram) for term in both.terms))

# %% [markdown]
# In indices: $\sum_m \varepsilon_{mij}\, \varepsilon_{mkl} = \delta_{ik} \delta_{jl} - \delta_{il} \delta_{jk}$. In the
# other order two pairs of legs meet, and the result is twice the identity.
#
# Now the rule for a double cross product can be read from a picture. $a \times (b \times c)$ is the cross product after
# (the identity beside the cross product).

# %%
assert str(cross @ flipped.diagram) == "2 * (x -> x: 1 1')"

(inner,) = ek.Diagram.identity("x").tensor(cross).terms
assert inner.coefficient == 1
double = cross @ inner.diagram
print(double)
show(cross, "after", inner.diagram, "is", *terms((term.coefficient, term.diagram) for term in double.terms))

# %% [markdown]
# The bottom vertices are $a$, $b$, $c$ from the left. The first diagram leads $b$ to the output, and pairs $a$ with
# $c$. The second leads $c$ to the output, and pairs $a$ with $b$. So
#
# $$a \times (b \times c) = b\, (a \cdot c) - c\, (a \cdot b).$$

# %%
expected = [(1, "x x x -> x: 1 2' | 1' 3'"), (-1, "x x x -> x: 1 3' | 1' 2'")]
assert {(term.coefficient, str(term.diagram)) for term in double.terms} == {*expected}
assert np.allclose(np.cross(a, np.cross(b, c)), b * (a @ c) - c * (a @ b))
assert np.allclose(double.matrix(3) @ reduce(np.kron, (a, b, c)), b * (a @ c) - c * (a @ b))

# %% [markdown]
# How many maps are new? For $n = 3$ the matrix $-I$ has determinant $-1$, and each element of $O(3)$ is a rotation or
# $-I$ times a rotation. If $k + l$ is even, $-I$ does nothing, so $O(3)$ and $SO(3)$ have the same maps. If it is odd,
# $O(3)$ has none.

# %%
rows = []
for m in range(1, 9):
    labels = " ".join("x" * m)
    rows.append((m, *(ek.hom(f"{labels} -> ()", x=group(3)).dim for group in (ek.O, ek.SO))))
    assert rows[-1][2] == count_walks(ek.SO(3), m)
    assert rows[-1][1] == (0 if m % 2 else rows[-1][2])
table(["axes in all, k + l", "O(3)", "SO(3)"], rows)

# %% [markdown]
# ## 5. Even permutations
#
# Permutation matrices have a determinant too: $1$ if the permutation is **even**, which means that it is a product of
# an even number of swaps, and $-1$ if it is odd. The even ones form the alternating group $A(n)$. Again the smaller
# group has more maps, and again the new building block is the sign. Now the legs may be blocks of any size, as in
# lesson 1. A diagram with a sign is called a **jellyfish**: a head with $n$ legs, each of which is a block.

# %%
vertices = ek.hom("p -> p", p=ek.A(3))
assert vertices.dim == 3
vertices

# %% [markdown]
# The third diagram is new. Its matrix takes $x_i$ to $x_{i+1} - x_{i+2}$, counted around the triangle. Such a map knows
# in which direction the points are numbered. $S(3)$ does not allow that.
#
# One leg may be missing. The indices of $n - 1$ legs determine the value of the last, so the sign is known. Here two
# legs have vertices, and the third is summed over. If two were missing, either value could be first, and the two signs
# would cancel. This explains a rule: from $n = 2$ on, **A(n) has more maps than S(n) exactly if** $k + l \ge n - 1$. In
# terms of orbits, if $k + l$ is smaller: swap two points that do not occur among the indices. This is an odd
# permutation that moves none of the indices, so even permutations have the same orbits as all permutations.

# %%
compass = vertices.diagrams[2]
x = rng.integers(0, 9, 3)
assert (compass.matrix(3) @ x == [x[1] - x[2], x[2] - x[0], x[0] - x[1]]).all()

rows = []
for size in range(2, 8):
    symmetric, alternating = (ek.hom("p p -> p p", p=group(size)).dim for group in (ek.S, ek.A))
    assert (alternating > symmetric) == (size - 1 <= 4)
    rows.append((size, symmetric, alternating, alternating - symmetric))
    for m in range(7):
        assert (count_walks(ek.A(size), m) > count_walks(ek.S(size), m)) == (m >= size - 1)
table(["n", "S(n), 2 &rarr; 2", "A(n), 2 &rarr; 2", "with a sign"], rows)

# %% [markdown]
# Take $n = 3$. $S(3)$ has 14 maps: the patterns of equality with at most three blocks. A pattern can carry a sign if it
# has at least $n - 1 = 2$ blocks, so it needs two or three. There are $7 + 6 = 13$. Together $14 + 13 = 27$. The cell
# compares with a count of orbits by brute force.


# %%
def count_orbits(group, order):
    """The number of orbits of tuples of indices, given a list of permutations."""
    return len({min(tuple(g[i] for i in t) for g in group) for t in product(range(len(group[0])), repeat=order)})


everything = list(permutations(range(3)))
even = [g for g in everything if sign(g) == 1]
triangle = ek.hom("p p -> p p", p=ek.A(3))
signed = [D for D in triangle.diagrams if D.heads]
assert len(triangle.diagrams) == triangle.dim == count_orbits(even, 4) == count_walks(ek.A(3), 4) == 27
assert triangle.dim - len(signed) == count_orbits(everything, 4) == 14
assert len(signed) == stirling(4, 2) + stirling(4, 3) == 7 + 6
assert np.linalg.matrix_rank(triangle.matrices().reshape(27, 81)) == 27
show(*signed)

# %% [markdown]
# ### Which way round?
#
# The area of a triangle with a sign is positive if its corners are numbered anticlockwise, and negative if they are
# numbered clockwise. Let $x$ and $y$ be the coordinates of the corners. The area is a number that is linear in $x$ and
# in $y$, and an even permutation of the corners, which is a turn of the numbering, does not change it. So it must come
# from a map `p p -> ()` that commutes with $A(3)$. It is the one with a sign.

# %%
numbers = ek.hom("p p -> ()", p=ek.A(3))
area = numbers.diagrams[-1]
assert area.heads
assert ek.hom("p p -> ()", p=ek.S(3)).dim == numbers.dim - 1 == 2
corners = np.array([[0, 0], [3, 0.5], [1, 2.2]])


def signed_area(corners):
    x, y = corners.T
    return (area.matrix(3) @ np.kron(x, y)).item() / 2


fig, axes = plt.subplots(1, 4, figsize=(10, 2.3), sharex=True, sharey=True)
for ax, order in zip(axes, ((0, 1, 2), (1, 2, 0), (0, 2, 1), (1, 0, 2)), strict=True):
    listed = corners[list(order)]
    value = signed_area(listed)
    edges = np.roll(listed, -1, axis=0) - listed
    assert np.isclose(value, (edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]) / 2)
    assert np.isclose(value, sign(order) * signed_area(corners))
    ax.fill(*corners.T, color=BLUE if value > 0 else ORANGE, alpha=0.3)
    ax.quiver(*(listed + 0.2 * edges).T, *(0.6 * edges).T, width=0.012, color=GRAY, **style)
    for number, (u, v) in enumerate(listed):
        ax.text(u, v, number, ha="center", va="center", weight="bold", bbox={"boxstyle": "circle", "fc": "white"})
    ax.set_title(f"{'even' if sign(order) == 1 else 'odd'}: {value:+.2f}".replace("-", "\N{MINUS SIGN}"))
    ax.set(xlim=(-0.5, 3.5), ylim=(-0.5, 2.7), aspect="equal")
    ax.axis("off")
plt.show()

# %% [markdown]
# ## 6. If the dot product has minus signs
#
# The theory needs only that the group preserves the dot product. Take any invertible matrix $F$ that is symmetric or
# antisymmetric. Call it the **form**, and let the group be all $g$ with $g^T F g = F$. For $F = I$ it is $O(n)$. The
# maps that commute are again spanned by pairings. A pair from the bottom to the top is still the identity. A pair
# inside one row is an entry of $F$. (Among the outputs it should be $F^{-1}$, but for the two forms below that is $F$
# itself, up to a sign.)
#
# ### The Minkowski metric
#
# In the theory of relativity an event has a time and a position, and a particle an energy and a momentum: four numbers
# $(E, p_1, p_2, p_3)$. A moving observer sees other numbers. The change is a **boost**, which preserves the form $\eta
# = \mathrm{diag}(1, -1, -1, -1)$. The group of everything that preserves it is the Lorentz group.

# %%
(square,) = ek.hom("m m -> ()", m=ek.Lorentz).diagrams
eta = square.matrix(4).reshape(4, 4)
assert (eta == np.diag([1, -1, -1, -1])).all()


def boost(rapidity):
    """The boost along the first direction; the speed is tanh of the rapidity, in units of the speed of light."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cosh(rapidity), np.sinh(rapidity)], [np.sinh(rapidity), np.cosh(rapidity)]]
    return matrix


for g in (boost(0.7), boost(-2), ek.Lorentz.random_element(rng)):
    assert np.allclose(g.T @ eta @ g, eta)
    for M in ek.hom("m m -> m m", m=ek.Lorentz).matrices():
        assert np.allclose(M @ np.kron(g, g), np.kron(g, g) @ M)
trace = "m m -> m m: 1 2 | 1' 2'"
plain, curved = parse(trace, m=ek.O(4)), parse(trace, m=ek.Lorentz)
show(plain, "with the dot product:", plain.matrix(4), "with &eta;:", curved.matrix(4))

# %% [markdown]
# The diagram from two axes to none pairs two vectors: $p \cdot q = p^T \eta\, q$. Paired with itself, a momentum gives
# the square of its **mass**, $m^2 = E^2 - |p|^2$. All observers agree on it. In the picture each dot is the momentum of
# one particle as another observer sees it. All of them lie on one curve.


# %%
def mass(momentum):
    return np.sqrt((square.matrix(4) @ np.kron(momentum, momentum)).item())


fig, ax = plt.subplots(figsize=(5.5, 3.2))
for rest, color in ((1.0, BLUE), (2.0, ORANGE)):
    momentum = np.array([rest, 0, 0, 0])
    seen = np.array([boost(rapidity) @ momentum for rapidity in np.linspace(-1.2, 1.2, 9)])
    assert np.allclose([mass(p) for p in seen], rest)
    line = np.linspace(-3.2, 3.2, 100)
    ax.plot(line, np.sqrt(rest**2 + line**2), color=GRAY, lw=0.8)
    ax.scatter(seen[:, 1], seen[:, 0], color=color, s=25, zorder=3, label=f"mass {rest:.0f}")
ax.plot(line, np.abs(line), "--", color=GRAY, lw=0.8, label="mass 0")
ax.set(xlabel="momentum", ylabel="energy", ylim=(0, 4))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Each of two flashes of light has no mass, but the two together do, unless they go in the same direction. Short-lived
# particles are found in this way: add the momenta of their decay products, and look at the mass.

# %%
one, other = np.array([1, 1, 0, 0]), np.array([1, -1, 0, 0])
assert mass(one) == mass(other) == 0
assert mass(one + other) == 2
g = ek.Lorentz.random_element(rng)
assert np.isclose(mass(g @ (one + other)), 2)

# %% [markdown]
# ### The symplectic form
#
# In mechanics the state of a body is its position and its momentum, $(q, p)$. The form is
# $\Omega = \begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}$, and $u^T \Omega v$ is the area, with its sign, of the
# parallelogram with the sides $u$ and $v$. Its group is the **symplectic group** $Sp(n)$, where $n$ is even. For $n =
# 2$ it consists of the matrices that preserve areas: it may squeeze in one direction if it stretches in another.

# %%
omega = parse("m m -> (): 1' 2'", m=ek.Sp).matrix(2).reshape(2, 2)
assert (omega == [[0, 1], [-1, 0]]).all()
u, v = np.array([1.0, 0.2]), np.array([0.1, 0.8])

fig, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharex=True, sharey=True)
for ax, g in zip(axes, (np.eye(2), *(ek.Sp(2).random_element(rng) for _ in range(3))), strict=True):
    assert np.allclose(g.T @ omega @ g, omega)
    s, t = g @ u, g @ v
    assert np.isclose(s @ omega @ t, u @ omega @ v)
    ax.fill(*np.array([0 * s, s, s + t, t]).T, color=BLUE, alpha=0.3)
    ax.quiver([0, 0], [0, 0], *np.array([s, t]).T, color=[BLUE, ORANGE], width=0.015, **style)
    ax.set(title=f"area {s @ omega @ t:.2f}", xticks=[], yticks=[], aspect="equal", xlabel="q", ylabel="p")
plt.show()

# %% [markdown]
# $\Omega$ is antisymmetric: $\Omega^T = -\Omega$. So the *order* of the two ends of a pair matters, as long as both are
# in one row. And $\Omega^2 = -I$. Both have a consequence for diagrams.
#
# Bend a line: begin at the bottom, go up, come down again, and go up to the top. If we pull the ends, the line becomes
# straight. In diagrams it is a pair of inputs beside a line, after a line beside a pair of outputs. With the dot
# product this **snake** is the identity, and also with $\eta$. With $\Omega$ it is *minus* the identity.

# %%
for group, expected in ((ek.O, 1), (ek.Lorentz, 1), (ek.Sp, -1)):
    line, cup, cap = (parse(text, m=group) for text in ("m -> m: 1 1'", "() -> m m: 1 2", "m m -> (): 1' 2'"))
    above, below = cap.tensor(line), line.tensor(cup)
    snake = above @ below
    assert snake.diagram == line
    assert snake.coefficient == expected
    assert (above.matrix(4) @ below.matrix(4) == expected * np.eye(4)).all()
    print(f"{group if group is ek.Lorentz else group.__name__}: {snake}")
show(above, "after", below, "is", f"{snake.coefficient} &times;".replace("-", "&minus;"), snake.diagram)

# %% [markdown]
# So a diagram for $Sp$ cannot be redrawn freely. The signs have to be tracked, and `compose` does so. A closed loop has
# the value $n$, but with one crossing it has the value $-n$.

# %%
swap = parse("m m -> m m: 1 2' | 2 1'", m=ek.Sp)
loop, crossed = cap @ cup, cap @ (swap @ cup).diagram
assert (swap @ cup).coefficient == -1
assert loop.symbol == n
print("loop:", loop.symbol, "  with a crossing:", (swap @ cup).coefficient * crossed.symbol)

# %% [markdown]
# That $n$ has become $-n$ is no accident. Look at the determinant of section 3 again. It has zeros at $n = -2$ and $n =
# -4$, where there is no orthogonal group. Their orders are the numbers of relations of $Sp(2)$ and $Sp(4)$.

# %%
for size in (2, 4, 6):
    assert ek.hom("m m m -> m m m", m=ek.Sp(size)).dim == 15 - zeros.get(-size, 0) == count_walks(ek.Sp(size), 6)
    order = zeros.get(-size, 0)
    print(f"zero at {-size}: order {order}; Sp({size}) has {15 - order} independent maps")

# %% [markdown]
# ## 7. Applying a diagram without its matrix
#
# The matrix of a diagram from three axes to three has $n^6$ entries, nearly all of them zero. It is a waste to multiply
# by it. Lines that cross are the only obstacle, so move the crossings out of the way. Every diagram is
#
# - a permutation of the input axes,
# - then a **planar** diagram, without crossings, whose parts stand side by side,
# - then a permutation of the output axes.
#
# `factor` finds them.

# %%
D = parse("x x x -> x x x: 1 2' | 2 3 | 1' 3'")
factored = D.factor()
assert factored.output @ factored.planar @ factored.input == D @ ek.Diagram.identity("x x x")
factored

# %% [markdown]
# The planar part is a row of components, so its matrix is the **Kronecker product** of small matrices. And a Kronecker
# product is applied factor by factor. Permutations only rename axes, and a pair in the output only copies. Additions
# are left for the pair in the input, which is a trace: $n - 1$ additions for each value of the one other index.

# %%
size = 4
assert (reduce(np.kron, [part.matrix(size) for part in factored.components]) == factored.planar.matrix(size)).all()
matrices = [part.matrix(size) for part in (factored.output, factored.planar, factored.input)]
assert (reduce(np.matmul, matrices) == D.matrix(size)).all()

t = rng.normal(size=(size,) * 3)
assert np.allclose(factored.apply(t, size).ravel(), D.matrix(size) @ t.ravel())

multiplications, additions = factored.operations()
assert (multiplications, sympy.expand(additions - n * (n - 1))) == (0, 0)
rows = []
for size in (2, 3, 4, 10, 100):
    (_, few), (_, many) = factored.operations(size), factored.naive_operations(size)
    assert few == size * (size - 1)
    assert many == size**3 * (size**3 - 1)
    rows.append((size, f"{few:,}", f"{many:,}"))
table(["n", "additions, factor by factor", "additions, dense matrix (and as many multiplications)"], rows)

# %% [markdown]
# Of the fifteen diagrams six are permutations and cost no addition at all. The other nine have one pair in each row and
# cost $n(n - 1)$.

# %%
costs = Counter(sympy.expand(D.factor().operations()[1]) for D in free.diagrams)
assert costs == {0: 6, n**2 - n: 9}

# %% [markdown]
# The paper of Pearce-Crump and Knottenbelt (the last of the sources below) says how the work grows with $n$: as $n^k$
# for $S_n$, as $n^{k-1}$ for pairings, and as $n^{k-(n-s)}\,(n! + n^{s-1})$ for a Levi-Civita tensor with $s$ of its
# legs in the output. It counts only arithmetic, as we do: moving axes, copying and changing signs are free. Here is the
# costliest diagram of each space. Counts and paper agree in the power of $n$. For the Levi-Civita tensor our count is
# lower, because pairs in the input are summed before the tensor is applied.


# %%
def costliest(space, size=None):
    """The largest number of additions that any diagram of a space needs, and that diagram."""
    counts = []
    for D in space.diagrams:
        multiplications, additions = D.factor().operations(size)
        assert multiplications == 0
        counts.append((sympy.expand(additions), D))
    return max(counts, key=lambda pair: pair[0].subs(n, 10))


rows = []
for k, l in ((2, 2), (3, 3), (3, 1), (2, 3)):
    signature = f"{' '.join('x' * k)} -> {' '.join('x' * l)}"
    for group, power in ((ek.S, k), (ek.O, k - 1), (ek.Sp, k - 1)):
        mixed = ek.hom(signature, x=group)
        if mixed.dim:
            additions, D = costliest(mixed)
            assert sympy.degree(additions, n) == power
            rows.append((group.__name__, f"{k} to {l}", n**power, additions, n ** (k + l)))
    for group in (ek.SO(3), ek.SO(4), ek.SO(6), ek.A(4)):
        headed = [D for D in ek.hom(signature, x=group).diagrams if D.heads]
        if headed:
            size = group.n
            additions, D = max(((D.factor().operations(size)[1], D) for D in headed), key=lambda pair: pair[0])
            s = sum(block in D.heads[0][2] for block in D.growth[:l])
            paper = size ** (k - size + s) * (sympy.factorial(size) + sympy.Rational(size) ** (s - 1))
            assert isinstance(group, ek.A) or additions < paper
            rows.append((group, f"{k} to {l}", "" if isinstance(group, ek.A) else paper, additions, size ** (k + l)))

rows = [[str(cell).replace("**", "^").replace("*", " ") for cell in row] for row in rows]
table(["group", "shape", "the paper, inside O( )", "additions, counted", "multiplications, dense matrix"], rows)

# %% [markdown]
# The paper does not treat $A_n$. And copies are free only on paper: an output with $l$ axes takes $n^l$ numbers to
# write. The benchmark `diagram_multiplication` (in the folder `benchmarks`) has the times.

# %% [markdown]
# ## 8. A layer
#
# A layer is a sum of all diagrams with learned weights, one for each pair of channels. The plan of lesson 1 does the
# work: it shares the traces among all diagrams and channels.

# %%
key = jax.random.key(0)
layer = ek.nn.Linear("x x -> x x", 8, 16, x=ek.O(3), rngs=nnx.Rngs(0))
assert layer.kernel["x x -> x x"].shape == (3, 8, 16)  # diagrams, channels in, channels out
assert layer.bias["-> x x"].shape == (1, 16)  # the identity matrix is the one invariant tensor
assert layer(jnp.ones((5, 3, 3, 8))).shape == (5, 3, 3, 16)
ek.testing.assert_equivariant(nnx.jit(layer), "x x -> x x", x=ek.O(3), channels=8, key=key)

# %% [markdown]
# Groups can be mixed. A cloud of points has an axis that is permuted and an axis that is turned. Blocks never join
# different labels, so a diagram for both is a diagram for each: two for the points, one for space.

# %%
assert ek.hom("p x -> p x", p=ek.S, x=ek.O(3)).dim == 2 * 1
ek.hom("p x -> p x", p=ek.S, x=ek.O(3))

# %% [markdown]
# The layer may use each point itself, and the sum of all points. It may not mix the coordinates. Compare with a layer
# that does not know about rotations: there the coordinates are channels. It commutes with permutations only.

# %%
points = ek.nn.Linear("p x -> p x", 4, 4, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))
for size in (2, 10):
    ek.testing.assert_equivariant(nnx.jit(points), "p x -> p x", p=ek.S(size), x=ek.O(3), channels=4, key=key)

unaware = ek.nn.Linear("p x -> p x", 4, 4, p=ek.S, x=ek.Fixed(3), rngs=nnx.Rngs(0))
errors = {
    name: ek.testing.equivariance_error(nnx.jit(net), "p x -> p x", p=ek.S(10), x=ek.O(3), channels=4, key=key)
    for name, net in (("S and O(3)", points), ("S alone", unaware))
}
weights = {"S and O(3)": points.kernel["p x -> p x"].size, "S alone": unaware.kernel["p x -> p x"].size}
assert errors["S and O(3)"] < 1e-5 < 0.1 < errors["S alone"]
assert weights["S alone"] == 9 * weights["S and O(3)"]
table(["layer commutes with", "weights", "relative error"], [(k, weights[k], f"{errors[k]:.1g}") for k in errors])

# %% [markdown]
# Two more, in one line each: particles with four-momenta, and a layer that has the cross product.

# %%
jets = ek.nn.Linear("h m -> h m", 4, 4, h=ek.S, m=ek.Lorentz, rngs=nnx.Rngs(0))
ek.testing.assert_equivariant(nnx.jit(jets), "h m -> h m", h=ek.S(5), m=ek.Lorentz, channels=4, key=key)

spin = nnx.jit(ek.nn.Linear("x x -> x", 4, 4, x=ek.SO(3), rngs=nnx.Rngs(0)))
ek.testing.assert_equivariant(spin, "x x -> x", x=ek.SO(3), channels=4, key=key)
assert ek.testing.equivariance_error(spin, "x x -> x", x=ek.O(3), channels=4, key=key) > 0.1  # mirrors are seen

# %% [markdown]
# ## 9. Exercises
#
# Try each exercise before you read on. The solutions follow in separate cells, and assert what they claim.
#
# ### Exercise 1. Two dimensions
#
# Which linear maps from vectors to vectors commute with all rotations of the plane, but not necessarily with
# reflections? Find them with equikit, and say what each does. Compose the new one with itself. Which numbers do you
# know that multiply like that?

# %% [markdown]
# ### Solution 1
#
# There are two: the identity, and the Levi-Civita tensor with one leg in each row, which turns by a quarter. Two
# quarter turns are a half turn, which is minus the identity. So the maps $a I + b J$ multiply like the complex numbers
# $a + b i$. (With the matrix of $\varepsilon$ as it stands, $J$ turns clockwise.)

# %% tags=["solution"]
plane = ek.hom("x -> x", x=ek.SO(2))
identity, J = plane.diagrams
assert plane.dim == 2
assert (J.matrix(2) == [[0, 1], [-1, 0]]).all()
assert str(J @ J) == "-(x -> x: 1 1')"

first, second = 2 + 3j, -1 + 0.5j
as_matrix = {z: z.real * identity.matrix(2) + z.imag * J.matrix(2) for z in (first, second, first * second)}
assert np.allclose(as_matrix[first] @ as_matrix[second], as_matrix[first * second])
show(J, "after", J, "is", *terms((term.coefficient, term.diagram) for term in (J @ J).terms))

# %% [markdown]
# ### Exercise 2. The tensor of inertia
#
# Points with masses $m_i$ at positions $r_i$ have the second moments $Q = \sum_i m_i\, r_i r_i^T$. The tensor of
# inertia says how hard it is to rotate the body. It is defined by $L = \Theta\, \omega$, where $\omega$ is the vector
# of the rotation, and $L = \sum_i m_i\, r_i \times (\omega \times r_i)$ the angular momentum. It is linear in $Q$ and
# commutes with rotations, so it must be a combination of the three diagrams of section 2. Which? Put the weights into a
# layer.

# %% [markdown]
# ### Solution 2
#
# By the rule for the double cross product $r \times (\omega \times r) = \omega\, (r \cdot r) - r\, (r \cdot \omega)$,
# and so $\Theta = \mathrm{tr}(Q)\, I - Q$. The weights are $-1$ for the identity, $0$ for the transposition, and $1$
# for the trace. The layer must not divide sums by their number of terms, hence `normalize="sum"`.

# %% tags=["solution"]
inertia = ek.nn.Linear("x x -> x x", 1, 1, x=ek.O(3), normalize="sum", use_bias=False, rngs=nnx.Rngs(0))
inertia.kernel["x x -> x x"][...] = jnp.array([-1.0, 0, 1]).reshape(3, 1, 1)

masses, places = rng.uniform(1, 2, 6), rng.normal(size=(6, 3))
Q = np.einsum("p,pi,pj->ij", masses, places, places)
theta = np.asarray(inertia(jnp.asarray(Q, jnp.float32)[..., None])[..., 0])
spin_axis = rng.normal(size=3)
momentum = sum(m * np.cross(r, np.cross(spin_axis, r)) for m, r in zip(masses, places, strict=True))
assert np.allclose(theta, np.trace(Q) * np.eye(3) - Q, rtol=1e-4, atol=1e-4)
assert np.allclose(theta @ spin_axis, momentum, rtol=1e-4, atol=1e-4)
show(*terms((w, D) for w, D in zip((-1, 1), (space.diagrams[0], space.diagrams[2]), strict=True)))

# %% [markdown]
# ### Exercise 3. Three parts of a tensor
#
# Each tensor with two axes is the sum of three: an antisymmetric one, a symmetric one with trace zero, and a multiple
# of the identity. Write the projections onto these parts as combinations of the three diagrams, with coefficients in
# $n$. Show for **every** $n$ that each is its own square, that the product of two different ones is zero, and that
# their sum is the identity. What is the trace of each, and what does it mean?

# %% [markdown]
# ### Solution 3
#
# With the identity $I$, the transposition $X$ and the trace diagram $K$: $\frac12 (I - X)$,
# $\frac12 (I + X) - \frac1n K$ and $\frac1n K$. The products need only `@`, as in lesson 1. The trace of a diagram is
# its inner product with the identity, which is in the first row of the Gram matrix. The trace of a projection is its
# rank, here $\frac12 n(n-1)$, $\frac12 n(n+1) - 1$ and $1$. For $n = 3$ these are $3 + 5 + 1 = 9$. They are the three
# shapes with an even number of boxes in section 3: a column of two, a row of two, no box.


# %% tags=["solution"]
def multiply(left, right):
    """The product of two combinations of diagrams, with exact coefficients in n."""
    total = Counter()
    for D, v in left.items():
        for E, w in right.items():
            both = D @ E
            total[both.diagram] += sympy.expand(v * w * both.symbol)
    return {D: sympy.simplify(w) for D, w in total.items() if sympy.simplify(w) != 0}


brauer = ek.hom("x x -> x x", x=ek.O)
I, X, K = brauer.diagrams
half = sympy.Rational(1, 2)
parts = [{I: half, X: -half}, {I: half, X: half, K: -1 / n}, {K: 1 / n}]
for i, j in product(range(3), repeat=2):
    assert multiply(parts[i], parts[j]) == (parts[i] if i == j else {})
assert {D: sympy.simplify(sum(part.get(D, 0) for part in parts)) for D in (I, X, K)} == {I: 1, X: 0, K: 0}

traces = dict(zip((I, X, K), brauer.gram()[0, :], strict=True))
ranks = [sympy.factor(sum(w * traces[D] for D, w in part.items())) for part in parts]
assert [sympy.expand(rank) for rank in ranks] == [half * n**2 - half * n, half * n**2 + half * n - 1, 1]
assert [rank.subs(n, 3) for rank in ranks] == [3, 5, 1]
shapes = ((1, 1), (2,), ())
assert [ends(quivers[3], 2)[shape] for shape in shapes] == [1, 1, 1]  # each is in the square once
print("ranks:", *ranks, sep="   ")

# %% [markdown]
# ## What to remember
#
# - Maps that commute with $O(n)$ are sums of pairings; there are $(k + l - 1)!!$, fewer if $n$ is small, and none if
#   $k + l$ is odd.
# - A determinant of one adds the Levi-Civita tensor, and with it the cross product. Two of them leave pairings.
# - Even permutations add the same sign to the diagrams of lesson 1, but only if $k + l \ge n - 1$.
# - Another form keeps the diagrams and changes what a pair inside one row means. With $\Omega$, a bent line pulled
#   straight costs a sign.
# - A diagram is a permutation, a Kronecker product of small pieces, and a permutation, so it is applied without its
#   matrix.
#
# The sources: Brauer, *On algebras which are connected with the semisimple continuous groups* (1937); Weyl, *The
# Classical Groups*; Pearce-Crump, [Brauer's Group Equivariant Neural Networks](https://arxiv.org/abs/2212.08630) and
# [How Jellyfish Characterize Alternating Group Equivariant Neural Networks](https://arxiv.org/abs/2301.10152);
# Pearce-Crump and Knottenbelt, [A Diagrammatic Approach to Improve Computational Efficiency in Group Equivariant Neural
# Networks](https://arxiv.org/abs/2412.10837).
