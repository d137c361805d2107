"""The linear layer with its GELU in Triton's interpreter, against its plain twin; run by `test_interpreted_kernels.py`.

In float16 only: the interpreter multiplies matrices of bfloat16 as if they were integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from evaluation.engine import fused_gelu, gelu_kernels, model
from evaluation.engine.add_norm import add_norm
from evaluation.engine.cpu import linear_gelu as plain
from evaluation.engine.fused_gelu import fastest_linear_gelu
from evaluation.engine.gelu_kernels import fused_linear_gelu, gelu
from evaluation.engine.model import encode
from evaluation.engine.tensors import collect
from merger.live import LiveMerge
from tests.evaluation.conftest import save_pair

PROGRAMS = 3


@pytest.fixture(autouse=True)
def multiprocessors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the processor had a few, and were a GPU on which the kernel can be used."""
    properties = SimpleNamespace(multi_processor_count=PROGRAMS)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(fused_gelu, "hopper", lambda device: True)
    fused_gelu._tried.cache_clear()
    yield
    fused_gelu._tried.cache_clear()


@triton.jit
def _gelu_of_all(x: Any, out: Any, BLOCK: tl.constexpr) -> None:
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, gelu(tl.load(x + place).to(tl.float32)).to(tl.float16))


def test_gelu_of_every_float16_number() -> None:
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    found = torch.empty_like(x)
    _gelu_of_all[(64,)](x, found, BLOCK=1024)
    exact = torch.nn.functional.gelu(x.double())
    numbers = x.isfinite()
    above, below = (torch.nextafter(exact.half(), torch.tensor(end).half()) for end in (torch.inf, -torch.inf))
    near = (found == exact.half()) | (found == above) | (found == below)
    assert near[numbers].all(), x[numbers & ~near]
    assert (found == exact.half())[numbers].float().mean() > 0.99
    assert found[x.isnan()].isnan().all()


@pytest.mark.parametrize(("rows", "n", "k"), [(1, 256, 64), (300, 576, 128), (1100, 64, 192)])
def test_a_layer_follows_its_twin(rows: int, n: int, k: int) -> None:
    """Fewer tiles than programs and more, tiles that end with the matrix and that reach beyond it."""
    torch.manual_seed(rows)
    x, weight, bias = torch.randn(1, rows, k).half(), torch.randn(n, k).half() * k**-0.5, torch.randn(n).half()
    expected = plain(x.float(), weight.float(), bias.float())
    found = fused_linear_gelu(x, weight, bias)
    assert found.shape == expected.shape and found.dtype == torch.float16
    assert torch.allclose(found.float(), expected, atol=2e-3, rtol=1e-3)


@torch.inference_mode()
def test_the_encoder_of_several_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = save_pair(tmp_path, d_model=64, heads=2, max_source_positions=70)
    tensors = collect(LiveMerge(*pair, device="cpu", dtype="float16").modules["a"])
    features = torch.randn(2, 80, 140, dtype=torch.float16) * 0.3
    monkeypatch.setattr(model, "fastest_add_norm", lambda x: add_norm)
    expected = encode(tensors, features)
    assert torch.equal(encode(tensors, features), expected)  # its layers are too small for the kernel
    monkeypatch.setattr(fused_gelu, "LEAST_WORK", 1)
    found = encode(tensors, features)
    assert not torch.equal(found, expected), "the kernel was not used"
    assert float((found - expected).abs().max()) <= 0.005 * float(expected.abs().max())
    assert torch.equal(encode(tensors, features[:1]), encode_plainly(tensors, features[:1], monkeypatch))


def encode_plainly(tensors: Any, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(model, "fastest_linear_gelu", lambda *given: plain)
    return encode(tensors, features)


def test_what_the_kernel_does_not_suit_is_left_to_its_twin(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused_gelu, "LEAST_WORK", 1)
    x, weight, bias = torch.zeros(2, 5, 64).half(), torch.zeros(128, 64).half(), torch.zeros(128).half()
    pair, odd = (weight, bias), torch.zeros(128 * 64 + 1).half()[1:].view(128, 64)
    assert odd.data_ptr() % 16
    assert fastest_linear_gelu(x, [pair, pair]) is fused_linear_gelu
    assert fastest_linear_gelu(x.float(), [(weight.float(), bias.float())]) is plain
    for other in ((weight, None), (weight.t(), bias), (odd, bias), (weight[:64], bias)):
        assert fastest_linear_gelu(x, [pair, other]) is plain
    narrow = weight[:, :40].contiguous()
    assert fastest_linear_gelu(x[..., :40], [(narrow, bias)]) is plain
    with monkeypatch.context() as another_device:
        another_device.setattr(fused_gelu, "hopper", lambda device: False)
        assert fastest_linear_gelu(x, [pair]) is plain
    assert not caplog.records


def quick_gelu(y: torch.Tensor) -> torch.Tensor:
    return y * torch.sigmoid(1.702 * y)


@pytest.mark.parametrize("wrong", [torch.nn.functional.relu, torch.nn.functional.silu, quick_gelu])
def test_a_kernel_that_does_not_agree_is_not_used(
    wrong: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nearly(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = wrong(torch.nn.functional.linear(x, weight, bias))
        return found

    monkeypatch.setattr(gelu_kernels, "fused_linear_gelu", nearly)
    assert fused_gelu._tried(torch.device("cpu"), torch.float16, 512, 128) is plain
    assert "fused product and GELU" in caplog.text
