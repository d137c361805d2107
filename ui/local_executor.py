"""The device in this process: pairs of models in its memory, and everything that listens with them."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from evaluation.audio import AudioClip
from evaluation.transcriber import TranscribeOptions
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import MissingFile, OutOfMemory, WhisperMergeError
from merger.recipe import MergeRecipe
from ui.executor import OPTIONS, Applied, DeviceLost, Health, Pair, Poll, Proof, Written
from ui.memory import resident_bytes

log = logging.getLogger(__name__)

Key = tuple[tuple[str, str], ...]
Done = TypeVar("Done")
PROBE = 64  # rows and columns of the matrix by which a device shows that it computes


class LoadedPair:
    """The sources of a pair in device memory with everything that listens."""

    def __init__(self, checkpoints: dict[str, Checkpoint], device: str, cancelled: Poll) -> None:
        from evaluation.live_transcriber import LiveTranscriber
        from merger.live import LiveMerge

        others = [model for role, model in sorted(checkpoints.items()) if role not in {"a", "b", "base"}]
        self.live = LiveMerge(
            checkpoints["a"], checkpoints["b"], checkpoints.get("base"),
            others=others, device=device, cancelled=cancelled,
        )  # fmt: skip
        self.listen = LiveTranscriber(self.live)

    def swap(self, cancelled: Poll) -> bool:
        """B becomes A and A becomes B, without reading either; False where they cannot."""
        if not self.live.swap(cancelled):
            return False
        self.listen.swapped()
        return True

    def close(self) -> None:
        self.live.close()


class LocalExecutor:
    """Computes in the calling thread. `kept`: pairs that stay loaded; the one that was not used for longest goes."""

    whole = False

    def __init__(self, device: str = "auto", kept: int = 1) -> None:
        self.device = device
        self._kept = kept
        self._loaded: OrderedDict[Key, LoadedPair] = OrderedDict()
        _make_current(device)

    def holds(self, pair: Pair) -> bool:
        return pair.key in self._loaded

    def held(self) -> frozenset[Key]:
        return frozenset(self._loaded)

    def load(self, pair: Pair, cancelled: Poll) -> None:
        self._sparing(lambda: self._get(pair, cancelled))

    def apply(self, pair: Pair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        return self._sparing(lambda: _applied(self._get(pair, cancelled), recipe, cancelled))

    def hear(
        self,
        pair: Pair,
        recipe: MergeRecipe,
        sides: Sequence[str],
        clip: AudioClip,
        cancelled: Poll,
        options: TranscribeOptions = OPTIONS,
    ) -> dict[str, Written]:
        def listen() -> dict[str, Written]:
            loaded = self._get(pair, cancelled)
            applied = _applied(loaded, recipe, cancelled) if "merged" in sides else None
            heard = loaded.listen.transcribe_all(sides, clip, options, cancelled)  # type: ignore[arg-type]
            return {side: Written(heard[side], applied if side == "merged" else None) for side in sides}  # type: ignore[index]

        return self._sparing(listen)

    def prove(
        self, pair: Pair, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll
    ) -> Proof:
        from ui.proof import prove

        return self._sparing(lambda: prove(self._get(pair, cancelled), recipe, folder, clip, cancelled))

    def check(self) -> Health:
        import time

        import torch

        from merger.live.loading import choose_device

        device = choose_device(self.device)
        started = time.perf_counter()
        try:
            total = float((torch.ones(PROBE, PROBE, device=device) @ torch.ones(PROBE, PROBE, device=device)).sum())
        except Exception as error:  # a device that is lost raises what its driver likes
            raise DeviceLost(device=str(device), reason=Text("ядро не выполнилось", "a kernel failed")) from error
        if total != PROBE**3:
            raise DeviceLost(device=str(device), reason=Text("считает неверно", "it computes wrongly"))
        seconds = time.perf_counter() - started
        on_device = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        return Health(str(device), seconds, resident_bytes(), on_device)

    def status(self) -> dict[str, Any]:
        return {"device": self.device, "state": "idle", "starts": 1, "lost": 0}

    def close(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()

    def _get(self, pair: Pair, cancelled: Poll) -> LoadedPair:
        """The pair, loaded now if it is not; what is pushed out frees its memory before the new one takes it."""
        if pair.key in self._loaded:
            self._loaded.move_to_end(pair.key)
            return self._loaded[pair.key]
        if (mirrored := self._loaded.pop(_mirrored(pair.key), None)) is not None:
            if mirrored.swap(cancelled):
                self._loaded[pair.key] = mirrored
                return mirrored
            mirrored.close()
        while len(self._loaded) >= self._kept:
            _, old = self._loaded.popitem(last=False)
            old.close()
        try:
            loaded = self._loaded[pair.key] = LoadedPair(pair.checkpoints, self.device, cancelled)
        except FileNotFoundError as error:
            detail = Text("файл модели", "a model file")
            raise MissingFile(file=Path(error.filename or "").name, detail=detail) from error
        return loaded

    def _sparing(self, work: Callable[[], Done]) -> Done:
        """Does the work; where memory runs out, once more with everything forgotten that can be made again.

        The second attempt is made outside of the `except` block: inside, the traceback still holds the memory.
        """
        try:
            return work()
        except WhisperMergeError as error:
            if not isinstance(error, OutOfMemory):
                raise
        except Exception as error:
            if not _out_of_memory(error):
                raise
        log.warning("out of memory on %s: everything kept is dropped, one more attempt", self.device)
        self._spare()
        try:
            return work()
        except Exception as error:
            if _out_of_memory(error):
                raise OutOfMemory(device=self.device) from error
            raise

    def _spare(self) -> None:
        import gc

        import torch

        self.close()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _make_current(device: str) -> None:
    """Compiled kernels and captured graphs run on the calling thread's current GPU, wherever their tensors lie."""
    number = device.removeprefix("cuda:")
    if not number.isdigit():
        return
    import torch

    if int(number) < torch.cuda.device_count():
        torch.cuda.set_device(device)


def _mirrored(key: Key) -> Key:
    """The pair with A and B exchanged."""
    other = {"a": "b", "b": "a"}
    return tuple(sorted((other.get(role, role), fingerprint) for role, fingerprint in key))


def _applied(loaded: LoadedPair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
    done = loaded.live.apply(recipe, cancelled)
    return Applied(done.digest, done.performed, done.seconds, done.warnings)


def _out_of_memory(error: BaseException) -> bool:
    """torch's own error is known by its name, wherever it was raised."""
    return isinstance(error, MemoryError | OutOfMemory) or type(error).__name__ == "OutOfMemoryError"
