"""A, the mixture and B of one clip in every way that the engine has: the same transcripts, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.audio import AudioLimits, load_clip
from evaluation.engine import together
from evaluation.engine.together import Way
from evaluation.live_transcriber import LiveTranscriber
from evaluation.transcriber import TranscribeOptions, Transcript
from merger.checkpoint import Checkpoint, open_checkpoint
from merger.errors import Cancelled
from merger.live import LiveMerge, ModelName
from merger.recipe import MergeRecipe
from tests.evaluation.engine.tiny_whisper import make_clip

NAMES: tuple[ModelName, ...] = ("a", "merged", "b")
WAYS: tuple[Way, ...] = ("hear at once", "at once")
OPTIONS = TranscribeOptions(max_new_tokens=40, no_speech_threshold=None)
HALF = MergeRecipe.build("direct", {"direct_alpha": 0.5})
DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture(scope="module")
def live(talking_pair: tuple[Checkpoint, Checkpoint]) -> LiveMerge:
    return LiveMerge(*talking_pair, device="cpu")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[list[ModelName]]:
    """The models that ran at the same time, group by group."""
    seen: list[list[ModelName]] = []
    run = together.run

    def noted(works: dict[ModelName, Any], cancelled: Callable[[], bool] | None = None) -> dict[ModelName, Any]:
        seen.append(list(works))
        return run(works, cancelled)

    monkeypatch.setattr(together, "run", noted)
    return seen


def told(transcripts: dict[ModelName, Transcript]) -> dict[ModelName, Any]:
    return {name: (t.tokens, t.text, t.segments, t.words, t.generation) for name, t in transcripts.items()}


@pytest.mark.parametrize("seconds", [3, 44])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_writes_the_same(live: LiveMerge, groups: list[Any], way: Way, seconds: float) -> None:
    options = replace(OPTIONS, word_times=True)
    live.apply(HALF)
    for seed in range(3):
        clip = make_clip(seconds, seed)
        expected = LiveTranscriber(live, way="in turn").transcribe_all(NAMES, clip, options)
        found = LiveTranscriber(live, way=way).transcribe_all(NAMES, clip, options)
        assert told(found) == told(expected) and list(found) == list(NAMES)
        assert not any(one.cached for one in found.values())
        assert [one.acceptance is None for one in found.values()] == [True, way == "at once", way == "at once"]
    assert groups == [list(NAMES)] * 3


def test_the_demo_pair_writes_the_same_in_every_way() -> None:
    pair = LiveMerge(open_checkpoint(DEMO / "models" / "a"), open_checkpoint(DEMO / "models" / "b"), device="cpu")
    clip = load_clip(sorted((DEMO / "samples").glob("*.ogg"))[0], AudioLimits())
    expected, *others = (
        told(LiveTranscriber(pair, way=way).transcribe_all(NAMES, clip, TranscribeOptions()))
        for way in ("in turn", *WAYS)
    )
    assert expected["a"][1] and all(found == expected for found in others)


@pytest.mark.parametrize("way", WAYS)
def test_cancelling_leaves_nothing_half_kept(live: LiveMerge, way: Way) -> None:
    live.apply(HALF)
    listen, clip = LiveTranscriber(live, way=way), make_clip(3)
    polls = iter([False] * 12)
    with pytest.raises(Cancelled):
        listen.transcribe_all(NAMES, clip, OPTIONS, lambda: next(polls, True))
    assert len(listen.workspace.finished) == len(listen.workspace.latest) == 0
    assert told(listen.transcribe_all(NAMES, clip, OPTIONS)) == told(
        LiveTranscriber(live, way="in turn").transcribe_all(NAMES, clip, OPTIONS)
    )


def test_only_what_is_not_known_runs_and_equal_weights_once(live: LiveMerge, groups: list[Any]) -> None:
    listen, clip = LiveTranscriber(live, way="at once"), make_clip(3)
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.0}))  # the mixture is B
    first = listen.transcribe_all(NAMES, clip, OPTIONS)
    assert groups == [["a", "merged"]] and first["b"].cached and first["b"].tokens == first["merged"].tokens
    live.apply(HALF)
    second = listen.transcribe_all(NAMES, clip, OPTIONS)
    assert len(groups) == 1, "one model is left, and what the others wrote is its draft"
    assert second["a"].cached and second["b"].cached and second["merged"].acceptance is not None


def test_known_drafts_serve_models_that_run_at_once(live: LiveMerge, groups: list[Any]) -> None:
    listen, clip = LiveTranscriber(live, way="at once"), make_clip(3)
    live.apply(HALF)
    first = listen.transcribe_all(NAMES, clip, OPTIONS)
    listen.workspace.finished.clear()
    again = listen.transcribe_all(NAMES, clip, OPTIONS)
    assert len(groups) == 2 and told(again) == told(first)
    assert all(one.acceptance == 1.0 and not one.cached for one in again.values())


def test_an_encoder_that_two_models_share_hears_once(live: LiveMerge, groups: list[Any]) -> None:
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.5}, parts={"encoder": {"direct_alpha": 1.0}}))
    listen = LiveTranscriber(live, way="hear at once")
    found = listen.transcribe_all(NAMES, make_clip(3), OPTIONS)
    assert groups == [["merged", "b"]] and len(listen.workspace.heard) == 2
    assert len({one.tokens for one in found.values()}) > 1


def test_hearing_belongs_to_the_time_of_a_transcription(live: LiveMerge, monkeypatch: pytest.MonkeyPatch) -> None:
    live.apply(HALF)
    listen = LiveTranscriber(live, way="hear at once")
    monkeypatch.setattr(together, "run", lambda works, cancelled: dict.fromkeys(works, 1000.0))
    found = listen.transcribe_all(("a", "b"), make_clip(3), OPTIONS)
    assert all(1000 < one.seconds_wall < 2000 for one in found.values())


def test_what_is_not_for_threads_goes_in_turn(
    live: LiveMerge, groups: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live.apply(HALF)
    clip = make_clip(2)
    expected = told(LiveTranscriber(live).transcribe_all(NAMES, clip, OPTIONS))
    strict = LiveTranscriber(live, way="at once").transcribe_all(NAMES, clip, replace(OPTIONS, strict=True))
    assert told(strict) == expected
    small = LiveMerge(live.checkpoints["a"], live.checkpoints["b"], device="cpu", resident=False)
    small.apply(HALF)
    streamed = LiveTranscriber(small, way="at once").transcribe_all(NAMES, clip, OPTIONS)
    assert {name: one.tokens for name, one in streamed.items()} == {name: one[0] for name, one in expected.items()}
    monkeypatch.setattr("evaluation.live_transcriber.supported", lambda module: False)
    plain = LiveTranscriber(live, way="at once").transcribe_all(NAMES, clip, OPTIONS)
    assert {name: one.tokens for name, one in plain.items()} == {name: one[0] for name, one in expected.items()}
    assert groups == []
