"""How often somebody may ask: token buckets by name."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

KEPT_NAMES = 50_000


class Buckets:
    """One bucket per name, of `burst` tokens, filled at `per_minute`. The names used least recently are forgotten."""

    def __init__(self, per_minute: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60.0  # tokens per second
        self._burst = float(burst)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, when)
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Takes a token and returns 0.0, or takes none and returns the seconds until there is one."""
        now = self._clock()
        with self._lock:
            tokens, when = self._levels.pop(name, (self._burst, now))
            tokens = min(self._burst, tokens + (now - when) * self._rate)
            wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
            self._levels[name] = (tokens - 1.0 if wait == 0.0 else tokens, now)
            while len(self._levels) > KEPT_NAMES:
                self._levels.popitem(last=False)
        return wait


class Lockouts:
    """Names that failed `attempts` times in a row within `seconds`, and stay out for as long."""

    def __init__(self, attempts: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # name → (failures, when the last one was)
        self._lock = threading.Lock()

    def left(self, name: str, times: int = 1) -> float:
        """Seconds that the name stays locked out; 0.0 if it is not. `times` as many attempts are allowed."""
        with self._lock:
            count, when = self._failed.get(name, (0, 0.0))
        left = when + self._seconds - self._clock()
        return left if count >= self._attempts * times and left > 0 else 0.0

    def failed(self, name: str) -> None:
        now = self._clock()
        with self._lock:
            count, when = self._failed.pop(name, (0, now))
            self._failed[name] = (count + 1 if now - when < self._seconds else 1, now)
            while len(self._failed) > KEPT_NAMES:
                self._failed.popitem(last=False)

    def succeeded(self, name: str) -> None:
        with self._lock:
            self._failed.pop(name, None)
