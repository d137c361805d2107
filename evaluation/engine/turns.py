"""Several models in one thread on a GPU: while one waits for the device, the next goes on.

Threads would do the same, but wait for each other at Python's lock (docs/lab-book/live.md).
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
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


def wait_for(tensor: torch.Tensor) -> None:
    """Wait until what was launched on the current stream of the tensor's device, if it has any, is done: see `wait`."""
    if tensor.is_cuda:
        wait(torch.cuda.current_stream(tensor.device))


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the host, once it is there: see `wait`."""
    if not tensor.is_cuda:
        return tensor
    host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    wait_for(tensor)
    return host


def take_turns(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them in the calling thread; they must not raise. At every `wait` one goes on whose wait is over, or one
    begins.

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
        # What each that has begun waits for, the one that has waited longest first. None: it runs.
        self._begun: OrderedDict[greenlet, torch.cuda.Event | None] = OrderedDict()
        self._ending = False

    def run(self) -> None:
        home = torch.cuda.current_stream()
        try:
            while self._unbegun or self._begun:
                work = self._next(home)
                self._begun[work] = None
                event = work.switch()
                if work.dead:
                    del self._begun[work]
                else:
                    self._begun[work] = event
                    self._begun.move_to_end(work)
        finally:
            self._ending = True  # after an interruption here those that have begun unwind, and wait where they are
            for work in self._begun:
                # A device that fails fails them all, and an interruption may come again: what came first is raised.
                with suppress(Exception, KeyboardInterrupt):
                    work.throw()
            torch.cuda.set_stream(home)

    def _next(self, home: torch.cuda.Stream) -> greenlet:
        """One whose wait is over, so that the device gets work again soonest; or one that has not begun; or the one
        that has waited longest, when its wait is over."""
        for work, event in self._begun.items():
            if event is not None and event.query():  # type: ignore[no-untyped-call]
                return work
        if self._unbegun:
            torch.cuda.set_stream(home)  # which it will put back when it ends
            return self._unbegun.popleft()
        work, event = next(iter(self._begun.items()))
        assert event is not None, "none runs while the hub does"
        event.synchronize()
        return work

    def wait(self, stream: torch.cuda.Stream) -> None:
        if self._ending:
            stream.synchronize()
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)  # type: ignore[no-untyped-call]
        self._hub.switch(event)
        torch.cuda.set_stream(stream)
