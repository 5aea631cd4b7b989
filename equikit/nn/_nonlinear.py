"""Nonlinearities: pointwise if that commutes with the group, gated by invariants otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks, _keywords
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.groups import Group
from equikit.nn._arguments import Space, one_term
from equikit.nn._features import Features, features_of, mixed, not_permuted, permuted, read_features
from equikit.nn._functions import Activation, sigmoid, silu
from equikit.nn._layer import Layer, features_text, quoted, value_text
from equikit.nn.initializers import filled
from equikit.nn.termwise._rows import Rows, read_rows, read_terms
from equikit.nn.termwise._termwise import Termwise
from equikit.plans import Arrays, Feature, Masks
from equikit.plans.sharding import Result, entries, placed
from equikit.signatures import Signature, Term, bind
from equikit.supports import Support

PROBES = np.append(0, np.geomspace(1e-9, 1e9, 289)).astype(np.float32)
"""The magnitudes at which a function is compared with its reflection: zero, and sixteen per decade."""


def is_odd(function: Activation) -> bool:
    r"""Whether \(f(-x) = -f(x)\) at zero and at the probed magnitudes.

    The tolerance is relative to the largest value at magnitudes up to one: an odd function such as a shifted sigmoid is
    a small difference of numbers of that size.
    """
    with jax.ensure_compile_time_eval():
        right, left = (np.asarray(function(jnp.asarray(x))) for x in (PROBES, -PROBES))
    near = np.abs(right[PROBES <= 1])
    scale = np.max(near, initial=0, where=np.isfinite(near))
    return bool(np.allclose(left, -right, rtol=1e-4, atol=1e-5 * scale, equal_nan=True))


def pointwise_refusal(group: Group, function: Activation) -> str | None:
    """Explain why a pointwise function does not commute with a group; `None` if it does."""
    if group.elements_are == "permutations":
        return None
    if group.elements_are == "signed permutations":
        return None if is_odd(function) else "signs change, and the function is not odd: f(-x) differs from -f(x)"
    return "its elements mix entries, and a function of single entries does not go through a sum"


class Pointwise(Layer):
    """Pointwise activation on features whose groups commute with it; no parameters.

    Permutations commute with every pointwise function; signed permutations, and the sign of a pseudoscalar `"det(x)"`,
    commute with odd functions. Other groups mix entries and commute only with linear functions.

    The function must act on each entry alone. This is not tested: `jnp.cumsum`, `jnp.sort` and a softmax keep the
    shape but mix entries, and the layer would not be equivariant.

    Oddness is tested in float32 at zero and, with both signs, at 289 logarithmically spaced magnitudes from 1e-9 to
    1e9. The caller guarantees it elsewhere.

    Args:
        function: maps an array to an array of the same shape, entry by entry.
        features: labels of the input, `"p p"`, or a space with equal input and output, `ek.hom("p p -> p p", p=ek.S)`.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Raises:
        OptionError: if the function does not commute with a group, with the reason.

    Example:
        >>> from equikit import S
        >>> Pointwise(jnp.abs, "p", p=S)(jnp.array([[-1.0], [2.0]])).tolist()
        [[1.0], [2.0]]
    """

    def __init__(
        self,
        function: Activation,
        features: str | Space,
        *,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        self.signature = one_term(features, groups, bindings, _keywords.call_of(type(self)), lambda _, term: term.words)
        self.function: Activation = _checks.function("function", function, example="jnp.tanh")
        (term,) = self.signature.inputs
        for label, group in self.signature.groups.items():
            reason = self._refusal(label, group)
            if reason is not None:
                usual = "S or A, or H with an odd function"
                raise OptionError(
                    f"a pointwise nonlinearity on {label!r} does not commute with {group}",
                    got=f"{getattr(function, '__name__', function)!r}: {reason}",
                    expected=usual if label in term.labels else "an odd function, such as jnp.tanh",
                    step="use ek.nn.Gated, whose gates are invariants",
                )

    def _call_arguments(self) -> list[str]:
        return [value_text(self.function) or "...", quoted(self.signature.inputs[0].text)]

    def _refusal(self, label: str, group: Group) -> str | None:
        """Return why the function does not commute with a group on the input; `None` if it does."""
        (term,) = self.signature.inputs
        if label in term.labels:
            return pointwise_refusal(group, self.function)
        if label not in self.signature.odd(term) or is_odd(self.function):
            return None
        return "reflections change the sign of a pseudoscalar, and the function is not odd: f(-x) differs from -f(x)"

    def __call__(self, x: Feature, *, support: Support | None = None) -> Feature:
        """Apply the function to an array `[*batch, *axes, channels]`, with any number of channels.

        Args:
            x: the array.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if the array does not fit, or the function changes its shape.
        """
        (term,) = self.signature.inputs
        (x,), rows = read_rows(self.signature, None, [x], {}, support)
        y = self.function(x)
        if jnp.shape(y) != x.shape:
            raise ShapeError(
                "the function of a pointwise layer changes the shape of its input",
                got=f"shape {[*jnp.shape(y)]} of shape {[*x.shape]}",
                expected="a function that maps each entry by itself, such as jnp.tanh",
                step="apply this function outside of the layer",
            )
        return rows.together(term, y)


def gate_name(term: Term) -> str:
    """Return the name of the gates of a term."""
    return f"gate of {term.name}"


class Gated(Layer):
    """Multiply features by gates, which are functions of invariants; apply an activation to permuted features.

    The activation applies to terms on which only permutations act. Any other term is multiplied by a gate for each
    channel and each entry of its permuted axes: a function of a feature without the other axes, which the preceding
    layer has to compute. `inputs` lists the input features, including the gates:

        gated = Gated({"": 16, "x": 8}, x=O(3))
        layer = Linear(before, gated.inputs, x=O(3), rngs=rngs)       # {"": 16, "x": 8, "gate of x": ("", 8)}

    Args:
        features: the output features, as for `Linear`.
        activation: for terms on which only permutations act.
        gate: activation of the gates.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        inputs: the input features, as for `Linear`.

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
        terms, widths = read_features(features, "output")
        kind = bind(terms, (), groups, bindings, call=_keywords.call_of(type(self)))
        self.activation: Activation = _checks.function("activation", activation, example="jax.nn.silu")
        self.gate: Activation = _checks.function("gate", gate, example="jax.nn.sigmoid")
        gated = [(term, width) for term, width in zip(terms, widths, strict=True) if mixed(kind, term)]
        gates = [Term(gate_name(t), tuple(x for x in t.labels if permuted(kind, x))) for t, _ in gated]
        taken = sorted({term.name for term in terms} & {gate.name for gate in gates})
        if taken:
            raise SignatureError(
                f"a feature has the name of the gates of another: {taken[0]!r}",
                got=[term.name for term in terms],
                expected="names other than the names of the gates",
                step="choose another name for it",
            )
        self.signature = Signature((*terms, *gates), terms, kind.bindings)
        self.widths = (*widths, *(width for _, width in gated))

    @property
    def sides(self) -> tuple[Features, Features]:
        """The input features with gates, and the output features without gates."""
        outputs = self.signature.outputs
        return self.inputs, features_of(outputs, self.widths[: len(outputs)])

    def _call_arguments(self) -> list[str]:
        return [features_text(self.sides[1])]

    @property
    def inputs(self) -> dict[str, tuple[str, int]]:
        """The input features: name to labels and channels."""
        return features_of(self.signature.inputs, self.widths)

    def __call__(self, x: Mapping[str, Feature], *, support: Support | None = None) -> dict[str, Feature]:
        """Apply the layer to a dictionary of arrays `[*batch, *axes, channels]`, named as in `inputs`.

        Args:
            x: the arrays.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
        """
        names = [term.name for term in self.signature.outputs]
        arrays, rows = read_terms(self.signature, self.widths, x, {}, support)

        def compute(arrays: Sequence[jax.Array], *_: object) -> list[jax.Array]:
            given = dict(zip([term.name for term in self.signature.inputs], arrays, strict=True))
            return [rows.together(term, self._applied(term, given)) for term in self.signature.outputs]

        if support is not None:
            return dict(zip(names, compute([*arrays.values()]), strict=True))

        def outputs() -> list[Result]:
            found = [arrays[name] for name in names]
            return [Result(t, y.shape, entries(y)[-1]) for t, y in zip(self.signature.outputs, found, strict=True)]

        # On automatic axes: the channels of gates may be sharded over the same devices as an axis of the feature.
        found = placed(compute, ([*arrays.values()], [], {}), self.signature.inputs, outputs, None)
        return dict(zip(names, found, strict=True))

    def _applied(self, term: Term, arrays: Mapping[str, Feature]) -> Feature:
        array = arrays[term.name]
        if not mixed(self.signature, term):
            return self.activation(array)
        factor = self.gate(arrays[gate_name(term)])
        return array * jnp.expand_dims(factor, not_permuted(self.signature, term))


class NormGated(Termwise):
    r"""Multiply features by functions of their squared norms; apply an activation to permuted features.

    \(y_c = x_c\, \sigma(w_c \langle x_c, x_c \rangle + b_c)\) for each channel. The squared norm uses the metric of the
    group if it has one, and so is positive for timelike and negative for spacelike vectors. It is a mean over all axes
    except permuted ones.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        activation: for terms on which only permutations act.
        gate: the function σ.
        rngs: unused, because parameters start at one or zero; accepted for uniformity.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Raises:
        OptionError: if a group has no invariant norm, such as a symplectic group.

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
        super().__init__(features, rngs, groups, bindings)
        self.activation: Activation = _checks.function("activation", activation, example="jax.nn.silu")
        self.gate: Activation = _checks.function("gate", gate, example="jax.nn.sigmoid")
        for label, group in self.signature.groups.items():
            metric = group.form is not None and group.form.kind == "metric"
            if not group.keeps_norm and not metric:
                raise OptionError(
                    f"a vector on {label!r} has no norm under {group}",
                    got=f"{label}={group}, {'whose form is antisymmetric' if group.form else 'which has no form'}",
                    expected="a group with a symmetric form",
                    step="use ek.nn.Gated with ek.nn.Bilinear, which finds the invariants of two vectors",
                )
        terms = zip(self.signature.inputs, self.widths, strict=True)
        own = [(term.name, width) for term, width in terms if mixed(self.signature, term)]
        stored = jnp.result_type(float)
        self.weight = nnx.Dict({name: nnx.Param(filled(1, (width,), stored)) for name, width in own})
        self.bias = nnx.Dict({name: nnx.Param(filled(0, (width,), stored)) for name, width in own})

    def __call__(self, x: Arrays, *, mask: Masks | None = None, support: Support | None = None) -> Arrays:
        """Apply the layer to an array `[*batch, *axes, channels]` or a dictionary of arrays.

        Args:
            x: a dictionary with an array for each term, or a single array if there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
        """
        return self._each(x, mask, support, self._applied)

    def _applied(self, term: Term, array: Feature, _: Rows) -> Feature:
        if not mixed(self.signature, term):
            return self.activation(array)
        # In half precision squares can overflow although the features do not, and with a metric inf - inf is NaN.
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        norm = self._squared_norm(term, wide)
        weight, bias = (part[term.name][...].astype(norm.dtype) for part in (self.weight, self.bias))
        return (wide * self.gate(norm * weight + bias)).astype(array.dtype)

    def _squared_norm(self, term: Term, array: Feature) -> Feature:
        """Return the mean square over all axes that are not permuted, with the signs of the metric."""
        square = jnp.real(array * jnp.conj(array))
        groups, axes = self.signature.groups, not_permuted(self.signature, term)
        for axis in axes:
            group = groups.get(term.labels[axis + 1 + len(term.labels)])
            if group is not None and group.form is not None:
                square = square * jnp.expand_dims(group.form.signs().astype(square.dtype), [*range(axis + 1, 0)])
        return jnp.mean(square, axis=axes, keepdims=True)
