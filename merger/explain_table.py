"""An explanation as compact tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from merger.bilingual import Text, number, percent
from merger.explain import PARTS, Explanation
from merger.layout import COMPONENTS

SHADES = " ░▒▓█"
BLOCK = Text("блок", "block")
WHOLE = Text("Вся модель", "Whole model")
# The figures of a row, by key; the last is there with a base only.
FIGURES = {
    "distance": Text("расстояние", "distance"),
    "cosine": Text("косинус", "cosine"),
    "angle": Text("угол, рад", "angle, rad"),
    "sign_conflicts": Text("спорят знаки", "sign conflicts"),
}
SHARES = frozenset({"distance", "sign_conflicts"})


def explanation_table(explanation: Explanation, lang: str) -> str:
    """Components, then every block of both stacks, whole and by parts; shades grow with the distance."""
    data = explanation.to_json(lang)
    lines = [
        Text(
            f"Расстояние между «{data['a']}» и «{data['b']}»: ‖A − B‖ / ‖A‖",
            f"Distance between “{data['a']}” and “{data['b']}”: ‖A − B‖ / ‖A‖",
        ).get(lang),
        "",
        *_components(data, lang),
    ]
    for stack, table in data["heat_maps"].items():
        lines += ["", COMPONENTS["encoder" if stack == "encoder" else "decoder"].get(lang), *_blocks(table, lang)]
    return "\n".join(lines)


def _components(data: dict[str, Any], lang: str) -> list[str]:
    labels: dict[str, Text] = {**{str(name): label for name, label in COMPONENTS.items()}, "whole": WHOLE}
    found = {**data["components"], "whole": data["whole"]}
    shown = [name for name in labels if name in found]
    width = max(len(labels[name].get(lang)) for name in shown)
    rows = [[f"{labels[name].get(lang):<{width}}", *_figures(found[name], lang)] for name in shown]
    return _aligned([["", *_heads(data["whole"], lang)], *rows])


def _blocks(table: dict[str, Any], lang: str) -> list[str]:
    """One line per block: the figures of the whole block, then the distance of each part with its shade."""
    if not table["blocks"]:
        return []
    distances = [cell["distance"] or 0.0 for row in table["cells"] for cell in row if cell is not None]
    largest = max(distances, default=0.0)
    parts = [PARTS[part].get(lang) for part in table["parts"]]
    rows = [[BLOCK.get(lang), *_heads(table["rows"][0], lang), *parts]]
    for block, whole, cells in zip(table["blocks"], table["rows"], table["cells"], strict=True):
        rows.append([str(block), *_figures(whole, lang), *(_shaded(cell, largest, lang) for cell in cells)])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, every column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _heads(figures: dict[str, Any], lang: str) -> list[str]:
    return [head.get(lang) for key, head in FIGURES.items() if key in figures]


def _figures(figures: dict[str, Any], lang: str) -> list[str]:
    """What stands under `_heads`; a dash where a figure is undefined."""
    return [_figure(figures[key], key in SHARES, lang) for key in FIGURES if key in figures]


def _figure(value: float | None, share: bool, lang: str) -> str:
    if value is None:
        return "—"
    return percent(round(value, 5), lang) if share else number(round(value, 5), lang)


def _shaded(figures: dict[str, Any] | None, largest: float, lang: str) -> str:
    if figures is None or figures["distance"] is None:
        return "—"
    share = figures["distance"] / largest if largest > 0 else 0.0
    shade = SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]
    return f"{_figure(figures['distance'], True, lang)} {shade * 2}"
