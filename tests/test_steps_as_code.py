"""Every next step that is code is executed, and its source says so: a new one fails until it has a row here.

`test_next_steps.py` follows steps that change the keywords of the call. Here a row has a call that fails, the code that
its next step has to contain, and either nothing, where the code is keywords that let the call succeed, or the names
with which the code can be evaluated. Packages have files of rows of their own, `steps_of_*.py`.
"""

import functools
import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from next_steps import code_steps, matches
from steps_of_weight_spaces import GRAPH, INPUT, KEY, PARAMS, RELU, RNGS, SPEC, apply, evaluated, loss
from test_next_steps import BUILDS, CASES, COMMANDS, TEXTS
from typer.testing import CliRunner

import equikit as ek
from equikit import plans, spherical, symmetrization, weightspace
from equikit.cli import app
from equikit.symmetrization import (
    FineToCoarse,
    OrbitDistance,
    Probabilistic,
    canonicalization,
    invariants,
    inverse as inverse_element,
    orbit_distance,
    piecewise,
)
from equikit.symmetrization.canonicalization import EnergyCanonicalization, EnergyDescent

POINTS = jax.random.normal(KEY, (5, 3, 1))


def energy(x):
    return -x[:, 0, 0]


PLAN = ek.hom("p -> p", p=ek.S).plan()
LAYOUT = plans.lay_out(PLAN, {"p -> p": jnp.ones((2, 1, 1))})
PRODUCT = ek.hom("x, x -> x", x=ek.SO(3))
NAMES = {
    **vars(ek),
    **vars(spherical),
    **vars(weightspace),
    **vars(canonicalization),
    **{"ek": ek, "jax": jax, "jnp": jnp, "np": np, "nnx": nnx, "optax": optax, "rngs": RNGS, "key": KEY},
    **{"apply": apply, "loss": loss, "batch": INPUT, "spec": SPEC, "params": PARAMS, "x": INPUT, "graph": GRAPH},
    **{"a": PARAMS, "b": PARAMS, "trees": [PARAMS, PARAMS], "params_a": PARAMS, "params_b": PARAMS, "network": jnp.sin},
    **{"encoder": energy, "piecewise": piecewise, "invariants": invariants},
}


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


def with_dropout(**options):
    return wrapped(dropped, call={"key": KEY}, **options)


def in_parts(how=None, x=POINTS, parts=None, **options):
    how = ek.frames.PCA() if how is None else how
    sym = piecewise(jnp.sin, "p x -> p x", **{"p": ek.S, "x": ek.O(3), "how": how} | options)
    return sym(x, parts=parts)


def gated(gate=None):
    gate = nnx.Linear(3, 5, rngs=RNGS) if gate is None else gate
    return weightspace.MixtureOfExperts(lambda rngs: nnx.Linear(3, 2, rngs=rngs), 2, gate, rngs=RNGS)(INPUT)


def material(**options):
    return ek.nn.ConstitutiveLaw(invariants=1, hidden=(), rngs=RNGS, **options).energy(jnp.zeros((3, 3)))


def called_frame():
    return ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA()).frame(POINTS).elements


def defined(signature):
    """A function with a signature that is read from a text."""
    scope = {}
    exec(f"def {signature}:\n    return x", scope)
    return next(value for name, value in scope.items() if name != "__builtins__")


def masked(backbone):
    return wrapped(backbone, call={"mask": {"p": jnp.arange(5) < 4}})


def odd_symbols(text="batch, half"):
    batch, size = jax.export.symbolic_shape(text) if isinstance(text, str) else text
    layer = ek.nn.Linear("z -> z", 1, 1, z=ek.Sp, rngs=RNGS)
    return jax.export.export(jax.jit(layer.__call__))(jax.ShapeDtypeStruct((batch, size, 1), jnp.float32))


def two_outputs(**options):
    space = ek.hom({"a": "p"}, {"b": "p", "c": "p"}, p=ek.S)
    plan = space.plan()
    weights = {name: jnp.ones(shape) for name, shape in plans.weight_shapes(plan).items()}
    return plans.apply(plan, jnp.ones((4, 1)), weights, **options)


def dropped(x, rngs=None):
    return nnx.Dropout(0.5)(x, rngs=rngs)


def in_double_precision(text):
    try:
        eval(text, NAMES)
        return ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=jnp.float64, rngs=RNGS)
    finally:
        jax.config.update("jax_enable_x64", False)


def vote(x, parts):
    return x


LARGE = np.random.default_rng(3).integers(-9, 10, (8, 8))


CALL = {
    "layout-of-another-plan": (
        lambda: plans.apply(ek.hom("p -> p", p=ek.S).plan((2, 1)), jnp.ones((4, 2)), LAYOUT),
        "lay_out(plan, weights)",
        {"lay_out": plans.lay_out, "plan": PLAN, "weights": {"p -> p": jnp.ones((2, 1, 1))}},
    ),
    "layout-that-was-changed": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), jax.tree.map(lambda a: a[..., :0], LAYOUT)),
        "lay_out(plan, weights)",
        {"lay_out": plans.lay_out, "plan": PLAN, "weights": {"p -> p": jnp.ones((2, 1, 1))}},
    ),
    "layout-method": (
        lambda **o: plans.apply(PLAN, jnp.ones((4, 1)), LAYOUT, **{"method": "dense"} | o),
        'method="factored"',
        None,
    ),
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
    "gate": (
        gated,
        "gate=nnx.Linear(features, 2, rngs=rngs)",
        lambda text: gated(**eval(f"dict({text})", NAMES | {"features": 3})),
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
    "points-in-space": (
        lambda: ek.nn.GeometricMessage({"x": 1}, {"x": 1}, cutoff=1.0, x=ek.O(3), rngs=RNGS),
        '{"p": 16, "p x": 8}, p=ek.S, x=ek.O(3)',
        lambda text: eval(f"ek.nn.GeometricMessage({{'p': 1}}, {text}, cutoff=1.0, hidden=(), rngs=rngs)", NAMES),
    ),
    "kernel-size": (
        lambda **o: ek.nn.GroupConvolution(1, ek.D(4), rngs=RNGS, **{"kernel_size": 2} | o),
        "kernel_size=3",
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
    "a-symbol-that-may-be-odd": (
        odd_symbols,
        'jax.export.symbolic_shape("batch, 2*half")',
        lambda text: odd_symbols(eval(text, NAMES)),
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
    "a-law-without-an-energy": (material, "hyperelastic=True", None),
    "a-matrix-in-half-precision": (
        lambda: spherical.decompose(2).matrix(np.float16),
        "rows()",
        lambda text: eval(f"spherical.decompose(2).{text}"),
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
    "channels-given-twice": (
        lambda: ek.nn.Invariant({"x x": 1}, 4, x=ek.O(3), rngs=RNGS),
        "out_channels=10",
        lambda text: eval(f"ek.nn.Linear('x -> x', 4, {text}, x=ek.O(3), rngs=rngs)", NAMES),
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
    "inputs-without-channels": (lambda **o: wrapped(x=POINTS[..., 0], **o), "channels=False", None),
    "scores": (
        lambda: ek.symmetrize(
            jnp.sin, "p -> p", p=ek.S, how=canonicalization.PermutationCanonicalization(lambda x: jnp.ones((4, 2)))
        )(jnp.ones((4, 1))),
        'out="p", out_channels=1',
        lambda text: eval(f"ek.nn.GraphNetwork(1, [4], {text}, rngs=rngs)", NAMES),
    ),
    "a-dead-group": (lambda **o: ek.nn.MatrixNetwork({"x": 1}, "x", rngs=RNGS, **{"x": ek.O} | o), "x=ek.O(3)", None),
    "channels-of-products": (
        lambda **o: ek.nn.Multilinear("x, x -> x", (4, 4), x=ek.SO(3), rngs=RNGS, **o),
        'mode="channelwise"',
        None,
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
    "an-unmasked-key": (lambda **o: called(**{"key": jax.random.split(KEY)} | o), "key=jax.random.key(0)", None),
    "a-spread": (
        lambda **o: two_outputs(**{"out_sharding": jax.P()} | o),
        "out_sharding={'b': ...}",
        lambda text: two_outputs(out_sharding=eval(text.removeprefix("out_sharding=").replace("...", "None"))),
    ),
    "a-walk": (
        lambda: ek.diagrams.count_walks(ek.O(3), 4, 2),
        "count_walks(O(3), 4)",
        {"count_walks": ek.diagrams.count_walks},
    ),
    "no-mesh": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {"p -> p": jnp.ones((2, 1, 1))}, out_sharding=jax.P("data")),
        'jax.set_mesh(jax.make_mesh((jax.device_count(),), ("data",)))',
        lambda text: eval(text, NAMES).__exit__(None, None, None),
    ),
    "no-sharding": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {"p -> p": jnp.ones((2, 1, 1))}, out_sharding="data"),
        'jax.P("data")',
        {},
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
    "double-precision": (
        lambda: ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=jnp.float64, rngs=RNGS),
        'jax.config.update("jax_enable_x64", True)',
        in_double_precision,
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
    "generators-of-low-precision": (
        lambda: ek.hom("x x -> ()", x=ek.MatrixGroup([[[0.5, -0.866], [0.866, 0.5]]], tolerance=1e-5)).dim,
        "tolerance=",
        lambda text: eval(f"ek.MatrixGroup([[[0.5, -0.866], [0.866, 0.5]]], {text}1e-2)", NAMES),
    ),
    "fields-of-vectors": (
        lambda **o: ek.nn.GroupConvolution(1, ek.D(4), rngs=RNGS, **o)(jnp.ones((4, 4, 2, 1))),
        "vectors=True",
        None,
    ),
    "a-complex-matrix": (
        lambda: ek.GL(2).act(1j * np.eye(2), np.ones(2), 0),
        "array.astype(complex)",
        {"array": np.ones(2)},
    ),
    "a-state-in-place-of-a-model": (
        lambda: ek.nn.describe(3),
        "nnx.state(model)",
        {"model": nnx.Linear(2, 2, rngs=RNGS)},
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
    "scales-of-integers": (
        lambda: RELU.rescale(RELU.scalings[0], np.ones(4), PARAMS | {"a": jnp.ones((3, 4), int)}),
        "spec = trace(apply, params, x)",
        lambda text: exec(text, dict(NAMES)),
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
    "hidden-layers-without-products": (
        lambda **o: ek.nn.Network([{"x": 2}, {"": 4}, {"": 1}], x=ek.O(3), rngs=RNGS, **{"products": 0} | o),
        "products=8",
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
    "a-high-order": (lambda: spherical.decompose(60).rows(), "decompose(order)", {"order": 60}),
    "a-matrix-that-is-traced": (
        lambda: jax.jit(ek.hom("p -> p", p=ek.S(3)).project)(jnp.eye(3)),
        "B = space.matrices(n).reshape(space.dim, -1).T.astype(matrix.dtype)",
        lambda text: exec(text, {"space": ek.hom("p -> p", p=ek.S), "n": 3, "matrix": np.eye(3)}),
    ),
    "a-map-that-is-zero": (
        lambda: ek.nn.Linear("x -> ()", 1, 1, x=ek.O(3), rngs=RNGS),
        "ek.hom(...).dim",
        lambda text: eval(text.replace("...", "'x x -> ()', x=ek.O(3)"), NAMES),
    ),
    "a-product-that-is-zero": (
        lambda: ek.nn.Multilinear("x, x -> x", (1, 1), 1, x=ek.O(3), rngs=RNGS),
        "ek.hom(...).dim",
        lambda text: eval(text.replace("...", "'x, x -> x', x=ek.SO(3)"), NAMES),
    ),
    "a-symmetric-input": (
        lambda: wrapped(x=jnp.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])[..., None]),
        "sym.info(x)",
        {"sym": ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA()), "x": POINTS},
    ),
    "nothing-to-teleport": (
        lambda: weightspace.teleport(SPEC, optax.sgd(0.1), every=1).update(PARAMS, None, PARAMS, value_fn=loss),
        "print(spec.scalings, spec.linear_actions)",
        lambda text: exec(text, dict(NAMES)),
    ),
    "batch-normalization-in-training": (
        lambda: wrapped(nnx.BatchNorm(1, rngs=nnx.Rngs(0))),
        "model.eval()",
        lambda text: wrapped(evaluated(nnx.BatchNorm(1, rngs=nnx.Rngs(0)), text)),
    ),
    "weights-by-other-names": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {}),
        "weight_shapes(plan)",
        {"weight_shapes": plans.weight_shapes, "plan": PLAN},
    ),
    "weights-of-products": (
        lambda: plans.apply_multilinear(PRODUCT, (jnp.ones((3, 1)),) * 2, jnp.ones((2, 1, 1, 1))),
        "multilinear_weight_shape(space, channels, out_channels)",
        {
            "multilinear_weight_shape": plans.multilinear_weight_shape,
            "space": PRODUCT,
            "channels": (1, 1),
            "out_channels": 1,
        },
    ),
    "votes-of-another-shape": (
        lambda: FineToCoarse(2, [1.0, 0.5], votes=[lambda x, parts: x[:, :2]])(POINTS),
        'piecewise(..., "p x -> p x", translate="x")',
        lambda text: eval(
            text.replace("...", "jnp.sin").replace(")", ", p=ek.S, x=ek.O(3), how=ek.frames.PCA())"), NAMES
        ),
    ),
    "legs-without-a-group": (
        lambda: ek.Diagram.parse("x x x -> (): ^1' | ^2' | ^3'", x=ek.O(3)),
        "Diagram.parse(..., x=ek.SO(3))",
        lambda text: eval(text.replace("...", "\"x x x -> (): ^1' | ^2' | ^3'\""), NAMES),
    ),
    "a-description-that-is-none": (
        lambda: ek.nn.check_saved(nnx.Linear(2, 2, rngs=RNGS), 3),
        "json.dumps(ek.nn.describe(model))",
        {"json": json, "model": ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=RNGS)},
    ),
    "determinants-of-a-free-group": (lambda x=ek.O: ek.hom("x -> x~", x=x).dim, "O(3)", {}),
    "determinants-of-permutations": (lambda p=ek.S: ek.hom("p -> p det(p)", p=p), "p=ek.O(3)", None),
    "a-determinant-of-two-labels": (
        lambda: ek.hom("det(x y), x -> x", x=ek.O(3), y=ek.O(3)),
        "det(x)",
        lambda text: ek.hom(f"x {text}, x -> x", x=ek.O(3)),
    ),
    "entries-that-are-not-permuted": (
        lambda drop="entries": ek.nn.Dropout({"x": 1}, 0.5, drop=drop, x=ek.O(3), rngs=nnx.Rngs(0))(jnp.ones((3, 1))),
        'drop="values"',
        None,
    ),
    "a-stack-that-casts": (
        lambda dtype=jnp.bfloat16: ek.nn.Stack(
            lambda rngs: ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=dtype, rngs=rngs), 2, rngs=nnx.Rngs(0)
        )(jnp.ones((4, 1))),
        "dtype=float32",
        lambda text: CALL["a-stack-that-casts"][0](jnp.float32),
    ),
    "determinants-under-alignments": (
        lambda: on_free("x -> x~", ek.frames.Alignment(), x=ek.O(3)),
        "ek.frames.PCA('x')",
        lambda text: on_free("x -> x~", eval(text, NAMES), x=ek.O(3)),
    ),
    "a-complex-running-average": (
        lambda **o: ek.nn.BatchNorm({"p": 1}, p=ek.S, **o)(jnp.ones((2, 4, 1), jnp.complex64)),
        "param_dtype=jnp.complex64",
        None,
    ),
}
for path in sorted(Path(__file__).parent.glob("steps_of_*.py")):
    rows = importlib.import_module(path.stem).CALL
    assert not rows.keys() & CALL.keys(), "a row would replace another one"
    CALL |= rows


@pytest.mark.parametrize("name", CALL)
def test_the_code_of_a_next_step_is_executed(name):
    call, code, names = CALL[name]
    with pytest.raises(ek.EquikitError) as caught:
        call()
    assert code in caught.value.step
    if names is None:
        call(**eval(f"dict({code})", NAMES))
    elif callable(names):
        names(code)
    else:
        assert eval(code, NAMES | names) is not None


NOT_EXECUTED = {
    'look at spec.reasons; to accept this group, write warnings.simplefilter("ignore", equikit.TraceWarning) before '
    "the call",
    "multiply the matrices, diagram.matrix(n)",
    "name the group, as in Diagram.parse(..., {}=ek.Z(4))",
    "pass batch={}, or other devices",
    "pick the irreps with e3j.core.Filter, or add zeros; pseudo=True changes the parity",
    "pick the irreps with y.filter(...), or add zeros; pseudo=True changes the parity",
    "work with the matrices, diagram.matrix(n)",
    "write MatrixGroup(..., exact=False), for a numerical basis",
    'write jax.reshard(strain, jax.P("data")), with the axis of your mesh',
}
"""Steps that need several devices, e3nn-jax or e3j, a warning, and errors that take many seconds to reach."""


def failure(call):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    return caught.value.step


def test_every_next_step_that_is_code_is_executed():
    with_keywords = [functools.partial(call, **keywords) for call, keywords in CASES.values()]
    others = [*BUILDS.values(), *(call for call, _ in TEXTS.values()), *(call for call, *_ in CALL.values())]
    steps = {failure(call) for call in (*with_keywords, *others)}
    for words in COMMANDS.values():
        steps.add(CliRunner().invoke(app, words).stderr.rpartition("next step: ")[2].strip())
    missing = {text for text in code_steps() if not any(matches(text, step) for step in steps)}
    assert missing == NOT_EXECUTED
