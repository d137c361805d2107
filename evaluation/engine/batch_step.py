"""The decoder's layers for a batch of more rows than share one reading of the weights in our own kernels.

The matrix products are torch's; attention and what stands between the products are ours.
`device_loop.plain_step` is the twin that it is tested against. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import torch
import triton

from evaluation.engine.add_norm import norm
from evaluation.engine.batch_kernels import batch_cross_kernel, batch_self_kernel
from evaluation.engine.kernels import embed_kernel
from evaluation.engine.norm_kernels import fused_add_norm

MULTIPROCESSORS = 132  # of an H100 or H200
PROGRAMS_EACH = 4  # with fewer programs on each a row and head is divided
FAST_MULTIPLE = 8  # of rows of a weight, for which the library has its fast kernels


@dataclass(frozen=True)
class Cross:
    """How the cross-attention of a row and head is divided: into `stretches` of blocks of `block` positions, of which
    `stages` are loaded ahead (1: none)."""

    stretches: int
    block: int
    stages: int


MANY, FEW = Cross(1, 128, 2), Cross(6, 256, 1)  # fastest on an H200 (docs/lab-book/live.md)


@dataclass(frozen=True)
class Own:
    """How many positions of a row's text a program of the self-attention holds at once, and with how many warps."""

    block: int
    warps: int


OWN_OF_MANY, OWN_OF_FEW = Own(64, 1), Own(128, 4)


@dataclass(frozen=True)
class BatchTuning:
    """Shapes of the attention's programs; None: chosen by the number of rows and heads (`owners`)."""

    own: Own | None = None
    cross: Cross | None = None
    cross_warps: int = 4

    def own_for(self, owners: int) -> Own:
        """For the self-attention."""
        return self.own or (OWN_OF_MANY if _are_many(owners) else OWN_OF_FEW)

    def cross_for(self, owners: int, positions: int) -> Cross:
        """For the cross-attention to `positions`."""
        chosen = self.cross or (MANY if _are_many(owners) else FEW)
        return replace(chosen, stretches=max(1, min(chosen.stretches, triton.cdiv(positions, chosen.block))))


def _are_many(owners: int) -> bool:
    return owners >= PROGRAMS_EACH * MULTIPROCESSORS


class BatchDecoder:
    """`forward` writes `scores`, logits [b, vocabulary] in the model's dtype, of tokens int64[b] at positions int64[b].

    Rows that are done (bool[b]) are left out of the attention: their scores are finite and mean nothing. Needs a model
    that `triton_step.suits`. hear(index, q[b, d], out[b, d]): the cross-attention of a layer; None: to the keys and
    values in the caches.
    """

    pdl = False  # torch's own kernels between ours do not wait

    def __init__(
        self, tensors, caches, tokens, positions, done, tuning: BatchTuning | None = None,
        hear: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
    ) -> None:  # fmt: skip
        self.tensors, self.caches, self.tokens, self.positions = tensors, caches, tokens, positions
        self.done, self.tuning = done.view(torch.uint8), tuning or BatchTuning()
        self.own = self.tuning.own_for(len(tokens) * tensors.decoder_heads)
        self.hear = hear or KeyedHearing(tensors, caches, self.done, self.tuning)
        b, d, words = len(tokens), tensors.width, len(tensors.head)
        kind = {"device": tensors.device, "dtype": tensors.dtype}
        self.head = rounded_up(tensors.head)
        padded = torch.empty((b, -(-words // FAST_MULTIPLE) * FAST_MULTIPLE), **kind)
        self.scores, self.padded_scores = padded[:, :words], padded[:, : len(self.head)]
        # zeros: what attention leaves out must be finite
        self.x, self.added, self.normed = (torch.zeros((b, d), **kind) for _ in range(3))
        self.asked, self.seen, self.heard = (torch.zeros((b, d), **kind) for _ in range(3))
        self.qkv = torch.zeros((b, 3 * d), **kind)
        self.inner = torch.zeros((b, tensors.decoder[0].fc1[0].shape[0]), **kind)

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
            self.hear(index, self.asked, self.heard)
            normed = self._residual(self.heard, layer.cross.out, layer.mlp_norm)
            product(normed, layer.fc1, self.inner)
            torch.ops.aten.gelu_(self.inner)
            after = layers[index + 1].attn_norm if index + 1 < len(layers) else tensors.decoder_norm
            normed = self._residual(self.inner, layer.fc2, after)
        torch.mm(normed, self.head.t(), out=self.padded_scores)

    def _residual(self, x, pair, norm_pair) -> torch.Tensor:
        """x[b, k] through a linear layer, added to the residuals: what the next product reads."""
        product(x, pair, self.added)
        return fused_add_norm(self.x, self.added, norm_pair, out=self.normed)

    def _self_attention(self, index) -> None:
        tensors, own, heads = self.tensors, self.own, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.self_kv[index]
        batch_self_kernel[(len(self.tokens) * heads,)](
            self.qkv, keys, values, self.positions, self.done, self.seen, width**-0.5,
            H=heads, E=width, L=tensors.target_positions, BLOCK=own.block, num_warps=own.warps,
        )  # fmt: skip


class KeyedHearing:
    """The cross-attention of b rows to the keys and values of their caches; `done` is uint8[b]."""

    def __init__(self, tensors, caches, done, tuning: BatchTuning) -> None:
        self.tensors, self.caches, self.done, self.tuning = tensors, caches, done, tuning
        heads, device = tensors.decoder_heads, tensors.device
        owners = len(done) * heads
        self.cross = tuning.cross_for(owners, tensors.source_positions)
        parts = owners * self.cross.stretches if self.cross.stretches > 1 else 1
        self.sums = torch.zeros((parts, tensors.width // heads), dtype=torch.float32, device=device)
        self.tops, self.norms = (torch.zeros(parts, dtype=torch.float32, device=device) for _ in range(2))
        self.arrived = torch.zeros(owners, dtype=torch.int32, device=device)

    def __call__(self, index: int, q: torch.Tensor, out: torch.Tensor) -> None:
        """Write what the queries q[b, d] of the layer hear to out[b, d]."""
        tensors, heads = self.tensors, self.tensors.decoder_heads
        width = tensors.width // heads
        keys, values = self.caches.cross_kv[index]
        stretches, block, stages = astuple(self.cross)
        blocks = triton.cdiv(tensors.source_positions, block)
        batch_cross_kernel[(len(self.done) * heads, stretches)](
            q, keys, values, self.done, out, self.sums, self.tops, self.norms, self.arrived,
            width**-0.5, tensors.source_positions, *keys.stride()[:3],
            H=heads, E=width, BLOCK=block, STRETCH=triton.cdiv(blocks, stretches) * block, SPLITS=stretches,
            ALL=triton.next_power_of_2(stretches), STAGES=stages, num_warps=self.tuning.cross_warps,
        )  # fmt: skip


def product(x: torch.Tensor, pair, out: torch.Tensor) -> None:
    """Write `F.linear` of x[b, k] to out[b, n]."""
    weight, bias = pair
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


def rounded_up(weight: torch.Tensor) -> torch.Tensor:
    """weight[n, k] with what follows it in memory as further rows, up to a multiple of FAST_MULTIPLE; as it is, where
    nothing follows.

    Vocabularies are odd numbers, and the output head lies in the middle of a flat buffer. Nobody reads what comes out
    as the scores of further words, and the product is three times as fast.
    """
    (n, k), start = weight.shape, weight.storage_offset()
    rows = -(-n // FAST_MULTIPLE) * FAST_MULTIPLE
    room = weight.untyped_storage().nbytes() // weight.itemsize
    whole = weight.is_contiguous() and start + rows * k <= room
    return weight.as_strided((rows, k), (k, 1)) if whole else weight
