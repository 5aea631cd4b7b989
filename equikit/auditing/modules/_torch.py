"""Record the modules of a function of PyTorch, by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from equikit import _checks
from equikit.auditing._callables import host
from equikit.auditing.modules._calls import OUTPUT, Call, Recording, arrays_in, numbered
from equikit.auditing.modules._roots import joined, kind_of, parts_of, roots


class TorchRecorder:
    """Records a module of PyTorch, or a function that uses modules of PyTorch; buffers are restored."""

    def __init__(self, function: Callable[..., Any]) -> None:
        _checks.package("torch", "torch")
        self.function = function
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
        last = Call(OUTPUT, "function", before, tuple(_read(output)[0]))
        never = tuple(name for name in self.parts if name not in {call.name for call in calls})
        return Recording((*numbered(calls), last), (), never)

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
