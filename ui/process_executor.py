"""A device in a process of its own, watched: what kills the process costs one request, not the server.

Out of a native crash, an out-of-memory kill or a poisoned CUDA context there is no way back inside a process, so each
device has one that can be replaced. It is noticed at once when it ends, and another is started. A request that has
ended two processes is refused for a while instead of being given a third. A request that is no longer wanted and does
not stop by itself is ended with its process.
"""

import atexit
import logging
import multiprocessing
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip
from evaluation.transcriber import TranscribeOptions
from merger.bilingual import Text
from merger.errors import Cancelled
from merger.recipe import MergeRecipe
from ui.deaths import Deaths, Patience
from ui.device_process import Answer, Request, serve
from ui.executor import OPTIONS, Applied, DeviceLost, Health, Pair, Poll, Proof, Written

log = logging.getLogger(__name__)

LOCAL = "ui.local_executor:LocalExecutor"
PATIENCE = Patience()
POLL = 0.02  # seconds between two looks at `cancelled`
DEATHS_ALLOWED = 2  # processes that one request may end before it is refused


class ProcessExecutor:
    """Speaks to the process that owns `device`. `maker` names what computes there ("module:name").

    `prepare` is called first in the new process (it must be picklable): logging is set up there.
    """

    whole = False

    def __init__(
        self,
        device: str = "auto",
        kept: int = 1,
        *,
        maker: str = LOCAL,
        deaths: Deaths | None = None,
        patience: Patience = PATIENCE,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.device = device
        self._made = (maker, device, kept, prepare)
        self._patience = patience
        self._deaths = deaths or Deaths(patience.refuse)
        # spawn: CUDA does not survive a fork, and neither do the locks of this process's other threads.
        self._context = multiprocessing.get_context("spawn")
        self._busy = threading.RLock()  # one request at a time
        self._checking = threading.Lock()
        self._held: frozenset[Any] = frozenset()
        self._closing = threading.Event()
        self._number = 0
        self._since: float | None = None  # when the request that is being served began
        self.starts = self.lost = 0
        self._failed_starts = 0
        self._start()
        self._watcher = threading.Thread(target=self._watch, name=f"whisper-merge-watch-{device}", daemon=True)
        self._watcher.start()
        atexit.register(_close, weakref.ref(self))

    # ---- the calls ---------------------------------------------------------------------------------------------------

    def holds(self, pair: Pair) -> bool:
        return pair.key in self._held

    def load(self, pair: Pair, cancelled: Poll) -> None:
        self._call("load", pair, None, cancelled)

    def apply(self, pair: Pair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        return self._call("apply", pair, None, cancelled, recipe=recipe)

    def hear(
        self,
        pair: Pair,
        recipe: MergeRecipe,
        sides: Sequence[str],
        clip: AudioClip,
        cancelled: Poll,
        options: TranscribeOptions = OPTIONS,
    ) -> dict[str, Written]:
        return self._call("hear", pair, clip, cancelled, recipe=recipe, sides=list(sides), options=options)

    def prove(
        self, pair: Pair, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll
    ) -> Proof:
        return self._call("prove", pair, clip, cancelled, recipe=recipe, folder=folder)

    def check(self) -> Health:
        """A real kernel in the device's process, also while it serves a request."""
        deadline = time.monotonic() + self._patience.check
        if not self._checking.acquire(timeout=self._patience.check):
            raise self._gone(Text("не отвечает", "it does not answer"))
        try:
            checks, process = self._checks, self._process
            if not self._ready:
                raise self._gone(Text("ещё запускается", "it is still starting"))
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
        state = "down" if not alive else "busy" if since is not None else "idle" if self._ready else "starting"
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

    # ---- one request -------------------------------------------------------------------------------------------------

    def _call(self, method: str, pair: Pair, clip: AudioClip | None, cancelled: Poll, **arguments: Any) -> Any:
        recipe: MergeRecipe | None = arguments.get("recipe")
        name = (method, pair.key, recipe and recipe.digest, clip and clip.sha256)
        if self._deaths.count(name) >= DEATHS_ALLOWED:
            raise self._gone(
                Text("этот запрос прервал его уже дважды", "this request has already ended it twice")
            )
        with self._busy:
            self._since = time.monotonic()
            try:
                self._be_ready(cancelled)
                self._number += 1
                self._requests.send(Request(self._number, method, pair.key, clip and clip.sha256, arguments))
                return self._await(pair, clip, cancelled)
            except (EOFError, OSError) as error:
                self._deaths.add(name)
                raise self._ended() from error
            except _Lost as error:
                self._deaths.add(name)
                log.error("the device %s is lost, its process is replaced: %s", self.device, error.text)
                self._process.join(self._patience.check)
                raise self._gone(Text("устройство перестало отвечать", "the device answers no more")) from error
            finally:
                self._since = None

    def _await(self, pair: Pair, clip: AudioClip | None, cancelled: Poll) -> Any:
        unwanted_since: float | None = None
        while True:
            if not wait_for([self._requests, self._process.sentinel], POLL):
                if unwanted_since is None and cancelled():
                    unwanted_since = time.monotonic()
                    self._stop.value = self._number
                if unwanted_since is not None and time.monotonic() - unwanted_since > self._patience.stop:
                    log.error("a cancelled request did not stop on %s, its process is ended", self.device)
                    self._process.kill()
                    self._process.join()
                    raise Cancelled
                continue
            if not self._requests.poll():
                raise EOFError
            answer: Answer = self._requests.recv()
            if answer.kind == "lacks":
                lacks_pair, lacks_clip = answer.value
                self._requests.send((pair if lacks_pair else None, clip if lacks_clip else None))
                continue
            if answer.kind == "lost":
                raise _Lost(answer.value)
            self._held = answer.held
            if answer.kind == "error":
                raise answer.value
            if answer.kind == "failed":
                raise DeviceFailure(answer.value)
            return answer.value

    # ---- the process -------------------------------------------------------------------------------------------------

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
        """Waits until the process takes requests; starts another where it has ended. `_busy` is held."""
        if not self._process.is_alive():
            self._replace()
        deadline = self._started + self._patience.start
        while not self._ready:
            if cancelled():
                raise Cancelled
            if wait_for([self._requests, self._process.sentinel], POLL):
                if not self._requests.poll():
                    raise EOFError
                self._requests.recv()
                self._ready, self._failed_starts = True, 0
            elif time.monotonic() > deadline:
                self._process.kill()
                raise EOFError

    def _watch(self) -> None:
        """Starts another process as soon as one has ended, whether or not anybody asks for it."""
        while not self._closing.is_set():
            process = self._process
            if not self._ready and self._busy.acquire(blocking=False):
                try:  # nobody asks yet: that it is ready is seen here
                    if wait_for([self._requests], POLL) and self._requests.poll():
                        self._requests.recv()
                        self._ready, self._failed_starts = True, 0
                except (EOFError, OSError):
                    pass
                finally:
                    self._busy.release()
            if not wait_for([process.sentinel], 0.1 if not self._ready else 1.0) or self._closing.is_set():
                continue
            if time.monotonic() - self._started < 5.0:  # it does not get on its feet: not in a busy loop
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


class DeviceFailure(RuntimeError):
    """A request failed in a way that nobody foresaw; the text is the traceback of the device's process."""


class _Lost(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _close(executor: "weakref.ref[ProcessExecutor]") -> None:
    if (alive := executor()) is not None:
        alive.close()
