"""Word times: the warping path, heads that follow the audio, tokens joined into words, both transcribers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

from evaluation.dtw import backtrack, fill_loops, fill_plain, warp
from evaluation.engine import Identity, WhisperEngine
from evaluation.engine.timing import positions_in, windows_of
from evaluation.generate import HuggingFaceTranscriber
from evaluation.transcriber import TranscribeOptions
from evaluation.windows import TokenSegment
from evaluation.word_times import TimedTokens, following_heads, group_words, median_filter, token_starts
from tests.evaluation.engine.tiny_whisper import make_clip, make_module, make_processor

TOKENIZER = make_processor().tokenizer
OPTIONS = TranscribeOptions(max_new_tokens=30, no_speech_threshold=None, word_times=True)


def test_the_path_of_a_small_matrix_by_hand() -> None:
    cost = np.array([[1.0, 9.0, 9.0, 9.0], [9.0, 1.0, 1.0, 9.0], [9.0, 9.0, 9.0, 1.0]])
    rows, columns = warp(cost)
    assert rows.tolist() == [0, 1, 1, 2] and columns.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 9), (12, 40)])
def test_every_way_of_warping_takes_the_path_of_transformers(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[1])
    for cost in (random.standard_normal(shape), random.integers(0, 3, shape).astype(float)):  # the second has many ties
        expected = _dynamic_time_warping(cost)
        for found in (warp(cost), backtrack(fill_plain(cost)), backtrack(fill_loops(cost))):
            assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_the_median_filter_is_that_of_transformers() -> None:
    values = torch.randn(2, 3, 50)
    assert torch.equal(median_filter(values, 7), _median_filter(values, 7))
    assert torch.equal(median_filter(values[..., :3], 7), values[..., :3])


def staircase(tokens: int, width: int, noise: float = 0.0) -> torch.Tensor:
    """Attention that walks along the audio: token i looks at positions around (i + 0.5) · width / tokens."""
    centre = (torch.arange(tokens) + 0.5) * width / tokens
    weights = torch.exp(-((torch.arange(width)[None] - centre[:, None]) ** 2) / 50)
    weights = weights + noise * torch.rand(tokens, width, generator=torch.Generator().manual_seed(0))
    return weights / weights.sum(-1, keepdim=True)


def test_heads_that_follow_the_audio_are_found() -> None:
    random = torch.Generator().manual_seed(1)
    flat = torch.rand(20, 300, generator=random).softmax(-1)
    stuck = torch.zeros(20, 300)
    stuck[:, 5] = 1.0
    backwards = staircase(20, 300).flip(0)
    heads = following_heads(torch.stack([flat, staircase(20, 300), stuck, staircase(20, 300, 0.01), backwards]))
    assert heads[0] == 1 and set(heads) == {1, 3}


def test_token_starts_lie_on_the_staircase() -> None:
    starts = token_starts(staircase(10, 300)[None])
    assert len(starts) == 10 and starts[0] == 0
    assert all(abs(start - 30 * index) <= 8 for index, start in enumerate(starts))


def spell(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text, add_special_tokens=False))


def test_words_are_those_of_the_text() -> None:
    text = " Привет, мир!  Кто-то — там."
    tokens = spell(text)
    moments = tuple(index / 10 for index in range(len(tokens) + 1))
    halves = np.log([0.25, 1.0] * len(tokens))[: len(tokens)]
    timed = TimedTokens(tokens, moments[:-1], moments[1:], tuple(halves.tolist()))
    words = group_words([timed], TOKENIZER)
    assert [word.text for word in words] == text.split()
    # One token per byte: " Привет," is a space, six letters of two bytes and a comma.
    assert (words[0].start, words[0].end) == (0.1, pytest.approx(1.4))
    assert words[1].start == pytest.approx(1.5)
    assert words[0].probability == pytest.approx(0.25 ** (6 / 13))


def test_words_may_run_over_windows_and_be_cut_in_a_letter() -> None:
    first, second = spell(" при")[:-1], spell(" при")[-1:] + spell("вет")
    parts = [
        TimedTokens(tokens, tuple(float(start + i) for i in range(len(tokens))),
                    tuple(float(start + i + 1) for i in range(len(tokens))), (0.0,) * len(tokens))
        for start, tokens in ((0, first), (30, second))
    ]  # fmt: skip
    (word,) = group_words(parts, TOKENIZER)
    assert (word.text, word.start, word.end) == ("привет", 1.0, 37.0)
    assert group_words([], TOKENIZER) == ()


def test_sound_ends_with_the_clip() -> None:
    assert positions_in(0, 2.0, 1500) == 100
    assert positions_in(3000, 31.0, 1500) == 50
    assert positions_in(0, 60.0, 1500) == 1500
    assert positions_in(0, 0.0, 1500) == 1


def test_windows_are_gathered_from_segments() -> None:
    pieces = [TokenSegment(0, 1, (1,), 0), TokenSegment(1, 2, (2, 3), 0), TokenSegment(30, 31, (4,), 3000)]
    assert windows_of(pieces) == [(0, [1, 2, 3]), (3000, [4])]


@pytest.mark.parametrize(("seconds", "listed"), [(3, True), (3, False), (38, True)])
def test_both_transcribers_time_their_words(seconds: float, listed: bool) -> None:
    module = make_module(4)
    if not listed:
        module.generation_config.alignment_heads = None
    clip = make_clip(seconds, 4)
    plain = HuggingFaceTranscriber(module, make_processor()).transcribe(clip, OPTIONS)
    fast = WhisperEngine(module, TOKENIZER).transcribe(clip, OPTIONS)
    assert plain.words is not None and fast.words is not None and plain.text == fast.text
    assert [word.text for word in fast.words] == [word.text for word in plain.words]
    for mine, its in zip(fast.words, plain.words, strict=True):
        assert (mine.start, mine.end) == pytest.approx((its.start, its.end), abs=0.021)
        assert mine.probability == pytest.approx(its.probability, abs=1e-3)
        assert 0 <= mine.start <= mine.end <= seconds + 0.02 and 0 < mine.probability <= 1
    joined = "".join(word.text for word in fast.words)  # random models write broken letters, which join differently
    assert joined.replace("\ufffd", "") == "".join(fast.text.split()).replace("\ufffd", "")


def test_words_are_added_to_a_kept_transcript() -> None:
    engine = WhisperEngine(make_module(4), TOKENIZER)
    clip, me = make_clip(3, 4), Identity("e", "d")
    without = engine.transcribe(clip, replace(OPTIONS, word_times=False), identity=me)
    assert without.words is None
    later = engine.transcribe(clip, OPTIONS, identity=me)
    assert later.cached and later.words and later.tokens == without.tokens
    assert engine.transcribe(clip, OPTIONS, identity=me).words == later.words
