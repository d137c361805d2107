"""On a GPU: captured graphs, the Triton step and the merge kernel against their plain twins and transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.engine import WhisperEngine
from evaluation.engine.backend import CudaBackend
from evaluation.engine.device_greedy import make_plain_span, make_plain_step
from evaluation.engine.device_loop import Captured, Rows, advance, plain_step
from evaluation.engine.kernel_choice import fastest_span
from evaluation.engine.model import Caches, decode_many, encode, fill_cross
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
from tests.evaluation.engine.tiny_whisper import make_clip, make_processor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
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
@pytest.mark.parametrize("dependent_launch", [False, True])
def test_the_triton_step_follows_its_twin(live: LiveMerge, timestamps: bool, dependent_launch: bool) -> None:
    kernels = pytest.importorskip("evaluation.engine.triton_step")
    module = live.modules["a"]
    tensors, device = collect(module), torch.device("cuda")
    rules = Rules(Vocabulary.of(module, make_processor().tokenizer), timestamps, device)
    heard = encode(tensors, torch.randn(2, 80, 3000, device=device, dtype=tensors.dtype) * 0.3)
    caches, rows = [Caches(tensors, 2) for _ in range(2)], [Rows.empty(2, 448, device) for _ in range(2)]
    for each, state in zip(caches, rows, strict=True):
        fill_cross(tensors, heard, each)
        for row, limit in enumerate((30, 12)):
            state.load(row, [257], rules.history(), [], limit)
    step = kernels.TritonStep(tensors, caches[1], rows[1], rules, dependent_launch=dependent_launch)
    for _ in range(30):
        reference = step.scores.clone()
        step.forward()
        reference.copy_(step.scores)
        plain_step(tensors, caches[0], rows[0], rules)
        advance_copy = [field.clone() for field in vars(rows[1]).values()]
        step.choose()
        twin = Rows(*advance_copy)
        advance(twin, rules, reference)  # the same scores must lead to the same choice, whatever wrote them
        for name, value in vars(twin).items():
            assert torch.equal(value, getattr(rows[1], name)), name
    share = (rows[0].out == rows[1].out).float().mean().item()
    assert share > 0.9, "scores of the two steps differ by more than rounding"


@torch.inference_mode()
@pytest.mark.parametrize("length", [2, 4])
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
    assert span.run.__module__ == fastest_span.__module__, "the kernels were not used"
    for plain, ours in zip(scores[:4], scores[4:], strict=True):
        assert float((plain - ours).abs().max()) <= 0.005 * float(plain.abs().max())


@torch.inference_mode()
def test_a_captured_step_hears_weights_that_were_merged_afterwards(live: LiveMerge) -> None:
    kernels = pytest.importorskip("evaluation.engine.triton_step")
    device, tensors = torch.device("cuda"), collect(live.modules["merged"])
    rules = Rules(Vocabulary.of(live.modules["merged"], make_processor().tokenizer), False, device)
    caches, rows = Caches(tensors, 1), Rows.empty(1, 448, device)
    rows.park()
    step = kernels.TritonStep(tensors, caches, rows, rules)
    captured = Captured(step, device)
    outcomes = []
    for alpha in (0.2, 0.9, 0.2):
        live.apply(MergeRecipe.build("direct", {"direct_alpha": alpha}))
        fill_cross(tensors, encode(tensors, torch.ones(1, 80, 3000, device=device, dtype=tensors.dtype)), caches)
        rows.load(0, [257], rules.history(), [], 40)
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


def test_three_models_at_once_write_what_each_writes_alone(live: LiveMerge) -> None:
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.5}))
    names: tuple[ModelName, ...] = ("a", "merged", "b")
    clips = [(make_clip(3, seed), OPTIONS) for seed in range(3)]
    clips.append((make_clip(44, 4), replace(OPTIONS, word_times=True)))

    def cold(listen: LiveTranscriber) -> LiveTranscriber:
        for store in vars(listen.workspace).values():
            store.clear()
        return listen

    def told(transcript: Transcript) -> object:
        words = None if transcript.words is None else [(word.text, word.start, word.end) for word in transcript.words]
        return transcript.tokens, words

    alone = LiveTranscriber(live)  # without drafts the bits repeat
    expected = [{name: told(cold(alone).transcribe(name, *clip)) for name in names} for clip in clips]
    for _ in range(3):  # engines that capture while others run
        listen = LiveTranscriber(live, way="at once")
        for _ in range(8):
            for clip, wanted in zip(clips, expected, strict=True):
                found = cold(listen).transcribe_all(names, *clip)
                assert {name: told(one) for name, one in found.items()} == wanted
                assert not any(one.cached or one.acceptance is not None for one in found.values())
        streams = {engine.backend.stream.cuda_stream for engine in listen._engines.values()}  # type: ignore[union-attr]
        assert len(streams) == 3
        again = {name: told(cold(listen).transcribe(name, *clips[0])) for name in names}
        assert again == expected[0], "graphs that were captured in a thread, on the caller's stream"


def test_one_model_that_stops_ends_the_others(live: LiveMerge) -> None:
    polls = iter([False] * 20)
    listen = LiveTranscriber(live, way="at once")
    with pytest.raises(Cancelled):
        listen.transcribe_all(("a", "merged", "b"), make_clip(3), OPTIONS, lambda: next(polls, True))
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
