"""What each person has on the page: published in slices, each with a version, so that a reload finds everything again.

A browser names its owner by a random secret that it keeps; here only a digest of it is used, so that neither the log
nor the database can be turned into somebody's session. Slices are plain JSON with both languages inside.
"""

import asyncio
import hashlib
import itertools
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SECRET = re.compile(r"^[\w-]{22,64}$", re.ASCII)
KEPT_SESSIONS = 500


def owner_of(secret: str) -> str:
    """The name under which a browser's things are kept. Raises ValueError for something that is no secret."""
    if not isinstance(secret, str) or not SECRET.match(secret):
        raise ValueError("not an owner secret")
    return hashlib.sha256(secret.encode()).hexdigest()[:24]


@dataclass
class Session:
    """One person's page. `lock` guards the fields below; `publish` may be called from any thread.

    Whoever changes a field and tells it, or reads what is told and tells it changed, holds `lock` meanwhile. That may
    take a while (files are read), so what is told has a lock of its own, which the event loop never waits for long.
    """

    owner: str
    models: dict[str, str | None] = field(default_factory=dict)  # role → reference as given
    recipe: Any = None  # merger.recipe.MergeRecipe
    preset: str | None = None
    live: bool = True
    undo: list[Any] = field(default_factory=list)  # ui.mixer.Mixed: models and recipe
    redo: list[Any] = field(default_factory=list)
    clip: str | None = None
    fetching: bool = False  # models are on their way: how they fit is not known before they are here
    shelf: list[str] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)  # clip id → what was really said
    job: str | None = None  # the job that the status strip shows
    notes: dict[str, Any] = field(default_factory=dict)  # what a view keeps for itself (a blind round, a sweep)
    lock: threading.RLock = field(default_factory=threading.RLock)
    begun: bool = False
    beginning: threading.Lock = field(default_factory=threading.Lock)
    seen: float = field(default_factory=time.monotonic)
    _news: threading.Lock = field(default_factory=threading.Lock)  # guards the slices and those who wait for them
    _slices: dict[str, tuple[int, Any]] = field(default_factory=dict)
    _waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)
    # Versions begin at the clock: a page that outlived a restart of the server never knows a newer one than it gets.
    _versions: Any = field(default_factory=lambda: itertools.count(time.time_ns() // 1000))

    def mixture(self) -> tuple[Any, dict[str, str | None]]:
        """(recipe, models) as they belong together."""
        with self.lock:
            return self.recipe, dict(self.models)

    def publish(self, **slices: Any) -> None:
        """Sets slices and wakes every page of this person."""
        with self._news:
            for name, value in slices.items():
                self._slices[name] = (next(self._versions), value)
            waiters = list(self._waiters)
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def get(self, name: str) -> Any:
        with self._news:
            return self._slices.get(name, (0, None))[1]

    def newer(self, known: dict[str, int]) -> dict[str, dict[str, Any]]:
        """The slices whose version differs from what the page knows."""
        with self._news:
            return {
                name: {"version": version, "value": value}
                for name, (version, value) in self._slices.items()
                if known.get(name) != version
            }

    async def wait(self, known: dict[str, int], seconds: float) -> dict[str, dict[str, Any]]:
        """Newer slices, at once if there are any, otherwise as soon as there are; empty after `seconds`."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._news:
            self._waiters.add(waiter)
        try:
            fresh = self.newer(known)
            if not fresh:
                try:
                    await asyncio.wait_for(waiter[1].wait(), seconds)
                except TimeoutError:
                    return {}
                fresh = self.newer(known)
            return fresh
        finally:
            with self._news:
                self._waiters.discard(waiter)


class Sessions:
    """All sessions by owner; the one that was away longest makes room."""

    def __init__(self, kept: int = KEPT_SESSIONS) -> None:
        self._kept = kept
        self._by_owner: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, owner: str, begin: Callable[[Session], None]) -> Session:
        """The owner's session; a new one after `begin` has furnished it.

        A page asks and watches at the same moment: whoever comes second waits, since what it changed in a session that
        is only half furnished would be written over.
        """
        session = self._made(owner)
        with session.beginning:
            if not session.begun:
                session.begun = True  # tried once: a sample that cannot be read must not close the page for good
                begin(session)
        return session

    def _made(self, owner: str) -> Session:
        with self._lock:
            session = self._by_owner.get(owner)
            if session is None:
                session = self._by_owner[owner] = Session(owner)
                while len(self._by_owner) > self._kept:
                    self._by_owner.popitem(last=False)
            self._by_owner.move_to_end(owner)
            session.seen = time.monotonic()
            return session

    def find(self, owner: str) -> Session | None:
        with self._lock:
            return self._by_owner.get(owner)

    def __len__(self) -> int:
        return len(self._by_owner)
