"""The kernels for batches in Triton's interpreter, against their plain twins; run by `test_interpreted_kernels.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from evaluation.engine import add_norm as add_norms
from evaluation.engine import model, norm_kernels
from evaluation.engine.add_norm import add_norm
from evaluation.engine.batch_step import MANY, OWN_OF_MANY, BatchDecoder, BatchTuning, Cross, Own, rounded_up
from evaluation.engine.device_loop import Rows, Start, advance
from evaluation.engine.kernel_choice import fastest_step
from evaluation.engine.model import FP16_CLAMP, Caches, decode_rows, encode, fill_cross, logits
from evaluation.engine.norm_kernels import fused_add_norm
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import Pair, WhisperTensors, collect
from evaluation.engine.triton_step import MOST_ROWS, TritonStep
from evaluation.vocabulary import Vocabulary
from merger.live import LiveMerge
from tests.evaluation.conftest import save_pair
from tests.evaluation.engine.states import copy_of, fields
from tests.evaluation.engine.tiny_whisper import START, make_processor

CPU = torch.device("cpu")
ROWS = MOST_ROWS + 2
TOLERANCE = 0.005  # of the largest logit
TUNINGS = [
    BatchTuning(),
    BatchTuning(cross=MANY),
    BatchTuning(cross=Cross(4, 256, 1)),  # of 512 positions each: the last has none
    BatchTuning(cross=Cross(2, 128, 2), own=OWN_OF_MANY),
    BatchTuning(own=Own(32, 2)),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveMerge:
    folder = tmp_path_factory.mktemp("batches")
    return LiveMerge(*save_pair(folder, d_model=64, heads=2), device="cpu", dtype="float16")


@pytest.fixture(scope="module")
def tensors(live: LiveMerge) -> WhisperTensors:
    return collect(live.modules["a"])


@pytest.fixture(scope="module")
def rules(live: LiveMerge) -> Rules:
    return Rules(Vocabulary.of(live.modules["a"], make_processor().tokenizer), True, CPU)


@pytest.fixture(scope="module")
@torch.inference_mode()
def filled(tensors: WhisperTensors) -> Caches:
    torch.manual_seed(3)
    caches = Caches(tensors, ROWS)
    fill_cross(tensors, encode(tensors, torch.randn(ROWS, 80, 3000, dtype=tensors.dtype) * 0.3), caches)
    caches.self_kv.normal_()
    return caches


def copied(tensors: WhisperTensors, caches: Caches) -> Caches:
    copy = Caches(tensors, ROWS)
    copy.self_kv.copy_(caches.self_kv)
    copy.cross_kv.copy_(caches.cross_kv)
    return copy


def stepped(tensors: WhisperTensors, caches: Caches, rows: Rows, rules: Rules, tuning: BatchTuning) -> TritonStep:
    decoder = BatchDecoder(tensors, caches, rows.token, rows.position, rows.done, tuning)
    return TritonStep(tensors, decoder, rows, rules)


def at_many_places(tensors: WhisperTensors, rules: Rules) -> Rows:
    """Rows at the begin, within the first block of positions, at the begin of another, and far beyond."""
    rows = Rows(ROWS, tensors.target_positions, CPU)
    for row, place in enumerate((0, 40, 64, 174, 261, 348)):
        rows.load(Start(row, [START] * (1 + place), rules.history(), [], 20))
    return rows


@torch.inference_mode()
@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_one_program_or_several_for_a_row_and_head(
    tensors: WhisperTensors, rules: Rules, filled: Caches, tuning: BatchTuning
) -> None:
    caches, plain, rows = copied(tensors, filled), copied(tensors, filled), at_many_places(tensors, rules)
    step = stepped(tensors, caches, rows, rules, tuning)
    for _ in range(2):  # the second time with what the first left in the buffers
        scores = logits(tensors, decode_rows(tensors, plain, rows.token, rows.position, tensors.target_positions))
        step.decoder.forward()
        twin = copy_of(rows)
        advance(twin, rules, step.scores.to(torch.float32, copy=True))
        step.choose()
        assert step.scores.stride(0) > step.scores.shape[1], "no gaps between the rows' scores"
        for name, value in fields(twin).items():
            assert torch.equal(value, getattr(rows, name)), name
        assert float((step.scores - scores).abs().max()) <= TOLERANCE * float(scores.abs().max())
        assert torch.allclose(caches.self_kv, plain.self_kv, atol=0.02)


@torch.inference_mode()
@pytest.mark.parametrize("stretches", [1, 3])
def test_rows_that_are_done_are_left_out(tensors: WhisperTensors, rules: Rules, filled: Caches, stretches: int) -> None:
    tuning = BatchTuning(cross=Cross(stretches, 256, 1))
    caches, rows = copied(tensors, filled), at_many_places(tensors, rules)
    everyone = stepped(tensors, copied(tensors, filled), rows, rules, tuning)
    everyone.decoder.forward()
    gone = torch.tensor([1, 4])
    rows.done[gone] = True
    caches.self_kv[:, :, gone] = float("nan")
    caches.cross_kv[:, :, gone] = float("nan")
    before = caches.self_kv.clone()
    step = stepped(tensors, caches, rows, rules, tuning)
    step.decoder.forward()
    there = ~rows.done
    assert torch.equal(step.scores[there], everyone.scores[there])
    assert step.scores.isfinite().all(), "what was left out was read"
    assert torch.equal(caches.self_kv[:, :, gone].view(torch.int16), before[:, :, gone].view(torch.int16))
    assert not torch.equal(step.scores[gone], everyone.scores[gone])
    twin = copy_of(rows)
    step.choose()
    for name, value in fields(twin).items():
        assert torch.equal(value[gone], getattr(rows, name)[gone]), name
    rows.done[gone] = False  # they take new windows
    for cache, fresh in ((caches.self_kv, filled.self_kv), (caches.cross_kv, filled.cross_kv)):
        cache[:, :, gone] = fresh[:, :, gone]
    for name, value in fields(twin).items():
        if name != "done":
            getattr(rows, name).copy_(value)
    step.decoder.forward()
    assert torch.equal(step.scores, everyone.scores)


def test_a_weight_is_rounded_up_by_what_follows_it() -> None:
    memory = torch.arange(40.0)
    weight = memory[3:21].view(9, 2)
    rounded = rounded_up(weight)
    assert torch.equal(rounded, memory[3:35].view(16, 2)) and rounded.data_ptr() == weight.data_ptr()
    for kept in (memory[3:35].view(16, 2), memory[20:38].view(9, 2), memory[:18].view(2, 9).t()):
        assert rounded_up(kept).shape == kept.shape and torch.equal(rounded_up(kept), kept)


@torch.inference_mode()
def test_what_follows_the_vocabulary_is_never_chosen(tensors: WhisperTensors, rules: Rules, filled: Caches) -> None:
    words, width = tensors.head.shape
    memory = torch.full((words + 8, width), 50.0, dtype=tensors.dtype)
    memory[:words] = tensors.head
    chosen = []
    for head, columns in ((tensors.head.clone(), words), (memory[:words], -(-words // 8) * 8)):
        rows = at_many_places(tensors, rules)
        step = stepped(replace(tensors, head=head), copied(tensors, filled), rows, rules, BatchTuning())
        assert step.decoder.padded_scores.shape == (ROWS, columns) and columns >= words
        step()
        chosen.append((step.scores.clone(), rows.token.clone()))
    assert chosen[0][0].shape == chosen[1][0].shape == (ROWS, words)
    assert torch.equal(chosen[0][0], chosen[1][0]) and torch.equal(chosen[0][1], chosen[1][1])


@torch.inference_mode()
def test_a_step_is_chosen_with_all_rows_and_leaves_them_parked(tensors: WhisperTensors, rules: Rules) -> None:
    rows = Rows(ROWS, tensors.target_positions, CPU)
    rows.park()
    step = fastest_step(tensors)(tensors, Caches(tensors, ROWS), rows, rules)
    assert isinstance(step, TritonStep), "the kernels were not used"
    assert rows.done.all()


@torch.inference_mode()
def test_kernels_that_fail_leave_the_rows_parked(
    tensors: WhisperTensors, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(decoder: BatchDecoder) -> None:
        raise RuntimeError("out of resources")

    monkeypatch.setattr(BatchDecoder, "forward", fail)
    rows = Rows(ROWS, tensors.target_positions, CPU)
    rows.park()
    step = fastest_step(tensors)(tensors, Caches(tensors, ROWS), rows, rules)
    assert not isinstance(step, TritonStep)
    assert rows.done.all()
    step()
    assert rows.position.eq(tensors.target_positions - 1).all(), "a row went on past the last position"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [64, 96, 1280])
def test_residual_and_norm(dtype: torch.dtype, width: int) -> None:
    torch.manual_seed(width)
    x, product = (torch.randn(2, 3, width).to(dtype) * 3 for _ in range(2))
    pair = torch.randn(width).to(dtype), torch.randn(width).to(dtype)
    own, other = x.clone(), x.clone()
    expected, out = add_norm(own, product, pair), fused_add_norm(x, product, pair)
    coarse = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 0.0  # the interpreter cuts instead of rounding
    assert torch.allclose(x, own, rtol=coarse, atol=0.0)
    assert torch.allclose(out, expected, rtol=2 * torch.finfo(dtype).eps, atol=8 * coarse or 1e-3)
    given = torch.empty_like(out)
    assert fused_add_norm(other, product, pair, out=given) is given and torch.equal(given, out)


def test_residuals_are_clamped_as_torch_does_it() -> None:
    x = torch.tensor([[65504.0, -65504.0, 64500.0, 64520.0, 1.0, -64600.0, float("nan"), 0.0]] * 2, dtype=torch.float16)
    x[1, 6] = 3.0
    product = torch.full_like(x, 64.0)
    product[:, 1] = -64.0
    pair = torch.ones(8, dtype=x.dtype), torch.zeros(8, dtype=x.dtype)
    own = x.clone()
    expected, out = add_norm(own, product, pair, FP16_CLAMP), fused_add_norm(x, product, pair, FP16_CLAMP)
    assert torch.equal(x.nan_to_num(7.0), own.nan_to_num(7.0)) and own[1].isfinite().all() and x[0, 6].isnan()
    assert torch.allclose(out[1], expected[1], atol=1e-3) and out[0].isnan().all()


@torch.inference_mode()
def test_the_encoder(tensors: WhisperTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    features = torch.randn(1, 80, 3000, dtype=tensors.dtype) * 0.3
    expected = encode(tensors, features)
    bounds: list[float] = []

    def plain(x: torch.Tensor, product: torch.Tensor, pair: Pair, bound: float) -> torch.Tensor:
        bounds.append(bound)
        return add_norm(x, product, pair, bound)

    monkeypatch.setattr(model, "fastest_add_norm", lambda x: plain)
    assert torch.equal(encode(tensors, features), expected)
    assert bounds == [0.0, FP16_CLAMP] * len(tensors.encoder)
    monkeypatch.setattr(model, "fastest_add_norm", lambda x: fused_add_norm)
    assert float((encode(tensors, features) - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())


def test_a_kernel_that_does_not_agree_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def without_bound(x: torch.Tensor, product: torch.Tensor, pair: Pair, bound: float) -> torch.Tensor:
        return fused_add_norm(x, product, pair)

    tried = add_norms._tried.__wrapped__
    assert tried(CPU, torch.float16, 96) is fused_add_norm and not caplog.records
    assert tried(CPU, torch.float16, 100) is None and "ValueError" in caplog.text
    monkeypatch.setattr(norm_kernels, "fused_add_norm", without_bound)
    assert tried(CPU, torch.float16, 96) is None and "its values differ" in caplog.text
