"""The decoder in CUDA (`cuda/decoder.cu`): one or a few tokens of one text, six kernels a layer; from Hopper GPUs on.

Its twins are `TritonDecoder` and `model.decode_span`; `kernel_choice` tries it before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from evaluation.engine.cuda_kernels import THREADS, KernelLaunch, Program, Sequel, aligned
from evaluation.engine.model import Caches
from evaluation.engine.tensors import WhisperTensors

CLUSTER, OWN = 8, 8  # as in decoder.cu: OWN outputs of one product, or columns of a head, per block
HEAD_WIDTH = OWN * CLUSTER
MOST_TOKENS = 8  # in one pass; their input has to lie beside the weights in shared memory
WIDEST = 8 * THREADS  # of the norms: a thread holds eight values
FILES = ("product.cuh", "attention.cuh", "decoder.cu")
KERNELS = ("embed", "attend_to_text", "attend_to_sound", "project_out", "feed_up", "feed_down", "score")


def program(tensors: WhisperTensors, tokens: int = 1) -> Program:
    """The kernels for a model's shape and passes over so many tokens."""
    constants = {
        "D": tensors.width, "F": tensors.decoder[0].fc1[0].shape[0], "S": tensors.source_positions,
        "T": tensors.target_positions, "V": tensors.head.shape[0], "BF16": int(tensors.dtype == torch.bfloat16),
        "ROWS": tokens,
    }  # fmt: skip
    return Program(tuple(constants.items()), FILES, KERNELS)


def suits(tensors: WhisperTensors, caches: Caches) -> bool:
    """Whether the kernels can compute this model for these caches: one window, half precision, fused projections with
    biases, heads of 64, addresses from which 16 bytes can be read at once."""
    width, hidden = tensors.width, tensors.decoder[0].fc1[0].shape[0]
    return (
        caches.self_kv.shape[2] == 1
        and tensors.dtype in {torch.float16, torch.bfloat16}
        and all(layer.attn.fused is not None and layer.attn.fused[1] is not None for layer in tensors.decoder)
        and width == HEAD_WIDTH * tensors.decoder_heads
        and width <= WIDEST
        and hidden % HEAD_WIDTH == 0
        and tensors.target_positions % CLUSTER == 0
        and aligned(tensors)
    )


def takes(tokens: int) -> bool:
    """Whether a pass can be over so many tokens: they are multiplied in pairs."""
    return tokens == 1 or (tokens % 2 == 0 and tokens <= MOST_TOKENS)


class CudaDecoder:
    """`scores`, float32 logits [t, vocabulary], of tokens int64[t], 1 or an even number of them up to MOST_TOKENS, that
    follow each other from `position`, int64 of one element; `forward` can be captured.

    Raises ImportError without `cuda.bindings`, ValueError for models it does not suit, RuntimeError with CUDA's or the
    compiler's words where it cannot be made.
    """

    pdl = True  # launches may start early

    def __init__(
        self, tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, position: torch.Tensor
    ) -> None:
        count = len(tokens)
        if not suits(tensors, caches) or not takes(count) or position.numel() != 1:
            raise ValueError("the CUDA kernels do not support this")
        self.scores = torch.zeros((count, tensors.head.shape[0]), dtype=torch.float32, device=tensors.device)
        launches = list(launches_of(tensors, caches, tokens, position, self.scores))
        self._launch = Sequel(program(tensors, count), launches, tensors.device, early=True)

    def forward(self) -> None:
        """Launch everything on the current stream."""
        self._launch()


def launches_of(
    tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, position: torch.Tensor, scores: torch.Tensor
) -> Iterator[KernelLaunch]:
    """The launches that make a step, with buffers of their own between them."""
    width, hidden, heads = tensors.width, tensors.decoder[0].fc1[0].shape[0], tensors.decoder_heads
    x, heard, inner = (
        torch.zeros((len(tokens), size), dtype=tensors.dtype, device=tensors.device) for size in (width, width, hidden)
    )
    yield KernelLaunch("embed", 1, (tokens, position, tensors.embed, tensors.decoder_positions, x))
    for index, layer in enumerate(tensors.decoder):
        assert layer.attn.fused is not None and layer.cross is not None and layer.cross_norm is not None
        own, sound = caches.self_kv[index], caches.cross_kv[index]
        across = sound.stride()[2:4]
        yield KernelLaunch(
            "attend_to_text", CLUSTER * heads,
            (x, *layer.attn.fused, *layer.attn_norm, position, own[0], own[1], heard),
        )  # fmt: skip
        yield KernelLaunch("project_out", width // OWN, (heard, *layer.attn.out, x))
        yield KernelLaunch(
            "attend_to_sound", CLUSTER * heads,
            (x, *layer.cross.q, *layer.cross_norm, sound[0], sound[1], heard, *across),
        )  # fmt: skip
        yield KernelLaunch("project_out", width // OWN, (heard, *layer.cross.out, x))
        yield KernelLaunch("feed_up", hidden // (2 * OWN), (x, *layer.fc1, *layer.mlp_norm, inner))
        yield KernelLaunch("feed_down", width // OWN, (inner, *layer.fc2, x))
    yield KernelLaunch("score", -(-len(tensors.head) // (4 * OWN)), (x, tensors.head, *tensors.decoder_norm, scores))
