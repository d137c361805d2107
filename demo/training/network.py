"""Whisper's network in plain torch, for training on windows of any length.

The parameters carry the names of `transformers.WhisperForConditionalGeneration`, so a state dict moves over with
`strict=True`; a test holds the two to the same outputs. transformers' encoder insists on windows of exactly 30 s,
whereas a training run is several times faster on sentences cut to their length. Source: Radford et al. 2022
(arXiv:2212.04356), section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of a Whisper network; the defaults are the demo's (5.5 M parameters)."""

    vocabulary: int
    width: int = 192
    heads: int = 3
    encoder_layers: int = 6
    decoder_layers: int = 3
    mel_bins: int = 80
    audio_positions: int = 1500  # 30 s in steps of 20 ms
    text_positions: int = 448
    dropout: float = 0.05

    def to_json(self) -> dict[str, int | float]:
        return asdict(self)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None, causal: bool = False) -> Tensor:
        """x: [batch, queries, width]; memory: [batch, keys, width] for cross-attention, else x attends to itself."""
        source = x if memory is None else memory

        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(
            split(self.q_proj(x)), split(self.k_proj(source)), split(self.v_proj(source)), is_causal=causal
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One pre-norm layer of the encoder, or (with `cross`) of the decoder."""

    def __init__(self, size: NetworkSize, cross: bool) -> None:
        super().__init__()
        width = size.width
        self.self_attn = Attention(width, size.heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        if cross:
            self.encoder_attn = Attention(width, size.heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), causal=memory is not None))
        if memory is not None:
            x = x + self.dropout(self.encoder_attn(self.encoder_attn_layer_norm(x), memory))
        return x + self.dropout(self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))))


class Encoder(nn.Module):
    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(size.mel_bins, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(size.audio_positions, size.width)
        self.embed_positions.weight = nn.Parameter(sinusoids(size.audio_positions, size.width), requires_grad=False)
        self.layers = nn.ModuleList(Block(size, cross=False) for _ in range(size.encoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """float[batch, mel_bins, frames] → float[batch, frames / 2, width]; frames come every 10 ms."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(log_mel)))).transpose(1, 2).contiguous()
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocabulary, size.width)
        self.embed_positions = nn.Embedding(size.text_positions, size.width)
        self.layers = nn.ModuleList(Block(size, cross=True) for _ in range(size.decoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """int[batch, length] and the encoder's output → logits float[batch, length, vocabulary] (head tied)."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, memory)
        return self.layer_norm(x) @ self.embed_tokens.weight.T


class Network(nn.Module):
    """Encoder and decoder under the name `model`, as in transformers."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        self.model = nn.ModuleDict({"encoder": Encoder(size), "decoder": Decoder(size)})
        self.apply(_initialise)

    def forward(self, log_mel: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (logits[batch, length, vocabulary], encoder output[batch, frames / 2, width])."""
        memory = self.model["encoder"](log_mel)
        return self.model["decoder"](tokens, memory), memory


def sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's fixed audio position embedding, float32[positions, width]."""
    step = math.log(10_000) / (width // 2 - 1)
    angles = torch.arange(positions)[:, None] * torch.exp(-step * torch.arange(width // 2))[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.03)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
        nn.init.normal_(module.weight, std=0.02)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
