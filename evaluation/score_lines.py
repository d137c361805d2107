"""Scoring of bare reference/hypothesis pairs, from any system: `python -m evaluation score FILE.jsonl --json`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation.errors import BadManifest
from evaluation.metrics import Counts, figures, measure
from evaluation.metrics.cases import CLASSES
from evaluation.metrics.hallucination import signs
from evaluation.metrics.registry import Line
from evaluation.normalize_ru import VERSION, Level, source_hash
from evaluation.scores import compare
from merger.bilingual import Text
from merger.errors import Fault


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Lines {"reference": …, "hypothesis": …}; further fields are ignored. Raises BadManifest with all bad lines."""
    pairs, faults = [], []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        lines, faults = [], [_fault(0, Text("файл не читается", "the file cannot be read"))]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            faults.append(_fault(number, Text("это не JSON", "this is not JSON")))
            continue
        texts = (fields.get("reference"), fields.get("hypothesis")) if isinstance(fields, dict) else (None, None)
        if isinstance(texts[0], str) and isinstance(texts[1], str):
            pairs.append((texts[0], texts[1]))
        else:
            what = Text("нужны строки «reference» и «hypothesis»", "“reference” and “hypothesis” must be strings")
            faults.append(_fault(number, what))
    if faults:
        raise BadManifest(faults=faults)
    return pairs


def _fault(line: int, text: Text) -> Fault:
    sentence = Text(f"Строка {line}: {text.ru}.", f"Line {line}: {text.en}.")
    if not line:
        sentence = Text(f"{text.ru.capitalize()}.", f"{text.en.capitalize()}.")
    return Fault(sentence, Text("Исправьте файл.", "Mend the file."))


def score_pairs(pairs: Iterable[tuple[str, str]], level: Level = "L2") -> dict[str, Any]:
    """Corpus figures (pooled, never means of lines) and the same for every line under "lines".

    wer, cer: fractions, None where no reference has words. cases: counts per class of substitution, `case_bearing`
    words and the interval `case_error` [low, high]. hallucination: lines with any sign of it.
    """
    total: Counts = {}
    lines = []
    for number, (reference, hypothesis) in enumerate(pairs, start=1):
        pair = compare(reference, hypothesis, level)
        counts = measure(Line(**vars(pair)))
        for key, value in counts.items():
            total[key] = total.get(key, 0) + value
        found = [{"sign": sign.code, "evidence": sign.evidence} for sign in signs(hypothesis, reference)]
        # An empty reference is left out of the corpus figures; what was written is shown with its line all the same.
        edits = {"deletions": pair.count("delete"), "insertions": pair.count("insert")}
        texts = {"reference": reference, "hypothesis": hypothesis}
        lines.append({"line": number, **texts, **_summary(counts), **edits, "signs": found})
    provenance = {"level": level, "normalizer": VERSION, "normalizer_hash": source_hash()}
    return {**provenance, **_summary(total), "lines": lines}


def _summary(counts: Counts) -> dict[str, Any]:
    of = figures()
    plain = {key: int(counts.get(key, 0)) for key in ("substitutions", "deletions", "insertions")}
    return {
        "wer": of["wer"].of(counts),
        "cer": of["cer"].of(counts),
        **plain,
        "reference_words": int(counts.get("words", 0)),
        "cases": {
            **{name: int(counts.get(name, 0)) for name in CLASSES},
            "case_bearing": int(counts.get("case_bearing", 0)),
            "case_error": [of["case_error_low"].of(counts), of["case_error_high"].of(counts)],
            "confusion": {key.split(":")[1]: int(n) for key, n in counts.items() if key.startswith("confusion:")},
        },
        "stress_spelling": {"yo_recall": of["yo_recall"].of(counts)},
        "hallucination": int(counts.get("hallucinated", 0)),
        "loops": int(counts.get("looped", 0)),
    }
