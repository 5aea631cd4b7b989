"""Nonlinearities: pointwise where that commutes with the group, gated by invariants where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit._errors import OptionError
from equikit.diagrams import Signature, Term
from equikit.diagrams._parse import bind, parse_labels
from equikit.groups import Group, H, S
from equikit.nn._features import Features, given_terms, typed_side
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.plans._apply import Feature

PROBES = np.linspace(0.1, 3.0, 30, dtype=np.float32)
"""Where a function is looked at to see whether it is odd."""


def is_odd(function: Activation) -> bool:
    """Whether \\(f(-x) = -f(x)\\) at a number of points."""
    with jax.ensure_compile_time_eval():
        right, left = (np.asarray(function(jnp.asarray(x))) for x in (PROBES, -PROBES))
    return bool(np.allclose(left, -right, rtol=1e-4, atol=1e-5))


def pointwise_refusal(group: Group, function: Activation) -> str | None:
    """Why a function of single entries does not commute with a group; `None` where it does."""
    if isinstance(group, S):
        return None
    if isinstance(group, H):
        return None if is_odd(function) else "signs change, and the function is not odd: f(-x) differs from -f(x)"
    return "its elements mix entries, and a function of single entries does not go through a sum"


class Pointwise(nnx.Module):
    """A function of single entries, on features whose groups allow it; no parameters.

    Permutations allow any function, signed permutations odd ones. Other groups mix entries, and allow none but linear
    functions.

    Args:
        function: takes an array to an array of the same shape, entry by entry.
        features: labels of the input, `"p p"`.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Raises:
        OptionError: if the function does not commute with a group, with the reason.

    Example:
        >>> from equikit import S
        >>> Pointwise(jnp.abs, "p", p=S)(jnp.array([[-1.0], [2.0]])).tolist()
        [[1.0], [2.0]]
    """

    def __init__(
        self, function: Activation, features: str, *, groups: Mapping[str, object] | None = None, **bindings: object
    ) -> None:
        labels = parse_labels(features)
        self.signature = bind((Term(" ".join(labels), labels),), (), groups, bindings)
        self.function = function
        for label, group in self.signature.groups.items():
            reason = pointwise_refusal(group, function)
            if reason is not None:
                raise OptionError(
                    f"a pointwise nonlinearity on {label!r} does not commute with {group}",
                    got=f"{getattr(function, '__name__', function)!r}: {reason}",
                    expected="S or A, or H with an odd function",
                    step="use ek.nn.Gated, whose gates are invariants",
                )

    def __call__(self, x: Feature) -> Feature:
        """Apply the function to an array `[*batch, *axes, channels]`."""
        return self.function(x)


class Gated(nnx.Module):
    """Multiply features by functions of invariants; where a function of single entries commutes, apply it instead.

    A term on which only permutations act is put through the activation. Any other term is multiplied by a gate for each
    channel (and each entry of its axes that are only permuted): a function of a feature without the other axes, which
    the layer before has to produce. `inputs` has the features that come in, gates among them:

        gated = Gated({"": 16, "x": 8}, x=O(3))
        layer = Linear(before, gated.inputs, x=O(3), rngs=rngs)       # {"": 16, "x": 8, "gate of x": ("", 8)}

    Args:
        features: what comes out, as for `Linear`.
        activation: for terms on which only permutations act.
        gate: for the gates.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        inputs: what goes in, as for `Linear`.

    Raises:
        SignatureError: if the features cannot be read.

    Example:
        >>> from equikit import O
        >>> gated = Gated({"": 1, "x": 2}, x=O(3))
        >>> sorted(gated.inputs)
        ['', 'gate of x', 'x']
    """

    def __init__(
        self,
        features: Features,
        *,
        activation: Activation = silu,
        gate: Activation = sigmoid,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        terms, widths = typed_side(features, None, "output")
        assert widths is not None
        self.signature: Signature = bind(terms, (), groups, bindings)
        self.activation, self.gate = activation, gate
        self.gates = tuple(self._gate_of(term) for term in terms)
        inputs = {term.name: (" ".join(term.labels), width) for term, width in zip(terms, widths, strict=True)}
        for term, gate_term, width in zip(terms, self.gates, widths, strict=True):
            if gate_term is not None:
                inputs[f"gate of {term.name}"] = (" ".join(gate_term), width)
        self._inputs = tuple(inputs.items())

    @property
    def inputs(self) -> dict[str, tuple[str, int]]:
        """The features that go in: name to labels and channels."""
        return dict(self._inputs)

    def _gate_of(self, term: Term) -> tuple[str, ...] | None:
        groups = self.signature.groups
        kept = tuple(label for label in term.labels if label not in groups or isinstance(groups[label], S))
        return None if kept == term.labels else tuple(label for label in kept if label in groups)

    def __call__(self, x: Mapping[str, Feature]) -> dict[str, Feature]:
        """Apply it to a dictionary of arrays, named as in `inputs`."""
        x = given_terms([name for name, _ in self._inputs], x)
        result: dict[str, Any] = {}
        for term, gate in zip(self.signature.inputs, self.gates, strict=True):
            array = x[term.name]
            if gate is None:
                result[term.name] = self.activation(array)
                continue
            factor = self.gate(x[f"gate of {term.name}"])
            groups, start = self.signature.groups, array.ndim - 1 - len(term.labels)
            missing = [
                start + i
                for i, label in enumerate(term.labels)
                if label not in groups or not isinstance(groups[label], S)
            ]
            result[term.name] = array * jnp.expand_dims(factor, missing)
        return result


class NormGated(nnx.Module):
    r"""Multiply features by functions of their own squared norms, where a function of single entries does not commute.

    \(y_c = x_c\, \sigma(w_c \langle x_c, x_c \rangle + b_c)\) for each channel, with the metric of the group where it
    has one, so that the squared norm of a timelike vector is positive and that of a spacelike one negative. The norm is
    a mean over all axes but those that are only permuted.

    Args:
        features: what comes in and goes out, as for `Linear`, in a dictionary.
        activation: for terms on which only permutations act.
        gate: the function σ.
        rngs: not used, as the parameters begin at one and zero; taken so that all layers are made alike.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Raises:
        OptionError: for a symplectic group, under which no vector has a norm.

    Example:
        >>> from equikit import O
        >>> layer = NormGated({"x": 1}, x=O(2))
        >>> layer({"x": jnp.zeros((2, 1))})["x"].shape
        (2, 1)
    """

    def __init__(
        self,
        features: Features,
        *,
        activation: Activation = silu,
        gate: Activation = sigmoid,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        terms, widths = typed_side(features, None, "input")
        assert widths is not None
        self.signature: Signature = bind(terms, (), groups, bindings)
        self.activation, self.gate = activation, gate
        for label, group in self.signature.groups.items():
            metric = group.form is not None and group.form.kind == "metric"
            if not group.keeps_norm and not metric:
                raise OptionError(
                    f"a vector on {label!r} has no norm under {group}",
                    got=f"{label}={group}, {'whose form is antisymmetric' if group.form else 'which has no form'}",
                    expected="a group with a symmetric form",
                    step="use ek.nn.Gated with ek.nn.Bilinear, which finds the invariants of two vectors",
                )
        own = [(term.name, width) for term, width in zip(terms, widths, strict=True) if self._mixed(term.labels)]
        self.weight = nnx.Dict({name: nnx.Param(jnp.ones(width)) for name, width in own})
        self.bias = nnx.Dict({name: nnx.Param(jnp.zeros(width)) for name, width in own})

    def _mixed(self, labels: tuple[str, ...]) -> list[int]:
        """The axes that a group mixes; where there are any, plain axes come to them."""
        groups = self.signature.groups
        mixed = [i for i, label in enumerate(labels) if label in groups and not isinstance(groups[label], S)]
        plain = [i for i, label in enumerate(labels) if label not in groups]
        return sorted(mixed + plain) if mixed else []

    def __call__(self, x: Mapping[str, Feature]) -> dict[str, Feature]:
        """Apply it to a dictionary of arrays `[*batch, *axes, channels]`."""
        x = given_terms([term.name for term in self.signature.inputs], x)
        result: dict[str, Any] = {}
        for term in self.signature.inputs:
            array = x[term.name]
            places = self._mixed(term.labels)
            if not places:
                result[term.name] = self.activation(array)
                continue
            start = array.ndim - 1 - len(term.labels)
            square = jnp.abs(array) ** 2
            for i in places:
                form = self.signature.groups[term.labels[i]].form if term.labels[i] in self.signature.groups else None
                if form is not None:
                    square = square * form.signs().reshape(-1, *(1,) * (array.ndim - 1 - start - i)).astype(
                        square.dtype
                    )
            norm = jnp.mean(square, axis=tuple(start + i for i in places), keepdims=True)
            weight, bias = (part[term.name][...].astype(norm.dtype) for part in (self.weight, self.bias))
            result[term.name] = array * self.gate(norm * weight + bias).astype(array.dtype)
        return result
