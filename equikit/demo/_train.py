"""Training: one compiled step for each epoch; the best parameters on the validation graphs are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from equikit import _checks
from equikit._errors import OptionError
from equikit.demo._data import Graphs, Split

Arrays = tuple[jax.Array, jax.Array, jax.Array]
_spec: Callable[..., PartitionSpec] = PartitionSpec  # JAX gives these two no types
_constrained: Callable[..., Any] = jax.lax.with_sharding_constraint


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model, with the best parameters on the validation graphs.

    Attributes:
        model: takes `[graphs, n, n, 1]` and `mask=`, returns standardized targets.
        mean, std: of the targets of the training graphs.
        losses: mean absolute error of standardized targets in each epoch: training, validation. Not squared, because
            the few graphs with one or two nodes would dominate.
        best: the epoch whose parameters were kept.
    """

    model: Any
    mean: Float[np.ndarray, " targets"]
    std: Float[np.ndarray, " targets"]
    losses: Float[np.ndarray, "epochs 2"]
    best: int

    def predict(self, graphs: Graphs) -> Float[np.ndarray, "graphs targets"]:
        """Predict the targets of graphs, in their own units."""
        scaled = _forward(*nnx.split(self.model), jnp.asarray(graphs.adjacency), jnp.asarray(graphs.mask))
        result: np.ndarray = np.asarray(scaled) * self.std + self.mean
        return result


@jax.jit(static_argnums=0)
def _forward(graphdef: Any, state: Any, adjacency: jax.Array, mask: jax.Array) -> jax.Array:
    result: jax.Array = nnx.merge(graphdef, state)(adjacency[..., None], mask=mask)
    return result


def _relabel(adjacency: jax.Array, mask: jax.Array, key: jax.Array) -> jax.Array:
    """Permute the present nodes, like `Graphs.relabeled`, inside a compiled loop."""
    order = jnp.argsort(jax.random.uniform(key, mask.shape) + ~mask, axis=1)
    rows = jnp.take_along_axis(adjacency, order[:, :, None], axis=1)
    return jnp.take_along_axis(rows, order[:, None, :], axis=2)


def _replicated(devices: Sequence[jax.Device], batch: int) -> NamedSharding:
    """Return the sharding of replicated arrays, over a mesh with one axis `"data"`.

    Raises:
        OptionError: if the devices cannot share a batch equally.
    """
    if not devices or batch % len(devices):
        raise OptionError(
            f"{len(devices)} devices cannot share a batch of {batch} equally",
            got=f"batch={batch}, {len(devices)} devices",
            expected="a batch that is a multiple of the number of devices",
            step=f"pass batch={-(-batch // max(len(devices), 1)) * max(len(devices), 1)}, or other devices",
        )
    return NamedSharding(Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,)), _spec())


def _on_all(sharding: NamedSharding, tree: Any) -> Any:
    """Replicate arrays of this process on every device of all processes."""

    def put(array: Any) -> jax.Array:
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def _epoch(
    graphdef: Any, optimizer: optax.GradientTransformation, relabel: bool, shared: NamedSharding | None
) -> Callable[..., Any]:
    """Compile one pass over the training graphs and an evaluation on the validation graphs.

    Args:
        graphdef: the model without its parameters.
        optimizer: the optimizer of the parameters.
        relabel: whether graphs are relabeled.
        shared: how batches `[steps, batch, ...]` are sharded over devices.
    """

    def errors(params: Any, arrays: Arrays) -> jax.Array:
        adjacency, mask, targets = arrays
        result: jax.Array = nnx.merge(graphdef, params)(adjacency[..., None], mask=mask) - targets
        return result

    def loss(params: Any, arrays: Arrays) -> tuple[jax.Array, jax.Array]:
        error = errors(params, arrays)
        return jnp.mean(error**2), jnp.mean(jnp.abs(error))

    def step(carry: tuple[Any, Any], batch: tuple[Arrays, jax.Array]) -> tuple[tuple[Any, Any], jax.Array]:
        (params, memory), ((adjacency, mask, targets), key) = carry, batch
        if relabel:
            adjacency = _relabel(adjacency, mask, key)
        slope, value = jax.grad(loss, has_aux=True)(params, (adjacency, mask, targets))
        updates, memory = optimizer.update(slope, memory, params)
        return (optax.apply_updates(params, updates), memory), value

    @jax.jit
    def epoch(params: Any, memory: Any, train: Arrays, validation: Arrays, order: jax.Array, key: jax.Array) -> Any:
        batches = jax.tree.map(lambda array: array[order], train)
        if shared is not None:
            batches = _constrained(batches, shared)
        keys = jax.random.split(key, len(order))
        (params, memory), values = jax.lax.scan(step, (params, memory), (batches, keys))
        return params, memory, jnp.stack([jnp.mean(values), jnp.mean(jnp.abs(errors(params, validation)))])

    return epoch


def train(
    model: nnx.Module,
    data: Split,
    *,
    epochs: int,
    rate: float,
    seed: int,
    batch: int = 32,
    decay: float = 1e-4,
    relabel: bool = False,
    tell: Callable[[int, float], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Trained:
    """Train a model with AdamW, a short warm-up and a cosine decay to zero, on the mean squared error.

    Args:
        model: a Flax module that takes `[batch, n, n, 1]` and `mask=` and returns `[batch, targets]`; it is not
            modified.
        data: graphs for training and for the choice of parameters; the test graphs are not used.
        epochs: passes over the training graphs.
        rate: the highest learning rate.
        seed: seed of the order of the graphs, and of `relabel`.
        batch: graphs in a minibatch; the remainder is another part of the graphs in every epoch.
        decay: weight decay.
        relabel: relabel the nodes at random whenever a graph is used.
        tell: called after every epoch with its number and its validation error.
        devices: devices that share every batch equally, those of all processes under `jax.distributed`; each process
            then calls with the same arguments. By default only the default device.

    Returns:
        The model with the parameters of the best epoch on the validation graphs, and the losses.

    Raises:
        OptionError: if there is no epoch, or no whole batch, or the devices do not divide it.
    """
    epochs = _checks.count("epochs", epochs, least=1, example=100)
    batch = _checks.count("batch", batch, least=1, most=len(data.train), example=min(32, len(data.train)))
    steps = len(data.train) // batch
    mean, std = data.train.targets.mean(0), data.train.targets.std(0)
    arrays, held = (
        (jnp.asarray(part.adjacency), jnp.asarray(part.mask), jnp.asarray((part.targets - mean) / std))
        for part in (data.train, data.validation)
    )
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps * epochs // 20), steps * epochs)
    # Sums over seven nodes and their pairs make gradients of very different sizes; without the clip some runs diverge.
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=decay))
    graphdef, params = nnx.split(model)
    memory = optimizer.init(params)
    shared = None
    if devices is not None:
        everywhere = _replicated(devices, batch)
        params, memory, arrays, held = _on_all(everywhere, (params, memory, arrays, held))
        shared = NamedSharding(everywhere.mesh, _spec(None, "data"))
    run = _epoch(graphdef, optimizer, relabel, shared)
    generator, key = np.random.default_rng(seed), jax.random.key(seed)
    losses = np.zeros((epochs, 2), np.float32)
    best, kept = 0, params
    for epoch in range(epochs):
        order = generator.permutation(len(data.train))[: steps * batch].astype(np.int32).reshape(steps, batch)
        params, memory, both = run(params, memory, arrays, held, order, jax.random.fold_in(key, epoch))
        losses[epoch] = both
        if epoch == 0 or losses[epoch, 1] < losses[best, 1]:
            best, kept = epoch, params
        if tell is not None:
            tell(epoch, float(losses[epoch, 1]))
    if devices is not None:  # every device has full copies; the first of this process returns its own
        kept = jax.tree.map(lambda array: jnp.asarray(array.addressable_data(0)), kept)
    return Trained(nnx.merge(graphdef, kept), mean, std, losses, best)
