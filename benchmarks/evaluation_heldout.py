"""The results of an evaluation in a form that can be kept: figures as JSON, the report without sound.

    python -m demo.speech.heldout --kit KIT --out SET
    python -m evaluation SET/manifest.jsonl --model base=demo/models/base --model a=demo/models/a \\
      --model b=demo/models/b --merge direct-0.5=… --merge slerp-0.5=… --merge ties=… --output REPORT
    python -m benchmarks.evaluation_heldout SET/manifest.jsonl REPORT --out docs/results
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from evaluation.report.page import render
from evaluation.results import Cell, Group, Results
from evaluation.scores import compare


def read_results(path: Path) -> Results:
    """`results.json` as it was built."""
    told = json.loads(path.read_text(encoding="utf-8"))
    groups = [Group(**group) for group in told.pop("groups")]
    cells = [Cell(**cell) for cell in told.pop("cells")]
    return Results(groups=groups, cells=cells, **told)


def by_voice_and_condition(results: Results, manifest: Path) -> dict[str, dict[str, Any]]:
    """WER of every system in each of the set's groups, pooled over its clips."""
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    group_of = {line["id"]: line["group"] for line in lines if "group" in line}
    if not group_of:
        return {}
    edits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    words: dict[str, int] = defaultdict(int)
    clips: dict[str, int] = defaultdict(int)
    for line in results.lines:
        group = group_of[line["id"]]
        clips[group] += 1
        words[group] += len(compare(line["reference"], "", results.meta["level"]).reference_words)
        for name, system in line["systems"].items():
            edits[group][name] += system["word_edits"]
    return {
        group: {
            "clips": clips[group],
            "words": words[group],
            "wer": {name: round(count / words[group], 4) for name, count in edits[group].items()},
        }
        for group in sorted(words)
    }


def figures(results: Results, manifest: Path) -> dict[str, Any]:
    """What the documents quote, rounded to four digits; fingerprints of weights and versions that it holds for."""

    def row(cell: Cell) -> dict[str, Any]:
        values = {key: getattr(cell, key) for key in ("value", "low", "high", "p")}
        rounded = {key: round(value, 4) for key, value in values.items() if value is not None}
        return rounded | ({"outcome": cell.outcome} if cell.outcome else {})

    kept: dict[str, dict[str, Any]] = defaultdict(dict)
    for cell in results.cells:
        if cell.section in {"difference", "ladder"} or cell.figure in {"wer", "cer"} or cell.group == "all":
            kept[f"{cell.section} | {cell.group} | {cell.figure}"][cell.system] = row(cell)
    meta = results.meta
    return {
        "manifest_sha256": meta["manifest_sha256"],
        "normalizer": f"{meta['normalizer']} {meta['level']} {meta['normalizer_hash']}",
        "packages": meta["packages"],
        "weights": {system["name"]: system["key"] for system in results.systems},
        "groups": {
            f"{group.section} | {group.name}": {
                "clips": group.clips, "words": group.words, "speakers": group.blocks, "sufficient": group.sufficient
            }
            for group in results.groups
        },
        "voices_and_conditions": by_voice_and_condition(results, manifest),
        "cells": kept,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("report", type=Path, help="folder that `python -m evaluation` wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="heldout")
    parser.add_argument("--lang", choices=["ru", "en"], default="ru")
    given = parser.parse_args()
    results = read_results(given.report / "results.json")
    # The speed is a shared machine's; `benchmarks.evaluation_throughput` measures it beside a peer.
    results.meta["speed"] = {}
    results.cells = [cell for cell in results.cells if cell.figure != "rtfx"]
    given.out.mkdir(parents=True, exist_ok=True)
    told = json.dumps(figures(results, given.manifest), ensure_ascii=False, indent=1)
    (given.out / f"{given.name}.json").write_text(told + "\n", encoding="utf-8")
    page = re.sub(r' data-(key|value|low|high)="[^"]*"', "", render(results, given.lang, {}))
    (given.out / f"{given.name}.{given.lang}.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
