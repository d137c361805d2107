"""Russian text normalisation for scoring, `ru-2026.1`: named steps in four levels.

L0 orthographic: scores punctuation and case. L1: punctuation and case go. L2, the headline: numerals, signs and
abbreviations in the reference's style, ё → е. L3 lenient: as L2, and «кто то» = «ктото».

The hypothesis never changes the reference: `normalize(reference, level)` is what every model is scored against, so the
number of reference words is the same for all. Where the two write a number, a sign or an abbreviation differently, the
*hypothesis* becomes a lattice of the ways in which it may be read, and the reading nearest to the reference is taken.
Digits carry no case, so a digit is never a case error; a wrong value stays wrong.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from evaluation import lattice, number_phrases_ru
from evaluation.digits_ru import written
from evaluation.tokens_ru import WORD, Token, tokenize

VERSION = "ru-2026.1"
Level = Literal["L0", "L1", "L2", "L3"]
LEVELS: tuple[Level, ...] = ("L0", "L1", "L2", "L3")

_STRESS = re.compile("[\u0300\u0301]")
_WORDS = re.compile(WORD)


def nfc(text: str) -> str:
    """Composed letters: й of two code points becomes one. Not NFKC, which turns № into «No»; not NFD, which splits
    й."""
    return unicodedata.normalize("NFC", text)


def spaces(text: str) -> str:
    """Runs of white space become one space."""
    return " ".join(text.split())


def stress_marks(text: str) -> str:
    """Deletes U+0300 and U+0301 only, so that «за́мок» stays one word and й, ё keep their marks."""
    return nfc(_STRESS.sub("", text))


def invisible(text: str) -> str:
    """Deletes soft hyphens, zero-width and direction marks (category Cf), which nobody sees and nobody says."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


def lower(text: str) -> str:
    """Lower case."""
    return text.lower()


def punctuation(text: str) -> str:
    """Everything but letters, digits and combining marks becomes a space; hyphens too."""
    return " ".join(_WORDS.findall(text))


def writing(text: str) -> str:
    """Numbers as one word each, signs and abbreviations written out, lower case, ё → е, punctuation → space."""
    return " ".join(word for token in tokenize(text) for word in token.words)


_L2: tuple[Callable[[str], str], ...] = (nfc, stress_marks, invisible, writing)
STEPS: dict[Level, tuple[Callable[[str], str], ...]] = {
    "L0": (nfc, spaces),
    "L1": (nfc, stress_marks, invisible, lower, punctuation),
    "L2": _L2,
    "L3": _L2,  # what is lenient about L3 concerns the hypothesis only: see align_pair
}


def normalize(text: str, level: Level = "L2") -> str:
    """`text` at a level: words separated by single spaces; what a reference is scored as."""
    for step in STEPS[level]:
        text = step(text)
    return text


@lru_cache(maxsize=1)
def source_hash() -> str:
    """SHA-256 (first 16 hex digits) of the files that define this version; recorded in every report."""
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for file in [*sorted(folder.glob("*_ru.py")), folder / "lattice.py"]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def align_pair(reference: str, hypothesis: str, level: Level = "L2") -> tuple[list[str], list[str], list[lattice.Step]]:
    """Words of the reference, words of the hypothesis in the reference's style, and their alignment."""
    if level in {"L0", "L1"}:
        ref, words = normalize(reference, level).split(), normalize(hypothesis, level).split()
        return ref, words, lattice.align_plain(ref, words)
    style, tokens = _Style(_tokens(reference), joins=level == "L3"), _tokens(hypothesis)
    out: list[str] = []
    steps: list[lattice.Step] = []
    at, first = 0, 0  # of the reference's words, of the hypothesis' tokens
    for end, last in [*_cuts(style.words, tokens), (len(style.words), len(tokens))]:
        words, piece = lattice.align(style.words[at:end], style.render(tokens[first:last]))
        steps += lattice.shifted(piece, at, len(out))
        out += words
        at, first = end, last
    return style.words, out, steps


def _cuts(reference: Sequence[str], tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """`lattice.cuts` between tokens: (index into the reference's words, into the tokens)."""
    starts: dict[int, int] = {}  # index into the tokens' words → token
    words: list[str] = []
    for place, token in enumerate(tokens):
        starts[len(words)] = place
        words += token.words
    return [(i, starts[j]) for i, j in lattice.cuts(reference, words, starts)]


def _tokens(text: str) -> list[Token]:
    return tokenize(invisible(stress_marks(nfc(text))))


class _Style:
    """How a reference writes numbers and units, and a hypothesis as a lattice of what it may mean in that style."""

    def __init__(self, tokens: Sequence[Token], joins: bool) -> None:
        self.words = [word for token in tokens for word in token.words]
        self._suffixes = {token.suffix for token in tokens if token.number}
        self._padded = {token.words[0] for token in tokens if token.padded}
        # Any form of a unit that the reference abbreviated stands for the one form it was written out in.
        self._renderings: dict[str, tuple[str, ...]] = {}
        for token in tokens:
            for form in token.forms():
                self._renderings.setdefault(form, token.words[:1])
        pairs = pairwise(self.words) if joins else ()
        self._joined = {left + right: (left, right) for left, right in pairs}
        self._known = set(self.words) if joins else set()

    def render(self, tokens: Sequence[Token]) -> lattice.Lattice:
        graph = lattice.Lattice()
        bridges = self._bridges(tokens)
        for place, token in enumerate(tokens):
            graph.add([token.words, *self._readings(token)])
            for start, alternatives in bridges.get(place + 1, ()):
                graph.bridge(place + 1 - start, alternatives)
        return graph

    def _readings(self, token: Token) -> list[tuple[str, ...]]:
        readings: list[tuple[str, ...]] = []
        if len(token.words) == 1:
            word = token.words[0]
            readings += [self._renderings[word]] if word in self._renderings else []
            readings += [self._joined[word]] if word in self._joined else []
        if token.number:
            readings += [(written(token.number, suffix),) for suffix in self._suffixes]
        # Readings that share no word with the reference cost as much as one that is kept for them all.
        known = set(self.words)
        return readings + [r for i, r in enumerate(token.readings()) if i == 0 or not known.isdisjoint(r)]

    def _bridges(self, tokens: Sequence[Token]) -> dict[int, list[tuple[int, list[tuple[str, ...]]]]]:
        """End → (start, ways to write tokens[start:end] together): number phrases in digits, joined compounds."""
        found: dict[int, list[tuple[int, list[tuple[str, ...]]]]] = {}
        # A phrase is made of one-word tokens; others are put in as a word that no phrase contains.
        words = [token.words[0] if len(token.words) == 1 else "" for token in tokens]
        if self._suffixes:
            for phrase in number_phrases_ru.find_phrases(words):
                last = words[phrase.end - 1]
                ways: list[tuple[str, ...]] = [
                    (written(phrase.value, _suffix_of(last, suffix)),) for suffix in self._suffixes
                ]
                found.setdefault(phrase.end, []).append((phrase.start, ways))
                # «ноль пять» where the reference writes «05»
                if phrase.value in self._padded and words[phrase.start - 1 : phrase.start] == ["ноль"]:
                    found[phrase.end].append((phrase.start - 1, ways))
        for place, (left, right) in enumerate(pairwise(words)):
            if left + right in self._known:
                found.setdefault(place + 2, []).append((place, [(left + right,)]))
        return found


def _suffix_of(word: str, style: str) -> str:
    """The ending with which `word` is written after digits, where the reference writes `style` («23-го»)."""
    if not style or word.endswith(style):
        return style
    return word[-2:] if word.endswith(("го", "му", "ми")) else word[-1:]
