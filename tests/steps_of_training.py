"""Next steps of `ek.train` and `ek.data` that are code, in the form of `CALL` in `test_steps_as_code.py`."""

import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
from flax import nnx

import equikit as ek

X = np.ones((4, 2), np.float32)
MODEL = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
BONDS = nx.Graph([(0, 1, {"bond": "single"}), (1, 2, {"bond": "double"})])
MASKED = np.ma.masked_array(np.ones((2, 1)), mask=False)
RAGGED = [{"p": np.ones((2, 1))}, {"p": np.ones((3, 1))}]


def squared(model, batch):
    return jnp.mean(model(batch[0]) ** 2)


def trained(loss=squared, train=(X, X), optimizer=1e-3, **options: Any) -> Any:
    return ek.train.fit(MODEL, loss, train, **{"epochs": 1, "key": jax.random.key(0), "optimizer": optimizer} | options)


def masked_points(**options: Any) -> Any:
    """Give a layer the masks that `pad` returns for points in space."""
    points, mask = ek.data.pad([{"p x": np.ones((n, 3, 1), np.float32)} for n in (2, 4)], **options)
    return ek.nn.Linear("p x -> p x", 1, 1, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0))(points["p x"], mask=mask)


def again(**options: Any) -> Any:
    """Evaluate the keywords of a step, and train with them."""

    def run(code: str) -> None:
        assert trained(
            **options | eval(f"dict({code})", {"jax": jax, "jnp": jnp, "nnx": nnx, "optax": optax, "x": X, "y": X})
        )

    return run


def of_elements() -> nx.Graph:
    graph = nx.empty_graph(2)
    nx.set_node_attributes(graph, {0: "C", 1: "O"}, "element")
    return graph


def saved(code: str) -> None:
    """Save to the file of a step, in a folder for the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, *eval(f"dict({code})").values())
        ek.train.save(MODEL, path)
        assert ek.train.load(MODEL, path)


def of_numbers(**options: Any) -> Any:
    graph = nx.empty_graph(1)
    nx.set_node_attributes(graph, 300, "size")
    return ek.data.from_networkx(graph, nodes=["size"], **options)


def of_wide_numbers() -> nnx.Module:
    with jax.enable_x64(True):
        return nnx.Dict({"a": nnx.Param(jnp.ones(2, jnp.float64))})


def loaded(model: nnx.Module) -> Any:
    """Load a model from the file of itself."""
    with tempfile.TemporaryDirectory() as folder:
        ek.train.save(model, pathlib.Path(folder, "file"))
        return ek.train.load(model, pathlib.Path(folder, "file"))


def loaded_in_double_precision(code: str) -> None:
    try:
        eval(code, {"jax": jax})
        assert loaded(of_wide_numbers()).a.dtype == jnp.float64
    finally:
        jax.config.update("jax_enable_x64", False)


def eval_only(code: str) -> None:
    """Check that the keyword of a step is a folder's name, without training in the working directory."""
    assert all(isinstance(value, str) and value for value in eval(f"dict({code})").values())


CALL: dict[str, tuple[Any, str, Any]] = {
    "loss-of-a-batch": (
        lambda: trained(loss=lambda model, batch: model(batch[0])),
        "jnp.mean(errors)",
        {"errors": X},
    ),
    "loss-that-is-no-function": (
        lambda: trained(loss=3),
        "loss=lambda model, batch: jnp.mean((model(batch[0]) - batch[1]) ** 2)",
        again(),
    ),
    "augment-without-a-key": (
        lambda: trained(augment=lambda batch: batch),
        "augment=lambda batch, *, key: batch",
        again(),
    ),
    "train-that-is-no-data": (lambda: trained(train=3), "train=(x, y)", again()),
    "batches-that-end": (
        lambda: trained(train=iter(()), optimizer=optax.sgd(0.1)),
        "pass train=list(batches), or arrays",
        lambda code: again()("train=(x, y)"),
    ),
    "rate-without-steps": (
        lambda: trained(train=iter([(X, X)]), optimizer=0.1),
        "optimizer=optax.adam(0.1)",
        lambda code: again(train=iter([(X, X)]))(code),
    ),
    "divergence": (
        lambda: trained(loss=lambda model, batch: jnp.sum(model(batch[0])) * jnp.nan),
        "optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-4))",
        {"optax": optax},
    ),
    "devices-that-are-no-list": (lambda: trained(devices=4), "devices=jax.devices()", again()),
    "list-without-a-device": (lambda: trained(devices=[]), "devices=jax.devices()", again()),
    "nothing-to-train": (lambda: trained(wrt=nnx.BatchStat), "wrt=nnx.Param", again()),
    "filter-that-is-no-filter": (lambda: trained(wrt=3), "wrt=nnx.Param", again()),
    "checkpoint-that-is-no-folder": (lambda: trained(checkpoint=3), 'checkpoint="checkpoints"', eval_only),
    "checkpoints-of-nothing": (lambda: trained(checkpoint_every=2), 'checkpoint="folder"', eval_only),
    "optimizer-that-is-no-optimizer": (lambda: trained(optimizer="adam"), "optimizer=optax.adam(1e-3)", again()),
    "callback-that-is-no-function": (
        lambda: trained(callback=3),
        "callback=lambda epoch, training, validation: ...",
        again(),
    ),
    "buckets-below-a-batch": (
        lambda: ek.data.Batches(RAGGED, batch=2, drop_last=True),
        "drop_last=False",
        lambda code: ek.data.Batches(RAGGED, batch=2, **eval(f"dict({code})")),
    ),
    "batch-above-all-examples": (
        lambda: ek.data.Batches(RAGGED, batch=99, drop_last=True),
        "drop_last=False",
        lambda code: ek.data.Batches(RAGGED, batch=99, **eval(f"dict({code})")),
    ),
    "directed-graph-with-parallel-edges": (
        lambda: ek.data.from_networkx(nx.MultiDiGraph([(0, 1), (0, 1)])),
        "nx.DiGraph(graph)",
        lambda code: ek.data.from_networkx(eval(code, {"nx": nx, "graph": nx.MultiDiGraph([(0, 1), (0, 1)])})),
    ),
    "rows-of-another-byte-order": (
        lambda: trained(train=(X.astype(">f4"), X)),
        "x.astype(np.float32)",
        lambda code: trained(train=(eval(code, {"np": np, "x": X.astype(">f4")}), X)),
    ),
    "rows-that-differ": (lambda: trained(train=(X, X[1:])), "ek.data.Batches", {"ek": ek}),
    "examples-of-nothing": (lambda: ek.data.pad([]), '[{"p": np.ones((3, 4))}]', {}),
    "feature-with-a-mask": (
        lambda: ek.data.pad([{"p": MASKED}]),
        "x.filled(0)",
        lambda code: ek.data.pad([{"p": eval(code, {"x": MASKED})}]),
    ),
    "targets-with-a-mask": (
        lambda: ek.data.Batches(RAGGED, MASKED, batch=2),
        "x.filled(0)",
        lambda code: ek.data.Batches(RAGGED, eval(code, {"x": MASKED}), batch=2),
    ),
    "size-below-an-example": (
        lambda: ek.data.pad(RAGGED, sizes={"p": 2}),
        "sizes={'p': 3}",
        lambda code: ek.data.pad(RAGGED, **eval(f"dict({code})")),
    ),
    "mask-of-mixed-entries": (
        masked_points,
        "masked=['p']",
        lambda code: masked_points(**eval(f"dict({code})")),
    ),
    "mask-of-an-unknown-label": (
        lambda: ek.data.pad(RAGGED, masked=["q"]),
        "masked=['p']",
        lambda code: ek.data.pad(RAGGED, **eval(f"dict({code})")),
    ),
    "feature-without-channels": (
        lambda: ek.data.pad([{"p": np.ones(3)}]),
        '{"p": x[..., None]}',
        lambda code: ek.data.pad([eval(code, {"x": np.ones(3)})]),
    ),
    "graph-with-parallel-edges": (
        lambda: ek.data.from_networkx(nx.MultiGraph([(0, 1), (0, 1)])),
        "nx.Graph(graph)",
        lambda code: ek.data.from_networkx(eval(code, {"nx": nx, "graph": nx.MultiGraph([(0, 1), (0, 1)])})),
    ),
    "category-of-a-node": (
        lambda: ek.data.from_networkx(of_elements(), nodes=["element"]),
        'nodes={"element": ["C", "O"]}',
        lambda code: ek.data.from_networkx(of_elements(), **eval(f"dict({code})")),
    ),
    "category-of-an-edge": (
        lambda: ek.data.from_networkx(BONDS, edges=["bond"]),
        'edges={"bond": ["double", "single"]}',
        lambda code: ek.data.from_networkx(BONDS, **eval(f"dict({code})")),
    ),
    "file-that-is-no-path": (lambda: ek.train.save(MODEL, 3), 'path="model.safetensors"', saved),
    "model-in-double-precision": (
        lambda: loaded(of_wide_numbers()),
        'jax.config.update("jax_enable_x64", True)',
        loaded_in_double_precision,
    ),
    "graph-that-is-no-graph": (
        lambda: ek.data.from_networkx(nx.Graph),
        "nx.path_graph(3)",
        lambda code: ek.data.from_networkx(eval(code, {"nx": nx})),
    ),
    "dtype-of-no-numbers": (
        lambda: of_numbers(dtype="nope"),
        "dtype=np.float32",
        lambda code: of_numbers(**eval(f"dict({code})", {"np": np})),
    ),
    "dtype-that-is-too-small": (
        lambda: of_numbers(dtype=np.uint8),
        "dtype=np.float32",
        lambda code: of_numbers(**eval(f"dict({code})", {"np": np})),
    ),
    "label-of-two-words": (
        lambda: of_numbers(label="p q"),
        'label="p"',
        lambda code: of_numbers(**eval(f"dict({code})")),
    ),
    "attributes-without-names": (
        lambda: ek.data.from_networkx(nx.empty_graph(0), nodes=5),
        'nodes=("charge",)',
        lambda code: ek.data.from_networkx(nx.empty_graph(0), **eval(f"dict({code})")),
    ),
    "shares-that-are-no-list": (
        lambda: ek.data.split(X, 0.5),
        "parts=(0.5, 0.5)",
        lambda code: ek.data.split(X, **eval(f"dict({code})")),
    ),
    "shares-that-do-not-sum-to-one": (
        lambda: ek.data.split(X, (0.5, 0.1)),
        "parts=(0.8, 0.1, 0.1)",
        lambda code: ek.data.split(X, **eval(f"dict({code})")),
    ),
}
