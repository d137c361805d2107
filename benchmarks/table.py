"""What a benchmark found as one table: we, the floor and the peer of the same run.

    python -m benchmarks.table live.json batch.json     # reports that were written with --json

`benchmarks.live` and `benchmarks.batch` print it when they are done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = ("", "we", "floor", "we / floor", "peer", "we are faster", "the peer is")


@dataclass(frozen=True)
class Line:
    """Where the figures of a line lie in the report of a shape. Without a figure of ours it is left out."""

    what: str
    ours: str
    floor: str = ""
    peer: str = ""
    peer_name: str = ""
    more_is_better: bool = False  # otherwise the figures are ms


def _live() -> Iterator[Line]:
    for method in ("direct", "slerp", "ties"):
        yield Line(f"apply() {method}", f"merge.{method}.p50", "merge.flat_lerp_floor")
    yield Line("encoder, one window", "parts.encoder", peer="parts.encoder_transformers", peer_name="transformers")
    for name, key in (("CUDA", "cuda"), ("Triton", "triton"), ("plain torch", "plain"), ("CPU", "eager_with_choice")):
        yield Line(f"decoder step, {name}", f"parts.step_{key}", "parts.step_floor_of_bytes")
    generate = "transformers_default.generate"
    yield Line("slider to transcript", "transformers_default.slider_to_transcript", "", generate, "generate")
    for name, share in (("confirmed", 100), ("90 % right", 90), ("half right", 50), ("all wrong", 0)):
        yield Line(f"the same, draft {name}", f"slider.accept_{share}.p50")
    yield Line("the same, measured beside", "reload.live", "", "reload.save_load_generate", "save, load, generate")
    ours, sections = "engine_without_draft", {"transformers_default": "default", "transformers_static": "static"}
    for section, cache in sections.items():
        yield Line("without a draft", f"{section}.{ours}", "", f"{section}.generate", f"generate, {cache} cache")
    for name, key in (("without", ours), ("with", "engine_with_draft")):
        yield Line(f"A {name} a draft", f"faster_whisper.{key}", "", "faster_whisper.ctranslate2", "CTranslate2")
    yield Line("A, mixture and B cold; floor: one of them", "three_models.ms_chosen", "three_models.ms.one")
    yield Line("their encoders alone; floor: one of them", "three_models.encoders", "three_models.ms.one")


def _batch() -> Iterator[Line]:
    kinds = {"samples": "sample clips", "clips": "clips of 2 to 25 s", "full": "full windows"}
    for key, name in kinds.items():
        ours, floor, peer = (f"{key}.best.{one}" for one in ("engine", "floor", "transformers"))
        yield Line(f"batch, {name}, RTFx", ours, floor, peer, "generate", more_is_better=True)


LINES = (*_live(), *_batch())
SHAPES = ("large-v3", "small", "demo")


def table(report: dict[str, Any]) -> str:
    """The lines of every shape in a report, aligned; empty without any."""
    parts = []
    for shape in SHAPES:
        rows = [cells for line in LINES if (cells := _cells(line, report.get(shape, {})))]
        if rows:
            parts.append(_aligned([(shape, *HEAD[1:]), *rows]))
    return "\n\n".join(parts)


def _cells(line: Line, found: dict[str, Any]) -> tuple[str, ...] | None:
    ours, floor, peer = (_at(found, path) for path in (line.ours, line.floor, line.peer))
    if ours is None:
        return None
    more = line.more_is_better
    from_floor = None if floor is None else _ratio(floor, ours) if more else _ratio(ours, floor)
    faster = None if peer is None else _ratio(ours, peer) if more else _ratio(peer, ours)
    cells = [line.what, _number(ours), _number(floor), from_floor, _number(peer), faster]
    return tuple(cell or "" for cell in (*cells, line.peer_name if peer is not None else ""))


def _at(found: Any, path: str) -> float | None:
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _ratio(larger: float, smaller: float) -> str:
    return f"{larger / smaller:.2f} x"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(table(json.loads(Path(name).read_text(encoding="utf-8"))) or f"{name}: no report of these benchmarks")
