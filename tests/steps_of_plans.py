"""Next steps of plans and their weights, in the form of `CALL` in `test_steps_as_code.py`."""

import jax
import jax.numpy as jnp
from names_of_steps import NAMES

import equikit as ek
from equikit import plans

PLAN = ek.hom("p -> p", p=ek.S).plan()
LAYOUT = plans.lay_out(PLAN, {"p -> p": jnp.ones((2, 1, 1))})
PRODUCT = ek.hom("x, x -> x", x=ek.SO(3))


def two_outputs(**options):
    space = ek.hom({"a": "p"}, {"b": "p", "c": "p"}, p=ek.S)
    plan = space.plan()
    weights = {name: jnp.ones(shape) for name, shape in plans.weight_shapes(plan).items()}
    return plans.apply(plan, jnp.ones((4, 1)), weights, **options)


CALL = {
    "layout-of-another-plan": (
        lambda: plans.apply(ek.hom("p -> p", p=ek.S).plan((2, 1)), jnp.ones((4, 2)), LAYOUT),
        "lay_out(plan, weights)",
        {"lay_out": plans.lay_out, "plan": PLAN, "weights": {"p -> p": jnp.ones((2, 1, 1))}},
    ),
    "layout-that-was-changed": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), jax.tree.map(lambda a: a[..., :0], LAYOUT)),
        "lay_out(plan, weights)",
        {"lay_out": plans.lay_out, "plan": PLAN, "weights": {"p -> p": jnp.ones((2, 1, 1))}},
    ),
    "layout-method": (
        lambda **o: plans.apply(PLAN, jnp.ones((4, 1)), LAYOUT, **{"method": "dense"} | o),
        'method="factored"',
        None,
    ),
    "a-spread": (
        lambda **o: two_outputs(**{"out_sharding": jax.P()} | o),
        "out_sharding={'b': ...}",
        lambda text: two_outputs(out_sharding=eval(text.removeprefix("out_sharding=").replace("...", "None"))),
    ),
    "no-mesh": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {"p -> p": jnp.ones((2, 1, 1))}, out_sharding=jax.P("data")),
        'jax.set_mesh(jax.make_mesh((jax.device_count(),), ("data",)))',
        lambda text: eval(text, NAMES).__exit__(None, None, None),
    ),
    "no-sharding": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {"p -> p": jnp.ones((2, 1, 1))}, out_sharding="data"),
        'jax.P("data")',
        {},
    ),
    "weights-by-other-names": (
        lambda: plans.apply(PLAN, jnp.ones((4, 1)), {}),
        "weight_shapes(plan)",
        {"weight_shapes": plans.weight_shapes, "plan": PLAN},
    ),
    "weights-of-products": (
        lambda: plans.apply_multilinear(PRODUCT, (jnp.ones((3, 1)),) * 2, jnp.ones((2, 1, 1, 1))),
        "multilinear_weight_shape(space, channels, out_channels)",
        {
            "multilinear_weight_shape": plans.multilinear_weight_shape,
            "space": PRODUCT,
            "channels": (1, 1),
            "out_channels": 1,
        },
    ),
}
