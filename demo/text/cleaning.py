"""Turns raw text of any source into clean training sentences.

A clean sentence is Cyrillic, has 3 to 16 words and at most 120 characters, starts with a capital letter and ends with
one of ``. ! ?``. Inside there is nothing but letters, hyphens within words, spaces, commas and spaced dashes. Sentences
with digits, Latin letters, abbreviations or mostly unknown words are dropped, never repaired: a target has to say what
is spoken.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache

import pymorphy3

MIN_WORDS, MAX_WORDS, MAX_CHARS = 3, 16, 120
WORD = re.compile(r"[А-Яа-яЁё]+(?:-[А-Яа-яЁё]+)*")
_SHAPE = re.compile(r"[А-ЯЁ][а-яё]*(?:-[А-Яа-яЁё]+)*(?:(?:,? | — )[А-ЯЁа-яё]+(?:-[А-Яа-яЁё]+)*)*[.!?]")
_SPLIT = re.compile(r"(?<=[.!?…])[\"»”)]*\s+(?=[\"«“(—–-]?\s?[А-ЯЁ])|\n\s*\n|(?<=:)\n")
_ABBREVIATED = re.compile(
    r"\b(?:т|д|п|др|пр|рис|см|гл|стр|напр|тыс|млн|млрд|руб|им|ул|г|в|н|э|е|мин|сек)\.", re.IGNORECASE
)
_CLAUSES = re.compile(r"; |, (?=(?:но|а|поэтому|однако|зато|хотя|потому что|так как) )")
_OFFENSIVE = re.compile(
    r"\b(?:бляд|бля\b|хуй|хуе|хуё|пизд|еб[аиул]|ёб|муд[аио][кл]|сук[аиу]\b|сучк|сучар|шлюх|жоп|дерьм|говн|срать|срал|"
    r"ублюд|выродк|пид[оа]р|гитлер|изнасил|наркот|порно|секс|проститут|трах|задниц|сволоч|мраз[ьи]|ниггер|жид[аоы]?\b)",
    re.IGNORECASE,
)
_QUOTES = str.maketrans(dict.fromkeys('«»“”„"', " ") | {"\u00a0": " ", "\u2011": "-", "\u2019": "'", "\u00ad": None})
_VOWELLESS_OK = {"в", "к", "с", "б", "ж"}


@cache
def morph() -> pymorphy3.MorphAnalyzer:
    """The one analyser of the process (about a second to load)."""
    return pymorphy3.MorphAnalyzer(lang="ru")


@lru_cache(maxsize=400_000)
def restore_yo(word: str) -> str:
    """``word`` with ё put back where the dictionary knows only one spelling («еще» gives «ещё», «все» stays)."""
    if "е" not in word.lower() or "ё" in word.lower():
        return word
    lower = word.lower()
    if not morph().word_is_known(lower):
        return word
    spellings = {parse.word for parse in morph().parse(lower)}
    if len(spellings) != 1:
        return word
    spelling = spellings.pop()
    if len(spelling) != len(word) or spelling.replace("ё", "е") != lower.replace("ё", "е"):
        return word
    return "".join(c.upper() if source.isupper() else c for c, source in zip(spelling, word, strict=True))


@lru_cache(maxsize=400_000)
def is_known(word: str) -> bool:
    """Whether every hyphenated part of ``word`` is in the dictionary."""
    return all(morph().word_is_known(part) for part in word.lower().split("-"))


def is_valid(sentence: str) -> bool:
    """Whether ``sentence`` has the shape that a training line must have (see the module's docstring)."""
    return (
        len(sentence) <= MAX_CHARS
        and MIN_WORDS <= len(WORD.findall(sentence)) <= MAX_WORDS
        and _SHAPE.fullmatch(sentence) is not None
    )


def clean(raw: str) -> str | None:
    """The clean form of one raw sentence, or None when it cannot serve as a target."""
    if re.search(r"[0-9A-Za-z()\[\]{}<>/\\|@#$%^&*_+=~№§©]", raw) or _ABBREVIATED.search(raw) or _OFFENSIVE.search(raw):
        return None
    text = raw.translate(_QUOTES)
    text = re.sub(r"[…]|\.{2,}", ".", text)
    text = re.sub(r"[!?.]*\?[!?.]*$", "?", text.strip())
    text = re.sub(r"!+\.?$", "!", text)
    text = re.sub(r"^[\s—–\-•*,.:;!?']+", "", text)
    text = re.sub(r"\s+[—–-]+\s+|[—–]", " — ", text)
    text = re.sub(r"\s*[;:]\s*", ", ", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([,.!?])", r"\1", text)
    text = re.sub(r",? — ,?\s*|, — ", " — ", text).replace("  ", " ")
    if not text:
        return None
    if text[-1] not in ".!?":
        if not raw[0].isupper() or text[-1] == ",":
            return None
        text += "."  # a heading or a menu entry
    text = text[0].upper() + text[1:]
    text = WORD.sub(lambda m: restore_yo(m.group()), text)
    if not is_valid(text) or not _speakable(WORD.findall(text)):
        return None
    return text


def _speakable(words: list[str]) -> bool:
    if any(w.isupper() and len(w) > 1 for w in words):
        return False
    if any(not re.search("[аеёиоуыэюяАЕЁИОУЫЭЮЯ]", w) and w.lower() not in _VOWELLESS_OK for w in words):
        return False
    if any(len(w) == 1 and w.lower() not in "аявокусиёбж" for w in words):
        return False
    unknown = sum(not is_known(w) for w in words)
    return unknown <= (1 if len(words) > 5 else 0)


def sentences(text: str) -> Iterator[str]:
    """Every clean sentence of a piece of running ``text``, in order (duplicates included)."""
    for piece in _SPLIT.split(text):
        raw = " ".join(piece.split()) if piece else ""
        parts = _CLAUSES.split(raw) if len(raw.split()) > MAX_WORDS else [raw]
        for i, part in enumerate(parts):
            if not part:
                continue
            stop = "" if i == len(parts) - 1 else "."
            if sentence := clean(f"{part[0].upper()}{part[1:]}{stop}"):
                yield sentence
