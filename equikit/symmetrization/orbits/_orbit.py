"""Orbit distance: elements of any group with known invariants, learned by a loss without projection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups import Bistochastic, Group, MatrixGroup, O, Sp, U
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, settled, standard_tolerance
from equikit.symmetrization.engine._method import Method, OnDegenerate, only_label
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine.backbones._modules import held_network
from equikit.symmetrization.engine.backbones._network import called, wide_inputs
from equikit.symmetrization.finite._score import without_absent
from equikit.symmetrization.orbits._invariants import checked_group, checked_orders, invariants, orbit_distance

KINDS = (O, Sp, U, Bistochastic, MatrixGroup)
"""The families named in error messages: groups of matrices."""


class OrbitDistance(Method, nnx.Module):
    r"""The matrix that a network computes from the input, which a loss moves into the group: one element.

    A network maps the input to a matrix M(x), and the result is \(x \mapsto M f(M^\dagger x)\), with \(M^\dagger\) the
    inverse by the form that the group preserves: \(\eta M^T \eta\) for O(p, q), \(M^T\) for O(n), \(\bar M^T\) for
    U(n). The matrix is not projected onto the group, so that the method also fits groups without a known projection;
    `orbit_loss` moves the matrix into the group, by the distance of its invariants from the invariants of the identity.

    The method has two properties, and this loss trains only the second one.

    - *Equivariance.* If M(gx) = g M(x), the result is equivariant for every M, in the group or not, since
      \((gM)^\dagger gx = M^\dagger x\). `nn.MatrixNetwork` is such a network. Otherwise the error, moved back by g, is
      at most \(\lVert g^{-1} M(gx) - M(x) \rVert\) times the Lipschitz constant of the result as a function of M, and
      the orbit distance does not measure it: M = I has distance zero and is not equivariant. A network such as
      `nn.MatrixMLP` learns it from `matrix_equivariance_loss`, or from randomly moved inputs.
    - *Being in the group.* With residual r, the root of the orbit distance, \(\rho = \sqrt{n}\, r < 1\),
      \(S = (M^\dagger M)^{1/2}\), \(h = M S^{-1}\), which keeps the form, and \(u = h^{-1} x\), the result differs
      from \(h f(h^{-1} x)\) by at most \(\lVert h \rVert\, \rho\, (\lVert f(Su) \rVert + L \lVert u \rVert)\),
      where L is the Lipschitz constant of f. The result has the values of f only if M is in the group: the symmetrized
      identity is \(M M^\dagger x\).

    An equivariant matrix can be in the group only if the input spans enough: n independent vectors for O(p, q), n - 1
    for SO(p, q), with a nondegenerate form on their span. Otherwise a residual remains, and `info.degenerate` reports
    it.

    Args:
        network: a function of the backbone's inputs, `[*batch, *axes, channels]` or a dictionary of such arrays, with
            `mask=` if there is one; with `channels=False` it sees one channel. It returns `[*batch, n, n]`, with
            columns that move as vectors, or a dictionary with only this array.
        label: the label on which the matrix acts; by default, the only one with a group of matrices.
        group: the group whose invariants are used, by default the group of the label; both must have the same form.
        orders: as in `invariants`, required for MatrixGroup.
        invariant_to: labels whose groups do not change the matrix, so that methods for them may come later.
        compare_input: also compare the pairings of \(M^\dagger x\) and of x, for `orbit_loss(input_weight=)`.
        tolerance: the largest residual of matrices in the group; by default the root of the rounding unit.
        on_degenerate: what to do above the tolerance: `"flag"` reports it in `info`, `"error"` raises.

    Raises:
        GroupError: if the label has another group, or a group with unknown invariants.
        OptionError: if there are no vectors to compare for `compare_input`.
        ShapeError, DTypeError: if the network does not return one matrix for each sample.
        FrameError: for a residual above the tolerance, with `on_degenerate="error"`.

    Cost: one call of the network and one of the backbone.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import OrbitDistance, orbit_loss
        >>> network = ek.nn.MatrixNetwork({"m": 4}, "m", m=ek.Lorentz, rngs=nnx.Rngs(0))
        >>> sym = ek.symmetrize(lambda x: jnp.sin(x[..., 0, :1]), "m -> ", m=ek.Lorentz, how=OrbitDistance(network))
        >>> y, info = sym(jax.random.normal(jax.random.key(0), (5, 4, 4)), with_info=True)
        >>> y.shape, info.more["orbit_residual"].shape, float(orbit_loss(info)) > 0
        ((5, 1), (5,), True)

    Source:
        Nguyen et al., Learning symmetrization for equivariance with orbit distance minimization, arXiv:2311.07143.
    """

    policies: ClassVar[tuple[Any, ...]] = ("flag", "error")

    def __init__(
        self,
        network: Callable[..., Any],
        label: str | None = None,
        *,
        group: Group | None = None,
        orders: Sequence[int] | None = None,
        invariant_to: Sequence[str] = (),
        compare_input: bool = False,
        tolerance: float | None = None,
        on_degenerate: OnDegenerate = "flag",
    ) -> None:
        self.network = held_network(
            network,
            "a module or function that returns a matrix for every sample",
            'write ek.nn.MatrixNetwork({"m": 4}, "m", m=ek.Lorentz, rngs=nnx.Rngs(0))',
        )
        self.label = option("label", label)
        self.group = group if group is None else checked_group(group)
        self.orders = None if orders is None else checked_orders(orders)
        self.invariant_to = option("invariant_to", invariant_to)
        self.compare_input = option("compare_input", compare_input)
        self.tolerance = option("tolerance", tolerance)
        self.on_degenerate = _checks.choice("on_degenerate", on_degenerate, self.policies)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the matrices."""
        label = only_label(self, action, self.label, KINDS, _has_tensors)
        self._group(action, label)
        compared = _compared(action, label) or not self.compare_input
        action.refuse_without(compared, f"{label!r} once", "leave compare_input= out")
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """All other labels, except those in `invariant_to`."""
        return super().reads(action) - frozenset(self.invariant_to)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the matrix of the network for each sample."""
        x, masks = sample.x, sample.masks
        (label,) = self.acts_on(action)
        group = self._group(action, label)
        first = action.inputs[0]
        batch, size = action.batch(first, x[first.name]), self._size(action, label, x)
        found = called(self.network, action.inputs, wide_inputs(action, action.inputs, x), masks)
        matrix = _checked(found, (*batch, size, size), group)
        tolerance = standard_tolerance(self.tolerance, matrix.dtype)
        matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
        distance = orbit_distance(group, matrix, orders=self.orders)
        residual = jnp.sqrt(jax.lax.stop_gradient(distance))
        degenerate = ~(residual <= tolerance)
        more = {"orbit_matrix": matrix, "orbit_distance": distance, "orbit_residual": residual}
        more["orbit_tolerance"] = jnp.full_like(residual, tolerance)
        element = Element({label: matrix})
        if self.compare_input:
            more["orbit_input"] = self._input_distance(action, label, x, masks, element)
        info = Info(jnp.ones(batch, jnp.float32), degenerate, degenerate & (self.on_degenerate == "error"), more=more)
        weights = settled(jnp.ones((1, *batch), residual.dtype), info)
        return Frame(Element({label: matrix[None]}), weights, info)

    def _group(self, action: Action, label: str) -> Group:
        own = action.groups[label]
        if self.group is None:
            return own
        alike = (self.group.n, self.group.form, self.group.is_complex) == (own.n, own.form, own.is_complex)
        if not _has_tensors(self.group) or not (alike or own.blocks == "whole"):
            raise GroupError(
                f"the invariants of {self.group} are not for an axis bound to {own}",
                got=f"group={self.group}, {label}={own}",
                expected="a group of matrices of the same size that keeps the same form",
                step=f"leave group= out, or bind {label} to {self.group}",
            )
        return self.group

    def _size(self, action: Action, label: str, x: Mapping[str, Array]) -> int:
        known = action.groups[label].n
        if known is not None:
            return known
        term = next(term for term in action.inputs if label in term.labels)
        start = x[term.name].ndim - len(term.labels) - action.channels
        return int(x[term.name].shape[start + term.labels.index(label)])

    def _input_distance(
        self, action: Action, label: str, x: Mapping[str, Array], masks: Mapping[str, Array], element: Element
    ) -> Array:
        """Return the mean squared change of the pairings of all vectors in the input."""
        group = self._group(action, label)
        pairs = tuple(order for order in (1, 2) if order == 2 or group.blocks == "small")

        def columns(arrays: Mapping[str, Array]) -> Array:
            found = [
                jnp.moveaxis(array, term.labels.index(label), 0).reshape(array.shape[term.labels.index(label)], -1)
                for term in _compared(action, label)
                for array in [arrays[term.name]]
            ]
            return jnp.concatenate(found, axis=1)

        def one(element: Element, arrays: Mapping[str, Array], there: Mapping[str, Array]) -> Array:
            moved = {term.name: action.act_inverse(element, term, arrays[term.name]) for term in action.inputs}
            before, after = (invariants(group, columns(each), orders=pairs) for each in (arrays, moved))
            total, number = jnp.zeros(()), jnp.zeros(())
            vectors = jnp.sum(columns(there)[0])
            for name, value in before.items():
                total = total + jnp.sum(jnp.abs(after[name] - value) ** 2)
                number = number + (vectors * (vectors - 1) / 2 if "^" in name else vectors**value.ndim)
            return total / jnp.maximum(number, 1)

        for _ in range(element.linear[label].ndim - 2):
            one = jax.vmap(one)
        ones = {name: jnp.ones(array.shape) for name, array in x.items()}
        return one(element, without_absent(action, x, masks), without_absent(action, ones, masks))


def _has_tensors(group: Group) -> bool:
    """Whether a group consists of matrices, and preserves a tensor that other matrices change."""
    return group.elements_are == "matrices" and group.defining_orders(2) != ()


def _compared(action: Action, label: str) -> tuple[Term, ...]:
    """Return the input terms with single vectors; their pairings with axial vectors are not invariant."""
    odd = action.signature.odd
    return tuple(term for term in action.inputs if term.labels.count(label) == 1 and label not in odd(term))


def _checked(found: Any, shape: tuple[int, ...], group: Group) -> jax.Array:
    """Return the matrix of a network, after checks of shape and dtype."""
    found = next(iter(found.values())) if isinstance(found, Mapping) and len(found) == 1 else found
    kind, step = "complex" if group.is_complex else "real", "let the network return n vectors, one in each column"
    matrix: jax.Array = _checks.array("the matrix of the network", found, shape, kind=kind, step=step)
    return matrix
