"""Next steps of attention layers, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek

RNGS = nnx.Rngs(0)
LAYER = ek.nn.Attention({"p": 2}, heads=1, p=ek.S, rngs=RNGS)
X = {"p": jnp.ones((4, 2))}


def made(features: Any = None, outputs: Any = None, **options: Any) -> Any:
    features = {"p": 2} if features is None else features
    return ek.nn.Attention(features, outputs, **{"heads": 2, "rngs": RNGS, "p": ek.S} | options)


CALL: dict[str, Any] = {
    "attention-without-a-set": (
        lambda: ek.nn.Attention({"x": 2}, heads=2, x=ek.O(3), rngs=RNGS),
        '{"p": 32, "p x": 8}, p=ek.S, x=ek.O(3)',
        lambda text: eval(f"ek.nn.Attention({text}, heads=4, rngs=RNGS)", {"ek": ek, "RNGS": RNGS}),
    ),
    "attention-without-a-score": (
        lambda: made({"p x": 2}, x=ek.GL(2)),
        '{"p": 8}',
        lambda text: made({"p x": 2, **eval(text)}, x=ek.GL(2)),
    ),
    "attention-to-an-output-that-no-value-reaches": (
        lambda **o: made({"p x": 2}, {"p": 1}, x=ek.O(3), **o),
        "products=8",
        None,
    ),
    "channels-of-heads": (
        lambda **o: made(**{"qkv_features": {"": 3}} | o),
        'qkv_features={"": 4}',
        None,
    ),
    "features-of-other-pairs": (
        lambda **o: made(**{"pairs": {"p": 4}} | o),
        'pairs={"p p": 4}',
        None,
    ),
    "points-without-space": (lambda **o: made(points=2, **o), "x=ek.O(3)", None),
    "a-pair-mask-of-numbers": (
        lambda: LAYER(X, pair_mask=np.ones((4, 4))),
        "jnp.asarray(pair_mask, dtype=bool)",
        lambda text: LAYER(X, pair_mask=eval(text, {"jnp": jnp, "pair_mask": np.ones((4, 4))})),
    ),
}
