"""Throughput of `evaluation.batch` beside transformers' own pipeline at its best batch size, in one run.

    python -m benchmarks.evaluation_throughput --model demo/models/a --manifest demo/samples/manifest.jsonl
    python -m benchmarks.evaluation_throughput --large --device cuda      # a model of large-v3's size, random weights

Prints JSON: seconds of audio per second of work (median of `--repeats` warm passes) for both, and their ratio. With a
real model the texts are compared; with random weights both decode exactly `--tokens` tokens per clip (the vocabulary
is then small, which spares the pipeline's per-token work and so flatters it).
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Taken:
    """Median seconds of warm passes: on the wall, and of processor time (which a busy machine disturbs less)."""

    wall: float
    cpu: float


def timed(work: Callable[[], Any], repeats: int, device: str) -> tuple[Taken, Any]:
    """(time taken, last result)."""
    result = work()
    wall, cpu = [], []
    for _ in range(repeats):
        started, spent = time.perf_counter(), time.process_time()
        result = work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return Taken(statistics.median(wall), statistics.median(cpu)), result


def large_model(device: str) -> tuple[Any, Any]:
    """A model of large-v3's shape in fp16 with random weights, and a processor whose tokens are bytes."""
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

    from tests.factories import TINY, generation_settings, save_processor, vocabulary_size

    shape = {
        "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20,
        "decoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "num_mel_bins": 128,
        "max_target_positions": 448, "vocab_size": vocabulary_size(),
    }  # fmt: skip
    with torch.device(device):
        torch.set_default_dtype(torch.float16)
        module = WhisperForConditionalGeneration(WhisperConfig(**{**TINY, **shape})).eval()
        torch.set_default_dtype(torch.float32)
    module.generation_config = GenerationConfig(**generation_settings())
    with tempfile.TemporaryDirectory() as folder:
        save_processor(Path(folder), 128)
        processor = WhisperProcessor.from_pretrained(folder)
    processor.tokenizer.pad_token = "<|endoftext|>"
    return module, processor


def real_model(folder: str, device: str) -> tuple[Any, Any]:
    from evaluation.systems import Loader, plan_systems

    (system,) = plan_systems({"model": folder}, [])
    with Loader(device).load(system) as loaded:
        return loaded


def noises(count: int, seconds: float) -> list[Any]:
    """Clips of noise that differ a little in length."""
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    clips = []
    for i in range(count):
        samples = rng.normal(0, 0.1, int(16_000 * (seconds + 0.01 * (i % 50)))).astype(np.float32)
        clips.append(SimpleNamespace(samples=samples, seconds=len(samples) / 16_000, sha256=f"noise-{i}"))
    return clips


def measure_pipeline(
    module: Any, processor: Any, clips: list[Any], sizes: list[int], tokens: int | None, repeats: int, device: str
) -> tuple[dict[int, Taken], list[str]]:
    """Time per pass by batch size, and the texts of the fastest one."""
    from transformers import pipeline

    recognise = pipeline(
        "automatic-speech-recognition", model=module, tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor, device=device, dtype=module.dtype,
    )  # fmt: skip
    settings: dict[str, Any] = {"language": "russian", "task": "transcribe", "num_beams": 1}
    if tokens:
        settings |= {"max_new_tokens": tokens, "min_new_tokens": tokens}
    found: dict[int, Taken] = {}
    texts: list[str] = []
    for size in sizes:

        def work(size: int = size) -> list[str]:
            audio = ({"raw": clip.samples, "sampling_rate": 16_000} for clip in clips)
            return [out["text"].strip() for out in recognise(audio, batch_size=size, generate_kwargs=dict(settings))]

        taken, said = timed(work, repeats, device)
        if not found or taken.wall < min(t.wall for t in found.values()):
            texts = said
        found[size] = taken
    return found, texts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--manifest")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8, 16])
    return parser.parse_args()


def main() -> None:
    given = arguments()
    warnings.filterwarnings("ignore")
    if given.threads:
        torch.set_num_threads(given.threads)

    from transformers.utils import logging as transformers_logging

    from evaluation.batch import BatchTranscriber
    from evaluation.transcriber import TranscribeOptions

    transformers_logging.set_verbosity_error()
    if given.large:
        module, processor = large_model(given.device)
        clips, tokens = noises(given.clips, given.seconds), given.tokens
    else:
        from evaluation.audio import load_clip
        from evaluation.manifest import read_manifest

        module, processor = real_model(given.model, given.device)
        clips, tokens = [load_clip(entry.audio) for entry in read_manifest(given.manifest).entries], None
    batched = BatchTranscriber(module, processor, given.batch)
    options = TranscribeOptions(max_new_tokens=tokens, no_speech_threshold=None, silence_dbfs=None)

    def ours() -> list[str]:
        found = dict(batched.transcribe(clips, options))
        return [found[i].text for i in range(len(clips))]

    taken, texts = timed(ours, given.repeats, given.device)
    theirs, their_texts = measure_pipeline(module, processor, clips, given.sizes, tokens, given.repeats, given.device)
    audio = sum(clip.seconds for clip in clips)
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if given.device.startswith("cuda") else "cpu",
                "threads": torch.get_num_threads(),
                "clips": len(clips),
                "audio_seconds": round(audio, 1),
                "parameters": sum(p.numel() for p in module.parameters()),
                "dtype": str(module.dtype),
                "rtfx": round(audio / taken.wall, 2),
                "batch": batched.batch,
                "pipeline_rtfx": {size: round(audio / other.wall, 2) for size, other in theirs.items()},
                "ratio_to_best_pipeline": round(min(t.wall for t in theirs.values()) / taken.wall, 3),
                "ratio_of_processor_time": round(min(t.cpu for t in theirs.values()) / taken.cpu, 3),
                "same_texts": sum(a == b for a, b in zip(texts, their_texts, strict=True)),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
