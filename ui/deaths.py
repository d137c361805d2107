"""How long one waits for a device's process, and how often a request may end one."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEPT_DEATHS = 1000


@dataclass(frozen=True)
class Patience:
    """Seconds: until a new process is ready, until a cancelled request has to have stopped, for a health check, how
    long a deadly request is refused, and the longest pause between two starts that fail."""

    start: float = 120.0
    stop: float = 10.0
    check: float = 5.0
    refuse: float = 600.0
    restart: float = 30.0


class Deaths:
    """How many processes each request has ended lately; shared by the devices of one server."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._times: OrderedDict[Any, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, request: Any) -> int:
        with self._lock:
            since = self._clock() - self._seconds
            return sum(moment > since for moment in self._times.get(request, ()))

    def add(self, request: Any) -> None:
        with self._lock:
            self._times.setdefault(request, []).append(self._clock())
            self._times.move_to_end(request)
            while len(self._times) > KEPT_DEATHS:
                self._times.popitem(last=False)
