"""The section of `benchmarks.live` that counts how often the engine writes what transformers' `generate` writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

import evaluation.engine.engine as engine_module
from benchmarks.live_bench import Bench
from benchmarks.live_models import BenchClip, synthetic_clips
from evaluation.engine.model import decode_many, logits
from evaluation.generate import HuggingFaceTranscriber
from evaluation.live_transcriber import LiveTranscriber
from evaluation.transcriber import TranscribeOptions, window_at
from merger.recipe import MergeRecipe

TONES = 60  # clips that are no speech: the models guess, and stand close to ties more often
SECONDS = {"cpu": 900.0, "cuda": 180.0}  # after which no clip is started


@torch.inference_mode()
def exactness(bench: Bench) -> dict[str, Any]:
    """Token identity with greedy `generate` in the same dtype: samples, synthetic speech (`--speech`), tones."""
    if not bench.demo:
        truth = bench.write()
        return {"drafted_equals_plain": bench.write(drafts=[truth.tokens[:60]]).tokens == truth.tokens}
    began = time.perf_counter()
    groups = {"samples": bench.clips, "speech": bench.speech, "tones": synthetic_clips(TONES)}
    return {
        name: compare(bench, [clip for clip in clips if clip.seconds < 30], began) for name, clips in groups.items()
    }


def compare(bench: Bench, clips: list[BenchClip], began: float) -> dict[str, Any]:
    """Shares of clips with equal tokens, by default and in strict mode; the share that strict mode left to
    transformers; the largest difference between both logits of a token that was written."""
    bench.live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.5}))
    listen, strict_listen = LiveTranscriber(bench.live), LiveTranscriber(bench.live)
    options = TranscribeOptions(no_speech_threshold=None, silence_dbfs=None)
    oracle = HuggingFaceTranscriber(bench.live.modules["merged"], bench.processor)
    differ: list[str] = []
    strict_differ: list[str] = []
    apart: list[float] = []
    compared = doubted = 0
    for clip in clips:
        if time.perf_counter() - began > SECONDS[bench.device.type]:
            break
        expected = oracle.transcribe(clip, options).tokens
        listen.transcribe("a", clip, options)  # a draft, as in daily use
        compared += 1
        differ += [clip.name] * (listen.transcribe("merged", clip, options).tokens != expected)
        with counted_windows() as left:
            found = strict_listen.transcribe("merged", clip, replace(options, strict=True)).tokens
        doubted += bool(left)
        strict_differ += [clip.name] * (found != expected)
        apart.append(largest_difference(listen, clip, expected))
    if not compared:
        return {"compared": 0}
    return {
        "compared": compared, "identical_share": round(1 - len(differ) / compared, 4), "differ": differ[:10],
        "strict_identical_share": round(1 - len(strict_differ) / compared, 4), "strict_differ": strict_differ[:10],
        "left_to_transformers": round(doubted / compared, 3),
        "logits_apart_median": round(sorted(apart)[len(apart) // 2], 5), "logits_apart_max": round(max(apart), 5),
    }  # fmt: skip


@contextmanager
def counted_windows() -> Iterator[list[int]]:
    """A list that gets an entry for every window that the engine leaves to transformers."""
    left: list[int] = []
    generate = engine_module.generate_window

    def counted(*given: Any) -> Any:
        left.append(1)
        return generate(*given)

    engine_module.generate_window = counted  # type: ignore[assignment]
    try:
        yield left
    finally:
        engine_module.generate_window = generate


def largest_difference(listen: LiveTranscriber, clip: BenchClip, tokens: tuple[int, ...]) -> float:
    """Between the logits of these tokens, teacher-forced through the engine and through transformers."""
    from transformers.modeling_outputs import BaseModelOutput

    engine = listen._engines["merged"]
    module, prompt = engine.module, engine.vocabulary.prompt("ru", "transcribe", False)
    window = window_at(engine.features(clip), 0).to(engine.tensors.dtype)
    heard = engine.backend.encode(window)
    engine.backend.decode(heard, prompt, 1, engine.rules(False), drafts=[], cancelled=None)  # fills the caches
    ids = torch.tensor([[*prompt, *tokens]], device=engine.tensors.device)
    ours = logits(engine.tensors, decode_many(engine.tensors, engine.caches, ids, 0)[0])
    encoded = BaseModelOutput(last_hidden_state=module.model.encoder(window[None]).last_hidden_state)
    theirs = module(encoder_outputs=encoded, decoder_input_ids=ids).logits[0].float()
    places = theirs.topk(3, dim=-1).indices
    return float((ours.gather(1, places) - theirs.gather(1, places)).abs().max())
