"""What A, the mixture and B write for one clip: the transcribers over a live merge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evaluation.transcriber import CancelPoll, Clip, HuggingFaceTranscriber, TranscribeOptions, Transcript
from merger.live import LiveMerge, ModelName


class LiveTranscriber:
    """Transcribes with the three models of a `LiveMerge`; used by one thread at a time.

        live = LiveMerge(open_checkpoint("a"), open_checkpoint("b"))
        listen = LiveTranscriber(live)
        live.apply(recipe)
        listen.transcribe("merged", clip, TranscribeOptions())

    Every transcript of the mixture is stamped with the number of the merge it was heard from.
    """

    def __init__(self, live: LiveMerge) -> None:
        self.live = live
        self._processors = {name: _load_processor(live, name) for name in ("a", "b")}

    def transcribe(
        self, model: ModelName, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> Transcript:
        """What one of the models writes. Raises Cancelled, BadParameter."""
        with self.live.lend(model) as module:
            transcriber = HuggingFaceTranscriber(module, self._processors["b" if model == "b" else "a"])
            transcript = transcriber.transcribe(clip, options, cancelled)
        return replace(transcript, generation=self.live.generation if model == "merged" else None)


def _load_processor(live: LiveMerge, name: str) -> Any:
    from transformers import WhisperProcessor

    return WhisperProcessor.from_pretrained(live.checkpoints[name].folder)
