"""The one-kernel decoder without a GPU: `decoder.cu` compiled by a C++ compiler, its threads run in turn, against the
plain step. What this cannot show, compilation for a GPU, memory ordering and speed, is left to `test_gpu.py`."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.engine import persistent
from evaluation.engine.model import Caches, decode_rows, logits
from evaluation.engine.persistent import Shape, address_table
from evaluation.engine.tensors import WhisperTensors, collect
from merger.live import LiveMerge
from tests.evaluation.conftest import save_pair

EMULATED = Path(__file__).with_name("emulated.hpp")
TOLERANCE = {torch.float16: 0.005, torch.bfloat16: 0.04}  # of the largest logit


def build(shape: Shape, bf16: bool, folder: Path) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    kernel = (persistent.FOLDER / "decoder.cu").read_text(encoding="utf-8")
    program, library = folder / "decoder.cpp", folder / "decoder.so"
    program.write_text("\n".join([shape.prelude(bf16), EMULATED.read_text(encoding="utf-8"), kernel]), "utf-8")
    command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-o", str(library), str(program)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[:3000]
    return ctypes.CDLL(str(library))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "heads", "blocks", "warps", "slots", "ahead"),
    [("float16", 2, 32, 4, 48, 1), ("float16", 3, 25, 8, 64, 10), ("bfloat16", 3, 47, 4, 35, 25)],
)
def test_the_step_follows_its_twin(
    dtype: str, heads: int, blocks: int, warps: int, slots: int, ahead: int, tmp_path: Path
) -> None:
    pair = save_pair(tmp_path, d_model=64 * heads, heads=heads, layers=(1, 2), max_source_positions=1500)
    live = LiveMerge(*pair, device="cpu", dtype=dtype)
    tensors = collect(live.modules["a"])
    assert persistent.suits(tensors)
    torch.manual_seed(blocks)
    ours, plain = Caches(tensors, 1), Caches(tensors, 1)
    for caches in (ours, plain):
        torch.manual_seed(0)
        caches.self_kv.copy_(torch.randn(caches.self_kv.shape))
        caches.cross_kv.copy_(torch.randn(caches.cross_kv.shape))
    shape = replace(Shape.of(tensors, blocks, warps), SLOTS=slots, AHEAD=ahead)
    library = build(shape, tensors.dtype == torch.bfloat16, tmp_path)
    token, position = torch.tensor([7]), torch.tensor([0])
    scores = torch.full((1, shape.V), float("nan"))
    exchange, epoch = torch.zeros(shape.exchange_bytes() // 8, dtype=torch.int64), torch.zeros(1, dtype=torch.int32)
    table = address_table(tensors, ours, token, position, scores, exchange, epoch)
    for seed, place in enumerate([0, 1, 2, 130, 447]):
        token.fill_(11 * seed)
        position.fill_(place)
        assert library.emulate(ctypes.c_void_p(table.data_ptr()), shape.shared_bytes(), seed) == 0, "all wait"
        expected = logits(tensors, decode_rows(tensors, plain, token, position, tensors.target_positions))
        assert float((scores - expected).abs().max()) <= TOLERANCE[tensors.dtype] * float(expected.abs().max())
        assert torch.allclose(ours.self_kv, plain.self_kv, atol=0.05)
        scores.fill_(float("nan"))
    assert epoch.item() == 5 * 8 * shape.L
