"""From predictions to the one structure that HTML, JSON and CSV are written from.

Every number of a report is a `Cell`; the three files are three ways to print the same cells, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.manifest import Entry
from evaluation.metrics import Counts, Figure, Line, figures, measure
from evaluation.normalize_ru import LEVELS, Level
from evaluation.predictions import Prediction
from evaluation.scores import compare
from evaluation.statistics import (
    Difference,
    Interval,
    Outcome,
    holm,
    paired_difference,
    ratio_interval,
    sufficient,
    verdict,
)
from evaluation.verdicts import comparisons

AXES = ("style", "dialect", "noise", "tempo")
OVERALL = "all"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One number of the report. `section`: overall, category, seen, ladder, difference; `group`: which clips ("all",
    "style=formal", "L1", …); `figure`: a figure's key. Fractions, not percent; factors for speed."""

    section: str
    group: str
    system: str
    figure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    outcome: Outcome | None = None

    @property
    def key(self) -> str:
        return "|".join((self.section, self.group, self.system, self.figure))


@dataclass(frozen=True)
class Group:
    """Some of the clips: how many, of how many words and blocks, and whether that is enough for a verdict."""

    section: str
    name: str
    clips: int
    words: int
    blocks: int
    seconds: float
    sufficient: bool


@dataclass
class Results:
    """Everything that a report says. `systems` are `System.describe()` in display order, with class counts and case
    confusions added; `lines` hold every clip's texts and counts of edits."""

    meta: dict[str, Any]
    systems: list[dict[str, Any]]
    groups: list[Group]
    cells: list[Cell]
    lines: list[dict[str, Any]]
    missing: dict[str, int] = field(default_factory=dict)

    def cell(self, section: str, group: str, system: str, figure: str) -> Cell | None:
        return self._index().get("|".join((section, group, system, figure)))

    def _index(self) -> dict[str, Cell]:
        return {cell.key: cell for cell in self.cells}


class Scored:
    """All clips of all systems, measured once. Clips that a system lacks count for none, so that comparisons stay
    paired."""

    def __init__(
        self,
        entries: Sequence[Entry],
        predictions: Sequence[Prediction],
        systems: Sequence[Mapping[str, Any]],
        level: Level,
    ) -> None:
        keys = {system["key"]: system["name"] for system in systems}
        texts = {(keys[p.model], p.clip): p for p in predictions if p.model in keys}
        self.names = [system["name"] for system in systems]
        self.missing = {
            name: lacking for name in self.names if (lacking := sum((name, e.sha256) not in texts for e in entries))
        }
        self.entries = [e for e in entries if all((name, e.sha256) in texts for name in self.names)]
        self.predictions = {name: [texts[name, entry.sha256] for entry in self.entries] for name in self.names}
        blocks = {block: i for i, block in enumerate(dict.fromkeys(entry.block for entry in self.entries))}
        self.blocks = np.array([blocks[entry.block] for entry in self.entries], np.int64)
        self.lines = {
            name: [_line(entry, p, level) for entry, p in zip(self.entries, self.predictions[name], strict=True)]
            for name in self.names
        }
        self.counts: dict[str, list[Counts]] = {
            name: [measure(line) for line in self.lines[name]] for name in self.names
        }

    def sums(self, name: str, count: str, mask: Mask) -> npt.NDArray[np.float64]:
        """A count by block, of the clips in `mask`; float64[blocks present]."""
        values = np.array([counts.get(count, 0.0) for counts in self.counts[name]])
        present = np.unique(self.blocks[mask])
        return np.bincount(self.blocks[mask], values[mask])[present].astype(np.float64)

    def interval(self, name: str, figure: Figure, mask: Mask) -> Interval | None:
        found = ratio_interval(self.sums(name, figure.numerator, mask), self.sums(name, figure.denominator, mask))
        if found is None or found.high is None or not figure.share:
            return found
        return Interval(found.value, found.low, min(1.0, found.high))

    def difference(self, baseline: str, candidate: str, figure: Figure, mask: Mask) -> Difference | None:
        pairs = [
            (self.sums(name, figure.numerator, mask), self.sums(name, figure.denominator, mask))
            for name in (baseline, candidate)
        ]
        return paired_difference(pairs[0], pairs[1])

    def group(self, section: str, name: str, mask: Mask) -> Group:
        chosen = [entry for entry, taken in zip(self.entries, mask, strict=True) if taken]
        words = int(self.sums(self.names[0], "words", mask).sum()) if self.names else 0
        blocks = len({entry.block for entry in chosen})
        return Group(
            section, name, len(chosen), words, blocks, sum(e.duration for e in chosen), sufficient(words, blocks)
        )


def _line(entry: Entry, prediction: Prediction, level: Level) -> Line:
    pair = compare(entry.text, prediction.text, level)
    return Line(**vars(pair), audio_seconds=prediction.audio_seconds, seconds_wall=prediction.seconds_wall)


def build(
    entries: Sequence[Entry],
    predictions: Sequence[Prediction],
    systems: Sequence[Mapping[str, Any]],
    meta: Mapping[str, Any],
    level: Level = "L2",
) -> Results:
    """Score everything. `systems` are `System.describe()`; headline figures leave out clips that any of them has seen
    in training, which get groups of their own."""
    scored = Scored(entries, predictions, systems, level)
    seen = [_seen_by(entry, systems) for entry in scored.entries]
    clean = np.array([not names for names in seen], np.bool_)
    masks: list[tuple[str, str, Mask]] = [("overall", OVERALL, clean)]
    for axis in AXES:
        for value in sorted({getattr(e, axis) for e in scored.entries} - {None}):
            chosen = np.array([getattr(entry, axis) == value for entry in scored.entries], np.bool_)
            masks.append(("category", f"{axis}={value}", clean & chosen))
    for names in sorted({names for names in seen if names}):
        masks.append(("seen", "+".join(names), np.array([s == names for s in seen], np.bool_)))
    masks = [(section, name, mask) for section, name, mask in masks if mask.any()]
    cells = [cell for section, name, mask in masks for cell in _figure_cells(scored, section, name, mask)]
    cells += _ladder(scored, clean) if clean.any() else []
    cells += _differences(scored, systems, [m for m in masks if m[0] != "seen"])
    return Results(
        meta={**meta, "level": level},
        systems=[_public(system) | _totals(scored, system["name"], clean) for system in systems],
        groups=[scored.group(section, name, mask) for section, name, mask in masks],
        cells=cells,
        lines=_texts(scored, seen),
        missing=scored.missing,
    )


def _seen_by(entry: Entry, systems: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the models in this report whose training held the clip; merges only where no model of theirs is here."""
    named = {name.lower() for name in entry.seen_by}
    found = [system for system in systems if named & set(system["known_as"])]
    models = [system for system in found if system["kind"] == "model"]
    return tuple(sorted(system["name"] for system in models or found))


def _public(system: Mapping[str, Any]) -> dict[str, Any]:
    """Without the names that hold paths of this machine."""
    return {key: value for key, value in system.items() if key != "known_as"}


def _figure_cells(scored: Scored, section: str, group: str, mask: Mask) -> list[Cell]:
    cells = []
    for name in scored.names:
        for key, figure in figures().items():
            interval = scored.interval(name, figure, mask)
            ends = (None, None) if interval is None else (interval.low, interval.high)
            cells.append(Cell(section, group, name, key, interval.value if interval else None, *ends))
    return cells


def _ladder(scored: Scored, mask: Mask) -> list[Cell]:
    """WER at every level of the normaliser: how much of it is punctuation, how much ё and digits."""
    cells = []
    for level in LEVELS:
        for name in scored.names:
            lines = [
                compare(line.reference, line.hypothesis, level)
                for line, taken in zip(scored.lines[name], mask, strict=True) if taken
            ]  # fmt: skip
            blocks = scored.blocks[mask]
            counted = [(x.word_edits, len(x.reference_words)) if x.reference_words else (0, 0) for x in lines]
            edits, words = (
                np.bincount(blocks, [c[i] for c in counted])[np.unique(blocks)].astype(float) for i in (0, 1)
            )
            interval = ratio_interval(edits, words)
            ends = (None, None) if interval is None else (interval.low, interval.high)
            cells.append(Cell("ladder", level, name, "wer", interval.value if interval else None, *ends))
    return cells


def _differences(
    scored: Scored, systems: Sequence[Mapping[str, Any]], masks: Sequence[tuple[str, str, Mask]]
) -> list[Cell]:
    """WER of candidate minus baseline in every group, Holm over the groups that hold enough."""
    cells = []
    wer = figures()["wer"]
    for candidate, baseline in comparisons(systems):
        found = [scored.difference(baseline, candidate, wer, mask) for _, _, mask in masks]
        enough = [scored.group(section, name, mask).sufficient for section, name, mask in masks]
        adjusted = holm([d.p if d and ok else None for d, ok in zip(found, enough, strict=True)])
        for (_, name, _), difference, ok, p in zip(masks, found, enough, adjusted, strict=True):
            if difference is None:
                continue
            judged = Difference(difference.interval, difference.p, p)
            interval = difference.interval
            outcome = verdict(judged, ok)
            cells.append(
                Cell(
                    "difference",
                    name,
                    f"{candidate} − {baseline}",
                    "wer",
                    interval.value,
                    interval.low,
                    interval.high,
                    p,
                    outcome,
                )
            )
    return cells


def _totals(scored: Scored, name: str, mask: Mask) -> dict[str, Any]:
    """Sums that are no ratio: counts of every kind, and which case was written for which."""
    counts: dict[str, float] = {}
    for one, taken in zip(scored.counts[name], mask, strict=True):
        for key, value in one.items():
            counts[key] = counts.get(key, 0) + (value if taken else 0)
    confusion = {key.removeprefix("confusion:"): value for key, value in counts.items() if key.startswith("confusion:")}
    plain = {key: value for key, value in counts.items() if ":" not in key}
    return {"counts": plain, "confusion": confusion}


def _texts(scored: Scored, seen: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
    lines = []
    for i, entry in enumerate(scored.entries):
        systems = {
            name: {"text": scored.predictions[name][i].text, "word_edits": scored.lines[name][i].word_edits}
            for name in scored.names
        }
        about = {axis: getattr(entry, axis) for axis in ("speaker", *AXES)}
        lines.append(
            {
                "id": entry.id,
                "clip": entry.sha256,
                "reference": entry.text,
                "seconds": entry.duration,
                "seen_by": seen[i],
            }
            | {key: value for key, value in about.items() if value is not None}
            | {"systems": systems}
        )
    return lines
