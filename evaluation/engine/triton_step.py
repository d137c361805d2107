"""The decoder in Triton: one token for up to four rows, or a few tokens of one text; and the choice of the next token.

Every matrix product is a kernel that reads the weights once for all rows; for larger batches see `batch_step.py`.
`device_loop.plain_step` is the twin that it is tested against; `kernel_choice` chooses. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton

from evaluation.engine.choice_kernels import record_kernel, scan_kernel
from evaluation.engine.kernels import (
    cross_attention_kernel,
    embed_kernel,
    linear_kernel,
    self_attention_kernel,
    split_width,
)

MOST_ROWS = 4  # rows of a batch that share one reading of the weights; from here on torch's products are faster
VOCABULARY_BLOCK = 1024


class Launch(NamedTuple):
    """How a matrix-vector product is divided: elements of weights that one program holds in registers, its warps, and
    the registers a thread may have (fewer let the next kernel's programs move in and load their weights earlier)."""

    tile: int = 20 * 1024
    warps: int = 8
    registers: int | None = None


QKV, SQUARE, UP, DOWN, HEAD = (
    Launch(10 * 1024, warps=4), Launch(registers=96), Launch(registers=96), Launch(registers=80), Launch(),
)  # fmt: skip


@dataclass(frozen=True)
class Tuning:
    """Shapes of the attention's programs; these and the launches above were fastest on an H200 (docs/lab-book/live.md).

    cross_block: encoder positions per program; self_block, self_splits: decoder positions per block, and blocks side by
    side.
    """

    cross_block: int = 256
    cross_warps: int = 4
    self_block: int = 64
    self_splits: int = 4
    self_warps: int = 4


class Parts:
    """What the stretches of an attention found: float32 sums [b·h·splits, e], tops and norms [b·h·splits]."""

    def __init__(self, owners: int, splits: int, width: int, device: torch.device) -> None:
        self.splits = splits
        self.sums = torch.empty((owners * splits, width), dtype=torch.float32, device=device)
        self.tops, self.norms = (torch.empty(owners * splits, dtype=torch.float32, device=device) for _ in range(2))

    def all(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.sums, self.tops, self.norms


class TritonDecoder:
    """`scores`, float32 logits [b, vocabulary], of tokens int64[b] at positions int64[b]; its launches can be captured.

    Every token belongs to a text of its own, or (`span`) they are consecutive ones of the text of the caches' first
    row. Needs fused query, key and value weights (`LiveMerge` stores them so). Raises ValueError for more than
    MOST_ROWS rows, and for shapes it does not support: see `suits`.
    """

    def __init__(
        self, tensors, caches, tokens, positions, *, span: bool = False, dependent_launch: bool = True,
        tuning: Tuning | None = None,
    ):  # fmt: skip
        self.batch = len(tokens)
        if not suits(tensors) or self.batch > MOST_ROWS:
            raise ValueError("the Triton kernels do not support this")
        self.tensors, self.caches, self.tokens, self.positions = tensors, caches, tokens, positions
        self.span = span
        self.tuning = tuning or Tuning()
        self.pdl = dependent_launch
        self.launch = {"launch_pdl": True} if self.pdl else {}
        self.scores = torch.empty((self.batch, tensors.head.shape[0]), dtype=torch.float32, device=tensors.device)
        kind = {"device": tensors.device, "dtype": tensors.dtype}
        d, heads, hidden = tensors.width, tensors.decoder_heads, tensors.decoder[0].fc1[0].shape[0]
        b = self.batch
        self.x, self.asked = (torch.empty((b, d), **kind) for _ in range(2))
        self.qkv, self.inner = torch.empty((b, 3 * d), **kind), torch.empty((b, hidden), **kind)
        owners, splits = b * heads, triton.cdiv(tensors.source_positions, self.tuning.cross_block)
        self.own = Parts(owners, self.tuning.self_splits, d // heads, tensors.device)
        self.heard = Parts(owners, splits, d // heads, tensors.device)

    def forward(self) -> None:
        """From the tokens to `scores`."""
        tensors, d, linear = self.tensors, self.tensors.width, self._linear
        # This one starts late, so that all that came before is there for what the others read before they wait.
        embed_kernel[(self.batch,)](
            self.tokens, self.positions, tensors.embed, tensors.decoder_positions, self.x,
            D=d, BLOCK=triton.next_power_of_2(d), PDL=self.pdl,
        )  # fmt: skip
        for index, layer in enumerate(tensors.decoder):
            linear(QKV, self.x, layer.attn.fused, self.qkv, norm_pair=layer.attn_norm)
            self._self_attention(index)
            linear(SQUARE, self.own, layer.attn.out, self.x, add=True)
            linear(SQUARE, self.x, layer.cross.q, self.asked, norm_pair=layer.cross_norm)
            self._cross_attention(index)
            linear(SQUARE, self.heard, layer.cross.out, self.x, add=True)
            linear(UP, self.x, layer.fc1, self.inner, norm_pair=layer.mlp_norm, gelu=True)
            linear(DOWN, self.inner, layer.fc2, self.x, add=True)
        linear(HEAD, self.x, (tensors.head, None), self.scores, norm_pair=tensors.decoder_norm)

    def _self_attention(self, index) -> None:
        tensors, tuning, heads = self.tensors, self.tuning, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.self_kv[index]
        self_attention_kernel[(self.batch * heads, tuning.self_splits)](
            self.qkv, keys, values, self.positions, *self.own.all(), width**-0.5,
            H=heads, E=width, L=tensors.target_positions, BLOCK=tuning.self_block, SPLITS=tuning.self_splits,
            SPAN=self.batch if self.span else 1, PDL=self.pdl, num_warps=tuning.self_warps, **self.launch,
        )  # fmt: skip

    def _cross_attention(self, index) -> None:
        tensors, tuning, heads = self.tensors, self.tuning, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.cross_kv[index]
        rows, *places = keys.stride()[:3]
        cross_attention_kernel[(self.batch * heads, self.heard.splits)](
            self.asked, keys, values, *self.heard.all(), width**-0.5, tensors.source_positions,
            0 if self.span else rows, *places,
            H=heads, E=width, BLOCK=tuning.cross_block, SPLITS=self.heard.splits, PDL=self.pdl,
            num_warps=tuning.cross_warps, **self.launch,
        )  # fmt: skip

    def _linear(self, how, x, pair, out, *, norm_pair=None, gelu: bool = False, add: bool = False) -> None:
        """One kernel of ours; `x` is a tensor [b, k] or the `Parts` of an attention."""
        weight, bias = pair
        n, k = weight.shape
        k1, k2 = split_width(k)
        block = max(1, min(64, 1 << ((how.tile // k).bit_length() - 1)))
        joined = isinstance(x, Parts)
        parts = x.all() if joined else (weight, weight, weight)  # unread without SPLITS
        gamma, beta = norm_pair if norm_pair is not None else (weight, weight)  # unread without NORM
        linear_kernel[(triton.cdiv(n, block),)](
            weight if joined else x, *parts, weight, weight if bias is None else bias, gamma, beta, out, out, n,
            ROWS=self.batch, K=k, K1=k1, K2=k2, ALL=triton.next_power_of_2(k), BLOCK=block, NORM=norm_pair is not None,
            BIAS=bias is not None, GELU=gelu, ADD=add, E=self.tensors.width // self.tensors.decoder_heads,
            SPLITS=x.splits if joined else 0, PDL=self.pdl, num_warps=how.warps,
            **({} if how.registers is None else {"maxnreg": how.registers}), **self.launch,
        )  # fmt: skip


class TritonStep:
    """One token for every row, the choice of the next one included: a callable whose launches can be captured.

    `decoder` writes the logits, [b, vocabulary], of the rows' tokens: a `TritonDecoder`, `BatchDecoder` or
    `CudaDecoder`.
    """

    def __init__(self, tensors, decoder, rows, rules):
        self.decoder, self.rows, self.rules = decoder, rows, rules
        self.batch, self.scores = len(rows.token), decoder.scores
        self.pdl = decoder.pdl
        self.launch = {"launch_pdl": True} if self.pdl else {}
        self.stretches = triton.cdiv(tensors.head.shape[0], VOCABULARY_BLOCK)
        self.best = torch.empty((self.batch, self.stretches, 3), dtype=torch.float32, device=tensors.device)
        self.best_at = torch.empty((self.batch, self.stretches, 2), dtype=torch.int32, device=tensors.device)

    def __call__(self) -> None:
        """Launch the step."""
        self.decoder.forward()
        self.choose()

    def choose(self) -> None:
        """From `scores` to the rows' next tokens."""
        known, rows, rules = self.rules.vocabulary, self.rows, self.rules
        size, begin = known.size, known.timestamp_begin
        first_last = size - 1 if known.max_initial_timestamp is None else begin + known.max_initial_timestamp
        scan_kernel[(self.batch, self.stretches)](
            self.scores, rules.bias, rules.first_bias, rows.token, rows.written, rows.before, rows.stamp,
            self.best, self.best_at, self.scores.stride(0), size, begin, known.end, first_last,
            STAMPS=rules.timestamps, BLOCK=VOCABULARY_BLOCK, PARTS=self.stretches, PDL=self.pdl, **self.launch,
        )  # fmt: skip
        record_kernel[(self.batch,)](
            self.best, self.best_at, rows.token, rows.position, rows.written, rows.before, rows.stamp,
            rows.ended.view(torch.uint8), rows.done.view(torch.uint8), rows.limit, rows.out,
            begin, known.end, rows.out.shape[1],
            STAMPS=rules.timestamps, PARTS=self.stretches, BLOCK=triton.next_power_of_2(self.stretches), PDL=self.pdl,
            **self.launch,
        )  # fmt: skip


def suits(tensors) -> bool:
    """Whether the kernels support this model: half precision, fused projections, widths that are sums of two powers
    of two, heads of a power of two."""
    widths = (tensors.width, tensors.decoder[0].fc1[0].shape[0])
    head = tensors.width // tensors.decoder_heads
    return (
        tensors.dtype in {torch.float16, torch.bfloat16}
        and all(layer.attn.fused is not None for layer in tensors.decoder)
        and all(split_width(width) is not None for width in widths)
        and head & (head - 1) == 0
    )
