"""From predictions to cells, worked out by hand; HTML, JSON and CSV hold the same numbers."""

import csv
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluation.manifest import Entry
from evaluation.predictions import Prediction
from evaluation.report.files import write_report
from evaluation.report.page import render
from evaluation.results import Results, build
from evaluation.verdicts import comparisons, plain_verdict, what_lacks

META = {"normalizer": "ru-2026.1", "speed": {"m": [10.0, 30.0, 20.0]}, "device": "CPU", "skipped": [], "warnings": {}}
TEXT = "нет стола и дома"


def system(name: str, kind: str = "model", **parents: str) -> dict[str, Any]:
    merge = kind == "merge"
    return {
        "name": name, "kind": kind, "key": f"key-{name}", "parents": parents or {"a": name}, "recipe": None,
        "sentence": {"ru": "50 % A + 50 % B", "en": "50% A + 50% B"} if merge else None, "sources": {},
        "known_as": [name, f"/secret/{name}"],
    }  # fmt: skip


SYSTEMS = [system("a"), system("b"), system("m", "merge", a="a", b="b")]


def entries(count: int, **more: Any) -> list[Entry]:
    return [
        Entry(i + 1, f"c{i}", Path(f"c{i}.wav"), TEXT, 2.0, f"sha{i}", speaker=f"s{i % 12}",
              style="formal" if i % 2 else "colloquial", **more)
        for i in range(count)
    ]  # fmt: skip


def predictions(clips: Sequence[Entry], **hypotheses: str) -> list[Prediction]:
    return [
        Prediction(name, f"key-{name}", "d", entry.sha256, entry.id, text, 2.0, 0.1, "batch")
        for name, text in hypotheses.items()
        for entry in clips
    ]


def value(results: Results, *key: str) -> float | None:
    cell = results.cell(*key)
    assert cell is not None, key
    return cell.value


def test_pooled_figures_and_groups() -> None:
    clips = entries(4)
    results = build(clips, predictions(clips, a=TEXT, b="нет столу и дома", m="нет"), SYSTEMS, META)
    assert [value(results, "overall", "all", name, "wer") for name in "abm"] == [0.0, 0.25, 0.75]
    assert value(results, "overall", "all", "b", "case_error_low") == 0.5  # of «стола» and «дома»
    assert value(results, "overall", "all", "b", "rtfx") == pytest.approx(20.0)
    assert [(g.section, g.name, g.clips, g.words, g.blocks) for g in results.groups] == [
        ("overall", "all", 4, 16, 4),
        ("category", "style=colloquial", 2, 8, 2),
        ("category", "style=formal", 2, 8, 2),
    ]
    assert not any(group.sufficient for group in results.groups)
    totals = {s["name"]: s["counts"] for s in results.systems}
    assert totals["b"]["case"] == 4 and totals["m"]["deletions"] == 12
    assert "/secret" not in json.dumps(results.systems)


def test_ladder() -> None:
    clips = entries(2)
    texts = predictions(clips, a=TEXT.capitalize() + ".", b=TEXT, m=TEXT)
    results = build(clips, texts, SYSTEMS, META)
    assert [value(results, "ladder", level, "a", "wer") for level in ("L0", "L1", "L2", "L3")] == [0.5, 0, 0, 0]


def test_verdicts_need_enough_data_and_are_paired() -> None:
    few, many = entries(48), entries(360)
    for clips, expected in ((few, "insufficient"), (many, "better")):
        texts = predictions(clips, a="нет столу и дому", b=TEXT, m="нет столу и дома")
        results = build(clips, texts, SYSTEMS, META)
        cell = results.cell("difference", "all", "m − a", "wer")
        assert cell is not None and (cell.value, cell.outcome) == (-0.25, expected)
        other = results.cell("difference", "all", "m − b", "wer")
        assert other is not None and other.outcome == {"insufficient": expected, "better": "worse"}[expected]
    said = plain_verdict(results, "m")
    assert said.ru == "m: WER 25\u00a0%; лучше, чем «a», на 25 п.\u00a0п.; хуже, чем «b», на 25 п.\u00a0п."
    assert said.en == "m: WER 25%; better than “a” by 25 points; worse than “b” by 25 points."
    assert what_lacks(results) is None
    half = results.cell("difference", "style=formal", "m − a", "wer")
    assert half is not None and half.outcome == "insufficient"


def test_a_plain_verdict_claims_nothing_that_is_not_shown() -> None:
    few = build(entries(8), predictions(entries(8), a="нет столу и дому", b=TEXT, m="нет столу и дома"), SYSTEMS, META)
    assert plain_verdict(few, "m").en == (
        "m: WER 25%; it is too early to judge the difference from “a” and “b”."
    )
    lacking = what_lacks(few)
    assert lacking is not None and "32" in lacking.ru and "1000" in lacking.ru
    many = entries(360)
    same = build(many, predictions(many, a=TEXT, b=TEXT, m=TEXT), SYSTEMS, META)
    assert plain_verdict(same, "m").ru.endswith("; разница с «a» и «b» не доказана.")


def test_comparisons() -> None:
    assert comparisons([*SYSTEMS, system("Base")]) == [("m", "a"), ("m", "b"), ("m", "Base")]
    assert comparisons([system("база"), *SYSTEMS])[-1] == ("m", "база")
    assert comparisons([system("x"), system("y"), system("z")]) == [("y", "x"), ("z", "x")]
    assert comparisons([system("x")]) == []


def test_what_a_model_has_seen_is_kept_apart() -> None:
    clean, seen = entries(2), entries(3, seen_by=("A", "other"))
    seen = [Entry(**{**vars(e), "sha256": f"x{e.sha256}", "id": f"x{e.id}"}) for e in seen]
    texts = [*predictions(clean, a="нет", b="нет", m="нет"), *predictions(seen, a=TEXT, b="нет", m="нет")]
    results = build([*clean, *seen], texts, SYSTEMS, META)
    assert value(results, "overall", "all", "a", "wer") == 0.75
    assert value(results, "seen", "a", "a", "wer") == 0.0
    assert [(g.section, g.name, g.clips) for g in results.groups if g.section != "category"] == [
        ("overall", "all", 2), ("seen", "a", 3),
    ]  # fmt: skip
    assert [g.clips for g in results.groups if g.section == "category"] == [1, 1]


def test_clips_that_one_system_lacks_count_for_none() -> None:
    clips = entries(3)
    texts = [*predictions(clips, a=TEXT, b=TEXT), *predictions(clips[:2], m="нет")]
    results = build(clips, texts, SYSTEMS, META)
    assert results.missing == {"m": 1} and results.groups[0].clips == 2


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[str, str, str]] = {}
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if key := given.get("data-key"):
            cell = tuple(given.get(f"data-{name}") or "" for name in ("value", "low", "high"))
            assert self.found.setdefault(key, cell) == cell  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_html_json_and_csv_agree(tmp_path: Path, lang: str) -> None:
    clips = [*entries(60), *(Entry(**{**vars(e), "sha256": f"x{e.id}", "seen_by": ("a",)}) for e in entries(5))]
    texts = predictions(clips, a="нет столу и дому", b="Нет стола", m="=нет столу, и дома")
    results = build(clips, texts, SYSTEMS, META)
    page = write_report(results, tmp_path, lang)
    expected = {
        cell.key: tuple("" if x is None else repr(x) for x in (cell.value, cell.low, cell.high))
        for cell in results.cells
    }
    parser = _Cells()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.found == expected
    stored = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cells"]
    from_json = {
        "|".join(c[k] for k in ("section", "group", "system", "figure")):
        tuple("" if c[k] is None else repr(c[k]) for k in ("value", "low", "high")) for c in stored
    }  # fmt: skip
    assert from_json == expected
    with (tmp_path / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        from_csv = {
            "|".join(r[k] for k in ("section", "group", "system", "figure")): (r["value"], r["low"], r["high"])
            for r in csv.DictReader(file)
        }
    assert from_csv == expected


def test_what_is_shown_is_what_is_stored(tmp_path: Path) -> None:
    clips = entries(60)
    results = build(clips, predictions(clips, a="нет столу и дома", b=TEXT, m=TEXT), SYSTEMS, META)
    ru, en = (render(results, lang, {}) for lang in ("ru", "en"))
    assert '25,0\u00a0%<span class="i">[25,0; 25,0]</span>' in ru
    assert '25.0%<span class="i">[25.0, 25.0]</span>' in en
    assert "данных мало" in ru and "not enough data" in en
    assert "20.0×" in en and "[10.0× – 30.0×]" in en


EVIL = "<img src=x onerror=alert(1)></span>${alert(1)}"


def test_everything_is_escaped(tmp_path: Path) -> None:
    clips = [Entry(**{**vars(e), "text": EVIL, "noise": EVIL, "speaker": EVIL}) for e in entries(3)]
    systems = [system(EVIL), system("b")]
    texts = [
        Prediction(s["name"], s["key"], "d", e.sha256, e.id, EVIL + s["name"], 2.0, 0.1, "batch")
        for s in systems
        for e in clips
    ]
    page = write_report(build(clips, texts, systems, META), tmp_path, "ru").read_text(encoding="utf-8")
    parser = _Cells()
    parser.feed(page)
    assert "img" not in parser.tags and "script" not in parser.tags


def test_csv_cells_are_no_formulas(tmp_path: Path) -> None:
    clips = entries(2)
    systems = [system("=cmd"), system("@b")]
    texts = [Prediction(s["name"], s["key"], "d", e.sha256, e.id, TEXT, 2.0, 0.1, "x") for s in systems for e in clips]
    write_report(build(clips, texts, systems, META), tmp_path, "ru")
    with (tmp_path / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file):
            assert not any(re.match(r"[=+@\t\r]|-\D", field) for field in row)


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    clips = entries(3)
    page = render(build(clips, predictions(clips, a=TEXT, b="нет", m=TEXT), SYSTEMS, META), "en", {})
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page) and "@import" not in page
    assert page.startswith("<!doctype html>") and 'name="viewport"' in page
