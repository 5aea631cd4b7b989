"""Plans as modules of PyTorch. Imported by `to_torch` only, as PyTorch is optional."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import fx

from equikit._errors import DTypeError, OptionError, ShapeError
from equikit._shape_checks import mapping, masks_of
from equikit.plans.readers._calls import checked_call, masks_among, named, ordered
from equikit.plans.readers._library import Library
from equikit.plans.readers._parts import Chained, Paired, Planned, fitting_weights
from equikit.plans.readers._read import AnyPlan, read, shapes_of
from equikit.signatures import Signature, base


class _Recorder(Library):
    """The operations of PyTorch, recorded as a graph.

    `torch.compile` then traces a list of operations, and nothing of the plan. Constants are inputs of the graph: the
    module holds them, so that they move to a device with it.
    """

    functions: ClassVar[Any] = torch

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.constants: dict[str, np.ndarray] = {}
        self._tracer = fx.proxy.GraphAppendingTracer(self.graph)
        self._last: fx.Node | None = None
        self._known: dict[tuple[Any, ...], fx.Proxy] = {}

    def placeholder(self, name: str) -> fx.Proxy:
        """Add an input of the graph, before all operations."""
        if self._last is None:
            self._last = self.graph.placeholder(name)
        else:
            with self.graph.inserting_after(self._last):
                self._last = self.graph.placeholder(name)
        return fx.Proxy(self._last, self._tracer)

    def _held(self, values: np.ndarray) -> fx.Proxy:
        key = values.dtype.str, values.shape, values.tobytes()
        if key not in self._known:
            name = f"constant_{len(self.constants)}"
            self.constants[name], self._known[key] = values, self.placeholder(name)
        return self._known[key]

    def permuted(self, x: Any, order: Sequence[int]) -> Any:
        return torch.permute(x, tuple(order))

    def embedded(self, x: Any, first: int, second: int, shape: Sequence[Any]) -> Any:
        order = [axis for axis in range(len(shape) - 1) if axis != first]
        return torch.diag_embed(self.permuted(x, [*order, first]), 0, first, second)  # vmap has no rule for moveaxis

    def constant(self, values: np.ndarray, like: Any) -> Any:
        # Small integers, such as signs, stay exact when the module is moved to another dtype and back.
        small = values.dtype.kind == "i" and abs(values).max(initial=0) < 128
        return self._held(np.ascontiguousarray(values, np.int8 if small else None)).to(like.dtype)

    def zeros(self, shape: Sequence[Any], like: Any) -> Any:
        return like.new_zeros(tuple(shape))

    def cast(self, x: Any, like: Any) -> Any:
        return x.to(like.dtype)

    def at_least_one(self, size: Any) -> Any:
        return max(size, 1) if isinstance(size, int) else torch.sym_max(size, 1)

    def taken(self, x: Any, index: np.ndarray) -> Any:
        return x.index_select(0, self._held(index.astype(np.int64)))

    def multiplied(self, x: Any, matrix: Any) -> Any:
        return torch.matmul(x, matrix)


def _graph(plan: AnyPlan, free: Sequence[str], masked: Sequence[str]) -> tuple[fx.GraphModule, dict[str, np.ndarray]]:
    """Return a plan as a graph and its constants.

    The inputs of the graph are the arrays, the weights, masks, the size of the batch and of free labels, and constants.
    """
    recorder, signature = _Recorder(), plan.signature
    inputs = [recorder.placeholder(f"x{t}") for t in range(len(signature.inputs))]
    weights = {name: recorder.placeholder(f"w{i}") for i, name in enumerate(shapes_of(plan))}
    masks = {label: recorder.placeholder(f"m{i}") for i, label in enumerate(masked)}
    batch = recorder.placeholder("batch")
    own: dict[str, Any] = {label: recorder.placeholder(f"n{i}") for i, label in enumerate(free)}
    sizes = {label: own[base(label)] if size is None else size for label, size in signature.sizes.items()}
    results = read(plan, recorder, inputs, weights, batch, sizes, masks)
    recorder.graph.output(tuple(result.node for result in results))
    recorder.graph.lint()
    return fx.GraphModule(torch.nn.Module(), recorder.graph), recorder.constants


def _maskable(signature: Signature) -> tuple[str, ...]:
    """Return the labels that can have a mask."""
    return tuple(label for label, group in signature.groups.items() if group.permutes)


def _misfit() -> ShapeError:
    """Return the error of a call inside `torch.compile`, where a text cannot depend on shapes."""
    return ShapeError(
        "the tensors do not fit the plan",
        got="tensors or masks of other shapes",
        expected="the shapes that the signature and the batch axes require",
        step="call the module without torch.compile, which says what is wrong",
    )


def _by_label(mask: Any, maskable: Sequence[str]) -> Any:
    """Return masks by label inside `torch.compile`."""
    if isinstance(mask, torch.Tensor):
        if len(maskable) != 1:
            raise _misfit()
        return {maskable[0]: mask}
    return mask or {}


class TorchPlan(torch.nn.Module):
    """A plan as a module of PyTorch; made by `to_torch`.

    Attributes:
        plan: the plan.
        weights: the parameters by name, as in `weight_shapes(plan)`; of multilinear maps `"kernel"`.
        steps: the operations as a graph of PyTorch; `print(module.steps.code)` shows them.
        masked_steps: the same with masks, `None` if no label can have a mask.
    """

    def __init__(self, part: Planned) -> None:
        super().__init__()
        assert part.weights is not None
        self.plan, self._part = part.plan, replace(part, weights=None)
        signature = part.plan.signature
        self._maskable = _maskable(signature)
        labels = {base(label): size for label, size in signature.sizes.items()}
        self._bound = {label: size for label, size in labels.items() if size is not None}
        self._free = tuple(label for label, size in labels.items() if size is None)
        self._axes = tuple(tuple(map(base, term.labels)) for term in signature.inputs)
        self._shapes = shapes_of(part.plan)
        if len({array.dtype for array in part.weights.values()}) > 1:
            raise DTypeError(
                "the weights have different dtypes",
                got=", ".join(f"{name!r} of dtype {array.dtype}" for name, array in part.weights.items()),
                expected="weights of one dtype",
                step="cast them to one dtype",
            )
        pairs = [(name, _parameter(name, part.weights[name])) for name in self._shapes]
        self.weights = torch.nn.ParameterDict(pairs)  # a dictionary would be sorted
        self.steps, self._constants = self._recorded(())
        self.masked_steps: fx.GraphModule | None = None
        self._masked_constants: tuple[str, ...] = ()
        if self._maskable:
            self.masked_steps, self._masked_constants = self._recorded(self._maskable)

    def _recorded(self, masked: Sequence[str]) -> tuple[fx.GraphModule, tuple[str, ...]]:
        """Return a graph, and the names of the buffers with its constants."""
        module, constants = _graph(self.plan, self._free, masked)
        like = next(iter(self.weights.values()), torch.zeros(()))
        names = []
        for values in constants.values():
            tensor, known = torch.from_numpy(values), dict(self.named_buffers())
            tensor = tensor.to(like.dtype) if tensor.is_floating_point() or tensor.is_complex() else tensor
            same = (name for name, other in known.items() if other.dtype == tensor.dtype and torch.equal(other, tensor))
            name = next(same, f"constant_{len(known)}")
            self.register_buffer(name, tensor, persistent=False)
            names.append(name)
        return module, tuple(names)

    def forward(self, *inputs: Any, mask: Any = None, sizes: Mapping[str, int] | None = None) -> Any:
        """Apply the plan.

        Args:
            *inputs: for linear maps a tensor `[*batch, *axes, channels]`, or a dictionary by name; for multilinear maps
                a tensor for each input, in order.
            mask: for a label, booleans `[*batch, n]` that mark the entries that are present, as in `apply`.
            sizes: sizes of free labels that no input has.

        Returns:
            The output tensor `[*batch, *axes, channels]`, or a dictionary of tensors if there are several output terms
            or the inputs are a dictionary.

        Raises:
            ShapeError, DTypeError: if a tensor does not fit; nothing is broadcast or cast.
        """
        if torch.compiler.is_compiling():
            arrays, batch, known, masks = self._read(inputs, mask, sizes)
        else:
            arrays, batch, known, masks = self._checked(inputs, mask, sizes)
        count = math.prod(batch)
        flat = [x.reshape(count, *x.shape[len(batch) :]) for x in arrays]
        numbers = [count, *[known[label] for label in self._free]]  # torch.compile traces lists rather than generators
        steps, names, given = self.steps, self._constants, []
        if masks and self.masked_steps is not None:
            steps, names = self.masked_steps, self._masked_constants
            for label in self._maskable:
                ones = torch.ones((count, known[base(label)]), dtype=torch.bool, device=flat[0].device)
                given.append(masks[label].reshape(count, known[base(label)]) if label in masks else ones)
        constants = [getattr(self, name) for name in names]
        results = steps(*flat, *[self.weights[name] for name in self._shapes], *given, *numbers, *constants)
        return named(self._part, [y.reshape(*batch, *y.shape[1:]) for y in results], inputs)

    def _read(self, inputs: Sequence[Any], mask: Any, sizes: Any) -> tuple[list[Any], Any, dict[str, Any], Any]:
        """Return tensors, batch axes, sizes and masks; checks are limited to what `torch.compile` can trace."""
        if len(self._axes) == len(inputs) and not isinstance(inputs[0], Mapping):
            arrays = [*inputs]
        else:
            arrays = [inputs[0][term.name] for term in self.plan.signature.inputs]
        masks = _by_label(mask, self._maskable)
        known: dict[str, Any] = {**self._bound, **(sizes or {})}
        batch = arrays[0].shape[: arrays[0].ndim - 1 - len(self._axes[0])]
        for x, labels, width in zip(arrays, self._axes, self.plan.channels[0], strict=True):
            start = x.ndim - 1 - len(labels)
            for axis, label in enumerate(labels):
                known.setdefault(label, x.shape[start + axis])
            if tuple(x.shape) != (*batch, *[known[label] for label in labels], width):
                raise _misfit()
        for name, shape in self._shapes.items():
            if tuple(self.weights[name].shape) != shape:
                raise _misfit()
        for label, own in masks.items():
            if label not in self._maskable or tuple(own.shape) != (*batch, known[base(label)]):
                raise _misfit()
        return arrays, batch, known, masks

    def _checked(self, inputs: Sequence[Any], mask: Any, sizes: Any) -> tuple[list[Any], Any, dict[str, Any], Any]:
        """Return tensors, batch axes, sizes and masks after all checks."""
        arrays, like = ordered(self.plan, inputs), next(iter(self.weights.values()), None)
        for term, x in zip(self.plan.signature.inputs, arrays, strict=True):
            if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
                raise DTypeError(
                    f"input {term.name!r} is not a tensor of floating-point numbers",
                    got=f"dtype {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__,
                    expected="a floating-point or complex tensor of PyTorch",
                    step="convert it with torch.as_tensor to the dtype of the module",
                )
            other = like is not None and x.dtype != like.dtype
            if like is not None and other and not torch.is_autocast_enabled(x.device.type):
                raise DTypeError(
                    f"input {term.name!r} and the weights have different dtypes",
                    got=f"{x.dtype} and {like.dtype}",
                    expected="one dtype",
                    step=_cast(x, like),
                )
        shapes, masks = checked_call(self.plan, arrays, mask, sizes, "x.to(torch.{})")
        fitting_weights(self.plan, dict(self.weights.items()))
        for label, own in masks.items():
            if not isinstance(own, torch.Tensor):
                raise DTypeError(
                    f"the mask for {label!r} is not a tensor of PyTorch",
                    got=type(own).__name__,
                    expected="a tensor of booleans",
                    step="convert it with torch.as_tensor",
                )
        return arrays, shapes.batch, {base(label): size for label, size in shapes.sizes.items()}, masks

    def extra_repr(self) -> str:
        """Return the signature and channels."""
        return f"{self.plan.heading[0]}, channels {self.plan.channels}"


def _cast(x: Any, weights: Any) -> str:
    """Return the next step if the dtypes of an input and of the weights differ; nothing loses its imaginary part."""
    if x.is_complex() == weights.is_complex():
        return f"cast the input to {weights.dtype}, or the module to {x.dtype}"
    return f"cast the module to {x.dtype}" if x.is_complex() else f"cast the input to {weights.dtype}"


def _parameter(name: str, array: np.ndarray) -> torch.nn.Parameter:
    if "." in name:
        raise OptionError(
            f"the name {name!r} has a dot, which names of parameters in PyTorch cannot have",
            got=name,
            expected="names of terms without dots",
            step="name the terms otherwise in the signature",
        )
    if array.dtype.name == "bfloat16":  # which NumPy has only from another package
        return torch.nn.Parameter(torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16))
    return torch.nn.Parameter(torch.from_numpy(array.copy()))


class TorchBilinear(torch.nn.Module):
    """A `Bilinear` layer as a module of PyTorch; made by `to_torch`.

    Attributes:
        left, right, mix: the three linear layers.
    """

    def __init__(self, part: Paired) -> None:
        super().__init__()
        self.signature, self.products = part.signature, part.products
        self.left, self.right, self.mix = TorchPlan(part.left), TorchPlan(part.right), TorchPlan(part.mix)
        self._groups, self._maskable = dict.fromkeys(part.signature.groups, True), _maskable(part.signature)

    def forward(self, x: Mapping[str, Any], *, mask: Any = None) -> dict[str, Any]:
        """Apply the layer to a dictionary of tensors `[*batch, *axes, channels]`."""
        if torch.compiler.is_compiling():
            masks = _by_label(mask, self._maskable)
        else:
            x, masks = mapping("x", x), masks_of(self.signature, mask)
        left, right = [side(x, mask=masks_among(side.plan, self._groups, masks)) for side in (self.left, self.right)]
        products = {name: torch.einsum(text, left[one], right[other]) for name, one, other, text in self.products}
        found: dict[str, Any] = self.mix(products, mask=masks_among(self.mix.plan, self._groups, masks))
        return found


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
    "abs": torch.abs,
}


class TorchNetwork(torch.nn.Module):
    """A network of linear layers as a module of PyTorch; made by `to_torch`.

    Attributes:
        layers: the linear layers.
        activations: the name of the activation after each layer, `None` if there is none.
    """

    def __init__(self, part: Chained) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([TorchPlan(stage) for stage, _ in part.stages])
        self.activations = tuple(name for _, name in part.stages)
        self._part = replace(part, stages=())
        self._groups, self._maskable = dict.fromkeys(part.signature.groups, True), _maskable(part.signature)

    def forward(self, *inputs: Any, mask: Any = None) -> Any:
        """Apply the network to tensors `[*batch, *axes, channels]`, in the order of its arguments or by label."""
        compiling = torch.compiler.is_compiling()
        masks = _by_label(mask, self._maskable) if compiling else masks_of(self._part.signature, mask)
        y: Any = self._part.named(inputs)
        layers: Any = self.layers
        for layer, name in zip(layers, self.activations, strict=True):
            y = layer(y, mask=masks_among(layer.plan, self._groups, masks))
            y = y if name is None else ACTIVATIONS[name](y)
        return y
