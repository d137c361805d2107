"""The CUDA decoder without a GPU: `decoder.cu` compiled by a C++ compiler, its threads run in turn, against the plain
pass. What this cannot show, compilation for a GPU, memory ordering and speed, is left to `test_gpu.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluation.engine import cuda_step
from evaluation.engine.cuda_step import CLUSTER, launches_of
from evaluation.engine.model import Caches, decode_span, logits
from evaluation.engine.tensors import collect
from merger.live import LiveMerge
from tests.evaluation.conftest import save_pair
from tests.evaluation.engine.emulated_kernels import Emulated

TOLERANCE = {torch.float16: 0.005, torch.bfloat16: 0.04}  # of the largest logit


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "heads", "rows"), [("float16", 2, 1), ("bfloat16", 3, 1), ("float16", 3, 4), ("float16", 2, 8)]
)
def test_a_pass_follows_its_twin(dtype: str, heads: int, rows: int, tmp_path: Path) -> None:
    pair = save_pair(tmp_path, d_model=64 * heads, heads=heads, layers=(1, 2), max_source_positions=1500)
    live = LiveMerge(*pair, device="cpu", dtype=dtype)
    tensors = collect(live.modules["a"])
    ours, plain = Caches(tensors, 1), Caches(tensors, 1)
    assert cuda_step.suits(tensors, ours)
    for caches in (ours, plain):
        torch.manual_seed(heads)
        caches.self_kv.copy_(torch.randn(caches.self_kv.shape))
        caches.cross_kv.copy_(torch.randn(caches.cross_kv.shape))
    emulated = Emulated(cuda_step.program(tensors, rows), tmp_path)
    tokens, position = torch.arange(rows), torch.tensor([0])
    scores = torch.full((rows, len(tensors.head)), float("nan"))
    launches = list(launches_of(tensors, ours, tokens, position, scores))
    last = tensors.target_positions - rows
    for number, place in enumerate([53, 258, last] if rows > 1 else [0, 1, 130, 258, last]):
        ahead = 0 if place == 130 else 8  # one warp is, or none (emulated.hpp); with one it takes long
        tokens.add_(11)
        position.fill_(place)
        for launch in launches:
            emulated.run(launch, 9 * number + ahead, CLUSTER if launch.kernel.startswith("attend") else 1)
        expected = logits(tensors, decode_span(tensors, plain, tokens[None], position[0])[0])
        assert float((scores - expected).abs().max()) <= TOLERANCE[tensors.dtype] * float(expected.abs().max())
        assert torch.allclose(ours.self_kv, plain.self_kv, atol=0.05)
        scores.fill_(float("nan"))
