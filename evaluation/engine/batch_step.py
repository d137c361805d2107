"""The decoder's layers for a batch of more rows than share one reading of the weights in our own kernels.

The matrix products are torch's; attention and what stands between the products are ours.
`device_loop.plain_step` is the twin that it is tested against. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch.nn import functional as F

from evaluation.engine.batch_kernels import batch_cross_kernel, batch_self_kernel
from evaluation.engine.kernels import embed_kernel
from evaluation.engine.model import norm
from evaluation.engine.norm_kernels import fused_add_norm

MULTIPROCESSORS = 132  # of an H100 or H200
PROGRAMS_EACH = 4  # with fewer programs on each a row and head is divided


@dataclass(frozen=True)
class BatchTuning:
    """Shapes of the attention's programs.

    self_block, cross_block: positions that a program holds at once. cross_stretches: programs that share a row and
    head; None: chosen by the number of rows. cross_stages: blocks that are loaded ahead, 1 for none.
    """

    self_block: int = 128
    self_warps: int = 4
    cross_block: int = 256
    cross_warps: int = 4
    cross_stretches: int | None = None
    cross_stages: int = 1

    def stretches(self, owners: int, positions: int) -> int:
        """Programs for each of `owners` rows and heads that hear `positions`."""
        blocks = triton.cdiv(positions, self.cross_block)
        if self.cross_stretches is not None:
            return max(1, min(self.cross_stretches, blocks))
        return 1 if owners >= PROGRAMS_EACH * MULTIPROCESSORS else blocks


class BatchDecoder:
    """`forward` writes `scores`, float32 logits [b, vocabulary], of tokens int64[b] at positions int64[b].

    Rows that are done (bool[b]) are left out of the attention: their scores are finite and mean nothing. Needs a model
    that `triton_step.suits`.
    """

    pdl = False  # torch's own kernels between ours do not wait

    def __init__(self, tensors, caches, tokens, positions, done, tuning: BatchTuning | None = None) -> None:
        self.tensors, self.caches, self.tokens, self.positions = tensors, caches, tokens, positions
        self.done, self.tuning = done.view(torch.uint8), tuning or BatchTuning()
        self.scores = torch.empty((len(tokens), len(tensors.head)), dtype=torch.float32, device=tensors.device)
        b, d, heads = len(tokens), tensors.width, tensors.decoder_heads
        kind = {"device": tensors.device, "dtype": tensors.dtype}
        # zeros: what attention leaves out must be finite
        self.x, self.added, self.normed = (torch.zeros((b, d), **kind) for _ in range(3))
        self.asked, self.seen, self.heard = (torch.zeros((b, d), **kind) for _ in range(3))
        self.qkv = torch.zeros((b, 3 * d), **kind)
        self.inner = torch.zeros((b, tensors.decoder[0].fc1[0].shape[0]), **kind)
        owners, self.stretches = b * heads, self.tuning.stretches(b * heads, tensors.source_positions)
        parts = owners * self.stretches if self.stretches > 1 else 1
        self.sums = torch.zeros((parts, d // heads), dtype=torch.float32, device=tensors.device)
        self.tops, self.norms = (torch.zeros(parts, dtype=torch.float32, device=tensors.device) for _ in range(2))
        self.arrived = torch.zeros(owners, dtype=torch.int32, device=tensors.device)

    def forward(self) -> None:
        """From the tokens to `scores`."""
        tensors, d = self.tensors, self.tensors.width
        embed_kernel[(len(self.tokens),)](
            self.tokens, self.positions, tensors.embed, tensors.decoder_positions, self.x,
            D=d, BLOCK=triton.next_power_of_2(d), PDL=False,
        )  # fmt: skip
        layers = tensors.decoder
        normed = norm(self.x, layers[0].attn_norm)
        for index, layer in enumerate(layers):
            product(normed, layer.attn.fused, self.qkv)
            self._self_attention(index)
            normed = self._residual(self.seen, layer.attn.out, layer.cross_norm)
            product(normed, layer.cross.q, self.asked)
            self._cross_attention(index)
            normed = self._residual(self.heard, layer.cross.out, layer.mlp_norm)
            product(normed, layer.fc1, self.inner)
            torch.ops.aten.gelu_(self.inner)
            after = layers[index + 1].attn_norm if index + 1 < len(layers) else tensors.decoder_norm
            normed = self._residual(self.inner, layer.fc2, after)
        self.scores.copy_(F.linear(normed, tensors.head))

    def _residual(self, x, pair, norm_pair) -> torch.Tensor:
        """x[b, k] through a linear layer, added to the residuals: what the next product reads."""
        product(x, pair, self.added)
        return fused_add_norm(self.x, self.added, norm_pair, out=self.normed)

    def _self_attention(self, index) -> None:
        tensors, tuning, heads = self.tensors, self.tuning, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.self_kv[index]
        batch_self_kernel[(len(self.tokens) * heads,)](
            self.qkv, keys, values, self.positions, self.done, self.seen, width**-0.5,
            H=heads, E=width, L=tensors.target_positions, BLOCK=tuning.self_block, num_warps=tuning.self_warps,
        )  # fmt: skip

    def _cross_attention(self, index) -> None:
        tensors, tuning, heads = self.tensors, self.tuning, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.cross_kv[index]
        blocks = triton.cdiv(tensors.source_positions, tuning.cross_block)
        batch_cross_kernel[(len(self.tokens) * heads, self.stretches)](
            self.asked, keys, values, self.done, self.heard, self.sums, self.tops, self.norms, self.arrived,
            width**-0.5, tensors.source_positions, *keys.stride()[:3],
            H=heads, E=width, BLOCK=tuning.cross_block,
            STRETCH=triton.cdiv(blocks, self.stretches) * tuning.cross_block, SPLITS=self.stretches,
            ALL=triton.next_power_of_2(self.stretches), STAGES=tuning.cross_stages, num_warps=tuning.cross_warps,
        )  # fmt: skip


def product(x: torch.Tensor, pair, out: torch.Tensor) -> None:
    """Write `F.linear` of x[b, k] to out[b, n]."""
    weight, bias = pair
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)
