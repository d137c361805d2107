"""The number in what was said: phrases of Russian numerals found in a text.

Words are lower case with е for ё, as in `numerals_ru`, whose tables are read backwards here.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from evaluation.numerals_ru import (
    CARDINALS,
    COLLECTIVE,
    FRACTIONS,
    LARGEST,
    ORDINAL_STEMS,
    SCALES,
    adjective_forms,
    compound_stem,
    ordinal_forms,
)


@dataclass(frozen=True)
class Phrase:
    """Number words found in a text: words[start:end] say `value` («3,5» or «23»); `ordinal` by its last word."""

    start: int
    end: int
    value: str
    ordinal: bool


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, tuple[int, bool]]:
    """Word form → (table value or scale, is it an ordinal)."""
    known: dict[str, tuple[int, bool]] = {}
    for value in ORDINAL_STEMS.keys() | {3}:
        known.update(dict.fromkeys(ordinal_forms(value), (value, True)))
    for scale, (singular, plural) in SCALES.items():
        name = singular[0][0]
        stem = "тысячный" if scale == 1_000 else f"{name}ный"
        known.update(dict.fromkeys(adjective_forms(stem), (scale, True)))
        known.update({form: (scale, False) for forms in (*singular, *plural) for form in forms})
    for thousands in range(2, 100):
        known.update(dict.fromkeys(adjective_forms(compound_stem(thousands) + "тысячный"), (thousands * 1000, True)))
    for value, forms in CARDINALS.items():
        known.update({form: (value, False) for variants in forms for form in variants})
    for value, collective in COLLECTIVE.items():
        known.update(dict.fromkeys(collective.split(), (value, False)))
    return known


def find_phrases(words: Sequence[str]) -> Iterable[Phrase]:
    """The longest number phrases, left to right: «двадцать три», «2 миллиона», «три с половиной», «полтора».

    A phrase with scale words is followed by the numbers between them, because «пять миллионов» is also «5 миллионов».
    """
    at = 0
    while at < len(words):
        phrase = _phrase_at(words, at)
        if phrase is None:
            at += 1
            continue
        yield phrase
        yield from _between_scales(words, phrase)
        at = phrase.end


def _between_scales(words: Sequence[str], whole: Phrase) -> Iterable[Phrase]:
    scales = [i for i in range(whole.start, whole.end) if _scale(words[i])]
    for before, end in pairwise([whole.start - 1, *scales, whole.end] if scales else []):
        found = _phrase_at(words[:end], before + 1) if before + 1 < end else None
        if found is not None and found.end == end:
            yield found


def _scale(word: str) -> int:
    """1,000 for «тысяч», and so on; 0 for what is no scale word."""
    value, ordinal = _lexicon().get(word, (0, True))
    return 0 if ordinal or value not in SCALES else value


def _phrase_at(words: Sequence[str], at: int) -> Phrase | None:
    if words[at] in {"полтора", "полторы", "полутора"}:
        return _scaled(words, Phrase(at, at + 1, "1,5", False))
    if re.fullmatch(r"\d{1,3},\d{1,3}", words[at]):
        scaled = _scaled(words, Phrase(at, at + 1, words[at], False))
        return scaled if scaled.end > at + 1 else None  # a number in digits alone is no phrase
    whole = _integer_at(words, at)
    if whole is None:
        return None
    end, value, ordinal = whole
    if list(words[end : end + 2]) == ["с", "половиной"]:
        return _scaled(words, Phrase(at, end + 2, f"{value},5", False))
    if end < len(words) and words[end] in {"целых", "целая", "целой"}:
        inner = end + 1 + (words[end + 1 : end + 2] == ["и"])
        numerator = _integer_at(words, inner) if inner < len(words) else None
        if numerator is not None and numerator[0] < len(words):
            for digits, name in FRACTIONS.items():
                if words[numerator[0]][:-2] == name[:-2]:
                    fraction = f"{value},{numerator[1]:0{digits}d}"
                    return _scaled(words, Phrase(at, numerator[0] + 1, fraction, False))
    return Phrase(at, end, str(value), ordinal)


def _scaled(words: Sequence[str], fraction: Phrase) -> Phrase:
    """«полторы тысячи» is 1500; without a scale word behind it the fraction stays what it is."""
    scale = _scale(words[fraction.end]) if fraction.end < len(words) else 0
    whole, _, digits = fraction.value.partition(",")
    value, rest = divmod(int(whole + digits) * scale, 10 ** len(digits))
    return Phrase(fraction.start, fraction.end + 1, str(value), False) if value and not rest else fraction


def _integer_at(words: Sequence[str], at: int) -> tuple[int, int, bool] | None:
    """(end, value, ordinal) of the longest integer said from `at` on; parts must descend, as in speech."""
    total, group, below, scale_below, end, ordinal = 0, 0, 1000, LARGEST, at, False
    lexicon = _lexicon()
    while end < len(words) and not ordinal:
        word = words[end]
        if word.isdecimal() and end == at and len(word) <= 9:
            group, below, end = int(word), 0, end + 1
            continue
        part, is_ordinal = lexicon.get(word, (LARGEST, False))
        if part % 1_000 == 0 and 1_000 < part < scale_below and is_ordinal and part not in SCALES and not group:
            total, scale_below = total + part, 1_000  # «двухтысячный»
        elif part in SCALES and part < scale_below:
            total, group, below, scale_below = total + (group or 1) * part, 0, 1000, part
        elif part < below and (part or end == at):
            # After hundreds come tens, after tens units, after units, teens and zero nothing but a scale word.
            group, below = group + part, 100 if part >= 100 else 10 if part >= 20 else 0
        else:
            break
        ordinal, end = is_ordinal, end + 1
    if end == at:
        return None
    return end, total + group, ordinal
