"""A device in a process of its own, watched: what kills the process costs one request, not the server.

Out of a native crash, an out-of-memory kill or a poisoned CUDA context there is no way back inside a process, so each
device has one that can be replaced. It is noticed at once when it ends, and another is started. A request that has
ended two processes is refused for a while instead of being given a third. A request that is no longer wanted and does
not stop by itself is ended with its process.
"""

import atexit
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip
from evaluation.transcriber import TranscribeOptions
from merger.bilingual import Text
from merger.errors import Cancelled
from merger.recipe import MergeRecipe
from ui.deaths import Deaths, Patience
from ui.device_process import Answer, Request
from ui.executor import OPTIONS, Applied, Pair, Poll, Proof, Written
from ui.watched_process import POLL, WatchedProcess

log = logging.getLogger(__name__)

LOCAL = "ui.local_executor:LocalExecutor"
PATIENCE = Patience()
DEATHS_ALLOWED = 2  # processes that one request may end before it is refused


class ProcessExecutor(WatchedProcess):
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
        super().__init__(device, kept, maker, patience, prepare)
        self._deaths = deaths or Deaths(patience.refuse)
        self._number = 0
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
                self._be_ready(cancelled)  # a process that ends before it is asked is not this request's fault
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


class DeviceFailure(RuntimeError):
    """A request failed in a way that nobody foresaw; the text is the traceback of the device's process."""


class _Lost(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _close(executor: "weakref.ref[ProcessExecutor]") -> None:
    if (alive := executor()) is not None:
        alive.close()
