"""What the sections of `benchmarks.live` work on: one pair of models on one device, ready to merge and transcribe."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.live_models import (
    SHAPES,
    BenchClip,
    large_vocabulary,
    pair,
    sample_clips,
    speech_clips,
    synthetic_clips,
)
from benchmarks.timing import synchronize
from evaluation.engine.backend import Backend, make_backend
from evaluation.engine.greedy import Decoded
from evaluation.engine.model import Caches
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.features import log_mel
from evaluation.vocabulary import Vocabulary
from merger.live import LiveMerge
from merger.recipe import MergeRecipe

GUIDE = {
    "direct": [{"direct_alpha": 0.3}, {"direct_alpha": 0.7}],
    "slerp": [{"slerp_t": 0.3}, {"slerp_t": 0.7}],
    "ties": [
        {"ties_density": 0.8, "encoder_weights": (0.6, 0.4), "decoder_weights": (0.4, 0.6)},
        {"ties_density": 0.6, "encoder_weights": (0.7, 0.3), "decoder_weights": (0.3, 0.7)},
    ],
}
FORCED = 128  # tokens written by random weights


class Bench:
    """One pair on one device, ready to merge and to transcribe a window."""

    def __init__(
        self, shape: str, device: torch.device, folder: Path, packed: Path | None, speech: Path | None = None
    ) -> None:
        self.shape, self.device, self.folder = shape, device, folder
        self.checkpoints = pair(shape, folder, device)
        started = time.perf_counter()
        self.live = LiveMerge(*self.checkpoints, device=device)
        synchronize(device)
        self.load_seconds = time.perf_counter() - started
        self.demo = SHAPES[shape] is None
        self.processor = _processor(self.checkpoints[0].folder) if self.demo else None
        module = self.live.modules["merged"]
        self.vocabulary = Vocabulary.of(module, self.processor.tokenizer) if self.processor else large_vocabulary()
        self.prompt = self.vocabulary.prompt("ru", "transcribe", False)
        self.limit = self.vocabulary.new_token_limit(len(self.prompt), None if self.demo else FORCED)
        self.rules = Rules(self.vocabulary, False, device)
        self.clips = sample_clips(packed) if self.demo else synthetic_clips(3)
        self.speech = speech_clips(speech) if speech and self.demo else []
        self.clip = self._ten_seconds()
        self.window = self.features(self.clip)
        self.backends: dict[str, Backend] = {}

    def _ten_seconds(self) -> BenchClip:
        """The first clips joined to 10 s (demo), or tones of 30 s."""
        import numpy as np

        samples = np.concatenate([clip.samples for clip in self.clips if clip.seconds < 30])
        wanted = 160_000 if self.demo else 480_000
        return BenchClip(np.resize(samples, wanted), "joined", "joined")

    def features(self, clip: BenchClip) -> torch.Tensor:
        """One window of features in the model's dtype."""
        mel_bins = self.live.modules["merged"].config.num_mel_bins
        return log_mel(clip.samples, mel_bins, device=self.device)[:, :3000].to(self.live.dtype)

    def backend(self, model: str = "merged") -> Backend:
        """The engine's backend for one of the three models."""
        if model not in self.backends:
            tensors = collect(self.live.modules[model])
            self.backends[model] = make_backend(tensors, Caches(tensors, 1))
        return self.backends[model]

    def write(self, model: str = "merged", drafts: Sequence[Sequence[int]] = ()) -> Decoded:
        """Encode the window and write its tokens."""
        backend = self.backend(model)
        return self.decode(model, backend.encode(self.window), drafts)

    def decode(self, model: str, heard: torch.Tensor, drafts: Sequence[Sequence[int]] = ()) -> Decoded:
        """Write the tokens of a window that has been encoded."""
        return self.backend(model).decode(
            heard, self.prompt, self.limit, self.rules, drafts=drafts, cancelled=None
        )

    def applier(self, method: str) -> Callable[[], None]:
        """Applies two recipes of a method in turn, so that every call rewrites the weights."""
        recipes = [MergeRecipe.build(method, parameters) for parameters in GUIDE[method]]
        turn = [0]

        def apply() -> None:
            self.live.apply(recipes[turn[0] % 2])
            turn[0] += 1

        return apply

    def close(self) -> None:
        """Let go of the memory."""
        self.backends.clear()
        self.live.close()


def _processor(folder: Path) -> Any:
    from transformers import WhisperProcessor

    return WhisperProcessor.from_pretrained(folder)
