"""The batched path against the plain one, on a tiny real model and noises of different lengths."""

from typing import Any

import numpy as np
import pytest
import torch

import evaluation.batch
from evaluation.audio import AudioClip
from evaluation.batch import BatchTranscriber
from evaluation.engine.batch_windows import HeardWindows, KeyedWindows
from evaluation.generate import HuggingFaceTranscriber
from evaluation.transcriber import TranscribeOptions
from merger.errors import Cancelled
from tests.conftest import TinyPair
from tests.evaluation.trio import load

SECONDS = (1.0, 3.5, 0.4, 12.0, 2.0, 31.0)


@pytest.fixture(scope="module")
def clips() -> list[AudioClip]:
    rng = np.random.default_rng(3)
    noises = [AudioClip.from_samples(rng.normal(0, 0.1, int(16_000 * s)).astype(np.float32), 16_000) for s in SECONDS]
    return [*noises, AudioClip.from_samples(np.zeros(16_000, np.float32), 16_000)]


def test_same_tokens_as_one_by_one(trio: TinyPair, clips: list[AudioClip]) -> None:
    options = TranscribeOptions(max_new_tokens=10)
    module, processor = load(trio.a)
    plain = HuggingFaceTranscriber(module, processor)
    expected = [plain.transcribe(clip, options).tokens for clip in clips]
    for batch in (1, 4):
        found = dict(BatchTranscriber(module, processor, batch).transcribe(clips, options))
        assert [found[i].tokens for i in range(len(clips))] == expected
    assert len(set(expected)) >= 3  # they do differ, so rows cannot have been exchanged unseen


def test_no_speech_gate_drops_the_same_windows(trio: TinyPair, clips: list[AudioClip]) -> None:
    options = TranscribeOptions(no_speech_threshold=0.0, logprob_threshold=0.0)
    module, processor = load(trio.a)
    short = clips[:4]
    found = dict(BatchTranscriber(module, processor, 4).transcribe(short, options))
    assert [found[i].text for i in range(4)] == [""] * 4


def test_longest_first_and_time_shared_by_length(trio: TinyPair, clips: list[AudioClip]) -> None:
    found = list(BatchTranscriber(*load(trio.a), 16).transcribe(clips[:5], TranscribeOptions()))
    assert [clips[i].seconds for i, _ in found] == sorted(SECONDS[:5], reverse=True)
    rates = {round(t.rtfx, 6) for _, t in found}
    assert len(rates) == 1


def test_cancelled(trio: TinyPair, clips: list[AudioClip]) -> None:
    with pytest.raises(Cancelled):
        list(BatchTranscriber(*load(trio.a), 4).transcribe(clips[:2], TranscribeOptions(), lambda: True))


def test_without_memory_it_goes_on_with_fewer_rows(
    trio: TinyPair, clips: list[AudioClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, tried = TranscribeOptions(max_new_tokens=10), []
    module, processor = load(trio.a)
    expected = {i: t.tokens for i, t in BatchTranscriber(module, processor, 4).transcribe(clips[:4], options)}
    side_by_side = BatchTranscriber._side_by_side

    def short_of_memory(batch: BatchTranscriber, *given: Any) -> Any:
        tried.append(batch.batch)
        if batch.batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return side_by_side(batch, *given)

    monkeypatch.setattr(BatchTranscriber, "_side_by_side", short_of_memory)
    # Of tiny models a row with encoder outputs takes nearly as much as one with keys and values; here far less.
    monkeypatch.setattr(HeardWindows, "nbytes", lambda tensors, rows: rows * KeyedWindows.nbytes(tensors, 1) // 4)
    monkeypatch.setattr(evaluation.batch, "hears_windows", lambda tensors, rows: rows >= 20)
    found = {i: t.tokens for i, t in BatchTranscriber(module, processor, 50).transcribe(clips[:4], options)}
    assert tried == [50, 25, 3, 1], "12 rows with keys and values would take more than 25 without"
    assert found == expected
