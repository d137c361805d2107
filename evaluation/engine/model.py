"""Whisper's forward pass over plain tensors and static caches (Radford et al. 2022, arXiv:2212.04356, §2.2).

The same functions run eagerly on the CPU and inside captured CUDA graphs. Shapes: b windows, t tokens, h heads,
e = d / h. Operations and their order are those of transformers' modules, so logits agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn import functional as F

from evaluation.attention import repeatable
from evaluation.engine.add_norm import AddNorm, fastest_add_norm, norm
from evaluation.engine.cpu import attend, linear, linear_gelu
from evaluation.engine.fused_gelu import fastest_linear_gelu
from evaluation.engine.tensors import Attention, Layer, WhisperTensors

Watch = Callable[[int, torch.Tensor], None]
FP16_CLAMP = torch.finfo(torch.float16).max - 1000  # transformers clamps the encoder's residuals there


class Memory(Protocol):
    """What a decoder has before it: the text, as keys and values, and a window for each row."""

    self_kv: torch.Tensor  # [layers, 2, b, h, positions, e], written in place

    def hear(self, index: int, q: torch.Tensor) -> torch.Tensor:
        """What the queries q[b, h, t, e] of a layer hear of the first b windows: [b, h, t, e]."""
        ...


class Caches:
    """Keys and values of a batch: `self_kv` and `cross_kv` are [layers, 2, b, h, positions, e], written in place.

    On a GPU `cross_kv` lies in memory as [layers, 2, b, positions, h, e]: so the projections write it without a copy.
    """

    def __init__(self, tensors: WhisperTensors, batch: int) -> None:
        heads, layers = tensors.decoder_heads, len(tensors.decoder)
        width = tensors.width // heads
        device, dtype = tensors.device, tensors.dtype
        self.self_kv = text_caches(tensors, batch, tensors.target_positions)
        positions = tensors.source_positions
        if device.type == "cuda":
            by_position = torch.zeros((layers, 2, batch, positions, heads, width), device=device, dtype=dtype)
            self.cross_kv = by_position.transpose(3, 4)
        else:
            self.cross_kv = torch.zeros((layers, 2, batch, heads, positions, width), device=device, dtype=dtype)

    def hear(self, index: int, q: torch.Tensor) -> torch.Tensor:
        """See `Memory.hear`."""
        keys, values = self.cross_kv[index]
        return look(q, keys[: len(q)], values[: len(q)])

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.self_kv, self.cross_kv))


def text_caches(tensors: WhisperTensors, batch: int, positions: int) -> torch.Tensor:
    """Keys and values of the text, `Memory.self_kv`, for so many positions; zeros."""
    heads = tensors.decoder_heads
    shape = (len(tensors.decoder), 2, batch, heads, positions, tensors.width // heads)
    return torch.zeros(shape, device=tensors.device, dtype=tensors.dtype)


def look(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
) -> torch.Tensor:
    """Attention of q[b, h, t, e] to keys, values[b, h, s, e].

    With many queries on a GPU the result has the same bits every time. With one, cuDNN is left in: without it the plain
    step takes 3.5 ms instead of 2.9 (large-v3, H200), and our own steps, whose bits repeat, stand in its place.
    """
    if q.is_cuda and q.shape[2] > 1:
        with repeatable():
            return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, is_causal=causal)
    if mask is None and not causal:
        return attend(q, keys, values)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, is_causal=causal)


def listen(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of an encoder's q[b, h, s, e] to keys, values[b, h, s, e].

    For one window on a GPU by the kernel that `generate` uses as we call it, so that near ties fall as they fall there
    (docs/live.md, "Exactness"); for several by whichever torch holds for the fastest, which takes a tenth less time.
    """
    return look(q, keys, values) if len(q) == 1 else attend(q, keys, values)


def heads_first(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[b, t, d] → [b, h, t, e]."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def project(x: torch.Tensor, attention: Attention, heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k, v of x[b, t, d], each [b, h, t, e]."""
    if attention.fused is not None:
        parts = linear(x, *attention.fused).view(*x.shape[:-1], 3, heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v
    q, k, v = (heads_first(linear(x, *pair), heads) for pair in (attention.q, attention.k, attention.v))
    return q, k, v


def feed_forward(x: torch.Tensor, layer: Layer) -> torch.Tensor:
    """x plus its feed-forward block; GELU is the exact (erf) one."""
    return x + linear(linear_gelu(norm(x, layer.mlp_norm), *layer.fc1), *layer.fc2)


def encode(tensors: WhisperTensors, features: torch.Tensor) -> torch.Tensor:
    """Encoder output [b, 1500, d] of log-mel features [b, mel_bins, 3000]."""
    x = F.gelu(F.conv1d(features, *tensors.conv1, padding=1))
    x = F.gelu(F.conv1d(x, *tensors.conv2, stride=2, padding=1))
    # without contiguous() every residual of the encoder stays strided, which costs a quarter of its time
    x = (x.transpose(1, 2) + tensors.encoder_positions).contiguous()
    fused = fastest_add_norm(x)
    if fused is not None:
        return encoder_layers(tensors, x, fused)
    for layer in tensors.encoder:
        x = encoder_layer(tensors, layer, x)
    return norm(x, tensors.encoder_norm)


def encoder_layer(tensors: WhisperTensors, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """One encoder block on x[b, t, d]."""
    heard = listen(*project(norm(x, layer.attn_norm), layer.attn, tensors.encoder_heads))
    x = x + linear(heard.transpose(1, 2).flatten(2), *layer.attn.out)
    x = feed_forward(x, layer)
    return x.clamp(-FP16_CLAMP, FP16_CLAMP) if x.dtype == torch.float16 else x


def encoder_layers(tensors: WhisperTensors, x: torch.Tensor, add_norm: AddNorm) -> torch.Tensor:
    """All encoder blocks on x[b, t, d], which is overwritten, and the last norm: residual sums and norms by `add_norm`.

    The twin of `encoder_layer` for every layer, and then `norm`.
    """
    up = fastest_linear_gelu(x, [layer.fc1 for layer in tensors.encoder])
    bound = FP16_CLAMP if x.dtype == torch.float16 else 0.0
    norms = [*(layer.attn_norm for layer in tensors.encoder[1:]), tensors.encoder_norm]
    normed = norm(x, tensors.encoder[0].attn_norm)
    for layer, after in zip(tensors.encoder, norms, strict=True):
        heard = listen(*project(normed, layer.attn, tensors.encoder_heads))
        normed = add_norm(x, linear(heard.transpose(1, 2).flatten(2), *layer.attn.out), layer.mlp_norm, 0.0)
        normed = add_norm(x, linear(up(normed, *layer.fc1), *layer.fc2), after, bound)
    return normed


def fill_cross(tensors: WhisperTensors, heard: torch.Tensor, caches: Caches) -> None:
    """Write cross-attention keys and values of encoder output heard[b, 1500, d] into the caches."""
    for index, layer in enumerate(tensors.decoder):
        assert layer.cross is not None
        for target, pair in zip(caches.cross_kv[index], (layer.cross.k, layer.cross.v), strict=True):
            if heard.is_cuda:
                _linear_into(target.transpose(1, 2).flatten(2), heard, *pair)
            else:
                target.copy_(heads_first(linear(heard, *pair), tensors.decoder_heads))


def _linear_into(target: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Write `F.linear` of x[b, t, d] to target[b, t, n]."""
    out, flat = target.view(-1, target.shape[-1]), x.flatten(0, 1)
    if bias is None:
        torch.mm(flat, weight.t(), out=out)
    else:
        torch.addmm(bias, flat, weight.t(), out=out)


def decode_many(
    tensors: WhisperTensors, caches: Memory, tokens: torch.Tensor, first: int, watch: Watch | None = None
) -> torch.Tensor:
    """Hidden states [b, t, d] of tokens[b, t] at positions first…first+t−1; their keys and values go into the caches.

    Positions before `first` must have been decoded. Used for the prompt and for verifying drafts. `watch` is shown the
    cross-attention queries [b, h, t, e] of each layer.
    """
    count = tokens.shape[1]
    last = first + count
    x = F.embedding(tokens, tensors.embed) + tensors.decoder_positions[first:last]
    mask = None
    if count > 1 and first > 0:
        reach = torch.arange(first, last, device=x.device)
        mask = torch.arange(last, device=x.device)[None, :] <= reach[:, None]
    for index, layer in enumerate(tensors.decoder):
        q, k, v = project(norm(x, layer.attn_norm), layer.attn, tensors.decoder_heads)
        keys, values = caches.self_kv[index]
        keys[:, :, first:last], values[:, :, first:last] = k, v
        seen = look(q, keys[:, :, :last], values[:, :, :last], mask, causal=count > 1 and first == 0)
        x = x + linear(seen.transpose(1, 2).flatten(2), *layer.attn.out)
        x = cross_attend(tensors, caches, index, layer, x, watch)
        x = feed_forward(x, layer)
    return norm(x, tensors.decoder_norm)


def cross_attend(
    tensors: WhisperTensors, caches: Memory, index: int, layer: Layer, x: torch.Tensor, watch: Watch | None = None
) -> torch.Tensor:
    """x[b, t, d] plus what its tokens hear in the window."""
    assert layer.cross is not None and layer.cross_norm is not None
    q = heads_first(linear(norm(x, layer.cross_norm), *layer.cross.q), tensors.decoder_heads)
    if watch is not None:
        watch(index, q)
    heard = caches.hear(index, q)
    return x + linear(heard.transpose(1, 2).flatten(2), *layer.cross.out)


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where attention may look, −inf elsewhere, made once: torch would convert a boolean mask in every layer."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def decode_rows(
    tensors: WhisperTensors, caches: Memory, tokens: torch.Tensor, positions: torch.Tensor, reach: int
) -> torch.Tensor:
    """One token per row, each row at its own position: hidden states [b, d] of tokens[b] at positions[b].

    `reach` bounds the positions that are looked at (more than every position of the batch); the rest is masked.
    No value is read back to the host, so the whole call can be captured in a CUDA graph.
    """
    batch = tokens.shape[0]
    x = (F.embedding(tokens, tensors.embed) + F.embedding(positions, tensors.decoder_positions))[:, None]
    mask = additive(torch.arange(reach, device=x.device)[None, :] <= positions[:, None], x.dtype)[:, None, None]
    slots = positions[:, None, None, None]
    for index, layer in enumerate(tensors.decoder):
        q, k, v = project(norm(x, layer.attn_norm), layer.attn, tensors.decoder_heads)
        keys, values = caches.self_kv[index, 0, :batch], caches.self_kv[index, 1, :batch]
        keys.scatter_(2, slots.expand_as(k), k)
        values.scatter_(2, slots.expand_as(v), v)
        seen = look(q, keys[:, :, :reach], values[:, :, :reach], mask)
        x = x + linear(seen.transpose(1, 2).flatten(2), *layer.attn.out)
        x = cross_attend(tensors, caches, index, layer, x)
        x = feed_forward(x, layer)
    return norm(x, tensors.decoder_norm)[:, 0]


def decode_span(tensors: WhisperTensors, caches: Memory, tokens: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """`decode_many` with `first` (int64, no dimensions) on the device: hidden states [b, t, d] of tokens[b, t].

    All positions are looked at and masked, so that the call can be captured in a CUDA graph. Tokens that only pad t are
    harmless: what they write lies beyond every real position, and first + t must not exceed the decoder's positions.
    """
    places = first + torch.arange(tokens.shape[1], device=tokens.device)
    x = F.embedding(tokens, tensors.embed) + F.embedding(places, tensors.decoder_positions)
    mask = additive(torch.arange(tensors.target_positions, device=x.device)[None, :] <= places[:, None], x.dtype)
    for index, layer in enumerate(tensors.decoder):
        q, k, v = project(norm(x, layer.attn_norm), layer.attn, tensors.decoder_heads)
        keys, values = caches.self_kv[index, 0, : len(tokens)], caches.self_kv[index, 1, : len(tokens)]
        keys.index_copy_(2, places, k)
        values.index_copy_(2, places, v)
        seen = look(q, keys, values, mask)
        x = x + linear(seen.transpose(1, 2).flatten(2), *layer.attn.out)
        x = cross_attend(tensors, caches, index, layer, x)
        x = feed_forward(x, layer)
    return norm(x, tensors.decoder_norm)


def logits(tensors: WhisperTensors, hidden: torch.Tensor) -> torch.Tensor:
    """float32 logits [..., vocabulary] of hidden states [..., d]."""
    return linear(hidden, tensors.head).float()
