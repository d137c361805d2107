"""Throughput: seconds of audio per second (RTFx) at several batch sizes against transformers' best; prints JSON.

    python -m benchmarks.batch                                  # CPU, demo pair
    python -m benchmarks.batch --device cuda --json out.json    # GPU: demo pair, large-v3 shape with random weights

Each figure is one pass over the same windows, encoder included, log-mel excluded on both sides. transformers gets the
windows sorted into batches by length, which is its best case.

Beside them, of the same run, the `floor`: the encoder's operations at the speed of a large product, and then reading,
at the memory's speed, each layer's encoder output for every token and the decoder's weights for every step of the
longest text. And `encoder_and_reading`: the same with the time that our encoder takes. Neither has room for the text's
arithmetic.

Random weights never end a text, so each of their windows stops, on both sides alike, after as many tokens as speech of
its length has. They do two kinds of work: `clips` of 2 to 25 s with about four tokens a second, and `full` windows of
30 s with 128 tokens, as long recordings have them.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.batch_floor import batch_floor
from benchmarks.live import scratch
from benchmarks.live_bench import Bench
from benchmarks.live_models import SHAPES, synthetic_clips
from benchmarks.table import table
from benchmarks.timing import machine, synchronize
from evaluation.engine.continuous import ContinuousBatch
from evaluation.engine.tensors import collect

TOKENS_PER_SECOND = 4
SIZES = {"cpu": (1, 4, 8), "cuda": (32, 64, 96, 192)}
WINDOWS = {"cpu": 24, "cuda": 192}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES))
    parser.add_argument("--sizes", nargs="+", type=int)
    parser.add_argument("--windows", type=int, help="how many windows are transcribed")
    parser.add_argument("--work", nargs="+", choices=["clips", "full"], help="of random weights; default: both")
    parser.add_argument("--threads", type=int, help="torch threads on the CPU")
    parser.add_argument("--clips", type=Path, help="npz of int16 clips, where the sample clips cannot be decoded")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(sys.argv[1:])
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(device)}
    for shape in options.shapes or (["demo", "large-v3"] if device.type == "cuda" else ["demo"]):
        with tempfile.TemporaryDirectory(dir=scratch()) as folder:
            bench = Bench(shape, device, Path(folder), options.clips)
            count, sizes = options.windows or WINDOWS[device.type], options.sizes or SIZES[device.type]
            kinds = ["samples"] if bench.demo else options.work or ["clips", "full"]
            report[shape] = {kind: measure(bench, work_for(bench, count, kind), sizes) for kind in kinds}
            bench.close()
    text = json.dumps(report, separators=(",", ":"))
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    print(text)
    print(table(report), file=sys.stderr)


@dataclass(frozen=True)
class Work:
    """Windows float[mel_bins, 3000] in order of length, the audio in them, and the most tokens of each."""

    windows: list[torch.Tensor]
    seconds: float
    limits: list[int]


def work_for(bench: Bench, count: int, kind: str) -> Work:
    """The sample clips over and over; for random weights noise as long as what people say in one breath, or full
    windows."""
    if kind == "samples":
        short = [clip for clip in bench.clips if clip.seconds <= 30]
        clips = sorted((short * (count // len(short) + 1))[:count], key=lambda clip: clip.seconds)
        limits = [bench.limit] * count
    elif kind == "full":
        clips, limits = synthetic_clips(count, [30.0] * count), [bench.limit] * count
    else:
        dice = random.Random(0)
        clips = synthetic_clips(count, sorted(dice.uniform(2, 25) for _ in range(count)))
        pace = [TOKENS_PER_SECOND * dice.uniform(0.8, 1.2) for _ in range(count)]
        spoken = [round(clip.seconds * one) for clip, one in zip(clips, pace, strict=True)]
        limits = [min(bench.limit, tokens) for tokens in spoken]
    return Work([bench.features(clip) for clip in clips], sum(clip.seconds for clip in clips), limits)


@torch.inference_mode()
def measure(bench: Bench, work: Work, sizes: tuple[int, ...]) -> dict[str, Any]:
    """RTFx of both at every size, and the ratio of the best."""
    count = len(work.windows)
    found: dict[str, Any] = {
        "windows": count, "audio_s": round(work.seconds, 1), "most_tokens": sum(work.limits),
        "engine": {}, "transformers": {},
    }  # fmt: skip
    written: dict[str, list[list[int]]] = {}
    for size in sizes:
        for name, prepare in (("engine", engine_run), ("transformers", transformers_run)):
            try:
                run = prepare(bench, work, size)
                run()
                synchronize(bench.device)
                began = time.perf_counter()
                written[name] = run()
                synchronize(bench.device)
            except torch.OutOfMemoryError:
                found[name][size] = "out of memory"
                continue
            found[name][size] = round(work.seconds / (time.perf_counter() - began), 2)
            print(f"{bench.shape} {name} {size}: {found[name][size]}", file=sys.stderr, flush=True)
    best = {
        name: max(value for value in found[name].values() if isinstance(value, float))
        for name in ("engine", "transformers")
    }
    parts = batch_floor(collect(bench.live.modules["merged"]), work.windows, written["engine"])
    best["floor"] = work.seconds / (parts["arithmetic_s"] + parts["reading_s"])
    best["encoder_and_reading"] = work.seconds / (parts["encoding_s"] + parts["reading_s"])
    same = sum(one == other for one, other in zip(written["engine"], written["transformers"], strict=True))
    ratios = {
        "best_ratio": best["engine"] / best["transformers"],
        "floor_to_engine": best["floor"] / best["engine"],
        "floor_to_transformers": best["floor"] / best["transformers"],
    }
    found |= {"floor_parts": parts, "best": {name: round(value, 2) for name, value in best.items()}}
    found |= {name: round(value, 2) for name, value in ratios.items()}
    return {**found, "identical_windows": f"{same}/{count}"}


def engine_run(bench: Bench, work: Work, size: int) -> Callable[[], list[list[int]]]:
    """The continuous batch over all windows, the longest first: then no row works alone at the end."""
    windows = list(enumerate(work.windows))[::-1]
    limits = dict(enumerate(work.limits))
    batch = ContinuousBatch(collect(bench.live.modules["merged"]), bench.rules, size)

    def run() -> list[list[int]]:
        found = {item.key: list(item.tokens) for item in batch.decode(windows, bench.prompt, limits)}
        return [found[index] for index in range(len(windows))]

    return run


def transformers_run(bench: Bench, work: Work, size: int) -> Callable[[], list[list[int]]]:
    """`generate` in batches of the same size."""
    from transformers import StoppingCriteriaList

    module, prompt = bench.live.modules["merged"], len(bench.prompt)
    settings = bench.vocabulary.generation_config(module)
    settings.language, settings.task = "<|ru|>", "transcribe"
    settings.suppress_tokens = list(bench.vocabulary.suppress)
    settings.begin_suppress_tokens = list(bench.vocabulary.begin_suppress)
    settings.max_length, settings.num_beams, settings.do_sample = bench.limit, 1, False

    def run() -> list[list[int]]:
        written: list[list[int]] = []
        for start in range(0, len(work.windows), size):
            features = torch.stack(work.windows[start : start + size])
            limits = torch.tensor(work.limits[start : start + size], device=bench.device)

            def enough(ids: torch.Tensor, scores: Any, limits: torch.Tensor = limits, **_: Any) -> torch.Tensor:
                return ids.shape[1] - prompt >= limits

            output = module.generate(
                features, generation_config=copy.deepcopy(settings), return_timestamps=False,
                stopping_criteria=StoppingCriteriaList([enough]),
            )  # fmt: skip
            for row, limit in zip(output.tolist(), limits.tolist(), strict=True):
                tokens = row[prompt:] if row[:prompt] == bench.prompt else row
                end = tokens.index(bench.vocabulary.end) if bench.vocabulary.end in tokens else len(tokens)
                written.append(tokens[: min(end, limit)])
        return written

    return run


if __name__ == "__main__":
    main()
