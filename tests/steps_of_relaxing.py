"""Next steps of `ek.relax`, chains and direct sums that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from equikit.relax import Augmentation, Linear, Penalty, Regularized, chain, restrict

RNGS = nnx.Rngs(0)
CHAIN = chain("x -> x", x=[ek.O(3), ek.O(2) + ek.O(1), ek.Trivial(3)])
EXACT = ek.nn.Linear("x -> x", 1, 1, x=ek.O(3), rngs=RNGS)
FREE = ek.nn.Linear("x -> x", 1, 1, x=ek.Trivial(3), rngs=RNGS)


def regularized(**options: Any) -> Any:
    return Regularized(FREE, loss=lambda model, batch: jnp.zeros(()), **{"weights": 1.0, "x": [ek.O(3)]} | options)


def mean_loss() -> Any:
    whole = Augmentation(EXACT, lambda x, *, key: x, loss=lambda model, batch: jnp.mean(batch[0]), epsilon=1.0)
    return whole.objective((jnp.ones((4, 3, 1)),), key=jax.random.key(0))


CALL: dict[str, tuple[Any, str, Any]] = {
    "sum-with-a-plain-axis": (lambda: ek.O(2) + ek.Fixed(1), "Trivial(1)", lambda code: ek.O(2) + eval(code, vars(ek))),
    "loss-that-is-a-mean": (mean_loss, "jnp.mean(errors, axis=-1)", {"errors": np.ones((4, 2))}),
    "groups-of-two-sizes": (
        lambda: chain("x -> x", x=[ek.O(3), ek.O(2)]),
        "ek.O(2) + ek.O(1)",
        lambda code: chain("x -> x", x=[ek.O(3), eval(code, {"ek": ek})]),
    ),
    "part-of-no-map": (
        lambda: chain("x -> x", x=[ek.O(3), ek.O(2) + ek.O(1)]).split(np.ones((3, 3))),
        "ek.Trivial(n)",
        lambda code: chain("x -> x", x=[ek.O(3), eval(code, {"ek": ek, "n": 3})]).split(np.ones((3, 3))),
    ),
    "group-that-is-no-group": (
        lambda: chain("x -> x", x=[3, ek.Trivial(3)]),
        "ek.O(3)",
        lambda code: chain("x -> x", x=[eval(code, {"ek": ek}), ek.Trivial(3)]),
    ),
    "layer-of-another-space": (
        lambda: Linear(CHAIN, ek.nn.Linear("x -> x", 2, 3, x=ek.O(2), rngs=RNGS), rngs=RNGS),
        "ek.nn.Linear(chain.spaces[0], (2,), (3,), rngs=rngs)",
        lambda code: Linear(CHAIN, eval(code, {"ek": ek, "chain": CHAIN, "rngs": RNGS}), rngs=RNGS),
    ),
    "options-of-a-given-layer": (
        lambda: Linear(CHAIN, ek.nn.Linear("x -> x", 1, 1, x=ek.O(3), rngs=RNGS), rngs=RNGS, use_bias=False),
        "ek.nn.Linear(chain.spaces[0], (1,), (1,), use_bias=False, rngs=rngs)",
        lambda code: Linear(CHAIN, eval(code, {"ek": ek, "chain": CHAIN, "rngs": RNGS}), rngs=RNGS),
    ),
    "gates-of-another-chain": (
        lambda: Linear(CHAIN, 1, 1, rngs=RNGS, gates=(1.0,)),
        "gates=(0.0, 0.0)",
        lambda code: Linear(CHAIN, 1, 1, rngs=RNGS, **eval(f"dict({code})")),
    ),
    "gates-that-are-no-list": (
        lambda: Linear(CHAIN, 1, 1, rngs=RNGS, gates="open"),
        "gates=(0.0, 0.0)",
        lambda code: Linear(CHAIN, 1, 1, rngs=RNGS, **eval(f"dict({code})")),
    ),
    "penalty-of-an-equivariant-layer": (
        lambda: Penalty(EXACT, x=[ek.O(3)]),
        "ek.relax.restrict(model, x=ek.Trivial(3))",
        lambda code: Penalty(eval(code, {"ek": ek, "model": EXACT}), x=[ek.O(3)]),
    ),
    "weights-of-other-groups": (
        lambda: regularized(weights=(1.0, 1.0)),
        "weights=(1.0,)",
        lambda code: regularized(**eval(f"dict({code})")),
    ),
    "no-smaller-group": (
        lambda: restrict(EXACT),
        "x=ek.Trivial(3)",
        lambda code: restrict(EXACT, **eval(f"dict({code})", {"ek": ek})),
    ),
}
