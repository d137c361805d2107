"""The executor for ZeroGPU Spaces: a GPU that is lent for one call at a time.

There the main process never has a GPU. A function that `spaces.GPU` decorates runs in a forked process that is given
one for as long as the call lasts; the visitor's quota pays for the seconds that were asked for. So a request is one
call, what it needs goes in and what came of it comes out as plain data, and nothing in this process touches a device:
models are opened here (headers), and loaded there from the files, which the page cache keeps in memory. A lent process
may be kept for the next call; then the models are still loaded.

It is taken by itself where Hugging Face sets SPACES_ZERO_GPU (`wanted`).
"""

import contextlib
import itertools
import logging
import os
import pickle
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.audio import AudioClip
from evaluation.transcriber import TranscribeOptions
from merger.bilingual import Text
from merger.errors import Cancelled, OutOfMemory, WhisperMergeError
from merger.recipe import MergeRecipe
from ui.executor import OPTIONS, Applied, DeviceLost, Health, Pair, Poll, Proof, Written
from ui.memory import resident_bytes

log = logging.getLogger(__name__)

# What a call is expected to take, in seconds. More is cut off, less is queued sooner and leaves more of the quota.
START_SECONDS = 12.0  # fork, CUDA context, imports, first kernels
LOAD_BYTES_PER_SECOND = 1e9  # files in the page cache → GPU
AUDIO_PER_SECOND = 12.0  # seconds of audio that one model hears in a second; half of what large-v3 does on an H200
MERGE_SECONDS = 1.0
LEAST_SECONDS, MOST_SECONDS = 15, 120  # the platform refuses more to visitors who have not signed in
POLL_SECONDS = 0.1  # how soon a stop reaches the lent process
PROBE = 64  # rows and columns of the matrix that the health check multiplies


class GpuNotLent(WhisperMergeError):
    """Hugging Face lends no GPU now. Facts: `reason` (Text)."""

    code = "GPU_NOT_LENT"
    sentence_text = Text(
        "Hugging Face сейчас не даёт видеокарту: {reason}.", "Hugging Face lends no GPU now: {reason}."
    )
    remedy_text = Text(
        "Войдите на huggingface.co (квота вошедших больше) или повторите позже.",
        "Sign in to huggingface.co (who is signed in has a larger quota), or try again later.",
    )


# What the platform's own messages mean, by a word in them. The first that fits is told; the message is in the log.
REASONS = (
    ("quota", Text("квота посетителя исчерпана", "the visitor's quota is used up")),
    ("credits", Text("квота посетителя исчерпана", "the visitor's quota is used up")),
    ("limit", Text("квота посетителя исчерпана", "the visitor's quota is used up")),
    ("duration", Text("запись слишком длинная для одного вызова", "the recording is too long for one call")),
    ("No GPU was available", Text("все видеокарты заняты", "all GPUs are taken")),
    ("", Text("служба не ответила как обычно", "the service did not answer as usual")),
)
ABORTED = "GPU task aborted"  # the lent process died, or took longer than it had asked for


@dataclass(frozen=True)
class Call:
    """One request as it goes to the lent process. `stop` names a file that appears when nobody wants the answer."""

    method: str
    pair: Pair
    device: str
    stop: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of it: `value`, or a coded `error`, or the text of a traceback in `failure`."""

    value: Any = None
    error: WhisperMergeError | None = None
    failure: str | None = None


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a ZeroGPU Space."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}


def seconds(call: Call) -> int:
    """How long a GPU is asked for, from what has to be loaded and heard; `spaces.GPU` calls it with the arguments."""
    loading = sum(model.nbytes for model in call.pair.checkpoints.values()) / LOAD_BYTES_PER_SECOND
    clip: AudioClip | None = call.arguments.get("clip")
    heard = 0.0 if clip is None else clip.seconds / AUDIO_PER_SECOND
    times = len(call.arguments.get("sides", ())) if call.method == "hear" else 2
    # The proof reads the saved model too, and transformers' own loop is slower than ours.
    saved = loading + 3 * heard if call.method == "prove" else 0.0
    return int(min(max(START_SECONDS + loading + MERGE_SECONDS + times * heard + saved, LEAST_SECONDS), MOST_SECONDS))


_lent: Any = None  # the executor of the lent process, for as long as that process is kept


def carry_out(call: Call) -> Outcome:
    """Runs in the lent process and raises nothing: of an exception only the class's name would come back."""
    global _lent  # noqa: PLW0603 (the process may be asked again)
    from ui.local_executor import LocalExecutor

    _lent = _lent or LocalExecutor(call.device)
    stop = Path(call.stop)
    try:
        outcome = Outcome(getattr(_lent, call.method)(call.pair, cancelled=stop.exists, **call.arguments))
        pickle.dumps(outcome)
    except WhisperMergeError as error:
        outcome = Outcome(error=error)
    except MemoryError:
        outcome = Outcome(error=OutOfMemory(device=call.device))
    except Exception:
        outcome = Outcome(failure=traceback.format_exc())
    return outcome


class ZeroGpuExecutor:
    """Every method is one lent call. `lend` decorates `carry_out` as `spaces.GPU(duration=…)` does.

    It has to be made before the app is launched: a ZeroGPU Space without a decorated function does not start.
    """

    whole = True
    device = "zero-gpu"

    def __init__(self, device: str = "auto", lend: Callable[..., Any] | None = None) -> None:
        if lend is None:
            import spaces  # the image of a Space brings it

            lend = spaces.GPU
        self._carry_out = lend(duration=seconds)(carry_out)
        self._device = device
        self._marks = Path(tempfile.mkdtemp(prefix="whisper-merge-zero-"))
        self._number = itertools.count()
        self._busy = threading.Lock()
        self.starts = self.lost = 0

    def holds(self, pair: Pair) -> bool:
        """True: no call is worth its price only to load, the one that uses the pair loads it."""
        return bool(pair.key)

    def load(self, pair: Pair, cancelled: Poll) -> None:
        pair.key  # noqa: B018 (raises MissingFile now instead of on borrowed time)

    def apply(self, pair: Pair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        return self._call("apply", pair, cancelled, recipe=recipe)

    def hear(
        self,
        pair: Pair,
        recipe: MergeRecipe,
        sides: Sequence[str],
        clip: AudioClip,
        cancelled: Poll,
        options: TranscribeOptions = OPTIONS,
    ) -> dict[str, Written]:
        return self._call("hear", pair, cancelled, recipe=recipe, sides=tuple(sides), clip=clip, options=options)

    def prove(
        self, pair: Pair, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll
    ) -> Proof:
        return self._call("prove", pair, cancelled, recipe=recipe, folder=folder, clip=clip)

    def check(self) -> Health:
        """A kernel of the CPU: a GPU is there only while somebody's quota pays for it."""
        started = time.perf_counter()
        if float((np.ones((PROBE, PROBE), np.float32) @ np.ones((PROBE, PROBE), np.float32)).sum()) != PROBE**3:
            raise DeviceLost(device=self.device, reason=Text("процессор считает неверно", "the CPU computes wrongly"))
        return Health(self.device, time.perf_counter() - started, resident_bytes())

    def status(self) -> dict[str, Any]:
        state = "busy" if self._busy.locked() else "idle"
        return {"device": self.device, "state": state, "starts": self.starts, "lost": self.lost}

    def close(self) -> None:
        shutil.rmtree(self._marks, ignore_errors=True)

    def _call(self, method: str, pair: Pair, cancelled: Poll, **arguments: Any) -> Any:
        if cancelled():
            raise Cancelled()
        pair.key  # noqa: B018 (files are read here, not on borrowed time)
        mark = self._marks / str(next(self._number))
        with self._busy, _marked_when(cancelled, mark), _coded(self._note_loss):
            self.starts += 1
            outcome: Outcome = self._carry_out(Call(method, pair, self._device, str(mark), arguments))
        if outcome.error is not None:
            raise outcome.error
        if outcome.failure is not None:
            raise RuntimeError(f"{method} failed on the lent GPU:\n{outcome.failure}")
        return outcome.value

    def _note_loss(self) -> None:
        self.lost += 1


@contextlib.contextmanager
def _marked_when(cancelled: Poll, mark: Path) -> Iterator[None]:
    """Inside the block the file `mark` appears soon after `cancelled()` turns true; it is gone afterwards."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            if cancelled():
                mark.touch()
                return

    watcher = threading.Thread(target=watch, name="whisper-merge-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        mark.unlink(missing_ok=True)


@contextlib.contextmanager
def _coded(note_loss: Callable[[], None]) -> Iterator[None]:
    """Inside the block what the platform refuses with (a `gr.Error` with English sentences) becomes a coded error."""
    import gradio as gr

    try:
        yield
    except gr.Error as refused:
        told = f"{getattr(refused, 'title', '')}: {refused.message}"
        log.warning("no GPU was lent, or it was taken away: %s", told)
        if ABORTED in told or "worker error" in told:
            note_loss()
            reason = Text("вызов прерван платформой", "the platform ended the call")
            raise DeviceLost(device="ZeroGPU", reason=reason) from None
        raise GpuNotLent(reason=next(text for word, text in REASONS if word in told)) from None


def head() -> str:
    """What the page needs besides on a ZeroGPU Space: the script that brings the visitor's quota along."""
    return f"<script>{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>"
