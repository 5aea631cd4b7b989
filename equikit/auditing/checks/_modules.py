"""Look into the modules of a model: where it breaks its symmetry, and where its derivative is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from equikit import _checks, _keywords
from equikit._errors import OptionError
from equikit.auditing._action import wide
from equikit.auditing._callables import host
from equikit.auditing._reading import seeds_of
from equikit.auditing.checks._asked import asked_about, read_function
from equikit.auditing.modules._derivatives import DerivativeReport, checked_derivatives
from equikit.auditing.modules._locate import located
from equikit.auditing.modules._report import ModuleReport
from equikit.nn import Features


def locate(
    function: Callable[..., Any],
    signature: str | Features | Mapping[str, str],
    outputs: str | Features | Mapping[str, str] | None = None,
    /,
    *,
    data: Any,
    channels: bool = True,
    at: Mapping[str, str] | None = None,
    key: jax.Array | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> ModuleReport:
    r"""Find the first module of a model that breaks its symmetry.

    The activations of all modules are compared at x and at g x, for elements of one group at a time. The action on an
    activation is either declared, or it is the first of these that fits: none; the group on some axes, also inside of
    flattened ones; a permutation of one axis; a matrix on some axes, \(h(gx) = M_g h(x)\), fitted by least squares on
    two thirds of the samples. Fits are verified on the other samples. A module is blamed if its inputs have an action
    and its outputs have none, and if the function as a whole fails. Modules with an unknown activation are not
    blamed, and faults hide those behind them.

    Modules of Flax NNX, Equinox and PyTorch are found in the function itself, its closure and its global variables, and
    are named by their paths. Functions of JAX without modules are read equation by equation. NumPy has neither.

    Args:
        function: as for `audit`.
        signature, outputs: as for `audit`.
        data: an array, or a dictionary with an array for each input, `[*batch, *axes, channels]`. Fits of matrices
            take twice as many samples as a module has features; 256 are used at most.
        channels: whether arrays have an axis of channels, the last one; otherwise they are `[*batch, *axes]`.
        at: declared actions, from paths of modules to terms, such as `{"blocks.1": "p x"}` for the output, or
            `{"blocks.1": "p x -> p"}` for inputs and outputs. The second call of a module is `"blocks.1#2"`.
        key: a JAX random key; by default always the same.
        groups: the group of each label, as a dictionary; labels may also be given as keywords. A free group takes its
            size from the data.
        **bindings: labels with their groups.

    Returns:
        A table of the actions on all activations, with the first broken module.

    Raises:
        OptionError: if `at` names a module that does not exist or is never called, or the function raises an exception.
        SignatureError: if `at` has labels that the signature does not have.
        ShapeError: if an activation does not have its declared axes.
        MissingPackageError: for a module of PyTorch where PyTorch is not installed.

    Cost: four calls, and up to five for each label; fits take the cube of the number of features. Functions of JAX are
        compiled once, a second time with all equations if a module is at fault.

    Example:
        >>> import equikit as ek, numpy as np
        >>> import jax.numpy as jnp
        >>> x = np.random.default_rng(0).normal(size=(8, 4, 3, 2))
        >>> report = locate(lambda x: jnp.tanh(2 * x), "p x -> p x", data=x, p=ek.S, x=ek.O)
        >>> report.first_broken.split()[0], report.label
        ('tanh', 'x')
    """
    call = _keywords.call_of(locate)
    options: Any = {"channels": channels, "key": key, "groups": groups, "bindings": bindings, "call": call}
    asked = asked_about(function, signature, outputs, data, **options)
    return located(asked, at=at)


def derivative_errors(function: Callable[..., Any], data: Any, /, *, key: jax.Array | None = None) -> DerivativeReport:
    """Compare the derivatives of all modules with central differences, and find the first wrong one.

    A derivative is wrong where a rule (`jax.custom_jvp`, `torch.autograd.Function`) has an error, or where a part that
    depends on the input is detached (`jax.lax.stop_gradient`, `tensor.detach()`). Forces are then not the gradient of
    the energy, although the energy may be invariant.

    Args:
        function: a differentiable function or module of JAX or PyTorch, such as an energy.
        data: its input, an array or a dictionary of arrays.
        key: a JAX random key; by default always the same.

    Returns:
        The relative error of the derivative of each module by the input, and the first module whose inputs have the
        right derivative and whose outputs have not. Derivatives that the whole function does not pass on, such as those
        of the maximum in a softmax, are not blamed.

    Raises:
        OptionError: if the function cannot be differentiated, raises an exception, or returns no numbers, or if these
            or their derivatives are not finite.

    Cost: thirteen calls, and a gradient for each activation.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(8, 3))
        >>> report = derivative_errors(lambda x: jnp.sum(jnp.tanh(x - jax.lax.stop_gradient(x.mean(0)))), x)
        >>> report.first_wrong.split()[0]
        'stop_gradient'
    """
    seeds = seeds_of(key)
    arrays = dict(data) if isinstance(data, Mapping) else {"x": data}
    called = read_function(function, arrays, as_dict=isinstance(data, Mapping))
    if called.framework == "numpy":
        raise OptionError(
            "a function of NumPy has no derivatives to check",
            got="a function of NumPy",
            expected="a function of JAX or PyTorch",
            step="write the function with jax.numpy",
        )
    given = {name: wide(called.rounded(host(array))) for name, array in arrays.items()}
    for name, array in given.items():
        what, got = f"entries of {name!r}", f"shape {list(array.shape)}"
        _checks.some(what, range(array.size), got=got, step="give data with entries")
        _checks.finite(f"the data {name!r}", array, step="give finite numbers")
    return checked_derivatives(called, given, seeds)
