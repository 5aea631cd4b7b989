"""What depends on the platform follows the platform that a program is lowered for, not the one that lowers it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import equikit as ek
from equikit.plans import apply, weight_shapes
from equikit.plans.costs._method import Choice, fastest_by_platform

LARGE = ek.hom("p p -> p p", p=ek.S).plan((8, 8))
SIZES = (("p", 4),)


def operands(program, batch, n):
    rng = np.random.default_rng(0)
    weights = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in weight_shapes(program).items()}
    (width,) = program.channels[0]
    axes = [n] * len(program.signature.inputs[0].labels)
    return jnp.asarray(rng.normal(size=(batch, *axes, width)), jnp.float32), weights


def exported(function, platforms, *arguments):
    return export.export(jax.jit(function), platforms=platforms)(*arguments).mlir_module()


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize(
    ("platforms", "calls"), [(["cpu"], True), (["cuda"], False), (["tpu"], False), (["cpu", "cuda"], True)], ids=str
)
def test_only_programs_for_cpus_have_calls_that_are_not_inlined(platforms, calls, gradient):
    x, w = operands(LARGE, 8, 32)

    def function(x, w):
        return jnp.sum(apply(LARGE, x, w, method="factored"))

    text = exported(jax.grad(function, (0, 1)) if gradient else function, platforms, x, w)
    assert ("inlineable" in text) is calls


def differing():
    """A plan and a batch for which the cost model chooses differently on a CPU and on a GPU."""
    for signature, n in (("p p -> p p", 3), ("p p -> p p", 4), ("p p p -> p p p", 2), ("p p -> p", 4)):
        program = ek.hom(signature, p=ek.S).plan((2, 2))
        for batch in (1, 8, 64, 512, 4096):
            choice = fastest_by_platform(program, batch, (("p", n),), 4)
            if choice.cpu != choice.gpu:
                return program, batch, n, choice
    raise AssertionError("the cost model chooses alike everywhere")


STEPS = "dot_general|reduce|slice|transpose|concatenate|pad|select|add|multiply|gather|scatter"


def products(text):
    return text.count("stablehlo.dot_general")


def test_the_automatic_method_is_that_of_the_platform_a_program_is_lowered_for():
    program, batch, n, choice = differing()
    x, w = operands(program, batch, n)
    counts = {}
    for method in ("factored", "dense"):
        counts[method] = products(exported(lambda x, w, m=method: apply(program, x, w, method=m), ["cpu"], x, w))
    assert counts["factored"] != counts["dense"]
    for platform, expected in (("cpu", choice.cpu), ("cuda", choice.gpu), ("rocm", choice.gpu), ("tpu", choice.tpu)):
        text = exported(lambda x, w: apply(program, x, w), [platform], x, w)
        assert products(text) == counts[expected], platform
    both = exported(lambda x, w: apply(program, x, w), ["cpu", "cuda"], x, w)
    assert products(both) >= counts["factored"] + counts["dense"]


@pytest.mark.usefixtures("x64")
def test_a_choice_by_platform_leaves_values_and_derivatives_alone():
    program, batch, n, _ = differing()
    x, w = jax.tree.map(lambda a: a.astype(float), operands(program, batch, n))

    def loss(x, w, method):
        return jnp.sum(jnp.sin(apply(program, x, w, method=method)))

    found, wanted = (jax.value_and_grad(loss, (0, 1))(x, w, method) for method in ("auto", "factored"))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_the_same_choice_everywhere_needs_no_branch():
    x, w = operands(LARGE, 1, 4)
    assert Choice.everywhere("dense").single == "dense"
    assert "cond[" not in str(jax.make_jaxpr(lambda x, w: apply(LARGE, x, w, method="factored"))(x, w))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_an_artifact_has_the_steps_of_a_program_lowered_for_the_device(platform):
    layer = ek.nn.Linear("p p -> p p", 8, 8, p=ek.S, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((8, 32, 32, 8), jnp.float32)
    function = jax.jit(lambda x: layer(x))
    texts = exported(function, [platform], x), function.trace(x).lower(lowering_platforms=(platform,)).as_text()
    # The artifact is simplified: constants, broadcasts and reshapes are fewer.
    artifact, lowered = ([*re.findall(rf"= stablehlo\.({STEPS})\b", text)] for text in texts)
    assert artifact == lowered
    assert {"dot_general", "reduce"} <= {*artifact}
    assert ["inlineable" in text for text in texts] == [platform == "cpu"] * 2
