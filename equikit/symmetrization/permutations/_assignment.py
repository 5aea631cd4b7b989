"""Soft permutations: differentiable sorting, doubly stochastic matrices, and their entropy."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from equikit import _checks
from equikit.symmetrization.engine._element import Array, permutation_matrix
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._more import required_entries

ASSIGNMENT = "assignment"
"""The name of the soft permutation in `info.more`, `[places, entries]`."""


def sinkhorn(log_scores: Float[jax.Array, "*batch n n"], rounds: int = 20) -> Float[jax.Array, "*batch n n"]:
    r"""Make positive matrices doubly stochastic by normalizing rows and columns in turn.

    The limit is \(D_1 e^{L} D_2\) with diagonal matrices, the doubly stochastic matrix closest to \(e^{L}\) in relative
    entropy. After the last round, columns sum to one up to rounding; the error of the row sums decreases by a factor of
    \(\sigma_2^2\) in every round, with \(\sigma_2 < 1\) the second singular value of the limit. If scores differ by
    much more than one, the limit is nearly block diagonal, \(\sigma_2\) is close to one, and many rounds are needed.

    Args:
        log_scores: L, in floating point; sums of exponentials are computed without overflow.
        rounds: the number of normalizations of rows and columns.

    Returns:
        The matrices, not their logarithms.

    Raises:
        ShapeError: if the last two axes are not square.
        DTypeError: if the scores are not floating-point numbers.
        OptionError: if `rounds` is not a whole number.

    Cost: 2 n² exponentials per round.

    Example:
        >>> matrix = sinkhorn(jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]), rounds=20)
        >>> bool(jnp.allclose(matrix.sum(0), 1) and jnp.allclose(matrix.sum(1), 1, atol=1e-4))
        True

    Source:
        Sinkhorn and Knopp, Pacific J. Math. 21 (1967); Mena et al., Learning latent permutations with Gumbel-Sinkhorn
        networks, arXiv:1802.08665, section 2.2; the rate in Knight, SIAM J. Matrix Anal. Appl. 30 (2008).
    """
    log_scores = jnp.asarray(_checks.array("log_scores", log_scores, ("*batch", "n", "n")))
    rounds = _checks.count("rounds", rounds, most=2**31 - 1, example=20)

    def once(_: int, logs: jax.Array) -> jax.Array:
        logs = logs - jax.nn.logsumexp(logs, axis=-1, keepdims=True)
        return logs - jax.nn.logsumexp(logs, axis=-2, keepdims=True)

    if not log_scores.size:
        return log_scores
    result: jax.Array = jnp.exp(jax.lax.fori_loop(0, rounds, once, log_scores))
    return result


def soft_sort(scores: Float[jax.Array, "*batch n"], temperature: float) -> Float[jax.Array, "*batch n n"]:
    r"""Return logs of a soft permutation that sorts scores: \(-|s_{(i)} - s_j| / \tau\), with normalized rows.

    Row i gives the probabilities of the entries j at position i, in ascending order. As the temperature goes to zero,
    the rows converge to the permutation, if no scores are equal.

    Args:
        scores: s.
        temperature: τ, above zero.

    Raises:
        OptionError: if the temperature is not positive.
        DTypeError, ShapeError: if the scores are not floating-point numbers, or have no axis.

    Cost: n² exponentials.

    Example:
        >>> matrix = jnp.exp(soft_sort(jnp.array([3.0, 1.0, 2.0]), 0.1))
        >>> matrix.argmax(-1).tolist()
        [1, 2, 0]

    Source:
        Prillo and Eisenschlos, SoftSort, arXiv:2006.16038, equation 4, in descending order.
    """
    scores = jnp.asarray(_checks.array("scores", scores, ("*batch", "n"), step="pass scores[None]"))
    temperature = _checks.number("temperature", temperature, above=0, example=0.1)
    ordered = jnp.sort(scores, axis=-1)
    return jax.nn.log_softmax(-jnp.abs(ordered[..., :, None] - scores[..., None, :]) / temperature, axis=-1)


def soft_permutation(scores: Array, there: Array | None, temperature: float, rounds: int) -> Array:
    """Return doubly stochastic matrices `[*batch, n, n]` that sort scores softly; absent entries come last in order."""
    if not scores.size:
        return jnp.zeros((*scores.shape, scores.shape[-1]), scores.dtype)
    if there is not None:
        # Scores so large that the softmax vanishes, and apart from each other, so that rows and columns sum to one.
        last = jax.lax.stop_gradient(jnp.max(jnp.where(there, scores, -jnp.inf), axis=-1, keepdims=True))
        steps = 1000 * temperature * (1 + jnp.cumsum(~there, axis=-1))
        scores = jnp.where(there, scores, jnp.where(jnp.isfinite(last), last, 0) + steps)
    return sinkhorn(soft_sort(scores, temperature), rounds)


@functools.partial(jax.jit, static_argnums=(1, 4, 5))
def straight_through(
    frame: Frame, label: str, scores: Array, there: Array | None, temperature: float, rounds: int
) -> Frame:
    """Return a frame of permutation matrices with the derivatives of the soft permutation of scores `[*batch, n]`."""
    soft = soft_permutation(scores, there, temperature, rounds)
    hard, inverse = permutation_matrix(frame.elements.linear[label], soft.dtype), jnp.swapaxes(soft, -1, -2)
    # The term in parentheses is exactly zero.
    linear = {**frame.elements.linear, label: hard + (inverse - jax.lax.stop_gradient(inverse))}
    info = replace(frame.info, more={**frame.info.more, ASSIGNMENT: soft})
    return replace(frame, elements=replace(frame.elements, linear=linear), info=info)


def assignment_entropy(info: Info | Array) -> Any:
    r"""Return the mean entropy of rows and columns of soft permutations, zero for permutations.

    It is \(-\frac{1}{n} \sum_{ij} P_{ij} \log P_{ij}\) for a doubly stochastic P, at most \(\log n\), averaged over all
    samples and summed over labels. Added to a loss with a factor such as 0.1, it keeps the soft permutation, which has
    the derivatives, close to the permutation that is used.

    Args:
        info: what `sym(x, with_info=True)` returns, or matrices `[*batch, n, n]`.

    Raises:
        OptionError: if the info has no soft permutation.

    Example:
        >>> bool(jnp.allclose(assignment_entropy(jnp.full((4, 4), 0.25)), jnp.log(4.0)))
        True

    Source:
        Kim et al., Learning probabilistic symmetrization for architecture agnostic equivariance,
        arXiv:2306.02866.
    """
    if isinstance(info, jax.Array | np.ndarray):
        return _entropy(jnp.asarray(_checks.array("info", info, ("*batch", "n", "n"))))
    found = required_entries(info, ASSIGNMENT, how="PermutationCanonicalization(network), in training")
    return sum(map(_entropy, found[1:]), start=_entropy(found[0]))


def _entropy(matrix: Array) -> Array:
    some = matrix > 0
    entropy = -jnp.sum(jnp.where(some, matrix * jnp.log(jnp.where(some, matrix, 1)), 0), axis=(-2, -1))
    return jnp.mean(entropy) / max(matrix.shape[-1], 1)
