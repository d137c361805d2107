"""The table of a benchmark: ratios worked out by hand, and lines whose figures are really in the reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import LINES, _at, table

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def test_ratios_read_the_same_for_times_and_for_rates() -> None:
    report = {
        "machine": {"device": "cpu"},
        "demo": {
            "merge": {"flat_lerp_floor": 2.0, "direct": {"p50": 3.0}},
            "parts": {"encoder": 65.0, "encoder_transformers": 110.5},
            "transformers_default": {"engine_without_draft": "RuntimeError: no room", "generate": 205.0},
            "clips": {"best": {"engine": 1500.0, "transformers": 600.0, "floor": 2250.0}},
        },
    }
    assert [" ".join(line.split()) for line in table(report).splitlines()] == [
        "demo we floor we / floor peer we are faster the peer is",
        "apply() direct 3 2 1.50 x",
        "encoder, one window 65 110 1.70 x transformers",
        "batch, clips of 2 to 25 s, RTFx 1500 2250 1.50 x 600 2.50 x generate",
    ]
    assert table({"machine": {}}) == ""


def test_every_line_finds_its_figures_in_a_report_that_was_kept() -> None:
    kept = [json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in ("live-cpu.json", "live-h200.json")]
    reports = [one for run in kept for one in dicts(run)]
    for line in LINES:
        for path in filter(None, (line.ours, line.floor, line.peer)):
            assert any(_at(report, path) is not None for report in reports), f"{line.what}: {path}"


def dicts(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        yield found
        for value in found.values():
            yield from dicts(value)
