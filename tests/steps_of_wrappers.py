"""Next steps of `ek.symmetrize`, frames and losses over orbits, in the form of `CALL` in `test_steps_as_code.py`."""

import jax
import jax.numpy as jnp
from flax import nnx
from names_of_steps import KEY, NAMES, POINTS, energy
from steps_of_weight_spaces import evaluated

import equikit as ek
from equikit import symmetrization
from equikit.symmetrization import (
    FineToCoarse,
    OrbitDistance,
    Probabilistic,
    canonicalization,
    inverse as inverse_element,
    orbit_distance,
    piecewise,
)
from equikit.symmetrization.canonicalization import EnergyCanonicalization, EnergyDescent


def wrapped(backbone=jnp.sin, signature="p x -> p x", x=POINTS, call=None, **options):
    labels = {label: kind for label, kind in {"p": ek.S, "x": ek.O(3)}.items() if label in signature.split()}
    sym = ek.symmetrize(backbone, signature, **{"how": ek.frames.PCA(), "groups": labels} | options)
    return sym(x, **(call or {}))


def called(key=None, how=None, **options):
    how = ek.frames.PCA(on_degenerate="sample") if how is None else how
    return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=how, **options)(POINTS, key=key)


def on_points(signature="p x -> p x", how=None, **options):
    return ek.symmetrize(jnp.sin, signature, **{"p": ek.S, "how": ek.frames.Sort() if how is None else how} | options)


def on_free(signature, how, **options):
    return ek.symmetrize(jnp.sin, signature, how=how, **options)


def on_terms(x):
    return ek.symmetrize(
        lambda x: {"y": x["r"]}, {"r": "p x", "q": "p"}, {"y": "p x"}, p=ek.S, x=ek.O(3), how=ek.frames.PCA()
    )(x)


def with_dropout(**options):
    return wrapped(dropped, call={"key": KEY}, **options)


def in_parts(how=None, x=POINTS, parts=None, **options):
    how = ek.frames.PCA() if how is None else how
    sym = piecewise(jnp.sin, "p x -> p x", **{"p": ek.S, "x": ek.O(3), "how": how} | options)
    return sym(x, parts=parts)


def called_frame():
    return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA()).frame(POINTS).elements


def defined(signature):
    """A function with a signature that is read from a text."""
    scope = {}
    exec(f"def {signature}:\n    return x", scope)
    return next(value for name, value in scope.items() if name != "__builtins__")


def masked(backbone):
    return wrapped(backbone, call={"mask": {"p": jnp.arange(5) < 4}})


def dropped(x, rngs=None):
    return nnx.Dropout(0.5)(x, rngs=rngs)


def vote(x, parts):
    return x


CALL = {
    "a-missing-method": (
        lambda **o: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), **o),
        "how=ek.frames.PCA()",
        None,
    ),
    "a-class-of-frames": (
        lambda how=ek.frames.GroupAverage: ek.symmetrize(jnp.sin, "x -> x", x=ek.H(3), how=how),
        "how=ek.frames.GroupAverage()",
        None,
    ),
    "draws-from-nothing": (lambda **o: ek.frames.Stochastic(**o), "of=ek.frames.PCA()", None),
    "a-missing-group": (lambda **o: ek.Canonicalize(jnp.sin, **o), "group=ek.O(3)", None),
    "average-of-infinitely-many": (
        lambda **o: called(KEY, ek.frames.GroupAverage("x", **o)),
        "samples=64",
        None,
    ),
    "average-of-many": (lambda **o: called(KEY, ek.frames.GroupAverage("x", **o)), "samples=64", None),
    "key-of-a-call": (called, "key=jax.random.key(0)", None),
    "key-of-a-frame": (lambda **o: called(**{"key": 0} | o), "key=jax.random.key(0)", None),
    "dropout": (with_dropout, 'key_argument="rngs"', None),
    "learned-canonicalization": (
        lambda: ek.Canonicalize(jnp.sin, ek.Sp(2)),
        "Canonicalize(network, group=ek.D(4))",
        {},
    ),
    "starts-of-another-group": (
        lambda **o: on_points(x=ek.O(3), how=EnergyDescent(energy, "x", **{"starts": ek.frames.Sort()} | o)),
        'starts=ek.frames.PCA("x")',
        None,
    ),
    "directions": (
        lambda: on_points("p x -> p x", ek.frames.Directions(), x=ek.Fixed(3))(jnp.ones((600, 3, 1))),
        "Directions(samples=64)",
        {"Directions": ek.frames.Directions},
    ),
    "inverse-without-groups": (
        lambda **o: inverse_element(called_frame(), **{"groups": {}} | o),
        'groups={"x": ek.O(3)}',
        None,
    ),
    "energy-of-an-infinite-group": (
        lambda: on_free(
            "x -> x", EnergyCanonicalization(energy), x=ek.MatrixGroup([], lie_algebra=[[[0, 1], [-1, 0]]])
        ),
        "EnergyDescent",
        {"EnergyDescent": EnergyDescent},
    ),
    "parts-of-one-partition": (
        lambda **o: FineToCoarse(2, **{"widths": [1.0], "votes": [in_parts]} | o),
        "widths=[0.5, 0.3]",
        None,
    ),
    "images": (
        lambda **o: canonicalization.ImageCanonicalization(jnp.sin, **{"group": ek.S(4)} | o),
        "group=ek.D(4)",
        None,
    ),
    "unknown-invariants": (
        lambda **o: orbit_distance(ek.MatrixGroup([[[0, 1], [1, 0]]]), jnp.eye(2), **o),
        "orders=(2, 3)",
        None,
    ),
    "orders-without-invariants": (
        lambda **o: orbit_distance(ek.O(2), jnp.eye(2), **{"orders": (3,)} | o),
        "orders=(2,)",
        None,
    ),
    "a-matrix-that-is-not-square": (
        lambda: orbit_distance(ek.O(2), jnp.ones((2, 3))),
        "invariants()",
        lambda text: eval(f"{text[:-1]}ek.O(2), jnp.ones((2, 3)))", NAMES),
    ),
    "a-backbone-without-a-mask": (
        lambda: masked(lambda x: x),
        "backbone(x, *, mask)",
        lambda text: masked(defined(text)),
    ),
    "a-network-without-a-mask": (
        lambda: wrapped(
            how=canonicalization.PermutationCanonicalization(lambda x: x[..., :1]),
            signature="p -> p",
            x=jnp.arange(5.0)[:, None],
            call={"mask": jnp.arange(5) < 4},
        ),
        "f(x, *, mask=None)",
        defined,
    ),
    "compared-input": (
        lambda: on_free("x x -> x x", OrbitDistance(lambda x: jnp.eye(3), compare_input=True), x=ek.O(3)),
        "leave compare_input= out",
        lambda text: on_free("x x -> x x", OrbitDistance(lambda x: jnp.eye(3)), x=ek.O(3)),
    ),
    "starts-that-are-not-rotations": (
        lambda: EnergyDescent(energy, starts=jnp.ones((2, 3, 3))),
        "leave starts= out",
        lambda text: EnergyDescent(energy),
    ),
    "weights-of-parts": (
        in_parts,
        "parts=jax.nn.one_hot(part_of_each_point, number_of_parts)",
        lambda text: in_parts(parts=jax.nn.one_hot(jnp.zeros(5, int), 2)),
    ),
    "parts-that-are-integers": (
        lambda: in_parts(parts=jnp.ones((5, 2), int)),
        "jax.nn.one_hot(part_of_each_point, number_of_parts)",
        {"part_of_each_point": jnp.zeros(5, int), "number_of_parts": 2},
    ),
    "a-frame-that-weighs-nothing": (
        lambda **o: in_parts(**{"how": ek.frames.QR(), "parts": jnp.ones((5, 2))} | o),
        "how=ek.frames.PCA()",
        None,
    ),
    "points-without-a-label": (
        lambda **o: in_parts(**{"p": ek.Fixed(5), "parts": jnp.ones((5, 2))} | o),
        'points="p"',
        None,
    ),
    "axes-of-images": (
        lambda **o: ek.frames.GroupAverage(group=ek.D(4), **{"axes": ("i", "i")} | o),
        'axes=("i", "j")',
        None,
    ),
    "axes-with-other-labels": (
        lambda **o: ek.symmetrize(
            jnp.sin,
            "row col -> row col",
            how=canonicalization.ImageCanonicalization(jnp.sin, ek.D(4), **o),
            row=ek.Fixed(4),
            col=ek.Fixed(4),
        ),
        'axes=("row", "col")',
        None,
    ),
    "an-axis-of-images-with-a-group": (
        lambda **o: ek.symmetrize(
            jnp.sin,
            "i j -> i j",
            how=canonicalization.ImageCanonicalization(jnp.sin, ek.D(4)),
            **{"i": ek.Fixed(28), "j": ek.S} | o,
        ),
        "j=ek.Fixed(28)",
        None,
    ),
    "vectors-of-images": (
        lambda **o: ek.symmetrize(
            jnp.sin,
            "i j v -> i j v",
            how=canonicalization.ImageCanonicalization(jnp.sin, ek.D(4), vectors="v"),
            **{"i": ek.Fixed(4), "j": ek.Fixed(4), "v": ek.S} | o,
        ),
        "v=ek.O(2)",
        None,
    ),
    "an-image-that-is-no-square": (
        lambda **o: ek.symmetrize(
            jnp.sin,
            "i j -> i j",
            i=ek.Fixed(4),
            j=ek.Fixed(5),
            how=canonicalization.ImageCanonicalization(jnp.sin, **{"group": ek.D(4)} | o),
        ),
        "group=ek.D(2)",
        None,
    ),
    "invariants-of-another-group": (
        lambda **o: on_free("x -> x", OrbitDistance(jnp.sin, group=ek.SO(3)), **{"x": ek.Sp(4)} | o),
        "bind x to SO(3)",
        lambda text: on_free("x -> x", OrbitDistance(jnp.sin, group=ek.SO(3)), x=ek.SO(3)),
    ),
    "positions-that-are-missing": (lambda **o: wrapped(how=ek.frames.Center("x"), **o), 'translate="x"', None),
    "tensors-as-positions": (lambda **o: wrapped(**{"translate": "y"} | o), 'translate="x"', None),
    "axes-of-a-metric": (
        lambda how=None: ek.symmetrize(jnp.sin, "m -> m", m=ek.O(1, 3), how=ek.frames.PCA() if how is None else how),
        'ek.frames.QR("m")',
        lambda text: ek.symmetrize(jnp.sin, "m -> m", m=ek.O(1, 3), how=eval(text, NAMES)),
    ),
    "one-axis-of-a-tensor": (
        lambda: ek.symmetrize(jnp.sin, "x x -> x x", x=ek.O(3), how=ek.frames.QR()),
        "ek.frames.PCA('x')",
        {},
    ),
    "numbers-to-sort-by": (lambda: on_points("p p -> p p"), "ek.frames.Laplacian", {}),
    "a-graph": (lambda: on_points("p -> p", ek.frames.Laplacian()), "ek.frames.Sort", {}),
    "infinite-inputs": (lambda: wrapped(x=POINTS.at[0].set(jnp.nan)), "jnp.nan_to_num(x)", {}),
    "one-array-for-two-inputs": (
        lambda: on_terms(POINTS),
        'x={"r": ..., "q": ...}',
        lambda text: on_terms(**eval(f"dict({text.replace('...', 'POINTS', 1).replace('...', 'POINTS[:, 0]')})")),
    ),
    "inputs-without-channels": (lambda **o: wrapped(x=POINTS[..., 0], **o), "channels=False", None),
    "scores": (
        lambda: ek.symmetrize(
            jnp.sin, "p -> p", p=ek.S, how=canonicalization.PermutationCanonicalization(lambda x: jnp.ones((4, 2)))
        )(jnp.ones((4, 1))),
        'out="p", out_channels=1',
        lambda text: eval(f"ek.nn.GraphNetwork(1, [4], {text}, rngs=rngs)", NAMES),
    ),
    "an-unmasked-key": (lambda **o: called(**{"key": jax.random.split(KEY)} | o), "key=jax.random.key(0)", None),
    "two-rotations": (
        lambda: on_free("y x -> y x", Probabilistic(jnp.sin), x=ek.O(2), y=ek.O(2)),
        "labels=",
        lambda text: eval(f"Probabilistic(jnp.sin, {text}('x',))", NAMES | {"Probabilistic": Probabilistic}),
    ),
    "a-frame-that-reads-another-label": (
        lambda: wrapped(how=ek.frames.QR()),
        "ek.Fixed(n)",
        lambda text: wrapped(how=ek.frames.QR(), groups={"p": eval(text, NAMES | {"n": 5}), "x": ek.O(3)}),
    ),
    "dropout-without-a-key": (
        lambda key=None: wrapped(dropped, key_argument="rngs", call={"key": key}),
        "key=jax.random.key(0)",
        None,
    ),
    "dropout-with-keys-of-its-own": (
        lambda: wrapped(nnx.Dropout(0.5, rngs=nnx.Rngs(0))),
        'key_argument="rngs"',
        lambda text: wrapped(dropped, call={"key": KEY}, **eval(f"dict({text})")),
    ),
    "an-average-over-many": (
        lambda **o: on_points("p -> p", ek.frames.GroupAverage(**o))(jnp.ones((8, 1)), key=KEY),
        "samples=64",
        None,
    ),
    "a-vote-that-is-a-number": (
        lambda: FineToCoarse(2, [1.0, 0.5], votes=[3]),
        "votes=[piecewise(...)]",
        lambda text: eval(f"dict({text})", NAMES | {"piecewise": lambda _: FineToCoarse(2, [1.0, 0.5], votes=[vote])}),
    ),
    "matrices-without-a-square": (
        lambda: symmetrization.eigh(jnp.ones((2, 3))),
        "jnp.swapaxes(x, -1, -2) @ x",
        {},
    ),
    "outputs-without-channels": (
        lambda channels=True: wrapped(
            lambda x: x[..., 0] if channels else x, channels=channels, x=POINTS if channels else POINTS[..., 0]
        ),
        "channels=False",
        None,
    ),
    "a-symmetric-input": (
        lambda: wrapped(x=jnp.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])[..., None]),
        "sym.info(x)",
        {"sym": ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA()), "x": POINTS},
    ),
    "batch-normalization-in-training": (
        lambda: wrapped(nnx.BatchNorm(1, rngs=nnx.Rngs(0))),
        "model.eval()",
        lambda text: wrapped(evaluated(nnx.BatchNorm(1, rngs=nnx.Rngs(0)), text)),
    ),
    "votes-of-another-shape": (
        lambda: FineToCoarse(2, [1.0, 0.5], votes=[lambda x, parts: x[:, :2]])(POINTS),
        'piecewise(..., "p x -> p x", translate="x")',
        lambda text: eval(
            text.replace("...", "jnp.sin").replace(")", ", p=ek.S, x=ek.O(3), how=ek.frames.PCA())"), NAMES
        ),
    ),
    "determinants-under-alignments": (
        lambda: on_free("x -> x~", ek.frames.Alignment(), x=ek.O(3)),
        "ek.frames.PCA('x')",
        lambda text: on_free("x -> x~", eval(text, NAMES), x=ek.O(3)),
    ),
}
