"""Several models in one thread on a GPU: while one waits for the device, the next goes on.

Threads would do the same, but wait for each other at Python's lock (docs/lab-book/live.md).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from greenlet import getcurrent, greenlet

_of_thread = threading.local()


def wait(stream: torch.cuda.Stream) -> None:
    """Wait until the device has done what was launched on the current stream. Within `take_turns` others go on
    meanwhile."""
    turns: _Turns | None = getattr(_of_thread, "turns", None)
    if turns is None:
        stream.synchronize()
    else:
        turns.wait(stream)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the host, once it is there: see `wait`."""
    if not tensor.is_cuda:
        return tensor
    host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    wait(torch.cuda.current_stream(tensor.device))
    return host


def take_turns(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them in the calling thread; they must not raise. At every `wait` of one the next is resumed.

    What belongs to a thread they share: torch's current stream is put back when one is resumed and when all have ended,
    nothing else is. So `torch.inference_mode` has to be entered around this call, not only within a work. Of context
    variables each sees the defaults, as a thread of its own would.
    """
    outer: _Turns | None = getattr(_of_thread, "turns", None)
    turns = _of_thread.turns = _Turns(works)
    try:
        turns.run()
    finally:
        _of_thread.turns = outer


class _Turns:
    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        self._hub = getcurrent()
        self._unbegun = deque(greenlet(one) for one in works)
        self._waiting: list[tuple[greenlet, torch.cuda.Event]] = []  # the one that has waited longest first
        self._ending = False

    def run(self) -> None:
        home = torch.cuda.current_stream()
        try:
            while self._unbegun or self._waiting:
                work = self._next(home)
                event = work.switch()
                if not work.dead:
                    self._waiting.append((work, event))
        finally:
            self._ending = True  # after an interruption here the others unwind, and wait where they are
            for work, _ in self._waiting:
                with suppress(Exception):  # a device that fails fails them all; what came first is raised
                    work.throw()
            torch.cuda.set_stream(home)

    def _next(self, home: torch.cuda.Stream) -> greenlet:
        """One whose wait is over, for the device has work again soonest then; or one that has not begun; or the one
        that has waited longest, when its wait is over."""
        passed = (i for i, (_, event) in enumerate(self._waiting) if event.query())  # type: ignore[no-untyped-call]
        ready = next(passed, None)
        if ready is None and self._unbegun:
            torch.cuda.set_stream(home)  # which it will put back when it ends
            return self._unbegun.popleft()
        if ready is None:
            ready = 0
            self._waiting[0][1].synchronize()
        return self._waiting.pop(ready)[0]

    def wait(self, stream: torch.cuda.Stream) -> None:
        if self._ending:
            stream.synchronize()
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)  # type: ignore[no-untyped-call]
        self._hub.switch(event)
        torch.cuda.set_stream(stream)
