"""The HTML report: one file, no scripts, nothing from outside; reads on paper and on a phone.

Everything that a user typed or a model wrote is escaped. Every number carries its cell's key and full-precision value
in `data-` attributes, by which a test compares the page with the JSON and the CSV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evaluation.metrics import Figure, metrics
from evaluation.metrics.cases import CASES, CLASSES
from evaluation.report import words as w
from evaluation.report.diff import diff
from evaluation.report.player import player
from evaluation.report.plot import forest
from evaluation.report.writer import Writer
from evaluation.results import OVERALL, Cell, Group, Results
from evaluation.statistics import DRAWS, MIN_BLOCKS, MIN_WORDS
from evaluation.verdicts import comparisons, what_lacks

EXAMPLES = 12
POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"  # nothing runs, nothing is fetched
STYLE = Path(__file__).with_name("style.css")


def render(results: Results, lang: str, audio: Mapping[str, Path]) -> str:
    """The page as text. `audio`: clip hash → file."""
    return _Page(results, lang, audio).html()


class _Page(Writer):
    def __init__(self, results: Results, lang: str, audio: Mapping[str, Path]) -> None:
        super().__init__(lang)
        self.results, self.audio = results, audio
        self.names = [system["name"] for system in results.systems]
        self.cells = {cell.key: cell for cell in results.cells}
        self.overall = next((g for g in results.groups if g.section == "overall"), None)

    def html(self) -> str:
        title = self.say(w.TITLE)
        body = "".join(
            (
                f"<header><h1>{title}</h1>{self.summary()}</header>",
                self.verdicts(), self.models(), self.categories(), self.seen(), self.ladder(), self.cases(),
                self.stress(), self.speed(), self.examples(), self.provenance(),
            )
        )  # fmt: skip
        return (
            f'<!doctype html><html lang="{self.lang}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
            f"<body>{body}</body></html>\n"
        )

    # --- sections ----------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        group, meta = self.overall, self.results.meta
        if group is None:
            return ""
        speakers = any("speaker" in line for line in self.results.lines)
        facts = {
            "clips": group.clips, "minutes": round(group.seconds / 60, 1), "words": group.words, "blocks": group.blocks,
            "normalizer": meta["normalizer"], "level": meta["level"],
            "kind_ru": "говорящих" if speakers else "записей", "kind_en": "speakers" if speakers else "recordings",
        }  # fmt: skip
        lines = [self.say(w.SUMMARY, **facts), self.say(w.INTERVALS, draws=DRAWS)]
        if self.results.missing:
            lacking = ", ".join(f"{name}: {count}" for name, count in self.results.missing.items())
            lines.append(self.say(w.MISSING, lacking=lacking))
        return "".join(self.note(line) for line in lines)

    def wer(self, name: str) -> Cell:
        return self.cells[f"overall|{OVERALL}|{name}|wer"]

    def verdicts(self) -> str:
        pairs = comparisons(self.results.systems)
        if not pairs or self.overall is None:
            return self.section(w.VERDICTS, self.note(self.say(w.NO_VERDICT)))
        candidates = list(dict.fromkeys(candidate for candidate, _ in pairs))
        cards = [self.card(name, [other for first, other in pairs if first == name]) for name in candidates]
        lacking = what_lacks(self.results)
        notes = [self.say(w.NOT_PROOF if lacking is None else lacking)]
        return self.section(
            w.VERDICTS, self.headline(pairs), *map(self.note, notes), f'<div class="cards">{"".join(cards)}</div>'
        )

    def headline(self, pairs: Sequence[tuple[str, str]]) -> str:
        """The one sentence that a reader takes away: the best merge, and what it is proved to beat."""
        merges = [s for s in self.results.systems if s["kind"] == "merge" and self.wer(s["name"]).value is not None]
        if not merges:
            return ""
        best = min(merges, key=lambda system: self.wer(system["name"]).value or 0.0)
        rivals = [other for first, other in pairs if first == best["name"] and other in best["parents"].values()]
        beaten = [other for other in rivals if self.outcome(best["name"], other) == "better"]
        said = w.BEATS if beaten == rivals and rivals else w.BEATS_SOME if beaten else w.BEATS_NONE
        cell = self.wer(best["name"])
        sentence = self.say(
            w.BEST, name=best["name"], value=self.number(cell.value), ends=self.brackets(cell),
            outcome=self.say(said, names=", ".join(beaten)),
        )  # fmt: skip
        return f'<p class="headline">{escape(sentence)}</p>'

    def outcome(self, candidate: str, baseline: str) -> str:
        cell = self.cells.get(f"difference|{OVERALL}|{candidate} − {baseline}|wer")
        return (cell.outcome if cell else None) or "insufficient"

    def card(self, candidate: str, baselines: Sequence[str]) -> str:
        items = "".join(self.verdict(candidate, baseline) for baseline in baselines)
        value = f"WER {self.number(self.wer(candidate).value)} {self.brackets(self.wer(candidate))}"
        return f"<article><h3>{escape(candidate)} <small>{escape(value)}</small></h3><ul>{items}</ul></article>"

    def verdict(self, candidate: str, baseline: str) -> str:
        cell = self.cells.get(f"difference|{OVERALL}|{candidate} − {baseline}|wer")
        if cell is None:
            return ""
        p = "" if cell.p is None else self.say(w.P_VALUE, p=self.p_value(cell.p))
        difference = f"{self.number(cell.value, 'points', sign=True)} {self.say(w.POINTS)} {self.brackets(cell)}"
        sentence = self.say(
            w.VERDICT, baseline=escape(baseline), a=self.number(self.wer(candidate).value),
            b=self.number(self.wer(baseline).value), difference=difference, p=p,
        )  # fmt: skip
        outcome = cell.outcome or "insufficient"
        return f'<li><span class="tag {outcome}">{self.say(w.OUTCOMES[outcome])}</span> <span>{sentence}</span></li>'

    def models(self) -> str:
        if self.overall is None:
            return ""
        plot = forest([(name, self.cells[f"overall|{OVERALL}|{name}|wer"]) for name in self.names], self.number)
        recipes = [
            f"<li><b>{escape(system['name'])}</b>: {escape(system['sentence'][self.lang])}</li>"
            for system in self.results.systems
            if system["sentence"]
        ]
        return self.section(
            w.MODELS, f"<ul>{''.join(recipes)}</ul>" if recipes else "", plot, self.figures(self.overall)
        )

    def figures(self, group: Group) -> str:
        """Every figure of every metric for one group: systems across, figures down."""
        rows = []
        for metric in metrics().values():
            rows.append(
                f'<tr class="head"><th colspan="{1 + len(self.names)}">{escape(self.say(metric.title))}</th></tr>'
            )
            rows += [self.figure_row(group, figure) for figure in metric.figures]
        return self.table(["", *map(escape, self.names)], rows)

    def figure_row(self, group: Group, figure: Figure) -> str:
        cells = [self.cells.get(f"{group.section}|{group.name}|{name}|{figure.key}") for name in self.names]
        return f"<tr><th>{escape(self.say(figure.title))}</th>{''.join(self.td(c, figure.unit) for c in cells)}</tr>"

    def wer_rows(self, groups: Sequence[Group]) -> str:
        """WER by group, the differences that were tested, and everything else folded away beneath."""
        pairs = [f"{candidate} − {baseline}" for candidate, baseline in comparisons(self.results.systems)]
        rows, against, folded = [], [], []
        for group in groups:
            title = escape(self.group_name(group.name))
            cells = "".join(self.td(self.cells.get(f"{group.section}|{group.name}|{name}|wer")) for name in self.names)
            faint = "" if group.sufficient else ' class="thin"'
            rows.append(f'<tr{faint}><th>{title}</th><td class="n">{group.words} / {group.blocks}</td>{cells}</tr>')
            against.append(f"<tr><th>{title}</th>{''.join(self.difference(group, pair) for pair in pairs)}</tr>")
            if group.section != "overall":
                label = f"{title}: {escape(self.say(w.FIGURES).lower())}"
                folded.append(f"<details><summary>{label}</summary>{self.figures(group)}</details>")
        tables = self.table([self.say(w.CATEGORY), self.say(w.AMOUNT), *map(escape, self.names)], rows)
        if pairs and groups[0].section != "seen":
            title = f"<h3>{self.say(w.DIFFERENCES)}</h3>"
            tables += title + self.table([self.say(w.CATEGORY), *map(escape, pairs)], against)
        return tables + "".join(folded)

    def difference(self, group: Group, pair: str) -> str:
        cell = self.cells.get(f"difference|{group.name}|{pair}|wer")
        if cell is None or cell.outcome is None:
            return "<td></td>"
        label = f'<span class="tag {cell.outcome}">{self.say(w.OUTCOMES[cell.outcome])}</span></td>'
        return self.td(cell, "points", sign=True).removesuffix("</td>") + label

    def categories(self) -> str:
        groups = [group for group in self.results.groups if group.section == "category"]
        overall = [self.overall] if self.overall else []
        if not groups and not overall:
            return ""
        thin = [group for group in groups if not group.sufficient]
        return self.section(
            w.CATEGORIES,
            self.wer_rows([*overall, *groups]),
            self.note(self.say(w.THIN, words=MIN_WORDS, blocks=MIN_BLOCKS)) if thin else "",
        )

    def seen(self) -> str:
        groups = [group for group in self.results.groups if group.section == "seen"]
        return self.section(w.SEEN, self.note(self.say(w.SEEN_NOTE)), self.wer_rows(groups)) if groups else ""

    def ladder(self) -> str:
        rows = []
        for level, title in w.LEVELS.items():
            cells = [self.cells.get(f"ladder|{level}|{name}|wer") for name in self.names]
            if any(cells):
                rows.append(f"<tr><th>{escape(self.say(title))}</th>{''.join(map(self.td, cells))}</tr>")
        return self.section(w.LADDER, self.table(["", *map(escape, self.names)], rows)) if rows else ""

    def cases(self) -> str:
        rows = [
            f"<tr><th>{escape(self.say(title))}</th>"
            + "".join(f'<td class="n">{system["counts"].get(name, 0):.0f}</td>' for system in self.results.systems)
            + "</tr>"
            for name, title in CLASSES.items()
        ]
        table = self.table(["", *map(escape, self.names)], rows)
        matrices = "".join(f"<div>{self.confusion(system)}</div>" for system in self.results.systems)
        return self.section(
            w.CASES, self.note(self.say(w.CASES_NOTE)), table, f'<div class="matrices">{matrices}</div>'
        )

    def confusion(self, system: Mapping[str, Any]) -> str:
        counts = system["confusion"]
        title = f"<h3>{escape(system['name'])}</h3>"
        if not counts:
            return title + self.note(self.say(w.NO_CONFUSION))
        names = [self.say(w.CASE_NAMES[case]) for case in CASES]
        rows = [
            f"<tr><th>{name}</th>"
            + "".join(f'<td class="n">{counts.get(f"{said}>{written}", 0) or "":.0f}</td>'
                      if counts.get(f"{said}>{written}") else "<td></td>" for written in CASES)
            + "</tr>"
            for said, name in zip(CASES, names, strict=True)
        ]  # fmt: skip
        return title + self.table([self.say(w.SPOKEN_WRITTEN), *names], rows)

    def stress(self) -> str:
        metric = metrics()["stress_spelling"]
        if self.overall is None:
            return ""
        rows = [self.figure_row(self.overall, figure) for figure in metric.figures]
        table = self.table(["", *map(escape, self.names)], rows)
        return self.section(metric.title, self.note(self.say(w.STRESS_NOTE)), table)

    def speed(self) -> str:
        speeds = self.results.meta.get("speed") or {}
        rows = []
        for name in self.names:
            runs = sorted(speeds.get(name, ()))
            if runs:
                middle = runs[len(runs) // 2]
                spread = f"[{self.number(runs[0], 'times')} – {self.number(runs[-1], 'times')}]"
                value = f'<td class="n">{self.number(middle, "times")}<span class="i">{spread}</span></td>'
                rows.append(f"<tr><th>{escape(name)}</th>{value}</tr>")
        if not rows:
            return ""
        passes = max(len(values) for values in speeds.values())
        note = self.say(w.SPEED_NOTE, runs=passes, device=str(self.results.meta.get("device", "")))
        return self.section(w.SPEED, self.note(note), self.table(["", "RTFx"], rows))

    def examples(self) -> str:
        def disagreement(line: Mapping[str, Any]) -> tuple[int, int]:
            edits = [system["word_edits"] for system in line["systems"].values()]
            return max(edits) - min(edits), len({system["text"] for system in line["systems"].values()})

        chosen = sorted(self.results.lines, key=disagreement, reverse=True)[:EXAMPLES]
        chosen = [line for line in chosen if disagreement(line)[1] > 1]
        return self.section(w.EXAMPLES, *(self.example(line) for line in chosen)) if chosen else ""

    def example(self, line: Mapping[str, Any]) -> str:
        rows = [f"<tr><th>{self.say(w.REFERENCE)}</th><td>{escape(line['reference'])}</td></tr>"]
        for name, system in line["systems"].items():
            count = f'<span class="i">{self.say(w.ERRORS)}: {system["word_edits"]}</span>'
            rows.append(f"<tr><th>{escape(name)}{count}</th><td>{diff(line['reference'], system['text'])}</td></tr>")
        facts = [line["id"], *(str(line[key]) for key in ("speaker", "dialect") if key in line)]
        facts += [self.group_name(f"{axis}={line[axis]}").split(": ", 1)[1] for axis in w.AXES
                  if axis in line and axis != "dialect"]  # fmt: skip
        caption = f'<p class="note">{escape(" · ".join(facts))}</p>'
        return f'<article class="example">{caption}{player(line, self.audio)}<table>{"".join(rows)}</table></article>'

    def provenance(self) -> str:
        facts = {key: value for key, value in self.results.meta.items() if key not in {"speed", "skipped", "warnings"}}
        facts |= {f"{system['name']}": system["key"] for system in self.results.systems}
        rows = [f"<tr><th>{escape(key)}</th><td>{escape(_flat(value))}</td></tr>" for key, value in facts.items()]
        told = self.results.meta.get("warnings") or {}
        warnings = [f"{name}: {text[self.lang]}" for name, texts in told.items() for text in texts]
        skipped = [given[self.lang] for given in self.results.meta.get("skipped", [])]
        extra = [self.note(line) for line in warnings]
        if skipped:
            items = "".join(f"<li>{escape(line)}</li>" for line in skipped)
            extra.append(f"<h3>{escape(self.say(w.SKIPPED))}</h3><ul>{items}</ul>")
        return self.section(w.PROVENANCE, f'<div class="facts">{self.table(["", ""], rows)}</div>', *extra)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return str(value)
