"""Next steps that are code are executed, and the call succeeds.

Of the alternatives of a step the first is followed. It changes the keywords of the call ("write name=value", "pass
name=value", "add name=value", "bind name=value", "remove name=", "leave name out") or an argument ("pass x.real").
"""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from typer.testing import CliRunner

import equikit as ek
from equikit import draw, plans, spherical, weightspace
from equikit.cli import app
from equikit.plans import apply, apply_multilinear

NAMES = {"ek": ek, "jax": jax, "jnp": jnp, "nnx": nnx}
RNGS = nnx.Rngs(0)
X = jnp.ones((4, 1))
PLAN = ek.hom("p -> p", p=ek.S).plan()
WEIGHTS = {"p -> p": jnp.ones((2, 1, 1))}
PRODUCT = ek.hom("p, p -> p", p=ek.S)


def double(shape, dtype=jnp.float64):
    """An array of JAX in double precision, made where x64 was on."""
    with jax.enable_x64(True):
        return jnp.ones(shape, dtype)


def followed(error: ek.EquikitError, keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a call after its next step."""
    step = re.split(r"; | for any size|, (?:or|which|whose|and) ", error.step)[0]
    done = dict(keywords)
    if changed := re.fullmatch(r"(?:write|pass|add|bind) (\w+=.+)", step):
        for name, value in eval(f"dict({changed[1]})", NAMES | done).items():
            done[name] = done[name] | value if isinstance(done.get(name), dict) and name == "groups" else value
        return done
    if renamed := re.fullmatch(r"write (\w+)=", step):
        return {renamed[1] if name == error.got.removesuffix("=") else name: value for name, value in done.items()}
    if removed := re.fullmatch(r"(?:remove|leave) (\w+)=?(?: out)?", step):
        del done[removed[1]]
        return done
    if changed := re.fullmatch(r"pass ((?:jnp\.asarray\()?(x|mask)\b.*)", step):
        return done | {changed[2]: eval(changed[1], NAMES | {changed[2]: done[changed[2]]})}
    raise AssertionError(f"not a step that is code: {error.step!r}")


def linear(x=None, mask=None, sizes=None, signature="p -> p", **keywords):
    layer = ek.nn.Linear(signature, 1, 1, **{"rngs": RNGS} | keywords)
    return layer if x is None else layer(x, mask=mask, sizes=sizes)


def complex_linear(x, **keywords):
    return ek.nn.Linear("u -> u", 1, 1, rngs=RNGS, **keywords)(x)


def applied(x=X, mask=None, **options):
    return apply(PLAN, x, WEIGHTS, mask=mask, **options)


def multiplied(x=X, **options):
    out = jnp.ones((PRODUCT.dim, 1, 1, 1)) if options.get("mode") != "channelwise" else jnp.ones((PRODUCT.dim, 1))
    return apply_multilinear(PRODUCT, (x, x), out, **options)


def transposed(sizes=None):
    program = ek.hom("a b -> ()", a=ek.S, b=ek.S).plan(normalize="mean")
    return plans.transpose_weights(program, {"a b -> ()": jnp.ones((1, 1, 1))}, sizes=sizes)


def error_of(**keywords):
    return ek.testing.equivariance_error(lambda x: x, "p -> p", **{"channels": 1, "key": jax.random.key(0)} | keywords)


def network(**keywords):
    return ek.nn.Network([{"p": 1}, {"p": 1}, {"p": 1}], **{"rngs": RNGS, "p": ek.S} | keywords)


def symmetrized(x=X, mask=None, **keywords):
    average = ek.symmetrize(lambda x, mask=None: x, "p -> p", **{"p": ek.S, "how": ek.frames.Sort()} | keywords)
    return average(x, mask=mask)


def pooled(x=X, mask=None, **keywords):
    return ek.nn.Pool("p", **{"p": ek.S} | keywords)(x, mask=mask)


def exported(layer):
    batch, n = jax.export.symbolic_shape("batch, n")
    return jax.export.export(jax.jit(layer.__call__))(jax.ShapeDtypeStruct((batch, n, 1), jnp.float32))


def material(**keywords):
    return ek.nn.ConstitutiveLaw(invariants=1, hidden=(), rngs=RNGS, **keywords)


S = {"p": ek.S}
CASES = {
    "unbound": (linear, {}),
    "unbound-multilinear": (lambda **o: ek.hom("p, p -> p", **o), {}),
    "unbound-python-keyword": (lambda **o: linear(signature="in -> in", **o), {}),
    "unbound-named-like-an-option": (lambda **o: linear(signature="method -> method", **o), {}),
    "unbound-named-like-an-option-of-a-network": (
        lambda **o: ek.nn.Network([{"products": 1}, {"products": 1}, {"": 1}], rngs=RNGS, **o),
        {},
    ),
    "unbound-dual": (lambda **o: ek.hom("u u* -> ()", **o), {}),
    "bound-to-a-number": (linear, {"p": 5}),
    "bound-to-a-negative-number": (linear, {"p": -1}),
    "bound-to-none": (lambda **o: linear(signature="in -> in", **o), {"groups": {"in": None}}),
    "misspelled-option": (linear, {**S, "use_biass": False}),
    "misspelled-label": (lambda **o: linear(signature="node -> node", **o), {"nodes": ek.S}),
    "misspelled-in-a-network": (network, {"resid": True}),
    "random-keys-without-parameters": (pooled, {"rngs": RNGS}),
    "random-keys-as-a-number": (linear, {**S, "rngs": 0}),
    "random-keys-as-a-class": (linear, {**S, "rngs": nnx.Rngs}),
    "size-of-a-bound-label": (lambda **o: linear(X, **o), {"p": ek.S(5)}),
    "size-of-a-bound-keyword": (lambda **o: linear(X, signature="in -> in", **o), {"groups": {"in": ek.O(5)}}),
    "size-that-no-input-has": (lambda **o: linear(X, signature="p -> p q q r r", q=ek.Sp, r=ek.Sp, **S, **o), {}),
    "a-second-size-that-no-input-has": (
        lambda **o: linear(X, signature="p -> p q q r r", q=ek.Sp, r=ek.Sp, **S, **o),
        {"sizes": {"q": 2}},
    ),
    "use-bias": (linear, {**S, "use_bias": 1}),
    "normalize": (linear, {**S, "normalize": "avg"}),
    "method": (linear, {**S, "method": "factord"}),
    "precision": (linear, {**S, "precision": "hgh"}),
    "remat": (linear, {**S, "remat": 1}),
    "chunk-size": (linear, {**S, "chunk_size": 0}),
    "dtype": (linear, {**S, "dtype": jnp.int32}),
    "param-dtype": (linear, {**S, "param_dtype": "real"}),
    "dtype-that-drops-imaginary-parts": (linear, {**S, "dtype": jnp.float32, "param_dtype": jnp.complex64}),
    "integers": (linear, {**S, "x": jnp.ones((4, 1), int)}),
    "objects": (linear, {**S, "x": np.ones((4, 1), object)}),
    "eight-bits": (linear, {**S, "x": jnp.ones((4, 1), jnp.float8_e4m3fn)}),
    "a-list": (linear, {**S, "x": [[1.0]]}),
    "a-list-of-complex-numbers": (linear, {**S, "x": [[1j]]}),
    "double-precision-of-jax": (linear, {**S, "x": double((4, 1))}),
    "complex-double-precision-of-jax": (linear, {**S, "x": double((4, 1), jnp.complex128)}),
    "swapped-bytes": (linear, {**S, "x": np.ones((4, 1), ">f4")}),
    "masked-array": (linear, {**S, "x": np.ma.masked_array(np.ones((4, 1)))}),
    "extended-precision": (linear, {**S, "x": np.ones((4, 1), np.longdouble)}),
    "complex-into-real": (linear, {**S, "x": X * 1j, "dtype": jnp.float32}),
    "real-into-complex": (complex_linear, {"x": X, "u": ek.U}),
    "mask-for-two-labels": (
        lambda **o: linear(jnp.ones((4, 4, 1)), signature="a b -> a b", a=ek.S, b=ek.S, **o),
        {"mask": jnp.ones(4, bool)},
    ),
    "mask-for-no-label": (lambda **o: linear(X, v=ek.O, signature="v -> v", **o), {"mask": jnp.ones(4, bool)}),
    "mask-of-numbers": (linear, {**S, "x": X, "mask": jnp.ones(4)}),
    "mask-as-a-list": (linear, {**S, "x": X, "mask": [True] * 4}),
    "mask-of-a-pool": (pooled, {"mask": [1, 0, 1, 1]}),
    "pool": (pooled, {"how": "average"}),
    "apply-method": (applied, {"method": "fast"}),
    "apply-chunks": (applied, {"chunk_size": 1.5}),
    "apply-dense-with-masks": (
        lambda **o: apply(ek.hom("p -> p", p=ek.S).plan(normalize="mean"), X, WEIGHTS, mask={"p": X[:, 0] > 0}, **o),
        {"method": "dense"},
    ),
    "plan-normalize": (lambda **o: ek.hom("p -> p", p=ek.S).plan(**o), {"normalize": "max"}),
    "plan-batch": (lambda **o: PLAN.cost(**o), {"batch": -1}),
    "multilinear-mode": (multiplied, {"mode": "all"}),
    "multilinear-normalize": (multiplied, {"normalize": "max"}),
    "multilinear-method": (multiplied, {"method": "dense"}),
    "transpose-sizes": (transposed, {}),
    "transpose-second-size": (transposed, {"sizes": {"a": 2}}),
    "products": (lambda **o: ek.nn.Bilinear({"x": 1}, outputs={"": 1}, x=ek.O, rngs=RNGS, **o), {"channels": 0}),
    "network-nonlinearity": (network, {"nonlinearity": "relu"}),
    "network-without-a-layer-to-keep": (
        lambda **o: ek.nn.Network([{"x": 1}, {"": 1}, {"": 1}], rngs=RNGS, x=ek.O, **o),
        {"residual": True},
    ),
    "sets-output": (lambda **o: ek.nn.DeepSets(1, [2], 1, rngs=RNGS, **o), {"out": "p p"}),
    "sets-hidden": (lambda **o: ek.nn.DeepSets(1, out_channels=1, rngs=RNGS, **o), {"hidden": []}),
    "sets-activation": (lambda **o: ek.nn.DeepSets(1, [2], 1, rngs=RNGS, **o), {"activation": "relu"}),
    "matrices-size": (lambda **o: ek.hom("p z -> q z", p=ek.S, q=ek.S, z=ek.Sp).matrices(**o), {}),
    "matrices-second-size": (lambda **o: ek.hom("p -> q", p=ek.S, q=ek.S).matrices(**o), {"n": {"p": 2}}),
    "matrices-basis": (lambda **o: ek.hom("p -> p", p=ek.S(3)).matrices(**o), {"basis": "orbits"}),
    "size-of-a-free-group": (ek.Sp().lie_algebra, {}),
    "size-of-a-bound-group": (ek.S(3).generators, {"n": 4}),
    "samples": (error_of, {**S, "p": ek.S(3), "samples": 0}),
    "key": (error_of, {"p": ek.S(3), "key": 0}),
    "batch-axes": (error_of, {"p": ek.S(3), "batch": 3}),
    "channels-of-the-test": (error_of, {"p": ek.S(3), "channels": None}),
    "free-group-in-a-test": (error_of, {"p": ek.S}),
    "symmetrize-chunks": (symmetrized, {"chunk_size": 0}),
    "symmetrize-channels": (symmetrized, {"channels": 1}),
    "symmetrize-key-argument": (symmetrized, {"key_argument": "seed"}),
    "symmetrize-integers": (symmetrized, {"x": jnp.ones((4, 1), int)}),
    "order": (spherical.decompose, {"order": -1}),
    "symmetry": (spherical.decompose, {"order": 2, "symmetry": "symm"}),
    "pseudo": (spherical.decompose, {"order": 2, "pseudo": 1}),
    "degree": (spherical.coupling, {"first": -1, "second": 1, "result": 1}),
    "scale": (lambda **o: draw.diagram_svg(ek.Diagram.identity("p"), **o), {"scale": 0}),
    "side": (lambda **o: draw.matrix_svg(np.eye(2, dtype=int), **o), {"side": -1}),
    "most": (lambda **o: draw.space_html(ek.hom("p -> p", p=ek.S), **o), {"most": -1}),
    "radial-basis": (lambda **o: ek.nn.Radial(2.0, 2, hidden=(), rngs=RNGS, **o), {"basis": "fourier"}),
    "cutoff": (lambda **o: ek.nn.Radial(channels=2, hidden=(), rngs=RNGS, **o), {"cutoff": -1.0}),
    "epsilon": (lambda **o: ek.nn.RMSNorm({"x": 1}, x=ek.O, **o), {"epsilon": 0}),
    "groups": (linear, {"groups": ek.S}),
    "real-and-complex-groups": (lambda **o: ek.hom("u + x -> u", u=ek.U, **o), {"x": ek.O}),
    "size-of-a-bound-space": (lambda **o: ek.hom("p -> p", p=ek.S(3)).matrices(**o), {"n": 4}),
    "orbits-of-pairings": (lambda **o: ek.hom("x -> x", x=ek.O(3)).matrices(**o), {"basis": "orbit"}),
    "size-of-a-determinant": (ek.hom("x x x -> ()", x=ek.SO(3)).diagrams[0].matrix, {"n": 4}),
    "infinite-quiver": (lambda **o: ek.diagrams.mckay_quiver(ek.O(3), **o), {}),
    "tolerance": (lambda **o: ek.MatrixGroup([[[0.0, 1], [1, 0]]], **o), {"tolerance": 1}),
    "name": (lambda **o: ek.MatrixGroup([[[0, 1], [1, 0]]], **o), {"name": 4}),
    "plan-channels": (lambda **o: plans.plan(ek.hom("p -> p", p=ek.S), **o), {"channels": 16}),
    "channelwise-plain-axes": (
        lambda **o: plans.multilinear_weight_shape(ek.hom("p f, p -> p", p=ek.S, f=ek.Fixed(2)), (2, 2), 2, **o),
        {"mode": "channelwise"},
    ),
    "channelwise-channels": (
        lambda **o: plans.multilinear_weight_shape(PRODUCT, (2, 3), 2, **o),
        {"mode": "channelwise"},
    ),
    "export-dense": (lambda **o: exported(linear(**S, **o)), {"method": "dense"}),
    "export-chunks": (lambda **o: exported(linear(**S, **o)), {"chunk_size": 2}),
    "network-products": (network, {"products": [8, 8, 8]}),
    "network-without-products": (
        lambda **o: ek.nn.Network([{"x": 1}, {"x": 1}, {"x": 1}], rngs=RNGS, x=ek.O, nonlinearity="norm", **o),
        {},
    ),
    "sets-group": (lambda **o: ek.nn.DeepSets(1, [2], 1, rngs=RNGS, **o), {"p": ek.S(5)}),
    "neighbors": (
        lambda **o: ek.nn.GeometricMessage(
            {"p": 1}, {"p": 1}, cutoff=2.0, powers=0, hidden=(), p=ek.S, x=ek.O(3), rngs=RNGS, **o
        ),
        {"neighbors": 0},
    ),
    "radial-widths": (lambda **o: ek.nn.Radial(2.0, 2, rngs=RNGS, **o), {"hidden": 8}),
    "material-group": (material, {"group": ek.S(3)}),
    "material-axes": (material, {"axes": (0, 0, 1)}),
    "material-axes-of-a-point-group": (
        material,
        {"group": ek.MatrixGroup([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]]), "axes": ((0, 0, 1),)},
    ),
    "material-scale": (material, {"scale": -1.0}),
    "material-energy": (material, {"hyperelastic": 1}),
    "material-degree": (
        lambda **o: ek.nn.ConstitutiveLaw(hyperelastic=True, invariants=1, hidden=(), rngs=RNGS, **o),
        {"degree": 2},
    ),
}


@pytest.mark.parametrize(("call", "keywords"), CASES.values(), ids=CASES)
def test_a_call_succeeds_after_its_next_step(call, keywords):
    with pytest.raises(ek.EquikitError) as caught:
        call(**keywords)
    call(**followed(caught.value, keywords))


BUILDS = {
    "S": lambda: ek.S(-1),
    "O": lambda: ek.O(2.5),
    "Sp": lambda: ek.Sp("4"),
    "Fixed": lambda: ek.Fixed(-1),
    "SO": ek.SO,
    "A": ek.A,
    "Z": ek.Z,
    "D": ek.D,
    "O-without-positive-directions": lambda: ek.O(None, 2),
    "U": lambda: ek.U(True),
    "MatrixGroup": lambda: ek.MatrixGroup([]),
    "MatrixGroup-of-texts": lambda: ek.MatrixGroup("x"),
    "Linear": lambda: ek.nn.Linear("p -> p", 2, p=ek.S, rngs=RNGS),
    "coupling": lambda: spherical.coupling(1, 2, 7),
}


@pytest.mark.parametrize("call", BUILDS.values(), ids=BUILDS)
def test_what_a_next_step_says_to_write_can_be_written(call):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    written = re.match(r"write (?:for example )?(\w+\(.*?\)+)(?:;|$)", caught.value.step)
    assert written, caught.value.step
    assert eval(written[1], vars(ek) | NAMES | {"coupling": spherical.coupling, "Linear": ek.nn.Linear, "rngs": RNGS})


TEXTS = {
    "signature": (lambda: ek.hom("p p"), lambda text: ek.hom(text, p=ek.S)),
    "multilinear": (
        lambda: ek.hom("x, y"),
        lambda text: ek.hom(text, groups={label: ek.O(3) for label in "xy" if label in text.replace("sym", "")}),
    ),
    "diagram": (lambda: ek.Diagram.parse("p -> p: 1 x"), ek.Diagram.parse),
}


@pytest.mark.parametrize(("call", "read"), TEXTS.values(), ids=TEXTS)
def test_the_text_of_a_next_step_can_be_read(call, read):
    with pytest.raises(ek.EquikitError) as caught:
        call()
    texts = re.findall(r'"(.*?)"', caught.value.step.removeprefix("write for example "))
    assert texts
    assert all(read(text) for text in texts)


def test_check_passes_with_the_labels_fixed_that_it_names():
    def model(p, x):
        return jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"] + p["bias"]) @ p["c"]

    x, params = (
        jnp.ones((6, 3)),
        {"a": jnp.ones((3, 4)), "b": jnp.eye(4, 5), "bias": jnp.arange(5.0), "c": jnp.eye(5, 7)},
    )
    traced = weightspace.trace(model, params, x)
    false = replace(
        traced,
        bindings=tuple((label, ek.S(group.size) if label == "out" else group) for label, group in traced.bindings),
    )
    names = {"spec": false}
    with pytest.raises(ek.EquivarianceError) as caught:
        false.check(model, params, x, key=jax.random.key(1))
    exec(caught.value.step.removeprefix("write ").split(", and ")[0], names)
    assert names["spec"].groups == traced.groups
    for seed in range(5):
        names["spec"].check(model, params, x, key=jax.random.key(seed))


COMMANDS = {
    "unbound": ["basis", "p q -> p", "-g", "p=S"],
    "size-without-matrices": ["basis", "p -> p", "-g", "p=S(4)", "--n", "4"],
    "matrices-without-a-size": ["basis", "p -> p", "-g", "p=S", "--matrices"],
    "one-size-of-two": ["basis", "p -> q", "-g", "p=S", "-g", "q=S", "--matrices", "--n", "p=4"],
    "size-of-a-bound-space": ["basis", "p -> p", "-g", "p=S(3)", "--n", "4"],
    "sizes": ["plan", "p -> p", "-g", "p=S", "--n", "x"],
    "group": ["basis", "p -> p", "--group", "p:S"],
    "channels": ["plan", "p -> p", "-g", "p=S", "--channels", "1"],
    "normalize": ["plan", "p -> p", "-g", "p=S", "--normalize", "avg"],
    "picture-of-many": ["draw", "p -> p", "-g", "p=S", "--output", "many.svg"],
    "picture-of-a-page": ["draw", "p -> p", "-g", "p=S", "--output", "one.html", "--index", "0"],
    "picture-of-some": ["draw", "p -> p", "-g", "p=S", "--output", "some.svg", "--index", "0,1"],
    "numbers-of-pictures": ["draw", "p p -> p p", "-g", "p=S", "--index", "0;1"],
    "picture-without-a-format": ["draw", "p -> p", "-g", "p=S", "--output", "many"],
    "format-of-a-file": ["draw", "p -> p", "-g", "p=S", "--output", "many.html", "--format", "svg"],
    "format": ["draw", "p -> p", "-g", "p=S", "--format", "tik"],
    "scale-of-text": ["draw", "p -> p", "-g", "p=S", "--scale", "2"],
    "size-of-a-program": ["plan", "p -> p", "-g", "p=S", "--code", "--n", "5"],
    "target": ["plan", "p -> p", "-g", "p=S(3)", "--target", "cpi"],
    "size-of-a-compiled-program": ["plan", "p -> p", "-g", "p=S", "--target", "cpu"],
    "devices-without-a-target": ["plan", "p -> p", "-g", "p=S(3)", "--devices", "1", "--gradient"],
    "scale-of-pictures": ["draw", "p -> p", "-g", "p=S", "--format", "tikz", "--scale", "0"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_succeeds_after_its_next_step(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 2, failed.output
    step = failed.stderr.rpartition("next step: ")[2].strip()
    if left := re.match(r"leave (--\w+) out", step):
        place = words.index(left[1])
        changed = words[:place] + words[place + 2 :]
    else:
        added = re.match(r"(?:write|add) (?:for example )?(--\w+)[ =](\S+?)(?:,? |$)", step)
        assert added, step
        option, value = added.groups()
        given = option in words
        place = words.index(option) if given else len(words)
        changed = [*words[:place], option, value.strip("\"'"), *words[place + 2 :]]
    succeeded = CliRunner().invoke(app, changed)
    assert succeeded.exit_code == 0, succeeded.output
