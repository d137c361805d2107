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

    streams = {"slow": FakeStream(1), "quick": FakeStream(2)}

    def work(name: str, times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                order.append(name)
                turns.wait(streams[name])  # type: ignore[arg-type]

        return run

    events.slow = {0}  # the first wait of "slow" is over only when it is waited for
    turns.take_turns([work("slow", 2), work("quick", 3)])
    assert order == ["slow", "quick", "quick", "quick", "slow"] and events.waited == [0]
    home, slow, quick = "the caller's", streams["slow"], streams["quick"]
    assert events.put_back == [home, home, quick, quick, quick, slow, slow, home]
    stream = FakeStream()
    turns.wait(stream)  # type: ignore[arg-type]
    assert stream.asked == ["settles"], "outside, the thread waits itself"


def test_one_that_can_go_on_does_so_before_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents(monkeypatch, None)
    order: list[str] = []

    def work(name: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(3):
                order.append(name)
                turns.wait(FakeStream())  # type: ignore[arg-type]

        return run

    events.slow = {1}
    turns.take_turns([work("first"), work("second"), work("third")])
    assert order == ["first", "first", "second", "second", "second", "third", "third", "third", "first"]


@pytest.mark.parametrize("when", ["asked", "waited for", "before all have begun"])
def test_an_interruption_unwinds_those_that_have_begun(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    events = FakeEvents(monkeypatch, "the caller's")
    stream = FakeStream()
    unwound: list[str] = []

    def work(name: str) -> Callable[[], None]:
        def run() -> None:
            try:
                turns.wait(stream)  # type: ignore[arg-type]
                turns.wait(stream)  # type: ignore[arg-type]
            finally:
                turns.wait(stream)  # type: ignore[arg-type]
                unwound.append(name)

        return run

    events.slow = {0, 1}
    if when == "asked":
        events.interrupted_at = 2
    elif when == "waited for":
        events.interrupted_in = 0
    else:
        events.interrupted_at = 0
    with pytest.raises(KeyboardInterrupt):
        turns.take_turns([work("first"), work("second")])
    begun = ["first"] if when == "before all have begun" else ["first", "second"]
    assert sorted(unwound) == begun and stream.asked == ["settles"] * len(begun)
    assert events.put_back[-1] == "the caller's"


def test_a_device_that_fails_fails_them_all_and_the_first_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents(monkeypatch, "the caller's")
    unwound: list[str] = []

    class Broken(FakeStream):
        def synchronize(self) -> None:
            raise RuntimeError("CUDA error")

    def work() -> None:
        try:
            turns.wait(Broken())  # type: ignore[arg-type]
        finally:
            unwound.append("unwound")
            turns.wait(Broken())  # type: ignore[arg-type]

    events.slow, events.interrupted_at = {0, 1}, 2
    with pytest.raises(KeyboardInterrupt):
        turns.take_turns([work, work, work])
    assert unwound == ["unwound"] * 3 and events.put_back[-1] == "the caller's"


def test_turns_within_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEvents(monkeypatch, None).slow = set(range(8))
    order: list[str] = []

    def inner(name: str) -> None:
        order.append(name)
        turns.wait(FakeStream())  # type: ignore[arg-type]
        order.append(name)

    def outer() -> None:
        turns.take_turns([lambda: inner("x"), lambda: inner("y")])
        inner("z")

    turns.take_turns([outer, lambda: inner("w")])
    assert order == ["x", "y", "x", "y", "z", "w", "z", "w"]


def test_what_is_on_the_host_is_not_waited_for() -> None:
    tensor = torch.arange(3)
    assert turns.to_host(tensor) is tensor
