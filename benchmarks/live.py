"""How fast the live path is, beside its floors and its peers of the same run; prints JSON, and a table for people.

    python -m benchmarks.live                                   # CPU, demo pair
    python -m benchmarks.live --device cuda --json out.json     # GPU: large-v3 shape with random weights, demo pair

Needs torch and transformers. All times are medians in ms unless the name says otherwise. A section that fails is
reported under `errors`; sections that no longer fit into `--budget` seconds are listed under `skipped`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import live_exactness
from benchmarks import live_peers as peers
from benchmarks import live_sections as sections
from benchmarks.live_bench import Bench
from benchmarks.live_models import SHAPES
from benchmarks.live_three import three_models
from benchmarks.table import table
from benchmarks.timing import machine

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "merge": sections.merge,
    "parts": sections.parts,
    "slider": sections.slider,
    "exactness": live_exactness.exactness,
    "three_models": three_models,
    "transformers_default": peers.transformers_default,
    "reload": peers.reload,
    "faster_whisper": peers.faster_whisper,
    "transformers_static": peers.transformers_static,
}


ROOM = 14 << 30  # bytes: three large-v3 checkpoints, and some


def main() -> None:
    """Run the sections and print the report."""
    options = parse(sys.argv[1:])
    device = torch.device("cuda" if options.device == "cuda" else "cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(device), "errors": {}, "skipped": []}
    started = time.perf_counter()
    for shape in options.shapes or (["large-v3", "demo"] if device.type == "cuda" else ["demo"]):
        report[shape] = {}
        with tempfile.TemporaryDirectory(dir=scratch()) as folder:
            bench = Bench(shape, device, Path(folder), options.clips, options.speech)
            for name in options.sections or SECTIONS:
                if time.perf_counter() - started > options.budget:
                    report["skipped"].append(f"{shape}/{name}")
                    continue
                run(report, shape, name, bench)
                if options.json:
                    options.json.write_text(json.dumps(report), encoding="utf-8")
            bench.close()
    report["seconds"] = round(time.perf_counter() - started, 1)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report, separators=(",", ":")))
    print(table(report), file=sys.stderr)


def run(report: dict[str, Any], shape: str, name: str, bench: Bench) -> None:
    """One section into the report; its failure is reported and does not stop the others."""
    began = time.perf_counter()
    try:
        found = SECTIONS[name](bench)
    except Exception as error:
        report["errors"][f"{shape}/{name}"] = f"{type(error).__name__}: {error}"[:400]
        traceback.print_exc()
    else:
        report[shape][name] = {**found, "section_s": round(time.perf_counter() - began, 1)}
    print(f"{shape}/{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


def scratch() -> str | None:
    """A RAM disk for checkpoints that are made for the run, where there is one with room for them."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, help="also write the report to this file, after every section")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), help="which models")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--budget", type=float, default=210.0, help="seconds after which no section is started")
    parser.add_argument("--threads", type=int, help="torch threads on the CPU")
    parser.add_argument("--speech", type=Path, help="folder of audio files: more clips for the section exactness")
    parser.add_argument("--clips", type=Path, help="npz of int16 clips, where the sample clips cannot be decoded")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
