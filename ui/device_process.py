"""What runs in the process that owns a device: it takes requests one by one and answers them.

Its parent can end it at any moment and start another; it holds nothing that cannot be made again. A second, small
connection is answered by a thread of its own, so that the health check runs a real kernel while a request is served.
"""

import importlib
import logging
import os
import pickle
import signal
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from merger.errors import OutOfMemory, WhisperMergeError

log = logging.getLogger(__name__)

KEPT_PAIRS, KEPT_CLIPS = 16, 24
POISONED = 70  # exit status of a process whose device answers no more


@dataclass(frozen=True)
class Request:
    """One call of an executor's method. Pair and clip are named; they follow only if this process lacks them."""

    number: int
    method: str
    pair: Any  # Pair.key
    clip: str | None  # sha256
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`kind`: "value", "error" (coded), "failed" (text of a traceback), "lacks" (pair, clip) or "lost" (the device)."""

    kind: str
    value: Any = None
    held: frozenset[Any] = frozenset()


class Kept(OrderedDict[Any, Any]):
    """The `limit` things that were used last."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: Any, value: Any) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > self.limit:
            self.popitem(last=False)


def make_executor(maker: str, device: str, kept: int) -> Any:
    """`maker`: "module:name" of something that is called with the device and the number of pairs to keep."""
    module, _, name = maker.partition(":")
    return getattr(importlib.import_module(module), name)(device, kept)


def serve(
    requests: Connection,
    checks: Connection,
    stop: Any,
    maker: str,
    device: str,
    kept: int,
    prepare: Callable[[], None] | None = None,
) -> None:
    """The process's main function. `stop.value` is the number of the request that is no longer wanted."""
    # The parent decides when this process ends: a signal to the whole group must not take it away from a running job.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    executor = make_executor(maker, device, kept)
    threading.Thread(target=_answer_checks, args=(checks, executor), daemon=True).start()
    pairs, clips = Kept(KEPT_PAIRS), Kept(KEPT_CLIPS)
    requests.send(Answer("value", os.getpid()))
    while True:
        try:
            request: Request | None = requests.recv()
        except (EOFError, OSError):
            return
        if request is None:
            executor.close()
            return
        if not _complete(request, requests, pairs, clips):
            return
        answer = _carry_out(executor, request, stop, pairs, clips)
        requests.send(answer)
        if answer.kind == "lost":
            os._exit(POISONED)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(0)


def _answer_checks(checks: Connection, executor: Any) -> None:
    while True:
        try:
            checks.recv()
        except (EOFError, OSError):
            return
        try:
            answer = Answer("value", executor.check())
        except WhisperMergeError as error:
            answer = Answer("error", error)
        except Exception:
            answer = Answer("failed", traceback.format_exc())
        checks.send(answer)


def _complete(request: Request, requests: Connection, pairs: Kept, clips: Kept) -> bool:
    """Asks for what this process lacks; False when there is nobody to ask any more."""
    lacks = (request.pair not in pairs, request.clip is not None and request.clip not in clips)
    if not any(lacks):
        return True
    try:
        requests.send(Answer("lacks", lacks))
        pair, clip = requests.recv()
    except (EOFError, OSError):
        return False
    if lacks[0]:
        pairs.keep(request.pair, pair)
    if lacks[1]:
        clips.keep(request.clip, clip)
    return True


def _carry_out(executor: Any, request: Request, stop: Any, pairs: Kept, clips: Kept) -> Answer:
    arguments = dict(request.arguments)
    if request.method in {"hear", "prove"}:
        arguments["clip"] = clips[request.clip] if request.clip is not None else None
    try:
        value = getattr(executor, request.method)(
            pairs[request.pair], cancelled=lambda: stop.value == request.number, **arguments
        )
        return Answer("value", value, executor.held())
    except WhisperMergeError as error:
        coded: WhisperMergeError = error
    except MemoryError:
        coded = OutOfMemory(device=executor.device)
    except BaseException:
        text = traceback.format_exc()
        log.error("a request (%s) failed on %s", request.method, executor.device)
        return Answer(_verdict(executor), text, executor.held())
    return Answer("error", _picklable(coded), executor.held())


def _verdict(executor: Any) -> str:
    """After a failure that nobody foresaw: is it the request's own, or does the device answer no more?

    A CUDA context that has seen an illegal access refuses everything that comes after it, in this process only.
    """
    try:
        executor.check()
    except Exception:
        return "lost"
    return "failed"


def _picklable(error: WhisperMergeError) -> WhisperMergeError:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WhisperMergeError(detail=str(error))
    return error
