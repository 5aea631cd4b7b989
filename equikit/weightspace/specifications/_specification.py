"""The symmetry of a model's parameters: a term for each parameter, and a group for each label."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import EquivarianceError, OptionError, TraceWarning
from equikit.groups import Fixed, S
from equikit.weightspace.specifications._blame import first_difference, refuse_not_comparable, relative_difference
from equikit.weightspace.specifications._leaves import (
    batch_of,
    checked_leaves,
    refuse_moved_indices,
    refuse_sizes_that_differ,
)
from equikit.weightspace.specifications._linear_action import LinearAction, transformed
from equikit.weightspace.specifications._masks import checked_masks, labels_in
from equikit.weightspace.specifications._moving import augmented, checked_element, moved
from equikit.weightspace.specifications._scaling import Scaling, rescaled
from equikit.weightspace.specifications._terms import Element, Leaf
from equikit.weightspace.specifications._widths import resized_bindings, resized_leaves, sizes_in
from equikit.weightspace.tracing._nesting import Nested
from equikit.weightspace.tracing._precision import rounding
from equikit.weightspace.tracing.programs._program import program_of


@dataclass(frozen=True)
class Specification:
    """The permutations of a model's parameters that preserve its function. Made by `trace`.

    Attributes:
        leaves: the parameters, with the index set of each axis.
        bindings: labels with their groups: S(n) for permuted labels, Fixed(n) for all others.
        reasons: for each fixed label, why it is fixed.
        scalings: scale and sign symmetries; each multiplies parameters by one number for each index of a label. They
            come in the order of the program, with power one for the parameter that is used first.
        nested: pairs of labels; the first is permuted separately for every index of the second, such as the features
            within each attention head, or the neurons within each expert. The group is then a wreath product.
        linear_actions: general linear groups that preserve the function; each acts on one label.
        unread: names of the primitives in the program for which `trace` has no rule. All axes of their operands and
            results are fixed, so the symmetry group of the model may be larger than this group.
    """

    leaves: tuple[Leaf, ...]
    bindings: tuple[tuple[str, S | Fixed], ...]
    reasons: tuple[tuple[str, str], ...] = ()
    scalings: tuple[Scaling, ...] = ()
    nested: Nested = ()
    linear_actions: tuple[LinearAction, ...] = ()
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_sizes_that_differ(self.leaves, self.sizes)
        refuse_moved_indices(self.leaves, self.groups)

    @property
    def terms(self) -> dict[str, str]:
        """The term of each parameter by name, such as `"in h0"`."""
        return {leaf.name: str(leaf) for leaf in self.leaves}

    @property
    def groups(self) -> dict[str, S]:
        """The permuted labels, with their groups."""
        return {label: group for label, group in self.bindings if isinstance(group, S)}

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every label."""
        return {label: what.size if isinstance(what, Fixed) else what.n or 0 for label, what in self.bindings}

    def __str__(self) -> str:
        width = max((len(leaf.name) for leaf in self.leaves), default=0)
        lines = [f"{leaf.name:<{width}}  {leaf}" for leaf in self.leaves]
        return "\n".join([*lines, "", self.bound(label for label, _ in self.bindings)])

    def bound(self, labels: Iterable[str]) -> str:
        """The groups of labels as text, such as `"h0=S(4), h1=S(2) within h0"`."""
        groups, within = dict(self.bindings), {inner: f" within {outer}" for inner, outer in self.nested}
        return ", ".join(f"{label}={groups[label]}{within.get(label, '')}" for label in labels)

    def fix(self, *labels: str) -> Specification:
        """Fix labels, such as labels that fail `check`: they are no longer permuted, scaled or transformed.

        The new group is a subgroup. A label that is nested in a fixed label is permuted by one permutation for all
        indices of the fixed label, no longer by one for each index; its linear groups act by a single matrix.

        Args:
            labels: any labels in `bindings`; labels that are already fixed do not change.

        Returns:
            A specification with the labels bound to Fixed, with the reason "fixed by the caller".

        Raises:
            OptionError: if a label is unknown.

        Example:
            >>> from equikit.weightspace import trace
            >>> params = {"a": np.ones((3, 8)), "b": np.ones((8, 4)), "c": np.ones((4, 2))}
            >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"] @ p["c"], params, np.ones((5, 3)))
            >>> spec.groups, spec.fix("h0").groups
            ({'h0': S(8), 'h1': S(4)}, {'h1': S(4)})
        """
        for label in labels:
            _checks.choice("label", label, list(self.sizes), step="look at spec.sizes", code='spec.fix("{1}")')
        gone = {label: Fixed(self.sizes[label]) for label in self.groups if label in labels}
        actions = (action for action in self.linear_actions if action.label not in labels)
        return replace(
            self,
            bindings=tuple((label, gone.get(label, group)) for label, group in self.bindings),
            reasons=(*self.reasons, *((label, "fixed by the caller") for label in gone)),
            scalings=tuple(scaling for scaling in self.scalings if scaling.label not in labels),
            nested=tuple(pair for pair in self.nested if not gone.keys() & {*pair}),
            linear_actions=tuple(replace(a, within=None) if a.within in gone else a for a in actions),
        )

    def resized(self, params: Any, also: Collection[str] = ()) -> Specification:
        """Return the specification of parameters of the same architecture with other widths of permuted labels.

        Args:
            params: a tree of arrays `[*batch, *shape]` with the names of these parameters.
            also: labels that are not permuted, whose sizes may differ, too.

        Returns:
            This specification, with the size of each of these labels as in the shapes. All other labels, and labels
            whose size the shapes do not determine, keep their sizes.

        Raises:
            OptionError, DTypeError: if `params` is not a tree of arrays with these names, or `also` has other labels.
            ShapeError: if an array does not fit, for example because a label has two sizes; the error names the array.

        Cost: one pass over the shapes.

        Example:
            >>> from equikit.weightspace import trace
            >>> shapes = {"a": (3, 8), "b": (8, 2)}
            >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"],
            ...              {name: np.ones(shape) for name, shape in shapes.items()}, np.ones((5, 3)))
            >>> spec.resized({"a": np.ones((3, 64)), "b": np.ones((64, 2))}).groups
            {'h0': S(64)}
        """
        _checks.instance("also", also, Collection, '["in"]')  # type: ignore[type-abstract]
        for label in also:
            _checks.choice("also", label, list(self.sizes), step="look at spec.sizes", code='also=["{1}"]')
        sizes = sizes_in(self.leaves, self.bindings, [*self.groups, *also], params)
        changed = {label: size for label, size in sizes.items() if size != self.sizes[label]}
        leaves = resized_leaves(self.leaves, changed) if changed else self.leaves
        checked_leaves(leaves, params)
        if not changed:
            return self
        return replace(self, leaves=leaves, bindings=resized_bindings(self.bindings, changed))

    def random_element(self, *, key: jax.Array) -> Element:
        """Sample a uniform permutation for each label; for a nested label one for each outer index, `[outer, n]`.

        Raises:
            OptionError: if `key` is not a JAX key, or is traced.
        """
        _checks.untraced("key=", key, step="call this outside of jit, or spec.augment(params, key=key) inside")
        generator = np.random.default_rng(np.asarray(jax.random.bits(_checks.key(key), (4,))))
        found, within = {}, dict(self.nested)
        for label, group in self.groups.items():
            count = self.sizes[within[label]] if label in within else 1
            drawn = [group.random_element(generator) for _ in range(count)]
            found[label] = np.stack(drawn) if label in within else drawn[0]
        return found

    def act(self, element: Mapping[str, np.ndarray], params: Any) -> Any:
        """Apply a group element to the parameters; return a tree of the same structure. Leading axes are a batch.

        A nested label is permuted first, within each original index of its outer label, and the outer label second. A
        single permutation `[n]` of a nested label is used for all outer indices.
        """
        groups = {label: self.sizes[label] for label in self.groups}
        given = checked_element(element, self.nested, groups)
        found = moved(self.leaves, self.nested, given, checked_leaves(self.leaves, params))
        return jax.tree.unflatten(jax.tree.structure(params), list(found.values()))

    def augment(self, params: Any, *, key: jax.Array, mask: Any = None) -> Any:
        """Apply an independent random group element to every network of a batch; works under `jit`.

        Args:
            params: arrays `[*batch, *shape]`, of any widths of the permuted labels.
            key: JAX key for sampling the elements.
            mask: the masks of padded networks, as `pad` returns them: absent neurons keep their places.

        Returns:
            A tree like the parameters.

        Raises:
            OptionError, ShapeError, DTypeError: if the parameters do not match the specification, or `key` is not a JAX
                key.

        Example:
            >>> import jax.numpy as jnp
            >>> from equikit.weightspace import trace
            >>> spec = trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 2))},
            ...              jnp.ones((5, 3)))
            >>> zoo = {"a": jnp.ones((9, 3, 8)), "b": jnp.ones((9, 8, 2))}
            >>> jax.jit(spec.augment)(zoo, key=jax.random.key(0))["b"].shape
            (9, 8, 2)
        """
        own = self.resized(params, labels_in(mask, self.sizes))
        given = checked_leaves(own.leaves, params)
        masks = checked_masks(mask, own.sizes, own.groups, batch_of(own.leaves, given))
        found = augmented(own.leaves, own.nested, list(own.groups), own.sizes, _checks.key(key), given, masks)
        return jax.tree.unflatten(jax.tree.structure(params), list(found.values()))

    def rescale(self, scaling: Scaling, numbers: jax.Array | np.ndarray, params: Any) -> Any:
        """Multiply the parameters by powers of `numbers`, `[n]`, one for each index of the label; they may be traced.

        Raises:
            OptionError: if the scaling is not one of `scalings`, or the numbers do not fit its kind.
        """
        self._refuse_other(scaling, self.scalings, "scalings")
        given = checked_leaves(self.leaves, params)
        found = rescaled(self.leaves, scaling, self.sizes[scaling.label], numbers, given)
        return jax.tree.unflatten(jax.tree.structure(params), list(found.values()))

    @staticmethod
    def _refuse_other(action: object, known: tuple[Any, ...], name: str) -> None:
        if action not in known:
            raise OptionError(
                "this does not act on these parameters",
                got=str(action),
                expected="; ".join(map(str, known)) or f"nothing: spec.{name} is empty",
                step=f"take one of spec.{name}",
            )

    def transform(self, action: LinearAction, matrix: Any, params: Any) -> Any:
        """Apply a matrix `[n, n]` along axes that are up, and its inverse transpose along axes that are down.

        If the action is within another label, pass one matrix for each index of this label, `[m, n, n]`, or one matrix
        for all. Leading axes of all parameters are a batch. A matrix that is not traced is inverted in float64.

        Raises:
            OptionError: if the matrix has another shape, is not finite, or has no inverse.
        """
        self._refuse_other(action, self.linear_actions, "linear_actions")
        given = checked_leaves(self.leaves, params)
        found = transformed(self.leaves, action, action.shape(self.sizes), matrix, given)
        return jax.tree.unflatten(jax.tree.structure(params), [found[leaf.name] for leaf in self.leaves])

    def check(
        self, apply: Callable[..., Any], params: Any, x: Any, *, key: jax.Array, tolerance: float | None = None
    ) -> float:
        """Check that a random group element does not change the outputs.

        Args:
            apply: the model, `apply(params, x)`.
            params: its parameters.
            x: an input, or several in a tuple.
            key: JAX key for sampling the element.
            tolerance: the largest allowed difference of outputs, relative to the largest entry of each output array;
                by default the square root of the rounding error of the narrowest dtype that the model computes in.

        Returns:
            The largest relative difference.

        Raises:
            OptionError: if the key is not a JAX key, the tolerance is not a number ≥ 0 or None, or the tolerance is
                None and the model cannot be traced.
            EquivarianceError: if the outputs differ; the error names the first operation that breaks the symmetry.
        """
        inputs = x if isinstance(x, tuple) else (x,)
        _checks.function("apply", apply, arguments=1 + len(inputs), example="apply, the model that was traced")
        _checks.number("tolerance", tolerance, least=0, optional=True, example=1e-3)
        element, outputs = self.random_element(key=key), apply(params, *inputs)

        def changed(element: Mapping[str, np.ndarray]) -> float:
            return relative_difference(outputs, apply(self.act(element, params), *inputs))

        found = changed(element)
        refuse_not_comparable(outputs, lambda: apply(params, *inputs))
        allowed = rounding(program_of(apply, params, inputs)) ** 0.5 if tolerance is None else tolerance
        if not found <= allowed:
            each = {label: changed({label: places}) for label, places in element.items()}
            wrong = [label for label in each if not each[label] <= allowed] or [max(each, key=lambda x: each[x])]
            raise EquivarianceError(
                "the outputs change with an element of the group",
                got=f"a relative difference of {found:.1e}"
                + first_difference(self.leaves, self.groups, apply, params, inputs),
                expected=f"at most {allowed:.1e}",
                step="write spec = spec.fix(" + ", ".join(f'"{label}"' for label in wrong) + "), "
                "and report the model: trace() should not find them",
            )
        return found


def checked_specification(spec: Any) -> None:
    """Raise `OptionError` unless `spec` is a `Specification`."""
    _checks.instance("spec", spec, Specification, "trace(apply, params, x), the first argument")


def warn_of_unread(spec: Specification) -> None:
    """Emit a `TraceWarning`, at the line of the user's program, if the trace met operations without a rule."""
    if not spec.unread:
        return
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "equikit":
        frame, level = frame.f_back, level + 1
    warning = TraceWarning(
        "the group of this model may be larger than the one that was found",
        got=f"operations without a rule, whose axes are fixed: {', '.join(spec.unread)}",
        expected="operations that trace() can read",
        step="look at spec.reasons; to accept this group, "
        'write warnings.simplefilter("ignore", equikit.TraceWarning) before the call',
    )
    warnings.warn(warning, stacklevel=level)
