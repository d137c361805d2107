"""The weights of a Whisper module as plain tensors, without copies.

The tensors are the module's own parameters (or views of them), so a live merge that rewrites the parameters in place
changes what the engine computes, and captured CUDA graphs stay valid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

Pair = tuple[torch.Tensor, torch.Tensor | None]


@dataclass(frozen=True)
class Attention:
    """Projections as (weight[out, in], bias[out] or None). `fused` is q, k, v in one [3·d, d] weight where the three
    lie one behind the other in memory (with a zero bias for k between the others), else None."""

    q: Pair
    k: Pair
    v: Pair
    out: Pair
    fused: Pair | None


@dataclass(frozen=True)
class Layer:
    """One transformer block; `cross` and `cross_norm` only in the decoder."""

    attn_norm: Pair
    attn: Attention
    cross_norm: Pair | None
    cross: Attention | None
    mlp_norm: Pair
    fc1: Pair
    fc2: Pair


@dataclass(frozen=True)
class WhisperTensors:
    """All weights of one model. `embed` is tokens[vocabulary, d]; `head` is the same tensor where the head is tied."""

    conv1: Pair
    conv2: Pair
    encoder_positions: torch.Tensor
    encoder: tuple[Layer, ...]
    encoder_norm: Pair
    embed: torch.Tensor
    decoder_positions: torch.Tensor
    decoder: tuple[Layer, ...]
    decoder_norm: Pair
    head: torch.Tensor
    encoder_heads: int
    decoder_heads: int

    @property
    def device(self) -> torch.device:
        return self.embed.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embed.dtype

    @property
    def width(self) -> int:
        """d_model."""
        return self.embed.shape[1]

    @property
    def source_positions(self) -> int:
        """Encoder positions per window: 1500, each two frames."""
        return self.encoder_positions.shape[0]

    @property
    def target_positions(self) -> int:
        """Decoder positions: 448."""
        return self.decoder_positions.shape[0]

    def pointers(self) -> tuple[int, ...]:
        """Addresses of all weights: equal before and after an in-place merge, so that a replayed graph reads them."""
        return tuple(tensor.data_ptr() for tensor in self._all)

    def nbytes(self) -> int:
        """Size of the distinct weights in bytes."""
        return sum({t.data_ptr(): t.numel() * t.element_size() for t in self._all}.values())

    def decoder_step_nbytes(self) -> int:
        """Bytes of weights that one decoded token has to read: the floor of a decode step, without the caches.

        Those that project a window's keys and values are read once a window.
        """
        weights = [t for layer in self.decoder for t in _tensors(layer)]
        once = [t for layer in self.decoder if layer.cross for t in _tensors((layer.cross.k, layer.cross.v))]
        return sum(t.nbytes for t in [*weights, self.head]) - sum(t.nbytes for t in once)

    def cross_nbytes(self) -> int:
        """Bytes of the keys and values of one window's cross-attention, which one decoded token has to read too."""
        return 2 * len(self.decoder) * self.source_positions * self.width * self.dtype.itemsize

    def text_nbytes(self) -> int:
        """Bytes of the keys and values of one text of every position."""
        return 2 * len(self.decoder) * self.target_positions * self.width * self.dtype.itemsize

    @cached_property
    def _all(self) -> list[torch.Tensor]:
        return [tensor for field in fields(self) for tensor in _tensors(getattr(self, field.name))]


def _tensors(node: Any) -> list[torch.Tensor]:
    if isinstance(node, torch.Tensor):
        return [node]
    if isinstance(node, tuple):
        return [tensor for part in node for tensor in _tensors(part)]
    if isinstance(node, Attention):  # `fused` is a second view of q, k, v
        return _tensors((node.q, node.k, node.v, node.out))
    if isinstance(node, Layer):
        return [tensor for part in vars(node).values() for tensor in _tensors(part)]
    return []


def collect(module: Any) -> WhisperTensors:
    """Read the parameters of a transformers `WhisperForConditionalGeneration` (any object with that attribute tree)."""
    encoder, decoder, config = module.model.encoder, module.model.decoder, module.config
    return WhisperTensors(
        conv1=_pair(encoder.conv1),
        conv2=_pair(encoder.conv2),
        encoder_positions=encoder.embed_positions.weight.detach(),
        encoder=tuple(_layer(block) for block in encoder.layers),
        encoder_norm=_pair(encoder.layer_norm),
        embed=decoder.embed_tokens.weight.detach(),
        decoder_positions=decoder.embed_positions.weight.detach(),
        decoder=tuple(_layer(block) for block in decoder.layers),
        decoder_norm=_pair(decoder.layer_norm),
        head=module.proj_out.weight.detach(),
        encoder_heads=config.encoder_attention_heads,
        decoder_heads=config.decoder_attention_heads,
    )


def _pair(part: Any) -> Pair:
    return part.weight.detach(), None if part.bias is None else part.bias.detach()


def _layer(block: Any) -> Layer:
    crossed = hasattr(block, "encoder_attn")
    return Layer(
        attn_norm=_pair(block.self_attn_layer_norm),
        attn=_attention(block.self_attn),
        cross_norm=_pair(block.encoder_attn_layer_norm) if crossed else None,
        cross=_attention(block.encoder_attn) if crossed else None,
        mlp_norm=_pair(block.final_layer_norm),
        fc1=_pair(block.fc1),
        fc2=_pair(block.fc2),
    )


def _attention(part: Any) -> Attention:
    q, k, v = _pair(part.q_proj), _pair(part.k_proj), _pair(part.v_proj)
    return Attention(q, k, v, _pair(part.out_proj), _fuse(q, k, v))


def _fuse(q: Pair, k: Pair, v: Pair) -> Pair | None:
    """One view over q, k, v if their storage allows it: weights adjacent, biases one zero gap of d apart."""
    (wq, bq), (wk, bk), (wv, bv) = q, k, v
    d, size = wq.shape[0], wq.element_size()
    if bq is None or bv is None or bk is not None or not wq.is_contiguous():
        return None
    stride = d * wq.shape[1] * size
    same = {t.untyped_storage().data_ptr() for t in (wq, wk, wv, bq, bv)}
    apart = (wk.data_ptr() - wq.data_ptr(), wv.data_ptr() - wk.data_ptr(), bv.data_ptr() - bq.data_ptr())
    if len(same) != 1 or apart != (stride, stride, 2 * d * size):
        return None
    weight = wq.as_strided((3 * d, wq.shape[1]), (wq.shape[1], 1))
    bias = bq.as_strided((3 * d,), (1,))
    return (weight, bias) if not bool(bias[d : 2 * d].any()) else None
