"""The plain transcriber writes what transformers' `generate` writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluation.features import content_frames, log_mel
from evaluation.generate import HuggingFaceTranscriber
from evaluation.live_transcriber import LiveTranscriber
from evaluation.transcriber import TranscribeOptions, is_silent
from evaluation.vocabulary import Vocabulary
from merger.checkpoint import Checkpoint
from merger.errors import BadParameter, Cancelled
from merger.live import LiveMerge
from merger.recipe import MergeRecipe
from tests.evaluation.engine.tiny_whisper import END, NO_TIMESTAMPS, START, make_clip, make_module, make_processor

OPTIONS = TranscribeOptions(max_new_tokens=24, no_speech_threshold=None)


def native(module: torch.nn.Module, seconds: float, seed: int, timestamps: bool) -> list[tuple[float, list[int]]]:
    """(start, tokens) of every segment by `generate` in one call."""
    clip = make_clip(seconds, seed)
    features = log_mel(clip.samples, 80, device="cpu")
    if seconds > 30:
        features = features[:, : content_frames(len(clip.samples))]
    output = module.generate(
        features[None], language="<|ru|>", task="transcribe", return_timestamps=timestamps, return_segments=True,
        temperature=0.0, max_new_tokens=24, force_unique_generate_call=False,
    )  # fmt: skip
    return [(float(segment["start"]), segment["tokens"].tolist()) for segment in output["segments"][0]]


@pytest.mark.parametrize("seed", range(3))
def test_long_clips_equal_generate(seed: int) -> None:
    module = make_module(seed)
    transcript = HuggingFaceTranscriber(module, make_processor()).transcribe(make_clip(41, seed), OPTIONS)
    expected = [token for start, tokens in native(module, 41, seed, True) if start < 41 for token in tokens]
    assert list(transcript.tokens) == expected
    assert len(expected) >= 10


def test_a_short_clip_equals_generate() -> None:
    module = make_module(3)
    transcript = HuggingFaceTranscriber(module, make_processor()).transcribe(make_clip(4, 3), OPTIONS)
    module.generation_config.no_timestamps_token_id = NO_TIMESTAMPS
    first_window = native(module, 4, 3, False)[0][1]
    assert list(transcript.tokens)[: len(first_window)] == first_window
    assert all(token not in transcript.tokens for token in module.generation_config.suppress_tokens)
    assert transcript.tokens[0] not in module.generation_config.begin_suppress_tokens


def test_the_module_is_left_as_it_was() -> None:
    module = make_module(0)
    before = module.generation_config.to_dict(), module.config._attn_implementation
    HuggingFaceTranscriber(module, make_processor()).transcribe(make_clip(2), OPTIONS)
    assert (module.generation_config.to_dict(), module.config._attn_implementation) == before


def test_a_checkpoint_without_generation_config_takes_its_tokens_from_the_tokenizer() -> None:
    module = make_module(0)
    full = Vocabulary.of(module, make_processor().tokenizer)
    for name in ("lang_to_id", "task_to_id", "no_timestamps_token_id"):
        delattr(module.generation_config, name)
    bare = Vocabulary.of(module, make_processor().tokenizer)
    assert bare == full
    assert bare.prompt("ru", "transcribe", False) == [START, START + 2, START + 4, NO_TIMESTAMPS]
    assert bare.prompt("ru", "translate", True) == [START, START + 2, START + 3]


def test_unknown_language_and_task_are_told() -> None:
    transcriber = HuggingFaceTranscriber(make_module(0), make_processor())
    with pytest.raises(BadParameter, match="language: the model does not know “zz”"):
        transcriber.transcribe(make_clip(1), replace(OPTIONS, language="zz"))
    with pytest.raises(BadParameter, match="task"):
        transcriber.transcribe(make_clip(1), replace(OPTIONS, task="sing"))
    with pytest.raises(BadParameter, match="timestamps"):
        transcriber.transcribe(make_clip(31), replace(OPTIONS, timestamps=False))
    with pytest.raises(BadParameter, match="max_new_tokens"):
        TranscribeOptions(max_new_tokens=0)


def test_cancelling_stops_between_tokens() -> None:
    polls = iter([False] * 3 + [True] * 100)
    with pytest.raises(Cancelled):
        HuggingFaceTranscriber(make_module(0), make_processor()).transcribe(make_clip(2), OPTIONS, lambda: next(polls))


def test_silence_is_not_given_to_the_model() -> None:
    clip = replace(make_clip(2), samples=np.zeros(32_000, np.float32))
    transcript = HuggingFaceTranscriber(make_module(0), make_processor()).transcribe(clip, OPTIONS)
    assert transcript.text == "" and transcript.tokens == ()
    assert is_silent(np.full(100, 0.0005, np.float32), -65.0) and not is_silent(np.full(100, 0.0006, np.float32), -65.0)


def test_segments_end_with_the_clip() -> None:
    transcript = HuggingFaceTranscriber(make_module(1), make_processor()).transcribe(
        make_clip(33, 1), replace(OPTIONS, max_new_tokens=60)
    )
    assert all(0 <= segment.start <= 33 and segment.end <= 33 for segment in transcript.segments)
    assert END not in transcript.tokens


def test_three_models_of_a_live_merge(talking_pair: tuple[Checkpoint, Checkpoint]) -> None:
    listen = LiveTranscriber(LiveMerge(*talking_pair, device="cpu"))
    clip = make_clip(3)
    texts = {name: listen.transcribe(name, clip, OPTIONS).tokens for name in ("a", "b")}  # type: ignore[arg-type]
    assert texts["a"] != texts["b"]
    for alpha, same in ((1.0, "a"), (0.0, "b")):
        merge = listen.live.apply(MergeRecipe.build("direct", {"direct_alpha": alpha}))
        transcript = listen.transcribe("merged", clip, OPTIONS)
        assert transcript.tokens == texts[same] and transcript.generation == merge.generation
