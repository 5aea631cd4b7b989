"""Layers on eight virtual devices against one: as a script, it prints for every check the largest error, or why not.

`python eight_devices.py FOLDER` also leaves a checkpoint there, saved with parameters spread over the devices;
`python eight_devices.py` does the checks that are slow.
"""

import functools
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import equikit as ek
from equikit.nn import Linear
from equikit.plans import apply, weight_shapes

LAYERS: dict[str, tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = {
    "pp": (("p p -> p p", 8, 16), {"p": ek.S}, (8, 8, 8, 8)),
    "px": (("p x -> p x", 8, 16), {"p": ek.S, "x": ek.O(3)}, (8, 8, 3, 8)),
}
SPREAD = {  # what each axis of the input, and of the kernel [diagrams, features in, features out], is spread over
    "batch": (P("d"), P()),
    "batch, stored weights": (P("d"), P(None, "d")),
    "first axis": (P(None, "d"), P()),
    "second axis": (P(None, None, "d"), P()),
    "channels": (P(None, None, None, "d"), P(None, "d")),
    "channels out": (P(), P(None, None, "d")),
}
CASES = [(name, how) for name in LAYERS for how in SPREAD if (name, how) != ("px", "second axis")]  # 3 entries there
EXPECTED = {  # of the output on a mesh with explicit axes, by the rule of `equikit.plans.apply`
    "batch": P("d", None, None, None),
    "batch, stored weights": P("d", None, None, None),
    "first axis": P(None, "d", None, None),
    "second axis": P(None, None, "d", None),
    "channels": P(None, None, None, None),
    "channels out": P(None, None, None, "d"),
}
TYPES = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
OTHERS = [
    "two axes of a mesh",
    "out_sharding explicit",
    "out_sharding auto",
    "out_sharding mixed mesh",
    "out_sharding by NamedSharding",
    "out_sharding of several outputs",
    "no mesh set",
    "mask",
    "symplectic",
    "plain axis",
    "transforms",
    "shard_map",
    "multilinear",
    "law",
    "law of a point group",
    "law, axes of the strain",
    "messages",
    "attention, points",
    "attention, batch",
    "attention, channels",
    "attention, blocks",
    "products",
    "gates",
    "calls of a program that is not divided",
    "construction explicit",
    "construction auto",
]
SLOW = ["symplectic", "plain axis", "transforms", "multilinear", "law", "law of a point group"]
SLOW += ["attention, batch", "attention, channels", "attention, blocks"]
NAMES = [f"{layer}, {how}, {kind}" for layer, how in CASES for kind in TYPES] + [n for n in OTHERS if n not in SLOW]


def mesh_of(kind: str, sizes: tuple[int, ...] = (8,), names: tuple[str, ...] = ("d",)) -> jax.sharding.Mesh:
    return jax.make_mesh(sizes, names, axis_types=(TYPES[kind],) * len(sizes))


def error(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest entry of its array."""
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max()) for a, b in pairs)


def step(layer: Linear, **options: Any) -> Callable[..., Any]:
    """Parameters and input to output and gradients of a loss with a nonlinearity."""
    graphdef, _ = nnx.split(layer)

    def run(state: Any, x: Any) -> Any:
        def loss(state: Any, x: Any) -> Any:
            y = nnx.merge(graphdef, state)(x, **options)
            return sum(jnp.sum(jnp.tanh(leaf)) for leaf in jax.tree.leaves(y)), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(state, x)

    return run


@functools.cache
def single(name: str) -> tuple[Linear, Any, jax.Array, Any]:
    """A layer, its parameters, an input, and what comes out on one device."""
    arguments, bindings, shape = LAYERS[name]
    layer = Linear(*arguments, **bindings, rngs=nnx.Rngs(0), param_dtype=jnp.float64, bias_init=nnx.initializers.ones)
    x = jax.random.normal(jax.random.key(1), shape)
    state = nnx.state(layer)
    return layer, state, x, jax.jit(step(layer))(state, x)


def put(mesh: jax.sharding.Mesh, tree: Any, spec: P) -> Any:
    """Arrays on a mesh; axes that an array does not have, or that do not divide, are left out of the spec."""

    def one(array: Any) -> Any:
        fits = [e if e is None or array.shape[i] % 8 == 0 else None for i, e in enumerate(tuple(spec)[: array.ndim])]
        return jax.device_put(array, NamedSharding(mesh, P(*fits)))

    return jax.tree.map(one, tree)


def put_kernel(mesh: jax.sharding.Mesh, state: Any, spec: P) -> Any:
    """Parameters on a mesh: the kernel by a spec, the bias on every device."""
    return jax.tree.map(lambda array: put(mesh, array, spec if array.ndim == 3 else P()), state)


def spread(name: str, how: str, kind: str) -> float:
    layer, state, x, expected = single(name)
    mesh = mesh_of(kind)
    of_input, of_kernel = SPREAD[how]
    state = put_kernel(mesh, state, of_kernel)
    with jax.set_mesh(mesh):
        found = jax.jit(step(layer))(state, put(mesh, x, of_input))
    if kind == "explicit":
        (_, y), (of_state, of_x) = found
        assert jax.typeof(y).sharding.spec == EXPECTED[how], jax.typeof(y)
        assert jax.typeof(of_x).sharding.spec == P(*of_input, *[None] * (4 - len(of_input))), jax.typeof(of_x)
        for one, other in zip(jax.tree.leaves(of_state), jax.tree.leaves(state), strict=True):
            assert jax.typeof(one).sharding == jax.typeof(other).sharding
    return error(found, expected)


def two_axes() -> float:
    layer, state, x, expected = single("pp")
    mesh = mesh_of("explicit", (2, 4), ("data", "model"))
    state = put_kernel(mesh, state, P(None, None, "model"))
    with jax.set_mesh(mesh):
        found = jax.jit(step(layer))(state, put(mesh, x, P("data")))
        assert jax.typeof(found[0][1]).sharding.spec == P("data", None, None, "model")
    return error(found, expected)


def wanted(kind: str) -> float:
    layer, state, x, expected = single("pp")
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        found = jax.jit(step(layer, out_sharding=P(None, "d")))(put(mesh, state, P()), put(mesh, x, P("d")))
    assert found[0][1].addressable_shards[0].data.shape == (8, 1, 8, 16)
    return error(found, expected)


def mixed_mesh() -> float:
    layer, state, x, expected = single("pp")
    mesh = jax.make_mesh((2, 4), ("e", "a"), axis_types=(AxisType.Explicit, AxisType.Auto))
    with jax.set_mesh(mesh):
        run = jax.jit(step(layer, out_sharding=P("e", "a")))
        found = run(put(mesh, state, P()), put(mesh, x, P("e")))
        assert jax.typeof(found[0][1]).sharding.spec == P("e", None, None, None)
    assert found[0][1].addressable_shards[0].data.shape == (4, 2, 8, 16)
    return error(found, expected)


def named() -> float:
    """No mesh in the context: the sharding brings its own."""
    layer, state, x, expected = single("px")
    worst = 0.0
    for kind in TYPES:
        mesh = mesh_of(kind)
        run = jax.jit(step(layer, out_sharding=NamedSharding(mesh, P("d"))))
        found = run(put(mesh, state, P()), put(mesh, x, P(None, "d")))
        assert found[0][1].addressable_shards[0].data.shape[0] == 1
        worst = max(worst, error(found, expected))
    return worst


def several() -> float:
    terms = {"edges": ("p p", 8), "nodes": ("p", 4)}
    layer = Linear(terms, terms, p=ek.S, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    keys = jax.random.split(jax.random.key(0))
    x = {"edges": jax.random.normal(keys[0], (8, 8, 8, 8)), "nodes": jax.random.normal(keys[1], (8, 8, 4))}
    state, mesh = nnx.state(layer), mesh_of("explicit")
    expected = jax.jit(step(layer))(state, x)
    with jax.set_mesh(mesh):
        run = jax.jit(step(layer, out_sharding={"nodes": P(None, "d")}))
        found = run(put(mesh, state, P()), put(mesh, x, P("d")))
    assert jax.typeof(found[0][1]["nodes"]).sharding.spec == P(None, "d", None)
    assert jax.typeof(found[0][1]["edges"]).sharding.spec == P("d", None, None, None)
    return error(found, expected)


def unset() -> float:
    """Explicit axes that only the types of the arrays know of, with and without jit."""
    layer, _, x, expected = single("px")
    mesh = mesh_of("explicit")
    x = put(mesh, x, P(None, "d"))
    found = [layer(x), jax.jit(lambda x: layer(x))(x), layer(x, out_sharding=P("d"))]
    assert [jax.typeof(y).sharding.spec[:2] for y in found] == [(None, "d"), (None, "d"), ("d", None)]
    return max(error(y, expected[0][1]) for y in found)


def masked() -> float:
    layer, state, x, _ = single("pp")
    mask = np.asarray(jax.random.bernoulli(jax.random.key(2), 0.6, (8, 8)))
    expected = jax.jit(step(layer, mask={"p": mask}))(state, x)
    mesh, worst = mesh_of("explicit"), 0.0
    with jax.set_mesh(mesh):
        for spec, given in ((P("d"), mask), (P(None, "d"), put(mesh, mask, P("d")))):
            found = jax.jit(lambda s, x, m: step(layer, mask={"p": m})(s, x))(
                put(mesh, state, P()), put(mesh, x, spec), given
            )
            worst = max(worst, error(found, expected))
    return worst


def of_plan(space: ek.HomSpace, shape: tuple[int, ...], spec: P, out: P) -> float:
    """Output and gradient of a plan with an axis spread, on explicit axes."""
    plan = space.plan((shape[-1], 8), bias=True)
    keys = jax.random.split(jax.random.key(0), 3)
    weights = {name: jax.random.normal(keys[0], shape) for name, shape in weight_shapes(plan).items()}
    x = jax.random.normal(keys[1], shape)

    @jax.jit
    def run(weights: Any, x: Any) -> Any:
        return jax.vjp(lambda w, x: apply(plan, x, w), weights, x)[1](jnp.cos(apply(plan, x, weights))), apply(
            plan, x, weights
        )

    expected, mesh = run(weights, x), mesh_of("explicit")
    with jax.set_mesh(mesh):
        found = run(put(mesh, weights, P()), put(mesh, x, spec))
    assert jax.typeof(found[1]).sharding.spec == out, jax.typeof(found[1])
    return error(found, expected)


def transforms() -> float:
    """Forward mode, second derivatives, batching, scan and remat, with a tensor axis spread."""
    layer = Linear("p -> p", 2, 2, p=ek.S, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    pair_layer = Linear("p p -> p p", 2, 2, p=ek.S, rngs=nnx.Rngs(1), param_dtype=jnp.float64)
    mesh, x = mesh_of("explicit"), jax.random.normal(jax.random.key(0), (8, 2))

    def energy(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.tanh(layer(x)) ** 2)

    functions: list[Callable[[jax.Array], Any]] = [
        lambda x: jax.jvp(layer, (x,), (jnp.cos(x),)),
        jax.hessian(energy),
        lambda x: jax.vmap(layer)(jnp.stack([x, 2 * x])),
        lambda x: jax.lax.scan(lambda c, _: (layer(c), None), x, None, length=3)[0],
        jax.grad(jax.checkpoint(energy)),
    ]
    expected = [function(x) for function in functions]
    with jax.set_mesh(mesh):
        found = [jax.jit(function)(put(mesh, x, P("d"))) for function in functions]
        rows = put(mesh, jax.random.normal(jax.random.key(1), (8, 8, 2)), P("d"))
        mapped = jax.jit(jax.vmap(layer))(rows)
        pairs = put(mesh, jax.random.normal(jax.random.key(2), (8, 4, 4, 2)), P("d"))
        flattened = jax.jit(jax.vmap(pair_layer))(pairs)  # inside, nothing says that the axis beside is spread
    assert jax.typeof(mapped).sharding.spec == P("d", None, None)
    assert jax.typeof(flattened).sharding.spec == P("d", None, None, None)
    apart = error(flattened, pair_layer(np.asarray(pairs)))
    return max(error(found, expected), error(mapped, layer(np.asarray(rows))), apart)


def by_shard_map() -> float:
    layer, state, x, expected = single("pp")
    mesh = mesh_of("explicit")
    graphdef, _ = nnx.split(layer)

    def local(state: Any, x: jax.Array) -> Any:
        def loss(state: Any) -> jax.Array:
            return jax.lax.psum(jnp.sum(jnp.tanh(nnx.merge(graphdef, state)(x))), "d")

        return jax.value_and_grad(loss)(state)

    run = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P("d")), out_specs=(P(), P())))
    found = run(put(mesh, state, P()), put(mesh, x, P("d")))
    return error(found, (expected[0][0], expected[1][0]))


def multilinear() -> float:
    layer = ek.nn.Multilinear("x, x x -> x", (8, 8), 8, x=ek.O(3), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (8, 3, 8)), jax.random.normal(keys[1], (8, 3, 3, 8))
    run = jax.jit(jax.grad(lambda x: jnp.sum(jnp.tanh(layer(*x)))))
    expected, mesh, worst = run(x), mesh_of("explicit"), 0.0
    with jax.set_mesh(mesh):
        for specs in ((P("d"), P("d")), (P(None, None, "d"), P(None, None, None, "d"))):
            found = run(tuple(put(mesh, one, spec) for one, spec in zip(x, specs, strict=True)))
            worst = max(worst, error(found, expected))
    return worst


def of_layer(layer: Any, x: tuple[Any, ...], *specs: tuple[Any, ...], **options: Any) -> float:
    """Output and gradient of a layer with its inputs spread in one or more ways, on explicit axes."""
    graphdef, state = nnx.split(layer)

    @jax.jit
    def run(state: Any, x: Any) -> Any:
        y, pull = jax.vjp(lambda state, x: nnx.merge(graphdef, state)(*x, **options), state, x)
        return y, pull(jax.tree.map(jnp.cos, y))

    expected, mesh = run(state, x), mesh_of("explicit")
    with jax.set_mesh(mesh):
        everywhere = put(mesh, state, P())
        spread = [jax.tree.map(lambda array, spec: put(mesh, array, spec), x, each) for each in specs]
        return max(error(run(everywhere, each), expected) for each in spread)


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(len(shape)), shape)


def law(group: Any, n: int) -> float:
    made = ek.nn.ConstitutiveLaw(group, degree=1, invariants=2, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    return of_layer(made, (0.1 * normal(8, n, n),), (P("d"),))


def refused_law() -> float:
    """The axes of a strain are not spread."""
    made = ek.nn.ConstitutiveLaw(ek.O(8), degree=0, invariants=1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    with pytest.raises(ek.OptionError, match=r"jax\.reshard"):
        made(put(mesh_of("explicit"), normal(2, 8, 8), P(None, "d")))
    return 0.0


def messages() -> float:
    layer = ek.nn.GeometricMessage(
        {"p": 8}, {"p": 8, "p x": 4}, cutoff=4.0, powers=1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0), param_dtype=jnp.float64
    )
    inputs = {"p": normal(2, 8, 8)}, normal(2, 8, 3)
    specs = [({"p": P(None, "d")}, P(None, "d")), ({"p": P(None, None, "d")}, P())]
    edges = ek.data.neighbors(inputs[1][0], 4.0, cell=4.0 * np.eye(3))  # shared by the batch
    along = of_layer(layer, inputs, ({"p": P(None, "d")}, P(None, "d")), edges=edges)
    return max(along, of_layer(layer, inputs, *specs))


def attention(spread_over: str, block_size: int | None = None) -> float:
    inputs = ({"p": normal(8, 8, 8), "p x": normal(8, 8, 3, 8)},)
    axis = {"batch": 0, "points": 1}.get(spread_over)
    specs = {name: P(*[None] * (array.ndim - 1 if axis is None else axis), "d") for name, array in inputs[0].items()}
    layer = ek.nn.Attention(
        {"p": 8, "p x": 8}, heads=2, products=2, block_size=block_size, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0),
        param_dtype=jnp.float64,
    )  # fmt: skip
    return of_layer(layer, inputs, (specs,))


def products() -> float:
    layer = ek.nn.Bilinear({"x": 4}, 8, {"": 2, "x x": 8}, x=ek.O(8), rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    return of_layer(layer, ({"x": normal(8, 8, 4)},), ({"x": P(None, "d")},))


def gates() -> float:
    """The channels of the gates are spread over the devices that an axis of the feature is."""
    layer = ek.nn.Gated({"x": 8}, x=ek.O(8))
    inputs = {"x": normal(2, 8, 8), "gate of x": normal(2, 8)}
    return of_layer(layer, (inputs,), ({"x": P(None, "d"), "gate of x": P(None, "d")},))


def calls() -> float:
    """Calls are not inlined unless a mesh is set or in a type, however many devices there are."""
    plan, mesh = ek.hom("p p -> p p", p=ek.S).plan((8, 8)), mesh_of("auto")
    weights = {name: normal(*shape) for name, shape in weight_shapes(plan).items()}
    run, x = jax.jit(lambda weights, x: apply(plan, x, weights, method="factored")), normal(8, 32, 32, 8)
    texts = [run.lower(weights, array).as_text() for array in (x, put(mesh, x, P("d")))]
    with jax.set_mesh(mesh):
        texts.append(run.lower(weights, x).as_text())
    assert ["inlineable" in text for text in texts] == [True, False, False]
    return 0.0


def constructed(kind: str) -> float:
    """Parameters made under a mesh, without compilation and by a compiled constructor that spreads the kernel."""

    def make() -> Any:
        layer = Linear("p p -> p p", 8, 16, p=ek.S, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        return nnx.to_pure_dict(nnx.state(layer))

    def spread_out() -> Any:
        state, spec = make(), P(None, None, "d")
        move = jax.reshard if kind == "explicit" else jax.lax.with_sharding_constraint
        return state | {"kernel": {name: move(kernel, spec) for name, kernel in state["kernel"].items()}}

    expected = make()
    with jax.set_mesh(mesh_of(kind)):
        found, spread = make(), jax.jit(spread_out)()
    assert all(array.sharding.num_devices == 8 for array in jax.tree.leaves((found, spread)))
    assert {array.sharding.spec for array in spread["kernel"].values()} == {P(None, None, "d")}
    assert not any(jnp.any(bias) for made in (found, spread) for bias in made["bias"].values())
    return max(error(made["kernel"], expected["kernel"]) for made in (found, spread))


def checks() -> Iterator[tuple[str, Callable[[], float]]]:
    for layer, how in CASES:
        for kind in TYPES:
            yield f"{layer}, {how}, {kind}", functools.partial(spread, layer, how, kind)
    symplectic = functools.partial(
        of_plan, ek.hom("x x -> x x", x=ek.Sp(8)), (2, 8, 8, 4), P(None, "d"), P(None, "d", None, None)
    )
    plain = functools.partial(
        of_plan, ek.hom("f p -> p f", f=ek.Fixed(8), p=ek.S), (2, 8, 5, 4), P(None, "d"), P(None, None, "d", None)
    )
    others = [two_axes, lambda: wanted("explicit"), lambda: wanted("auto"), mixed_mesh, named, several, unset, masked]
    others += [symplectic, plain, transforms, by_shard_map, multilinear]
    others += [lambda: law(ek.O(3), 3), lambda: law(ek.MatrixGroup([[[0, -1], [1, 0]]]), 2)]
    others += [refused_law, messages, *(functools.partial(attention, how) for how in ("points", "batch", "channels"))]
    others += [functools.partial(attention, "points", 4), products, gates, calls]
    others += [lambda: constructed("explicit"), lambda: constructed("auto")]
    yield from zip(OTHERS, others, strict=True)


def save(folder: Path) -> None:
    """A checkpoint of a layer whose kernel is spread over eight devices, and what the layer gives."""
    import orbax.checkpoint as ocp

    _, state, x, expected = single("pp")
    mesh = mesh_of("auto")
    state = put_kernel(mesh, state, P(None, None, "d"))
    assert {a.sharding.num_devices for a in jax.tree.leaves(state)} == {8}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", nnx.to_pure_dict(state))
    np.savez(folder / "expected.npz", x=x, y=expected[0][1])


def main(folder: Path | None) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)  # much is compiled, little is run
    assert jax.device_count() == 8
    found: dict[str, float | str] = {}
    for name, check in checks():
        if (name in SLOW) != (folder is None):
            continue
        try:
            found[name] = check()
        except Exception:
            found[name] = traceback.format_exc()
    if folder is not None:
        save(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
