"""How the report writes numbers, cells and tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from evaluation.report import words as w
from evaluation.results import OVERALL, Cell
from merger.bilingual import Text


class Writer:
    """HTML fragments in one language. Numbers are rounded for the eye; `data-` attributes hold them whole."""

    def __init__(self, lang: str) -> None:
        self.lang = lang

    def say(self, text: Text, **facts: Any) -> str:
        return text.format(**facts).get(self.lang) if facts else text.get(self.lang)

    def number(self, value: float | None, unit: str = "percent", sign: bool = False) -> str:
        if value is None:
            return self.say(w.UNDEFINED)
        scaled = value * 100 if unit in {"percent", "points"} else value
        digits = 1 if abs(scaled) < 100 else 0
        text = f"{scaled:{'+' if sign else ''}.{digits}f}".replace("-", "−")
        text = text if self.lang == "en" else text.replace(".", ",")
        percent = f"{text}%" if self.lang == "en" else f"{text}\u00a0%"
        return {"percent": percent, "times": f"{text}×", "points": text}[unit]

    def brackets(self, cell: Cell, unit: str = "percent") -> str:
        if cell.value is None or cell.low is None or cell.high is None:
            return ""
        plain = "points" if unit == "percent" else unit
        separator = "; " if self.lang == "ru" else ", "
        ends = [self.number(end, plain).rstrip("×") for end in (cell.low, cell.high)]
        return f"[{separator.join(ends)}]"

    def p_value(self, p: float) -> str:
        """Four digits are more than enough; what is smaller is only said to be small."""
        text = f"=\u00a0{p:.4f}" if p >= 1e-4 else "<\u00a00.0001"
        return text if self.lang == "en" else text.replace(".", ",")

    def td(self, cell: Cell | None, unit: str = "percent", sign: bool = False) -> str:
        if cell is None:
            return "<td></td>"
        ends = "".join(
            f' data-{name}="{value!r}"' for name, value in (("low", cell.low), ("high", cell.high)) if value is not None
        )
        value = "" if cell.value is None else repr(cell.value)
        return (
            f'<td class="n" data-key="{escape(cell.key)}" data-value="{value}"{ends}>'
            f'{self.number(cell.value, unit, sign)}<span class="i">{self.brackets(cell, unit)}</span></td>'
        )

    def table(self, head: Sequence[str], rows: Sequence[str]) -> str:
        columns = "".join(f"<th>{column}</th>" for column in head)
        return (
            f'<div class="scroll"><table><thead><tr>{columns}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        )

    def section(self, title: Text, *parts: str) -> str:
        return f"<section><h2>{escape(self.say(title))}</h2>{''.join(parts)}</section>" if any(parts) else ""

    def note(self, text: str) -> str:
        return f'<p class="note">{escape(text)}</p>'

    def group_name(self, group: str) -> str:
        if group == OVERALL:
            return self.say(w.ALL)
        axis, _, value = group.partition("=")
        if axis not in w.AXES:
            return group
        known = w.VALUES.get(value)
        return f"{self.say(w.AXES[axis])}: {self.say(known) if known else value}"
