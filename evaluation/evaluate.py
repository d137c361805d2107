"""A whole evaluation in one call: run, score, report. What the command line and the app both use."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evaluation.manifest import Manifest
from evaluation.normalize_ru import VERSION, Level, source_hash
from evaluation.predictions import FILE_NAME, Prediction, read_predictions
from evaluation.report.files import write_report
from evaluation.results import Results, build
from evaluation.runner import Executor, RunOptions, RunProgress, run
from evaluation.statistics import DRAWS, SEED
from evaluation.systems import System
from merger.transaction import disk_errors

PACKAGES = (
    "torch",
    "transformers",
    "jiwer",
    "rapidfuzz",
    "pymorphy3",
    "pymorphy3-dicts-ru",
    "numpy",
    "soundfile",
    "soxr",
)


def evaluate(
    manifest: Manifest,
    systems: Sequence[System],
    output: Path,
    options: RunOptions,
    *,
    lang: str,
    level: Level = "L2",
    resume: bool = False,
    executor: Executor | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Results, Path]:
    """Transcribe what is missing, score, write `results.json`, `results.csv`, `report.html`; returns the last's
    path."""
    predictions = run(
        manifest, systems, output, options,
        resume=resume, executor=executor, on_progress=on_progress, cancelled=cancelled,
    )  # fmt: skip
    note = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return report(manifest, predictions, note, output, lang=lang, level=level)


def report_again(manifest: Manifest, output: Path, *, lang: str, level: Level = "L2") -> tuple[Results, Path]:
    """Score the predictions of an earlier run again; needs neither models nor a GPU."""
    note = json.loads((output / "run.json").read_text(encoding="utf-8"))
    predictions = [p for p in read_predictions(output / FILE_NAME) if p.decoding == note["decoding"]]
    return report(manifest, predictions, note, output, lang=lang, level=level)


def report(
    manifest: Manifest,
    predictions: Sequence[Prediction],
    note: Mapping[str, Any],
    output: Path,
    *,
    lang: str,
    level: Level = "L2",
) -> tuple[Results, Path]:
    """Score and write; `note` is what `run.json` holds."""
    results = build(manifest.entries, predictions, note["systems"], provenance(manifest, note), level)
    audio = {entry.sha256: entry.audio for entry in manifest.entries}
    with disk_errors(output):
        return results, write_report(results, output, lang, audio)


def provenance(manifest: Manifest, note: Mapping[str, Any]) -> dict[str, Any]:
    """Versions and hashes: with them and the predictions every number can be made again."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "manifest": manifest.path.name,
        "manifest_sha256": manifest.sha256,
        "normalizer": VERSION,
        "normalizer_hash": source_hash(),
        "decoding": note["decoding"],
        "options": note["options"],
        "bootstrap": {"draws": DRAWS, "seed": SEED},
        "device": note.get("device"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "speed": note.get("speed", {}),
        "warnings": note.get("warnings", {}),
        "skipped": [asdict(fault.sentence) for fault in manifest.skipped],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
