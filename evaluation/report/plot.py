"""A forest plot in SVG: one row per system, its value and interval on a common axis from 0."""

from collections.abc import Callable, Sequence
from html import escape

from evaluation.results import Cell

WIDTH, LABEL, ROW, PAD = 720, 170, 30, 70  # in SVG units


def forest(rows: Sequence[tuple[str, Cell]], number: Callable[[float | None], str]) -> str:
    """Rows without a value are left out; nothing to draw gives no plot."""
    drawn = [(name, cell, cell.value) for name, cell in rows if cell.value is not None]
    top = max((cell.high if cell.high is not None else value for _, cell, value in drawn), default=0.0)
    if not top:
        return ""
    scale = (WIDTH - LABEL - PAD) / top
    parts = [_axis(top, scale, len(drawn), number)]
    for i, (name, cell, value) in enumerate(drawn):
        y, x = ROW * i + ROW / 2, LABEL + value * scale
        parts.append(f'<text x="0" y="{y + 5:.1f}">{escape(name if len(name) < 22 else name[:20] + "…")}</text>')
        if cell.low is not None and cell.high is not None:
            ends = f'x1="{LABEL + cell.low * scale:.1f}" x2="{LABEL + cell.high * scale:.1f}"'
            parts.append(f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" class="bar"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text class="v" x="{WIDTH}" y="{y + 5:.1f}" text-anchor="end">{escape(number(value))}</text>')
    height = ROW * len(drawn) + 24
    return f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="WER">{"".join(parts)}</svg>'


def _axis(top: float, scale: float, rows: int, number: Callable[[float | None], str]) -> str:
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if top / s <= 6), 10.0)
    ticks = []
    for i in range(int(top / step) + 1):
        x, bottom = LABEL + i * step * scale, ROW * rows
        ticks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
        ticks.append(f'<text class="t" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number(i * step)}</text>')
    return "".join(ticks)
