"""Many windows side by side: each row writes what its window alone writes, whatever its neighbours do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from evaluation.engine import continuous
from evaluation.engine.continuous import ContinuousBatch
from evaluation.engine.greedy import Decoded, WindowDecoder
from evaluation.engine.model import Caches, encode, fill_cross
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors, collect
from evaluation.features import log_mel
from evaluation.vocabulary import Vocabulary
from merger.errors import Cancelled
from tests.evaluation.engine.tiny_whisper import make_clip, make_module, make_processor

CPU = torch.device("cpu")


@torch.inference_mode()
@pytest.mark.parametrize("timestamps", [False, True])
def test_rows_write_what_windows_alone_write(timestamps: bool) -> None:
    module = make_module(3)
    tensors, vocabulary = collect(module), Vocabulary.of(module, make_processor().tokenizer)
    prompt = vocabulary.prompt("ru", "transcribe", timestamps)
    windows = {seed: log_mel(make_clip(1 + seed, seed).samples, 80, device="cpu") for seed in range(7)}
    caches = Caches(tensors, 1)

    def by_itself(rules: Rules) -> dict[int, Decoded]:
        found = {}
        for key, window in windows.items():
            fill_cross(tensors, encode(tensors, window[None]), caches)
            found[key] = WindowDecoder(tensors, caches).decode(prompt, 30, rules)
        return found

    # Random models hardly ever end: call the end what comes at different places of different windows.
    texts = [decoded.tokens for decoded in by_itself(Rules(vocabulary, timestamps, CPU)).values()]
    places = {token: {text.index(token) for text in texts if token in text} for text in texts for token in text}
    rules = Rules(replace(vocabulary, end=max(places, key=lambda token: len(places[token]))), timestamps, CPU)
    alone = by_itself(rules)
    assert len({len(decoded.tokens) for decoded in alone.values()}) > 1  # rows are refilled at different times
    batch = ContinuousBatch(tensors, rules, batch=3)
    for _ in range(2):
        found = {written.key: written for written in batch.decode(windows.items(), prompt, 30)}
        assert found.keys() == alone.keys()
        for key, decoded in alone.items():
            assert (found[key].tokens, found[key].finished) == (decoded.tokens, decoded.finished)
            assert found[key].no_speech_probability == pytest.approx(decoded.no_speech_probability, rel=1e-3)


@torch.inference_mode()
def test_every_window_stops_at_its_own_limit() -> None:
    module = make_module(3)
    tensors, vocabulary = collect(module), Vocabulary.of(module, make_processor().tokenizer)
    prompt, rules = vocabulary.prompt("ru", "transcribe", False), Rules(vocabulary, False, CPU)
    windows = {seed: log_mel(make_clip(1 + seed, seed).samples, 80, device="cpu") for seed in range(5)}
    limits = {0: 1, 1: 20, 2: 8, 3: 9, 4: 13}  # below, at and above the steps between two looks
    batch = ContinuousBatch(tensors, rules, batch=2)
    long = {written.key: written.tokens for written in batch.decode(windows.items(), prompt, 20)}
    assert {len(tokens) for tokens in long.values()} == {20}
    short = {written.key: written.tokens for written in batch.decode(windows.items(), prompt, limits)}
    assert short == {key: long[key][:limit] for key, limit in limits.items()}


@torch.inference_mode()
def test_windows_are_encoded_in_groups_whatever_rows_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(3)
    tensors, vocabulary = collect(module), Vocabulary.of(module, make_processor().tokenizer)
    prompt, rules = vocabulary.prompt("ru", "transcribe", False), Rules(vocabulary, False, CPU)
    windows = {seed: log_mel(make_clip(1 + seed, seed).samples, 80, device="cpu") for seed in range(7)}
    limits = dict(enumerate((9, 1, 20, 3, 8, 12, 5)))
    batch = ContinuousBatch(tensors, rules, batch=2)
    single = {written.key: written for written in batch.decode(windows.items(), prompt, limits)}
    asked, encoded = [], []

    def watched() -> Iterator[tuple[int, torch.Tensor]]:
        for key, window in windows.items():
            asked.append(key)
            yield key, window

    def counted(tensors: WhisperTensors, features: torch.Tensor) -> torch.Tensor:
        encoded.append(len(features))
        return encode(tensors, features)

    monkeypatch.setattr(continuous, "encode", counted)
    batch.encoded_together = 3
    taken_in, take_in = [], batch._windows.take_in

    def taking(rows: torch.Tensor, heard: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        taken_in.append(len(rows))
        return take_in(rows, heard, prompt)

    monkeypatch.setattr(batch._windows, "take_in", taking)
    found = {}
    for written in batch.decode(watched(), prompt, limits):
        assert len(asked) <= len(found) + 2 + 3, "windows were read before they were wanted"
        found[written.key] = written
    assert encoded == [3, 3, 1] and sum(taken_in) == 7 and taken_in[0] == 2
    assert {key: written.tokens for key, written in found.items()} == {
        key: written.tokens for key, written in single.items()
    }


def test_fewer_windows_than_rows_none_at_all_and_cancelling() -> None:
    module = make_module(0)
    tensors, vocabulary = collect(module), Vocabulary.of(module, make_processor().tokenizer)
    batch = ContinuousBatch(tensors, Rules(vocabulary, False, CPU), batch=4)
    prompt = vocabulary.prompt("ru", "transcribe", False)
    window = log_mel(make_clip(1).samples, 80, device="cpu")
    assert [written.key for written in batch.decode([("only", window)], prompt, 5)] == ["only"]
    assert list(batch.decode([], prompt, 5)) == []
    polls = iter([False, True])
    with pytest.raises(Cancelled):
        list(batch.decode([("long", window)], prompt, 40, lambda: next(polls)))
