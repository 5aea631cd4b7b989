"""Next steps of weight spaces that are code, in the form of `CALL` in `test_steps_as_code.py`."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from names_of_steps import GRAPH, INPUT, KEY, NAMES, PARAMS, RNGS, SPEC, apply, loss

import equikit as ek
from equikit import weightspace


def aligned(how="activations", **options):
    return weightspace.align(SPEC, PARAMS, PARAMS, how=how, **options)


def nothing_permuted(how="activations"):
    def inside(params, x):
        return jax.lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, apply(params, x)), (0, x[:, :2]))[1]

    spec = weightspace.trace(inside, PARAMS, INPUT)
    return weightspace.align(spec, PARAMS, PARAMS, how=how, apply=inside, x=INPUT)


def line(**options):
    return weightspace.plot_lines({}, **options)


def updated(**options):
    spec = weightspace.trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], PARAMS, INPUT)
    tx = weightspace.teleport(spec, optax.sgd(0.1), every=1)
    return tx.update(PARAMS, tx.init(PARAMS), PARAMS, **options)


def trained(optimizer):
    problem = weightspace.Problem(lambda key: PARAMS, loss)
    return weightspace.train(optimizer, problem, 1, key=KEY)


def shaken(model):
    x = jnp.ones((2, 3))
    experts = weightspace.InterpolatedExperts(
        lambda rngs: nnx.BatchNorm(3, rngs=rngs), 2, nnx.Linear(3, 2, rngs=RNGS), rngs=RNGS
    )
    if model is not None:
        experts.eval()
    return experts(x)


def batched(**options):
    matrix = jnp.eye(4) + 0.5 * jnp.ones((4, 4))
    return weightspace.batch_action(
        PARAMS["a"], PARAMS["b"], jax.random.normal(KEY, (50, 3)), matrix, **{"activation": jnp.tanh} | options
    )


def gated(gate=None):
    gate = nnx.Linear(3, 5, rngs=RNGS) if gate is None else gate
    return weightspace.MixtureOfExperts(lambda rngs: nnx.Linear(3, 2, rngs=rngs), 2, gate, rngs=RNGS)(INPUT)


def squares(params, x):
    return jnp.mean(apply(params, x) ** 2)


def broken(params, key):
    return loss(params) + jnp.nan


def evaluated(model, text):
    eval(text, {"model": model})
    return model


def traced(module):
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    return weightspace.trace(lambda params, x: nnx.merge(graph, params, rest)(x), params, INPUT)


LEARNED = weightspace.LearnedOptimizer(SPEC, rngs=RNGS)
RELU, LINEAR = (
    weightspace.trace(lambda p, x, f=f: f(x @ p["a"]) @ p["b"], PARAMS, INPUT) for f in (jax.nn.relu, lambda y: y)
)


CALL = {
    "weight-space-data": (lambda: aligned(), 'align(spec, a, b, how="activations", apply=apply, x=x)', {}),
    "weight-space-activations": (nothing_permuted, 'how="weights"', None),
    "other-inputs": (
        lambda: weightspace.Functional(SPEC, [1, 1], rngs=RNGS)({"a": jnp.ones((5, 4)), "b": jnp.ones((4, 2))}),
        'UNF(spec, channels, out, encoding="sinusoids", rngs=rngs)',
        lambda text: eval(text, {"UNF": weightspace.UNF, "spec": SPEC, "channels": [1, 1], "out": "", "rngs": RNGS})(
            {"a": jnp.ones((5, 4)), "b": jnp.ones((4, 2))}
        ),
    ),
    "lines": (line, '{"straight": barrier(loss, a, b)}', {}),
    "places-on-a-line": (
        lambda: weightspace.interpolate(PARAMS, PARAMS, jnp.ones(3)),
        "jax.vmap(lambda t: interpolate(params_a, params_b, t))(places)",
        {"places": jnp.ones(3)},
    ),
    "experts-with-a-state": (lambda: shaken(None), "model.eval()", shaken),
    "an-action-that-is-not-exact": (batched, "allow_inexact=True", None),
    "a-fixed-size": (
        lambda: (SPEC.linear_actions and None) or weightspace.Specification(SPEC.leaves, ()),
        "S(n) or Fixed(n)",
        lambda text: [eval(each, {**vars(ek), "n": 3}) for each in text.split(" or ")],
    ),
    "many-networks": (
        lambda: weightspace.align(SPEC, jax.tree.map(lambda a: a[None], PARAMS), PARAMS),
        "jax.tree.map(lambda leaf: leaf[0], params)",
        {},
    ),
    "unstacked-networks": (
        lambda: weightspace.UNF(SPEC, [1, 1], rngs=RNGS)({"a": jnp.ones((2, 3, 4)), "b": jnp.ones((3, 4, 2))}),
        "jax.tree.map(lambda *a: jnp.stack(a), *trees)",
        {},
    ),
    "unstacked-channels": (
        lambda: weightspace.UNF(SPEC, [2, 1], rngs=RNGS)(PARAMS),
        "jax.tree.map(lambda *a: jnp.stack(a, -1), weights, gradients)",
        {"weights": PARAMS, "gradients": PARAMS},
    ),
    "a-path-of-other-lengths": (
        lambda: weightspace.transfer(
            SPEC, {"a": jnp.ones((2, 3, 4)), "b": jnp.ones((3, 4, 2))}, PARAMS, loss=loss, batches=[INPUT]
        ),
        "jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)",
        {},
    ),
    "a-mean-of-integers": (
        lambda: weightspace.mean([{"a": jnp.ones(3, int)}] * 2),
        "merge(spec, trees)",
        {},
    ),
    "networks-one-by-one": (
        lambda: weightspace.merge(SPEC, PARAMS, PARAMS),
        "merge(spec, [params_a, params_b])",
        {},
    ),
    "integers-as-parameters": (
        lambda: weightspace.fixed_weights({"a": jnp.ones((2, 2), complex)}, 1, key=KEY),
        "trace again",
        lambda text: SPEC,
    ),
    "keys-as-parameters": (
        lambda: weightspace.trace(apply, {"key": KEY}, INPUT),
        "nnx.split(model, nnx.Param, ...)",
        {"model": nnx.Linear(2, 2, rngs=RNGS)},
    ),
    "an-element-that-is-none": (
        lambda: SPEC.act({"h0": jnp.ones(3)}, PARAMS),
        "spec.random_element(key=jax.random.key(0))",
        {},
    ),
    "a-traced-key": (
        lambda: jax.jit(lambda key: SPEC.random_element(key=key))(KEY),
        "spec.augment(params, key=key)",
        {},
    ),
    "probes-of-another-graph": (
        lambda **o: weightspace.MessagePassing(GRAPH, [1, 2, 1], rngs=RNGS, **{"probes": 3} | o),
        "probes=Probes(graph, apply, x)",
        None,
    ),
    "fixed-weights-of-a-network": (
        lambda **o: weightspace.AsymmetricMLP([4, 3, 2], key=KEY, rngs=RNGS, **o),
        "fixed=16",
        lambda text: weightspace.AsymmetricMLP([40, 30, 20], key=KEY, rngs=RNGS, fixed=16),
    ),
    "scales-of-a-network": (
        lambda scale=(1.0,): weightspace.AsymmetricMLP([4, 3, 2], fixed=1, scale=scale, key=KEY, rngs=RNGS),
        "scale=1.0",
        None,
    ),
    "heads": (
        lambda: weightspace.RelationalTransformer(GRAPH, [1, 3, 1], heads=2, rngs=RNGS),
        "heads=4 and channels=[1, 16, 16, 1]",
        lambda text: weightspace.RelationalTransformer(
            GRAPH, rngs=RNGS, **eval(f"dict({text.replace(' and ', ', ')})")
        ),
    ),
    "no-optimizer": (lambda **o: trained(**{"optimizer": 3} | o), "optimizer=optax.adam(1e-3)", None),
    "an-optimizer-that-is-learned": (
        lambda: trained(weightspace.LearnedOptimizer(SPEC, rngs=RNGS)),
        "optimizer.transformation()",
        {"optimizer": weightspace.LearnedOptimizer(SPEC, rngs=RNGS)},
    ),
    "a-head-of-other-channels": (
        lambda head=(3,): weightspace.LearnedOptimizer(SPEC, head=head, rngs=RNGS),
        "head=[16, 2]",
        None,
    ),
    "an-update-without-a-loss": (updated, "value_fn=loss", None),
    "a-loss-without-its-batch": (
        lambda **o: updated(value_fn=lambda p, batch: loss(p), **o),
        "batch=batch",
        None,
    ),
    "a-model-that-fails": (
        lambda: weightspace.trace(lambda p, x: x @ p["a"].T, PARAMS, INPUT[:, :2]),
        "apply(params, x)",
        {},
    ),
    "integers-among-weights": (
        lambda: weightspace.UNF(SPEC, [1, 1], rngs=RNGS)(PARAMS | {"a": jnp.ones((3, 4), int)}),
        "apply(params, x)",
        {},
    ),
    "training-that-diverges": (
        lambda **o: aligned(
            "straight_through", loss=squares, batches=[INPUT], steps=2, **{"optimizer": optax.sgd(jnp.nan)} | o
        ),
        "optimizer=optax.sgd(1e-3, momentum=0.9)",
        None,
    ),
    "a-matrix-that-is-singular": (
        lambda: LINEAR.transform(LINEAR.linear_actions[0], np.zeros((4, 4)), PARAMS),
        "np.eye(4)",
        {},
    ),
    "losses-that-are-not-finite": (
        lambda: weightspace.evolve(
            LEARNED, weightspace.Problem(lambda key: PARAMS, broken), key=KEY, steps=1, meta_steps=1
        ),
        "problem.loss(problem.init(key), key)",
        {"problem": weightspace.Problem(lambda key: PARAMS, broken)},
    ),
    "a-truncation-that-leaves-a-rest": (
        lambda truncation=2: weightspace.evolve(
            LEARNED,
            weightspace.Problem(lambda key: PARAMS, lambda params, key: jnp.sum(jnp.square(params["a"]))),
            key=KEY,
            **{"steps": 3, "truncation": truncation, "meta_steps": 1, "pairs": 1, "checks": 1},
        ),
        "truncation=1",
        None,
    ),
    "more-weights-than-inputs": (
        lambda fixed=9: weightspace.AsymmetricMLP([4, 20, 20, 2], key=KEY, rngs=RNGS, fixed=fixed),
        "fixed=[0, 16, 16]",
        None,
    ),
    "data-that-are-not-finite": (
        lambda how="activations": aligned(how, apply=apply, x=jnp.full((5, 3), jnp.nan)),
        "how='weights'",
        None,
    ),
    "a-traced-batch-normalization": (
        lambda: traced(nnx.BatchNorm(3, rngs=nnx.Rngs(0))),
        "model.eval()",
        lambda text: traced(evaluated(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), text)),
    ),
    "a-traced-dropout": (
        lambda deterministic=False: weightspace.trace(
            lambda p, x: linen.Dropout(0.5, deterministic=deterministic).apply({}, apply(p, x)), PARAMS, INPUT
        ),
        "deterministic=True",
        None,
    ),
    "a-graph-of-many-networks": (
        lambda: GRAPH.to_networkx(jax.tree.map(lambda a: jnp.stack([a, a]), PARAMS)),
        "jax.tree.map(lambda a: a[0], params)",
        {},
    ),
    "a-factory-of-numbers": (
        lambda: weightspace.Ensemble(lambda rngs: 3, 2, rngs=RNGS),
        "nnx.Linear(4, 3, rngs=rngs)",
        {},
    ),
    "gate": (
        gated,
        "gate=nnx.Linear(features, 2, rngs=rngs)",
        lambda text: gated(**eval(f"dict({text})", NAMES | {"features": 3})),
    ),
    "scales-of-integers": (
        lambda: RELU.rescale(RELU.scalings[0], np.ones(4), PARAMS | {"a": jnp.ones((3, 4), int)}),
        "spec = trace(apply, params, x)",
        lambda text: exec(text, dict(NAMES)),
    ),
    "nothing-to-teleport": (
        lambda: weightspace.teleport(SPEC, optax.sgd(0.1), every=1).update(PARAMS, None, PARAMS, value_fn=loss),
        "print(spec.scalings, spec.linear_actions)",
        lambda text: exec(text, dict(NAMES)),
    ),
}
