"""The faulty and the correct models in PyTorch. Import this only where PyTorch is installed."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import nn

import equikit as ek
from benchmarks.accuracy._fault_models import SAMPLES, N, Suspect, groups, scalars, vectors


class Mix(nn.Module):
    """A linear map of the channels of vectors; a bias is the same number for all coordinates, and a fault."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)

    def forward(self, x: Any) -> Any:
        return self.linear(x)


class LengthNorm(nn.Module):
    """Divide vectors by their root mean square length."""

    def forward(self, x: Any) -> Any:
        return x * torch.rsqrt(x.float().square().mean((-1, -2), keepdim=True) + 1e-3).to(x.dtype)


class VectorLayerNorm(nn.Module):
    """A fault: the layer normalization of PyTorch over the coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x: Any) -> Any:
        return self.norm(x.transpose(-1, -2)).transpose(-1, -2)


class Gate(nn.Module):
    """Multiply vectors by a function of their lengths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scores = nn.Linear(channels, channels)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.scores((x * x).sum(-2)))[..., None, :]


class VectorBlock(nn.Module):
    """Mix with the mean over the points, normalize, and gate."""

    def __init__(self, channels: int, fault: str = "") -> None:
        super().__init__()
        self.mix = Mix(channels, channels, bias=fault == "bias")
        self.norm = VectorLayerNorm() if fault == "norm" else LengthNorm()
        self.gate = nn.ReLU() if fault == "gate" else Gate(channels)

    def forward(self, x: Any) -> Any:
        return x + self.gate(self.norm(self.mix(x + x.mean(1, keepdim=True))))


class VectorNetwork(nn.Module):
    """Vectors to vectors for each point, by scalar weights."""

    def __init__(self, fault: str = "", block: int = 1) -> None:
        super().__init__()
        self.embed = Mix(2, 6)
        self.blocks = nn.ModuleList([VectorBlock(6, fault if i == block else "") for i in range(3)])
        self.out = Mix(6, 1)

    def forward(self, x: Any) -> Any:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x)


class Exchangeable(nn.Module):
    """A layer for matrices whose rows and columns are permuted; the fault adds means of rows to columns."""

    def __init__(self, inputs: int, outputs: int, fault: bool = False) -> None:
        super().__init__()
        self.own, self.rows, self.columns = (nn.Linear(inputs, outputs) for _ in range(3))
        self.fault = fault

    def forward(self, x: Any) -> Any:
        of_rows = self.rows(x.mean(2))
        spread = of_rows[:, None] if self.fault else of_rows[:, :, None]
        return torch.relu(self.own(x) + spread + self.columns(x.mean(1))[:, None])


class MatrixNetwork(nn.Module):
    """Matrices to a number for each row."""

    def __init__(self, fault: bool = False) -> None:
        super().__init__()
        widths = [(1, 4), (4, 4), (4, 4)]
        self.layers = nn.ModuleList([Exchangeable(a, b, fault and i == 1) for i, (a, b) in enumerate(widths)])
        self.out = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.out(x.mean(2))


class Sorted(nn.Module):
    """Order the points by their first feature; ties stay in the order of the input, which is a fault."""

    def forward(self, x: Any) -> Any:
        order = torch.argsort(x[..., 0], dim=1, stable=True)
        return torch.take_along_dim(x, order[..., None], 1)


class SortedNetwork(nn.Module):
    """A perceptron of the sorted points."""

    def __init__(self) -> None:
        super().__init__()
        self.sort = Sorted()
        self.hidden, self.out = nn.Linear(3 * N, 16), nn.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        return self.out(torch.tanh(self.hidden(self.sort(x).flatten(1))))


class Position(nn.Module):
    """A fault for sets: a learned vector for each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.5 * torch.randn(N, channels))

    def forward(self, x: Any) -> Any:
        return x + self.table


class Transformer(nn.Module):
    """Encoder layers of PyTorch, in evaluation mode; without positions they commute with permutations."""

    def __init__(self, positions: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.position = Position(8) if positions else nn.Identity()
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)])
        self.out = nn.Linear(8, 2)
        self.eval()

    def forward(self, x: Any) -> Any:
        x = self.position(self.embed(x))
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class HalfSum(nn.Module):
    """A fault: add up in float16, one point after the other."""

    def forward(self, x: Any) -> Any:
        return functools.reduce(torch.add, x.half().unbind(1)).to(x.dtype)


class Sum(nn.Module):
    """Add up the points."""

    def forward(self, x: Any) -> Any:
        return x.sum(1)


class Sets(nn.Module):
    """Deep Sets."""

    def __init__(self, pool: type[nn.Module] = Sum) -> None:
        super().__init__()
        self.each, self.pool, self.out = nn.Linear(3, 8), pool(), nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        return self.out(torch.tanh(self.pool(torch.tanh(self.each(x)))))


class AttentionPool(nn.Module):
    """A weighted mean of the points; the fault gives weights to absent ones too."""

    def __init__(self, channels: int, leaks: bool) -> None:
        super().__init__()
        self.score, self.leaks = nn.Linear(channels, 1), leaks

    def forward(self, x: Any, mask: Any) -> Any:
        scores = self.score(x)
        scores = scores if self.leaks else scores.masked_fill(~mask[..., None], -torch.inf)
        return (torch.softmax(scores, 1) * x).sum(1)


class MaskedSets(nn.Module):
    """Sets of several sizes, with a mask."""

    def __init__(self, leaks: bool) -> None:
        super().__init__()
        self.each, self.pool, self.out = nn.Linear(3, 8), AttentionPool(8, leaks), nn.Linear(8, 1)

    def forward(self, x: Any, mask: Any) -> Any:
        return self.out(self.pool(torch.tanh(self.each(x)) * mask[..., None], mask))


class WrongLength(torch.autograd.Function):
    """The length of vectors, with a wrong derivative."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        length = (x.square().sum(-1) + 1e-3).sqrt()
        ctx.save_for_backward(x, length)
        return length

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, length = ctx.saved_tensors
        return gradients[0][..., None] * x.abs() / length[..., None]


class Lengths(nn.Module):
    """Distances from the center."""

    def __init__(self, fault: bool) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Any) -> Any:
        return WrongLength.apply(x) if self.fault else (x.square().sum(-1) + 1e-3).sqrt()


class RadialEnergy(nn.Module):
    """An energy of the distances from the center."""

    def __init__(self, fault: bool = False) -> None:
        super().__init__()
        self.lengths, self.hidden, self.out = Lengths(fault), nn.Linear(1, 8), nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        x = x[..., 0] - x[..., 0].mean(1, keepdim=True)
        return self.out(torch.tanh(self.hidden(self.lengths(x)[..., None])).sum(1))


class Frame(nn.Module):
    """Three vectors that rotate with the points."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.detached = detached

    def forward(self, x: Any) -> Any:
        square = x.square().sum(-1, keepdim=True)
        a, b = (square * x).sum(1), (torch.cos(square) * x).sum(1)
        first = a / (a.square().sum(-1, keepdim=True) + 0.1).sqrt()
        rest = b - (first * b).sum(-1, keepdim=True) * first
        second = rest / (rest.square().sum(-1, keepdim=True) + 0.1).sqrt()
        frame = torch.stack([first, second, torch.linalg.cross(first, second)], 1)
        return frame.detach() if self.detached else frame


class FramedEnergy(nn.Module):
    """An energy of coordinates in a frame."""

    def __init__(self, detached: bool = False) -> None:
        super().__init__()
        self.frame, self.hidden, self.out = Frame(detached), nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        x = x[..., 0] - x[..., 0].mean(1, keepdim=True)
        inner = torch.einsum("bnx,bix->bni", x, self.frame(x))
        return self.out(torch.tanh(self.hidden(inner)).sum(1))


def faults(seed: int = 0) -> dict[str, Suspect]:
    """The ten planted faults."""
    torch.manual_seed(seed)
    arrays = vectors(seed), scalars(seed), vectors(seed, channels=1)
    x, points, positions = (torch.tensor(array) for array in arrays)
    both = groups()
    tied = points.clone()
    tied[..., 0] = torch.round(tied[..., 0])
    matrices = torch.tensor(np.random.default_rng(seed).normal(size=(SAMPLES, 5, 5, 1)), dtype=torch.float32)
    p, q = {"p": ek.S(N)}, {"p": ek.S(5), "q": ek.S(5)}
    return {
        "layer norm on vectors": Suspect(VectorNetwork("norm"), "p x -> p x", x, both, fault="blocks.1.norm.norm"),
        "wrong nonlinearity": Suspect(VectorNetwork("gate", 0), "p x -> p x", x, both, fault="blocks.0.gate"),
        "row for column": Suspect(MatrixNetwork(True), "p q -> p", matrices, q, fault="layers.1"),
        "sorted ties": Suspect(SortedNetwork(), "p -> ()", tied, p, fault="sort"),
        "wrong tangent": Suspect(RadialEnergy(True), "p x -> ()", positions, both, "derivative", "lengths"),
        "bias on vectors": Suspect(VectorNetwork("bias", 2), "p x -> p x", x, both, fault="blocks.2.mix.linear"),
        "absolute positions": Suspect(Transformer(True), "p -> p", points, p, fault="position"),
        "float16 sums": Suspect(Sets(HalfSum), "p -> ()", points, p, fault="pool"),
        "padding that leaks": Suspect(MaskedSets(True), "p -> ()", points, p, "padding", "pool"),
        "detached frame": Suspect(FramedEnergy(True), "p x -> ()", positions, both, "derivative", "frame"),
    }


class Messages(nn.Module):
    """EGNN: messages from squared distances and features, positions moved along differences."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.weight, self.node = nn.Linear(7, 8), nn.Linear(8, 1), nn.Linear(11, 3)

    def forward(self, h: Any, x: Any) -> tuple[Any, Any]:
        between = x[:, :, None] - x[:, None]
        ends = [h[:, :, None].expand(-1, -1, h.shape[1], -1), h[:, None].expand(-1, h.shape[1], -1, -1)]
        features = torch.cat([between.square().sum(-1, keepdim=True), *ends], -1)
        messages = nn.functional.silu(self.edge(features.flatten(0, 2))).reshape(*features.shape[:3], -1)
        moved = x + (between * torch.tanh(self.weight(messages))).mean(2)
        return h + self.node(torch.cat([h, messages.mean(2)], -1)), moved


class Egnn(nn.Module):
    """Two layers of EGNN from features and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Messages() for _ in range(2)])

    def forward(self, given: Any) -> Any:
        h, x = given["p"], given["p x"][..., 0]
        for layer in self.layers:
            h, x = layer(h, x)
        return {"p": h, "p x": x[..., None]}


class Invariants(nn.Module):
    """A perceptron of the scalar products of all vectors, which are rotated together."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 1))

    def forward(self, x: Any) -> Any:
        return self.layers((x.transpose(-1, -2) @ x).flatten(1))


class GraphNetwork(nn.Module):
    """Two rounds of sums over neighbors, from an adjacency matrix and features."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.neighbor = (nn.ModuleList([nn.Linear(a, 8) for a in (3, 8)]) for _ in range(2))
        self.out = nn.Linear(8, 1)

    def forward(self, given: Any) -> Any:
        edges, h = given["p p"][..., 0], given["p"]
        for own, neighbor in zip(self.own, self.neighbor, strict=True):
            h = torch.relu(own(h) + neighbor(edges @ h))
        return self.out(h.mean(1))


class Janossy(nn.Module):
    """The mean of a function of all ordered pairs of points."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.out = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        n = x.shape[1]
        pairs = torch.cat([x[:, :, None].expand(-1, -1, n, -1), x[:, None].expand(-1, n, -1, -1)], -1)
        return self.out(torch.relu(self.pair(pairs)).mean((1, 2)))


class SortedFeatures(nn.Module):
    """Sorted features of each channel, through a perceptron: no ties in the data."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(3 * N, 16), nn.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        return self.out(torch.tanh(self.hidden(x.sort(1).values.flatten(1))))


def correct(dtype: Any = torch.float32, seed: int = 0) -> dict[str, Suspect]:
    """Ten correct models, with parameters and inputs of a dtype."""
    torch.manual_seed(seed)
    both, p, generator = groups(), {"p": ek.S(N)}, np.random.default_rng(seed)
    x, points = torch.tensor(vectors(seed)), torch.tensor(scalars(seed))
    few, edges = (torch.tensor(generator.normal(size=(SAMPLES, *shape))) for shape in ((3, 4), (N, N, 1)))
    features = {"p": points, "p x": x[..., :1]}
    given = {
        "Deep Sets": Suspect(Sets(), "p -> ()", points, p),
        "matrices": Suspect(MatrixNetwork(), "p q -> p", edges, {"p": ek.S(N), "q": ek.S(N)}),
        "EGNN": Suspect(Egnn(), "p + p x -> p + p x", features, both),
        "transformer": Suspect(Transformer(), "p -> p", points, p),
        "invariants": Suspect(Invariants(), "x -> ()", few, {"x": ek.O(3)}),
        "sorted features": Suspect(SortedFeatures(), "p -> ()", points, p),
        "graph network": Suspect(GraphNetwork(), "p p + p -> ()", {"p p": edges, "p": points}, p),
        "scalar-weighted vectors": Suspect(VectorNetwork(), "p x -> p x", x, both),
        "Janossy": Suspect(Janossy(), "p -> ()", points, p),
        "framed energy": Suspect(FramedEnergy(), "p x -> ()", x[..., :1], {"p": ek.S(N), "x": ek.SO(3)}),
    }
    return {name: _cast(suspect, dtype) for name, suspect in given.items()}


def _cast(suspect: Suspect, dtype: Any) -> Suspect:
    data = suspect.data
    arrays = {name: a.to(dtype) for name, a in data.items()} if isinstance(data, dict) else data.to(dtype)
    model: Any = suspect.model
    return Suspect(model.to(dtype), suspect.signature, arrays, suspect.groups, suspect.check)
