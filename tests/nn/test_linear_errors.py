"""Bad input to the call of a layer: each error names the argument, what came, what was expected, and the next step."""

import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy_programs
import pytest
from flax import nnx
from helpers import assert_error, message_of

import equikit as ek

ones = jnp.ones


def linear(signature="p p -> p p", channels=2, out_channels=3, **options):
    options = options if {"p", "groups"} & options.keys() else options | {"p": ek.S}
    return ek.nn.Linear(signature, channels, out_channels, **({"rngs": nnx.Rngs(0)} | options))


def mixed():
    return linear({"p p": 2, "p": 3}, {"p": 4}, None)


def two():
    return linear("a b -> a b", groups={"a": ek.S, "b": ek.S})


def double(shape, dtype=jnp.float64):
    """An array of JAX in double precision, made where x64 was on."""
    with jax.enable_x64(True):
        return ones(shape, dtype)


CALLS = {
    "integers": (
        ek.DTypeError,
        lambda: linear()(ones((4, 4, 2), int)),
        "input 'p p' does not hold floating-point numbers",
        "dtype int32",
        "float32, bfloat16",
        "astype(jnp.float32)",
    ),
    "booleans": (
        ek.DTypeError,
        lambda: linear()(ones((4, 4, 2), bool)),
        "input 'p p' does not hold floating-point numbers",
        "dtype bool",
        "float32",
        "astype",
    ),
    "integers-despite-dtype": (
        ek.DTypeError,
        lambda: linear(dtype=jnp.float32)(ones((4, 4, 2), int)),
        "input 'p p' does not hold floating-point numbers",
        "dtype int32",
        "float32",
        "astype",
    ),
    "float64-without-x64": (
        ek.DTypeError,
        lambda: linear()(double((4, 4, 2))),
        "input 'p p' would be cast silently",
        "dtype float64 while jax_enable_x64 is off",
        "float32, or x64 switched on",
        "pass x.astype(jnp.float32)",
    ),
    "objects": (
        ek.DTypeError,
        lambda: linear()(np.ones((4, 4, 2), object)),
        "input 'p p' does not hold floating-point numbers",
        "dtype object",
        "float32",
        "astype",
    ),
    "random-keys": (
        ek.DTypeError,
        lambda: linear()(jax.random.split(jax.random.key(0), (4, 4, 2))),
        "input 'p p' does not hold floating-point numbers",
        "dtype key<fry>",
        "float32",
        "pass an array of numbers",
    ),
    "a-list": (
        ek.DTypeError,
        lambda: linear()([[1.0]]),
        "input 'p p' is not a plain array",
        "list",
        "a JAX or NumPy array",
        "jnp.asarray",
    ),
    "a-masked-array": (
        ek.DTypeError,
        lambda: linear()(np.ma.masked_array(np.ones((4, 4, 2), np.float32))),
        "input 'p p' is not a plain array",
        "MaskedArray",
        "a JAX or NumPy array",
        "pass x.filled(0), and the mask by mask=",
    ),
    "complex-into-real": (
        ek.DTypeError,
        lambda: linear(dtype=jnp.float32)(ones((4, 4, 2), jnp.complex64)),
        "would drop the imaginary part",
        "dtype complex64",
        "real numbers",
        "pass x.real",
    ),
    "channels": (
        ek.ShapeError,
        lambda: linear()(ones((4, 4, 5))),
        "input 'p p' has 5 channels, not 2",
        "shape [4, 4, 5]",
        "[*batch, p, p, 2 channels]",
        "check the last axis",
    ),
    "too-few-axes": (
        ek.ShapeError,
        lambda: linear()(ones((4, 2))),
        "input 'p p' has too few axes",
        "shape [4, 2]",
        "[*batch, p, p, 2 channels]",
        "channels come last",
    ),
    "no-axes": (
        ek.ShapeError,
        lambda: linear()(ones(())),
        "input 'p p' has too few axes",
        "shape []",
        "[*batch, p, p, 2 channels]",
        "add the missing axes",
    ),
    "size-of-a-bound-axis": (
        ek.ShapeError,
        lambda: linear(p=ek.S(5))(ones((4, 4, 2))),
        "input 'p p' has size 4 on axis 'p', but p is bound to S(5)",
        "shape [4, 4, 2]",
        "[*batch, p=5, p=5, 2 channels]",
        "bind p=ek.S for any size, or give every 'p' size 5",
    ),
    "two-sizes-in-one-array": (
        ek.ShapeError,
        lambda: linear()(ones((4, 5, 2))),
        "input 'p p' has sizes 4 and 5 on axes 'p'",
        "shape [4, 5, 2]",
        "[*batch, p, p, 2 channels]",
        "give every 'p' one size",
    ),
    "two-sizes-across-arrays": (
        ek.ShapeError,
        lambda: mixed()({"p p": ones((4, 4, 2)), "p": ones((5, 3))}),
        "input 'p' has size 5 on axis 'p', but it is 4 in input 'p p'",
        "shape [5, 3]",
        "[*batch, p, 3 channels]",
        "give every 'p' one size",
    ),
    "size-of-a-plain-axis": (
        ek.ShapeError,
        lambda: linear("p f -> p", p=ek.S, f=ek.Fixed(3))(ones((4, 2, 2))),
        "input 'p f' has size 2 on axis 'f', but f is bound to Fixed(3)",
        "shape [4, 2, 2]",
        "[*batch, p, f=3, 2 channels]",
        "give every 'f' size 3",
    ),
    "batch-axes": (
        ek.ShapeError,
        lambda: mixed()({"p p": ones((7, 4, 4, 2)), "p": ones((1, 4, 3))}),
        "input 'p' has batch axes [1], but input 'p p' has [7]",
        "shape [1, 4, 3]",
        "[*batch, p, 3 channels]",
        "make them equal",
    ),
    "missing-entry": (
        ek.ShapeError,
        lambda: mixed()({"p p": ones((4, 4, 2))}),
        "the inputs do not have the expected names",
        "'p p'",
        "a dictionary with the names 'p p', 'p'",
        "one array for each term",
    ),
    "extra-entry": (
        ek.ShapeError,
        lambda: mixed()({"p p": ones((4, 4, 2)), "p": ones((4, 3)), "q": ones((4, 3))}),
        "the inputs do not have the expected names",
        "'p p', 'p', 'q'",
        "a dictionary with the names 'p p', 'p'",
        "one array for each term",
    ),
    "array-for-several-terms": (
        ek.ShapeError,
        lambda: mixed()(ones((4, 4, 2))),
        "the inputs do not have the expected names",
        "one array",
        "a dictionary with the names 'p p', 'p'",
        "pass a dictionary with one array for each term",
    ),
    "unknown-size-of-an-output": (
        ek.ShapeError,
        lambda: linear("() -> p")(ones(2)),
        "no input says how large 'p' is",
        "bound to the free group S",
        "a bound group, or an input with that label",
        "pass sizes={'p': 4}, or bind p=ek.S(4)",
    ),
    "sizes-contradict": (
        ek.ShapeError,
        lambda: linear()(ones((4, 4, 2)), sizes={"p": 5}),
        "input 'p p' has size 4 on axis 'p', but sizes gives 5",
        "shape [4, 4, 2]",
        "[*batch, p, p, 2 channels]",
        "give every 'p' one size",
    ),
    "sizes-unknown-label": (
        ek.ShapeError,
        lambda: linear()(ones((4, 4, 2)), sizes={"q": 5}),
        "sizes has 'q'=5, but no axis has it",
        "{'q': 5}",
        "sizes for p",
        "correct sizes",
    ),
    "sizes-bound": (
        ek.ShapeError,
        lambda: linear("p -> p", p=ek.S(4))(ones((4, 2)), sizes={"p": 5}),
        "sizes has 'p'=5, but p is bound to S(4)",
        "{'p': 5}",
        "size 4",
        "correct sizes",
    ),
    "mask-where-nothing-is-permuted": (
        ek.ShapeError,
        lambda: linear("u -> u", groups={"u": ek.U})(ones((3, 2), "complex64"), mask={"v": ones(3, bool)}),
        "the mask is for 'v', which is not a label that a group acts on",
        "mask for 'v'",
        "no mask: no group here permutes entries",
        "leave the mask out",
    ),
    "signature-of-bytes": (
        ek.SignatureError,
        lambda: linear(b"p -> p"),
        "the signature is not a text",
        "b'p -> p'",
        '"inputs -> outputs"',
        "write 'p -> p'",
    ),
    "sizes-not-a-dictionary": (
        ek.OptionError,
        lambda: linear()(ones((4, 4, 2)), sizes=4),
        "sizes is not a dictionary",
        "int",
        "a dictionary from label",
        'sizes={"p": ...}',
    ),
    "negative-size": (
        ek.OptionError,
        lambda: linear("() -> p")(ones(2), sizes={"p": -1}),
        "sizes['p'] must be a whole number",
        "-1",
        "an integer ≥ 0",
        "give 'p' a whole number",
    ),
    "mask-shape": (
        ek.ShapeError,
        lambda: linear()(ones((7, 4, 4, 2)), mask={"p": ones(4, bool)}),
        "the mask for 'p' has the wrong shape",
        "shape [4]",
        "[7, 4]: the batch axes, then the axis 'p'",
        "jnp.broadcast_to",
    ),
    "mask-channels": (
        ek.ShapeError,
        lambda: linear()(ones((4, 4, 2)), mask={"p": ones((4, 1), bool)}),
        "the mask for 'p' has the wrong shape",
        "shape [4, 1]",
        "[4]",
        "pass a mask of shape [4]",
    ),
    "mask-of-another-batch": (
        ek.ShapeError,
        lambda: linear()(ones((7, 4, 4, 2)), mask={"p": ones((3, 4), bool)}),
        "the mask for 'p' has the wrong shape",
        "shape [3, 4]",
        "[7, 4]: the batch axes, then the axis 'p'",
        "pass a mask of shape [7, 4]",
    ),
    "mask-dtype": (
        ek.DTypeError,
        lambda: linear()(ones((4, 4, 2)), mask={"p": ones(4)}),
        "the mask for 'p' is not an array of booleans",
        "dtype float32",
        "bool: True where the entry is there",
        "pass jnp.asarray(mask, dtype=bool)",
    ),
    "mask-none": (
        ek.DTypeError,
        lambda: linear()(ones((4, 4, 2)), mask={"p": None}),
        "the mask for 'p' is not an array of booleans",
        "NoneType",
        "bool",
        "leave the mask of 'p' out",
    ),
    "mask-label": (
        ek.ShapeError,
        lambda: linear()(ones((4, 4, 2)), mask={"q": ones(4, bool)}),
        "the mask is for 'q', which is not a label that a group acts on",
        "mask for 'q'",
        "a mask for p",
        "pass mask=mask['q'], if 'q' is the axis that is 'p' here",
    ),
    "mask-of-a-plain-axis": (
        ek.ShapeError,
        lambda: linear("p f -> p", p=ek.S, f=ek.Fixed(3))(ones((4, 3, 2)), mask={"f": ones(3, bool)}),
        "the mask is for 'f', which is not a label that a group acts on",
        "mask for 'f'",
        "a mask for p",
        "leave the mask out: nothing acts on 'f'",
    ),
    "mask-of-an-axis-that-is-mixed": (
        ek.OptionError,
        lambda: linear("p x -> p", groups={"p": ek.S, "x": ek.SO(1)})(ones((4, 1, 2)), mask={"x": ones(1, bool)}),
        "entries of 'x' cannot be masked",
        "a mask for an axis on which SO(1) acts",
        "a group that permutes the entries",
        "masks of permuted labels may stay (in ek.data.pad and ek.data.Batches write masked=['p'])",
    ),
    "mask-as-a-list": (
        ek.DTypeError,
        lambda: linear()(ones((4, 4, 2)), mask=[True] * 4),
        "the mask for 'p' is not an array of booleans",
        "list",
        "bool",
        "pass jnp.asarray(mask, dtype=bool)",
    ),
    "mask-of-the-other-label": (
        ek.ShapeError,
        lambda: two()(ones((4, 5, 2)), mask={"a": ones(5, bool)}),
        "the mask for 'a' has the wrong shape",
        "shape [5]",
        "[4]: the batch axes, then the axis 'a'",
        "pass a mask of shape [4], one entry for each 'a'",
    ),
    "pool-too-few-axes": (
        ek.ShapeError,
        lambda: ek.nn.Pool("p", p=ek.S)(ones(())),
        "input 'p' has too few axes",
        "shape []",
        "[*batch, p, 1 channels]",
        "add the missing axes",
    ),
    "pool-mask-as-a-list": (
        ek.DTypeError,
        lambda: ek.nn.Pool("p", p=ek.S)(ones((4, 1)), mask=[True] * 4),
        "the mask for 'p' is not an array of booleans",
        "list",
        "bool",
        "pass jnp.asarray(mask, dtype=bool)",
    ),
    "pool-integers": (
        ek.DTypeError,
        lambda: ek.nn.Pool("p", p=ek.S)(ones((4, 1), int)),
        "input 'p' does not hold floating-point numbers",
        "dtype int32",
        "float32",
        "astype",
    ),
    "graph-without-its-nodes": (
        ek.ShapeError,
        lambda: ek.nn.GraphNetwork(1, [2], 1, node_channels=3, rngs=nnx.Rngs(0))(ones((4, 4, 1))),
        "the network needs nodes",
        "edges only",
        "edges and nodes",
        "write model(edges, nodes), or model({",
    ),
    "graph-with-nodes-it-does-not-have": (
        ek.ShapeError,
        lambda: ek.nn.GraphNetwork(1, [2], 1, rngs=nnx.Rngs(0))(ones((4, 4, 1)), ones((4, 3))),
        "the network has no node channels",
        "edges and nodes",
        "edges only",
        "write model(edges), or",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_the_error_names_the_argument_the_value_and_the_next_step(case):
    assert_error(*CALLS[case])


UNPLAIN = {
    "masked": lambda: np.ma.masked_array(np.ones((4, 4, 2), np.float32), mask=True),
    "swapped": lambda: np.ones((4, 4, 2), ">f4"),
}
if np.dtype(np.longdouble) != np.float64:
    UNPLAIN["long"] = lambda: np.ones((4, 4, 2), np.longdouble)


@pytest.mark.parametrize("value", [None, "a", [[1], [1, 2]]], ids=str)
def test_only_what_can_become_an_array_is_advised_to(value):
    assert message_of(ek.DTypeError, lambda: linear()(value))["next step"] == "pass an array of numbers"


@pytest.mark.parametrize("dtype", [None, jnp.float32])
@pytest.mark.parametrize("make", UNPLAIN.values(), ids=UNPLAIN)
def test_arrays_that_jax_would_change_are_refused(make, dtype):
    """Also where the layer casts: a mask would be dropped, bytes would be swapped."""
    parts = message_of(ek.DTypeError, lambda: linear(dtype=dtype)(make()))
    assert parts["problem"] == "input 'p p' is not a plain array"
    assert str(make().dtype) in parts["got"]


@pytest.mark.skipif(not hasattr(jnp, "float8_e4m3fn"), reason="this JAX has no numbers of eight bits")
def test_numbers_of_eight_bits_are_refused():
    message_of(ek.DTypeError, lambda: linear()(ones((4, 4, 2), jnp.float8_e4m3fn)))
    message_of(ek.DTypeError, lambda: linear(dtype=jnp.float8_e4m3fn))


def test_names_of_several_types_are_refused():
    message_of(ek.ShapeError, lambda: linear()({"p p": ones((4, 4, 2)), 1: ones((4, 4, 2))}))


def test_errors_are_those_that_a_programmer_would_catch():
    assert issubclass(ek.ShapeError, ValueError)
    assert issubclass(ek.DTypeError, TypeError)
    assert issubclass(ek.OptionError, ValueError)
    assert issubclass(ek.SignatureError, ValueError)


def test_errors_come_under_jit_as_well():
    layer = linear()
    with pytest.raises(ek.ShapeError, match="has 5 channels, not 2"):
        jax.jit(lambda x: layer(x))(ones((4, 4, 5)))


def test_errors_do_not_depend_on_assertions():
    """Under `python -O` no check goes away and no result changes."""
    code = textwrap.dedent(
        """
        import sys
        import jax, jax.numpy as jnp, numpy as np
        from flax import nnx
        import equikit as ek
        import numpy_programs
        assert False, "assertions are off"
        numpy_programs.install()
        numpy_programs.Programs.everything = True
        layer = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
        bad = [
            lambda: layer(jnp.ones((4, 4, 2), int)),
            lambda: layer(np.ones((4, 4, 2), ">f4")),
            lambda: layer(jnp.ones((4, 5, 2))),
            lambda: layer(jnp.ones((4, 4, 3))),
            lambda: layer(jnp.ones((4, 4, 2)), mask={"p": jnp.ones(5, bool)}),
            lambda: ek.nn.Linear("p -> p", 2, 3, p=ek.S(0), rngs=nnx.Rngs(0)),
            lambda: ek.nn.Linear("p -> q", 2, 3, p=ek.S, rngs=nnx.Rngs(0)),
            lambda: ek.nn.Linear("p -> p", -2, 3, p=ek.S, rngs=nnx.Rngs(0)),
            lambda: ek.testing.assert_equivariant(
                lambda x: jnp.cumsum(x, 1), "p -> p", p=ek.S(5), channels=2, key=jax.random.key(0)
            ),
        ]
        for i, call in enumerate(bad):
            try:
                call()
            except ek.EquikitError as error:
                print(i, type(error).__name__)
            else:
                sys.exit(f"call {i} raised nothing")
        ek.testing.assert_equivariant(layer, "p p -> p p", p=ek.S(5), channels=2, key=jax.random.key(0))
        """
    )
    run = {"capture_output": True, "text": True, "timeout": 300, "cwd": Path(numpy_programs.__file__).parent}
    done = subprocess.run([sys.executable, "-O", "-c", code], **run)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [line.split()[1] for line in done.stdout.splitlines()]
    assert names == [
        "DTypeError", "DTypeError", "ShapeError", "ShapeError", "ShapeError", "SignatureError", "UnboundLabelError",
        "OptionError", "EquivarianceError",
    ]  # fmt: skip
