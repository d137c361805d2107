"""The seam between jobs and the device that computes for them: plain data in, plain data out.

A job says what it wants of a pair of models; an executor does it, wherever that is: in the calling thread
(`local_executor`) or in a process of its own that owns one device and can be replaced (`process_executor`). Everything
that crosses the seam can be pickled. An executor does one thing at a time; only `check` may be called meanwhile.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from evaluation.audio import AudioClip
from evaluation.transcriber import TranscribeOptions, Transcript
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import MissingFile, WhisperMergeError
from merger.recipe import MergeRecipe

Poll = Callable[[], bool]
OPTIONS = TranscribeOptions(language="ru", word_times=True)


class DeviceLost(WhisperMergeError):
    """The process that owns a device has died, or its device answers no more. Facts: `device`, `reason` (Text)."""

    code = "DEVICE_LOST"
    sentence_text = Text(
        "Процесс, который считает на {device}, прервался: {reason}.",
        "The process that computes on {device} has ended: {reason}.",
    )
    remedy_text = Text(
        "Он запускается заново. Попробуйте ещё раз; если повторится, возьмите другую запись или другие модели.",
        "It is being started anew. Try again; if it happens again, take another recording or other models.",
    )


class DeviceStarting(WhisperMergeError):
    """The process that owns a device does not take requests yet. Facts: `device`."""

    code = "DEVICE_STARTING"
    sentence_text = Text(
        "Процесс, который считает на {device}, ещё запускается.", "The process that computes on {device} is starting."
    )
    remedy_text = Text("Подождите несколько секунд.", "Wait for a few seconds.")


class Pair:
    """A, B and perhaps their base as opened checkpoints: what a device is asked to hold.

    Two pairs are the same where their models' bytes and roles are, wherever the folders lie.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        self.checkpoints = dict(checkpoints)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Role → SHA-256 of the model. Raises MissingFile for a model that is no longer there."""
        try:
            return {role: _fingerprint(model) for role, model in self.checkpoints.items()}
        except FileNotFoundError as error:
            detail = Text("файл модели", "a model file")
            raise MissingFile(file=Path(error.filename or "").name, detail=detail) from error

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self.fingerprints.items()))


# An opened checkpoint stands for one state of its files: `Models` opens a changed one anew.
_known: WeakKeyDictionary[Checkpoint, str] = WeakKeyDictionary()


def _fingerprint(model: Checkpoint) -> str:
    if (known := _known.get(model)) is None:
        known = _known[model] = model.fingerprint()
    return known


@dataclass(frozen=True)
class Applied:
    """What became of a recipe on the device: `performed` differs from the recipe's method only after a fallback."""

    digest: str
    performed: str
    seconds: float
    warnings: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Written:
    """What one model wrote for a clip; `applied` for the mixture."""

    transcript: Transcript
    applied: Applied | None = None


@dataclass(frozen=True)
class Proof:
    """Saved tensors that equal those in memory bit for bit, of how many; what the live and the saved model wrote."""

    equal: int
    total: int
    live: str | None = None
    saved: str | None = None


@dataclass(frozen=True)
class Health:
    """What a device answered: seconds of a real kernel, bytes of its process in RAM and on the device."""

    device: str
    seconds: float
    ram_bytes: int
    device_bytes: int = 0


class Executor(Protocol):
    """One device. Everything but `check` is called by one thread at a time and raises coded errors.

    All raise Cancelled soon after `cancelled()` turns true, DeviceLost, OutOfMemory, and what the models raise.
    """

    @property
    def device(self) -> str:
        """The device's name for people, logs and metrics: "cpu", "cuda:1"."""

    @property
    def whole(self) -> bool:
        """Whether a request is better asked for whole than side by side: a call has a price of its own."""

    def holds(self, pair: Pair) -> bool:
        """Whether the pair is loaded, as far as is known without asking the device."""

    def load(self, pair: Pair, cancelled: Poll) -> None:
        """Loads the pair; one that was not used for long makes room. The other calls load it too where need be."""

    def apply(self, pair: Pair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        """Merges in device memory."""

    def hear(
        self,
        pair: Pair,
        recipe: MergeRecipe,
        sides: Sequence[str],
        clip: AudioClip,
        cancelled: Poll,
        options: TranscribeOptions = OPTIONS,
    ) -> dict[str, Written]:
        """What each of the sides ("a", "merged", "b") writes; the recipe is applied first where "merged" is asked."""

    def prove(
        self, pair: Pair, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll
    ) -> Proof:
        """Compares an exported folder with the mixture in memory, tensor by tensor and by what both write."""

    def check(self) -> Health:
        """Runs a real kernel. Raises DeviceLost where it does not answer or answers wrongly, DeviceStarting before."""

    def status(self) -> dict[str, Any]:
        """`{"device", "state", "starts", "lost"}`: "idle", "busy", "starting" or "down", and how often it began."""

    def close(self) -> None:
        """Lets go of the device."""


class OnDevice:
    """A pair on the device whose thread asked for it: what a job's work holds."""

    def __init__(self, pair: Pair, executor: Executor) -> None:
        self._pair, self._executor = pair, executor
        self.fingerprints = pair.fingerprints
        self.whole = executor.whole

    def apply(self, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        return self._executor.apply(self._pair, recipe, cancelled)

    def hear(
        self,
        recipe: MergeRecipe,
        sides: Sequence[str],
        clip: AudioClip,
        cancelled: Poll,
        options: TranscribeOptions = OPTIONS,
    ) -> dict[str, Written]:
        return self._executor.hear(self._pair, recipe, sides, clip, cancelled, options)

    def prove(self, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll) -> Proof:
        return self._executor.prove(self._pair, recipe, folder, clip, cancelled)


_owned = threading.local()


@contextmanager
def owning(executor: Executor | None) -> Iterator[None]:
    """Inside the block the calling thread is the one that speaks to this device."""
    _owned.executor = executor
    try:
        yield
    finally:
        _owned.executor = None


def here() -> Executor:
    """The device of the calling thread. Raises RuntimeError on a thread that owns none."""
    executor: Executor | None = getattr(_owned, "executor", None)
    if executor is None:
        raise RuntimeError("only a job on a device's thread may use the device")
    return executor


class Pairs:
    """Pairs as jobs ask for them, on the device of the thread that asks."""

    def get(self, sources: Mapping[str, Checkpoint], cancelled: Poll = lambda: False) -> OnDevice:
        """The pair, loaded now if it is not. Raises Cancelled while loading, MissingFile, and what loading raises."""
        pair, executor = Pair(sources), here()
        if not executor.holds(pair):
            executor.load(pair, cancelled)
        return OnDevice(pair, executor)

    def holds(self, sources: Mapping[str, Checkpoint]) -> bool:
        return here().holds(Pair(sources))
