"""Streams and events of a GPU that is not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch


@dataclass
class FakeStream:
    """A stream that notes what is asked of it."""

    cuda_stream: int = 0
    asked: list[str] = field(default_factory=list)

    def wait_event(self, event: object) -> None:
        self.asked.append("waits")

    def synchronize(self) -> None:
        self.asked.append("settles")


class FakeEvents:
    """Events of a device that is not there: all have passed, but for those in `slow`, which pass when waited for.

    An interruption comes when the event `interrupted_at` is asked, or `interrupted_in`, while it is waited for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, current: object) -> None:
        self.recorded: list[object] = []
        self.waited: list[int] = []
        self.put_back: list[object] = []
        self.slow: set[int] = set()
        self.interrupted_at = self.interrupted_in = -1
        monkeypatch.setattr(torch.cuda, "Event", self._make)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current)
        monkeypatch.setattr(torch.cuda, "set_stream", self.put_back.append)

    def _make(self) -> SimpleNamespace:
        number = len(self.recorded)

        def passed() -> bool:
            if number == self.interrupted_at:
                raise KeyboardInterrupt
            return number not in self.slow

        def wait() -> None:
            if number == self.interrupted_in:
                raise KeyboardInterrupt
            self.slow.discard(number)
            self.waited.append(number)

        return SimpleNamespace(record=self.recorded.append, query=passed, synchronize=wait)
