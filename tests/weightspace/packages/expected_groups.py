"""The symmetry of every model, derived by hand from the formulas of its architecture before it was traced.

The rules, for a model whose inputs and outputs are fixed:

- Hidden units between two linear maps are permuted: S(n). Units of a positively homogeneous activation (relu, its
  square, max pooling) are scaled by positive numbers too, of an odd one (tanh) or a product of two linear maps (gates
  without a nonlinearity on one side) by signs. What stands between two linear maps with nothing in between has GL(n).
- All that is added to the residual stream has the index of the stream: one S(n), with the embeddings. Layer
  normalization subtracts a mean, so signs of the stream are not kept; RMS normalization keeps them. The gain and the
  offset of a normalization are scaled against the linear maps behind it, if nothing else reads its output.
- Heads of attention are permuted, and in every head GL(d) acts on queries against keys, and another on values against
  the output: `(S(d) × S(d)) ≀ S(heads)` and two `GL(d)^heads`. Rotary embeddings turn queries and keys in planes of
  different frequencies: no permutation of coordinates is left there, and one number for each group of heads.
- Batch normalization that is not updated, (x - mean) gain / deviation, has numbers that scale x and mean against gain.
- Rows of tables of tokens and positions, and planes of rotary embeddings, belong to inputs: they are fixed.
- Layers that are stacked in one array for a scan have the same groups as layers of their own, one for each.

Scales and signs have one number for each index of a label. Those that are elements of a linear group are not counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from equikit.weightspace import Specification


@dataclass(frozen=True)
class Group:
    """How often factors occur.

    Attributes:
        permutations: factors such as `S(8)`, and `(S(3) × S(3)) ≀ S(2)` for what is permuted by itself in each of two
            heads that are permuted.
        linear: factors such as `GL(5)`, and `GL(3)^2` with a matrix for each of two heads.
        scales: sizes of labels whose indices are scaled by positive numbers, outside of the linear groups.
        signs: the same for signs.
    """

    permutations: Counter[str]
    linear: Counter[str]
    scales: Counter[int]
    signs: Counter[int]


def group(
    permutations: dict[str, int],
    linear: dict[str, int] | None = None,
    scales: dict[int, int] | None = None,
    signs: dict[int, int] | None = None,
) -> Group:
    return Group(Counter(permutations), Counter(linear or {}), Counter(scales or {}), Counter(signs or {}))


def of_specification(spec: Specification) -> Group:
    """What was found, in the form of the table."""
    inner = {label for label, _ in spec.nested}

    def factor(label: str) -> str:
        inside = sorted(str(spec.groups[one]) for one, outer in spec.nested if outer == label)
        product = f"({' × '.join(inside)})" if len(inside) > 1 else "".join(inside)
        return f"{product} ≀ {spec.groups[label]}" if inside else str(spec.groups[label])

    permutations = Counter(factor(label) for label in spec.groups if label not in inner)
    linear, of_linear = Counter[str](), Counter[str]()
    for action in spec.linear_actions:
        within = "" if action.within is None else f"^{spec.sizes[action.within]}"
        linear[f"GL({spec.sizes[action.label]}){within}"] += 1
        of_linear.update({action.label, action.within} - {None})

    def numbers(kind: str) -> Counter[int]:
        found = Counter(scaling.label for scaling in spec.scalings if scaling.kind == kind) - of_linear
        return sum((Counter({spec.sizes[label]: count}) for label, count in found.items()), Counter[int]())

    return Group(permutations, linear, numbers("positive"), numbers("sign"))


HEADS = "(S(3) × S(3)) ≀ S(2)"
"""Two heads with three coordinates each."""

EXPECTED: dict[str, Group] = {
    # Two layers, in front of each part a normalization, whose gain is free; behind the last one are tied embeddings.
    "gpt2": group({"S(6)": 1, "S(10)": 2, HEADS: 2}, {"GL(3)^2": 4}, {6: 4}, {6: 4}),
    # Normalizations behind the sums: only the last one is read by a linear map alone, the pooler, which has tanh.
    "bert": group({"S(6)": 2, "S(10)": 2, HEADS: 2}, {"GL(3)^2": 4}, {6: 1}, {6: 2}),
    # The bias of positions is one table for both layers of the encoder, whose heads are thus permuted together. RMS
    # norms: 8 of 9 have a free gain (the last one stands before tied embeddings), and the stream has signs.
    "t5": group(
        {"S(6)": 1, "S(10)": 3, HEADS: 2, "(S(3) × S(3) × S(3) × S(3)) ≀ S(2)": 1},
        {"GL(3)^2": 8},
        {6: 8, 10: 3},
        {6: 9},
    ),
    # One table of tokens for both streams and the output. The last norm of the encoder is read by keys and values.
    "bart": group({"S(6)": 1, "S(10)": 2, HEADS: 3}, {"GL(3)^2": 6}, {6: 1}, {6: 1}),
    # Channels between the convolutions, the stream of the encoder and that of the decoder; six norms with free gain.
    "whisper": group({"S(6)": 3, "S(10)": 2, HEADS: 3}, {"GL(3)^2": 6}, {6: 6}, {6: 6}),
    # Both projections are normalized, and multiplied: signs of their coordinates, and no linear group.
    "clip": group(
        {"S(6)": 1, "S(8)": 1, "S(5)": 1, "S(10)": 1, "S(12)": 1, HEADS: 1, "(S(4) × S(4)) ≀ S(2)": 1},
        {"GL(3)^2": 2, "GL(4)^2": 2},
        {6: 3, 8: 3},
        {6: 3, 8: 3, 5: 1},
    ),
    "vit": group({"S(6)": 1, "S(10)": 2, HEADS: 2}, {"GL(3)^2": 4}, {6: 5}, {6: 5}),
    "vit_of_equimo": group({"S(6)": 1, "S(12)": 2, HEADS: 2}, {"GL(3)^2": 4}, {6: 5}, {6: 5}),
    # Two groups of two heads. Values of a group have GL(4), its heads are permuted, and queries of a group are scaled
    # against its keys. Five RMS norms, a gate without a nonlinearity on one side in both layers, signs of the stream.
    "llama": group(
        {"S(16)": 1, "S(10)": 2, "(S(2) × S(4)) ≀ S(2)": 2},
        {"GL(4)^2": 2},
        {16: 5, 10: 2, 2: 2},
        {16: 6, 10: 2, 2: 2},
    ),
    # Six convolutions with a batch norm behind them. Four sets of channels, all behind a relu.
    "resnet": group({"S(6)": 2, "S(8)": 2}, {}, {6: 5, 8: 5}, {6: 3, 8: 3}),
    # Two blocks of width 6, and one of width 12 with three heads; four positions are merged before a norm, which has
    # a gain for each.
    "swin": group(
        {"S(6)": 1, "S(12)": 1, "S(24)": 2, "S(48)": 1, HEADS: 2, "(S(4) × S(4)) ≀ S(3)": 1},
        {"GL(3)^2": 4, "GL(4)^3": 2},
        {6: 8, 12: 3},
        {6: 8, 12: 3},
    ),
    # In each block the gain of its norm and the gain of its branch; norms before the second stage and the output.
    "convnext": group({"S(6)": 1, "S(8)": 1, "S(24)": 1, "S(32)": 1}, {}, {6: 3, 8: 3}, {6: 3, 8: 3}),
    # Five convolutions, all with batch norm and relu; those of single channels have the channels before them.
    "mobilenet": group({"S(32)": 1, "S(8)": 1, "S(12)": 1}, {}, {32: 4, 8: 4, 12: 2}, {32: 2, 8: 2, 12: 1}),
    # Three heads of four channels, five states shared by the heads. Gains of three norms on the stream and of the
    # gated norm on the channels (heads and channels of a head); signs of the stream. Channels and both sides of the
    # states are scaled between the projection and the convolution of single channels. This last line was forgotten
    # when the table was written, and found by the trace.
    "mamba2": group({"S(6)": 1, "S(5)": 2, "S(4) ≀ S(3)": 2}, {}, {6: 3, 3: 4, 4: 4, 5: 4}, {6: 4, 3: 4, 4: 4, 5: 4}),
    # Two layers in one array. The stream, and in each layer channels of the mixing over time, values of which are
    # linear, and hidden units with squared relu; two norms with free gain in each layer and one behind them.
    "rwkv4": group({"S(6)": 3, "S(24)": 2}, {}, {6: 7, 24: 2}, {6: 7}),
    # Units with tanh of a state that starts at zero.
    "lstm": group({"S(5)": 1}, {}, {}, {5: 1}),
    "gru": group({"S(5)": 1}, {}, {}, {5: 1}),
    # Experts are arrays of their own: they are not permuted along an axis.
    "mixture_language_model": group({"S(6)": 1, "S(10)": 6, HEADS: 2}, {"GL(3)^2": 4}, {6: 5}, {6: 5}),
    # What experts return is mixed and goes through another linear map.
    "mixture_layer": group({"S(6)": 4, "S(5)": 1}, {"GL(5)": 1}, {6: 4}, {6: 4}),
    # Experts in one array, with the router: all are permuted, with the units in each; and the linear stream. Gates
    # without a nonlinearity on one side: numbers of experts and of units.
    "stacked_experts": group({"S(6)": 1, "S(8) ≀ S(4)": 1}, {"GL(6)": 1}, {4: 1, 8: 1}, {4: 1, 8: 1}),
    "gcn": group({"S(6)": 2}, {}, {6: 2}, {}),
    # The second layer takes the mean over its heads. Outputs of the first one are scaled: of heads and in heads.
    "gat": group({"S(4) ≀ S(2)": 1, "S(2)": 1}, {}, {2: 1, 4: 1}, {}),
    # Three layers in one array, each with two layers of relu units.
    "coupling_flow": group({"S(6)": 6}, {}, {6: 6}, {}),
    # Units may see the first coordinate, or the first two: those of each kind are permuted.
    "masked_autoregressive_flow": group({"S(4)": 6}, {}, {4: 6}, {}),
    "neural_ode": group({"S(8)": 2}, {}, {}, {8: 2}),
    "actor_critic": group({"S(8)": 1, "S(7)": 1, "S(6)": 1}, {}, {}, {8: 1, 7: 1, 6: 1}),
}
