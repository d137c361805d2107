"""Strangers' recordings decoded, each in a process of its own, and no more of them at once than there are cores.

A crowd that uploads at the same moment waits here. Side by side its decoders would take the cores from the page, the
memory from the models, and from each other the time that each of them has.
"""

import os
import threading
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from evaluation.audio import AudioClip
from evaluation.audio_child import load_clip_apart
from evaluation.errors import AudioTooLong, BadAudio
from ui.settings import Settings


class Decoders:
    """`name` is the person's name for a file, not the disk's. Both calls raise BadAudio and AudioTooLong."""

    def __init__(self, settings: Settings) -> None:
        cores = os.cpu_count() or 1
        self._settings = settings
        self._free = threading.BoundedSemaphore(cores)
        self._limiter = CapacityLimiter(cores)  # of threads that coroutines wait with

    def decode(self, path: Path, name: str) -> AudioClip:
        settings = self._settings
        try:
            with self._free:
                return load_clip_apart(
                    path, settings.audio_limits, settings.decode_seconds, settings.decode_memory_mb * 1_000_000
                )
        except (BadAudio, AudioTooLong) as error:
            raise type(error)(**{**error.facts, "name": name}) from None

    async def awaited(self, path: Path, name: str) -> AudioClip:
        """`decode` for a coroutine; the threads that everything else waits with stay free."""
        return await to_thread.run_sync(self.decode, path, name, limiter=self._limiter)
