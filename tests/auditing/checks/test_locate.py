"""The first broken module is found; what is declared is tested; and what cannot be decided is not blamed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import locate

X = np.random.default_rng(0).normal(size=(12, 3, 2)).astype(np.float32)


class Function(nnx.Module):
    """A module that applies a function."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class Chain(nnx.Module):
    """Modules one after the other, which may be used twice."""

    def __init__(self, *functions, order=None):
        self.parts = nnx.List([Function(function) for function in functions])
        self.order = range(len(functions)) if order is None else order

    def __call__(self, x):
        for place in self.order:
            x = self.parts[place](x)
        return x


def double(x):
    return 2 * x


def longer(x):
    return x * jnp.sum(x * x, 1, keepdims=True)


def relu(x):
    return jnp.maximum(x, 0)


def found(*functions, order=None, at=None, data=X, signature="x -> x"):
    return locate(Chain(*functions, order=order), signature, data=data, at=at, x=ek.O(3))


def test_the_first_of_two_faults_hides_the_second():
    report = found(double, relu, longer, jnp.tanh)
    assert (report.first_broken, report.label) == ("parts.1", "x")
    assert report.place.startswith("max (test_locate.py:")
    assert [row.outputs["x"] for row in report.rows] == ["kept", "broken", "broken", "broken", "broken"]
    assert [row.inputs["x"] for row in report.rows[:3]] == ["kept", "kept", "broken"]
    assert report.rows[1].breaks == ("x",)
    assert report.rows[2].breaks == ()
    assert "first broken: parts.1, for x at max" in str(report)


def test_a_module_that_is_called_twice_and_one_that_is_never_called():
    report = found(double, relu, longer, order=[0, 0, 2])
    assert [row.name for row in report.rows] == ["parts.0", "parts.0#2", "parts.2", "output"]
    assert (report.first_broken, report.never) == (None, ("parts.1",))
    assert "never called: parts.1" in str(report)
    fault = found(double, relu, order=[0, 1, 1])
    assert fault.first_broken == "parts.1"


def test_a_fault_between_modules_is_that_of_the_whole_function():
    chain = Chain(double, longer)
    report = locate(lambda x: relu(chain(x)), "x -> x", data=X, x=ek.O(3))
    assert report.first_broken == "output"
    assert report.place.startswith("max (test_locate.py:")


def test_declared_actions_are_tested():
    bent = np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 1]], np.float32)
    unbent = np.linalg.inv(bent).astype(np.float32)

    def bend(x):
        return jnp.einsum("xy,byc->bxc", bent, x)

    def unbend(x):
        return jnp.einsum("xy,byc->bxc", unbent, x)

    report = found(bend, double, unbend)
    assert report.rows[0].actions["x"] == "a matrix on axis 1"
    declared = found(bend, double, jnp.tanh, at={"parts.0": "x"})
    assert declared.first_broken == "parts.0"
    assert declared.rows[0].declared
    assert "parts.0 (declared)" in str(declared)
    both = found(bend, double, jnp.tanh, at={"parts.1": "x -> x"})
    assert both.rows[1].inputs["x"] == both.rows[1].outputs["x"] == "broken"
    numbers = found(lambda x: jnp.sum(x * x, 1), jnp.tanh, signature="x -> ()", at={"parts.0": "()", "parts.1": "()"})
    assert [row.actions["x"] for row in numbers.rows[:2]] == ["()", "()"]


def test_unknown_activations_are_not_blamed():
    class Odd(nnx.Module):
        def __call__(self, x):
            return "text", x

    class Net(nnx.Module):
        def __init__(self):
            self.first, self.odd, self.last = Function(double), Odd(), Function(relu)

        def __call__(self, x):
            return self.last(self.odd(self.first(x))[1])

    report = locate(Net(), "x -> x", data=X, x=ek.O(3))
    assert report.first_broken == "last"

    def mixed(x):  # too many features for so few samples
        flat = x.reshape(len(x), -1)
        return jnp.tanh(flat @ jnp.asarray(np.eye(6)[::-1], flat.dtype))

    few = found(mixed, lambda x: x.reshape(len(x), 3, 2), data=X[:3])
    assert few.rows[0].outputs["x"] == "unknown"
    assert few.first_broken != "parts.0"


def test_functions_without_modules_are_read_by_equations():
    def function(x):
        order = jnp.argsort(x[..., 0], 1)  # not an action, but what is gathered by it is
        y = jnp.take_along_axis(x, order[..., None], 1)
        return jnp.cumsum(jnp.tanh(y), 1) + x[:, :1]

    report = locate(function, "p -> p", data=X, p=ek.S)
    assert report.first_broken.startswith(("slice (test_locate.py:", "split (test_locate.py:"))
    right = locate(lambda x: jnp.sort(x, 1)[:, -1], "p -> ()", data=X, p=ek.S)
    assert right.first_broken is None


def test_two_roots_have_the_names_of_their_variables():
    first, second = Chain(double), Chain(relu)
    report = locate(lambda x: second(first(x)), "x -> x", data=X, x=ek.O(3))
    assert report.first_broken == "second.parts.0"


def test_numpy_functions_have_no_place():
    report = locate(lambda x: np.maximum(np.asarray(x), 0), "x -> x", data=X, x=ek.O(3))
    assert report.first_broken == "output"


@pytest.mark.parametrize(
    ("at", "error", "text"),
    [
        ({"part.1": "x"}, ek.OptionError, "the model has no module 'part.1'"),
        ({"parts.2": "x"}, ek.OptionError, "module 'parts.2' is never called"),
        ({"parts.0": "y"}, ek.SignatureError, "label 'y' in at= is not a label of the signature"),
        ({"parts.0": "x x"}, ek.ShapeError, "the activation does not have the axes 'x x'"),
        (["parts.0"], ek.OptionError, "at= must be a dictionary from modules to their axes"),
        ({"parts.0": 3}, ek.OptionError, "at= must be a dictionary from modules to their axes"),
    ],
)
def test_declarations_that_do_not_fit(at, error, text):
    with pytest.raises(error, match=text) as caught:
        found(double, longer, relu, order=[0, 1], at=at)
    if "part.1" in at:
        assert caught.value.step == "use 'parts.1' in at="


def test_a_function_that_raises():
    def function(x):
        raise RuntimeError("no such thing")

    with pytest.raises(ek.OptionError, match="the function raises an exception") as caught:
        locate(Function(function), "x -> x", data=X, x=ek.O(3))
    assert "RuntimeError: no such thing" in caught.value.got


def test_more_samples_than_are_used():
    many = np.random.default_rng(0).normal(size=(20, 20, 3, 1)).astype(np.float32)
    report = locate(Chain(lambda x: 2 * x, jax.nn.relu), "x -> x", data=many, x=ek.O(3))
    assert report.first_broken == "parts.1"
