"""What A, the mixture and B write for one clip: the transcribers over a live merge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.engine import Identity, Kept, WhisperEngine, Workspace, supported
from evaluation.generate import HuggingFaceTranscriber
from evaluation.transcriber import CancelPoll, Clip, TranscribeOptions, Transcript
from merger.live import LiveMerge, ModelName


class LiveTranscriber:
    """Transcribes with the three models of a `LiveMerge`; used by one thread at a time.

        live = LiveMerge(open_checkpoint("a"), open_checkpoint("b"))
        listen = LiveTranscriber(live)
        live.apply(recipe)
        listen.transcribe("merged", clip, TranscribeOptions())

    What a model has written for a clip is kept while its weights stand, and serves the others as a draft. Every
    transcript of the mixture is stamped with the number of the merge it was heard from.
    """

    def __init__(self, live: LiveMerge, workspace: Workspace | None = None) -> None:
        self.live = live
        self.workspace = workspace or Workspace()
        self._processors = {name: _load_processor(live.checkpoints[name].folder) for name in ("a", "b")}
        self._engines: dict[ModelName, WhisperEngine] = {}

    def transcribe(
        self, model: ModelName, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> Transcript:
        """What one of the models writes. Raises Cancelled, BadParameter."""
        with self.live.lend(model) as module:
            if not supported(module):
                transcript = self._plain(model, module).transcribe(clip, options, cancelled)
            else:
                transcript = self._by_engine(model, module, clip, options, cancelled)
        return replace(transcript, generation=self.live.generation if model == "merged" else None)

    def swapped(self) -> None:
        """To be called after `LiveMerge.swap`: A's engine stays with the weights that are B's now, and so for B."""
        self._processors = {"a": self._processors["b"], "b": self._processors["a"]}
        kept: dict[ModelName, WhisperEngine] = {}
        if self.live.resident:  # otherwise one engine serves all, with A's vocabulary
            for name, other in (("a", "b"), ("b", "a")):
                if other in self._engines:
                    kept[name] = self._engines[other]  # type: ignore[index,literal-required]
        self._engines = kept

    def _by_engine(
        self, model: ModelName, module: Any, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None
    ) -> Transcript:
        weights = self.live.identity(model)
        kept = self._engine(model, module).transcribe_kept(
            clip,
            options,
            cancelled,
            identity=Identity(weights.encoder, weights.decoder),
            drafts=self._drafts(model, clip, options),
        )
        self.workspace.latest.put((model, clip.sha256, options), kept)
        return kept.transcript

    def _drafts(self, model: ModelName, clip: Clip, options: TranscribeOptions) -> list[Kept]:
        """What was last written for the clip: by this model itself, then by the others."""
        order: list[ModelName] = [model, *(name for name in ("merged", "a", "b") if name != model)]
        found = [self.workspace.latest.get((name, clip.sha256, options)) for name in order]
        return [kept for kept in found if kept is not None]

    def _engine(self, model: ModelName, module: Any) -> WhisperEngine:
        """One engine per module that is lent: without room for three copies all models share one."""
        owner: ModelName = model if self.live.resident else "merged"
        if owner not in self._engines:
            self._engines[owner] = WhisperEngine(module, self._processor(model).tokenizer, self.workspace)
        return self._engines[owner]

    def _plain(self, model: ModelName, module: Any) -> HuggingFaceTranscriber:
        return HuggingFaceTranscriber(module, self._processor(model))

    def _processor(self, model: ModelName) -> Any:
        return self._processors["b" if model == "b" else "a"]


def _load_processor(folder: Path) -> Any:
    from transformers import WhisperProcessor

    return WhisperProcessor.from_pretrained(folder)
