"""What A, the mixture and B write for one clip: the transcribers over a live merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.engine import Identity, Kept, WhisperEngine, Workspace, supported, together
from evaluation.engine.together import Way, Work
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
    transcript of the mixture is stamped with the number of the merge it was heard from. way: how `transcribe_all` goes
    about several models; None leaves it to the rule (`together.best_way`).
    """

    def __init__(self, live: LiveMerge, workspace: Workspace | None = None, *, way: Way | None = None) -> None:
        self.live = live
        self.way = way
        self.workspace = workspace or Workspace()
        self._processors = {name: _load_processor(live.checkpoints[name].folder) for name in ("a", "b")}
        self._engines: dict[ModelName, WhisperEngine] = {}

    def transcribe(
        self, model: ModelName, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> Transcript:
        """What one of the models writes. Raises Cancelled, BadParameter."""
        return self._in_turn(model, clip, options, cancelled)

    def transcribe_all(
        self, models: Sequence[ModelName], clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> dict[ModelName, Transcript]:
        """What each of the models writes: at the same time where that is sooner, otherwise one after the other, each
        with what was written before as a draft.

        Raises what `transcribe` does; then nothing is kept but what was finished.
        """
        written: dict[ModelName, Transcript] = {}
        spent: dict[ModelName, float] = {}
        with ExitStack() as lent:
            engines = self._waiting(models, clip, options, lent)
            way = self._way(engines, options)
            if way != "in turn":
                for engine in engines.values():
                    engine.features(clip)  # made once, and kept for all
            if way == "at once":
                written = self._at_once(engines, clip, options, cancelled)
            elif way == "hear at once":
                spent = self._hear_at_once(engines, clip, options, cancelled)
        # Without room for three copies the mixture lies in the one module now, and would have to be written again.
        for model in models if self.live.resident else sorted(models, key=lambda model: model != "merged"):
            if model not in written:
                written[model] = self._in_turn(model, clip, options, cancelled, spent.get(model, 0.0))
        return {model: written[model] for model in models}

    def _waiting(
        self, models: Sequence[ModelName], clip: Clip, options: TranscribeOptions, lent: ExitStack
    ) -> dict[ModelName, WhisperEngine]:
        """The engines that have the clip still to hear, each over a module of its own; none where there are others too.

        Of models with equal weights it is one: what it writes is kept for the others.
        """
        if not self.live.resident:
            return {}
        waiting: dict[Identity, ModelName] = {}
        engines: dict[ModelName, WhisperEngine] = {}
        for model in models:
            module = lent.enter_context(self.live.lend(model))
            if not supported(module):
                return {}
            engine, identity = self._engine(model, module), self._identity(model)
            if not engine.knows(clip, options, identity) and identity not in waiting:
                waiting[identity], engines[model] = model, engine
        return engines

    def _way(self, engines: Mapping[ModelName, WhisperEngine], options: TranscribeOptions) -> Way:
        if len(engines) < 2:
            return "in turn"
        way = self.way or together.best_way([engine.backend for engine in engines.values()])
        # strict: windows may go to transformers' `generate`, which holds what belongs to the whole process
        return "in turn" if way == "at once" and options.strict else way

    def _at_once(
        self,
        engines: Mapping[ModelName, WhisperEngine],
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
    ) -> dict[ModelName, Transcript]:
        def work(model: ModelName, engine: WhisperEngine) -> Work[Kept]:
            identity, drafts = self._identity(model), self._drafts(model, clip, options)
            return Work(
                engine.backend,
                lambda poll: engine.transcribe_kept(clip, options, poll, identity=identity, drafts=drafts),
            )

        kept = together.run({model: work(model, engine) for model, engine in engines.items()}, cancelled)
        for model, one in kept.items():
            self.workspace.latest.put((model, clip.sha256, options), one)
        return {model: self._stamped(model, one.transcript) for model, one in kept.items()}

    def _hear_at_once(
        self,
        engines: Mapping[ModelName, WhisperEngine],
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
    ) -> dict[ModelName, float]:
        """Encode the first window with every encoder that differs; returns the seconds of each."""

        def work(model: ModelName, engine: WhisperEngine) -> Work[float]:
            identity = self._identity(model)
            return Work(engine.backend, lambda poll: engine.hear_first(clip, options, identity))

        encoders = {self._identity(model).encoder: model for model in engines}
        hearing = {model: work(model, engines[model]) for model in encoders.values()}
        return together.run(hearing, cancelled)

    def _in_turn(
        self,
        model: ModelName,
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
        spent: float = 0.0,
    ) -> Transcript:
        with self.live.lend(model) as module:
            if not supported(module):
                transcript = self._plain(model, module).transcribe(clip, options, cancelled)
            else:
                transcript = self._by_engine(model, module, clip, options, cancelled, spent)
        return self._stamped(model, transcript)

    def _stamped(self, model: ModelName, transcript: Transcript) -> Transcript:
        return replace(transcript, generation=self.live.generation if model == "merged" else None)

    def _identity(self, model: ModelName) -> Identity:
        weights = self.live.identity(model)
        return Identity(weights.encoder, weights.decoder)

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
        self,
        model: ModelName,
        module: Any,
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
        spent: float,
    ) -> Transcript:
        identity, drafts = self._identity(model), self._drafts(model, clip, options)
        kept = self._engine(model, module).transcribe_kept(
            clip, options, cancelled, identity=identity, drafts=drafts, spent=spent
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
