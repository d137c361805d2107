"""Cross-attention of a batch to the encoder's output itself (`cuda/hear.cu`), from Hopper GPUs on.

Keys and values are projections of one encoder output, new ones in every layer: 246 MB of a window in the large models,
which every token has to read. Here the projections are moved to the other side (DeepSeek-V2, arXiv:2405.04434, §2.1.2):

    score = q · (K x) = (Kᵀ q) · x        sum of p · (V x + b) = V (sum of p · x) + b

so that the 3.8 MB of x are read in each layer instead, half as much, and are all that has to be kept of a window.
"""

from __future__ import annotations

import torch

from evaluation.engine.cuda_kernels import KernelLaunch, Program, Sequel, aligned
from evaluation.engine.tensors import WhisperTensors

HEAD_WIDTH, WARPS, TILE = 64, 8, 32  # as in hear.cu
PAD = 8  # between the positions of a window, so that eight of them lie in different banks of shared memory
MOST_ROWS = 32 * WARPS
WIDEST = 1280  # what a block has registers for
MOST_PIECES = 6  # that one row is divided into: whoever joins them reads them all
KERNELS = ("hear",)


def program_for(tensors: WhisperTensors) -> Program:
    """The kernel for a model."""
    return program(tensors.width, tensors.decoder_heads, tensors.source_positions, tensors.dtype)


def program(width: int, heads: int, positions: int, dtype: torch.dtype) -> Program:
    """The kernel for a model's shape."""
    constants = {"D": width, "S": positions, "HEADS": heads, "PAD": PAD, "BF16": int(dtype == torch.bfloat16)}
    return Program(tuple(constants.items()), ("shares.cuh", "hear.cu"), KERNELS)


def suits(tensors: WhisperTensors, rows: int) -> bool:
    """Whether the kernel can compute this model for so many rows: half precision, heads of 64, columns that eight warps
    share in sixteens, addresses from which 16 bytes can be read at once."""
    width = tensors.width
    return (
        rows <= MOST_ROWS
        and tensors.dtype in {torch.float16, torch.bfloat16}
        and width == HEAD_WIDTH * tensors.decoder_heads
        and width % (16 * WARPS) == 0
        and width <= WIDEST
        and all(layer.cross is not None and layer.cross.v[1] is not None for layer in tensors.decoder)
        and aligned(tensors)
    )


def room_for(windows: int, positions: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Where encoder outputs are to lie: [windows, positions, width] within memory that the kernel can copy as it is."""
    shape = (windows, *padded(positions, width))
    return torch.zeros(shape, dtype=dtype, device=device)[:, :positions, :width]


def padded(positions: int, width: int) -> tuple[int, int]:
    """Positions and values between them of a window in memory."""
    return -(-positions // TILE) * TILE, width + PAD


class Hearing:
    """Cross-attention of b rows: `windows` int32[b] says which of heard[n, positions, d], made by `room_for`, a row
    hears; rows that are done, bool[b], are left out. Calls can be captured. Raises what `Sequel` does, ValueError for
    what it does not suit.
    """

    def __init__(
        self, tensors: WhisperTensors, heard: torch.Tensor, windows: torch.Tensor, done: torch.Tensor
    ) -> None:
        rows, device = len(windows), tensors.device
        if not suits(tensors, rows):
            raise ValueError("the CUDA kernel does not support this")
        self._layers, self._heads = tensors.decoder, tensors.decoder_heads
        shape = (rows, tensors.decoder_heads, tensors.width)
        # zeros: what is left out must be finite
        self._asked, self._found = (torch.zeros(shape, dtype=tensors.dtype, device=device) for _ in range(2))
        blocks = torch.cuda.get_device_properties(device).multi_processor_count
        launch = launch_of(self._asked, heard, windows, done, self._found, blocks)
        self._attend = Sequel(program_for(tensors), [launch], device)

    def __call__(self, index: int, q: torch.Tensor, out: torch.Tensor) -> None:
        """Write what the queries q[b, d] of the layer hear to out[b, d]."""
        cross = self._layers[index].cross
        assert cross is not None
        (key, _), (value, bias) = cross.k, cross.v
        assert bias is not None
        q, out = (x.view(len(x), self._heads, HEAD_WIDTH).transpose(0, 1) for x in (q, out))
        key, value = (weight.view(self._heads, HEAD_WIDTH, -1) for weight in (key, value))
        torch.bmm(q, key, out=self._asked.transpose(0, 1))
        self._attend()
        torch.baddbmm(bias.view(self._heads, 1, HEAD_WIDTH), self._found.transpose(0, 1), value.mT, out=out)


def launch_of(
    asked: torch.Tensor,
    heard: torch.Tensor,
    windows: torch.Tensor,
    done: torch.Tensor,
    found: torch.Tensor,
    blocks: int,
) -> KernelLaunch:
    """The launch that attends for asked[b, h, d], with what it needs to join the pieces of rows: found[b, h, d]."""
    rows, heads, width = asked.shape
    sums, tops_norms = (
        torch.empty((2 * blocks, heads, size), dtype=torch.float32, device=asked.device) for size in (width, 2)
    )
    finished = torch.zeros(rows, dtype=torch.int32, device=asked.device)
    given = (asked, heard, windows, done, found, sums, tops_norms, finished)
    return KernelLaunch("hear", blocks, (*given, rows, blocks, MOST_PIECES))
