"""A graph network trained by several processes: arguments are number, how many processes, port."""

import json
import sys

import jax
from flax import nnx

from equikit.demo import TARGETS, atlas, split, train
from equikit.nn import GraphNetwork

EPOCHS, SEED = 2, 3


def losses(devices: list[jax.Device] | None) -> list[list[float]]:
    """The losses of a short training with parameters in float64, in each epoch: training, validation."""
    network = GraphNetwork(1, [8], len(TARGETS), rngs=nnx.Rngs(SEED), normalize="sum", init_size=7)
    graphdef, state = nnx.split(network)
    model = nnx.merge(graphdef, jax.tree.map(lambda array: array.astype("float64"), state))
    trained = train(model, split(atlas(), SEED), epochs=EPOCHS, rate=3e-3, seed=SEED, devices=devices)
    assert all(leaf.is_fully_addressable for leaf in jax.tree.leaves(nnx.state(trained.model)))
    return trained.losses.tolist()


if __name__ == "__main__":
    number, count, port = map(int, sys.argv[1:])
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", count, number)
    print(json.dumps({"devices": [jax.device_count(), jax.local_device_count()], "losses": losses(jax.devices())}))
