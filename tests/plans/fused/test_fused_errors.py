"""What fused kernels do not support is refused, and no other method runs instead."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error, message_of

import equikit as ek
from equikit._errors import DTypeError, MissingPackageError, OptionError, ShapeError
from equikit.plans import apply, fused_bytes, kernels, lay_out, weight_shapes
from equikit.plans.fused import _pallas

PLAN = ek.hom("p -> p", p=ek.S).plan()
W = {"p -> p": jnp.ones((2, 1, 1))}
X = jnp.ones((2, 3, 1))


def ones(plan, dtype=jnp.float32):
    return {name: jnp.ones(shape, dtype) for name, shape in weight_shapes(plan).items()}


def fused(plan=PLAN, x=X, w=None, **options):
    return apply(plan, x, ones(plan) if w is None else w, method="fused", **options)


@pytest.fixture
def interpreted():
    with kernels("interpret"):
        yield


def test_a_cpu_is_refused_unless_kernels_are_interpreted():
    step = 'test them here inside of ek.plans.kernels("interpret")'
    assert_error(OptionError, fused, "fused kernels run on a GPU", "cpu", "a GPU", step)
    with kernels("compile"):
        assert_error(OptionError, fused, "are compiled for a GPU only", "another platform", "a GPU", "factored")


@pytest.mark.parametrize(
    "compiled",
    [
        lambda f: jax.jit(f)(x=X),
        lambda f: jax.jit(jax.grad(lambda x: f(x=x).sum()))(X),
        lambda f: jax.export.export(jax.jit(f), platforms=["tpu"])(x=X),
        lambda f: ek.plans.compiled_cost(lambda x: f(x=x), X, target="cpu"),
    ],
    ids=["jit", "gradient", "export", "compiled_cost"],
)
def test_kernels_are_compiled_for_a_gpu_only_also_under_jit(compiled):
    """JAX finds it after the call of the layer; the error is ours outside of `kernels`."""

    def call():
        with kernels("compile"):
            compiled(fused)

    texts = (
        "are compiled for a GPU only",
        'kernels("compile") and a program for another platform',
        "a program for a GPU",
    )
    assert_error(OptionError, call, *texts, 'write method="factored", or use kernels("interpret")')


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f: jax.jvp(jax.jit(f), (X,), (X,)),
        lambda f: jax.jit(lambda x: jax.jvp(f, (x,), (x,)))(X),
        lambda f: jax.grad(lambda x: jax.jvp(f, (x,), (x,))[1].sum())(X),
        lambda f: jax.jit(jax.hessian(lambda x: f(x).sum()))(X),
    ],
    ids=["jvp of jit", "jit of jvp", "gradient of jvp", "hessian"],
)
def test_forward_mode_under_jit(derivative):
    def call():
        with kernels("interpret"):
            derivative(lambda x: fused(x=x))

    texts = "reverse mode only", "forward mode", "reverse mode", "jax.grad"
    assert_error(OptionError, call, *texts)


@pytest.mark.parametrize(
    ("x", "error", "problem"),
    [
        (jnp.ones((2, 3, 2)), ShapeError, "has 2 channels, not 1"),
        (jnp.ones(()), ShapeError, "axes"),
        (jnp.ones((2, 3, 1), jnp.int32), DTypeError, "floating-point"),
    ],
    ids=["channels", "axes", "integers"],
)
def test_bad_input_under_jit(x, error, problem):
    def call():
        with kernels("interpret"):
            jax.jit(lambda x: fused(x=x))(x)

    assert problem in message_of(error, call)["problem"]


@pytest.mark.parametrize("shape", [(0, 3, 1), (2, 0, 1), (2, 1, 1)], ids=["no samples", "no points", "one point"])
def test_zero_batches_and_sizes_smaller_than_a_tile(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    with kernels("interpret"):
        found = jax.jit(lambda x: fused(x=x))(x)
    np.testing.assert_allclose(found, np.asarray(x) + np.asarray(x).sum(1, keepdims=True), rtol=1e-6)


def test_the_mode_is_part_of_the_keys_of_caches(interpreted):
    once = jax.jit(fused)
    assert once(x=X).shape == X.shape
    with kernels("compile"), pytest.raises(ValueError, match="interpret mode"):  # of JAX: the call is compiled later
        once(x=X)


def test_modes_have_names():
    def enter():
        with kernels("interpreted"):
            pass

    assert_error(OptionError, enter, "unknown value for mode=", "interpreted", "compile", "interpret")


@pytest.mark.usefixtures("interpreted")
class TestRefused:
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("dtype", ["float64", "complex64"])
    def test_dtypes(self, dtype):
        call = lambda: fused(x=X.astype(dtype), w=ones(PLAN, dtype))  # noqa: E731
        assert_error(DTypeError, call, "compute in float32", dtype, "bfloat16", 'method="factored"')

    def test_symbolic_sizes(self):
        (n,) = jax.export.symbolic_shape("n")
        for shape in ((2, n, 1), (n, 3, 1)):
            call = functools.partial(jax.eval_shape, lambda x: fused(x=x), jax.ShapeDtypeStruct(shape, X.dtype))
            assert_error(OptionError, call, "one size", "the symbolic size n", "whole numbers", "fixed sizes")

    @pytest.mark.parametrize(
        ("signature", "groups", "got"),
        [
            ("x x -> x", {"x": ek.SO(3)}, "an invariant tensor of x=SO(3)"),
            ("z -> z", {"z": ek.Z(3)}, "an invariant tensor of z=Z(3)"),
            ("y y -> ()", {"y": ek.Sp(2)}, "the symplectic form of y=Sp(2)"),
        ],
    )
    def test_steps(self, signature, groups, got):
        plan = ek.hom(signature, **groups).plan()
        sizes = [plan.signature.sizes[label] for label in plan.signature.inputs[0].labels]
        x = jnp.ones((*sizes, 1))
        assert_error(OptionError, lambda: fused(plan, x), "sums and diagonals only", got, "first steps", "factored")
        assert_error(OptionError, lambda: fused_bytes(plan), "sums and diagonals only", got, "first steps", "factored")

    def test_amounts(self):
        wide = ek.hom("p p -> p p", p=ek.S).plan((256, 256))
        call = lambda: fused(wide, jnp.ones((2, 2, 256)))  # noqa: E731
        assert_error(OptionError, call, "matrices of a product", "524,288 bytes", "131,072", "fewer channels")
        x = jax.ShapeDtypeStruct((2**20, 2**11, 1), X.dtype)
        call = lambda: jax.eval_shape(lambda x: fused(x=x), x)  # noqa: E731
        assert_error(OptionError, call, "32 bits", "2,147,483,648 numbers", "fewer than", "chunk_size=1")
        assert jax.eval_shape(lambda x: fused(x=x, chunk_size=2**10), x).shape == x.shape

    def test_a_mesh_of_several_devices(self):
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2,), ("d",))):
            call = functools.partial(fused, w=W)
            assert_error(OptionError, call, "run on one device", "several devices", "one device", "jax.shard_map")

    def test_the_check_of_shard_map(self):
        mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
        call = jax.shard_map(lambda x: fused(x=x), mesh=mesh, in_specs=jax.P("d"), out_specs=jax.P("d"))
        texts = "over which devices", "check_vma=True", "without", "check_vma=False"
        assert_error(OptionError, lambda: call(X), *texts)

    @pytest.mark.parametrize("derivative", [lambda f: jax.jvp(f, (X,), (X,)), lambda f: jax.jacfwd(f)(X)])
    def test_forward_mode(self, derivative):
        texts = "reverse mode only", "forward mode", "reverse mode", "jax.grad"
        assert_error(OptionError, lambda: derivative(lambda x: fused(x=x)), *texts)

    def test_layouts(self):
        call = lambda: fused(w=lay_out(PLAN, W))  # noqa: E731
        assert_error(OptionError, call, "unknown value for method=", "fused", "factored", 'method="factored"')

    def test_supports(self):
        edges = ek.Support("p p", [0, 1], [1, 0], n=3)
        plan = ek.hom("p p -> p p", p=ek.S).plan()
        call = lambda: fused(plan, jnp.ones((2, 1)), support=edges)  # noqa: E731
        assert_error(OptionError, call, "unknown value for method=", "fused", "factored", 'method="auto"')

    def test_a_missing_pallas(self, monkeypatch):
        def missing(name):
            raise ImportError(f"No module named {name!r}")

        _pallas._libraries.cache_clear()
        monkeypatch.setattr(importlib, "import_module", missing)
        texts = "need Pallas", "No module named", "jax.experimental.pallas.triton", 'method="factored"'
        assert_error(MissingPackageError, fused, *texts)


def test_auto_never_chooses_kernels(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(_pallas, "launch", never)
    with kernels("interpret"):
        found = apply(PLAN, X, W)
    np.testing.assert_allclose(found, np.full(X.shape, 4.0))
