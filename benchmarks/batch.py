"""Throughput: seconds of audio per second (RTFx) at several batch sizes against transformers' best; prints JSON.

    python -m benchmarks.batch                                  # CPU, demo pair
    python -m benchmarks.batch --device cuda --json out.json    # GPU: demo pair, large-v3 shape with random weights

Each figure is one pass over the same windows, encoder included, log-mel excluded on both sides. transformers gets the
windows sorted into batches by length, which is its best case.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.live import scratch
from benchmarks.live_bench import Bench
from benchmarks.live_models import SHAPES
from benchmarks.timing import machine, synchronize
from evaluation.engine.continuous import ContinuousBatch
from evaluation.engine.tensors import collect

SIZES = {"cpu": (1, 4, 8), "cuda": (8, 16, 32, 64)}
WINDOWS = {"cpu": 24, "cuda": 128}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES))
    parser.add_argument("--sizes", nargs="+", type=int)
    parser.add_argument("--windows", type=int, help="how many windows are transcribed")
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
            report[shape] = measure(bench, options.sizes or SIZES[device.type], options.windows or WINDOWS[device.type])
            bench.close()
    text = json.dumps(report, separators=(",", ":"))
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    print(text)


@torch.inference_mode()
def measure(bench: Bench, sizes: tuple[int, ...], count: int) -> dict[str, Any]:
    """RTFx of both at every size, and the ratio of the best."""
    short = [clip for clip in bench.clips if clip.seconds <= 30]
    clips = sorted((short * (count // len(short) + 1))[:count], key=lambda clip: clip.seconds)
    windows = [bench.features(clip) for clip in clips]
    seconds = sum(clip.seconds for clip in clips)
    found: dict[str, Any] = {"windows": count, "audio_s": round(seconds, 1), "engine": {}, "transformers": {}}
    written: dict[str, list[list[int]]] = {}
    for size in sizes:
        for name, run in (("engine", engine_run), ("transformers", transformers_run)):
            try:
                work = run(bench, windows, size)
                work()
                synchronize(bench.device)
                began = time.perf_counter()
                written[name] = work()
                synchronize(bench.device)
            except torch.OutOfMemoryError:
                found[name][size] = "out of memory"
                continue
            found[name][size] = round(seconds / (time.perf_counter() - began), 2)
            print(f"{bench.shape} {name} {size}: {found[name][size]}", file=sys.stderr, flush=True)
    best = {
        name: max(value for value in found[name].values() if isinstance(value, float))
        for name in ("engine", "transformers")
    }
    same = sum(one == other for one, other in zip(written["engine"], written["transformers"], strict=True))
    ratio = round(best["engine"] / best["transformers"], 2)
    return {**found, "best_ratio": ratio, "identical_windows": f"{same}/{count}"}


def engine_run(bench: Bench, windows: list[torch.Tensor], size: int) -> Callable[[], list[list[int]]]:
    """The continuous batch over all windows."""
    batch = ContinuousBatch(collect(bench.live.modules["merged"]), bench.rules, size)

    def work() -> list[list[int]]:
        found = {item.key: list(item.tokens) for item in batch.decode(enumerate(windows), bench.prompt, bench.limit)}
        return [found[index] for index in range(len(windows))]

    return work


def transformers_run(bench: Bench, windows: list[torch.Tensor], size: int) -> Callable[[], list[list[int]]]:
    """`generate` in batches of the same size."""
    module = bench.live.modules["merged"]
    settings = bench.vocabulary.generation_config(module)
    settings.language, settings.task = "<|ru|>", "transcribe"
    settings.suppress_tokens = list(bench.vocabulary.suppress)
    settings.begin_suppress_tokens = list(bench.vocabulary.begin_suppress)
    settings.max_length, settings.num_beams, settings.do_sample = bench.limit, 1, False

    def work() -> list[list[int]]:
        written: list[list[int]] = []
        for start in range(0, len(windows), size):
            features = torch.stack(windows[start : start + size])
            output = module.generate(features, generation_config=copy.deepcopy(settings), return_timestamps=False)
            for row in output.tolist():
                tokens = row[len(bench.prompt) :] if row[: len(bench.prompt)] == bench.prompt else row
                end = tokens.index(bench.vocabulary.end) if bench.vocabulary.end in tokens else len(tokens)
                written.append(tokens[:end])
        return written

    return work


if __name__ == "__main__":
    main()
