"""Stress-related spelling («ударения»).

Ordinary Russian spelling does not carry stress, so a transcript cannot show whether a model heard it. What text does
show: whether ё is written where the reference writes it (ё is always stressed), which vowels are confused in stressed
and in unstressed syllables (where vowel reduction makes о and а, е and и sound alike), and stress marks that leaked
from training texts into the transcript.
"""

import re
from typing import Literal

from evaluation.metrics.registry import Counts, Figure, Line, metric
from evaluation.normalize_ru import align_pair
from evaluation.tokens_ru import fold
from merger.bilingual import Text

VOWELS = frozenset("аеёиоуыэюя")
STRESS = "\u0301"
_MARKED_WORD = re.compile(r"(?:[^\W\d_]|[\u0300-\u036f])+")
Place = Literal["stressed", "unstressed", "unknown"]


def stress_positions(reference: str) -> dict[str, int | None]:
    """Folded word → index of its stressed letter, where the reference shows it: U+0301, ё, or the only vowel.

    None where two occurrences disagree («за́мок» and «замо́к» in one text).
    """
    found: dict[str, int | None] = {}
    for marked in _MARKED_WORD.findall(reference):
        letters = marked.replace("\u0300", "").lower()
        word = letters.replace(STRESS, "")
        vowels = [i for i, letter in enumerate(word) if letter in VOWELS]
        if STRESS in letters:
            place = letters.index(STRESS) - 1
        elif "ё" in word:
            place = word.index("ё")
        elif len(vowels) == 1:
            place = vowels[0]
        else:
            continue
        key = fold(word)
        found[key] = place if found.get(key, place) == place else None
    return found


def vowel_swaps(reference: str, hypothesis: str) -> list[int] | None:
    """Indices of the vowels that differ, if the two words differ in vowels only; else None."""
    if len(reference) != len(hypothesis):
        return None
    places = [i for i, (r, h) in enumerate(zip(reference, hypothesis, strict=True)) if r != h]
    return places if all(reference[i] in VOWELS and hypothesis[i] in VOWELS for i in places) else None


def _place(word: str, index: int, stresses: dict[str, int | None]) -> Place:
    stressed = stresses.get(word)
    if stressed is None:
        return "unknown"
    return "stressed" if index == stressed else "unstressed"


@metric(
    "stress_spelling",
    Text("Написание, связанное с ударением", "Stress-related spelling"),
    figures=(
        Figure("yo_recall", "yo_kept", "yo_words", Text("полнота ё", "ё recall"), better="higher"),
        Figure(
            "vowels_unstressed", "vowels_unstressed", "spoken_words", Text("безударные гласные", "unstressed vowels")
        ),
        Figure("vowels_stressed", "vowels_stressed", "spoken_words", Text("ударные гласные", "stressed vowels")),
        Figure(
            "vowels_unknown",
            "vowels_unknown",
            "spoken_words",
            Text("гласные, ударение неизвестно", "vowels, stress unknown"),
        ),
        Figure("marks_leaked", "leaked", "written_words", Text("знаки ударения в тексте", "leaked stress marks")),
    ),
)
def measure(line: Line) -> Counts:
    """ё is looked for at L1, where it is still there; vowels in the substitutions of the line's own alignment."""
    counts: Counts = {"vowels_stressed": 0, "vowels_unstressed": 0, "vowels_unknown": 0}
    counts["spoken_words"] = len(line.reference_words)
    spoken, written, steps = align_pair(line.reference, line.hypothesis, "L1")
    counts["yo_words"] = sum("ё" in word for word in spoken)
    counts["yo_kept"] = sum(
        step.reference is not None
        and step.hypothesis is not None
        and "ё" in spoken[step.reference]
        and spoken[step.reference] == written[step.hypothesis]
        for step in steps
    )
    counts["leaked"] = line.hypothesis.count(STRESS) + line.hypothesis.count("\u0300")
    counts["written_words"] = len(line.hypothesis_words)
    stresses = stress_positions(line.reference)
    for edit in line.edits:
        if edit.kind == "substitute":
            assert edit.reference is not None and edit.hypothesis is not None
            for index in vowel_swaps(edit.reference, edit.hypothesis) or ():
                counts[f"vowels_{_place(edit.reference, index, stresses)}"] += 1
    return counts
