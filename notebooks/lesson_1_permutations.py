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
# # Lesson 1. Layers that do not care about order
#
# A set has no first element, and the nodes of a graph have no numbers. A computer numbers them anyway. This lesson is
# about the linear layers that do not depend on the numbering: what they are, how many there are, how to draw them, how
# to compute them fast, and how to train a network made of them.
#
# You need linear algebra and a little JAX. You need no group theory.
#
# | section | question |
# | --- | --- |
# | 1 | What does it mean to commute with a permutation? |
# | 2 | Why is there one free number for each orbit of indices? |
# | 3 | Why does a graph layer have 15 of them? |
# | 4 | How do diagrams multiply? |
# | 5 | How does a sum of 15 maps become a fast layer? |
# | 6 | What can a network of such layers learn? |
# | 7 | Three exercises, with solutions |
#
# Every claim below is computed or asserted in a cell. If a cell runs, its claim holds.

# %%
from collections import Counter
from itertools import permutations, product

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import sympy
from flax import nnx
from IPython.display import HTML, display

import equikit as ek
from equikit.diagrams import count_partitions, count_walks, mckay_quiver
from equikit.draw import diagram_svg, matrix_svg
from equikit.plans import apply, plan_cost

BLUE, ORANGE, GRAY = "#1b79b8", "#d55e00", "#888888"
plt.rcParams.update({"figure.dpi": 90, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})


# %% [markdown]
# Two small helpers put pictures and words in a row, and numbers in a table.


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


# %% [markdown]
# ## 1. What does it mean to commute with a permutation?
#
# Here are five points in the plane. To store them we must list them, and a list has an order. Below are two lists of
# the same set.

# %%
rng = np.random.default_rng(1)
cloud = rng.normal(size=(5, 2))
g = np.array([2, 0, 3, 1, 4])  # the point at place i of the first list is at place g[i] of the second

fig, axes = plt.subplots(1, 2, figsize=(7, 2.7), sharex=True, sharey=True)
for ax, places, title in zip(axes, (range(5), g), ("first list", "second list"), strict=True):
    ax.scatter(*cloud.T, s=260, color=BLUE)
    for (x, y), place in zip(cloud, places, strict=True):
        ax.text(x, y, str(place), color="white", ha="center", va="center", weight="bold")
    ax.set(title=title)
    ax.margins(0.15)
    ax.axis("off")
plt.show()

# %% [markdown]
# Give every point a value. The values form a vector $x$ of length $n$: a function on the set $\{0, \dots, n-1\}$.
# Listing the set in another order moves the entries of $x$: entry $i$ moves to position $g(i)$. This is a linear map,
# and its matrix $P$ has a one in row $g(i)$ of column $i$. Such a $P$ is a **permutation matrix**.

# %%
S5 = ek.S(5)  # the group of all permutations of five points
P = S5.matrix(g)
x = np.array([10, 11, 12, 13, 14])
assert (P @ x == [x[1], x[3], x[0], x[2], x[4]]).all()
assert (np.eye(5) == P.T @ P).all()  # the transposed matrix moves the entries back
show("P =", P, f"x = {x.tolist()}, &ensp; P x = {(P @ x).tolist()}")

# %% [markdown]
# Now let $f$ take one number for each point and return one number for each point. When is $f$ a function of the
# *set*, and not of the list? Relabel and then apply $f$, or apply $f$ and then relabel: the result must be the same,
#
# $$f(Px) = P f(x) \quad\text{for every permutation matrix } P.$$
#
# Such an $f$ is called **equivariant**. If the result is a single number, relabeling does nothing to it, and the
# condition is $f(Px) = f(x)$: $f$ is **invariant**.
#
# Suppose that $f$ is linear, $f(x) = Wx$. Then $WPx = PWx$ for every $x$, which is an equation between matrices:
#
# $$WP = PW \quad\text{for every } P.$$
#
# ### By hand, for two points
#
# There is only one permutation matrix besides the identity. It swaps the two entries.

# %%
a, b, c, d = sympy.symbols("a b c d")
W, swap = sympy.Matrix([[a, b], [c, d]]), sympy.Matrix([[0, 1], [1, 0]])
solution = sympy.solve(W * swap - swap * W, [c, d])
assert solution == {c: b, d: a}
W.subs(solution)

# %% [markdown]
# One number on the diagonal, one number off it.
#
# ### With NumPy, for three and four points
#
# $WP - PW = 0$ is linear in the entries of $W$. Write those entries as one long vector, row after row. Then $W
# \mapsto WP$ is the matrix $I \otimes P^T$, and $W \mapsto PW$ is $P \otimes I$. We stack these equations for some
# permutations and compute the null space.
#
# Two permutations are enough: a swap of two neighbors, and the cycle that moves all points one place on. All others
# are products of these, and a matrix that commutes with $P$ and $Q$ commutes with $PQ$.


# %%
def commuting(n):
    """An orthonormal basis of the matrices that commute with all permutations, [n * n, dimension]."""
    one = np.eye(n)
    equations = [np.kron(one, P.T) - np.kron(P, one) for P in map(ek.S(n).matrix, ek.S(n).generators())]
    _, singular, rows = np.linalg.svd(np.concatenate(equations))
    return rows[singular < 1e-10].T


for n in (3, 4):
    print(f"n = {n}: {n * n} unknowns, {commuting(n).shape[1]} free numbers")
    assert commuting(n).shape[1] == 2

# %% [markdown]
# Only two numbers are free. The basis that the SVD returns is a mixture and hard to read. Choose the basis in which
# entries $(0, 0)$ and $(0, 1)$ are $1, 0$ and $0, 1$, and two patterns appear.

# %%
patterns = []
for n in (3, 4):
    basis = commuting(n)  # its first two rows belong to W[0, 0] and W[0, 1]
    clean = (basis @ np.linalg.inv(basis[:2])).T.reshape(2, n, n)
    patterns += np.rint(clean).astype(int).tolist()
    assert np.allclose(clean, [np.eye(n), 1 - np.eye(n)])
show("n = 3:", *map(np.array, patterns[:2]), "n = 4:", *map(np.array, patterns[2:]))

# %% [markdown]
# So a linear map that commutes with all permutations has one number on the diagonal and one off the diagonal. We can
# also write it as
#
# $$W = a I + b\, \mathbf 1 \mathbf 1^T, \qquad (Wx)_i = a\, x_i + b \sum_j x_j.$$
#
# Each point sees itself, and the sum over all points. No other linear map treats all points equally. This is the layer
# of [Deep Sets](https://arxiv.org/abs/1703.06114).
#
# ### The same with equikit
#
# A **signature** names the axes of the input and of the output. Both have one axis here, and we label it `p`. The
# group bound to the label acts on every axis with that label. `hom` is the space of all linear maps that commute.

# %%
space = ek.hom("p -> p", p=ek.S(4))
assert space.dim == 2
assert (space.matrices() == [np.eye(4), np.ones((4, 4))]).all()
space

# %% [markdown]
# Each map has a **diagram**. The bottom row has a vertex for each input axis, the top row one for each output axis.
# The diagram says where the matrix has its ones: vertices that are joined must carry equal indices.
#
# - Joined: $D_{ij} = 1$ where $i = j$. This is the identity.
# - Not joined: $D_{ij} = 1$ everywhere. This is the sum, written to every position.
#
# The pictures show the matrices at a small $n$, which is stated above them. The pattern is the same at every $n$. Below
# each picture is the number of the diagram in the list, and its number of **wires**, the blocks that join the rows.
#
# ## 2. From entries to orbits
#
# Why two? Look at single entries. $WP = PW$ is the same as $P^T W P = W$, and in entries
#
# $$W_{g(i)\, g(j)} = W_{ij} \quad\text{for every permutation } g.$$
#
# The permutation moves the *pair* of indices $(i, j)$ to $(g(i), g(j))$. The pairs that can be reached from one pair
# form an **orbit**. $W$ commutes with all permutations exactly if it is constant on each orbit. The number of free
# numbers is the number of orbits. We can find the orbits by trying all permutations.


# %%
def orbits(n, order):
    """For each tuple of indices the number of its orbit: an array [n, ..., n] with `order` axes."""
    tuples = np.array(list(product(range(n), repeat=order)))
    weights = n ** np.arange(order)[::-1]
    images = [np.array(g)[tuples] @ weights for g in permutations(range(n))]  # where each g sends each tuple
    first = np.min(images, axis=0)  # the smallest image stands for the orbit
    return np.unique(first, return_inverse=True)[1].reshape((n,) * order)


pairs = orbits(4, 2)
print(pairs)
assert pairs.max() + 1 == space.dim

# %% [markdown]
# There are two orbits: the pairs with $i = j$, and the pairs with $i \ne j$. A permutation cannot make different
# indices equal, or equal indices different, but every other change is possible. So an orbit is a *pattern of equality*
# among the indices.
#
# That gives two natural bases.
#
# - The **orbit basis**: $O$ is 1 on one orbit. Different blocks have *different* indices.
# - The **diagram basis**: $D$ asks only that joined indices are equal. Different blocks may have different indices or
#   not.
#
# For one axis in, one axis out: $D_0 = O_0$ and $D_1 = O_0 + O_1$, which is $\mathbf 1 \mathbf 1^T = I + (\mathbf 1
# \mathbf 1^T - I)$.

# %%
orbit_maps = space.matrices(basis="orbit")
assert (orbit_maps == [pairs == 0, pairs == 1]).all()
assert (space.matrices() == [orbit_maps[0], orbit_maps[0] + orbit_maps[1]]).all()
show("orbit basis:", *orbit_maps, "diagram basis:", *space.matrices())

# %% [markdown]
# Here is the next larger case: a matrix in, a vector out, `"p p -> p"`. There are three indices, and five patterns of
# equality, because there are five ways to split three things into groups (**set partitions**).

# %%
reading = ek.hom("p p -> p", p=ek.S(4))
assert reading.dim == orbits(4, 3).max() + 1 == 5
reading

# %% [markdown]
# A diagram is the sum of all orbits that its condition allows: its own, and those where some of its blocks happen to
# have the same index. Those are the partitions that are *coarser* (some blocks merged). In symbols
#
# $$D_\pi = \sum_{\sigma \ge \pi} O_\sigma.$$
#
# The matrix of this change of basis has only zeros and ones. It is called the **zeta matrix** of the refinement
# order. Its inverse again has integer entries, and there is a formula for them: the **Möbius function**. Blue is
# positive, orange is negative, and a color closer to the background means a smaller number.

# %%
zeta = reading.change_of_basis("diagram", "orbit")
moebius = reading.change_of_basis("orbit", "diagram")
assert (zeta @ moebius == np.eye(5)).all()
assert (np.einsum("de,eij->dij", zeta, reading.matrices(basis="orbit")) == reading.matrices()).all()
assert (np.einsum("de,eij->dij", moebius, reading.matrices()) == reading.matrices(basis="orbit")).all()
assert moebius.min() == -1
assert moebius.max() == 2
show("zeta:", zeta, "Möbius:", moebius, "the last row of Möbius:", str(moebius[-1].tolist()))

# %% [markdown]
# The last row reads: "all three different" is "anything", minus the three ways in which two are equal, plus twice "all
# equal". Where all three are equal, "anything" counts once, and the three subtractions take away three. Adding two
# makes it zero, as required. This is the principle of inclusion and exclusion.
#
# ## 3. Graphs: fifteen maps
#
# A graph with numbered nodes is a matrix $A$: $A_{ij} = 1$ if there is an arrow from $i$ to $j$. Relabel the nodes.
# Rows and columns move *together*, so $A$ becomes $P A P^T$. Below is one graph with two numberings.

# %%
graph = nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (4, 3), (4, 4)])
A = nx.to_numpy_array(graph, nodelist=range(5), dtype=int)
moved = P @ A @ P.T
assert all(moved[g[i], g[j]] == A[i, j] for i in range(5) for j in range(5))

fig, axes = plt.subplots(1, 4, figsize=(10, 2.5))
places = nx.circular_layout(graph)
style = {"node_color": BLUE, "edge_color": GRAY, "font_color": "white", "font_weight": "bold"}
for column, names, matrix, title in ((0, np.arange(5), A, "A"), (2, g, moved, r"P A P$^T$")):
    arrows = [(a, b) for a, b in graph.edges if a != b]
    nx.draw_networkx(graph, places, ax=axes[column], edgelist=arrows, labels=dict(enumerate(names.tolist())), **style)
    axes[column].add_patch(plt.Circle(1.2 * places[4], 0.22, fill=False, color=GRAY))  # the loop
    axes[column].set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    axes[column].axis("off")
    axes[column + 1].imshow(matrix, cmap="Blues", vmax=1.3)
    axes[column + 1].set(title=title, xticks=range(5), yticks=range(5))
plt.show()

# %% [markdown]
# A linear layer that takes matrices to matrices has a weight for each pair (output entry, input entry). That is four
# indices, $W_{ij,kl}$, and again $W$ must be constant on orbits. The orbits of four indices are the patterns of
# equality of four things: the set partitions of four points. There are fifteen.

# %%
four = orbits(4, 4)
assert four.max() + 1 == count_partitions(4) == 15

space = ek.hom("p p -> p p", p=ek.S(4))
assert space.dim == 15
space

# %% [markdown]
# Each picture is one way in which a graph layer may look at its input. Vertices `1` and `2` are the output indices
# $i, j$; vertices `1'` and `2'` are the input indices $k, l$. A vertex that is not joined to anything is *free*. If
# it is at the bottom, the input is summed over it. If it is at the top, the output is repeated along it.
#
# Here are all of them in words, in the order of their numbers, and as an `einsum`. The cell checks each formula against
# the matrix.

# %%
one, eye = np.ones(5, int), np.eye(5, dtype=int)
words = [
    ("1 1' | 2 2'", "ij->ij", [A], "the graph itself"),
    ("1 2' | 2 1'", "ji->ij", [A], "every arrow turned around: transposition"),
    ("1 2 1' 2'", "ii,ij->ij", [A, eye], "the loops, on the diagonal"),
    ("1 1' 2' | 2", "ii,j->ij", [A, one], "the loops at i, all along row i"),
    ("1 | 2 1' 2'", "jj,i->ij", [A, one], "the loops at j, all along column j"),
    ("1 2 1' | 2'", "ik,ij->ij", [A, eye], "how many arrows leave i, on the diagonal: the degree matrix"),
    ("1 1' | 2 | 2'", "ik,j->ij", [A, one], "how many arrows leave i, all along row i"),
    ("1 | 2 1' | 2'", "jk,i->ij", [A, one], "how many arrows leave j, all along column j"),
    ("1 2 2' | 1'", "ki,ij->ij", [A, eye], "how many arrows enter i, on the diagonal"),
    ("1 2' | 2 | 1'", "ki,j->ij", [A, one], "how many arrows enter i, all along row i"),
    ("1 | 2 2' | 1'", "kj,i->ij", [A, one], "how many arrows enter j, all along column j"),
    ("1 2 | 1' 2'", "kk,ij->ij", [A, eye], "the number of loops, which is the trace, on the diagonal"),
    ("1 | 2 | 1' 2'", "kk,i,j->ij", [A, one, one], "the number of loops, everywhere"),
    ("1 2 | 1' | 2'", "kl,ij->ij", [A, eye], "the number of arrows, on the diagonal"),
    ("1 | 2 | 1' | 2'", "kl,i,j->ij", [A, one, one], "the number of arrows, everywhere"),
]
results, rows = [], []
for number, (blocks, formula, arrays, text) in enumerate(words):
    D = ek.Diagram.parse(f"p p -> p p: {blocks}")
    assert space.diagrams[number] == D
    result = (D.matrix(5) @ A.reshape(25)).reshape(5, 5)
    assert (result == np.einsum(formula, *arrays)).all()
    results.append(result)
    rows.append((diagram_svg(D, scale=1), number, f"<code>{formula}</code>", text))
table(["diagram", "no.", "einsum", "what it does to a graph"], rows)

# %%
fig, axes = plt.subplots(3, 5, figsize=(9, 6))
titles = ["itself", "turned around", "loops, diagonal", "loops, rows", "loops, columns"]
titles += ["out, diagonal", "out, rows", "out, columns", "in, diagonal", "in, rows", "in, columns"]
titles += ["all loops, diagonal", "all loops", "all arrows, diagonal", "all arrows"]
for number, (ax, result, title) in enumerate(zip(axes.flat, results, titles, strict=True)):
    ax.imshow(result, cmap="Blues", vmin=0, vmax=8)
    for i, j in zip(*result.nonzero(), strict=True):
        color = "white" if result[i, j] > 4 else "black"
        ax.text(j, i, result[i, j], ha="center", va="center", color=color, size=8)
    ax.set_title(f"{number}. {title}", size=9)
    ax.axis("off")
fig.tight_layout()
plt.show()

# %% [markdown]
# ### Few points: fewer maps
#
# Fifteen is the answer for four points or more. With three points, four indices cannot all be different, so one orbit
# is empty. With two points only the partitions into one or two blocks remain. equikit keeps exactly the diagrams with
# at most $n$ blocks, and these are a basis.
#
# We can count in four ways: orbits by brute force, diagrams, the rank of all fifteen matrices, and the order of a
# zero that we explain next.

# %%
free = ek.hom("p p -> p p", p=ek.S)  # S without a number: any n
determinant = free.gram_determinant()
determinant

# %% [markdown]
# The **Gram matrix** holds the inner products of the fifteen matrices, $\langle D_\pi, D_\sigma \rangle = \mathrm{tr}
# (D_\pi^T D_\sigma)$. Each is a power of $n$. The matrices are dependent exactly where the determinant is zero: at $n
# = 1, 2, 3$.
#
# Why these factors? Pass to the orbit basis. The zeta matrix can be ordered to be triangular with ones on its
# diagonal, so it does not change the determinant. Orbit matrices have disjoint supports, so their Gram matrix is
# diagonal and holds the sizes of the orbits. An orbit with $t$ blocks has $n(n-1)\cdots(n-t+1)$ elements. This
# product is zero for $n < t$, and its zeros are simple. So the order of the zero of the determinant at $n$ is the
# number of orbits that are empty, and 15 less this order is the rank.

# %%
(n,) = determinant.free_symbols
assert determinant == n**15 * (n - 1) ** 14 * (n - 2) ** 7 * (n - 3)
zeros = sympy.roots(sympy.Poly(determinant, n))

order = sorted(range(15), key=lambda d: len(free.diagrams[d].blocks))
zeta = free.change_of_basis("diagram", "orbit")[np.ix_(order, order)]
assert (zeta == np.tril(zeta)).all()
assert (zeta.diagonal() == 1).all()

rows = []
for size in (1, 2, 3, 4, 5):
    brute = orbits(size, 4).max() + 1
    bound = ek.hom("p p -> p p", p=ek.S(size))
    rank = np.linalg.matrix_rank(free.matrices(size).reshape(15, -1))
    assert np.linalg.matrix_rank(bound.matrices().reshape(bound.dim, -1)) == bound.dim  # they are a basis
    rows.append((size, brute, bound.dim, rank, 15 - zeros.get(size, 0)))
    assert len(set(rows[-1][1:])) == 1
assert [row[1] for row in rows] == [1, 8, 14, 15, 15]
titles = ["n", "orbits", "diagrams with at most n blocks", "rank of all 15", "15 less the order of the zero"]
table(titles, rows)

# %% [markdown]
# ### Counting without any diagram
#
# There is a fifth way, without orbits or partitions. A **representation** is a vector space on which permutations act
# by matrices, such as $\mathbb R^n$ with the permutation matrices; call it $M$. A representation can split into smaller
# ones. $M$ does: the constant vectors form a line, and the vectors with sum zero form the rest. A representation that
# cannot be split further is called *irreducible*. For permutations of $n$ points there is one irreducible
# representation for each way to write $n$ as a sum, such as $4 = 3 + 1$. It is drawn as rows of boxes.
#
# Tensor an irreducible with $M$, and it splits into irreducibles again. Draw an arrow for each piece. This is the
# **McKay quiver** of $M$. The rule is simple: take one box away, and put one back.
#
# Our maps are the invariant vectors of $M \otimes M \otimes M \otimes M$, which are copies of the trivial
# representation (one row of boxes). Each factor $M$ is a step along an arrow. So the maps are counted by the **walks of
# four steps from the trivial representation back to itself**.

# %%
quiver = mckay_quiver(ek.S(4))
spots = {(4,): (0, 0), (3, 1): (1.5, 0), (2, 2): (2.75, 1.4), (2, 1, 1): (4, 0), (1, 1, 1, 1): (5.5, 0)}
assert set(spots) == set(quiver)

fig, ax = plt.subplots(figsize=(8, 3.6))
lines = [(a, b) for a, b in quiver.edges if a < b]
assert all(quiver.edges[a, b]["arrows"] == quiver.edges[b, a]["arrows"] == 1 for a, b in lines)
style = {"ax": ax, "node_size": 2600, "node_shape": "o"}
nx.draw_networkx_nodes(quiver, spots, node_color="white", edgecolors=GRAY, **style)
nx.draw_networkx_edges(quiver, spots, lines, arrowstyle="<|-|>", edge_color=GRAY, width=1.4, **style)
for shape, (x, y) in spots.items():
    for row, length in enumerate(shape):
        for column in range(length):
            corner = (x + 0.12 * (column - shape[0] / 2), y - 0.12 * (row + 1 - len(shape) / 2))
            ax.add_patch(plt.Rectangle(corner, 0.12, 0.12, facecolor=BLUE, edgecolor="white", zorder=3))
    again = quiver.edges[shape, shape]["arrows"]
    ax.text(x, y - 0.48, f"{' + '.join(map(str, shape))}\nto itself: {again}", ha="center", va="top", size=9)
ax.set(xlim=(-0.6, 6.1), ylim=(-1.0, 2.0), aspect="equal")
ax.axis("off")
plt.show()

# %% [markdown]
# Every line stands for an arrow in each direction. The arrows from a shape to itself are counted below it. Write all
# these numbers into a matrix; its fourth power counts the walks of four steps.

# %%
arrows = nx.to_numpy_array(quiver, nodelist=spots, weight="arrows", dtype=int)
assert np.linalg.matrix_power(arrows, 4)[0, 0] == 15
assert [count_walks(ek.S(size), 4) for size in (1, 2, 3, 4, 5)] == [1, 8, 14, 15, 15]
print(arrows)
print("walks of 0 to 6 steps:", [int(np.linalg.matrix_power(arrows, k)[0, 0]) for k in range(7)])

# %% [markdown]
# ## 4. Diagrams multiply
#
# Apply one map, then another. In diagrams: stack the second on top of the first, so that the middle rows meet, and
# follow the lines. Blocks that reach the top or the bottom stay. A block that lies only in the middle is an index that
# is summed over without any condition. It contributes the factor $n$. equikit calls it a *loop* (no relation to the
# loops of a graph).

# %%
parse = ek.Diagram.parse
out_degree = parse("p p -> p p: 1 1' | 2 | 2'")
turn = parse("p p -> p p: 1 2' | 2 1'")
trace = parse("p p -> p p: 1 2 | 1' 2'")

first, second = out_degree @ turn, trace @ trace  # turn is applied first
print(first)
print(second)
assert first.diagram == parse("p p -> p p: 1 2' | 2 | 1'")
assert first.loops == ()
assert second.diagram == trace
assert second.factor(5) == 5
display(show(out_degree, "after", turn, "is", first.diagram))
display(show(trace, "after", trace, "is n times", second.diagram))

# %% [markdown]
# In words: reversing all arrows and counting those that leave a node is the same as counting those that enter it.
# Writing the trace on the diagonal and taking the trace again gives $n$ times the trace.
#
# This holds for all of them. Stacking diagrams is the product of matrices, up to the factor. Turning a diagram upside
# down (`flip`) transposes its matrix. Putting diagrams side by side (`tensor`) is the Kronecker product. In one
# phrase: `matrix` is a **functor** from diagrams to matrices.

# %%
size = 3
for D in free.diagrams:
    assert (D.flip().matrix(size) == D.matrix(size).T).all()
    for E in free.diagrams:
        both = D @ E
        assert (D.matrix(size) @ E.matrix(size) == both.factor(size) * both.diagram.matrix(size)).all()

small = ek.hom("p -> p", p=ek.S).diagrams
for D in small:
    for E in small:
        assert (D.tensor(E).matrix(size) == np.kron(D.matrix(size), E.matrix(size))).all()
degree_matrix = parse("p p -> p p: 1 2 1' | 2'")
display(show(degree_matrix, "flipped is", degree_matrix.flip()))
display(show(small[0], "beside", small[1], "is", small[0].tensor(small[1])))

# %% [markdown]
# So an equivariant network can be reasoned about with pictures alone, for every $n$ at once.
#
# ## 5. From diagrams to a fast layer
#
# A layer has a weight for each diagram (and for each pair of channels):
#
# $$y = \sum_{d=0}^{14} w_d\, D_d\, x.$$
#
# As a dense matrix this costs $n^4$ multiply-adds, and memory to match. Applying the diagrams one by one costs at
# least $15 n^2$: each makes a full $n \times n$ output, which is multiplied by its weight and added.
#
# But each diagram is three small steps:
#
# 1. **Reduce.** Take diagonals and sums of the input, until only the axes that are joined to the top are left.
# 2. **Mix.** Multiply by the weights.
# 3. **Expand.** Repeat the result along the free output axes, or put it on a diagonal.
#
# Many diagrams share a reduction, and many share an expansion. So compute each reduction once. Mix where the tensors
# are small. Add everything with the same expansion before it is expanded. That list of steps is the **plan**.

# %%
plan = free.plan()
print(plan)

# %% [markdown]
# Each line is a step. In a `reduce` line `ij->i` is the input, summed over j, and `ii->i` its diagonal; in an `expand`
# line the axes of the output stand after the arrow. [Reading a plan](../docs/concepts/plans.md#reading-a-plan) explains
# every column.
#
# Read the three `mix` lines. There, 1 input meets 1 output in 2 ways on $n^2$ entries, 3 meet 3 on $n$ entries, and 2
# meet 2 on a single entry. The 2 ways are the matrix and its transpose. That is $2 n^2 + 9 n + 4$ multiply-adds, and
# $2 + 9 + 4 = 15$. The diagrams are sorted by their number of wires. It is also the number of axes that are left where
# the weights are applied.

# %%
mix = sum(line.flops for line in plan_cost(plan) if line.stage == "mix") / 2  # a multiply-add is two FLOPs
assert sympy.expand(mix - (2 * n**2 + 9 * n + 4)) == 0

wires = Counter(D.num_wires for D in free.diagrams)
assert sum(count * n**number for number, count in wires.items()) == sympy.expand(mix)

table(
    ["n", "dense matrix: n<sup>4</sup>", "one by one: 15 n<sup>2</sup>", "plan: 2 n<sup>2</sup> + 9 n + 4"],
    [[f"{v:,}" for v in (size, size**4, 15 * size**2, int(mix.subs(n, size)))] for size in (4, 16, 64, 256)],
)

# %% [markdown]
# These are multiply-adds for a pair of an input channel and an output channel. A layer with $16 \times 32$ channels
# has 512 such pairs, so this is where the time goes. The reductions and expansions are needed only once for each
# channel.
#
# Is it the same map? Compare with the dense matrices.

# %%
size = 6
weights = rng.normal(size=15)
x = rng.normal(size=(size, size))
dense = (np.einsum("d,dij->ij", weights, free.matrices(size)) @ x.reshape(-1)).reshape(size, size)
fast = apply(
    plan,
    jnp.asarray(x, jnp.float32)[..., None],  # channels come last; here there is one
    {"p p -> p p": jnp.asarray(weights, jnp.float32).reshape(15, 1, 1)},
)[..., 0]
assert np.allclose(fast, dense, rtol=1e-4, atol=1e-4)
print(f"largest difference {np.abs(fast - dense).max():.0e}, largest entry {np.abs(dense).max():.0f}")

# %% [markdown]
# `ek.nn.Linear` is a Flax layer that runs a plan. It has a weight for each diagram and each pair of channels, and a
# bias. Bound to `ek.S` without a number, one layer serves graphs of every size. `assert_equivariant` samples random
# inputs and random permutations, and compares $f(gx)$ with $g f(x)$.

# %%
key = jax.random.key(0)
layer = ek.nn.Linear("p p -> p p", 16, 32, p=ek.S, rngs=nnx.Rngs(0))
print("weights:", layer.kernel["p p -> p p"].shape)
fast_layer = nnx.jit(layer)
for size in (2, 7, 12):
    assert fast_layer(jnp.ones((2, size, size, 16))).shape == (2, size, size, 32)
    ek.testing.assert_equivariant(fast_layer, "p p -> p p", p=ek.S(size), channels=16, key=key)

# %% [markdown]
# A check that never fails would be worth nothing. An ordinary dense layer on the 49 entries of a matrix with $n = 7$
# fails it by a wide margin.

# %%
W = jnp.asarray(rng.normal(size=(49, 49)), jnp.float32)
error_of_layer, error_of_matrix = (
    ek.testing.equivariance_error(f, "p p -> p p", p=ek.S(7), channels=16, key=key)
    for f in (fast_layer, lambda x: jnp.einsum("ij,bjc->bic", W, x.reshape(-1, 49, 16)).reshape(x.shape))
)
assert error_of_layer < 1e-5
assert error_of_matrix > 0.1
print(f"relative error of the layer {error_of_layer:.0e}, of a random matrix {error_of_matrix:.1f}")

# %% [markdown]
# ## 6. A trained Deep Sets
#
# Now a network: layers `"p -> p"` with a nonlinearity between them, then an invariant layer from `"p"` to no axis,
# which averages over the points. This is `ek.nn.DeepSets`.
#
# The task: given a set of points in the plane, predict the **correlation coefficient** of their coordinates. It does
# not depend on the order of the points. It is not linear, and it must work for any number of points. We make sets of 5
# to 20 points. Sets of different sizes share an array, so the shorter ones are padded, and a mask marks the points that
# are present.


# %%
def make_sets(count, sizes, seed):
    """Point sets [count, width, 2], masks [count, width], and correlation coefficients [count]."""
    rng = np.random.default_rng(seed)
    mask = np.arange(max(sizes)) < rng.choice(sizes, count)[:, None]
    rho = rng.uniform(-1, 1, (count, 1))
    u, v = rng.normal(size=(2, *mask.shape))
    points = np.stack([u, rho * u + np.sqrt(1 - rho**2) * v], axis=-1)
    points = points * rng.uniform(0.5, 1.5, (count, 1, 2)) + rng.uniform(-1, 1, (count, 1, 2))
    target = [np.corrcoef(p[m], rowvar=False)[0, 1] for p, m in zip(points, mask, strict=True)]
    points = points * mask[..., None]  # zeros where there is no point
    return jnp.asarray(points, jnp.float32), jnp.asarray(mask), jnp.asarray(target, jnp.float32)


train, test = make_sets(4096, range(5, 21), seed=1), make_sets(1000, range(5, 21), seed=2)

fig, axes = plt.subplots(1, 5, figsize=(10, 2.2), sharex=True, sharey=True)
for ax, points, mask, target in zip(axes, *(np.asarray(array[:5]) for array in train), strict=True):
    ax.scatter(*points[mask].T, s=18, color=BLUE)
    ax.set(title=f"{mask.sum()} points: {target:+.2f}", xticks=[], yticks=[])
plt.show()


# %% [markdown]
# The rival is a plain multilayer perceptron (MLP). It sees the same numbers, the padded list and the mask, as one long
# vector. It does not know that the order has no meaning. Both are trained in the same way.


# %%
class MLP(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in ((60, 128), (128, 128), (128, 1))])

    def __call__(self, points, *, mask):
        x = jnp.concatenate([points.reshape(len(points), -1), mask.astype(points.dtype)], axis=-1)
        for layer in self.layers[:-1]:
            x = jax.nn.gelu(layer(x))
        return self.layers[-1](x)


def mean_square(net, batch):
    points, mask, target = batch
    return jnp.mean((net(points, mask=mask)[:, 0] - target) ** 2)


def fit(net):
    """Train a copy for 20 epochs of 32 steps with Adam."""
    return ek.train.fit(net, mean_square, train, epochs=20, batch=128, optimizer=1e-2, key=jax.random.key(3))


def count_parameters(net):
    return sum(array.size for array in jax.tree.leaves(nnx.state(net, nnx.Param)))


net, mlp = ek.nn.DeepSets(2, [32, 32], 1, activation=jax.nn.gelu, rngs=nnx.Rngs(0)), MLP(nnx.Rngs(0))
fitted = {"Deep Sets": fit(net), "MLP": fit(mlp)}
net, mlp = (one.model for one in fitted.values())


# %%
@nnx.jit
def predict(net, points, mask):
    return net(points, mask=mask)[:, 0]


def rmse(net, data):
    """The root mean square error."""
    points, mask, target = data
    return float(jnp.sqrt(jnp.mean((predict(net, points, mask) - target) ** 2)))


guess = float(test[2].std())  # the error of whoever always says the mean
table(
    ["", "parameters", "error on the training sets", "error on new sets"],
    [
        (name, f"{count_parameters(model):,}", f"{rmse(model, train):.3f}", f"{rmse(model, test):.3f}")
        for name, model in (("Deep Sets", net), ("MLP", mlp))
    ]
    + [("always the mean", 1, "", f"{guess:.3f}")],
)

# %% [markdown]
# Both fit the training sets. On new sets the MLP is much worse. It has to learn from examples that the order has no
# meaning, and twenty points have $20!$ orders. Deep Sets treats all orders equally from the start.

# %%
assert rmse(net, test) < 0.1
assert rmse(net, test) < rmse(mlp, test) / 2
assert count_parameters(net) < count_parameters(mlp)

fig, axes = plt.subplots(1, 3, figsize=(10, 3.2))
for ax, (name, one), color in zip(axes[1:], fitted.items(), (BLUE, ORANGE), strict=True):
    model = one.model
    axes[0].semilogy(one.losses[:, 0], color=color, label=name)
    ax.scatter(test[2], predict(model, *test[:2]), s=5, color=color)
    ax.plot([-1, 1], [-1, 1], color="black", lw=0.8)
    ax.set(xlabel="true correlation", ylabel="predicted", title=f"{name}, 1,000 new sets", ylim=(-1.6, 1.6))
axes[0].set(xlabel="epoch", ylabel="mean square error", title="training")
axes[0].legend(frameon=False)
fig.tight_layout()
plt.show()

# %% [markdown]
# ### Sets of other sizes
#
# The weights of the layers do not depend on $n$, and sums over points are means, so their scale does not depend on the
# size. The network can therefore be applied to sets that are larger or smaller than any it has seen. The MLP cannot:
# its first matrix has a row for each of 20 positions.

# %%
others = [3, 4, 5, 10, 20, 50, 100, 300]
sets = {size: make_sets(500, [size], seed=size) for size in others}
errors = [rmse(net, sets[size]) for size in others]
large = sets[100]
assert rmse(net, large) < 0.1
assert errors[-1] < errors[others.index(20)] < errors[0]
few, many = (float(jnp.mean(jnp.abs(sets[size][2]) > 0.9)) for size in (3, 20))
assert few > 2 * many
print(f"correlations beyond 0.9: {few:.0%} of the sets of 3 points, {many:.0%} of the sets of 20")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.axvspan(5, 20, color=GRAY, alpha=0.2, label="sizes in training")
left.plot(others, errors, "o-", color=BLUE)
left.set(xscale="log", xlabel="points in a set", ylabel="error (root mean square)", ylim=(0, None))
left.set_xticks(others, map(str, others))
left.minorticks_off()
left.legend(frameon=False)
right.scatter(large[2], predict(net, *large[:2]), s=6, color=BLUE)
right.plot([-1, 1], [-1, 1], color="black", lw=0.8)
right.set(xlabel="true correlation", ylabel="predicted", title="sets of 100 points, never seen in training")
fig.tight_layout()
plt.show()

# %% [markdown]
# On larger sets the error is even smaller. Sets of three or four points are harder: the network has not seen any, and
# they are unlike the others. Three points often have a correlation close to $1$ or $-1$ by chance.
#
# Finally, two properties that hold by construction, without training: the result does not depend on the order of the
# points, nor on the values in the padding.

# %%
ek.testing.assert_equivariant(
    nnx.jit(lambda x, mask: net(x, mask=mask["p"])),
    "p -> ()",  # a set in, no axis out
    p=ek.S(20),
    channels=2,
    mask=True,
    key=key,
    tolerance=1e-4,
)
points, mask, _ = test
garbage = jnp.where(mask[..., None], points, 1e6)
assert jnp.array_equal(predict(net, points, mask), predict(net, garbage, mask))

# %% [markdown]
# ## 7. Exercises
#
# Try each exercise before you read on. The solutions follow in separate cells, and assert what they claim.
#
# ### Exercise 1. The graph Laplacian
#
# The Laplacian of an undirected graph is $L = \mathrm{diag}(\text{degrees}) - A$. It is used all over graph learning.
# It is linear in $A$ and does not depend on the numbering, so it must be a combination of the fifteen diagrams. Which
# diagrams, with which weights? Run it with the plan, and compare with NetworkX.

# %% [markdown]
# ### Solution 1
#
# Two diagrams: the degree on the diagonal (`1 2 1' | 2'`) with weight $1$, and the identity (`1 1' | 2 2'`) with
# weight $-1$.

# %% tags=["solution"]
weights = np.zeros((15, 1, 1), np.float32)
weights[free.diagrams.index(parse("p p -> p p: 1 2 1' | 2'"))] = 1
weights[free.diagrams.index(parse("p p -> p p: 1 1' | 2 2'"))] = -1

for network in (nx.petersen_graph(), nx.star_graph(6), nx.path_graph(3)):
    adjacency = nx.to_numpy_array(network, dtype=np.float32)
    laplacian = apply(plan, jnp.asarray(adjacency)[..., None], {"p p -> p p": jnp.asarray(weights)})[..., 0]
    assert np.array_equal(laplacian, nx.laplacian_matrix(network).toarray())
terms = [(w, D) for w, D in zip(weights.ravel(), free.diagrams, strict=True) if w]
show(*(part for w, D in terms for part in (f"{w:+.0f} &times;", D)))

# %% [markdown]
# ### Exercise 2. Two sets at once
#
# A table of ratings has a row for each user and a column for each film. Users may be permuted, and films may be
# permuted, independently of each other: $X$ becomes $P X Q^T$. How many linear maps take such a table to such a table
# and commute with both? Say what each does. Then bind the labels in `"a b -> a b"` to two groups and check. Why are
# there fewer maps than fifteen, although there are four indices again?

# %% [markdown]
# ### Solution 2
#
# Four. A block may join only vertices with the same label, since nothing relates a user to a film. So the two labels
# are independent, and each has the two maps of section 1: $2 \cdot 2 = 4$. They give the entry itself, its row sum,
# its column sum, and the sum of all. As matrices they are Kronecker products. There are fewer maps than for a graph
# because there is more to commute with: all pairs $(P, Q)$, and not only those with $P = Q$.

# %% tags=["solution"]
ratings = ek.hom("a b -> a b", a=ek.S(3), b=ek.S(4))
assert ratings.dim == 4
X = rng.integers(0, 6, (3, 4))
results = {str(D): (D.matrix({"a": 3, "b": 4}) @ X.ravel()).reshape(3, 4) for D in ratings.diagrams}
everywhere = np.ones((3, 4), int)
expected = {
    "a b -> a b: 1 1' | 2 2'": X,
    "a b -> a b: 1 1' | 2 | 2'": X.sum(1, keepdims=True) * everywhere,
    "a b -> a b: 1 | 2 2' | 1'": X.sum(0, keepdims=True) * everywhere,
    "a b -> a b: 1 | 2 | 1' | 2'": X.sum() * everywhere,
}
assert results.keys() == expected.keys()
assert all((results[name] == expected[name]).all() for name in expected)

users, films = (ek.hom("p -> p", p=ek.S(size)).matrices() for size in (3, 4))
products = [np.kron(U, F) for U in users for F in films]
assert sorted(M.tolist() for M in products) == sorted(M.tolist() for M in ratings.matrices())
ratings

# %% [markdown]
# ### Exercise 3. Centering is a projection
#
# Subtract the mean from a vector: $C = I - \frac1n \mathbf 1 \mathbf 1^T$. Doing it twice is the same as doing it
# once. Prove $C^2 = C$ for **every** $n$ with diagrams alone: compose the two diagrams of `"p -> p"`, and use the
# factors that `@` returns. Then do the same for the *double centering* of a matrix, $A \mapsto C A C$, which is used
# in statistics. Which diagrams of `"p p -> p p"` does it use?

# %% [markdown]
# ### Solution 3
#
# Write $C$ as a dictionary from diagrams to coefficients in $n$. The product of two such sums needs only `compose`.
# For the matrix, $A \mapsto C A C$ is $C \otimes C$, so the diagrams are the products $D \otimes E$ of the two: the
# entry itself, row sums, column sums and the total. (They are the four diagrams of Exercise 2, now with one label.)


# %% tags=["solution"]
def multiply(left, right):
    """The product of two combinations of diagrams, with exact coefficients in n."""
    total = Counter()
    for D, v in left.items():
        for E, w in right.items():
            both = D @ E
            total[both.diagram] += sympy.expand(v * w * both.symbol)
    return {D: sympy.simplify(w) for D, w in total.items() if sympy.simplify(w) != 0}


identity, everything = ek.hom("p -> p", p=ek.S).diagrams
center = {identity: sympy.Integer(1), everything: -1 / n}
assert (everything @ everything).symbol == n
assert multiply(center, center) == center

double = {D.tensor(E): v * w for D, v in center.items() for E, w in center.items()}
assert multiply(double, double) == double

size = 6
C = np.eye(size) - 1 / size
A = rng.normal(size=(size, size))
W = sum(float(w.subs(n, size)) * D.matrix(size) for D, w in double.items())
assert np.allclose((W @ A.ravel()).reshape(size, size), C @ A @ C)
names = ("", "&minus; 1/n &times;", "&minus; 1/n &times;", "+ 1/n&sup2; &times;")
assert list(double.values()) == [1, -1 / n, -1 / n, 1 / n**2]
show(*(part for name, D in zip(names, double, strict=True) for part in (name, D)))

# %% [markdown]
# ## What to remember
#
# - A linear map commutes with all permutations exactly if it is constant on the orbits of its indices.
# - Orbits are patterns of equality: set partitions, drawn as diagrams. One axis to one axis has 2, two to two have
#   15.
# - Diagrams multiply by stacking, with a factor $n$ for each loop.
# - A plan applies all of them at once: reduce, mix, expand.
# - A network of such layers needs no training to be independent of the order in sets and graphs, and works at every
#   size.
#
# The papers: Zaheer et al., [Deep Sets](https://arxiv.org/abs/1703.06114); Maron et al., [Invariant and Equivariant
# Graph Networks](https://arxiv.org/abs/1812.09902); Pearce-Crump, [Connecting Permutation Equivariant Neural Networks
# and Partition Diagrams](https://arxiv.org/abs/2212.08648); Godfrey et al., [Fast computation of permutation
# equivariant layers with the partition algebra](https://arxiv.org/abs/2303.06208).
