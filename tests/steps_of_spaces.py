"""Next steps of groups, spaces of maps, diagrams and irreps, in the form of `CALL` in `test_steps_as_code.py`."""

import jax
import jax.numpy as jnp
import numpy as np
from names_of_steps import NAMES

import equikit as ek
from equikit import spherical

LARGE = np.random.default_rng(3).integers(-9, 10, (8, 8))


CALL = {
    "a-matrix-in-half-precision": (
        lambda: spherical.decompose(2).matrix(np.float16),
        "rows()",
        lambda text: eval(f"spherical.decompose(2).{text}"),
    ),
    "a-sign": (
        lambda: ek.hom("alternating(x, x) -> x", x=ek.SO(3)),
        "sym(...)",
        lambda text: ek.hom("sym(x, x) -> x x", x=ek.SO(3)),
    ),
    "a-label-that-is-bound-twice": (
        lambda: ek.hom("p -> p", groups={"p": ek.S}, p=ek.S),
        "groups=",
        lambda text: ek.hom("p -> p", groups={"p": ek.S}),
    ),
    "a-product-that-is-not-exact": (
        lambda **o: ek.MatrixGroup([[[0.5]]], exact=True),
        "fractions.Fraction(1, 2)",
        lambda text: ek.MatrixGroup([[[eval(text, {"fractions": __import__("fractions")})]]], exact=True),
    ),
    "a-walk": (
        lambda: ek.diagrams.count_walks(ek.O(3), 4, 2),
        "count_walks(O(3), 4)",
        {"count_walks": ek.diagrams.count_walks},
    ),
    "a-dense-matrix-of-words": (
        lambda: ek.hom("p -> p", p=ek.S(3)).project(np.array([["a"] * 3] * 3)),
        "np.asarray(matrix, np.float64)",
        {"matrix": np.eye(3)},
    ),
    "irreps-of-another-parity": (
        lambda **o: spherical.from_irreps(spherical.to_irreps(jnp.ones((3, 3, 1)), 2, pseudo=True), 2, **o),
        "pseudo=True",
        None,
    ),
    "generators-of-low-precision": (
        lambda: ek.hom("x x -> ()", x=ek.MatrixGroup([[[0.5, -0.866], [0.866, 0.5]]], tolerance=1e-5)).dim,
        "tolerance=",
        lambda text: eval(f"ek.MatrixGroup([[[0.5, -0.866], [0.866, 0.5]]], {text}1e-2)", NAMES),
    ),
    "a-complex-matrix": (
        lambda: ek.GL(2).act(1j * np.eye(2), np.ones(2), 0),
        "array.astype(complex)",
        {"array": np.ones(2)},
    ),
    "a-quiver-of-rotations": (
        lambda: ek.diagrams.mckay_quiver(ek.SO(3)),
        "count_walks(SO(3), length)",
        {"count_walks": ek.diagrams.count_walks, "length": 4},
    ),
    "a-quiver-without-a-size": (lambda: ek.diagrams.mckay_quiver(ek.S), "S(5)", {}),
    "a-large-exact-matrix": (
        lambda: spherical.decompose(9).to_sympy(),
        "rows()",
        lambda text: eval(f"decompose(3).{text}", NAMES),
    ),
    "many-elements": (lambda most=10: ek.S(5).elements(most=most), "most=", lambda text: ek.S(5).elements(most=200)),
    "products-past-64-bits": (
        lambda **o: ek.hom(
            " -> a b c", **dict.fromkeys("abc", ek.MatrixGroup([[[1, 0], [20000001, -1]]], **o))
        ).matrices(),
        "exact=False",
        None,
    ),
    "null-spaces-past-64-bits": (
        lambda **o: ek.hom("x -> x", x=ek.MatrixGroup([LARGE], **o)).matrices(),
        "exact=False",
        None,
    ),
    "a-high-order": (lambda: spherical.decompose(60).rows(), "decompose(order)", {"order": 60}),
    "a-matrix-that-is-traced": (
        lambda: jax.jit(ek.hom("p -> p", p=ek.S(3)).project)(jnp.eye(3)),
        "B = space.matrices(n).reshape(space.dim, -1).T.astype(matrix.dtype)",
        lambda text: exec(text, {"space": ek.hom("p -> p", p=ek.S), "n": 3, "matrix": np.eye(3)}),
    ),
    "legs-without-a-group": (
        lambda: ek.Diagram.parse("x x x -> (): ^1' | ^2' | ^3'", x=ek.O(3)),
        "Diagram.parse(..., x=ek.SO(3))",
        lambda text: eval(text.replace("...", "\"x x x -> (): ^1' | ^2' | ^3'\""), NAMES),
    ),
    "determinants-of-a-free-group": (lambda x=ek.O: ek.hom("x -> x~", x=x).dim, "O(3)", {}),
    "determinants-of-permutations": (lambda p=ek.S: ek.hom("p -> p det(p)", p=p), "p=ek.O(3)", None),
    "a-determinant-of-two-labels": (
        lambda: ek.hom("det(x y), x -> x", x=ek.O(3), y=ek.O(3)),
        "det(x)",
        lambda text: ek.hom(f"x {text}, x -> x", x=ek.O(3)),
    ),
}
