"""JSON and CSV, and the three files of a report together."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.results import Results

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = ("section", "group", "system", "figure", "value", "low", "high", "p", "outcome", "clips", "words", "blocks")


def write_report(results: Results, folder: Path, lang: str, audio: Mapping[str, Path] | None = None) -> Path:
    """Write all three into `folder`; returns the path of the HTML. `audio`: clip hash → file, for the examples."""
    from evaluation.report.page import render

    folder.mkdir(parents=True, exist_ok=True)
    write_json(results, folder / "results.json")
    write_csv(results, folder / "results.csv")
    page = folder / "report.html"
    page.write_text(render(results, lang, audio or {}), encoding="utf-8")
    return page


def write_json(results: Results, path: Path) -> None:
    """Everything, at full precision."""
    path.write_text(json.dumps(asdict(results), ensure_ascii=False, indent=1), encoding="utf-8")


def write_csv(results: Results, path: Path) -> None:
    """One cell per row, at full precision; UTF-8 with a mark, so that spreadsheets read Russian."""
    groups = {group.name: group for group in results.groups}
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for cell in results.cells:
            group = groups.get("all" if cell.section == "ladder" else cell.group)
            size = {} if group is None else {"clips": group.clips, "words": group.words, "blocks": group.blocks}
            row: dict[str, Any] = {key: getattr(cell, key) for key in COLUMNS[:9]}
            writer.writerow({key: _plain(value) for key, value in (row | size).items()})


def _plain(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value
