"""Decoding that stays on the device, run uncaptured on the CPU: the same tokens as the plain loop."""

from __future__ import annotations

import pytest
import torch

from evaluation.engine.device_greedy import DeviceWindowDecoder
from evaluation.engine.device_loop import Rows, Start, demands, record
from evaluation.engine.greedy import WindowDecoder
from evaluation.engine.model import Caches, encode, fill_cross
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors, collect
from evaluation.features import log_mel
from evaluation.vocabulary import Vocabulary
from merger.errors import Cancelled
from tests.evaluation.engine.tiny_whisper import END, NO_TIMESTAMPS, START, make_clip, make_module, make_processor

STAMP = NO_TIMESTAMPS + 1
CPU = torch.device("cpu")


def window(seed: int, end_bias: float = 0.0) -> tuple[WhisperTensors, Caches, Vocabulary]:
    module = make_module(seed, end_bias=end_bias)
    tensors = collect(module)
    caches = Caches(tensors, batch=1)
    with torch.inference_mode():
        fill_cross(tensors, encode(tensors, log_mel(make_clip(4, seed).samples, 80, device="cpu")[None]), caches)
    return tensors, caches, Vocabulary.of(module, make_processor().tokenizer)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("seed", range(3))
@torch.inference_mode()
def test_the_same_tokens_with_and_without_drafts(seed: int, timestamps: bool) -> None:
    tensors, caches, vocabulary = window(seed, end_bias=3.0 * (seed % 2))
    rules = Rules(vocabulary, timestamps, CPU)
    prompt = vocabulary.prompt("ru", "transcribe", timestamps)
    for limit in (1, 9, 37):
        expected = WindowDecoder(tensors, caches).decode(prompt, limit, rules)
        device = DeviceWindowDecoder(tensors, caches)
        wrong = [(t + 1) % 256 if i % 6 == 5 else t for i, t in enumerate(expected.tokens)]
        offers = ([], [expected.tokens], [wrong], [wrong, expected.tokens])
        for drafts in offers:
            found = device.decode(prompt, limit, rules, drafts=drafts)
            assert (found.tokens, found.finished) == (expected.tokens, expected.finished)
            assert found.no_speech_probability == pytest.approx(expected.no_speech_probability, rel=1e-3)


@torch.inference_mode()
def test_moved_weights_and_cancellation_are_noticed() -> None:
    tensors, caches, vocabulary = window(0)
    rules, prompt = Rules(vocabulary, False, CPU), vocabulary.prompt("ru", "transcribe", False)
    polls = iter([False, False, True])
    with pytest.raises(Cancelled):
        DeviceWindowDecoder(tensors, caches).decode(prompt, 40, rules, cancelled=lambda: next(polls))
    device = DeviceWindowDecoder(tensors, caches)
    device._pointers = (0,)
    with pytest.raises(RuntimeError, match="moved"):
        device.decode(prompt, 4, rules)


def test_demands_of_rows_are_those_of_histories() -> None:
    rules = Rules(Vocabulary.of(make_module(0), make_processor().tokenizer), True, CPU)
    sequences = [
        [], [STAMP], [STAMP + 3, 5], [STAMP, 5, STAMP + 9], [STAMP, 5, STAMP + 9, STAMP + 9],
        [STAMP, 5, STAMP + 9, STAMP + 9, 6], [5], [5, 6], [STAMP + 1500, 4],
    ]  # fmt: skip
    rows = Rows(len(sequences), 448, CPU)
    expected = []
    for row, tokens in enumerate(sequences):
        history = rules.history()
        for token in tokens:
            history = history.after(token)
        rows.load(Start(row, [START, START + 2], history, tokens, 40))
        demand = history.demand()
        expected.append([demand.text_from, demand.stamps_from, demand.last])
    assert torch.cat(demands(rows, rules), dim=1).tolist() == expected
    assert rows.position.tolist() == [1 + len(tokens) for tokens in sequences]
    assert rows.read()[0] == sequences


def test_rows_record_by_hand() -> None:
    rows = Rows(4, 448, CPU)
    history = Rules(Vocabulary.of(make_module(0), make_processor().tokenizer), True, CPU).history()
    for row, limit in enumerate((3, 3, 1, 3)):
        rows.load(Start(row, [START], history, [], limit))
    rows.done[3] = True
    record(rows, torch.tensor([STAMP + 4, 7, 8, 9]), END, STAMP)
    record(rows, torch.tensor([6, END, 9, 9]), END, STAMP)
    record(rows, torch.tensor([END, 5, 9, 9]), END, STAMP)
    assert rows.read() == (
        [[STAMP + 4, 6], [7], [8], []], [True, True, False, False], [True, True, True, True]
    )
    assert rows.stamp.tolist() == [STAMP + 4, -1, -1, -1]
    assert rows.before.tolist() == [STAMP + 4, -1, -1, -1]
    assert rows.position.tolist() == [2, 1, 1, 0]
