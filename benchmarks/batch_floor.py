"""What a batch cannot well be faster than: the encoder's arithmetic, and reading what the text asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.timing import bytes_per_second, milliseconds, operations_per_second
from evaluation.engine.batch_windows import INTAKE
from evaluation.engine.model import encode
from evaluation.engine.tensors import WhisperTensors

GROUPS = (1, 4, INTAKE)  # windows that are encoded together


def batch_floor(
    tensors: WhisperTensors, windows: Sequence[torch.Tensor], written: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Seconds for windows float[mel_bins, 3000], one part after the other: `arithmetic_s`, the encoder's operations at
    the speed of a large product; `encoding_s`, what our encoder takes for them; `reading_s`, of each layer's encoder
    output for every written token and of the decoder's weights for every step of the longest text.

    A batch that did its arithmetic while it reads, or wrote several tokens for one reading, could be faster still.
    """
    device = tensors.device
    arithmetic = len(windows) * encoder_operations(tensors) / operations_per_second(device, tensors.dtype)
    stacked = torch.stack(list(windows))

    def encode_in(groups: Sequence[torch.Tensor]) -> None:
        for group in groups:
            encode(tensors, group)

    encoding = min(milliseconds(partial(encode_in, stacked.split(size)), device, 3, 1) for size in GROUPS) / 1e3
    heard = tensors.cross_nbytes() / 2  # keys and values together are twice as large as what they are projected from
    counts = [len(tokens) for tokens in written]
    reading = (heard * sum(counts) + tensors.decoder_step_nbytes() * max(counts)) / bytes_per_second(device)
    parts = {"arithmetic_s": arithmetic, "encoding_s": encoding, "reading_s": reading}
    return {name: round(seconds, 4) for name, seconds in parts.items()}


def encoder_operations(tensors: WhisperTensors) -> int:
    """Floating-point operations of the products of one window, two to a multiplication; no norms, no activations."""
    positions, width = tensors.source_positions, tensors.width
    convolutions = 2 * positions * (2 * tensors.conv1[0].numel() + tensors.conv2[0].numel())
    matrices = 0
    for layer in tensors.encoder:
        attention = layer.attn
        pairs = (attention.q, attention.k, attention.v, attention.out, layer.fc1, layer.fc2)
        matrices += sum(weight.numel() for weight, _ in pairs)
    attending = len(tensors.encoder) * 4 * positions**2 * width  # scores, and the sum of values
    return convolutions + 2 * positions * matrices + attending
