"""Next steps about names, axes of channels and modules of other libraries, as `CALL` in `test_steps_as_code.py`."""

import ast
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek

RNGS, KEY = nnx.Rngs(0), jax.random.key(0)
EDGES, NODES = jnp.ones((4, 4, 2)), jnp.ones((4, 3))
WITH_NODES = ek.nn.GraphNetwork(2, [4], 1, node_channels=3, rngs=RNGS)
WITHOUT = ek.nn.GraphNetwork(2, [4], 1, rngs=RNGS)
MESSAGE = ek.nn.GeometricMessage(
    {"s": ("p", 4)}, {"p": 1}, cutoff=2.0, powers=0, hidden=(2,), radial=1, p=ek.S, x=ek.O(3), rngs=RNGS
)
NET = eqx.nn.MLP(2, 1, 4, 1, key=KEY)
CLOUDS = jax.random.normal(KEY, (4, 5, 3))
POINTS = jax.random.normal(KEY, (5, 3))
SPACE: dict[str, Any] = {"p": ek.S, "x": ek.O(3), "channels": False, "how": ek.frames.PCA()}
SYM = ek.symmetrize(jnp.sin, "p x -> p x", **SPACE)
SUM = ek.symmetrize(lambda x: {"y": x["a"] + x["b"]}, {"a": "p x", "b": "p x"}, {"y": "p x"}, **SPACE)
LABELS: dict[str, Any] = {"p": ek.S(5), "x": ek.O(3)}
PAIR = {"species": np.ones((4, 2)), "positions": np.ones((4, 3, 1))}
MASK = np.ones(4)
LAYER = ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=RNGS)
RATINGS = ek.nn.Linear("u i -> u i", 1, 1, u=ek.S, i=ek.S, rngs=RNGS)
JETS, MASKS = ek.data.pad([{"h h": np.ones((n, n, 2))} for n in (2, 3)])


def network(features: Any = None, **options: Any) -> Any:
    return ek.nn.Network([{"edges": 1} if features is None else features, {"p p": 2}, {"": 1}], rngs=RNGS, **options)


def logits(output: str = "", **options: Any) -> Any:
    return ek.symmetrize(lambda x: jnp.sum(x) * jnp.ones(3), f"p x -> {output}", **(SPACE | options))(POINTS)


def fitted(**options: Any) -> Any:
    data, key = (jnp.ones((4, 2)), jnp.ones((4, 1))), KEY
    return ek.train.fit(**{"model": NET} | options, loss=squares, train=data, epochs=1, key=key)


def squares(model: Any, batch: Any) -> Any:
    return jnp.mean((model(batch[0]) - batch[1]) ** 2)


def traced(text: str) -> Any:
    params, static = eqx.partition(NET, eqx.is_array)
    assert text == "params, static = eqx.partition(net, eqx.is_array)"
    return ek.weightspace.trace(lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, jnp.ones((5, 2)))


def audited(channels: Any = 1, data: Any = None) -> None:
    if channels is False and data is not None:
        data = data[..., 0]
    assert ek.audit(SYM, "p x -> p x", data=data, channels=channels, **LABELS).passed


def of_two(text: str) -> None:
    inputs, outputs = map(ast.literal_eval, re.findall(r"{.*?}", text))
    assert ek.audit(SUM, inputs, outputs, channels=False, **LABELS).passed


CALL: dict[str, tuple[Any, str, Any]] = {
    "a-graph-without-nodes": (
        lambda: WITH_NODES(EDGES),
        'model(edges, nodes), or model({"p p": edges, "p": nodes})',
        lambda text: [
            eval(call, {"model": WITH_NODES, "edges": EDGES, "nodes": NODES}) for call in text.split(", or ")
        ],
    ),
    "a-graph-with-nodes": (
        lambda: WITHOUT(EDGES, NODES),
        "model(edges)",
        {"model": WITHOUT, "edges": EDGES},
    ),
    "positions-with-channels": (
        lambda: MESSAGE({"s": jnp.ones((2, 5, 4))}, jnp.ones((2, 5, 3, 1))),
        "positions[..., 0]",
        {"positions": jnp.ones((2, 5, 3, 1))},
    ),
    "features-as-an-array": (
        lambda: MESSAGE(jnp.ones((2, 5, 4)), jnp.ones((2, 5, 3))),
        '{"s": features}',
        lambda text: MESSAGE(eval(text, {"features": jnp.ones((2, 5, 4))}), jnp.ones((2, 5, 3))),
    ),
    "a-feature-whose-name-is-not-its-labels": (
        lambda **o: ek.data.pad([PAIR], **o),
        'terms={"positions": "p x"}',
        None,
    ),
    "classes-without-a-label": (
        logits,
        'the output "c", and bind c=ek.Fixed(3)',
        lambda text: logits("c", c=ek.Fixed(3)),
    ),
    "an-audit-without-channels": (audited, "channels=False", None),
    "an-audit-with-data-without-channels": (
        lambda **options: audited(data=np.asarray(CLOUDS)[..., None], **options),
        "channels=False",
        None,
    ),
    "an-audit-of-two-inputs-without-channels": (
        lambda: ek.audit(SUM, {"a": ("p x", 1), "b": ("p x", 1)}, {"y": ("p x", 1)}, **LABELS),
        "channels=False, with {'a': 'p x', 'b': 'p x'} and {'y': 'p x'}",
        of_two,
    ),
    "an-audit-of-data-without-channels": (
        lambda **options: ek.audit(SYM, "p x -> p x", data=CLOUDS, **LABELS, **options),
        "channels=False",
        None,
    ),
    "features-with-channels-that-arrays-do-not-have": (
        lambda **options: ek.audit(
            SUM, {"a": ("p x", 1), "b": ("p x", 1)}, {"y": "p x"}, **({"channels": False} | LABELS | options)
        ),
        "{'a': 'p x', 'b': 'p x'}",
        lambda text: ek.audit(SUM, eval(text), {"y": "p x"}, channels=False, **LABELS),
    ),
    "an-audit-of-invariants-without-channels": (
        lambda output="p": ek.audit(jnp.sin, f"p x -> {output}", channels=False, **LABELS),
        'write the output "p c", and bind c=ek.Fixed(3)',
        lambda text: ek.audit(jnp.sin, "p x -> p c", channels=False, c=ek.Fixed(3), **LABELS),
    ),
    "a-module-of-equinox-in-fit": (fitted, "model=nnx.Linear(2, 1, rngs=nnx.Rngs(0))", None),
    "a-module-of-equinox-in-trace": (
        lambda: ek.weightspace.trace(lambda net, x: jax.vmap(net)(x), NET, jnp.ones((5, 2))),
        "params, static = eqx.partition(net, eqx.is_array)",
        traced,
    ),
    "a-feature-named-edges": (
        network,
        '{"edges": ("p p", 1)}',
        lambda text: network(eval(text), p=ek.S),
    ),
    "a-group-that-is-a-base-class": (
        lambda: ek.groups.PermutationGroup([[1, 2, 0]]),
        "ek.MatrixGroup([np.eye(3)[[1, 2, 0]]])",
        {"ek": ek, "np": np},
    ),
    "a-size-for-lorentz": (lambda: ek.Lorentz(4), "ek.O(1, 4)", {"ek": ek}),
    "a-size-for-gains": (
        lambda **o: ek.diagrams.mean_square_gains(ek.hom("p -> p", p=ek.S).diagrams, **{"sizes": 3} | o),
        'sizes={"p": 5}',
        None,
    ),
    "a-mask-with-another-label": (
        lambda: WITHOUT(JETS["h h"], mask=MASKS),
        "pass mask=mask['h']",
        lambda text: np.testing.assert_allclose(
            WITHOUT(JETS["h h"], **eval(f"dict({text.removeprefix('pass ')})", {"mask": MASKS})),
            WITHOUT(JETS["h h"], mask={"p": MASKS["h"]}),
        ),
    ),
    "a-mask-with-another-label-of-two": (
        lambda: RATINGS(jnp.ones((2, 3, 4, 1)), mask=MASKS),
        "pass mask={'i': mask['h']}",
        lambda text: RATINGS(
            jnp.ones((2, 3, 4, 1)),
            **eval(f"dict({text.removeprefix('pass ')})", {"mask": {"h": np.ones((2, 4), bool)}}),
        ),
    ),
    "classes-that-are-not-bound": (
        lambda **o: ek.hom("p x -> c", p=ek.S, x=ek.O(3), **o),
        "c=ek.Fixed(3)",
        None,
    ),
    "a-translation-that-is-not-a-label": (
        lambda **o: ek.symmetrize(jnp.sin, "p x -> p x", **SPACE, **{"translate": True} | o),
        'translate="x"',
        None,
    ),
    "a-mask-of-numpy": (
        lambda: LAYER(jnp.ones((4, 1)), mask=MASK),
        "np.asarray(mask, dtype=bool)",
        lambda text: LAYER(jnp.ones((4, 1)), mask=eval(text, {"np": np, "mask": MASK})),
    ),
    "a-mask-for-the-whole-batch": (
        lambda: LAYER(jnp.ones((2, 4, 1)), mask=np.ones(4, bool)),
        "np.broadcast_to",
        lambda text: LAYER(jnp.ones((2, 4, 1)), mask=eval(text, {"np": np})(np.ones(4, bool), (2, 4))),
    ),
}
