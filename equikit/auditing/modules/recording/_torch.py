"""Record the modules of a function of PyTorch, by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from equikit import _checks
from equikit.auditing._callables import host
from equikit.auditing.modules.recording._calls import OUTPUT, Call, Recording, arrays_in, map_arrays, numbered
from equikit.auditing.modules.recording._jax import Key, Pullback
from equikit.auditing.modules.recording._roots import joined, kind_of, parts_of, roots, whole_kind


class TorchRecorder:
    """Records a module of PyTorch, or a function that uses modules of PyTorch; buffers are restored."""

    def __init__(self, function: Callable[..., Any]) -> None:
        _checks.package("torch", "torch")
        self.function, self.kind = function, whole_kind(function)
        self.roots = {name: module for name, module in roots(function).items() if kind_of(module) == "torch"}
        self.parts = {
            joined(root, path): part
            for root, module in self.roots.items()
            for path, part in parts_of(module).items()
            if joined(root, path)
        }

    def record(self, given: Any, keywords: Mapping[str, Any], equations: bool = False) -> Recording:
        """Evaluate the function and return its calls; PyTorch has no equations."""
        calls: list[Call] = []
        before = tuple(_read(given)[0])
        with self._hooks(calls), self._unchanged():
            output = self.function(given, **keywords)
        last = Call(OUTPUT, self.kind, before, tuple(_read(output)[0]))
        never = tuple(name for name in self.parts if name not in {call.name for call in calls})
        return Recording((*numbered(calls), last), (), never)

    def pullback(self, given: Any, keywords: Mapping[str, Any], equations: bool = False) -> Pullback:
        """Return the derivative of the output of every call, in reverse mode.

        Returns:
            A function from the place of an array and its cotangent to the cotangents of the inputs.
        """
        torch = _checks.package("torch", "torch")
        leaves = map_arrays(lambda tensor: tensor.detach().clone().requires_grad_(), given)
        kept: list[tuple[list[Any], list[Any]]] = []
        hooks = [
            part.register_forward_hook(
                lambda module, args, kwargs, output: kept.append(([*arrays_in((args, kwargs))], [*arrays_in(output)])),
                with_kwargs=True,
            )
            for part in self.parts.values()
        ]
        try:
            with self._unchanged(), torch.enable_grad():
                output = self.function(leaves, **keywords)
        finally:
            for hook in hooks:
                hook.remove()
        kept.append(([*arrays_in(leaves)], [*arrays_in(output)]))

        def pulled(key: Key, cotangent: Any) -> Any:
            tensor = kept[key[1]][key[2] == "outputs"][key[3]]
            if not tensor.is_floating_point():
                return None
            flat = [*arrays_in(leaves)]
            if not tensor.requires_grad:
                found = [torch.zeros_like(leaf) for leaf in flat]
            else:
                like = torch.as_tensor(cotangent).to(tensor)
                got = torch.autograd.grad(tensor, flat, like, retain_graph=True, allow_unused=True)
                found = [torch.zeros_like(a) if b is None else b for a, b in zip(flat, got, strict=True)]
            names = sorted(leaves) if isinstance(leaves, dict) else None
            return dict(zip(names, found, strict=True)) if names else found[0]

        return pulled

    @contextmanager
    def _hooks(self, calls: list[Call]) -> Iterator[None]:
        """Record while the hooks are there. Inputs are copied before the call, which may change them in place."""
        waiting: dict[str, list[Any]] = {name: [] for name in self.parts}

        def enter(name: str) -> Callable[..., None]:
            return lambda module, args, kwargs: waiting[name].append(_read((args, kwargs)))

        def leave(name: str) -> Callable[..., None]:
            def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
                (before, first), (after, second) = waiting[name].pop(), _read(output)
                reason = first or second or "no arrays"
                calls.append(Call(name, type(module).__name__, tuple(before), tuple(after), reason=reason))

            return hook

        handles = [
            handle
            for name, part in self.parts.items()
            for handle in (
                part.register_forward_pre_hook(enter(name), with_kwargs=True),
                part.register_forward_hook(leave(name), with_kwargs=True),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Restore buffers, such as running means, that the call changes."""
        kept = [(buffer, buffer.detach().clone()) for module in self.roots.values() for buffer in module.buffers()]
        try:
            yield
        finally:
            for buffer, value in kept:
                buffer.data.copy_(value)


def _read(value: Any) -> tuple[list[Any], str]:
    """Return copies of the tensors in a value, and why they cannot be read, if they cannot."""
    try:
        return [host(tensor) for tensor in arrays_in(value)], ""
    except (RuntimeError, TypeError):  # tensors of torch.func.vmap and torch.func.grad have no storage
        return [], "inside torch.func"
