"""The process that owns a device, and who watches it: noticed at once when it ends, and another is started."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from merger.bilingual import Text
from merger.errors import Cancelled
from ui.deaths import Patience
from ui.device_process import Answer, serve
from ui.executor import DeviceLost, DeviceStarting, Health, Poll

log = logging.getLogger(__name__)

POLL = 0.02  # seconds between two looks at `cancelled`
NO_START = Text("не запускается", "it does not start")
HASTY = 5.0  # seconds: a process that ends sooner is started again only after a pause


class WatchedProcess:
    """One process for `device`, replaced for as long as this is not closed. `_busy` is held by who speaks to it."""

    def __init__(
        self, device: str, kept: int, maker: str, patience: Patience, prepare: Callable[[], None] | None
    ) -> None:
        self.device = device
        self._made = (maker, device, kept, prepare)
        self._patience = patience
        # spawn: CUDA does not survive a fork, and neither do the locks of this process's other threads.
        self._context = multiprocessing.get_context("spawn")
        self._busy = threading.RLock()  # one request at a time
        self._checking = threading.Lock()
        self._held: frozenset[Any] = frozenset()
        self._closing = threading.Event()
        self._since: float | None = None  # when the request that is being served began
        self.starts = self.lost = 0
        self._failed_starts = 0
        self._start()
        self._watcher = threading.Thread(target=self._watch, name=f"whisper-merge-watch-{device}", daemon=True)
        self._watcher.start()

    def check(self) -> Health:
        """A real kernel in the device's process, also while it serves a request."""
        deadline = time.monotonic() + self._patience.check
        if not self._checking.acquire(timeout=self._patience.check):
            raise self._gone(Text("не отвечает", "it does not answer"))
        try:
            checks, process = self._checks, self._process
            if not self._ready and process.is_alive() and not self._failed_starts:
                raise DeviceStarting(device=self.device)
            if not self._ready:
                raise self._gone(NO_START)
            while checks.poll():  # what an earlier check no longer waited for
                checks.recv()
            checks.send(None)
            if not wait_for([checks, process.sentinel], max(0.0, deadline - time.monotonic())):
                raise self._gone(Text("не отвечает", "it does not answer"))
            if not checks.poll():
                raise EOFError
            answer: Answer = checks.recv()
        except (EOFError, OSError) as error:
            raise self._gone(Text("процесс завершился", "the process has ended")) from error
        finally:
            self._checking.release()
        if answer.kind == "value":
            health: Health = answer.value
            return health
        if answer.kind == "error":
            raise answer.value
        raise self._gone(Text("ядро не выполнилось", "a kernel failed"))

    def status(self) -> dict[str, Any]:
        alive, since = self._process.is_alive(), self._since
        state = "down" if not alive else "starting" if not self._ready else "idle" if since is None else "busy"
        busy = None if since is None else round(time.monotonic() - since, 3)
        return {"device": self.device, "state": state, "seconds": busy, "starts": self.starts, "lost": self.lost}

    def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        try:
            if self._busy.acquire(timeout=1.0):  # a process that is still busy is ended
                try:
                    self._requests.send(None)
                    self._process.join(5.0)
                finally:
                    self._busy.release()
        except (OSError, ValueError):
            pass
        self._process.kill()
        self._process.join(5.0)

    # ---- the process itself ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        requests, theirs = self._context.Pipe()
        checks, their_checks = self._context.Pipe()
        self._requests: Connection = requests
        self._checks: Connection = checks
        self._stop: Any = self._context.Value("q", 0, lock=False)
        self._ready, self._held = False, frozenset()
        maker, device, kept, prepare = self._made
        self._process = self._context.Process(
            target=serve,
            args=(theirs, their_checks, self._stop, maker, device, kept, prepare),
            name=f"whisper-merge-{device}",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        their_checks.close()
        self.starts += 1
        self._started = time.monotonic()
        log.info("device process started", extra={"device": self.device, "pid": self._process.pid})

    def _be_ready(self, cancelled: Poll) -> None:
        """Waits until the process takes requests; starts another where it has ended. `_busy` is held.

        Raises Cancelled, and DeviceLost for a process that does not get on its feet.
        """
        if not self._process.is_alive():
            self._replace()
        deadline = self._started + self._patience.start
        while not self._ready:
            if cancelled():
                raise Cancelled
            try:
                if wait_for([self._requests, self._process.sentinel], POLL):
                    self._take_readiness()
            except (EOFError, OSError) as error:
                raise self._ended() from error
            if not self._ready and time.monotonic() > deadline:
                self._process.kill()
                raise self._gone(NO_START)

    def _take_readiness(self) -> None:
        """Takes what a new process says first. Raises EOFError where it has ended instead."""
        if not self._requests.poll():
            raise EOFError
        self._requests.recv()
        self._ready, self._failed_starts = True, 0

    def _watch(self) -> None:
        """Starts another process as soon as one has ended, whether or not anybody asks for it."""
        while not self._closing.is_set():
            process = self._process
            if not self._ready and self._busy.acquire(blocking=False):
                try:  # nobody asks yet: that it is ready is seen here
                    if wait_for([self._requests], POLL):
                        self._take_readiness()
                except (EOFError, OSError):
                    pass
                finally:
                    self._busy.release()
            if not wait_for([process.sentinel], 0.1 if not self._ready else 1.0) or self._closing.is_set():
                continue
            if time.monotonic() - self._started < HASTY:  # it does not get on its feet: not in a busy loop
                self._closing.wait(min(self._patience.restart, 0.5 * 2.0**self._failed_starts))
            with self._busy:
                if self._process is process and not self._closing.is_set():
                    self._replace()

    def _replace(self) -> None:
        self._process.join(1.0)
        self.lost += 1
        self._failed_starts += not self._ready
        log.error(
            "device process ended with status %s and is started anew", self._process.exitcode,
            extra={"device": self.device, "pid": self._process.pid},
        )  # fmt: skip
        with self._checking:  # a check that is under way sees the end of the process and lets go at once
            self._requests.close()
            self._checks.close()
            self._start()

    def _ended(self) -> DeviceLost:
        self._process.join(1.0)
        status = self._process.exitcode
        if status is not None and status < 0:
            told = Text(f"процесс завершён сигналом {-status}", f"the process was ended by signal {-status}")
            return self._gone(told)
        return self._gone(Text("процесс завершился", "the process has ended"))

    def _gone(self, reason: Text) -> DeviceLost:
        return DeviceLost(device=self.device, reason=reason)
