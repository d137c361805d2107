"""A forest plot of boxes and percentages: one row per system, its value and interval on a common axis from 0.

Plain HTML, so that the letters keep their size on a phone and on paper.
"""

from collections.abc import Callable, Sequence
from html import escape

from evaluation.results import Cell


def forest(rows: Sequence[tuple[str, Cell]], number: Callable[[float | None], str]) -> str:
    """Rows without a value are left out; nothing to draw gives no plot."""
    drawn = [(name, cell, cell.value) for name, cell in rows if cell.value is not None]
    top = max((cell.high if cell.high is not None else value for _, cell, value in drawn), default=0.0)
    if not top:
        return ""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if top / s <= 5), 10.0)
    end = step * -(-top // step)
    grid = f"background-size: {100 * step / end:.3f}% 100%"
    lines = []
    for name, cell, value in drawn:
        bar = ""
        if cell.low is not None and cell.high is not None:
            bar = f'<i style="left:{100 * cell.low / end:.2f}%; width:{100 * (cell.high - cell.low) / end:.2f}%"></i>'
        dot = f'<b style="left:{100 * value / end:.2f}%"></b>'
        lines.append(
            f'<div class="name">{escape(name)}</div><div class="track" style="{grid}">{bar}{dot}</div>'
            f'<div class="v">{escape(number(value))}</div>'
        )
    ends = f"<span>{escape(number(0.0))}</span><span>{escape(number(end))}</span>"
    return f'<div class="forest">{"".join(lines)}<div></div><div class="axis">{ends}</div><div></div></div>'
