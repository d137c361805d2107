"""Segments and window steps, worked out by hand (timestamps from id 100 on, 0.02 s each)."""

import math

import pytest

from evaluation.windows import TokenSegment, WindowText, split_window, walk_windows

STAMP = 100


def test_a_single_closing_timestamp_ends_the_window() -> None:
    segments, step = split_window([100, 1, 2, 150], STAMP, 3000, 2000)
    assert segments == [TokenSegment(30.0, 31.0, (100, 1, 2, 150), 3000)]
    assert step == 2000


def test_a_pair_cuts_and_the_rest_is_read_again_from_there() -> None:
    segments, step = split_window([100, 1, 200, 200, 2, 3], STAMP, 0, 3000)
    assert segments == [TokenSegment(0.0, 2.0, (100, 1, 200, 200))]
    assert step == 200  # 100 positions of two frames


def test_a_pair_and_a_closing_timestamp_give_two_segments() -> None:
    segments, step = split_window([100, 1, 200, 210, 2, 300], STAMP, 0, 3000)
    assert [(s.start, s.end, s.tokens) for s in segments] == [(0.0, 2.0, (100, 1, 200)), (2.2, 4.0, (210, 2, 300))]
    assert step == 3000


def test_without_timestamps_the_window_is_one_segment() -> None:
    segments, step = split_window([1, 2], STAMP, 100, 700)
    assert segments == [TokenSegment(1.0, 8.0, (1, 2), 100)] and step == 700
    segments, _ = split_window([100, 1, 150, 2], STAMP, 0, 700)
    assert segments[0].end == 1.0


def walk(texts: dict[int, WindowText], content: int, **settings: object) -> list[TokenSegment]:
    options = {"timestamp_begin": STAMP, "skip": lambda seek, frames: False, "no_speech_threshold": 0.6}
    return walk_windows(texts.__getitem__, content=content, logprob_threshold=-1.0, **{**options, **settings})


def written(*tokens: int, no_speech: float = 0.0, logprob: float = 0.0) -> WindowText:
    return WindowText(tokens, no_speech, lambda: logprob)


def test_windows_follow_the_pairs() -> None:
    pieces = walk({0: written(100, 1, 200, 200), 200: written(100, 2, 110)}, 3100)
    assert [(p.start, p.end) for p in pieces] == [(0.0, 2.0), (2.0, 2.2)]


def test_a_speechless_and_unsure_window_is_dropped() -> None:
    quiet = {0: written(1, no_speech=0.7, logprob=-1.1)}
    assert walk(quiet, 500) == []
    assert len(walk({0: written(1, no_speech=0.7, logprob=-0.9)}, 500)) == 1
    assert len(walk({0: written(1, no_speech=0.5, logprob=-9.0)}, 500)) == 1
    assert len(walk(quiet, 500, no_speech_threshold=None)) == 1


def test_a_silent_window_is_not_decoded() -> None:
    assert walk({}, 6000, skip=lambda seek, frames: True) == []


def test_without_timestamps_windows_are_whole() -> None:
    pieces = walk({0: written(1, 200, 200, 2)}, 700, timestamp_begin=None)
    assert pieces == [TokenSegment(0.0, 7.0, (1, 200, 200, 2))]


@pytest.mark.parametrize("tokens", [(100, 100), (100, 1, 100, 100)])
def test_a_window_that_does_not_move_on_is_left(tokens: tuple[int, ...]) -> None:
    pieces = walk({0: written(*tokens)}, 3000)
    assert all(math.isfinite(piece.end) for piece in pieces)
