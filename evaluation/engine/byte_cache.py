"""A cache that is bounded by the bytes it holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps the values that were used last, at most `limit` bytes of them; a single larger value is not kept at all.

    May be used by several threads.
    """

    def __init__(self, limit: int, size_of: Callable[[Value], int]) -> None:
        self.limit = limit
        self.nbytes = 0
        self._size_of = size_of
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """The value, now the most recently used, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value and let go of the least recently used ones that no longer fit."""
        size = self._size_of(value)
        with self._lock:
            self.discard(key)
            if size > self.limit:
                return
            self._values[key] = value
            self.nbytes += size
            while self.nbytes > self.limit:
                self.discard(next(iter(self._values)))

    def discard(self, key: Hashable) -> None:
        """Forget a value if it is there."""
        with self._lock:
            if key in self._values:
                self.nbytes -= self._size_of(self._values.pop(key))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self.nbytes = 0
