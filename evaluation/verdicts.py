"""What is compared with what, and the outcome in a sentence that needs no table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evaluation.statistics import MIN_BLOCKS, MIN_WORDS
from merger.bilingual import Text, number, percent

if TYPE_CHECKING:
    from evaluation.results import Results

BASE_NAMES = ("base", "common ancestor", "база", "общий предок")  # a model of such a name is compared with every merge
LANGUAGES = ("ru", "en")


def comparisons(systems: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(candidate, baseline): every merge against its sources and the base model; without merges every model against the
    first."""
    names = [system["name"] for system in systems]
    pairs = []
    for system in systems:
        if system["kind"] == "merge":
            baselines = [*system["parents"].values(), *(n for n in names if n.lower() in BASE_NAMES)]
            pairs += [(system["name"], n) for n in dict.fromkeys(baselines) if n in names]
    return pairs or [(name, names[0]) for name in names[1:]]


_SHOWN = {
    "better": Text("лучше, чем {name}, на {points} п.\u00a0п.", "better than {name} by {points} points"),
    "worse": Text("хуже, чем {name}, на {points} п.\u00a0п.", "worse than {name} by {points} points"),
}
_OPEN = {
    "indistinguishable": Text("разница с {names} не доказана", "the difference from {names} is not proved"),
    "insufficient": Text("о разнице с {names} судить рано", "it is too early to judge the difference from {names}"),
}


def plain_verdict(results: Results, candidate: str) -> Text:
    """The candidate against everything that it is compared with, over all clips, in one sentence of WER."""
    found = [
        (baseline, cell.outcome or "insufficient", cell.value)
        for first, baseline in comparisons(results.systems)
        if first == candidate
        and (cell := results.cell("difference", "all", f"{candidate} − {baseline}", "wer")) is not None
        and cell.value is not None
    ]
    wer = results.cell("overall", "all", candidate, "wer")
    return Text(*(_sentence(candidate, wer.value if wer else None, found, lang) for lang in LANGUAGES))


def _sentence(candidate: str, wer: float | None, found: Sequence[tuple[str, str, float]], lang: str) -> str:
    clauses = [f"{candidate}: WER {'—' if wer is None else percent(round(wer, 3), lang)}"]
    for name, outcome, value in found:
        if outcome in _SHOWN:
            points = number(round(abs(value) * 100, 1), lang)
            clauses.append(_SHOWN[outcome].format(name=quoted(name, lang), points=points).get(lang))
    for outcome, text in _OPEN.items():
        names = [quoted(name, lang) for name, one, _ in found if one == outcome]
        if names:
            clauses.append(text.format(names=_listed(names, lang)).get(lang))
    return "; ".join(clauses).rstrip(".") + "."  # «п. п.» ends with a full stop already


def _listed(names: Sequence[str], lang: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {'и' if lang == 'ru' else 'and'} {last}" if first else last


def what_lacks(results: Results) -> Text | None:
    """Why no verdict can be given; None where there is enough."""
    overall = next((group for group in results.groups if group.section == "overall"), None)
    if overall is None or overall.sufficient:
        return None
    facts = {"words": MIN_WORDS, "blocks": MIN_BLOCKS, "has_words": overall.words, "has": overall.blocks}
    return TOO_LITTLE.format(**facts)


TOO_LITTLE = Text(
    "Для вывода нужно хотя бы {words} слов и {blocks} говорящих; здесь слов {has_words}, говорящих или записей {has}.",
    "A verdict needs {words} words and {blocks} speakers; here are {has_words} words, {has} speakers or recordings.",
)


def quoted(name: str, lang: str) -> str:
    """«A» or “A”."""
    return f"«{name}»" if lang == "ru" else f"“{name}”"
