"""What cannot be symmetrized is refused, with the reason and a next step."""

import copy
import inspect
import pickle

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization.canonicalization import RotationCanonicalization
from equikit.symmetrization.frames import PCA, QR, Alignment, Directions, GroupAverage, Sort, Stochastic

CLOUD = jax.random.normal(jax.random.key(0), (5, 3))


def wrapped(backbone=jnp.sin, signature="p x -> p x", how=None, **options):
    bound = {"p": ek.S, "x": ek.O(3)}
    labels = {label: what for label, what in bound.items() if label in signature}
    options = {"channels": False, "groups": labels, **options}
    return ek.symmetrize(backbone, signature, how=PCA() if how is None else how, **options)


class WithBatchNorm(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(x)


class WithDropout(nnx.Module):
    def __init__(self, **options):
        self.drop = nnx.Dropout(0.5, **options)

    def __call__(self, x, rngs=None):
        return self.drop(x, rngs=rngs)


def with_linen_dropout(x):
    return linen.Dropout(0.5, deterministic=False).apply({}, x)


def with_linen_state(x):
    module = linen.BatchNorm(use_running_average=False)
    return module.apply(linen.BatchNorm(use_running_average=True).init(jax.random.key(0), x), x)


def with_equinox_dropout(x, key=None):
    import equinox

    return equinox.nn.Dropout(0.5)(x, key=key)


POINT_GROUPS = {
    "S": (ek.S, True),
    "permutation matrices": (ek.MatrixGroup([np.eye(5, dtype=int)[[1, 2, 3, 4, 0]]]), True),
    "doubly stochastic": (ek.Bistochastic(5), True),
    "two sets": (ek.S(2) + ek.S(3), True),
    "signs": (ek.H(5), False),
    "rotations": (ek.O(5), False),
    "sheared": (ek.MatrixGroup([[[1, 1], [0, 1]]]), False),
}


@pytest.mark.parametrize("name", POINT_GROUPS)
def test_centroids_need_groups_that_keep_sums(name):
    group, accepted = POINT_GROUPS[name]

    def shifted():
        return ek.symmetrize(jnp.sin, "p x -> p x", p=group, x=ek.O(3), translate="x", how=[])

    if accepted:
        shifted()
    else:
        with pytest.raises(ek.SignatureError, match="translate= names an axis that holds no positions"):
            shifted()


CASES = {
    "another shape": (
        lambda: wrapped(lambda x: x[:-1])(CLOUD),
        (
            ek.ShapeError,
            "the output 'p x' of the backbone must have shape [5, 3]",
            "shape [4, 3]",
            "[5, 3]",
            "channels=False",
        ),
    ),
    "an axis too many": (
        lambda: wrapped(lambda x: x, "p x -> ")(CLOUD),
        (
            ek.ShapeError,
            "the output '' of the backbone must have shape []",
            "shape [5, 3]",
            "[]",
            "correct the signature",
        ),
    ),
    "missing channels": (
        lambda: wrapped(lambda x: x[..., 0], channels=True)(CLOUD[..., None]),
        (
            ek.ShapeError,
            "the output 'p x' of the backbone must have shape [5, 3, channels]",
            "shape [5, 3]",
            "[5, 3, channels]",
            "channels=False",
        ),
    ),
    "integers": (
        lambda: wrapped(lambda x: jnp.argmax(x), "p x -> ")(CLOUD),
        (
            ek.DTypeError,
            "the output '' of the backbone must be an array of real or ",
            "int32",
            "float32, bfloat16, float16, float64 or complex",
            "logits",
        ),
    ),
    "no array": (
        lambda: wrapped(lambda x: "y")(CLOUD),
        (
            ek.DTypeError,
            "the output 'p x' of the backbone must be an array of real ",
            "str",
            "float32, bfloat16, float16, float64 or complex",
            "logits",
        ),
    ),
    "a tuple": (
        lambda: wrapped(lambda x: (x, x), "p x -> p x + x", how=PCA())(CLOUD),
        (
            ek.ShapeError,
            "the outputs of the backbone do not have the expected names",
            "tuple",
            "a dictionary with the names 'p x', 'x'",
            "one array for each",
        ),
    ),
    "another name": (
        lambda: wrapped(lambda x: {"z": x})(CLOUD),
        (
            ek.ShapeError,
            "the outputs of the backbone do not have the expected names",
            "'z'",
            "a dictionary with the names 'p x'",
            "one array for each",
        ),
    ),
    "a state": (
        lambda: wrapped(WithBatchNorm())(CLOUD),
        (ek.OptionError, "changes its own state", "BatchStat", "a pure function", "model.eval()"),
    ),
    "a state in a closure": (
        lambda: wrapped(WithBatchNorm().__call__)(CLOUD),
        (ek.OptionError, "changes its own state", "BatchStat", "a pure function", "model.eval()"),
    ),
    "a state, one element": (
        lambda: wrapped(WithBatchNorm(), how=Sort(), groups={"p": ek.S, "x": ek.Fixed(3)})(CLOUD),
        (ek.OptionError, "changes its own state", "BatchStat", "a pure function", "model.eval()"),
    ),
    "dropout with keys of its own": (
        lambda: wrapped(WithDropout(rngs=nnx.Rngs(0)))(CLOUD),
        (ek.OptionError, "changes its own state", "Rng", "a pure function", 'key_argument="rngs"'),
    ),
    "dropout without a way for the key": (
        lambda: wrapped(WithDropout())(CLOUD),
        (ek.OptionError, "has dropout, but no key", "no key_argument", "a key in every call", "key_argument="),
    ),
    "dropout without a key": (
        lambda: wrapped(WithDropout(), key_argument="rngs")(CLOUD),
        (ek.OptionError, "has dropout, but no key", "no key", "a key in every call", "call with key="),
    ),
    "dropout of linen": (
        lambda: wrapped(with_linen_dropout)(CLOUD),
        (ek.OptionError, "has dropout, but no key", "no key_argument", "a key in every call", "key_argument="),
    ),
    "dropout of Equinox": (
        lambda: wrapped(with_equinox_dropout, key_argument="key")(CLOUD),
        (ek.OptionError, "has dropout, but no key", "no key", "a key in every call", "call with key="),
    ),
    "no group to act": (
        lambda: wrapped(signature="p -> p"),
        (ek.GroupError, "PCA finds no axis to act on", "p=S", "bound to O", "bind a label to O"),
    ),
    "two groups to act": (
        lambda: ek.symmetrize(jnp.sin, "x y -> x y", x=ek.O(3), y=ek.O(2), how=PCA()),
        (ek.GroupError, "which axis to act on", "x=O(3), y=O(2)", "bound to O", 'PCA("x")'),
    ),
    "another group": (
        lambda: wrapped(how=PCA("p")),
        (ek.GroupError, "cannot act on 'p'", "p=S", "bound to O", 'PCA("x")'),
    ),
    "sorting rotations": (
        lambda: wrapped(how=Sort("x")),
        (ek.GroupError, "cannot act on 'x'", "x=O(3)", "bound to S", 'Sort("p")'),
    ),
    "sorting a cyclic axis": (
        lambda: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.Z(5), x=ek.O(3), how=Sort()),
        (ek.GroupError, "Sort does not work with Z(5)", "p=Z(5)", "S", "GroupAverage"),
    ),
    "sorting nothing": (
        lambda: ek.symmetrize(jnp.sin, "p p -> p p", p=ek.S, how=Sort()),
        (ek.OptionError, "no input has 'p' once", "p p -> p p", "an input term with 'p' once", "Laplacian"),
    ),
    "principal axes of a metric": (
        lambda: ek.symmetrize(jnp.sin, "m -> m", m=ek.Lorentz, how=PCA()),
        (ek.GroupError, "PCA does not work with O(1, 3)", "m=O(1, 3)", "definite", "ek.frames.QR"),
    ),
    "no vectors": (
        lambda: ek.symmetrize(jnp.sin, "p -> p x", p=ek.S, x=ek.O(3), how=PCA()),
        (
            ek.OptionError,
            "no input has the label 'x'",
            "p -> p x",
            "an input term with the label 'x'",
            "name other terms=",
        ),
    ),
    "tensors for Gram-Schmidt": (
        lambda: ek.symmetrize(jnp.sin, "m m -> m m", m=ek.Lorentz, how=QR()),
        (
            ek.OptionError,
            "no input has 'm' once, as QR needs of 'm m'",
            "m m -> m m",
            "an input term with 'm' once, as QR needs of 'm m'",
            "PCA('m')",
        ),
    ),
    "tensors for alignments": (
        lambda: ek.symmetrize(jnp.sin, "x x -> x", x=ek.O(3), how=Alignment()),
        (
            ek.OptionError,
            "no input has 'x' once, as Alignment needs of 'x x'",
            "x x -> x",
            "an input term with 'x' once, as Alignment needs of 'x x'",
            "PCA('x')",
        ),
    ),
    "tensors for weighted axes": (
        lambda: ek.symmetrize(jnp.sin, "x x -> x", x=ek.O(3), how=PCA(on_degenerate="weighted")),
        (
            ek.OptionError,
            "no input has 'x' once, as PCA needs of 'x x'",
            "x x -> x",
            "an input term with 'x' once, as PCA needs of 'x x'",
            "name other terms=",
        ),
    ),
    "weighted axes of what another group turns": (
        lambda: ek.symmetrize(
            jnp.sin, "p x y -> y", p=ek.S, x=ek.O(3), y=ek.H, how=[PCA(on_degenerate="weighted"), GroupAverage("y")]
        ),
        (
            ek.OptionError,
            "PCA comes before GroupAverage",
            "weighted",
            "those for the labels",
            "put GroupAverage before",
        ),
    ),
    "too many signs": (
        lambda: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(20), how=PCA()),
        (ek.TooLargeError, "too many signs", "1,048,576 signs", "at most 16,384", "ek.frames.QR"),
    ),
    "a tolerance that is no number": (
        lambda: PCA(tolerance=float("nan")),
        (ek.OptionError, "tolerance= must be a number ≥ 0", "nan", "a number ≥ 0, or None", "tolerance=0.001"),
    ),
    "a tolerance below zero": (
        lambda: Sort(tolerance=-1.0),
        (ek.OptionError, "tolerance= must be a number ≥ 0", "-1.0", "a number ≥ 0, or None", "tolerance=0.001"),
    ),
    "a traced tolerance": (
        lambda: jax.jit(lambda tolerance: QR(tolerance=tolerance))(1.0),
        (ek.OptionError, "tolerance= must be a number ≥ 0", "Tracer", "a number ≥ 0, or None", "tolerance=0.001"),
    ),
    "terms as numbers": (
        lambda: Alignment(terms=(0, 1)),
        (ek.OptionError, "terms= must be a list of names", "(0, 1)", "texts, or None", 'terms=("x",)'),
    ),
    "one of several terms": (
        lambda: wrapped(how=[PCA(terms=["p x"]), Directions(terms=("p x", "v"))]),
        (ek.OptionError, "unknown value for terms=", "'v'", '"p x"', 'write terms="p x"'),
    ),
    "draws from several": (
        lambda: Stochastic([PCA(), Sort()]),
        (ek.OptionError, "of= must be a Method", "[PCA(", "a Method", "write of=ek.frames.PCA()"),
    ),
    "draws from a class": (
        lambda: Stochastic(Sort),
        (ek.OptionError, "of= must be a Method", "Sort", "a Method", "write of=ek.frames.Sort()"),
    ),
    "a class of frames": (
        lambda: ek.symmetrize(jnp.sin, "x -> x", x=ek.H(3), how=ek.frames.GroupAverage),
        (ek.OptionError, "how= must be a Method", "GroupAv", "a Method", "write how=ek.frames.GroupAverage()"),
    ),
    "a class that needs arguments": (
        lambda: wrapped(how=ek.frames.Center),
        (ek.OptionError, "how= must be a Method", "Center", "a Method", "write how=ek.frames.PCA()"),
    ),
    "a number as a key": (
        lambda: wrapped()(CLOUD, key=0),
        (ek.OptionError, "must be one JAX key", "0", "a JAX key", "jax.random.key(0)"),
    ),
    "several keys": (
        lambda: wrapped().info(CLOUD, key=jax.random.split(jax.random.key(0), 3)),
        (ek.OptionError, "must be one JAX key", "of shape [3]", "a JAX key", "jax.vmap"),
    ),
    "a mask that is not taken": (
        lambda: wrapped(lambda x: x)(CLOUD, mask={"p": jnp.ones(5, bool)}),
        (ek.OptionError, "takes no mask=", "unexpected keyword", "which entries are there", "backbone(x, *, mask)"),
    ),
    "a key that is not taken": (
        lambda: wrapped(lambda x: x, key_argument="key")(CLOUD, key=jax.random.key(0)),
        (ek.OptionError, "takes no key=", "unexpected keyword", "a backbone with a key", "leave key_argument out"),
    ),
    "a state of linen": (
        lambda: wrapped(with_linen_state)(CLOUD),
        (ek.OptionError, "changes its own state", "mean", "a pure function", "use_running_average=True"),
    ),
    "another term": (
        lambda: wrapped(how=PCA(terms=("v",))),
        (ek.OptionError, "unknown value for terms=", "'v'", '"p x"', 'write terms="p x"'),
    ),
    "in the wrong order": (
        lambda: wrapped(how=[Sort(), PCA()]),
        (
            ek.OptionError,
            "Sort comes before PCA, but reads 'x'",
            "how=[Sort(), PCA()]",
            "those for the labels",
            "put PCA before",
        ),
    ),
    "an order that the frame depends on": (
        lambda: wrapped(how=QR()),
        (ek.OptionError, "QR reads 'p', on which no method acts", "p=S, how=[QR()]", "before QR", 'PCA("x"), which'),
    ),
    "axes that draws from a frame depend on": (
        lambda: wrapped(how=Stochastic(Sort())),
        (ek.OptionError, "Sort reads 'x', on which no method acts", "x=O(3)", "before Sort", 'put ek.frames.PCA("x")'),
    ),
    "twice": (
        lambda: wrapped(how=[PCA(), PCA()]),
        (
            ek.OptionError,
            "PCA and PCA both act on 'x'",
            "how=[PCA(), PCA()]",
            "one method for each label",
            "leave one out",
        ),
    ),
    "no method": (
        lambda: wrapped(how="pca"),
        (ek.OptionError, "how= must be a Method", "'pca'", "a Method", "write how=ek.frames.PCA()"),
    ),
    "a class": (
        lambda: wrapped(how=PCA, channels=True),
        (ek.OptionError, "how= must be a Method", "PCA", "a Method", "write how=ek.frames.PCA()"),
    ),
    "a missing method": (
        lambda: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3)),
        (ek.OptionError, "symmetrize needs how=", "p=, x=", "how=", "write how=ek.frames.PCA()"),
    ),
    "a misspelled method": (
        lambda: ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), hwo=PCA()),
        (ek.OptionError, "symmetrize has no option 'hwo'", "hwo=", "how", "write how="),
    ),
    "draws from nothing": (
        lambda: Stochastic(samples=2),
        (ek.OptionError, "Stochastic needs of=", "samples=", "of=", "write of=ek.frames.PCA()"),
    ),
    "no group": (
        lambda: ek.Canonicalize(jnp.sin, by="energy"),
        (ek.OptionError, "Canonicalize needs group=", "by=", "group=", "write group=ek.O(3)"),
    ),
    "nothing": (
        lambda: wrapped(how=[]),
        (ek.OptionError, "there are no methods", "how=[]", "one or more methods", "ek.frames.PCA()"),
    ),
    "no function": (
        lambda: wrapped(3),
        (ek.OptionError, "cannot be called", "int", "a function or a module", "call with an array"),
    ),
    "translating tensors": (
        lambda: ek.symmetrize(jnp.sin, "p x x -> p x x", p=ek.S, x=ek.O(3), translate="x", how=PCA()),
        (
            ek.SignatureError,
            "translate= names an axis that holds no positions",
            "translate='x'",
            "the axis of space, exactly once in an input and beside axes of points only",
            "leave translate= out: no input has positions",
        ),
    ),
    "translating points": (
        lambda: wrapped(translate="p"),
        (
            ek.SignatureError,
            "translate= names an axis that holds no positions",
            "translate='p'",
            "the axis of space",
            'write translate="x"',
        ),
    ),
    "translating along two axes that rotate": (
        lambda: ek.symmetrize(jnp.sin, "x y -> x y", x=ek.O(3), y=ek.O(2), translate="x", how=PCA("x")),
        (
            ek.SignatureError,
            "translate= names an axis that holds no positions",
            "translate='x'",
            "beside axes of points only",
            "leave translate= out",
        ),
    ),
    "two that read each other": (
        lambda: wrapped(how=[QR(), Sort()]),
        (
            ek.OptionError,
            "QR and Sort each read the label",
            "how=[QR(), Sort()]",
            "does not read 'p'",
            'use ek.frames.PCA("x")',
        ),
    ),
    "translating what is not there": (
        lambda: wrapped(translate={"r": "x"}),
        (
            ek.SignatureError,
            "translate= names an axis that holds no positions",
            "translate={'r': 'x'}",
            "or a dictionary from names of terms to such labels",
            'write translate="x"',
        ),
    ),
    "no such choice": (
        lambda: wrapped(how=PCA(on_degenerate="ignore")),
        (ek.OptionError, "unknown value for on_degenerate=", "'ignore'", '"flag"', 'on_degenerate="error"'),
    ),
    "no such argument for keys": (
        lambda: wrapped(key_argument="rng"),
        (ek.OptionError, "unknown value for key_argument=", "'rng'", '"rngs"', 'write key_argument="rngs"'),
    ),
    "no elements at once": (
        lambda: wrapped(chunk_size=0),
        (ek.OptionError, "chunk_size= must be a whole number", "0", "an integer ≥ 1", "write chunk_size=8"),
    ),
    "too many alignments": (
        lambda: wrapped(how=PCA(on_degenerate="weighted"))(jnp.ones((200, 3))),
        (ek.TooLargeError, "too many alignments", "159,200 for 200 points", "at most", 'on_degenerate="sample"'),
    ),
    "alignments in four dimensions": (
        lambda: ek.symmetrize(
            jnp.sin, "p x -> p x", p=ek.S, x=ek.O(4), channels=False, how=PCA(on_degenerate="weighted")
        )(jnp.ones((5, 4))),
        (
            ek.OptionError,
            "the dimension of alignments with points must be a whole number ≤ 3",
            "4",
            "an integer from 2 to 3",
            'on_degenerate="sample"',
        ),
    ),
    "integers as input": (
        lambda: wrapped()(jnp.ones((5, 3), int)),
        (ek.DTypeError, "does not hold floating-point numbers", "int32", "float32", "astype"),
    ),
    "another size": (
        lambda: wrapped()(jnp.ones((5, 4))),
        (ek.ShapeError, "has size 4 on axis 'x'", "shape [5, 4]", "x=3", "give every 'x' size 3"),
    ),
    "too few axes": (
        lambda: wrapped()(jnp.ones(3)),
        (ek.ShapeError, "too few axes", "shape [3]", "[*batch, p, x=3]", "add the missing axes"),
    ),
    "a mask for rotations": (
        lambda: wrapped()(CLOUD, mask={"x": jnp.ones(3, bool)}),
        (ek.OptionError, "cannot be masked", "O(3)", "permutes", "leave the mask out"),
    ),
    "one array in place of several": (
        lambda: ek.symmetrize(
            jnp.sin, {"a": "p x", "b": "p"}, {"y": "p x"}, p=ek.S, x=ek.O(3), channels=False, how=PCA()
        )(CLOUD),
        (
            ek.OptionError,
            "x is not a dictionary",
            "Array",
            "a dictionary from name to value",
            'write x={"a": ..., "b": ...}',
        ),
    ),
    "several inputs in one array": (
        lambda: ek.symmetrize(jnp.sin, "a: p x + b: p -> p x", p=ek.S, x=ek.O(3), channels=False, how=PCA())(
            {"a": CLOUD}
        ),
        (
            ek.SignatureError,
            "the inputs do not have the expected names",
            "'a'",
            "a dictionary with the names 'a', 'b'",
            "one array for each term",
        ),
    ),
}


def test_random_draws_have_a_signature_without_a_default_and_can_be_copied():
    assert inspect.signature(Stochastic).parameters["of"].default is inspect.Parameter.empty
    how = Stochastic(PCA(), samples=2)
    assert copy.deepcopy(how) == pickle.loads(pickle.dumps(how)) == how


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name):
    call, wanted = CASES[name]
    assert_error(wanted[0], call, *wanted[1:])


LIGHT = jnp.array([[1.0, 0.6, 0.8, 0], [2, 1.2, 1.6, 0]])
SQUARE = jnp.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])


@pytest.mark.parametrize(
    ("how", "group", "x", "values"),
    [
        (QR(), ek.Lorentz, LIGHT, 'on_degenerate="flag" accepts'),
        (RotationCanonicalization(lambda x: jnp.repeat(x, 4, -1)), ek.Lorentz, LIGHT, 'on_degenerate="flag" accepts'),
        (PCA(), ek.O(3), SQUARE, 'on_degenerate="flag" or "sample" or "weighted" accepts'),
    ],
    ids=["QR", "RotationCanonicalization", "PCA"],
)
def test_the_next_step_for_a_symmetric_input_names_only_values_that_the_method_takes(how, group, x, values):
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.Fixed(len(x)), x=group, channels=False, how=how)
    with pytest.raises(ek.FrameError) as caught:
        sym(x)
    assert values in caught.value.step
