"""The engine writes what greedy `generate` writes, with and without drafts, kept results and strict mode."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from evaluation.engine import Identity, Kept, WhisperEngine, Workspace, supported
from evaluation.engine.certainty import NEAR_TIE
from evaluation.engine.greedy import Decoded
from evaluation.generate import HuggingFaceTranscriber
from evaluation.transcriber import TranscribeOptions
from merger.errors import Cancelled
from tests.evaluation.engine.tiny_whisper import make_clip, make_module, make_processor

TOKENIZER = make_processor().tokenizer
OPTIONS = TranscribeOptions(max_new_tokens=40, no_speech_threshold=None)
ME = Identity("encoder", "decoder")


def both(module: WhisperForConditionalGeneration) -> tuple[HuggingFaceTranscriber, WhisperEngine]:
    return HuggingFaceTranscriber(module, make_processor()), WhisperEngine(module, TOKENIZER)


def broken(kept: Kept, every: int) -> Kept:
    """The same transcription with every n-th token changed."""
    windows = tuple(
        (seek, tuple((token + 1) % 256 if i % every == every - 1 else token for i, token in enumerate(tokens)))
        for seek, tokens in kept.windows
    )
    return replace(kept, windows=windows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("seconds", "timestamps"), [(2, False), (5, True), (44, None)])
def test_equals_generate(seed: int, seconds: float, timestamps: bool | None) -> None:
    plain, engine = both(make_module(seed, end_bias=3.0 * (seed % 2)))
    clip, options = make_clip(seconds, seed), replace(OPTIONS, timestamps=timestamps)
    expected, kept = plain.transcribe(clip, options), engine.transcribe_kept(clip, options)
    found = kept.transcript
    assert (found.tokens, found.text, found.segments) == (expected.tokens, expected.text, expected.segments)
    for strict in (False, True):
        for draft in (kept, broken(kept, 7), broken(kept, 2)):
            drafted = engine.transcribe(clip, replace(options, strict=strict), drafts=[draft])
            assert drafted.tokens == expected.tokens


@pytest.mark.parametrize("seed", range(3))
def test_equals_generate_with_every_product_as_in_a_large_model(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.engine.cpu.LARGE_WEIGHT", 0)
    plain, engine = both(make_module(seed))
    expected = plain.transcribe(make_clip(5, seed), OPTIONS)
    kept = engine.transcribe_kept(make_clip(5, seed), OPTIONS)
    assert kept.transcript.tokens == expected.tokens
    assert engine.transcribe(make_clip(5, seed), OPTIONS, drafts=[broken(kept, 7)]).tokens == expected.tokens


def test_an_accepted_draft_costs_one_pass() -> None:
    engine = WhisperEngine(make_module(0), TOKENIZER)
    kept = engine.transcribe_kept(make_clip(2), OPTIONS)
    assert kept.transcript.acceptance is None and len(kept.transcript.tokens) == 40
    passes = []
    decode = engine.backend.decode

    def counted(*args: object, **kwargs: object) -> object:
        decoded = decode(*args, **kwargs)  # type: ignore[arg-type]
        passes.append(decoded.passes)
        return decoded

    engine.backend.decode = counted  # type: ignore[method-assign, assignment]
    assert engine.transcribe(make_clip(2), OPTIONS, drafts=[kept]).acceptance == 1.0
    partly = engine.transcribe(make_clip(2), OPTIONS, drafts=[broken(kept, 7)]).acceptance
    assert passes[0] == 1 and passes[1] < 40 and partly is not None and 0 < partly < 1


def test_strict_mode_leaves_near_ties_and_errors_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, engine = both(make_module(0))
    clip, strict = make_clip(2), replace(OPTIONS, strict=True)
    expected = plain.transcribe(clip, OPTIONS).tokens
    kept = engine.transcribe_kept(clip, OPTIONS)
    calm = engine.transcribe(clip, strict, drafts=[kept])
    assert (calm.tokens, calm.acceptance) == (expected, 1.0), "nothing is near a tie: the engine's own is taken"
    with monkeypatch.context() as patch:
        patch.setitem(NEAR_TIE, torch.float32, 1e9)
        doubted = engine.transcribe(clip, strict, drafts=[kept])
        assert (doubted.tokens, doubted.acceptance) == (expected, 0.0)
    decode = engine.backend.decode

    def wrong(*args: object, **kwargs: object) -> Decoded:
        decoded = decode(*args, **kwargs)  # type: ignore[arg-type]
        return replace(decoded, tokens=(*decoded.tokens[:9], (decoded.tokens[9] + 1) % 256, *decoded.tokens[10:]))

    monkeypatch.setattr(engine.backend, "decode", wrong)
    assert engine.transcribe(clip, OPTIONS).tokens != expected
    assert engine.transcribe(clip, strict).tokens == expected


def test_the_no_speech_gate_is_that_of_the_plain_transcriber() -> None:
    plain, engine = both(make_module(2))
    clip = make_clip(3, 2)
    for threshold, logprob in ((0.0, 100.0), (1.0, 100.0), (0.0, -100.0)):
        options = replace(OPTIONS, no_speech_threshold=threshold, logprob_threshold=logprob)
        assert engine.transcribe(clip, options).tokens == plain.transcribe(clip, options).tokens
    assert engine.transcribe(clip, replace(OPTIONS, no_speech_threshold=0.0, logprob_threshold=100.0)).tokens == ()


def test_results_are_kept_by_identity_clip_and_options() -> None:
    engine = WhisperEngine(make_module(0), TOKENIZER)
    clip = make_clip(2)
    first = engine.transcribe(clip, OPTIONS, identity=ME)
    assert not first.cached
    assert engine.transcribe(clip, OPTIONS, identity=ME) == replace(first, cached=True)
    for other in (
        engine.transcribe(clip, OPTIONS, identity=Identity("encoder", "other")),
        engine.transcribe(make_clip(2, 5), OPTIONS, identity=ME),
        engine.transcribe(clip, replace(OPTIONS, max_new_tokens=7), identity=ME),
        engine.transcribe(clip, OPTIONS),
    ):
        assert not other.cached


def test_encoder_output_is_kept_while_the_encoder_stands() -> None:
    module = make_module(0)
    workspace = Workspace()
    engine = WhisperEngine(module, TOKENIZER, workspace)
    clip = make_clip(2)
    engine.transcribe(clip, OPTIONS, identity=Identity("one", "one"))
    heard = workspace.heard.get(("one", clip.sha256, 0))
    with torch.no_grad():
        module.model.decoder.layers[0].fc1.weight.mul_(1.5)
    after = engine.transcribe(clip, OPTIONS, identity=Identity("one", "two"))
    assert workspace.heard.get(("one", clip.sha256, 0)) is heard and len(workspace.heard) == 1
    assert after.tokens == HuggingFaceTranscriber(module, make_processor()).transcribe(clip, OPTIONS).tokens


def test_weights_changed_in_place_are_heard() -> None:
    module, other = make_module(0), make_module(1)
    engine = WhisperEngine(module, TOKENIZER)
    clip = make_clip(3)
    before = engine.transcribe(clip, OPTIONS).tokens
    pointers = engine.tensors.pointers()
    with torch.no_grad():
        for mine, its in zip(module.parameters(), other.parameters(), strict=True):
            mine.copy_(its)
    after = engine.transcribe(clip, OPTIONS).tokens
    assert engine.tensors.pointers() == pointers
    assert after != before and after == WhisperEngine(other, TOKENIZER).transcribe(clip, OPTIONS).tokens


def test_cancelling_stops_between_passes() -> None:
    polls = iter([False] * 5 + [True])
    with pytest.raises(Cancelled):
        WhisperEngine(make_module(0), TOKENIZER).transcribe(make_clip(2), OPTIONS, lambda: next(polls))
    assert next(polls, None) is None


def test_unknown_configurations_are_left_to_transformers() -> None:
    module = make_module(0)
    assert supported(module)
    module.generation_config.num_beams = 4
    assert not supported(module)
    with pytest.raises(ValueError, match="HuggingFaceTranscriber"):
        WhisperEngine(module, TOKENIZER)


def test_the_time_of_hearing_first_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.Tensor] = []
    monkeypatch.setattr("evaluation.engine.engine.wait_for", waited.append)
    engine, clip = WhisperEngine(make_module(0), TOKENIZER), make_clip(2)
    assert engine.hear_first(clip, OPTIONS, ME) > 0
    assert [one.shape for one in waited] == [(1500, 32)] and len(engine.workspace.heard) == 1
