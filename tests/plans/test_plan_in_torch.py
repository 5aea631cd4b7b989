"""Plans and layers as modules of PyTorch compute what they compute in JAX, with gradients."""

import copy
import doctest
import pickle
import warnings

import documents
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error, partly_slow
from in_numpy import by_numpy
from test_plan_in_numpy import (
    KEEP,
    LAYERS,
    LINEAR,
    MULTILINEAR,
    PLAN,
    QUICK,
    QUICK_MAPS,
    SYMMETRIC,
    drawn,
    linear_case,
    multilinear_case,
    named,
    symmetric_case,
    with_biases,
)

import equikit as ek
from equikit.plans import to_numpy, to_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")


def tensors(x):
    """Arrays, or dictionaries of them, as tensors."""
    return {name: tensors(a) for name, a in x.items()} if isinstance(x, dict) else torch.from_numpy(np.array(x))


def arrays(y):
    return {name: arrays(a) for name, a in y.items()} if isinstance(y, dict) else y.detach().numpy()


@pytest.mark.parametrize(("text", "n", "free"), partly_slow(SYMMETRIC, lambda place: place % 9 == 0))
def test_a_plan_of_permutations_is_the_plan_in_numpy(text, n, free):
    program, inputs, weights, masks, given, _ = symmetric_case(text, n, free)
    found = to_torch(program, weights)(tensors(inputs), mask=tensors(masks), sizes=given)
    assert_close(arrays(found), to_numpy(program, weights)(inputs, mask=masks, sizes=given), 1e-12)


@pytest.mark.parametrize(("text", "groups", "normalize"), partly_slow(LINEAR, QUICK, named(LINEAR)))
def test_a_plan_of_any_group_is_the_plan_in_numpy(text, groups, normalize):
    program, x, w = linear_case(text, groups, normalize)
    assert_close(arrays(to_torch(program, w)(tensors(x))), to_numpy(program, w)(x), 1e-12)


@pytest.mark.parametrize(("text", "groups", "mode"), partly_slow(MULTILINEAR, QUICK_MAPS, named(MULTILINEAR)))
def test_a_multilinear_plan_is_the_plan_in_numpy(text, groups, mode):
    program, x, w = multilinear_case(text, groups, mode)
    assert_close(arrays(to_torch(program, w)(*map(tensors, x))), to_numpy(program, w)(*x), 1e-12)


@pytest.mark.parametrize("name", partly_slow([(name,) for name in LAYERS], (2, 5), [*LAYERS]))
def test_a_layer_compiles_without_graph_breaks(name):
    make, inputs = LAYERS[name]
    layer = with_biases(make())
    module, given = to_torch(layer), [*map(tensors, inputs)]
    expected = layer(*inputs, mask=KEEP)
    torch.compiler.reset()
    assert_close(arrays(module(*given, mask=tensors(KEEP))), expected, 1e-6)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert_close(arrays(compiled(*given, mask=tensors(KEEP))), expected, 1e-6)
    assert_close(arrays(compiled(*given)), layer(*inputs), 1e-6)


@pytest.mark.slow
def test_a_compiled_layer_refuses_what_does_not_fit():
    """`torch.compile` cannot show our texts in one graph, but it must not compute something else."""
    torch.compiler.reset()
    module = to_torch(ek.nn.Linear("p q q -> p", 1, 1, p=ek.S, q=ek.S, rngs=nnx.Rngs(0)))
    fits, keep = torch.ones(2, 2, 4, 4, 1), torch.ones(2, 4, dtype=torch.bool)
    whole = torch.compile(module, fullgraph=True, backend="eager")
    for mask in (keep, {"p": torch.ones(4, 1, dtype=torch.bool)}, {"x": keep}):  # the first may be for p or for q
        for call in (module, whole):
            with pytest.raises(Exception, match=r".*"):
                call(fits, mask=mask)
    for other in (torch.ones(2, 2, 4, 2, 1), torch.ones(2, 2, 4, 4, 2), torch.ones(2, 4, 4)):
        for call in (module, whole):
            with pytest.raises(Exception, match=r".*"):
                call(other)
    assert whole(fits, mask={"q": keep}).shape == (2, 2, 1)


@pytest.mark.slow
def test_a_layer_compiles_by_inductor_for_any_size():
    layer = with_biases(LAYERS["linear"][0]())
    compiled = torch.compile(to_torch(layer), fullgraph=True, dynamic=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler
        for n in (4, 5, 7):
            x = drawn(3, n, n, 2)
            assert_close(arrays(compiled(tensors(x))), layer(x), 1e-6)


@pytest.mark.parametrize("name", partly_slow([("features",), ("bilinear",), ("multilinear",), ("graphs",)], (0,)))
def test_gradients_are_those_of_jax(name):
    make, inputs = LAYERS[name]
    layer = with_biases(make())
    module, given = to_torch(layer), [*map(tensors, inputs)]
    leaves = jax.tree.leaves(given)
    for leaf in leaves:
        leaf.requires_grad_()
    y = module(*given, mask=tensors(KEEP))
    sum(torch.sin(a).sum() for a in jax.tree.leaves(y)).backward()

    def loss(inputs):
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(layer(*inputs, mask=KEEP)))

    slopes = jax.grad(loss)(inputs)
    for leaf, slope in zip(leaves, jax.tree.leaves(slopes), strict=True):
        assert_close(leaf.grad.numpy(), slope, 1e-5)
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_gradients_are_finite_differences():
    program, x, w = linear_case("p x -> p x", {"p": ek.S(3), "x": ek.SO(3)}, "mean")
    module = to_torch(program, w)
    given = tensors(x)["p x"].requires_grad_()
    assert torch.autograd.gradcheck(module, (given,), fast_mode=True)
    parameters = {name: p.detach().requires_grad_() for name, p in module.named_parameters()}

    def of_weights(*values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (given.detach(),))

    assert torch.autograd.gradcheck(of_weights, tuple(parameters.values()), fast_mode=True)


@pytest.mark.parametrize("function", [jax.nn.relu, jax.nn.silu, jax.nn.sigmoid, jnp.tanh, jax.nn.gelu, jnp.abs])
def test_activations_are_those_of_jax(function):
    layer = ek.nn.DeepSets(2, [3], 1, activation=function, rngs=nnx.Rngs(0))
    x = 5 * drawn(6, 4, 2)
    assert_close(arrays(to_torch(layer)(tensors(x))), by_numpy(layer)(x), 1e-6)


def test_weights_have_the_names_of_the_layer():
    layer = with_biases(LAYERS["features"][0]())
    module = to_torch(layer)
    expected = {**layer.kernel, **layer.bias}
    assert {*module.weights} == {*expected}
    assert {*module.state_dict()} == {f"weights.{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_array_equal(module.weights[name].detach().numpy(), value[...])
    other = to_torch(LAYERS["features"][0]())
    other.load_state_dict(module.state_dict())
    x = tensors(LAYERS["features"][1][0])
    assert_close(arrays(other(x)), arrays(module(x)), 0)
    assert "p p + () -> p + ()" in repr(module)


def test_a_module_moves_to_other_dtypes_and_copies():
    """With the constants of Levi-Civita tensors and of groups without diagrams."""
    program, x, w = linear_case("z x -> x z x", {"z": ek.Z(3), "x": ek.SO(3)}, "mean")
    expected = to_numpy(program, w)(x)
    module = to_torch(program, {name: a.astype(np.float32) for name, a in w.items()})
    assert_close(arrays(module(tensors({n: a.astype(np.float32) for n, a in x.items()}))), expected, 2e-6)
    for same in (copy.deepcopy(module).double(), pickle.loads(pickle.dumps(module)).to(torch.float64)):
        assert_close(arrays(same(tensors(x))), expected, 2e-6)
        assert same(tensors(x))["x z x"].dtype == torch.float64
    half = copy.deepcopy(module).to(torch.bfloat16)
    y = half({name: a.to(torch.bfloat16) for name, a in tensors(x).items()})["x z x"]
    assert y.dtype == torch.bfloat16
    assert_close(y.detach().float().numpy(), expected["x z x"], 0.05)
    assert {name for name, _ in module.named_buffers()}
    assert not any("constant" in name for name in module.state_dict())
    assert copy.deepcopy(module).to("meta")(tensors(x)["z x"].float().to("meta")).device.type == "meta"


def test_a_layer_in_half_precision_is_a_module_in_half_precision():
    layer = ek.nn.Linear("p -> p", 2, 3, p=ek.S, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    module, x = to_torch(layer), drawn(4, 2)
    assert module.weights["p -> p"].dtype == torch.bfloat16
    found = module(tensors(x).to(torch.bfloat16)).detach().float().numpy()
    assert_close(found, layer(x).astype(jnp.float32), 0.05)


def test_autocast_computes_products_in_half_precision():
    module, x = to_torch(LAYERS["linear"][0]()), tensors(drawn(6, 4, 4, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(x)
        module(x.to(torch.bfloat16))
    assert_close(found.detach().float().numpy(), arrays(module(x)), 0.05)


def test_a_module_is_exported():
    layer = with_biases(LAYERS["linear"][0]())
    x = LAYERS["linear"][1][0]
    exported = torch.export.export(to_torch(layer), (tensors(x),), {"mask": tensors(KEEP)})
    assert_close(arrays(exported.module()(tensors(x), mask=tensors(KEEP))), layer(x, mask=KEEP), 1e-6)


def test_batch_axes_are_those_of_the_input():
    module, x = to_torch(LAYERS["linear"][0]()), tensors(drawn(6, 4, 4, 2))
    whole = arrays(module(x))
    assert_close(arrays(module(x.reshape(2, 3, 4, 4, 2))), whole.reshape(2, 3, 4, 3), 1e-6)
    assert_close(arrays(module(x[0])), whole[0], 1e-6)
    assert module(x[:0]).shape == (0, 4, 3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # in torch.func.hessian
def test_it_is_transformed_by_torch_func():
    """Maps over samples, and the second derivatives that forces of an energy need."""
    module, x = to_torch(LAYERS["linear"][0]()), tensors(drawn(6, 4, 4, 2))
    mapped = torch.func.vmap(module)(x)
    assert_close(arrays(mapped), arrays(module(x)), 1e-6)

    def energy(x):
        return module(x).square().sum()

    curvature = torch.func.hessian(energy)(x[0]).reshape(32, 32)
    assert_close(arrays(curvature), arrays(curvature.T), 1e-5)
    assert curvature.abs().max() > 0.01


def test_the_audit_passes():
    module = to_torch(with_biases(LAYERS["linear"][0]()))
    assert ek.audit(module, "p p -> p", data=drawn(6, 4, 4, 2), p=ek.S).passed


def test_weights_may_be_tensors():
    given, x = dict(MODULE.weights.items()), torch.ones(4, 1, dtype=torch.float64)
    assert_close(arrays(to_torch(PLAN, given)(x)), arrays(MODULE(x)), 0)
    nothing = ek.hom("() + a: q -> q", q=ek.S(0)).plan()
    assert to_torch(nothing, {})({"": torch.ones(5, 1), "a": torch.ones(5, 0, 1)})["q"].shape == (5, 0, 1)


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_that_are_replaced_are_checked(compiled):
    module = to_torch(PLAN, {"p -> p": np.ones((2, 1, 1))})
    module.weights["p -> p"] = torch.nn.Parameter(torch.ones(4, 1, 1).double())
    call = torch.compile(module, fullgraph=True, backend="eager") if compiled else module
    with pytest.raises(Exception, match=r"do not fit the plan|the weights") as caught:
        call(torch.ones(4, 1).double())
    assert compiled or isinstance(caught.value, ek.ShapeError)


def test_a_network_takes_features_by_their_labels():
    network, (edges, nodes) = to_torch(LAYERS["graphs"][0]()), map(tensors, LAYERS["graphs"][1])
    assert_close(arrays(network({"p": nodes, "p p": edges})), arrays(network(edges, nodes)), 0)


def test_no_advice_drops_imaginary_parts():
    group = ek.hom("x -> x", x=ek.O(2)).plan()
    waves = to_torch(group, {"x -> x": np.ones((1, 1, 1), np.complex64)})
    for module, x, step in (
        (waves, torch.ones(2, 1), "cast the input to torch.complex64"),
        (MODULE, torch.ones(4, 1).cdouble(), "cast the module to torch.complex128"),
    ):
        with pytest.raises(ek.DTypeError) as caught:
            module(x)
        assert caught.value.step == step


MODULE = to_torch(PLAN, {"p -> p": np.ones((2, 1, 1))})
PAIR = ek.hom("p -> p", p=ek.S).plan(bias=True)
CALLS = {
    "other-channels": (ek.ShapeError, lambda: MODULE(torch.ones(4, 2).double()), "2 channels, not 1"),
    "an-array": (ek.DTypeError, lambda: MODULE(np.ones((4, 1))), "not a tensor"),
    "another-dtype": (ek.DTypeError, lambda: MODULE(torch.ones(4, 1)), "different dtypes"),
    "a-mask-of-numbers": (
        ek.DTypeError,
        lambda: MODULE(torch.ones(4, 1).double(), mask=torch.ones(4)),
        "array of booleans",
    ),
    "a-mask-of-numpy": (
        ek.DTypeError,
        lambda: MODULE(torch.ones(4, 1).double(), mask=np.ones(4, bool)),
        "not a tensor of PyTorch",
    ),
    "a-dot-in-a-name": (
        ek.OptionError,
        lambda: to_torch(ek.nn.Linear({"a.b": ("p", 1)}, {"p": 1}, p=ek.S, rngs=nnx.Rngs(0))),
        "has a dot",
    ),
    "weights-of-two-dtypes": (
        ek.DTypeError,
        lambda: to_torch(PAIR, {"p -> p": np.ones((2, 1, 1)), "-> p": np.ones((1, 1), np.float32)}),
        "different dtypes",
    ),
    "a-network": (ek.OptionError, lambda: to_torch(ek.nn.Pointwise(jnp.abs, "p", p=ek.S)), "only plans"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_do_not_fit_are_refused(name):
    error, call, problem = CALLS[name]
    assert_error(error, call, problem, "", "", "")


@pytest.mark.slow
def test_the_blocks_of_the_guide_run(tmp_path, monkeypatch):
    """Blocks that need PyTorch are in the language text, because the page has to run without it too."""
    monkeypatch.chdir(tmp_path)
    (page,) = (page for page in documents.GUIDES if page.stem == "out_of_jax")
    scope, found = {"__name__": "guide"}, []
    for language, block in documents.fences(page):
        if language == "python":
            examples = doctest.DocTestParser().get_examples(block)
            for example in (example for example in examples if example.exc_msg is None):
                exec(example.source, scope)
        elif language == "text":
            exec(block, scope)
            found.append(block)
    assert len(found) == 3
