"""Programs that bring a mesh of their own: which mesh they have to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from equikit._errors import EquikitError, OptionError

OTHER = (
    "incompatible devices",
    "in_specs passed to shard_map",
    "context mesh cannot be empty",
    "Length of device assignment",
    "Mesh for all inputs should be equal",
)
"""What JAX writes in errors about a program whose devices or axes differ from its arguments."""


@contextmanager
def explained(inputs: Sequence[Any], devices: int) -> Iterator[None]:
    """Raise errors of JAX about a mesh of the program as an error that says which mesh it can have.

    Args:
        inputs: the arguments, which may lie on the mesh.
        devices: how many devices the program is compiled for.
    """
    try:
        yield
    except EquikitError:  # it says what to do, and may name what the errors of JAX below name
        raise
    except ValueError as error:
        text = str(error)
        if not any(words in text for words in OTHER):
            raise
        lie = [len(leaf.sharding.device_set) for leaf in jax.tree.leaves(inputs) if isinstance(leaf, jax.Array)]
        count = devices if devices > 1 else max([1, *lie])
        count = count if count > 1 else 8
        if "context mesh with device ids" in text:
            expected, step = "no mesh that jax.set_mesh has set", "call compiled_cost outside of jax.set_mesh"
        elif "in_specs" in text or "shard_map" in text or "context mesh cannot be empty" in text:
            mesh = f'jax.sharding.AbstractMesh(({count},), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))'
            expected = f"devices={count}, and in jax.shard_map a mesh with the automatic axis that compiled_cost makes"
            step = f"write devices={count}, and in the call of jax.shard_map mesh={mesh}"
        else:
            expected = "arrays on a mesh as inputs, which are compiled as arrays on the devices of the target"
            step = "pass the arrays that the function closes over as inputs"
        raise OptionError(
            "the program has a mesh of other devices than it is compiled for",
            got=text.partition("\n")[0].partition(". ")[0][:200],
            expected=expected,
            step=step,
        ) from error
