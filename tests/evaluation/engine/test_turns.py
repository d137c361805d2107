"""Work of several models in one thread: who goes on, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from evaluation.engine import turns
from tests.evaluation.engine.fake_gpu import FakeEvents, FakeStream


def test_the_one_that_need_not_wait_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents(monkeypatch, "the caller's")
    order: list[str] = []

    def work(name: str, times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                order.append(name)
                turns.wait(FakeStream())  # type: ignore[arg-type]

        return run

    events.slow = {0}  # the first wait of "slow" is over only when it is waited for
    turns.take_turns([work("slow", 2), work("quick", 3)])
    assert order == ["slow", "quick", "quick", "quick", "slow"] and events.waited == [0]
    assert set(events.put_back) == {"the caller's"}
    stream = FakeStream()
    turns.wait(stream)  # type: ignore[arg-type]
    assert stream.asked == ["settles"], "outside, the thread waits itself"


def test_an_interruption_unwinds_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents(monkeypatch, None)
    stream = FakeStream()
    unwound: list[str] = []

    def work() -> None:
        try:
            turns.wait(stream)  # type: ignore[arg-type]
            turns.wait(stream)  # type: ignore[arg-type]
        finally:
            turns.wait(stream)  # type: ignore[arg-type]
            unwound.append("unwound")

    events.interrupted_at = 2
    with pytest.raises(KeyboardInterrupt):
        turns.take_turns([work, work])
    assert unwound == ["unwound", "unwound"] and stream.asked == ["settles", "settles"]


def test_what_is_on_the_host_is_not_waited_for() -> None:
    tensor = torch.arange(3)
    assert turns.to_host(tensor) is tensor
