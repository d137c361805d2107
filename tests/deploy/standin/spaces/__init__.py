"""A stand-in for Hugging Face's `spaces` package that enforces what ZeroGPU enforces, and says when it is broken.

`GPU(duration=…)` runs the function in a forked process, like the real one: arguments and result are pickled, an
exception comes back as no more than its class's name, a call that takes longer than it asked for is killed, and the
process is kept for the next call. In the main process the models' devices are out of reach: what would use them raises.
What happened is appended to the file SPACES_STANDIN_LOG, a line of JSON per call.
"""

import json
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

assert os.environ.get("SPACES_ZERO_GPU"), "outside of ZeroGPU nothing imports this package"

MOST_SECONDS = 120
SLOWER = 8  # this CPU, shared with other tests, is not the GPU that the seconds are meant for
_fork = multiprocessing.get_context("fork")
_lent = False  # True in the forked process
decorated: list[str] = []


def forbid_devices() -> None:
    """Lets whatever would put weights on a device fail in the main process; the real package fakes CUDA there."""
    from merger.live import live_merge

    make = live_merge.LiveMerge.__init__

    def guarded(self: Any, *arguments: Any, **named: Any) -> None:
        if not _lent:
            raise AssertionError("the main process of a ZeroGPU Space used a device")
        make(self, *arguments, **named)

    live_merge.LiveMerge.__init__ = guarded  # type: ignore[method-assign]


def _serve(calls: Any, task: Callable[..., Any]) -> None:
    global _lent  # noqa: PLW0603
    _lent = True
    while True:
        arguments, named = pickle.loads(calls.recv_bytes())
        try:
            answer = pickle.dumps(("value", task(*arguments, **named)))
        except Exception as error:
            answer = pickle.dumps(("error", type(error).__name__))
        calls.send_bytes(answer)


def GPU(task: Callable[..., Any] | None = None, *, duration: Any = 60) -> Any:
    if task is None:
        return lambda function: GPU(function, duration=duration)
    decorated.append(task.__name__)
    busy, kept = threading.Lock(), {}

    def call(*arguments: Any, **named: Any) -> Any:
        if _lent:
            return task(*arguments, **named)
        asked = duration(*arguments, **named) if callable(duration) else duration
        if asked > MOST_SECONDS:
            raise gr.Error(f"The requested GPU duration ({asked}s) is larger than the maximum allowed")
        if os.environ.get("SPACES_STANDIN_QUOTA") == "none":
            raise gr.Error("You have exceeded your free ZeroGPU quota", title="ZeroGPU quota exceeded")
        sent = pickle.dumps((arguments, named))
        request = gr.context.LocalContext.request.get(None)
        with busy:
            if not kept or not kept["process"].is_alive():
                ours, theirs = _fork.Pipe()
                process = _fork.Process(target=_serve, args=(theirs, task), daemon=True)
                process.start()
                kept.update(pipe=ours, process=process)
            began = time.monotonic()
            kept["pipe"].send_bytes(sent)
            if not kept["pipe"].poll(asked * SLOWER):
                kept["process"].kill()
                kept["process"].join()
                raise gr.Error("GPU task aborted", title="ZeroGPU worker error")
            try:
                kind, value = pickle.loads(kept["pipe"].recv_bytes())
            except EOFError:
                raise gr.Error("GPU task aborted", title="ZeroGPU worker error") from None
        _note(asked, time.monotonic() - began, len(sent), kept["process"].pid, request)
        if kind == "error":
            raise gr.Error(value, title="ZeroGPU worker error")
        return value

    return call


def _note(asked: float, took: float, sent: int, process: int, request: Any) -> None:
    if path := os.environ.get("SPACES_STANDIN_LOG"):
        account = None if request is None else request.headers.get("x-ip-token")
        told = {"asked": asked, "took": took, "bytes": sent, "process": process, "account": account}
        with open(path, "a", encoding="utf-8") as log:
            log.write(json.dumps(told) + "\n")


if os.environ.get("SPACES_STANDIN_FORBID", "1") == "1":
    forbid_devices()
