"""An explanation as a compact table for a terminal."""

from __future__ import annotations

from typing import Any

from merger.bilingual import Text, number, percent
from merger.explain import PARTS, Explanation
from merger.layout import COMPONENTS

SHADES = " ░▒▓█"


def _cell(figures: dict[str, Any] | None, largest: float, lang: str) -> str:
    if figures is None or figures["distance"] is None:
        return f"{'—':>12}"
    share = figures["distance"] / largest if largest > 0 else 0.0
    shade = SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]
    return f"{percent(round(figures['distance'], 5), lang):>9} {shade * 2}"


def explanation_table(explanation: Explanation, lang: str) -> str:
    """Components, then blocks × parts of both stacks; shades grow with the distance."""
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
        lines += ["", COMPONENTS["encoder" if stack == "encoder" else "decoder"].get(lang), *_heat_map(table, lang)]
    return "\n".join(lines)


def _components(data: dict[str, Any], lang: str) -> list[str]:
    lines = []
    for name, label in [*COMPONENTS.items(), ("whole", Text("Вся модель", "Whole model"))]:
        figures = data["whole"] if name == "whole" else data["components"].get(name)
        if figures is None:
            continue
        distance, theta = figures["distance"], figures["angle"]
        line = f"  {label.get(lang):<52}" + ("—" if distance is None else f"{percent(round(distance, 5), lang):>9}")
        if theta is not None:
            shown = number(round(theta, 5), lang)
            line += Text(f"  угол {shown} рад", f"  angle {shown} rad").get(lang)
        if figures.get("sign_conflicts") is not None:
            conflicts = percent(round(figures["sign_conflicts"], 4), lang)
            line += Text(f"  спорят знаки: {conflicts}", f"  signs in conflict: {conflicts}").get(lang)
        lines.append(line)
    return lines


def _heat_map(table: dict[str, Any], lang: str) -> list[str]:
    distances = [cell["distance"] or 0.0 for row in table["cells"] for cell in row if cell is not None]
    largest = max(distances, default=0.0)
    head = Text("блок", "block").get(lang)
    lines = [f"  {head:>5} " + " ".join(f"{PARTS[part].get(lang):>12}" for part in table["parts"])]
    for block, row in zip(table["blocks"], table["cells"], strict=True):
        lines.append(f"  {block:>5} " + " ".join(_cell(cell, largest, lang) for cell in row))
    return lines
