"""The cross-attention to encoder outputs in CUDA without a GPU, against plain torch."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from evaluation.engine import cuda_hear
from evaluation.engine.cuda_kernels import KernelLaunch
from tests.evaluation.engine.emulated_kernels import Emulated

TOLERANCE = {torch.float16: 0.004, torch.bfloat16: 0.03}


def attended(asked: torch.Tensor, heard: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    sound = heard[windows.long()].float()
    weights = (asked.float() @ sound.mT * cuda_hear.HEAD_WIDTH**-0.5).softmax(-1)
    return weights @ sound


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "heads", "positions", "rows"),
    [
        (torch.float16, 2, 100, 19),
        (torch.float16, 2, 100, 8),
        (torch.bfloat16, 4, 93, 5),
        (torch.float16, 18, 40, 3),
        (torch.float16, 2, 300, 1),
    ],
)
def test_it_follows_its_twin(dtype: torch.dtype, heads: int, positions: int, rows: int, tmp_path: Path) -> None:
    width = heads * cuda_hear.HEAD_WIDTH
    emulated = Emulated(cuda_hear.program(width, heads, positions, dtype), tmp_path)
    torch.manual_seed(rows)
    count = max(2, rows // 2)
    heard = cuda_hear.room_for(count, positions, width, dtype, torch.device("cpu"))
    heard.copy_(torch.randn(heard.shape))
    windows = torch.randint(count, (rows,), dtype=torch.int32)
    asked = (torch.randn(rows, heads, width) * 0.7).to(dtype)
    asked[0] *= 3  # nearly all weight on one position
    expected = attended(asked, heard, windows)
    for number, (blocks, ahead) in enumerate(product([7, 3, 11], [0, 8])):
        done = torch.rand(rows) < 0.3 if number else torch.zeros(rows, dtype=torch.bool)
        done[rows // 2] = False
        found = torch.full_like(asked, float("nan"))
        launch = cuda_hear.launch_of(asked, heard, windows, done, found, blocks)
        for again in range(2):  # it leaves everything as it has to be for the next launch
            found.fill_(float("nan"))
            emulated.run(launch, seed=9 * number + ahead, together=blocks if again else 1)
            error = (found[~done].float() - expected[~done]).abs().max()
            assert float(error) <= TOLERANCE[dtype] * float(expected.abs().max())
            assert found[done].isnan().all(), "a row that is done was written"


@torch.inference_mode()
def test_without_a_living_row_nothing_is_done(tmp_path: Path) -> None:
    emulated = Emulated(cuda_hear.program(128, 2, 20, torch.float16), tmp_path)
    asked = torch.zeros(2, 2, 128, dtype=torch.float16)
    heard = cuda_hear.room_for(1, 20, 128, torch.float16, torch.device("cpu"))
    found = torch.full_like(asked, float("nan"))
    windows, done = torch.zeros(2, dtype=torch.int32), torch.ones(2, dtype=torch.bool)
    launch: KernelLaunch = cuda_hear.launch_of(asked, heard, windows, done, found, 3)
    emulated.run(launch, 0)
    assert found.isnan().all()
