"""On a GPU: captured graphs, the steps in CUDA and Triton, the merge kernel, against their twins and transformers.

Longer than most files: what needs a card runs in one go there, with one pair of models.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.engine import WhisperEngine, cpu, fused_gelu, kernel_choice, model
from evaluation.engine.backend import CudaBackend
from evaluation.engine.batch_windows import HeardWindows, KeyedWindows
from evaluation.engine.continuous import ContinuousBatch
from evaluation.engine.cuda_step import CudaDecoder
from evaluation.engine.device_greedy import make_plain_span, make_plain_step
from evaluation.engine.device_loop import Captured, Rows, Start, advance, plain_step
from evaluation.engine.kernel_choice import fastest_span
from evaluation.engine.model import Caches, decode_many, decode_rows, encode, fill_cross, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.generate import HuggingFaceTranscriber
from evaluation.live_transcriber import LiveTranscriber
from evaluation.transcriber import TranscribeOptions, Transcript
from evaluation.vocabulary import Vocabulary
from merger.errors import Cancelled
from merger.live import LiveMerge, ModelName
from merger.recipe import MergeRecipe
from tests.evaluation.conftest import save_pair
from tests.evaluation.engine.states import copy_of, fields
from tests.evaluation.engine.tiny_whisper import make_clip, make_processor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
MODELS: tuple[ModelName, ...] = ("a", "merged", "b")
OPTIONS = TranscribeOptions(max_new_tokens=40, no_speech_threshold=None)
RECIPES = [
    MergeRecipe.build("direct", {"direct_alpha": 0.3}),
    MergeRecipe.build("slerp", {"slerp_t": 0.4}),
    MergeRecipe.build("ties", {"ties_density": 0.37}),
    MergeRecipe.build("direct", {"direct_alpha": 1.0}),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveMerge:
    return LiveMerge(*save_pair(tmp_path_factory.mktemp("gpu"), d_model=128, heads=2), device="cuda")


def test_the_merge_kernel_has_the_bits_of_a_merge_on_the_cpu(live: LiveMerge) -> None:
    host = LiveMerge(live.checkpoints["a"], live.checkpoints["b"], device="cpu", dtype="float16")
    assert live.mixture.kernel is not None
    for recipe in RECIPES:
        live.apply(recipe)
        host.apply(recipe)
        bits = [each.mixture.buffer.cpu().view(torch.int16) for each in (live, host)]
        assert torch.equal(*bits), recipe.sentence("en")


def test_prepared_and_measured_tables_agree(live: LiveMerge, tmp_path: Path) -> None:
    plain = LiveMerge(live.checkpoints["a"], live.checkpoints["b"], device="cuda")
    live.prepare("ties")
    live.prepare("slerp")
    for recipe in RECIPES:
        live.apply(recipe)
        plain.apply(recipe)
        assert torch.equal(live.mixture.buffer, plain.mixture.buffer)


@torch.inference_mode()
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("which", ["cuda", "triton", "triton, one launch after the other", "batch"])
def test_a_step_follows_its_twin(live: LiveMerge, timestamps: bool, which: str) -> None:
    kernels = pytest.importorskip("evaluation.engine.triton_step")
    batch = {"cuda": 1, "batch": 6}.get(which, 2)
    module = live.modules["a"]
    tensors, device = collect(module), torch.device("cuda")
    rules = Rules(Vocabulary.of(module, make_processor().tokenizer), timestamps, device)
    heard = encode(tensors, torch.randn(batch, 80, 3000, device=device, dtype=tensors.dtype) * 0.3)
    caches, rows = [Caches(tensors, batch) for _ in range(2)], [Rows(batch, 448, device) for _ in range(2)]
    for each, state in zip(caches, rows, strict=True):
        fill_cross(tensors, heard, each)
        for row, limit in enumerate((30, 12, 30, 3, 30, 30)[:batch]):
            state.load(Start(row, [257], rules.history(), [], limit))
    given = (tensors, caches[1], rows[1].token, rows[1].position)
    if which == "cuda":
        decoder = CudaDecoder(*given)
    elif which == "batch":
        decoder = pytest.importorskip("evaluation.engine.batch_step").BatchDecoder(*given, rows[1].done)
    else:
        decoder = kernels.TritonDecoder(*given, dependent_launch="after" not in which)
    step = kernels.TritonStep(tensors, decoder, rows[1], rules)
    for _ in range(30):
        decoder.forward()
        reference = step.scores.to(torch.float32, copy=True)
        plain_step(tensors, caches[0], rows[0], rules)
        twin = copy_of(rows[1])
        step.choose()
        advance(twin, rules, reference)  # the same scores must lead to the same choice, whatever wrote them
        for name, value in fields(twin).items():
            assert torch.equal(value, getattr(rows[1], name)), name
    share = (rows[0].out == rows[1].out).float().mean().item()
    assert share > 0.9, "scores of the two steps differ by more than rounding"


@torch.inference_mode()
@pytest.mark.parametrize("cross", [(1, 128, 2), (1, 256, 1), (2, 256, 1), (6, 256, 1)])
def test_a_batch_follows_its_twin_and_leaves_out_rows_that_are_done(
    live: LiveMerge, cross: tuple[int, int, int]
) -> None:
    kernels = pytest.importorskip("evaluation.engine.triton_step")
    tensors, device, count = collect(live.modules["a"]), torch.device("cuda"), 40
    rules = Rules(Vocabulary.of(live.modules["a"], make_processor().tokenizer), True, device)
    heard = encode(tensors, torch.randn(count, 80, 3000, device=device, dtype=tensors.dtype) * 0.3)
    caches, rows = [Caches(tensors, count) for _ in range(2)], Rows(count, 448, device)
    own = torch.randn_like(caches[0].self_kv)
    for each in caches:
        fill_cross(tensors, heard, each)
        each.self_kv.copy_(own)
    for row in range(count):
        rows.load(Start(row, [257] * (1 + 10 * row), rules.history(), [], 30))
    batches = pytest.importorskip("evaluation.engine.batch_step")
    tuning = batches.BatchTuning(cross=batches.Cross(*cross))
    decoder = batches.BatchDecoder(tensors, caches[0], rows.token, rows.position, rows.done, tuning)
    step = kernels.TritonStep(tensors, decoder, rows, rules)
    captured = Captured(decoder.forward, device)
    gone = torch.zeros(count, dtype=torch.bool, device=device)
    for _ in range(3):
        caches[0].cross_kv[:, :, gone] = float("nan")
        rows.done.copy_(gone)
        repeated = []
        for _ in range(5):
            captured()
            repeated.append(step.scores.clone())
        assert all(torch.equal(repeated[0], each) for each in repeated), "the same bits every time"
        expected = logits(tensors, decode_rows(tensors, caches[1], rows.token, rows.position, 448))
        assert float((step.scores - expected)[~gone].abs().max()) <= 0.005 * float(expected.abs().max())
        assert step.scores.isfinite().all()
        gone |= torch.rand(count, device=device) < 0.4


@torch.inference_mode()
def test_a_batch_that_hears_encoder_outputs(live: LiveMerge, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("evaluation.engine.batch_step")
    tensors, device = collect(live.modules["a"]), torch.device("cuda")
    vocabulary = Vocabulary.of(live.modules["a"], make_processor().tokenizer)
    prompt, rules = vocabulary.prompt("ru", "transcribe", False), Rules(vocabulary, False, device)
    windows = list(enumerate(torch.randn(40, 80, 3000) * 0.3))
    limits = {key: 5 + 7 * key % 23 for key, _ in windows}  # rows are done, and taken again, at different times
    written = []
    for from_rows, kind in ((0, HeardWindows), (999, KeyedWindows)):
        monkeypatch.setattr(kernel_choice, "HEARD_FROM_ROWS", from_rows)
        batch = ContinuousBatch(tensors, rules, 12)
        assert isinstance(batch._windows, kind), "the kernels were not used"
        texts = [{one.key: one.tokens for one in batch.decode(windows, prompt, limits)} for _ in range(2)]
        assert texts[0] == texts[1], "the same texts every time"
        written.append(texts[0])
    share = sum(written[0][key] == written[1][key] for key in limits) / len(limits)
    assert share > 0.8, "they differ by more than rounding"


@torch.inference_mode()
def test_a_batch_hears_weights_that_were_merged_after_its_graphs_were_captured(
    live: LiveMerge, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("evaluation.engine.batch_step")
    monkeypatch.setattr(kernel_choice, "HEARD_FROM_ROWS", 0)
    tensors, device = collect(live.modules["merged"]), torch.device("cuda")
    vocabulary = Vocabulary.of(live.modules["merged"], make_processor().tokenizer)
    prompt, rules = vocabulary.prompt("ru", "transcribe", False), Rules(vocabulary, False, device)
    windows = list(enumerate(torch.randn(15, 80, 3000) * 0.3))

    def texts(batch: ContinuousBatch, prompt: list[int]) -> dict[Hashable, tuple[int, ...]]:
        return {one.key: one.tokens for one in batch.decode(windows, prompt, 12)}

    batch, written = ContinuousBatch(tensors, rules, 12), []
    for alpha in (0.2, 0.9, 0.2):
        live.apply(MergeRecipe.build("direct", {"direct_alpha": alpha}))
        written.append([texts(batch, list(asked)) for asked in (prompt, prompt[:2])])
        afresh = ContinuousBatch(tensors, rules, 12)
        assert written[-1] == [texts(afresh, list(asked)) for asked in (prompt, prompt[:2])]
    assert written[0] == written[2] and written[0] != written[1] and written[0][0] != written[0][1]


@torch.inference_mode()
def test_the_encoder_with_fused_norms(live: LiveMerge, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    tensors = collect(live.modules["a"])
    features = torch.randn(3, 80, 3000, device="cuda", dtype=tensors.dtype) * 0.3
    heard = encode(tensors, features)
    assert model.fastest_add_norm(heard) is not None, "the kernel was not used"
    monkeypatch.setattr(model, "fastest_add_norm", lambda x: None)
    plain = encode(tensors, features)
    assert float((heard - plain).abs().max()) <= 0.005 * float(plain.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "n", "k"), [(1, 256, 64), (300, 576, 128), (27_000, 5120, 1280)])
def test_a_product_with_its_gelu_follows_its_twin(rows: int, n: int, k: int, dtype: torch.dtype) -> None:
    kernels = pytest.importorskip("evaluation.engine.gelu_kernels")
    torch.manual_seed(rows)
    x, weight, bias = (torch.randn(size, device="cuda") for size in ((1, rows, k), (n, k), (n,)))
    given = x.to(dtype), (weight * k**-0.5).to(dtype), bias.to(dtype)
    found = kernels.fused_linear_gelu(*given)
    expected = cpu.linear_gelu(*(each.float() for each in given))
    assert torch.allclose(found.float(), expected, atol=2e-3, rtol=4 * torch.finfo(dtype).eps)
    assert torch.equal(found, kernels.fused_linear_gelu(*given)), "the same bits every time"


@torch.inference_mode()
def test_the_encoder_of_several_windows(live: LiveMerge, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    tensors = collect(live.modules["a"])
    features = torch.randn(3, 80, 3000, device="cuda", dtype=tensors.dtype) * 0.3
    plain = encode(tensors, features)
    monkeypatch.setattr(fused_gelu, "LEAST_WORK", 1)
    heard = encode(tensors, features)
    assert not torch.equal(heard, plain), "the kernel was not used"
    assert float((heard - plain).abs().max()) <= 0.005 * float(plain.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("length", [4, 8])
def test_a_pass_over_a_few_tokens_follows_its_twin(live: LiveMerge, length: int) -> None:
    pytest.importorskip("evaluation.engine.triton_step")
    device, tensors = torch.device("cuda"), collect(live.modules["a"])
    heard = encode(tensors, torch.randn(1, 80, 3000, device=device, dtype=tensors.dtype) * 0.3)
    tokens, first = torch.arange(length, device=device)[None] + 7, torch.zeros((), dtype=torch.int64, device=device)
    scores = []
    for make in (make_plain_span, fastest_span(tensors)):
        caches = Caches(tensors, 1)
        fill_cross(tensors, heard, caches)
        decode_many(tensors, caches, torch.arange(300, device=device)[None] % 250, 0)
        span = make(tensors, caches, tokens, first)
        captured = Captured(span.run, device)
        for place in (0, 63, 200, 300):
            first.fill_(place)
            captured()
            scores.append(span.scores.clone())
    assert span.run.__module__ != make_plain_span.__module__, "the kernels were not used"
    for plain, ours in zip(scores[:4], scores[4:], strict=True):
        assert float((plain - ours).abs().max()) <= 0.005 * float(plain.abs().max())


@torch.inference_mode()
def test_a_captured_step_hears_weights_that_were_merged_afterwards(live: LiveMerge) -> None:
    kernels = pytest.importorskip("evaluation.engine.triton_step")
    device, tensors = torch.device("cuda"), collect(live.modules["merged"])
    rules = Rules(Vocabulary.of(live.modules["merged"], make_processor().tokenizer), False, device)
    caches, rows = Caches(tensors, 1), Rows(1, 448, device)
    rows.park()
    step = kernels.TritonStep(tensors, CudaDecoder(tensors, caches, rows.token, rows.position), rows, rules)
    captured = Captured(step, device)
    outcomes = []
    for alpha in (0.2, 0.9, 0.2):
        live.apply(MergeRecipe.build("direct", {"direct_alpha": alpha}))
        fill_cross(tensors, encode(tensors, torch.ones(1, 80, 3000, device=device, dtype=tensors.dtype)), caches)
        rows.load(Start(0, [257], rules.history(), [], 40))
        captured()
        outcomes.append(step.scores.clone())
    assert torch.equal(outcomes[0], outcomes[2]) and not torch.equal(outcomes[0], outcomes[1])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("seconds", "timestamps"), [(3, False), (5, True), (44, None)])
def test_the_engine_equals_generate(live: LiveMerge, plain: bool, seconds: float, timestamps: bool | None) -> None:
    differ = 0
    for seed in range(6):
        live.apply(RECIPES[seed % len(RECIPES)])
        module = live.modules["merged"]
        engine = WhisperEngine(module, make_processor().tokenizer)
        if plain:
            engine.backend = CudaBackend(engine.tensors, engine.caches, make_plain_step)
        options, clip = replace(OPTIONS, timestamps=timestamps), make_clip(seconds, seed)
        expected = HuggingFaceTranscriber(module, make_processor()).transcribe(clip, options).tokens
        kept = engine.transcribe_kept(clip, options)
        differ += kept.transcript.tokens != expected
        if not plain:
            assert engine.transcribe(clip, options).tokens == kept.transcript.tokens, "the same bits every time"
        assert engine.transcribe(clip, replace(options, strict=True), drafts=[kept]).tokens == expected
    assert differ <= 1, "random half-precision models come close to ties, but not that often"


def cold(listen: LiveTranscriber) -> LiveTranscriber:
    for store in vars(listen.workspace).values():
        store.clear()
    return listen


def test_three_models_at_once_write_what_each_writes_alone(live: LiveMerge) -> None:
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.5}))
    clips = [(make_clip(3, seed), OPTIONS) for seed in range(3)]
    clips.append((make_clip(44, 4), replace(OPTIONS, word_times=True)))

    def told(transcript: Transcript) -> object:
        words = None if transcript.words is None else [(word.text, word.start, word.end) for word in transcript.words]
        return transcript.tokens, words

    alone = LiveTranscriber(live)  # without drafts the bits repeat
    expected = [{name: told(cold(alone).transcribe(name, *clip)) for name in MODELS} for clip in clips]
    for _ in range(3):  # engines that capture while others run
        listen = LiveTranscriber(live, way="at once")
        for _ in range(8):
            for clip, wanted in zip(clips, expected, strict=True):
                found = cold(listen).transcribe_all(MODELS, *clip)
                assert {name: told(one) for name, one in found.items()} == wanted
                assert not any(one.cached or one.acceptance is not None for one in found.values())
        streams = {engine.backend.stream.cuda_stream for engine in listen._engines.values()}  # type: ignore[union-attr]
        assert len(streams) == 3
        again = {name: told(cold(listen).transcribe(name, *clips[0])) for name in MODELS}
        assert again == expected[0], "graphs that were captured on streams of their own, on the caller's"


def test_models_at_once_wait_for_the_encoder_that_they_share(live: LiveMerge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mixture hears with A's encoder: what A's stream makes, the mixture's reads."""
    weights = {"encoder_weights": (1.0, 0.0), "decoder_weights": (0.5, 0.5)}
    live.apply(MergeRecipe.build("ties", {"ties_density": 1.0, **weights}))
    assert live.identity("merged").encoder == live.identity("a").encoder
    clips = [make_clip(3, seed) for seed in range(4)]
    alone = {model: LiveTranscriber(live) for model in MODELS}  # without drafts the bits repeat
    expected = [{model: alone[model].transcribe(model, clip, OPTIONS).tokens for model in MODELS} for clip in clips]
    encode_as_ever, encoded = CudaBackend.encode, []

    def encode_slowly(backend: CudaBackend, window: torch.Tensor) -> torch.Tensor:
        encoded.append(backend)
        heard = encode_as_ever(backend, window)
        late = torch.zeros_like(heard)
        torch.cuda._sleep(20_000_000)  # type: ignore[no-untyped-call]
        return late.copy_(heard)  # about 10 ms after the mixture has come to read it

    monkeypatch.setattr(CudaBackend, "encode", encode_slowly)
    listen = LiveTranscriber(live, way="at once")
    for clip, texts in zip(clips * 2, expected * 2, strict=True):
        encoded.clear()
        found = cold(listen).transcribe_all(MODELS, clip, OPTIONS)
        assert {model: one.tokens for model, one in found.items()} == texts
        assert len(encoded) == 2


def test_one_model_that_stops_ends_the_others(live: LiveMerge) -> None:
    polls = iter([False] * 4)
    listen = LiveTranscriber(live, way="at once")
    with pytest.raises(Cancelled):
        listen.transcribe_all(MODELS, make_clip(3), OPTIONS, lambda: next(polls, True))
    assert len(listen.workspace.latest) == 0
    texts = listen.transcribe_all(("a", "b"), make_clip(3), OPTIONS)
    assert texts["a"].tokens == LiveTranscriber(live).transcribe("a", make_clip(3), OPTIONS).tokens


def test_three_models_by_one_card(live: LiveMerge) -> None:
    listen, clip = LiveTranscriber(live), make_clip(3)
    texts = {name: listen.transcribe(name, clip, OPTIONS).tokens for name in ("a", "b")}  # type: ignore[arg-type]
    for alpha, parent in ((1.0, "a"), (0.0, "b")):
        live.apply(MergeRecipe.build("direct", {"direct_alpha": alpha}))
        assert listen.transcribe("merged", clip, OPTIONS).tokens == texts[parent]
    streamed = LiveTranscriber(LiveMerge(live.checkpoints["a"], live.checkpoints["b"], device="cuda", resident=False))
    assert {name: streamed.transcribe(name, clip, OPTIONS).tokens for name in ("a", "b")} == texts  # type: ignore[arg-type]
